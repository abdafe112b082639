//! A change of texts as people and `git apply` read it: unified, three lines of context.
//!
//! Values are replaced within their lines, so both texts have the same number of lines; that is
//! all that is needed here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const CONTEXT: usize = 3;

/// The difference of each file, in the order of their paths.
pub fn unified<'a>(
    before: impl Fn(&str) -> Option<&'a str>,
    after: &BTreeMap<String, String>,
) -> String {
    let mut all = String::new();
    for (path, new) in after {
        let old = before(path).unwrap_or_default();
        let (old, new) = (lines(old), lines(new));
        let _ = write!(all, "--- a/{path}\n+++ b/{path}\n");
        for (begin, end) in hunks(&old, &new) {
            hunk(&mut all, &old, &new, (begin, end));
        }
    }
    all
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// Ranges of lines with what changed in them and around it.
fn hunks(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let mut hunks: Vec<(usize, usize)> = Vec::new();
    for at in 0..old.len().max(new.len()) {
        if old.get(at) == new.get(at) {
            continue;
        }
        let begin = at.saturating_sub(CONTEXT);
        let end = (at + 1 + CONTEXT).min(old.len().max(new.len()));
        match hunks.last_mut() {
            Some(last) if last.1 >= begin => last.1 = end,
            _ => hunks.push((begin, end)),
        }
    }
    hunks
}

fn hunk(all: &mut String, old: &[&str], new: &[&str], (begin, end): (usize, usize)) {
    let count = end - begin;
    let first = begin + 1;
    let _ = writeln!(all, "@@ -{first},{count} +{first},{count} @@");
    let mut at = begin;
    while at < end {
        if old.get(at) == new.get(at) {
            line(all, ' ', old.get(at));
            at += 1;
            continue;
        }
        let changed = (at..end).take_while(|at| old.get(*at) != new.get(*at));
        let until = at + changed.count();
        (at..until).for_each(|at| line(all, '-', old.get(at)));
        (at..until).for_each(|at| line(all, '+', new.get(at)));
        at = until;
    }
}

fn line(all: &mut String, sign: char, text: Option<&&str>) {
    let Some(text) = text else { return };
    all.push(sign);
    all.push_str(text);
    if !text.ends_with('\n') {
        all.push_str("\n\\ No newline at end of file\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(old: &str, new: &str) -> String {
        let after = BTreeMap::from([("a.yaml".to_owned(), new.to_owned())]);
        unified(|_| Some(old), &after)
    }

    #[test]
    fn a_change_has_three_lines_around_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let wanted =
            "--- a/a.yaml\n+++ b/a.yaml\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n";
        assert_eq!(diff(old, &old.replace('5', "five")), wanted);
    }

    #[test]
    fn changes_near_each_other_are_one_hunk_and_a_missing_line_end_is_said() {
        let told = diff("a\nb\nc", "A\nb\nC");
        let wanted = "@@ -1,3 +1,3 @@\n-a\n+A\n b\n-c\n\\ No newline at end of file\n+C\n\\ No newline at end of file\n";
        assert!(told.ends_with(wanted), "{told}");
    }
}
