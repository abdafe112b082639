//! What arrives over the network or a pipe while Sluice runs: alerts, what they are compared
//! with, and streams of counts.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::text;
use crate::cli::judge::line::Lines;
use crate::people::alertmanager;
use crate::rollout::alert::{Alert, Matcher, Trial, Watched, Weight};
use crate::rollout::evidence::judge::{Judge, Terms};

/// What is kept of an alert's summary, in characters.
const SUMMARY: usize = 300;

/// A message of Alertmanager's webhook: what an alert means depends on its labels and times only.
pub fn alerts(data: &[u8]) -> bool {
    let Ok(group) = alertmanager::read(data) else {
        return false;
    };
    assert!(group.alerts.len() <= data.len());
    group.alerts.iter().for_each(weighed);
    true
}

fn weighed(alert: &Alert) {
    let summary = alert.summary.as_deref().unwrap_or_default();
    assert!(summary.chars().count() <= SUMMARY && !summary.contains('\n'));
    let trial = Trial {
        namespace: "shop",
        names: &["backend"],
        began: Timestamp::UNIX_EPOCH,
    };
    let nobody = Watched::default();
    assert_eq!(nobody.weigh(alert, &trial), Weight::Foreign, "{alert}");
    let anything = Watched {
        own: vec![Vec::new()],
        environment: None,
    };
    let weight = anything.weigh(alert, &trial);
    let older = alert.since < trial.began;
    let unfit = if older { Weight::Counts } else { Weight::Older };
    assert_ne!(weight, unfit, "{alert}");
}

/// A matcher: its opposite matches what it does not.
pub fn matcher(data: &[u8]) -> bool {
    let text = text(data);
    let Ok(matcher) = text.parse::<Matcher>() else {
        return false;
    };
    let (label, rest) = text.split_at(text.find(['=', '!']).unwrap_or_default());
    let opposite = match (rest.strip_prefix("!="), rest.strip_prefix('!')) {
        (Some(value), _) => format!("{label}= {value}"),
        (None, Some(pattern)) => format!("{label}={pattern}"),
        (None, None) if rest.starts_with("=~") => format!("{label}!{}", &rest[1..]),
        (None, None) => format!("{label}!{rest}"),
    };
    let opposite: Matcher = opposite.parse().unwrap_or_else(|_| matcher.clone());
    for value in ["", "critical", "shop/backend", "\n", &text] {
        let labels = BTreeMap::from([(label.trim().to_owned(), value.to_owned())]);
        let both = (matcher.matches(&labels), opposite.matches(&labels));
        assert_ne!(both.0, both.1, "{text} and its opposite");
    }
    true
}

/// A stream of counts: a line that is taken leaves numbers, one that is not changes nothing.
pub fn judge(data: &[u8]) -> bool {
    let mut judge = Judge::new(Terms::default());
    let mut lines = Lines::default();
    let mut taken = false;
    for line in data.split(|byte| *byte == b'\n') {
        let before: Vec<String> = state(&judge);
        match lines.read(line, |tick| judge.observe(tick)) {
            Ok(place) => {
                taken = true;
                assert!(judge.report(place).is_some());
            }
            Err(fault) => {
                assert!(!fault.wanted.is_empty(), "{fault:?}");
                assert_eq!(before, state(&judge), "a bad line changed something");
            }
        }
    }
    judge.finish();
    for report in judge.reports() {
        let numbers = report.rules.iter().filter_map(|rule| rule.evidence);
        let sound = numbers.into_iter().all(|(e, b)| !e.is_nan() && !b.is_nan());
        assert!(sound && !report.requests.is_nan(), "{report:?}");
    }
    taken
}

fn state(judge: &Judge) -> Vec<String> {
    judge
        .reports()
        .map(|report| format!("{report:?}"))
        .collect()
}
