//! Slack: what is said there, and what people ask from there.
//!
//! The pure half: requests and answers as Slack documents them. Not here: who sends them
//! (`people::sender`), who may ask (`daemon::slack`).

pub mod api;
pub mod asked;
pub mod blocks;
pub mod signed;

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
    /// Whether messages have buttons: there is somebody who takes what they send.
    pub buttons: bool,
}
