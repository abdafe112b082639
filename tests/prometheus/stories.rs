//! What must hold on a real server: good releases are promoted and bad ones rolled back at any
//! scrape interval, and whatever happens to the server or the routers, nothing rises without
//! fresh samples.

use std::path::Path;

use sluice::sandbox::scenario;

use crate::play::{Part, judge, play, runtime};
use crate::server::Kind;

/// The stories mostly sleep.
const ALL_AT_ONCE: usize = 20;

/// The beginning of every story: the shop, idle; then what must never be otherwise. The steps
/// are few, since each takes three scrapes.
const SHOP: &str = r#"
seed: 5
cluster: {routers: ROUTERS}
daemon:
  evidence: {every: 1s, settle: 1s}
steps:
  - apply: {file: shop.yaml, only: [Deployment, Service, Ingress]}
  - apply:
      file: shop.yaml
      only: [Rollout]
      with:
        spec:
          strategy: {canary: {steps: [{weight: 10}, {weight: 50}]}}
          analysis: {noData: {after: 15s, then: hold}}
  - expect: {that: [{rollout: {name: shop, phase: Idle}}, {deployment: {name: shop, ready: 6, guarded: true}}]}
  - always:
      - deployment: {name: shop, ready: ">= 6"}
      - weight: {ingress: shop-canary, percent: "<= 50"}
"#;

const GOOD: &str = r#"
  - run: {name: good, release: {deployment: shop, image: "shop:v2"}, outcome: Promoted, within: 280s}
"#;

const BAD: &str = r#"
  - run:
      name: bad
      release: {deployment: shop, image: "shop:v2", behaves: {errors: "0.1"}}
      outcome: RolledBack
      reason: Worse
      within: 280s
"#;

/// A release that has come as far as its first step.
const BEGUN: &str = r#"
  - release: {deployment: shop, image: "shop:v2"}
  - expect: {that: [{rollout: {name: shop, phase: Stepping, weight: 10}}, {weight: {ingress: shop-canary, percent: 10}}]}
"#;

const PROMOTED: &str = r#"
  - expect:
      within: 120s
      that:
        - rollout: {name: shop, phase: Idle, outcome: Promoted, stable: "shop:v2"}
        - deployment: {name: shop, paused: false, serving: ["shop:v2"], ready: 6}
        - absent: {kind: Ingress, name: shop-canary}
"#;

/// What follows a break of the server: the weight stays, then the run is held and says why.
fn blind(how: &str, why: &str) -> String {
    format!(
        r#"
  - break: {{metrics: {how}}}
  - expect: {{within: 60s, that: [{{rollout: {{name: shop, phase: Held, message: "{why}"}}}}]}}
  - expect: {{within: 1s, for: 10s, that: [{{weight: {{ingress: shop-canary, percent: "<= 10"}}}}, {{deployment: {{name: shop, serving: ["shop:v1"]}}}}]}}
  - break: {{metrics: fine}}
"#
    )
}

const RESTARTS: &str = r"
  - wait: 3s
  - break: {router: restart}
  - expect: {within: 60s, that: [{rollout: {name: shop, weight: 50}}]}
  - break: {router: restart}
";

const TWICE: &str = r#"
  - release: {deployment: shop, image: "shop:v2"}
  - expect: {within: 60s, that: [{rollout: {name: shop, phase: Held, message: "the same series come twice.*prometheus_replica"}}]}
  - expect: {within: 1s, for: 10s, that: [{weight: {ingress: shop-canary, percent: "<= 10"}}, {deployment: {name: shop, serving: ["shop:v1"]}}]}
"#;

/// The shop whose releases are judged by what queries come to: `compare` and `value`.
const QUERIED: &str = r#"
seed: 5
cluster: {routers: 1}
daemon:
  evidence: {every: 1s, settle: 1s}
  rules: [tests/prometheus/rules]
steps:
  - apply: {file: shop.yaml, only: [Deployment, Service, Ingress]}
  - apply:
      file: shop.yaml
      only: [Rollout]
      with:
        spec:
          strategy: {canary: {steps: [{weight: 20}]}}
          analysis: {rules: [RULE], noData: {after: 30s, then: hold}}
  - expect: {that: [{rollout: {name: shop, phase: Idle}}, {deployment: {name: shop, ready: 6, guarded: true}}]}
  - always:
      - deployment: {name: shop, ready: ">= 6"}
      - weight: {ingress: shop-canary, percent: "<= 20"}
  - run: {name: good, release: {deployment: shop, image: "shop:v2"}, outcome: Promoted, within: 180s}
  - run:
      name: bad
      release: {deployment: shop, image: "shop:v3", behaves: {BEHAVES}}
      outcome: RolledBack
      reason: Worse
      within: 180s
"#;

/// A good release and one that behaves so, judged by the rule of this name alone.
fn queried(rule: &str, behaves: &str) -> Part {
    let shop = QUERIED.replace("RULE", rule).replace("BEHAVES", behaves);
    parsed(rule, 1, &format!("name: {rule}{shop}"))
}

fn part(name: &str, every: u64, routers: u8, steps: &[&str]) -> Part {
    let shop = SHOP.replace("ROUTERS", &routers.to_string());
    parsed(
        name,
        every,
        &format!("name: {name}{shop}{}", steps.concat()),
    )
}

fn parsed(name: &str, every: u64, text: &str) -> Part {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let scenario =
        scenario::parse(name, text, &folder).unwrap_or_else(|problems| panic!("{problems}"));
    Part {
        name: name.to_owned(),
        scenario,
        every,
        replicas: &[],
        matching: &[],
    }
}

/// Stories that share a server.
fn shared() -> Vec<Part> {
    const REPLICAS: &[&str] = &["a", "b"];
    let mut parts = vec![
        part("good-1s", 1, 1, &[GOOD]),
        part("bad-1s", 1, 1, &[BAD]),
        part("good-15s", 15, 1, &[GOOD]),
        part("bad-15s", 15, 1, &[BAD]),
        part("good-30s", 30, 1, &[GOOD]),
        part("bad-30s", 30, 1, &[BAD]),
        part("good-two-pods", 1, 2, &[GOOD]),
        part("bad-two-pods-15s", 15, 2, &[BAD]),
        part("router-restarts", 1, 1, &[BEGUN, RESTARTS, PROMOTED]),
        part("two-pods-one-restarts", 1, 2, &[BEGUN, RESTARTS, PROMOTED]),
    ];
    parts.push(Part {
        replicas: REPLICAS,
        ..part("replicas", 1, 1, &[TWICE])
    });
    parts.push(Part {
        replicas: REPLICAS,
        matching: &["prometheus_replica=a"],
        ..part("one-replica-chosen", 1, 1, &[GOOD])
    });
    parts
}

#[test]
fn releases_go_as_they_should_on_a_real_server() {
    let mut groups = Vec::new();
    if Kind::Prometheus.is_here() {
        let killed = blind("down", "could not reach the server");
        let paused = blind("hangs", "no answer in time");
        groups.push((Kind::Prometheus, shared()));
        groups.push((
            Kind::Prometheus,
            vec![part("killed", 1, 1, &[BEGUN, &killed, PROMOTED])],
        ));
        groups.push((
            Kind::Prometheus,
            vec![part("paused", 1, 1, &[BEGUN, &paused, PROMOTED])],
        ));
    }
    if Kind::VictoriaMetrics.is_here() {
        let parts = vec![
            part("good-victoria", 1, 1, &[GOOD]),
            part("bad-victoria", 1, 1, &[BAD]),
            part("restarts-victoria", 1, 2, &[BEGUN, RESTARTS, PROMOTED]),
        ];
        groups.push((Kind::VictoriaMetrics, parts));
    }
    let all: Vec<Vec<_>> = runtime().block_on(async {
        let groups = groups
            .into_iter()
            .map(|(kind, parts)| play(kind, parts, ALL_AT_ONCE));
        futures::future::join_all(groups).await
    });
    judge(&all.into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn what_queries_come_to_decides_on_a_real_server() {
    if !Kind::Prometheus.is_here() {
        return;
    }
    let parts = vec![
        queried("mean-duration", r#"errors: "0", latency: "80ms 0.6""#),
        queried("success", r#"errors: "0.1""#),
    ];
    judge(&runtime().block_on(play(Kind::Prometheus, parts, ALL_AT_ONCE)));
}
