//! The canary Ingress: the paths to the stable Service once more, with a weight.
//!
//! Guarantees: only rules whose backend is the stable Service are taken, with the same host, path,
//! path type, port, class and TLS; of the annotations only the canary's own and those that the
//! controller reads from a canary. `canary` is never anything but `"true"`: as `"false"` the
//! Ingress would be an ordinary competitor for all of the traffic.
//!
//! Not here: refusing a main Ingress that cannot be canaried (`preflight`), waiting for effect.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressRule, IngressSpec,
};
use serde_json::{Value, json};

use super::{Error, Labels, Trial, ingress_name, lists_differ, meta_differs};
use crate::rollout::plan::{HeaderValue, Match};

/// The class annotation from before `spec.ingressClassName`.
pub const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";

const CANARY: &str = "canary";
const CANARY_PREFIX: &str = "canary-";
const WEIGHT: &str = "canary-weight";
const TOTAL: &str = "canary-weight-total";
const MATCHERS: [&str; 4] = [
    "canary-by-header",
    "canary-by-header-value",
    "canary-by-header-pattern",
    "canary-by-cookie",
];
/// What the controller takes from a canary Ingress besides the canary annotations.
const SHARED: [&str; 7] = [
    "load-balance",
    "upstream-hash-by",
    "upstream-hash-by-subset",
    "upstream-hash-by-subset-size",
    "affinity",
    "affinity-mode",
    "affinity-canary-behavior",
];
const SHARED_PREFIX: &str = "session-cookie-";
const AFFINITY: &str = "affinity";
/// Whether users whose session is at the canary stay there, whatever its weight.
const STICKS: &str = "affinity-canary-behavior";
/// They do not.
const LEGACY: &str = "legacy";

/// What traffic the canary gets, and by which names.
#[derive(Debug, Clone, Copy)]
pub struct Traffic<'a> {
    /// Name of the stable Service.
    pub stable: &'a str,
    /// Name of the canary Service.
    pub canary: &'a str,
    /// Prefix of the annotations, without a slash.
    pub prefix: &'a str,
    /// Share of the requests in percent; more than 100 counts as 100.
    pub weight: u8,
    /// Requests that reach the canary whatever the weight.
    pub matching: Option<&'a Match>,
}

/// The Ingress that leads a share of the main one's traffic to the canary.
pub fn ingress(main: &Ingress, traffic: &Traffic<'_>, trial: &Trial<'_>) -> Result<Ingress, Error> {
    let name = main.metadata.name.clone().unwrap_or_default();
    let spec = main.spec.clone().unwrap_or_default();
    let rules = canary_rules(&spec, traffic);
    if rules.is_empty() {
        return Err(Error::NoPath {
            ingress: name,
            service: traffic.stable.to_owned(),
        });
    }
    let mut annotations = shared_annotations(main, traffic.prefix);
    annotations.extend(canary_annotations(traffic));
    annotations.extend(stickiness(&annotations, traffic));
    let mut metadata = trial.meta(ingress_name(&name), &main.metadata, annotations);
    metadata.namespace.clone_from(&main.metadata.namespace);
    Ok(Ingress {
        metadata,
        spec: Some(IngressSpec {
            default_backend: None,
            ingress_class_name: spec.ingress_class_name,
            rules: Some(rules),
            tls: spec.tls,
        }),
        status: None,
    })
}

/// A merge patch that sets the weight (percent) and nothing else that people may see.
pub fn weight_patch(prefix: &str, weight: u8) -> Value {
    json!({"metadata": {"annotations": {
        format!("{prefix}/canary"): "true",
        format!("{prefix}/{WEIGHT}"): weight.min(100).to_string(),
        format!("{prefix}/{TOTAL}"): null,
    }}})
}

/// A JSON patch that sets the weight (percent) if it is still what it is in `present`: one that
/// arrives late does not bring back what was taken away meanwhile. None where no weight is said.
pub fn lowering_patch(present: &Ingress, prefix: &str, weight: u8) -> Option<Value> {
    observed_weight(present, prefix)?;
    let annotations = present.metadata.annotations.as_ref()?;
    let from = annotations.get(&format!("{prefix}/{WEIGHT}"))?;
    let path = format!("/metadata/annotations/{prefix}~1{WEIGHT}");
    Some(json!([
        {"op": "test", "path": path, "value": from},
        {"op": "replace", "path": path, "value": weight.min(100).to_string()},
    ]))
}

/// A merge patch after which no request reaches the canary: weight 0, no header or cookie, and no session
/// where there are any.
pub fn off_patch(present: Option<&Ingress>, prefix: &str) -> Value {
    let mut patch = weight_patch(prefix, 0);
    for matcher in MATCHERS {
        patch["metadata"]["annotations"][format!("{prefix}/{matcher}")] = Value::Null;
    }
    if present.is_some_and(|present| said(present, prefix, AFFINITY).is_some()) {
        patch["metadata"]["annotations"][format!("{prefix}/{STICKS}")] = json!(LEGACY);
    }
    patch
}

fn said<'a>(ingress: &'a Ingress, prefix: &str, name: &str) -> Option<&'a str> {
    let annotations = ingress.metadata.annotations.as_ref()?;
    annotations
        .get(&format!("{prefix}/{name}"))
        .map(String::as_str)
}

/// Whether no request reaches the canary.
pub fn is_off(ingress: &Ingress, prefix: &str) -> bool {
    let get = |name| said(ingress, prefix, name);
    let sticks = get(AFFINITY).is_some() && get(STICKS) != Some(LEGACY);
    observed_weight(ingress, prefix) == Some(0) && !has_matchers(ingress, prefix) && !sticks
}

/// The weight that the controller acts by, in percent; None where it is undefined or mangled.
pub fn observed_weight(ingress: &Ingress, prefix: &str) -> Option<u8> {
    let get = |name| said(ingress, prefix, name);
    let whole = get(TOTAL).is_none_or(|total| total == "100");
    let weight = get(WEIGHT)?.parse().ok().filter(|weight| *weight <= 100);
    weight.filter(|_| whole && get("canary") == Some("true"))
}

/// Whether a header or a cookie leads requests to the canary whatever its weight.
fn has_matchers(ingress: &Ingress, prefix: &str) -> bool {
    let annotations = ingress.metadata.annotations.iter().flatten();
    annotations.into_iter().any(|(key, _)| {
        let name = key
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('/'));
        name.is_some_and(|name| MATCHERS.contains(&name))
    })
}

/// Whether an Ingress is a canary by its annotations.
pub fn is_canary(ingress: &Ingress, prefix: &str) -> bool {
    let annotations = ingress.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(&format!("{prefix}/canary")))
        .is_some_and(|value| value == "true")
}

/// Whether the Ingress that exists is not the one that is wanted: rules, class, TLS, our labels,
/// and every annotation that the controller reads from a canary, in both directions. Others may have put more
/// on it, as an admission policy does on all Ingresses.
pub fn differs(desired: &Ingress, observed: &Ingress, prefix: &str) -> bool {
    let (Some(want), Some(have)) = (&desired.spec, &observed.spec) else {
        return true;
    };
    meta_differs(&desired.metadata, &observed.metadata)
        || strays(desired, observed, prefix).next().is_some()
        || want.ingress_class_name != have.ingress_class_name
        || want.default_backend != have.default_backend
        || lists_differ(want.rules.as_ref(), have.rules.as_ref())
        || lists_differ(want.tls.as_ref(), have.tls.as_ref())
}

/// A merge patch that takes away what somebody put on a canary as it is in `observed`, and an apply does not own.
pub fn stray_patch(desired: &Ingress, observed: &Ingress, prefix: &str) -> Option<Value> {
    let strays = strays(desired, observed, prefix);
    let strays: serde_json::Map<_, _> = strays.map(|key| (key.clone(), Value::Null)).collect();
    (!strays.is_empty()).then(|| {
        json!({"metadata": {
            "annotations": strays, "resourceVersion": observed.metadata.resource_version,
        }})
    })
}

/// Annotations that the controller reads from a canary and that are not wanted.
fn strays<'a>(
    desired: &'a Ingress,
    observed: &'a Ingress,
    prefix: &'a str,
) -> impl Iterator<Item = &'a String> {
    let wanted = desired.metadata.annotations.as_ref();
    let all = observed.metadata.annotations.iter().flatten();
    all.map(|(key, _)| key).filter(move |key| {
        let name = key.strip_prefix(prefix);
        let name = name.and_then(|rest| rest.strip_prefix('/'));
        let read = name.is_some_and(|name| {
            is_shared(name) || name == CANARY || name.starts_with(CANARY_PREFIX)
        });
        read && wanted.is_none_or(|wanted| !wanted.contains_key(*key))
    })
}

fn canary_rules(spec: &IngressSpec, traffic: &Traffic<'_>) -> Vec<IngressRule> {
    let rule = |rule: &IngressRule| {
        let paths: Vec<HTTPIngressPath> = rule
            .http
            .iter()
            .flat_map(|http| &http.paths)
            .filter_map(|path| canary_path(path, traffic))
            .collect();
        let http = (!paths.is_empty()).then_some(HTTPIngressRuleValue { paths })?;
        Some(IngressRule {
            host: rule.host.clone(),
            http: Some(http),
        })
    };
    spec.rules.iter().flatten().filter_map(rule).collect()
}

fn canary_path(path: &HTTPIngressPath, traffic: &Traffic<'_>) -> Option<HTTPIngressPath> {
    let mut path = path.clone();
    let service = path
        .backend
        .service
        .as_mut()
        .filter(|service| service.name == traffic.stable)?;
    traffic.canary.clone_into(&mut service.name);
    Some(path)
}

fn canary_annotations(traffic: &Traffic<'_>) -> Labels {
    let mut all = vec![
        ("canary", "true".to_owned()),
        (WEIGHT, traffic.weight.min(100).to_string()),
    ];
    if let Some(header) = traffic
        .matching
        .and_then(|matching| matching.header.as_ref())
    {
        all.push(("canary-by-header", header.name.clone()));
        match &header.value {
            HeaderValue::Switch => (),
            HeaderValue::Exactly(value) => all.push(("canary-by-header-value", value.clone())),
            HeaderValue::Pattern(pattern) => {
                all.push(("canary-by-header-pattern", pattern.clone()));
            }
        }
    }
    if let Some(cookie) = traffic
        .matching
        .and_then(|matching| matching.cookie.as_ref())
    {
        all.push(("canary-by-cookie", cookie.clone()));
    }
    all.into_iter()
        .map(|(name, value)| (format!("{}/{name}", traffic.prefix), value))
        .collect()
}

/// What becomes of sessions at the canary: at weight 0 they end. Always said, so that what
/// [`off_patch`] said does not stay.
fn stickiness(shared: &Labels, traffic: &Traffic<'_>) -> Option<(String, String)> {
    let name = |name: &str| format!("{}/{name}", traffic.prefix);
    let wanted = shared.get(&name(STICKS)).map_or("sticky", String::as_str);
    let behaviour = if traffic.weight == 0 { LEGACY } else { wanted };
    let any = shared.contains_key(&name(AFFINITY));
    any.then(|| (name(STICKS), behaviour.to_owned()))
}

fn is_shared(name: &str) -> bool {
    SHARED.contains(&name) || name.starts_with(SHARED_PREFIX)
}

fn shared_annotations(main: &Ingress, prefix: &str) -> Labels {
    let shared = |key: &str| {
        let name = key
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('/'));
        key == LEGACY_CLASS || name.is_some_and(is_shared)
    };
    let all = main.metadata.annotations.iter().flatten();
    all.filter(|(key, _)| shared(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_trial;
    use super::*;
    use crate::rollout::plan::HeaderMatch;

    const P: &str = "nginx.ingress.kubernetes.io";

    fn path(path: &str, service: &str) -> Value {
        json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}})
    }

    fn main(rules: &Value) -> Ingress {
        serde_json::from_value(json!({
            "metadata": {
                "name": "shop", "namespace": "production", "labels": {"team": "a"},
                "annotations": {
                    LEGACY_CLASS: "nginx", format!("{P}/load-balance"): "ewma", format!("{P}/session-cookie-name"): "sid",
                    format!("{P}/affinity"): "cookie", format!("{P}/rewrite-target"): "/x", "cert-manager.io/issuer": "le",
                },
            },
            "spec": {
                "ingressClassName": "nginx", "tls": [{"hosts": ["shop.test"], "secretName": "tls"}],
                "defaultBackend": {"service": {"name": "fallback", "port": {"number": 80}}}, "rules": rules,
            },
        }))
        .unwrap()
    }

    fn build(rules: &Value, weight: u8, matching: Option<&Match>) -> Result<Ingress, Error> {
        let traffic = Traffic {
            stable: "shop",
            canary: "shop-canary",
            prefix: P,
            weight,
            matching,
        };
        with_trial(|trial| ingress(&main(rules), &traffic, trial))
    }

    fn one_rule() -> Value {
        json!([{"host": "shop.test", "http": {"paths": [path("/", "shop")]}}])
    }

    #[test]
    fn only_paths_to_the_stable_service_are_copied() {
        let rules = json!([
            {"host": "shop.test", "http": {"paths": [path("/", "shop"), path("/api", "api")]}},
            {"host": "no-http.test"},
            {"host": "other.test", "http": {"paths": [path("/", "api")]}},
            {"host": "bucket.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"resource": {"kind": "B", "name": "b"}}}]}},
            {"http": {"paths": [path("/shop", "shop")]}},
        ]);
        let built = build(&rules, 5, None).unwrap();
        let expected = json!({
            "ingressClassName": "nginx", "tls": [{"hosts": ["shop.test"], "secretName": "tls"}],
            "rules": [
                {"host": "shop.test", "http": {"paths": [path("/", "shop-canary")]}},
                {"http": {"paths": [path("/shop", "shop-canary")]}},
            ],
        });
        assert_eq!(serde_json::to_value(&built.spec).unwrap(), expected);
        let annotations = json!({
            LEGACY_CLASS: "nginx", format!("{P}/load-balance"): "ewma", format!("{P}/session-cookie-name"): "sid",
            format!("{P}/affinity"): "cookie", format!("{P}/affinity-canary-behavior"): "sticky", format!("{P}/canary"): "true", format!("{P}/canary-weight"): "5",
            "sluice.dev/run": "run-1", "sluice.dev/revision": "abc",
        });
        assert_eq!(
            serde_json::to_value(&built.metadata.annotations).unwrap(),
            annotations
        );
    }

    #[test]
    fn an_ingress_without_a_path_to_the_service_is_refused() {
        for rules in [
            json!(null),
            json!([]),
            json!([{"host": "a"}]),
            json!([{"http": {"paths": [path("/", "api")]}}]),
        ] {
            let refused = build(&rules, 5, None).unwrap_err();
            assert_eq!(
                refused,
                Error::NoPath {
                    ingress: "shop".into(),
                    service: "shop".into()
                }
            );
        }
    }

    #[test]
    fn headers_and_cookies_become_annotations() {
        let header = |value| {
            Some(HeaderMatch {
                name: "X-Canary".into(),
                value,
            })
        };
        let table = [
            (
                header(HeaderValue::Switch),
                None,
                vec![("canary-by-header", "X-Canary")],
            ),
            (
                header(HeaderValue::Exactly("yes".into())),
                None,
                vec![
                    ("canary-by-header", "X-Canary"),
                    ("canary-by-header-value", "yes"),
                ],
            ),
            (
                header(HeaderValue::Pattern("^a".into())),
                None,
                vec![
                    ("canary-by-header", "X-Canary"),
                    ("canary-by-header-pattern", "^a"),
                ],
            ),
            (None, Some("c".to_owned()), vec![("canary-by-cookie", "c")]),
        ];
        for (header, cookie, expected) in table {
            let built = build(&one_rule(), 0, Some(&Match { header, cookie })).unwrap();
            let annotations = built.metadata.annotations.clone().unwrap();
            let found: Vec<(&str, &str)> = annotations
                .iter()
                .filter_map(|(key, value)| {
                    Some((key.strip_prefix(P)?.strip_prefix('/')?, value.as_str()))
                })
                .filter(|(key, _)| key.starts_with("canary-by"))
                .collect();
            assert_eq!(found, expected);
            assert!(has_matchers(&built, P));
            let mut off = serde_json::to_value(&built).unwrap();
            json_patch::merge(&mut off, &off_patch(Some(&built), P));
            let off: Ingress = serde_json::from_value(off).unwrap();
            assert!(!is_off(&built, P) && is_off(&off, P));
        }
    }

    #[test]
    fn sessions_at_the_canary_end_with_its_weight_and_come_back_with_it() {
        let behaviour = |ingress: &Ingress| said(ingress, P, STICKS).map(str::to_owned);
        let [off, on] = [0, 25].map(|weight| build(&one_rule(), weight, None).unwrap());
        assert_eq!(behaviour(&off).as_deref(), Some("legacy"));
        assert_eq!(behaviour(&on).as_deref(), Some("sticky"));
        assert!(is_off(&off, P));

        let mut lowered = serde_json::to_value(&on).unwrap();
        json_patch::merge(&mut lowered, &weight_patch(P, 0));
        let by_weight: Ingress = serde_json::from_value(lowered.clone()).unwrap();
        assert!(!is_off(&by_weight, P), "who has the cookie stays");
        json_patch::merge(&mut lowered, &off_patch(Some(&on), P));
        assert!(is_off(&serde_json::from_value(lowered).unwrap(), P));

        let mut plain = on;
        plain
            .metadata
            .annotations
            .as_mut()
            .unwrap()
            .remove(&format!("{P}/affinity"));
        let patch = off_patch(Some(&plain), P);
        assert_eq!(
            patch["metadata"]["annotations"].get(format!("{P}/{STICKS}")),
            None
        );
    }

    #[test]
    fn a_weight_is_read_back_only_where_it_is_well_defined() {
        let table = [
            (json!({"canary": "true", "canary-weight": "25"}), Some(25)),
            (
                json!({"canary": "true", "canary-weight": "25", "canary-weight-total": "100"}),
                Some(25),
            ),
            (
                json!({"canary": "true", "canary-weight": "25", "canary-weight-total": "50"}),
                None,
            ),
            (json!({"canary": "false", "canary-weight": "25"}), None),
            (json!({"canary-weight": "25"}), None),
            (json!({"canary": "true"}), None),
            (json!({"canary": "true", "canary-weight": "101"}), None),
            (json!({"canary": "true", "canary-weight": "lots"}), None),
        ];
        for (annotations, expected) in table {
            let mut ingress = Ingress::default();
            let all: Labels = serde_json::from_value(annotations.clone()).unwrap();
            ingress.metadata.annotations = Some(
                all.into_iter()
                    .map(|(key, value)| (format!("{P}/{key}"), value))
                    .collect(),
            );
            assert_eq!(observed_weight(&ingress, P), expected, "{annotations}");
        }
    }

    #[test]
    fn what_others_put_on_a_canary_is_taken_away_where_the_controller_reads_it() {
        let wanted = build(&one_rule(), 5, None).unwrap();
        let mut stored = wanted.clone();
        stored.metadata.resource_version = Some("7".to_owned());
        assert_eq!(stray_patch(&wanted, &stored, P), None);
        let own = stored.metadata.annotations.get_or_insert_default();
        for name in ["proxy-body-size", "canary-by-cookie", "affinity-mode"] {
            own.insert(format!("{P}/{name}"), "x".to_owned());
        }
        let patch = stray_patch(&wanted, &stored, P).unwrap();
        let strays =
            ["affinity-mode", "canary-by-cookie"].map(|name| (format!("{P}/{name}"), Value::Null));
        let strays = serde_json::Map::from_iter(strays);
        assert_eq!(
            patch,
            json!({"metadata": {"annotations": strays, "resourceVersion": "7"}})
        );
        let mut mended = serde_json::to_value(&stored).unwrap();
        json_patch::merge(&mut mended, &patch);
        let mended = serde_json::from_value(mended).unwrap();
        assert!(differs(&wanted, &stored, P) && !differs(&wanted, &mended, P));
    }

    #[test]
    fn a_hand_edit_is_seen_and_what_the_server_adds_is_not() {
        let wanted = build(&one_rule(), 5, None).unwrap();
        let mut stored = wanted.clone();
        stored.metadata.uid = Some("i".into());
        stored.status = Some(k8s_openapi::api::networking::v1::IngressStatus::default());
        let own = stored.metadata.annotations.get_or_insert_default();
        own.insert(format!("{P}/proxy-body-size"), "8m".to_owned());
        assert!(!differs(&wanted, &stored, P));
        let patches = [
            weight_patch(P, 50),
            json!({"metadata": {"annotations": {format!("{P}/canary"): "false"}}}),
            json!({"metadata": {"annotations": {format!("{P}/canary-weight-total"): "10"}}}),
            json!({"metadata": {"annotations": {format!("{P}/canary-by-header"): "X"}}}),
            json!({"spec": {"rules": [{"host": "evil.test", "http": {"paths": [path("/", "shop-canary")]}}]}}),
            json!({"spec": {"ingressClassName": "other"}}),
        ];
        for patch in patches {
            let mut edited = serde_json::to_value(&stored).unwrap();
            json_patch::merge(&mut edited, &patch);
            assert!(
                differs(&wanted, &serde_json::from_value(edited).unwrap(), P),
                "{patch}"
            );
        }
    }
}
