//! The split of an `HTTPRoute`: where a rule leads to the stable Service, the canary's stands beside it.
//!
//! There is no second route: of two with the same match the older takes all. So the user's own is
//! changed for a run, and such that what it was follows from what it is ([`whole`]): the weights of
//! a rule that is split are a hundred times what they were, and the canary has its percentage of
//! stable's. Whoever applies the original again takes the canary its requests, and nothing else.
//!
//! Header matches are rules of their own before the split one, which lead to the canary alone.
//!
//! Not here: reading and writing the route (`scene`, `execute`), and refusing one (`preflight`).

use serde_json::{Value, json};

use crate::rollout::plan::{HeaderMatch, HeaderValue, Match};

/// The greatest weight that can be split: the API allows a million.
pub const HEAVIEST: i64 = 10_000;
/// By how much the weights of a split rule are greater than they were.
const FINE: i64 = 100;

/// The two Services, in the route's namespace.
#[derive(Debug, Clone, Copy)]
pub struct Arms<'a> {
    /// The namespace of both.
    pub namespace: &'a str,
    /// The stable Service.
    pub stable: &'a str,
    /// The canary's.
    pub canary: &'a str,
}

/// What the rules were before the split.
pub fn whole(rules: &[Value], arms: Arms<'_>) -> Vec<Value> {
    let own = rules.iter().filter(|rule| !arms.is_canarys(rule));
    own.map(|rule| joined(rule, arms)).collect()
}

/// The rules with `weight` percent of stable's requests for the canary, and all that `matching` names.
pub fn split(rules: &[Value], arms: Arms<'_>, weight: u8, matching: Option<&Match>) -> Vec<Value> {
    let header = matching.and_then(|matching| matching.header.as_ref());
    let mut all = Vec::new();
    for rule in whole(rules, arms) {
        if !backends(&rule)
            .iter()
            .any(|backend| arms.is_stable(backend))
        {
            all.push(rule);
            continue;
        }
        all.extend(header.and_then(|header| matched(&rule, arms, header)));
        all.push(parted(&rule, arms, i64::from(weight.min(100))));
    }
    all
}

/// What the canary gets of stable's requests, in percent: `None` if the rules are not split at all,
/// `Some(None)` if it is no whole percentage or not the same in all rules. A rule to stable alone gives it
/// nothing; a rule that gives nothing to either does not count.
pub fn weight(rules: &[Value], arms: Arms<'_>) -> Option<Option<u8>> {
    let is_split = |backend: &Value| arms.is_canary(backend);
    if !rules.iter().flat_map(backends).any(is_split) {
        return None;
    }
    let mut seen: Vec<Option<u8>> = Vec::new();
    for rule in rules.iter().filter(|rule| !arms.is_canarys(rule)) {
        let stable = backends(rule)
            .iter()
            .filter(|backend| arms.is_stable(backend));
        let both = stable.map(|stable| weights_of(rule, stable, arms));
        seen.extend(both.filter(|both| *both != (0, 0)).map(percentage));
        let stray = strays(rule, arms).any(|at| share(rule, at) > 0);
        seen.extend(stray.then_some(None));
    }
    seen.dedup();
    match seen.as_slice() {
        [] => Some(Some(0)),
        [one] => Some(*one),
        _ => Some(None),
    }
}

/// Whether a header leads requests to the canary whatever its weight.
pub fn has_matchers(rules: &[Value], arms: Arms<'_>) -> bool {
    rules.iter().any(|rule| arms.is_canarys(rule))
}

/// A JSON patch that gives the canary `weight` percent, of the rules as they were seen: it fails where
/// they were changed meanwhile. With 0 no header leads to the canary either.
pub fn lowering_patch(rules: &[Value], arms: Arms<'_>, weight: u8) -> Value {
    let (mut patch, mut dropped) = (Vec::new(), Vec::new());
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("/spec/rules/{index}");
        if arms.is_canarys(rule) {
            if weight == 0 {
                patch.push(json!({"op": "test", "path": &path, "value": rule}));
                dropped.push(json!({"op": "remove", "path": path}));
            }
            continue;
        }
        if weight == 0 {
            for at in strays(rule, arms) {
                let path = format!("{path}/backendRefs/{at}");
                patch.push(
                    json!({"op": "test", "path": format!("{path}/name"), "value": arms.canary}),
                );
                patch.push(json!({"op": "add", "path": format!("{path}/weight"), "value": 0}));
            }
        }
        for (stable, canary) in pairs(rule, arms) {
            let sum = share(rule, stable) + share(rule, canary);
            let lower = sum * i64::from(weight.min(100)) / FINE;
            for (at, to) in [(stable, sum - lower), (canary, lower)] {
                let path = format!("{path}/backendRefs/{at}");
                let seen = &backends(rule)[at];
                patch.push(
                    json!({"op": "test", "path": format!("{path}/name"), "value": seen["name"]}),
                );
                if weight > 0 {
                    let value = seen.get("weight").cloned().unwrap_or(Value::Null);
                    patch.push(
                        json!({"op": "test", "path": format!("{path}/weight"), "value": value}),
                    );
                }
                patch.push(json!({"op": "add", "path": format!("{path}/weight"), "value": to}));
            }
        }
    }
    // From the last one on, so that the places of the others stay.
    dropped.reverse();
    patch.extend(dropped);
    Value::Array(patch)
}

impl Arms<'_> {
    /// Whether a backend is the stable Service.
    pub fn is_stable(&self, backend: &Value) -> bool {
        self.is(backend, self.stable)
    }

    /// Whether a backend is the canary's Service.
    pub fn is_canary(&self, backend: &Value) -> bool {
        self.is(backend, self.canary)
    }

    fn is(&self, backend: &Value, service: &str) -> bool {
        is_service(backend, self.namespace) && backend["name"] == service
    }

    /// Whether a rule leads to the canary alone.
    fn is_canarys(&self, rule: &Value) -> bool {
        let all = backends(rule);
        !all.is_empty() && all.iter().all(|backend| self.is_canary(backend))
    }
}

/// Whether a backend is a Service of `namespace`, which is the route's own.
pub fn is_service(backend: &Value, namespace: &str) -> bool {
    let is = |field: &str, usual: &str| {
        let said = backend.get(field).and_then(Value::as_str);
        said.is_none_or(|said| said == usual)
    };
    is("group", "") && is("kind", "Service") && is("namespace", namespace)
}

/// What a rule leads to.
pub fn backends(rule: &Value) -> &[Value] {
    let all = rule.get("backendRefs").and_then(Value::as_array);
    all.map_or(&[], Vec::as_slice)
}

/// The weight of a backend: 1 where none is said.
pub fn backend_weight(backend: &Value) -> i64 {
    let said = backend.get("weight").and_then(Value::as_i64);
    said.unwrap_or(1)
}

fn share(rule: &Value, at: usize) -> i64 {
    backends(rule).get(at).map_or(0, backend_weight)
}

/// Places of stable and canary in a rule, port by port.
fn pairs(rule: &Value, arms: Arms<'_>) -> Vec<(usize, usize)> {
    let all = backends(rule);
    let stable = all
        .iter()
        .enumerate()
        .filter(|(_, backend)| arms.is_stable(backend));
    let twin = |(at, stable): (usize, &Value)| {
        let same = |other: &Value| arms.is_canary(other) && other.get("port") == stable.get("port");
        Some((at, all.iter().position(same)?))
    };
    stable.filter_map(twin).collect()
}

/// Places of canaries beside which stable does not stand, by the same port: somebody changed the rule.
fn strays(rule: &Value, arms: Arms<'_>) -> impl Iterator<Item = usize> {
    let pairs = pairs(rule, arms);
    let all = backends(rule).iter().enumerate();
    let canaries = all.filter(move |(_, backend)| arms.is_canary(backend));
    let canaries: Vec<usize> = canaries.map(|(at, _)| at).collect();
    canaries
        .into_iter()
        .filter(move |at| !pairs.iter().any(|(_, canary)| canary == at))
}

/// Weights of one of stable's backends and of the canary's beside it.
fn weights_of(rule: &Value, stable: &Value, arms: Arms<'_>) -> (i64, i64) {
    let same = |other: &&Value| arms.is_canary(other) && other.get("port") == stable.get("port");
    let canary = backends(rule).iter().find(same).map_or(0, backend_weight);
    (backend_weight(stable), canary)
}

fn percentage((stable, canary): (i64, i64)) -> Option<u8> {
    let sum = stable + canary;
    let whole = sum > 0 && canary >= 0 && (canary * FINE) % sum == 0;
    whole.then(|| u8::try_from(canary * FINE / sum).ok())?
}

/// A rule without the canary.
fn joined(rule: &Value, arms: Arms<'_>) -> Value {
    if !backends(rule).iter().any(|backend| arms.is_canary(backend)) {
        return rule.clone();
    }
    let pairs = pairs(rule, arms);
    let others = backends(rule).iter();
    let alone = others.filter(|backend| !arms.is_canary(backend)).count() == 1;
    let coarse = |weight: i64| match weight {
        weight if weight % FINE == 0 => weight / FINE,
        // Without another backend it says nothing.
        _ if alone => 1,
        // What somebody else wrote meanwhile stays.
        weight => weight,
    };
    let mut all = Vec::new();
    for (at, backend) in backends(rule).iter().enumerate() {
        if arms.is_canary(backend) {
            continue;
        }
        let twin = pairs.iter().find(|(stable, _)| *stable == at);
        let twin = twin.map_or(0, |(_, canary)| share(rule, *canary));
        all.push(weighing(backend, coarse(backend_weight(backend) + twin)));
    }
    leading_to(rule, all)
}

/// A rule with the canary beside stable.
fn parted(rule: &Value, arms: Arms<'_>, weight: i64) -> Value {
    let mut all = Vec::new();
    for backend in backends(rule) {
        let was = backend_weight(backend).clamp(0, HEAVIEST);
        if !arms.is_stable(backend) {
            all.push(weighing(backend, was * FINE));
            continue;
        }
        all.push(weighing(backend, was * (FINE - weight)));
        all.push(weighing(&renamed(backend, arms), was * weight));
    }
    leading_to(rule, all)
}

/// A rule for the requests with the header only, which leads to the canary. A match that names the header already has its
/// own meaning for it and is left out.
fn matched(rule: &Value, arms: Arms<'_>, header: &HeaderMatch) -> Option<Value> {
    let wanted = match &header.value {
        HeaderValue::Switch => json!({"type": "Exact", "name": header.name, "value": "always"}),
        HeaderValue::Exactly(value) => {
            json!({"type": "Exact", "name": header.name, "value": value})
        }
        HeaderValue::Pattern(pattern) => {
            json!({"type": "RegularExpression", "name": header.name, "value": pattern})
        }
    };
    let everything = json!([{"path": {"type": "PathPrefix", "value": "/"}}]);
    let all = rule.get("matches").cloned().unwrap_or(everything);
    let mut matches = Vec::new();
    for one in all.as_array().into_iter().flatten() {
        let headers = one.get("headers").and_then(Value::as_array);
        let mut headers = headers.cloned().unwrap_or_default();
        let named = |known: &Value| {
            let name = known["name"].as_str().unwrap_or_default();
            name.eq_ignore_ascii_case(&header.name)
        };
        if headers.iter().any(named) {
            continue;
        }
        headers.push(wanted.clone());
        let mut one = one.clone();
        one["headers"] = Value::Array(headers);
        matches.push(one);
    }
    if matches.is_empty() {
        return None;
    }
    let stable = backends(rule)
        .iter()
        .filter(|backend| arms.is_stable(backend));
    let canary = stable.map(|backend| weighing(&renamed(backend, arms), 1));
    let mut rule = leading_to(rule, canary.collect());
    rule["matches"] = Value::Array(matches);
    if let Some(rule) = rule.as_object_mut() {
        // Names of rules are unique in a route.
        rule.remove("name");
    }
    Some(rule)
}

fn renamed(backend: &Value, arms: Arms<'_>) -> Value {
    let mut backend = backend.clone();
    backend["name"] = json!(arms.canary);
    backend
}

fn weighing(backend: &Value, weight: i64) -> Value {
    let mut backend = backend.clone();
    backend["weight"] = json!(weight);
    backend
}

fn leading_to(rule: &Value, backends: Vec<Value>) -> Value {
    let mut rule = rule.clone();
    rule["backendRefs"] = Value::Array(backends);
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARMS: Arms<'_> = Arms {
        namespace: "shop",
        stable: "api",
        canary: "api-canary",
    };

    fn to(name: &str, port: u16, weight: i64) -> Value {
        json!({"group": "", "kind": "Service", "name": name, "port": port, "weight": weight})
    }

    /// A rule for the API, one that is shared with another Service, and one that is none of our business.
    fn original() -> Vec<Value> {
        vec![
            json!({"name": "api", "matches": [{"path": {"type": "PathPrefix", "value": "/api"}}], "backendRefs": [to("api", 80, 1)],
                   "timeouts": {"request": "3s"}}),
            json!({"backendRefs": [to("api", 80, 3), to("old", 80, 7)]}),
            json!({"backendRefs": [to("other", 80, 1)]}),
        ]
    }

    fn weights(rule: &Value) -> Vec<(String, i64)> {
        let name = |backend: &Value| backend["name"].as_str().unwrap().to_owned();
        let all = backends(rule).iter();
        all.map(|backend| (name(backend), backend_weight(backend)))
            .collect()
    }

    fn header(value: HeaderValue) -> Match {
        Match {
            header: Some(HeaderMatch {
                name: "X-Canary".to_owned(),
                value,
            }),
            cookie: None,
        }
    }

    #[test]
    fn the_canary_gets_its_percentage_of_what_stable_had_and_others_keep_theirs() {
        let rules = split(&original(), ARMS, 5, None);
        let said = |name: &str, weight| (name.to_owned(), weight);
        assert_eq!(weights(&rules[0]), [said("api", 95), said("api-canary", 5)]);
        assert_eq!(
            weights(&rules[1]),
            [said("api", 285), said("api-canary", 15), said("old", 700)]
        );
        assert_eq!(rules[2], original()[2]);
        assert_eq!(rules[0]["timeouts"], json!({"request": "3s"}));
    }

    #[test]
    fn any_split_can_be_taken_back_and_made_again() {
        for weight in 0..=100 {
            for matching in [None, Some(header(HeaderValue::Exactly("yes".to_owned())))] {
                let rules = split(&original(), ARMS, weight, matching.as_ref());
                assert_eq!(super::weight(&rules, ARMS), Some(Some(weight)));
                assert_eq!(has_matchers(&rules, ARMS), matching.is_some());
                assert_eq!(whole(&rules, ARMS), original());
                assert_eq!(split(&rules, ARMS, weight, matching.as_ref()), rules);
            }
        }
    }

    #[test]
    fn a_weight_edited_in_the_run_is_gone_after_it() {
        let plain = [json!({"backendRefs": [to("api", 80, 1)]})];
        let mut rules = split(&plain, ARMS, 10, None);
        rules[0]["backendRefs"][1]["weight"] = json!(77);
        assert_eq!(weights(&whole(&rules, ARMS)[0]), [("api".to_owned(), 1)]);
    }

    #[test]
    fn rules_without_a_canary_have_no_weight_and_rules_that_disagree_none_that_counts() {
        assert_eq!(weight(&original(), ARMS), None);
        let mut rules = split(&original(), ARMS, 10, None);
        rules[1] = original()[1].clone();
        assert_eq!(weight(&rules, ARMS), Some(None));
        let odd = [json!({"backendRefs": [to("api", 80, 2), to("api-canary", 80, 1)]})];
        assert_eq!(weight(&odd, ARMS), Some(None));
    }

    #[test]
    fn a_header_leads_to_the_canary_by_a_rule_of_its_own() {
        let rules = split(
            &original(),
            ARMS,
            0,
            Some(&header(HeaderValue::Pattern("^b".to_owned()))),
        );
        assert_eq!(rules.len(), 5);
        let wanted = json!([{"path": {"type": "PathPrefix", "value": "/api"},
            "headers": [{"type": "RegularExpression", "name": "X-Canary", "value": "^b"}]}]);
        assert_eq!(rules[0]["matches"], wanted);
        assert_eq!(rules[0].get("name"), None);
        assert_eq!(weights(&rules[0]), [("api-canary".to_owned(), 1)]);
        assert_eq!(rules[2]["matches"][0]["path"]["value"], "/");
    }

    #[test]
    fn a_service_of_another_namespace_or_kind_is_not_ours() {
        let mut other = to("api", 80, 1);
        other["namespace"] = json!("elsewhere");
        let mut kind = to("api", 80, 1);
        kind["kind"] = json!("ServiceImport");
        let rules = [json!({"backendRefs": [other, kind]})];
        assert_eq!(split(&rules, ARMS, 5, None), rules);
    }

    /// As the daemon ends a run, whatever became of the rules meanwhile.
    fn taken_away(rules: &[Value]) -> Vec<Value> {
        let off = patched(rules, &lowering_patch(rules, ARMS, 0)).unwrap();
        assert_eq!(weight(&off, ARMS), Some(Some(0)), "{off:?}");
        assert!(!has_matchers(&off, ARMS));
        whole(&off, ARMS)
    }

    #[test]
    fn the_canary_is_taken_away_whatever_somebody_made_of_the_rules() {
        let mut ports = split(&original(), ARMS, 50, None);
        ports[0]["backendRefs"][0]["port"] = json!(8080);
        let taken = taken_away(&ports);
        assert_eq!(weights(&taken[0]), [("api".to_owned(), 1)]);

        let mut other = split(&original(), ARMS, 50, None);
        other[0]["backendRefs"][0]["name"] = json!("new");
        assert_eq!(weights(&taken_away(&other)[0]), [("new".to_owned(), 1)]);

        let mut added = split(&original(), ARMS, 50, None);
        added.push(original()[0].clone());
        assert_eq!(weight(&added, ARMS), Some(None));
        assert_eq!(taken_away(&added)[..3], original());
    }

    #[test]
    fn a_backend_that_gets_nothing_does_not_count() {
        let mut rules = original();
        rules.push(json!({"backendRefs": [to("api", 80, 0), to("old", 80, 1)]}));
        let parted = split(&rules, ARMS, 5, None);
        assert_eq!(weight(&parted, ARMS), Some(Some(5)));
        assert_eq!(whole(&parted, ARMS), rules);
    }

    #[test]
    fn a_match_that_names_the_header_already_keeps_its_meaning() {
        let mut rules = original();
        rules[0]["matches"][0]["headers"] = json!([{"name": "x-canary", "value": "foo"}]);
        let parted = split(
            &rules,
            ARMS,
            0,
            Some(&header(HeaderValue::Exactly("yes".to_owned()))),
        );
        assert_eq!(parted.len(), 4);
        assert_eq!(parted[0]["matches"], rules[0]["matches"]);
    }

    #[test]
    fn two_ports_have_two_canaries() {
        let rules = [json!({"backendRefs": [to("api", 80, 1), to("api", 81, 1)]})];
        let parted = split(&rules, ARMS, 25, None);
        let ports: Vec<_> = backends(&parted[0])
            .iter()
            .map(|b| b["port"].clone())
            .collect();
        assert_eq!(ports, [json!(80), json!(80), json!(81), json!(81)]);
        assert_eq!(weight(&parted, ARMS), Some(Some(25)));
        assert_eq!(whole(&parted, ARMS), rules);
    }

    fn patched(rules: &[Value], patch: &Value) -> Result<Vec<Value>, json_patch::PatchError> {
        let mut object = json!({"spec": {"rules": rules}});
        let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
        json_patch::patch(&mut object, &patch)?;
        Ok(object["spec"]["rules"].as_array().unwrap().clone())
    }

    #[test]
    fn lowering_takes_shares_and_at_last_headers_too() {
        let matching = header(HeaderValue::Exactly("yes".to_owned()));
        let rules = split(&original(), ARMS, 50, Some(&matching));
        let lower = patched(&rules, &lowering_patch(&rules, ARMS, 5)).unwrap();
        assert_eq!(lower, split(&original(), ARMS, 5, Some(&matching)));
        let off = patched(&rules, &lowering_patch(&rules, ARMS, 0)).unwrap();
        assert_eq!(off, split(&original(), ARMS, 0, None));
    }

    #[test]
    fn lowering_fails_where_the_rules_are_others_by_now() {
        let rules = split(&original(), ARMS, 50, None);
        let changed = split(&original(), ARMS, 5, None);
        assert!(patched(&changed, &lowering_patch(&rules, ARMS, 25)).is_err());
        assert!(patched(&original(), &lowering_patch(&rules, ARMS, 0)).is_err());
        // Off is off, whatever share it had meanwhile.
        assert!(patched(&changed, &lowering_patch(&rules, ARMS, 0)).is_ok());
    }

    #[test]
    fn what_a_person_wrote_into_a_split_rule_is_kept_as_far_as_it_can_be_told() {
        let mut rules = split(&original(), ARMS, 50, None);
        rules[0]["backendRefs"][1]["weight"] = json!(7);
        assert_eq!(weight(&rules, ARMS), Some(None));
        rules[1]["timeouts"] = json!({"request": "9s"});
        assert_eq!(whole(&rules, ARMS)[1]["timeouts"], json!({"request": "9s"}));
    }
}
