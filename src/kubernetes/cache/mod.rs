//! What Sluice sees of a cluster: one watch a kind, and which Rollouts an event concerns.
//!
//! Guarantees: nothing is asked of the API server but lists and watches; contents of
//! `ConfigMaps` and Secrets are not kept, only their digests; managed fields are not kept.
//!
//! Not here: which kinds are watched (`watches`), how one watch goes on whatever happens to it (`follow`), and what an
//! observation makes of it (`observe`).

mod follow;
mod watches;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::crd::Rollout;
use super::entries::{Head, Owners, Seen, Set, Shelved, Templated};
use super::http_route::HttpRoute;
use super::packed::Packed;
use super::pods::PodRow;
use super::shelf::{Key, Shelf};
use super::sight::Sight;
use crate::rollout::plan::WorkloadKind;
use follow::Feed;
use watches::Starter;

/// Everything that is watched.
#[derive(Debug, Default)]
pub struct Cache {
    pub rollouts: Packed<Rollout, Head>,
    pub deployments: Shelf<Shelved>,
    /// As the Deployments that say the same.
    pub stateful_sets: Shelf<Shelved>,
    /// As the Deployments that say the same.
    pub daemon_sets: Shelf<Shelved>,
    /// Those that have or want pods.
    pub replica_sets: Shelf<Set>,
    /// Those of canaries, and of what has no `ReplicaSets`.
    pub pods: Shelf<Seen>,
    /// A line of each pod that a Deployment has, for people.
    pub rows: Shelf<PodRow>,
    pub services: Packed<Service>,
    pub ingresses: Packed<Ingress>,
    /// Empty where the Gateway API is not installed.
    pub http_routes: Packed<HttpRoute>,
    pub network_policies: Packed<NetworkPolicy>,
    pub revisions: Packed<ControllerRevision, Owners>,
    /// Digest of the contents.
    pub config_maps: Shelf<String>,
    /// Digest of the contents.
    pub secrets: Shelf<String>,
    pub claims: Packed<PersistentVolumeClaim>,
    pub budgets: Packed<PodDisruptionBudget>,
    pub classes: Shelf<IngressClass>,
    /// The gate's policies and bindings, as JSON.
    pub policies: Shelf<serde_json::Value>,
    pub policy_bindings: Shelf<serde_json::Value>,
    pub sayings: Shelf<serde_json::Value>,
    pub saying_bindings: Shelf<serde_json::Value>,
    /// The gate's webhook configuration, as JSON.
    pub webhooks: Shelf<serde_json::Value>,
    /// How the watches stand.
    sight: watch::Sender<Sight>,
}

impl Cache {
    /// The workload of this kind and name.
    pub fn workload(
        &self,
        kind: WorkloadKind,
        (namespace, name): (&str, &str),
    ) -> Option<Arc<Templated<Deployment>>> {
        let shelf = self.workloads(kind);
        shelf.get(namespace, name)?.whole().map(Arc::new)
    }

    /// The workloads of a kind.
    pub fn workloads(&self, kind: WorkloadKind) -> &Shelf<Shelved> {
        match kind {
            WorkloadKind::Deployment => &self.deployments,
            WorkloadKind::StatefulSet => &self.stateful_sets,
            WorkloadKind::DaemonSet => &self.daemon_sets,
        }
    }

    /// Why a namespace that is watched by itself cannot be seen whole: what is on the shelves may be old.
    pub fn unseen(&self, namespace: &str) -> Option<String> {
        self.sight.borrow().unseen(namespace)
    }

    /// What a Rollout guards.
    pub fn guarded(&self, rollout: &Rollout) -> Option<Arc<Templated<Deployment>>> {
        let target = &rollout.spec.target;
        let namespace = rollout.metadata.namespace.as_deref().unwrap_or_default();
        let kind = WorkloadKind::named(&target.kind)?;
        self.workload(kind, (namespace, &target.name))
    }
}

/// What an event concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// One Rollout.
    Rollout(Key),
    /// Each Rollout of a namespace whose workload or canary has this name.
    Workload(Key),
    /// Something that each Rollout of a namespace may look at.
    Around {
        /// The namespace.
        namespace: String,
        /// The object's name.
        name: String,
        /// The Rollout that owns it.
        rollout: Option<String>,
    },
    /// Each Rollout.
    Everything,
}

/// What of the gate is watched.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Policies and bindings.
    pub policies: bool,
    /// The webhook configuration of this name.
    pub webhook: Option<String>,
}

/// What the watches bring.
#[derive(Debug)]
pub struct Watches {
    pub cache: Arc<Cache>,
    /// What each event concerns.
    pub touched: mpsc::UnboundedReceiver<Touched>,
    /// How they stand.
    pub sight: watch::Receiver<Sight>,
}

/// Starts all watches in `tasks`.
pub fn start(
    client: &Client,
    namespaces: &[String],
    admission: &Admission,
    stop: &CancellationToken,
    tasks: &mut tokio::task::JoinSet<()>,
) -> Watches {
    let cache = Arc::new(Cache::default());
    let (sender, touched) = mpsc::unbounded_channel();
    let sight = cache.sight.subscribe();
    let mut starter = Starter {
        feed: Feed {
            client: client.clone(),
            namespaces: namespaces.to_vec(),
            touched: sender,
            stop: stop.clone(),
        },
        tasks,
    };
    starter.workloads(&cache);
    starter.surroundings(&cache);
    if admission.policies {
        starter.admission(&cache);
    }
    if let Some(name) = &admission.webhook {
        starter.webhook(&cache, name);
    }
    starter.rollouts(&cache);
    Watches {
        cache,
        touched,
        sight,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::task::JoinSet;

    use super::*;

    /// An API server that answers everything like this.
    fn answering(status: u16) -> Client {
        let answer = move |request: hyper::Request<kube::client::Body>| async move {
            let path = request.uri().path().to_owned();
            let text = serde_json::json!({
                "kind": "Status", "status": "Failure", "code": status, "message": format!("{path}: no"),
            });
            let answer = hyper::Response::builder().status(status);
            let body = Full::new(bytes::Bytes::from(text.to_string()));
            Ok::<_, std::convert::Infallible>(answer.body(body).unwrap())
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn what_passes_are_made_of_is_waited_for_when_it_is_refused_and_the_rest_is_not() {
        for status in [403, 404] {
            let admission = Admission {
                policies: true,
                webhook: Some("sluice".to_owned()),
            };
            let stop = CancellationToken::new();
            let mut tasks = JoinSet::new();
            let mut filled = start(&answering(status), &[], &admission, &stop, &mut tasks).sight;
            let settled = |now: &Sight| now.words().matches("; ").count() + now.done() == now.all;
            let now = filled.wait_for(settled).await.unwrap().clone();
            let words = now.words();
            let kinds = words.split("; ").skip(1);
            let kinds = kinds.map(|refused| refused.split(' ').next().unwrap());
            let wanted = [
                "ControllerRevision",
                "DaemonSet",
                "Deployment",
                "HTTPRoute",
                "Ingress",
                "NetworkPolicy",
                "Pod",
                "ReplicaSet",
                "Rollout",
                "Service",
                "StatefulSet",
            ];
            // A cluster without the Gateway API has no routes of it.
            let optional = |kind: &&&str| status == 403 || **kind != "HTTPRoute";
            let wanted: Vec<&str> = wanted.iter().filter(optional).copied().collect();
            assert_eq!(kinds.collect::<Vec<_>>(), wanted, "{status}");
            let done = 21 - wanted.len();
            assert_eq!((now.done(), now.all), (done, 21), "{status}");
            assert!(!now.suffices(), "{status}");
            assert!(
                words.starts_with(&format!("{done} of 21 watches are filled; ")),
                "{words}"
            );
            assert!(words.contains("/api/v1/pods: no"), "{words}");
        }
    }

    type Answer =
        http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::convert::Infallible>;

    /// An API server without objects, that refuses this namespace as long as it is said to; what was asked of it is
    /// noted. Its watches go on until that changes.
    fn guarding(
        refused: &watch::Receiver<Option<&'static str>>,
        asked: &Arc<std::sync::Mutex<Vec<String>>>,
    ) -> Client {
        let (refused, asked) = (refused.clone(), Arc::clone(asked));
        let answer = move |request: hyper::Request<kube::client::Body>| {
            let mut refused = refused.clone();
            let uri = request.uri().clone();
            asked.lock().unwrap().push(uri.path().to_owned());
            async move {
                let within = format!(
                    "/namespaces/{}/",
                    refused.borrow_and_update().unwrap_or("nobody")
                );
                let no = uri.path().contains(&within);
                let watches = uri.query().unwrap_or_default().contains("watch=true");
                let body: Answer = if watches && !no {
                    let ends = async move {
                        let _ = refused.changed().await;
                        Ok(hyper::body::Frame::data(bytes::Bytes::new()))
                    };
                    let ends = futures::stream::once(ends);
                    http_body_util::BodyExt::boxed_unsync(http_body_util::StreamBody::new(
                        Box::pin(ends),
                    ))
                } else {
                    let text = serde_json::json!({
                        "kind": if no { "Status" } else { "List" }, "apiVersion": "v1",
                        "metadata": {"resourceVersion": "1"}, "items": [],
                        "status": "Failure", "code": 403, "message": "no",
                    });
                    let body = Full::new(bytes::Bytes::from(text.to_string()));
                    http_body_util::BodyExt::boxed_unsync(body)
                };
                let status = if no { 403 } else { 200 };
                let answer = hyper::Response::builder().status(status).body(body);
                Ok::<_, std::convert::Infallible>(answer.unwrap())
            }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_is_refused_is_lost_and_found_and_the_others_are_not() {
        let (refuse, refused) = watch::channel(Some("b"));
        let asked = Arc::default();
        let client = guarding(&refused, &asked);
        let namespaces = ["a".to_owned(), "b".to_owned()];
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let admission = Admission::default();
        let Watches {
            cache,
            mut touched,
            mut sight,
        } = start(&client, &namespaces, &admission, &stop, &mut tasks);
        let count = |kind: &str| {
            let asked = asked.lock().unwrap();
            asked.iter().filter(|path| path.ends_with(kind)).count()
        };
        sight.wait_for(Sight::suffices).await.unwrap();
        assert_eq!(cache.unseen("a"), None);
        assert!(cache.unseen("b").is_some_and(|why| why.ends_with(" more)")));
        assert_eq!(count("/b/rollouts"), 0, "they come last");

        let mut taken_up = false;
        for wanted in [None, Some("a"), None] {
            refuse.send_replace(wanted);
            let as_wanted = |sight: &Sight| {
                let all = wanted.is_some() || sight.done() == sight.all;
                all && sight.unseen("a").is_some() == (wanted == Some("a"))
            };
            sight.wait_for(as_wanted).await.unwrap();
            assert_eq!(cache.unseen("b"), None);
            assert!(count("/b/rollouts") > 0);
            let looked_at = touched.try_recv();
            let news = looked_at.is_ok_and(|touched| touched == Touched::Everything);
            assert_eq!(news, wanted.is_some() || taken_up, "{wanted:?}");
            while touched.try_recv().is_ok() {}
            taken_up = true;
        }
    }
}
