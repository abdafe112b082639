//! A whole rollout through `decide`: the production path of tick, share guard, witnesses,
//! suspicion, steps and several rules together, against a cluster that obeys at once.
//!
//! Each second the daemon sees the samples of that second and its own last weight. The run ends
//! with the decision to promote or to roll back, or when a person is asked.

use std::time::Duration;

use serde_json::json;
use sluice::rollout::action::Action;
use sluice::rollout::bookmark::Bookmark;
use sluice::rollout::config::Config;
use sluice::rollout::decide::decide;
use sluice::rollout::evidence::{Evidence, Sample, Settings};
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

use super::traffic::{Traffic, at};
use super::world::PODS;

const DAYS: Duration = Duration::from_secs(10 * 86_400);

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Promoted,
    RolledBack,
    /// A person was asked, or the time was over.
    Undecided,
}

/// What is known of a rollout that is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    pub end: End,
    /// Seconds since the first step began.
    pub seconds: f64,
    /// Seconds from the damage to the end.
    pub after_damage: f64,
    /// Bad answers of the canary beyond stable's rate.
    pub extra_bad: f64,
}

/// How a rollout is set up.
pub struct Setup {
    pub settings: Settings,
    /// Seconds of traffic before the first step.
    pub before: f64,
    /// Seconds after which it is given up.
    pub limit: f64,
    /// Whether a suspicion takes the weight back, or only both witnesses act.
    pub suspicion: bool,
    /// The weight at which the canary begins to be bad; 0: from the start.
    pub damage_from: u8,
}

/// Plays a rollout.
pub fn play(setup: &Setup, traffic: &mut Traffic) -> Told {
    let damage = traffic.damage;
    let healthy = (damage.rates.0, damage.rates.0);
    let mut cluster = Cluster::begin(setup, traffic);
    let begun = traffic.now;
    let (mut since, mut extra_bad) = (None, 0.0);
    loop {
        let damaged = since.is_some() || cluster.weight >= setup.damage_from.max(1);
        if damaged {
            since.get_or_insert(traffic.now);
            traffic.damage = damage;
        } else {
            traffic.damage.rates = healthy;
        }
        let w = f64::from(cluster.weight) / 100.0;
        let samples = traffic.second(&setup.settings, w).to_vec();
        if damaged {
            extra_bad += traffic.rps * w * (damage.rates.1 - damage.rates.0);
        }
        let end = cluster.tick(setup, traffic.now, samples);
        let over = traffic.now - begun >= setup.limit;
        if let Some(end) = end.or(over.then_some(End::Undecided)) {
            return Told {
                end,
                seconds: traffic.now - begun,
                after_damage: since.map_or(0.0, |since| traffic.now - since),
                extra_bad,
            };
        }
    }
}

struct Cluster {
    terms: Terms,
    state: State,
    weight: u8,
    canary: i32,
}

impl Cluster {
    fn begin(setup: &Setup, traffic: &mut Traffic) -> Self {
        let settings = &setup.settings;
        let mut evidence = Evidence::begin(settings);
        while traffic.now < setup.before {
            for sample in traffic.second(settings, 0.0) {
                evidence.baseline(settings, sample);
            }
        }
        evidence.set_patience(settings);
        let weight = settings.steps.first().copied().unwrap_or(1);
        Self {
            terms: terms(settings),
            state: state(evidence, weight, traffic.now),
            weight,
            canary: (i32::from(weight) * pods() + 99) / 100,
        }
    }

    /// One pass; the end, if the run has come to it.
    fn tick(&mut self, setup: &Setup, now: f64, samples: Vec<Sample>) -> Option<End> {
        let seen = observation(now, samples, self.weight, self.canary);
        let decision = decide(&self.terms, &self.state, &seen);
        let doubted = match &decision.next.phase {
            Phase::Stepping(run) => run.suspect.is_some(),
            Phase::Promoting { .. } => return Some(End::Promoted),
            Phase::RollingBack { .. } => return Some(End::RolledBack),
            Phase::Held { .. } => return Some(End::Undecided),
            _ => false,
        };
        if doubted && !setup.suspicion {
            // As if nobody acted on the exact witness alone: only the samples are kept.
            self.state.evidence = decision.next.evidence;
            return None;
        }
        let before = self.weight;
        for action in &decision.actions {
            match action {
                Action::LowerWeight { weight } | Action::EnsureRoute { weight } => {
                    self.weight = *weight;
                }
                Action::ScaleCanary { replicas } => self.canary = *replicas,
                _ => {}
            }
        }
        self.state = decision.next;
        if self.weight == before {
            return None;
        }
        // The change of the weight is seen at once, before there is another sample.
        self.tick(setup, now, Vec::new())
    }
}

fn pods() -> i32 {
    i32::try_from(PODS).unwrap_or(1)
}

fn revision(name: &str) -> Revision {
    Revision {
        hash: format!("7d4b9c8f6{name}"),
        images: vec![format!("shop:{name}")],
    }
}

fn terms(settings: &Settings) -> Terms {
    let step = |weight: &u8| Step {
        weight: *weight,
        hold: Duration::ZERO,
        approval: false,
        approvers: None,
    };
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
        steps: settings.steps.iter().map(step).collect(),
        matching: None,
        analysis: Analysis {
            rules: settings.questions.iter().map(|q| q.name.clone()).collect(),
            false_rollback_rate: settings.alpha,
            within: settings.within,
            blast: settings.blast,
            blast_max: settings.blast_max,
            undecided: (DAYS, UndecidedThen::Hold),
            no_data: (DAYS, NoDataThen::Hold),
        },
        progress_deadline: DAYS,
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
    Terms {
        plan,
        evidence: settings.clone(),
        tuning: Tuning::default(),
    }
}

fn state(evidence: Evidence, weight: u8, now: f64) -> State {
    let run = Run {
        id: format!("{}-30", revision("v2").hash),
        weight,
        peak: weight,
        ..Run::begun(revision("v2"), Trigger::Template, at(now))
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

fn observation(now: f64, samples: Vec<Sample>, weight: u8, canary: i32) -> Observation {
    let pods = pods();
    Observation {
        now: at(now),
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
            replicas: pods,
            serving: vec![Serving {
                revision: revision("v1"),
                replicas: pods,
                ready: pods,
            }],
            ..Target::default()
        }),
        canary: Some(Canary {
            revision: revision("v2").hash,
            replicas: canary,
            ready: canary,
            ..Canary::default()
        }),
        route: SeenRoute {
            canary: Some(CanaryRoute {
                weight: Some(weight),
                differs: false,
                behind: false,
            }),
            ..SeenRoute::default()
        },
        metrics: Metrics {
            samples,
            bookmark: Bookmark::of(&json!({})),
            absent: None,
        },
        kept: Kept {
            stable: Some(revision("v1")),
            desired: None,
        },
        smoked: None,
        smoked_after: None,
        gate: Gate::default(),
        trouble: None,
        unseen: None,
    }
}
