//! The pipeline as a daemon knows it: which version is where, read for its page.
//!
//! It is read when somebody looks at the page, beside the passes, and not again within half a minute: nobody who looks
//! waits for it, and nothing is asked of anybody while nobody looks. The file and its credentials are read again
//! each time. What could not be read leaves what was read before, and says so. A cluster that does not answer
//! costs its own rows.
//!
//! Guarantees: one reading at a time; nothing is written anywhere.
//!
//! Not here: the gates' judgement (`environments`), how it looks (`web::view`); `api` and `standing` are how
//! other daemons and clusters are asked, by commands too.

pub mod api;
pub mod standing;

use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use humantime::format_duration;
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::runtime::Handle;

use super::settings::Settings;
use crate::causes;
use crate::clock::Clock;
use crate::environments::pipeline::{Cluster, Environment};
use crate::environments::survey::{Place, Standings};
use crate::environments::{Desk, Pipeline, Service, Standing};
use crate::history::{Filter, History, Summary};
use crate::kubernetes::client::{self, Patience};
use crate::kubernetes::crd::Rollout;
use crate::web::Versions;

/// Runs that are asked for, of which some say nothing.
pub const RUNS: usize = 200;
/// The daemon's Service, where the pipeline names none.
pub const SERVER: &str = "sluice-system/sluice";
/// The least time between two readings.
const REST: Duration = Duration::from_secs(30);
/// For what one Rollout says.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the pipeline was not read.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Environments(#[from] crate::environments::Error),
    #[error("the reading ended abnormally")]
    Lost(#[from] tokio::task::JoinError),
}

#[allow(missing_debug_implementations)] // kube's Client has none
/// Reads it for those who look.
pub struct Reader {
    /// The pipeline's file.
    pub file: PathBuf,
    /// Where copies of its repository are kept.
    pub copies: PathBuf,
    /// The daemon's own environment, which it asks itself about.
    pub environment: String,
    /// The daemon's own cluster.
    pub client: Client,
    /// The runs of its own.
    pub history: History,
    /// The daemon's clock.
    pub clock: Clock,
    /// Who looks.
    pub versions: Versions,
}

impl Reader {
    /// As the settings say; `None` where they name no pipeline.
    pub fn new(
        settings: &Settings,
        (client, history): (&Client, &History),
        clock: Clock,
        versions: &Versions,
    ) -> Option<Self> {
        Some(Self {
            file: settings.pipeline.clone()?,
            copies: settings.git.folder.join("pipeline"),
            environment: settings.environment.clone(),
            client: client.clone(),
            history: history.clone(),
            clock,
            versions: versions.clone(),
        })
    }

    /// Reads for ever, whenever somebody looks.
    pub async fn keep_up(self) {
        loop {
            self.versions.wanted().await;
            let read = self.read().await;
            let read = read.map_err(|error| causes::told(&error));
            if let Err(why) = &read {
                tracing::warn!(why, "the pipeline was not read");
            }
            self.versions.set(self.clock.now(), read);
            self.clock.sleep(REST).await;
        }
    }

    async fn read(&self) -> Result<Vec<Place>, Error> {
        let pipeline = Pipeline::load(&self.file)?;
        let standings = self.standings(&pipeline).await;
        let (copies, runtime) = (self.copies.clone(), Handle::current());
        let now = self.clock.now();
        let work = move || {
            let desk = Desk::reading(&pipeline, copies, runtime, now);
            desk.places(&|_| true, &standings)
        };
        Ok(tokio::task::spawn_blocking(work).await??)
    }

    /// What all clusters say, asked at once.
    async fn standings(&self, pipeline: &Pipeline) -> Standings {
        let of_service = |service| {
            let environments = pipeline.environments.iter();
            environments.filter_map(move |environment| {
                let cluster = environment.cluster.as_ref()?;
                let next = pipeline.after(&environment.name);
                let runs = next.is_some_and(|next| next.gates.runs.is_some());
                Some(self.standing((environment, cluster), service, runs))
            })
        };
        let asked = pipeline.services.iter().flat_map(of_service);
        join_all(asked).await.into_iter().collect()
    }

    async fn standing(
        &self,
        (environment, cluster): (&Environment, &Cluster),
        service: &Service,
        runs: bool,
    ) -> ((String, String), Result<Option<Standing>, String>) {
        let asked = self.ask((environment, cluster), service, runs);
        let says = match self.clock.timeout(PATIENCE, asked).await {
            Ok(says) => says,
            Err(_) => Err(format!("no answer within {}", format_duration(PATIENCE))),
        };
        ((environment.name.clone(), service.name.clone()), says)
    }

    async fn ask(
        &self,
        (environment, cluster): (&Environment, &Cluster),
        service: &Service,
        runs: bool,
    ) -> Result<Option<Standing>, String> {
        // Without a cluster of its own it is a part of ours.
        let ours = environment.name == self.environment
            || (cluster.kubeconfig.is_none() && cluster.context.is_none());
        let client = if ours {
            self.client.clone()
        } else {
            reached(cluster).await?
        };
        let namespace = cluster.namespace.as_deref();
        let namespace = namespace.unwrap_or(client.default_namespace()).to_owned();
        let name = service.rollout.as_deref().unwrap_or(&service.name);
        let of = (namespace.as_str(), name);
        let Some(rollout) = found(&client, of).await? else {
            return Ok(None);
        };
        let mut found = standing::standing(&rollout, of);
        if runs {
            found.runs = match cluster.daemon.as_deref() {
                None if ours => self.own_runs(of).await,
                server => api::ended(&client, server.unwrap_or(SERVER), of).await,
            };
        }
        Ok(Some(found))
    }

    /// How the newest runs of a Rollout ended here.
    async fn own_runs(&self, (namespace, name): (&str, &str)) -> Result<Vec<String>, String> {
        let runs = self.history.list(Filter {
            environment: Some(self.environment.clone()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            limit: RUNS,
            ..Filter::default()
        });
        let runs = runs.await.map_err(|error| causes::told(&error))?;
        Ok(outcomes(runs))
    }
}

/// How runs ended.
fn outcomes(runs: Vec<Summary>) -> Vec<String> {
    runs.into_iter().filter_map(|run| run.outcome).collect()
}

/// A Rollout, by a list: the daemon's rights have no `get`.
async fn found(
    client: &Client,
    (namespace, name): (&str, &str),
) -> Result<Option<Rollout>, String> {
    let rollouts: Api<Rollout> = Api::namespaced(client.clone(), namespace);
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    let found = rollouts.list(&only).await;
    let found = found.map_err(|error| causes::told(&error))?;
    Ok(found.items.into_iter().next())
}

/// A client of another environment's cluster.
async fn reached(cluster: &Cluster) -> Result<Client, String> {
    let config = client::config(cluster.kubeconfig.as_deref(), cluster.context.as_deref()).await;
    let config = config.map_err(|error| causes::told(&error))?;
    let patience = Patience {
        connect: PATIENCE,
        read: PATIENCE,
    };
    client::client(client::patient(config, patience)).map_err(|error| causes::told(&error))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::{Request, Response};
    use kube::client::Body;

    use super::*;

    fn reader(file: PathBuf, versions: &Versions) -> Reader {
        let nobody = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        Reader {
            copies: file.with_file_name("copies"),
            file,
            environment: "staging".to_owned(),
            client: Client::new(nobody, "default"),
            history: History::closed(),
            clock: Clock::scaled(jiff::Timestamp::UNIX_EPOCH, 1.0),
            versions: versions.clone(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_read_when_somebody_looks_and_then_not_before_it_has_rested() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("environments.yaml");
        let versions = Versions::default();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(reader(file.clone(), &versions).keep_up());
        let wrong = || versions.look().wrong.clone().unwrap_or_default();
        tokio::time::sleep(REST * 10).await;
        assert_eq!(versions.look().wrong, None, "nobody had looked");
        tokio::time::sleep(REST / 30).await;
        assert!(wrong().contains("cannot read"), "{}", wrong());
        std::fs::write(&file, "services: 1\n").unwrap();
        tokio::time::sleep(REST / 2).await;
        assert!(wrong().contains("cannot read"), "{}", wrong());
        tokio::time::sleep(REST).await;
        assert!(wrong().contains("environments.yaml:1"), "{}", wrong());
    }
}
