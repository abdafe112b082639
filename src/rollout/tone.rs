//! How urgent a phase, an outcome or a verdict is: one table for the page and for the command line.
//!
//! A new phase must be put somewhere before it compiles. Not here: colours and classes.

use super::evidence::Verdict;
use super::reason::Outcome;
use super::state::PhaseName;

/// How urgent something is; the most urgent is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Something failed or is being put back.
    Bad,
    /// A person is needed, or soon may be.
    Attention,
    /// A release is under way.
    Moving,
    /// All is well.
    Calm,
}

impl Tone {
    /// Of the name of a phase, an outcome or a verdict; calm if it is none that is known here.
    pub fn of(word: &str) -> Self {
        let phase = || PhaseName::named(word).map(PhaseName::tone);
        let outcome = || Outcome::named(word).map(Outcome::tone);
        let verdict = || Verdict::named(word).map(Verdict::tone);
        phase()
            .or_else(outcome)
            .or_else(verdict)
            .unwrap_or(Self::Calm)
    }
}

impl PhaseName {
    /// How urgent it is.
    pub fn tone(self) -> Tone {
        match self {
            Self::Failed | Self::RollingBack => Tone::Bad,
            Self::Held
            | Self::AwaitingApproval
            | Self::Suspect
            | Self::Suspended
            | Self::Adopting => Tone::Attention,
            Self::Preparing | Self::Stepping | Self::Promoting | Self::Baking => Tone::Moving,
            Self::Idle => Tone::Calm,
        }
    }
}

impl Outcome {
    /// How urgent it is.
    pub fn tone(self) -> Tone {
        match self {
            Self::RolledBack => Tone::Bad,
            Self::Promoted | Self::Superseded | Self::Cancelled => Tone::Calm,
        }
    }
}

impl Verdict {
    /// How urgent it is.
    pub fn tone(self) -> Tone {
        match self {
            Self::Worse => Tone::Bad,
            Self::Suspect => Tone::Attention,
            Self::Undecided => Tone::Moving,
            Self::NotWorse => Tone::Calm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_one_tone_whatever_it_is_the_name_of() {
        for verdict in Verdict::ALL {
            assert_eq!(Tone::of(verdict.name()), verdict.tone());
        }
        for phase in PhaseName::ALL {
            assert_eq!(Tone::of(phase.name()), phase.tone());
        }
    }

    #[test]
    fn what_failed_comes_first_and_what_is_unknown_last() {
        let mut words = ["Better", "Stepping", "RolledBack", "Adopting"];
        words.sort_by_key(|word| Tone::of(word));
        assert_eq!(words, ["RolledBack", "Adopting", "Stepping", "Better"]);
    }
}
