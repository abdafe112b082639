//! Conditions of a Rollout's status, in kstatus' sense.
//!
//! `Ready`, `Reconciling` and `Stalled` are what Flux, Argo CD and `kubectl wait` read; kstatus
//! wants the last two to be there only while they are true. A condition's time moves only with
//! its status, so that a status in which nothing changed is the same status.
//!
//! Not here: which phase means which condition. That is decided where the status is made.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What one condition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The condition's type, e.g. `Ready`.
    pub name: &'a str,
    /// Whether it holds.
    pub holds: bool,
    /// One word in camel case.
    pub reason: &'a str,
    /// A sentence.
    pub message: &'a str,
}

impl<'a> Standing<'a> {
    /// What the condition `name` says.
    pub fn new(name: &'a str, holds: bool, reason: &'a str, message: &'a str) -> Self {
        Self {
            name,
            holds,
            reason,
            message,
        }
    }

    fn status(&self) -> &'static str {
        if self.holds { "True" } else { "False" }
    }

    /// Whether kstatus wants it to be left out.
    fn is_silent(&self) -> bool {
        !self.holds && matches!(self.name, "Reconciling" | "Stalled")
    }
}

/// All conditions, in the order given, for this `generation` of the spec.
///
/// Those in `old` lend their times where the status is the same.
pub fn all(
    old: &[Condition],
    wanted: &[Standing<'_>],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |standing: &Standing<'_>| Condition {
        last_transition_time: since(old, standing).unwrap_or(Time(now)),
        message: standing.message.to_owned(),
        observed_generation: generation,
        reason: standing.reason.to_owned(),
        status: standing.status().to_owned(),
        type_: standing.name.to_owned(),
    };
    wanted
        .iter()
        .filter(|standing| !standing.is_silent())
        .map(condition)
        .collect()
}

fn since(old: &[Condition], standing: &Standing<'_>) -> Option<Time> {
    old.iter()
        .find(|condition| condition.type_ == standing.name && condition.status == standing.status())
        .map(|condition| condition.last_transition_time.clone())
}

/// Whether a condition is there and true.
#[cfg(test)]
fn is_true(conditions: &[Condition], name: &str) -> bool {
    conditions
        .iter()
        .any(|condition| condition.type_ == name && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn time_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        let table = [
            (true, "A", 1, 1),
            (true, "B", 2, 1),
            (false, "C", 3, 3),
            (false, "C", 4, 3),
        ];
        for (holds, reason, now, since) in table {
            let wanted = [Standing::new("Ready", holds, reason, "m")];
            conditions = all(&conditions, &wanted, Some(1), at(now));
            assert_eq!(conditions.len(), 1);
            assert_eq!(conditions[0].last_transition_time, Time(at(since)));
            assert_eq!(conditions[0].reason, reason);
        }
    }

    #[test]
    fn what_is_abnormal_is_there_only_while_it_is_true() {
        let wanted = |stalled| {
            [
                Standing::new("Accepted", false, "A", "m"),
                Standing::new("Stalled", stalled, "A", "m"),
            ]
        };
        let stalled = all(&[], &wanted(true), None, at(1));
        assert!(is_true(&stalled, "Stalled") && !is_true(&stalled, "Accepted"));
        let over = all(&stalled, &wanted(false), None, at(2));
        assert_eq!(
            over.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(),
            ["Accepted"]
        );
    }
}
