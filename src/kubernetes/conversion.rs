//! From a Rollout on the wire to a [`Plan`], with all problems reported at once.
//!
//! The API server has checked the schema and the CEL rules, but not for files that are linted
//! offline nor on clusters without CEL, and it cannot know the rules: so everything is checked
//! here again. Every problem names the field, what was found and what is wanted.
//!
//! The parts: `route`, `way` (the strategy) and `analysis`. Not here: whether the named Deployment,
//! Ingress and Service exist (`preflight`), and whether two Rollouts have one target.

mod analysis;
mod route;
mod way;

use std::collections::BTreeSet;
use std::time::Duration;

use super::crd::{self, Rollout};
pub use super::problem::Problem;
use super::problem::{Problems, quoted};
use crate::rollout::alert::Matcher;
use crate::rollout::approval::Approvals;
use crate::rollout::plan::{ConfigChanges, KnownGood, Plan, WorkloadKind};

/// The prefix of the annotations where none is given.
pub const ANNOTATION_PREFIX: &str = "nginx.ingress.kubernetes.io";

/// Regular expressions in the matchers of one Rollout: all are compiled in each pass.
const PATTERNS_MAX: usize = 32;

/// The rules where none are named.
pub const DEFAULT_RULES: [&str; 2] = ["error-rate", "latency-p99"];

/// The plan that a Rollout says, or everything that is wrong with it.
///
/// `known_rules` are the names of the loaded rules.
pub fn plan(rollout: &Rollout, known_rules: &BTreeSet<String>) -> Result<Plan, Vec<Problem>> {
    let mut problems = Problems::default();
    let plan = problems.plan(rollout, known_rules);
    if problems.0.is_empty() {
        Ok(plan)
    } else {
        Err(problems.0)
    }
}

fn patterns(alerts: &[Vec<Matcher>]) -> usize {
    let all = alerts.iter().flatten();
    all.filter(|matcher| matcher.has_pattern()).count()
}

/// The alerts that a Rollout says to count.
pub fn alerts(rollout: &Rollout) -> Result<Vec<Vec<Matcher>>, Vec<Problem>> {
    let mut problems = Problems::default();
    let alerts = problems.alerts(&rollout.spec.alerts);
    if problems.0.is_empty() {
        Ok(alerts)
    } else {
        Err(problems.0)
    }
}

/// What a plan asks that its strategy cannot give: synthetic load goes to both arms, and a rolling
/// release has one. `is_load` says whether a rule of this name is such a load.
///
/// # Errors
///
/// The problem, once for all such rules.
pub fn answerable(plan: Plan, is_load: impl Fn(&str) -> bool) -> Result<Plan, Vec<Problem>> {
    let named = plan.analysis.rules.iter();
    let loads = named.filter(|name| plan.strategy.is_rolling() && is_load(name));
    let loads: Vec<&str> = loads.map(String::as_str).collect();
    if loads.is_empty() {
        return Ok(plan);
    }
    let mut problems = Problems::default();
    let wanted = "no rule with `load` with `strategy.rolling`, which has no canary to ask: one that counts requests";
    problems.note("spec.analysis.rules", loads.join(", "), wanted);
    Err(problems.0)
}

/// Each method reads one part, notes its problems and goes on with a stand-in value, which nobody
/// sees as the plan is then refused.
impl Problems {
    fn plan(&mut self, rollout: &Rollout, known_rules: &BTreeSet<String>) -> Plan {
        let spec = &rollout.spec;
        let meta = &rollout.metadata;
        let bake = self.bake(spec);
        let way = self.strategy(spec, bake);
        self.alerts(&spec.alerts);
        Plan {
            namespace: meta
                .namespace
                .clone()
                .unwrap_or_else(|| "default".to_owned()),
            name: self.object_name("metadata.name", meta.name.as_deref().unwrap_or_default()),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            kind: self.kind(spec),
            target: self.object_name("spec.target.name", &spec.target.name),
            route: self.route(spec),
            steps: way.steps,
            strategy: way.strategy,
            matching: way.matching,
            analysis: self.analysis(&spec.analysis.clone().unwrap_or_default(), known_rules),
            progress_deadline: self.positive(
                "spec.progressDeadline",
                spec.progress_deadline.as_deref(),
                minutes(10),
            ),
            bake,
            restore_template: spec
                .on_failure
                .as_ref()
                .is_none_or(|then| then.restore_template),
            config_changes: match spec.config_changes {
                None | Some(crd::ConfigChanges::Report) => ConfigChanges::Report,
                Some(crd::ConfigChanges::Run) => ConfigChanges::Run,
            },
            known_good: match spec.known_good {
                None | Some(crd::KnownGood::Promote) => KnownGood::Promote,
                Some(crd::KnownGood::Canary) => KnownGood::Canary,
            },
            smoke: spec
                .smoke
                .as_ref()
                .map_or_else(Vec::new, |smoke| smoke.before_traffic.clone()),
            smoke_after: self.smoke_after(spec),
            approvals: spec
                .approvals
                .as_ref()
                .map_or_else(Approvals::default, |asked| {
                    self.approvals("spec.approvals", asked)
                }),
            suspended: spec.suspended,
            moved_to: None,
        }
    }

    fn approvals(&mut self, field: &str, asked: &crd::Approvals) -> Approvals {
        let required = asked.required.unwrap_or(1);
        let count = u8::try_from(required).ok();
        let count = count.filter(|count| (1..=20).contains(count));
        if count.is_none() {
            let wanted = "a whole number from 1 to 20";
            self.note(&format!("{field}.required"), required.to_string(), wanted);
        }
        let expires = asked.expires.as_deref();
        let field = format!("{field}.expires");
        let expires = expires.map(|text| self.positive(&field, Some(text), minutes(60)));
        let from = &asked.from;
        Approvals {
            required: count.unwrap_or(1),
            from: (!from.is_empty())
                .then(|| from.clone())
                .into_iter()
                .collect(),
            expires,
            not_author: asked.not_author,
        }
    }

    fn alerts(&mut self, alerts: &[crd::AlertMatch]) -> Vec<Vec<Matcher>> {
        let mut all = Vec::new();
        for (index, alert) in alerts.iter().enumerate() {
            let field = format!("spec.alerts[{index}].matchers");
            if alert.matchers.is_empty() {
                self.note(
                    &field,
                    "no matcher",
                    "at least one, e.g. alertname=\"Slow\"",
                );
            }
            let read = alert.matchers.iter().filter_map(|text| {
                let matcher = text.parse::<Matcher>();
                matcher
                    .map_err(|error| {
                        let found = format!("{} ({error})", quoted(text));
                        self.note(&field, found, "a matcher, e.g. severity=\"critical\"");
                    })
                    .ok()
            });
            all.push(read.collect());
            if patterns(&all) > PATTERNS_MAX {
                let found = "too many regular expressions (=~, !~)";
                let wanted = format!("at most {PATTERNS_MAX} of them in all of spec.alerts");
                self.note(&field, found, wanted);
                break;
            }
        }
        all
    }

    fn smoke_after(&mut self, spec: &crd::RolloutSpec) -> Vec<String> {
        let tests = spec.smoke.as_ref().map(|smoke| &smoke.after_promotion);
        let tests = tests.cloned().unwrap_or_default();
        if !tests.is_empty() && stays(spec) {
            let wanted =
                "none where `onFailure.restoreTemplate` is false: nothing could be put back";
            self.note("spec.smoke.afterPromotion", tests.join(", "), wanted);
        }
        tests
    }

    fn bake(&mut self, spec: &crd::RolloutSpec) -> Option<Duration> {
        let rolling = spec.strategy.as_ref().and_then(|way| way.rolling.as_ref());
        let Some(text) = spec.bake.as_deref() else {
            return rolling.map(|_| minutes(10));
        };
        if stays(spec) {
            let wanted =
                "no bake where `onFailure.restoreTemplate` is false: nothing could be put back";
            self.note("spec.bake", quoted(text), wanted);
        }
        Some(self.positive("spec.bake", Some(text), minutes(10)))
    }

    /// Only of a Deployment a canary can be made; the others roll by themselves.
    fn kind(&mut self, spec: &crd::RolloutSpec) -> WorkloadKind {
        let found = &spec.target.kind;
        let Some(kind) = WorkloadKind::named(found) else {
            let wanted = "Deployment, StatefulSet or DaemonSet";
            self.note("spec.target.kind", quoted(found), wanted);
            return WorkloadKind::default();
        };
        let rolling = spec
            .strategy
            .as_ref()
            .is_some_and(|way| way.rolling.is_some());
        if !kind.is_deployment() && !rolling {
            let wanted = "a Deployment, or `strategy.rolling`: there is no canary of another kind";
            self.note("spec.target.kind", quoted(found), wanted);
        }
        kind
    }
}

/// Whether a failed template is left in place.
fn stays(spec: &crd::RolloutSpec) -> bool {
    let then = spec.on_failure.as_ref();
    then.is_some_and(|then| !then.restore_template)
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

#[cfg(test)]
mod tests;
