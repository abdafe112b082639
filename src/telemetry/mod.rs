//! What the daemon tells about itself: logs, every metric named once, and spans for a collector.
//!
//! Not here: the words of an event (`rollout`), the page that serves the metrics (`web`).

mod joined;
pub mod log;
pub mod metrics;
pub mod otlp;
mod rollouts;
pub mod traces;

pub use joined::joined;
pub use metrics::Metrics;
pub use rollouts::{RolloutSeries, RuleSeries};
pub use traces::Traces;
