//! The domain: what a rollout is and what is decided about it. Pure: no async, no log, no
//! kube type; time and randomness are arguments.
//!
//! Not here: how anything is read or written. Those are the edges (`kubernetes`, ...).

pub mod plan;
pub mod rule;
