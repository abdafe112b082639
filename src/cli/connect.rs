//! From the global options to a client of the API server.
//!
//! Requests of commands are answered within seconds or given up: no retries, short timeouts.
//! A watch reads for longer.
//!
//! Not here: the daemon's connection.

use std::time::Duration;

use kube::{Api, Client, Config};

use super::{Error, Global};
use crate::causes;
use crate::kubernetes::client::{self, Patience};
use crate::kubernetes::crd::Rollout;

const CONNECT: Duration = Duration::from_secs(5);
const READ: Duration = Duration::from_secs(15);

/// A cluster and the namespace that is meant.
#[derive(Clone)]
pub struct Cluster {
    /// Its client.
    pub client: Client,
    /// The namespace that was given, or the context's.
    pub namespace: String,
    everywhere: bool,
}

impl Cluster {
    /// Connects for single requests.
    pub async fn connect(global: &Global) -> Result<Self, Error> {
        Self::connect_reading(global, READ).await
    }

    /// Connects for requests whose answers may pause for up to `read`.
    pub async fn connect_reading(global: &Global, read: Duration) -> Result<Self, Error> {
        let config = config(global).await?;
        let given = global.namespace.clone();
        let namespace = given.unwrap_or_else(|| config.default_namespace.clone());
        let patience = Patience {
            connect: CONNECT,
            read,
        };
        let client =
            client::client(client::patient(config, patience)).map_err(|error| unknown(&error))?;
        Ok(Self {
            client,
            namespace,
            everywhere: global.all_namespaces,
        })
    }

    /// The Rollouts of the namespace that is meant.
    pub fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The Rollouts that are meant: of the namespace, or with `-A` all.
    pub fn all_rollouts(&self) -> Api<Rollout> {
        if self.everywhere {
            Api::all(self.client.clone())
        } else {
            self.rollouts()
        }
    }

    /// One Rollout.
    pub async fn rollout(&self, name: &str) -> Result<Rollout, Error> {
        let doing = || format!("read the Rollout {}/{name}", self.namespace);
        let found = self.rollouts().get(name).await;
        found.map_err(|error| Error::api(doing(), &error))
    }
}

async fn config(global: &Global) -> Result<Config, Error> {
    let config = client::config(global.kubeconfig.as_deref(), global.context.as_deref()).await;
    config.map_err(|error| unknown(&error))
}

fn unknown(error: &dyn std::error::Error) -> Error {
    Error::Kubeconfig(causes::told(error))
}
