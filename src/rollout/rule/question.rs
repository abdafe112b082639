//! A rule as the question that is put to the evidence: its kind without where it is counted, and its margin.
//!
//! Not here: what a name without a rule asks ([`Question::unanswered`]), and how rules share alpha.

use super::{Kind, Rule};
use crate::rollout::evidence::{self, Bounds, Counted, Question};

impl Rule {
    /// What is asked; only samples of what the rule counts now answer it.
    pub fn question(&self) -> Question {
        Question {
            of: Counted::Of(self.counted()),
            name: self.name.clone(),
            kind: self.asks(),
            ratio: self.ratio,
            absolute: self.absolute,
            max: self.max,
        }
    }

    fn asks(&self) -> evidence::Kind {
        match &self.kind {
            Kind::Proportion(_) => evidence::Kind::Proportion,
            Kind::Latency(latency) => evidence::Kind::Latency {
                quantile: latency.quantile,
            },
            Kind::Events(_) => evidence::Kind::Events,
            Kind::Compare(compare) => evidence::Kind::Compare {
                higher: compare.higher,
                every: compare.every,
            },
            Kind::Value(value) => evidence::Kind::Value {
                bounds: Bounds {
                    min: value.min,
                    max: value.max,
                    failures: value.failures,
                    window: value.window,
                },
                every: value.every,
            },
            Kind::Load(load) => evidence::Kind::Load { every: load.every },
        }
    }
}
