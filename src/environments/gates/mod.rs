//! What stands between a version and the next environment.
//!
//! Pure: what Git and the cluster said comes in, one answer for each gate goes out. A gate whose
//! facts are missing is shut.
//!
//! Here those of time and of the last run; `proof` has what was shown before, `people` what people say.
//!
//! Not here: where the facts come from (`past`, the command line).

mod people;
mod proof;

use std::time::Duration;

use humantime::format_duration;
use jiff::Timestamp;
use serde::Serialize;

use super::pipeline::Gates;
use super::places::Service;
use super::version::Version;
use crate::rollout::reason::Outcome;
use crate::rollout::state::PhaseName;

pub use people::Approved;
pub use proof::Smoked;

/// One gate and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Its name in the pipeline.
    pub gate: &'static str,
    /// Whether the version may pass.
    pub open: bool,
    /// Why, a sentence.
    pub why: String,
}

/// What is known of a version in the environment before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    /// That environment.
    pub environment: &'a str,
    /// The environment that it is to go to.
    pub to: &'a str,
    /// Which service.
    pub service: &'a Service,
    /// Since when it has the version.
    pub since: Since,
    /// What its Rollout says.
    pub rollout: Option<&'a Standing>,
    /// The present time.
    pub now: Timestamp,
    /// The smoke tests that were made there, if any were.
    pub smoked: Option<&'a [Smoked]>,
    /// Whether the next environment names a digest, if that is known.
    pub target_pins: Option<bool>,
    /// Why it goes on in spite of a freeze.
    pub despite: Option<&'a str>,
}

/// Since when an environment has a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// It had it then, and has it still.
    At(Timestamp),
    /// It has it, and nothing says since when.
    Unknown,
    /// It does not have it any more.
    Over,
    /// It does not have it, and nothing says that it ever did: it follows the newest tag, and no record names it.
    Unproven,
}

impl Since {
    /// The time, where there is one.
    pub fn time(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Unknown | Self::Over | Self::Unproven => None,
        }
    }

    /// Whether it has the version still.
    pub fn lasts(self) -> bool {
        match self {
            Self::At(_) | Self::Unknown => true,
            Self::Over | Self::Unproven => false,
        }
    }
}

/// What a Rollout in a cluster says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `namespace/name`.
    pub name: String,
    /// Its phase.
    pub phase: String,
    /// The images that it serves.
    pub serves: Vec<String>,
    /// The run that ended last.
    pub last: Option<Ended>,
    /// How the newest runs ended, the newest first; or why that is not known.
    pub runs: Result<Vec<String>, String>,
    /// Who lets which version go on from here.
    pub approved: Vec<Approved>,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            name: String::new(),
            phase: String::new(),
            serves: Vec::new(),
            last: None,
            runs: Err("nobody asked for them".to_owned()),
            approved: Vec::new(),
        }
    }
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The images that it tried.
    pub images: Vec<String>,
    /// How; none where a daemon of another version says something else.
    pub outcome: Option<Outcome>,
    /// Why, a sentence.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

impl Ended {
    /// The images of the service itself, of all that the pods have.
    fn of<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a str> + Clone {
        own(&self.images, service)
    }
}

/// The images of the service itself, of all that the pods have.
fn own<'a>(images: &'a [String], service: &'a Service) -> impl Iterator<Item = &'a str> + Clone {
    let images = images.iter().map(String::as_str);
    images.filter(|image| service.has(image))
}

/// Every gate's answer, in the order of the documentation.
pub fn answers(gates: &Gates, version: &Version, facts: &Facts<'_>) -> Vec<Answer> {
    let facts = &proof::weighed(version, facts);
    let mut answers = Vec::from_iter(proof::there(version, facts));
    if let Some(range) = &gates.versions {
        answers.push(versions(range, version));
    }
    let promoted = promoted(version, facts);
    if let Some(soak) = gates.soak {
        let since = match (&promoted, gates.promoted) {
            (Ok(at), true) => match facts.since {
                Since::At(since) => Since::At(since.max(*at)),
                Since::Unknown => Since::At(*at),
                Since::Over | Since::Unproven => facts.since,
            },
            _ => facts.since,
        };
        answers.push(soaked(soak, since, version, facts));
    }
    if gates.promoted {
        let open = promoted.is_ok();
        let why = match promoted {
            Ok(at) => format!(
                "promoted in {} {} ago",
                facts.environment,
                ago(facts.now, at)
            ),
            Err(why) => why,
        };
        answers.push(Answer {
            gate: "promoted",
            open,
            why,
        });
    }
    answers.extend(gates.runs.map(|wanted| proof::runs(wanted, facts)));
    if !gates.smoke.is_empty() {
        answers.push(proof::smoke(&gates.smoke, version, facts));
    }
    if let Some(asked) = &gates.approval {
        answers.push(people::approval(asked, version, facts));
    }
    if !gates.freeze.is_empty() {
        answers.push(people::freeze(&gates.freeze, facts));
    }
    if gates.same_digest {
        answers.push(proof::same_digest(version, facts));
    }
    answers
}

fn versions(range: &semver::VersionReq, version: &Version) -> Answer {
    let semantic = version.semantic();
    let open = version.is_within(range);
    let why = match (semantic, open) {
        (None, _) => format!("{version} is no semantic version, and {range} is asked for"),
        (Some(_), true) => format!("{version} is within {range}"),
        (Some(_), false) => format!("{version} is not within {range}"),
    };
    Answer {
        gate: "versions",
        open,
        why,
    }
}

fn soaked(soak: Duration, since: Since, version: &Version, facts: &Facts<'_>) -> Answer {
    let wanted = format_duration(soak);
    let environment = facts.environment;
    let (open, why) = match since {
        Since::Over | Since::Unproven => (false, gone(version, facts)),
        Since::Unknown => (
            false,
            format!("nothing says since when {environment} has {version}"),
        ),
        Since::At(since) => {
            let been = between(since, facts.now);
            let told = format!("{environment} has had it for {}", ago(facts.now, since));
            match soak.checked_sub(been).filter(|left| !left.is_zero()) {
                None => (true, format!("{told}, {wanted} are asked for")),
                Some(left) => {
                    let left = format_duration(Duration::from_secs(left.as_secs().max(1)));
                    (
                        false,
                        format!("{told}, {wanted} are asked for: {left} to go"),
                    )
                }
            }
        }
    };
    Answer {
        gate: "soak",
        open,
        why,
    }
}

fn gone(version: &Version, facts: &Facts<'_>) -> String {
    let environment = facts.environment;
    if facts.since == Since::Unproven {
        return format!("{environment} does not have {version}");
    }
    format!("{environment} does not have {version} any more")
}

/// When the Rollout promoted it, or why it did not.
fn promoted(version: &Version, facts: &Facts<'_>) -> Result<Timestamp, String> {
    let environment = facts.environment;
    let Some(standing) = facts.rollout else {
        return Err(format!("no Rollout was found in {environment}"));
    };
    let name = &standing.name;
    let phase = PhaseName::named(&standing.phase);
    if !matches!(phase, Some(PhaseName::Idle | PhaseName::Failed)) {
        return Err(format!("{name} in {environment} is {}", standing.phase));
    }
    let Some(last) = &standing.last else {
        return Err(format!("{name} in {environment} has had no run"));
    };
    let own: Vec<&str> = last.of(facts.service).collect();
    if own.is_empty() {
        let (images, service) = (last.images.join(", "), &facts.service.name);
        return Err(format!(
            "the last run of {name} in {environment} was of {images}, none of which is the image of {service}"
        ));
    }
    if !own.iter().all(|image| version.is_of(image)) {
        let own = own.join(", ");
        return Err(format!(
            "the last run of {name} in {environment} was of {own}"
        ));
    }
    if last.outcome != Some(Outcome::Promoted) {
        let ended = last
            .outcome
            .map_or("in a way that is not known here", Outcome::name);
        return Err(format!(
            "{name} in {environment} ended {ended}: {}",
            last.message
        ));
    }
    if phase == Some(PhaseName::Idle) {
        Ok(last.at)
    } else {
        Err(format!("{name} in {environment} is {}", standing.phase))
    }
}

/// From one time to a later one; none if the clocks disagree.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// How long ago, to the second, or to the minute where that is enough.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    let seconds = between(then, now).as_secs();
    let seconds = if seconds >= 3600 {
        seconds / 60 * 60
    } else {
        seconds
    };
    format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn gates() -> Gates {
        Gates {
            soak: Some(Duration::from_secs(3600)),
            versions: Some(">=1.0.0, <2.0.0".parse().unwrap()),
            promoted: true,
            ..Gates::default()
        }
    }

    fn standing(phase: &str, outcome: &str, image: &str) -> Standing {
        Standing {
            name: "shop/backend".to_owned(),
            phase: phase.to_owned(),
            last: Some(Ended {
                images: vec![image.to_owned()],
                outcome: Outcome::named(outcome),
                message: "it is worse".to_owned(),
                at: at(0),
            }),
            ..Standing::default()
        }
    }

    fn told(version: &str, since: Option<i64>, rollout: Option<&Standing>) -> Vec<(bool, String)> {
        let facts = Facts {
            environment: "staging",
            to: "production",
            service: &super::proof::tests::SERVICE,
            smoked: None,
            target_pins: None,
            despite: None,
            since: since.map_or(Since::Over, |since| Since::At(at(since))),
            rollout,
            now: at(4000),
        };
        let answers = answers(&gates(), &version.parse().unwrap(), &facts);
        answers
            .into_iter()
            .map(|answer| (answer.open, answer.why))
            .collect()
    }

    #[test]
    fn every_gate_says_why_it_is_open_or_shut() {
        let good = standing("Idle", "Promoted", "example/shop:v1.2.0");
        let open = told("v1.2.0", Some(-100), Some(&good));
        assert!(open.iter().all(|(open, _)| *open), "{open:#?}");
        let beside = standing("Idle", "Promoted", "proxy:v1.2.0");
        let cases = [
            (
                "v2.0.0",
                Some(0),
                &good,
                0,
                "v2.0.0 is not within >=1.0.0, <2.0.0",
            ),
            (
                "main",
                Some(0),
                &good,
                0,
                "main is no semantic version, and >=1.0.0, <2.0.0 is asked for",
            ),
            (
                "v1.2.0-rc.1",
                Some(0),
                &good,
                0,
                "v1.2.0-rc.1 is not within >=1.0.0, <2.0.0",
            ),
            (
                "v1.2.0",
                Some(3000),
                &good,
                1,
                "staging has had it for 16m 40s, 1h are asked for: 43m 20s to go",
            ),
            (
                "v1.2.0",
                None,
                &good,
                1,
                "staging does not have v1.2.0 any more",
            ),
            (
                "v1.3.0",
                Some(0),
                &good,
                2,
                "the last run of shop/backend in staging was of example/shop:v1.2.0",
            ),
            // The same tag on what stands beside it in the pods says nothing.
            (
                "v1.2.0",
                Some(0),
                &beside,
                2,
                "the last run of shop/backend in staging was of proxy:v1.2.0, none of which is the image of shop",
            ),
        ];
        for (version, since, rollout, gate, why) in cases {
            let told = told(version, since, Some(rollout));
            assert_eq!(told[gate], (false, why.to_owned()));
        }
        for (phase, outcome, why) in [
            (
                "Stepping",
                "Promoted",
                "shop/backend in staging is Stepping",
            ),
            (
                "Failed",
                "RolledBack",
                "shop/backend in staging ended RolledBack: it is worse",
            ),
            (
                "Idle",
                "Paused",
                "shop/backend in staging ended in a way that is not known here: it is worse",
            ),
        ] {
            let rollout = standing(phase, outcome, "example/shop:v1.2.0");
            let told = told("v1.2.0", Some(0), Some(&rollout));
            assert_eq!(told[2], (false, why.to_owned()));
        }
        let told = told("v1.2.0", Some(0), None);
        assert_eq!(
            told[2],
            (false, "no Rollout was found in staging".to_owned())
        );
    }

    #[test]
    fn a_time_that_nobody_knows_is_that_of_the_promotion_or_none() {
        let good = standing("Idle", "Promoted", "example/shop:v1.2.0");
        let version = "v1.2.0".parse().unwrap();
        let told = |rollout, promoted| {
            let facts = Facts {
                environment: "staging",
                to: "production",
                service: &super::proof::tests::SERVICE,
                smoked: None,
                target_pins: None,
                despite: None,
                since: Since::Unknown,
                rollout,
                now: at(4000),
            };
            let gates = Gates {
                promoted,
                ..gates()
            };
            answers(&gates, &version, &facts)[1].clone()
        };
        assert!(told(Some(&good), true).open);
        let shut = told(None, false);
        assert_eq!(
            (shut.open, shut.why.as_str()),
            (false, "nothing says since when staging has v1.2.0")
        );
    }

    #[test]
    fn each_container_of_the_service_has_the_version_that_was_promoted() {
        let [ours, theirs] = ["ab", "cd"].map(|hex| format!("sha256:{}", hex.repeat(32)));
        let version = format!("v1.2.0@{ours}");
        for (images, open) in [
            (
                vec![format!("shop:v1.2.0@{ours}"), "proxy:v1".to_owned()],
                true,
            ),
            (
                vec![format!("shop:v1.2.0@{theirs}"), format!("proxy@{ours}")],
                false,
            ),
            (
                vec!["shop:v1.1.0".to_owned(), "proxy:v1.2.0".to_owned()],
                false,
            ),
            (
                vec!["shop:v1.2.0".to_owned(), "shop:v1.1.0".to_owned()],
                false,
            ),
        ] {
            let good = standing("Idle", "Promoted", "");
            let last = Ended {
                images: images.clone(),
                ..good.last.clone().unwrap()
            };
            let rollout = Standing {
                last: Some(last),
                ..good
            };
            let told = told(&version, Some(-100), Some(&rollout));
            assert_eq!(told[2].0, open, "{images:?}: {}", told[2].1);
        }
    }

    #[test]
    fn time_before_the_promotion_does_not_count_where_that_is_asked_for() {
        let late = Standing {
            last: Some(Ended {
                at: at(3900),
                ..standing("", "Promoted", "shop:v1.0.0").last.unwrap()
            }),
            ..standing("Idle", "Promoted", "")
        };
        let told = told("v1.0.0", Some(-9000), Some(&late));
        assert!(
            !told[1].0 && told[1].1.starts_with("staging has had it for 1m 40s"),
            "{told:?}"
        );
    }
}
