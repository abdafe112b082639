//! Asking Prometheus.
//!
//! Requests are built by prometheus-http-query and sent through our own HTTP client: no proxy,
//! no redirects (a login page is no metric), a deadline for everything, and a limit on the body
//! that holds while it is read and unpacked. All rules are asked at once; what is far back is asked
//! one after the other, and large answers are read one after the other, so that few are held. Where a clock is given, the server's is
//! compared with it.
//!
//! Not here: the query's text (`query`), the reply's meaning (`reply`) and who shares a query (`reach`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use prometheus_http_query::Client;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::{Error, innermost};
use super::parts::Parts;
use super::query::query;
use super::reply::{self, Fetched};
use super::skew;
use super::sorting::Ask;
use crate::clock::Clock;
use crate::http_client;

/// The largest reply that is read: labels, mostly, and a few values of each series.
const BODY_LIMIT: usize = 16 << 20;
/// The same about what is far back. It is values, mostly, and each takes ten times as much once it is read.
const PAST_LIMIT: usize = 8 << 20;
/// A larger reply is read when no other such one is: each may be packed into next to nothing.
const LARGE: usize = 1 << 20;
/// Longer queries are posted: proxies limit the length of URLs.
const LONG_QUERY: usize = 1_500;
/// Queries of rules that sample numbers, under way at one time.
const AT_ONCE: usize = 16;
/// The time between scrapes that is assumed until it has been seen.
const SPACING: Duration = Duration::from_secs(30);
/// How far back is looked for the time between scrapes: two that are a minute apart are in it.
const SPACING_WITHIN: Duration = Duration::from_secs(150);
/// The furthest that is read back.
const RANGE_LIMIT: Duration = Duration::from_secs(3600);

/// Makes an HTTP client that gives up after `timeout`. May be called any number of times.
pub fn http_client(timeout: Duration) -> Result<reqwest::Client, Error> {
    http_client::builder()
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(3)))
        .no_proxy()
        .build()
        .map_err(|error| Error::Client(innermost(&error)))
}

/// A reply's body; while it is held, a large one keeps others from being read.
struct Body<'a> {
    bytes: Vec<u8>,
    _turn: Option<SemaphorePermit<'a>>,
}

/// Reads a body, up to `limit` bytes; nothing of one that is announced as larger. Of one that is large no more is
/// read before its turn.
async fn body(
    mut response: reqwest::Response,
    limit: usize,
    turns: &Semaphore,
) -> Result<Body<'_>, Error> {
    let too_large = Error::TooLarge { limit: limit >> 20 };
    if announced(&response) > limit {
        return Err(too_large);
    }
    let (mut bytes, mut turn) = (Vec::new(), None);
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Error::sending(&error))?
    {
        let length = bytes.len() + chunk.len();
        if length > limit {
            return Err(too_large);
        }
        if length > LARGE && turn.is_none() {
            let next = turns.acquire().await;
            turn = Some(next.map_err(|error| Error::Client(innermost(&error)))?);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Body { bytes, _turn: turn })
}

/// The length that a response is said to have; 0 if nothing is said.
pub(super) fn announced(response: &reqwest::Response) -> usize {
    let length = response.content_length().unwrap_or(0);
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// A Prometheus server, or one that speaks its API.
pub struct Prometheus {
    client: Client,
    token_file: Option<PathBuf>,
    matching: Vec<(String, String)>,
    clock: Option<Clock>,
    limit: usize,
    past_limit: usize,
    /// The time between scrapes that was seen, by metric.
    spacing: BTreeMap<String, Duration>,
    /// How many Rollouts one answer can hold, by rule, where it cannot hold all of them.
    most: BTreeMap<String, usize>,
    /// What is too large is not read over less time: who asks does that.
    replays: bool,
    /// Large replies, one after the other.
    turns: Semaphore,
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.client.base_url().as_str();
        f.debug_struct("Prometheus")
            .field("url", &url)
            .finish_non_exhaustive()
    }
}

impl Prometheus {
    /// A server at `url`; each request gives up after `timeout`. The token file, if any, is read
    /// anew for each look, since tokens are rotated.
    pub fn new(url: &str, token_file: Option<PathBuf>, timeout: Duration) -> Result<Self, Error> {
        let client =
            Client::from(http_client(timeout)?, url.trim_end_matches('/')).map_err(|error| {
                Error::Url {
                    url: url.to_owned(),
                    why: innermost(&error),
                }
            })?;
        Ok(Self {
            client,
            token_file,
            matching: Vec::new(),
            clock: None,
            limit: BODY_LIMIT,
            past_limit: PAST_LIMIT,
            spacing: BTreeMap::new(),
            most: BTreeMap::new(),
            replays: false,
            turns: Semaphore::new(1),
        })
    }

    /// Reads only series that have these labels with these values.
    #[must_use]
    pub fn matching(mut self, labels: &[(String, String)]) -> Self {
        self.matching = labels.to_vec();
        self
    }

    /// Compares the server's clock with this one: samples are stamped by the former, weight
    /// changes by the latter. Where they are apart, every reading says so, and is absent.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Answers that are too large are told, and not asked for over less time.
    pub(super) fn replay(&mut self) {
        self.replays = true;
    }

    /// How far back must be read to see two scrapes of a metric.
    pub(super) fn lookback(&self, metric: &str) -> Duration {
        lookback(self.spacing.get(metric).copied().unwrap_or(SPACING))
    }

    /// Whether the time between a metric's scrapes has been seen.
    pub(super) fn knows(&self, metric: &str) -> bool {
        self.spacing.contains_key(metric)
    }

    /// Finds out the time between scrapes, of rules about which it is not known.
    pub(super) async fn find_spacing(&mut self, asks: &[Ask], now: Timestamp) {
        let Ok(token) = self.token().await else {
            return; // the reading that follows says so
        };
        let range = SPACING_WITHIN;
        let one = |ask| self.fetch_one(ask, now, token.as_ref(), range, self.past_limit);
        let fetched = join_all(asks.iter().map(one)).await;
        for (ask, fetched) in asks.iter().zip(fetched) {
            let spacing = fetched.ok().and_then(|fetched| fetched.spacing());
            self.learn(&ask.metric, spacing);
        }
    }

    /// Asks all rules; one answer for each.
    pub(super) async fn fetch(&mut self, asks: &[Ask], now: Timestamp) -> Vec<Fetched> {
        let token = match self.token().await {
            Ok(token) => token,
            Err(error) => {
                let failed = |ask: &Ask| Fetched::failed(ask.members.len(), &error);
                return asks.iter().map(failed).collect();
            }
        };
        let (near, far): (Vec<&Ask>, Vec<&Ask>) = asks.iter().partition(|ask| ask.class == 0);
        let near = near
            .into_iter()
            .map(|ask| self.fetch_parts(ask, now, token.as_ref()));
        let far = async {
            let mut all = Vec::new();
            for ask in far {
                all.push(self.fetch_parts(ask, now, token.as_ref()).await);
            }
            all
        };
        let (near, far) = futures::join!(join_all(near), far);
        let (mut near, mut far) = (near.into_iter(), far.into_iter());
        let mut all = Vec::with_capacity(asks.len());
        for ask in asks {
            let of = if ask.class == 0 { &mut near } else { &mut far };
            let Some(parts) = of.next() else { continue };
            self.learn(&ask.metric, parts.fetched.spacing());
            if ask.class == 0 {
                self.keep_most(&ask.rule.name, parts.next_most());
            }
            all.push(parts.fetched);
        }
        all
    }

    fn learn(&mut self, metric: &str, spacing: Option<i64>) {
        let Some(spacing) = spacing.and_then(|spacing| u64::try_from(spacing).ok()) else {
            return;
        };
        let spacing = Duration::from_millis(spacing.clamp(1_000, 120_000));
        self.spacing.insert(metric.to_owned(), spacing);
    }

    fn keep_most(&mut self, rule: &str, most: Option<usize>) {
        match most {
            Some(most) => self.most.insert(rule.to_owned(), most),
            None => self.most.remove(rule),
        };
    }

    async fn token(&self) -> Result<Option<HeaderValue>, Error> {
        let Some(path) = &self.token_file else {
            return Ok(None);
        };
        let token = |source| Error::Token {
            path: path.clone(),
            source: Arc::new(source),
        };
        let text = tokio::fs::read_to_string(path).await.map_err(token)?;
        let value = HeaderValue::from_str(&format!("Bearer {}", text.trim()));
        let mut value = value.map_err(|error| token(std::io::Error::other(error)))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Asks a rule, in parts where the whole is too large.
    async fn fetch_parts(&self, ask: &Ask, now: Timestamp, token: Option<&HeaderValue>) -> Parts {
        let past = ask.class > 0;
        let most = self.most.get(&ask.rule.name).copied().filter(|_| !past);
        let limit = if past { self.past_limit } else { self.limit };
        let mut parts = Parts::new(
            ask.members.len(),
            self.range(ask, now),
            most.unwrap_or(usize::MAX),
            self.lookback(&ask.metric),
        )
        .over_all_time(self.replays);
        while let Some(part) = parts.next() {
            let some;
            let asked = if part.members.len() == ask.members.len() {
                ask
            } else {
                some = ask.part(part.members.clone());
                &some
            };
            let answer = self.fetch_one(asked, now, token, part.range, limit).await;
            parts.take(&part, answer);
        }
        parts
    }

    async fn fetch_one(
        &self,
        ask: &Ask,
        now: Timestamp,
        token: Option<&HeaderValue>,
        range: Duration,
        limit: usize,
    ) -> Result<Fetched, Error> {
        let query = query(ask, &self.matching, range);
        let long = query.len() > LONG_QUERY;
        let time = now.as_millisecond();
        let mut request = self
            .client
            .query(query)
            .query("time", format!("{}.{:03}", time / 1000, time % 1000));
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let response = if long {
            request.post_raw().await
        } else {
            request.get_raw().await
        };
        let response = response.map_err(|error| sending(&error))?;
        let code = response.status().as_u16();
        let doubt = self
            .clock
            .and_then(|clock| skew::doubt(response.headers(), now, clock.now()));
        let body = body(response, limit, &self.turns).await?;
        let fetched = reply::read(code, &body.bytes, ask)?;
        Ok(Fetched { doubt, ..fetched })
    }

    /// Asks queries for one number over time each; a few at a time.
    pub(super) async fn sample(
        &self,
        queries: &[Range],
        now: Timestamp,
    ) -> Vec<Result<Numbers, Error>> {
        let token = match self.token().await {
            Ok(token) => token,
            Err(error) => return queries.iter().map(|_| Err(error.clone())).collect(),
        };
        let one = |query| self.sample_one(query, now, token.as_ref());
        let mut answers = Vec::with_capacity(queries.len());
        for some in queries.chunks(AT_ONCE) {
            answers.extend(join_all(some.iter().map(one)).await);
        }
        answers
    }

    async fn sample_one(
        &self,
        range: &Range,
        now: Timestamp,
        token: Option<&HeaderValue>,
    ) -> Result<Numbers, Error> {
        let Range {
            query,
            first,
            last,
            every,
        } = range;
        let mut request = self.client.query_range(query, *first, *last, *every as f64);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        // Queries may be long, and a range has more to say: posted always.
        let response = request.post_raw().await.map_err(|error| sending(&error))?;
        let code = response.status().as_u16();
        let doubt = self
            .clock
            .and_then(|clock| skew::doubt(response.headers(), now, clock.now()));
        let body = body(response, self.limit, &self.turns).await?;
        let numbers = reply::numbers(code, &body.bytes)?;
        Ok(Numbers { numbers, doubt })
    }

    fn range(&self, ask: &Ask, now: Timestamp) -> Duration {
        let start = ask.members.iter().map(|member| member.start).min();
        let span = start.map_or(0, |start| now.as_millisecond().saturating_sub(start));
        let span = Duration::from_millis(u64::try_from(span).unwrap_or(0));
        span.max(self.lookback(&ask.metric)).min(RANGE_LIMIT)
    }
}

/// A query over a range of time, in whole seconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Range {
    pub query: String,
    /// The first time at which it is evaluated.
    pub first: i64,
    /// The last one.
    pub last: i64,
    /// Time from one to the next.
    pub every: i64,
}

/// What a query brought.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Times in milliseconds, rising, and what it came to.
    pub numbers: Vec<(i64, f64)>,
    /// Why nothing may rise on it.
    pub doubt: Option<String>,
}

fn sending(error: &prometheus_http_query::Error) -> Error {
    let source = std::error::Error::source(error);
    match source.and_then(|source| source.downcast_ref::<reqwest::Error>()) {
        Some(error) => Error::sending(error),
        None => Error::Unreachable(innermost(error)),
    }
}

/// How far back two scrapes are that are so far apart, also where one is missing.
pub(super) fn lookback(spacing: Duration) -> Duration {
    spacing.mul_f64(2.5)
}

#[cfg(test)]
impl Prometheus {
    /// Smaller limits on replies, so that tests need not send 16 MiB.
    pub(super) fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self.past_limit = limit;
        self
    }
}
