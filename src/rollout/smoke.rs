//! Smoke tests: what is asked, how often, and what the answers say.
//!
//! A test is tried up to `attempts` times and passes with `successes` good ones; it ends as soon
//! as either is certain. Each attempt is recorded. Not here: sending anything (`crate::smoke`).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jsonpath_rust::parser::model::JpQuery;
use regex::Regex;

/// One test.
#[derive(Debug, Clone)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// What is asked.
    pub probe: Probe,
    /// Tries at most.
    pub attempts: u32,
    /// Good ones that suffice.
    pub successes: u32,
    /// For one try.
    pub timeout: Duration,
    /// The pause after the first bad try; doubles up to [`LONGEST_PAUSE`].
    pub backoff: Duration,
    /// The object of Flux after whose every new revision it is made.
    pub after: Option<Synced>,
    /// The namespaces whose Rollouts may name it; none for all.
    pub namespaces: Option<Vec<String>>,
}

impl Test {
    /// Whether a Rollout of this namespace may name it: what it sends goes to that Rollout's Service.
    ///
    /// # Errors
    /// Which ones may.
    pub fn is_for(&self, namespace: &str) -> Result<(), String> {
        match &self.namespaces {
            Some(these) if !these.iter().any(|one| one == namespace) => Err(format!(
                "is not for Rollouts of {namespace}, only for those of {}",
                these.join(", ")
            )),
            _ => Ok(()),
        }
    }
}

/// As many tries are told, the newest.
const TOLD: usize = 5;
/// The longest pause between two tries.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An object of Flux that brings revisions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Synced {
    /// Its kind.
    pub kind: SyncedKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What brings revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncedKind {
    /// Of the kustomize-controller.
    Kustomization,
    /// Of the helm-controller.
    HelmRelease,
}

impl fmt::Display for Synced {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What is asked, with `{{words}}` to be filled in.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// An HTTP request and what its answer must be.
    Http(Http),
    /// A TCP connection.
    Tcp {
        /// Host and port.
        address: String,
    },
    /// The standard health check of gRPC, without TLS.
    Grpc {
        /// Host and port.
        address: String,
        /// The service's full name; empty: the whole server.
        service: String,
    },
    /// A Job of Kubernetes that must end well.
    Job(FromCronJob),
}

/// The `CronJob` whose template a Job is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromCronJob {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An HTTP request and what its answer must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// The method.
    pub method: String,
    /// The URL, http or https.
    pub url: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<String>,
    /// The statuses that are good.
    pub status: Vec<u16>,
    /// What the answer's body must match somewhere.
    pub matches: Option<Pattern>,
    /// What the answer's body must hold as JSON.
    pub json: Vec<JsonCheck>,
    /// The longest time that a good answer may take.
    pub within: Option<Duration>,
}

/// What a text must match; two that are written alike are the same.
#[derive(Debug, Clone)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// What a JSON document must hold at a path (RFC 9535).
#[derive(Debug, Clone, PartialEq)]
pub struct JsonCheck {
    /// The path, as it was written.
    pub path: String,
    /// The same, read.
    pub query: JpQuery,
    /// What everything there must be; `None`: anything will do.
    pub is: Option<serde_json::Value>,
}

/// Where a run's tests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// At the canary's Service, before it gets traffic.
    Canary,
    /// At the stable Service, when the revision serves alone.
    Promoted,
}

impl At {
    /// The id that what they came to is kept by.
    pub fn of_run(self, run: &str) -> String {
        match self {
            Self::Canary => run.to_owned(),
            Self::Promoted => format!("{run}-promoted"),
        }
    }
}

/// The words that are filled in.
pub type Words = BTreeMap<&'static str, String>;

/// Fills in `{{word}}`; the error names a word that is not known.
pub fn fill(text: &str, words: &Words) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (word, after) = after
            .split_once("}}")
            .ok_or_else(|| format!("{text:?} has no }}}} to its {{{{"))?;
        let value = words.get(word.trim()).ok_or_else(|| {
            let known: Vec<&str> = words.keys().copied().collect();
            let word = word.trim();
            format!("{text:?} names {word:?}, known here: {}", known.join(", "))
        })?;
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

impl Probe {
    /// The probe with its words filled in.
    pub fn filled(&self, words: &Words) -> Result<Self, String> {
        let fill = |text: &String| fill(text, words);
        Ok(match self {
            Self::Tcp { address } => Self::Tcp {
                address: fill(address)?,
            },
            Self::Grpc { address, service } => Self::Grpc {
                address: fill(address)?,
                service: service.clone(),
            },
            Self::Job(from) => Self::Job(FromCronJob {
                namespace: fill(&from.namespace)?,
                name: fill(&from.name)?,
            }),
            Self::Http(http) => {
                let headers = http.headers.iter();
                let headers = headers.map(|(name, value)| Ok((name.clone(), fill(value)?)));
                Self::Http(Http {
                    url: fill(&http.url)?,
                    headers: headers.collect::<Result<_, String>>()?,
                    body: http.body.as_ref().map(fill).transpose()?,
                    ..http.clone()
                })
            }
        })
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(http) => write!(out, "{} {}", http.method, http.url),
            Self::Tcp { address } => write!(out, "connect to {address}"),
            Self::Grpc { address, service } if service.is_empty() => {
                write!(out, "health of {address}")
            }
            Self::Grpc { address, service } => write!(out, "health of {service} at {address}"),
            Self::Job(from) => write!(out, "Job of CronJob {}/{}", from.namespace, from.name),
        }
    }
}

/// One try.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// How long it took.
    pub took: Duration,
    /// Why it is bad; `None`: it is good.
    pub failure: Option<String>,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try after this pause.
    Try(Duration),
    /// It has passed.
    Passed,
    /// It cannot pass any more.
    Failed,
}

impl Test {
    /// What follows from the tries so far.
    pub fn next(&self, tried: &[Attempt]) -> Next {
        let good = tried.iter().filter(|one| one.failure.is_none()).count();
        let good = u32::try_from(good).unwrap_or(u32::MAX);
        let made = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        let left = self.attempts.saturating_sub(made);
        if good >= self.successes {
            return Next::Passed;
        }
        if good.saturating_add(left) < self.successes {
            return Next::Failed;
        }
        let bad = made - good;
        if tried.last().is_none_or(|last| last.failure.is_none()) {
            return Next::Try(Duration::ZERO);
        }
        let factor = 1_u32.checked_shl(bad.saturating_sub(1)).unwrap_or(u32::MAX);
        Next::Try(self.backoff.saturating_mul(factor).min(LONGEST_PAUSE))
    }
}

/// How a test went.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The test's name.
    pub test: String,
    /// What was asked, filled in.
    pub asked: String,
    /// Whether it passed.
    pub passed: bool,
    /// Each try.
    pub attempts: Vec<Attempt>,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { test, asked, .. } = self;
        let all = self.attempts.len();
        let bad: Vec<&String> = self
            .attempts
            .iter()
            .filter_map(|one| one.failure.as_ref())
            .collect();
        let good = all - bad.len();
        write!(out, "{test} ({asked}): {good} of {all} good")?;
        if let Some(failure) = bad.last() {
            write!(out, "; {failure}")?;
        }
        let told = self.attempts.iter().skip(all.saturating_sub(TOLD));
        let told: Vec<String> = told.map(ToString::to_string).collect();
        let more = if all > TOLD { "…, " } else { "" };
        write!(out, "; tries: {more}{}", told.join(", "))
    }
}

/// How long it took, and whether it was bad.
impl fmt::Display for Attempt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bad = self.failure.as_ref().map_or("", |_| "bad ");
        write!(out, "{bad}{:.0?}", self.took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(attempts: u32, successes: u32) -> Test {
        Test {
            name: "health".to_owned(),
            probe: Probe::Tcp {
                address: "{{service}}.{{namespace}}:80".to_owned(),
            },
            attempts,
            successes,
            timeout: Duration::from_secs(1),
            backoff: Duration::from_secs(2),
            after: None,
            namespaces: None,
        }
    }

    fn tries(text: &str) -> Vec<Attempt> {
        let attempt = |c: char| Attempt {
            took: Duration::ZERO,
            failure: (c == '-').then(|| "refused".to_owned()),
        };
        text.chars().map(attempt).collect()
    }

    #[test]
    fn a_test_ends_as_soon_as_its_end_is_certain() {
        let pause = |seconds| Next::Try(Duration::from_secs(seconds));
        let cases = [
            (3, 1, "", pause(0)),
            (3, 1, "+", Next::Passed),
            (3, 1, "-", pause(2)),
            (3, 1, "--", pause(4)),
            (3, 1, "---", Next::Failed),
            (5, 3, "+-+", pause(0)),
            (5, 3, "+-+-", pause(4)),
            (5, 3, "+-+-+", Next::Passed),
            (5, 3, "---", Next::Failed),
            (40, 1, "-------------------------------------", pause(30)),
        ];
        for (attempts, successes, tried, wanted) in cases {
            let next = test(attempts, successes).next(&tries(tried));
            assert_eq!(next, wanted, "{successes} of {attempts}: {tried}");
        }
    }

    #[test]
    fn words_are_filled_in_and_unknown_ones_named() {
        let words = Words::from([
            ("service", "backend-canary".to_owned()),
            ("namespace", "shop".to_owned()),
        ]);
        let filled = test(1, 1).probe.filled(&words).unwrap().to_string();
        assert_eq!(filled, "connect to backend-canary.shop:80");
        let cases = [
            ("{{ service }}!", Ok("backend-canary!")),
            ("no words", Ok("no words")),
            (
                "{{port}}",
                Err("names \"port\", known here: namespace, service"),
            ),
            ("{{service", Err("has no }}")),
        ];
        for (text, wanted) in cases {
            let found = fill(text, &words);
            match wanted {
                Ok(wanted) => assert_eq!(found.as_deref(), Ok(wanted)),
                Err(part) => assert!(found.clone().unwrap_err().contains(part), "{found:?}"),
            }
        }
    }

    #[test]
    fn a_report_says_what_was_asked_and_the_last_failure() {
        let report = Report {
            test: "health".to_owned(),
            asked: "GET http://a/".to_owned(),
            passed: false,
            attempts: tries("+--"),
        };
        let text = report.to_string();
        let wanted = "health (GET http://a/): 1 of 3 good; refused; tries: 0ns, bad 0ns, bad 0ns";
        assert_eq!(text, wanted);
        let many = Report {
            attempts: tries("-------+"),
            ..report
        };
        let wanted = "1 of 8 good; refused; tries: …, bad 0ns, bad 0ns, bad 0ns, bad 0ns, 0ns";
        assert!(many.to_string().ends_with(wanted), "{many}");
    }
}
