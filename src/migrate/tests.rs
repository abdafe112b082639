//! Ingresses, and the routes that come of them: each row is an annotation or a form, with what must be said.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

fn given(main: Value, others: Vec<Value>) -> Given {
    let typed = |object: Value| serde_json::from_value(object).unwrap();
    Given {
        ingress: serde_json::from_value(main).unwrap(),
        others: others.into_iter().map(typed).collect(),
        prefix: PREFIX.to_owned(),
        ..Given::default()
    }
}

fn public() -> Gateway {
    Gateway {
        namespace: Some("infra".into()),
        name: "public".into(),
        http: "http".into(),
        https: "https".into(),
    }
}

fn path(path: &str, kind: &str, service: &str) -> Value {
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    json!({"path": path, "pathType": kind, "backend": backend})
}

fn main(annotations: &[(&str, &str)], paths: Vec<Value>) -> Value {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| (format!("{PREFIX}/{key}"), json!(value)))
        .collect();
    json!({
        "metadata": {"name": "shop", "namespace": "shop", "annotations": annotations},
        "spec": {"rules": [{"host": "shop.test", "http": {"paths": paths}}]},
    })
}

fn whole() -> Vec<Value> {
    vec![path("/", "Prefix", "shop")]
}

#[test]
fn a_plain_ingress_is_one_route() {
    let migrated = to_gateway(&given(main(&[], whole()), vec![]), &public()).unwrap();
    let wanted = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {
            "parentRefs": [{"name": "public", "namespace": "infra"}],
            "hostnames": ["shop.test"],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": "shop", "port": 80}],
            }],
        },
    });
    assert_eq!(migrated.objects, [wanted]);
    assert_eq!(migrated.notes, [] as [String; 0]);
}

/// Annotations, the path, the rule's filters, and how many notes.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, Value, usize);

#[test]
fn annotations_become_filters_or_notes() {
    let rewritten = |what: Value| json!([{"type": "URLRewrite", "urlRewrite": what}]);
    let full = |path: &str| json!({"path": {"type": "ReplaceFullPath", "replaceFullPath": path}});
    let moved = json!([{"type": "RequestRedirect", "requestRedirect":
        {"statusCode": 301, "scheme": "https", "hostname": "new.test", "path": {"type": "ReplaceFullPath", "replaceFullPath": "/in"}}}]);
    let table: [Row<'_>; 7] = [
        (&[("rewrite-target", "/in")], "/", rewritten(full("/in")), 0),
        (
            &[("rewrite-target", "/in"), ("upstream-vhost", "in.test")],
            "/",
            rewritten(
                json!({"hostname": "in.test", "path": {"type": "ReplaceFullPath", "replaceFullPath": "/in"}}),
            ),
            0,
        ),
        (
            &[("rewrite-target", "/$2"), ("use-regex", "true")],
            "/api(/|$)(.*)",
            rewritten(json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}})),
            0,
        ),
        (
            &[("permanent-redirect", "https://new.test/in")],
            "/",
            moved,
            1,
        ),
        (&[("auth-realm", "shop")], "/", Value::Null, 1),
        (
            &[("proxy-read-timeout", "60"), ("affinity", "cookie")],
            "/",
            Value::Null,
            2,
        ),
        (
            &[
                ("backend-protocol", "HTTP"),
                ("service-upstream", "true"),
                ("force-ssl-redirect", "false"),
            ],
            "/",
            Value::Null,
            0,
        ),
    ];
    for (annotations, at, filters, notes) in table {
        let ingress = main(
            annotations,
            vec![path(at, "ImplementationSpecific", "shop")],
        );
        let migrated = to_gateway(&given(ingress, vec![]), &public()).unwrap();
        let rule = &migrated.objects[0]["spec"]["rules"][0];
        assert_eq!(rule["filters"], filters, "{annotations:?}");
        assert_eq!(
            migrated.notes.len(),
            notes,
            "{annotations:?}: {:?}",
            migrated.notes
        );
    }
}

/// Some Gateways ask whether a whole text is like an expression, Traefik whether any part of it is.
#[test]
fn expressions_mean_the_same_where_a_part_of_the_text_is_enough() {
    let mut canary = main(
        &[("canary", "true"), ("canary-by-cookie", "new")],
        vec![path("/v[0-9]+/cart", "ImplementationSpecific", "new")],
    );
    canary["metadata"]["name"] = json!("new");
    let ingress = main(
        &[("use-regex", "true")],
        vec![path("/v[0-9]+/cart", "ImplementationSpecific", "shop")],
    );
    let migrated = to_gateway(&given(ingress, vec![canary]), &public()).unwrap();
    let first = &migrated.objects[0]["spec"]["rules"][0]["matches"][0];
    let table = [
        (
            &first["headers"][0]["value"],
            "a=b; new=always; c=d",
            "renew=always",
        ),
        (&first["path"]["value"], "/V1/cart/7", "/old/v1/cart"),
    ];
    for (expression, taken, left) in table {
        let expression = expression.as_str().unwrap();
        let part = regex::Regex::new(expression).unwrap();
        let whole = regex::Regex::new(&format!("^(?:{expression})$")).unwrap();
        for like in [part, whole] {
            assert!(like.is_match(taken), "{like}");
            assert!(!like.is_match(left), "{like}");
        }
    }
}

#[test]
fn a_rewritten_path_takes_less_than_before() {
    let at = |kind| {
        let ingress = main(
            &[("rewrite-target", "/in")],
            vec![path("/old", kind, "shop")],
        );
        to_gateway(&given(ingress, vec![]), &public())
            .unwrap()
            .notes
    };
    for kind in ["Prefix", "Exact"] {
        let notes = at(kind);
        assert!(notes[0].contains("(/oldx too)"), "{kind}: {notes:?}");
        assert_eq!(notes.len(), 1, "{kind}: {notes:?}");
    }
}

#[test]
fn a_host_with_tls_is_served_with_it_and_redirected_to_it() {
    let mut ingress = main(&[], whole());
    ingress["spec"]["tls"] = json!([{"hosts": ["shop.test"], "secretName": "shop-tls"}]);
    let migrated = to_gateway(&given(ingress.clone(), vec![]), &public()).unwrap();
    let section = |object: &Value| object["spec"]["parentRefs"][0]["sectionName"].clone();
    let sections: Vec<Value> = migrated.objects.iter().map(section).collect();
    assert_eq!(sections, ["https", "http"]);
    let redirect = &migrated.objects[1]["spec"]["rules"][0]["filters"][0]["requestRedirect"];
    assert_eq!(redirect["scheme"], "https");
    assert!(
        migrated.notes[0].contains("shop-tls"),
        "{:?}",
        migrated.notes
    );
    ingress["metadata"]["annotations"] = json!({format!("{PREFIX}/ssl-redirect"): "false"});
    let both = to_gateway(&given(ingress, vec![]), &public()).unwrap();
    assert_eq!(
        both.objects.iter().map(section).collect::<Vec<_>>(),
        [Value::Null]
    );
}

#[test]
fn every_host_of_an_ingress_with_tls_has_it() {
    for (tls, secret) in [
        (json!([{"secretName": "any"}]), "any"),
        (json!([{"hosts": ["*.test"], "secretName": "wild"}]), "wild"),
        (
            json!([{"hosts": ["other.test"], "secretName": "other"}]),
            "its default",
        ),
    ] {
        let mut ingress = main(&[], whole());
        ingress["spec"]["tls"] = tls.clone();
        let migrated = to_gateway(&given(ingress, vec![]), &public()).unwrap();
        assert_eq!(migrated.objects.len(), 2, "{tls}");
        assert_eq!(
            migrated.objects[0]["spec"]["parentRefs"][0]["sectionName"],
            "https"
        );
        let note = &migrated.notes[0];
        assert!(
            note.contains("shop.test") && note.contains(secret),
            "{note}"
        );
    }
}

#[test]
fn hosts_that_lead_to_the_same_share_a_route_and_long_lists_are_parted() {
    let mut ingress = main(&[], whole());
    let paths = json!({"paths": whole()});
    ingress["spec"]["rules"] = json!([
        {"host": "a.test", "http": paths}, {"host": "b.test", "http": paths},
        {"host": "c.test", "http": {"paths": (0..20).map(|at| path(&format!("/{at}"), "Prefix", "c")).collect::<Vec<_>>()}},
    ]);
    let migrated = to_gateway(&given(ingress, vec![]), &public()).unwrap();
    let shown: Vec<String> = migrated
        .objects
        .iter()
        .map(|object| {
            let rules = object["spec"]["rules"].as_array().unwrap().len();
            format!(
                "{} {} {rules}",
                object["metadata"]["name"], object["spec"]["hostnames"]
            )
        })
        .collect();
    let wanted = [
        r#""shop" ["a.test","b.test"] 1"#,
        r#""shop-2" ["c.test"] 16"#,
        r#""shop-3" ["c.test"] 4"#,
    ];
    assert_eq!(shown, wanted);
}

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
fn the_canary_of_a_run_is_left_out_and_rollouts_are_switched_last() {
    let mut canary = main(
        &[("canary", "true"), ("canary-weight", "5")],
        vec![path("/", "Prefix", "shop-canary")],
    );
    canary["metadata"]["name"] = json!("shop-canary");
    canary["metadata"]["labels"] = json!({crate::kubernetes::canary::ROLLOUT: "shop"});
    let mut given = given(main(&[], whole()), vec![canary]);
    given.rollouts = vec![json!({
        "metadata": {"name": "shop"},
        "spec": {"route": {"ingressNginx": {"ingress": "shop", "service": "shop"}}},
    })];
    let migrated = to_gateway(&given, &public()).unwrap();
    let backends = &migrated.objects[0]["spec"]["rules"][0]["backendRefs"];
    assert_eq!(backends, &json!([{"name": "shop", "port": 80}]));
    assert!(migrated.notes[0].contains("Idle"), "{:?}", migrated.notes);
    let patch = &migrated.steps[migrated.steps.len() - 2];
    assert!(
        patch.contains(r#""gatewayApi":{"httpRoute":"shop","service":"shop"}"#),
        "{patch}"
    );
    assert!(
        migrated
            .steps
            .last()
            .unwrap()
            .starts_with("kubectl delete ingress -n shop shop")
    );
}

#[test]
fn a_canary_by_hand_goes_with_its_ingress_and_what_has_no_tls_is_asked_without() {
    let mut canary = main(
        &[("canary", "true"), ("canary-weight", "5")],
        vec![path("/", "Prefix", "shop-canary")],
    );
    canary["metadata"]["name"] = json!("shop-canary");
    let migrated = to_gateway(&given(main(&[], whole()), vec![canary]), &public()).unwrap();
    let steps = migrated.steps;
    assert!(steps[1].contains(":80:ADDRESS:80 http://"), "{steps:?}");
    assert_eq!(
        steps.last().unwrap(),
        "kubectl delete ingress -n shop shop shop-canary"
    );
}

fn named(mut ingress: Value, name: &str, host: &str) -> Value {
    ingress["metadata"]["name"] = json!(name);
    ingress["spec"]["rules"][0]["host"] = json!(host);
    ingress
}

#[test]
fn other_ingresses_of_a_host_have_their_routes_before_it_is_led_away() {
    let api = |host| named(main(&[], vec![path("/api", "Prefix", "api")]), "api", host);
    let mut canary = named(main(&[("canary", "true")], whole()), "new", "shop.test");
    canary["metadata"]["namespace"] = json!("shop");
    let mut other_class = api("shop.test");
    other_class["spec"]["ingressClassName"] = json!("internal");
    let mut main_class = main(&[], whole());
    main_class["spec"]["ingressClassName"] = json!("nginx");
    let wild = named(main(&[], whole()), "shop", "*.test");
    let table = [
        (main(&[], whole()), api("shop.test"), 1),
        (main(&[], whole()), api("other.test"), 0),
        (wild.clone(), api("shop.test"), 1),
        (wild, api("a.shop.test"), 0),
        (main(&[], whole()), canary, 0),
        (main_class.clone(), other_class, 0),
        (main_class, api("shop.test"), 1),
    ];
    for (ingress, other, told) in table {
        let migrated = to_gateway(&given(ingress.clone(), vec![other.clone()]), &public()).unwrap();
        let notes = migrated.notes.iter();
        let notes = notes.filter(|note| note.contains("Ingress api (shop.test: /api)"));
        assert_eq!(notes.count(), told, "{ingress} {other}");
        let step = |words: &str| migrated.steps.iter().position(|step| step.contains(words));
        let away = step("Lead the hosts").unwrap();
        let first = step("sluice migrate ingress-to-gateway api --gateway infra/public");
        assert_eq!(first, (told == 1).then(|| away - 1), "{ingress} {other}");
    }
}

#[test]
fn ingresses_of_other_namespaces_count_and_where_nobody_looked_is_said() {
    let mut other = named(main(&[], whole()), "api", "shop.test");
    other["metadata"]["namespace"] = json!("api");
    let mut given = given(main(&[], whole()), vec![]);
    given.elsewhere = vec![serde_json::from_value(other).unwrap()];
    let migrated = to_gateway(&given, &public()).unwrap();
    let step = migrated.steps.iter();
    let step = step.filter(|step| step.contains("ingress-to-gateway -n api api"));
    assert_eq!((step.count(), migrated.notes.len()), (1, 1));
    given.elsewhere.clear();
    given.looked_in = Some("namespace shop".to_owned());
    let notes = to_gateway(&given, &public()).unwrap().notes;
    assert_eq!(notes.len(), 1);
    assert!(
        notes[0].contains("looked for in namespace shop only"),
        "{notes:?}"
    );
}

/// In ingress-nginx one Ingress that rewrites makes the paths of its whole host regular expressions.
#[test]
fn expressions_of_another_ingress_of_the_host_are_told() {
    let told = |at: &str, annotations: &[(&str, &str)]| {
        let other = named(main(annotations, whole()), "api", "shop.test");
        let ingress = main(&[], vec![path(at, "Prefix", "shop")]);
        let notes = to_gateway(&given(ingress, vec![other]), &public())
            .unwrap()
            .notes;
        notes
            .iter()
            .any(|note| note.contains("regular expressions too"))
    };
    assert!(told("/cart", &[("use-regex", "true")]));
    assert!(told("/cart", &[("rewrite-target", "/$2")]));
    assert!(!told("/", &[("use-regex", "true")]));
    assert!(!told("/cart", &[("proxy-body-size", "8m")]));
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
fn what_other_controllers_did_for_the_ingress_is_told_and_seen_to_before_it_goes() {
    let mut ingress = main(&[], whole());
    ingress["metadata"]["annotations"] = json!({
        "cert-manager.io/cluster-issuer": "letsencrypt",
        "external-dns.alpha.kubernetes.io/hostname": "shop.test",
        "reloader.example/auto": "true",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "meta.helm.sh/release-name": "shop",
    });
    let migrated = to_gateway(&given(ingress, vec![]), &public()).unwrap();
    assert_eq!(migrated.notes.len(), 3, "{:?}", migrated.notes);
    let [.., certificate, record, delete] = migrated.steps.as_slice() else {
        panic!("{:?}", migrated.steps);
    };
    let annotated =
        "kubectl annotate gateway -n infra public cert-manager.io/cluster-issuer=letsencrypt;";
    assert!(certificate.contains(annotated), "{certificate}");
    assert!(record.contains("--source=gateway-httproute"), "{record}");
    assert!(delete.starts_with("kubectl delete ingress"), "{delete}");
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
fn a_route_has_no_more_hosts_than_the_api_takes() {
    let mut ingress = main(&[("server-alias", "other.test, more.test")], whole());
    let routes = to_gateway(&given(ingress.clone(), vec![]), &public())
        .unwrap()
        .objects;
    let named = json!(["more.test", "other.test", "shop.test"]);
    assert_eq!(routes[0]["spec"]["hostnames"], named, "aliases");
    let rule = ingress["spec"]["rules"][0].clone();
    let hosts = (0..20).map(|number| {
        let mut rule = rule.clone();
        rule["host"] = json!(format!("{number}.test"));
        rule
    });
    ingress["spec"]["rules"] = hosts.collect();
    ingress["metadata"]["annotations"] = json!({});
    let routes = to_gateway(&given(ingress, vec![]), &public())
        .unwrap()
        .objects;
    let hosts = |route: &Value| route["spec"]["hostnames"].as_array().map(Vec::len);
    let hosts: Vec<usize> = routes.iter().filter_map(hosts).collect();
    assert_eq!(
        (hosts.iter().sum::<usize>(), hosts.len()),
        (20, 2),
        "{hosts:?}"
    );
    let names: BTreeSet<&str> = routes
        .iter()
        .filter_map(|route| route["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names.len(), routes.len());
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

fn rules_of(annotations: &[(&str, &str)], at: &str, kind: &str) -> Value {
    let ingress = main(annotations, vec![path(at, kind, "shop")]);
    let migrated = to_gateway(&given(ingress, vec![]), &public()).unwrap();
    migrated.objects[0]["spec"]["rules"][0].clone()
}

#[test]
fn an_alias_has_the_canary_of_its_host_and_its_certificate() {
    let mut ingress = main(&[("server-alias", "Other.test")], whole());
    ingress["spec"]["tls"] = json!([{"hosts": ["shop.test"], "secretName": "shop-tls"}]);
    let mut canary = main(
        &[("canary", "true"), ("canary-weight", "20")],
        vec![path("/", "Prefix", "new")],
    );
    canary["metadata"]["name"] = json!("new");
    let migrated = to_gateway(&given(ingress, vec![canary]), &public()).unwrap();
    let spec = &migrated.objects[0]["spec"];
    assert_eq!(spec["hostnames"], json!(["other.test", "shop.test"]));
    assert_eq!(spec["rules"][0]["backendRefs"][1]["weight"], 20);
    let told = |text: &str| migrated.notes.iter().any(|note| note.contains(text));
    assert!(
        told("TLS of other.test, shop.test:"),
        "{:?}",
        migrated.notes
    );
    assert!(told("other.test has the certificate of its host if"));
}

#[test]
fn an_alias_that_is_no_host_is_told() {
    for alias in ["-bad-", "~^www\\d+", "a..test"] {
        let ingress = main(&[("server-alias", alias)], whole());
        let migrated = to_gateway(&given(ingress, vec![]), &public()).unwrap();
        let hosts = &migrated.objects[0]["spec"]["hostnames"];
        assert_eq!(hosts, &json!(["shop.test"]), "{alias}");
        assert!(
            migrated.notes[0].contains("no host"),
            "{:?}",
            migrated.notes
        );
    }
}

/// nginx takes nothing for a group that there is not, and ingress-nginx a target that equals its path for none.
#[test]
fn a_rewrite_of_a_path_without_groups_is_one_to_a_fixed_text() {
    let table = [
        ("/", "/$2", json!("/")),
        ("/static", "/in/$1", json!("/in/")),
        ("/static", "/$1x$2", json!("/x")),
        ("/", "/", Value::Null),
        ("/static", "/static", Value::Null),
    ];
    for (at, to, wanted) in table {
        let rule = rules_of(&[("rewrite-target", to)], at, "Prefix");
        let written = &rule["filters"][0]["urlRewrite"]["path"]["replaceFullPath"];
        assert_eq!(written, &wanted, "{at} {to}");
    }
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
fn expressions_are_told_by_what_is_written() {
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, bool);
    let table: [Row<'_>; 4] = [
        (&[("rewrite-target", "/x")], "/api/[a-z]+", true),
        (&[("use-regex", "true")], "/api", true),
        (
            &[("use-regex", "true"), ("rewrite-target", "/$2")],
            "/api(/|$)(.*)",
            false,
        ),
        (&[], "/api", false),
    ];
    for (annotations, at, wanted) in table {
        let ingress = main(
            annotations,
            vec![path(at, "ImplementationSpecific", "shop")],
        );
        let migrated = to_gateway(&given(ingress, vec![]), &public()).unwrap();
        let mut notes = migrated.notes.iter();
        let told = notes.any(|note| note.contains("it needs regular expressions"));
        assert_eq!(told, wanted, "{annotations:?} {at}");
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

/// ingress-nginx redirects to TLS the hosts that have a certificate, which a request without a rule's host has not.
#[test]
fn rules_without_a_host_are_served_with_and_without_tls() {
    let mut ingress = main(&[], whole());
    let any = ingress["spec"]["rules"][0]["http"].clone();
    let named = ingress["spec"]["rules"][0].clone();
    ingress["spec"]["rules"] = json!([named, {"http": any}]);
    ingress["spec"]["tls"] = json!([{"secretName": "any"}]);
    let routes = to_gateway(&given(ingress, vec![]), &public())
        .unwrap()
        .objects;
    let shown: Vec<String> = routes
        .iter()
        .map(|route| {
            let spec = &route["spec"];
            format!(
                "{} {}",
                spec["hostnames"], spec["parentRefs"][0]["sectionName"]
            )
        })
        .collect();
    let wanted = [
        "null null",
        r#"["shop.test"] "https""#,
        r#"["shop.test"] "http""#,
    ];
    assert_eq!(shown, wanted);
}

#[test]
fn the_default_backend_has_the_rest_of_its_hosts_or_all_hosts_where_no_rule_is() {
    let backend = json!({"service": {"name": "rest", "port": {"number": 80}}});
    let with = |paths: Vec<Value>| {
        let mut ingress = main(&[], paths);
        ingress["spec"]["defaultBackend"] = backend.clone();
        ingress
    };
    let mut without = with(vec![]);
    without["spec"]["rules"] = json!([]);
    let table = [
        (
            with(vec![path("/api", "Prefix", "api")]),
            json!(["shop.test"]),
            2,
        ),
        (with(whole()), json!(["shop.test"]), 1),
        (without, Value::Null, 1),
    ];
    for (ingress, hosts, rules) in table {
        let routes = to_gateway(&given(ingress, vec![]), &public())
            .unwrap()
            .objects;
        assert_eq!(routes.len(), 1, "{routes:?}");
        let spec = &routes[0]["spec"];
        let written = spec["rules"].as_array().unwrap().len();
        assert_eq!((&spec["hostnames"], written), (&hosts, rules));
    }
}

#[test]
fn nothing_is_told_twice_of_many_hosts() {
    let annotations = [("rewrite-target", "/$1")];
    let at = path("/v1/?(.*)", "ImplementationSpecific", "shop");
    let mut ingress = main(&annotations, vec![at]);
    let rule = ingress["spec"]["rules"][0].clone();
    let hosts = (0..33).map(|number| {
        let mut rule = rule.clone();
        rule["host"] = json!(format!("{number}.test"));
        rule
    });
    ingress["spec"]["rules"] = hosts.collect();
    let migrated = to_gateway(&given(ingress, vec![]), &public()).unwrap();
    let notes: BTreeSet<&String> = migrated.notes.iter().collect();
    assert_eq!(notes.len(), migrated.notes.len(), "{:?}", migrated.notes);
    assert_eq!(migrated.objects.len(), 3);
}

#[test]
fn a_redirect_keeps_the_request_where_it_says_so_and_codes_count_beside_one() {
    let rule = |url| rules_of(&[("permanent-redirect", url)], "/", "Prefix");
    let kept = rule("https://new.test$request_uri");
    let wanted = json!({"statusCode": 301, "scheme": "https", "hostname": "new.test"});
    assert_eq!(kept["filters"][0]["requestRedirect"], wanted);
    let to = "https://new.test";
    let table = [
        (&[("permanent-redirect-code", "308")][..], 0),
        (
            &[
                ("permanent-redirect", to),
                ("permanent-redirect-code", "308"),
            ],
            1,
        ),
        (
            &[
                ("permanent-redirect", to),
                ("permanent-redirect-code", "abc"),
            ],
            0,
        ),
        (&[("permanent-redirect", "https://$host.new.test")], 1),
    ];
    for (annotations, told) in table {
        let migrated = to_gateway(&given(main(annotations, whole()), vec![]), &public()).unwrap();
        let notes = migrated.notes.iter();
        let of_it = notes.filter(|note| note.contains("permanent-redirect"));
        assert_eq!(of_it.count(), told, "{annotations:?}: {:?}", migrated.notes);
    }
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
