//! `sluice dora`: the four measures of delivery, from the history of runs.
//!
//! What is measured is what the cluster saw: `docs/concepts/dora.md` defines each measure and says
//! what it leaves out. Not here: the runs (`history`).

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use comfy_table::Cell;
use jiff::Timestamp;
use serde::Serialize;

use super::daemon_api::Server;
use super::{Error, Format, Global, Screen, text};
use crate::clock::{Clock, elapsed};
use crate::daemon::pipeline::api::{Asked, Runs};
use crate::history::Summary;
use crate::rollout::reason::{Outcome, Promoted};

/// The most runs that are asked for.
const MOST: usize = 10_000;

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this Rollout
    name: Option<String>,
    /// The time that is looked back on
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = humantime::parse_duration)]
    since: Duration,
    /// Of all environments that share the daemon's database
    #[arg(long)]
    all_environments: bool,
    #[command(flatten)]
    server: Server,
}

/// The measures of one Rollout.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measures {
    environment: String,
    namespace: String,
    name: String,
    /// Releases that serve.
    promoted: usize,
    /// Releases that were rolled back.
    rolled_back: usize,
    /// Releases that serve, a day.
    deployments_per_day: f64,
    /// Median time from a template's arrival to its promotion, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    lead_time_seconds: Option<f64>,
    /// Releases that were rolled back, of those that were judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    change_failure_rate: Option<f64>,
    /// Median time from the arrival of a template that failed to the end of its rollback, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_restore_seconds: Option<f64>,
}

/// Prints the measures of each Rollout.
pub async fn dora(
    global: &Global,
    screen: &mut Screen,
    arguments: &Arguments,
) -> Result<(), Error> {
    let now = Clock::machine().now();
    let since = now.checked_sub(arguments.since).unwrap_or(Timestamp::MIN);
    let asked = Asked {
        namespace: global.namespace.as_deref(),
        name: arguments.name.as_deref(),
        since: Some(since),
        limit: MOST,
        everywhere: arguments.all_environments,
    };
    let path = asked.path();
    let runs: Runs = arguments.server.get(global, &path).await?;
    if runs.runs.len() == MOST {
        let note = format!("only the newest {MOST} runs are counted; look back less far\n");
        anstream::eprint!("{note}");
    }
    let all = measures(&runs.runs, arguments.since);
    if all.is_empty() && screen.format() == Format::Text {
        return screen.print("No run was found.\n");
    }
    let width = screen.width();
    let everywhere = arguments.all_environments;
    screen.value(&all, |all| table(all, everywhere, width))
}

/// The measures of each Rollout that was released in this time.
fn measures(runs: &[Summary], since: Duration) -> Vec<Measures> {
    let mut rollouts: BTreeMap<[&str; 3], Vec<&Summary>> = BTreeMap::new();
    for run in runs {
        let key = [run.environment.as_str(), &run.namespace, &run.name];
        rollouts.entry(key).or_default().push(run);
    }
    let days = (since.as_secs_f64() / 86_400.0).max(f64::MIN_POSITIVE);
    let each = rollouts.into_iter();
    each.map(|(key, runs)| of_rollout(key, &runs, days))
        .collect()
}

fn of_rollout([environment, namespace, name]: [&str; 3], runs: &[&Summary], days: f64) -> Measures {
    let promoted = took(runs, Outcome::Promoted);
    let rolled_back = took(runs, Outcome::RolledBack);
    let judged = promoted.len() + rolled_back.len();
    let rate = rolled_back.len() as f64 / judged.max(1) as f64;
    Measures {
        environment: environment.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        promoted: promoted.len(),
        rolled_back: rolled_back.len(),
        deployments_per_day: promoted.len() as f64 / days,
        change_failure_rate: (judged > 0).then_some(rate),
        lead_time_seconds: median(promoted),
        time_to_restore_seconds: median(rolled_back),
    }
}

/// How long the releases took that ended so, in seconds. What a person ended says nothing of the release, and a way back
/// is none.
fn took(runs: &[&Summary], outcome: Outcome) -> Vec<f64> {
    let no_release = [
        "Aborted",
        Promoted::KnownGood.name(),
        Promoted::WentBack.name(),
    ];
    let ended = runs.iter().filter(|run| {
        run.outcome.as_deref() == Some(outcome.name()) && !no_release.contains(&&*run.reason)
    });
    ended
        .filter_map(|run| Some(elapsed(run.started, run.ended?).as_secs_f64()))
        .collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], upper)
    } else {
        upper
    })
}

/// A row a Rollout; `everywhere` with its environment.
fn table(all: &[Measures], everywhere: bool, width: Option<u16>) -> String {
    let columns = [
        "ENVIRONMENT",
        "NAMESPACE",
        "NAME",
        "PROMOTED",
        "ROLLED BACK",
        "A DAY",
        "LEAD TIME",
        "FAILED",
        "RESTORED IN",
    ];
    let left_out = usize::from(!everywhere);
    let mut table = text::table(&columns[left_out..], width);
    let time = |seconds: Option<f64>| {
        seconds.map_or_else(
            || "-".to_owned(),
            |seconds| text::age(Duration::from_secs_f64(seconds)),
        )
    };
    for measures in all {
        let failed = measures.change_failure_rate;
        let row = [
            Cell::new(&measures.environment),
            Cell::new(&measures.namespace),
            Cell::new(&measures.name),
            Cell::new(measures.promoted),
            Cell::new(measures.rolled_back),
            Cell::new(format!("{:.2}", measures.deployments_per_day)),
            Cell::new(time(measures.lead_time_seconds)),
            Cell::new(
                failed.map_or_else(|| "-".to_owned(), |rate| format!("{:.1}%", rate * 100.0)),
            ),
            Cell::new(time(measures.time_to_restore_seconds)),
        ];
        table.add_row(row.into_iter().skip(left_out));
    }
    text::lines(&table)
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;
    use crate::history::samples::record;

    fn run(name: &str, outcome: &str, reason: &str, seconds: i64) -> Summary {
        let mut run = record(name, "one", 0).summary;
        run.outcome = Some(outcome.to_owned());
        reason.clone_into(&mut run.reason);
        run.ended = Some(run.started + Duration::from_secs(seconds.unsigned_abs()));
        run
    }

    #[test]
    fn the_four_measures_are_those_that_are_documented() {
        let runs = [
            run("backend", "Promoted", "Promoted", 600),
            run("backend", "Promoted", "Promoted", 1200),
            run("backend", "Promoted", "Promoted", 9000),
            run("backend", "Promoted", "KnownGood", 2),
            run("backend", "Promoted", "WentBack", 2),
            run("backend", "RolledBack", "Worse", 40),
            run("backend", "RolledBack", "Aborted", 9999),
            run("backend", "Superseded", "Superseded", 9999),
            run("front", "Superseded", "Superseded", 10),
        ];
        let day = Duration::from_secs(86_400);
        let found = table(&measures(&runs, day * 2), false, None);
        let wanted = "\
NAMESPACE   NAME      PROMOTED   ROLLED BACK   A DAY   LEAD TIME   FAILED   RESTORED IN
shop        backend   3          1             1.50    20m         25.0%    40s
shop        front     0          0             0.00    -           -        -
";
        assert_eq!(strip_str(&found).to_string(), wanted);
    }

    #[test]
    fn the_median_of_two_lies_between_them() {
        let medians = [vec![], vec![3.0], vec![4.0, 1.0]].map(median);
        assert_eq!(medians.to_vec(), [None, Some(3.0), Some(2.5)].to_vec());
    }
}
