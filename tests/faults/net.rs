//! A daemon's connection to the API server, which loses, delays, repeats and refuses requests,
//! brings watches late or ends them, and answers lists as they were before.
//!
//! A request that is under way arrives even when its sender does not exist any more, as on a
//! real network. Also where a daemon is killed: at the nth write, before or after its effect.
//!
//! Not here: when that happens (`schedule`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, request};
use futures::StreamExt;
use http_body_util::BodyExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use sluice::clock::Clock;
use sluice::kubernetes::crd::ACCOUNT;
use sluice::sandbox::api::Api;
use sluice::sandbox::cluster::{Cluster, Options};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::journal::Journal;
use crate::schedule::{Class, Hurt};

/// As the daemon's clients have it: a write that brings no answer fails, a list likewise.
const WRITE_TIMEOUT: Duration = Duration::from_secs(7);
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// A daemon that asks more often within a virtual second turns in circles. Starting takes some 50.
const BUSY: u32 = 300;
/// A list is not answered with anything older.
const OLDEST: Duration = Duration::from_secs(30);

/// One daemon's connection. Clones share it.
#[derive(Clone)]
pub struct Net(Arc<Shared>);

struct Shared {
    daemon: usize,
    api: Api,
    journal: Journal,
    state: Mutex<State>,
    /// Watches look at their end.
    ends: Notify,
    /// The daemon is to be killed.
    pub killed: Notify,
    under_way: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct State {
    armed: Vec<(Class, Hurt, u32)>,
    lag: Option<(Duration, Instant)>,
    old_lists: u32,
    lists: BTreeMap<String, (Instant, Bytes)>,
    closed: u64,
    expired: u64,
    /// The write at which the daemon is killed, and whether that is done.
    kill: Option<(u32, bool)>,
    /// Whoever is connected; answers to those before are not delivered.
    life: u64,
    /// Requests in this second, and what is to be told of a second with too many.
    second: (Option<Instant>, u32),
    busy: Option<String>,
    /// Writes that were asked for, whether or not they changed anything.
    asked: u64,
}

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was lost")]
pub struct Lost;

type Answer = Result<Response<Body>, Lost>;

impl Net {
    pub fn new(daemon: usize, api: Api, journal: Journal) -> Self {
        Self(Arc::new(Shared {
            daemon,
            api,
            journal,
            state: Mutex::default(),
            ends: Notify::new(),
            killed: Notify::new(),
            under_way: Mutex::default(),
        }))
    }

    /// A client on this connection.
    pub fn client(&self) -> kube::Client {
        let net = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let net = net.clone();
            async move { net.request(request).await }
        });
        kube::Client::new(service, "default")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next requests of this class go wrong.
    pub fn arm(&self, class: Class, hurt: Hurt, times: u32) {
        self.state().armed.push((class, hurt, times));
    }

    /// Watches lag from now on for a while.
    pub fn lag(&self, by: Duration, lasts: Duration) {
        self.state().lag = Some((by, Instant::now() + lasts));
    }

    pub fn old_lists(&self, times: u32) {
        self.state().old_lists = times;
    }

    pub fn end_watches(&self, expired: bool) {
        let mut state = self.state();
        state.closed += 1;
        state.expired += u64::from(expired);
        drop(state);
        self.0.ends.notify_waiters();
    }

    pub fn kill_at(&self, nth: u32, done: bool) {
        self.state().kill = Some((nth, done));
    }

    /// Waits until the daemon is to be killed.
    pub async fn killed(&self) {
        self.0.killed.notified().await;
    }

    /// What it asked when it asked too much, told once.
    pub fn too_busy(&self) -> Option<String> {
        self.state().busy.take()
    }

    /// Writes that were asked for; leases and Events apart.
    pub fn asked(&self) -> u64 {
        self.state().asked
    }

    /// Counts a request. Whoever turns in circles waits, so that virtual time goes on.
    async fn count(&self, parts: &request::Parts) {
        let now = Instant::now();
        let wait = {
            let mut state = self.state();
            let fresh = |began| now - began < Duration::from_secs(1);
            if !state.second.0.is_some_and(fresh) {
                state.second = (Some(now), 0);
            }
            state.second.1 += 1;
            let path = parts.uri.path();
            let told = path.contains("/leases") || path.contains("/events");
            state.asked += u64::from(parts.method != Method::GET && !told);
            let over = state.second.1 > BUSY;
            if over {
                state.busy = Some(format!(
                    "more than {BUSY} requests within a second, the last was {} {}",
                    parts.method, parts.uri
                ));
            }
            over
        };
        if wait {
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Everything is well from now on.
    pub fn heal(&self) {
        let mut state = self.state();
        state.armed.clear();
        state.lag = None;
        state.old_lists = 0;
        state.kill = None;
    }

    /// The daemon is gone: its watches end.
    pub fn hang_up(&self) {
        self.state().life += 1;
        self.0.ends.notify_waiters();
    }

    async fn request(&self, request: Request<kube::client::Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
        self.count(&parts).await;
        let query = parts.uri.query().unwrap_or_default();
        if query.contains("watch=true") || query.contains("watch=1") {
            let answer = self.arrive(&parts, body).await?;
            return Ok(self.watched(answer));
        }
        let writes = parts.method != Method::GET;
        let dies = writes && self.counts_down();
        if dies.then(|| self.state().kill.take()) == Some(Some((0, false))) {
            self.say(&parts, "killed before");
            self.0.killed.notify_one();
            return std::future::pending().await;
        }
        let answer = match self.hurt(&parts) {
            Some(hurt) => {
                self.say(&parts, &format!("{hurt:?}"));
                self.hurt_by(hurt, &parts, body).await
            }
            None => self.arrive(&parts, body).await,
        };
        if dies {
            self.say(&parts, "killed after");
            self.0.killed.notify_one();
            return std::future::pending().await;
        }
        if writes {
            answer
        } else {
            self.listed(&parts, answer?).await
        }
    }

    /// Counts a write; whether it is the one at which the daemon is killed.
    fn counts_down(&self) -> bool {
        match &mut self.state().kill {
            Some((left, _)) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            None => false,
        }
    }

    fn say(&self, parts: &request::Parts, what: &str) {
        let line = format!(
            "net {}: {what}: {} {}",
            self.0.daemon,
            parts.method,
            parts.uri.path()
        );
        self.0.journal.say(&line);
    }

    fn hurt(&self, parts: &request::Parts) -> Option<Hurt> {
        let mut state = self.state();
        let at = state
            .armed
            .iter()
            .position(|(class, ..)| is(*class, parts))?;
        let hurt = state.armed[at].1;
        state.armed[at].2 -= 1;
        state.armed.retain(|(.., left)| *left > 0);
        Some(hurt)
    }

    async fn hurt_by(&self, hurt: Hurt, parts: &request::Parts, body: Bytes) -> Answer {
        match hurt {
            Hurt::LostBefore => Err(Lost),
            Hurt::LostAfter => {
                self.arrive(parts, body).await?;
                Err(Lost)
            }
            Hurt::Delayed(millis) => {
                let (answer, comes) = oneshot::channel();
                let (net, parts) = (self.clone(), parts.clone());
                self.under_way(async move {
                    sleep(Duration::from_millis(millis)).await;
                    answer.send(net.arrive(&parts, body).await).ok();
                });
                comes.await.unwrap_or(Err(Lost))
            }
            Hurt::AnsweredLate(millis) => {
                let answer = self.arrive(parts, body).await;
                sleep(Duration::from_millis(millis)).await;
                answer
            }
            Hurt::Twice => {
                let first = self.arrive(parts, body.clone()).await;
                self.arrive(parts, body).await?;
                first
            }
            Hurt::Again(millis) => {
                let first = self.arrive(parts, body.clone()).await;
                let (net, parts) = (self.clone(), parts.clone());
                self.under_way(async move {
                    sleep(Duration::from_millis(millis)).await;
                    net.say(&parts, "arrives again");
                    net.arrive(&parts, body).await.ok();
                });
                first
            }
            Hurt::Hangs => {
                let writes = parts.method != Method::GET;
                sleep(if writes { WRITE_TIMEOUT } else { LIST_TIMEOUT }).await;
                Err(Lost)
            }
            Hurt::Refused(code) => Ok(refused(code)),
        }
    }

    fn under_way(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self
            .0
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// The request reaches the API server.
    async fn arrive(&self, parts: &request::Parts, body: Bytes) -> Answer {
        self.0.journal.acts(Some(self.0.daemon));
        let answer = self.0.api.handle(parts, body, Some(ACCOUNT)).await;
        self.0.journal.acts(None);
        answer.map_err(|_| Lost)
    }

    /// Remembers a list's answer, or gives an older one.
    async fn listed(&self, parts: &request::Parts, answer: Response<Body>) -> Answer {
        if !answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let fresh = body.collect().await.map_err(|_| Lost)?.to_bytes();
        let key = parts.uri.to_string();
        let now = Instant::now();
        let mut state = self.state();
        let old = state
            .lists
            .get(&key)
            .filter(|(at, _)| now - *at <= OLDEST)
            .cloned();
        if state.old_lists > 0
            && let Some((_, old)) = old
        {
            state.old_lists -= 1;
            return Ok(Response::from_parts(head, Body::from(old)));
        }
        state.lists.insert(key, (now, fresh.clone()));
        Ok(Response::from_parts(head, Body::from(fresh)))
    }

    /// A watch that may lag and end.
    fn watched(&self, answer: Response<Body>) -> Response<Body> {
        let (head, body) = answer.into_parts();
        let state = self.state();
        let begun = (state.closed, state.expired, state.life);
        drop(state);
        let stream = body.into_data_stream();
        let watch = (self.clone(), stream, begun, false);
        let chunks = futures::stream::unfold(watch, |(net, mut stream, begun, over)| async move {
            if over {
                return None;
            }
            let ends = net.0.ends.notified();
            let chunk = tokio::select! {
                biased;
                () = ends => None,
                chunk = stream.next() => Some(chunk?),
            };
            let Some(chunk) = chunk else {
                let state = net.state();
                let expired = state.expired > begun.1 && state.life == begun.2;
                drop(state);
                return expired
                    .then(|| (Ok(Bytes::from_static(EXPIRED)), (net, stream, begun, true)));
            };
            let lag = net.state().lag;
            if let Some((by, until)) = lag
                && Instant::now() < until
            {
                sleep(by).await;
            }
            Some((chunk, (net, stream, begun, false)))
        });
        Response::from_parts(head, Body::from_stream(chunks))
    }
}

const EXPIRED: &[u8] = b"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\
\"status\":\"Failure\",\"message\":\"too old resource version\",\"reason\":\"Expired\",\"code\":410}}\n";

fn is(class: Class, parts: &request::Parts) -> bool {
    let path = parts.uri.path();
    let writes = parts.method != Method::GET;
    match class {
        Class::Write => writes && !path.contains("/events"),
        Class::Status => writes && path.ends_with("/status"),
        Class::Weight => writes && (path.contains("/ingresses/") || path.contains("/httproutes/")),
        Class::Target => path.ends_with("/deployments/shop"),
        Class::Lease => path.contains("/leases"),
        Class::List => !writes,
    }
}

fn refused(code: u16) -> Response<Body> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the simulation refuses", "reason": "Simulated", "code": code,
    });
    let mut response = Response::builder()
        .status(code)
        .header("content-type", "application/json");
    if code == 429 {
        response = response.header("retry-after", "2");
    }
    response.body(Body::from(status.to_string())).unwrap()
}

#[test]
fn a_daemon_that_turns_in_circles_is_noticed_and_time_goes_on() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let clock = Clock::scaled(Timestamp::UNIX_EPOCH, 1.0);
        let cluster = Cluster::start(Options::in_process(clock, 1)).await.unwrap();
        let net = Net::new(0, cluster.api.clone(), Journal::new());
        let nodes: kube::Api<Node> = kube::Api::all(net.client());
        let began = Instant::now();
        for _ in 0..BUSY {
            nodes.get("sandbox").await.unwrap();
        }
        assert_eq!((net.too_busy(), began.elapsed()), (None, Duration::ZERO));
        nodes.get("sandbox").await.unwrap();
        assert!(net.too_busy().is_some());
        assert!(began.elapsed() >= Duration::from_secs(1));
    });
}
