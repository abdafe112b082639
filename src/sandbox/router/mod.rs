//! The sandbox's router: ingress-nginx's side of canary routing, and its metrics.
//!
//! Where it serves `HTTPRoutes` too, it is a Gateway whose metrics are like Istio's.
//! An ordinary API client. It routes by the rules that the real controller has, surprises
//! included, asks the node's applications for answers, and counts as the controller counts.
//! Requests come in process ([`Router::handle`]) or by HTTP ([`Router::serve`]). Several may
//! run at once, each with its own metrics, as the pods of one controller.
//! Not here: TLS, rewrites, authentication, bodies.

pub(crate) mod annotations;
mod choose;
mod gateway;
mod http;
mod metrics;
mod source;
mod table;
mod tallies;
#[cfg(test)]
mod tests;

pub use http::ServeError;
pub use tallies::{Arm, Tally};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use hyper::{HeaderMap, Method};
use jiff::Timestamp;
use kube::Client;
use tokio_util::sync::CancellationToken;

use self::choose::{Choice, choose, peers};
use self::gateway::Way;
use self::metrics::{Metrics, Sent, Series, Shown};
use self::table::{Labels, Location, Table};
use self::tallies::Tallies;
use crate::clock::{Clock, elapsed};
use crate::sandbox::node::{Answer, Apps, Unanswered};
use crate::sandbox::random::Random;

/// How a router is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of the ingress class that is served; also every class whose object names
    /// `controller`.
    pub class: String,
    pub controller: String,
    /// Only the Ingresses of this namespace are served, if one is given.
    pub namespace: Option<String>,
    /// What annotations begin with.
    pub prefix: String,
    /// How long a change takes to come into effect, give or take half of it.
    pub reload: Duration,
    pub seed: u64,
    /// The controller pod's name in the metrics.
    pub pod: String,
    /// Whether `HTTPRoutes` are served too.
    pub gateway: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            class: "nginx".into(),
            controller: "k8s.io/ingress-nginx".into(),
            namespace: None,
            prefix: annotations::PREFIX.into(),
            reload: source::RELOAD,
            seed: 1,
            pod: "ingress-nginx-controller-0".into(),
            gateway: false,
        }
    }
}

/// What the metrics endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exposed {
    #[default]
    Fine,
    /// The connection is closed.
    Down,
    /// Status 500.
    Fails,
    /// An HTML page with status 200.
    Html,
    /// Nothing, for ever.
    Hangs,
    /// Without the canary's series.
    Partial,
    /// Every value is NaN.
    Nan,
}

/// A request, as far as it matters to routing.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    pub host: String,
    /// Without the query.
    pub path: String,
    pub headers: HeaderMap,
}

impl Request {
    /// A GET without headers.
    pub fn get(host: &str, path: &str) -> Self {
        Self {
            method: Method::GET,
            host: host.into(),
            path: path.into(),
            headers: HeaderMap::new(),
        }
    }
}

/// An answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    pub status: u16,
    /// Whether the canary was chosen.
    pub canary: bool,
    /// Who answered; empty if the router itself did.
    pub service: String,
    pub pod: String,
    pub image: String,
    /// A session cookie to set.
    pub cookie: Option<String>,
}

/// One controller pod. Clones share it.
#[derive(Debug, Clone)]
pub struct Router(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    apps: Apps,
    options: Options,
    table: RwLock<Arc<Table>>,
    random: Mutex<Random>,
    metrics: Mutex<Metrics>,
    exposed: Mutex<Exposed>,
    tallies: Mutex<Tallies>,
}

impl Router {
    /// A router that knows no Ingress yet.
    pub fn new(clock: Clock, apps: Apps, options: Options) -> Self {
        let metrics = Metrics::new(&options.pod, &options.controller, clock.now());
        Self(Arc::new(Shared {
            clock,
            apps,
            table: RwLock::default(),
            random: Mutex::new(Random::new(options.seed)),
            metrics: Mutex::new(metrics),
            exposed: Mutex::default(),
            tallies: Mutex::default(),
            options,
        }))
    }

    /// Follows the cluster's Ingresses, Services and endpoints until `shutdown`.
    pub async fn run(&self, client: Client, shutdown: CancellationToken) {
        source::run(self.clone(), client, shutdown).await;
    }

    /// Answers one request; takes as long as the application takes.
    pub async fn handle(&self, request: &Request) -> Response {
        let started = self.0.clock.now();
        let table = self.table();
        let host = request
            .host
            .split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if let Some(way) = gateway::find(&table, &host, request) {
            return self.by_gateway(&table, way, request).await;
        }
        let server = table.server(&host);
        let Some(location) = server.and_then(|server| server.location(&request.path)) else {
            return Response {
                status: 404,
                ..Response::default()
            };
        };
        let choice = choose(&table, &location.upstream, &request.headers, |total| {
            self.draw(total)
        });
        let response = self.answer(request, choice.as_ref()).await;
        let exact = server
            .filter(|server| server.host == host)
            .map(|_| host.as_str());
        self.count(
            request,
            exact,
            location,
            choice.as_ref(),
            &response,
            started,
        );
        response
    }

    async fn by_gateway(&self, table: &Table, way: &Way, request: &Request) -> Response {
        let choice = gateway::choose(table, way, |total| self.draw(total));
        let response = self.answer(request, choice.as_ref()).await;
        self.tally(&way.labels, &response, self.0.clock.now());
        if let Some(choice) = choice {
            let sent = Sent {
                namespace: way.labels.namespace.as_str().into(),
                service: choice.upstream.service.as_str().into(),
                status: response.status,
            };
            lock(&self.0.metrics).count_sent(sent);
        }
        response
    }

    async fn answer(&self, request: &Request, choice: Option<&Choice<'_>>) -> Response {
        match choice {
            None => Response {
                status: 503,
                ..Response::default()
            },
            Some(choice) => self.pass(request, choice).await,
        }
    }

    fn tally(&self, labels: &Labels, response: &Response, now: Timestamp) {
        let arm = Arm {
            namespace: labels.namespace.clone(),
            ingress: labels.ingress.clone(),
            canary: response.canary,
            image: response.image.clone(),
        };
        lock(&self.0.tallies).count(arm, response.status, now);
    }

    /// Sends the request to the upstream's pods until one answers. As nginx does by default,
    /// another is tried after a refused connection, and after a broken one unless the request
    /// must not be repeated.
    async fn pass(&self, request: &Request, choice: &Choice<'_>) -> Response {
        let (peers, cookie) = peers(choice.upstream, &request.headers);
        let repeatable = !matches!(request.method, Method::POST | Method::PATCH);
        for peer in peers {
            match self.0.apps.answer(&peer, choice.share).await {
                Ok(answer) => return response(&answer, choice, cookie),
                Err(Unanswered::BrokenOff) if !repeatable => break,
                Err(Unanswered::BrokenOff | Unanswered::Refused) => {}
            }
        }
        Response {
            status: 502,
            canary: choice.canary,
            ..Response::default()
        }
    }

    fn count(
        &self,
        request: &Request,
        host: Option<&str>,
        location: &Location,
        choice: Option<&Choice<'_>>,
        response: &Response,
        started: Timestamp,
    ) {
        let now = self.0.clock.now();
        self.tally(&location.labels, response, now);
        let Some(host) = host else { return };
        let canary = choice
            .filter(|choice| choice.canary)
            .map(|choice| choice.upstream.name.as_str());
        let series = Series {
            labels: location.labels.clone(),
            host: host.into(),
            canary: canary.unwrap_or_default().into(),
            method: request.method.as_str().into(),
            status: response.status,
        };
        lock(&self.0.metrics).count(series, elapsed(started, now));
    }

    /// The metrics as a scrape gets them; none if the endpoint is down, fails or hangs.
    pub fn metrics_text(&self) -> Option<String> {
        let metrics = lock(&self.0.metrics);
        match self.exposed() {
            Exposed::Fine => Some(metrics.text(Shown::All)),
            Exposed::Partial => Some(metrics.text(Shown::Stable)),
            Exposed::Nan => Some(http::without_values(&metrics.text(Shown::All))),
            Exposed::Html => Some(http::PAGE.into()),
            Exposed::Down | Exposed::Fails | Exposed::Hangs => None,
        }
    }

    /// What the metrics endpoint answers from now on.
    pub fn expose(&self, exposed: Exposed) {
        *lock(&self.0.exposed) = exposed;
    }

    pub(super) fn exposed(&self) -> Exposed {
        *lock(&self.0.exposed)
    }

    /// The controller pod restarts: its counters begin at zero.
    pub fn restart(&self) {
        let options = &self.0.options;
        *lock(&self.0.metrics) =
            Metrics::new(&options.pod, &options.controller, self.0.clock.now());
    }

    /// Answers so far, or since the last [`Router::mark`].
    pub fn tallies(&self) -> Vec<(Arm, Tally)> {
        lock(&self.0.tallies).list()
    }

    /// Begins the tallies anew.
    pub fn mark(&self) {
        lock(&self.0.tallies).mark();
    }

    fn draw(&self, total: u32) -> u32 {
        lock(&self.0.random).below(u64::from(total)) as u32 + 1
    }

    fn table(&self) -> Arc<Table> {
        self.0
            .table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn install(&self, table: Table) {
        *self.0.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    fn clock(&self) -> Clock {
        self.0.clock
    }

    fn options(&self) -> &Options {
        &self.0.options
    }
}

fn response(answer: &Answer, choice: &Choice<'_>, cookie: Option<String>) -> Response {
    Response {
        status: answer.status,
        canary: choice.canary,
        service: choice.upstream.service.clone(),
        pod: answer.pod.to_string(),
        image: answer.image.to_string(),
        cookie,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
