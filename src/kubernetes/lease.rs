//! The Lease by which one of several daemons leads, as plain data, and the requests for it.
//!
//! Guarantees: a write replaces exactly the version that was read, or makes what was not there;
//! every request ends within the time that it is given. Times in the Lease are written for people
//! and never read: other machines' clocks are not trusted.
//!
//! Not here: who leads (`daemon::leader`).

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams, WatchParams};
use kube::{Api, Client, ResourceExt};

use super::crd::MANAGER;
use crate::clock::Clock;

/// What a Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; nobody after a release.
    pub holder: Option<String>,
    /// How long the holder may be silent.
    pub duration: Duration,
    /// How often the holder has changed.
    pub transitions: u32,
    /// When the holder got it.
    pub acquired: Option<Timestamp>,
}

/// A Lease as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What it says; `None` if it says nothing yet.
    pub record: Option<Record>,
    /// Its resourceVersion.
    pub version: String,
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else was faster.
    #[error("the lease was written by somebody else meanwhile")]
    Overtaken,
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// Any other.
    #[error(transparent)]
    Request(#[from] kube::Error),
}

/// The requests for one Lease.
#[derive(Debug, Clone)]
pub struct Requests {
    api: Api<Lease>,
    namespace: String,
    name: String,
    clock: Clock,
}

impl Requests {
    /// For the Lease of this name, by a client that nothing else uses.
    pub fn new(client: Client, namespace: &str, name: &str, clock: Clock) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            clock,
        }
    }

    /// Reads it; `None` if it is not there.
    pub async fn read(&self, within: Duration) -> Result<Option<Stored>, Error> {
        let found = self.within(within, self.api.get_opt(&self.name)).await?;
        Ok(found.as_ref().map(stored))
    }

    /// Makes a lease that says nothing yet.
    pub async fn make(&self, within: Duration) -> Result<Stored, Error> {
        self.put(&blank(&self.name), None, within).await
    }

    /// Writes a record over the version given, or makes it.
    pub async fn write(
        &self,
        record: &Record,
        over: Option<&str>,
        within: Duration,
    ) -> Result<Stored, Error> {
        let lease = lease(&self.name, record, over, self.clock.now());
        self.put(&lease, over, within).await
    }

    async fn put(
        &self,
        lease: &Lease,
        over: Option<&str>,
        within: Duration,
    ) -> Result<Stored, Error> {
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = if over.is_some() {
            let request = self.api.replace(&self.name, &params, lease);
            self.within(within, request).await
        } else {
            self.within(within, self.api.create(&params, lease)).await
        };
        match written {
            Ok(written) => Ok(stored(&written)),
            Err(Error::Request(kube::Error::Api(status))) if overtaken(over, status.code) => {
                Err(Error::Overtaken)
            }
            Err(error) => Err(error),
        }
    }

    /// Something for each change after `version`; ends when the watch does.
    pub fn changes(&self, version: String) -> BoxStream<'static, ()> {
        let (api, name) = (self.api.clone(), self.name.clone());
        let open = async move {
            let params = WatchParams::default().fields(&format!("metadata.name={name}"));
            let events = api.watch(&params, &version).await?;
            Ok::<_, kube::Error>(events)
        };
        let events = stream::once(open).try_flatten();
        events
            .take_while(|event| std::future::ready(event.is_ok()))
            .map(drop)
            .boxed()
    }

    /// What Events about it regard.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            ..ObjectReference::default()
        }
    }

    async fn within<T>(
        &self,
        within: Duration,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        match self.clock.timeout(within, request).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Error::Deadline(within)),
        }
    }
}

/// Whether a write was refused since the Lease is not what was read: changed, made, or gone.
fn overtaken(over: Option<&str>, code: u16) -> bool {
    code == 409 || (over.is_some() && code == 404)
}

fn stored(lease: &Lease) -> Stored {
    Stored {
        record: lease.spec.as_ref().and_then(record),
        version: lease.resource_version().unwrap_or_default(),
    }
}

/// A spec in which nobody ever led says nothing.
fn record(spec: &LeaseSpec) -> Option<Record> {
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    let holder = spec.holder_identity.clone().filter(|text| !text.is_empty());
    if holder.is_none() && spec.renew_time.is_none() {
        return None;
    }
    Some(Record {
        holder,
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        transitions: u32::try_from(spec.lease_transitions.unwrap_or_default()).unwrap_or_default(),
        acquired: spec.acquire_time.as_ref().map(|time| time.0),
    })
}

fn blank(name: &str) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: None,
    }
}

fn lease(name: &str, record: &Record, over: Option<&str>, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            resource_version: over.map(str::to_owned),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(record.holder.clone().unwrap_or_default()),
            lease_duration_seconds: i32::try_from(record.duration.as_secs()).ok(),
            lease_transitions: i32::try_from(record.transitions).ok(),
            acquire_time: Some(MicroTime(record.acquired.unwrap_or(now))),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let now = Timestamp::UNIX_EPOCH;
        for holder in [Some("a".to_owned()), None] {
            let written = Record {
                holder,
                duration: Duration::from_secs(15),
                transitions: 3,
                acquired: Some(now),
            };
            let mut lease = lease("sluice", &written, None, now);
            lease.metadata.resource_version = Some("7".to_owned());
            let found = stored(&lease);
            assert_eq!(found.record, Some(written));
            assert_eq!(found.version, "7");
        }
    }

    #[test]
    fn a_lease_in_which_nobody_led_says_nothing() {
        let mut lease = Lease::default();
        assert_eq!(stored(&lease).record, None);
        lease.spec = Some(LeaseSpec::default());
        assert_eq!(stored(&lease).record, None);
    }
}
