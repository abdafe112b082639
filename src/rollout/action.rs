//! What a pass does to the cluster.
//!
//! Guarantees: every action is idempotent and says the state it wants, so that a crash between
//! two of them heals in the next pass. Actions that touch a template or open the gate carry the
//! revision they were decided for; the executor makes that a precondition of the request.

use jiff::Timestamp;

use super::revision::Revision;
use super::smoke::At;

/// One effect, to be executed in order; a failure ends the pass.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Lowers the canary's weight. Needs no saved state and is sent before everything else.
    LowerWeight { weight: u8 },
    /// Makes or mends the canary's Deployment, Service and policy copies.
    EnsureCanary {
        template: Revision,
        /// What its Deployment is marked with: template and, if on trial, configuration.
        mark: String,
        replicas: i32,
    },
    /// Sets the canary's size.
    ScaleCanary { replicas: i32 },
    /// Makes or mends the canary Ingress with this weight.
    EnsureRoute { weight: u8 },
    /// Removes the canary Ingress.
    RemoveRoute,
    /// Removes the canary's Deployment, Service and policy copies.
    RemoveCanary,
    /// Puts our finalizer on the Rollout.
    TakeCustody,
    /// Puts the gate's label and the name of the Rollout on the Deployment.
    Guard,
    /// Takes both away.
    Unguard,
    /// Sets `paused`, if the template is still `expect`.
    Pause { expect: Revision },
    /// Takes `paused` away, if the template is still `expect`.
    Unpause { expect: Revision },
    /// Puts back a template, if the present one is still `expect`.
    RestoreTemplate {
        to: Revision,
        expect: Revision,
        /// Whether the Deployment is paused afterwards.
        paused: bool,
        /// The time of the restart that it is put back with, if it was being restarted.
        restarted_at: Option<Timestamp>,
    },
    /// Keeps the template of the stable `ReplicaSet`, so that it can be put back without one.
    KeepStable { revision: Revision },
    /// Keeps the Deployment's present template, if it is still `revision`, before it is overwritten.
    KeepDesired { revision: Revision },
    /// Forgets what `KeepDesired` kept.
    DropDesired,
    /// Deletes the pods that stand in the way of a roll back, if the template is still `expect`.
    RemoveStuck { expect: Revision },
    /// Restarts the Deployment natively, as `kubectl rollout restart` does, if its template is still `expect`.
    Restart {
        /// What it is for; noted on the Deployment, so that it is done once.
        id: String,
        /// Noted in the template, so that a restart that is put back is the same one.
        at: Timestamp,
        expect: Revision,
    },
    /// Makes these smoke tests, once a run and place.
    Smoke { tests: Vec<String>, at: At },
    /// Takes an answered request's annotation away.
    ClearRequest { id: String },
    /// Lets the Rollout go.
    ReleaseCustody,
}

impl Action {
    /// Its name, as spans have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LowerWeight { .. } => "LowerWeight",
            Self::EnsureCanary { .. } => "EnsureCanary",
            Self::ScaleCanary { .. } => "ScaleCanary",
            Self::EnsureRoute { .. } => "EnsureRoute",
            Self::RemoveRoute => "RemoveRoute",
            Self::RemoveCanary => "RemoveCanary",
            Self::TakeCustody => "TakeCustody",
            Self::Guard => "Guard",
            Self::Unguard => "Unguard",
            Self::Pause { .. } => "Pause",
            Self::Unpause { .. } => "Unpause",
            Self::RestoreTemplate { .. } => "RestoreTemplate",
            Self::KeepStable { .. } => "KeepStable",
            Self::KeepDesired { .. } => "KeepDesired",
            Self::DropDesired => "DropDesired",
            Self::RemoveStuck { .. } => "RemoveStuck",
            Self::Restart { .. } => "Restart",
            Self::Smoke { .. } => "Smoke",
            Self::ClearRequest { .. } => "ClearRequest",
            Self::ReleaseCustody => "ReleaseCustody",
        }
    }

    /// Whether it only takes load off the canary: done first, before the state is saved.
    pub fn relieves(&self) -> bool {
        matches!(self, Self::LowerWeight { .. })
    }

    /// Whether it only takes away what gets no requests any more: what else is due does not wait for it.
    pub fn tidies(&self) -> bool {
        matches!(self, Self::RemoveRoute | Self::RemoveCanary)
    }
}
