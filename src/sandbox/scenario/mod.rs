//! Scenarios: a YAML timeline played on a cluster, with expectations.
//!
//! One format serves the demo, the tests and people who rehearse their own manifests. The
//! player works as people do, through the Kubernetes API and the router; it learns what the
//! daemon did from the Rollout's status, the canary Ingress and the answers that users got.
//!
//! * *The file*: `format`, its `fields` and `bound`s, read by `parse`; a step's `heading`.
//! * *Played*: `player` on a `stage`, moved to its `place`, in a `mode` of the gate. `acts` does what a step says, by `verbs`, `release`, `manifests`,
//!   `kinds` and `breaks`; with Git by `fleet`, `repository` and `flux`.
//! * *Expected*: `checks`, asked by `look`, held against what is wanted by `compare`; `journal` has what was so on the way, `measure` what came of a run.
//! * *Told*: `told`, to people by `terminal` and `table`, to programs by `lines`.
//!
//! Not here: the cluster itself (a [`Stage`] is handed in), and the daemon.

mod acts;
mod bound;
mod breaks;
mod checks;
mod compare;
mod fields;
mod fleet;
pub mod flux;
mod format;
mod heading;
mod journal;
mod kinds;
mod lines;
mod look;
mod manifests;
mod measure;
mod mode;
mod parse;
mod place;
mod player;
mod release;
mod repository;
mod stage;
mod table;
mod terminal;
mod told;
mod verbs;

pub use bound::Bound;
pub use breaks::{Break, DaemonFault, Fault, MetricsFault, RouterFault, WatchFault};
pub use checks::{Check, Expect};
pub use format::{ClusterSettings, Release, Run, Scenario, Step, Way};
pub use lines::JsonLines;
pub use manifests::send as apply;
pub use mode::Mode;
pub use parse::{Problem, Problems, files, load, manifests, parse};
pub use player::{Ended, play};
pub use stage::{Answer, Stage, Tally};
pub use terminal::Terminal;
pub use told::{Collected, Live, Row, Rule, Sink, Told};
