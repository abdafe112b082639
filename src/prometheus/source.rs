//! One look at the metrics of all subjects.
//!
//! The source remembers how far each subject's counters have been counted. A subject whose
//! cursor differs from that (the daemon was restarted, or took up an older state after a
//! conflict) is counted again from its cursor; one that is no longer asked for is forgotten.
//!
//! Not here: how Prometheus or a pod is asked (`client`, `scrape`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::client::Prometheus;
use super::error::Error;
use super::follow::{Follow, HISTORY_MS};
use super::reply::Fetched;
use super::sampled::Sampled;
use super::scrape::Scrape;
use super::sorting::Ask;
use super::{Key, Reading, Readings, Subject, sampled};
use crate::rollout::rule::Rule;

/// What is usual is read if no more subjects than these are new: one answer holds all of them ...
const HISTORY_SUBJECTS: usize = 20;
/// ... and at most so many scrapes of each series.
const HISTORY_SCRAPES: i64 = 200;

/// Where metrics come from.
#[derive(Debug)]
pub struct Source {
    origin: Origin,
    followed: BTreeMap<Key, BTreeMap<String, Box<Follow>>>,
    sampled: BTreeMap<Key, BTreeMap<String, Sampled>>,
    /// The past is read, a piece after the other: no piece is left out, and none shortened.
    replays: bool,
}

#[derive(Debug)]
enum Origin {
    Prometheus(Box<Prometheus>),
    Scrape(Scrape),
}

impl From<Prometheus> for Source {
    fn from(prometheus: Prometheus) -> Self {
        Self {
            origin: Origin::Prometheus(Box::new(prometheus)),
            followed: BTreeMap::new(),
            sampled: BTreeMap::new(),
            replays: false,
        }
    }
}

impl From<Scrape> for Source {
    fn from(scrape: Scrape) -> Self {
        Self {
            origin: Origin::Scrape(scrape),
            followed: BTreeMap::new(),
            sampled: BTreeMap::new(),
            replays: false,
        }
    }
}

impl Source {
    /// Reads all subjects once. Nothing is asked when there is none.
    pub async fn read(&mut self, subjects: &[Subject], now: Timestamp) -> Readings {
        self.look(subjects, now).await.0
    }

    /// The same, with the last thing that failed.
    pub(super) async fn look(
        &mut self,
        subjects: &[Subject],
        now: Timestamp,
    ) -> (Readings, Option<Error>) {
        self.forget(subjects);
        let mut readings = Readings::new();
        for subject in subjects {
            let absent = self.follow(subject, now).err();
            readings.insert(
                subject.key(),
                Reading {
                    absent,
                    ..Reading::default()
                },
            );
        }
        self.find_spacing(subjects, now).await;
        let asks = self.asks(subjects, now, &mut readings);
        let fetched = match &mut self.origin {
            _ if asks.is_empty() => Vec::new(),
            Origin::Prometheus(prometheus) => prometheus.fetch(&asks, now).await,
            Origin::Scrape(scrape) => scrape.fetch(&asks, now).await,
        };
        let mut failed = None;
        for (ask, fetched) in asks.iter().zip(fetched) {
            let mut shares = fetched.shares.iter();
            failed = failed.or(shares.find_map(|share| share.failed.clone()));
            self.fold(subjects, ask, fetched, now, &mut readings);
        }
        self.sample(subjects, now, &mut readings).await;
        for (key, reading) in &mut readings {
            self.conclude(key, reading);
        }
        for subject in subjects {
            if let Some(reading) = readings.get_mut(&subject.key()) {
                keep_unasked(subject, reading);
            }
        }
        (readings, failed)
    }

    /// What is read is the past, a piece after the other.
    pub(super) fn replay(&mut self) {
        self.replays = true;
        if let Origin::Prometheus(prometheus) = &mut self.origin {
            prometheus.replay();
        }
    }

    fn forget(&mut self, subjects: &[Subject]) {
        let asked: std::collections::BTreeSet<Key> = subjects.iter().map(Subject::key).collect();
        self.followed.retain(|key, _| asked.contains(key));
        self.sampled.retain(|key, _| asked.contains(key));
    }

    /// Brings what is remembered of a subject in line with what it asks.
    fn follow(&mut self, subject: &Subject, now: Timestamp) -> Result<(), String> {
        let scraped = matches!(self.origin, Origin::Scrape(_));
        let rules = self.followed.entry(subject.key()).or_default();
        rules.retain(|name, _| subject.rules.iter().any(|rule| rule.name == *name));
        for rule in subject.rules.iter().filter(|rule| rule.series().is_some()) {
            let cursor = subject
                .cursor
                .as_ref()
                .and_then(|cursor| cursor.rules.get(&rule.name));
            let known = rules.get(&rule.name).map(|known| &**known);
            if let Some(anew) = Follow::anew(known, (rule, subject, cursor), scraped, now)? {
                rules.insert(rule.name.clone(), anew.into());
            }
        }
        Ok(())
    }

    /// Finds out how often a metric is scraped before what was usual is read: without that a
    /// history would be as long as for the slowest.
    async fn find_spacing(&mut self, subjects: &[Subject], now: Timestamp) {
        let Origin::Prometheus(prometheus) = &mut self.origin else {
            return;
        };
        if subjects.len() > HISTORY_SUBJECTS {
            return;
        }
        let mut asks: Vec<Ask> = Vec::new();
        for (position, subject) in subjects.iter().enumerate() {
            for follow in self.followed.get(&subject.key()).into_iter().flatten() {
                let follow = follow.1;
                if !follow.is_new() {
                    continue;
                }
                if let Some(ask) = ask_for(&mut asks, &follow.rule, 0) {
                    ask.add(subject, follow.member(position, now.as_millisecond()));
                }
            }
        }
        asks.retain(|ask| !prometheus.knows(&ask.metric));
        if !asks.is_empty() {
            prometheus.find_spacing(&asks, now).await;
        }
    }

    /// The rules that are asked, each with all its subjects that reach about as far back. What is
    /// not asked for yet again is as it was.
    fn asks(&self, subjects: &[Subject], now: Timestamp, readings: &mut Readings) -> Vec<Ask> {
        let mut asks: Vec<Ask> = Vec::new();
        let time = now.as_millisecond();
        for (position, subject) in subjects.iter().enumerate() {
            let key = subject.key();
            for follow in self.followed.get(&key).into_iter().flatten() {
                let follow = follow.1;
                let Some(metric) = follow.rule.metric() else {
                    continue;
                };
                let lookback = self.lookback(&metric);
                let start = follow.start(lookback, self.usual(subjects.len(), &metric), time);
                let class = follow.class(start, lookback, time);
                if class > 0 && follow.pauses(time) {
                    if let (Some(why), Some(reading)) = (&follow.lacks, readings.get_mut(&key)) {
                        reading.add_absent(why.clone());
                    }
                    continue;
                }
                if let Some(ask) = ask_for(&mut asks, &follow.rule, class) {
                    ask.add(subject, follow.member(position, start));
                }
            }
        }
        asks
    }

    /// How far before its beginning a new subject is read, in milliseconds; a scraper cannot look back.
    fn usual(&self, subjects: usize, metric: &str) -> i64 {
        let known = match &self.origin {
            Origin::Prometheus(prometheus) => prometheus.knows(metric),
            Origin::Scrape(_) => false,
        };
        if !known || subjects > HISTORY_SUBJECTS {
            return 0;
        }
        // What is looked back is two and a half times the time between scrapes.
        (HISTORY_SCRAPES * self.lookback(metric) * 2 / 5).min(HISTORY_MS)
    }

    fn lookback(&self, metric: &str) -> i64 {
        let lookback = match &self.origin {
            Origin::Prometheus(prometheus) => prometheus.lookback(metric),
            Origin::Scrape(_) => Duration::ZERO,
        };
        i64::try_from(lookback.as_millis()).unwrap_or(0)
    }

    fn fold(
        &mut self,
        subjects: &[Subject],
        ask: &Ask,
        fetched: Fetched,
        now: Timestamp,
        readings: &mut Readings,
    ) {
        let (problems, doubt) = (fetched.problems, fetched.doubt);
        for (member, share) in ask.members.iter().zip(fetched.shares) {
            let subject = &subjects[member.subject];
            let key = subject.key();
            let follow = self
                .followed
                .get_mut(&key)
                .and_then(|rules| rules.get_mut(&ask.rule.name));
            let (Some(follow), Some(reading)) = (follow, readings.get_mut(&key)) else {
                continue;
            };
            reading.problems.extend_from_slice(&problems);
            reading.problems.extend_from_slice(&share.problems);
            let class = if self.replays { 0 } else { ask.class };
            follow.asked(share.failed.as_ref(), class, now.as_millisecond());
            let mut lacks = follow.answered(ask, subject, share, reading);
            if lacks.is_empty() {
                let doubt = doubt.iter();
                lacks.extend(doubt.map(|doubt| format!("{}: {doubt}", ask.rule.name)));
            }
            follow.lacks = (!lacks.is_empty()).then(|| lacks.join("; "));
            if let Some(lacks) = &follow.lacks {
                reading.add_absent(lacks.clone());
            }
        }
    }

    /// Asks the queries whose time has come.
    async fn sample(&mut self, subjects: &[Subject], now: Timestamp, readings: &mut Readings) {
        let Self {
            origin, sampled, ..
        } = self;
        for subject in subjects {
            Sampled::follow(sampled.entry(subject.key()).or_default(), subject);
        }
        let all = sampled
            .iter_mut()
            .flat_map(|(key, rules)| rules.values_mut().map(move |one| (key, one)));
        match origin {
            Origin::Prometheus(prometheus) => {
                sampled::read(prometheus, all.collect(), now, readings).await;
            }
            Origin::Scrape(_) => {
                for (key, one) in all {
                    if let Some(reading) = readings.get_mut(key) {
                        reading.add_absent(one.unanswerable());
                    }
                }
            }
        }
    }

    /// Says how far the subject has been read now.
    fn conclude(&self, key: &Key, reading: &mut Reading) {
        let Some(rules) = self.followed.get(key) else {
            return;
        };
        for (name, follow) in rules {
            if let Some(newest) = follow.newest() {
                reading.newest_of.insert(name.clone(), newest);
            }
            if let Some(position) = follow.position() {
                let rules = &mut reading.cursor.rules;
                rules.insert(name.clone(), Arc::clone(position));
            }
        }
        let mut count = rules.len();
        for (name, sampled) in self.sampled.get(key).into_iter().flatten() {
            count += 1;
            if let Some(newest) = sampled.newest() {
                reading.newest_of.insert(name.clone(), newest);
            }
            if let Some(position) = sampled.position() {
                reading.cursor.rules.insert(name.clone(), position.into());
            }
        }
        let all = reading.newest_of.len() == count;
        reading.newest = reading.newest_of.values().min().copied().filter(|_| all);
        reading.samples.sort_by_key(|sample| sample.to);
        reading.problems.sort();
        reading.problems.dedup();
    }
}

/// The question of a rule for those of a class, made where nobody asked it yet; `None` for a rule
/// that counts no series.
fn ask_for<'a>(asks: &'a mut Vec<Ask>, rule: &Arc<Rule>, class: u32) -> Option<&'a mut Ask> {
    let same =
        |ask: &Ask| ask.class == class && (Arc::ptr_eq(&ask.rule, rule) || ask.rule == *rule);
    let at = if let Some(at) = asks.iter().position(same) {
        at
    } else {
        asks.push(Ask::new(Arc::clone(rule))?.of_class(class));
        asks.len() - 1
    };
    asks.get_mut(at)
}

/// A rule that is not asked for the moment, since its file is being replaced, is counted on from where it was.
fn keep_unasked(subject: &Subject, reading: &mut Reading) {
    let known = subject.cursor.iter().flat_map(|cursor| &cursor.rules);
    let unasked = known.filter(|(name, _)| subject.rules.iter().all(|rule| rule.name != **name));
    for (name, position) in unasked {
        reading.cursor.rules.insert(name.clone(), position.clone());
    }
}

impl Reading {
    /// Adds to why a rule could not be read now.
    pub fn add_absent(&mut self, why: String) {
        self.absent = Some(match self.absent.take() {
            None => why,
            Some(absent) => format!("{absent}; {why}"),
        });
    }
}
