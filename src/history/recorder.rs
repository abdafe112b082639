//! From what each pass shows to what is kept: a run's curve and decisions while it goes on, and
//! its record when it has ended.
//!
//! Guarantees: each run that ended is handed on once in this life, and one that was not taken again, with all
//! that was seen of it, until the Rollout's next run ends. After a restart, what the status says of the last
//! run is handed on again; the store knows what it has.
//!
//! Not here: the database (`sqlite`), and who calls when (`keeper`).

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::store::Write;
use super::{Curve, Record, Summary, Told};
use crate::kubernetes::crd::{GitRemedy, GitStatus, LastRun, RevisionStatus, RunStatus};
use crate::rollout::reason::Reason;

/// Decisions that are kept of one run; of more, the middle is left out.
const DECISIONS: usize = 300;

/// A Rollout after a pass.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The guarded Deployment.
    pub target: &'a str,
    /// What serves.
    pub stable: Option<&'a RevisionStatus>,
    /// The run that goes on.
    pub run: Option<&'a RunStatus>,
    /// The run that ended last.
    pub last_run: Option<&'a LastRun>,
    /// The commits and the remedy.
    pub git: Option<&'a GitStatus>,
}

type Key = (String, String);

/// Collects runs.
#[derive(Debug)]
pub struct Recorder {
    environment: String,
    rollouts: BTreeMap<Key, Rollout>,
}

#[derive(Debug, Default)]
struct Rollout {
    /// By run id; there is seldom more than one, and a map makes room for eleven.
    drafts: BTreeMap<String, Box<Draft>>,
    /// The run that was handed on last.
    done: Option<String>,
    /// The remedy that was handed on last.
    remedy: Option<GitRemedy>,
    /// A run that ended and was handed on, but not taken.
    left: Option<Box<Record>>,
}

impl Rollout {
    /// Whether it had no run yet, so that there is nothing to keep.
    fn is_new(&self) -> bool {
        self.drafts.is_empty() && self.done.is_none() && self.remedy.is_none()
    }
}

/// A run that goes on, or one that nothing was shown of yet.
#[derive(Debug, Default)]
struct Draft {
    run: Option<RunStatus>,
    stable: Option<RevisionStatus>,
    decisions: Vec<Told>,
    curve: Curve,
}

impl Draft {
    fn tell(&mut self, told: Told) {
        if self.decisions.len() >= DECISIONS {
            self.decisions.remove(DECISIONS / 2);
        }
        self.decisions.push(told);
    }
}

impl Recorder {
    /// Knows nothing yet.
    pub fn new(environment: String) -> Self {
        Self {
            environment,
            rollouts: BTreeMap::new(),
        }
    }

    /// Something was told of a run.
    pub fn told(
        &mut self,
        (namespace, name): (&str, &str),
        run: &str,
        why: &Reason,
        at: Timestamp,
    ) {
        let key = (namespace.to_owned(), name.to_owned());
        let drafts = &mut self.rollouts.entry(key).or_default().drafts;
        let told = Told {
            at,
            reason: why.name().to_owned(),
            message: why.to_string(),
            warns: why.warns(),
        };
        if matches!(why, Reason::Superseded { .. }) {
            // It is told together with the beginning of the run that took its place.
            for (_, draft) in drafts.iter_mut().filter(|(id, _)| *id != run) {
                draft.tell(told.clone());
            }
        } else if !run.is_empty() {
            drafts.entry(run.to_owned()).or_default().tell(told);
        }
    }

    /// A pass was made; what is to be written now.
    pub fn seen(&mut self, seen: Seen<'_>, now: Timestamp) -> Vec<Write> {
        let key = (seen.namespace.to_owned(), seen.name.to_owned());
        let mut known = self.rollouts.remove(&key).unwrap_or_default();
        let mut writes = Vec::new();
        if let Some(last) = seen.last_run
            && known.done.as_ref() != Some(&last.id)
        {
            let draft = known.drafts.remove(&last.id).unwrap_or_default();
            let current = seen.run.map(|run| &run.id);
            known.drafts.retain(|id, _| Some(id) == current);
            known.done = Some(last.id.clone());
            known.remedy = None;
            let record = Box::new(self.ended(seen, last, *draft));
            // Its place is needed, should this one not be taken either.
            writes.extend(known.left.take().map(Write::Run));
            writes.push(Write::Run(record));
        }
        writes.extend(known.left.take().map(Write::Run));
        if let Some(run) = seen.run {
            let draft = known.drafts.entry(run.id.clone()).or_default();
            draft.curve.push(run, now);
            draft.run = Some(run.clone());
            // Towards its end what was tried is stable itself.
            let other = seen
                .stable
                .filter(|stable| stable.hash != run.revision.hash);
            if other.is_some() || draft.stable.is_none() {
                draft.stable = other.or(seen.stable).cloned();
            }
        }
        writes.extend(self.remedied(seen, &mut known));
        if !known.is_new() {
            self.rollouts.insert(key, known);
        }
        writes
    }

    fn remedied(&self, seen: Seen<'_>, known: &mut Rollout) -> Option<Write> {
        let git = seen.git?;
        let remedy = git.remedy.as_ref()?;
        if known.done.as_ref() != Some(&remedy.run) || known.remedy.as_ref() == Some(remedy) {
            return None;
        }
        known.remedy = Some(remedy.clone());
        Some(Write::Git {
            environment: self.environment.clone(),
            namespace: seen.namespace.to_owned(),
            name: seen.name.to_owned(),
            run: remedy.run.clone(),
            git: Box::new(git.clone()),
        })
    }

    fn ended(&self, seen: Seen<'_>, last: &LastRun, draft: Draft) -> Record {
        let run = last.id.clone();
        let goes_on = self.record(seen, run, last.revision.clone(), last.started.0, &draft);
        Record {
            summary: Summary {
                outcome: Some(last.outcome.clone()),
                reason: last.reason.clone(),
                message: last.message.clone(),
                ended: Some(last.ended.0),
                ..goes_on.summary
            },
            saved: last.saved,
            authors: last.authors.clone(),
            ..goes_on
        }
    }

    fn record(
        &self,
        seen: Seen<'_>,
        run: String,
        revision: RevisionStatus,
        started: Timestamp,
        draft: &Draft,
    ) -> Record {
        let known = draft.run.as_ref();
        let git = seen.git.filter(|git| {
            let bad = git.bad.as_ref().and_then(|bad| bad.run.as_ref());
            bad == Some(&run)
        });
        Record {
            git: git.cloned(),
            summary: Summary {
                environment: self.environment.clone(),
                namespace: seen.namespace.to_owned(),
                name: seen.name.to_owned(),
                run,
                revision,
                outcome: None,
                reason: String::new(),
                message: String::new(),
                peak: draft.curve.peak(),
                started,
                ended: None,
            },
            target: seen.target.to_owned(),
            authors: known.map_or_else(Vec::new, |run| run.authors.clone()),
            stable: draft.stable.clone(),
            saved: None,
            rules: known.map_or_else(Vec::new, |run| run.rules.clone()),
            decisions: draft.decisions.clone(),
            curve: draft.curve.clone(),
        }
    }

    /// The run of a Rollout that goes on, as far as it was watched.
    pub fn live(&self, namespace: &str, name: &str) -> Option<Record> {
        let key = (namespace.to_owned(), name.to_owned());
        let drafts = self.rollouts.get(&key)?.drafts.values();
        let (draft, run) = drafts
            .filter_map(|draft| Some((draft, draft.run.as_ref()?)))
            .max_by_key(|(_, run)| run.started.0)?;
        let seen = Seen {
            namespace,
            name,
            target: "",
            stable: None,
            run: None,
            last_run: None,
            git: None,
        };
        let (id, revision) = (run.id.clone(), run.revision.clone());
        Some(self.record(seen, id, revision, run.started.0, draft))
    }

    /// All runs that go on, as far as they were watched.
    pub fn drafts(&self) -> Vec<Record> {
        let keys = self.rollouts.keys();
        keys.filter_map(|(namespace, name)| self.live(namespace, name))
            .collect()
    }

    /// A Rollout is gone.
    pub fn forget(&mut self, namespace: &str, name: &str) {
        self.rollouts
            .remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Everything is forgotten: from now on another daemon sees the runs.
    pub fn forget_all(&mut self) {
        self.rollouts.clear();
    }

    /// What was handed on was not taken: it is handed on again. A run that goes on is, by itself.
    pub fn refused(&mut self, write: Write) {
        let (namespace, name) = write.rollout();
        let key = (namespace.to_owned(), name.to_owned());
        let Some(known) = self.rollouts.get_mut(&key) else {
            return;
        };
        match write {
            // Its remedy comes after it.
            Write::Run(record) if record.summary.ended.is_some() => {
                (known.left, known.remedy) = (Some(record), None);
            }
            Write::Run(_) => {}
            Write::Git { .. } => known.remedy = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::record::samples::run;
    use super::*;
    use crate::rollout::remedy::RemedyOutcome;

    fn last(id: &str) -> LastRun {
        serde_json::from_value(json!({
            "id": id, "revision": {"hash": "a", "images": []}, "outcome": "RolledBack",
            "reason": "Worse", "message": "49 times worse",
            "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z",
        }))
        .unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    const NOTHING: Seen<'_> = Seen {
        namespace: "shop",
        name: "backend",
        target: "backend",
        stable: None,
        run: None,
        last_run: None,
        git: None,
    };

    fn kept(writes: Vec<Write>) -> Vec<Record> {
        let runs = writes.into_iter().map(|write| match write {
            Write::Run(record) => *record,
            Write::Git { .. } => panic!("{write:?}"),
        });
        runs.collect()
    }

    #[test]
    fn a_run_is_handed_on_once_with_what_was_seen_and_told() {
        let mut recorder = Recorder::new("test".to_owned());
        recorder.told(("shop", "backend"), "one", &Reason::Resumed, at(0));
        let one = run("one");
        let running = Seen {
            run: Some(&one),
            ..NOTHING
        };
        for second in 1..10 {
            assert_eq!(recorder.seen(running, at(second)), []);
        }
        assert_eq!(recorder.live("shop", "backend").unwrap().curve.len(), 9);
        let last = last("one");
        let ended = Seen {
            last_run: Some(&last),
            ..NOTHING
        };
        let records = kept(recorder.seen(ended, at(11)));
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].curve.len(), 9);
        assert_eq!(records[0].decisions[0].reason, "Resumed");
        assert_eq!(records[0].summary.outcome.as_deref(), Some("RolledBack"));
        assert_eq!(recorder.seen(ended, at(12)), []);
        assert_eq!(recorder.live("shop", "backend"), None);
        recorder.refused(Write::Run(Box::new(records[0].clone())));
        assert_eq!(kept(recorder.seen(ended, at(13))), records);
        assert_eq!(recorder.seen(ended, at(14)), []);
    }

    #[test]
    fn who_sees_runs_no_more_hands_none_on() {
        let mut recorder = Recorder::new("test".to_owned());
        let one = run("one");
        let running = Seen {
            run: Some(&one),
            ..NOTHING
        };
        recorder.seen(running, at(1));
        assert_eq!(recorder.drafts().len(), 1);
        recorder.forget_all();
        assert_eq!(recorder.drafts(), []);
        assert_eq!(recorder.live("shop", "backend"), None);
    }

    #[test]
    fn a_run_that_serves_is_kept_with_what_served_before() {
        let mut recorder = Recorder::new("test".to_owned());
        let (one, mut last) = (run("one"), last("one"));
        last.outcome = "Promoted".to_owned();
        let before = RevisionStatus {
            hash: "before".to_owned(),
            ..one.revision.clone()
        };
        for (second, stable) in [(1, &before), (2, &one.revision)] {
            let running = Seen {
                run: Some(&one),
                stable: Some(stable),
                ..NOTHING
            };
            assert_eq!(recorder.seen(running, at(second)), []);
        }
        let ended = Seen {
            stable: Some(&one.revision),
            last_run: Some(&last),
            ..NOTHING
        };
        let records = kept(recorder.seen(ended, at(3)));
        assert_eq!(records[0].stable.as_ref(), Some(&before));
    }

    #[test]
    fn a_run_that_took_anothers_place_goes_on_when_that_one_is_handed_on() {
        let mut recorder = Recorder::new("test".to_owned());
        let (one, two, last) = (run("one"), run("two"), last("one"));
        let first = Seen {
            run: Some(&one),
            ..NOTHING
        };
        recorder.seen(first, at(1));
        let superseded = Reason::Superseded {
            revision: crate::rollout::revision::Revision::default(),
        };
        recorder.told(("shop", "backend"), "two", &superseded, at(2));
        let both = Seen {
            run: Some(&two),
            last_run: Some(&last),
            ..NOTHING
        };
        let records = kept(recorder.seen(both, at(2)));
        assert_eq!(records[0].summary.run, "one");
        assert_eq!(records[0].decisions[0].reason, "Superseded");
        assert_eq!(recorder.live("shop", "backend").unwrap().summary.run, "two");
    }

    #[test]
    fn a_remedy_that_comes_later_is_added_once() {
        let mut recorder = Recorder::new("test".to_owned());
        let last = last("one");
        let ended = Seen {
            last_run: Some(&last),
            ..NOTHING
        };
        recorder.seen(ended, at(1));
        let git = GitStatus {
            remedy: Some(GitRemedy::none(
                "one",
                RemedyOutcome::Reverted,
                "reverted it",
                at(5),
            )),
            ..GitStatus::default()
        };
        let later = Seen {
            git: Some(&git),
            ..ended
        };
        assert_eq!(recorder.seen(later, at(5)).len(), 1);
        assert_eq!(recorder.seen(later, at(6)), []);
    }
}
