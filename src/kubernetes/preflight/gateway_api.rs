//! Traffic by a Gateway: `HTTPRoute`, stable Service, what its controller says, and who else is in the way.
//!
//! The route itself is split, so nobody else's can compete with a second one; but the weights of
//! another route to the same Service are that one's own.
//!
//! Not here: the pods (`workload`), and Gateways and their listeners, of which only the route's conditions
//! are read.

use serde_json::Value;

use super::service::{self, Behind};
use super::{Found, Gateway, Main, Refusal, Seen, Traffic, name};
use crate::kubernetes::canary;
use crate::kubernetes::canary::http_route::{
    Arms, HEAVIEST, backend_weight, backends, is_service, split, whole,
};
use crate::kubernetes::http_route::HttpRoute;

/// The most rules of a route, backends of a rule and headers of a match that the API takes.
const MOST: usize = 16;

/// Route, stable Service, label and ports, or why they cannot be told.
pub(super) fn traffic<'a>(
    seen: &Seen<'a>,
    gateway: &Gateway<'a>,
) -> Result<Traffic<'a>, Vec<Refusal>> {
    let route = main_route(gateway).map_err(|refusal| vec![refusal])?;
    let found = find(seen, gateway, route).map_err(|refusal| vec![refusal])?;
    Ok(Traffic {
        refusals: refusals(gateway, route, &found),
        warnings: warnings(gateway, route, &found),
        behind: behind(route),
        found,
    })
}

fn main_route<'a>(gateway: &Gateway<'a>) -> Result<&'a HttpRoute, Refusal> {
    let mut all = gateway.http_routes.iter().copied();
    let route = all
        .find(|route| name(&route.metadata) == gateway.http_route)
        .ok_or_else(|| Refusal::NoRoute(format!("HTTPRoute {}", gateway.http_route)))?;
    if services(route).next().is_none() {
        return Err(Refusal::NoBackend(route.title()));
    }
    Ok(route)
}

fn find<'a>(
    seen: &Seen<'a>,
    gateway: &Gateway<'a>,
    route: &'a HttpRoute,
) -> Result<Found<'a>, Refusal> {
    let behind = Behind {
        title: route.title(),
        field: "spec.route.gatewayApi.service",
        services: behind(route),
    };
    let (service, label) = service::stable(seen, behind, gateway.service)?;
    Ok(Found {
        main: Main::HttpRoute(route),
        ports: ports(route, name(&service.metadata)),
        service,
        label,
        others: Vec::new(),
    })
}

fn refusals(gateway: &Gateway<'_>, route: &HttpRoute, found: &Found<'_>) -> Vec<Refusal> {
    let stable = name(&found.service.metadata);
    let canary = canary::service_name(stable);
    let mut all = service::missing_ports(&route.title(), found);
    all.extend(route.unserved().map(|why| Refusal::Unserved {
        route: route.title(),
        why,
    }));
    all.extend(route.unresolved().map(|why| Refusal::Unresolved {
        route: route.title(),
        why,
    }));
    let namespace = namespace(route);
    let arms = Arms {
        namespace,
        stable,
        canary: &canary,
    };
    let own = whole(&route.spec.rules, arms);
    let heavy = |backend| backend_weight(backend) > HEAVIEST;
    let ours = own
        .iter()
        .filter(|rule| backends(rule).iter().any(|backend| arms.is_stable(backend)));
    if ours.flat_map(backends).any(heavy) {
        all.push(Refusal::TooHeavy(route.title()));
    }
    let wanted = split(&route.spec.rules, arms, 1, gateway.matching);
    if wanted.len() > MOST || wanted.iter().any(is_too_long) {
        all.push(Refusal::TooMany(route.title()));
    }
    let others = gateway.http_routes.iter();
    let using = others.filter(|other| name(&other.metadata) != gateway.http_route);
    let using = using.filter(|other| services(other).any(|(service, _)| service == canary));
    all.extend(using.map(|other| Refusal::CanaryServiceUsed {
        route: other.title(),
        service: canary.clone(),
    }));
    all
}

/// Whether a rule has more backends, or one of its matches more headers, than may be.
fn is_too_long(rule: &Value) -> bool {
    let matches = rule.get("matches").and_then(Value::as_array);
    let headers = matches.into_iter().flatten().filter_map(|one| {
        let headers = one.get("headers").and_then(Value::as_array);
        headers.map(Vec::len)
    });
    backends(rule).len() > MOST || headers.max() > Some(MOST)
}

/// Another route's requests are not split, though they reach the stable Service.
fn warnings(gateway: &Gateway<'_>, route: &HttpRoute, found: &Found<'_>) -> Vec<String> {
    let stable = name(&found.service.metadata);
    let others = gateway.http_routes.iter();
    let others = others.filter(|other| name(&other.metadata) != name(&route.metadata));
    let leading = others.filter(|other| services(other).any(|(service, _)| service == stable));
    let told = leading.map(|other| {
        format!(
            "Service {stable} is behind {} too: that traffic stays with stable, and a rule that counts by Service counts it as stable's",
            other.title()
        )
    });
    told.collect()
}

fn namespace(route: &HttpRoute) -> &str {
    route.metadata.namespace.as_deref().unwrap_or_default()
}

fn behind(route: &HttpRoute) -> Vec<&str> {
    services(route).map(|(service, _)| service).collect()
}

/// Services of its own namespace that a route leads to, with the port.
fn services(route: &HttpRoute) -> impl Iterator<Item = (&str, String)> {
    let all = route.spec.rules.iter().flat_map(backends);
    let own = all.filter(|backend| is_service(backend, namespace(route)));
    own.filter_map(|backend| {
        let port = backend.get("port").map(ToString::to_string);
        Some((backend.get("name")?.as_str()?, port.unwrap_or_default()))
    })
}

/// Each port by which a route leads to a Service.
fn ports(route: &HttpRoute, service: &str) -> Vec<String> {
    let leading = services(route).filter(|(name, _)| *name == service);
    let mut all: Vec<String> = leading.map(|(_, port)| port).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Preflight, Way, preflight};
    use super::*;

    fn backend(name: &str) -> Value {
        json!({"group": "", "kind": "Service", "name": name, "port": 80, "weight": 1})
    }

    fn route(name: &str, rules: &Value) -> Value {
        let condition = json!({"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": "production", "generation": 1},
            "spec": {"parentRefs": [{"name": "edge"}], "rules": rules},
            "status": {"parents": [{"parentRef": {"name": "edge"}, "controllerName": "x", "conditions": [condition]}]},
        })
    }

    fn service(name: &str, app: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"selector": {"app": app}, "ports": [{"name": "http", "port": 80}]}})
    }

    fn read<T: serde::de::DeserializeOwned>(all: &[Value]) -> Vec<T> {
        let each = all.iter();
        each.map(|one| serde_json::from_value(one.clone()).unwrap())
            .collect()
    }

    /// What preflight says of a shop behind these routes.
    fn with<T>(routes: &[Value], check: impl FnOnce(Preflight<'_>) -> T) -> T {
        let target = json!({
            "metadata": {"name": "shop", "namespace": "production"},
            "spec": {"selector": {"matchLabels": {"app": "shop"}}, "template": {
                "metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "main", "image": "shop:1"}]}}},
        });
        let target: Vec<k8s_openapi::api::apps::v1::Deployment> = read(&[target]);
        let services = read(&[service("shop", "shop"), service("other", "other")]);
        let routes = read(routes);
        check(preflight(&Seen {
            rollout_uid: "rollout",
            kind: crate::rollout::plan::WorkloadKind::Deployment,
            target: &target[0],
            template: &target[0].spec.template,
            way: Way::Gateway(Gateway {
                http_route: "shop",
                service: None,
                http_routes: routes.iter().collect(),
                matching: None,
            }),
            services: services.iter().collect(),
            deployments: Vec::new(),
            policies: Vec::new(),
            budgets: Vec::new(),
            claims: Vec::new(),
        }))
    }

    fn refusals(routes: &[Value]) -> Vec<String> {
        with(routes, |answer| {
            answer.refusals.iter().map(ToString::to_string).collect()
        })
    }

    #[test]
    fn a_route_to_the_shop_can_be_split() {
        let rules = json!([{"backendRefs": [backend("shop"), backend("other")]}]);
        with(&[route("shop", &rules)], |answer| {
            assert_eq!((answer.refusals, answer.warnings), (vec![], vec![]));
            let found = answer.found.unwrap();
            assert_eq!(
                (name(&found.service.metadata), found.ports),
                ("shop", vec!["80".to_owned()])
            );
        });
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_reason() {
        let whole = json!([{"backendRefs": [backend("shop")]}]);
        let mut unheard = route("shop", &whole);
        unheard["status"] = json!({});
        let mut heavy = backend("shop");
        heavy["weight"] = json!(10_001);
        let mut elsewhere = backend("shop");
        elsewhere["namespace"] = json!("elsewhere");
        let mut port = backend("shop");
        port["port"] = json!(81);
        let table = [
            (vec![], "HTTPRoute shop is not there"),
            (
                vec![route("shop", &json!([{"backendRefs": [elsewhere]}]))],
                "HTTPRoute shop leads to no Service of its namespace",
            ),
            (
                vec![route("shop", &json!([{"backendRefs": [backend("other")]}]))],
                "no Service behind HTTPRoute shop selects the pods of Deployment shop",
            ),
            (
                vec![unheard],
                "HTTPRoute shop is served by nobody: no Gateway's controller has said anything of it",
            ),
            (
                vec![route("shop", &json!([{"backendRefs": [heavy]}]))],
                "HTTPRoute shop has a weight above 10000, which cannot be split in hundredths",
            ),
            (
                vec![route("shop", &json!([{"backendRefs": [port]}]))],
                "HTTPRoute shop names port 81 of Service shop, which has no such port",
            ),
            (
                vec![
                    route("shop", &whole),
                    route("x", &json!([{"backendRefs": [backend("shop-canary")]}])),
                ],
                "HTTPRoute x leads to Service shop-canary, which is to be the canary's",
            ),
        ];
        for (routes, wanted) in table {
            assert_eq!(refusals(&routes), [wanted]);
        }
    }

    #[test]
    fn what_the_api_would_not_take_with_a_canary_is_refused() {
        let rules = |count: usize| json!(vec![json!({"backendRefs": [backend("shop")]}); count]);
        assert_eq!(refusals(&[route("shop", &rules(16))]), Vec::<String>::new());
        assert!(refusals(&[route("shop", &rules(17))])[0].contains("more than 16 rules"));
        let full = json!([{"backendRefs": vec![backend("shop"); 9]}]);
        assert!(refusals(&[route("shop", &full)])[0].contains("more than 16"));
    }

    #[test]
    fn a_second_route_to_the_service_is_told() {
        let whole = json!([{"backendRefs": [backend("shop")]}]);
        with(&[route("shop", &whole), route("x", &whole)], |answer| {
            assert_eq!(answer.warnings.len(), 1);
            assert!(answer.warnings[0].starts_with("Service shop is behind HTTPRoute x too"));
        });
    }
}
