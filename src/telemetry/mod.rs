//! What the daemon tells about itself: logs, and every metric named once.
//!
//! Not here: the words of an event (`rollout`), the page that serves the metrics (`web`).

pub mod log;
pub mod metrics;
mod rollouts;

pub use metrics::Metrics;
pub use rollouts::{RolloutSeries, RuleSeries};
