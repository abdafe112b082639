//! The report of `sluice explain`: a pure function from what was read to text.
//!
//! Top to bottom: where it is and why, what is compared, how far the evidence has come, what
//! happens next, what is not fine, and what happened before.
//!
//! Not here: the reading.

use std::fmt::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::Happening;
use crate::cli::text::{self, FAINT, STRONG, coloured, styled};
use crate::clock::elapsed;
use crate::kubernetes::crd::{
    Answer, GitStatus, LastRun, RevisionStatus, Rollout, RolloutStatus, RuleStatus, RunStatus,
    besides,
};
use crate::people::message::acts;
use crate::rollout::request::Act;
use crate::rollout::revision::short;

/// Requests that are shown.
const ANSWERS: usize = 3;

/// A run's status is written more often than this while samples come.
const SILENT: Duration = Duration::from_secs(120);

/// The whole report.
pub fn text(rollout: &Rollout, events: &[Happening], now: Timestamp) -> String {
    let mut report = Report {
        text: String::new(),
        now,
    };
    // Writing to a String cannot fail.
    let _ = report.write(rollout, events);
    report.text
}

struct Report {
    text: String,
    now: Timestamp,
}

impl Report {
    fn write(&mut self, rollout: &Rollout, events: &[Happening]) -> fmt::Result {
        let name = format!(
            "{}/{}",
            rollout.namespace().unwrap_or_default(),
            rollout.name_any()
        );
        let target = &rollout.spec.target;
        let title = styled(STRONG, &name);
        writeln!(self.text, "{title} guards {} {}", target.kind, target.name)?;
        let Some(status) = &rollout.status else {
            return self.line("Why", "no daemon has looked at it yet: is `sluice run` up?");
        };
        self.place(status)?;
        self.acts(rollout, status)?;
        if let Some(run) = &status.run {
            self.evidence(run)?;
        }
        self.conditions(status)?;
        self.answers(&status.answers)?;
        if let Some(last) = &status.last_run {
            self.last(last, status.git.as_ref())?;
        }
        self.events(events)
    }

    fn line(&mut self, name: &str, words: &str) -> fmt::Result {
        writeln!(self.text, "{name:<10}{words}")
    }

    fn heading(&mut self, words: &str) -> fmt::Result {
        writeln!(self.text, "\n{}", styled(STRONG, words))
    }

    fn ago(&self, at: Timestamp) -> String {
        text::age(elapsed(at, self.now))
    }

    fn place(&mut self, status: &RolloutStatus) -> fmt::Result {
        let mut phase = coloured(status.phase.as_deref().unwrap_or("-"));
        if let Some(run) = &status.run {
            if let Some(step) = &run.step {
                write!(phase, ", step {step}")?;
            }
            write!(
                phase,
                ", weight {}%, for {}",
                run.weight,
                self.ago(run.since.0)
            )?;
        }
        self.line("Phase", &phase)?;
        self.line("Why", status.message.as_deref().unwrap_or("-"))?;
        if let Some(stable) = &status.stable {
            self.line("Stable", &revision(stable))?;
        }
        let Some(run) = &status.run else {
            return Ok(());
        };
        let age = self.ago(run.started.0);
        let canary = format!("{}, run {} for {age}", revision(&run.revision), run.id);
        self.line("Canary", &canary)?;
        let git = status.git.as_ref();
        let tried = git.and_then(|git| git.tried(&run.id));
        if let Some(tried) = tried {
            self.line("Commit", &tried.told())?;
        }
        let authors = besides(tried, &run.authors);
        if !authors.is_empty() {
            self.line("Author", &authors.join(", "))?;
        }
        if let Some(next) = &run.next {
            self.line("Next", next)?;
        }
        match &run.patience {
            Some(patience) => self.line("Patience", patience),
            None => Ok(()),
        }
    }

    /// Commands to choose from, each as it can be typed.
    fn acts(&mut self, rollout: &Rollout, status: &RolloutStatus) -> fmt::Result {
        let (name, namespace) = (rollout.name_any(), rollout.namespace().unwrap_or_default());
        let phase = status.phase.as_deref().unwrap_or_default();
        let acts = acts(phase, status.run.as_ref());
        let longest = acts
            .iter()
            .map(|act| act.name().len())
            .max()
            .unwrap_or_default();
        let width = format!("sluice  {name} --namespace {namespace}").len() + longest;
        for (index, act) in acts.iter().enumerate() {
            let title = if index == 0 { "You can" } else { "" };
            let command = format!("sluice {act} {name} --namespace {namespace}");
            let note = format!("# {}", purpose(*act, status.run.is_some()));
            let note = styled(FAINT, &note);
            self.line(title, &format!("{command:<width$}  {note}"))?;
        }
        Ok(())
    }

    fn evidence(&mut self, run: &RunStatus) -> fmt::Result {
        let sampled = run.sampled.as_ref();
        let sampled = match sampled {
            // The status is written now and then, not at each sample.
            Some(at) if elapsed(at.0, self.now) > SILENT => format!(
                "as it was {} ago: if this stays so, no daemon is at work, or it gets no metrics",
                self.ago(at.0)
            ),
            Some(at) => format!("as it was {} ago", self.ago(at.0)),
            None => "no sample yet".to_owned(),
        };
        let verdict = coloured(&run.verdict);
        self.heading("Evidence")?;
        writeln!(self.text, "  {verdict}, {sampled}")?;
        run.rules.iter().try_for_each(|rule| self.rule(rule))
    }

    fn rule(&mut self, rule: &RuleStatus) -> fmt::Result {
        let verdict = coloured(&rule.verdict);
        writeln!(self.text, "  {}: {verdict}", styled(STRONG, &rule.name))?;
        let arms = [
            ("canary", rule.canary_bad, rule.canary_total),
            ("stable", rule.stable_bad, rule.stable_total),
        ];
        for (arm, bad, total) in arms {
            if rule.pods {
                let (bad, minutes) = (text::count(bad), text::count((total / 60.0).round()));
                writeln!(self.text, "    {arm:<12}{bad} in {minutes} minutes of pods")?;
                continue;
            }
            let share = text::share(bad, total);
            let (bad, total) = (text::count(bad), text::count(total));
            writeln!(self.text, "    {arm:<12}{bad} of {total} bad ({share})")?;
        }
        let bars = [
            ("worse", rule.exact, rule.bound, "exact witness"),
            ("", rule.block, rule.bound, "block witness"),
            (
                "not worse",
                rule.not_worse,
                rule.not_worse_bound,
                "this step",
            ),
        ];
        writeln!(self.text, "    {}", rule.sentence)?;
        for (name, value, bound, note) in bars {
            let bar = text::bar(value, bound);
            let note = styled(FAINT, note);
            writeln!(
                self.text,
                "    {name:<12}{bar} {value:.2} of {bound:.2}  {note}"
            )?;
        }
        Ok(())
    }

    fn conditions(&mut self, status: &RolloutStatus) -> fmt::Result {
        let running = status.run.is_some();
        let bad = status.conditions.iter().filter(|c| !fine(c, running));
        let bad: Vec<&Condition> = bad.collect();
        if bad.is_empty() {
            return Ok(());
        }
        self.heading("Not fine")?;
        for Condition {
            type_,
            status,
            reason,
            message,
            ..
        } in bad
        {
            writeln!(self.text, "  {type_} is {status}, {reason}: {message}")?;
        }
        Ok(())
    }

    fn answers(&mut self, answers: &[Answer]) -> fmt::Result {
        if answers.is_empty() {
            return Ok(());
        }
        self.heading("Requests")?;
        for answer in &answers[answers.len().saturating_sub(ANSWERS)..] {
            let done = if answer.done { "done" } else { "refused" };
            let ago = self.ago(answer.at.0);
            let (act, message) = (&answer.act, &answer.message);
            let by = answer.by.as_ref();
            let by = by.map_or_else(String::new, |by| format!(" by {by}"));
            writeln!(self.text, "  {ago:>5} ago  {act}{by} {done}: {message}")?;
        }
        Ok(())
    }

    fn last(&mut self, last: &LastRun, git: Option<&GitStatus>) -> fmt::Result {
        self.heading("Last run")?;
        let ago = self.ago(last.ended.0);
        let took = text::age(elapsed(last.started.0, last.ended.0));
        let mut outcome = coloured(&last.outcome);
        if last.reason != last.outcome {
            write!(outcome, " ({})", last.reason)?;
        }
        let revision = revision(&last.revision);
        writeln!(self.text, "  {revision}: {outcome} {ago} ago, after {took}")?;
        writeln!(self.text, "  {}", last.message)?;
        let tried = git.and_then(|git| git.tried(&last.id));
        if let Some(tried) = tried {
            writeln!(self.text, "  commit {}", tried.told())?;
        }
        let authors = besides(tried, &last.authors);
        if !authors.is_empty() {
            writeln!(self.text, "  author {}", authors.join(", "))?;
        }
        let remedy = git.and_then(|git| git.remedy.as_ref());
        match remedy.filter(|remedy| remedy.run == last.id) {
            Some(remedy) => writeln!(self.text, "  in Git {}: {}", remedy.outcome, remedy.message),
            None => Ok(()),
        }
    }

    fn events(&mut self, events: &[Happening]) -> fmt::Result {
        if events.is_empty() {
            return Ok(());
        }
        self.heading("Events")?;
        for Happening {
            at,
            kind,
            reason,
            message,
        } in events
        {
            let ago = self.ago(*at);
            writeln!(self.text, "  {ago:>5} ago  {kind} {reason}: {message}")?;
        }
        Ok(())
    }
}

fn revision(revision: &RevisionStatus) -> String {
    format!("{} ({})", short(&revision.hash), revision.images.join(", "))
}

/// What a command does, in a few words.
fn purpose(act: Act, running: bool) -> &'static str {
    match act {
        Act::Promote => "let it through now, whatever the evidence says",
        Act::Approve => "let it go on to the next step",
        Act::Hold => "let it stand where it is",
        Act::Resume => "let it go on",
        Act::Retry => "try what failed once more",
        Act::Restart => "new pods of what serves",
        Act::Rollback if !running => "from what serves now to the good revision before it",
        Act::Rollback | Act::Abort | Act::Alert | Act::Smoke => {
            "end the run: all traffic back to stable"
        }
    }
}

/// A run that goes on is neither ready nor at rest, which is as it should be.
fn fine(condition: &Condition, running: bool) -> bool {
    match (condition.type_.as_str(), condition.status.as_str()) {
        ("Ready" | "Reconciling", _) if running => true,
        ("Reconciling" | "Stalled", status) => status != "True",
        ("Ready" | "Accepted" | "GateStands", status) => status == "True",
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use serde_json::json;

    use super::super::tests::stepping;
    use super::*;

    fn plain(rollout: &Rollout, events: &[Happening]) -> String {
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        strip_str(&text(rollout, events, now)).to_string()
    }

    #[test]
    fn a_run_is_explained() {
        let mut rollout = stepping();
        let status = rollout.status.as_mut().unwrap();
        let answer = json!({"id": "a", "act": "approve", "done": false,
            "by": "bob", "message": "no approval is awaited", "at": "2026-01-01T00:00:30Z"});
        let run = status.run.as_mut().unwrap();
        run.authors = vec!["ada@example.com".to_owned(), "eve".to_owned()];
        let git = json!({
            "bad": {"commit": "1f8bb6e", "revision": "91bc03aa17", "run": "backend-1",
                "authors": [{"name": "Ada", "email": "ada@example.com", "user": "ada"}]},
            "remedy": {"run": "backend-0", "outcome": "Reverted", "message": "reverted 77aa77a",
                "at": "2025-12-31T22:02:00Z"},
        });
        status.git = Some(serde_json::from_value(git).unwrap());
        status.answers = vec![serde_json::from_value(answer).unwrap()];
        let event = Happening {
            at: "2026-01-01T00:00:48Z".parse().unwrap(),
            kind: "Rollout".to_owned(),
            reason: "WeightRaised".to_owned(),
            message: "0% to 5%, step 1/3".to_owned(),
        };
        let wanted = "\
shop/backend guards Deployment backend
Phase     Stepping, step 1/3, weight 5%, for 12s
Why       collecting evidence
Stable    4f2a11d0c9 (shop:v1)
Canary    91bc03aa17 (shop:v2), run backend-1 for 50s
Commit    1f8bb6e by Ada
Author    eve
Next      25%, when error-rate shows it is not worse, at 00:01:20 UTC at the earliest
Patience  a release that harms 0.4% of all requests or more cannot be promoted
You can   sluice promote backend --namespace shop   # let it through now, whatever the evidence says
          sluice hold backend --namespace shop      # let it stand where it is
          sluice rollback backend --namespace shop  # end the run: all traffic back to stable

Evidence
  Undecided, as it was 1s ago
  error-rate: Undecided
    canary      3 of 612 bad (0.49%)
    stable      12 of 11,590 bad (0.10%)
    canary 3 of 612 (0.49%), stable 12 of 11590 (0.10%)
    worse       ██████████░░░░░░░░░░ 2.65 of 5.30  exact witness
                █░░░░░░░░░░░░░░░░░░░ 0.40 of 5.30  block witness
    not worse   ████████░░░░░░░░░░░░ 1.20 of 3.00  this step

Not fine
  Stalled is True, Unguarded: the gate is not there

Requests
    30s ago  approve by bob refused: no approval is awaited

Last run
  77aa77aa77 (shop:v0): RolledBack (Worse) 2h ago, after 60s
  error-rate: 49 times worse
  in Git Reverted: reverted 77aa77a

Events
    12s ago  Rollout WeightRaised: 0% to 5%, step 1/3
";
        assert_eq!(plain(&rollout, &[event]), wanted);
    }

    #[test]
    fn a_rollout_that_nobody_looked_at_says_so() {
        let mut rollout = stepping();
        rollout.status = None;
        let wanted = "\
shop/backend guards Deployment backend
Why       no daemon has looked at it yet: is `sluice run` up?
";
        assert_eq!(plain(&rollout, &[]), wanted);
    }

    #[test]
    fn an_idle_rollout_that_is_not_ready_is_not_fine() {
        let mut rollout = stepping();
        rollout.status.as_mut().unwrap().run = None;
        let found = plain(&rollout, &[]);
        assert!(
            found.contains("  Ready is False, Running: a run goes on\n"),
            "{found}"
        );
    }
}
