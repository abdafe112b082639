//! What was kept in the cluster and is read again: the checkpoint in a Rollout's status, with
//! the bookmark in it. Whatever is read as a state can be decided from and kept again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{rule_set, text};
use crate::kubernetes::crd::{Rollout, RolloutStatus};
use crate::kubernetes::{conversion, status};
use crate::prometheus::{self, Cursor};
use crate::rollout::bookmark::Bookmark;
use crate::rollout::decide::decide;
use crate::rollout::evidence::{ArmCounts, Sample};
use crate::rollout::observation::{
    Canary, CanaryRoute, Custody, Gate, Kept, Metrics, Observation, Route, Serving, Target,
};
use crate::rollout::plan::Plan;
use crate::rollout::revision::Revision;
use crate::rollout::state::State;
use crate::rollout::terms::{Terms, Timing};

/// A checkpoint's JSON.
pub fn checkpoint(data: &[u8]) -> bool {
    let kept = RolloutStatus {
        checkpoint: Some(text(data)),
        ..RolloutStatus::default()
    };
    let Ok(Some(state)) = status::state(Some(&kept)) else {
        return false;
    };
    kept_again(&state);
    let bookmark = state.bookmark.as_ref();
    if let Some(cursor) = bookmark.and_then(Bookmark::read::<Cursor>) {
        prometheus::fuzzing::bookmark(&cursor);
    }
    let Some(plan) = plan() else { return false };
    passes(&Timing::default().terms(plan, rule_set()), state);
    true
}

/// A state that is written and read is the same, but for the last digits of its numbers.
fn kept_again(state: &State) -> State {
    let written = serde_json::to_string(state).unwrap_or_default();
    let read: Result<State, _> = serde_json::from_str(&written);
    let near = read.as_ref().is_ok_and(|read| {
        let twice = serde_json::to_value(read).unwrap_or_default();
        near(&serde_json::to_value(state).unwrap_or_default(), &twice)
    });
    assert!(near, "kept and read again: {written}: {read:?}");
    read.unwrap_or_default()
}

fn near(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (one, other) {
        (Number(a), Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(0.0));
            (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
        }
        (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b)),
        (Object(a), Object(b)) => {
            let same = |(key, a)| b.get(key).is_some_and(|b| near(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        _ => one == other,
    }
}

fn plan() -> Option<Plan> {
    let rollout = serde_json::json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "backend", "namespace": "shop", "uid": "u", "generation": 1},
        "spec": {"target": {"name": "backend"}, "route": {"ingressNginx": {"ingress": "backend"}}},
    });
    let rollout: Rollout = serde_json::from_value(rollout).ok()?;
    conversion::plan(&rollout, &rule_set().keys().cloned().collect()).ok()
}

/// One pass from nothing.
pub fn pass(seen: &Observation) {
    let Some(plan) = plan() else { return };
    let terms = Timing::default().terms(plan, rule_set());
    let decision = decide(&terms, &State::default(), seen);
    kept_again(&decision.next);
}

/// A few passes over a release that comes up, serves and is sampled, from any state.
pub fn passes(terms: &Terms, mut state: State) {
    let mut now = Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for n in 0..12 {
        let mut seen = look(now);
        let run = state.phase.run();
        let revision = run.map_or_else(|| hash(n / 3), |run| run.revision.clone());
        seen.rollout.finalizer = n > 0;
        if let Some(target) = &mut seen.target {
            target.guarded = n > 0;
            target.paused = n > 2;
            target.revision = revision.clone();
        }
        seen.canary = run.map(|run| Canary {
            revision: run.mark(),
            replicas: 2,
            ready: 2,
            ..Canary::default()
        });
        seen.route.canary = run.map(|run| CanaryRoute {
            weight: Some(run.weight.min(100)),
            differs: false,
            behind: false,
        });
        seen.metrics = metrics(terms, now, n);
        let decision = decide(terms, &state, &seen);
        let status = status::status(terms, &decision.next, None, now);
        assert!(
            status.is_ok(),
            "a status that cannot be written: {status:?}"
        );
        let rises = decision.next.phase.run().map_or(0, |run| run.weight);
        assert!(rises <= 100 || rises <= state.phase.run().map_or(0, |run| run.weight));
        state = kept_again(&decision.next);
        now += Duration::from_secs(7);
    }
}

fn hash(n: i64) -> Revision {
    Revision {
        hash: format!("v{n}"),
        images: vec![format!("shop:v{n}")],
    }
}

fn metrics(terms: &Terms, now: Timestamp, n: i64) -> Metrics {
    let boundaries: Arc<[f64]> = Arc::new([0.1, 0.5, 1.0]);
    let samples = terms.evidence.questions.iter().map(|question| {
        let counts = |scale: f64| match question.kind {
            crate::rollout::evidence::Kind::Proportion
            | crate::rollout::evidence::Kind::Load { .. } => ArmCounts::Proportion {
                total: 700.0 * scale,
                bad: 7.0 * scale,
            },
            crate::rollout::evidence::Kind::Latency { .. } => ArmCounts::Buckets {
                boundaries: Arc::clone(&boundaries),
                counts: vec![500.0 * scale, 100.0 * scale, 90.0 * scale, 10.0 * scale],
            },
            crate::rollout::evidence::Kind::Events => ArmCounts::Events {
                seconds: 70.0 * scale,
                events: 1.0,
            },
            crate::rollout::evidence::Kind::Compare { .. }
            | crate::rollout::evidence::Kind::Value { .. } => ArmCounts::Numbers(vec![scale]),
        };
        Sample {
            rule: question.name.clone(),
            from: now - Duration::from_secs(7),
            to: now,
            canary: counts(0.1),
            stable: counts(0.9),
        }
    });
    Metrics {
        samples: samples.collect(),
        bookmark: Bookmark::of(&n),
        absent: None,
    }
}

/// A Deployment of four pods that serves, and nothing else.
pub fn look(now: Timestamp) -> Observation {
    Observation {
        now,
        rollout: Custody::default(),
        target: Some(Target {
            uid: "one".to_owned(),
            revision: hash(0),
            replicas: 4,
            complete: true,
            updated_ready: 4,
            serving: vec![Serving {
                revision: hash(0),
                replicas: 4,
                ready: 4,
            }],
            ..Target::default()
        }),
        canary: None,
        route: Route::default(),
        metrics: Metrics::default(),
        smoked: None,
        smoked_after: None,
        gate: Gate::default(),
        kept: Kept::default(),
        trouble: None,
        unseen: None,
    }
}
