//! From an Ingress of ingress-nginx to the Gateway API: the `HTTPRoute`s that lead where it leads, its canary
//! included, what has no counterpart, and the steps of the switch.
//!
//! What has none is said, each with its object and key, since a route must not lose a guard without a word.
//! Pure. Not here: where the objects come from (`cli::migrate`), and splitting a route in a
//! run (`kubernetes::canary`).
//!
//! Sources: Kubernetes' documentation of Ingress, ingress-nginx's of its annotations, Gateway API v1.

mod annotations;
mod another;
mod beside;
mod controllers;
mod guards;
mod ingress;
mod paths;
mod route;
mod switch;

#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

use self::paths::Paths;

/// What ingress-nginx's annotations begin with unless its flags say otherwise.
pub const PREFIX: &str = "nginx.ingress.kubernetes.io";

/// What a migration is made of.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The Ingress.
    pub ingress: Ingress,
    /// The other Ingresses of its namespace: canaries of it are among them.
    pub others: Vec<Ingress>,
    /// Ingresses of other namespaces.
    pub elsewhere: Vec<Ingress>,
    /// Where Ingresses were looked for, if not everywhere.
    pub looked_in: Option<String>,
    /// What may be lost: annotations without their prefix, `class`, or the prefix of another controller's annotations.
    pub without: Vec<String>,
    /// The Services of its namespace, for ports that are named.
    pub services: Vec<Service>,
    /// The Rollouts of its namespace, as JSON.
    pub rollouts: Vec<Value>,
    /// What its annotations begin with.
    pub prefix: String,
}

/// The Gateway that is to serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its namespace; `None` for the Ingress' own.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The name of its listener without TLS.
    pub http: String,
    /// The name of its listener with TLS.
    pub https: String,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Migrated {
    /// The `HTTPRoute`s.
    pub objects: Vec<Value>,
    /// What has no counterpart or should be looked at, each with its object and key.
    pub notes: Vec<String>,
    /// The switch, in order.
    pub steps: Vec<String>,
}

/// Why an Ingress cannot be migrated: each fault with its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Faults(pub Vec<String>);

/// The routes that lead where the Ingress leads.
///
/// # Errors
/// All that stands against it at once: a backend that is no Service, a port that no Service names, an Ingress that is a
/// canary itself; a path that no route may have; and what was not said to go: what keeps requests out, another
/// controller's class or annotations, a rewrite or redirect that no route can say.
pub fn to_gateway(given: &Given, gateway: &Gateway) -> Result<Migrated, Faults> {
    let (mut notes, mut faults) = (Vec::new(), Vec::new());
    let guards = guards::guards(given);
    guards::say(given, &guards, &mut notes);
    let read = ingress::read(given, &mut notes, &mut faults);
    let (shape, lost) = annotations::read(&given.ingress, &given.prefix);
    annotations::say(lost, &given.without, &mut notes, &mut faults);
    let paths = Paths::new(given, &shape);
    faults.extend(paths.faults());
    faults.extend(guards::faults(given, &guards));
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    let beside = beside::beside(given, &read);
    beside::say(&beside, (given, &read), &shape, &mut notes);
    controllers::say(given, &mut notes);
    let objects = route::write(&read, (&shape, &paths), (given, gateway));
    paths.say(&mut notes);
    route::say(given, (&read, &shape), &objects, &mut notes);
    let routes = names(&objects);
    let rollouts = switch::rollouts(given, &given.ingress.name_any());
    notes.extend(switch::parted(given, &routes, &rollouts));
    let mut steps: Vec<String> = guards::step(&guards, &routes).into_iter().collect();
    let switched = switch::steps(given, gateway, (&routes, &rollouts, &read, &beside));
    steps.extend(switched);
    Ok(Migrated {
        objects,
        notes,
        steps,
    })
}

fn names(objects: &[Value]) -> Vec<String> {
    let names = objects
        .iter()
        .filter_map(|object| object["metadata"]["name"].as_str());
    names.map(str::to_owned).collect()
}
