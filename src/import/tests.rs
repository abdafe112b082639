//! Both tools' documented forms, written anew, and what becomes of them.

use super::*;
use crate::cli::lint;

mod argo;
mod flagger;

const CANARY: &str = r#"
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: podinfo, namespace: test}
spec:
  provider: nginx
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: podinfo}
  ingressRef: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: podinfo}
  autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: podinfo}
  progressDeadlineSeconds: 60
  service: {port: 80, targetPort: 9898}
  analysis:
    interval: 10s
    threshold: 10
    maxWeight: 50
    stepWeight: 20
    match:
    - headers: {x-canary: {exact: insider}}
    - headers: {cookie: {exact: canary}}
    metrics:
    - {name: request-success-rate, thresholdRange: {min: 99}, interval: 1m}
    - {name: request-duration, thresholdRange: {max: 500}, interval: 1m}
    - name: "404s percentage"
      templateRef: {name: not-found, namespace: test}
      thresholdRange: {max: 5}
      interval: 2m
    - {name: elsewhere, templateRef: {name: dd}, thresholdRange: {max: 5}}
    webhooks:
    - {name: acceptance, type: pre-rollout, url: "http://tester/", timeout: 30s}
    - {name: load, url: "http://tester/", timeout: 5s}
    - {name: gate, type: confirm-promotion, url: "http://tester/gate"}
---
apiVersion: flagger.app/v1beta1
kind: MetricTemplate
metadata: {name: not-found, namespace: test}
spec:
  provider: {type: prometheus, address: "http://prometheus:9090"}
  query: |
    100 - sum(rate(http_requests_total{namespace="{{ namespace }}", pod=~"{{ target }}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)", status!="404"}[{{ interval }}]))
---
apiVersion: flagger.app/v1beta1
kind: MetricTemplate
metadata: {name: dd}
spec: {provider: {type: datadog}, query: avg}
"#;

const ARGO: &str = r#"
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: guestbook}
spec:
  replicas: 5
  selector: {matchLabels: {app: guestbook}}
  template:
    metadata: {labels: {app: guestbook}}
    spec: {containers: [{name: guestbook, image: "guestbook:v1"}]}
  progressDeadlineSeconds: 600
  strategy:
    canary:
      maxSurge: 25%
      stableService: guestbook-stable
      canaryService: guestbook-canary
      trafficRouting: {nginx: {stableIngress: guestbook}}
      steps:
      - setWeight: 20
      - pause: {}
      - setWeight: 40
      - pause: {duration: 10}
      - pause: {duration: 1m}
      - setCanaryScale: {weight: 25}
      - analysis:
          templates: [{templateName: success-rate}, {templateName: gone}]
          args: [{name: service-name, value: guestbook-svc}]
      - setWeight: 100
---
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: success-rate}
spec:
  args: [{name: service-name}]
  metrics:
  - name: success-rate
    interval: 5m
    successCondition: result[0] >= 0.95
    failureLimit: 3
    provider:
      prometheus:
        address: http://prometheus:9090
        query: sum(irate(requests{service=~"{{args.service-name}}"}[5m]))
  - name: from-a-job
    provider: {job: {spec: {}}}
"#;

fn convert_one(from: From, text: &str) -> Converted {
    convert(from, &[text.to_owned()]).unwrap()
}

/// That what comes out passes our own lint, with its rules.
fn is_right(converted: &Converted) {
    let mut texts = vec![("rules".to_owned(), json!(converted.rules).to_string())];
    let objects = converted.objects.iter().enumerate();
    texts.extend(objects.map(|(at, object)| (at.to_string(), object.to_string())));
    let report = lint::report(&texts);
    assert!(report.is_good(), "{report:#?}");
}

fn has(lines: &[String], wanted: &str) {
    assert!(
        lines.iter().any(|line| line.contains(wanted)),
        "{wanted}: {lines:#?}"
    );
}

#[test]
fn a_canary_of_flagger_becomes_a_rollout_with_its_rules() {
    let all = convert_one(From::Flagger, CANARY);
    is_right(&all);
    let wanted = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "podinfo", "namespace": "test"},
        "spec": {
            "target": {"kind": "Deployment", "name": "podinfo"},
            "route": {"ingressNginx": {"ingress": "podinfo"}},
            "strategy": {"canary": {
                "steps": [{"weight": 20, "hold": "10s"}, {"weight": 40, "hold": "10s", "approval": true}],
                "match": {"header": "x-canary", "value": "insider", "cookie": "canary"},
            }},
            "analysis": {"rules": ["test-podinfo-errors", "test-podinfo-latency", "test-podinfo-404s-percentage"]},
            "progressDeadline": "60s",
        },
    });
    assert_eq!(all.objects, [wanted]);
    assert_eq!(
        (&all.rules[0]["max"], &all.rules[1]["max"]["seconds"]),
        (&json!("1%"), &json!(0.5))
    );
    let query = all.rules[2]["value"]["query"].as_str().unwrap();
    assert!(
        query.contains(r#"namespace="{{namespace}}", pod=~"{{canaryWorkload}}-[0-9"#)
            && query.ends_with("[2m]))"),
        "{query}"
    );
    assert_eq!(all.rules[2]["value"]["max"], 5);
    for wanted in [
        "metrics elsewhere: datadog is not asked",
        "webhooks acceptance: write it as a smoke test",
        "webhooks load: is left out",
        "threshold: failed checks are not counted",
        "autoscalerRef: the autoscaler stays",
    ] {
        has(&all.notes, wanted);
    }
    in_order(
        &all.steps,
        &[
            "kubectl patch canary podinfo -n test --type merge -p '{\"spec\":{\"suspend\":true,\"revertOnDeletion\":false}}'",
            "kubectl scale deploy podinfo -n test --replicas",
            "kubectl rollout status deploy podinfo -n test",
            "kubectl patch service podinfo -n test",
            "kubectl delete canary podinfo -n test",
            "kubectl wait --for=delete -n test --timeout 2m deploy/podinfo-primary service/podinfo-primary service/podinfo-canary ingress/podinfo-canary",
            "sluice lint FILE RULES",
        ],
    );
}

/// That there is a step with each of these words, in this order.
fn in_order(steps: &[String], wanted: &[&str]) {
    let place = |words: &&str| steps.iter().position(|step| step.contains(words));
    let places: Vec<Option<usize>> = wanted.iter().map(place).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{places:?}: {steps:#?}"
    );
}

#[test]
fn the_switch_names_the_service_and_the_autoscaler_that_are_named() {
    let scaled = CANARY
        .replace(
            "apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: podinfo",
            "apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: so",
        )
        .replace("service: {port", "service: {name: front, port");
    let steps = convert_one(From::Flagger, &scaled).steps;
    in_order(
        &steps,
        &[
            "kubectl annotate scaledobject so -n test autoscaling.keda.sh/paused-replicas-",
            "kubectl scale deploy podinfo -n test",
            "kubectl patch service front -n test",
            "deploy/podinfo-primary service/front-primary service/front-canary ingress/podinfo-canary",
        ],
    );
}

#[test]
fn a_rollout_of_argo_becomes_a_deployment_and_a_rollout() {
    let all = convert_one(From::Argo, ARGO);
    is_right(&all);
    assert_eq!(all.objects.len(), 2);
    assert_eq!(all.objects[0]["kind"], "Deployment");
    assert_eq!(
        all.objects[0]["spec"]["strategy"]["rollingUpdate"]["maxSurge"],
        "25%"
    );
    let spec = &all.objects[1]["spec"];
    assert_eq!(
        spec["route"]["ingressNginx"],
        json!({"ingress": "guestbook", "service": "guestbook-stable"})
    );
    let steps = json!([{"weight": 20, "approval": true}, {"weight": 40, "hold": "1m 10s"}]);
    assert_eq!(spec["strategy"]["canary"]["steps"], steps);
    let rule = "guestbook-success-rate-success-rate";
    assert_eq!(
        spec["analysis"]["rules"],
        json!(["error-rate", "latency-p99", rule])
    );
    let value = json!({"query": "sum(irate(requests{service=~\"guestbook-svc\"}[5m]))", "min": 0.95,
        "every": "5m", "failures": 4, "window": 6});
    let about = "successCondition: result[0] >= 0.95";
    assert_eq!(
        all.rules,
        [json!({"name": rule, "about": about, "value": value})]
    );
    for wanted in [
        "steps[5].setCanaryScale: the canary grows with its weight",
        "give the AnalysisTemplate gone too",
        "metric from-a-job: job is not asked",
        "weights that do not rise, of 0 or of 100",
        "canaryService: Sluice makes one",
    ] {
        has(&all.notes, wanted);
    }
    has(&all.steps, "rollouts-pod-template-hash");
}

#[test]
fn a_referred_deployment_stays_and_blue_green_is_blue_green() {
    let text = "
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: shop}
spec:
  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: site}
  strategy: {blueGreen: {activeService: web, previewService: web-preview, autoPromotionEnabled: false}}
";
    let all = convert_one(From::Argo, text);
    is_right(&all);
    assert_eq!(all.objects.len(), 1);
    let spec = &all.objects[0]["spec"];
    assert_eq!(spec["target"]["name"], "site");
    assert_eq!(spec["strategy"], json!({"blueGreen": {"approval": true}}));
    assert_eq!(
        spec["route"]["ingressNginx"],
        json!({"ingress": "site", "service": "web"})
    );
    has(&all.steps, "kubectl get service web -n shop");
    let by_itself = text.replace(
        ", autoPromotionEnabled: false",
        ", scaleDownDelaySeconds: 30",
    );
    let all = convert_one(From::Argo, &by_itself);
    is_right(&all);
    assert_eq!(all.objects[0]["spec"]["strategy"], json!({"blueGreen": {}}));
    has(
        &all.notes,
        "blueGreen.scaleDownDelaySeconds: stable's pods stay",
    );
}

#[test]
fn a_selector_that_argo_never_changed_is_left_alone() {
    let text = "
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  strategy: {canary: {steps: [{setWeight: 20}]}}
";
    let all = convert_one(From::Argo, text);
    is_right(&all);
    has(&all.steps, "Argo has changed none of their selectors");
    assert!(
        !all.steps.iter().any(|step| step.contains("/spec/strategy")),
        "{:#?}",
        all.steps
    );
}

#[test]
fn iterations_are_blue_green_unless_testers_are_told_apart() {
    let weights = "    maxWeight: 50\n    stepWeight: 20\n";
    let tested = CANARY.replace(weights, "    iterations: 10\n");
    let all = convert_one(From::Flagger, &tested);
    is_right(&all);
    let canary = &all.objects[0]["spec"]["strategy"]["canary"];
    assert_eq!(canary["steps"].as_array().unwrap().len(), 3, "{canary}");
    assert_eq!(canary["match"]["header"], "x-canary");
    let (before, after) = (
        tested.find("    match:").unwrap(),
        tested.find("    metrics:").unwrap(),
    );
    let alone = format!("{}{}", &tested[..before], &tested[after..]);
    let all = convert_one(From::Flagger, &alone);
    is_right(&all);
    let wanted = json!({"blueGreen": {"approval": true}});
    assert_eq!(all.objects[0]["spec"]["strategy"], wanted);
}

#[test]
fn what_flaggers_own_route_says_is_not_lost_without_a_word() {
    let meshed = CANARY.replace(
        "service: {port: 80, targetPort: 9898}",
        "service: {port: 80, gateways: [mesh], rewrite: {uri: /}, timeout: 30s}",
    );
    let all = convert_one(From::Flagger, &meshed);
    has(
        &all.notes,
        "spec.service: gateways, rewrite, timeout: Flagger's route has them",
    );
    let alone = meshed
        .replace("provider: nginx", "provider: istio")
        .replace(
            "  ingressRef: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: podinfo}\n",
            "",
        );
    in_order(
        &convert_one(From::Flagger, &alone).steps,
        &[
            "kubectl patch service podinfo -n test",
            "Lead the requests to the Service podinfo by an Ingress or HTTPRoute of your own",
            "kubectl delete canary podinfo -n test",
        ],
    );
}

#[test]
fn a_canary_behind_a_gateway_gets_a_route_of_its_own() {
    let behind = CANARY
        .replace("provider: nginx", "provider: gatewayapi:v1")
        .replace(
            "service: {port: 80, targetPort: 9898}",
            "service: {port: 80, hosts: [podinfo.test], gatewayRefs: [{name: public, namespace: infra}]}",
        );
    let all = convert_one(From::Flagger, &behind);
    let [route, rollout] = all.objects.as_slice() else {
        panic!("{:?}", all.objects);
    };
    assert_eq!(
        route["spec"],
        json!({
            "parentRefs": [{"name": "public", "namespace": "infra"}],
            "hostnames": ["podinfo.test"],
            "rules": [{"backendRefs": [{"name": "podinfo", "port": 80}]}],
        })
    );
    assert_eq!(
        route["metadata"],
        json!({"name": "podinfo-route", "namespace": "test"})
    );
    let wanted = json!({"gatewayApi": {"httpRoute": "podinfo-route"}});
    assert_eq!(rollout["spec"]["route"], wanted);
    in_order(
        &all.steps,
        &[
            "kubectl patch service podinfo -n test",
            "Apply the HTTPRoute podinfo-route",
            "kubectl delete httproute podinfo -n test",
            "kubectl delete canary podinfo -n test",
        ],
    );
    assert!(
        !all.notes.iter().any(|note| note.contains("gatewayRefs")),
        "{:?}",
        all.notes
    );
}

#[test]
fn what_is_no_resource_of_theirs_is_said() {
    has(
        &convert_one(From::Flagger, "kind: Service\n").notes,
        "no Canary was found",
    );
    has(
        &convert_one(From::Argo, CANARY).notes,
        "no Rollout of argoproj.io was found",
    );
    let other = CANARY.replace("kind: Deployment, name", "kind: DaemonSet, name");
    let all = convert_one(From::Flagger, &other);
    assert!(all.objects.is_empty());
    has(&all.notes, "a DaemonSet has no canary");
    assert_eq!(convert(From::Argo, &["a: [".to_owned()]).unwrap_err().0, 0);
}
