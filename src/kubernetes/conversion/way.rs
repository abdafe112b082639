//! How a new revision is brought through: steps, strategy, and who is sent to the canary.
//!
//! Not here: what is asked of it meanwhile (`analysis`).

use std::time::Duration;

use super::{minutes, stays};
use crate::kubernetes::crd;
use crate::kubernetes::problem::{Problems, quoted};
use crate::rollout::alert::small;
use crate::rollout::plan::{HeaderMatch, HeaderValue, Match, Step, Strategy};

const STEPS_MAX: usize = 32;
/// Of a regular expression, in bytes.
const PATTERN_MAX: usize = 512;
const DEFAULT_WEIGHTS: [u8; 3] = [5, 25, 50];

/// How a new revision is brought through.
pub(super) struct Way {
    pub(super) steps: Vec<Step>,
    pub(super) strategy: Strategy,
    pub(super) matching: Option<Match>,
}

impl Problems {
    pub(super) fn strategy(&mut self, spec: &crd::RolloutSpec, bake: Option<Duration>) -> Way {
        let Some(strategy) = &spec.strategy else {
            return self.canary(None);
        };
        let given = [
            strategy.canary.is_some(),
            strategy.blue_green.is_some(),
            strategy.rolling.is_some(),
        ];
        let found = match given.iter().filter(|given| **given).count() {
            0 => Some("no strategy"),
            1 => None,
            2 => Some("two strategies"),
            _ => Some("three strategies"),
        };
        if let Some(found) = found {
            let wanted = "exactly one of: canary, blueGreen, rolling";
            self.note("spec.strategy", found, wanted);
        }
        match (&strategy.blue_green, &strategy.rolling) {
            (Some(blue_green), _) => self.blue_green(blue_green),
            (None, Some(rolling)) => self.rolling(rolling, spec, bake),
            (None, None) => self.canary(strategy.canary.as_ref()),
        }
    }

    /// What is watched after the roll is one step with all of the traffic.
    fn rolling(
        &mut self,
        rolling: &crd::Rolling,
        spec: &crd::RolloutSpec,
        bake: Option<Duration>,
    ) -> Way {
        let before = spec.smoke.as_ref().map(|smoke| &smoke.before_traffic);
        if let Some(tests) = before.filter(|tests| !tests.is_empty()) {
            let wanted =
                "none with `strategy.rolling`, which has no canary to test: use afterPromotion";
            self.note("spec.smoke.beforeTraffic", tests.join(", "), wanted);
        }
        if stays(spec) {
            let wanted =
                "no rolling where `onFailure.restoreTemplate` is false: nothing could be put back";
            self.note("spec.strategy", "rolling", wanted);
        }
        Way {
            steps: vec![Step {
                weight: 100,
                hold: bake.unwrap_or_default(),
                approval: false,
                approvers: None,
            }],
            strategy: Strategy::Rolling {
                approval: rolling.approval,
            },
            matching: None,
        }
    }

    fn canary(&mut self, canary: Option<&crd::Canary>) -> Way {
        let matching = canary.and_then(|canary| canary.matching.as_ref());
        Way {
            steps: self.steps(canary.map_or(&[], |canary| &canary.steps)),
            strategy: Strategy::Canary,
            matching: matching.map(|matching| self.matching(matching)),
        }
    }

    fn blue_green(&mut self, blue_green: &crd::BlueGreen) -> Way {
        let field = "spec.strategy.blueGreen.hold";
        Way {
            steps: vec![Step {
                weight: 100,
                hold: self.duration(field, blue_green.hold.as_deref(), minutes(10)),
                approval: false,
                approvers: None,
            }],
            strategy: Strategy::BlueGreen {
                approval: blue_green.approval,
            },
            matching: None,
        }
    }

    fn steps(&mut self, steps: &[crd::Step]) -> Vec<Step> {
        if steps.is_empty() {
            return DEFAULT_WEIGHTS
                .map(|weight| Step {
                    weight,
                    hold: Duration::ZERO,
                    approval: false,
                    approvers: None,
                })
                .to_vec();
        }
        let field = "spec.strategy.canary.steps";
        if steps.len() > STEPS_MAX {
            self.note(
                field,
                format!("{} steps", steps.len()),
                format!("at most {STEPS_MAX} steps"),
            );
        }
        for (index, pair) in steps.windows(2).enumerate() {
            if let [before, after] = pair
                && after.weight <= before.weight
            {
                let wanted = format!("more than the {} of the step before", before.weight);
                self.note(
                    &format!("{field}[{}].weight", index + 1),
                    after.weight.to_string(),
                    wanted,
                );
            }
        }
        steps
            .iter()
            .enumerate()
            .map(|(index, step)| self.step(&format!("{field}[{index}]"), step))
            .collect()
    }

    fn step(&mut self, field: &str, step: &crd::Step) -> Step {
        let weight = u8::try_from(step.weight)
            .ok()
            .filter(|weight| (1..=100).contains(weight));
        if weight.is_none() {
            self.note(
                &format!("{field}.weight"),
                step.weight.to_string(),
                "a whole number from 1 to 100",
            );
        }
        Step {
            weight: weight.unwrap_or(1),
            hold: self.duration(
                &format!("{field}.hold"),
                step.hold.as_deref(),
                Duration::ZERO,
            ),
            approval: step.approval || step.approvals.is_some(),
            approvers: step
                .approvals
                .as_ref()
                .map(|asked| self.approvals(&format!("{field}.approvals"), asked)),
        }
    }

    fn matching(&mut self, matching: &crd::Match) -> Match {
        let field = "spec.strategy.canary.match";
        if matching.header.is_none() && matching.cookie.is_none() {
            self.note(field, "neither", "a header or a cookie");
        }
        if matching.header.is_none() && (matching.value.is_some() || matching.pattern.is_some()) {
            self.note(
                field,
                "a value or pattern without a header",
                "the header that has it",
            );
        }
        if let Some(cookie) = &matching.cookie {
            self.http_name(&format!("{field}.cookie"), cookie);
        }
        Match {
            header: matching.header.as_ref().map(|name| {
                self.http_name(&format!("{field}.header"), name);
                HeaderMatch {
                    name: name.clone(),
                    value: self.header_value(field, matching),
                }
            }),
            cookie: matching.cookie.clone(),
        }
    }

    fn header_value(&mut self, field: &str, matching: &crd::Match) -> HeaderValue {
        match (&matching.value, &matching.pattern) {
            (None, None) => HeaderValue::Switch,
            (Some(value), None) => {
                if value.is_empty()
                    || !value
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "-._~/:".contains(c))
                {
                    // The controller drops an annotation that has anything else, and the canary with it.
                    self.note(
                        &format!("{field}.value"),
                        quoted(value),
                        "letters, digits and any of -._~/:",
                    );
                }
                HeaderValue::Exactly(value.clone())
            }
            (None, Some(pattern)) => {
                if pattern.is_empty() || pattern.len() > PATTERN_MAX || small(pattern).is_err() {
                    self.note(
                        &format!("{field}.pattern"),
                        quoted(pattern),
                        "a short regular expression such as ^beta-.*",
                    );
                }
                HeaderValue::Pattern(pattern.clone())
            }
            (Some(_), Some(_)) => {
                self.note(field, "value and pattern", "one of them");
                HeaderValue::Switch
            }
        }
    }
}
