//! Bad days on demand: requests that fail, hang or are lost after they took effect, and
//! watches that are closed or expire.
//!
//! A fault is armed for the next `times` requests that match; the first armed one that matches
//! is used up first. Nothing here happens by itself.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Which requests are meant; an absent part means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matching {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: Option<String>,
    /// Plural name of the resource, with `/subresource` where one is meant.
    pub resource: Option<String>,
    /// Name of the object.
    pub name: Option<String>,
    /// Who asks.
    pub user: Option<String>,
}

impl Matching {
    /// Any request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Restricts to a verb.
    #[must_use]
    pub fn verb(mut self, verb: &str) -> Self {
        self.verb = Some(verb.into());
        self
    }

    /// Restricts to a resource.
    #[must_use]
    pub fn resource(mut self, resource: &str) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Restricts to an object's name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Restricts to a user.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.into());
        self
    }

    fn matches(&self, request: &Request<'_>) -> bool {
        let fits =
            |want: &Option<String>, got: &str| want.as_deref().is_none_or(|want| want == got);
        fits(&self.verb, request.verb)
            && fits(&self.resource, request.resource)
            && fits(&self.name, request.name)
            && fits(&self.user, request.user)
    }
}

/// What a request is known by here.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Verb.
    pub verb: &'a str,
    /// Resource, with subresource.
    pub resource: &'a str,
    /// Name; empty where there is none.
    pub name: &'a str,
    /// User.
    pub user: &'a str,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answered 409, nothing done.
    Conflict,
    /// Answered 429 with a Retry-After of so many seconds, nothing done.
    TooManyRequests(u64),
    /// Answered with this status, nothing done.
    Status(u16),
    /// Never answered, nothing done.
    Hang,
    /// Done, but the connection breaks before the answer.
    LostAfterEffect,
    /// The connection breaks, nothing done.
    LostBefore,
    /// Done after a wait of the clock's time.
    Delay(Duration),
}

#[derive(Debug)]
struct Armed {
    left: u64,
    matching: Matching,
    fault: Fault,
}

/// How watches are to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Disturbance {
    pub(super) closed: u64,
    pub(super) expired: u64,
}

/// The armed faults.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Mutex<Vec<Armed>>,
    watches: Mutex<Disturbance>,
    disturbed: Notify,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Arms a fault for the next `times` requests that match.
    pub fn next(&self, times: u64, matching: Matching, fault: Fault) {
        self.lock().push(Armed {
            left: times,
            matching,
            fault,
        });
    }

    /// Disarms everything.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Whether nothing is armed any more.
    #[cfg(test)]
    pub fn is_spent(&self) -> bool {
        self.lock().is_empty()
    }

    /// Ends all watches that are open now, as a load balancer does.
    pub fn close_watches(&self) {
        self.disturb(|disturbance| disturbance.closed += 1);
    }

    /// Ends all watches that are open now with an error event 410.
    pub fn expire_watches(&self) {
        self.disturb(|disturbance| disturbance.expired += 1);
    }

    /// Uses up and returns the fault that is armed for this request, if there is one.
    pub fn take(&self, request: &Request<'_>) -> Option<Fault> {
        let mut armed = self.lock();
        let at = armed
            .iter()
            .position(|fault| fault.left > 0 && fault.matching.matches(request))?;
        let fault = armed[at].fault;
        armed[at].left -= 1;
        armed.retain(|fault| fault.left > 0);
        Some(fault)
    }

    fn disturb(&self, change: impl FnOnce(&mut Disturbance)) {
        change(&mut self.watches.lock().unwrap_or_else(PoisonError::into_inner));
        self.disturbed.notify_waiters();
    }

    pub(super) fn disturbance(&self) -> Disturbance {
        *self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes when watches are to end.
    pub(super) fn disturbed(&self) -> Notified<'_> {
        self.disturbed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_only_what_it_matches_and_only_so_often() {
        let faults = Faults::default();
        faults.next(
            2,
            Matching::any().verb("patch").resource("ingresses"),
            Fault::Conflict,
        );
        let request = |verb, resource| Request {
            verb,
            resource,
            name: "x",
            user: "u",
        };
        assert_eq!(faults.take(&request("get", "ingresses")), None);
        assert_eq!(
            faults.take(&request("patch", "ingresses")),
            Some(Fault::Conflict)
        );
        assert_eq!(
            faults.take(&request("patch", "ingresses")),
            Some(Fault::Conflict)
        );
        assert_eq!(faults.take(&request("patch", "ingresses")), None);
        assert!(faults.is_spent());
    }
}
