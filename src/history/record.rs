//! One run as it is kept: how it ended, what was decided when, its numbers at the end and over
//! time, and what was done in Git.
//!
//! Not here: where it is kept (`sqlite`), and how it comes about (`recorder`).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Curve;
use crate::kubernetes::crd::{GitStatus, RevisionStatus, RuleStatus};

/// A run in a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The environment.
    pub environment: String,
    /// The Rollout's namespace.
    pub namespace: String,
    /// The Rollout's name.
    pub name: String,
    /// The run's id.
    pub run: String,
    /// The revision that was tried.
    pub revision: RevisionStatus,
    /// `Promoted`, `RolledBack`, `Superseded` or `Cancelled`; none while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The reason's name, e.g. `Worse`.
    #[serde(default)]
    pub reason: String,
    /// The reason in a sentence, with numbers.
    #[serde(default)]
    pub message: String,
    /// The greatest weight that was seen, in percent.
    #[serde(default)]
    pub peak: u8,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

impl Summary {
    /// The beginning of the reason, for lists: what was compared and what was shown, or what happened. The rest is
    /// for who asks about this run.
    pub fn glance(&self) -> String {
        let mut parts = self.message.split("; ");
        let first = parts.next().unwrap_or_default();
        // A first part that says only that there was no comparison says nothing of what was counted.
        let more = if first.ends_with("nothing to compare with") {
            parts.next()
        } else {
            let shown = parts.find(|part| part.starts_with("shown to stay below"));
            shown.and_then(|part| part.split(", odds").next())
        };
        match more {
            Some(more) => format!("{first}; {more}"),
            None => first.to_owned(),
        }
    }
}

/// Something that was told during the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// The reason's name, as in Events.
    pub reason: String,
    /// In a sentence.
    pub message: String,
    /// Whether it is bad news.
    #[serde(default)]
    pub warns: bool,
}

/// A run with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The run in a line.
    #[serde(flatten)]
    pub summary: Summary,
    /// The guarded Deployment.
    #[serde(default)]
    pub target: String,
    /// Who has made the change, as the workload said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// What served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionStatus>,
    /// Bad answers that an early step down saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<u64>,
    /// Each rule's numbers, as they were last.
    #[serde(default)]
    pub rules: Vec<RuleStatus>,
    /// What was told, oldest first.
    #[serde(default)]
    pub decisions: Vec<Told>,
    /// Weight and evidence over time.
    #[serde(default)]
    pub curve: Curve,
    /// The commits behind the templates, and the remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitStatus>,
}

impl Record {
    /// Adds what an earlier life of the daemon saw of the same run. Doing it again changes nothing.
    pub fn absorb(&mut self, earlier: &Self) {
        let first = self.decisions.first().map(|told| told.at);
        let before = earlier.decisions.iter();
        let before = before.take_while(|told| first.is_none_or(|first| told.at < first));
        let mut decisions: Vec<Told> = before.cloned().collect();
        decisions.append(&mut self.decisions);
        self.decisions = decisions;
        self.curve.absorb(&earlier.curve);
        self.summary.peak = self.summary.peak.max(earlier.summary.peak);
        if self.rules.is_empty() {
            self.rules.clone_from(&earlier.rules);
        }
        self.stable = self.stable.take().or_else(|| earlier.stable.clone());
        self.git = self.git.take().or_else(|| earlier.git.clone());
    }
}

/// Which runs are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Those of this environment; else of all that share the database.
    pub environment: Option<String>,
    /// Those of this namespace.
    pub namespace: Option<String>,
    /// Those of this Rollout.
    pub name: Option<String>,
    /// Those that ended at this time or later.
    pub since: Option<Timestamp>,
    /// Those that ended before this time.
    pub before: Option<Timestamp>,
    /// At most so many, the newest.
    pub limit: usize,
}

/// Which run is asked for. Ids are unique within a Rollout; without one the newest is meant, of the
/// environment that is named before those of others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Which {
    /// Its id.
    pub run: String,
    /// The environment that it is looked for in first.
    pub environment: Option<String>,
    /// The Rollout's namespace.
    pub namespace: Option<String>,
    /// The Rollout's name.
    pub name: Option<String>,
}

#[cfg(test)]
pub(crate) mod samples {
    //! Runs for tests.

    use serde_json::json;

    use super::*;
    use crate::kubernetes::crd::RunStatus;

    /// A run at its first step.
    pub(crate) fn run(id: &str) -> RunStatus {
        serde_json::from_value(json!({
            "id": id,
            "revision": {"hash": "91bc03aa17", "images": ["shop:v2"]},
            "step": "1/3", "weight": 5,
            "started": "2026-01-01T00:00:00Z", "since": "2026-01-01T00:00:10Z",
            "verdict": "Undecided",
            "rules": [{
                "name": "error-rate", "verdict": "Undecided",
                "canaryTotal": 612.0, "canaryBad": 3.0, "stableTotal": 11590.0, "stableBad": 12.0,
                "exact": 2.65, "block": 0.4, "bound": 5.3, "notWorse": 1.2, "notWorseBound": 3.0,
                "sentence": "canary 3 of 612 (0.49%), stable 12 of 11590 (0.10%)",
            }],
        }))
        .unwrap()
    }

    /// A run that was rolled back at this second.
    pub(crate) fn record(name: &str, id: &str, ended: i64) -> Record {
        let started = Timestamp::from_second(1_700_000_000 + ended - 60).unwrap();
        let mut curve = Curve::default();
        curve.push(&run(id), started);
        Record {
            summary: Summary {
                environment: "test".to_owned(),
                namespace: "shop".to_owned(),
                name: name.to_owned(),
                run: id.to_owned(),
                revision: run(id).revision,
                outcome: Some("RolledBack".to_owned()),
                reason: "Worse".to_owned(),
                message: "error-rate: 49 times worse".to_owned(),
                peak: 5,
                started,
                ended: Some(Timestamp::from_second(1_700_000_000 + ended).unwrap()),
            },
            target: "backend".to_owned(),
            authors: Vec::new(),
            stable: None,
            saved: None,
            rules: run(id).rules,
            decisions: vec![Told {
                at: started,
                reason: "RunStarted".to_owned(),
                message: "holds it".to_owned(),
                warns: false,
            }],
            curve,
            git: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::record;
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = record("backend", "one", 60);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn a_glance_says_what_was_counted_and_what_was_shown() {
        let cases = [
            (
                "error-rate: 49 times worse; odds 299 to 1",
                "error-rate: 49 times worse",
            ),
            (
                "error-rate is worse: nothing to compare with; canary 9 of 90 (10%), above 1%; odds 80 to 1",
                "error-rate is worse: nothing to compare with; canary 9 of 90 (10%), above 1%",
            ),
            (
                "p99: 2 of 9: 2.6 times worse; shown to stay below 1.2 times stable's share, odds 25 to 1, needed 20 to 1",
                "p99: 2 of 9: 2.6 times worse; shown to stay below 1.2 times stable's share",
            ),
        ];
        for (message, glance) in cases {
            let mut summary = record("backend", "one", 60).summary;
            summary.message = message.to_owned();
            assert_eq!(summary.glance(), glance);
        }
    }

    #[test]
    fn what_an_earlier_life_saw_comes_first_and_once() {
        let earlier = record("backend", "one", 60);
        let mut later = record("backend", "one", 120);
        later.absorb(&earlier);
        assert_eq!((later.decisions.len(), later.curve.len()), (2, 2));
        let once = later.clone();
        later.absorb(&earlier);
        later.absorb(&once);
        assert_eq!(later, once);
    }
}
