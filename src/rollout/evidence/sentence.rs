//! The evidence of a rule in one sentence that a person can check: both arms' counts, what they
//! come to, and the odds against their bound.
//!
//! The same sentence stands in the status, in Events, on the page and in the CLI. Not here: the
//! rule's name before it, and what is done about it.

use super::events::EventsReport;
use super::goal::GoalReport;
use super::report::{ArmReport, RuleReport, Verdict};
use super::words::{count, number, odds, percent, time};

impl RuleReport {
    /// The evidence in one sentence: counts, comparison, odds against their bound.
    pub fn sentence(&self) -> String {
        if let Some(numbers) = &self.numbers {
            return numbers.sentence();
        }
        if let Some(events) = &self.events {
            return self.of_events(events);
        }
        match &self.goal {
            Some(goal) if goal.alone => {
                format!("nothing to compare with; canary {}", goal.sentence())
            }
            Some(goal) => format!("{}; limit: {}", self.compared(), goal.sentence()),
            None => self.compared(),
        }
    }

    fn compared(&self) -> String {
        if self.canary.total <= 0.0 {
            return self.nothing();
        }
        format!("{}: {}; {}", self.arms(), self.comparison(), self.odds())
    }

    fn nothing(&self) -> String {
        if self.stable.total <= 0.0 {
            return "no request counted yet".to_owned();
        }
        let stable = told(&self.stable);
        format!("no request of the canary counted yet, stable {stable}")
    }

    /// Pods' events in one sentence.
    pub(super) fn of_events(&self, events: &EventsReport) -> String {
        if self.canary.total <= 0.0 {
            return "no pod of the canary was seen yet".to_owned();
        }
        let (canary, stable) = (happened(&self.canary), happened(&self.stable));
        let (needed, burst) = (odds(self.bound), odds(self.log_burst()));
        let so = match self.verdict {
            _ if self.stable.total <= 0.0 => "no pod of stable to compare with".to_owned(),
            Verdict::Worse => {
                let reached = odds(self.log_worse());
                format!("odds against chance {reached} to 1, needed {needed} to 1")
            }
            Verdict::Suspect => format!(
                "odds against chance {} to 1, but {burst} to 1 if they come in bursts, needed {needed} to 1 of both",
                odds(self.log_exact)
            ),
            Verdict::NotWorse | Verdict::Undecided => events.sentence(),
        };
        format!("canary {canary}, stable {stable}: {so}")
    }

    fn arms(&self) -> String {
        let (canary, stable) = (told(&self.canary), told(&self.stable));
        let Some(boundary) = self.boundary else {
            let what = if self.synthetic { "synthetic: " } else { "" };
            return format!("{what}canary {canary}, stable {stable}");
        };
        format!(
            "{} canary {}, stable {}; slower than {}: canary {canary}, stable {stable}",
            quantile(self.quantile.unwrap_or(0.99)),
            seconds(&self.canary),
            seconds(&self.stable),
            time(boundary)
        )
    }

    fn comparison(&self) -> String {
        match self.times_worse() {
            _ if self.stable.total <= 0.0 => "no request of stable to compare with".to_owned(),
            Some(times) if times >= 1.05 => format!("{} times worse", number(times)),
            Some(times) if times > 0.95 => "the same".to_owned(),
            Some(_) => "better".to_owned(),
            None if self.canary.bad > 0.0 => "worse than none".to_owned(),
            None => "none bad".to_owned(),
        }
    }

    fn odds(&self) -> String {
        let needed = odds(self.bound);
        match self.verdict {
            Verdict::Worse => {
                let reached = odds(self.log_worse());
                format!("odds against chance {reached} to 1, needed {needed} to 1")
            }
            Verdict::Suspect => format!(
                "odds against chance {} to 1, but {} to 1 if requests fail in bursts, needed {needed} to 1 of both",
                odds(self.log_exact),
                odds(self.log_burst())
            ),
            Verdict::NotWorse => format!(
                "shown to stay below {}, odds {} to 1, needed {} to 1",
                self.excluded(),
                odds(self.log_not_worse),
                odds(self.bound_not_worse)
            ),
            Verdict::Undecided => format!(
                "odds {} to 1 that it is worse (needed {needed}), {} to 1 that it stays below {} (needed {})",
                odds(self.log_worse()),
                odds(self.log_not_worse),
                self.excluded(),
                odds(self.bound_not_worse)
            ),
        }
    }

    /// What the promotion test excludes: "1.2 times stable's share plus 0.80%".
    fn excluded(&self) -> String {
        format!(
            "{} times stable's share plus {}",
            self.ratio,
            percent(self.margin)
        )
    }
}

impl GoalReport {
    /// The canary against its limit in one sentence.
    pub fn sentence(&self) -> String {
        let most = percent(self.max);
        if self.unseen {
            let seconds = time(self.seconds.unwrap_or_default());
            return format!("has no bucket boundary at or above {seconds}, which cannot be tested");
        }
        if self.total <= 0.0 {
            return format!("no request counted yet, at most {most} may be bad");
        }
        let bad = told(&ArmReport {
            total: self.total,
            bad: self.bad,
            rate: self.bad / self.total,
            ..ArmReport::default()
        });
        let slow = self
            .boundary
            .map_or_else(String::new, |le| format!(" slower than {}", time(le)));
        format!("{bad}{slow}, at most {most} allowed; {}", self.odds())
    }

    fn odds(&self) -> String {
        let (above, below) = (self.log_exact.min(self.log_block), self.log_below);
        let (needed, needed_below) = (odds(self.bound), odds(self.bound_below));
        if self.is_above() {
            let above = odds(above);
            format!("above it, odds against chance {above} to 1, needed {needed} to 1")
        } else if self.is_suspect() {
            format!(
                "above it, odds against chance {} to 1, but {} to 1 if requests fail in bursts, needed {needed} to 1 of both",
                odds(self.log_exact),
                odds(self.log_block)
            )
        } else if self.is_below() {
            let below = odds(below);
            format!("shown to stay below it, odds {below} to 1, needed {needed_below} to 1")
        } else {
            format!(
                "odds {} to 1 that it is above (needed {needed}), {} to 1 that it is below (needed {needed_below})",
                odds(above),
                odds(below)
            )
        }
    }
}

/// "2 events in 12 minutes of its pods".
fn happened(arm: &ArmReport) -> String {
    let (events, minutes) = (count(arm.bad), number(arm.total / 60.0));
    let events = match events.as_str() {
        "1" => "1 event".to_owned(),
        _ => format!("{events} events"),
    };
    format!("{events} in {minutes} minutes of its pods")
}

/// "31 of 612 (5.07%)".
fn told(arm: &ArmReport) -> String {
    let (bad, total) = (count(arm.bad), count(arm.total));
    if arm.total > 0.0 {
        format!("{bad} of {total} ({})", percent(arm.rate))
    } else {
        format!("{bad} of {total}")
    }
}

/// "p99", "p99.9".
fn quantile(q: f64) -> String {
    format!("p{}", (q * 1e6).round() / 1e4)
}

fn seconds(arm: &ArmReport) -> String {
    match arm.quantile {
        None => "unknown".to_owned(),
        Some(value) if arm.limited => format!("over {}", time(value)),
        Some(value) => time(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(total: f64, bad: f64) -> ArmReport {
        ArmReport {
            total,
            bad,
            rate: if total > 0.0 { bad / total } else { 0.0 },
            ..ArmReport::default()
        }
    }

    fn report(verdict: Verdict, canary: ArmReport, stable: ArmReport) -> RuleReport {
        RuleReport {
            verdict,
            canary,
            stable,
            log_exact: 4e9f64.ln(),
            log_block: 3.1e9f64.ln(),
            log_lasting: None,
            ratio: 1.2,
            bound: 200f64.ln(),
            log_not_worse: 25f64.ln(),
            bound_not_worse: 20f64.ln(),
            margin: 0.008,
            ..RuleReport::blank("error-rate")
        }
    }

    #[test]
    fn each_verdict_has_its_sentence() {
        let (canary, stable) = (arm(612.0, 31.0), arm(11_590.0, 12.0));
        let arms = "canary 31 of 612 (5.07%), stable 12 of 11,590 (0.10%): 49 times worse; ";
        let rows = [
            (
                Verdict::Worse,
                "odds against chance 3.1e9 to 1, needed 200 to 1",
            ),
            (
                Verdict::Suspect,
                "odds against chance 4.0e9 to 1, but 3.1e9 to 1 if requests fail in bursts, \
                 needed 200 to 1 of both",
            ),
            (
                Verdict::NotWorse,
                "shown to stay below 1.2 times stable's share plus 0.80%, odds 25 to 1, \
                 needed 20 to 1",
            ),
            (
                Verdict::Undecided,
                "odds 3.1e9 to 1 that it is worse (needed 200), 25 to 1 that it stays below \
                 1.2 times stable's share plus 0.80% (needed 20)",
            ),
        ];
        for (verdict, want) in rows {
            let report = report(verdict, canary, stable);
            assert_eq!(report.sentence(), format!("{arms}{want}"));
        }
    }

    #[test]
    fn nothing_is_infinitely_worse() {
        let rows = [
            (arm(0.0, 0.0), arm(0.0, 0.0), "no request counted yet"),
            (
                arm(0.0, 0.0),
                arm(11_590.0, 0.0),
                "no request of the canary counted yet, stable 0 of 11,590 (0%)",
            ),
            (
                arm(612.0, 31.0),
                arm(11_590.0, 0.0),
                "canary 31 of 612 (5.07%), stable 0 of 11,590 (0%): worse than none; odds",
            ),
            (
                arm(612.0, 0.0),
                arm(11_590.0, 0.0),
                "canary 0 of 612 (0%), stable 0 of 11,590 (0%): none bad; odds",
            ),
            (
                arm(612.0, 3.0),
                arm(0.0, 0.0),
                "canary 3 of 612 (0.49%), stable 0 of 0: no request of stable to compare with;",
            ),
        ];
        for (canary, stable, want) in rows {
            let sentence = report(Verdict::Undecided, canary, stable).sentence();
            assert!(sentence.starts_with(want), "{sentence}");
        }
    }

    #[test]
    fn latencies_are_told_by_both_arms_quantiles() {
        let slow = |total, bad, quantile, limited| ArmReport {
            quantile: Some(quantile),
            limited,
            ..arm(total, bad)
        };
        let canary = slow(612.0, 31.0, 10.0, true);
        let stable = slow(11_590.0, 12.0, 0.2471, false);
        let mut report = report(Verdict::Worse, canary, stable);
        (report.quantile, report.boundary) = (Some(0.99), Some(0.25));
        assert_eq!(
            report.sentence(),
            "p99 canary over 10.0 s, stable 247 ms; slower than 250 ms: canary 31 of 612 (5.07%), \
             stable 12 of 11,590 (0.10%): 49 times worse; odds against chance 3.1e9 to 1, needed \
             200 to 1"
        );
    }
}
