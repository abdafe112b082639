//! What is asked of a Rollout, by people, alerts and smoke tests, and where it can be done.
//!
//! One table says what people can ask for in each phase: the decision refuses by it, and the page, messages and
//! the command line offer by it. Not here: what a request leads to (`decide::requests`), and who may ask.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::state::PhaseName;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Bring the revision through now.
    Promote,
    /// Let the step pass that waits for people.
    Approve,
    /// Keep the weight.
    Hold,
    /// Let a run go on that is held.
    Resume,
    /// End the run.
    Abort,
    /// End the run; where none goes on, go back from what serves.
    Rollback,
    /// Try a revision again that failed.
    Retry,
    /// Restart the pods natively.
    Restart,
    /// End the run, since an alert fires.
    Alert,
    /// End the run, since a smoke test failed.
    Smoke,
}

impl Act {
    /// All of them.
    const ALL: [Self; 10] = [
        Self::Promote,
        Self::Approve,
        Self::Hold,
        Self::Resume,
        Self::Abort,
        Self::Rollback,
        Self::Retry,
        Self::Restart,
        Self::Alert,
        Self::Smoke,
    ];

    /// Those of people.
    pub const OF_PEOPLE: [Self; 8] = [
        Self::Approve,
        Self::Promote,
        Self::Hold,
        Self::Resume,
        Self::Abort,
        Self::Rollback,
        Self::Retry,
        Self::Restart,
    ];

    /// The act of people that has this name.
    pub fn of_people(name: &str) -> Option<Self> {
        Self::OF_PEOPLE.into_iter().find(|act| act.name() == name)
    }

    /// Its name, as it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Approve => "approve",
            Self::Hold => "hold",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
            Self::Retry => "retry",
            Self::Restart => "restart",
            Self::Alert => "alert",
            Self::Smoke => "smoke",
        }
    }

    /// Whether it ends a run that goes on.
    pub fn ends_run(self) -> bool {
        match self {
            Self::Abort | Self::Rollback | Self::Alert | Self::Smoke => true,
            Self::Promote
            | Self::Approve
            | Self::Hold
            | Self::Resume
            | Self::Retry
            | Self::Restart => false,
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A word that is the name of no act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(pub String);

impl fmt::Display for Unknown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Act::ALL.map(Act::name).join(", ");
        write!(out, "unknown request {:?}; known: {known}", self.0)
    }
}

impl FromStr for Act {
    type Err = Unknown;

    fn from_str(word: &str) -> Result<Self, Unknown> {
        let named = Self::ALL.into_iter().find(|act| act.name() == word);
        named.ok_or_else(|| Unknown(word.to_owned()))
    }
}

/// Something that a person, an alert or a smoke test asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its id, unique.
    pub id: String,
    /// What is asked; people write it by hand too.
    pub act: Result<Act, Unknown>,
    /// The revision it was meant for.
    pub revision: Option<String>,
    /// Who asks, if that is said.
    pub by: Option<String>,
    /// The groups of who asks, where they count.
    pub groups: Vec<String>,
    /// Why, if that is said.
    pub why: Option<String>,
    /// What to go back to: a revision's number, a tag, an image or a hash.
    pub goal: Option<String>,
    /// Which service of a pipeline is meant, where a Rollout may bring out several.
    pub service: Option<String>,
}

impl Request {
    /// A request for an act, of nobody for nothing in particular.
    pub fn new(id: String, act: Result<Act, Unknown>) -> Self {
        Self {
            id,
            act,
            revision: None,
            by: None,
            groups: Vec::new(),
            why: None,
            goal: None,
            service: None,
        }
    }

    /// What is asked, as it was written.
    pub fn word(&self) -> &str {
        match &self.act {
            Ok(act) => act.name(),
            Err(Unknown(word)) => word,
        }
    }
}

/// What people can ask for in this phase, in the order in which it is offered.
fn table(phase: PhaseName) -> &'static [Act] {
    match phase {
        PhaseName::Preparing | PhaseName::Stepping | PhaseName::Suspect => {
            &[Act::Promote, Act::Hold, Act::Abort]
        }
        PhaseName::AwaitingApproval => &[Act::Approve, Act::Promote, Act::Hold, Act::Abort],
        PhaseName::Held => &[Act::Resume, Act::Promote, Act::Abort],
        PhaseName::Promoting => &[Act::Abort],
        PhaseName::Baking => &[Act::Promote, Act::Abort],
        PhaseName::Failed => &[Act::Retry, Act::Rollback],
        PhaseName::Idle => &[Act::Rollback],
        PhaseName::Adopting | PhaseName::RollingBack | PhaseName::Suspended => &[],
    }
}

/// What to offer people in this phase; `approvals_to_come`, which nobody may promote past.
pub fn offered(phase: PhaseName, approvals_to_come: bool) -> impl Iterator<Item = Act> {
    let all = table(phase).iter().copied();
    all.filter(move |act| !(approvals_to_come && *act == Act::Promote))
}

/// Whether an act can be done to a run in this phase.
pub fn fits(phase: PhaseName, act: Act) -> bool {
    let listed = match act {
        // An end is an end, whoever asks for it.
        Act::Abort | Act::Rollback | Act::Alert | Act::Smoke => Act::Abort,
        // What stands still by itself goes on by itself, unless a person holds it too.
        Act::Hold if phase == PhaseName::Held => return true,
        Act::Promote | Act::Approve | Act::Hold | Act::Resume | Act::Retry | Act::Restart => act,
    };
    table(phase).contains(&listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_is_read_by_its_name() {
        for act in Act::ALL {
            assert_eq!(act.name().parse(), Ok(act));
            let of_people = Act::OF_PEOPLE.contains(&act);
            assert_eq!(Act::of_people(act.name()).is_some(), of_people, "{act}");
        }
        assert_eq!("Hold".parse::<Act>(), Err(Unknown("Hold".to_owned())));
    }

    #[test]
    fn promote_is_not_offered_before_approvals() {
        let words = |to_come| {
            let acts = offered(PhaseName::AwaitingApproval, to_come);
            acts.map(Act::name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(false), "approve promote hold abort");
        assert_eq!(words(true), "approve hold abort");
    }
}
