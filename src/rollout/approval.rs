//! Who must approve where a person must, and who has.
//!
//! A Rollout says it for itself or for a step, an environment for all that run there; both count. A person counts
//! once. What is vouched for in Git names the revision and the people, and does not expire; a tag or an image in it
//! stands for the one template that was seen with it.
//!
//! Not here: who may ask at all (RBAC), what an approval leads to (`decide::approvals`).

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::revision::{Revision, tag};
use super::words;

/// Who must approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvals {
    /// How many people; at least 1.
    pub required: u8,
    /// Users and groups: who counts is one of them, or in one of them, in each of these lists. Empty: everybody.
    /// `user:` and `group:` before a name say which of the two it is.
    pub from: Vec<Vec<String>>,
    /// How long an approval waits for the others.
    pub expires: Option<Duration>,
    /// Whether the authors of the change do not count, where it is known who they are.
    pub not_author: bool,
}

impl Default for Approvals {
    fn default() -> Self {
        Self {
            required: 1,
            from: Vec::new(),
            expires: None,
            not_author: false,
        }
    }
}

impl Approvals {
    /// Asks for what another one asks for too.
    pub fn and(&mut self, other: &Self) {
        self.required = self.required.max(other.required);
        self.from.extend(other.from.iter().cloned());
        self.expires = match (self.expires, other.expires) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.not_author |= other.not_author;
    }

    /// Whether it matters who approves.
    pub fn is_about_people(&self) -> bool {
        self.required > 1 || !self.from.is_empty() || self.not_author
    }

    /// Why this person does not count, if so. `authors` are the change's, as far as they are known.
    pub fn refuses(&self, by: &str, groups: &[String], authors: &[String]) -> Option<String> {
        let is_group = |name: &str| groups.iter().any(|group| group == name);
        let is = |name: &String| match name.split_once(':') {
            Some(("user", name)) => name == by,
            Some(("group", name)) => is_group(name),
            _ => name == by || is_group(name),
        };
        let one_of = |names: &Vec<String>| names.iter().any(is);
        if let Some(names) = self.from.iter().find(|names| !one_of(names)) {
            return Some(format!(
                "{by} is none of those who may approve: {}",
                names.join(", ")
            ));
        }
        self.has_written(by, authors)
            .then(|| format!("{by} is the author of the change, and somebody else must approve it"))
    }

    /// Whether this person does not count because they wrote the change. Addresses are compared without case.
    pub fn has_written(&self, by: &str, authors: &[String]) -> bool {
        let mut authors = authors.iter();
        self.not_author && authors.any(|author| author.eq_ignore_ascii_case(by))
    }
}

/// What an environment asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// By whom.
    pub approvals: Approvals,
    /// Whether each run needs them before its promotion, whatever its Rollout asks for.
    pub every_run: bool,
}

/// Somebody has approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The step, counted from 0.
    pub step: usize,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// It stands in Git.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_git: bool,
}

/// Approvals that stand in Git: of a revision, by these people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// Its hash, an image, or the tag of its first container.
    pub revision: String,
    /// Who; empty for somebody who is not named.
    pub by: Vec<String>,
}

impl Vouched {
    /// Reads `REVISION [NAME…]`; names are apart by spaces or commas.
    pub fn read(text: &str) -> Option<Self> {
        let mut given = text
            .split([' ', ',', '\n', '\t'])
            .filter(|word| !word.is_empty());
        let revision = words::name(given.next()?);
        let by = given.take(20).map(words::name).collect();
        Some(Self { revision, by })
    }

    /// Whether it is about this revision. The tag of a container beside the first one says nothing: whoever may
    /// change the template may add one that has it.
    pub fn is_of(&self, revision: &Revision) -> bool {
        let name = &self.revision;
        let tag = revision.images.first().and_then(|image| tag(image));
        revision.hash == *name || revision.images.contains(name) || tag == Some(name)
    }
}

/// The template that approvals in Git are of: the first that was seen with them. Another one of the same tag was
/// seen by nobody who approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meant {
    /// What stands in Git.
    pub vouched: Vouched,
    /// The template's hash.
    pub hash: String,
    /// The newest run that they did not count for, already told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who, in which groups, by whose change; what the refusal says, if it is one.
    type Case = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
        Option<&'static str>,
    );

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn both_the_rollout_and_the_environment_count() {
        let mut asked = Approvals {
            required: 2,
            from: vec![texts(&["dev", "alice"])],
            expires: None,
            not_author: false,
        };
        asked.and(&Approvals {
            required: 1,
            from: vec![texts(&["sre"])],
            expires: Some(Duration::from_secs(60)),
            not_author: true,
        });
        assert_eq!((asked.required, asked.not_author), (2, true));
        assert_eq!(asked.expires, Some(Duration::from_secs(60)));
        let cases: [Case; 5] = [
            ("alice", &["sre"], &[], None),
            ("bob", &["dev", "sre"], &["carol"], None),
            (
                "bob",
                &["sre"],
                &[],
                Some("those who may approve: dev, alice"),
            ),
            ("alice", &["dev"], &[], Some("those who may approve: sre")),
            ("alice", &["sre"], &["bob", "Alice"], Some("is the author")),
        ];
        for (by, groups, authors, wanted) in cases {
            let found = asked.refuses(by, &texts(groups), &texts(authors));
            match wanted {
                None => assert_eq!(found, None, "{by}"),
                Some(wanted) => assert!(found.as_ref().unwrap().contains(wanted), "{found:?}"),
            }
        }
    }

    #[test]
    fn who_is_called_like_a_group_is_not_in_it_where_that_is_said() {
        let cases: [(&str, &str, &[&str], bool); 7] = [
            ("sre", "sre", &[], true),
            ("group:sre", "sre", &[], false),
            ("group:sre", "alice", &["sre"], true),
            ("group:sre", "group:sre", &[], false),
            ("user:alice", "alice", &[], true),
            ("user:alice", "bob", &["alice"], false),
            (
                "system:serviceaccount:a:b",
                "system:serviceaccount:a:b",
                &[],
                true,
            ),
        ];
        for (from, by, groups, counts) in cases {
            let asked = Approvals {
                from: vec![texts(&[from])],
                ..Approvals::default()
            };
            let refused = asked.refuses(by, &texts(groups), &[]);
            assert_eq!(refused.is_none(), counts, "{from}: {by}");
        }
    }

    #[test]
    fn what_stands_in_git_names_a_revision_and_people() {
        let revision = Revision {
            hash: "91bc03aa17".to_owned(),
            images: vec!["registry:5000/shop/backend:v1.4.2@sha256:00".to_owned()],
        };
        for (text, by, is_of) in [
            ("v1.4.2", texts(&[]), true),
            ("91bc03aa17 alice", texts(&["alice"]), true),
            (" v1.4.2 alice, bob\n", texts(&["alice", "bob"]), true),
            ("v1.4.1 alice", texts(&["alice"]), false),
        ] {
            let vouched = Vouched::read(text).unwrap();
            assert_eq!(
                (vouched.is_of(&revision), &vouched.by),
                (is_of, &by),
                "{text}"
            );
        }
        assert_eq!(Vouched::read(" , "), None);
        let long = Vouched::read(&format!("v1 {}", "w".repeat(100_000))).unwrap();
        assert_eq!(long.by[0].chars().count(), words::MOST);
        let beside = Revision {
            images: vec!["shop:v9".to_owned(), "proxy:v1.4.2".to_owned()],
            ..revision
        };
        for (text, is_of) in [("v1.4.2", false), ("v9", true), ("proxy:v1.4.2", true)] {
            assert_eq!(Vouched::read(text).unwrap().is_of(&beside), is_of, "{text}");
        }
    }
}
