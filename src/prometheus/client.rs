//! Asking Prometheus.
//!
//! Requests are built by prometheus-http-query and sent through our own HTTP client: no proxy,
//! no redirects (a login page is no metric), a deadline for everything, and a limit on the body
//! that holds while it is read and unpacked. All rules are asked at once. Where a clock is given,
//! the server's is compared with it.
//!
//! Not here: the query's text (`query`) and the reply's meaning (`reply`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use prometheus_http_query::Client;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::error::{Error, innermost};
use super::query::query;
use super::reply::{self, Fetched};
use super::skew;
use super::sorting::Ask;
use crate::clock::Clock;
use crate::http_client;

/// The largest reply that is read.
const BODY_LIMIT: usize = 32 << 20;
/// Longer queries are posted: proxies limit the length of URLs.
const LONG_QUERY: usize = 1_500;
/// Queries of rules that sample numbers, under way at one time.
const AT_ONCE: usize = 16;
/// The time between scrapes that is assumed until it has been seen.
const SPACING: Duration = Duration::from_secs(30);
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

/// Reads a body, up to `limit` bytes; nothing of one that is announced as larger.
pub(super) async fn body(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, Error> {
    let too_large = Error::TooLarge { limit: limit >> 20 };
    if announced(&response) > limit {
        return Err(too_large);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Error::sending(&error))?
    {
        if body.len() + chunk.len() > limit {
            return Err(too_large);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
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
    /// The time between scrapes that was seen, by metric.
    spacing: BTreeMap<String, Duration>,
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
            spacing: BTreeMap::new(),
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

    /// How far back must be read to see two scrapes of a metric.
    pub(super) fn lookback(&self, metric: &str) -> Duration {
        self.spacing
            .get(metric)
            .copied()
            .unwrap_or(SPACING)
            .mul_f64(2.5)
    }

    /// Asks all rules; one answer for each.
    pub(super) async fn fetch(
        &mut self,
        asks: &[Ask],
        now: Timestamp,
    ) -> Vec<Result<Fetched, Error>> {
        let token = match self.token().await {
            Ok(token) => token,
            Err(error) => return all_fail(asks.len(), error),
        };
        let one = |ask| self.fetch_one(ask, now, token.as_ref());
        let fetched = join_all(asks.iter().map(one)).await;
        for (ask, fetched) in asks.iter().zip(&fetched) {
            self.learn(
                &ask.metric,
                fetched.as_ref().ok().and_then(|fetched| fetched.spacing),
            );
        }
        fetched
    }

    fn learn(&mut self, metric: &str, spacing: Option<i64>) {
        let Some(spacing) = spacing.and_then(|spacing| u64::try_from(spacing).ok()) else {
            return;
        };
        let spacing = Duration::from_millis(spacing.clamp(1_000, 120_000));
        self.spacing.insert(metric.to_owned(), spacing);
    }

    async fn token(&self) -> Result<Option<HeaderValue>, Error> {
        let Some(path) = &self.token_file else {
            return Ok(None);
        };
        let token = |source| Error::Token {
            path: path.clone(),
            source,
        };
        let text = tokio::fs::read_to_string(path).await.map_err(token)?;
        let value = HeaderValue::from_str(&format!("Bearer {}", text.trim()));
        let mut value = value.map_err(|error| token(std::io::Error::other(error)))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn fetch_one(
        &self,
        ask: &Ask,
        now: Timestamp,
        token: Option<&HeaderValue>,
    ) -> Result<Fetched, Error> {
        let query = query(ask, &self.matching, self.range(ask, now));
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
        let fetched = reply::read(code, &body(response, self.limit).await?, ask)?;
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
            Err(error) => return all_fail(queries.len(), error),
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
        let numbers = reply::numbers(code, &body(response, self.limit).await?)?;
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

/// The same failure for every rule.
pub(super) fn all_fail<T>(asks: usize, error: Error) -> Vec<Result<T, Error>> {
    let said = error.to_string();
    let mut all = vec![Err(error)];
    all.resize_with(asks, || Err(Error::Targets(said.clone())));
    all.truncate(asks);
    all
}

#[cfg(test)]
impl Prometheus {
    /// A smaller limit on replies, so that tests need not send 32 MiB.
    pub(super) fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}
