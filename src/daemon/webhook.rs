//! The gate's webhook kept going: keys, endpoint, and the bundle that the API server trusts.
//!
//! Every daemon serves, leading or not, and any of them renews the keys: what is stored is replaced by its
//! version, so of two that do it at once one reads what the other made. Of the configuration, only
//! `caBundle` is ever written, and only as the Secret says at that moment: a daemon that cannot read it would put
//! its own old CA back, against all others. What stands in the way is told for `gate`.
//!
//! Not here: what is answered (`kubernetes::webhook`), and what follows for the gate (`gate`).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use kube::api::{Patch, PatchParams};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connect::{Clients, Error};
use super::settings::Settings;
use crate::causes;
use crate::clock::Clock;
use crate::kubernetes::cache::Cache;
use crate::kubernetes::crd::MANAGER;
use crate::kubernetes::webhook::keys::{self, Keys};
use crate::kubernetes::webhook::listener::{Reviewed, Tell};
use crate::kubernetes::webhook::manifests::{self, State, Wanted};
use crate::kubernetes::webhook::secret::{self, Vault};
use crate::kubernetes::webhook::{Reached, WEBHOOK, listener, reach, review};
use crate::telemetry::Metrics;
use crate::web::{Check, Readiness};

/// Time between two looks at what is known already.
const LOOK: Duration = Duration::from_secs(2);
/// Looks at the cache for one at the stored keys, and at whether the endpoint is reached.
const LOOKS: u32 = 5;
const DEADLINE: Duration = Duration::from_secs(5);

/// Why the webhook's keys or its bundle are not as they should be.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the webhook's keys (Secret sluice-webhook)")]
    Stored(#[source] secret::Error),
    #[error("the webhook's keys are written by somebody else all the time")]
    Contested,
    #[error(transparent)]
    Made(#[from] keys::Error),
    #[error(transparent)]
    Served(#[from] reach::Error),
    #[error("writing caBundle of MutatingWebhookConfiguration/{name}")]
    Bundle {
        name: String,
        #[source]
        source: Unwritten,
    },
    #[error("the webhook is not reached at {host}:{port}")]
    Unreached {
        host: String,
        port: u16,
        #[source]
        source: reach::Error,
    },
}

/// Why the API server did not take a patch.
#[derive(Debug, thiserror::Error)]
enum Unwritten {
    #[error("making the patch")]
    Patch(#[from] serde_json::Error),
    #[error(transparent)]
    Request(#[from] kube::Error),
    #[error("no answer within {0:?}")]
    Deadline(Duration),
}

/// How the webhook stands, apart from its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Whom the API server must trust (PEM); empty where nobody is asked by TLS.
    pub bundle: String,
    /// What is wrong.
    pub problem: Option<String>,
}

/// What the rest of the daemon knows of the webhook.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Its configuration, as it should be.
    pub wanted: Wanted,
    /// Whether the API server asks by TLS, and so must trust its CA.
    pub tls: bool,
    /// How it stands.
    pub standing: watch::Receiver<Standing>,
}

/// Where reviews are answered within the process, for an API server that lives in it. Cheap to clone;
/// answers while a daemon is there.
#[derive(Debug, Clone, Default)]
pub struct Within(Arc<RwLock<Option<String>>>);

impl Within {
    /// Answers a review.
    ///
    /// # Errors
    ///
    /// Nobody is there, or it cannot be read.
    pub fn answer(&self, review: &Value) -> Result<Value, String> {
        let account = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let account = account.ok_or("connect: connection refused")?;
        let answer = review::answer(review.to_string().as_bytes(), &account);
        answer.map_err(|error| causes::told(&error))
    }

    fn sit(&self, account: Option<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = account;
    }
}

/// Answers no more when it goes, also with a daemon that is killed.
struct Sitting(Within);

impl Drop for Sitting {
    fn drop(&mut self) {
        self.0.sit(None);
    }
}

/// What the webhook needs of the daemon.
pub struct Around<'a> {
    pub settings: &'a Settings,
    pub clients: &'a Clients,
    pub clock: Clock,
    pub ready: &'a Readiness,
    pub cache: &'a Arc<Cache>,
    pub metrics: &'a Metrics,
    pub within: Option<&'a Within>,
    pub stop: &'a CancellationToken,
    pub tasks: &'a mut JoinSet<()>,
}

/// Serves the webhook of the settings, as `account`; `None` if they have none.
pub async fn begin(around: Around<'_>, account: &str) -> Result<Option<Hook>, Error> {
    let Some(settings) = &around.settings.webhook else {
        return Ok(None);
    };
    let client = &around.clients.writes;
    let namespace = settings.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let reached = settings.url.clone().map_or_else(
        || Reached::Service {
            namespace: namespace.clone(),
        },
        Reached::Url,
    );
    let wanted = Wanted {
        name: settings.name.clone(),
        account: account.to_owned(),
        namespaces: around.settings.cluster.namespaces.clone(),
        reached,
    };
    let (told, standing) = watch::channel(Standing::default());
    let hook = Hook {
        wanted: wanted.clone(),
        tls: around.within.is_none(),
        standing,
    };
    let stop = around.stop.clone();
    if let Some(within) = around.within {
        within.sit(Some(account.to_owned()));
        let sitting = Sitting(within.clone());
        around.ready.set(
            "webhook",
            Check::Good("answers within the process".to_owned()),
        );
        around.tasks.spawn(async move {
            stop.cancelled().await;
            drop((sitting, told));
        });
        return Ok(Some(hook));
    }
    around
        .ready
        .set("webhook", Check::Waiting("it has no keys yet".to_owned()));
    let address = settings.listen;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| Error::Listen { address, source })?;
    let (tls, served) = watch::channel(None);
    let (metrics, clock) = (around.metrics.clone(), around.clock);
    let (account, ending) = (account.to_owned(), stop.clone());
    around.tasks.spawn(async move {
        let tell: Tell = Arc::new(move |result, took| metrics.reviewed(named(result), took));
        listener::serve(listener, served, (&account, clock, tell), ending).await;
    });
    let keeper = Keeper {
        vault: Vault::new(client.clone(), &namespace, around.clock),
        configurations: Api::all(client.clone()),
        cache: around.cache.clone(),
        clock: around.clock,
        ready: around.ready.clone(),
        wanted,
        keys: None,
        metrics: around.metrics.clone(),
        tls,
        told,
    };
    around.tasks.spawn(async move {
        stop.run_until_cancelled(keeper.keep_up()).await;
    });
    Ok(Some(hook))
}

/// What metrics call it.
fn named(result: Reviewed) -> &'static str {
    match result {
        Reviewed::Changed => "changed",
        Reviewed::Unchanged => "unchanged",
        Reviewed::Refused => "refused",
    }
}

/// Whom the configuration in the cluster has the API server trust, as PEM; `None` where there is none.
pub fn trusted(cache: &Cache, wanted: &Wanted) -> (State, Option<String>) {
    let found = cache.webhooks.get("", &wanted.name);
    let state = manifests::state(found.as_deref(), wanted);
    let bundle = found.map(|found| {
        let text = found["webhooks"][0]["clientConfig"]["caBundle"].clone();
        let bytes = BASE64.decode(text.as_str().unwrap_or_default());
        String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    });
    (state, bundle)
}

/// Waits until the webhook stands otherwise; for ever where there is none.
pub async fn changed(standing: &mut Option<watch::Receiver<Standing>>) {
    if let Some(told) = standing
        && told.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Keeps keys and bundle.
struct Keeper {
    vault: Vault,
    configurations: Api<MutatingWebhookConfiguration>,
    cache: Arc<Cache>,
    clock: Clock,
    ready: Readiness,
    wanted: Wanted,
    keys: Option<Keys>,
    metrics: Metrics,
    tls: watch::Sender<Option<Arc<ServerConfig>>>,
    told: watch::Sender<Standing>,
}

impl Keeper {
    async fn keep_up(mut self) {
        let mut looks = 0;
        let mut problem = None;
        loop {
            let whole = looks % LOOKS == 0 || self.keys.is_none() || self.unspread().is_some();
            looks = looks.wrapping_add(1);
            if whole {
                problem = match self.renew().await {
                    Ok(()) => self.spread().await.err(),
                    Err(why) => Some(why),
                };
                // At the very start the Service does not know this daemon yet.
                if problem.is_none() && looks > LOOKS {
                    problem = self.reached().await.err();
                }
            }
            self.tell(problem.as_ref().map(|trouble| causes::told(trouble)));
            self.clock.sleep(LOOK).await;
        }
    }

    /// Reads the stored keys, renews them when that is due, and serves them.
    async fn renew(&mut self) -> Result<(), Trouble> {
        let now = self.vault.now().await.map_err(Trouble::Stored)?;
        // Of those who write at once one wins; the others read what it wrote.
        for _ in 0..3 {
            let stored = self.vault.read().await.map_err(Trouble::Stored)?;
            let found = stored.as_ref().and_then(|stored| stored.keys.as_ref());
            // A Secret that somebody deleted is written again as it was.
            let present = found.or(self.keys.as_ref());
            let (_, trusted) = trusted(&self.cache, &self.wanted);
            let (host, _) = self.wanted.reached.place();
            let due = keys::due(present, &host, trusted.as_deref(), now)?;
            let Some(new) = due.or_else(|| present.filter(|_| found.is_none()).cloned()) else {
                let keys = present.cloned();
                return self.serve(keys);
            };
            let version = stored.as_ref().map(|stored| stored.version.as_str());
            match self.vault.write(&new, version).await {
                Ok(()) => {
                    let expires = new.serving.expires;
                    tracing::info!(%expires, next = new.next.is_some(), "wrote the webhook's keys");
                    return self.serve(Some(new));
                }
                Err(secret::Error::Overtaken) => {}
                Err(error) => return Err(Trouble::Stored(error)),
            }
        }
        Err(Trouble::Contested)
    }

    fn serve(&mut self, keys: Option<Keys>) -> Result<(), Trouble> {
        let serving = |keys: &Option<Keys>| keys.as_ref().map(|keys| keys.serving.clone());
        let pair = serving(&keys);
        if pair != serving(&self.keys)
            && let Some(pair) = pair
        {
            let config = reach::server(&pair)?;
            self.tls.send_replace(Some(Arc::new(config)));
            let ends = pair.expires.as_second();
            self.metrics.certificate_ends(&pair.host, ends);
        }
        self.keys = keys;
        Ok(())
    }

    /// The configuration, and whom it should have the API server trust, where it does not.
    fn unspread(&self) -> Option<(Arc<Value>, String)> {
        let found = self.cache.webhooks.get("", &self.wanted.name)?;
        let bundle = self.keys.as_ref()?.bundle();
        let (_, trusted) = trusted(&self.cache, &self.wanted);
        let ours = found["webhooks"][0]["name"] == WEBHOOK;
        (ours && trusted.as_deref() != Some(&bundle)).then_some((found, bundle))
    }

    /// Has the API server trust what is served.
    async fn spread(&self) -> Result<(), Trouble> {
        let Some((found, bundle)) = self.unspread() else {
            return Ok(());
        };
        let bundle = BASE64.encode(bundle);
        let patch = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": found["metadata"]["resourceVersion"]},
            {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle},
        ]);
        let written = self.patch(patch).await;
        written.map_err(|source| Trouble::Bundle {
            name: self.wanted.name.clone(),
            source,
        })
    }

    async fn patch(&self, patch: Value) -> Result<(), Unwritten> {
        let patch: json_patch::Patch = serde_json::from_value(patch)?;
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch: Patch<Value> = Patch::Json(patch);
        let sent = self
            .configurations
            .patch(&self.wanted.name, &params, &patch);
        match self.clock.timeout(DEADLINE, sent).await {
            Ok(Ok(_)) => {
                tracing::info!(
                    name = self.wanted.name,
                    "the API server is to trust the webhook's CA"
                );
                Ok(())
            }
            // It changed meanwhile: the watch brings it.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409 | 422) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Unwritten::Deadline(DEADLINE)),
        }
    }

    /// Whether the API server would reach the webhook, as far as that is seen from here.
    async fn reached(&self) -> Result<(), Trouble> {
        let (_, trusted) = trusted(&self.cache, &self.wanted);
        let Some(bundle) = trusted.filter(|bundle| !bundle.is_empty()) else {
            return Ok(());
        };
        let (host, port) = self.wanted.reached.place();
        let looked = reach::look((host.clone(), port), &bundle).await;
        looked.map_err(|source| Trouble::Unreached { host, port, source })
    }

    fn tell(&self, problem: Option<String>) {
        let check = match (&self.keys, &problem) {
            (None, why) => Check::Waiting(why.clone().unwrap_or_default()),
            (Some(_), Some(problem)) => Check::Bad(problem.clone()),
            (Some(keys), None) => Check::Good(format!(
                "serves, with a certificate until {}",
                keys.serving.expires
            )),
        };
        self.ready.set("webhook", check);
        let bundle = self.keys.as_ref().map(Keys::bundle).unwrap_or_default();
        let standing = Standing { bundle, problem };
        self.told.send_if_modified(|told| {
            let changed = *told != standing;
            *told = standing;
            changed
        });
    }
}
