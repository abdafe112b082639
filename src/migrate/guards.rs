//! Annotations that keep requests out, of which an `HTTPRoute` says nothing: who applied it would let everybody in.
//!
//! So each must be named by whoever has put the like of it at the Gateway, or wants none. Not here: annotations that
//! only say how such a guard asks (`auth-realm`, `auth-signin`), which are noted like others.

use kube::ResourceExt;

use super::Given;
use super::annotations::short;
use super::another;

/// What decides who gets in, and what each is.
const GUARDS: [(&str, &str); 12] = [
    ("auth-type", "a password is asked for"),
    ("auth-url", "a service is asked who may pass"),
    ("auth-tls-secret", "a client's certificate is asked for"),
    ("whitelist-source-range", "only these addresses pass"),
    ("allowlist-source-range", "only these addresses pass"),
    ("denylist-source-range", "these addresses do not pass"),
    ("enable-modsecurity", "a firewall looks at requests"),
    ("modsecurity-snippet", "a firewall looks at requests"),
    ("auth-snippet", "configuration that may keep requests out"),
    (
        "configuration-snippet",
        "configuration that may keep requests out",
    ),
    ("server-snippet", "configuration that may keep requests out"),
    (
        "ssl-passthrough",
        "TLS ends at the pods, which would be sent plain HTTP; a TLSRoute is its counterpart",
    ),
];

/// One guard of the Ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// As `--without` names it: the annotation without its prefix, `class`, or the prefix of another controller's.
    pub name: String,
    key: String,
    value: String,
    about: &'static str,
}

/// The name of a class; by itself it keeps nobody out.
const CLASS: &str = "class";
const OF_ANOTHER: &str = "another controller's, which may keep requests out by it";

/// Whether an annotation, without its prefix, is one.
pub fn is(name: &str) -> bool {
    GUARDS.iter().any(|(guard, _)| *guard == name)
}

/// The guards of the Ingress that are on.
pub fn guards(given: &Given) -> Vec<Guard> {
    let annotations = given.ingress.annotations();
    let value = |name: &str| {
        let value = annotations.get(&format!("{}/{name}", given.prefix))?;
        Some(value.trim()).filter(|value| !value.is_empty() && *value != "false")
    };
    let asks_nobody = value("auth-tls-verify-client") == Some("off");
    let on = GUARDS.iter().filter_map(|(name, about)| {
        Some(Guard {
            name: (*name).to_owned(),
            key: format!("{}/{name}", given.prefix),
            value: short(value(name)?),
            about,
        })
    });
    let on = on.filter(|guard| !(guard.name == "auth-tls-secret" && asks_nobody));
    on.chain(of_another(given)).collect()
}

/// What another ingress controller reads off the Ingress: its class, and its annotations by their prefix.
fn of_another(given: &Given) -> Vec<Guard> {
    let class = another::class(&given.ingress).map(|value| Guard {
        name: CLASS.to_owned(),
        key: "its class".to_owned(),
        value,
        about: "another controller's, which may keep requests out by what is not read here",
    });
    let annotations = another::annotations(given).into_iter();
    let annotations = annotations.map(|(name, value)| Guard {
        name: name.to_owned(),
        key: name.to_owned(),
        value,
        about: OF_ANOTHER,
    });
    class.into_iter().chain(annotations).collect()
}

/// Those that nobody said may go.
pub fn faults(given: &Given, guards: &[Guard]) -> Vec<String> {
    let kept = guards
        .iter()
        .filter(|guard| !given.without.contains(&guard.name));
    let told = kept.map(|guard| {
        format!(
            "Ingress {}: {}: {}: {}, and an HTTPRoute cannot say it: put the like of it at the Gateway, by a policy of its \
             implementation, and say --without {}",
            given.ingress.name_any(),
            guard.key,
            guard.value,
            guard.about,
            guard.name
        )
    });
    told.collect()
}

/// What is open by the routes, before all other notes.
pub fn say(given: &Given, guards: &[Guard], notes: &mut Vec<String>) {
    let name = given.ingress.name_any();
    let told = guards.iter().map(|guard| {
        format!(
            "OPEN: Ingress {name}: {}: {}: {}; the routes do not",
            guard.key, guard.value, guard.about
        )
    });
    notes.extend(told);
}

/// The step before the routes are applied.
pub fn step(guards: &[Guard], routes: &[String]) -> Option<String> {
    let names = guards.iter().map(|guard| guard.name.as_str());
    let names: Vec<&str> = names.filter(|name| *name != CLASS).collect();
    (!names.is_empty()).then(|| {
        format!(
            "Put at the Gateway what keeps requests out now ({}), by policies of its implementation for the routes {}: from the \
             next step on it serves whoever asks its address.",
            names.join(", "),
            routes.join(" ")
        )
    })
}
