//! What a Rollout on the wire becomes, and what is said of one that cannot be taken.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::rollout::plan::{
    Analysis, HeaderMatch, HeaderValue, Match, NoDataThen, Route, Step, UndecidedThen,
};

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
    assert!(!plan.restore_template && plan.suspended && plan.config_changes == ConfigChanges::Run);
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
            r#"spec.strategy.canary.match.pattern: found "([", wanted a short regular expression such as ^beta-.*"#,
        ),
        (
            matching(json!({"header": "X-A", "pattern": "(a{1000}){1000}"})),
            r#"spec.strategy.canary.match.pattern: found "(a{1000}){1000}", wanted a short regular expression such as ^beta-.*"#,
        ),
        (
            json!({"alerts": vec![json!({"matchers": ["a=~b", "c!~d", "e=f"]}); 17]}),
            "spec.alerts[16].matchers: found too many regular expressions (=~, !~), wanted at most 32 of them in all of spec.alerts",
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
        let spec = json!({"strategy": strategy, "analysis": {"rules": ["error-rate", "probe"]}});
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
