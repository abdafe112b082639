//! The forecast against the decision itself, played on the same samples, and against what is known.

use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::rollout::action::Action;
use crate::rollout::bookmark::Bookmark;
use crate::rollout::config::Config;
use crate::rollout::decide::decide;
use crate::rollout::evidence::{Kind, Question, Sample};
use crate::rollout::observation::{
    self, Canary, CanaryRoute, Custody, Gate, Kept, Metrics, Observation, Serving, Target,
};
use crate::rollout::plan::{
    Analysis, ConfigChanges, KnownGood, NoDataThen, Route, Strategy, UndecidedThen,
};
use crate::rollout::reason::{Cause, HeldWhy};
use crate::rollout::revision::Revision;
use crate::rollout::state::{Phase, Run, State, Trigger};
use crate::rollout::terms::{Terms, Tuning};

pub(in crate::rollout) fn plan(steps: &[(u8, u64)]) -> Plan {
    let step = |(weight, hold): &(u8, u64)| Step {
        weight: *weight,
        hold: Duration::from_secs(*hold),
        approval: false,
        approvers: None,
    };
    Plan {
        namespace: "shop".to_owned(),
        name: "backend".to_owned(),
        uid: "4a5b6c".to_owned(),
        generation: 1,
        kind: crate::rollout::plan::WorkloadKind::Deployment,
        target: "backend".to_owned(),
        route: Route::IngressNginx {
            ingress: "backend".to_owned(),
            service: None,
            prefix: "nginx.ingress.kubernetes.io".to_owned(),
        },
        steps: steps.iter().map(step).collect(),
        matching: None,
        analysis: Analysis {
            rules: vec!["error-rate".to_owned()],
            false_rollback_rate: 0.01,
            within: Duration::from_secs(600),
            blast: 0.002,
            blast_max: 0.02,
            undecided: (Duration::from_secs(1800), UndecidedThen::Hold),
            no_data: (Duration::from_secs(300), NoDataThen::Hold),
        },
        progress_deadline: Duration::from_secs(600),
        bake: None,
        restore_template: true,
        config_changes: ConfigChanges::Report,
        known_good: KnownGood::Canary,
        approvals: crate::rollout::approval::Approvals::default(),
        smoke: Vec::new(),
        smoke_after: Vec::new(),
        suspended: false,
        strategy: Strategy::Canary,
        moved_to: None,
    }
}

pub(in crate::rollout) fn settings(plan: &Plan, kinds: &[(&str, Kind)]) -> Settings {
    let question = |(name, kind): &(&str, Kind)| Question::new(name, *kind);
    Settings {
        questions: kinds.iter().map(question).collect(),
        steps: plan.steps.iter().map(|step| step.weight).collect(),
        ..Settings::default()
    }
}

fn errors(rps: f64, rate: f64) -> Traffic {
    Traffic {
        every: 2.0,
        pods: 10,
        streams: vec![Stream {
            rule: "error-rate".to_owned(),
            rps,
            usual: Usual::Errors(rate),
        }],
    }
}

const EFFORT: Effort = Effort {
    runs: 60,
    ticks: 6_000,
    seed: 1,
};

#[test]
fn a_plan_is_the_same_each_time() {
    let plan = plan(&[(10, 0), (50, 30)]);
    let settings = settings(&plan, &[("error-rate", Kind::Proportion)]);
    let traffic = errors(200.0, 0.001);
    let effort = Effort { runs: 20, ..EFFORT };
    let one = forecast(&plan, &settings, &traffic, effort);
    assert_eq!(one, forecast(&plan, &settings, &traffic, effort));
}

/// The same run twice: on the evidence alone, and through the decision, with a cluster that obeys.
fn both(plan: &Plan, settings: &Settings, stage: &Stage, seed: u64) -> ((End, f64), (End, f64)) {
    let mut chance = chance::Chance::of(seed, 1);
    let mut stage = stage.clone();
    let evidence = many::before(settings, &mut stage, &mut chance);
    let mut decided = Cluster::begin(plan, settings, evidence.clone(), &stage);
    let mut other = (stage.clone(), chance.clone());
    let mut play = play::Play::begin(plan, settings, evidence, PODS.unsigned_abs(), stage.now());
    let alone = loop {
        let w = play.share();
        let samples = stage.tick(w, &mut chance);
        let now = samples[0].to;
        if let Some(end) = play.tick(samples, now) {
            break (end, play.seconds(now));
        }
    };
    let decided = loop {
        let w = f64::from(decided.weight) / 100.0;
        let samples = other.0.tick(w, &mut other.1).to_vec();
        let now = samples[0].to;
        if let Some(end) = decided.tick(now, samples) {
            break (end, play.seconds(now));
        }
    };
    (alone, decided)
}

/// Steps, the canary's harm, and what follows undecided evidence.
type Story = (&'static [(u8, u64)], Option<Harm>, UndecidedThen);

#[test]
fn runs_end_as_the_decision_ends_them() {
    let latency = Kind::Latency { quantile: 0.99 };
    let kinds = [("error-rate", Kind::Proportion), ("latency-p99", latency)];
    let mut traffic = errors(100.0, 0.001);
    traffic.streams.push(times(100.0));
    let mut seen = std::collections::BTreeSet::new();
    let table: [Story; 6] = [
        (&[(5, 0), (25, 0), (50, 0)], None, UndecidedThen::Hold),
        (&[(10, 60), (50, 0)], None, UndecidedThen::Hold),
        (
            &[(5, 0), (50, 0)],
            Some(Harm::Rate(0.02)),
            UndecidedThen::Hold,
        ),
        (
            &[(5, 0), (50, 0)],
            Some(Harm::Rate(0.004)),
            UndecidedThen::Hold,
        ),
        (&[(1, 0), (50, 0)], None, UndecidedThen::Rollback),
        (
            &[(1, 0), (50, 0)],
            Some(Harm::Rate(0.03)),
            UndecidedThen::Promote,
        ),
    ];
    for (steps, harm, then) in table {
        let mut plan = plan(steps);
        plan.analysis.undecided = (Duration::from_secs(120), then);
        let settings = settings(&plan, &kinds);
        let mut stage = Stage::healthy(&traffic.streams, 2.0);
        if let Some(harm) = harm {
            stage = stage.harmed(0, harm);
        }
        for seed in 0..4 {
            let (alone, decided) = both(&plan, &settings, &stage, seed);
            // The decision names the cause, the play the rule.
            let kind = |end: &End| std::mem::discriminant(end);
            assert_eq!(
                kind(&alone.0),
                kind(&decided.0),
                "{steps:?} {harm:?} {seed}: {alone:?} {decided:?}"
            );
            assert!(
                (alone.1 - decided.1).abs() < 0.5,
                "{steps:?} {harm:?} {seed}: {alone:?} {decided:?}"
            );
            seen.insert(format!("{:?}", alone.0));
        }
    }
    assert!(seen.len() >= 4, "only {seen:?} were seen");
}

#[test]
fn what_is_found_is_found_in_fresh_runs() {
    let plan = plan(&[(10, 0), (50, 0)]);
    let settings = settings(&plan, &[("error-rate", Kind::Proportion)]);
    let traffic = errors(100.0, 0.005);
    let search = |seed| found::Search {
        settings: &settings,
        stream: &traffic.streams[0],
        every: 2.0,
        seed,
        runs: 120,
        weight: 10,
        pods: 10,
        above_first: false,
    };
    let found = search(1).found(60.0);
    let (p80, p95) = (found.p80.unwrap(), found.p95.unwrap());
    assert!(p95.rate > p80.rate, "{found:?}");
    for (size, wanted) in [(p80, 0.8), (p95, 0.95)] {
        // A tenth to each side holds the truth.
        let share = |part: f64| {
            search(7).share(&search(7).past(), Harm::Rate(part * size.rate.unwrap()), 30)
        };
        let (below, above) = (share(0.88), share(1.12));
        assert!(
            below < wanted + 0.04 && above > wanted - 0.04,
            "{wanted}: {size:?} {below} {above}"
        );
    }
}

/// The table of docs/concepts/evidence.md: 0.5% -> 2.5% at 100 requests a second and a share of 10% takes both witnesses 61 s
/// (average vote alone; the clipped one makes it 65).
#[test]
fn detection_takes_as_long_as_it_is_known_to() {
    let mut plan = plan(&[(10, 0), (50, 0)]);
    plan.analysis.blast = 0.000_01;
    let mut settings = settings(&plan, &[("error-rate", Kind::Proportion)]);
    // Nothing is shown so fine: the run stays at the first step.
    (settings.blast, settings.blast_max) = (0.000_01, 0.000_01);
    let traffic = errors(100.0, 0.005);
    let scene = Scene {
        plan: &plan,
        settings: &settings,
        every: 1.0,
        pods: 0,
        effort: EFFORT,
    };
    let stage = Stage::healthy(&traffic.streams, 1.0).harmed(0, Harm::Rate(0.025));
    let played = scene.play(&stage);
    let outcome = outcome(&played, &End::RolledBack(None));
    let mean = outcome.seconds.unwrap().mean;
    assert!(
        outcome.rolled_back > 0.99 && (50.0..82.0).contains(&mean),
        "{outcome:?}"
    );
}

#[test]
fn a_plan_tells_what_it_cannot_show_and_what_would() {
    let plan = plan(&[(1, 0), (50, 0)]);
    let settings = settings(&plan, &[("error-rate", Kind::Proportion)]);
    let got = forecast(&plan, &settings, &errors(100.0, 0.001), EFFORT);
    assert!(!got.steps[0].rules[0].shows, "{:?}", got.steps[0]);
    assert_eq!(got.steps[0].rules[0].in_hold.p80, None);
    assert_eq!(got.harms.len(), 3);
    assert!(got.harms[0].tolerated && !got.harms[2].tolerated);
    assert!(got.healthy.promoted > 0.9, "{:?}", got.healthy);
    let proposal = got.proposal.unwrap();
    assert!(
        proposal[0].weight > 1 && proposal[0].hold.is_some(),
        "{proposal:?}"
    );
}

#[test]
fn a_rate_of_nothing_has_harms_by_their_rate() {
    let plan = plan(&[(50, 0)]);
    let settings = settings(&plan, &[("error-rate", Kind::Proportion)]);
    let got = forecast(&plan, &settings, &errors(50.0, 0.0), EFFORT);
    let sizes: Vec<Size> = got.harms.iter().map(|harm| harm.size).collect();
    assert!(sizes.iter().all(|size| size.ratio.is_none()), "{sizes:?}");
    assert!(got.harms[2].outcome.rolled_back > 0.9, "{:?}", got.harms[2]);
}

fn times(rps: f64) -> Stream {
    let boundaries: Arc<[f64]> = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5].into();
    let counts = [1e3, 4e4, 3e4, 2e4, 6e3, 2e3, 9e2, 1e2];
    Stream {
        rule: "latency-p99".to_owned(),
        rps,
        usual: Usual::times(boundaries, &counts),
    }
}

/// A cluster that does at once what is decided.
struct Cluster {
    terms: Terms,
    state: State,
    weight: u8,
}

/// The canary of one pod has one pod, too, at every weight.
const PODS: i32 = 1;

impl Cluster {
    fn begin(plan: &Plan, settings: &Settings, mut evidence: Evidence, stage: &Stage) -> Self {
        evidence.set_patience(settings);
        let weight = plan.steps[0].weight;
        let terms = Terms {
            plan: plan.clone(),
            evidence: settings.clone(),
            tuning: Tuning::default(),
        };
        let mut cluster = Self {
            state: state(evidence, weight, stage.now()),
            terms,
            weight,
        };
        assert_eq!(cluster.tick(stage.now(), Vec::new()), None);
        cluster
    }

    fn tick(&mut self, now: Timestamp, samples: Vec<Sample>) -> Option<End> {
        let decision = decide(
            &self.terms,
            &self.state,
            &observation(now, samples, self.weight),
        );
        if let Some(end) = ended(&decision.next.phase) {
            return Some(end);
        }
        let before = self.weight;
        for action in &decision.actions {
            if let Action::LowerWeight { weight } | Action::EnsureRoute { weight } = action {
                self.weight = *weight;
            }
        }
        self.state = decision.next;
        if self.weight == before {
            return None;
        }
        // The change is seen at once, before there is another sample.
        self.tick(now, Vec::new())
    }
}

/// The end that a phase is; the decision names the cause, not the rule alone.
#[allow(clippy::wildcard_enum_match_arm)] // any other phase is a mistake of the test
fn ended(phase: &Phase) -> Option<End> {
    Some(match phase {
        Phase::Stepping(_) => return None,
        Phase::Promoting { .. } => End::Promoted,
        Phase::RollingBack { rollback, .. } => {
            let undecided = matches!(rollback.cause, Cause::Undecided { .. });
            End::RolledBack((!undecided).then(|| format!("{:?}", rollback.cause)))
        }
        Phase::Held { why, .. } if *why == HeldWhy::Suspicions => End::Suspect(String::new()),
        Phase::Held { .. } => End::Undecided,
        other => panic!("{other:?}"),
    })
}

fn revision(name: &str) -> Revision {
    Revision {
        hash: name.to_owned(),
        images: vec![format!("shop:{name}")],
    }
}

fn state(evidence: Evidence, weight: u8, now: Timestamp) -> State {
    let run = Run {
        id: "run".to_owned(),
        weight,
        peak: weight,
        ..Run::begun(revision("v2"), Trigger::Template, now)
    };
    State {
        phase: Phase::Stepping(run),
        target: Some("uid".to_owned()),
        stable: Some(revision("v1")),
        config: Config::default(),
        evidence: Some(evidence),
        ..State::default()
    }
}

fn observation(now: Timestamp, samples: Vec<Sample>, weight: u8) -> Observation {
    Observation {
        now,
        rollout: Custody {
            finalizer: true,
            ..Custody::default()
        },
        target: Some(Target {
            uid: "uid".to_owned(),
            revision: revision("v2"),
            paused: true,
            guarded: true,
            held_by: Some("backend".to_owned()),
            replicas: PODS,
            serving: vec![Serving {
                revision: revision("v1"),
                replicas: PODS,
                ready: PODS,
            }],
            ..Target::default()
        }),
        canary: Some(Canary {
            revision: "v2".to_owned(),
            replicas: PODS,
            ready: PODS,
            ..Canary::default()
        }),
        route: observation::Route {
            canary: Some(CanaryRoute {
                weight: Some(weight),
                differs: false,
                behind: false,
            }),
            ..observation::Route::default()
        },
        metrics: Metrics {
            samples,
            bookmark: Bookmark::of(&serde_json::json!({})),
            absent: None,
        },
        kept: Kept {
            stable: Some(revision("v1")),
            desired: None,
        },
        trouble: None,
        unseen: None,
        smoked: None,
        smoked_after: None,
        gate: Gate::default(),
    }
}
