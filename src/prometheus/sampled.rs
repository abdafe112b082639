//! Numbers from queries: the rules that compare two arms' samples or hold one to bounds.
//!
//! A query is evaluated at fixed times, the multiples of the rule's `every`, a moment after them: so
//! reading again from a cursor brings the same numbers, none lost and none twice. Each time is one
//! sample, of the interval that ends there: the time since the one before, or all that its query looks
//! back on, if that is more. A time without a number is passed over, and the rule is absent until one
//! comes.
//!
//! Not here: how Prometheus is asked (`client`), and what the numbers come to (`rollout::evidence`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::client::{Numbers, Prometheus, Range};
use super::cursor::RuleCursor;
use super::error::Error;
use super::tally::Arm;
use super::window::looks_back;
use super::{Key, Readings, Subject};
use crate::rollout::evidence::{ArmCounts, Sample};
use crate::rollout::rule::{Kind, Rule, Template};

/// A time is asked for this long after it: scrapes are stored a moment later.
const LAG_MS: i64 = 1_000;
/// The most times that are asked for at once; older ones are left out.
const MOST: i64 = 240;

/// One rule of one subject that samples numbers.
#[derive(Debug)]
pub(super) struct Sampled {
    rule: Arc<Rule>,
    /// The canary's query, and stable's if there is one.
    queries: Vec<String>,
    /// Time between two samples, in milliseconds.
    every: i64,
    /// How far back a number tells, in milliseconds.
    back: i64,
    since: i64,
    /// The newest time that was asked for.
    until: Option<i64>,
    /// The newest time at which every query had a number.
    answered: Option<i64>,
    /// Why there is no number now.
    lacks: Option<String>,
}

impl Sampled {
    /// Brings what is remembered of a subject in line with what it asks.
    pub fn follow(rules: &mut BTreeMap<String, Self>, subject: &Subject) {
        rules.retain(|name, _| subject.rules.iter().any(|rule| rule.name == *name));
        for rule in &subject.rules {
            let cursor = subject.cursor.as_ref();
            let until = cursor.and_then(|cursor| cursor.rules.get(&rule.name)?.until);
            let Some(begun) = Self::begin(rule, subject, until) else {
                rules.remove(&rule.name);
                continue;
            };
            let goes_on = rules.get(&rule.name).is_some_and(|known| {
                known.queries == begun.queries
                    && known.rule.kind == rule.kind
                    && known.until == until
                    && known.since == begun.since
            });
            if !goes_on {
                rules.insert(rule.name.clone(), begun);
            }
        }
    }

    fn begin(rule: &Arc<Rule>, subject: &Subject, until: Option<i64>) -> Option<Self> {
        let fill = |template: &Template, arm| template.fill(|name| subject.value_of(name, arm));
        let (queries, every) = match &rule.kind {
            Kind::Compare(compare) => {
                let canary = fill(&compare.canary, Arm::Canary);
                let stable = fill(&compare.stable, Arm::Stable);
                (vec![canary, stable], compare.every)
            }
            Kind::Value(bounds) => (vec![fill(&bounds.query, Arm::Canary)], bounds.every),
            Kind::Proportion(_) | Kind::Latency(_) | Kind::Events(_) | Kind::Load(_) => {
                return None;
            }
        };
        let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
        let back = queries.iter().map(|query| looks_back(query)).max();
        Some(Self {
            rule: Arc::clone(rule),
            back: back.unwrap_or(0).max(every),
            queries,
            every,
            since: subject.since.as_millisecond(),
            until,
            answered: None,
            lacks: None,
        })
    }

    /// What to say where no server answers queries.
    pub fn unanswerable(&self) -> String {
        format!(
            "{}: is a query, which only a Prometheus answers; the settings name pods to scrape (evidence.scrape) and none (evidence.prometheus)",
            self.rule.name
        )
    }

    /// Up to when its numbers are known.
    pub fn newest(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.answered?).ok()
    }

    /// Where to go on.
    pub fn position(&self) -> Option<RuleCursor> {
        self.until.map(|until| RuleCursor {
            until: Some(until),
            ..RuleCursor::default()
        })
    }

    /// The first and the last time to ask for, in milliseconds.
    fn due(&self, now: i64) -> Option<(i64, i64)> {
        let every = self.every;
        let after = self.until.unwrap_or_else(|| {
            // The interval that ends at the first time begins no earlier than `since`.
            self.since.saturating_add(every - 1)
        });
        let first = after
            .div_euclid(every)
            .saturating_add(1)
            .saturating_mul(every);
        let last = now
            .saturating_sub(LAG_MS)
            .div_euclid(every)
            .saturating_mul(every);
        let oldest = last.saturating_sub((MOST - 1).saturating_mul(every));
        (first <= last).then_some((first.max(oldest), last))
    }

    fn ranges(&self, (first, last): (i64, i64)) -> impl Iterator<Item = Range> {
        self.queries.iter().map(move |query| Range {
            query: query.clone(),
            first: first / 1000,
            last: last / 1000,
            every: self.every / 1000,
        })
    }

    /// Takes the queries' answers up to `last`; a failure leaves everything to the next look.
    fn take(&mut self, last: i64, answers: Vec<Result<Numbers, Error>>) -> Vec<Sample> {
        let answers: Result<Vec<Numbers>, Error> = answers.into_iter().collect();
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                self.lacks = Some(format!("{}: {error}", self.rule.name));
                return Vec::new();
            }
        };
        let doubt = answers.iter().find_map(|answer| answer.doubt.clone());
        let arms: Vec<BTreeMap<i64, f64>> = answers
            .into_iter()
            .map(|answer| answer.numbers.into_iter().collect())
            .collect();
        let times: BTreeSet<i64> = arms.iter().flat_map(BTreeMap::keys).copied().collect();
        let times = times
            .into_iter()
            .filter(|at| *at <= last && self.until < Some(*at));
        let samples = times.filter_map(|at| self.sample(at, &arms)).collect();
        let whole = arms.iter().position(|arm| !arm.contains_key(&last));
        self.lacks = match whole {
            Some(lacking) => Some(self.lacking(lacking)),
            None => doubt.map(|doubt| format!("{}: {doubt}", self.rule.name)),
        };
        if whole.is_none() {
            self.answered = Some(last);
        }
        self.until = Some(last);
        samples
    }

    fn sample(&self, at: i64, arms: &[BTreeMap<i64, f64>]) -> Option<Sample> {
        let numbers = |arm: usize| {
            let number = arms.get(arm).and_then(|arm| arm.get(&at));
            ArmCounts::Numbers(number.into_iter().copied().collect())
        };
        Some(Sample {
            rule: self.rule.name.clone(),
            from: Timestamp::from_millisecond(at.saturating_sub(self.back)).ok()?,
            to: Timestamp::from_millisecond(at).ok()?,
            canary: numbers(0),
            stable: numbers(1),
        })
    }

    fn lacking(&self, query: usize) -> String {
        let arm = if query == 0 { "the canary" } else { "stable" };
        let query: String = self.queries[query].chars().take(200).collect();
        format!("{}: no number for {arm} from {query}", self.rule.name)
    }
}

/// Asks the queries whose time has come, and hands what they bring to the readings.
pub(super) async fn read(
    prometheus: &Prometheus,
    mut all: Vec<(&Key, &mut Sampled)>,
    now: Timestamp,
    readings: &mut Readings,
) {
    let time = now.as_millisecond();
    let due: Vec<_> = all.iter().map(|(_, one)| one.due(time)).collect();
    let ranges: Vec<Range> = all
        .iter()
        .zip(&due)
        .filter_map(|((_, one), due)| Some(one.ranges((*due)?)))
        .flatten()
        .collect();
    let mut answers = if ranges.is_empty() {
        Vec::new().into_iter()
    } else {
        prometheus.sample(&ranges, now).await.into_iter()
    };
    for ((key, one), due) in all.iter_mut().zip(due) {
        let Some(reading) = readings.get_mut(*key) else {
            continue;
        };
        if let Some((_, last)) = due {
            let answers = answers.by_ref().take(one.queries.len()).collect();
            reading.samples.extend(one.take(last, answers));
        }
        if let Some(lacks) = &one.lacks {
            reading.add_absent(lacks.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sorting::tests::subject;
    use super::*;
    use crate::rollout::rule::lint;

    fn sampled(since: i64, until: Option<i64>) -> Sampled {
        let text = "- name: queue\n  compare: {query: 'avg(q{pod=~\"{{pods}}\", arm=\"{{arm}}\"})', worse: higher, every: 10s}\n";
        let rule = Arc::new(lint(text, "r").unwrap().remove(0));
        let mut subject = subject("shop", "api", &[Arc::clone(&rule)]);
        subject.since = Timestamp::from_millisecond(since).unwrap();
        Sampled::begin(&rule, &subject, until).unwrap()
    }

    #[test]
    fn each_arm_has_its_query() {
        assert_eq!(
            sampled(0, None).queries,
            [
                r#"avg(q{pod=~"api-canary-[a-z0-9]+-[a-z0-9]+", arm="canary"})"#,
                r#"avg(q{pod=~"api-[a-z0-9]+-[a-z0-9]+", arm="stable"})"#
            ]
        );
    }

    #[test]
    fn times_are_asked_for_once_and_a_moment_later() {
        let rows = [
            (100_000, None, 110_999, None),
            (100_000, None, 111_000, Some((110_000, 110_000))),
            (100_001, None, 125_000, Some((120_000, 120_000))),
            (100_000, Some(120_000), 120_500, None),
            (100_000, Some(120_000), 145_000, Some((130_000, 140_000))),
            // Long away: not all of a day at once.
            (0, None, 86_400_000, Some((84_000_000, 86_390_000))),
        ];
        for (since, until, now, want) in rows {
            assert_eq!(
                sampled(since, until).due(now),
                want,
                "{since} {until:?} {now}"
            );
        }
    }

    #[test]
    fn a_number_is_of_all_that_its_query_looks_back_on() {
        let one = sampled(0, None);
        let arms = [(110_000, 1.0)].map(|number| BTreeMap::from([number]));
        let from = |one: &Sampled| {
            one.sample(110_000, &arms)
                .map(|sample| sample.from.as_second())
        };
        assert_eq!(from(&one), Some(100));
        let two = Sampled {
            back: 60_000,
            ..one
        };
        assert_eq!(from(&two), Some(50));
        let shipped = lint(include_str!("../../rules/kubernetes.yaml"), "r").unwrap();
        let back = |name: &str| {
            let rule = shipped.iter().find(|rule| rule.name == name).unwrap();
            let rule = Arc::new(rule.clone());
            let subject = subject("shop", "api", &[Arc::clone(&rule)]);
            Sampled::begin(&rule, &subject, None).map(|one| one.back)
        };
        assert_eq!(back("no-restarts"), Some(120_000));
        assert_eq!(back("cpu-throttling"), Some(60_000));
    }

    #[test]
    fn a_time_without_a_number_is_passed_over_and_said() {
        let answer = |numbers: &[(i64, f64)]| {
            Ok(Numbers {
                numbers: numbers.to_vec(),
                doubt: None,
            })
        };
        let mut one = sampled(100_000, None);
        let canary = answer(&[(110_000, 1.0), (120_000, 2.0)]);
        let samples = one.take(120_000, vec![canary, answer(&[(110_000, 3.0)])]);
        let numbers: Vec<_> = samples
            .iter()
            .map(|sample| (sample.canary.clone(), sample.stable.clone()))
            .collect();
        let of = |numbers: &[f64]| ArmCounts::Numbers(numbers.to_vec());
        assert_eq!(numbers, [(of(&[1.0]), of(&[3.0])), (of(&[2.0]), of(&[]))]);
        let said = one.lacks.clone().unwrap();
        assert!(
            said.starts_with("queue: no number for stable from avg("),
            "{said}"
        );
        assert_eq!((one.answered, one.until), (None, Some(120_000)));
        // A failure is asked again.
        let failed = Err(Error::Timeout);
        assert_eq!(one.take(130_000, vec![failed, answer(&[])]), []);
        assert_eq!(one.until, Some(120_000));
        one.take(
            130_000,
            vec![answer(&[(130_000, 1.0)]), answer(&[(130_000, 1.0)])],
        );
        assert_eq!((one.lacks, one.answered), (None, Some(130_000)));
    }
}
