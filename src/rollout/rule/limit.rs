//! The fixed limit of a rule as people write it: `max: 1%`, or `max: {quantile: 0.99, seconds: 0.5}`.
//!
//! The first is for a share of bad requests, the second for times: at most 1% slower than half a
//! second. Not here: how it is tested (`stats::objective`).

use super::yaml::{Reader, number, percentage};
use super::{Kind, Max};
use crate::yaml::Node;

impl Reader<'_> {
    /// The limit that is written; `None` after a mistake, which is told.
    pub(super) fn limit(&mut self, node: &Node, kind: &Kind, key: &str) -> Option<Max> {
        match kind {
            Kind::Proportion(_) | Kind::Load(_) => self.most(node, key),
            Kind::Latency(_) => self.slowest(node, key),
            Kind::Events(_) | Kind::Compare(_) | Kind::Value(_) => {
                self.tell(
                    node.place,
                    key,
                    "a limit is for `proportion`, `latency` and `load`",
                );
                None
            }
        }
    }

    fn most(&mut self, node: &Node, key: &str) -> Option<Max> {
        let percent = percentage(&node.kind).filter(|percent| *percent > 0.0 && *percent < 100.0);
        if percent.is_none() {
            let right = "a percentage above 0% and under 100% is right, as in 1%";
            self.wrong(node, key, right);
        }
        percent.map(|percent| Max {
            share: percent / 100.0,
            seconds: None,
        })
    }

    fn slowest(&mut self, node: &Node, path: &str) -> Option<Max> {
        let mut fields = self.fields(node, path)?;
        let quantile = self
            .required(&mut fields, "quantile")
            .and_then(|node| self.quantile(node, &fields.path("quantile")));
        let seconds = self
            .required(&mut fields, "seconds")
            .and_then(|node| self.seconds(node, &fields.path("seconds")));
        self.leftovers(&fields);
        Some(Max {
            share: 1.0 - quantile?,
            seconds: Some(seconds?),
        })
    }

    fn seconds(&mut self, node: &Node, key: &str) -> Option<f64> {
        let seconds = number(&node.kind).filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        if seconds.is_none() {
            let right = "a number above 0 is right, in the metric's own unit, as in 0.5";
            self.wrong(node, key, right);
        }
        seconds
    }
}
