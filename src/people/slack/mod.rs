//! Slack: what is said there.
//!
//! The pure half: requests and answers as Slack documents them. Not here: who sends them
//! (`people::sender`), and anything that is asked from Slack.

pub mod api;
pub mod blocks;

use std::path::PathBuf;

/// A channel, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slack {
    /// The channel's id, or its name.
    pub channel: String,
    /// A file with the bot's token, read again each time.
    pub token_file: PathBuf,
    /// The Web API's base.
    pub api: String,
}
