//! What is due to be told, from what was told before: pure.
//!
//! How a new reason is told must be said here before it compiles.

#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::elapsed;
use crate::kubernetes::crd::Told;
use crate::people::message::Message;
use crate::people::sender::Kind;
use crate::people::slack::api::Place;
use crate::people::teams;
use crate::rollout::reason::Reason;

/// A run that ended longer ago and was never told of is no news: a destination may be new.
const NEWS: Duration = Duration::from_secs(15 * 60);
/// Runs of one Rollout that are kept: the one that goes on and those that ended shortly before.
const RUNS: usize = 3;

/// How a line is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// In the run's thread.
    Reply,
    /// In the run's thread, and seen in the channel.
    Loud,
    /// By itself: it concerns no run, or must not be overlooked.
    Alarm,
}

/// How a reason is told as a line of its own; most are not.
pub fn manner(reason: &Reason) -> Option<Manner> {
    match reason {
        Reason::Opened { .. }
        | Reason::Bypassed { .. }
        | Reason::GateBroken { .. }
        | Reason::GateOpened { .. }
        | Reason::CheckpointUnreadable { .. }
        | Reason::RollbackHindered { serves: true, .. }
        | Reason::StableLacks { .. } => Some(Manner::Alarm),
        Reason::Suspected { .. }
        | Reason::ApprovalAwaited { .. }
        | Reason::RollAwaited
        | Reason::ApprovalExpired { .. }
        | Reason::RollbackStarted { .. }
        | Reason::GitNotReverted { .. }
        | Reason::GitClosed { .. }
        | Reason::GitWaits { .. }
        | Reason::PromotionHindered { .. }
        | Reason::RollbackHindered { serves: false, .. }
        | Reason::SmokeHindered { .. }
        | Reason::SetAside { .. }
        | Reason::Held { .. } => Some(Manner::Loud),
        Reason::Answered { .. }
        | Reason::SuspicionOver { .. }
        | Reason::Resumed
        | Reason::PromotionStarted { .. }
        | Reason::PauseUndone
        | Reason::BakeStarted { .. }
        | Reason::PatienceSaid { .. }
        | Reason::Promoted { .. }
        | Reason::RolledBack { .. }
        | Reason::GitReverted { .. }
        | Reason::GitProposed { .. }
        | Reason::GitMerged { .. }
        | Reason::GitApplied { .. } => Some(Manner::Reply),
        // The run's message changes with these.
        Reason::Accepted { .. }
        | Reason::RunStarted { .. }
        | Reason::KnownGood { .. }
        | Reason::GoesBack { .. }
        | Reason::CanaryReady { .. }
        | Reason::SmokePassed { .. }
        | Reason::WeightRaised { .. }
        | Reason::Waiting { .. }
        | Reason::BakeAwaited { .. }
        | Reason::Superseded { .. }
        | Reason::Cancelled { .. }
        // Nobody need do anything about these; the Event has them.
        | Reason::Adopted { .. }
        | Reason::Unguarded { .. }
        | Reason::GateMended
        | Reason::GateShut
        | Reason::LabelRestored
        | Reason::Healed { .. }
        | Reason::ConfigChanged
        | Reason::WeightMended { .. }
        | Reason::CanaryMended
        | Reason::CanaryUnready
        | Reason::ShareWrong { .. }
        | Reason::ShareRight { .. }
        | Reason::DesiredKept { .. }
        | Reason::DesiredGiven { .. }
        | Reason::StillFailed { .. }
        | Reason::AutomationResumed { .. }
        | Reason::Restarted
        | Reason::Suspended
        | Reason::Released => None,
    }
}

/// Whether a message is to be told.
pub fn is_due(message: &Message, told: &[Told], kind: &Kind, now: Timestamp) -> bool {
    if matches!(kind, Kind::Teams(_)) && !teams::wants(message.stage) {
        return false;
    }
    match told.iter().find(|told| told.run == message.run) {
        Some(told) => told.mark != message.mark(),
        None => !message.stage.ended() || elapsed(message.at, now) < NEWS,
    }
}

/// Where a run's message stands.
pub fn place(told: &[Told], run: &str) -> Option<Place> {
    let told = told.iter().find(|told| told.run == run)?;
    let (channel, ts) = (told.channel.clone()?, told.ts.clone()?);
    Some(Place { channel, ts })
}

/// What was told, with a message that was told now.
pub fn with(mut told: Vec<Told>, message: &Message, place: Option<Place>) -> Vec<Told> {
    let (channel, ts) = place.map(|at| (at.channel, at.ts)).unzip();
    let now = Told {
        run: message.run.clone(),
        mark: message.mark(),
        channel,
        ts,
    };
    match told.iter_mut().find(|told| told.run == message.run) {
        Some(told) => *told = now,
        None => told.push(now),
    }
    let surplus = told.len().saturating_sub(RUNS);
    told.split_off(surplus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::message::messages;
    use crate::people::message::samples::{last, message, seen};
    use crate::people::teams::Teams;
    use crate::people::webhook::Webhook;

    #[test]
    fn what_waits_for_somebody_is_seen_in_the_channel() {
        let why = || "the quota is used up".to_owned();
        let waits = [
            Reason::PromotionHindered { why: why() },
            Reason::SmokeHindered { why: why() },
            Reason::GitWaits { why: why() },
            Reason::GitNotReverted { why: why() },
        ];
        for reason in waits {
            assert_eq!(manner(&reason), Some(Manner::Loud), "{reason}");
        }
    }

    fn hook() -> Kind {
        Kind::Webhook(Webhook {
            url: String::new(),
            secret_file: "key".into(),
        })
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_was_told_is_told_again_when_the_run_has_come_further() {
        let now = at("2026-01-01T00:05:00Z");
        let began = message("Preparing");
        assert!(is_due(&began, &[], &hook(), now));
        let told = with(Vec::new(), &began, None);
        assert!(!is_due(&began, &told, &hook(), now));
        assert!(is_due(&message("Held"), &told, &hook(), now));
    }

    #[test]
    fn a_run_that_ended_long_ago_is_no_news_for_a_new_destination() {
        let last = last("r-1", "Promoted");
        let ended = messages(seen("Idle", None, Some(&last))).remove(0);
        assert!(is_due(&ended, &[], &hook(), at("2026-01-01T00:10:00Z")));
        assert!(!is_due(&ended, &[], &hook(), at("2026-01-01T01:00:00Z")));
        let told = with(Vec::new(), &message("Stepping"), None);
        assert!(is_due(&ended, &told, &hook(), at("2026-01-01T01:00:00Z")));
    }

    #[test]
    fn what_is_kept_is_bounded_and_keeps_where_the_message_stands() {
        let place_1 = Place {
            channel: "C1".to_owned(),
            ts: "1.1".to_owned(),
        };
        let mut told = Vec::new();
        for run in 1..=5 {
            let mut message = message("Stepping");
            message.run = format!("r-{run}");
            told = with(told, &message, Some(place_1.clone()));
            told = with(told, &message, Some(place_1.clone()));
        }
        let runs: Vec<&str> = told.iter().map(|told| told.run.as_str()).collect();
        assert_eq!(runs, ["r-3", "r-4", "r-5"]);
        assert_eq!(place(&told, "r-4"), Some(place_1));
        assert_eq!(place(&told, "r-1"), None);
    }

    #[test]
    fn teams_is_told_of_turns_only() {
        let teams = Kind::Teams(Teams {
            url_file: "url".into(),
        });
        let now = at("2026-01-01T00:05:00Z");
        assert!(!is_due(&message("Stepping"), &[], &teams, now));
        assert!(is_due(&message("Held"), &[], &teams, now));
    }
}
