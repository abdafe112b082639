//! When people are told: each destination has a teller, which looks at the board and tells what has changed.
//!
//! Guarantees: nothing waits for a destination; what it was not told yet is told when it answers again, each run
//! in its newest state, so nothing piles up; what was told is kept in `status.told`, so that a restart or another
//! daemon goes on with the same message. Caveats: at least once, since a daemon may end between telling and
//! keeping; lines in a thread and alarms at most once, and of more than `LINES` the oldest are dropped.
//!
//! Not here: the words (`people::message`), how they are sent (`people::sender`).

mod due;
mod teller;

use kube::Client;
use tokio::sync::{broadcast, watch};

use jiff::Timestamp;

use super::connect::Error;
use super::context::Context;
use super::leader::Role;
use super::settings::Settings;
use crate::people::sender::{Destination, Sender};
use crate::rollout::reason::Reason;
pub use teller::Teller;

/// Lines that wait for one destination at most.
const LINES: usize = 256;

/// Something that was told of a Rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its namespace and name.
    pub key: (String, String),
    /// The run; empty for none.
    pub run: String,
    /// The reason's name.
    pub reason: &'static str,
    /// In a sentence.
    pub text: String,
    /// How it is told.
    pub manner: due::Manner,
    /// When.
    pub at: Timestamp,
}

/// Where lines are told from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Notices(broadcast::Sender<Line>);

impl Default for Notices {
    fn default() -> Self {
        Self(broadcast::Sender::new(LINES))
    }
}

impl Notices {
    /// Something was told of a Rollout.
    pub fn told(&self, (namespace, name): (&str, &str), run: &str, reason: &Reason, at: Timestamp) {
        let Some(manner) = due::manner(reason) else {
            return;
        };
        // Nobody listens where nobody is to be told.
        let _ = self.0.send(Line {
            key: (namespace.to_owned(), name.to_owned()),
            run: run.to_owned(),
            reason: reason.name(),
            text: reason.to_string(),
            manner,
            at,
        });
    }

    fn listen(&self) -> broadcast::Receiver<Line> {
        self.0.subscribe()
    }
}

/// A teller for each destination of the settings.
pub fn tellers(
    settings: &Settings,
    context: &Context,
    client: &Client,
    role: &watch::Receiver<Role>,
) -> Result<Vec<Teller>, Error> {
    let destinations = &settings.notify;
    if destinations.is_empty() {
        return Ok(Vec::new());
    }
    let sender = Sender::new().map_err(Error::Notify)?;
    let names: Vec<String> = destinations.iter().map(|to| to.name.clone()).collect();
    let teller = |to: &Destination| {
        let place = (settings.environment.clone(), settings.page_url.clone());
        let means = (sender.clone(), client.clone(), role.clone());
        Teller::new(to.clone(), names.clone(), context.clone(), place, means)
    };
    Ok(destinations.iter().map(teller).collect())
}
