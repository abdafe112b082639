//! What a remedy in Git comes to, and where the pull request for it stands: the words of the status, as types.
//!
//! Not here: how a remedy is made (`daemon::remedy`).

use std::fmt;

/// What was done in Git after a run that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemedyOutcome {
    /// A commit of ours takes the bad ones back.
    Reverted,
    /// A pull request would.
    PullRequested,
    /// The tag is excluded where there are no commits.
    Excluded,
    /// The branch deploys the stable template already.
    Restored,
    /// The branch has gone on: nothing is to be taken back any more.
    Superseded,
    /// Nothing was done, and the message says why and what to do by hand.
    NotReverted,
    /// Before the first of these: image automation is suspended, and nothing else is done yet.
    Suspended,
}

impl RemedyOutcome {
    const ALL: [Self; 7] = [
        Self::Reverted,
        Self::PullRequested,
        Self::Excluded,
        Self::Restored,
        Self::Superseded,
        Self::NotReverted,
        Self::Suspended,
    ];

    /// The outcome of this name; none where a daemon of another version has written it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }

    /// Its name, as the status has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reverted => "Reverted",
            Self::PullRequested => "PullRequested",
            Self::Excluded => "Excluded",
            Self::Restored => "Restored",
            Self::Superseded => "Superseded",
            Self::NotReverted => "NotReverted",
            Self::Suspended => "Suspended",
        }
    }

    /// Whether the branch deploys the failed template no more, or will not once people agree: image automation must
    /// not bring it back meanwhile.
    pub fn keeps_suspended(self) -> bool {
        match self {
            Self::Reverted | Self::PullRequested | Self::Restored => true,
            Self::Excluded | Self::Superseded | Self::NotReverted | Self::Suspended => false,
        }
    }
}

impl fmt::Display for RemedyOutcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// Where a pull request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullState {
    /// People have not decided.
    Open,
    /// They took it.
    Merged,
    /// They did not.
    Closed,
}

impl PullState {
    const ALL: [Self; 3] = [Self::Open, Self::Merged, Self::Closed];

    /// The state of this name; none where a daemon of another version has written it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Its name, as the status has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::Merged => "Merged",
            Self::Closed => "Closed",
        }
    }
}

impl fmt::Display for PullState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for outcome in RemedyOutcome::ALL {
            assert_eq!(RemedyOutcome::named(outcome.name()), Some(outcome));
        }
        for state in PullState::ALL {
            assert_eq!(PullState::named(state.name()), Some(state));
        }
        assert_eq!(RemedyOutcome::named("Mended"), None);
        assert_eq!(PullState::named("open"), None);
    }
}
