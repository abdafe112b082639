//! What the simulated users apply: a small shop with steps and bounds that little traffic can
//! satisfy, so that a schedule is cheap.
//!
//! Not here: when they apply it (`users`).

use serde_json::{Value, json};

use crate::invariants::{STABLE, STEPS};
use crate::schedule::{Kind, Settings};

/// Where the shop is at the beginning.
pub const HOST: &str = "shop.example";

/// Everything that is applied at the beginning.
pub fn shop(settings: &Settings) -> Vec<Value> {
    vec![
        deployment(STABLE, settings.replicas),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop", "namespace": "default"},
            "spec": {"selector": {"app": "shop"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        }),
        if settings.gateway {
            http_route(HOST)
        } else {
            ingress(HOST, "/")
        },
        rollout(settings),
    ]
}

/// The shop behind a Gateway, with a rule that leads elsewhere and fields that Sluice does not know.
pub fn http_route(host: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "default", "annotations": {"sandbox.sluice.dev/rps": "40"}},
        "spec": {
            "parentRefs": [{"name": "edge"}],
            "hostnames": [host],
            "rules": [
                {"name": "shop", "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                 "backendRefs": [{"name": "shop", "port": 80}], "timeouts": {"request": "9s"}},
                {"matches": [{"path": {"type": "PathPrefix", "value": "/static"}, "method": "POST"}],
                 "backendRefs": [{"name": "assets", "port": 80, "weight": 7}]},
            ],
        },
    })
}

/// The Deployment with this image, which behaves as the image's name says.
pub fn deployment(image: &str, replicas: i64) -> Value {
    let mut annotations = json!({
        "sandbox.sluice.dev/latency": "5ms 0.2",
        "sandbox.sluice.dev/start-after": "500ms",
    });
    for (key, value) in behaviour(image) {
        annotations[format!("sandbox.sluice.dev/{key}")] = json!(value);
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "shop"}},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": "shop"}, "annotations": annotations},
                "spec": {"containers": [{
                    "name": "shop", "image": image, "ports": [{"name": "http", "containerPort": 8080}],
                }]},
            },
        },
    })
}

fn behaviour(image: &str) -> Vec<(&'static str, &'static str)> {
    let kind = image
        .trim_start_matches("shop:")
        .split('-')
        .next()
        .unwrap_or_default();
    match kind {
        "bad" => vec![("errors", "0.6")],
        "after" => vec![("errors", "0, 0.6 above 90%")],
        "late" => vec![("errors", "0, 0.6 above 40%")],
        "crash" => vec![("fate", "crash")],
        "pull" => vec![("fate", "pull")],
        "hang" => vec![("fate", "hang")],
        _ => Vec::new(),
    }
}

/// The image of the nth release.
pub fn image(kind: Kind, number: u32, bake: bool) -> String {
    let word = match kind {
        // Bad only once it serves alone.
        Kind::LateBad if bake => "after",
        Kind::Good => "good",
        Kind::Bad => "bad",
        Kind::LateBad => "late",
        Kind::Crash => "crash",
        Kind::Pull => "pull",
        Kind::Hang => "hang",
    };
    format!("shop:{word}-{number}")
}

pub fn ingress(host: &str, path: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "shop", "namespace": "default", "annotations": {"sandbox.sluice.dev/rps": "40"}},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": [{
            "path": path, "pathType": "Prefix", "backend": {"service": {"name": "shop", "port": {"name": "http"}}},
        }]}}]},
    })
}

fn strategy(settings: &Settings) -> Value {
    let hold = format!("{}s", settings.hold);
    if settings.rolling {
        return json!({"rolling": {"approval": settings.approval}});
    }
    if settings.blue_green {
        return json!({"blueGreen": {"hold": hold, "approval": settings.approval}});
    }
    let mut canary = json!({"steps": [
        {"weight": STEPS[0], "hold": hold},
        {"weight": STEPS[1], "approval": settings.approval},
    ]});
    if settings.gateway {
        // Nobody sends it: what it adds to the route is to be taken out again.
        canary["match"] = json!({"header": "X-Canary", "value": "yes"});
    }
    json!({"canary": canary})
}

fn route(settings: &Settings) -> (Value, &'static str) {
    if settings.gateway {
        (
            json!({"gatewayApi": {"httpRoute": "shop"}}),
            "istio-error-rate",
        )
    } else {
        (json!({"ingressNginx": {"ingress": "shop"}}), "error-rate")
    }
}

pub fn rollout(settings: &Settings) -> Value {
    let no_data = if settings.no_data_rolls_back {
        "rollback"
    } else {
        "hold"
    };
    let (route, rule) = route(settings);
    let mut rollout = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "shop", "namespace": "default"},
        "spec": {
            "target": {"kind": "Deployment", "name": "shop"},
            "route": route,
            "strategy": strategy(settings),
            "analysis": {
                "rules": [rule], "within": "20s", "blast": "20%", "blastMax": "25%",
                "undecided": {"after": "90s", "then": "hold"},
                "noData": {"after": "25s", "then": no_data},
            },
            "progressDeadline": "40s",
            "onFailure": {"restoreTemplate": settings.restore_template},
        },
    });
    if settings.bake {
        rollout["spec"]["bake"] = json!("20s");
    }
    rollout
}
