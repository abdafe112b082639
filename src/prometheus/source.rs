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

use super::client::{self, Prometheus};
use super::counters::{Batch, Counters};
use super::cursor::RuleCursor;
use super::error::Error;
use super::reach::{self, Read};
use super::reply::{Fetched, Share};
use super::sampled::Sampled;
use super::scrape::Scrape;
use super::sorting::{Arms, Ask, Member, target};
use super::tally::Arm;
use super::{Key, Reading, Readings, Subject, sampled};
use crate::rollout::rule::{Kind, Rule};

/// A clock that was set back by more than this begins anew with counting; by less, it catches up.
const AHEAD_MS: i64 = 5_000;
/// How far before a cursor's time is read, so that every process' last counted scrape is there.
const BEFORE_CURSOR_MS: i64 = 300_000;

/// How far before its beginning a new subject is read, so that what is usual is known ...
const HISTORY_MS: i64 = 1_800_000;
/// ... if no more than so many are read: one answer holds all of them ...
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

/// One rule of one subject between looks.
#[derive(Debug)]
struct Follow {
    rule: Arc<Rule>,
    /// The Ingresses and ports that are counted.
    over: [Vec<String>; 2],
    arms: Arms,
    since: Timestamp,
    counters: Counters,
    position: Arc<RuleCursor>,
    /// Nothing has been read since counting began or was resumed.
    fresh: bool,
    begun: bool,
    /// When an answer was had last, in milliseconds.
    looked: Option<i64>,
    /// How far back two of its own scrapes are, in milliseconds.
    lookback: i64,
    /// When what is far back was asked for last, in milliseconds.
    past_asked: Option<i64>,
    /// Its answer was too large: it shares no query with those that are up to date.
    apart: bool,
    /// Why it was absent at the last look.
    lacks: Option<String>,
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
            let newest = cursor.and_then(|cursor| cursor.newest());
            let known = rules.get(&rule.name);
            // Our own times, of before the clock was set back.
            let ahead = scraped
                && (known.is_some_and(|known| is_ahead(known.counters.newest(), now))
                    || is_ahead(newest, now));
            if !ahead && known.is_some_and(|known| known.goes_on(rule, subject, cursor)) {
                continue;
            }
            // Sums of another rule, or over other Ingresses, mean nothing for this one; times do.
            let counted = counted(rule, subject);
            let changed = known
                .is_some_and(|known| known.rule != *rule || known.over != over(subject))
                || cursor.is_some_and(|cursor| cursor.counted.is_some_and(|it| it != counted));
            let (since, cursor) = if scraped && (changed || ahead) {
                (now, None)
            } else {
                (subject.since, cursor)
            };
            rules.insert(
                rule.name.clone(),
                Follow::begin(rule, subject, since, scraped, cursor)?.into(),
            );
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
                if !follow.fresh || follow.counters.newest().is_some() {
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
            if follow.begun {
                reading
                    .cursor
                    .rules
                    .insert(name.clone(), Arc::clone(&follow.position));
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

impl Follow {
    fn begin(
        rule: &Arc<Rule>,
        subject: &Subject,
        since: Timestamp,
        scraped: bool,
        cursor: Option<&Arc<RuleCursor>>,
    ) -> Result<Self, String> {
        let series = rule
            .series()
            .ok_or_else(|| format!("{}: counts nothing", rule.name))?;
        let arms = Arms::of(series, subject).map_err(|error| format!("{}: {error}", rule.name))?;
        // A scraper cannot look back.
        let history = if scraped { 0 } else { HISTORY_MS };
        let from = since.as_millisecond() - history;
        let counters = match cursor {
            Some(cursor) => Counters::resume(&rule.name, from, cursor),
            None => Counters::start(&rule.name, from),
        };
        let counters = counters.with_sums(scraped).of(counted(rule, subject));
        let position = cursor.cloned().unwrap_or_default();
        Ok(Self {
            rule: Arc::clone(rule),
            over: over(subject),
            arms,
            since,
            counters,
            begun: cursor.is_some(),
            position,
            fresh: true,
            looked: None,
            lookback: 0,
            past_asked: None,
            apart: false,
            lacks: None,
        })
    }

    /// Whether counting goes on where it stands.
    fn goes_on(
        &self,
        rule: &Arc<Rule>,
        subject: &Subject,
        cursor: Option<&Arc<RuleCursor>>,
    ) -> bool {
        let same_rule = Arc::ptr_eq(&self.rule, rule) || self.rule == *rule;
        let same_rule = same_rule && self.over == over(subject);
        let same_place = match cursor {
            Some(cursor) => *cursor == self.position,
            // The caller has counted nothing: right as long as it was given nothing.
            None => self.position.until.is_none() && self.since == subject.since,
        };
        same_rule && same_place
    }

    /// From when on scrapes must be read, in milliseconds, if `history` is to be known.
    fn start(&self, lookback: i64, history: i64, now: i64) -> i64 {
        match (self.fresh, self.counters.newest()) {
            (true, Some(counted)) => counted.saturating_sub(BEFORE_CURSOR_MS),
            (true, None) => self.since.as_millisecond() - lookback - history,
            (false, Some(_)) => self.read().map_or(now, |read| read.start(lookback)),
            (false, None) => now - 2 * lookback,
        }
    }

    fn read(&self) -> Option<Read> {
        let (newest, looked) = (self.counters.newest()?, self.looked?);
        Some(Read { newest, looked })
    }

    /// Which query it is part of, when it must be read from `start` on.
    fn class(&self, start: i64, lookback: i64, now: i64) -> u32 {
        let span = now.saturating_sub(start);
        if self.apart {
            return u32::MAX;
        }
        let quiet = !self.fresh
            && self
                .read()
                .is_some_and(|read| read.is_quiet(lookback.max(self.lookback)));
        reach::class(span, lookback).max(u32::from(quiet && lookback > 0))
    }

    /// Whether what is far back was asked for just now.
    fn pauses(&self, now: i64) -> bool {
        let ago = self.past_asked.map(|at| now.saturating_sub(at));
        ago.is_some_and(|ago| (0..reach::PAUSE_MS).contains(&ago))
    }

    fn member(&self, subject: usize, start: i64) -> Member {
        let arms = self.arms.clone();
        Member {
            subject,
            start,
            arms,
        }
    }

    /// Notes what came of a question: one about what is far back is not put again and again.
    fn asked(&mut self, failed: Option<&Error>, class: u32, now: i64) {
        let unheard = matches!(failed, Some(Error::Unreachable(_)));
        self.past_asked = (class > 0 && !unheard).then_some(now);
        self.apart = matches!(failed, Some(Error::TooLarge { .. }));
        if failed.is_none() {
            self.looked = Some(now);
        }
    }

    /// Takes an answer's share; why the rule is absent, if it is.
    fn answered(
        &mut self,
        ask: &Ask,
        subject: &Subject,
        share: Share,
        reading: &mut Reading,
    ) -> Vec<String> {
        if let Some(error) = &share.failed {
            return vec![format!("{}: {error}", ask.rule.name)];
        }
        if let Some(spacing) = share
            .spacing
            .and_then(|spacing| u64::try_from(spacing).ok())
        {
            let lookback = client::lookback(Duration::from_millis(spacing)).as_millis();
            self.lookback = i64::try_from(lookback).unwrap_or(i64::MAX);
        }
        let untold = share.batch.untold();
        if !untold.is_empty() {
            // Not counted either: it would be good requests that may be anything.
            return untold
                .into_iter()
                .map(|arm| self::untold(ask, arm))
                .collect();
        }
        self.take(share.batch, reading);
        if self.counters.has_series() {
            return Vec::new();
        }
        vec![missing(ask, subject)]
    }

    fn take(&mut self, batch: Batch, reading: &mut Reading) {
        let samples = self.counters.fold(batch, &mut reading.problems);
        reading.samples.extend(samples);
        if let Some(why) = self.counters.uncounted() {
            reading.add_absent(why.to_owned());
        }
        self.fresh = false;
        let mut position = self.counters.cursor();
        position.forget(BEFORE_CURSOR_MS);
        self.position = position.into();
        self.begun = true;
    }

    fn newest(&self) -> Option<Timestamp> {
        let seen = self
            .counters
            .newest()
            .filter(|_| self.counters.has_series() || self.fresh);
        seen.and_then(|at| Timestamp::from_millisecond(at).ok())
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

/// The Ingresses and ports that are counted besides the first.
fn over(subject: &Subject) -> [Vec<String>; 2] {
    [subject.other_ingresses.clone(), subject.other_ports.clone()]
}

/// What is counted of a subject, as one number.
fn counted(rule: &Rule, subject: &Subject) -> u32 {
    let also = subject.other_ingresses.iter().chain(&subject.other_ports);
    let also: Vec<&str> = also.map(String::as_str).collect();
    let hash = target(&format!("{} {}", rule.counted(), also.join(" ")));
    (hash >> 32) as u32
}

/// Whether a scrape was counted so far in the future that it is not waited for.
fn is_ahead(counted: Option<i64>, now: Timestamp) -> bool {
    counted.is_some_and(|at| at.saturating_sub(now.as_millisecond()) > AHEAD_MS)
}

/// Says that bad requests cannot be told from good ones: an arm would look good whatever it answers.
fn untold(ask: &Ask, arm: Arm) -> String {
    let Kind::Proportion(proportion) = &ask.rule.kind else {
        return format!("{}: its series lack a label", ask.rule.name);
    };
    let bad = proportion.bad.iter();
    let labels = bad.filter(|pattern| pattern.needs_label());
    let labels: Vec<String> = labels.map(|it| format!("`{}`", it.label)).collect();
    let whose = match arm {
        Arm::Canary => "the canary's",
        Arm::Stable => "stable's",
    };
    format!(
        "{}: no series of {} that is {whose} has the label {}, by which bad requests are told; \
         where only bad ones have it, `.+` asks whether it is there",
        ask.rule.name,
        ask.metric,
        labels.join(" and ")
    )
}

/// Says what was looked for in vain.
fn missing(ask: &Ask, subject: &Subject) -> String {
    let select = ask.series.select.iter().map(|select| {
        let value = select.value.fill(|variable| subject.value(variable));
        format!("{}=\"{value}\"", select.labels.join("|"))
    });
    let mut select: Vec<String> = select.collect();
    if select.is_empty() {
        let arm = &ask.series.arm;
        select.push(format!(
            "a value of `{}` that is one of the arms'",
            arm.labels.join("|")
        ));
    }
    let hint = if ask.metric.starts_with("nginx_ingress_controller") {
        "; ingress-nginx writes them at the first request, and not at all for hosts that no rule names (host-less and wildcard rules) unless it runs with --metrics-per-host=false"
    } else if ask.is_native() {
        "; native histograms come by a Prometheus (evidence.prometheus) that runs with --enable-feature=native-histograms"
    } else {
        ""
    };
    let counts_requests = !matches!(ask.rule.kind, Kind::Events(_));
    let so = if counts_requests {
        "; where there are no requests yet, a rule with `load` asks some of its own"
    } else {
        ""
    };
    format!(
        "{}: no series of {} has {}{hint}{so}",
        ask.rule.name,
        ask.metric,
        select.join(", ")
    )
}
