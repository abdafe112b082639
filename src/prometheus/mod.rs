//! The edge to metrics: cumulative counters in, increments of both arms out.
//!
//! A [`Source`] is Prometheus itself or the direct scraper, which reads the router's pods and
//! needs no Prometheus. It is asked each tick for all subjects that are in a run, and answers
//! with [`Reading`]s: samples since the subject's cursor, or why there are none. Load grows
//! with the rules, not with the subjects, and nothing is asked when there is no subject.
//!
//! * *Asking*: `source` is one look at all subjects, each rule of which it will `follow` to the next. It asks `client` (a `query` a rule, in `parts` where it is too large, as far back as `reach` says, read by `reply` and
//!   `native`), or `scrape` (by `exposition`). `skew` compares clocks, `error` says what went wrong.
//! * *Sorting*: `sorting` says whose a series is, `twins` whether it is there twice.
//! * *Counting*: of each `process`, gathered in `rounds`, `counters` make samples by way of a `tally`; `cursor` is how far they have come. `sampled` and
//!   `window` do so for rules that are queries.
//! * *What was*: `history`.
//!
//! Not here: what the samples mean (`rollout::evidence`), and how old is too old (the plan).

mod client;
mod counters;
mod cursor;
mod error;
mod exposition;
mod follow;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod history;
mod native;
mod parts;
mod process;
mod query;
mod reach;
mod reply;
mod rounds;
mod sampled;
mod scrape;
mod skew;
mod sorting;
mod source;
mod tally;
#[cfg(test)]
mod tests;
mod twins;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::rollout::evidence::Sample;
use crate::rollout::rule::{Rule, Variable};
use tally::Arm;

pub use client::{Prometheus, http_client};
pub use cursor::Cursor;
pub use error::Error;
pub use history::History;
pub use scrape::{Answers, Scrape, Targets};
pub use source::Source;

/// Which Rollout a reading is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace of the Rollout.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A Rollout whose metrics are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// Namespace of the Rollout and of its Ingress.
    pub namespace: String,
    /// Name of the Rollout.
    pub name: String,
    /// The stable Ingress.
    pub ingress: String,
    /// Other Ingresses whose requests both arms get, since they lead to the same Service and port:
    /// where a rule selects `{{ingress}}`, theirs are counted with the stable one's.
    pub other_ingresses: Vec<String>,
    /// The stable Service.
    pub service: String,
    /// The canary's Service.
    pub canary_service: String,
    /// The Service's port, as the Ingress names it.
    pub port: String,
    /// Its other ports that the Ingress leads to: where an arm is told by `{{port}}`, by any of them.
    pub other_ports: Vec<String>,
    /// The stable workload.
    pub workload: String,
    /// The canary's Deployment.
    pub canary_workload: String,
    /// The names of the canary's pods, as a regular expression.
    pub canary_pods: String,
    /// The names of stable's pods, as a regular expression.
    pub stable_pods: String,
    /// The rules that are asked.
    pub rules: Vec<Arc<Rule>>,
    /// How far the caller has counted: the cursor of the last reading that it used. A cursor
    /// that differs from the source's own position makes the source read again from there.
    pub cursor: Option<Cursor>,
    /// Samples that begin before this are left out.
    pub since: Timestamp,
}

impl Subject {
    /// Which Rollout this is.
    pub fn key(&self) -> Key {
        Key {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// The value of a template's variable; empty for what differs from arm to arm.
    pub fn value(&self, variable: Variable) -> &str {
        match variable {
            Variable::Namespace => &self.namespace,
            Variable::Ingress => &self.ingress,
            Variable::Service => &self.service,
            Variable::CanaryService => &self.canary_service,
            Variable::Port => &self.port,
            Variable::Name => &self.name,
            Variable::Workload => &self.workload,
            Variable::CanaryWorkload => &self.canary_workload,
            Variable::CanaryPods => &self.canary_pods,
            Variable::StablePods => &self.stable_pods,
            Variable::Pods | Variable::Arm => "",
        }
    }

    /// The same with another Ingress in the stable one's place.
    fn value_for<'a>(&'a self, variable: Variable, ingress: &'a str) -> &'a str {
        match variable {
            Variable::Ingress => ingress,
            other => self.value(other),
        }
    }

    /// The same in a query for one arm.
    fn value_of(&self, variable: Variable, arm: Arm) -> &str {
        match (variable, arm) {
            (Variable::Pods, Arm::Canary) => &self.canary_pods,
            (Variable::Pods, Arm::Stable) => &self.stable_pods,
            (Variable::Arm, Arm::Canary) => "canary",
            (Variable::Arm, Arm::Stable) => "stable",
            _ => self.value(variable),
        }
    }
}

impl Reading {
    /// How much worse than stable the canary looks by what was read: only an order follows from it.
    pub fn suspicion(&self) -> f64 {
        let each = self.samples.iter().map(Sample::suspicion);
        each.fold(0.0, f64::max)
    }
}

/// What was read for one subject.
///
/// Guarantees: samples of a rule have rising `to`; reading again from a cursor brings the same
/// increments again, none lost and none twice. Caveats: with the scraper, increments since a
/// cursor come as one sample, since it cannot look back.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Increments since the cursor, oldest first, all rules.
    pub samples: Vec<Sample>,
    /// The time up to which every rule has been read; `None` if a rule has never been seen.
    pub newest: Option<Timestamp>,
    /// The same for each rule.
    pub newest_of: BTreeMap<String, Timestamp>,
    /// Where to go on; save it together with what the samples led to.
    pub cursor: Cursor,
    /// What is wrong without stopping the reading, in sentences.
    pub problems: Vec<String>,
    /// Why a rule could not be read now, in a sentence; the other rules' samples are there.
    pub absent: Option<String>,
}

/// The readings of all subjects that were asked for.
pub type Readings = BTreeMap<Key, Reading>;
