//! Conditions of a Rollout's status, in kstatus' sense.
//!
//! `Ready`, `Reconciling` and `Stalled` are what Flux, Argo CD and `kubectl wait` read; Sluice
//! adds `Accepted` (the spec makes a plan) and `Promoted` (the newest revision is through). A
//! condition's time moves only with its status, so that an unchanged status writes nothing.
//!
//! Not here: which phase means which condition. That is decided where the status is made.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The conditions that a Rollout has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing is left to do and nothing is wrong.
    Ready,
    /// Something is under way; absent otherwise, as kstatus wants it.
    Reconciling,
    /// It cannot go on without a person; absent otherwise.
    Stalled,
    /// The spec makes a plan.
    Accepted,
    /// The newest revision is what serves.
    Promoted,
}

impl Kind {
    /// The condition's type on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ready => "Ready",
            Kind::Reconciling => "Reconciling",
            Kind::Stalled => "Stalled",
            Kind::Accepted => "Accepted",
            Kind::Promoted => "Promoted",
        }
    }

    /// Whether kstatus wants this condition to be there only while it is true.
    fn is_abnormal(self) -> bool {
        matches!(self, Kind::Reconciling | Kind::Stalled)
    }
}

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<'a> {
    /// True, false, or not known.
    pub status: Option<bool>,
    /// One word in camel case.
    pub reason: &'a str,
    /// A sentence.
    pub message: &'a str,
    /// The generation of the spec that it speaks of.
    pub generation: Option<i64>,
}

/// Sets one condition; its time moves only if its status does.
///
/// `Reconciling` and `Stalled` are removed when they are false.
pub fn set(conditions: &mut Vec<Condition>, kind: Kind, said: &Said<'_>, now: Timestamp) {
    if kind.is_abnormal() && said.status == Some(false) {
        remove(conditions, kind);
        return;
    }
    let status = text(said.status);
    let place = conditions
        .iter_mut()
        .find(|condition| condition.type_ == kind.name());
    let since = match &place {
        Some(condition) if condition.status == status => condition.last_transition_time.clone(),
        _ => Time(now),
    };
    let condition = Condition {
        last_transition_time: since,
        message: said.message.to_owned(),
        observed_generation: said.generation,
        reason: said.reason.to_owned(),
        status: status.to_owned(),
        type_: kind.name().to_owned(),
    };
    match place {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
}

/// Removes a condition.
pub fn remove(conditions: &mut Vec<Condition>, kind: Kind) {
    conditions.retain(|condition| condition.type_ != kind.name());
}

/// Whether a condition is true.
pub fn is_true(conditions: &[Condition], kind: Kind) -> bool {
    conditions
        .iter()
        .any(|condition| condition.type_ == kind.name() && condition.status == "True")
}

fn text(status: Option<bool>) -> &'static str {
    match status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: bool, reason: &str) -> Said<'_> {
        Said {
            status: Some(status),
            reason,
            message: "m",
            generation: Some(1),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn time_moves_only_with_the_status() {
        let mut all = Vec::new();
        let table = [
            (true, "A", 1, 1),
            (true, "B", 2, 1),
            (false, "C", 3, 3),
            (false, "C", 4, 3),
        ];
        for (status, reason, now, since) in table {
            set(&mut all, Kind::Ready, &said(status, reason), at(now));
            assert_eq!(all.len(), 1);
            assert_eq!(all[0].last_transition_time, Time(at(since)));
            assert_eq!(all[0].reason, reason);
        }
    }

    #[test]
    fn what_is_abnormal_is_there_only_while_it_is_true() {
        let mut all = Vec::new();
        set(&mut all, Kind::Stalled, &said(true, "A"), at(1));
        assert!(is_true(&all, Kind::Stalled));
        set(&mut all, Kind::Stalled, &said(false, "A"), at(2));
        set(&mut all, Kind::Accepted, &said(false, "A"), at(2));
        assert_eq!(
            all.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(),
            ["Accepted"]
        );
    }
}
