//! Routing tables from manifests: where requests go, by the controller's rules.

mod migrated;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};

use super::annotations::PREFIX;
use super::choose::{choose, peers};
use super::table::Table;

/// An Ingress of namespace `shop`, created at `second`: annotations without their prefix, and
/// rules as (host, path, type, service).
fn ingress(
    name: &str,
    second: u32,
    annotations: &[(&str, &str)],
    rules: &[(&str, &str, &str, &str)],
) -> Ingress {
    let annotations: BTreeMap<_, _> = annotations
        .iter()
        .map(|(key, value)| (format!("{PREFIX}/{key}"), *value))
        .collect();
    let rules: Vec<Value> = rules
        .iter()
        .map(|(host, path, kind, service)| {
            let backend = json!({"service": {"name": service, "port": {"number": 80}}});
            json!({"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}})
        })
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations,
            "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
        "spec": {"ingressClassName": "nginx", "rules": rules}
    }))
    .unwrap()
}

/// Every Service has two pods, named after it, but those that begin with `empty`.
fn table(ingresses: &[Ingress]) -> Table {
    let ingresses: Vec<_> = ingresses.iter().cloned().map(Arc::new).collect();
    Table::build(&ingresses, PREFIX, &|_, service| {
        let pods = if service.name.starts_with("empty") {
            0
        } else {
            2
        };
        (1..=pods)
            .map(|pod| format!("{}-{pod}", service.name))
            .collect()
    })
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let named = |(name, value): &(&str, &str)| {
        (
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        )
    };
    pairs.iter().map(named).collect()
}

/// The service that a request reaches, when the weighted choice draws `draw` of 100.
fn reached(table: &Table, host: &str, path: &str, pairs: &[(&str, &str)], draw: u32) -> String {
    let Some(location) = table.server(host).and_then(|server| server.location(path)) else {
        return "404".into();
    };
    match choose(table, &location.upstream, &headers(pairs), |_| draw) {
        None => "503".into(),
        Some(choice) => choice.upstream.service.clone(),
    }
}

fn main_rule() -> Ingress {
    ingress("main", 1, &[], &[("a.test", "/", "Prefix", "stable")])
}

fn canary(annotations: &[(&str, &str)]) -> Ingress {
    let mut all = vec![("canary", "true")];
    all.extend(annotations);
    ingress("canary", 2, &all, &[("a.test", "/", "Prefix", "new")])
}

#[test]
fn the_longest_path_of_the_right_host_wins() {
    let table = table(&[
        ingress(
            "one",
            1,
            &[],
            &[
                ("a.test", "/", "Prefix", "root"),
                ("a.test", "/api", "Prefix", "api"),
                ("a.test", "/api", "Exact", "exact"),
                ("a.test", "/raw", "ImplementationSpecific", "raw"),
                ("*.b.test", "/", "Prefix", "wild"),
            ],
        ),
        ingress(
            "two",
            2,
            &[],
            &[
                ("a.test", "/", "Prefix", "late"),
                ("c.test", "/x", "Prefix", "c"),
            ],
        ),
    ]);
    for (host, path, expected) in [
        ("a.test", "/", "root"),
        ("a.test", "/apis", "root"),
        ("a.test", "/api", "exact"),
        ("a.test", "/api/", "api"),
        ("a.test", "/api/x", "api"),
        ("a.test", "/rawest", "raw"),
        ("x.b.test", "/", "wild"),
        ("x.y.b.test", "/", "404"),
        ("c.test", "/", "404"),
        ("c.test", "/x/y", "c"),
        ("unknown", "/", "404"),
    ] {
        assert_eq!(
            reached(&table, host, path, &[], 1),
            expected,
            "{host}{path}"
        );
    }
}

#[test]
fn a_regex_host_matches_case_blind_by_the_longest_expression() {
    let table = table(&[ingress(
        "one",
        1,
        &[("use-regex", "true")],
        &[
            ("a.test", "/v[0-9]+/cart", "ImplementationSpecific", "cart"),
            ("a.test", "/", "ImplementationSpecific", "root"),
        ],
    )]);
    assert_eq!(reached(&table, "a.test", "/V2/cart/items", &[], 1), "cart");
    assert_eq!(reached(&table, "a.test", "/v/cart", &[], 1), "root");
}

#[test]
fn the_weight_decides_for_requests_that_nothing_else_decides() {
    let table = table(&[main_rule(), canary(&[("canary-weight", "20")])]);
    for (draw, expected) in [(1, "new"), (20, "new"), (21, "stable"), (100, "stable")] {
        assert_eq!(
            reached(&table, "a.test", "/", &[], draw),
            expected,
            "draw {draw}"
        );
    }
}

#[test]
fn header_comes_before_cookie_and_cookie_before_weight() {
    let plain = canary(&[
        ("canary-by-header", "X-Canary"),
        ("canary-by-cookie", "tester"),
        ("canary-weight", "0"),
    ]);
    let table = table(&[main_rule(), plain]);
    for (pairs, expected) in [
        (&[("x-canary", "always")][..], "new"),
        (
            &[("x-canary", "never"), ("cookie", "tester=always")],
            "stable",
        ),
        (
            &[("x-canary", "perhaps"), ("cookie", "a=b; tester=always")],
            "new",
        ),
        (&[("cookie", "tester=never")], "stable"),
        (&[], "stable"),
    ] {
        assert_eq!(
            reached(&table, "a.test", "/", pairs, 1),
            expected,
            "{pairs:?}"
        );
    }
}

#[test]
fn a_header_value_or_pattern_replaces_always_and_never() {
    let by_value = canary(&[
        ("canary-by-header", "X-Who"),
        ("canary-by-header-value", "me"),
        ("canary-weight", "0"),
    ]);
    let by_pattern = canary(&[
        ("canary-by-header", "X-Who"),
        ("canary-by-header-pattern", "^m.$"),
        ("canary-weight", "0"),
    ]);
    for rule in [by_value, by_pattern] {
        let table = table(&[main_rule(), rule]);
        for (value, expected) in [("me", "new"), ("always", "stable"), ("someone", "stable")] {
            assert_eq!(
                reached(&table, "a.test", "/", &[("x-who", value)], 1),
                expected,
                "{value}"
            );
        }
    }
}

#[test]
fn a_session_stays_where_it_began() {
    let sticky = ingress(
        "main",
        1,
        &[("affinity", "cookie")],
        &[("a.test", "/", "Prefix", "stable")],
    );
    let table = table(&[sticky, canary(&[("canary-weight", "50")])]);
    let session = |upstream: &str| format!("INGRESSCOOKIE=x|shop-{upstream}-80");
    assert_eq!(
        reached(&table, "a.test", "/", &[("cookie", &session("stable"))], 1),
        "stable"
    );
    assert_eq!(
        reached(&table, "a.test", "/", &[("cookie", &session("new"))], 100),
        "new"
    );
    let upstream = &table.upstreams["shop-new-80"];
    let (first, cookie) = peers(upstream, &headers(&[]));
    let cookie = cookie.unwrap();
    let value = cookie.split(';').next().unwrap();
    for _ in 0..3 {
        let (again, none) = peers(upstream, &headers(&[("cookie", value)]));
        assert_eq!((&again[0], none), (&first[0], None));
    }
}

#[test]
fn empty_sides_behave_as_in_the_controller() {
    let empty_canary = ingress(
        "canary",
        2,
        &[("canary", "true"), ("canary-weight", "100")],
        &[("a.test", "/", "Prefix", "empty-new")],
    );
    assert_eq!(
        reached(&table(&[main_rule(), empty_canary]), "a.test", "/", &[], 1),
        "stable"
    );
    let empty_main = ingress("main", 1, &[], &[("a.test", "/", "Prefix", "empty")]);
    assert_eq!(
        reached(
            &table(&[empty_main, canary(&[("canary-weight", "100")])]),
            "a.test",
            "/",
            &[],
            1
        ),
        "503"
    );
}

#[test]
fn one_path_without_an_equal_drops_the_canary_everywhere() {
    let two = ingress(
        "canary",
        2,
        &[("canary", "true"), ("canary-weight", "100")],
        &[
            ("a.test", "/", "Prefix", "new"),
            ("a.test", "/other", "Prefix", "new"),
        ],
    );
    assert_eq!(
        reached(&table(&[main_rule(), two]), "a.test", "/", &[], 1),
        "stable"
    );
    let other_type = ingress(
        "canary",
        2,
        &[("canary", "true"), ("canary-weight", "100")],
        &[("a.test", "/", "Exact", "new")],
    );
    assert_eq!(
        reached(&table(&[main_rule(), other_type]), "a.test", "/", &[], 1),
        "stable"
    );
}

#[test]
fn the_link_sits_on_the_service_so_other_rules_are_canaried_too() {
    let shared = ingress(
        "main",
        1,
        &[],
        &[
            ("a.test", "/", "Prefix", "stable"),
            ("b.test", "/", "Prefix", "stable"),
        ],
    );
    let table = table(&[shared, canary(&[("canary-weight", "100")])]);
    assert_eq!(reached(&table, "b.test", "/", &[], 1), "new");
}

#[test]
fn canary_false_is_an_ordinary_competitor() {
    let off = ingress(
        "canary",
        2,
        &[("canary", "false"), ("canary-weight", "5")],
        &[("a.test", "/", "Prefix", "new")],
    );
    assert_eq!(
        reached(&table(&[main_rule(), off.clone()]), "a.test", "/", &[], 1),
        "stable"
    );
    let mut older = off;
    older.metadata.creation_timestamp = None;
    assert_eq!(
        reached(&table(&[main_rule(), older]), "a.test", "/", &[], 100),
        "new"
    );
}

#[test]
fn an_ordinary_rule_for_the_canarys_service_spoils_the_canary() {
    let other = ingress("other", 0, &[], &[("new.test", "/", "Prefix", "new")]);
    let table = table(&[other, main_rule(), canary(&[("canary-weight", "100")])]);
    assert_eq!(reached(&table, "a.test", "/", &[], 1), "stable");
    assert_eq!(reached(&table, "new.test", "/", &[], 1), "new");
}

#[test]
fn only_the_first_canary_of_a_service_counts() {
    let second = ingress(
        "canary-2",
        3,
        &[("canary", "true"), ("canary-weight", "100")],
        &[("a.test", "/", "Prefix", "newer")],
    );
    let table = table(&[main_rule(), canary(&[("canary-weight", "0")]), second]);
    assert_eq!(reached(&table, "a.test", "/", &[], 1), "stable");
}

#[test]
fn a_weight_total_above_a_hundred_makes_finer_steps() {
    let table = table(&[
        main_rule(),
        canary(&[("canary-weight", "5"), ("canary-weight-total", "1000")]),
    ]);
    let share = |draw| reached(&table, "a.test", "/", &[], draw);
    assert_eq!([share(5), share(6)], ["new", "stable"]);
    let upstream = &table.upstreams["shop-new-80"];
    assert_eq!(upstream.shaping.as_ref().unwrap().total(), 1000);
}
