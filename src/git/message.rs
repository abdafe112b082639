//! What our commit says, and how it is known again.
//!
//! The trailers `Sluice-Run` and `Sluice-Rollout` mark a commit as ours: after a crash the remedy
//! is found instead of made twice, and a deployment caused by it is known as a return to stable.
//! Trailers are read from the message's last paragraph only, as git-interpret-trailers(1) does.

use super::history::Change;

const REVERTS: &str = "This reverts commit ";
const RUN: &str = "Sluice-Run: ";
const ROLLOUT: &str = "Sluice-Rollout: ";

/// Whether a message says that it takes back these changes and no others.
pub(super) fn reverts(message: &str, undone: &[Change]) -> bool {
    let said = message.lines().filter_map(|line| {
        let rest = line.strip_prefix(REVERTS)?;
        rest.split(' ').next()
    });
    let wanted = undone.iter().map(|change| change.commit.0.to_string());
    let (mut said, mut wanted): (Vec<String>, Vec<String>) =
        (said.map(str::to_owned).collect(), wanted.collect());
    said.sort_unstable();
    wanted.sort_unstable();
    !wanted.is_empty() && said == wanted
}

/// The parts of a commit's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The Rollout, `namespace/name`.
    pub rollout: String,
    /// The run whose verdict leads to the commit.
    pub run: String,
    /// The verdict with its numbers, a sentence.
    pub verdict: String,
    /// Where people read more, if there is such a place.
    pub link: Option<String>,
}

impl Message {
    /// The whole text, with what else the commit does, in sentences.
    pub fn text(&self, undone: &[Change], beside: &str) -> String {
        let reverts = undone.iter().map(|change| {
            let (commit, summary) = (change.commit.0, &change.summary);
            format!("{REVERTS}{commit} ({summary}).\n")
        });
        let reverts: Vec<String> = reverts.collect();
        let beside = match beside {
            "" => String::new(),
            beside => format!("\n{beside}\n"),
        };
        let link = self.link.iter().map(|link| format!("\n{link}\n"));
        [
            format!("{}\n\n{}\n\n", self.subject(undone), self.verdict),
            reverts.concat(),
            beside,
            link.collect(),
            format!("\n{}\n", self.trailers()),
        ]
        .concat()
    }

    /// The lines by which the remedy is known again.
    pub fn trailers(&self) -> String {
        format!("{RUN}{}\n{ROLLOUT}{}", self.run, self.rollout)
    }

    /// Whether a commit's message says that it is this remedy: the run alone does not do, since
    /// two Rollouts may start the same template in the same second.
    pub(super) fn is_of(&self, message: &str) -> bool {
        let last = message.trim_end().rsplit("\n\n").next().unwrap_or_default();
        let says = |key: &str, value: &str| {
            let said = last.lines().find_map(|line| line.strip_prefix(key));
            said.is_some_and(|said| said.trim() == value)
        };
        says(RUN, &self.run) && says(ROLLOUT, &self.rollout)
    }

    /// The first line.
    pub fn subject(&self, undone: &[Change]) -> String {
        match undone {
            [only] => format!("Revert \"{}\"", only.summary),
            several => format!(
                "Revert {} commits that released {}",
                several.len(),
                self.rollout
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::error::Commit;

    fn change(summary: &str) -> Change {
        Change {
            commit: Commit(
                git2::Oid::from_str("0123456789abcdef0123456789abcdef01234567").unwrap(),
            ),
            parent: git2::Oid::ZERO_SHA1,
            summary: summary.to_owned(),
            author: String::new(),
            merge: false,
        }
    }

    fn message() -> Message {
        Message {
            rollout: "shop/backend".to_owned(),
            run: "backend-7".to_owned(),
            verdict: "canary 31 of 612 (5.07%)".to_owned(),
            link: Some("https://sluice.example/runs/backend-7".to_owned()),
        }
    }

    #[test]
    fn the_message_says_what_why_and_whose_and_is_known_again() {
        let text = message().text(&[change("Release v3")], "Excludes v3.");
        assert_eq!(
            text,
            "Revert \"Release v3\"\n\ncanary 31 of 612 (5.07%)\n\n\
             This reverts commit 0123456789abcdef0123456789abcdef01234567 (Release v3).\n\n\
             Excludes v3.\n\n\
             https://sluice.example/runs/backend-7\n\n\
             Sluice-Run: backend-7\nSluice-Rollout: shop/backend\n"
        );
        assert!(message().is_of(&text));
        assert!(reverts(&text, &[change("Release v3")]));
        assert!(!reverts(
            &text,
            &[change("Release v3"), change("Release v4")]
        ));
        assert!(!reverts("Sluice", &[]));
    }

    #[test]
    fn a_message_that_only_quotes_the_trailers_or_is_another_rollouts_is_not_ours() {
        let quoted = format!(
            "Fix\n\n{}\nwas wrong\n\nSigned-off-by: me\n",
            message().trailers()
        );
        assert!(!message().is_of(&quoted));
        let other = Message {
            rollout: "europe/backend".to_owned(),
            ..message()
        };
        assert!(!message().is_of(&other.text(&[], "")));
        assert!(!message().is_of("Sluice"));
    }
}
