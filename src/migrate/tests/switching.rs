//! Canaries, Rollouts, other Ingresses, and the steps of the switch.

use super::*;

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
