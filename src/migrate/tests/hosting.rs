//! Hosts, TLS, aliases and the default backend.

use super::*;

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
