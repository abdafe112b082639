//! Whether the API server answers: said once when it is lost, and once when it is back.
//!
//! A watch that breaks is no news, API servers end them all the time; that nothing answers any
//! more is. So one question is asked when a watch broke, and again until it is answered.
//!
//! Not here: the watches, which find back by themselves (`kubernetes::cache`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

use crate::causes;
use crate::clock::Clock;
use crate::kubernetes::sight::Sight;
use crate::web::{Check, Readiness};

/// Time between two questions while nothing answers, and for an answer.
const RETRY: Duration = Duration::from_secs(2);

/// Whether the API server answers, as far as is known. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Reach(Arc<AtomicBool>);

impl Reach {
    /// Whether nothing answers: what is known of the cluster is old.
    pub fn is_lost(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set_lost(&self, lost: bool) {
        self.0.store(lost, Ordering::Relaxed);
    }
}

/// Follows the watches' failures for ever; ends when the watches have ended.
pub async fn follow(
    client: Client,
    clock: Clock,
    mut watches: watch::Receiver<Sight>,
    (reach, ready): (Reach, Readiness),
) {
    let mut broken = watches.borrow_and_update().broken;
    while watches.changed().await.is_ok() {
        let now = watches.borrow_and_update().clone();
        if now.broken != broken
            && let Some(why) = silent(&client, clock).await
        {
            reach.set_lost(true);
            tracing::error!(
                why,
                "the API server does not answer; weights stay as they are"
            );
            ready.set(
                "cluster",
                Check::Bad(format!("the API server does not answer: {why}")),
            );
            while silent(&client, clock).await.is_some() {
                clock.sleep(RETRY).await;
            }
            reach.set_lost(false);
            tracing::info!("the API server answers again");
            ready.set("cluster", Check::Good(now.words()));
        }
        broken = watches.borrow_and_update().broken;
    }
}

/// Why it does not answer; a refusal is an answer too.
async fn silent(client: &Client, clock: Clock) -> Option<String> {
    match clock.timeout(RETRY, client.apiserver_version()).await {
        Ok(Ok(_) | Err(kube::Error::Api(_))) => None,
        Ok(Err(error)) => Some(causes::told(&error)),
        Err(_) => Some(format!(
            "no answer within {}",
            humantime::format_duration(RETRY)
        )),
    }
}
