//! A cluster small enough to reason about: one Deployment, its canary, one route, requests.
//!
//! It does what Kubernetes, the gate and a router would do with the actions. It knows what
//! users got, so that invariants are checked against the cluster and not against the daemon's
//! opinion.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::rollout::action::Action;
use crate::rollout::approval::Vouched;
use crate::rollout::bookmark::Bookmark;
use crate::rollout::bound;
use crate::rollout::config::Config;
use crate::rollout::decide::{Decision, decide, needs_pods};
use crate::rollout::evidence::{self, ArmCounts, Kind, Question, Sample};
use crate::rollout::observation::{
    Canary, CanaryRoute, Custody, Fate, FateKind, Gate, Kept, Metrics, Observation, Past, Route,
    Serving, Smoked, Target,
};
use crate::rollout::plan::{
    Analysis, ConfigChanges, KnownGood, NoDataThen, Plan, Route as PlanRoute, Step,
    Strategy as PlanStrategy, UndecidedThen,
};
use crate::rollout::reason::{Outcome, Reason};
use crate::rollout::request::Request;
use crate::rollout::revision::Revision;
use crate::rollout::state::{Phase, State};
use crate::rollout::terms::{Terms, Tuning};

/// Requests a second of the model's traffic.
const RPS: f64 = 200.0;
/// Stable replicas at the start.
const REPLICAS: i32 = 4;

pub fn revision(name: &str) -> Revision {
    Revision {
        hash: name.to_owned(),
        images: vec![format!("shop:{name}")],
    }
}

/// Configuration as `CONFIGMAPS.SECRETS`.
pub fn config(text: &str) -> Config {
    Config::from(text.to_owned())
}

pub fn terms() -> Terms {
    let step = |weight| Step {
        weight,
        hold: Duration::ZERO,
        approval: false,
        approvers: None,
    };
    let steps = vec![step(5), step(25), step(50)];
    let analysis = Analysis {
        rules: vec!["error-rate".to_owned()],
        false_rollback_rate: 0.01,
        within: Duration::from_secs(600),
        blast: 0.005,
        blast_max: 0.02,
        undecided: (Duration::from_secs(1800), UndecidedThen::Hold),
        no_data: (Duration::from_secs(60), NoDataThen::Hold),
    };
    let question = Question::new("error-rate", Kind::Proportion);
    Terms {
        evidence: evidence::Settings {
            questions: vec![question],
            within: analysis.within,
            blast: analysis.blast,
            blast_max: analysis.blast_max,
            steps: steps.iter().map(|step| step.weight).collect(),
            ..evidence::Settings::default()
        },
        plan: Plan {
            namespace: "shop".to_owned(),
            name: "shop".to_owned(),
            uid: "rollout".to_owned(),
            generation: 1,
            kind: crate::rollout::plan::WorkloadKind::Deployment,
            target: "shop".to_owned(),
            route: PlanRoute::IngressNginx {
                ingress: "shop".to_owned(),
                service: None,
                prefix: "nginx.ingress.kubernetes.io".to_owned(),
            },
            steps,
            matching: None,
            analysis,
            progress_deadline: Duration::from_secs(120),
            bake: None,
            restore_template: true,
            config_changes: ConfigChanges::Report,
            known_good: KnownGood::Promote,
            approvals: crate::rollout::approval::Approvals::default(),
            smoke: Vec::new(),
            smoke_after: Vec::new(),
            suspended: false,
            strategy: PlanStrategy::Canary,
            moved_to: None,
        },
        tuning: Tuning::default(),
    }
}

/// How the requests of an arm end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Health {
    /// No errors.
    Good,
    /// Every third request fails.
    Bad,
}

/// The cluster.
#[allow(clippy::struct_excessive_bools)] // each is a switch that a story throws
#[derive(Debug, Clone)]
pub struct Model {
    pub terms: Terms,
    pub now: Timestamp,
    pub state: State,
    /// What a restarted daemon finds.
    pub saved: State,
    pub target: Target,
    pub canary: Option<Canary>,
    pub route: Option<CanaryRoute>,
    pub kept: Kept,
    pub guarded_by_rollout: bool,
    pub deleting: bool,
    pub requests: Vec<Request>,
    pub vouched: Option<Vouched>,
    pub authors: Vec<String>,
    /// What the smoke tests came to, and those that were asked for.
    pub smoked: Option<Smoked>,
    pub smoked_after: Option<Smoked>,
    pub smoke_asked: Vec<String>,
    /// Whether metrics come.
    pub metrics: bool,
    /// Seconds by which a sample is old when it comes.
    pub sampled_ago: i64,
    /// Seconds between the scrapes of a rule; the second rule's are half of that after the first's.
    pub every: i64,
    /// Whether stable gets requests; if not, all go to the canary.
    pub baseline: bool,
    /// Whether the router knows pods of the canary; if not, its share goes to stable.
    pub leads: bool,
    pub canary_health: Health,
    pub stable_health: Health,
    pub gate: Gate,
    /// New canary pods crash.
    pub crashes: bool,
    /// New canary pods become ready.
    pub comes_up: bool,
    /// Why the canary's objects and its share, or the opening of the gate, are refused.
    pub refuses: Option<String>,
    /// Why no pod of the template finds a node; seen by a daemon that looks.
    pub nodeless: Option<String>,
    /// The canary's objects are not removed.
    pub stays: bool,
    /// The canary's weight cannot be lowered.
    pub shut: bool,
    /// Why no canary could be made of what there is.
    pub unroutable: Option<String>,
    /// Why the namespace cannot be seen.
    pub unseen: Option<String>,
    /// An open Deployment rolls to its end; if not, one pod of the new template is all.
    pub rolls: bool,
    /// Pods of an open Deployment that has rolled crash.
    pub crashing: bool,
    /// Revisions that a promotion was decided for, or that served at adoption.
    pub approved: BTreeSet<String>,
    /// What was told, by name.
    pub told: Vec<Reason>,
    sampled: Timestamp,
}

impl Model {
    pub fn new() -> Self {
        let v1 = revision("v1");
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(1_000_000);
        Self {
            terms: terms(),
            now,
            state: State::default(),
            saved: State::default(),
            target: Target {
                uid: "one".to_owned(),
                revision: v1.clone(),
                replicas: REPLICAS,
                complete: true,
                updated_ready: REPLICAS,
                serving: vec![Serving {
                    revision: v1,
                    replicas: REPLICAS,
                    ready: REPLICAS,
                }],
                ..Target::default()
            },
            canary: None,
            route: None,
            kept: Kept::default(),
            guarded_by_rollout: false,
            deleting: false,
            requests: Vec::new(),
            vouched: None,
            authors: Vec::new(),
            smoked: None,
            smoked_after: None,
            smoke_asked: Vec::new(),
            metrics: true,
            sampled_ago: 0,
            every: 1,
            baseline: true,
            leads: true,
            canary_health: Health::Good,
            stable_health: Health::Good,
            gate: Gate::default(),
            crashes: false,
            comes_up: true,
            refuses: None,
            nodeless: None,
            stays: false,
            unroutable: None,
            shut: false,
            unseen: None,
            rolls: true,
            crashing: false,
            approved: BTreeSet::from(["v1".to_owned()]),
            told: Vec::new(),
            sampled: now,
        }
    }

    /// Somebody applies a template; the gate holds it.
    pub fn apply(&mut self, name: &str) {
        if !self.target.guarded {
            // Nothing holds it: what goes out here is not the daemon's doing.
            self.approved.insert(name.to_owned());
        } else if self.target.revision.hash != name {
            self.target.paused = true;
        }
        self.target.revision = revision(name);
        self.settle();
    }

    /// Somebody asks for something.
    pub fn ask(&mut self, act: &str) {
        let id = format!("{act}-{}", self.requests.len() + self.told.len());
        self.requests.push(Request::new(id, act.parse()));
    }

    /// Somebody asks to go back to what they name.
    pub fn ask_for(&mut self, goal: &str) {
        self.ask("rollback");
        if let Some(request) = self.requests.last_mut() {
            request.goal = Some(goal.to_owned());
        }
    }

    /// A `ReplicaSet` stays, without pods, when another takes its place.
    fn note_past(&mut self) {
        for serving in &self.target.serving {
            let past = &mut self.target.past;
            if !past
                .iter()
                .any(|past| past.revision.same(&serving.revision))
            {
                past.push(Past {
                    revision: serving.revision.clone(),
                    number: past.len() as u64 + 1,
                });
            }
        }
    }

    /// The weight that users' requests go by.
    pub fn weight(&self) -> u8 {
        self.route
            .as_ref()
            .and_then(|route| route.weight)
            .unwrap_or(0)
    }

    /// The Deployment as a daemon sees it that looks after nodes when the decision needs it.
    fn looked_at(&self) -> Target {
        let asks = needs_pods(&self.terms, &self.state, self.now);
        let nodeless = self.nodeless.clone().filter(|_| asks);
        Target {
            refused: self.target.refused.clone().or(nodeless),
            ..self.target.clone()
        }
    }

    /// What is seen now.
    pub fn look(&self) -> Observation {
        Observation {
            now: self.now,
            rollout: Custody {
                deleting: self.deleting,
                finalizer: self.guarded_by_rollout,
                rival: None,
                requests: self.requests.clone(),
                vouched: self.vouched.clone(),
                authors: self.authors.clone(),
                said: self.authors.clone(),
            },
            target: Some(self.looked_at()),
            canary: self.canary.clone(),
            route: Route {
                refusals: self.unroutable.iter().cloned().collect(),
                warnings: Vec::new(),
                canary: self.route.clone(),
            },
            metrics: self.metrics(),
            smoked: self.smoked.clone(),
            smoked_after: self.smoked_after.clone(),
            gate: self.gate.clone(),
            kept: self.kept.clone(),
            trouble: self.refuses.clone(),
            unseen: self.unseen.clone(),
        }
    }

    fn metrics(&self) -> Metrics {
        if !self.metrics {
            return Metrics {
                absent: Some("down".to_owned()),
                ..Metrics::default()
            };
        }
        let seconds = self.now.duration_since(self.sampled).as_secs_f64();
        if seconds <= 0.0 {
            return Metrics::default();
        }
        let (from, seconds) = match self.every {
            1 => (self.sampled, seconds),
            every => (
                self.now - jiff::SignedDuration::from_secs(every),
                every as f64,
            ),
        };
        let all = (RPS * seconds).round();
        let canary = match (self.baseline, self.weight()) {
            _ if !self.leads => 0.0,
            (true, weight) => (all * f64::from(weight) / 100.0).round(),
            (false, 0) => 0.0,
            (false, _) => all,
        };
        let stable = if self.baseline { all - canary } else { 0.0 };
        let bad = match self.canary_health {
            Health::Good => 0.0,
            Health::Bad => (canary / 3.0).ceil(),
        };
        let stable_bad = match self.stable_health {
            Health::Good => 0.0,
            Health::Bad => (stable / 3.0).ceil(),
        };
        let counts = |total, bad| ArmCounts::Proportion { total, bad };
        let questions = self.terms.evidence.questions.iter();
        let questions = questions.zip(0..).filter(|(_, place)| {
            let offset = place * self.every / 2;
            (self.now.as_second() + offset) % self.every == 0
        });
        let late = jiff::SignedDuration::from_secs(self.sampled_ago);
        let sample = |(question, _): (&Question, i64)| Sample {
            rule: question.name.clone(),
            from: from - late,
            to: self.now - late,
            canary: counts(canary, bad),
            stable: counts(stable, stable_bad),
        };
        Metrics {
            samples: questions.map(sample).collect(),
            bookmark: Bookmark::of(&self.now.as_second()),
            absent: None,
        }
    }

    /// Time passes: a second at the metrics' pace.
    pub fn tick(&mut self) {
        self.sampled = self.now;
        self.now += Duration::from_secs(1);
        self.settle();
    }

    /// One whole pass, everything succeeds.
    pub fn pass(&mut self) -> Decision {
        let seen = self.look();
        let mut terms = self.terms.clone();
        if let Some(plan) = bound::instead(&terms.plan, &self.state) {
            terms.plan = plan;
        }
        let decision = decide(&terms, &self.state, &seen);
        self.execute(&decision, usize::MAX);
        decision
    }

    /// Executes a decision; after `effects` effects (the save counts as one) the daemon crashes.
    pub fn execute(&mut self, decision: &Decision, effects: usize) {
        let relief = decision.actions.iter().filter(|action| action.relieves());
        let rest = decision.actions.iter().filter(|action| !action.relieves());
        let mut left = effects;
        let mut spend = || {
            let some = left > 0;
            left = left.saturating_sub(1);
            some
        };
        for action in relief {
            if !spend() {
                return self.crash();
            }
            self.carry_out(action);
        }
        if !spend() {
            return self.crash();
        }
        self.saved = decision.next.clone();
        self.state = decision.next.clone();
        self.note_approvals(decision);
        for action in rest {
            if !spend() {
                return self.crash();
            }
            self.carry_out(action);
        }
        self.settle();
    }

    fn note_approvals(&mut self, decision: &Decision) {
        self.told.extend(decision.reasons.clone());
        let promotes = decision
            .reasons
            .iter()
            .any(|reason| matches!(reason, Reason::PromotionStarted { .. }));
        if let Some(run) = decision.next.phase.run().filter(|_| promotes) {
            self.approved.insert(run.revision.hash.clone());
        }
    }

    /// The daemon loses what is not saved.
    pub fn crash(&mut self) {
        self.state = self.saved.clone();
    }

    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::LowerWeight { .. } if self.shut => {}
            Action::LowerWeight { weight } => {
                if let Some(route) = &mut self.route {
                    route.weight = Some(*weight);
                }
            }
            Action::EnsureCanary { .. }
            | Action::EnsureRoute { .. }
            | Action::Unpause { .. }
            | Action::RestoreTemplate { .. }
                if self.refuses.is_some() => {}
            Action::EnsureCanary { mark, replicas, .. } => self.make_canary(mark, *replicas),
            Action::ScaleCanary { replicas } => {
                if let Some(canary) = &mut self.canary {
                    canary.replicas = *replicas;
                }
            }
            Action::EnsureRoute { weight } => {
                self.route = Some(CanaryRoute {
                    weight: Some(*weight),
                    differs: false,
                    behind: false,
                });
            }
            Action::RemoveCanary if self.stays => {}
            Action::RemoveRoute => self.route = None,
            Action::RemoveCanary => self.canary = None,
            Action::TakeCustody => self.guarded_by_rollout = true,
            Action::ReleaseCustody => self.guarded_by_rollout = false,
            Action::Guard => {
                self.target.guarded = true;
                self.target.held_by = Some("shop".to_owned());
            }
            Action::Unguard => {
                self.target.guarded = false;
                self.target.held_by = None;
            }
            Action::Pause { expect } => self.set_paused(expect, true),
            Action::Unpause { expect } => self.set_paused(expect, false),
            Action::RestoreTemplate {
                to, expect, paused, ..
            } => {
                if self.target.revision.same(expect) {
                    self.target.revision = to.clone();
                    self.target.paused = *paused;
                }
            }
            Action::KeepStable { revision } => self.kept.stable = Some(revision.clone()),
            Action::KeepDesired { revision } => self.kept.desired = Some(revision.clone()),
            Action::DropDesired => self.kept.desired = None,
            Action::RemoveStuck { expect } => {
                if self.target.revision.same(expect) {
                    self.target.stuck = false;
                    self.rolls = true;
                }
            }
            Action::Restart { id, expect, .. } => {
                if self.target.revision.same(expect) {
                    self.target.restarted_for = Some(id.clone());
                }
            }
            Action::Smoke { tests, .. } => self.smoke_asked.clone_from(tests),
            Action::ClearRequest { id } => self.requests.retain(|request| request.id != *id),
        }
    }

    fn set_paused(&mut self, expect: &Revision, paused: bool) {
        if self.target.revision.same(expect) {
            self.target.paused = paused;
        }
    }

    fn make_canary(&mut self, mark: &str, replicas: i32) {
        self.canary = Some(Canary {
            revision: mark.to_owned(),
            replicas,
            ..Canary::default()
        });
    }

    /// Controllers do their work: pods come up, an open Deployment rolls.
    pub fn settle(&mut self) {
        if let Some(canary) = &mut self.canary {
            canary.ready = if self.comes_up && !self.crashes {
                canary.replicas
            } else {
                0
            };
            canary.fate = self.crashes.then(|| Fate {
                kind: FateKind::CrashLoop,
                detail: "it crashes".to_owned(),
            });
        }
        if self.target.paused {
            let serving = self.target.serving.first();
            let held = serving.is_some_and(|serving| !serving.revision.same(&self.target.revision));
            self.target.complete = !held;
            for serving in &mut self.target.serving {
                serving.replicas = self.target.replicas;
                serving.ready = self.target.replicas;
            }
            let own = self.target.serving(&self.target.revision);
            self.target.updated_ready = own.map_or(0, |serving| serving.ready);
        } else if !self.rolls {
            self.roll_one_pod();
        } else {
            let replicas = self.target.replicas;
            self.target.serving = vec![Serving {
                revision: self.target.revision.clone(),
                replicas,
                ready: replicas,
            }];
            self.target.complete = !self.crashing;
            self.target.updated_ready = replicas;
        }
        self.note_past();
    }

    /// The template's first pod comes up beside the others, and no more.
    fn roll_one_pod(&mut self) {
        let revision = self.target.revision.clone();
        if self.target.serving(&revision).is_none() {
            self.target.serving.push(Serving {
                revision: revision.clone(),
                replicas: 1,
                ready: 1,
            });
        }
        self.target.updated_ready = 1;
        let others = |serving: &Serving| !serving.revision.same(&revision);
        self.target.complete = !self.target.serving.iter().any(others);
    }

    /// Passes and ticks until `done`, at most `seconds`. Whether it was reached.
    pub fn until(&mut self, seconds: u32, done: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..seconds {
            self.pass();
            if done(self) {
                return true;
            }
            self.tick();
        }
        false
    }

    /// An adopted, idle Rollout.
    pub fn idle() -> Self {
        let mut model = Self::new();
        assert!(model.until(5, |model| model.state.phase.name() == "Idle"));
        model.pass();
        model
    }
}

/// Applies `v2`, whose promotion stays half done: pods of it serve beside `v1`'s.
pub fn promoted_half(model: &mut Model) {
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(600, |model| model.target.serving(&revision("v2")).is_some()));
}

/// Applies `v2`, which fails, and again, which is held.
pub fn failed_and_held() -> Model {
    let mut model = Model::idle();
    model.canary_health = Health::Bad;
    model.apply("v2");
    assert!(model.until(90, |model| ended(model, Outcome::RolledBack)));
    model.apply("v2");
    assert!(model.until(5, |model| model.state.phase == Phase::Failed));
    model
}

/// Whether it rests after a run with this outcome.
pub fn ended(model: &Model, outcome: Outcome) -> bool {
    let ended = model.state.last_run.as_ref();
    matches!(model.state.phase, Phase::Idle) && ended.is_some_and(|run| run.outcome == outcome)
}

/// Whether it rests after a run of this revision with this outcome.
pub fn ended_as(model: &Model, name: &str, outcome: Outcome) -> bool {
    let last = model.state.last_run.as_ref();
    ended(model, outcome) && last.is_some_and(|run| run.revision == revision(name))
}

/// The names of what was told, in order.
pub fn told(model: &Model) -> Vec<&'static str> {
    model.told.iter().map(Reason::name).collect()
}

/// The same, but for what a promotion can exclude.
pub fn names(model: &Model) -> Vec<&'static str> {
    let names = told(model).into_iter();
    names.filter(|name| *name != "Patience").collect()
}

/// Asserts that nothing of a run is left.
pub fn clean(model: &Model) {
    assert!(model.canary.is_none(), "the canary is gone");
    assert!(model.route.is_none(), "the route is gone");
    assert!(!model.target.paused, "the Deployment is not left paused");
}

/// Whether it is in the phase of this name.
pub fn phase(name: &'static str) -> impl Fn(&Model) -> bool {
    move |model| model.state.phase.name() == name
}

/// Why the last run ended; empty before one has.
pub fn reason(model: &Model) -> &str {
    let last = model.state.last_run.as_ref();
    last.map_or("", |run| run.reason.as_str())
}

/// All traffic in one step of half a minute, by a strategy without shares.
pub fn all_at_once(model: &mut Model, strategy: PlanStrategy) {
    model.terms.plan.strategy = strategy;
    model.terms.plan.steps = vec![Step {
        weight: 100,
        hold: Duration::from_secs(30),
        approval: false,
        approvers: None,
    }];
    model.terms.evidence.steps = vec![100];
}
