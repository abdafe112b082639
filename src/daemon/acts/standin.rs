//! An API server for tests of what people ask: it keeps the Rollout `shop/backend`, and answers each request that
//! is stored there, as the daemon that leads would.
//!
//! Not here: who is who and may do what; each test says it.

use std::sync::{Arc, Mutex};

use axum::http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::kubernetes::crd::Rollout;

/// The Rollout, and the annotations that were stored on it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shop {
    rollout: Arc<Mutex<Rollout>>,
    stored: Arc<Mutex<Vec<Value>>>,
}

impl Shop {
    /// One that stands so.
    pub fn with(status: Value) -> Self {
        let rollout = json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "backend", "namespace": "shop", "uid": "u"},
            "spec": {"target": {"kind": "Deployment", "name": "backend"}}, "status": status,
        });
        let rollout = serde_json::from_value(rollout).unwrap();
        Self {
            rollout: Arc::new(Mutex::new(rollout)),
            stored: Arc::default(),
        }
    }

    /// The Rollout as it stands.
    pub fn rollout(&self) -> Arc<Rollout> {
        Arc::new(self.rollout.lock().unwrap().clone())
    }

    /// The same, for who knows its name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<Rollout>> {
        let found = (namespace, name) == ("shop", "backend");
        found.then(|| self.rollout())
    }

    /// The annotations that were stored, each time.
    pub fn stored(&self) -> Vec<Value> {
        self.stored.lock().unwrap().clone()
    }

    /// What they ask.
    pub fn asked(&self) -> Vec<String> {
        let stored = self.stored();
        let values = stored
            .iter()
            .flat_map(|all| all.as_object().unwrap().values());
        values
            .map(|value| value.as_str().unwrap().to_owned())
            .collect()
    }

    /// The API server. A path that is one of a review's is `review`'s: it says what the status is.
    pub fn server(&self, review: fn(&str, &Value) -> Option<Value>) -> Client {
        let shop = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let shop = shop.clone();
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut body: Value = serde_json::from_slice(&body).unwrap();
                match review(&path, &body["spec"]) {
                    Some(status) => body["status"] = status,
                    None => body = shop.store(&body),
                }
                let answer = Response::new(Body::from(body.to_string().into_bytes()));
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        Client::new(service, "default")
    }

    fn store(&self, patch: &Value) -> Value {
        let annotations = patch["metadata"]["annotations"].clone();
        let id = annotations.as_object().unwrap().keys().next().unwrap();
        let answer = json!({
            "id": id.strip_prefix("request.sluice.dev/").unwrap(),
            "act": "hold", "done": true, "message": "held at 5%", "at": "2026-01-01T00:00:00Z",
        });
        let mut rollout = self.rollout.lock().unwrap();
        let status = rollout.status.get_or_insert_default();
        status.answers.push(serde_json::from_value(answer).unwrap());
        self.stored.lock().unwrap().push(annotations);
        json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "backend"}})
    }
}
