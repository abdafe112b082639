//! Preflight as a table: a small shop in which one thing is changed at a time.

use serde_json::{Value, json};

use super::*;

const P: &str = "nginx.ingress.kubernetes.io";

/// The shop: name of the part, and the part.
fn shop() -> Value {
    json!({
        "target": {
            "metadata": {"name": "shop", "namespace": "production"},
            "spec": {
                "selector": {"matchLabels": {"app": "shop"}},
                "template": {
                    "metadata": {"labels": {"app": "shop", "tier": "web"}},
                    "spec": {"containers": [{"name": "main", "image": "shop:1"}]},
                },
            },
        },
        "ingresses": {"shop": ingress("shop", "shop.test", "shop")},
        "services": {"shop": service("shop", &json!({"app": "shop"}))},
        "deployments": {}, "policies": {}, "budgets": {}, "claims": {},
        "classes": {"nginx": {"metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}}},
    })
}

fn ingress(name: &str, host: &str, service: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "production"},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}},
        ]}}]},
    })
}

fn canary_ingress(name: &str, host: &str, service: &str) -> Value {
    let mut all = ingress(name, host, service);
    all["metadata"]["annotations"] = json!({format!("{P}/canary"): "true"});
    all
}

fn service(name: &str, selector: &Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"selector": selector, "ports": [{"name": "http", "port": 80}]}})
}

fn own(mut object: Value) -> Value {
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "name": "shop", "uid": "rollout"}]);
    object
}

fn parts<T: serde::de::DeserializeOwned>(shop: &Value, kind: &str) -> Vec<T> {
    let all = shop[kind].as_object().unwrap();
    all.values()
        .map(|part| serde_json::from_value(part.clone()).unwrap())
        .collect()
}

/// Runs preflight over the shop merged with `change`, and hands the answer on.
fn with<T>(change: &Value, named: Option<&str>, check: impl FnOnce(Preflight<'_>) -> T) -> T {
    let mut shop = shop();
    json_patch::merge(&mut shop, change);
    let target: Deployment = serde_json::from_value(shop["target"].clone()).unwrap();
    let (ingresses, services) = (parts(&shop, "ingresses"), parts(&shop, "services"));
    let deployments: Vec<Deployment> = parts(&shop, "deployments");
    let deployments: Vec<Beside> = deployments.iter().map(Beside::of).collect();
    let (policies, budgets) = (parts(&shop, "policies"), parts(&shop, "budgets"));
    let (claims, classes) = (parts(&shop, "claims"), parts(&shop, "classes"));
    check(preflight(&Seen {
        rollout_uid: "rollout",
        kind: WorkloadKind::Deployment,
        target: &target,
        template: &target.spec.template,
        way: Way::Nginx(Nginx {
            ingress: "shop",
            service: named,
            prefix: P,
            ingresses: ingresses.iter().collect(),
            classes: Some(classes.iter().collect()),
        }),
        services: services.iter().collect(),
        deployments: deployments.iter().collect(),
        policies: policies.iter().collect(),
        budgets: budgets.iter().collect(),
        claims: claims.iter().collect(),
    }))
}

fn refusals(change: &Value, named: Option<&str>) -> Vec<String> {
    with(change, named, |answer| {
        answer.refusals.iter().map(ToString::to_string).collect()
    })
}

#[test]
fn a_plain_shop_can_have_a_canary_and_needs_no_warning() {
    with(&json!({}), None, |answer| {
        assert_eq!((answer.refusals, answer.warnings), (vec![], vec![]));
        let found = answer.found.unwrap();
        assert_eq!(found.label, ArmLabel::new("app", "shop"));
        assert_eq!(found.ports, ["80"]);
        assert_eq!(name(&found.service.metadata), "shop");
    });
}

#[test]
fn other_ingresses_of_the_service_are_known_and_told() {
    let by = |port: u32| {
        let mut other = ingress("x", "x.test", "shop");
        other["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] =
            json!({"number": port});
        json!({"ingresses": {"x": other}})
    };
    with(&by(80), None, |answer| {
        assert_eq!(
            answer.warnings,
            [
                "Service shop is behind Ingress x too: that traffic goes to the canary as well, and is counted"
            ]
        );
        assert_eq!(answer.found.unwrap().others, ["x"]);
    });
    with(&by(81), None, |answer| {
        assert_eq!(
            answer.warnings,
            [
                "Service shop is behind Ingress x by port 81, which Ingress shop does not lead to: that traffic stays with stable"
            ]
        );
        assert_eq!(answer.found.unwrap().others, Vec::<&str>::new());
    });
}

#[test]
fn ingresses_of_another_controller_are_not_counted() {
    let other = |class: &str| {
        let mut other = ingress("x", "x.test", "shop");
        other["spec"]["ingressClassName"] = json!(class);
        json!({"ingresses": {"x": other}, "classes": {
            "internal": {"metadata": {"name": "internal"}, "spec": {"controller": "k8s.io/internal-ingress-nginx"}},
            "fast": {"metadata": {"name": "fast"}, "spec": {"controller": "k8s.io/ingress-nginx"}},
        }})
    };
    let apart = "Service shop is behind Ingress x too, which another controller serves: that traffic stays with stable, and is not counted";
    for class in ["internal", "unknown"] {
        with(&other(class), None, |answer| {
            assert_eq!(answer.warnings, [apart], "{class}");
            assert_eq!(answer.found.unwrap().others, Vec::<&str>::new(), "{class}");
        });
    }
    // One controller serves all classes that name it.
    with(&other("fast"), None, |answer| {
        assert_eq!(answer.found.unwrap().others, ["x"]);
    });
}

#[test]
fn a_name_that_is_cut_in_names_of_pods_is_warned_of() {
    let named = |length: usize| json!({"target": {"metadata": {"name": "s".repeat(length)}}});
    with(&named(55), None, |answer| {
        assert_eq!(answer.warnings, Vec::<String>::new());
    });
    with(&named(56), None, |answer| {
        assert_eq!(answer.warnings.len(), 1);
    });
}

#[test]
fn what_cannot_have_a_canary_is_refused_with_its_reason() {
    let rules = |rules: Value| json!({"ingresses": {"shop": {"spec": {"rules": rules, "defaultBackend": {"service": {"name": "shop", "port": {"number": 80}}}}}}});
    let only_default = "Ingress shop has no rule with paths to a Service (only a default or resource backend), and a canary shares rules only";
    let two = json!([{"http": {"paths": [
        {"path": "/a", "pathType": "Prefix", "backend": {"service": {"name": "shop", "port": {"number": 80}}}},
        {"path": "/b", "pathType": "Prefix", "backend": {"service": {"name": "two", "port": {"number": 80}}}},
    ]}}]);
    let table = [
        (
            json!({"target": {"spec": {"strategy": {"type": "Recreate"}}}}),
            "Deployment shop has strategy Recreate: at the promotion nothing would serve for a moment; use RollingUpdate, or `strategy.rolling` here",
        ),
        (
            json!({"ingresses": {"shop": null}}),
            "Ingress shop is not there",
        ),
        (
            json!({"ingresses": {"shop": {"metadata": {"annotations": {format!("{P}/canary"): "true"}}}}}),
            "Ingress shop is a canary itself; name the main one",
        ),
        (rules(json!(null)), only_default),
        (rules(json!([{"host": "no-http.test"}])), only_default),
        (
            rules(
                json!([{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"resource": {"kind": "B", "name": "b"}}}]}}]),
            ),
            only_default,
        ),
        (
            json!({"services": {"shop": {"spec": {"type": "ExternalName", "externalName": "elsewhere.test"}}}}),
            "no Service behind Ingress shop selects the pods of Deployment shop",
        ),
        (
            json!({"services": {"shop": null}}),
            "no Service behind Ingress shop selects the pods of Deployment shop",
        ),
        (
            json!({"services": {"shop": {"spec": {"selector": null}}}}),
            "no Service behind Ingress shop selects the pods of Deployment shop",
        ),
        (
            json!({"services": {"shop": {"spec": {"selector": {"app": "other"}}}}}),
            "no Service behind Ingress shop selects the pods of Deployment shop",
        ),
        (
            {
                let mut change = rules(two);
                change["services"] = json!({"two": service("two", &json!({"tier": "web"}))});
                change
            },
            "Services shop and two behind Ingress shop select the target's pods: say which one in spec.route.ingressNginx.service",
        ),
        (
            json!({"services": {"shop": {"spec": {"ports": [{"port": 8080}]}}}}),
            "Ingress shop names port 80 of Service shop, which has no such port",
        ),
        (
            json!({"classes": {"nginx": null}}),
            "Ingress shop is served by nobody: there is no IngressClass nginx",
        ),
        (
            json!({"ingresses": {"shop": {"spec": {"ingressClassName": null}}}}),
            "Ingress shop is served by nobody: it names no class and no IngressClass is the default",
        ),
        (
            json!({"ingresses": {"x": ingress("x", "x.test", "shop-canary")}}),
            "Ingress x leads to Service shop-canary, which is to be the canary's",
        ),
        (
            json!({"ingresses": {"x": canary_ingress("x", "shop.test", "mine")}}),
            "Ingress x is a canary for shop.test/ already, and the controller takes one only",
        ),
        (
            json!({"services": {"x": service("shop-canary", &json!({"a": "b"}))}}),
            "Service shop-canary exists and is not this Rollout's: rename or remove it",
        ),
        (
            json!({"ingresses": {"x": ingress("shop-canary", "x.test", "x")}}),
            "Ingress shop-canary exists and is not this Rollout's: rename or remove it",
        ),
        (
            leading_to(&json!("web")),
            "Service shop leads to a port named web, which no container of the template has: its pods would get no request",
        ),
    ];
    for (change, expected) in table {
        assert_eq!(refusals(&change, None), [expected], "{change}");
    }
}

#[test]
fn what_flagger_releases_is_refused_with_its_canary() {
    let made = |name: &str, selector: &str, group: &str| {
        let mut service = service(name, &json!({"app": selector}));
        let owner = json!({"apiVersion": format!("{group}/v1beta1"), "kind": "Canary", "name": "web", "uid": "1"});
        service["metadata"]["ownerReferences"] = json!([owner]);
        service
    };
    // As Flagger leaves them: the Service leads to the copy, the canary's to the target.
    let mut change = json!({"services": {
        "shop": made("shop", "shop-primary", "flagger.app"),
        "primary": made("shop-primary", "shop-primary", "flagger.app"),
        "canary": made("shop-canary", "shop", "flagger.app"),
    }});
    let first = |change: &Value| refusals(change, None).into_iter().next();
    let wanted = "Deployment shop is released by Flagger's Canary web, whose Service shop-canary selects its pods: two would scale it and split its traffic; `sluice import flagger` says how to switch";
    assert_eq!(first(&change).as_deref(), Some(wanted));
    // Nor is it taken for another's.
    change["services"]["canary"] = json!(null);
    let wanted = "no Service behind Ingress shop selects the pods of Deployment shop";
    assert_eq!(first(&change).as_deref(), Some(wanted));
    change["services"] = json!({"x": made("x", "shop", "canaries.example")});
    assert_eq!(first(&change), None);
}

/// The Service's port leads there, and another one, which no Ingress names, to where nothing is.
fn leading_to(port: &Value) -> Value {
    json!({"services": {"shop": {"spec": {"ports": [
        {"name": "http", "port": 80, "targetPort": port},
        {"name": "admin", "port": 81, "targetPort": "none"},
    ]}}}})
}

#[test]
fn a_port_may_be_named_by_any_container_or_be_a_number() {
    let web = json!({"name": "c", "image": "c:1", "ports": [{"name": "web", "containerPort": 80}]});
    let main = json!({"name": "main", "image": "shop:1"});
    for (spec, port) in [
        (json!({"containers": [main, web]}), json!("web")),
        (
            json!({"containers": [main], "initContainers": [web]}),
            json!("web"),
        ),
        (json!({"containers": [main]}), json!("8080")),
        (json!({"containers": [main]}), json!(8080)),
    ] {
        let mut change = leading_to(&port);
        change["target"] = json!({"spec": {"template": {"spec": spec}}});
        assert_eq!(refusals(&change, None), Vec::<String>::new(), "{change}");
    }
}

#[test]
fn another_rollout_s_run_behind_the_same_ingress_is_waited_for() {
    let mut other = canary_ingress("shop-canary", "shop.test", "api");
    other["metadata"]["ownerReferences"] = json!([{"apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "name": "api", "uid": "other"}]);
    other["spec"]["rules"][0]["http"]["paths"][0]["path"] = json!("/api");
    let change = json!({"ingresses": {"shop-canary": other}});
    let wanted = "Ingress shop-canary is of the run of Rollout api, which has the same Ingress: this run waits until that one is over";
    assert_eq!(refusals(&change, None), [wanted]);
    with(&change, None, |answer| {
        assert!(answer.refusals[0].is_of_another_run());
    });
}

#[test]
fn a_service_that_is_changed_with_the_template_strays_from_what_serves() {
    let template = |labels: Value, port: Value| -> PodTemplateSpec {
        let ports = if port.is_null() {
            json!([])
        } else {
            json!([port])
        };
        let container = json!({"name": "main", "image": "shop:1", "ports": ports});
        serde_json::from_value(
            json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}}),
        )
        .unwrap()
    };
    let port = |name: &str, number: u16| json!({"name": name, "containerPort": number});
    let both = || json!({"app": "shop", "tier": "web"});
    let selector = "its selector asks for labels that they do not have";
    let table = [
        (
            json!({"app": "shop", "tier": "web"}),
            json!("web"),
            template(both(), port("web", 80)),
            None,
        ),
        (
            json!({"app": "shop", "tier": "web"}),
            json!("web"),
            template(json!({"app": "shop"}), port("web", 80)),
            Some(selector),
        ),
        (
            json!({"app": "shop"}),
            json!("web"),
            template(both(), port("http", 80)),
            Some("its port web is none of theirs"),
        ),
        (
            json!({"app": "shop"}),
            json!(80),
            template(both(), port("http", 8080)),
            Some("its port 80 is none of theirs"),
        ),
        // Numbers need not be declared.
        (
            json!({"app": "shop"}),
            json!(80),
            template(both(), Value::Null),
            None,
        ),
        (
            json!({"app": "shop"}),
            json!(9090),
            template(both(), port("http", 8080)),
            None,
        ),
    ];
    for (selector, target_port, serving, wanted) in table {
        let mut change = leading_to(&target_port);
        change["services"]["shop"]["spec"]["selector"] = selector.clone();
        let held = template(both(), port("web", 80));
        change["target"] = json!({"spec": {"template": held}});
        let found = with(&change, None, |answer| {
            strays(&answer.found.unwrap(), &held, &serving).map(|refusal| refusal.to_string())
        });
        let wanted = wanted.map(|why| {
            format!("Service shop no longer leads to the pods that serve: {why}; put the Service back and change it when the release is through, or let the release through at once with `sluice open`")
        });
        assert_eq!(found, wanted, "{selector} {target_port}");
    }
}

#[test]
fn a_service_that_is_named_must_fit() {
    let table = [
        (
            json!({}),
            "api",
            "no path of Ingress shop leads to Service api",
        ),
        (
            json!({"services": {"shop": null}}),
            "shop",
            "Service shop is not there",
        ),
        (
            json!({"services": {"shop": {"spec": {"selector": null}}}}),
            "shop",
            "Service shop selects by no label (it has no selector)",
        ),
        (
            json!({"services": {"shop": {"spec": {"selector": {"app": "x"}}}}}),
            "shop",
            "Service shop does not select the pods of Deployment shop",
        ),
    ];
    for (change, named, expected) in table {
        assert_eq!(refusals(&change, Some(named)), [expected], "{change}");
    }
}

#[test]
fn what_the_rollout_owns_is_not_in_its_own_way() {
    let change = json!({
        "ingresses": {"c": own(canary_ingress("shop-canary", "shop.test", "shop-canary"))},
        "services": {"c": own(service("shop-canary", &json!({"app": "shop-canary"})))},
    });
    assert_eq!(refusals(&change, None), [""; 0]);
}

#[test]
fn a_canary_of_another_rule_and_a_default_class_are_fine() {
    let change = json!({
        "ingresses": {
            "x": canary_ingress("x", "other.test", "mine"),
            "shop": {"spec": {"ingressClassName": null}},
        },
        "classes": {"nginx": {"metadata": {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}}},
    });
    assert_eq!(refusals(&change, None), [""; 0]);
    let legacy = json!({"ingresses": {"shop": {
        "metadata": {"annotations": {"kubernetes.io/ingress.class": "nginx"}}, "spec": {"ingressClassName": null},
    }}, "classes": {"nginx": null}});
    assert_eq!(refusals(&legacy, None), [""; 0]);
}

#[test]
fn what_is_unexpected_is_said() {
    let labels = |app: &str| json!({"matchLabels": {"app": app}});
    let deny =
        json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["shop"]}]});
    let pod = |spec: Value| json!({"target": {"spec": {"template": {"spec": spec}}}});
    let table = [
        (
            json!({"ingresses": {"shop": {"metadata": {"annotations": {format!("{P}/affinity"): "cookie"}}}}}),
            "session affinity (cookie) is on",
        ),
        (
            json!({"ingresses": {"shop": {"metadata": {"annotations": {format!("{P}/ssl-passthrough"): "true"}}}}}),
            "ssl-passthrough is set: the controller does not see requests",
        ),
        (
            json!({"target": {"spec": {"replicas": 2, "strategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}}}),
            "Deployment shop may lose all of its pods at once in a promotion (maxUnavailable is 2 of 2)",
        ),
        (
            json!({"target": {"spec": {"replicas": 1, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"}}}}}),
            "(maxUnavailable is 1 of 1)",
        ),
        (
            json!({"ingresses": {"b": ingress("b", "b.test", "shop")}}),
            "Service shop is behind Ingress b too",
        ),
        (
            json!({"ingresses": {"shop": ingress("shop", "*.shop.test", "shop")}}),
            "rules without a host or with a wildcard",
        ),
        (
            json!({"classes": {"nginx": {"spec": {"controller": "nginx.org/ingress-controller"}}}}),
            "IngressClass nginx is served by nginx.org/ingress-controller",
        ),
        (
            json!({"classes": {"nginx": {"spec": {"controller": "traefik.io/ingress-controller"}}}}),
            "IngressClass nginx is served by traefik.io/ingress-controller",
        ),
        (
            json!({"budgets": {"b": {"metadata": {"name": "b"}, "spec": {"selector": labels("shop")}}}}),
            "PodDisruptionBudget b names app=shop",
        ),
        (
            json!({"policies": {"p": {"metadata": {"name": "p"}, "spec": {"podSelector": labels("shop")}}}}),
            "NetworkPolicy p names app=shop",
        ),
        (
            json!({"policies": {"p": {"metadata": {"name": "p"}, "spec": {"podSelector": labels("db"), "ingress": [{"from": [{"podSelector": labels("shop")}]}]}}}}),
            "NetworkPolicy p names app=shop",
        ),
        (
            json!({"policies": {"p": {"metadata": {"name": "p"}, "spec": {"podSelector": deny}}}}),
            "NetworkPolicy p restricts canary pods but not stable ones",
        ),
        (
            json!({"services": {"m": service("m", &json!({"app": "shop", "tier": "web"}))}}),
            "Service m selects by app=shop",
        ),
        (
            json!({"target": {"spec": {"selector": {"matchLabels": {"app": null, "tier": "web"}}}}}),
            "an autoscaler of it would count canary pods",
        ),
        (
            pod(json!({"hostNetwork": true})),
            "the pods take ports of their node",
        ),
        (
            pod(
                json!({"containers": [{"name": "main", "ports": [{"containerPort": 80, "hostPort": 80}]}]}),
            ),
            "the pods take ports of their node",
        ),
        (
            json!({
                "target": {"spec": {"template": {"spec": {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}}}},
                "claims": {"data": {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}},
            }),
            "volume claim data can be mounted on one node only",
        ),
    ];
    for (change, expected) in table {
        with(&change, None, |answer| {
            assert_eq!(answer.refusals, [], "{change}");
            assert_eq!(answer.warnings.len(), 1, "{:#?}", answer.warnings);
            assert!(
                answer.warnings[0].contains(expected),
                "{:?}",
                answer.warnings
            );
        });
    }
}

#[test]
fn the_label_stays_what_it_is_while_there_is_a_canary() {
    let both = json!({
        "target": {"spec": {"selector": {"matchLabels": {"app": "shop", "tier": "web"}}}},
        "services": {"shop": {"spec": {"selector": {"app": "shop", "tier": "web"}}}},
    });
    let label = |change: &Value| with(change, None, |answer| answer.found.unwrap().label);
    assert_eq!(label(&both), ArmLabel::new("app", "shop"));
    let mut running = both.clone();
    running["deployments"] = json!({"c": own(json!({
        "metadata": {"name": "shop-canary"},
        "spec": {"selector": {"matchLabels": {"app": "shop", "tier": "web-canary"}}, "template": {}},
    }))});
    assert_eq!(label(&running), ArmLabel::new("tier", "web"));
}
