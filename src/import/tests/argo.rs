//! What of Argo's resources must not get lost, what must not come to mean something else, and the switch.

use super::*;

/// A Rollout with this in `spec` and this in its canary strategy.
fn rollout(spec: &str, canary: &str) -> String {
    format!(
        "
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {{name: shop}}
spec:
  {spec}
  strategy: {{canary: {{{canary}}}}}
---
"
    )
}

const OWN: &str = "selector: {matchLabels: {app: shop}}
  template: {metadata: {labels: {app: shop}}, spec: {containers: [{name: c, image: 'i:1'}]}}";
const REFERRING: &str =
    "workloadRef: {apiVersion: apps/v1, kind: Deployment, name: shop, scaleDown: onsuccess}";

/// A template of this kind with this in `spec`.
fn template(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "
apiVersion: argoproj.io/v1alpha1
kind: {kind}
metadata: {{name: {name}}}
spec: {{{spec}}}
---
"
    )
}

/// A metric with this query and these fields.
fn metric(name: &str, query: &str, fields: &str) -> String {
    format!("{{name: {name}, provider: {{prometheus: {{query: '{query}'}}}}, {fields}}}")
}

/// What becomes of one metric.
fn of_metric(fields: &str) -> Converted {
    let metrics = format!("metrics: [{}]", metric("m", "q", fields));
    let text = rollout(OWN, "analysis: {templates: [{templateName: t}]}")
        + &template("AnalysisTemplate", "t", &metrics);
    convert_one(From::Argo, &text)
}

#[test]
fn a_rule_fails_at_the_very_numbers_at_which_the_metric_does() {
    let cases = [
        (
            "failureCondition: 'result[0] >= 1'",
            "max",
            0.999_999_999_999_999_9,
        ),
        ("failureCondition: 'result[0] > 1'", "max", 1.0),
        (
            "successCondition: 'result[0] > 0'",
            "min",
            f64::from_bits(1),
        ),
        (
            "successCondition: 'result[0] >= 0.5', failureCondition: 'result[0] < 0.5'",
            "min",
            0.5,
        ),
    ];
    for (conditions, side, wanted) in cases {
        let all = of_metric(conditions);
        is_right(&all);
        let value = &all.rules[0]["value"];
        assert_eq!(value[side].as_f64(), Some(wanted), "{conditions}: {value}");
    }
}

#[test]
fn a_metric_that_no_rule_equals_is_left_out_and_said() {
    let good = "successCondition: 'result[0] <= 1'";
    let cases = [
        (
            "successCondition: 'result[0] >= 0.9', failureCondition: 'result[0] < 0.5'".to_owned(),
            "Argo waits for a person",
        ),
        (
            format!("{good}, failureLimit: -1"),
            "failureLimit: -1: no failures are too many",
        ),
        (
            format!("{good}, failureLimit: many"),
            "failureLimit: found \"many\", wanted a whole number",
        ),
        (
            format!("{good}, failureLimit: 100"),
            "counts the newest 100 numbers",
        ),
    ];
    for (fields, wanted) in cases {
        let all = of_metric(&fields);
        assert!(all.rules.is_empty(), "{fields}: {:#?}", all.rules);
        has(&all.notes, wanted);
    }
    let all = of_metric(&format!("{good}, failureLimit: '3'"));
    assert_eq!(all.rules[0]["value"]["failures"], 4);
}

#[test]
fn a_range_of_numbers_is_no_rule() {
    let metric = "{name: m, successCondition: 'result <= 1', provider: {prometheus: {query: q, rangeQuery: {step: 1m}}}}";
    let text = rollout(OWN, "analysis: {templates: [{templateName: t}]}")
        + &template("AnalysisTemplate", "t", &format!("metrics: [{metric}]"));
    let all = convert_one(From::Argo, &text);
    assert!(all.rules.is_empty(), "{:#?}", all.rules);
    has(
        &all.notes,
        "provider.prometheus.rangeQuery: a rule's query is asked for one moment",
    );
}

#[test]
fn what_is_dry_run_is_no_rule() {
    let good = "successCondition: 'result[0] <= 1'";
    let metrics = [
        metric("latency", "a", good),
        metric("errors", "b", good),
        metric("other", "c", good),
    ];
    let metrics = format!(
        "metrics: [{}], dryRun: [{{metricName: 'err.*'}}]",
        metrics.join(", ")
    );
    let text = rollout(
        OWN,
        "analysis: {templates: [{templateName: t}], dryRun: [{metricName: latency}]}",
    ) + &template("AnalysisTemplate", "t", &metrics);
    let all = convert_one(From::Argo, &text);
    let queries: Vec<&Value> = all
        .rules
        .iter()
        .map(|rule| &rule["value"]["query"])
        .collect();
    assert_eq!(queries, ["c"]);
    has(&all.notes, "metric latency: dryRun: it fails nothing there");
    has(&all.notes, "metric errors: dryRun: it fails nothing there");
}

#[test]
fn templates_of_templates_are_followed_and_clusters_ones_are_the_clusters() {
    let of = |query: &str| {
        format!(
            "metrics: [{}]",
            metric("m", query, "successCondition: 'result <= 1'")
        )
    };
    let outer = "templates: [{templateName: inner}, {templateName: common, clusterScope: true}, {templateName: outer}]";
    let text = rollout(OWN, "analysis: {templates: [{templateName: outer}]}")
        + &template("AnalysisTemplate", "outer", outer)
        + &template("AnalysisTemplate", "inner", &of("inner"))
        + &template("AnalysisTemplate", "common", &of("namespaced"))
        + &template("ClusterAnalysisTemplate", "common", &of("clusterwide"));
    let all = convert_one(From::Argo, &text);
    is_right(&all);
    let queries: Vec<&Value> = all
        .rules
        .iter()
        .map(|rule| &rule["value"]["query"])
        .collect();
    assert_eq!(queries, ["inner", "clusterwide"]);
}

#[test]
fn one_template_with_two_arguments_is_two_rules() {
    let asked = metric(
        "m",
        "q{s=\"{{args.s}}\"}",
        "successCondition: 'result <= 1'",
    );
    let steps = ["a", "b", "a"]
        .map(|value| format!("{{setWeight: 10}}, {{analysis: {{templates: [{{templateName: t}}], args: [{{name: s, value: {value}}}]}}}}"));
    let text = rollout(OWN, &format!("steps: [{}]", steps.join(", ")))
        + &template(
            "AnalysisTemplate",
            "t",
            &format!("args: [{{name: s, value: x}}], metrics: [{asked}]"),
        );
    let all = convert_one(From::Argo, &text);
    is_right(&all);
    let found: Vec<(&Value, &Value)> = all
        .rules
        .iter()
        .map(|rule| (&rule["name"], &rule["value"]["query"]))
        .collect();
    let (one, other) = (json!("shop-t-m"), json!("shop-t-m-2"));
    assert_eq!(
        found,
        [(&one, &json!("q{s=\"a\"}")), (&other, &json!("q{s=\"b\"}"))]
    );
    let rules = json!(["error-rate", "latency-p99", "shop-t-m", "shop-t-m-2"]);
    assert_eq!(all.objects[1]["spec"]["analysis"]["rules"], rules);
}

#[test]
fn services_that_go_with_argo_become_names_for_them() {
    let asked = metric(
        "m",
        "q{s=\"{{args.s}}\", n=\"{{args.space}}\"}",
        "successCondition: 'result <= 1'",
    );
    let cases = [
        (
            "value: shop-canary",
            "q{s=\"{{canaryService}}\", n=\"{{namespace}}\"}",
        ),
        (
            "value: shop-canary.n.svc",
            "q{s=\"{{canaryService}}.n.svc\", n=\"{{namespace}}\"}",
        ),
        (
            "value: shop-stable",
            "q{s=\"{{service}}\", n=\"{{namespace}}\"}",
        ),
        (
            "value: shop-canary-2",
            "q{s=\"shop-canary-2\", n=\"{{namespace}}\"}",
        ),
    ];
    for (argument, wanted) in cases {
        let canary = format!("stableService: shop-stable, canaryService: shop-canary, analysis: {{templates: [{{templateName: t}}],
          args: [{{name: s, {argument}}}, {{name: space, valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}}}]}}");
        let text = rollout(OWN, &canary)
            + &template("AnalysisTemplate", "t", &format!("metrics: [{asked}]"));
        let all = convert_one(From::Argo, &text);
        is_right(&all);
        assert_eq!(all.rules[0]["value"]["query"], wanted, "{argument}");
    }
    // The template's own value does not stand in for one that is not known.
    let text = rollout(
        OWN,
        "analysis: {templates: [{templateName: t}], args: [{name: s, valueFrom: {podTemplateHashValue: Latest}}]}",
    ) + &template(
        "AnalysisTemplate",
        "t",
        &format!("args: [{{name: s, value: x}}, {{name: space, value: y}}], metrics: [{asked}]"),
    );
    let all = convert_one(From::Argo, &text);
    assert!(all.rules.is_empty(), "{:#?}", all.rules);
    has(&all.notes, "{{args.s}} has no value that is known here");
}

#[test]
fn an_ingress_of_a_list_a_route_of_the_plugin_and_testers_headers_are_kept() {
    let listed = rollout(OWN, "trafficRouting: {nginx: {stableIngresses: [primary, second],
      additionalIngressAnnotations: {canary-by-header: X-Canary, canary-by-header-value: iwantsit, limit-rps: '1'}}}");
    let all = convert_one(From::Argo, &listed);
    is_right(&all);
    let spec = &all.objects[1]["spec"];
    assert_eq!(
        spec["route"],
        json!({"ingressNginx": {"ingress": "primary"}})
    );
    let wanted = json!({"header": "X-Canary", "value": "iwantsit"});
    assert_eq!(spec["strategy"]["canary"]["match"], wanted);
    has(
        &all.notes,
        "one Ingress is split, primary; second would go on",
    );
    has(
        &all.notes,
        "additionalIngressAnnotations: limit-rps: \"1\" has no counterpart",
    );
    let by_plugin = rollout(
        OWN,
        "stableService: s, canaryService: c,
      trafficRouting: {plugins: {argoproj-labs/gatewayAPI: {httpRoute: shop-route}}}",
    );
    let all = convert_one(From::Argo, &by_plugin);
    let wanted = json!({"gatewayApi": {"httpRoute": "shop-route", "service": "s"}});
    assert_eq!(all.objects[1]["spec"]["route"], wanted);
    in_order(
        &all.steps,
        &[
            "kubectl delete rollouts.argoproj.io shop",
            "kubectl edit httproute shop-route",
            "kubectl delete service c",
        ],
    );
}

#[test]
fn what_is_read_over_is_said_and_the_deployment_keeps_labels_and_annotations() {
    let text = rollout(
        OWN,
        "canaryMetadata: {labels: {a: b}}, scaleDownDelaySeconds: 0, analysis: {startingStep: 2, templates: [{templateName: t}]}",
    )
    .replace(
        "{name: shop}",
        "{name: shop, labels: {team: a}, annotations: {reloader.stakater.com/auto: 'true', rollout.argoproj.io/revision: '3'}}",
    ) + &template("AnalysisTemplate", "t", "metrics: [{name: m, initialDelay: 1m, count: 5, successCondition: 'result <= 1',
        provider: {prometheus: {query: q, address: 'http://other:9090'}}}]");
    let all = convert_one(From::Argo, &text);
    is_right(&all);
    let wanted = json!({"name": "shop", "labels": {"team": "a"}, "annotations": {"reloader.stakater.com/auto": "true"}});
    assert_eq!(all.objects[0]["metadata"], wanted);
    for wanted in [
        "spec.strategy.canary.canaryMetadata: {\"labels\":{\"a\":\"b\"}} has no counterpart",
        "spec.strategy.canary.scaleDownDelaySeconds: 0 has no counterpart",
        "spec.strategy.canary.analysis.startingStep: found 2",
        "metric m: initialDelay: found 1m",
        "metric m: count: found 5",
        "metric m: provider.prometheus.address: asked at http://other:9090",
    ] {
        has(&all.notes, wanted);
    }
}

#[test]
fn a_rollout_without_pods_or_a_name_is_refused_with_the_field() {
    let whole = rollout(OWN, "steps: [{setWeight: 10}]");
    let cases = [
        ("metadata: {name: shop}", "metadata.name: found nothing"),
        (
            "selector: {matchLabels: {app: shop}}",
            "spec.selector: found nothing",
        ),
    ];
    for (without, wanted) in cases {
        let all = convert_one(From::Argo, &whole.replace(without, ""));
        assert!(all.objects.is_empty(), "{without}: {:#?}", all.objects);
        has(&all.notes, wanted);
    }
}

#[test]
fn an_autoscaled_rollout_gives_its_pods_to_a_deployment_of_as_many() {
    let scaler = "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop-hpa}
spec: {minReplicas: 10, scaleTargetRef: {apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: shop}}
";
    let own = format!("replicas: 3\n  {OWN}");
    let services = "stableService: shop, canaryService: shop-canary";
    let all = convert_one(From::Argo, &(rollout(&own, services) + scaler));
    is_right(&all);
    assert_eq!(all.objects[0]["spec"]["replicas"], Value::Null);
    has(&all.notes, "HorizontalPodAutoscaler shop-hpa names it");
    in_order(
        &all.steps,
        &[
            "Let nothing apply the Rollout",
            "=Healthy",
            "kubectl patch horizontalpodautoscaler shop-hpa --type merge -p '{\"spec\":{\"behavior\":{\"scaleDown\":{\"selectPolicy\":\"Disabled\"}}}}'",
            "kubectl apply -f DEPLOYMENT",
            "kubectl scale deploy shop --replicas \"$(kubectl get rollouts.argoproj.io shop -o jsonpath='{.status.availableReplicas}')\"",
            "kubectl rollout status deploy/shop",
            "kubectl patch rollouts.argoproj.io shop --type json -p '[{\"op\":\"replace\",\"path\":\"/spec/strategy\",\"value\":{\"canary\":{}}}]'",
            "kubectl get service shop -o jsonpath",
            "{\"scaleTargetRef\":{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"name\":\"shop\"}}",
            "custom-columns=KIND:.kind,AVAILABLE:.status.availableReplicas",
            "kubectl delete rollouts.argoproj.io shop",
            "kubectl delete service shop-canary",
            "sluice lint FILE",
            "{\"selectPolicy\":null}",
            "Commit what is now",
        ],
    );
}

#[test]
fn argo_leaves_a_referred_deployment_its_pods() {
    let all = convert_one(From::Argo, &rollout(REFERRING, "maxSurge: 50%"));
    is_right(&all);
    in_order(
        &all.steps,
        &[
            "{\"workloadRef\":{\"scaleDown\":\"never\"}}",
            "kubectl scale deploy shop",
            "kubectl delete rollouts.argoproj.io shop",
            "shop without replicas: 0",
        ],
    );
    has(
        &all.notes,
        "spec.strategy.canary.maxSurge: found 50%: write it into the Deployment",
    );
}

#[test]
fn what_selects_argos_pods_alone_is_let_go_of_before_they_go() {
    let subsets =
        "trafficRouting: {istio: {virtualService: {name: v}, destinationRule: {name: d}}}";
    let all = convert_one(From::Argo, &rollout(OWN, subsets));
    in_order(
        &all.steps,
        &[
            "\"path\":\"/spec/strategy\"",
            "kubectl get destinationrule d -o jsonpath='{.spec.subsets}'",
            "kubectl delete rollouts.argoproj.io shop",
        ],
    );
    let turns = "pingPong: {pingService: a, pongService: b}";
    let all = convert_one(From::Argo, &rollout(OWN, turns));
    assert!(all.objects.is_empty() && all.steps.is_empty(), "{all:#?}");
    has(
        &all.notes,
        "spec.strategy.canary.pingPong: which of its Services",
    );
}

#[test]
fn weights_of_another_whole_are_percentages_of_it() {
    let text = rollout(
        OWN,
        "steps: [{setWeight: 50}, {setWeight: 255}], trafficRouting: {maxTrafficWeight: 1000, nginx: {stableIngress: i}}",
    );
    let all = convert_one(From::Argo, &text);
    is_right(&all);
    let steps = json!([{"weight": 5}, {"weight": 25}]);
    assert_eq!(all.objects[1]["spec"]["strategy"]["canary"]["steps"], steps);
    has(
        &all.notes,
        "steps[1].setWeight: 255 of 1000 is no whole percentage",
    );
}

#[test]
fn an_approval_and_a_hold_outlive_the_weight_that_is_left_out() {
    let of = |steps: &str| convert_one(From::Argo, &rollout(OWN, &format!("steps: [{steps}]")));
    let written = |all: &Converted| all.objects[1]["spec"]["strategy"]["canary"]["steps"].clone();
    let end = of(
        "{setWeight: 20}, {pause: {duration: 1m}}, {setWeight: 50}, {pause: {duration: 10m}}, {setWeight: 100}, {pause: {}}",
    );
    is_right(&end);
    let wanted =
        json!([{"weight": 20, "hold": "1m"}, {"weight": 50, "hold": "10m", "approval": true}]);
    assert_eq!(written(&end), wanted);
    has(
        &end.notes,
        "weight 100 is left out; the approval after it is asked at 50% now",
    );
    let again = of(
        "{setWeight: 0}, {pause: {}}, {pause: {duration: 5m}}, {setWeight: 30}, {setWeight: 30}, {pause: {duration: 15m}}, {setWeight: 10}, {pause: {duration: 30}}",
    );
    is_right(&again);
    assert_eq!(written(&again), json!([{"weight": 30, "hold": "15m 30s"}]));
    for wanted in [
        "weight 0: the approval after it is lost",
        "weight 0: its 5m are lost",
        "weight 10 is left out; its 30s are spent at 30% now",
    ] {
        has(&again.notes, wanted);
    }
    let only = of("{setWeight: 100}, {pause: {duration: 10m}}, {pause: {}}");
    is_right(&only);
    let wanted = json!({"weight": 50, "approval": true, "hold": "10m"});
    assert_eq!(written(&only)[2], wanted);
    has(
        &only.notes,
        "weight 100 is left out; the approval after it is asked at 50% now",
    );
    // What is asked elsewhere now is not lost, and what is lost is not asked.
    for steps in ["{setWeight: 0}, {pause: {}}", "{pause: {}}"] {
        let before = of(steps);
        is_right(&before);
        assert_eq!(written(&before)[2], json!({"weight": 50}), "{steps}");
        has(&before.notes, "the approval after it is lost, since nobody");
        assert!(!before.notes.iter().any(|note| note.contains("at 50%")));
    }
    assert!(!only.notes.iter().any(|note| note.contains("lost")));
}
