//! Flux's image automation, which would write the tag of a failed release again: an
//! `ImageUpdateAutomation` whose repository, branch and path reach what a Kustomization deploys is
//! suspended, and later let go again.
//!
//! An annotation names the Rollouts for which it is suspended. One that a person suspended has
//! none and stays theirs; one that a person resumed is not suspended a second time by a lift.
//!
//! Not here: when it is suspended and let go (`daemon::remedy`).

use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Error, Flux, Kind, Named, api, told, within};
use crate::kubernetes::crd::MANAGER;

/// For which Rollouts an automation is suspended: `namespace/name run, ...`.
pub const SUSPENDED_FOR: &str = "sluice.dev/suspended-for";

const KIND: &str = "ImageUpdateAutomation";
/// Newer versions of Flux serve the first, older ones the second.
const VERSIONS: [Kind; 2] = [
    (GROUP, "v1", KIND, "imageupdateautomations"),
    (GROUP, "v1beta2", KIND, "imageupdateautomations"),
];
const GROUP: &str = "image.toolkit.fluxcd.io";

/// What an automation would have to write, to matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The `GitRepository`; automations are looked for in its namespace.
    pub repository: Named,
    /// The branch that is deployed.
    pub branch: String,
    /// The folder that is deployed.
    pub path: String,
}

impl Flux {
    /// Suspends what writes there, for this Rollout and run, each by itself; all that are suspended for it now, or
    /// may be, and why one may not be.
    pub async fn suspend_automations(
        &self,
        reach: &Reach,
        rollout: &str,
        run: &str,
    ) -> (Vec<Named>, Option<Error>) {
        let (kind, found) = match self.automations(&reach.repository.namespace).await {
            Ok(Some(found)) => found,
            Ok(None) => return (Vec::new(), None),
            Err(error) => return (Vec::new(), Some(error)),
        };
        let (mut suspended, mut failed) = (Vec::new(), None);
        for object in found {
            let at = Named {
                namespace: reach.repository.namespace.clone(),
                name: object.metadata.name.clone().unwrap_or_default(),
            };
            if !writes(&object.data["spec"], reach) {
                continue;
            }
            match suspension(&object, rollout, run) {
                Suspension::Theirs => continue,
                Suspension::Done => {}
                Suspension::Wanted(patch) => {
                    if let Err(error) = self.patch(kind, &at, &patch).await {
                        let refused = is_refused(&error);
                        failed = failed.or(Some(error));
                        if refused {
                            continue;
                        }
                    }
                }
            }
            suspended.push(at);
        }
        (suspended, failed)
    }

    /// Lets one go again as far as this Rollout is concerned. One that is gone is let go.
    pub async fn lift_automation(&self, at: &Named, rollout: &str) -> Result<(), Error> {
        let Some((kind, found)) = self.automations(&at.namespace).await? else {
            return Ok(());
        };
        let named = |object: &&DynamicObject| object.metadata.name.as_ref() == Some(&at.name);
        match found
            .iter()
            .find(named)
            .and_then(|object| lift(object, rollout))
        {
            Some(patch) => self.patch(kind, at, &patch).await,
            None => Ok(()),
        }
    }

    /// All of a namespace, with the version that is served; `None` without image automation.
    async fn automations(
        &self,
        namespace: &str,
    ) -> Result<Option<(Kind, Vec<DynamicObject>)>, Error> {
        let at = Named {
            namespace: namespace.to_owned(),
            name: "*".to_owned(),
        };
        let what = told(KIND, &at);
        for kind in VERSIONS {
            let api = api(&self.reads, kind, &at);
            match within(&what, api.list(&ListParams::default())).await {
                Ok(list) => return Ok(Some((kind, list.items))),
                Err(Error::Read {
                    source: kube::Error::Api(status),
                    ..
                }) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn patch(&self, kind: Kind, at: &Named, patch: &Value) -> Result<(), Error> {
        let api = api(&self.writes, kind, at);
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch);
        let request = api.patch(&at.name, &params, &patch);
        within(&told(KIND, at), request).await.map(|_| ())
    }
}

/// Whether the API server said no; otherwise it may have done what was asked.
fn is_refused(error: &Error) -> bool {
    match error {
        Error::Read {
            source: kube::Error::Api(status),
            ..
        } => (400..500).contains(&status.code),
        Error::Read { .. }
        | Error::Silent { .. }
        | Error::NoCommit { .. }
        | Error::Foreign { .. } => false,
    }
}

/// Whether an automation writes to the branch that is deployed, in a folder above or below.
fn writes(spec: &Value, reach: &Reach) -> bool {
    let source = &spec["sourceRef"];
    let namespace = source["namespace"]
        .as_str()
        .unwrap_or(&reach.repository.namespace);
    let of_repository = source["kind"].as_str().unwrap_or("GitRepository") == "GitRepository"
        && source["name"] == reach.repository.name.as_str()
        && namespace == reach.repository.namespace;
    let git = &spec["git"];
    let pushed = [&git["push"]["branch"], &git["checkout"]["ref"]["branch"]];
    let branch = pushed.iter().find_map(|branch| branch.as_str());
    let (theirs, ours) = (
        parts(spec["update"]["path"].as_str().unwrap_or_default()),
        parts(&reach.path),
    );
    let on_the_way = theirs
        .iter()
        .zip(&ours)
        .all(|(theirs, ours)| theirs == ours);
    of_repository && branch.is_none_or(|branch| branch == reach.branch) && on_the_way
}

fn parts(path: &str) -> Vec<&str> {
    let named = |part: &&str| !part.is_empty() && *part != ".";
    path.split('/').filter(named).collect()
}

/// What is to be done so that one is suspended for a Rollout.
#[derive(Debug, PartialEq)]
enum Suspension {
    /// A person suspended it.
    Theirs,
    Done,
    Wanted(Value),
}

fn suspension(object: &DynamicObject, rollout: &str, run: &str) -> Suspension {
    let suspended = object.data["spec"]["suspend"] == true;
    let mut marks = marks(object);
    if suspended && marks.is_empty() {
        return Suspension::Theirs;
    }
    let ours = (rollout.to_owned(), run.to_owned());
    if suspended && marks.contains(&ours) {
        return Suspension::Done;
    }
    marks.retain(|(other, _)| other != rollout);
    marks.push(ours);
    let mut patch = annotated(object, &Value::from(text(&marks)));
    patch["spec"] = json!({"suspend": true});
    Suspension::Wanted(patch)
}

/// What is to be written so that this Rollout suspends it no more.
fn lift(object: &DynamicObject, rollout: &str) -> Option<Value> {
    let before = marks(object);
    let left: Vec<_> = before
        .iter()
        .filter(|(other, _)| other != rollout)
        .cloned()
        .collect();
    if left.len() == before.len() {
        return None;
    }
    if !left.is_empty() {
        return Some(annotated(object, &Value::from(text(&left))));
    }
    let mut patch = annotated(object, &Value::Null);
    patch["spec"] = json!({"suspend": null});
    Some(patch)
}

/// Only on top of what was read.
fn annotated(object: &DynamicObject, value: &Value) -> Value {
    json!({"metadata": {
        "resourceVersion": object.metadata.resource_version,
        "annotations": {SUSPENDED_FOR: value},
    }})
}

/// The Rollouts and runs in the annotation.
fn marks(object: &DynamicObject) -> Vec<(String, String)> {
    let annotations = object.metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(SUSPENDED_FOR));
    let split = |mark: &str| {
        let (rollout, run) = mark.trim().split_once(' ')?;
        Some((rollout.to_owned(), run.to_owned()))
    };
    let text = text.map_or("", String::as_str);
    text.split(',').filter_map(split).collect()
}

fn text(marks: &[(String, String)]) -> String {
    let told: Vec<String> = marks
        .iter()
        .map(|(rollout, run)| format!("{rollout} {run}"))
        .collect();
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(suspend: Option<bool>, marks: Option<&str>) -> DynamicObject {
        let annotations = marks.map(|marks| json!({SUSPENDED_FOR: marks}));
        let object = json!({
            "metadata": {"name": "all", "resourceVersion": "7", "annotations": annotations},
            "spec": {"suspend": suspend},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_automation_matters_if_it_writes_the_branch_in_the_folder() {
        let reach = Reach {
            repository: Named {
                namespace: "flux-system".to_owned(),
                name: "fleet".to_owned(),
            },
            branch: "main".to_owned(),
            path: "./apps/shop".to_owned(),
        };
        let source = json!({"kind": "GitRepository", "name": "fleet"});
        let cases = [
            (json!({}), true),
            (json!({"update": {"path": "./"}}), true),
            (json!({"update": {"path": "apps"}}), true),
            (json!({"update": {"path": "./apps/shop/base"}}), true),
            (json!({"update": {"path": "./apps/pay"}}), false),
            (json!({"git": {"push": {"branch": "main"}}}), true),
            (
                json!({"git": {"push": {"branch": "updates"}, "checkout": {"ref": {"branch": "main"}}}}),
                false,
            ),
            (
                json!({"git": {"checkout": {"ref": {"branch": "other"}}}}),
                false,
            ),
            (
                json!({"sourceRef": {"kind": "GitRepository", "name": "another"}}),
                false,
            ),
            (
                json!({"sourceRef": {"kind": "GitRepository", "name": "fleet", "namespace": "b"}}),
                false,
            ),
        ];
        for (mut spec, wanted) in cases {
            if spec["sourceRef"].is_null() {
                spec["sourceRef"] = source.clone();
            }
            assert_eq!(writes(&spec, &reach), wanted, "{spec}");
        }
    }

    #[test]
    fn it_is_suspended_once_for_each_rollout_and_a_persons_suspension_is_left_alone() {
        let wanted = |marks: &str| {
            let meta = json!({"resourceVersion": "7", "annotations": {SUSPENDED_FOR: marks}});
            Suspension::Wanted(json!({"metadata": meta, "spec": {"suspend": true}}))
        };
        let found = |suspend, marks| suspension(&object(suspend, marks), "a/shop", "r1");
        assert_eq!(found(None, None), wanted("a/shop r1"));
        assert_eq!(found(Some(true), None), Suspension::Theirs);
        assert_eq!(found(Some(true), Some("a/shop r1")), Suspension::Done);
        assert_eq!(
            found(Some(true), Some("a/pay r0")),
            wanted("a/pay r0, a/shop r1")
        );
        assert_eq!(found(Some(true), Some("a/shop r0")), wanted("a/shop r1"));
        assert_eq!(found(Some(false), Some("a/shop r1")), wanted("a/shop r1"));
    }

    #[test]
    fn it_is_let_go_by_the_last_rollout() {
        let found = |marks| lift(&object(Some(true), marks), "a/shop");
        assert_eq!(found(None), None);
        assert_eq!(found(Some("a/pay r0")), None);
        let both = found(Some("a/pay r0, a/shop r1")).unwrap();
        assert_eq!(both["metadata"]["annotations"][SUSPENDED_FOR], "a/pay r0");
        assert_eq!(both["spec"], Value::Null);
        let last = found(Some("a/shop r1")).unwrap();
        let meta = json!({"resourceVersion": "7", "annotations": {SUSPENDED_FOR: null}});
        assert_eq!(last, json!({"metadata": meta, "spec": {"suspend": null}}));
    }
}
