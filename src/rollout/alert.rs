//! Alerts, and which of them concern a Rollout.
//!
//! An alert counts against a release if it began to fire while the release was under trial: one
//! that fired before is no fault of the release, which may even be its cure. Which alerts count
//! is said by matchers, in Alertmanager's own words.
//!
//! Not here: how alerts arrive (`people::alertmanager`), and what follows (`decide`).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use regex::Regex;

/// The labels by which an alert names a workload.
const NAMING: [&str; 4] = ["rollout", "deployment", "ingress", "service"];
/// The labels by which it names a namespace.
const NAMESPACES: [&str; 2] = ["namespace", "exported_namespace"];

/// One alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What tells it from others, the same each time that it is sent.
    pub fingerprint: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What its rule says of it, for people.
    pub summary: Option<String>,
    /// Since when it fires.
    pub since: Timestamp,
    /// Whether it fires still.
    pub firing: bool,
}

impl Alert {
    /// Its name, as its rule says it.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("an alert", |name| name)
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { summary, since, .. } = self;
        write!(out, "{} fires since {since:.0}", self.name())?;
        match summary {
            Some(summary) => write!(out, ": {summary}"),
            None => Ok(()),
        }
    }
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Equal,
    NotEqual,
    Matches,
    MatchesNot,
}

/// The longest matcher, in bytes.
pub const MATCHER_BYTES: usize = 512;
/// What one regular expression may take when it is compiled: whoever may write a Rollout chooses it, and the
/// daemon is everybody's.
const PATTERN_BYTES: usize = 256 << 10;

/// The comparisons, longer ones first.
const HOWS: [(&str, How); 4] = [
    ("!=", How::NotEqual),
    ("!~", How::MatchesNot),
    ("=~", How::Matches),
    ("=", How::Equal),
];

/// One condition on a label: `severity="critical"`, `team!="data"`, `alertname=~"Checkout.*"`. A
/// label that is absent is empty; regular expressions match the whole value.
#[derive(Debug, Clone)]
pub struct Matcher {
    label: String,
    how: How,
    value: String,
    pattern: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.how, &self.value) == (&other.label, other.how, &other.value)
    }
}

/// A text that is no matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoMatcher(String);

impl FromStr for Matcher {
    type Err = NoMatcher;

    fn from_str(text: &str) -> Result<Self, NoMatcher> {
        if text.len() > MATCHER_BYTES {
            let (found, most) = (text.len(), MATCHER_BYTES);
            return Err(NoMatcher(format!("{found} bytes; at most {most} are read")));
        }
        let at = text
            .find(['=', '!'])
            .ok_or_else(|| NoMatcher("no =, !=, =~ or !~".to_owned()))?;
        let (label, rest) = text.split_at(at);
        let label = label.trim();
        if !is_label(label) {
            return Err(NoMatcher(format!("{label:?} is no label name")));
        }
        let (sign, how) = HOWS
            .into_iter()
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or_else(|| NoMatcher("no =, !=, =~ or !~".to_owned()))?;
        let value = unquoted(rest[sign.len()..].trim())?;
        let pattern = match how {
            How::Matches | How::MatchesNot => Some(whole(&value)?),
            How::Equal | How::NotEqual => None,
        };
        Ok(Self {
            label: label.to_owned(),
            how,
            value,
            pattern,
        })
    }
}

fn is_label(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The value without its quotes, which may be left out.
fn unquoted(text: &str) -> Result<String, NoMatcher> {
    let Some(inner) = text.strip_prefix('"') else {
        let plain = !text.contains(['"', '{', '}', ',']);
        let error = || NoMatcher(format!("{text:?} needs quotes around it"));
        return plain.then(|| text.to_owned()).ok_or_else(error);
    };
    let mut value = String::new();
    let mut chars = inner.chars();
    loop {
        match chars.next() {
            Some('\\') => match chars.next() {
                Some('n') => value.push('\n'),
                Some(c @ ('"' | '\\')) => value.push(c),
                Some(other) => value.extend(['\\', other]),
                None => {}
            },
            Some('"') if chars.as_str().is_empty() => return Ok(value),
            Some('"') | None => {
                return Err(NoMatcher(format!("the quotes in {text} do not end it")));
            }
            Some(c) => value.push(c),
        }
    }
}

/// A pattern on the whole value.
fn whole(pattern: &str) -> Result<Regex, NoMatcher> {
    let built = small(&format!("^(?:{pattern})$"));
    built.map_err(|error| NoMatcher(format!("no regular expression: {error}")))
}

/// A regular expression that somebody else chose; one that takes too much memory is none.
pub fn small(pattern: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(PATTERN_BYTES)
        .build()
}

impl Matcher {
    /// Whether it has a regular expression.
    pub fn has_pattern(&self) -> bool {
        self.pattern.is_some()
    }

    /// Whether these labels fulfil it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        let fits = self.pattern.as_ref().is_some_and(|p| p.is_match(value));
        match self.how {
            How::Equal => value == self.value,
            How::NotEqual => value != self.value,
            How::Matches => fits,
            How::MatchesNot => !fits,
        }
    }
}

/// A Rollout in a run, as an alert may name it.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The names of the Rollout, of its Deployment, its Ingress and its Service.
    pub names: &'a [&'a str],
    /// When the run began.
    pub began: Timestamp,
}

/// Whether an alert is about a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It is, and it began in the run.
    Counts,
    /// It is, but it fired before the run began.
    Older,
    /// It is about something else.
    Foreign,
}

/// Which alerts count.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Watched {
    /// The Rollout's own: an alert that fulfils all matchers of any of them.
    pub own: Vec<Vec<Matcher>>,
    /// The environment's: of those that name the Rollout, an alert that fulfils all.
    pub environment: Option<Vec<Matcher>>,
}

impl Watched {
    /// What an alert means for a run.
    pub fn weigh(&self, alert: &Alert, trial: &Trial<'_>) -> Weight {
        if !self.concerns(alert, trial) {
            Weight::Foreign
        } else if alert.since < trial.began {
            Weight::Older
        } else {
            Weight::Counts
        }
    }

    fn concerns(&self, alert: &Alert, trial: &Trial<'_>) -> bool {
        let all = |matchers: &Vec<Matcher>| matchers.iter().all(|m| m.matches(&alert.labels));
        let own = self.own.iter().any(|matchers| {
            let named = matchers.iter().any(|m| NAMESPACES.contains(&&*m.label));
            (named || !elsewhere(alert, trial)) && all(matchers)
        });
        own || (names(alert, trial) && self.environment.as_ref().is_some_and(all))
    }
}

/// Whether its labels say that it is about another namespace.
fn elsewhere(alert: &Alert, trial: &Trial<'_>) -> bool {
    let mut said = NAMESPACES.iter().filter_map(|key| alert.labels.get(*key));
    let none = said.clone().next().is_none();
    !none && !said.any(|namespace| namespace == trial.namespace)
}

/// Whether its labels name the workload.
fn names(alert: &Alert, trial: &Trial<'_>) -> bool {
    let here = NAMESPACES
        .iter()
        .any(|key| alert.labels.get(*key).is_some_and(|n| n == trial.namespace));
    let named = |key: &&str| {
        let name = alert.labels.get(*key);
        name.is_some_and(|name| trial.names.contains(&name.as_str()))
    };
    here && NAMING.iter().any(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn matchers(texts: &[&str]) -> Vec<Matcher> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_matcher_compares_as_alertmanager_does() {
        let found = labels(&[("severity", "critical"), ("team", "a\"b")]);
        let cases = [
            (r#"severity="critical""#, true),
            ("severity=critical", true),
            (r#" severity = "page" "#, false),
            (r#"severity!="page""#, true),
            (r#"severity=~"crit.*|page""#, true),
            (r#"severity=~"crit""#, false),
            (r#"severity!~"crit""#, true),
            (r#"severity=~"(?i)[a-z]+|\\w+|page-\\d+""#, true),
            (r#"team="a\"b""#, true),
            (r#"absent="""#, true),
            (r#"absent!="""#, false),
            (r#"absent=~".+""#, false),
        ];
        for (text, wanted) in cases {
            let matcher: Matcher = text.parse().unwrap();
            assert_eq!(matcher.matches(&found), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_matcher_is_said() {
        let long = format!("a={}", "b".repeat(MATCHER_BYTES));
        let cases = [
            ("severity", "no =, !=, =~ or !~"),
            ("severity!critical", "no =, !=, =~ or !~"),
            ("9a=b", r#""9a" is no label name"#),
            (r#"a="b"#, "the quotes"),
            (r#"a="b" c"#, "the quotes"),
            ("{a=b}", r#""{a" is no label name"#),
            ("a={b}", "needs quotes"),
            (r#"a=~"(""#, "no regular expression"),
            (r#"a=~".{2000}""#, "size limit"),
            (&long, "at most 512 are read"),
        ];
        for (text, wanted) in cases {
            let error = text.parse::<Matcher>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    fn alert(pairs: &[(&str, &str)], since: i64) -> Alert {
        Alert {
            fingerprint: "f".to_owned(),
            labels: labels(pairs),
            summary: None,
            since: Timestamp::from_second(since).unwrap(),
            firing: true,
        }
    }

    const TRIAL: Trial<'_> = Trial {
        namespace: "shop",
        names: &["backend", "backend-api"],
        began: Timestamp::UNIX_EPOCH,
    };

    #[test]
    fn the_environments_matchers_count_for_alerts_that_name_the_workload() {
        let watched = Watched {
            own: Vec::new(),
            environment: Some(matchers(&["severity=critical"])),
        };
        let critical = ("severity", "critical");
        let cases = [
            (vec![critical], Weight::Foreign),
            (vec![critical, ("deployment", "backend")], Weight::Foreign),
            (
                vec![critical, ("deployment", "backend"), ("namespace", "shop")],
                Weight::Counts,
            ),
            (
                vec![
                    critical,
                    ("service", "backend-api"),
                    ("exported_namespace", "shop"),
                    ("namespace", "monitoring"),
                ],
                Weight::Counts,
            ),
            (
                vec![critical, ("ingress", "other"), ("namespace", "shop")],
                Weight::Foreign,
            ),
            (
                vec![("deployment", "backend"), ("namespace", "shop")],
                Weight::Foreign,
            ),
        ];
        for (pairs, wanted) in cases {
            assert_eq!(
                watched.weigh(&alert(&pairs, 1), &TRIAL),
                wanted,
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn the_rollouts_own_matchers_need_no_name_but_stay_in_its_namespace() {
        let watched = |texts: &[&str]| Watched {
            own: vec![matchers(&["a=b", "c=d"]), matchers(texts)],
            environment: None,
        };
        let slow = ("alertname", "CheckoutSlow");
        let own = watched(&["alertname=CheckoutSlow"]);
        let far = ("namespace", "other");
        assert_eq!(own.weigh(&alert(&[slow], 1), &TRIAL), Weight::Counts);
        assert_eq!(own.weigh(&alert(&[slow, far], 1), &TRIAL), Weight::Foreign);
        assert_eq!(own.weigh(&alert(&[("a", "b")], 1), &TRIAL), Weight::Foreign);
        let said = watched(&["alertname=CheckoutSlow", "namespace=other"]);
        assert_eq!(said.weigh(&alert(&[slow, far], 1), &TRIAL), Weight::Counts);
    }

    #[test]
    fn an_alert_that_fired_before_the_run_is_no_fault_of_it() {
        let own = Watched {
            own: vec![matchers(&["alertname=Slow"])],
            environment: None,
        };
        let slow = [("alertname", "Slow")];
        assert_eq!(own.weigh(&alert(&slow, -1), &TRIAL), Weight::Older);
        assert_eq!(own.weigh(&alert(&slow, 0), &TRIAL), Weight::Counts);
    }
}
