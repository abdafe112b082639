//! Admission policies and mutating webhooks, evaluated as the real server evaluates them.
//!
//! A policy acts through its bindings: it is matched against the request (rules and selectors,
//! here), then against its own conditions, then it mutates or validates. The gate is such a
//! policy, so what holds here must hold there. Parameters (`paramKind`) are not supported.

use serde_json::{Value, json};

use super::cel::{self, CelError, Names};
use super::kinds::Kind;
use super::prepare::Operation;
use super::selector::Selector;
use super::store::{Key, Stored};
use super::write::Write;

mod mutating;
mod validating;
mod webhook;

pub use mutating::mutate;
pub use validating::validate;
pub use webhook::{Answerer, Webhooks};

/// A policy with one of its bindings.
struct Bound {
    policy: Stored,
    binding: Stored,
}

impl Bound {
    fn name(&self) -> &str {
        self.policy.value["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
    }

    fn binding_name(&self) -> &str {
        self.binding.value["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
    }

    fn spec(&self) -> &Value {
        &self.policy.value["spec"]
    }

    fn fails_closed(&self) -> bool {
        self.spec()["failurePolicy"] != "Ignore"
    }

    fn matches(&self, about: &About<'_>) -> bool {
        about.meets(&self.spec()["matchConstraints"])
            && about.meets(&self.binding.value["spec"]["matchResources"])
    }
}

/// The bound policies of a sort, ordered by name.
fn bound(write: &Write<'_>, policies: &str, bindings: &str) -> Vec<Bound> {
    let storage = |plural: &str| format!("{plural}.admissionregistration.k8s.io").into();
    let policies = write.api.store().list(&storage(policies), None).0;
    if policies.is_empty() {
        return Vec::new();
    }
    let bindings = write.api.store().list(&storage(bindings), None).0;
    let mut bound = Vec::new();
    for policy in policies {
        let mine = |binding: &&Stored| {
            binding.value["spec"]["policyName"] == policy.value["metadata"]["name"]
        };
        for binding in bindings.iter().filter(mine) {
            bound.push(Bound {
                policy: policy.clone(),
                binding: binding.clone(),
            });
        }
    }
    bound
}

/// What a request is about.
struct About<'a> {
    kind: &'a Kind,
    subresource: &'a str,
    user: &'a str,
    dry_run: bool,
    operation: Operation,
    object: &'a Value,
    old: Option<&'a Value>,
    namespace: Value,
    name: &'a str,
}

impl<'a> About<'a> {
    fn new(
        write: &'a Write<'_>,
        object: &'a Value,
        old: Option<&'a Value>,
        operation: Operation,
    ) -> Self {
        let key = Key {
            storage: "namespaces".into(),
            namespace: String::new(),
            name: write.key.namespace.clone(),
        };
        let namespace = write
            .api
            .store()
            .get(&key)
            .map(|namespace| namespace.value.clone());
        Self {
            kind: write.kind,
            subresource: &write.target.subresource,
            user: &write.call.user,
            dry_run: write.call.dry_run(),
            operation,
            object,
            old,
            namespace: namespace.unwrap_or_default(),
            name: &write.key.name,
        }
    }

    fn operation(&self) -> &'static str {
        match self.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
        }
    }

    /// Whether the request is among those that constraints name; absent constraints name all.
    fn meets(&self, constraints: &Value) -> bool {
        if constraints.is_null() {
            return true;
        }
        let any = |rules: &Value| {
            rules
                .as_array()
                .into_iter()
                .flatten()
                .any(|rule| self.is_named_by(rule))
        };
        let rules = &constraints["resourceRules"];
        (rules.is_null() || any(rules))
            && !any(&constraints["excludeResourceRules"])
            && self.is_selected_by(constraints)
    }

    fn is_selected_by(&self, constraints: &Value) -> bool {
        let objects = Selector::from_object(&constraints["objectSelector"]);
        let old = self
            .old
            .is_some_and(|old| objects.matches_labels(&old["metadata"]["labels"]));
        if !old && !objects.matches_labels(&self.object["metadata"]["labels"]) {
            return false;
        }
        let namespaces = Selector::from_object(&constraints["namespaceSelector"]);
        !self.kind.namespaced || namespaces.matches_labels(&self.namespace["metadata"]["labels"])
    }

    fn is_named_by(&self, rule: &Value) -> bool {
        let has = |field: &str, want: &str| {
            let list = rule[field].as_array().into_iter().flatten();
            list.filter_map(Value::as_str)
                .any(|entry| entry == "*" || entry == want)
        };
        let names = &rule["resourceNames"];
        let scope = if self.kind.namespaced {
            "Namespaced"
        } else {
            "Cluster"
        };
        has("apiGroups", &self.kind.group)
            && has("apiVersions", &self.kind.version)
            && has("operations", self.operation())
            && self.is_resource_of(&rule["resources"])
            && (names.is_null()
                || names
                    .as_array()
                    .is_some_and(|list| list.is_empty() || list.iter().any(|n| n == self.name)))
            && rule["scope"]
                .as_str()
                .is_none_or(|s| s == "*" || s == scope)
    }

    fn is_resource_of(&self, resources: &Value) -> bool {
        let plural = self.kind.plural.as_str();
        resources
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|entry| {
                let (resource, sub) = entry.split_once('/').unwrap_or((entry, ""));
                let everything = entry == "*/*";
                everything
                    || ((resource == "*" || resource == plural)
                        && (sub == self.subresource || sub == "*"))
            })
    }

    /// What expressions see.
    fn names(&self) -> Names {
        let kind = self.kind;
        let request = json!({
            "kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
            "resource": {"group": kind.group, "version": kind.version, "resource": kind.plural},
            "subResource": self.subresource, "name": self.name,
            "namespace": self.object["metadata"]["namespace"].as_str().unwrap_or_default(),
            "operation": self.operation(), "dryRun": self.dry_run,
            "userInfo": {"username": self.user, "groups": ["system:authenticated"], "uid": "", "extra": {}},
        });
        [
            ("object", self.object),
            ("oldObject", self.old.unwrap_or(&Value::Null)),
            ("request", &request),
            ("namespaceObject", &self.namespace),
            ("params", &Value::Null),
        ]
        .map(|(name, value)| (name.to_owned(), cel::from_json(value)))
        .into()
    }
}

/// Evaluates an expression with those variables of the policy that it uses.
fn evaluate(policy: &Value, source: &str, names: &Names) -> Result<::cel::Value, CelError> {
    let expr = cel::parse(source)?;
    let mut names = names.clone();
    let mut needed = vec![expr.clone()];
    let mut parsed = Vec::new();
    for variable in policy["variables"].as_array().into_iter().flatten() {
        let name = cel::variable_name(variable["name"].as_str().unwrap_or_default());
        parsed.push((
            name,
            cel::parse(variable["expression"].as_str().unwrap_or_default())?,
        ));
    }
    let mut used = vec![false; parsed.len()];
    while let Some(expr) = needed.pop() {
        for (at, (name, inner)) in parsed.iter().enumerate() {
            if !used[at] && cel::uses(&expr, name) {
                used[at] = true;
                needed.push(inner.clone());
            }
        }
    }
    for ((name, inner), _) in parsed.into_iter().zip(used).filter(|(_, used)| *used) {
        // A variable that cannot be evaluated is an error only where it is reached.
        if let Ok(value) = cel::evaluate(&inner, &names) {
            names.push((name, value));
        }
    }
    cel::evaluate(&expr, &names)
}

/// Whether all match conditions hold: a false one decides, before any error does.
fn conditions_hold(policy: &Value, names: &Names) -> Result<bool, CelError> {
    let mut failed = None;
    for condition in policy["matchConditions"].as_array().into_iter().flatten() {
        match evaluate(
            policy,
            condition["expression"].as_str().unwrap_or_default(),
            names,
        ) {
            Ok(::cel::Value::Bool(true)) => {}
            Ok(_) => return Ok(false),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(true), Err)
}

#[cfg(test)]
mod tests;
