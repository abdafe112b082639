//! `sluice explain RUN`: a run that ended, from the history: outcome, numbers, decisions.
//!
//! Not here: a Rollout as it is now (`report`), and pictures (`web`).

use std::fmt::{self, Write as _};

use jiff::Timestamp;

use crate::cli::text::{self, FAINT, STRONG, coloured, styled};
use crate::clock::elapsed;
use crate::history::Record;
use crate::kubernetes::crd::{RevisionStatus, besides};
use crate::rollout::revision::short;

/// Whether a text looks like the id of a run: a template's hash and a second.
pub fn is_run(text: &str) -> bool {
    let Some((hash, second)) = text.rsplit_once('-') else {
        return false;
    };
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let hexadecimal = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
    hash.len() >= 8 && hexadecimal(hash) && second.len() >= 10 && digits(second)
}

/// All of it in words.
pub fn text(record: &Record) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut text, record)
        .and_then(|()| rules(&mut text, record))
        .and_then(|()| decisions(&mut text, record));
    text
}

fn line(text: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(text, "  {}{value}", styled(FAINT, &format!("{name:<10}")))
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn revision(revision: &RevisionStatus) -> String {
    format!("{} ({})", short(&revision.hash), revision.images.join(", "))
}

fn head(text: &mut String, record: &Record) -> fmt::Result {
    let summary = &record.summary;
    let name = format!("{}/{}", summary.namespace, summary.name);
    let outcome = summary.outcome.as_deref().unwrap_or("GoesOn");
    writeln!(text, "{}  {}", styled(STRONG, &name), coloured(outcome))?;
    line(text, "Why", &summary.message)?;
    line(text, "Run", &summary.run)?;
    line(text, "Tried", &revision(&summary.revision))?;
    if let Some(stable) = &record.stable {
        line(text, "Stable", &revision(stable))?;
    }
    line(text, "Began", &moment(summary.started))?;
    if let Some(ended) = summary.ended {
        let took = text::age(elapsed(summary.started, ended));
        line(text, "Ended", &format!("{}, after {took}", moment(ended)))?;
    }
    line(text, "Weight", &format!("{}% at most", summary.peak))?;
    let git = record.git.as_ref();
    let tried = git.and_then(|git| git.bad.as_ref());
    if let Some(tried) = tried {
        line(text, "Commit", &tried.told())?;
    }
    let authors = besides(tried, &record.authors);
    if !authors.is_empty() {
        line(text, "Author", &authors.join(", "))?;
    }
    match git.and_then(|git| git.remedy.as_ref()) {
        Some(remedy) => line(
            text,
            "In Git",
            &format!("{}: {}", remedy.outcome, remedy.message),
        ),
        None => Ok(()),
    }
}

fn rules(text: &mut String, record: &Record) -> fmt::Result {
    if record.rules.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n{}", styled(STRONG, "Evidence"))?;
    record.rules.iter().try_for_each(|rule| {
        writeln!(
            text,
            "  {}: {}",
            styled(STRONG, &rule.name),
            coloured(&rule.verdict)
        )?;
        writeln!(text, "    {}", rule.sentence)
    })
}

fn decisions(text: &mut String, record: &Record) -> fmt::Result {
    if record.decisions.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n{}", styled(STRONG, "Timeline"))?;
    record.decisions.iter().try_for_each(|told| {
        let at = told.at.strftime("%H:%M:%S");
        writeln!(text, "  {at}  {:<18}{}", told.reason, told.message)
    })
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;
    use crate::history::samples::record;

    #[test]
    fn a_run_is_told_with_its_numbers_and_decisions() {
        let mut record = record("backend", "91bc03aa17-1700000000", 60);
        record.authors = vec!["eve".to_owned()];
        let found = text(&record);
        let found = strip_str(&found).to_string();
        for wanted in [
            "shop/backend  RolledBack\n",
            "  Why       error-rate: 49 times worse\n",
            "  Author    eve\n",
            "  error-rate: Undecided\n    canary 3 of 612",
            "22:13:20  RunStarted        holds it\n",
        ] {
            assert!(found.contains(wanted), "{wanted}\nin\n{found}");
        }
    }

    #[test]
    fn names_of_rollouts_are_not_ids_of_runs() {
        let cases = [
            ("91bc03aa17-1767225600", true),
            ("backend", false),
            ("backend-2", false),
            ("cafe-1767225600", false),
        ];
        for (text, wanted) in cases {
            assert_eq!(is_run(text), wanted, "{text}");
        }
    }
}
