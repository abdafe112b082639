//! One watch, for ever: listed, followed, waited out where it fails, and how it stands told to all.
//!
//! Guarantees: a namespace that is refused is lost by a second refusal, and found again. Not here: which kinds are
//! watched (`watches`), and what the standing of all comes to (`sight`).

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use kube::api::WatchParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::watches::Takes;
use super::{Cache, Touched};
use crate::causes;
use crate::kubernetes::backoff;

/// Objects in one answer of a first list. Lists of all kinds come at once, and an allocator keeps
/// much of what their objects took before they were made small.
const PAGE: u32 = 50;
/// The same of what may hold a megabyte each, chosen by whoever may make one in some namespace: an answer is held whole,
/// twice for a moment.
const HEAVY_PAGE: u32 = 20;

/// What the watches need.
#[derive(Clone)]
pub(super) struct Feed {
    pub(super) client: Client,
    pub(super) namespaces: Vec<String>,
    pub(super) touched: mpsc::UnboundedSender<Touched>,
    pub(super) stop: CancellationToken,
}

impl Feed {
    /// Each Rollout is to be looked at. Nobody looks when the receiver is gone, and then this ends too.
    fn everything(&self) {
        let _ = self.touched.send(Touched::Everything);
    }
}

/// What it means that a kind is refused, or not served by the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Without {
    /// No pass is made. An empty shelf would be taken for a fact: that nothing serves, that nothing was kept.
    Nothing,
    /// The same; and in a namespace that is watched by itself they come when all else of it is in sight.
    Rollouts,
    /// None is made where it is refused: a route that is in force would be taken for one that is gone. A
    /// cluster that does not have the kind has no such route.
    Routes,
    /// Passes are made as if there were none: something is not told or not warned of.
    Less,
}

/// What a watched kind must be.
pub(super) trait Watched:
    Resource<DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + serde::de::DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Follows one watch for ever; errors are logged and waited out by the watcher's back-off.
pub(super) async fn fill<K: Watched>(
    feed: Feed,
    (api, which): (Api<K>, watcher::Config),
    (mut take, touches): Takes<K>,
    mut progress: Progress,
) {
    progress.turn().await;
    let config = which.timeout(290).page_size(page(&K::kind(&())));
    let mut events = listed(&api, &config);
    loop {
        let event = match events.try_next().await {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(error) => {
                if progress.is_shut_out(&error) {
                    progress.log(&error);
                    allowed(&api, &feed, &progress).await;
                    events = listed(&api, &config);
                } else if progress.failed(&error) {
                    feed.everything();
                }
                continue;
            }
        };
        let done = matches!(event, watcher::Event::InitDone);
        let touched = match &event {
            watcher::Event::Apply(object)
            | watcher::Event::Delete(object)
            | watcher::Event::InitApply(object) => Some(touches(object)),
            watcher::Event::Init | watcher::Event::InitDone => None,
        };
        let gone = take(&progress.cache, event);
        let again = done && progress.came();
        let news = again || (done && !gone.is_empty());
        let touched = touched.or_else(|| news.then_some(Touched::Everything));
        if let Some(touched) = touched
            && feed.touched.send(touched).is_err()
        {
            break;
        }
    }
}

/// Objects of this kind in one answer of a first list.
fn page(kind: &str) -> u32 {
    match kind {
        "ConfigMap" | "Secret" => HEAVY_PAGE,
        _ => PAGE,
    }
}

/// Lists and watches, for ever.
fn listed<K: Watched>(
    api: &Api<K>,
    config: &watcher::Config,
) -> BoxStream<'static, Result<watcher::Event<K>, watcher::Error>> {
    let waits = backoff::backoff(&K::kind(&()));
    watcher(api.clone(), config.clone()).backoff(waits).boxed()
}

/// Waits until a watch is let begin: the watcher itself would go on without a word as soon as it is. It is lost
/// when it is refused again; an API server that has just begun may do so once.
async fn allowed<K: Watched>(api: &Api<K>, feed: &Feed, progress: &Progress) {
    for wait in backoff::backoff(&K::kind(&())) {
        tokio::time::sleep(wait).await;
        let shortest = WatchParams::default().timeout(1);
        match api.watch(&shortest, "0").await.map(drop) {
            Ok(()) => return,
            Err(error) => {
                let told = causes::told(&error);
                let what = &progress.what;
                tracing::debug!(what, error = told, "still not watched; trying again");
                if let kube::Error::Api(status) = error
                    && status.code == 403
                    && progress.lost(status.message)
                {
                    feed.everything();
                }
            }
        }
    }
}

/// How one watch comes to its lists.
pub(super) struct Progress {
    what: String,
    /// The namespace, where each is watched by itself.
    scope: Option<String>,
    cache: Arc<Cache>,
    without: Without,
    /// The first list has not come.
    first: bool,
    /// It was refused, and that was told.
    refused: bool,
}

impl Progress {
    pub(super) fn new(
        what: String,
        scope: Option<String>,
        cache: &Arc<Cache>,
        without: Without,
    ) -> Self {
        Self {
            what,
            scope,
            cache: Arc::clone(cache),
            without,
            first: true,
            refused: false,
        }
    }

    pub(super) fn begins(&self) {
        let scope = self.scope.as_deref();
        let sight = &self.cache.sight;
        sight.send_modify(|sight| sight.begins(scope, &self.what));
    }

    /// Waits until it may begin: Rollouts of a namespace are not seen before what they are about.
    async fn turn(&self) {
        if self.without != Without::Rollouts || self.scope.is_none() {
            return;
        }
        let mut sight = self.cache.sight.subscribe();
        let scope = self.scope.as_deref();
        let rest = sight.wait_for(|sight| sight.lacks_only(scope, &self.what));
        // The sender is the cache's own.
        let _ = rest.await;
    }

    /// A list came. Whether it did so after it had been lost.
    fn came(&mut self) -> bool {
        let first = std::mem::take(&mut self.first);
        self.refused = false;
        let (scope, what) = (self.scope.as_deref(), &self.what);
        let sight = &self.cache.sight;
        sight.send_if_modified(|sight| sight.came(scope, what)) && !first
    }

    /// It is refused. Whether it had been in sight.
    fn lost(&self, why: String) -> bool {
        let (scope, what) = (self.scope.as_deref(), &self.what);
        let sight = &self.cache.sight;
        sight.send_if_modified(|sight| sight.refused(scope, what, why)) && !self.first
    }

    /// Whether something that was in sight is lost by that.
    fn failed(&mut self, error: &watcher::Error) -> bool {
        let again = self.log(error);
        if broken(error) {
            let sight = &self.cache.sight;
            sight.send_modify(|sight| sight.broken += 1);
        }
        let refused = forbidden(error) || unserved(error);
        // Of all namespaces the shelves stay as they were; an API server that has just begun may refuse once.
        if !refused || !(self.first || (again && self.scope.is_some())) {
            return false;
        }
        match self.without {
            Without::Less => self.came(),
            Without::Routes if unserved(error) => self.came(),
            Without::Rollouts | Without::Routes | Without::Nothing => {
                self.lost(said(error).unwrap_or_else(|| causes::told(error)))
            }
        }
    }

    /// Whether the watch was refused that followed a list, in a namespace that is watched by itself.
    fn is_shut_out(&self, error: &watcher::Error) -> bool {
        let listed = matches!(error, watcher::Error::WatchStartFailed(_));
        listed && forbidden(error) && self.scope.is_some() && self.without != Without::Less
    }

    /// Whether it was refused the time before, too.
    fn log(&mut self, error: &watcher::Error) -> bool {
        let (what, why) = (&self.what, causes::told(error));
        let known = std::mem::replace(&mut self.refused, forbidden(error));
        if unserved(error) && matches!(self.without, Without::Routes | Without::Less) {
            tracing::debug!(what, "not served by this cluster");
        } else if broken(error) {
            tracing::debug!(what, error = why, "watch broke; trying again");
        } else if expired(error) {
            tracing::debug!(what, error = why, "watch lists anew");
        } else if known && self.refused {
            tracing::debug!(what, error = why, "watch is still refused; trying again");
        } else {
            tracing::warn!(what, error = why, "watch failed; trying again");
        }
        known
    }
}

/// Whether there was no answer, rather than one that says no.
fn broken(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => !matches!(error, kube::Error::Api(_)),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => false,
    }
}

/// Whether it only has to list anew.
fn expired(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status)
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

/// The API server's own words, where it answered.
fn said(error: &watcher::Error) -> Option<String> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            Some(status.message.clone())
        }
        _ => None,
    }
}

fn forbidden(error: &watcher::Error) -> bool {
    code(error) == Some(403)
}

/// Whether the cluster does not have the kind. It may come: a custom resource is installed at any time.
fn unserved(error: &watcher::Error) -> bool {
    code(error) == Some(404)
}

fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}
