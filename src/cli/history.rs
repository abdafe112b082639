//! `sluice history [NAME]`: the runs that ended, newest first.
//!
//! Not here: one run in detail (`explain RUN`).

use std::time::Duration;

use clap::Args;
use comfy_table::Cell;
use jiff::Timestamp;

use super::daemon_api::Server;
use super::{Error, Format, Global, Screen, text};
use crate::clock::{Clock, elapsed};
use crate::daemon::pipeline::api::{Asked, Runs};
use crate::history::Summary;

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this Rollout's
    name: Option<String>,
    /// Only runs that ended in this time, e.g. `30d`
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Of all environments that share the daemon's database
    #[arg(long)]
    all_environments: bool,
    #[command(flatten)]
    server: Server,
}

/// Prints the runs.
pub async fn history(
    global: &Global,
    screen: &mut Screen,
    arguments: &Arguments,
) -> Result<(), Error> {
    let now = Clock::machine().now();
    let since = arguments
        .since
        .and_then(|since| now.checked_sub(since).ok());
    let asked = Asked {
        namespace: global.namespace.as_deref(),
        name: arguments.name.as_deref(),
        since,
        limit: arguments.limit,
        everywhere: arguments.all_environments,
    };
    let path = asked.path();
    let runs: Runs = arguments.server.get(global, &path).await?;
    if runs.runs.is_empty() && screen.format() == Format::Text {
        return screen.print("No run was found.\n");
    }
    let width = screen.width();
    let everywhere = arguments.all_environments;
    screen.value(&runs, |runs| table(&runs.runs, everywhere, now, width))
}

/// A row a run; `everywhere` with its environment.
fn table(runs: &[Summary], everywhere: bool, now: Timestamp, width: Option<u16>) -> String {
    let columns = [
        "ENVIRONMENT",
        "NAMESPACE",
        "NAME",
        "RUN",
        "OUTCOME",
        "REASON",
        "WEIGHT",
        "ENDED",
        "TOOK",
        "WHY",
    ];
    let left_out = usize::from(!everywhere);
    let mut table = text::table(&columns[left_out..], width);
    for run in runs {
        let ended = run.ended.unwrap_or(run.started);
        let row = [
            Cell::new(&run.environment),
            Cell::new(&run.namespace),
            Cell::new(&run.name),
            Cell::new(&run.run),
            text::cell(run.outcome.as_deref().unwrap_or("-")),
            Cell::new(&run.reason),
            Cell::new(format!("{}%", run.peak)),
            Cell::new(format!("{} ago", text::age(elapsed(ended, now)))),
            Cell::new(text::age(elapsed(run.started, ended))),
            Cell::new(run.glance()),
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

    #[test]
    fn runs_are_read_at_a_glance() {
        let now = Timestamp::from_second(1_700_000_120).unwrap();
        let mut runs = [record("backend", "one", 60).summary];
        runs[0].message.push_str("; odds against chance 299 to 1");
        let found = table(&runs, false, now, None);
        let wanted = "\
NAMESPACE   NAME      RUN   OUTCOME      REASON   WEIGHT   ENDED     TOOK   WHY
shop        backend   one   RolledBack   Worse    5%       60s ago   60s    error-rate: 49 times worse
";
        assert_eq!(strip_str(&found).to_string(), wanted);
        let everywhere = table(&runs, true, now, None);
        let words: Vec<&str> = everywhere.split_whitespace().collect();
        assert_eq!(words[..2], ["ENVIRONMENT", "NAMESPACE"]);
        assert_eq!(words[10..12], ["test", "shop"], "{everywhere}");
    }
}
