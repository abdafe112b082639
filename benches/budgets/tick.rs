//! What one tick of one Rollout costs: both rules' samples folded in, and the decision made.
//!
//! A plain loop over prepared observations: `decide` takes the samples, reports both rules and
//! goes through the phase. The canary stays at its first step throughout, which is checked.
//! Not measured here: reading the counters, gathering the scene, and the API.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sluice::rollout::bookmark::Bookmark;
use sluice::rollout::config::Config;
use sluice::rollout::decide::decide;
use sluice::rollout::evidence::{ArmCounts, Evidence, Kind, Question, Sample, Settings};
use sluice::rollout::observation::{
    Canary, CanaryRoute, Custody, Gate, Kept, Metrics, Observation, Route as SeenRoute, Serving,
    Target,
};
use sluice::rollout::plan::{
    Analysis, ConfigChanges, KnownGood, NoDataThen, Plan, Route, Step, Strategy, UndecidedThen,
};
use sluice::rollout::revision::Revision;
use sluice::rollout::state::{Phase, Run, State, Trigger};
use sluice::rollout::terms::{Terms, Tuning};

use super::table::Row;
use super::{Error, stopwatch};

const TICKS: u32 = 20_000;
const WARM_UP: u32 = 30;
const TARGET_MICROSECONDS: f64 = 20.0;
const DAYS: Duration = Duration::from_secs(10 * 86_400);
const WEIGHT: u8 = 5;
const BOUNDARIES: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Requests per bucket and second of 500, log-normal with a median of 60 ms.
const BUCKETS: [f64; 12] = [
    0.5, 6.0, 62.0, 137.0, 164.0, 112.0, 16.0, 2.0, 0.4, 0.1, 0.0, 0.0,
];

/// Measures ticks and the planning of patience.
pub fn measure() -> Result<Vec<Row>, Error> {
    let terms = terms();
    let begun = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::from(WARM_UP));
    let mut evidence = Evidence::begin(&terms.evidence);
    for sample in &samples(Timestamp::UNIX_EPOCH, WARM_UP) {
        evidence.baseline(&terms.evidence, sample);
    }
    let start = stopwatch::now();
    black_box(evidence.set_patience(&terms.evidence));
    let patience = start.elapsed();
    evidence.weight_changed(&terms.evidence, WEIGHT, 100, begun);
    let tick = ticks(&terms, state(evidence, begun), begun)?;
    Ok(vec![
        Row::held(
            "one tick: decision and evidence, one Rollout, two rules",
            format!("{tick:.1} µs"),
            format!("< {TARGET_MICROSECONDS:.0} µs"),
            tick < TARGET_MICROSECONDS,
        ),
        Row::known(
            "planning what can be shown in time, once a run",
            format!("{:.1} ms", patience.as_secs_f64() * 1e3),
        ),
    ])
}

/// Microseconds a tick.
fn ticks(terms: &Terms, mut state: State, begun: Timestamp) -> Result<f64, Error> {
    let samples = samples(begun, TICKS);
    let seen: Vec<_> = samples.chunks(2).map(observation).collect();
    let start = stopwatch::now();
    for seen in &seen {
        let decision = decide(terms, &state, seen);
        if !decision.actions.is_empty() {
            return Err(format!("a tick acted: {:?}", decision.actions).into());
        }
        state = decision.next;
    }
    let took = start.elapsed();
    let read = state.evidence.as_ref().and_then(Evidence::until);
    if read != samples.last().map(|sample| sample.to) || state.phase.name() != "Stepping" {
        return Err(format!("the ticks were not what they should be: {state:?}").into());
    }
    Ok(took.as_secs_f64() * 1e6 / f64::from(TICKS))
}

fn revision(name: &str) -> Revision {
    Revision {
        hash: format!("7d4b9c8f6{name}"),
        images: vec![format!("registry.example/shop:{name}")],
    }
}

fn terms() -> Terms {
    let plan = Plan {
        namespace: "shop".to_owned(),
        name: "shop".to_owned(),
        uid: "4a5b6c".to_owned(),
        generation: 1,
        kind: sluice::rollout::plan::WorkloadKind::Deployment,
        target: "shop".to_owned(),
        route: Route::IngressNginx {
            ingress: "shop".to_owned(),
            service: None,
            prefix: "nginx.ingress.kubernetes.io".to_owned(),
        },
        steps: vec![Step {
            weight: WEIGHT,
            hold: DAYS,
            approval: false,
            approvers: None,
        }],
        matching: None,
        analysis: Analysis {
            rules: vec!["error-rate".to_owned(), "latency-p99".to_owned()],
            false_rollback_rate: 0.01,
            within: Duration::from_secs(600),
            blast: 0.002,
            blast_max: 0.02,
            undecided: (DAYS, UndecidedThen::Hold),
            no_data: (Duration::from_secs(300), NoDataThen::Hold),
        },
        progress_deadline: Duration::from_secs(600),
        bake: None,
        restore_template: true,
        config_changes: ConfigChanges::Report,
        known_good: KnownGood::Canary,
        approvals: sluice::rollout::approval::Approvals::default(),
        smoke: Vec::new(),
        smoke_after: Vec::new(),
        suspended: false,
        strategy: Strategy::Canary,
        moved_to: None,
    };
    let evidence = Settings {
        questions: vec![
            Question::new("error-rate", Kind::Proportion),
            Question::new("latency-p99", Kind::Latency { quantile: 0.99 }),
        ],
        steps: vec![WEIGHT],
        within: plan.analysis.within,
        ..Settings::default()
    };
    Terms {
        plan,
        evidence,
        tuning: Tuning::default(),
    }
}

fn state(evidence: Evidence, begun: Timestamp) -> State {
    let run = Run {
        id: format!("{}-30", revision("v2").hash),
        weight: WEIGHT,
        peak: WEIGHT,
        weight_since: Some(begun),
        ..Run::begun(revision("v2"), Trigger::Template, begun)
    };
    State {
        phase: Phase::Stepping(run),
        target: Some("1d2e3f".to_owned()),
        stable: Some(revision("v1")),
        config: Config::default(),
        evidence: Some(evidence),
        ..State::default()
    }
}

/// What a pass sees when it is woken by a reading.
fn observation(samples: &[Sample]) -> Observation {
    let now = samples
        .first()
        .map_or(Timestamp::UNIX_EPOCH, |sample| sample.to);
    let read = json!({"until": now.as_millisecond(), "of": {"controller-0": {"at": now.as_millisecond()}}});
    Observation {
        now,
        rollout: Custody {
            finalizer: true,
            ..Custody::default()
        },
        target: Some(Target {
            uid: "1d2e3f".to_owned(),
            revision: revision("v2"),
            paused: true,
            guarded: true,
            held_by: Some("shop".to_owned()),
            replicas: 4,
            serving: vec![Serving {
                revision: revision("v1"),
                replicas: 4,
                ready: 4,
            }],
            ..Target::default()
        }),
        canary: Some(Canary {
            revision: revision("v2").hash,
            replicas: 1,
            ready: 1,
            ..Canary::default()
        }),
        route: SeenRoute {
            canary: Some(CanaryRoute {
                weight: Some(WEIGHT),
                differs: false,
                behind: false,
            }),
            ..SeenRoute::default()
        },
        metrics: Metrics {
            samples: samples.to_vec(),
            bookmark: Bookmark::of(&json!({"error-rate": read, "latency-p99": read})),
            absent: None,
        },
        smoked: None,
        smoked_after: None,
        gate: Gate::default(),
        kept: Kept {
            stable: Some(revision("v1")),
            desired: None,
        },
        trouble: None,
        unseen: None,
    }
}

/// Two samples a second: 500 requests, 5% of them to the canary, with a little noise.
fn samples(from: Timestamp, seconds: u32) -> Vec<Sample> {
    let boundaries: Arc<[f64]> = BOUNDARIES.into();
    let mut noise = 12_345_u32;
    let mut samples = Vec::new();
    for second in 0..i64::from(seconds) {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let swing = 0.8 + f64::from(noise >> 16) / 163_840.0;
        let sample = |rule: &str, canary, stable| Sample {
            rule: rule.to_owned(),
            from: from + SignedDuration::from_secs(second),
            to: from + SignedDuration::from_secs(second + 1),
            canary,
            stable,
        };
        let errors = |total: f64, bad: u32| ArmCounts::Proportion {
            total,
            bad: f64::from(bad % 2),
        };
        let times = |share: f64| ArmCounts::Buckets {
            boundaries: boundaries.clone(),
            counts: BUCKETS.map(|count| (count * share).round()).to_vec(),
        };
        // Stable has an error every second or so, the canary one in sixteen seconds.
        let canary_bad = u32::from(noise >> 28 == 0);
        samples.push(sample(
            "error-rate",
            errors((25.0 * swing).round(), canary_bad),
            errors(475.0, noise >> 20),
        ));
        samples.push(sample("latency-p99", times(0.05 * swing), times(0.95)));
    }
    samples
}
