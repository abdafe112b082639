//! What stands around a Rollout and is looked up when its page is asked for: its pods, its plan, and
//! what people asked for.
//!
//! It comes from the daemon's own watches, so that a page view asks nothing of the API server, and is
//! not on the board, which every page of many Rollouts copies. Not here: the watches; the daemon hands
//! in how to look ([`Nearby::begin`]).

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::kubernetes::crd::Answer;
use crate::kubernetes::pods::PodRow;
use crate::rollout::plan::Plan;

/// What is around one Rollout.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Around {
    /// The pods of both arms, by name.
    pub pods: Vec<Pod>,
    /// What its spec asks for; none where that is not accepted.
    pub plan: Option<Plan>,
    /// The newest answers to people's requests, newest last.
    pub answers: Vec<Answer>,
}

/// A pod of one of the arms.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// What is told of it.
    pub row: Arc<PodRow>,
    /// Whether it is the canary Deployment's.
    pub canary: bool,
    /// The hash of its template; none while its `ReplicaSet` is not known.
    pub revision: Option<String>,
}

type Look = dyn Fn(&str, &str) -> Option<Around> + Send + Sync;

/// How to look around a Rollout, once that is known. Cheap to clone.
#[derive(Clone, Default)]
pub struct Nearby(Arc<OnceLock<Box<Look>>>);

impl Nearby {
    /// From now on `look` is asked.
    pub fn begin(&self, look: impl Fn(&str, &str) -> Option<Around> + Send + Sync + 'static) {
        // Set once, at the start.
        let _ = self.0.set(Box::new(look));
    }

    /// What is around a Rollout; nothing before the watches are there.
    pub fn of(&self, namespace: &str, name: &str) -> Around {
        let look = self.0.get();
        look.and_then(|look| look(namespace, name))
            .unwrap_or_default()
    }
}

impl fmt::Debug for Nearby {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_tuple("Nearby")
            .field(&self.0.get().is_some())
            .finish()
    }
}
