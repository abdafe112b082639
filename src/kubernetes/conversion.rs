//! From a Rollout on the wire to a [`Plan`], with all problems reported at once.
//!
//! The API server has checked the schema and the CEL rules, but not for files that are linted
//! offline nor on clusters without CEL, and it cannot know the rules: so everything is checked
//! here again. Every problem names the field, what was found and what is wanted.
//!
//! Not here: whether the named Deployment, Ingress and Service exist (`preflight`), and whether
//! two Rollouts have one target.

use std::collections::BTreeSet;
use std::time::Duration;

use super::crd::{self, Rollout};
pub use super::problem::Problem;
use super::problem::{Problems, quoted};
use crate::rollout::alert::Matcher;
use crate::rollout::approval::Approvals;
use crate::rollout::plan::{
    Analysis, ConfigChanges, HeaderMatch, HeaderValue, KnownGood, Match, NoDataThen, Plan, Route,
    Step, Strategy, UndecidedThen, WorkloadKind,
};

/// The prefix of the annotations where none is given.
pub const ANNOTATION_PREFIX: &str = "nginx.ingress.kubernetes.io";

const STEPS_MAX: usize = 32;
const DEFAULT_WEIGHTS: [u8; 3] = [5, 25, 50];
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

/// How a new revision is brought through.
struct Way {
    steps: Vec<Step>,
    strategy: Strategy,
    matching: Option<Match>,
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

    fn route(&mut self, spec: &crd::RolloutSpec) -> Route {
        let route = spec.route.as_ref();
        let nginx = route.and_then(|route| route.ingress_nginx.as_ref());
        let gateway = route.and_then(|route| route.gateway_api.as_ref());
        match (nginx, gateway) {
            (Some(nginx), None) => self.ingress_nginx(nginx),
            (None, Some(gateway)) => self.gateway_api(gateway, spec),
            (given, _) => {
                let found = given.map_or("nothing", |_| "ingressNginx and gatewayApi");
                let wanted = "the way by which the traffic comes, one of: ingressNginx, gatewayApi";
                self.note("spec.route", found, wanted);
                Route::GatewayApi {
                    http_route: String::new(),
                    service: None,
                }
            }
        }
    }

    fn ingress_nginx(&mut self, nginx: &crd::IngressNginx) -> Route {
        let prefix = nginx
            .annotation_prefix
            .as_deref()
            .unwrap_or(ANNOTATION_PREFIX);
        Route::IngressNginx {
            ingress: self.object_name("spec.route.ingressNginx.ingress", &nginx.ingress),
            service: nginx
                .service
                .as_deref()
                .map(|service| self.object_name("spec.route.ingressNginx.service", service)),
            prefix: self.object_name("spec.route.ingressNginx.annotationPrefix", prefix),
        }
    }

    fn gateway_api(&mut self, gateway: &crd::GatewayApi, spec: &crd::RolloutSpec) -> Route {
        let analysis = spec.analysis.as_ref();
        if analysis.is_none_or(|analysis| analysis.rules.is_empty()) {
            let wanted = "the rules of your Gateway's implementation, e.g. istio-error-rate (the default ones are ingress-nginx's)";
            self.note("spec.analysis.rules", "nothing", wanted);
        }
        let canary = spec.strategy.as_ref().and_then(|way| way.canary.as_ref());
        let matching = canary.and_then(|canary| canary.matching.as_ref());
        if let Some(cookie) = matching.and_then(|matching| matching.cookie.as_deref()) {
            let wanted =
                "none with `route.gatewayApi`, whose routes match no cookies: use a header";
            self.note("spec.strategy.canary.match.cookie", quoted(cookie), wanted);
        }
        let bare = |matching: &&crd::Match| {
            matching.header.is_some() && matching.value.is_none() && matching.pattern.is_none()
        };
        if let Some(header) = matching
            .filter(bare)
            .and_then(|matching| matching.header.as_deref())
        {
            let wanted =
                "a value or a pattern with it: `route.gatewayApi` knows no `always` and `never`";
            self.note("spec.strategy.canary.match.header", quoted(header), wanted);
        }
        Route::GatewayApi {
            http_route: self.object_name("spec.route.gatewayApi.httpRoute", &gateway.http_route),
            service: gateway
                .service
                .as_deref()
                .map(|service| self.object_name("spec.route.gatewayApi.service", service)),
        }
    }

    fn strategy(&mut self, spec: &crd::RolloutSpec, bake: Option<Duration>) -> Way {
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
                if pattern.is_empty() || regex::Regex::new(pattern).is_err() {
                    self.note(
                        &format!("{field}.pattern"),
                        quoted(pattern),
                        "a regular expression such as ^beta-.*",
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

    fn analysis(&mut self, analysis: &crd::Analysis, known_rules: &BTreeSet<String>) -> Analysis {
        let rate = analysis.false_rollback_rate.unwrap_or(0.01);
        if !(rate > 0.0 && rate <= 0.5) {
            self.note(
                "spec.analysis.falseRollbackRate",
                rate.to_string(),
                "a probability above 0, at most 0.5",
            );
        }
        let blast = self.percentage("spec.analysis.blast", analysis.blast.as_deref(), 0.002);
        let blast_max = self.percentage(
            "spec.analysis.blastMax",
            analysis.blast_max.as_deref(),
            0.02,
        );
        if let (Some(fine), Some(coarse)) = (blast, blast_max)
            && fine > coarse
        {
            let found = format!("{}%", fine * 100.0);
            self.note(
                "spec.analysis.blast",
                found,
                format!("at most blastMax, {}%", coarse * 100.0),
            );
        }
        Analysis {
            rules: self.rules(&analysis.rules, known_rules),
            false_rollback_rate: rate,
            within: self.positive(
                "spec.analysis.within",
                analysis.within.as_deref(),
                minutes(10),
            ),
            blast: blast.unwrap_or(0.002),
            blast_max: blast_max.unwrap_or(0.02),
            undecided: self.undecided(analysis.undecided.as_ref()),
            no_data: self.no_data(analysis.no_data.as_ref()),
        }
    }

    fn undecided(&mut self, undecided: Option<&crd::Undecided>) -> (Duration, UndecidedThen) {
        let after = undecided.and_then(|undecided| undecided.after.as_deref());
        let then = match undecided.map(|undecided| undecided.then) {
            None | Some(crd::UndecidedThen::Hold) => UndecidedThen::Hold,
            Some(crd::UndecidedThen::Promote) => UndecidedThen::Promote,
            Some(crd::UndecidedThen::Rollback) => UndecidedThen::Rollback,
        };
        (
            self.positive("spec.analysis.undecided.after", after, minutes(30)),
            then,
        )
    }

    fn no_data(&mut self, no_data: Option<&crd::NoData>) -> (Duration, NoDataThen) {
        let after = no_data.and_then(|no_data| no_data.after.as_deref());
        let then = match no_data.map(|no_data| no_data.then) {
            None | Some(crd::NoDataThen::Hold) => NoDataThen::Hold,
            Some(crd::NoDataThen::Rollback) => NoDataThen::Rollback,
        };
        (
            self.positive("spec.analysis.noData.after", after, minutes(5)),
            then,
        )
    }

    fn rules(&mut self, asked: &[String], known: &BTreeSet<String>) -> Vec<String> {
        let rules: Vec<String> = if asked.is_empty() {
            DEFAULT_RULES.map(str::to_owned).to_vec()
        } else {
            asked.to_vec()
        };
        for (index, rule) in rules.iter().enumerate() {
            let field = format!("spec.analysis.rules[{index}]");
            if !known.contains(rule) {
                self.note(&field, quoted(rule), known_names(known));
            } else if rules.iter().take(index).any(|earlier| earlier == rule) {
                self.note(&field, quoted(rule), "each rule once");
            }
        }
        rules
    }
}

/// Whether a failed template is left in place.
fn stays(spec: &crd::RolloutSpec) -> bool {
    let then = spec.on_failure.as_ref();
    then.is_some_and(|then| !then.restore_template)
}

fn known_names(known: &BTreeSet<String>) -> String {
    if known.is_empty() {
        return "a loaded rule (none is loaded)".to_owned();
    }
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    format!("one of: {}", names.join(", "))
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn known() -> BTreeSet<String> {
        ["error-rate", "latency-p99"].map(str::to_owned).into()
    }

    /// A good spec in which `with` replaces top-level fields.
    fn rollout(with: &Value) -> Rollout {
        let mut spec = json!({
            "target": {"kind": "Deployment", "name": "backend"},
            "route": {"ingressNginx": {"ingress": "backend"}},
        });
        json_patch::merge(&mut spec, with);
        serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "backend", "namespace": "production", "uid": "u", "generation": 3},
            "spec": spec,
        }))
        .unwrap()
    }

    fn problems(with: &Value) -> Vec<String> {
        match plan(&rollout(with), &known()) {
            Ok(plan) => panic!("accepted: {plan:?}"),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_bare_rollout_gets_the_defaults_of_a_careful_operator() {
        let plan = plan(&rollout(&json!({})), &known()).unwrap();
        let step = |weight| Step {
            weight,
            hold: Duration::ZERO,
            approval: false,
            approvers: None,
        };
        let expected = Plan {
            namespace: "production".into(),
            name: "backend".into(),
            uid: "u".into(),
            generation: 3,
            kind: WorkloadKind::Deployment,
            target: "backend".into(),
            route: Route::IngressNginx {
                ingress: "backend".into(),
                service: None,
                prefix: "nginx.ingress.kubernetes.io".into(),
            },
            steps: vec![step(5), step(25), step(50)],
            matching: None,
            analysis: Analysis {
                rules: vec!["error-rate".into(), "latency-p99".into()],
                false_rollback_rate: 0.01,
                within: minutes(10),
                blast: 0.002,
                blast_max: 0.02,
                undecided: (minutes(30), UndecidedThen::Hold),
                no_data: (minutes(5), NoDataThen::Hold),
            },
            progress_deadline: minutes(10),
            bake: None,
            restore_template: true,
            config_changes: ConfigChanges::Report,
            known_good: KnownGood::Promote,
            approvals: Approvals::default(),
            smoke: Vec::new(),
            smoke_after: Vec::new(),
            suspended: false,
            strategy: crate::rollout::plan::Strategy::Canary,
            moved_to: None,
        };
        assert_eq!(plan, expected);
    }

    #[test]
    fn what_is_said_is_taken() {
        let plan = plan(
            &rollout(&json!({
                "route": {"ingressNginx": {"ingress": "i", "service": "s", "annotationPrefix": "p.example"}},
                "strategy": {"canary": {
                    "steps": [{"weight": 1, "hold": "1m 30s"}, {"weight": 100, "approval": true}],
                    "match": {"header": "X-Canary", "pattern": "^beta", "cookie": "canary"},
                }},
                "analysis": {
                    "rules": ["latency-p99"], "falseRollbackRate": 0.05, "within": "1h", "blast": "1 %", "blastMax": "1%",
                    "undecided": {"after": "1m", "then": "promote"}, "noData": {"then": "rollback"},
                },
                "progressDeadline": "2m", "onFailure": {"restoreTemplate": false}, "configChanges": "run", "knownGood": "canary", "suspended": true,
            })),
            &known(),
        )
        .unwrap();
        assert_eq!(plan.steps[0].hold, Duration::from_secs(90));
        assert!(plan.steps[1].approval && plan.steps[1].weight == 100);
        let header = HeaderMatch {
            name: "X-Canary".into(),
            value: HeaderValue::Pattern("^beta".into()),
        };
        assert_eq!(
            plan.matching,
            Some(Match {
                header: Some(header),
                cookie: Some("canary".into())
            })
        );
        assert_eq!(
            plan.analysis.undecided,
            (minutes(1), UndecidedThen::Promote)
        );
        assert_eq!(plan.analysis.no_data, (minutes(5), NoDataThen::Rollback));
        assert_eq!((plan.analysis.blast, plan.analysis.blast_max), (0.01, 0.01));
        assert!(
            !plan.restore_template && plan.suspended && plan.config_changes == ConfigChanges::Run
        );
        assert_eq!(plan.known_good, KnownGood::Canary);
    }

    #[test]
    #[allow(clippy::too_many_lines)] // a table
    fn each_mistake_is_named_with_field_found_and_wanted() {
        let steps = |steps: Value| json!({"strategy": {"canary": {"steps": steps}}});
        let matching = |matching: Value| json!({"strategy": {"canary": {"match": matching}}});
        let analysis = |analysis: Value| json!({"analysis": analysis});
        let table = [
            (
                analysis(json!({"blast": "2x"})),
                r#"spec.analysis.blast: found "2x", wanted a percentage such as 0.2%"#,
            ),
            (
                analysis(json!({"blast": "0%"})),
                r#"spec.analysis.blast: found "0%", wanted a percentage such as 0.2%"#,
            ),
            (
                analysis(json!({"blast": "5%"})),
                "spec.analysis.blast: found 5%, wanted at most blastMax, 2%",
            ),
            (
                analysis(json!({"blastMax": "NaN%"})),
                r#"spec.analysis.blastMax: found "NaN%", wanted a percentage such as 0.2%"#,
            ),
            (
                analysis(json!({"falseRollbackRate": 0.6})),
                "spec.analysis.falseRollbackRate: found 0.6, wanted a probability above 0, at most 0.5",
            ),
            (
                analysis(json!({"falseRollbackRate": 0.0})),
                "spec.analysis.falseRollbackRate: found 0, wanted a probability above 0, at most 0.5",
            ),
            (
                analysis(json!({"within": "soon"})),
                r#"spec.analysis.within: found "soon", wanted a duration such as 90s, 5m or 1h 30m"#,
            ),
            (
                analysis(json!({"within": "0s"})),
                r#"spec.analysis.within: found "0s", wanted a duration above 0"#,
            ),
            (
                analysis(json!({"noData": {"after": "9years", "then": "hold"}})),
                r#"spec.analysis.noData.after: found "9years", wanted at most 366 days"#,
            ),
            (
                analysis(json!({"rules": ["eror-rate"]})),
                r#"spec.analysis.rules[0]: found "eror-rate", wanted one of: error-rate, latency-p99"#,
            ),
            (
                analysis(json!({"rules": ["error-rate", "error-rate"]})),
                r#"spec.analysis.rules[1]: found "error-rate", wanted each rule once"#,
            ),
            (
                steps(json!([{"weight": 0}])),
                "spec.strategy.canary.steps[0].weight: found 0, wanted a whole number from 1 to 100",
            ),
            (
                steps(json!([{"weight": 5}, {"weight": 101}])),
                "spec.strategy.canary.steps[1].weight: found 101, wanted a whole number from 1 to 100",
            ),
            (
                steps(json!([{"weight": 25}, {"weight": 5}])),
                "spec.strategy.canary.steps[1].weight: found 5, wanted more than the 25 of the step before",
            ),
            (
                steps(json!([{"weight": 5}, {"weight": 5}])),
                "spec.strategy.canary.steps[1].weight: found 5, wanted more than the 5 of the step before",
            ),
            (
                steps(json!(
                    (1..=33).map(|w| json!({"weight": w})).collect::<Vec<_>>()
                )),
                "spec.strategy.canary.steps: found 33 steps, wanted at most 32 steps",
            ),
            (
                steps(json!([{"weight": 5, "hold": "-1m"}])),
                r#"spec.strategy.canary.steps[0].hold: found "-1m", wanted a duration such as 90s, 5m or 1h 30m"#,
            ),
            (
                json!({"strategy": {"canary": {}, "blueGreen": {}}}),
                "spec.strategy: found two strategies, wanted exactly one of: canary, blueGreen, rolling",
            ),
            (
                json!({"smoke": {"afterPromotion": ["login"]}, "onFailure": {"restoreTemplate": false}}),
                "spec.smoke.afterPromotion: found login, wanted none where `onFailure.restoreTemplate` is false: nothing could be put back",
            ),
            (
                json!({"strategy": {"rolling": {}}, "onFailure": {"restoreTemplate": false}}),
                "spec.strategy: found rolling, wanted no rolling where `onFailure.restoreTemplate` is false: nothing could be put back",
            ),
            (
                json!({"strategy": {"rolling": {}}, "smoke": {"beforeTraffic": ["health"]}}),
                "spec.smoke.beforeTraffic: found health, wanted none with `strategy.rolling`, which has no canary to test: use afterPromotion",
            ),
            (
                json!({"strategy": {}}),
                "spec.strategy: found no strategy, wanted exactly one of: canary, blueGreen, rolling",
            ),
            (
                matching(json!({"header": "X-A", "pattern": "(["})),
                r#"spec.strategy.canary.match.pattern: found "([", wanted a regular expression such as ^beta-.*"#,
            ),
            (
                matching(json!({"header": "X-A", "value": "a b"})),
                r#"spec.strategy.canary.match.value: found "a b", wanted letters, digits and any of -._~/:"#,
            ),
            (
                matching(json!({"header": "X A"})),
                r#"spec.strategy.canary.match.header: found "X A", wanted a name of letters, digits, - and _, at most 128 characters"#,
            ),
            (
                matching(json!({"header": "X", "value": "a", "pattern": "a"})),
                "spec.strategy.canary.match: found value and pattern, wanted one of them",
            ),
            (
                matching(json!({"cookie": "c", "value": "a"})),
                "spec.strategy.canary.match: found a value or pattern without a header, wanted the header that has it",
            ),
            (
                matching(json!({})),
                "spec.strategy.canary.match: found neither, wanted a header or a cookie",
            ),
            (
                json!({"route": null}),
                "spec.route: found nothing, wanted the way by which the traffic comes, one of: ingressNginx, gatewayApi",
            ),
            (
                json!({"route": {"ingressNginx": {"ingress": ""}}}),
                "spec.route.ingressNginx.ingress: found nothing, wanted a name",
            ),
            (
                json!({"target": {"kind": "Job"}}),
                r#"spec.target.kind: found "Job", wanted Deployment, StatefulSet or DaemonSet"#,
            ),
            (
                json!({"target": {"kind": "StatefulSet"}}),
                r#"spec.target.kind: found "StatefulSet", wanted a Deployment, or `strategy.rolling`: there is no canary of another kind"#,
            ),
            (
                json!({"target": {"name": "Back End"}}),
                r#"spec.target.name: found "Back End", wanted a name of lower case letters, digits, - and ., at most 253 characters"#,
            ),
        ];
        for (with, expected) in table {
            assert_eq!(problems(&with), [expected], "{with}");
        }
    }

    #[test]
    fn a_gateways_route_needs_rules_and_takes_no_cookie() {
        let by_gateway = |matching: Value, rules: Value| {
            let mut rollout = rollout(
                &json!({"strategy": {"canary": {"match": matching}}, "analysis": {"rules": rules}}),
            );
            rollout.spec.route = Some(crd::Route {
                ingress_nginx: None,
                gateway_api: Some(crd::GatewayApi {
                    http_route: "backend".to_owned(),
                    service: None,
                }),
            });
            let known = BTreeSet::from(["error-rate".to_owned(), "latency-p99".to_owned()]);
            plan(&rollout, &known)
        };
        let value = json!({"header": "X-Canary", "value": "yes"});
        let read = by_gateway(value.clone(), json!(["error-rate"])).unwrap();
        assert_eq!(read.route.title(), "HTTPRoute backend");
        let refused = |matching, rules| {
            let problems = by_gateway(matching, rules).unwrap_err();
            problems[0].to_string()
        };
        assert!(refused(value, json!([])).starts_with("spec.analysis.rules: found nothing"));
        let rules = json!(["error-rate"]);
        assert!(refused(json!({"cookie": "c"}), rules.clone()).contains("match.cookie"));
        assert!(refused(json!({"header": "X"}), rules).contains("match.header"));
    }

    #[test]
    fn synthetic_load_needs_a_canary_to_ask() {
        let read = |strategy: Value| {
            let spec =
                json!({"strategy": strategy, "analysis": {"rules": ["error-rate", "probe"]}});
            let known: BTreeSet<String> = ["error-rate", "probe"].map(str::to_owned).into();
            let plan = plan(&rollout(&spec), &known).unwrap();
            answerable(plan, |name| name == "probe")
        };
        let refused = read(json!({"rolling": {}})).unwrap_err();
        assert_eq!(
            refused[0].to_string(),
            "spec.analysis.rules: found probe, wanted no rule with `load` with `strategy.rolling`, which has no canary to ask: one that counts requests"
        );
        assert!(read(json!({"canary": {}})).is_ok());
        assert!(read(json!({"blueGreen": {}})).is_ok());
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let found = problems(&json!({
            "route": null, "progressDeadline": "x",
            "strategy": {"canary": {"steps": [{"weight": 50, "hold": "y"}, {"weight": 0}]}},
            "analysis": {"blast": "z", "rules": ["nope"], "undecided": {"after": "w", "then": "hold"}},
        }));
        assert_eq!(found.len(), 8, "{found:#?}");
    }

    #[test]
    fn without_rules_the_defaults_must_be_loaded_too() {
        let refused = plan(&rollout(&json!({})), &BTreeSet::new()).unwrap_err();
        assert_eq!(refused.len(), 2);
        assert_eq!(refused[0].wanted, "a loaded rule (none is loaded)");
    }

    proptest! {
        #[test]
        fn whatever_is_written_no_conversion_panics(
            texts in proptest::collection::vec(".{0,40}", 8),
            weights in proptest::collection::vec(any::<i32>(), 0..40),
            rate in any::<f64>(),
        ) {
            let mut odd = rollout(&json!({"strategy": {"canary": {"match": {"header": "x", "pattern": texts[0]}}}}));
            odd.spec.analysis = Some(crd::Analysis {
                rules: vec![texts[1].clone()],
                false_rollback_rate: Some(rate),
                within: Some(texts[2].clone()),
                blast: Some(format!("{}%", texts[3])),
                blast_max: Some(texts[4].clone()),
                undecided: None,
                no_data: Some(crd::NoData { after: Some(texts[5].clone()), then: crd::NoDataThen::Hold }),
            });
            odd.spec.target.name.clone_from(&texts[6]);
            if let Some(canary) = odd.spec.strategy.as_mut().and_then(|strategy| strategy.canary.as_mut()) {
                canary.steps = weights
                    .iter()
                    .map(|weight| crd::Step { weight: *weight, hold: Some(texts[7].clone()), approval: false, approvals: None })
                    .collect();
            }
            let all: BTreeSet<String> = texts.iter().cloned().collect();
            if let Ok(plan) = plan(&odd, &all) {
                prop_assert!(plan.steps.iter().all(|step| (1..=100).contains(&step.weight)));
                prop_assert!(plan.analysis.blast <= plan.analysis.blast_max);
            }
        }
    }
}
