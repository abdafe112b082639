//! The nine invariants of docs/design.md, checked at each change against the cluster's state, what
//! users got, and the truth of the simulated world; never against the daemon's opinion.
//!
//! The number in each check is the invariant's. What the daemon wrote into the status is used
//! only as the record of a decision: that something was decided before it was done.
//!
//! Caveat: the watches lag by what the schedule says, so "ready" means ready not long ago; a
//! person who opens the gate or promotes by hand takes the revision out of the checks on proof.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sluice::sandbox::api::Change;

use crate::cluster::{self, Mirror, image, name, owner, replicas, weight};
use crate::journal::Journal;
use crate::schedule::Settings;

pub const STABLE: &str = "shop:v1";
/// Weights of the steps.
pub const STEPS: [i64; 2] = [20, 50];
/// Samples older than this are stale; a tick, a request's deadline and a save come on top.
const STALE: u64 = 15_000 + 1_000 + 5_000 + 7_000;
/// The watch's greatest lag, twice: it delays each chunk.
const LAG: u64 = 14_000;
/// A request may arrive so long after it was sent, and what it does is taken back so soon.
const LATE: u64 = 10_000;
const TAKEN_BACK: u64 = 2_000 + LATE;
/// A step takes so long at the least.
const LEAST_STEP: u64 = 10_000;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub at: u64,
    pub what: String,
}

/// Watches over a simulation.
#[allow(clippy::struct_excessive_bools)] // each is something that was seen
pub struct Invariants {
    journal: Journal,
    settings: Settings,
    pub mirror: Mirror,
    pub violations: Vec<Violation>,
    /// Since when no metrics can be read.
    pub dark_since: Option<u64>,
    /// All that cannot be read are the canary's series.
    pub canary_hidden: bool,
    /// Whether and since when users want no pods.
    pub unwanted: bool,
    pub wanted_since: u64,
    /// The gate stands open, or Sluice was told to let go.
    pub open: bool,
    /// It is open only until the Deployment is guarded again.
    shuts: bool,
    /// Images that went through an open gate, or that a person let through.
    pub exempt: BTreeSet<String>,
    /// Images whose promotion was decided, by record.
    decided: BTreeSet<String>,
    /// Images that were promoted or adopted and have not failed since, by record.
    good: BTreeSet<String>,
    /// Images that were tried and ended badly, by record.
    failed: BTreeSet<String>,
    /// Images that all traffic was switched to, by record: that is no promotion.
    switched: BTreeSet<String>,
    /// Canary readiness not long ago: time, ready pods, replicas of the target.
    readiness: Vec<(u64, i64, i64)>,
    /// For each run, when it reached each weight.
    reached: BTreeMap<String, Vec<(i64, u64)>>,
    /// What weight was saved since when, newest last.
    weights: Vec<(u64, i64)>,
    /// Since when a weight is in force that a late request brought back.
    late_rise: Option<u64>,
    /// The last forward jump of a clock.
    pub jumped: Option<u64>,
    /// Images whose stable had no pods while they were tried: what users got then is its baseline.
    pub starved: BTreeSet<String>,
    /// Somebody took pods or Service from a canary that an `HTTPRoute` leads to: a Gateway answers its
    /// part of the requests with errors until it is back or the weight is 0.
    pub bereft: bool,
    /// Requests that the canary's image answered.
    pub served: BTreeMap<String, u64>,
    phase: String,
}

pub fn never_ready(image: &str) -> bool {
    ["shop:crash", "shop:pull", "shop:hang"]
        .iter()
        .any(|kind| image.starts_with(kind))
}

impl Invariants {
    pub fn new(journal: Journal, settings: Settings) -> Self {
        Self {
            journal,
            settings,
            mirror: Mirror::default(),
            violations: Vec::new(),
            dark_since: None,
            canary_hidden: false,
            unwanted: false,
            wanted_since: 0,
            open: true,
            shuts: false,
            exempt: BTreeSet::new(),
            decided: BTreeSet::from([STABLE.to_owned()]),
            good: BTreeSet::from([STABLE.to_owned()]),
            failed: BTreeSet::new(),
            switched: BTreeSet::new(),
            readiness: Vec::new(),
            reached: BTreeMap::new(),
            weights: Vec::new(),
            late_rise: None,
            jumped: None,
            starved: BTreeSet::new(),
            bereft: false,
            served: BTreeMap::new(),
            phase: String::new(),
        }
    }

    /// People open the gate, or want it shut: it is so once the Deployment is guarded.
    pub fn opening(&mut self, open: bool) {
        self.shuts = !open;
        self.open = open || !self.mirror.guarded();
    }

    pub fn broken(&mut self, invariant: &'static str, what: String) {
        let at = self.journal.now();
        self.journal.say(&format!("BROKEN {invariant}: {what}"));
        self.violations.push(Violation {
            invariant,
            at,
            what,
        });
    }

    /// A change was stored.
    pub fn see(&mut self, resource: &str, change: &Change) {
        let by = self.journal.acting();
        self.tell(resource, change, by);
        let before = self.mirror.weight();
        let target = self.mirror.target().cloned();
        self.mirror.take(resource, change);
        let object = &change.object.value;
        match (resource, name(object)) {
            ("ingresses.networking.k8s.io", "shop-canary") => {
                let after = if change.removed { 0 } else { weight(object) };
                if by.is_some() && after > before {
                    let run = &object["metadata"]["annotations"]["sluice.dev/run"];
                    let run = run.as_str().unwrap_or_default().to_owned();
                    self.rose(run, before, after);
                }
            }
            (cluster::ROUTES, "shop") => {
                let after = self.mirror.weight();
                if by.is_some() && after > before {
                    self.rose(self.mirror.run(), before, after);
                }
            }
            ("rollouts.sluice.dev", "shop") if by.is_some() && !change.removed => {
                self.saved(object);
            }
            ("deployments.apps", "shop") if !change.removed => {
                self.target(object, target.as_ref(), by);
            }
            ("deployments.apps", _) => self.one_canary(),
            ("replicasets.apps", _) if owner(object) == "shop" => {
                let before = change
                    .previous
                    .as_ref()
                    .map_or(0, |before| replicas(&before.value));
                self.set(object, before, change.removed);
            }
            ("pods", _) => self.pods(),
            _ => {}
        }
        if self.shuts && self.mirror.guarded() {
            self.open = false;
        }
        self.bereft &= self.mirror.weight() > 0;
        if (resource, change.removed) == ("rollouts.sluice.dev", true) {
            self.let_go();
        }
        self.note_readiness();
    }

    /// The Rollout is gone, by its finalizer's leave.
    fn let_go(&mut self) {
        let weight = self.mirror.weight();
        if weight > 0 {
            self.broken("2 weight 0 before all is let go", format!("it is {weight}"));
        }
        let route = self.mirror.route().map(Value::to_string);
        if let Some(route) = route.filter(|route| route.contains("shop-canary")) {
            self.broken("9 what is let go is whole", route);
        }
        let paused = |target: &Value| target["spec"]["paused"] == true;
        if self.mirror.target().is_some_and(paused) {
            self.broken(
                "9 what is let go is not paused",
                "the Deployment is".to_owned(),
            );
        }
    }

    fn tell(&self, resource: &str, change: &Change, by: Option<usize>) {
        if matches!(
            resource,
            "pods" | "endpointslices.discovery.k8s.io" | "leases.coordination.k8s.io"
        ) {
            return;
        }
        let object = &change.object.value;
        let what = match resource {
            "events.events.k8s.io" => format!("{} {}", object["reason"], object["note"]),
            "events" => return,
            "rollouts.sluice.dev" => format!(
                "{} {} {} requests {:?}",
                object["status"]["phase"],
                object["status"]["message"],
                object["status"]["run"]["revision"]["images"][0],
                object["metadata"]["annotations"]
                    .as_object()
                    .map(|all| all.keys().cloned().collect::<Vec<_>>()),
            ),
            "deployments.apps" => format!(
                "{} x{} paused {} ready {}",
                image(object),
                replicas(object),
                object["spec"]["paused"],
                object["status"]["readyReplicas"]
            ),
            "replicasets.apps" => format!(
                "{} x{} ready {}",
                image(object),
                replicas(object),
                object["status"]["readyReplicas"]
            ),
            "ingresses.networking.k8s.io" => format!("weight {}", weight(object)),
            cluster::ROUTES => object["spec"]["rules"].to_string(),
            _ => String::new(),
        };
        let by = by.map_or_else(String::new, |daemon| format!("daemon {daemon} "));
        let gone = if change.removed { "gone " } else { "" };
        self.journal
            .say(&format!("{by}{resource} {} {gone}{what}", name(object)));
    }

    fn note_readiness(&mut self) {
        let ready = self.mirror.ready("shop-canary");
        let wanted = self.mirror.target().map_or(0, replicas);
        let now = self.journal.now();
        if self
            .readiness
            .last()
            .is_some_and(|(_, r, w)| (*r, *w) == (ready, wanted))
        {
            return;
        }
        self.readiness.push((now, ready, wanted));
    }

    /// What was so at some time not long ago.
    fn recently(&self) -> impl Iterator<Item = &(u64, i64, i64)> {
        let from = self.journal.now().saturating_sub(LAG);
        let first = self
            .readiness
            .iter()
            .rposition(|(at, ..)| *at <= from)
            .unwrap_or(0);
        self.readiness[first..].iter()
    }

    /// A daemon raised the canary's weight.
    fn rose(&mut self, run: String, before: i64, after: i64) {
        let now = self.journal.now();
        // A canary without a share has no series, so that nobody can miss them.
        let seen = self.canary_hidden && before == 0;
        if let Some(since) = self.dark_since
            && !seen
            && now - since > STALE
        {
            let dark = (now - since) / 1000;
            self.broken(
                "1 no rise without fresh samples",
                format!("{before} to {after} after {dark} s without metrics"),
            );
        }
        let need = |wanted: i64| ((wanted * after + 99) / 100).max(1);
        if !self
            .recently()
            .any(|(_, ready, wanted)| *ready >= need(*wanted))
        {
            self.broken(
                "1 no rise without a ready canary",
                format!("{before} to {after}: {:?}", self.readiness.last()),
            );
        }
        let tried = self.tried();
        let exempt = self.exempt.contains(&tried) || self.baseline_is_bad();
        let shown = after > STEPS[0] && !self.settings.blue_green;
        if shown && tried.starts_with("shop:bad") && !exempt {
            self.broken(
                "1 no rise of what is worse",
                format!("{tried} from {before} to {after}"),
            );
        }
        self.unsaved(before, after);
        if after > self.last_step() {
            self.broken(
                "4 never more than the last step",
                format!("{before} to {after}"),
            );
        }
        self.held(run, after);
    }

    /// A rise that is not what is saved: one that was sent while it was, and arrives late, is
    /// taken back at once.
    fn unsaved(&mut self, before: i64, after: i64) {
        let now = self.journal.now();
        let saved = self.weights.last().map_or(0, |(_, weight)| *weight);
        if saved >= after {
            return;
        }
        let ended = self.weights.iter().skip(1).map(|(since, _)| *since);
        let mut until = self.weights.iter().zip(ended);
        if until.any(|((_, weight), ended)| *weight >= after && now - ended <= LATE) {
            self.late_rise = self.late_rise.or(Some(now));
        } else {
            self.broken(
                "9 no rise that was not saved",
                format!("{before} to {after}, saved {saved}"),
            );
        }
    }

    /// Looks whether a late rise was taken back.
    fn taken_back(&mut self) {
        let saved = self.weights.last().map_or(0, |(_, weight)| *weight);
        if self.mirror.weight() <= saved {
            self.late_rise = None;
        }
        let now = self.journal.now();
        if self.late_rise.is_some_and(|since| now - since > TAKEN_BACK) {
            self.late_rise = None;
            let weight = self.mirror.weight();
            self.broken(
                "9 a late rise is taken back",
                format!("it is {weight}, saved is {saved}"),
            );
        }
    }

    fn last_step(&self) -> i64 {
        if self.settings.blue_green {
            100
        } else {
            STEPS[1]
        }
    }

    /// Invariant 7: each step took its time, as it really passed.
    fn held(&mut self, run: String, after: i64) {
        let now = self.journal.now();
        let steps = self.reached.entry(run).or_default();
        if steps.iter().any(|(weight, _)| *weight >= after) {
            return;
        }
        let last = steps.last().copied();
        steps.push((after, now));
        let hold = LEAST_STEP.max(self.settings.hold * 1000);
        if let Some((weight, since)) = last
            && self.jumped.is_none_or(|at| at < since)
            && now - since < hold
        {
            self.broken(
                "7 no hold is shortened",
                format!("{weight} to {after} after {} ms", now - since),
            );
        }
    }

    pub fn tried(&self) -> String {
        let canary = self.mirror.get("deployments.apps", "shop-canary");
        canary.map(image).unwrap_or_default()
    }

    /// A daemon wrote the Rollout.
    fn saved(&mut self, rollout: &Value) {
        let status = &rollout["status"];
        let phase = status["phase"].as_str().unwrap_or_default().to_owned();
        let before = std::mem::replace(&mut self.phase, phase.clone());
        let tried = status["run"]["revision"]["images"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if self.settings.blue_green && status["run"]["weight"] == 100 {
            self.switched.insert(tried.clone());
        }
        let last = &status["lastRun"];
        if last["outcome"] == "RolledBack" {
            let image = last["revision"]["images"][0]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if image.starts_with("shop:good") && last["reason"] == "Worse" {
                self.broken(
                    "6 nothing good is found worse",
                    format!("{image}: {}", last["message"]),
                );
            }
            self.good.remove(&image);
            self.failed.insert(image);
        }
        let weight = status["run"]["weight"].as_i64().unwrap_or(0);
        if self.weights.last().is_none_or(|(_, last)| *last != weight) {
            self.weights.push((self.journal.now(), weight));
        }
        let message = status["message"].as_str().unwrap_or_default();
        if phase == "Promoting" && message.contains("serves") {
            self.good.insert(tried.clone());
        }
        if phase == before {
            return;
        }
        self.note_good(status, &before);
        self.baked(status, &before);
        match phase.as_str() {
            "RollingBack" => {
                self.failed.insert(tried);
                let weight = self.mirror.weight();
                if weight > 0 {
                    self.broken(
                        "2 weight 0 comes first",
                        format!("the rollback is saved with weight {weight}"),
                    );
                }
            }
            "Promoting" => {
                self.straight(&tried, &before);
                self.promotes(&tried);
            }
            _ => {}
        }
    }

    /// What is good is what a run promoted, and what served at adoption.
    fn note_good(&mut self, status: &Value, before: &str) {
        let image = |revision: &Value| revision["images"][0].as_str().map(str::to_owned);
        if status["lastRun"]["outcome"] == "Promoted" {
            self.good.extend(image(&status["lastRun"]["revision"]));
        }
        if before == "Adopting" {
            self.good.extend(image(&status["stable"]));
        }
    }

    /// What failed while it baked is put back before its run is over; what is bad alone is not kept.
    fn baked(&mut self, status: &Value, before: &str) {
        let last = &status["lastRun"];
        let ended = last["revision"]["images"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let stable = status["stable"]["images"][0].as_str().unwrap_or_default();
        if before == "RollingBack" && last["reason"] == "BakeFailed" {
            let live = self.mirror.target().map(image).unwrap_or_default();
            if ended == stable || live == ended {
                self.broken(
                    "9 a failed bake leads back",
                    format!("{ended} failed, {live} is the template, {stable} is stable"),
                );
            }
        }
        let seen = !self.open && self.journal.now().saturating_sub(self.wanted_since) > 30_000;
        let excused = self.exempt.contains(&ended) || self.starved.contains(&ended);
        // What rolls is let through unproven, and judged afterwards.
        let kinds: &[&str] = if self.settings.rolling {
            &["shop:after", "shop:bad", "shop:late"]
        } else {
            &["shop:after"]
        };
        let bad = seen && kinds.iter().any(|kind| ended.starts_with(kind)) && !excused;
        if before == "Baking" && last["outcome"] == "Promoted" && bad {
            self.broken("6 nothing bad passes a bake", ended);
        }
    }

    /// Without a canary goes through only what is known to be good.
    fn straight(&mut self, tried: &str, before: &str) {
        let known = self.good.contains(tried) || self.exempt.contains(tried);
        if matches!(before, "Idle" | "Failed") && !known {
            self.broken(
                "4 only what is known good needs no canary",
                format!("{tried} after {before}"),
            );
        }
    }

    /// Whether what serves is bad itself: then a bad release is not worse. It went out while nothing
    /// guarded the Deployment.
    fn baseline_is_bad(&self) -> bool {
        self.stable_image()
            .is_some_and(|image| image.starts_with("shop:bad") || image.starts_with("shop:late"))
    }

    fn stable_image(&self) -> Option<&str> {
        self.mirror.rollout()?["status"]["stable"]["images"][0].as_str()
    }

    /// Whether what is stable cannot serve: it went out without pods, or while nothing guarded.
    fn baseline_never_serves(&self) -> bool {
        self.stable_image().is_some_and(never_ready)
    }

    /// A promotion is decided.
    fn promotes(&mut self, tried: &str) {
        let new = self.decided.insert(tried.to_owned());
        if self.settings.rolling && self.baseline_is_bad() {
            self.exempt.insert(tried.to_owned());
        }
        if self.settings.rolling || !new || self.exempt.contains(tried) {
            return;
        }
        let worse = tried.starts_with("shop:bad") || tried.starts_with("shop:late");
        if (worse && !self.baseline_is_bad()) || never_ready(tried) {
            self.broken("4 nothing bad is promoted", tried.to_owned());
        }
        // With a blast of 25% no step can show anything with fewer requests.
        let served = self.served.get(tried).copied().unwrap_or(0);
        if served < 10 {
            self.broken(
                "6 absent evidence is no success",
                format!("{tried} after {served} requests"),
            );
        }
    }

    /// The guarded Deployment changed.
    fn target(&mut self, after: &Value, before: Option<&Value>, by: Option<usize>) {
        let Some(before) = before.filter(|_| by.is_some()) else {
            return;
        };
        let (old, new) = (image(before), image(after));
        if old != new && !self.mirror.keeps(&old) && !self.failed.contains(&old) {
            self.broken(
                "8 no template is lost",
                format!("{old} was overwritten with {new} and is kept nowhere"),
            );
        }
        let opened = before["spec"]["paused"] == true && after["spec"]["paused"] != true;
        if opened && !self.may_serve(&new) && !self.nothing_serves() {
            self.broken(
                "4 nothing unproven is let through",
                format!("the gate was opened for {new}"),
            );
        }
    }

    fn nothing_serves(&self) -> bool {
        self.mirror.sets("shop").all(|set| replicas(set) == 0)
    }

    fn may_serve(&self, image: &str) -> bool {
        self.open || self.decided.contains(image) || self.exempt.contains(image)
    }

    fn one_canary(&mut self) {
        let canaries = self.mirror.canaries();
        if canaries > 1 {
            self.broken("9 at most one canary", format!("there are {canaries}"));
        }
    }

    /// A ReplicaSet of the guarded Deployment changed.
    fn set(&mut self, set: &Value, before: i64, removed: bool) {
        let (image, wants) = (image(set), replicas(set));
        if !removed && wants > 0 && !self.may_serve(&image) {
            self.broken(
                "4 nothing unproven is rolled out",
                format!("{image} gets {wants} pods"),
            );
            self.exempt.insert(image.clone());
        }
        let lowered = before > if removed { 0 } else { wants };
        let wanted = self.mirror.target().map_or(0, replicas);
        let template = self.mirror.target().map(cluster::image).unwrap_or_default();
        let rolls = template != image && self.may_serve(&template);
        let sets = self.mirror.sets("shop");
        let proven = sets.filter(|other| self.may_serve(&cluster::image(other)));
        let kept: i64 = proven.map(replicas).sum();
        if lowered && kept < wanted && !rolls && self.decided.contains(&image) && !self.open {
            self.broken(
                "3 stable keeps its pods",
                format!("{image} has {kept} of {wanted}"),
            );
        }
    }

    /// Pods changed.
    fn pods(&mut self) {
        let settled = self.journal.now().saturating_sub(self.wanted_since) > 15_000;
        if !settled || self.unwanted || self.mirror.target().is_none() {
            return;
        }
        if self.mirror.ready("shop") == 0 {
            self.wanted_since = self.journal.now();
            self.broken(
                "3 something always serves",
                "no pod of the Deployment is ready".to_owned(),
            );
        }
    }

    /// Images that users wrote into the template, or that they promoted by hand.
    pub fn exempts(&mut self, image: String) {
        self.exempt.insert(image);
    }

    /// What users got within a second, by image; empty if the router answered itself.
    pub fn users_got(&mut self, got: &BTreeMap<String, (u64, u64)>) {
        self.taken_back();
        for (image, (total, _)) in got {
            *self.served.entry(image.clone()).or_default() += total;
        }
        let all: u64 = got.values().map(|(total, _)| total).sum();
        for (image, (total, bad)) in got {
            if image.is_empty()
                && *bad > 0
                && !self.unwanted
                && !self.baseline_never_serves()
                && !self.bereft
                && self.journal.now().saturating_sub(self.wanted_since) > 15_000
            {
                self.broken(
                    "3 users always get an answer",
                    format!("{bad} of {all} were answered by the router itself"),
                );
            }
            // A person may have written any weight.
            let ours = self.mirror.weight() <= STEPS[1];
            let unproven = !self.may_serve(image) && !self.switched.contains(image);
            if !image.is_empty() && all >= 20 && *total == all && ours && unproven {
                self.broken(
                    "4 never all users at what is unproven",
                    format!("{image} answered all {all}"),
                );
            }
        }
    }
}
