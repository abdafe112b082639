//! From a command to the daemon's own API, for what is not in the cluster's: the history.
//!
//! By default through the API server. Not here: the asking (`daemon::pipeline::api`), and what is asked for.

use clap::Args;
use serde::de::DeserializeOwned;

use super::connect::Cluster;
use super::{Error, Global};
use crate::causes;
use crate::daemon::pipeline::api;
use crate::web::Place;

/// Where the daemon's API is.
#[derive(Debug, Args)]
pub struct Server {
    /// The daemon: its Service as NAMESPACE/NAME, reached through the API server, or a URL
    #[arg(
        long,
        value_name = "WHERE",
        env = "SLUICE_SERVER",
        default_value = "sluice-system/sluice"
    )]
    server: String,
    /// The environment, where that daemon serves several
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

const DOING: &str = "ask the daemon for its history";

impl Server {
    /// The answer to a GET of this path, which begins with `/api/`.
    pub async fn get<T: DeserializeOwned>(&self, global: &Global, path: &str) -> Result<T, Error> {
        let place = self.environment.as_deref().map(Place::beneath);
        let path = &place.unwrap_or_default().path(path);
        let answer = if api::is_url(&self.server) {
            api::at_url(&self.server, path).await
        } else {
            let cluster = Cluster::connect(global).await?;
            api::through(&cluster.client, &self.server, path).await
        };
        let read = answer.and_then(|text| Ok(serde_json::from_str(&text)?));
        read.map_err(|error| self.told(error))
    }

    fn told(&self, error: api::Error) -> Error {
        match error {
            api::Error::Nowhere(_) | api::Error::Request { .. } => {
                Error::Usage(format!("--server {}", causes::told(&error)))
            }
            api::Error::Unreachable(error) => Error::NoDaemon {
                at: self.server.clone(),
                why: causes::told(&error.without_url()),
            },
            api::Error::Missing(why) => Error::NoDaemon {
                at: format!("the Service {}", self.server),
                why,
            },
            api::Error::Api(error) => Error::api(DOING, &error),
            api::Error::Refused { .. } | api::Error::Long(_) | api::Error::Strange(_) => {
                Error::Refused(causes::told(&error))
            }
        }
    }
}
