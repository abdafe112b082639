//! What is noted beside an image about its environments: tags that say what led where, and when.
//!
//! A registry keeps no history of a tag that is moved. So each move leaves another tag behind, which is never
//! moved: `sluice.production.20261122T151514Z.v1.3.0` leads to what `production` had at that time, with
//! `-back` behind the time where it came by a way back. It also keeps the bytes: registries delete what
//! no tag leads to.
//!
//! Not here: reading and writing them (`shelf`).

use jiff::Timestamp;

use super::version::Version;

/// As records have times, in UTC.
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// Behind the time of what came by a way back.
const BACK: &str = "-back";
/// The longest tag.
const LONGEST: usize = 128;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When the environment had it.
    pub at: Timestamp,
    /// Whether it came by a way back.
    pub back: bool,
    /// The tag by which it is known, if there was one.
    pub name: Option<String>,
    /// The record's own tag.
    pub tag: String,
}

impl Record {
    /// A record of an environment.
    pub fn new(environment: &str, at: Timestamp, version: &Version, back: bool) -> Self {
        let time = at.strftime(TIME);
        let mark = if back { BACK } else { "" };
        let begin = format!("{}{time}{mark}", prefix(environment));
        let name = version.tag.clone();
        let name = name.filter(|name| begin.len() + 1 + name.len() <= LONGEST);
        let tag = match &name {
            Some(name) => format!("{begin}.{name}"),
            None => begin,
        };
        Self {
            at,
            back,
            name,
            tag,
        }
    }

    /// Reads a tag, if it is a record of this environment.
    pub fn read(environment: &str, tag: &str) -> Option<Self> {
        let rest = tag.strip_prefix(&prefix(environment))?;
        let (time, name) = match rest.split_once('.') {
            Some((time, name)) => (time, Some(name.to_owned())),
            None => (rest, None),
        };
        let (time, back) = match time.strip_suffix(BACK) {
            Some(time) => (time, true),
            None => (time, false),
        };
        let at = jiff::civil::DateTime::strptime(TIME, time).ok()?;
        let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        let tag = tag.to_owned();
        Some(Self {
            at,
            back,
            name,
            tag,
        })
    }

    /// An environment's records among tags, newest first.
    pub fn all(environment: &str, tags: &[String]) -> Vec<Self> {
        let records = tags.iter().filter_map(|tag| Self::read(environment, tag));
        let mut records: Vec<Self> = records.collect();
        records.sort_by(|one, other| other.at.cmp(&one.at).then(other.tag.cmp(&one.tag)));
        records
    }
}

/// Whether a tag is a record of any environment.
pub fn is_record(tag: &str) -> bool {
    tag.starts_with("sluice.")
}

/// Characters that no tag may have become `-`.
fn prefix(environment: &str) -> String {
    let word = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = environment.chars().map(word).take(60).collect();
    format!("sluice.{name}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_when_an_environment_had_what() {
        let at: Timestamp = "2026-11-22T15:15:14Z".parse().unwrap();
        let record = Record::new("production", at, &"v1.3.0".parse().unwrap(), false);
        assert_eq!(record.tag, "sluice.production.20261122T151514Z.v1.3.0");
        assert_eq!(
            Record::read("production", &record.tag),
            Some(record.clone())
        );
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let nameless = Record::new("production", at, &digest, false);
        assert_eq!(nameless.tag, "sluice.production.20261122T151514Z");
        assert_eq!(Record::read("production", &nameless.tag), Some(nameless));
        let back = Record::new("production", at, &"v1.2.0".parse().unwrap(), true);
        assert_eq!(back.tag, "sluice.production.20261122T151514Z-back.v1.2.0");
        assert_eq!(Record::read("production", &back.tag), Some(back));
        for other in ["prod", "production.20261122T151514Z", "staging"] {
            assert_eq!(Record::read(other, &record.tag), None, "{other}");
        }
        let long = "v".repeat(120).parse().unwrap();
        assert!(Record::new("production", at, &long, true).tag.len() <= 128);
    }

    #[test]
    fn the_newest_record_is_the_first() {
        let tags = [
            "20260102T000000Z.v2",
            "20260101T000000Z.v1",
            "20260103T000000Z",
            "x",
        ];
        let tags = tags.map(|tag| format!("sluice.a.{tag}"));
        let names = Record::all("a", &tags)
            .into_iter()
            .map(|record| record.name);
        let names: Vec<Option<String>> = names.collect();
        assert_eq!(names, [None, Some("v2".to_owned()), Some("v1".to_owned())]);
    }
}
