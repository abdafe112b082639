//! `sluice open`: break-glass. Lets everything through the gate of one workload, and lets go what is held.
//!
//! It asks the API server alone, so it works with every daemon down: one request sets the annotation by which the
//! gate stands open, with the reason, and takes the hold away. A daemon that is there records it. `--close` takes the
//! annotation away again.
//!
//! Not here: what a daemon makes of it; it decides.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::connect::Cluster;
use super::{Error, Global, Screen};
use crate::kubernetes::crd::OPEN;
use crate::kubernetes::workload;
use crate::rollout::plan::WorkloadKind;

/// Others write the workload too: a change in between is looked at anew, so often.
const TRIES: usize = 5;

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The Rollout whose workload is meant
    name: String,
    /// Why: kept on the workload, and told in the Event
    #[arg(long, value_name = "TEXT", required_unless_present = "close", conflicts_with = "close", value_parser = NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Shut the gate again
    #[arg(long)]
    close: bool,
}

/// The workload whose gate it is.
struct Gate {
    kind: WorkloadKind,
    namespace: String,
    name: String,
}

impl Gate {
    fn called(&self) -> String {
        format!("{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

/// Opens or shuts, and says what follows.
pub async fn open(
    global: &Global,
    screen: &mut Screen,
    arguments: &Arguments,
) -> Result<(), Error> {
    let cluster = Cluster::connect(global).await?;
    let rollout = cluster.rollout(&arguments.name).await?;
    let target = &rollout.spec.target;
    let kind = WorkloadKind::named(&target.kind)
        .ok_or_else(|| Error::Usage(format!("no workload of kind {} is guarded", target.kind)))?;
    let gate = Gate {
        kind,
        namespace: cluster.namespace.clone(),
        name: target.name.clone(),
    };
    let before = change(&cluster, &gate, arguments.reason.as_deref()).await?;
    let told = json!({
        "kind": target.kind, "namespace": gate.namespace, "name": gate.name,
        "open": arguments.reason, "wasOpen": before.why, "wasHeld": before.held,
    });
    screen.value(&told, |_| words(&gate, arguments, &before))
}

/// How the gate stood before.
struct Before {
    why: Option<String>,
    held: bool,
}

/// Makes the change, on the workload as it was read.
async fn change(cluster: &Cluster, gate: &Gate, reason: Option<&str>) -> Result<Before, Error> {
    let api = workload::api(&cluster.client, gate.kind, &gate.namespace);
    let mut tries = 0;
    loop {
        let found = api.get(&gate.name).await;
        let object = found.map_err(|e| Error::api(format!("read the {}", gate.called()), &e))?;
        let before = Before {
            why: object.annotations().get(OPEN).cloned(),
            held: workload::is_held(gate.kind, &object.data["spec"]),
        };
        let operations = operations(gate.kind, &object, reason);
        let patch: json_patch::Patch =
            serde_json::from_value(operations).map_err(|error| Error::Format(error.to_string()))?;
        let sent = Patch::Json::<()>(patch);
        let done = api.patch(&gate.name, &PatchParams::default(), &sent).await;
        match done {
            Ok(_) => return Ok(before),
            // It changed since it was read.
            Err(kube::Error::Api(status)) if [409, 422].contains(&status.code) && tries < TRIES => {
                tries += 1;
            }
            Err(error) => return Err(Error::api(format!("change the {}", gate.called()), &error)),
        }
    }
}

/// The patch that opens the gate for this reason and lets go, or that shuts it.
fn operations(kind: WorkloadKind, object: &DynamicObject, reason: Option<&str>) -> Value {
    let mut annotations = object.annotations().clone();
    let mut operations = vec![
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": object.resource_version()}),
    ];
    match reason {
        Some(reason) => annotations.insert(OPEN.to_owned(), reason.to_owned()),
        None => annotations.remove(OPEN),
    };
    operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": annotations}));
    let spec = &object.data["spec"];
    if reason.is_some() && workload::is_held(kind, spec) {
        operations.extend(workload::hold(kind, spec, false));
    }
    Value::Array(operations)
}

fn words(gate: &Gate, arguments: &Arguments, before: &Before) -> String {
    let (called, name) = (gate.called(), &arguments.name);
    let namespace = &gate.namespace;
    match (&arguments.reason, &before.why) {
        (None, None) => format!("the gate of {called} was not open\n"),
        (None, Some(_)) => format!("the gate of {called} is shut again\n"),
        (Some(_), _) => {
            let held = if before.held {
                "; what was held rolls out now, unproven"
            } else {
                ""
            };
            format!(
                "the gate of {called} is open: every change goes through{held}\n\
                 Shut it again: sluice open {name} --close --namespace {namespace}\n"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(annotations: &Value, paused: bool) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "shop", "resourceVersion": "7", "annotations": annotations},
            "spec": {"paused": paused},
        }))
        .unwrap()
    }

    #[test]
    fn one_request_opens_the_gate_and_lets_go_what_is_held() {
        let object = deployment(&json!({"team": "a"}), true);
        let found = operations(WorkloadKind::Deployment, &object, Some("incident 4711"));
        let wanted = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
            {"op": "add", "path": "/metadata/annotations", "value": {"team": "a", "sluice.dev/open": "incident 4711"}},
            {"op": "add", "path": "/spec/paused", "value": false},
        ]);
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_is_not_held_is_not_touched_and_shutting_holds_nothing() {
        let cases = [
            (
                deployment(&json!({}), false),
                Some("why"),
                json!({"sluice.dev/open": "why"}),
            ),
            (
                deployment(&json!({"sluice.dev/open": "why", "team": "a"}), true),
                None,
                json!({"team": "a"}),
            ),
        ];
        for (object, reason, annotations) in cases {
            let found = operations(WorkloadKind::Deployment, &object, reason);
            assert_eq!(found[1]["value"], annotations);
            assert_eq!(found.as_array().unwrap().len(), 2, "{found}");
        }
    }
}
