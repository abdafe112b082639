//! The Secret in which the daemons share the webhook's keys.
//!
//! Guarantees: a write replaces exactly the version that was read, or makes what was not there, so of
//! several daemons that make keys at once one wins and the others read its; every request ends in time.
//!
//! The time by which keys are made and renewed is the API server's: it checks the certificates, and a daemon whose
//! clock is wrong would make keys for all replicas that nobody takes.
//!
//! Not here: what the keys are (`keys`).

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderMap, Request, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::client::Body;
use kube::{Api, Client, ResourceExt};

use super::SECRET;
use super::keys::Keys;
use crate::clock::Clock;
use crate::kubernetes::crd::MANAGER;

/// The key in the Secret's data.
const ENTRY: &str = "keys.json";
const DEADLINE: Duration = Duration::from_secs(5);

/// The Secret as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What it says; `None` if that cannot be read.
    pub keys: Option<Keys>,
    /// Its resourceVersion.
    pub version: String,
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else was faster.
    #[error("the Secret was written by somebody else meanwhile")]
    Overtaken,
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The keys are no JSON.
    #[error("writing the keys as JSON")]
    Write(#[source] serde_json::Error),
    /// A request that cannot be made.
    #[error("asking for the API server's time")]
    Ask(#[from] axum::http::Error),
    /// Any other.
    #[error(transparent)]
    Request(#[from] kube::Error),
}

/// The requests for it.
#[derive(Debug, Clone)]
pub struct Vault {
    api: Api<Secret>,
    clock: Clock,
}

impl Vault {
    /// For the Secret of this namespace.
    pub fn new(client: Client, namespace: &str, clock: Clock) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            clock,
        }
    }

    /// The API server's time; ours where its answers have none.
    pub async fn now(&self) -> Result<Timestamp, Error> {
        let request = Request::get("/version").body(Body::empty())?;
        let client = self.api.clone().into_client();
        let answer = self.clock.timeout(DEADLINE, client.send(request));
        let answer = answer.await.map_err(|_| Error::Deadline(DEADLINE))??;
        Ok(date(answer.headers()).unwrap_or_else(|| self.clock.now()))
    }

    /// Reads it; `None` if it is not there.
    pub async fn read(&self) -> Result<Option<Stored>, Error> {
        let found = self.clock.timeout(DEADLINE, self.api.get_opt(SECRET)).await;
        let found = found.map_err(|_| Error::Deadline(DEADLINE))??;
        Ok(found.as_ref().map(stored))
    }

    /// Writes keys over the version given, or makes it.
    pub async fn write(&self, keys: &Keys, over: Option<&str>) -> Result<(), Error> {
        let secret = secret(keys, over)?;
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let request = async {
            match over {
                Some(_) => self.api.replace(SECRET, &params, &secret).await,
                None => self.api.create(&params, &secret).await,
            }
        };
        let written = self.clock.timeout(DEADLINE, request).await;
        match written.map_err(|_| Error::Deadline(DEADLINE))? {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if overtaken(over, status.code) => Err(Error::Overtaken),
            Err(error) => Err(error.into()),
        }
    }
}

/// When an answer was given, as its server says.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(text).ok()
}

/// Whether a write was refused since the Secret is not what was read: changed, made, or gone.
fn overtaken(over: Option<&str>, code: u16) -> bool {
    code == 409 || (over.is_some() && code == 404)
}

fn stored(secret: &Secret) -> Stored {
    let data = secret.data.as_ref().and_then(|data| data.get(ENTRY));
    Stored {
        keys: data.and_then(|data| serde_json::from_slice(&data.0).ok()),
        version: secret.resource_version().unwrap_or_default(),
    }
}

fn secret(keys: &Keys, over: Option<&str>) -> Result<Secret, Error> {
    let text = serde_json::to_vec(keys).map_err(Error::Write)?;
    let label = ("app.kubernetes.io/name".to_owned(), "sluice".to_owned());
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            resource_version: over.map(str::to_owned),
            labels: Some(BTreeMap::from([label])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(ENTRY.to_owned(), ByteString(text))])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::webhook::keys;
    use axum::http::Response;

    #[tokio::test]
    async fn the_time_is_the_api_servers() {
        let clock = Clock::scaled(Timestamp::UNIX_EPOCH, 1.0);
        let vault = |said: Option<&'static str>| {
            let answer = move |_: Request<Body>| async move {
                let mut answer = Response::new(Body::from(b"{}".to_vec()));
                if let Some(said) = said {
                    answer
                        .headers_mut()
                        .insert(header::DATE, said.parse().unwrap());
                }
                Ok::<_, std::convert::Infallible>(answer)
            };
            Vault::new(Client::new(tower::service_fn(answer), "a"), "a", clock)
        };
        let said = vault(Some("Sun, 06 Nov 1994 08:49:37 GMT")).now().await;
        assert_eq!(said.unwrap().as_second(), 784_111_777);
        for silent in [None, Some("today")] {
            let own = vault(silent).now().await.unwrap();
            assert!(own.as_second() < 600, "{silent:?}");
        }
    }

    #[test]
    fn keys_come_back_as_they_were_written_and_what_is_damaged_is_none() {
        let keys = keys::due(None, "127.0.0.1", None, Timestamp::UNIX_EPOCH).unwrap();
        let mut written = secret(keys.as_ref().unwrap(), Some("7")).unwrap();
        let found = stored(&written);
        assert_eq!((found.keys, found.version.as_str()), (keys, "7"));
        for damage in [Some(ByteString(b"{".to_vec())), None] {
            written.data = damage.map(|damage| BTreeMap::from([(ENTRY.to_owned(), damage)]));
            assert_eq!(stored(&written).keys, None);
        }
    }
}
