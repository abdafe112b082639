//! Requests that are stored and not answered yet: what nobody answers in time is withdrawn, also when whoever asked
//! has gone: not before it could be answered, since an abort holds also if the window that sent it is closed. A
//! request must not act hours later.
//!
//! Why a task of its own: the request of a browser ends at its deadline or with its connection, and with it
//! everything that was under way in it.
//!
//! Not here: asking, and waiting for the answer (`acts`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kube::{Client, ResourceExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::causes;
use crate::kubernetes::ask;
use crate::kubernetes::crd::Rollout;

/// For one try,
const DEADLINE: Duration = Duration::from_secs(4);
/// the pause after one that failed,
const AGAIN: Duration = Duration::from_secs(2);
/// and how many there are.
const TRIES: usize = 60;

/// A request that is to be withdrawn, not before this time.
struct Withdrawal {
    after: Instant,
    rollout: Arc<Rollout>,
    id: String,
    manager: String,
    /// Told when it is done.
    done: oneshot::Sender<()>,
}

/// Where requests are withdrawn.
pub struct Withdrawals {
    sender: mpsc::UnboundedSender<Withdrawal>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<Withdrawal>>>,
}

impl Default for Withdrawals {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }
}

/// A request that waits for its answer. Dropped without one, it is withdrawn when the time for an answer is over.
pub struct Pending {
    after: Instant,
    request: Option<(Arc<Rollout>, String, String)>,
    withdrawals: mpsc::UnboundedSender<Withdrawal>,
}

impl Withdrawals {
    /// A request of this id that is stored from now on, and may be answered for so long.
    pub fn pending(
        &self,
        rollout: &Arc<Rollout>,
        (id, manager): (&str, &str),
        patience: Duration,
    ) -> Pending {
        Pending {
            after: Instant::now() + patience,
            request: Some((Arc::clone(rollout), id.to_owned(), manager.to_owned())),
            withdrawals: self.sender.clone(),
        }
    }

    /// Withdraws what is to be withdrawn, for ever. The second call has nothing to do.
    pub async fn keep_up(&self, client: &Client) {
        let receiver = self.receiver.lock();
        let receiver = receiver.unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = receiver else {
            return std::future::pending().await;
        };
        let mut going = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(withdrawal) = receiver.recv() => going.push(withdraw(client, withdrawal)),
                Some(()) = going.next() => {}
            }
        }
    }
}

impl Pending {
    /// It was answered, or is known not to be stored.
    pub fn answered(mut self) {
        self.request = None;
    }

    /// Withdraws it. Whether that is done already; if not it is tried on.
    pub async fn withdraw(mut self) -> bool {
        match self.hand_over() {
            Some(done) => matches!(tokio::time::timeout(DEADLINE, done).await, Ok(Ok(()))),
            None => false,
        }
    }

    fn hand_over(&mut self) -> Option<oneshot::Receiver<()>> {
        let (rollout, id, manager) = self.request.take()?;
        let (done, told) = oneshot::channel();
        let withdrawal = Withdrawal {
            after: self.after,
            rollout,
            id,
            manager,
            done,
        };
        // Without a receiver the daemon is ending.
        let _ = self.withdrawals.send(withdrawal);
        Some(told)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.hand_over();
    }
}

async fn withdraw(client: &Client, what: Withdrawal) {
    let Withdrawal { rollout, id, .. } = &what;
    tokio::time::sleep_until(what.after).await;
    let mut last = String::new();
    for _ in 0..TRIES {
        let withdrawn = ask::withdraw(client, rollout, id, &what.manager);
        last = match tokio::time::timeout(DEADLINE, withdrawn).await {
            Ok(Ok(())) => {
                // Whoever asked may have gone.
                let _ = what.done.send(());
                return;
            }
            // With the Rollout the request is gone.
            Ok(Err(kube::Error::Api(gone))) if gone.code == 404 => return,
            Ok(Err(error)) => causes::told(&error),
            Err(_) => format!("no answer within {DEADLINE:?}"),
        };
        tokio::time::sleep(AGAIN).await;
    }
    let (namespace, name) = (rollout.namespace().unwrap_or_default(), rollout.name_any());
    tracing::error!(
        namespace,
        rollout = name,
        id,
        "a request that nobody answered stands; remove its annotation: {last}"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use http_body_util::{BodyExt, Full};
    use serde_json::{Value, json};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn rollout() -> Arc<Rollout> {
        let rollout = json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "backend", "namespace": "shop", "uid": "u"},
            "spec": {"target": {"kind": "Deployment", "name": "backend"}},
        });
        Arc::new(serde_json::from_value(rollout).unwrap())
    }

    /// Refuses the first patch, and takes the others.
    fn server(bodies: mpsc::UnboundedSender<Value>) -> Client {
        let status = Arc::new(AtomicU16::new(500));
        let answer = move |request: hyper::Request<kube::client::Body>| {
            let (bodies, status) = (bodies.clone(), status.swap(200, Ordering::SeqCst));
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap();
                bodies.send(body).unwrap();
                let answer = match status {
                    200 => serde_json::to_value(&*rollout()).unwrap(),
                    code => json!({"kind": "Status", "status": "Failure", "code": code}),
                };
                let body = Full::new(bytes::Bytes::from(answer.to_string()));
                let answer = hyper::Response::builder().status(status).body(body);
                Ok::<_, std::convert::Infallible>(answer.unwrap())
            }
        };
        Client::new(tower::service_fn(answer), "shop")
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_without_an_answer_is_withdrawn_until_that_is_stored() {
        let (bodies, mut stored) = mpsc::unbounded_channel();
        let client = server(bodies);
        let withdrawals = Withdrawals::default();
        let pending = |id| withdrawals.pending(&rollout(), (id, "m"), PATIENCE);
        let asked = Instant::now();
        pending("hold-1-a").answered();
        drop(pending("hold-2-b"));
        let twice = async { (stored.recv().await.unwrap(), stored.recv().await.unwrap()) };
        let (refused, taken) = tokio::select! {
            () = withdrawals.keep_up(&client) => unreachable!(),
            twice = twice => twice,
        };
        assert!(asked.elapsed() >= PATIENCE, "{:?}", asked.elapsed());
        let gone = json!({"request.sluice.dev/hold-2-b": null});
        assert_eq!(refused["metadata"]["annotations"], gone);
        assert_eq!(taken, refused);
    }
}
