//! The gates that people and calendars keep: approvals, and times in which nothing goes on.
//!
//! Who approves is read from the Rollout in the environment before, where it stands by the same rules as
//! an approval of a step: the right to patch that Rollout is needed to write it.
//!
//! Not here: where it is written (the command line).

use humantime::format_duration;

use super::super::version::Version;
use super::{Answer, Facts, between};
use crate::rollout::approval::Approvals;
use crate::rollout::freeze::{Window, frozen};

/// How far two clocks may be apart.
const AHEAD: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);

/// Somebody let a version go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// Which version.
    pub version: Version,
    /// Where it may go.
    pub to: String,
    /// Of which service, if that was said: a Rollout may bring out several.
    pub service: Option<String>,
    /// Who, as the API server knows them.
    pub by: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// When.
    pub at: jiff::Timestamp,
}

/// Whether enough people have approved.
pub(super) fn approval(asked: &Approvals, version: &Version, facts: &Facts<'_>) -> Answer {
    let all = facts.rollout.map_or(&[][..], |standing| &standing.approved);
    let mut by: Vec<&str> = Vec::new();
    let mut left_out: Vec<String> = Vec::new();
    for one in all.iter().filter(|one| one.to == facts.to) {
        if let Some(why) = why_not(one, asked, version, facts) {
            left_out.push(why);
        } else if !by.contains(&one.by.as_str()) {
            by.push(&one.by);
        }
    }
    let open = by.len() >= usize::from(asked.required);
    let count = format!("{} of {} approved", by.len(), asked.required);
    let mut why = match by.as_slice() {
        [] => count,
        names => format!("{count}: {}", names.join(", ")),
    };
    if !open && !left_out.is_empty() {
        why = format!("{why}; {}", left_out.join("; "));
    }
    Answer {
        gate: "approval",
        open,
        why,
    }
}

/// Why an approval does not count.
fn why_not(
    one: &Approved,
    asked: &Approvals,
    version: &Version,
    facts: &Facts<'_>,
) -> Option<String> {
    let of = &facts.service.name;
    match &one.service {
        Some(named) if named == of => {}
        Some(named) => {
            let version = one.version.short();
            return Some(format!("{} approved {version} of {named}", one.by));
        }
        // It may have been meant of any that the Rollout brings out.
        None => {
            let version = one.version.short();
            return Some(format!(
                "{} approved {version} without naming the service (service={of})",
                one.by
            ));
        }
    }
    if !one.version.agrees(version) {
        return Some(format!("{} approved {}", one.by, one.version.short()));
    }
    // Who writes it says when: one of the future would never expire.
    if one.at.duration_since(facts.now) > AHEAD {
        return Some(format!(
            "{} approved at {}, which is still to come",
            one.by, one.at
        ));
    }
    if let Some(expires) = asked.expires
        && between(one.at, facts.now) >= expires
    {
        let expires = format_duration(expires);
        return Some(format!("{} approved more than {expires} ago", one.by));
    }
    asked.refuses(&one.by, &one.groups, &[])
}

/// Whether something may go on now.
pub(super) fn freeze(windows: &[Window], facts: &Facts<'_>) -> Answer {
    let (open, why) = match (frozen(windows, facts.now), facts.despite) {
        (None, _) => (true, "no freeze is in force".to_owned()),
        (Some(freeze), None) => (
            false,
            format!(
                "{} is frozen until {}: {}",
                facts.to, freeze.until, freeze.window
            ),
        ),
        (Some(freeze), Some(why)) => (
            true,
            format!(
                "in spite of {} until {}: {why}",
                freeze.window, freeze.until
            ),
        ),
    };
    Answer {
        gate: "freeze",
        open,
        why,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Since, Standing};
    use super::*;

    fn facts<'a>(standing: Option<&'a Standing>, despite: Option<&'a str>) -> Facts<'a> {
        Facts {
            service: &super::super::proof::tests::SERVICE,
            environment: "staging",
            to: "production",
            since: Since::Unknown,
            rollout: standing,
            now: "2026-01-03T12:00:00Z".parse().unwrap(),
            smoked: None,
            target_pins: None,
            despite,
        }
    }

    /// `by[/group] VERSION TO hours-ago [SERVICE]`; of the service of the facts, `-` of none that is named.
    fn approved(text: &str) -> Approved {
        let words: Vec<&str> = text.split(' ').collect();
        let (by, groups) = words[0].split_once('/').unwrap_or((words[0], ""));
        let hours: i64 = words[3].parse().unwrap();
        let now: jiff::Timestamp = "2026-01-03T12:00:00Z".parse().unwrap();
        Approved {
            version: words[1].parse().unwrap(),
            to: words[2].to_owned(),
            service: match words.get(4) {
                None => Some("shop".to_owned()),
                Some(&"-") => None,
                Some(other) => Some((*other).to_owned()),
            },
            by: by.to_owned(),
            groups: vec![groups.to_owned()],
            at: now - jiff::SignedDuration::from_hours(hours),
        }
    }

    #[test]
    fn people_count_once_for_this_version_and_this_way() {
        let asked = Approvals {
            required: 2,
            from: vec![vec!["sre".to_owned(), "ada".to_owned()]],
            expires: Some(Duration::from_secs(24 * 3600)),
            not_author: false,
        };
        let version: Version = "v1.3.0".parse().unwrap();
        let cases: [(&[&str], &str); 10] = [
            (&[], "0 of 2 approved"),
            (
                &["ada v1.3.0 production -1", "bob/sre v1.3.0 production 2"],
                "1 of 2 approved: bob; ada approved at 2026-01-03T13:00:00Z, which is still to come",
            ),
            (
                &["ada v1.3.0 production 1", "ada v1.3.0 production 2"],
                "1 of 2 approved: ada",
            ),
            (
                &["ada v1.3.0 production 1", "bob/sre v1.3.0 production 2"],
                "2 of 2 approved: ada, bob",
            ),
            (
                &["ada v1.3.0 production 1", "bob/sre v1.3.0 develop 2"],
                "1 of 2 approved: ada",
            ),
            (
                &["ada v1.3.0 production 1", "bob/sre v1.2.0 production 2"],
                "1 of 2 approved: ada; bob approved v1.2.0",
            ),
            (
                &["ada v1.3.0 production 25"],
                "0 of 2 approved; ada approved more than 1day ago",
            ),
            (
                &["eve/dev v1.3.0 production 1"],
                "0 of 2 approved; eve is none of those who may approve: sre, ada",
            ),
            // Of another service that the same Rollout brings out, or of nobody knows which.
            (
                &["ada v1.3.0 production 1", "bob/sre v1.3.0 production 2 web"],
                "1 of 2 approved: ada; bob approved v1.3.0 of web",
            ),
            (
                &["ada v1.3.0 production 1", "bob/sre v1.3.0 production 2 -"],
                "1 of 2 approved: ada; bob approved v1.3.0 without naming the service (service=shop)",
            ),
        ];
        for (given, wanted) in cases {
            let standing = Standing {
                approved: given.iter().map(|text| approved(text)).collect(),
                ..Standing::default()
            };
            let answer = approval(&asked, &version, &facts(Some(&standing), None));
            assert_eq!(answer.why, wanted);
            assert_eq!(answer.open, wanted.starts_with('2'), "{wanted}");
        }
        assert!(!approval(&asked, &version, &facts(None, None)).open);
    }

    #[test]
    fn a_freeze_shuts_the_gate_unless_somebody_says_why_not() {
        let window = Window {
            name: "weekend".to_owned(),
            from: "Fri 16:00".parse().unwrap(),
            until: crate::rollout::freeze::Until::At("Mon 08:00".parse().unwrap()),
            zone: jiff::tz::TimeZone::UTC,
        };
        let windows = [window];
        let shut = freeze(&windows, &facts(None, None));
        let wanted = "production is frozen until 2026-01-05T08:00:00Z: weekend";
        assert_eq!((shut.open, shut.why.as_str()), (false, wanted));
        let open = freeze(&windows, &facts(None, Some("the shop is down")));
        let wanted = "in spite of weekend until 2026-01-05T08:00:00Z: the shop is down";
        assert_eq!((open.open, open.why.as_str()), (true, wanted));
        assert!(freeze(&[], &facts(None, None)).open);
    }
}
