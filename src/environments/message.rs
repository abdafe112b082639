//! What a promotion's commit and pull request say.
//!
//! The trailers make the branch's history the history of promotions: `git log --grep
//! '^Sluice-Service: backend'` lists them.

use super::gates::Answer;
use super::version::Version;

/// The parts.
#[derive(Debug)]
pub struct Message<'a> {
    /// The service.
    pub service: &'a str,
    /// Where the version comes from; `None` on a way back.
    pub from: Option<&'a str>,
    /// The environment that gets it.
    pub to: &'a str,
    /// The version.
    pub version: &'a Version,
    /// The version that was there.
    pub before: &'a Version,
    /// Each gate's answer.
    pub gates: &'a [Answer],
}

impl Message<'_> {
    /// The first line.
    pub fn subject(&self) -> String {
        let Self {
            service,
            to,
            version,
            ..
        } = self;
        match self.from {
            Some(_) => format!("Promote {service} {version} to {to}"),
            None => format!("Roll back {service} to {version} in {to}"),
        }
    }

    /// The whole text of the commit.
    pub fn text(&self) -> String {
        format!("{}\n\n{}\n{}", self.subject(), self.body(), self.trailers())
    }

    /// The text of the pull request, in Markdown.
    pub fn proposal(&self) -> String {
        format!("{}\n{}", self.body(), self.trailers())
    }

    fn body(&self) -> String {
        let before = self.before;
        let whence = match self.from {
            Some(from) => format!("From {from}; {} had {before}.\n", self.to),
            None => format!("{} had {before}.\n", self.to),
        };
        let gates = self
            .gates
            .iter()
            .map(|answer| format!("- {}: {}\n", answer.gate, answer.why));
        let gates: Vec<String> = gates.collect();
        let gap = if gates.is_empty() { "" } else { "\n" };
        format!("{whence}{gap}{}", gates.concat())
    }

    fn trailers(&self) -> String {
        let Self {
            service,
            to,
            version,
            before,
            ..
        } = self;
        let from = self
            .from
            .map_or_else(String::new, |from| format!("Sluice-From: {from}\n"));
        format!(
            "Sluice-Service: {service}\nSluice-Environment: {to}\nSluice-Version: {version}\n\
             Sluice-Before: {before}\n{from}"
        )
    }

    /// The branch of a pull request: the same until the environment gets another version by
    /// another commit than `since`.
    pub fn branch(&self, since: &str) -> String {
        let word = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        };
        let version: String = self
            .version
            .to_string()
            .chars()
            .map(word)
            .take(60)
            .collect();
        let name = format!("{}-{}-{version}", self.to, self.service).replace("..", "-");
        format!("sluice/promote/{name}-{since:.8}")
    }
}

/// Whether a commit's message says that it took an environment's version away: by `sluice rollback`, by the
/// remedy of a run that failed, or by `git revert`. One that takes a way back away again is none.
pub fn is_way_back(message: &str, service: &str, to: &str) -> bool {
    let subject = message.lines().next().unwrap_or_default();
    let says = |key: &str, value: &str| {
        let mut said = message.lines().filter_map(|line| line.strip_prefix(key));
        said.any(|said| said.trim() == value)
    };
    let begins = |words: &str| message.lines().any(|line| line.starts_with(words));
    let by_trailers = says("Sluice-Service: ", service)
        && says("Sluice-Environment: ", to)
        && !begins("Sluice-From: ");
    // A forge that squashes may keep the first line only, with a number behind it.
    let in_words = subject.split(" (#").next().unwrap_or_default();
    let by_words = in_words.starts_with(&format!("Roll back {service} to "))
        && in_words.ends_with(&format!(" in {to}"));
    let again = ["Revert \"Revert ", "Revert \"Roll back "];
    let again = again.iter().any(|words| subject.starts_with(words));
    let reverts = begins("This reverts commit ") || subject.starts_with("Revert \"");
    let reapplied = again || subject.starts_with("Reapply \"");
    by_trailers || by_words || begins("Sluice-Run: ") || (reverts && !reapplied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_back_is_known_by_what_its_commit_says() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        let (new, old) = (version("v1.3.0"), version("v1.2.0"));
        let back = |from| Message {
            service: "backend",
            from,
            to: "production",
            version: &old,
            before: &new,
            gates: &[],
        };
        let (back, forth) = (back(None), back(Some("staging")));
        let squashed = format!("{} (#12)\n", back.subject());
        for (message, is) in [
            (back.text().as_str(), true),
            (&squashed, true),
            (&forth.text(), false),
            ("Release v1.3.0\n", false),
            (
                "Revert \"Release v1.3.0\"\n\nThis reverts commit 0123.\n",
                true,
            ),
            (
                "Revert \"Release v1.3.0\" (#13)\n\nReverts shop/config#12\n",
                true,
            ),
            (
                "Reapply \"Release v1.3.0\"\n\nThis reverts commit 0123.\n",
                false,
            ),
            (
                "Revert \"Revert \"Release v1.3.0\"\"\n\nThis reverts commit 0123.\n",
                false,
            ),
            (
                "Revert 2 commits that released shop/backend\n\nSluice-Run: 7\n",
                true,
            ),
        ] {
            assert_eq!(
                is_way_back(message, "backend", "production"),
                is,
                "{message}"
            );
        }
        assert!(!is_way_back(&back.text(), "backend", "staging"));
        assert!(!is_way_back(&back.text(), "frontend", "production"));
    }

    #[test]
    fn a_commit_says_what_from_where_and_why_and_ends_in_trailers() {
        let gates = [Answer {
            gate: "soak",
            open: true,
            why: "staging has had it for 2days, 1day are asked for".to_owned(),
        }];
        let (version, before) = ("v1.3.0".parse().unwrap(), "v1.2.0".parse().unwrap());
        let message = Message {
            service: "backend",
            from: Some("staging"),
            to: "production",
            version: &version,
            before: &before,
            gates: &gates,
        };
        let wanted = "Promote backend v1.3.0 to production\n\n\
            From staging; production had v1.2.0.\n\n\
            - soak: staging has had it for 2days, 1day are asked for\n\n\
            Sluice-Service: backend\nSluice-Environment: production\nSluice-Version: v1.3.0\n\
            Sluice-Before: v1.2.0\nSluice-From: staging\n";
        assert_eq!(message.text(), wanted);
        let branch = message.branch("0123456789abcdef");
        assert_eq!(branch, "sluice/promote/production-backend-v1.3.0-01234567");
    }
}
