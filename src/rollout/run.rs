//! A run: one attempt to bring one revision through, and how far its promotion or rollback is.
//!
//! Not here: in which phase it is (`state`).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::approval::Approval;
use super::config::Config;
use super::evidence::{Limit, Verdict};
use super::reason::Cause;
use super::revision::{Revision, short};

/// One attempt to bring one revision through.
#[allow(clippy::struct_excessive_bools)] // each is something that was decided of it
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id: the same in logs, Events and metrics.
    pub id: String,
    /// The revision under trial.
    pub revision: Revision,
    /// What began it.
    pub trigger: Trigger,
    /// The configuration that it is tried with, as far as it was read.
    #[serde(default, skip_serializing_if = "Config::is_unread")]
    pub config: Config,
    /// Who has made the change, as the workload said when it began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// When it began.
    pub started: Timestamp,
    /// When the present phase or step began.
    pub since: Timestamp,
    /// The step that is worked on, counted from 0.
    pub step: usize,
    /// The weight that is wanted, in percent.
    pub weight: u8,
    /// The greatest weight so far: the canary is not made smaller within a run.
    pub peak: u8,
    /// The most replicas that the Deployment was seen to want: the canary is made for them, though an
    /// autoscaler that sees stable without traffic may take some away.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: i32,
    /// When the wanted weight was first seen in force.
    pub weight_since: Option<Timestamp>,
    /// Since when the canary has had fewer ready pods than its weight needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_since: Option<Timestamp>,
    /// Since when no canary could be made of what there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_since: Option<Timestamp>,
    /// Since when the wanted weight could be in force and is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrouted_since: Option<Timestamp>,
    /// The rule whose samples are too old when they come, where the step waits for nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<String>,
    /// Why there are no samples, while there should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
    /// The step down that a suspicion led to, if one is open.
    pub suspect: Option<Suspicion>,
    /// Suspicions so far.
    pub suspicions: u8,
    /// The worst verdict of all rules.
    pub verdict: Verdict,
    /// What a promotion can exclude, in words, once it is known.
    pub patience: Option<String>,
    /// Who has approved what, in this run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// A person approved the switch of all traffic.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
    /// What it is held to since all traffic was switched to it, or since it rolls: what stable was
    /// like before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goals: Option<Vec<Limit>>,
    /// A newer template that waits while a person holds this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Revision>,
    /// It goes through without a canary: it was promoted here before, or a person goes back to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub straight: bool,
    /// It rolls natively without a canary, and is held to its goals meanwhile and afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rolls: bool,
    /// How far its smoke tests are.
    #[serde(default)]
    pub smoke: Smoke,
    /// How far those after the promotion are.
    #[serde(default, skip_serializing_if = "Smoke::is_awaited")]
    pub smoke_after: Smoke,
    /// It serves, but is watched on before it takes the place of what was stable.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bakes: bool,
    /// What it is watched by then, from when the promotion was decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// A person let it through, whatever the evidence says.
    #[serde(default)]
    pub forced: bool,
    /// What it is promoted for, in words, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

impl Run {
    /// One that begins now: nothing of it is done or known yet.
    pub fn begun(revision: Revision, trigger: Trigger, now: Timestamp) -> Self {
        Self {
            id: format!("{}-{}", short(&revision.hash), now.as_second()),
            revision,
            trigger,
            config: Config::default(),
            authors: Vec::new(),
            started: now,
            since: now,
            step: 0,
            weight: 0,
            peak: 0,
            size: 0,
            weight_since: None,
            short_since: None,
            refused_since: None,
            unrouted_since: None,
            late: None,
            silent: None,
            suspect: None,
            suspicions: 0,
            verdict: Verdict::Undecided,
            patience: None,
            proof: None,
            approvals: Vec::new(),
            approved: false,
            goals: None,
            waiting: None,
            straight: false,
            rolls: false,
            smoke: Smoke::default(),
            smoke_after: Smoke::default(),
            bakes: false,
            limits: Vec::new(),
            forced: false,
        }
    }

    /// A clock that was set back: nothing was in the future.
    pub fn set_back(&mut self, now: Timestamp) {
        self.started = self.started.min(now);
        self.since = self.since.min(now);
        self.weight_since = self.weight_since.map(|since| since.min(now));
        self.short_since = self.short_since.map(|since| since.min(now));
        self.refused_since = self.refused_since.map(|since| since.min(now));
        self.unrouted_since = self.unrouted_since.map(|since| since.min(now));
        if let Some(suspect) = &mut self.suspect {
            suspect.since = suspect.since.min(now);
        }
        for approval in &mut self.approvals {
            approval.at = approval.at.min(now);
        }
    }

    /// How many have approved the step that is worked on.
    pub fn approvals_here(&self) -> usize {
        let here = self.approvals.iter();
        here.filter(|approval| approval.step == self.step).count()
    }

    /// Whether it is promoted without a canary.
    pub fn has_no_canary(&self) -> bool {
        self.straight || self.rolls
    }

    /// What the canary's objects are marked with: the template, and the configuration's digest if
    /// that is on trial.
    pub fn mark(&self) -> String {
        match &self.trigger {
            Trigger::Template | Trigger::Back { .. } => self.revision.hash.clone(),
            Trigger::Config { digest } => format!("{}-{digest}", self.revision.hash),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // what serde calls
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// How far smoke tests are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Smoke {
    /// They are not made yet.
    #[default]
    Awaited,
    /// One cannot be made.
    Hindered {
        /// Why.
        why: String,
    },
    /// They have passed.
    Passed,
}

impl Smoke {
    fn is_awaited(&self) -> bool {
        *self == Self::Awaited
    }
}

/// A suspicion that is being looked into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspicion {
    /// When the weight went down.
    pub since: Timestamp,
    /// From which weight.
    pub from: u8,
}

/// What began a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// The template changed.
    Template,
    /// A `ConfigMap` or Secret changed; its new digest.
    Config { digest: String },
    /// A person goes back from the revision that served.
    Back { from: Revision },
}

/// How far a promotion is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Promotion {
    /// The Deployment rolls; `ready` pods were seen at `since`.
    Rolling { ready: i32, since: Timestamp },
    /// The Deployment is complete; the canary's last requests are answered.
    Draining { since: Timestamp },
    /// The canary is being removed.
    Removing,
}

/// What is being put back, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollback {
    /// Why.
    pub cause: Cause,
    /// When it began.
    pub since: Timestamp,
    /// When the weight was first seen at 0.
    pub off_since: Option<Timestamp>,
}
