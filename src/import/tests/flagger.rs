//! What of a Canary must not get lost, and what must not come to mean something else.

use super::*;

/// A Canary of this namespace, service and analysis.
fn canary(namespace: &str, service: &str, analysis: &str) -> String {
    format!(
        "
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {{name: api, namespace: {namespace}}}
spec:
  targetRef: {{apiVersion: apps/v1, kind: Deployment, name: api}}
  service: {{port: 80, {service}}}
  analysis: {{stepWeight: 20, maxWeight: 40, {analysis}}}
---
"
    )
}

fn template(namespace: &str, query: &str) -> String {
    format!(
        "
apiVersion: flagger.app/v1beta1
kind: MetricTemplate
metadata: {{name: t, namespace: {namespace}}}
spec: {{provider: {{type: prometheus, address: 'http://thanos:9090', secretRef: {{name: s}}}}, query: '{query}'}}
---
"
    )
}

#[test]
fn canaries_of_one_name_keep_their_own_limits() {
    let metrics = |least: &str| {
        format!("metrics: [{{name: request-success-rate, thresholdRange: {{min: {least}}}}}]")
    };
    let text = canary("blue", "", &metrics("99.9")) + &canary("green", "", &metrics("50"));
    let all = convert_one(From::Flagger, &text);
    is_right(&all);
    let limits: Vec<(&str, &str)> = all
        .rules
        .iter()
        .map(|rule| (text_of(rule, "/name"), text_of(rule, "/max")))
        .collect();
    assert_eq!(
        limits,
        [("blue-api-errors", "0.1%"), ("green-api-errors", "50%")]
    );
    let named = |at: usize| all.objects[at]["spec"]["analysis"]["rules"][0].clone();
    assert_eq!(
        (named(0), named(1)),
        (json!("blue-api-errors"), json!("green-api-errors"))
    );
}

fn text_of<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap()
}

#[test]
fn two_metrics_of_one_word_are_two_rules_and_one_that_comes_twice_is_one() {
    let metric = |name: &str, most: u32| {
        format!("{{name: '{name}', query: up, thresholdRange: {{max: {most}}}}}")
    };
    let all = [metric("a b", 1), metric("a-b", 2), metric("a b", 1)].join(", ");
    let all = convert_one(
        From::Flagger,
        &canary("shop", "", &format!("metrics: [{all}]")),
    );
    is_right(&all);
    let rules = &all.objects[0]["spec"]["analysis"]["rules"];
    assert_eq!(*rules, json!(["shop-api-a-b", "shop-api-a-b-2"]));
    assert_eq!(all.rules.len(), 2);
}

#[test]
fn a_template_is_that_of_the_namespace_that_is_named() {
    let metrics = |of: &str| {
        format!("metrics: [{{name: m, templateRef: {{name: t{of}}}, thresholdRange: {{max: 1}}}}]")
    };
    let templates = template("blue", "of_blue") + &template("green", "of_green");
    let cases = [
        (", namespace: green", Some("of_green")),
        (", namespace: red", None),
        ("", Some("of_blue")),
    ];
    for (of, wanted) in cases {
        let text = canary("blue", "", &metrics(of)) + &templates;
        let all = convert_one(From::Flagger, &text);
        let found = all.rules.first().map(|rule| text_of(rule, "/value/query"));
        assert_eq!(found, wanted, "{of}");
        if wanted.is_some() {
            has(
                &all.notes,
                "spec.provider.address: asked at http://thanos:9090",
            );
            has(&all.notes, "spec.provider.secretRef: the environment's");
        } else {
            has(
                &all.notes,
                "give its MetricTemplate t of the namespace red too",
            );
        }
    }
}

#[test]
fn the_route_that_is_written_has_the_rules_of_flaggers() {
    let service = "
    gatewayRefs: [{name: public}]
    , match: [{uri: {prefix: /api}, method: {exact: GET}, headers: {x-env: {regex: 'p.*'}}, queryParams: {a: {exact: b}}}]
    , rewrite: {uri: /, authority: inner.test}
    , headers: {request: {set: {x-env: prod, a: b}, remove: [x-old]}, response: {add: {x-by: me}}}
    , mirror: [{backendRef: {name: shadow, port: 80}}]
    , timeout: 5s
    , retries: {attempts: 3}";
    let all = convert_one(From::Flagger, &canary("shop", service, "interval: 1m"));
    let wanted = json!([{
        "backendRefs": [{"name": "api", "port": 80}],
        "matches": [{
            "path": {"type": "PathPrefix", "value": "/api"},
            "method": "GET",
            "headers": [{"name": "x-env", "type": "RegularExpression", "value": "p.*"}],
            "queryParams": [{"name": "a", "type": "Exact", "value": "b"}],
        }],
        "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {
                "set": [{"name": "a", "value": "b"}, {"name": "x-env", "value": "prod"}], "remove": ["x-old"]}},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "x-by", "value": "me"}]}},
            {"type": "URLRewrite", "urlRewrite": {
                "hostname": "inner.test", "path": {"type": "ReplaceFullPath", "replaceFullPath": "/"}}},
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "shadow", "port": 80}}},
        ],
        "timeouts": {"request": "5s"},
    }]);
    assert_eq!(all.objects[0]["spec"]["rules"], wanted);
    // Without spec.provider: that is Flagger's own setting.
    let route = json!({"gatewayApi": {"httpRoute": "api-route"}});
    assert_eq!(all.objects[1]["spec"]["route"], route);
    has(
        &all.notes,
        "spec.service: retries: Flagger's HTTPRoute has nothing of them",
    );
    in_order(
        &all.steps,
        &[
            "kubectl get httproute api api-route -n shop -o yaml",
            "kubectl delete httproute api -n shop",
        ],
    );
}

#[test]
fn a_condition_without_counterpart_is_refused_with_its_field() {
    let service = "gatewayRefs: [{name: public}], match: [{uri: {suffix: .php}}]";
    let all = convert_one(From::Flagger, &canary("shop", service, "interval: 1m"));
    assert!(all.objects.is_empty(), "{:#?}", all.objects);
    has(
        &all.notes,
        "spec.service.match[0].uri: found {\"suffix\":\".php\"}, wanted regex or exact or prefix",
    );
}

#[test]
fn what_is_read_over_is_said_with_its_field() {
    let analysis =
        "match: [{uri: {prefix: /a}, headers: {x-a: {exact: b}}}], canaryReadyThreshold: 50,
      metrics: [{name: request-success-rate, thresholdRange: {max: 5}}],
      webhooks: [{name: acceptance, url: 'http://t/'}, {name: h, type: rollout, url: 'http://t/'}]";
    let text = canary("shop", "primary: {labels: {a: b}}", analysis).replace(
        "  targetRef",
        "  metricsServer: http://other:9090\n  targetRef",
    );
    let all = convert_one(From::Flagger, &text);
    is_right(&all);
    for wanted in [
        "spec.metricsServer: asked at http://other:9090",
        "spec.service.primary: {\"labels\":{\"a\":\"b\"}} has no counterpart",
        "spec.analysis.match[0].uri: {\"prefix\":\"/a\"} has no counterpart",
        "spec.analysis.canaryReadyThreshold: 50 has no counterpart",
        "request-success-rate: thresholdRange.max: 5 has no counterpart",
        "webhooks acceptance: is left out: asked in every step, and its failures rolled back",
        "webhooks h: is left out: asked in every step",
    ] {
        has(&all.notes, wanted);
    }
}

#[test]
fn a_canary_without_what_a_rollout_needs_is_refused_with_the_field() {
    let whole = canary("shop", "", "interval: 1m");
    let cases = [
        (
            "kind: Deployment, ",
            "spec.targetRef.kind: found nothing, wanted Deployment",
        ),
        (
            ", name: api}\n  service",
            "spec.targetRef.name: found nothing",
        ),
        ("name: api, namespace: shop", "metadata.name: found nothing"),
    ];
    for (without, wanted) in cases {
        let kept = if without.ends_with("service") {
            "}\n  service"
        } else {
            ""
        };
        let all = convert_one(From::Flagger, &whole.replace(without, kept));
        assert!(all.objects.is_empty(), "{without}: {:#?}", all.objects);
        has(&all.notes, wanted);
    }
}

#[test]
fn of_too_many_weights_the_last_is_never_left_out() {
    let text = canary("shop", "", "interval: 1m").replace(
        "stepWeight: 20, maxWeight: 40",
        "stepWeight: 1, maxWeight: 50",
    );
    let all = convert_one(From::Flagger, &text);
    is_right(&all);
    let steps = list(&all.objects[0], "/spec/strategy/canary/steps");
    let weights: Vec<i64> = steps
        .iter()
        .filter_map(|step| step["weight"].as_i64())
        .collect();
    assert_eq!((weights.len(), weights[0], weights[24]), (25, 2, 50));
    has(
        &all.notes,
        "found 50 weights, at most 32 are right; of each 2 the last is written",
    );
    assert_eq!(steps[24]["hold"], "2m");
}

#[test]
fn the_arms_have_names_of_their_own() {
    let cases = [
        (
            "a{cluster=~\"{{ namespace }}_{{ target }}-canary_[0-9]+\"}",
            "a{cluster=~\"{{namespace}}_{{canaryService}}_[0-9]+\"}",
        ),
        (
            "a{pod=~\"{{ target }}-primary-.*\"}",
            "a{pod=~\"{{stablePods}}\"}",
        ),
        (
            "a{kubernetes_pod_name!~\"x|{{ target }}-primary.*|y\"}",
            "a{kubernetes_pod_name!~\"x|{{stablePods}}|y\"}",
        ),
        (
            "a{pod=~\"{{ target }}-primary-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)\", c=\"d\"}",
            "a{pod=~\"{{stablePods}}\", c=\"d\"}",
        ),
        (
            "a{pod=~\"{{ target }}-primary-db-.*\"}",
            "a{pod=~\"{{workload}}-db-.*\"}",
        ),
        (
            "a{deployment=~\"{{ target }}-primary\"}",
            "a{deployment=~\"{{workload}}\"}",
        ),
        (
            "a{backend=\"{{service}}-primary\"}",
            "a{backend=\"{{service}}\"}",
        ),
        (
            "a{pod=~\"{{ target }}-[0-9]+\"}",
            "a{pod=~\"{{canaryWorkload}}-[0-9]+\"}",
        ),
        (
            "a{s=\"{{ target }}-canaryish\"}",
            "a{s=\"{{canaryWorkload}}-canaryish\"}",
        ),
    ];
    let of = |query: &str| {
        let metrics =
            format!("metrics: [{{name: m, query: '{query}', thresholdRange: {{max: 1}}}}]");
        convert_one(From::Flagger, &canary("shop", "", &metrics))
    };
    for (theirs, ours) in cases {
        let all = of(theirs);
        is_right(&all);
        assert_eq!(text_of(&all.rules[0], "/value/query"), ours);
        let told = all.notes.iter().any(|note| note.contains("see that it"));
        assert_eq!(
            told,
            !ours.contains("canaryWorkload"),
            "{theirs}: {:#?}",
            all.notes
        );
    }
    let all = of("a{pod=~\"api-primary-.*\", other=\"api-primaryish\"}");
    has(
        &all.notes,
        "its query names api-primary, which goes with Flagger: write {{workload}} or {{service}}, and {{stablePods}} for all",
    );
}

#[test]
fn what_may_ask_for_the_other_arm_or_for_nobody_is_said() {
    let of = |query: &str| {
        let metrics =
            format!("metrics: [{{name: m, query: '{query}', thresholdRange: {{max: 1}}}}]");
        convert_one(From::Flagger, &canary("shop", "", &metrics))
    };
    let cases = [
        (
            "a{s=~\"{{ target }}-(primary|canary)\"}",
            "a{s=~\"{{canaryWorkload}}-(primary|canary)\"}",
            "{{ target }}-(primary|canary): these names go with Flagger",
        ),
        (
            "a{s=~\"{{ target }}.+-canary\"}",
            "a{s=~\"{{canaryWorkload}}.+-canary\"}",
            "{{ target }}.+-canary: these names go with Flagger",
        ),
        (
            "a{deployment=~\"{{ target }}-primary.*\"}",
            "a{deployment=~\"{{workload}}.*\"}",
            "{{workload}}.* may match the canary's names as well",
        ),
    ];
    for (theirs, ours, wanted) in cases {
        let all = of(theirs);
        is_right(&all);
        assert_eq!(text_of(&all.rules[0], "/value/query"), ours);
        has(&all.notes, wanted);
    }
    let all = of("a{pod!~\"{{ target }}-primary.*\", pod=~\"{{ target }}-.*\"}");
    let wanted = "a{pod!~\"{{stablePods}}\", pod=~\"{{canaryWorkload}}-.*\"}";
    assert_eq!(text_of(&all.rules[0], "/value/query"), wanted);
    let unknown = of("a{c=\"{{ workload }}\", d=\"{{ target }}-primary\"}");
    assert!(unknown.rules.is_empty(), "{:#?}", unknown.rules);
    has(&unknown.notes, "{{ workload }} is not known here");
}

#[test]
fn a_metric_is_asked_by_its_name_by_its_template_and_by_its_query() {
    let metric = "metrics: [{name: request-success-rate, templateRef: {name: t}, query: inline, thresholdRange: {min: 99}}]";
    let all = convert_one(
        From::Flagger,
        &(canary("shop", "", metric) + &template("shop", "of_t")),
    );
    is_right(&all);
    let wanted = json!([
        "shop-api-errors",
        "shop-api-request-success-rate",
        "shop-api-request-success-rate-2"
    ]);
    assert_eq!(all.objects[0]["spec"]["analysis"]["rules"], wanted);
    let queries: Vec<&Value> = all
        .rules
        .iter()
        .map(|rule| &rule["value"]["query"])
        .collect();
    assert_eq!(queries, [&Value::Null, &json!("of_t"), &json!("inline")]);
}

#[test]
fn a_limit_that_no_rule_has_is_said() {
    let of = |name: &str, range: &str| {
        let metrics = format!("metrics: [{{name: {name}, thresholdRange: {{{range}}}}}]");
        let all = convert_one(From::Flagger, &canary("shop", "", &metrics));
        is_right(&all);
        all
    };
    let whole = of("request-success-rate", "min: 100");
    assert_eq!(whole.rules[0]["max"], "0.1%");
    has(
        &whole.notes,
        "a limit is above 0%, so at most 0.1% are let pass now",
    );
    let nearly = of("request-success-rate", "min: 99.99");
    assert_eq!(nearly.rules[0]["max"], "0.01%");
    for (name, range, wanted) in [
        ("request-success-rate", "min: 0", "found at least 0%"),
        ("request-success-rate", "min: 101", "found at least 101%"),
        ("request-duration", "max: 0", "found at most 0 ms"),
    ] {
        let all = of(name, range);
        assert!(all.rules.is_empty(), "{name} {range}: {:#?}", all.rules);
        has(&all.notes, wanted);
    }
}

#[test]
fn a_time_or_a_judgement_that_means_something_else_is_said() {
    let metrics = "metrics: [{name: request-duration, thresholdRange: {max: 500}}]";
    let by = |provider: &str| {
        let text = canary("shop", "", metrics);
        let text = text.replace(
            "  targetRef",
            &format!("  provider: {provider}\n  targetRef"),
        );
        convert_one(From::Flagger, &text).notes
    };
    has(&by("nginx"), "Flagger asks ingress-nginx for the mean time");
    let is_told = |notes: Vec<String>| notes.iter().any(|note| note.contains("mean time"));
    assert!(!is_told(by("istio")));
    // Without a bound the canary's time is compared with stable's, and there are no seconds to raise.
    let unbound = metrics.replace(", thresholdRange: {max: 500}", "");
    let text =
        canary("shop", "", &unbound).replace("  targetRef", "  provider: nginx\n  targetRef");
    let all = convert_one(From::Flagger, &text);
    let wanted = json!(["latency-p99"]);
    assert_eq!(all.objects[0]["spec"]["analysis"]["rules"], wanted);
    assert!(!is_told(all.notes));
    let text = canary("shop", "", "interval: 30s, iterations: 10")
        .replace("stepWeight: 20, maxWeight: 40, ", "");
    let all = convert_one(From::Flagger, &text);
    is_right(&all);
    has(
        &all.notes,
        "judges the new pods 10 times, each 30s, before anybody is switched",
    );
}
