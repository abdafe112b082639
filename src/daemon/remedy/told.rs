//! What is said of a remedy in Git: in the status, in a pull request, and to the person who has to
//! do it instead.
//!
//! What others wrote, such as the first lines of their commits, goes into Markdown as code, so
//! that it mentions nobody and links nowhere.
//!
//! Not here: what was done (`undo`).

use crate::git::Change;

/// One change for a sentence.
pub fn one(change: &Change) -> String {
    format!(
        "{} \"{}\" by {}",
        change.commit, change.summary, change.author
    )
}

/// All of them.
pub fn each(changes: &[Change]) -> String {
    let told: Vec<String> = changes.iter().map(one).collect();
    told.join(", ")
}

/// What a person would run in a clone, up to the push.
pub fn by_hand(branch: &str, changes: &[Change]) -> String {
    let one = |change: &Change| {
        let mainline = if change.merge { "-m 1 " } else { "" };
        format!("git revert {mainline}{}", change.commit)
    };
    let commands: Vec<String> = changes.iter().map(one).collect();
    let begin = format!("git switch {branch} && git pull");
    format!("{begin} && {} && git push", commands.join(" && "))
}

/// The same where the branch takes no pushes.
pub fn by_hand_beside(branch: &str, own: &str, changes: &[Change]) -> String {
    let onto = by_hand(branch, changes);
    let onto = onto.trim_end_matches("git push");
    format!("{onto}git push origin HEAD:refs/heads/{own}, and open a pull request for it")
}

/// The text of a pull request, in Markdown.
pub fn proposal(
    verdict: &str,
    undone: &[Change],
    (conflict, others): (Option<&str>, Option<&str>),
    trailers: &str,
) -> String {
    let list: Vec<String> = undone
        .iter()
        .map(|change| {
            let (commit, summary) = (change.commit, code(&change.summary));
            format!("- {commit} {summary} by {}\n", code(&change.author))
        })
        .collect();
    let conflict = conflict.map_or_else(String::new, |why| format!("\n{why}. Resolve it here.\n"));
    let others = others.map_or_else(String::new, |why| {
        format!(
            "\n{}. Merge it if that is right; else take back less.\n",
            code(why)
        )
    });
    format!(
        "{verdict}\n\nThe release is off the traffic; its commits are still on the branch, and its template is held \
         whenever it is applied. This takes back:\n\n{}{conflict}{others}\nMerged, it deploys the stable template \
         again.\n\n{trailers}\n",
        list.concat()
    )
}

/// As inline code, whatever it holds.
fn code(text: &str) -> String {
    let text: String = text
        .chars()
        .filter(|char| !char.is_control())
        .map(|char| if char == '`' { '\'' } else { char })
        .collect();
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::Commit;

    fn change(summary: &str, merge: bool) -> Change {
        let commit = git2::Oid::from_str("0123456789abcdef0123456789abcdef01234567").unwrap();
        Change {
            commit: Commit(commit),
            parent: git2::Oid::ZERO_SHA1,
            summary: summary.to_owned(),
            author: "Ada".to_owned(),
            merge,
        }
    }

    #[test]
    fn a_person_is_told_the_whole_command() {
        let changes = [change("v3", true), change("v2", false)];
        assert_eq!(
            by_hand("main", &changes),
            "git switch main && git pull && git revert -m 1 0123456789ab && git revert 0123456789ab && git push"
        );
        assert_eq!(
            by_hand_beside("main", "undo", &changes[1..]),
            "git switch main && git pull && git revert 0123456789ab && git push origin HEAD:refs/heads/undo, \
             and open a pull request for it"
        );
    }

    #[test]
    fn what_others_wrote_mentions_nobody_in_a_pull_request() {
        let text = proposal(
            "canary 5%",
            &[change("@all `v3`", false)],
            (
                None,
                Some("it takes back what others run too: apps/@all.yaml"),
            ),
            "Sluice-Run: 7",
        );
        assert!(
            text.contains("- 0123456789ab `@all 'v3'` by `Ada`\n"),
            "{text}"
        );
        let others =
            "\n`it takes back what others run too: apps/@all.yaml`. Merge it if that is right;";
        assert!(text.contains(others), "{text}");
        assert!(
            text.starts_with("canary 5%\n") && text.ends_with("\n\nSluice-Run: 7\n"),
            "{text}"
        );
    }
}
