//! `sluice migrate ingress-to-gateway` by the router: the routes lead each request where the Ingress and its canary led it.

use proptest::prelude::*;

use super::*;
use crate::migrate::{Gateway, Given, to_gateway};
use crate::sandbox::gateway::HttpRoute;
use crate::sandbox::router::{Request, gateway};

const HOSTS: [&str; 3] = ["a.test", "b.test", "*.c.test"];
const PATHS: [&str; 5] = ["/", "/api", "/api/v1", "/cart/", "/x"];
const ASKED: [&str; 8] = [
    "/",
    "/api",
    "/apix",
    "/api/v1",
    "/api/v1/a",
    "/cart",
    "/cart/1",
    "/y",
];

/// The service that a request reaches by routes, when the weighted choice draws `draw` of 100.
fn by_routes(
    routes: &[Arc<HttpRoute>],
    host: &str,
    path: &str,
    pairs: &[(&str, &str)],
    draw: u32,
) -> String {
    let mut table = Table::default();
    gateway::add(&mut table, routes, &|_, service| {
        vec![format!("{}-1", service.name)]
    });
    let mut request = Request::get(host, path);
    request.headers = headers(pairs);
    let Some(way) = gateway::find(&table, host, &request) else {
        return "404".into();
    };
    match gateway::choose(&table, way, |total| if total == 1 { 1 } else { draw }) {
        None => "503".into(),
        Some(choice) => choice.upstream.service.clone(),
    }
}

fn migrated(main: &Ingress, canary: &Ingress) -> Vec<Arc<HttpRoute>> {
    let given = Given {
        ingress: main.clone(),
        others: vec![canary.clone()],
        prefix: PREFIX.to_owned(),
        ..Given::default()
    };
    let gateway = Gateway {
        namespace: None,
        name: "public".into(),
        http: "http".into(),
        https: "https".into(),
    };
    let objects = to_gateway(&given, &gateway).unwrap().objects;
    let typed = objects
        .into_iter()
        .map(|object| Arc::new(serde_json::from_value(object).unwrap()));
    typed.collect()
}

/// What may stand on a canary besides `canary: "true"`; the draw is of 100, so no other total.
fn shaped() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let header = prop_oneof![
        Just(vec![]),
        Just(vec![("canary-by-header", "x-canary".to_owned())]),
        Just(vec![
            ("canary-by-header", "x-canary".to_owned()),
            ("canary-by-header-value", "beta".to_owned())
        ]),
        Just(vec![
            ("canary-by-header", "x-canary".to_owned()),
            ("canary-by-header-pattern", "b.t".to_owned())
        ]),
        Just(vec![
            ("canary-by-header", "x-canary".to_owned()),
            ("canary-by-header-pattern", "^b|ta$".to_owned())
        ]),
    ];
    let cookie = prop_oneof![
        Just(vec![]),
        Just(vec![("canary-by-cookie", "try.it".to_owned())])
    ];
    (header, cookie, 0..=100_u32).prop_map(|(header, cookie, weight)| {
        let weight = vec![("canary-weight", weight.to_string())];
        [header, cookie, weight].concat()
    })
}

type Rules = Vec<(&'static str, &'static str, &'static str, &'static str)>;

/// Rules of an Ingress, each path of a host once.
fn rules() -> impl Strategy<Value = Rules> {
    let rule = (
        prop::sample::select(&HOSTS[..]),
        prop::sample::select(&PATHS[..]),
        prop::sample::select(&["Prefix", "Exact"][..]),
        prop::sample::select(&["one", "two", "three"][..]),
    );
    prop::collection::vec(rule, 1..7).prop_map(|mut rules| {
        rules.sort_unstable();
        rules.dedup_by_key(|rule| (rule.0, rule.1, rule.2));
        rules
    })
}

fn requests() -> impl Strategy<
    Value = (
        &'static str,
        &'static str,
        Vec<(&'static str, &'static str)>,
        u32,
    ),
> {
    let headers = prop::sample::subsequence(
        vec![("x-canary", "always"), ("cookie", "a=b; try.it=always")],
        0..=2,
    );
    let value = prop::sample::select(&["always", "never", "beta", "bit", "xbetax", "no"][..]);
    let cookie = prop::sample::select(
        &[
            "try.it=always",
            "a=b; try.it=never; c=d",
            "tryxit=always",
            "try.it=alwaysx",
            "other=always",
        ][..],
    );
    let with = (headers, value, cookie).prop_map(|(mut pairs, value, cookie)| {
        for pair in &mut pairs {
            pair.1 = if pair.0 == "cookie" { cookie } else { value };
        }
        pairs
    });
    (
        prop::sample::select(&["a.test", "b.test", "x.c.test", "d.test"][..]),
        prop::sample::select(&ASKED[..]),
        with,
        1..=100_u32,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn routes_lead_where_the_ingress_led(
        rules in rules(),
        shaped in shaped(),
        asked in prop::collection::vec(requests(), 20),
    ) {
        let main = ingress("main", 1, &[], &rules);
        let shaped: Vec<(&str, &str)> =
            [("canary", "true")].into_iter().chain(shaped.iter().map(|(key, value)| (*key, value.as_str()))).collect();
        let beside: Rules = rules.iter().take(1).map(|rule| (rule.0, rule.1, rule.2, "new")).collect();
        let canary = ingress("canary", 2, &shaped, &beside);
        // A canary is beside a Service, wherever else that is led to: ingress-nginx links the two. What an
        // author means is the path; so only Ingresses are asked in which these are the same.
        let stable = rules[0].3;
        prop_assume!(rules.iter().filter(|rule| rule.3 == stable).count() == 1);
        let table = table(&[main.clone(), canary.clone()]);
        let routes = migrated(&main, &canary);
        for (host, path, pairs, draw) in asked {
            // The first parts of 100 are the canary's in the one, the last in the other.
            let before = reached(&table, host, path, &pairs, draw);
            let after = by_routes(&routes, host, path, &pairs, 101 - draw);
            prop_assert_eq!(before, after, "{} {} {:?} {}", host, path, pairs, draw);
        }
    }
}
