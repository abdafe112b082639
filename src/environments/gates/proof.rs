//! The gates that ask what was shown in the environment before: that the version was there at all, runs without an
//! error, smoke tests, and that the same bytes go on.
//!
//! Not here: making the tests and asking for the runs (the command line).

use super::super::version::Version;
use super::{Answer, Facts, Since, gone, own};
use crate::rollout::reason::Outcome;

/// A smoke test that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smoked {
    /// Its name.
    pub test: String,
    /// Whether it passed.
    pub passed: bool,
    /// What it came to, a sentence.
    pub told: String,
}

/// The facts, with what the Rollout shows: a version that it serves, or tried last, was there.
pub(super) fn weighed<'a>(version: &Version, facts: &Facts<'a>) -> Facts<'a> {
    let is_of = |images: &[String]| {
        let mut own = own(images, facts.service).peekable();
        own.peek().is_some() && own.all(|image| version.is_of(image))
    };
    let shown = facts.rollout.is_some_and(|standing| {
        let tried = standing.last.as_ref();
        is_of(&standing.serves) || tried.is_some_and(|last| is_of(&last.images))
    });
    let since = if facts.since == Since::Unproven && shown {
        Since::Over
    } else {
        facts.since
    };
    Facts {
        since,
        ..facts.clone()
    }
}

/// Shut where nothing shows that the version was ever there; no pipeline asks for this gate, and none can leave it out.
pub(super) fn there(version: &Version, facts: &Facts<'_>) -> Option<Answer> {
    if facts.since != Since::Unproven {
        return None;
    }
    let environment = facts.environment;
    let rollout = facts.rollout.map_or_else(
        || "no Rollout was found there".to_owned(),
        |standing| {
            format!(
                "{} there does not serve it and did not try it last",
                standing.name
            )
        },
    );
    Some(Answer {
        gate: "there",
        open: false,
        why: format!(
            "nothing shows that {environment} had {version}: it follows the newest tag, no record names this one, and \
             {rollout}; promote the version that it has, or change its range (newest) so that this is the newest"
        ),
    })
}

/// Whether the newest runs were all promoted. Runs that were superseded or cancelled say nothing.
pub(super) fn runs(wanted: u32, facts: &Facts<'_>) -> Answer {
    let environment = facts.environment;
    let (open, why) = match facts.rollout.map(|standing| &standing.runs) {
        None => (false, format!("no Rollout was found in {environment}")),
        Some(Err(why)) => (
            false,
            format!("the runs in {environment} are not known: {why}"),
        ),
        Some(Ok(outcomes)) => {
            let known = outcomes
                .iter()
                .filter_map(|outcome| Outcome::named(outcome));
            let counted = known.filter(|outcome| match outcome {
                Outcome::Promoted | Outcome::RolledBack => true,
                Outcome::Superseded | Outcome::Cancelled => false,
            });
            let good = counted.take_while(|outcome| *outcome == Outcome::Promoted);
            let good = good.count();
            let told = format!("the newest {good} runs in {environment} were promoted");
            let told = if good == 1 {
                format!("the newest run in {environment} was promoted, not the one before")
            } else {
                told
            };
            let open = u32::try_from(good).is_ok_and(|good| good >= wanted);
            (open, format!("{told}, {wanted} are asked for"))
        }
    };
    Answer {
        gate: "runs",
        open,
        why,
    }
}

/// Whether the version is there still, and each test passed.
pub(super) fn smoke(wanted: &[String], version: &Version, facts: &Facts<'_>) -> Answer {
    let (open, why) = match facts.smoked {
        // What would be tested is another version.
        _ if !facts.since.lasts() => (false, gone(version, facts)),
        None => {
            let names = wanted.join(", ");
            let why = format!("{names}: made by `sluice promote`");
            (false, why)
        }
        Some(made) => {
            let of = |name: &String| made.iter().find(|smoked| smoked.test == *name);
            let told: Vec<String> = wanted
                .iter()
                .map(|name| {
                    of(name).map_or_else(
                        || format!("{name} was not made"),
                        |smoked| smoked.told.clone(),
                    )
                })
                .collect();
            let passed = wanted
                .iter()
                .all(|name| of(name).is_some_and(|smoked| smoked.passed));
            (passed, told.join("; "))
        }
    };
    Answer {
        gate: "smoke",
        open,
        why,
    }
}

/// Whether the bytes that were tried are the bytes that go on: a digest is known, and will be pinned; and
/// where a Rollout is asked, its last run was of it.
pub(super) fn same_digest(version: &Version, facts: &Facts<'_>) -> Answer {
    let (environment, to) = (facts.environment, facts.to);
    let (open, why) = match (&version.digest, facts.target_pins) {
        (None, _) => (
            false,
            format!("{environment} pins no digest of {}", version.short()),
        ),
        (_, None) => (false, format!("it is not known whether {to} pins a digest")),
        (_, Some(false)) => (
            false,
            format!("{to} pins no digest, so its tag may lead elsewhere"),
        ),
        (Some(digest), Some(true)) => match tried_other(digest, facts) {
            Some(why) => (false, why),
            None => (true, format!("{digest} in both")),
        },
    };
    Answer {
        gate: "sameDigest",
        open,
        why,
    }
}

/// Why the bytes that were tried last are not these; `None` if they are, or if there is no Rollout to ask.
fn tried_other(digest: &str, facts: &Facts<'_>) -> Option<String> {
    let (environment, standing) = (facts.environment, facts.rollout?);
    let Some(last) = &standing.last else {
        return Some(format!("{} in {environment} has had no run", standing.name));
    };
    let mut own = last.of(facts.service);
    let has_it = |image: &&str| {
        Version::of_image(image).is_ok_and(|of| of.digest.as_deref() == Some(digest))
    };
    let Some(first) = own.clone().next() else {
        let (name, images) = (&facts.service.name, last.images.join(", "));
        return Some(format!(
            "{environment} has tried {images}, none of which is the image of {name}"
        ));
    };
    let other = own.find(|image| !has_it(image));
    other.map(|_| format!("{environment} has tried {first}, not {digest}"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::LazyLock;

    use super::super::super::pipeline::Gates;
    use super::super::super::places::Service;
    use super::super::{Ended, Standing, answers};
    use super::*;

    /// Any image `.../shop` is its own.
    pub static SERVICE: LazyLock<Service> = LazyLock::new(|| Service {
        name: "shop".to_owned(),
        ..Service::default()
    });

    fn facts<'a>(rollout: Option<&'a Standing>, smoked: Option<&'a [Smoked]>) -> Facts<'a> {
        Facts {
            environment: "staging",
            to: "production",
            service: &SERVICE,
            since: Since::Unknown,
            rollout,
            now: jiff::Timestamp::UNIX_EPOCH,
            smoked,
            target_pins: Some(true),
            despite: None,
        }
    }

    #[test]
    fn runs_count_until_the_newest_that_failed() {
        let (p, r, s) = ("Promoted", "RolledBack", "Superseded");
        for (outcomes, open) in [
            (&[p, p][..], true),
            (&[p, s, p, r][..], true),
            (&[r, p, p][..], false),
            (&[p, r, p][..], false),
            (&[p][..], false),
            (&[][..], false),
        ] {
            let standing = Standing {
                runs: Ok(outcomes.iter().map(ToString::to_string).collect()),
                ..Standing::default()
            };
            let answer = runs(2, &facts(Some(&standing), None));
            assert_eq!(answer.open, open, "{outcomes:?}: {}", answer.why);
        }
        let away = Standing {
            runs: Err("it does not answer".to_owned()),
            ..Standing::default()
        };
        let answer = runs(1, &facts(Some(&away), None));
        let wanted = "the runs in staging are not known: it does not answer";
        assert_eq!((answer.open, answer.why.as_str()), (false, wanted));
        assert!(!runs(1, &facts(None, None)).open);
    }

    #[test]
    fn tests_that_were_not_made_are_not_passed() {
        let wanted = ["health".to_owned(), "login".to_owned()];
        let made = |test: &str, passed| Smoked {
            test: test.to_owned(),
            passed,
            told: format!("{test}: {passed}"),
        };
        for (smoked, open, why) in [
            (None, false, "health, login: made by `sluice promote`"),
            (
                Some(vec![made("health", true)]),
                false,
                "health: true; login was not made",
            ),
            (
                Some(vec![made("health", true), made("login", false)]),
                false,
                "health: true; login: false",
            ),
            (
                Some(vec![made("health", true), made("login", true)]),
                true,
                "health: true; login: true",
            ),
        ] {
            let answer = smoke(
                &wanted,
                &"v1".parse().unwrap(),
                &facts(None, smoked.as_deref()),
            );
            assert_eq!((answer.open, answer.why.as_str()), (open, why));
        }
    }

    #[test]
    fn tests_say_nothing_of_a_version_that_is_there_no_more() {
        let made = [Smoked {
            test: "health".to_owned(),
            passed: true,
            told: "it is well".to_owned(),
        }];
        let over = Facts {
            since: Since::Over,
            ..facts(None, Some(&made))
        };
        let answer = smoke(&["health".to_owned()], &"v1.2.0".parse().unwrap(), &over);
        let wanted = "staging does not have v1.2.0 any more";
        assert_eq!((answer.open, answer.why.as_str()), (false, wanted));
    }

    #[test]
    fn what_nothing_shows_to_have_been_there_does_not_go_on_whatever_is_asked_for() {
        let version: Version = "v1.0.5".parse().unwrap();
        let images = |images: &[&str]| images.iter().map(ToString::to_string).collect::<Vec<_>>();
        let standing = |serves: &[&str], tried: &[&str]| Standing {
            name: "shop/shop".to_owned(),
            serves: images(serves),
            last: Some(Ended {
                images: images(tried),
                outcome: Some(Outcome::RolledBack),
                message: String::new(),
                at: jiff::Timestamp::UNIX_EPOCH,
            }),
            ..Standing::default()
        };
        let told = |rollout: Option<&Standing>, since| {
            let facts = Facts {
                since,
                ..facts(rollout, None)
            };
            answers(&Gates::default(), &version, &facts)
        };
        for (serves, tried, shown) in [
            (&["shop:v2.0.0"][..], &["shop:v2.0.0"][..], false),
            (&[], &[], false),
            // The tag of what stands beside it says nothing.
            (&["proxy:v1.0.5"], &["proxy:v1.0.5"], false),
            (&["shop:v1.0.5", "shop:v2.0.0"], &["shop:v2.0.0"], false),
            (&["shop:v1.0.5", "proxy:v9"], &["shop:v2.0.0"], true),
            (&["shop:v2.0.0"], &["shop:v1.0.5"], true),
        ] {
            let rollout = standing(serves, tried);
            let told = told(Some(&rollout), Since::Unproven);
            assert_eq!(told.is_empty(), shown, "{serves:?} {tried:?}: {told:?}");
        }
        let [shut] = <[Answer; 1]>::try_from(told(None, Since::Unproven)).unwrap();
        let wanted = "nothing shows that staging had v1.0.5: it follows the newest tag, no record names this one, and no \
                      Rollout was found there; promote the version that it has, or change its range (newest) so that this \
                      is the newest";
        assert_eq!(
            (shut.gate, shut.open, shut.why.as_str()),
            ("there", false, wanted)
        );
        for since in [Since::Unknown, Since::Over] {
            assert_eq!(told(None, since), []);
        }
        // Nor is it a version that is there no more, and tests of what is there say nothing of it.
        let unproven = Facts {
            since: Since::Unproven,
            ..facts(None, Some(&[]))
        };
        let why = smoke(&["health".to_owned()], &version, &unproven).why;
        assert_eq!(why, "staging does not have v1.0.5");
    }

    #[test]
    fn only_the_own_image_of_the_last_run_says_which_bytes_were_tried() {
        let [ours, theirs] = ["ab", "cd"].map(|hex| format!("sha256:{}", hex.repeat(32)));
        let pinned: Version = format!("v1@{ours}").parse().unwrap();
        let bare: Version = ours.parse().unwrap();
        for (images, open) in [
            (
                vec!["migrate:v1".to_owned(), format!("shop:v1@{ours}")],
                true,
            ),
            (
                vec![
                    format!("migrate@{theirs}"),
                    format!("r.example/shop@{ours}"),
                ],
                true,
            ),
            (
                vec![format!("migrate@{ours}"), format!("shop@{theirs}")],
                false,
            ),
            (vec![format!("shop:v2@{theirs}")], false),
            (vec!["shop:v1".to_owned()], false),
            (vec![format!("shop:v1@{ours}"), "shop:v1".to_owned()], false),
            (vec![format!("migrate:v1@{ours}")], false),
        ] {
            let standing = Standing {
                last: Some(Ended {
                    images,
                    outcome: Some(Outcome::Promoted),
                    message: String::new(),
                    at: jiff::Timestamp::UNIX_EPOCH,
                }),
                ..Standing::default()
            };
            for version in [&pinned, &bare] {
                let answer = same_digest(version, &facts(Some(&standing), None));
                assert_eq!(answer.open, open, "{}", answer.why);
            }
        }
        let none = Standing::default();
        assert!(!same_digest(&pinned, &facts(Some(&none), None)).open);
    }

    #[test]
    fn the_bytes_that_were_tried_are_those_that_go_on() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let pinned: Version = format!("v1@{digest}").parse().unwrap();
        let plain: Version = "v1".parse().unwrap();
        let tried = |image: String| Standing {
            last: Some(Ended {
                images: vec![image],
                outcome: Some(Outcome::Promoted),
                message: String::new(),
                at: jiff::Timestamp::UNIX_EPOCH,
            }),
            ..Standing::default()
        };
        let same = tried(format!("shop:v1@{digest}"));
        let other = tried("shop:v1".to_owned());
        assert!(same_digest(&pinned, &facts(Some(&same), None)).open);
        assert!(same_digest(&pinned, &facts(None, None)).open);
        assert!(!same_digest(&pinned, &facts(Some(&other), None)).open);
        assert!(!same_digest(&plain, &facts(Some(&same), None)).open);
        for pins in [None, Some(false)] {
            let facts = Facts {
                target_pins: pins,
                ..facts(Some(&same), None)
            };
            assert!(!same_digest(&pinned, &facts).open);
        }
    }
}
