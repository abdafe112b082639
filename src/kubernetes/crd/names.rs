//! Labels, annotations and accounts by which Sluice is known to a cluster.
//!
//! Not here: what an annotation's value means (`ask`, `labels`).

/// The annotation that asks something of the daemon: `request.sluice.dev/<id>: "<act> [revision]"` (`ask`).
///
/// A request is answered in `status.answers` and its annotation is removed then.
pub const REQUEST_PREFIX: &str = "request.sluice.dev/";
/// The annotation by which a person lets a version go on to the next environment (`ask`):
/// `promotion.sluice.dev/<id>: "approve VERSION to=ENVIRONMENT service=NAME {\"by\":…}"`.
pub const PROMOTION_PREFIX: &str = "promotion.sluice.dev/";
/// The annotation of a Rollout that approves a revision from Git: `<hash, image or tag> [name…]`.
pub const APPROVED: &str = "sluice.dev/approved";
/// The annotation of a workload that names who has made its newest change; several apart by commas.
pub const AUTHOR: &str = "sluice.dev/author";
/// The label that puts a workload behind the gate.
pub const GUARDED: &str = "sluice.dev/guarded";
/// The annotation that names the Rollout which holds a workload.
pub const HELD_BY: &str = "sluice.dev/held-by";
/// The annotation that opens the gate (break-glass); its value is the reason.
pub const OPEN: &str = "sluice.dev/open";
/// The finalizer that puts everything back before a Rollout goes.
pub const FINALIZER: &str = "sluice.dev/gate";
/// Sluice's field manager.
pub const MANAGER: &str = "sluice";
/// The account that the gate lets through by default.
pub const ACCOUNT: &str = "system:serviceaccount:sluice-system:sluice";
