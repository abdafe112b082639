//! Looking: what a check asks about is read from the cluster and compared.
//!
//! Not here: comparing (`compare`), waiting until a check is met (`player`).

use std::fmt;

use serde_json::Value;

use super::checks::{AnswerCheck, Check, CountCheck, Named, ObjectCheck, WeightCheck};
use super::compare::{self, Differences};
use super::journal::Journal;
use super::kinds::{self, text};
use super::stage::Stage;

/// The account under which the player looks.
const READER: &str = "kubernetes-admin";

/// What a check found otherwise than wanted, each a sentence with its subject; empty: met.
pub async fn look(stage: &dyn Stage, journal: &Journal, check: &Check) -> Vec<String> {
    let subject = check.to_string();
    let differences = match found(stage, journal, check).await {
        Ok(differences) => differences.0,
        Err(error) => vec![error],
    };
    differences
        .into_iter()
        .map(|text| format!("{subject}: {text}"))
        .collect()
}

async fn found(stage: &dyn Stage, journal: &Journal, check: &Check) -> Result<Differences, String> {
    let get = |kind, namespace, name| one(stage, kind, namespace, name);
    Ok(match check {
        Check::Rollout(check) => match get("Rollout", &check.namespace, &check.name).await? {
            Some(rollout) => compare::rollout(check, &rollout),
            None => missing(),
        },
        Check::Deployment(check) => match get("Deployment", &check.namespace, &check.name).await? {
            Some(deployment) => {
                let sets = all(stage, "ReplicaSet", &check.namespace).await?;
                compare::deployment(check, &deployment, &sets)
            }
            None => missing(),
        },
        Check::Object(check) => object(
            check,
            get(&check.kind, &check.namespace, &check.name).await?,
        ),
        Check::Absent(Named {
            kind,
            name,
            namespace,
        }) => {
            let there = get(kind, namespace, name).await?.is_some();
            Differences(
                there
                    .then(|| "it is there".to_owned())
                    .into_iter()
                    .collect(),
            )
        }
        Check::Count(check) => count(check, &all(stage, &check.kind, &check.namespace).await?),
        Check::Weight(check) => weight_of(
            check,
            get("Ingress", &check.namespace, &check.ingress).await?,
        ),
        Check::Traffic(check) => {
            compare::traffic(check, journal.before(check.over), journal.latest())
        }
        Check::Event(check) => {
            compare::events(check, &all(stage, "Event", &check.namespace).await?)
        }
        Check::Answer(check) => answer(stage, check).await?,
    })
}

/// One object, `None` where there is none.
pub async fn one(
    stage: &dyn Stage,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, String> {
    kinds::get(&stage.client(READER), kind, namespace, name)
        .await
        .map_err(|error| format!("cannot be read: {error}"))
}

/// All objects of a kind in a namespace.
pub async fn all(stage: &dyn Stage, kind: &str, namespace: &str) -> Result<Vec<Value>, String> {
    kinds::list(&stage.client(READER), kind, namespace)
        .await
        .map_err(|error| format!("cannot be listed: {error}"))
}

fn missing() -> Differences {
    Differences(vec!["there is none".to_owned()])
}

fn object(check: &ObjectCheck, found: Option<Value>) -> Differences {
    let Some(found) = found else { return missing() };
    let wanted = if check.like.is_null() {
        Value::Object(serde_json::Map::new())
    } else {
        check.like.clone()
    };
    Differences(compare::unlike(&wanted, &found).into_iter().collect())
}

fn count(check: &CountCheck, found: &[Value]) -> Differences {
    let fits = |object: &&Value| check.like.is_null() || compare::like(&check.like, object);
    let mut differences = Differences::default();
    differences.within(
        "number",
        Some(&check.number),
        found.iter().filter(fits).count() as f64,
    );
    differences
}

fn weight_of(check: &WeightCheck, found: Option<Value>) -> Differences {
    let weight = found.as_ref().map_or(0, weight);
    let mut differences = Differences::default();
    differences.within("weight", Some(&check.percent), f64::from(weight));
    differences
}

/// The weight that a canary Ingress asks for, in percent; 0 where it says none.
pub fn weight(ingress: &Value) -> u8 {
    annotation(ingress, "/canary-weight")
        .and_then(|weight| weight.parse().ok())
        .unwrap_or(0)
}

/// The greatest part in percent that a rule of an `HTTPRoute` gives to a Service named like a canary's.
pub fn split(route: &Value) -> u8 {
    let rules = route.pointer("/spec/rules").and_then(Value::as_array);
    let part = |rule: &Value| {
        let all = rule.get("backendRefs")?.as_array()?;
        let weight = |backend: &Value| backend.get("weight").and_then(Value::as_u64).unwrap_or(1);
        let of_canary =
            |backend: &&Value| text(backend, "/name").is_some_and(|name| name.ends_with("-canary"));
        // A rule for the canary alone is one of headers.
        let stable = all.iter().any(|backend| !of_canary(&backend));
        let canary: u64 = all.iter().filter(of_canary).map(weight).sum();
        let sum: u64 = all.iter().map(weight).sum();
        u8::try_from(canary * 100 / sum.max(1))
            .ok()
            .filter(|_| stable)
    };
    rules
        .into_iter()
        .flatten()
        .filter_map(part)
        .max()
        .unwrap_or(0)
}

/// Whether an Ingress is the canary of this Rollout.
pub fn is_canary_of(ingress: &Value, rollout: &str) -> bool {
    let owner = text(ingress, "/metadata/ownerReferences/0/name");
    let label = text(ingress, "/metadata/labels/sluice.dev~1rollout");
    let ours = owner == Some(rollout) || label == Some(rollout);
    ours && annotation(ingress, "/canary") == Some("true")
}

/// The value of the annotation whose name ends so, whatever the router's prefix.
fn annotation<'a>(object: &'a Value, end: &str) -> Option<&'a str> {
    let annotations = object.pointer("/metadata/annotations")?.as_object()?;
    let (_, value) = annotations.iter().find(|(key, _)| key.ends_with(end))?;
    value.as_str()
}

async fn answer(stage: &dyn Stage, check: &AnswerCheck) -> Result<Differences, String> {
    let got = stage
        .world()
        .request(&check.host, &check.path, &check.headers)
        .await?;
    let mut problems = Vec::new();
    if let Some(wanted) = check.status.filter(|wanted| *wanted != got.status) {
        problems.push(format!("status is {}, wanted {wanted}", got.status));
    }
    let image = got.image.as_deref().unwrap_or("none");
    if let Some(wanted) = check.image.as_deref().filter(|wanted| *wanted != image) {
        problems.push(format!("image is {image}, wanted {wanted}"));
    }
    Ok(Differences(problems))
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rollout(check) => write!(f, "rollout {}", check.name),
            Self::Deployment(check) => write!(f, "deployment {}", check.name),
            Self::Object(check) => write!(f, "{} {}", check.kind, check.name),
            Self::Absent(check) => write!(f, "no {} {}", check.kind, check.name),
            Self::Count(check) => write!(f, "number of {}s", check.kind),
            Self::Weight(check) => write!(f, "weight of {}", check.ingress),
            Self::Traffic(check) => {
                write!(f, "answers of {}", check.image.as_deref().unwrap_or("all"))
            }
            Self::Event(check) => write!(f, "event {}", check.reason.as_deref().unwrap_or("any")),
            Self::Answer(check) => write!(f, "answer of {}{}", check.host, check.path),
        }
    }
}
