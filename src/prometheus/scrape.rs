//! Reading the router's pods directly, without a Prometheus.
//!
//! Every target is one process. All are fetched at once and share one scrape time. A target that
//! fails is told and left out; its counters go on at its next answer, so that nothing is lost.
//! Only when none answers is there no reading.
//!
//! Not here: finding the pods (the caller hands in their URLs) and the text format
//! (`exposition`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use reqwest::header::ACCEPT;

use super::client::{announced, http_client};
use super::counters::Batch;
use super::error::{Error, beginning};
use super::exposition::{Line, Scanner};
use super::process::Point;
use super::reply::{Fetched, Share, count, ignored_values};
use super::sorting::{Ask, Labels, target};

/// The largest text that is read, after decompression.
const BODY_LIMIT: usize = 64 << 20;

/// What processes of this process answer, by name: a text, or why there is none.
pub type Answers = BoxFuture<'static, Vec<(String, Result<String, Error>)>>;

/// Where metrics are read.
#[derive(Clone)]
pub enum Targets {
    /// These URLs.
    Urls(Vec<String>),
    /// The URLs that this returns, asked before each scrape: the pods that run now.
    Found(Arc<dyn Fn() -> Vec<String> + Send + Sync>),
    /// Texts by process name, without any network: a router in this process.
    Texts(Arc<dyn Fn() -> Vec<(String, String)> + Send + Sync>),
    /// The same, but an answer may fail, and take its time.
    Answers(Arc<dyn Fn() -> Answers + Send + Sync>),
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Urls(urls) => f.debug_tuple("Urls").field(urls).finish(),
            Self::Found(_) => f.write_str("Found"),
            Self::Texts(_) => f.write_str("Texts"),
            Self::Answers(_) => f.write_str("Answers"),
        }
    }
}

/// The direct scraper.
#[derive(Debug)]
pub struct Scrape {
    targets: Targets,
    client: reqwest::Client,
}

/// What one target brought.
struct Answer {
    /// (ask, member, point).
    points: Vec<(usize, usize, Point)>,
    malformed: usize,
    ignored: usize,
}

impl Scrape {
    /// Reads `targets`; each request gives up after `timeout`.
    pub fn new(targets: Targets, timeout: Duration) -> Result<Self, Error> {
        Ok(Self {
            targets,
            client: http_client(timeout)?,
        })
    }

    /// Scrapes all targets once for all rules.
    pub(super) async fn fetch(&self, asks: &[Ask], now: Timestamp) -> Vec<Fetched> {
        let answers = self.answers(asks, now.as_millisecond()).await;
        if answers.is_empty() {
            let said = "there is no target to scrape: no pod of the router was found";
            return all_fail(asks, &Error::Targets(said.to_owned()));
        }
        let failures: Vec<String> = answers
            .iter()
            .filter_map(|(name, answer)| Some(format!("{name}: {}", answer.as_ref().err()?)))
            .collect();
        if failures.len() == answers.len() {
            let (said, hint) = (failures.join("; "), self.hint());
            let said = format!("no target answered: {said}{hint}");
            return all_fail(asks, &Error::Targets(said));
        }
        sort(asks, &answers, &failures, now.as_millisecond())
    }

    /// What is to be done where no pod answers at its own address.
    fn hint(&self) -> &'static str {
        match self.targets {
            Targets::Found(_) => {
                "; pods are asked at their own addresses: from outside of the cluster name evidence.scrape.targets, or evidence.prometheus"
            }
            Targets::Urls(_) | Targets::Texts(_) | Targets::Answers(_) => "",
        }
    }

    async fn answers(&self, asks: &[Ask], at: i64) -> Vec<(String, Result<Answer, Error>)> {
        let urls = match &self.targets {
            Targets::Urls(urls) => urls.clone(),
            Targets::Found(find) => find(),
            Targets::Texts(texts) => {
                let texts = texts().into_iter();
                return texts
                    .map(|(name, text)| {
                        let answer = Pending::whole(asks, &name, at, &text);
                        (name, Ok(answer))
                    })
                    .collect();
            }
            Targets::Answers(ask) => {
                let answers = ask().await.into_iter();
                return answers
                    .map(|(name, text)| {
                        let answer = text.map(|text| Pending::whole(asks, &name, at, &text));
                        (name, answer)
                    })
                    .collect();
            }
        };
        join_all(urls.into_iter().map(|url| async move {
            let answer = self.scrape(asks, &url, at).await;
            (url, answer)
        }))
        .await
    }

    async fn scrape(&self, asks: &[Ask], url: &str, at: i64) -> Result<Answer, Error> {
        const ACCEPTED: &str =
            "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5";
        let request = self.client.get(url).header(ACCEPT, ACCEPTED);
        let mut response = request.send().await.map_err(|error| sending(&error, url))?;
        let code = response.status().as_u16();
        if !response.status().is_success() {
            let said = response.chunk().await.ok().flatten().unwrap_or_default();
            return Err(Error::Status {
                code,
                said: beginning(&said),
            });
        }
        let too_large = Error::TooLarge {
            limit: BODY_LIMIT >> 20,
        };
        if announced(&response) > BODY_LIMIT {
            return Err(too_large);
        }
        let mut pending = Pending::new(asks, url, at);
        let mut size = 0;
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| Error::sending(&error))?
        {
            size += chunk.len();
            if size > BODY_LIMIT {
                return Err(too_large);
            }
            pending.feed(&chunk);
        }
        Ok(pending.finish())
    }
}

/// The same failure for every rule.
fn all_fail(asks: &[Ask], error: &Error) -> Vec<Fetched> {
    let failed = |ask: &Ask| Fetched::failed(ask.members.len(), error);
    asks.iter().map(failed).collect()
}

fn sending(error: &reqwest::Error, url: &str) -> Error {
    if error.is_builder() {
        return Error::Url {
            url: url.to_owned(),
            why: super::error::innermost(error),
        };
    }
    Error::sending(error)
}

/// A text of which more may come.
struct Pending<'a> {
    asks: &'a [Ask],
    scanner: Scanner,
    process: u64,
    at: i64,
    answer: Answer,
}

impl<'a> Pending<'a> {
    fn new(asks: &'a [Ask], name: &str, at: i64) -> Self {
        let wanted = asks.iter().map(|ask| ask.metric.clone()).collect();
        let answer = Answer {
            points: Vec::new(),
            malformed: 0,
            ignored: 0,
        };
        Self {
            asks,
            scanner: Scanner::new(wanted),
            process: target(name),
            at,
            answer,
        }
    }

    /// Reads a text that is there at once.
    fn whole(asks: &'a [Ask], name: &str, at: i64, text: &str) -> Answer {
        let mut pending = Self::new(asks, name, at);
        pending.feed(text.as_bytes());
        pending.finish()
    }

    fn feed(&mut self, piece: &[u8]) {
        let Self {
            asks,
            scanner,
            process,
            at,
            answer,
        } = self;
        scanner.feed(piece, |line| answer.take(asks, *process, *at, line));
    }

    fn finish(mut self) -> Answer {
        let Self {
            asks,
            scanner,
            process,
            at,
            answer,
        } = &mut self;
        scanner.finish(|line| answer.take(asks, *process, *at, line));
        self.answer.malformed = self.scanner.malformed;
        self.answer
    }
}

impl Answer {
    fn take(&mut self, asks: &[Ask], process: u64, at: i64, line: &Line<'_>) {
        for (position, ask) in asks
            .iter()
            .enumerate()
            .filter(|(_, ask)| ask.metric == line.name)
        {
            self.take_for(position, ask, process, at, &line.labels, line.value);
        }
    }

    fn take_for(
        &mut self,
        position: usize,
        ask: &Ask,
        process: u64,
        at: i64,
        labels: &Labels<'_>,
        value: f64,
    ) {
        for place in ask.places(labels) {
            let Some(value) = count(value) else {
                self.ignored += 1;
                continue;
            };
            let (series, arm, class) = (place.series, place.arm, place.class);
            self.points.push((
                position,
                place.member,
                Point {
                    series,
                    process,
                    arm,
                    class,
                    at,
                    value,
                },
            ));
        }
    }
}

/// What a text says, as if one target had answered with it.
#[cfg(any(test, fuzzing))]
pub(super) fn read_text(asks: &[Ask], name: &str, text: &[u8], at: i64) -> Vec<Fetched> {
    let mut pending = Pending::new(asks, name, at);
    pending.feed(text);
    let answer = Ok(pending.finish());
    sort(asks, &[(name.to_owned(), answer)], &[], at)
}

fn sort(
    asks: &[Ask],
    answers: &[(String, Result<Answer, Error>)],
    failures: &[String],
    at: i64,
) -> Vec<Fetched> {
    let answered = || {
        answers
            .iter()
            .filter_map(|(name, answer)| Some((name, answer.as_ref().ok()?)))
    };
    let scraped: Vec<(u64, i64)> = answered().map(|(name, _)| (target(name), at)).collect();
    let mut problems: Vec<String> = failures.to_vec();
    for (name, answer) in answered() {
        problems.extend(ignored_values(name, answer.ignored));
        if answer.malformed > 0 {
            problems.push(format!(
                "{name}: {} lines could not be read",
                answer.malformed
            ));
        }
    }
    let empty = |ask: &Ask| {
        let batch = Batch {
            points: Vec::new(),
            scraped: scraped.clone(),
        };
        let share = Share {
            batch,
            ..Share::default()
        };
        Fetched {
            shares: vec![share; ask.members.len()],
            problems: problems.clone(),
            doubt: None,
        }
    };
    let mut all: Vec<Fetched> = asks.iter().map(empty).collect();
    for (ask, member, point) in answered().flat_map(|(_, answer)| &answer.points) {
        all[*ask].shares[*member].batch.points.push(*point);
    }
    all
}
