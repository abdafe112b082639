//! The embedded cluster as a stage: what a scenario may look at and break.
//!
//! Not here: starting and stopping (`embedded`), and what a scenario means.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use axum::http::HeaderName;
use futures::future::BoxFuture;
use serde_json::Value;

use super::Embedded;
use crate::clock::Clock;
use crate::kubernetes::crd::ACCOUNT;
use crate::sandbox::api::{self, Matching};
use crate::sandbox::router::{Exposed, Request, Router};
use crate::sandbox::scenario::{
    Answer, Break, DaemonFault, Fault, MetricsFault, RouterFault, Stage, Tally, WatchFault,
};

impl Embedded {
    async fn daemon_fault(&self, fault: DaemonFault) -> Result<(), String> {
        match fault {
            DaemonFault::Start => self
                .start_daemon()
                .await
                .map(drop)
                .map_err(|error| error.to_string()),
            DaemonFault::Stop => {
                self.stop_daemon().await;
                Ok(())
            }
            // Dropping the task ends it at whatever it waits for.
            DaemonFault::Kill => {
                let killed = self.daemon.lock().await.take();
                drop(killed);
                Ok(())
            }
        }
    }

    fn api_fault(&self, fault: &Fault) -> Result<(), String> {
        let matching = Matching {
            verb: fault.verb.clone(),
            resource: fault.resource.clone(),
            name: fault.name.clone(),
            user: Some(fault.user.clone().unwrap_or_else(|| ACCOUNT.to_owned())),
        };
        let what = match fault.answer.as_str() {
            "409" => api::Fault::Conflict,
            "429" => api::Fault::TooManyRequests(fault.retry_after.unwrap_or(1)),
            "hang" => api::Fault::Hang,
            "lost" => api::Fault::LostAfterEffect,
            "cut" => api::Fault::LostBefore,
            status => api::Fault::Status(
                status
                    .parse()
                    .map_err(|_| format!("the API server cannot answer {status:?}"))?,
            ),
        };
        self.api
            .faults()
            .next(u64::from(fault.times), matching, what);
        Ok(())
    }
}

impl Stage for Embedded {
    fn clock(&self) -> Clock {
        self.clock
    }

    fn client(&self, user: &str) -> kube::Client {
        self.api.client(user)
    }

    fn tallies(&self) -> Vec<Tally> {
        let mut all: BTreeMap<(String, String), Tally> = BTreeMap::new();
        for (arm, seen) in self.routers.iter().flat_map(Router::tallies) {
            let key = (arm.ingress.clone(), arm.image.clone());
            let tally = all.entry(key).or_insert_with(|| Tally {
                ingress: arm.ingress,
                image: arm.image,
                ..Tally::default()
            });
            tally.total += seen.total;
            tally.bad += seen.bad;
            tally.first_bad = tally.first_bad.into_iter().chain(seen.first_bad).min();
        }
        all.into_values().collect()
    }

    fn request<'a>(
        &'a self,
        host: &'a str,
        path: &'a str,
        headers: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Answer, String>> {
        Box::pin(async move {
            let mut request = Request::get(host, path);
            for (name, value) in headers {
                let name: HeaderName =
                    name.parse().map_err(|_| format!("{name:?} is no header"))?;
                let value = value
                    .parse()
                    .map_err(|_| format!("{value:?} is no header's value"))?;
                request.headers.insert(name, value);
            }
            let router = self.routers.first().ok_or("there is no router")?;
            let got = router.handle(&request).await;
            let image = (!got.image.is_empty()).then_some(got.image);
            Ok(Answer {
                status: got.status,
                image,
            })
        })
    }

    fn broken<'a>(&'a self, what: &'a Break) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            match what {
                Break::Daemon(fault) => self.daemon_fault(*fault).await,
                Break::Metrics(fault) => {
                    self.routers
                        .iter()
                        .for_each(|router| router.expose(exposed(*fault)));
                    Ok(())
                }
                Break::Router(RouterFault::Restart) => {
                    self.routers.iter().take(1).for_each(Router::restart);
                    Ok(())
                }
                Break::Api(fault) => self.api_fault(fault),
                Break::Watches(WatchFault::Close) => {
                    self.api.faults().close_watches();
                    Ok(())
                }
                Break::Watches(WatchFault::Expire) => {
                    self.api.compact();
                    self.api.faults().expire_watches();
                    Ok(())
                }
            }
        })
    }

    fn live(&self, namespace: &str, rollout: &str) -> Option<Value> {
        let board = self
            .board
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        serde_json::to_value(&*board.get(namespace, rollout)?).ok()
    }
}

fn exposed(fault: MetricsFault) -> Exposed {
    match fault {
        MetricsFault::Down => Exposed::Down,
        MetricsFault::Fails => Exposed::Fails,
        MetricsFault::Html => Exposed::Html,
        MetricsFault::Hangs => Exposed::Hangs,
        MetricsFault::Partial => Exposed::Partial,
        MetricsFault::Nan => Exposed::Nan,
        MetricsFault::Fine => Exposed::Fine,
    }
}
