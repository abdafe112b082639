//! From a scene to an observation: facts only, no judgement.
//!
//! Caveat: a scene is what the watches have brought so far; it may lag behind what was just
//! written. `decide` compares and asks again, and the executor's preconditions hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;

use super::ask;
use super::canary;
use super::crd::{APPROVED, AUTHOR, FINALIZER, GUARDED, HELD_BY, OPEN, REQUEST_PREFIX};
use super::entries::{Set, Templated};
use super::execute::RESTARTED_FOR;
use super::fate;
use super::members;
use super::preflight::{self, Found, Refusal};
use super::scene::{DESIRED, KEEPS, Mark, STABLE, Scene, kept_revision};
use crate::rollout::approval::Vouched;
use crate::rollout::observation::{
    Canary, CanaryRoute, Custody, Gate, Kept, Metrics, Observation, Route, Serving, Smoked, Target,
};
use crate::rollout::plan::{self, Plan, WorkloadKind};
use crate::rollout::request::Request;
use crate::rollout::state::{Run, State};
use crate::rollout::words;

/// The most authors that a workload names.
const AUTHORS: usize = 20;

/// What is seen elsewhere than in the cluster's objects.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Elsewhere {
    /// How the gate stands.
    pub gate: Gate,
    /// What the metrics say.
    pub metrics: Metrics,
    /// What the run's smoke tests came to.
    pub smoked: Option<Smoked>,
    /// The same of those after its promotion.
    pub smoked_after: Option<Smoked>,
    /// Why what was decided could not be done, several times.
    pub trouble: Option<String>,
    /// Why the namespace cannot be seen any more.
    pub unseen: Option<String>,
}

/// What a pass sees.
pub fn observe(
    scene: &Scene,
    plan: &Plan,
    state: &State,
    elsewhere: Elsewhere,
    now: Timestamp,
) -> Observation {
    Observation {
        now,
        rollout: custody(scene, plan),
        target: scene
            .target
            .as_deref()
            .map(|target| self::target(scene, plan, target)),
        canary: canary_facts(scene, plan, state.phase.run(), now),
        route: route(scene, plan, state),
        metrics: elsewhere.metrics,
        smoked: elsewhere.smoked,
        smoked_after: elsewhere.smoked_after,
        gate: elsewhere.gate,
        kept: kept(scene),
        trouble: elsewhere.trouble,
        unseen: elsewhere.unseen,
    }
}

fn custody(scene: &Scene, plan: &Plan) -> Custody {
    let rollout = &scene.rollout;
    Custody {
        deleting: rollout.metadata.deletion_timestamp.is_some(),
        finalizer: rollout
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == FINALIZER),
        rival: rival(scene, plan),
        requests: requests(rollout.annotations()),
        vouched: rollout
            .annotations()
            .get(APPROVED)
            .and_then(|text| Vouched::read(text)),
        authors: authors(scene),
        said: said(scene).collect(),
    }
}

/// As the workload says itself.
fn said(scene: &Scene) -> impl Iterator<Item = String> {
    let target = scene.target.as_ref();
    let said = target.and_then(|target| target.object.annotations().get(AUTHOR));
    let said = said.into_iter().flat_map(|names| names.split(','));
    said.map(|name| words::name(name.trim()))
        .filter(|name| !name.is_empty())
        .take(AUTHORS)
}

/// As the workload says, and the commit of the newest run.
fn authors(scene: &Scene) -> Vec<String> {
    let status = scene.rollout.status.as_ref();
    let run = status
        .and_then(|status| status.run.as_ref())
        .map(|run| &run.id);
    let git = status.and_then(|status| status.git.as_ref());
    let bad = git
        .and_then(|git| git.bad.as_ref())
        .filter(|bad| bad.run.as_ref() == run);
    let wrote = bad
        .and_then(|bad| bad.authors.as_ref())
        .into_iter()
        .flatten();
    said(scene)
        .chain(wrote.map(|author| author.user.clone()))
        .collect()
}

/// What people ask by annotations: first what ends a run, then the rest in the order in which it was asked.
pub fn requests(annotations: &BTreeMap<String, String>) -> Vec<Request> {
    let requests = annotations.iter().filter_map(|(key, value)| {
        let id = key.strip_prefix(REQUEST_PREFIX)?;
        Some(ask::read(id, value))
    });
    let mut requests: Vec<Request> = requests.collect();
    requests.sort_by_key(|request| {
        let ends = request.act.as_ref().is_ok_and(|act| act.ends_run());
        (!ends || request.goal.is_some(), ask::asked_at(&request.id))
    });
    requests
}

/// The Rollout that the Deployment says to be held by, else the oldest, unless that is us.
fn rival(scene: &Scene, plan: &Plan) -> Option<String> {
    let held_by = scene
        .target
        .as_ref()
        .and_then(|target| target.object.annotations().get(HELD_BY).cloned());
    let alive = |rollout: &&std::sync::Arc<super::crd::Rollout>| {
        rollout.metadata.deletion_timestamp.is_none()
    };
    let rivals: Vec<_> = scene.rivals.iter().filter(alive).collect();
    if held_by.as_deref() == Some(plan.name.as_str()) {
        return None;
    }
    if let Some(holder) = rivals
        .iter()
        .find(|rival| Some(rival.name_any()) == held_by)
    {
        return Some(holder.name_any());
    }
    let age = |rollout: &super::crd::Rollout| (rollout.creation_timestamp(), rollout.name_any());
    let ours = age(&scene.rollout);
    rivals
        .iter()
        .find(|rival| age(rival) < ours)
        .map(|rival| rival.name_any())
}

fn target(scene: &Scene, plan: &Plan, target: &Templated<Deployment>) -> Target {
    let deployment = &target.object;
    let annotations = deployment.annotations();
    let serving = serving(&scene.sets);
    let updated = serving
        .iter()
        .find(|serving| serving.revision.same(&target.revision));
    let ready = updated.map_or(0, |serving| serving.ready);
    // While it is restarted, pods from before the restart are of the same revision.
    let newest = deployment.status.as_ref();
    let settles = deployment.spec.min_ready_seconds;
    let settles = settles.and_then(|seconds| u64::try_from(seconds).ok());
    let newest = newest.map_or(0, |status| status.updated_replicas.unwrap_or(0));
    let lost = members::lost(&scene.members);
    Target {
        uid: deployment.uid().unwrap_or_default(),
        revision: target.revision.clone(),
        paused: deployment.spec.paused.unwrap_or(false),
        guarded: deployment.labels().get(GUARDED).map(String::as_str) == Some("true"),
        held_by: annotations.get(HELD_BY).cloned(),
        open: annotations.get(OPEN).map(|reason| words::line(reason)),
        replicas: deployment.spec.replicas.unwrap_or(1),
        complete: complete(deployment, lost.len()),
        behind: !is_observed(deployment),
        updated_ready: ready.min(newest),
        settles: Duration::from_secs(settles.unwrap_or(0)),
        stuck: is_observed(deployment) && !stuck(scene, plan).is_empty(),
        refused: fate::refused(deployment)
            .or_else(|| away(&lost))
            .or_else(|| scene.unplaced.clone()),
        serving,
        past: scene.past.clone(),
        config: scene.config.clone(),
        lacks: scene.lacks.clone(),
        restarted_for: annotations.get(RESTARTED_FOR).cloned(),
    }
}

/// Pods that stand in the way of an ordered `StatefulSet`'s roll.
pub(super) fn stuck<'a>(scene: &'a Scene, plan: &Plan) -> Vec<&'a members::Member> {
    match &scene.target {
        Some(target) if plan.kind == WorkloadKind::StatefulSet => {
            members::stuck(&scene.members, &scene.known, &target.revision)
        }
        _ => Vec::new(),
    }
}

/// Whether the Deployment's controller has acted upon its newest spec.
fn is_observed(deployment: &Deployment) -> bool {
    let status = deployment.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation);
    observed >= deployment.metadata.generation
}

/// Rolled out and available, as `kubectl rollout status` says it, but for pods whose nodes do not answer.
fn complete(deployment: &Deployment, lost: usize) -> bool {
    let Some(status) = &deployment.status else {
        return false;
    };
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let least = wanted.saturating_sub(i32::try_from(lost).unwrap_or(i32::MAX));
    let enough = |pods: Option<i32>| (least..=wanted).contains(&pods.unwrap_or(0));
    is_observed(deployment)
        && (lost == 0 || least > 0)
        && enough(status.updated_replicas)
        && enough(status.replicas)
        && status.available_replicas.unwrap_or(0) >= least
}

/// That pods cannot be made or taken away, where their nodes do not answer.
fn away(lost: &[&str]) -> Option<String> {
    let names = lost.join(", ");
    (!lost.is_empty()).then(|| {
        format!("nodes do not answer, and nothing starts or ends there: those of the pods {names}")
    })
}

/// What serves, by revision: a restart makes another `ReplicaSet` of the same one.
fn serving(sets: &[Arc<Set>]) -> Vec<Serving> {
    let mut all: Vec<Serving> = Vec::new();
    for set in sets {
        let known = all.iter_mut().find(|one| one.revision.same(&set.revision));
        if let Some(known) = known {
            known.replicas = known.replicas.saturating_add(set.replicas);
            known.ready = known.ready.saturating_add(set.ready);
        } else {
            all.push(Serving {
                revision: set.revision.clone(),
                replicas: set.replicas,
                ready: set.ready,
            });
        }
    }
    all
}

fn canary_facts(scene: &Scene, plan: &Plan, run: Option<&Run>, now: Timestamp) -> Option<Canary> {
    let ours = |meta: &kube::api::ObjectMeta| canary::is_owned(meta, &plan.uid);
    let Some(present) = &scene.canary else {
        // What is left of a canary without its Deployment is still to be removed.
        let left = scene.services.iter().any(|service| ours(&service.metadata))
            || scene.policies.iter().any(|policy| ours(&policy.metadata));
        return left.then(|| Canary {
            differs: true,
            ..Canary::default()
        });
    };
    let deployment = &present.object;
    let deletion = deployment.metadata.deletion_timestamp.as_ref();
    let status = deployment.status.as_ref();
    let observed =
        status.is_some_and(|status| status.observed_generation >= deployment.metadata.generation);
    let ready = if observed {
        status.and_then(|status| status.ready_replicas).unwrap_or(0)
    } else {
        // Its status is of another template, or only of other annotations: its ReplicaSets know.
        let present = |set: &&std::sync::Arc<Set>| set.revision.same(&present.revision);
        let sets = scene.canary_sets.iter().filter(present);
        sets.map(|set| set.ready).sum()
    };
    Some(Canary {
        revision: deployment
            .annotations()
            .get(canary::REVISION)
            .cloned()
            .unwrap_or_default(),
        replicas: deployment.spec.replicas.unwrap_or(1),
        ready,
        fate: fate::fate(scene.canary_pods.iter().map(|pod| &**pod), now),
        refused: fate::refused(deployment)
            .or_else(|| fate::unschedulable(scene.canary_pods.iter().map(|pod| &**pod))),
        differs: run.is_some_and(|run| canary_differs(scene, plan, deployment, run)),
        leaving: deletion.map(|at| at.0),
    })
}

/// Whether anything of the canary is not what we would make, its size aside.
fn canary_differs(scene: &Scene, plan: &Plan, present: &Deployment, run: &Run) -> bool {
    let mark = run.mark();
    let mark = Mark {
        run: &run.id,
        revision: &mark,
    };
    let replicas = present.spec.replicas.unwrap_or(1);
    let Some(template) = scene.template(&run.revision.hash) else {
        return false;
    };
    let Ok(wanted) = scene.wanted(plan, mark, &template, replicas) else {
        return false;
    };
    let service = scene
        .services
        .iter()
        .find(|service| service.name_any() == wanted.service.name_any());
    let service_differs =
        service.is_none_or(|service| canary::service::differs(&wanted.service, service));
    let policy_differs = wanted.policies.iter().any(|policy| {
        let present = scene
            .policies
            .iter()
            .find(|present| present.name_any() == policy.name_any());
        present.is_none_or(|present| canary::network_policy::differs(policy, present))
    });
    service_differs || policy_differs || canary::deployment::differs(&wanted.deployment, present)
}

fn route(scene: &Scene, plan: &Plan, state: &State) -> Route {
    let said = scene.preflight(plan);
    let rolling = plan.strategy.is_rolling();
    let refusals = said.iter().flat_map(|said| &said.refusals);
    let refusals = refusals.filter(|refusal| !rolling || !refusal.is_of_a_canary());
    // What keeps a canary from being made for a while does not keep the workload from being guarded.
    let adopts = state.target.is_none();
    let refusals = refusals.filter(|refusal| !adopts || !refusal.is_of_another_run());
    let odd = scene.target.iter().filter_map(|target| target.odd.clone());
    let found = said.as_ref().and_then(|said| said.found.as_ref());
    let strays = found
        .filter(|_| !rolling)
        .and_then(|found| strays(scene, found, state));
    let refusals = refusals.chain(&strays).map(ToString::to_string);
    Route {
        refusals: odd.chain(refusals).collect(),
        warnings: said
            .iter()
            .filter(|_| !rolling)
            .flat_map(|said| said.warnings.clone())
            .collect(),
        canary: match &plan.route {
            plan::Route::IngressNginx {
                ingress, prefix, ..
            } => scene
                .canary_ingress(plan, ingress)
                .map(|present| canary_ingress(scene, plan, prefix, state, present)),
            plan::Route::GatewayApi { http_route, .. } => split_route(scene, plan, http_route),
        },
    }
}

/// That the Service does not lead to what serves while a run tries something else.
fn strays(scene: &Scene, found: &Found<'_>, state: &State) -> Option<Refusal> {
    state.phase.run()?;
    let target = scene.target.as_ref()?;
    let stable = state.stable.as_ref();
    let stable = stable.filter(|stable| !stable.same(&target.revision))?;
    let serving = scene.template(&stable.hash)?;
    preflight::strays(found, &target.object.spec.template, &serving)
}

fn canary_ingress(
    scene: &Scene,
    plan: &Plan,
    prefix: &str,
    state: &State,
    present: &k8s_openapi::api::networking::v1::Ingress,
) -> CanaryRoute {
    let weight = canary::ingress::observed_weight(present, prefix);
    // At weight 0 with a header, a cookie or a session the canary still gets requests.
    let off = canary::ingress::is_off(present, prefix);
    let run = state.phase.run();
    let differs = run.is_some_and(|run| {
        let mark = run.mark();
        let mark = Mark {
            run: &run.id,
            revision: &mark,
        };
        let wanted = scene.wanted_ingress(plan, prefix, mark, weight.unwrap_or(0));
        wanted.is_ok_and(|wanted| canary::ingress::differs(&wanted, present, prefix))
    });
    CanaryRoute {
        weight: weight.filter(|weight| *weight > 0 || off),
        differs,
        behind: false,
    }
}

fn split_route(scene: &Scene, plan: &Plan, name: &str) -> Option<CanaryRoute> {
    use canary::http_route::{has_matchers, split, weight};

    let present = scene.http_route(name)?;
    let services = scene.arms(plan, present)?;
    let (rules, arms) = (&present.spec.rules, services.arms(plan));
    let weight = weight(rules, arms)?;
    let off = weight == Some(0) && !has_matchers(rules, arms);
    let wanted = split(rules, arms, weight.unwrap_or(0), plan.matching.as_ref());
    Some(CanaryRoute {
        weight: weight.filter(|weight| *weight > 0 || off),
        differs: wanted != *rules,
        behind: !present.is_taken(),
    })
}

fn kept(scene: &Scene) -> Kept {
    let of = |what: &str| {
        let mut kept = scene
            .kept
            .iter()
            .filter(|kept| kept.labels().get(KEEPS).map(String::as_str) == Some(what));
        kept.next().map(|kept| kept_revision(kept))
    };
    Kept {
        stable: of(STABLE),
        desired: of(DESIRED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_one_revision_count_together_before_and_after_a_restart() {
        let revision = |hash: &str| crate::rollout::revision::Revision {
            hash: hash.to_owned(),
            images: Vec::new(),
        };
        let set = |hash, replicas, ready| {
            let template = String::new();
            let set = Set::counted("shop", revision(hash), (replicas, ready), template);
            Arc::new(set)
        };
        let sets = [set("v1", 2, 0), set("v2", 1, 1), set("v1", 8, 7)];
        let found = serving(&sets).into_iter();
        let found: Vec<_> = found
            .map(|one| (one.revision.hash, one.replicas, one.ready))
            .collect();
        assert_eq!(found, [("v1".to_owned(), 10, 7), ("v2".to_owned(), 1, 1)]);
    }

    #[test]
    fn a_roll_is_complete_without_the_nodes_that_do_not_answer() {
        let rolled = |updated: i32, available: i32, lost| {
            let deployment = serde_json::json!({
                "metadata": {"generation": 2},
                "spec": {"replicas": 3, "selector": {}, "template": {}},
                "status": {
                    "observedGeneration": 2, "replicas": 3,
                    "updatedReplicas": updated, "availableReplicas": available,
                },
            });
            complete(&serde_json::from_value(deployment).unwrap(), lost)
        };
        assert!(rolled(3, 3, 0));
        assert!(!rolled(2, 2, 0));
        assert!(rolled(2, 2, 1));
        assert!(!rolled(2, 1, 1));
        assert!(!rolled(1, 2, 1));
        assert!(!rolled(0, 0, 3), "none answers");
    }

    #[test]
    fn requests_are_served_in_the_order_in_which_they_were_asked_but_what_ends_a_run_first() {
        let asked = [
            ("resume-1700000000001-aaaaaa", "resume"),
            ("hold-1700000000002-aaaaaa", "hold"),
            ("by-hand", "promote"),
            ("rollback-1700000000000-aaaaaa", "rollback to=7"),
            ("abort-1700000000009-aaaaaa", "abort"),
            ("alert-89b1c9a1-1700000000", "alert"),
        ];
        let annotations =
            asked.map(|(id, text)| (format!("{REQUEST_PREFIX}{id}"), text.to_owned()));
        let served = requests(&BTreeMap::from(annotations));
        let acts: Vec<&str> = served.iter().map(Request::word).collect();
        let wanted = ["abort", "alert", "rollback", "resume", "hold", "promote"];
        assert_eq!(acts, wanted);
    }
}
