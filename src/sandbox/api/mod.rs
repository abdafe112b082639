//! A Kubernetes API server in one process.
//!
//! It is a tower service: [`Api::client`] uses it directly, without sockets, and
//! [`Api::serve`] puts it on a port for kubectl and for a separate daemon. Objects are JSON
//! values in memory; what the real server does to them on their way (defaults, validation,
//! field ownership, policies, garbage collection) is done here too, as far as people and
//! controllers notice. Not here: controllers, nodes, routers. A token is its user's name.
//!
//! * *A request*: `serve` takes it, `call` and `options` read it, `route` says who answers: `read`, `watch`, `write`, `delete`, `discovery`
//!   (with `openapi`), `scale`. `answer` and `table` give an answer its form, `refusal` a refusal.
//! * *An object on its way in*: `patch` (`strategic`) or a body (`decode`, `conform`), then `prepare`: `defaults` (`hollow`, `pod_defaults`, `service`, `quantity`),
//!   `metadata`, `managed` (`fields`), `admission` (`cel`), `validate`.
//! * *Kinds*: `kinds`, those of `library`, those of a `crd` (`structural`, `schema_rules`); `shape` says how they merge. `examine` asks about them from outside.
//! * *Kept*: `store`, picked by `selector`; `collect` takes away what belongs to nobody. `events` are two kinds in one.
//! * *For tests*: `counters`, `faults`.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, request};
use serde_json::{Value, json};

use crate::clock::Clock;

mod admission;
mod answer;
mod call;
mod cel;
mod collect;
mod conform;
mod counters;
mod crd;
mod decode;
mod defaults;
mod delete;
mod discovery;
mod events;
pub mod examine;
mod faults;
mod fields;
mod hollow;
mod kinds;
mod library;
mod managed;
mod metadata;
mod openapi;
mod options;
mod patch;
mod pod_defaults;
mod prepare;
mod quantity;
mod read;
mod refusal;
mod route;
mod scale;
mod schema_rules;
mod selector;
mod serve;
mod service;
mod shape;
mod store;
mod strategic;
mod structural;
mod table;
mod validate;
mod watch;
mod write;

pub use admission::{Answerer, Webhooks};
pub use call::Target;
pub use counters::{Counted, Requests};
pub use faults::{Fault, Faults, Matching, Request as Asked};
pub use serve::{Lost, ServeError};
pub use store::{Event as Change, Object};

use call::Call;
use kinds::{Kind, Registry};
use refusal::Refusal;
use store::{Key, Store, Stored};

/// The API server. Clones share it.
#[derive(Debug, Clone)]
pub struct Api(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    store: Store,
    kinds: RwLock<Arc<Registry>>,
    faults: Faults,
    requests: Requests,
    webhooks: Webhooks,
}

/// Answers requests given as method, path, media type and body; whether all were granted.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzing<'a>(
    requests: impl Iterator<Item = (&'a str, &'a str, &'a str, &'a str)>,
) -> bool {
    let api = Api::new(Clock::machine());
    let mut granted = true;
    for (method, path, media, body) in requests {
        let request = Request::builder().method(method).uri(path);
        let Ok(request) = request.header("content-type", media).body(()) else {
            granted = false;
            continue;
        };
        let body = Bytes::from(body.to_owned());
        let call = Call::new(&request.into_parts().0, body, Some("fuzzing"));
        let answer = route::answer(&api, &call, Target::parse(&call.path).as_ref());
        granted &= answer.code < 300;
    }
    granted
}

impl Api {
    /// An API server with the built-in kinds and the namespaces `default`, `kube-system` and
    /// `sluice-system`.
    pub fn new(clock: Clock) -> Self {
        let api = Self(Arc::new(Inner {
            clock,
            store: Store::default(),
            kinds: RwLock::new(Arc::new(Registry::built_in())),
            faults: Faults::default(),
            requests: Requests::default(),
            webhooks: Webhooks::default(),
        }));
        for namespace in ["default", "kube-system", "sluice-system"] {
            api.seed(
                "/api/v1/namespaces",
                &json!({"metadata": {"name": namespace}}),
            );
        }
        api
    }

    fn seed(&self, path: &str, object: &Value) {
        let request = Request::post(path).header("user-agent", "sandbox").body(());
        if let Ok(request) = request {
            let call = Call::new(
                &request.into_parts().0,
                Bytes::from(object.to_string()),
                Some("system:apiserver"),
            );
            route::answer(self, &call, Target::parse(path).as_ref());
        }
    }

    /// A client within the process, authenticated as `user`. Must be called within a Tokio
    /// runtime.
    pub fn client(&self, user: &str) -> kube::Client {
        let (api, user) = (self.clone(), user.to_owned());
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (api, user) = (api.clone(), user.clone());
            async move { serve::request_in_process(&api, request, &user).await }
        });
        kube::Client::new(service, "default")
    }

    /// A kubeconfig for the server at `addr`, with the context `sluice-sandbox` for people and `sluice-daemon` for
    /// a daemon of one's own: the gate lets its account pass, and whoever had the same one would not be held.
    pub fn kubeconfig(&self, addr: SocketAddr) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: sluice-sandbox\n\
             clusters:\n- name: sluice-sandbox\n  cluster: {{server: \"http://{addr}\"}}\n\
             users:\n- name: kubernetes-admin\n  user: {{}}\n\
             - name: sluice-daemon\n  user: {{as: \"system:serviceaccount:sluice-system:sluice\"}}\n\
             contexts:\n- name: sluice-sandbox\n  context: {{cluster: sluice-sandbox, user: kubernetes-admin, namespace: default}}\n\
             - name: sluice-daemon\n  context: {{cluster: sluice-sandbox, user: sluice-daemon, namespace: default}}\n"
        )
    }

    /// Bad days on demand.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// Who answers mutating webhooks.
    pub fn webhooks(&self) -> &Webhooks {
        &self.0.webhooks
    }

    /// Tells `observer` of every change of an object from now on, in order and before anybody
    /// else: the resource (`deployments.apps`) and the change. It must not ask this server.
    pub fn observe(&self, observer: impl Fn(&str, &Change) + Send + Sync + 'static) {
        self.0.store.observe(Box::new(observer));
    }

    /// Requests made so far.
    pub fn requests(&self) -> &Requests {
        &self.0.requests
    }

    /// Forgets the history of changes: watches that ask for it get 410.
    pub fn compact(&self) {
        self.0.store.compact();
    }

    /// Answers one HTTP request; `user` overrides the request's credentials.
    pub async fn handle(
        &self,
        parts: &request::Parts,
        body: Bytes,
        user: Option<&str>,
    ) -> Result<Response<Body>, Lost> {
        let call = Call::new(parts, body, user);
        let target = Target::parse(&call.path);
        let verb = route::verb(&call, target.as_ref());
        let resource = target.as_ref().map(full_resource).unwrap_or_default();
        self.0.requests.count(&call.user, verb, &resource);
        let name = target
            .as_ref()
            .and_then(|target| target.name.as_deref())
            .unwrap_or_default();
        let fault = self.0.faults.take(&faults::Request {
            verb,
            resource: &resource,
            name,
            user: &call.user,
        });
        self.handle_with(fault, &call, target.as_ref()).await
    }

    async fn handle_with(
        &self,
        fault: Option<Fault>,
        call: &Call,
        target: Option<&Target>,
    ) -> Result<Response<Body>, Lost> {
        match fault {
            None => {}
            Some(Fault::Hang) => return std::future::pending().await,
            Some(Fault::LostBefore) => return Err(Lost),
            Some(Fault::LostAfterEffect) => {
                self.answer(call, target);
                return Err(Lost);
            }
            Some(Fault::Delay(wait)) => self.clock().sleep(wait).await,
            Some(refusing) => return Ok(refused(refusing)),
        }
        Ok(self.answer(call, target).response())
    }

    /// Answers; a panic is an answer too, so that it does not take a client down.
    fn answer(&self, call: &Call, target: Option<&Target>) -> answer::Answer {
        let answering = AssertUnwindSafe(|| route::answer(self, call, target));
        catch_unwind(answering)
            .unwrap_or_else(|_| Refusal::internal("the sandbox's API server failed").into())
    }

    fn clock(&self) -> Clock {
        self.0.clock
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn kinds(&self) -> Arc<Registry> {
        self.0
            .kinds
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What follows from a stored object.
    fn after_put(&self, kind: &Kind, key: &Key, object: &Stored) {
        if kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            self.change_kinds(|registry| crd::register(registry, &object.value));
        }
        collect::collect_orphan(self, key, object);
    }

    /// What follows from an object that is gone.
    fn after_remove(&self, key: &Key, object: &Stored) {
        if &*key.storage == "customresourcedefinitions.apiextensions.k8s.io" {
            let gone = crd::kinds(&object.value);
            self.change_kinds(|registry| crd::forget(registry, &object.value));
            for kind in gone {
                collect::all_of(self, &kind.storage);
            }
        }
    }

    fn change_kinds(&self, change: impl FnOnce(&mut Registry)) {
        let mut kinds = self.0.kinds.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut kinds));
    }
}

fn full_resource(target: &Target) -> String {
    if target.subresource.is_empty() {
        target.plural.clone()
    } else {
        format!("{}/{}", target.plural, target.subresource)
    }
}

fn refused(fault: Fault) -> Response<Body> {
    let (refusal, retry_after) = match fault {
        Fault::Conflict => (
            Refusal::new(
                409,
                "Conflict",
                "the object has been modified (armed fault)",
            ),
            None,
        ),
        Fault::TooManyRequests(seconds) => (
            Refusal::new(429, "TooManyRequests", "too many requests (armed fault)"),
            Some(seconds),
        ),
        Fault::Status(code) => (Refusal::new(code, "InternalError", "armed fault"), None),
        _ => (Refusal::internal("armed fault"), None),
    };
    let mut response = answer::Answer::from(Refusal {
        retry_after,
        ..refusal
    })
    .response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

#[cfg(test)]
mod tests;
