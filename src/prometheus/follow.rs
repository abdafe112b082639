//! One rule of one subject, followed from look to look: from when on it is read, and what an answer adds.
//!
//! Not here: which subjects are followed, and how the questions of several become one (`source`).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::client;
use super::counters::{Batch, Counters};
use super::cursor::RuleCursor;
use super::error::Error;
use super::reach::{self, Read};
use super::reply::Share;
use super::sorting::{Arms, Ask, Member, target};
use super::tally::Arm;
use super::{Reading, Subject};
use crate::rollout::rule::{Kind, Rule};

/// A clock that was set back by more than this begins anew with counting; by less, it catches up.
const AHEAD_MS: i64 = 5_000;
/// How far before a cursor's time is read, so that every process' last counted scrape is there.
const BEFORE_CURSOR_MS: i64 = 300_000;
/// How far before its beginning a new subject is read, so that what is usual is known.
pub const HISTORY_MS: i64 = 1_800_000;

/// One rule of one subject between looks.
#[derive(Debug)]
pub struct Follow {
    pub rule: Arc<Rule>,
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
    pub lacks: Option<String>,
}

impl Follow {
    /// What follows the rule from now on, if what does so now cannot go on.
    ///
    /// # Errors
    /// As of [`Self::begin`].
    pub fn anew(
        known: Option<&Self>,
        (rule, subject, cursor): (&Arc<Rule>, &Subject, Option<&Arc<RuleCursor>>),
        scraped: bool,
        now: Timestamp,
    ) -> Result<Option<Self>, String> {
        let newest = cursor.and_then(|cursor| cursor.newest());
        // Our own times, of before the clock was set back.
        let ahead = scraped
            && (known.is_some_and(|known| is_ahead(known.counters.newest(), now))
                || is_ahead(newest, now));
        if !ahead && known.is_some_and(|known| known.goes_on(rule, subject, cursor)) {
            return Ok(None);
        }
        // Sums of another rule, or over other Ingresses, mean nothing for this one; times do.
        let counted = counted(rule, subject);
        let changed = known.is_some_and(|known| known.rule != *rule || known.over != over(subject))
            || cursor.is_some_and(|cursor| cursor.counted.is_some_and(|it| it != counted));
        let (since, cursor) = if scraped && (changed || ahead) {
            (now, None)
        } else {
            (subject.since, cursor)
        };
        Self::begin(rule, subject, since, scraped, cursor).map(Some)
    }

    /// Counting begins, or goes on from a cursor.
    ///
    /// # Errors
    /// If the rule counts nothing, or its arms cannot be told apart.
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

    /// Whether nothing of it was ever read.
    pub fn is_new(&self) -> bool {
        self.fresh && self.counters.newest().is_none()
    }

    /// How far it is counted, once counting began.
    pub fn position(&self) -> Option<&Arc<RuleCursor>> {
        self.begun.then_some(&self.position)
    }

    /// From when on scrapes must be read, in milliseconds, if `history` is to be known.
    pub fn start(&self, lookback: i64, history: i64, now: i64) -> i64 {
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
    pub fn class(&self, start: i64, lookback: i64, now: i64) -> u32 {
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
    pub fn pauses(&self, now: i64) -> bool {
        let ago = self.past_asked.map(|at| now.saturating_sub(at));
        ago.is_some_and(|ago| (0..reach::PAUSE_MS).contains(&ago))
    }

    /// Its part in the question of a rule.
    pub fn member(&self, subject: usize, start: i64) -> Member {
        let arms = self.arms.clone();
        Member {
            subject,
            start,
            arms,
        }
    }

    /// Notes what came of a question: one about what is far back is not put again and again.
    pub fn asked(&mut self, failed: Option<&Error>, class: u32, now: i64) {
        let unheard = matches!(failed, Some(Error::Unreachable(_)));
        self.past_asked = (class > 0 && !unheard).then_some(now);
        self.apart = matches!(failed, Some(Error::TooLarge { .. }));
        if failed.is_none() {
            self.looked = Some(now);
        }
    }

    /// Takes an answer's share; why the rule is absent, if it is.
    pub fn answered(
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

    /// Up to when it is counted; none before it has series.
    pub fn newest(&self) -> Option<Timestamp> {
        let seen = self
            .counters
            .newest()
            .filter(|_| self.counters.has_series() || self.fresh);
        seen.and_then(|at| Timestamp::from_millisecond(at).ok())
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
