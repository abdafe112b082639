//! What is refused unless it may go.

use super::*;

#[test]
fn every_fault_is_told_at_once() {
    let mut ingress = main(
        &[("canary", "true")],
        vec![
            json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "shop", "port": {"name": "http"}}}}),
            json!({"path": "/s", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket", "name": "b"}}}),
        ],
    );
    let Faults(faults) = to_gateway(&given(ingress.clone(), vec![]), &public()).unwrap_err();
    assert_eq!(faults.len(), 3, "{faults:?}");
    for wanted in [
        "a canary itself",
        "its port http",
        "rules[0].http.paths[1].backend",
    ] {
        assert!(
            faults.iter().any(|fault| fault.contains(wanted)),
            "{wanted}: {faults:?}"
        );
    }
    // With the Service the port has its number.
    ingress["metadata"]["annotations"] = json!({});
    ingress["spec"]["rules"][0]["http"]["paths"]
        .as_array_mut()
        .unwrap()
        .pop();
    let mut given = given(ingress, vec![]);
    let service =
        json!({"metadata": {"name": "shop"}, "spec": {"ports": [{"name": "http", "port": 8080}]}});
    given.services = vec![serde_json::from_value(service).unwrap()];
    let migrated = to_gateway(&given, &public()).unwrap();
    assert_eq!(
        migrated.objects[0]["spec"]["rules"][0]["backendRefs"][0]["port"],
        8080
    );
}

#[test]
fn what_keeps_requests_out_goes_only_where_somebody_says_so() {
    let guards = [
        ("auth-url", "https://sso.test"),
        ("whitelist-source-range", "10.0.0.0/8"),
    ];
    let mut given = given(main(&guards, whole()), vec![]);
    let Faults(faults) = to_gateway(&given, &public()).unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].ends_with("--without auth-url"), "{faults:?}");
    given.without = vec!["auth-url".to_owned()];
    let Faults(faults) = to_gateway(&given, &public()).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    given.without.push("whitelist-source-range".to_owned());
    let migrated = to_gateway(&given, &public()).unwrap();
    let open = migrated
        .notes
        .iter()
        .filter(|note| note.starts_with("OPEN: "));
    assert_eq!(open.count(), 2, "{:?}", migrated.notes);
    let first = &migrated.steps[0];
    assert!(
        first.contains("(auth-url, whitelist-source-range)"),
        "{first}"
    );
    assert!(
        migrated.steps[1].starts_with("Apply the routes"),
        "{:?}",
        migrated.steps
    );
}

#[test]
fn a_guard_that_is_off_keeps_nobody_out() {
    let off = [
        &[("enable-modsecurity", "false")][..],
        &[("ssl-passthrough", "false")],
        &[("auth-url", "")],
        &[
            ("auth-tls-secret", "shop/ca"),
            ("auth-tls-verify-client", "off"),
        ],
    ];
    for annotations in off {
        let migrated = to_gateway(&given(main(annotations, whole()), vec![]), &public());
        let open = migrated.unwrap().notes;
        let open = open.iter().filter(|note| note.starts_with("OPEN: "));
        assert_eq!(open.count(), 0, "{annotations:?}");
    }
}

#[test]
fn a_rewrite_by_another_group_than_the_one_that_catches_the_rest_is_refused() {
    let of = |text: &str, rewrite: &str| {
        let annotations = [("use-regex", "true"), ("rewrite-target", rewrite)];
        let ingress = main(
            &annotations,
            vec![path(text, "ImplementationSpecific", "shop")],
        );
        to_gateway(&given(ingress, vec![]), &public())
    };
    for (text, rewrite) in [("/v1(/|$)(.*)", "/$1"), ("/v1/(.*)", "/$2")] {
        let Faults(faults) = of(text, rewrite).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].contains(text) && faults[0].contains(rewrite),
            "{faults:?}"
        );
    }
    for (text, rewrite) in [("/v1(/|$)(.*)", "/$2"), ("/v1/(.*)", "/$1")] {
        let routes = of(text, rewrite).unwrap().objects;
        let rule = &routes[0]["spec"]["rules"][0];
        assert_eq!(rule["matches"][0]["path"]["value"], "/v1", "{text}");
    }
}

#[test]
fn a_rewrite_that_no_route_can_say_is_refused_unless_it_may_go() {
    let table = [
        ("/a/(.*)/(.*)", "/$1/$2"),
        ("/v[0-9]+/(.*)", "/$1"),
        ("/", "https://new.test/$1"),
        ("/api(/|$)(.*)", "/in$2"),
        ("/api(/|$)(.*)", "/$2?all=1"),
    ];
    for (at, to) in table {
        let annotations = [("rewrite-target", to), ("use-regex", "true")];
        let ingress = main(
            &annotations,
            vec![path(at, "ImplementationSpecific", "shop")],
        );
        let mut given = given(ingress, vec![]);
        let Faults(faults) = to_gateway(&given, &public()).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].ends_with("--without rewrite-target"),
            "{faults:?}"
        );
        given.without = vec!["rewrite-target".to_owned()];
        let migrated = to_gateway(&given, &public()).unwrap();
        let rule = &migrated.objects[0]["spec"]["rules"][0];
        assert_eq!(rule["filters"], Value::Null);
        let open = migrated.notes.iter().any(|note| note.starts_with("OPEN: "));
        assert!(open, "{at}: {:?}", migrated.notes);
    }
}

#[test]
fn a_redirect_that_no_route_can_say_is_refused_unless_it_may_go() {
    for to in [
        "https://a.test/in?b=c",
        "https://$host.new.test",
        "in a test",
    ] {
        let mut given = given(main(&[("temporal-redirect", to)], whole()), vec![]);
        let Faults(faults) = to_gateway(&given, &public()).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].ends_with("--without temporal-redirect"),
            "{faults:?}"
        );
        given.without = vec!["temporal-redirect".to_owned()];
        let notes = to_gateway(&given, &public()).unwrap().notes;
        let open = notes
            .iter()
            .any(|note| note.starts_with("OPEN: ") && note.contains(to));
        assert!(open, "{notes:?}");
    }
}

#[test]
fn an_ingress_of_another_controller_may_keep_requests_out_by_what_is_not_read() {
    let mut ingress = main(&[], whole());
    ingress["spec"]["ingressClassName"] = json!("traefik");
    ingress["metadata"]["annotations"] = json!({"nginx.org/server-snippets": "deny all;"});
    let mut given = given(ingress, vec![]);
    let Faults(faults) = to_gateway(&given, &public()).unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
    given.without = vec!["class".to_owned(), "nginx.org".to_owned()];
    let notes = to_gateway(&given, &public()).unwrap().notes;
    let open = notes.iter().filter(|note| note.starts_with("OPEN: "));
    assert_eq!(open.count(), 2, "{notes:?}");
}

#[test]
fn a_path_that_no_route_may_have_is_refused_with_what_is_not_allowed() {
    let table = [
        ("/a b", "` `"),
        ("/admin//x", "`//`"),
        ("/x%2Fy", "`%2F`"),
        ("/a/../b", "`/../`"),
        ("/a/..", "`/..` at its end"),
        ("/a%zz", "`%zz`"),
        ("/x y/(.*)", "` `"),
    ];
    for (at, part) in table {
        let annotations = [("rewrite-target", "/$1")];
        let annotations = if at.contains('(') {
            &annotations[..]
        } else {
            &[]
        };
        let ingress = main(annotations, vec![path(at, "Prefix", "shop")]);
        let Faults(faults) = to_gateway(&given(ingress, vec![]), &public()).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].contains(&format!("may have {part}")),
            "{faults:?}"
        );
    }
}

#[test]
fn all_that_stands_against_an_ingress_is_told_at_once() {
    let annotations = [("rewrite-target", "/$1"), ("auth-url", "https://sso.test")];
    let mut unknown = path("/v1(/|$)(.*)", "ImplementationSpecific", "shop");
    unknown["backend"]["service"]["port"] = json!({"name": "http"});
    let mut ingress = main(&annotations, vec![unknown, path("/a b", "Exact", "shop")]);
    ingress["spec"]["ingressClassName"] = json!("traefik");
    let Faults(faults) = to_gateway(&given(ingress, vec![]), &public()).unwrap_err();
    for wanted in [
        "its port http",
        "$1 is the slash alone",
        "may have ` `",
        "--without auth-url",
        "--without class",
    ] {
        let count = faults.iter().filter(|fault| fault.contains(wanted)).count();
        assert_eq!(count, 1, "{wanted}: {faults:?}");
    }
    assert_eq!(faults.len(), 5, "{faults:?}");
}

#[test]
fn a_class_that_may_go_is_nothing_to_put_at_the_gateway() {
    let mut ingress = main(&[], whole());
    ingress["spec"]["ingressClassName"] = json!("traefik");
    let mut given = given(ingress, vec![]);
    given.without = vec!["class".to_owned()];
    let steps = to_gateway(&given, &public()).unwrap().steps;
    assert!(steps[0].starts_with("Apply the routes"), "{steps:?}");
}
