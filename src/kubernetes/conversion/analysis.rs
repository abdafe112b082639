//! What is asked of a canary, and how sure the answer must be.
//!
//! Not here: what the rules are; their names are given.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{DEFAULT_RULES, minutes};
use crate::kubernetes::crd;
use crate::kubernetes::problem::{Problems, quoted};
use crate::rollout::plan::{Analysis, NoDataThen, UndecidedThen};

impl Problems {
    pub(super) fn analysis(
        &mut self,
        analysis: &crd::Analysis,
        known_rules: &BTreeSet<String>,
    ) -> Analysis {
        let rate = analysis.false_rollback_rate.unwrap_or(0.01);
        if !(rate > 0.0 && rate <= 0.5) {
            self.note(
                "spec.analysis.falseRollbackRate",
                rate.to_string(),
                "a probability above 0, at most 0.5",
            );
        }
        let blast = self.percentage("spec.analysis.blast", analysis.blast.as_deref(), 0.002);
        let blast_max = self.percentage(
            "spec.analysis.blastMax",
            analysis.blast_max.as_deref(),
            0.02,
        );
        if let (Some(fine), Some(coarse)) = (blast, blast_max)
            && fine > coarse
        {
            let found = format!("{}%", fine * 100.0);
            self.note(
                "spec.analysis.blast",
                found,
                format!("at most blastMax, {}%", coarse * 100.0),
            );
        }
        Analysis {
            rules: self.rules(&analysis.rules, known_rules),
            false_rollback_rate: rate,
            within: self.positive(
                "spec.analysis.within",
                analysis.within.as_deref(),
                minutes(10),
            ),
            blast: blast.unwrap_or(0.002),
            blast_max: blast_max.unwrap_or(0.02),
            undecided: self.undecided(analysis.undecided.as_ref()),
            no_data: self.no_data(analysis.no_data.as_ref()),
        }
    }

    fn undecided(&mut self, undecided: Option<&crd::Undecided>) -> (Duration, UndecidedThen) {
        let after = undecided.and_then(|undecided| undecided.after.as_deref());
        let then = match undecided.map(|undecided| undecided.then) {
            None | Some(crd::UndecidedThen::Hold) => UndecidedThen::Hold,
            Some(crd::UndecidedThen::Promote) => UndecidedThen::Promote,
            Some(crd::UndecidedThen::Rollback) => UndecidedThen::Rollback,
        };
        (
            self.positive("spec.analysis.undecided.after", after, minutes(30)),
            then,
        )
    }

    fn no_data(&mut self, no_data: Option<&crd::NoData>) -> (Duration, NoDataThen) {
        let after = no_data.and_then(|no_data| no_data.after.as_deref());
        let then = match no_data.map(|no_data| no_data.then) {
            None | Some(crd::NoDataThen::Hold) => NoDataThen::Hold,
            Some(crd::NoDataThen::Rollback) => NoDataThen::Rollback,
        };
        (
            self.positive("spec.analysis.noData.after", after, minutes(5)),
            then,
        )
    }

    fn rules(&mut self, asked: &[String], known: &BTreeSet<String>) -> Vec<String> {
        let rules: Vec<String> = if asked.is_empty() {
            DEFAULT_RULES.map(str::to_owned).to_vec()
        } else {
            asked.to_vec()
        };
        for (index, rule) in rules.iter().enumerate() {
            let field = format!("spec.analysis.rules[{index}]");
            if !known.contains(rule) {
                self.note(&field, quoted(rule), known_names(known));
            } else if rules.iter().take(index).any(|earlier| earlier == rule) {
                self.note(&field, quoted(rule), "each rule once");
            }
        }
        rules
    }
}

fn known_names(known: &BTreeSet<String>) -> String {
    if known.is_empty() {
        return "a loaded rule (none is loaded)".to_owned();
    }
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    format!("one of: {}", names.join(", "))
}
