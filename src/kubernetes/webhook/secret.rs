//! The Secret in which the daemons share the webhook's keys.
//!
//! Guarantees: a write replaces exactly the version that was read, or makes what was not there, so of
//! several daemons that make keys at once one wins and the others read its; every request ends in time.
//!
//! Not here: what the keys are (`keys`).

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
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
    use jiff::Timestamp;

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
