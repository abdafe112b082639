//! Which of several daemons acts: the one that holds the lease.
//!
//! A daemon that does not lead keeps its caches warm and shows what the others write. One that
//! stops leading ends its passes, and its requests do not pass the fence any more. Without an
//! election a daemon leads from the start, for ever.
//!
//! Not here: what only a leader does (`conductor`), the lease's requests (`kubernetes::lease`).

mod campaign;
mod decide;
#[cfg(test)]
mod simulation;

use std::hash::{BuildHasher, Hasher, RandomState};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use campaign::Campaign;
use decide::Timing;

use super::settings::Election;
use crate::clock::Clock;
use crate::kubernetes::events::Events;
use crate::kubernetes::fence::Fence;
use crate::kubernetes::lease::Requests;
use crate::telemetry::Metrics;
use crate::web::{Check, Readiness};

/// What this daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It acts.
    Leads {
        /// How often the lease had changed hands before; none without an election.
        term: Option<u32>,
    },
    /// It watches.
    Follows {
        /// Who leads, if that is known.
        holder: Option<String>,
    },
}

impl Role {
    /// Whether it acts.
    pub fn leads(&self) -> bool {
        matches!(self, Self::Leads { .. })
    }
}

/// Where a change of the role is told.
#[derive(Debug, Clone)]
pub struct Tells {
    ready: Readiness,
    metrics: Metrics,
    events: Events,
    lease: k8s_openapi::api::core::v1::ObjectReference,
    me: String,
    clock: Clock,
}

impl Tells {
    fn role(&self, role: &Role) {
        let words = match role {
            Role::Leads { term: None } => "leads alone, without an election".to_owned(),
            Role::Leads { term: Some(term) } => format!("{} leads, term {term}", self.me),
            Role::Follows { holder: Some(who) } if *who != self.me => format!("follows {who}"),
            Role::Follows { .. } => "follows nobody; waits for the lease".to_owned(),
        };
        self.ready.set("leader", Check::Good(words));
        self.metrics.leads(role.leads());
    }

    fn trouble(&self, why: &str) {
        let words = format!("the lease cannot be read or written: {why}");
        self.ready.set("leader", Check::Bad(words));
    }

    fn changed(&self, before: &Role, role: &Role) {
        self.role(role);
        if let (false, Role::Leads { term: Some(term) }) = (before.leads(), role) {
            let note = format!("{} leads, term {term}", self.me);
            let now = self.clock.now();
            self.events.note(&self.lease, "Leads", &note, now);
        }
    }
}

/// What an election needs of the daemon.
pub struct Needs<'a> {
    pub client: kube::Client,
    pub clock: Clock,
    pub fence: Fence,
    pub ready: Readiness,
    pub metrics: Metrics,
    pub events: Events,
    pub tasks: &'a mut JoinSet<()>,
    /// Ends the candidacy; the lease is freed then.
    pub end: CancellationToken,
}

/// Begins to lead or to stand for election, as the settings say; the receiver tells this daemon's role.
pub fn begin(election: &Election, needs: Needs<'_>) -> watch::Receiver<Role> {
    if election.enabled {
        stand(election, needs)
    } else {
        alone(&needs.ready, &needs.metrics)
    }
}

/// Leads without an election.
fn alone(ready: &Readiness, metrics: &Metrics) -> watch::Receiver<Role> {
    ready.set(
        "leader",
        Check::Good("leads alone, without an election".to_owned()),
    );
    metrics.leads(true);
    watch::channel(Role::Leads { term: None }).1
}

impl From<&Election> for Timing {
    fn from(election: &Election) -> Self {
        Self {
            lease: election.lease,
            renew: election.renew,
            retry: election.retry,
        }
    }
}

/// Stands for election.
fn stand(election: &Election, needs: Needs<'_>) -> watch::Receiver<Role> {
    let (role, receiver) = watch::channel(Role::Follows { holder: None });
    let namespace = election.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| needs.client.default_namespace().to_owned());
    let requests = Requests::new(needs.client, &namespace, &election.name, needs.clock);
    let me = election.identity.clone().unwrap_or_else(identity);
    tracing::info!(me, namespace, lease = election.name, "stands for election");
    let tells = Tells {
        ready: needs.ready,
        metrics: needs.metrics,
        events: needs.events,
        lease: requests.reference(),
        me: me.clone(),
        clock: needs.clock,
    };
    tells.role(&receiver.borrow());
    let campaign = Campaign {
        me,
        timing: Timing::from(election),
        requests,
        clock: needs.clock,
        fence: needs.fence,
        role,
        tells,
    };
    needs.tasks.spawn(campaign.run(needs.end));
    receiver
}

/// The host's name, which in a pod is the pod's, and a part that no other process has.
fn identity() -> String {
    let host = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok());
    let host = host.unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "sluice" } else { host };
    // Keyed anew in each process, from the system's random numbers.
    let unique = RandomState::new().build_hasher().finish();
    format!("{host}_{unique:016x}")
}
