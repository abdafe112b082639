//! Which rule of which `HTTPRoute` takes a request, and where it leads: the Gateway API's order.
//!
//! The longest host, an exact path before the longest prefix, a method, the most headers; then the older
//! route and the earlier rule. Then one of the rule's backends by weight. Pure: the draw is an
//! argument. Not here: sending, and what an Ingress leads to (`choose`).

use std::cmp::Reverse;
use std::sync::Arc;

use hyper::HeaderMap;
use k8s_openapi::api::networking::v1::{IngressServiceBackend, ServiceBackendPort};
use kube::ResourceExt;
use regex::Regex;

use super::Request;
use super::choose::Choice;
use super::metrics::is_canarys;
use super::table::{Endpoints, Labels, Table, Upstream, upstream_name};
use crate::sandbox::gateway::{Backend, HttpRoute, Match, Matcher};

/// One match of a rule.
#[derive(Debug)]
pub struct Way {
    /// Empty for all.
    hosts: Vec<String>,
    wants: Match,
    /// Upstreams and their weights.
    backends: Vec<(String, u32)>,
    pub labels: Arc<Labels>,
}

/// Adds the ways of these routes to a table.
pub fn add(table: &mut Table, routes: &[Arc<HttpRoute>], endpoints: &Endpoints<'_>) {
    let mut routes: Vec<&Arc<HttpRoute>> = routes.iter().collect();
    routes.sort_by_key(|route| {
        (
            route.creation_timestamp(),
            route.namespace(),
            route.name_any(),
        )
    });
    for route in routes {
        let namespace = route.namespace().unwrap_or_default();
        for rule in &route.spec.rules {
            let mut backends = Vec::new();
            for backend in &rule.backend_refs {
                let service = as_ingress_has_it(backend);
                let name = upstream_name(&namespace, &service);
                let upstream = table
                    .upstreams
                    .entry(name.clone())
                    .or_insert_with(|| Upstream {
                        name: name.clone(),
                        service: service.name.clone(),
                        ..Upstream::default()
                    });
                upstream.endpoints = endpoints(&namespace, &service);
                backends.push((name, backend.weight));
            }
            let everything = vec![Match::default()];
            let matches = if rule.matches.is_empty() {
                &everything
            } else {
                &rule.matches
            };
            table.ways.extend(matches.iter().map(|wants| Way {
                hosts: route.spec.hostnames.clone(),
                wants: wants.clone(),
                backends: backends.clone(),
                labels: Arc::new(Labels {
                    namespace: namespace.clone(),
                    ingress: route.name_any(),
                    ..Labels::default()
                }),
            }));
        }
    }
}

fn as_ingress_has_it(backend: &Backend) -> IngressServiceBackend {
    IngressServiceBackend {
        name: backend.name.clone(),
        port: Some(ServiceBackendPort {
            number: backend.port,
            name: None,
        }),
    }
}

/// The way that a request takes.
pub fn find<'t>(table: &'t Table, host: &str, request: &Request) -> Option<&'t Way> {
    let fitting = table
        .ways
        .iter()
        .filter_map(|way| Some((way.rank(host, request)?, way)));
    // The first of those that rank alike.
    fitting.min_by_key(|(rank, _)| *rank).map(|(_, way)| way)
}

/// The backend that a request on this way goes to; `draw(n)` gives 1 to n. None if nothing could serve.
pub fn choose<'t>(
    table: &'t Table,
    way: &Way,
    draw: impl FnOnce(u32) -> u32,
) -> Option<Choice<'t>> {
    let total: u32 = way.backends.iter().map(|(_, weight)| weight).sum();
    let mut left = if total == 0 { return None } else { draw(total) };
    for (name, weight) in &way.backends {
        if left > *weight {
            left -= weight;
            continue;
        }
        let upstream = table.upstreams.get(name)?;
        // As Gateways do: the part of a Service without endpoints is answered with an error.
        return (!upstream.endpoints.is_empty()).then(|| Choice {
            upstream,
            canary: is_canarys(&upstream.service),
            share: f64::from(*weight) / f64::from(total),
        });
    }
    None
}

/// Smaller ranks go first.
type Rank = (Reverse<usize>, bool, Reverse<usize>, bool, Reverse<usize>);

impl Way {
    fn rank(&self, host: &str, request: &Request) -> Option<Rank> {
        let host = self.host(host)?;
        let (exact, length) = match &self.wants.path {
            None => (false, 1),
            Some(path) => (is_exact(path), takes(path, &request.path)?),
        };
        if let Some(method) = &self.wants.method
            && method != request.method.as_str()
        {
            return None;
        }
        let headers = &self.wants.headers;
        headers
            .iter()
            .all(|header| has(&request.headers, header))
            .then(|| {
                (
                    Reverse(host),
                    !exact,
                    Reverse(length),
                    self.wants.method.is_none(),
                    Reverse(headers.len()),
                )
            })
    }

    /// How much of the host is named.
    fn host(&self, host: &str) -> Option<usize> {
        if self.hosts.is_empty() {
            return Some(0);
        }
        let named = |wanted: &String| match wanted.strip_prefix('*') {
            Some(end) => host.ends_with(end).then_some(end.len()),
            None => (wanted == host).then_some(usize::MAX),
        };
        self.hosts.iter().filter_map(named).max()
    }
}

fn is_exact(path: &Matcher) -> bool {
    path.kind.as_deref() == Some("Exact")
}

fn takes(wanted: &Matcher, path: &str) -> Option<usize> {
    let takes = match wanted.kind.as_deref() {
        Some("Exact") => wanted.value == path,
        Some("RegularExpression") => matches(&wanted.value, path),
        _ => {
            let stem = wanted.value.trim_end_matches('/');
            path.strip_prefix(stem)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    };
    takes.then_some(wanted.value.len())
}

fn has(headers: &HeaderMap, wanted: &Matcher) -> bool {
    let said = headers.get(wanted.name.as_str());
    let said = said.and_then(|value| value.to_str().ok());
    said.is_some_and(|said| match wanted.kind.as_deref() {
        Some("RegularExpression") => matches(&wanted.value, said),
        _ => wanted.value == said,
    })
}

fn matches(pattern: &str, text: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|pattern| pattern.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn table(rules: &Value) -> Table {
        let route = |name: &str, host: &str, rules: &Value| {
            let route: HttpRoute = serde_json::from_value(json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": name, "namespace": "shop"}, "spec": {"hostnames": [host], "rules": rules},
            }))
            .unwrap();
            Arc::new(route)
        };
        let wild = json!([{"backendRefs": [{"name": "wild", "port": 80}]}]);
        let routes = [
            route("shop", "shop.test", rules),
            route("wild", "*.test", &wild),
        ];
        let mut table = Table::default();
        add(&mut table, &routes, &|_, service| {
            vec![format!("pod-of-{}", service.name)]
        });
        table
    }

    fn to(name: &str, weight: u32) -> Value {
        json!({"name": name, "port": 80, "weight": weight})
    }

    fn led(table: &Table, host: &str, path: &str, header: Option<&str>, drawn: u32) -> String {
        let mut request = Request::get(host, path);
        if let Some(value) = header {
            request.headers.insert("x-canary", value.parse().unwrap());
        }
        let way = find(table, host, &request).unwrap();
        let choice = choose(table, way, |_| drawn);
        choice.map_or_else(String::new, |choice| choice.upstream.service.clone())
    }

    #[test]
    fn weights_part_the_requests() {
        let table = table(&json!([{"backendRefs": [to("api", 95), to("api-canary", 5)]}]));
        assert_eq!(led(&table, "shop.test", "/", None, 95), "api");
        assert_eq!(led(&table, "shop.test", "/", None, 96), "api-canary");
        assert_eq!(led(&table, "shop.test", "/", None, 100), "api-canary");
        assert_eq!(led(&table, "other.test", "/", None, 1), "wild");
    }

    #[test]
    fn nothing_with_a_weight_is_an_error() {
        let table = table(&json!([{"backendRefs": [to("api", 0)]}]));
        assert_eq!(led(&table, "shop.test", "/", None, 1), "");
    }

    #[test]
    fn the_longest_path_goes_first_and_then_the_most_headers() {
        let path = |value: &str| json!({"type": "PathPrefix", "value": value});
        let header = json!([{"name": "x-canary", "type": "RegularExpression", "value": "b.*"}]);
        let table = table(&json!([
            {"matches": [{"path": path("/")}], "backendRefs": [to("all", 1)]},
            {"matches": [{"path": path("/api")}], "backendRefs": [to("api", 1)]},
            {"matches": [{"path": path("/api"), "headers": header}], "backendRefs": [to("api-canary", 1)]},
            {"matches": [{"path": {"type": "Exact", "value": "/api/x"}}], "backendRefs": [to("exact", 1)]},
        ]));
        assert_eq!(led(&table, "shop.test", "/", None, 1), "all");
        assert_eq!(led(&table, "shop.test", "/apix", None, 1), "all");
        assert_eq!(led(&table, "shop.test", "/api/y", None, 1), "api");
        assert_eq!(
            led(&table, "shop.test", "/api/y", Some("beta"), 1),
            "api-canary"
        );
        assert_eq!(led(&table, "shop.test", "/api/x", Some("beta"), 1), "exact");
    }
}
