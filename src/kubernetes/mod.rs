//! The Kubernetes edge: the `Rollout` resource, and what Sluice reads and writes in a cluster.
//!
//! * *The resource*: `crd`; `conversion` from its spec to a plan, or to a `problem`; `status` and `conditions` from a state to its status; `ask` for
//!   requests to it, `events` about it.
//! * *What is seen*: `cache` watches (`backoff`, and what is in `sight`) and fills a `shelf`, or a `packed` one, with `entries` (of what may be secret, `digested`); `scene` picks
//!   what one Rollout concerns, `owned` or `named` by its workload; `observe` makes facts of that, by `workload`, `members`, `pods`, `fate`, `template`, `labels` and
//!   `quantity`. `preflight` says before a run what cannot work.
//! * *What is written*: `execute`, with what `canary` makes and whose fields they are by `ownership`.
//! * *The gate*: `gate` as policies, `webhook` as an endpoint.
//! * *Leading*: `lease`, and `fence`, through which nothing passes without it.
//! * *Others' objects*: `flux`, `argo`, `http_route`. To all of it leads `client`.
//!
//! Not here: what follows from what is seen (`rollout`), and when anything is read or sent (`daemon`).

pub mod argo;
pub mod ask;
mod backoff;
pub mod cache;
pub mod canary;
pub mod client;
pub mod conditions;
pub mod conversion;
pub mod crd;
mod digested;
pub mod entries;
pub mod events;
pub mod execute;
pub mod fate;
pub mod fence;
pub mod flux;
pub mod gate;
pub mod http_route;
pub mod labels;
pub mod lease;
pub mod members;
mod named;
pub mod observe;
mod owned;
pub mod ownership;
pub mod packed;
pub mod pods;
pub mod preflight;
mod problem;
pub(crate) mod quantity;
pub mod scene;
pub mod shelf;
pub mod sight;
pub mod status;
pub mod template;
pub mod webhook;
pub mod workload;
