//! The sandbox's API server and controllers against the real ones, conversation by conversation.
//!
//! Each conversation of the YAML files beside this one is played on both, in a namespace of its
//! own; the answers are compared after `normal` has replaced what must differ. A difference is
//! a fault of the sandbox, unless `deliberate` gives a reason for it.
//!
//! Not here: the daemon. With `SLUICE_CONVERSATION=words` only those named so are played.

mod conversation;
mod deliberate;
mod difference;
mod kubelet;
mod normal;
mod player;
mod servers;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::control_plane::ControlPlane;
use conversation::Conversation;
use servers::{Real, Sandbox, Server};

/// Conversations at a time: they mostly wait for controllers.
const AT_ONCE: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sandbox_answers_as_the_real_server_does() {
    let Some(plane) = ControlPlane::start().await else {
        return;
    };
    let real = Arc::new(Real::prepare(plane).await);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut playing = JoinSet::new();
    for conversation in conversation::all() {
        let (real, places) = (real.clone(), places.clone());
        playing.spawn(async move {
            let _place = places.acquire_owned().await.expect("a place");
            let (played, report) = compared(&conversation, &real).await;
            (conversation, played, report)
        });
    }
    let mut reports: Vec<String> = Vec::new();
    let mut steps = 0;
    let count = playing.len();
    while let Some(played) = playing.join_next().await {
        let (conversation, played, report) = played.expect("a conversation that ends");
        steps += played;
        match (&conversation.open, report) {
            (Some(why), Some(report)) => println!("still open, {why}: {report}"),
            (Some(why), None) => reports.push(format!("no longer open: {why}")),
            (None, report) => reports.extend(report),
        }
    }
    reports.sort();
    println!("{count} conversations, {steps} answers");
    assert!(
        reports.is_empty(),
        "{} of {count} conversations differ\n\n{}",
        reports.len(),
        reports.join("\n")
    );
}

/// Plays one conversation on both; how many answers there were, and what differs.
async fn compared(conversation: &Conversation, real: &Arc<Real>) -> (usize, Option<String>) {
    let sandbox = Sandbox::start().await;
    let (there, here) = tokio::join!(
        player::play(conversation, Server::Real(real)),
        player::play(conversation, Server::Sandbox(&sandbox))
    );
    let report = difference::report(conversation, &there, &here);
    (there.len(), report)
}
