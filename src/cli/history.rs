//! `sluice history [NAME]`: the runs that ended, newest first.
//!
//! Not here: one run in detail (`explain RUN`).

use std::time::Duration;

use clap::Args;
use comfy_table::Cell;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::daemon_api::Server;
use super::{Error, Format, Global, Screen, text};
use crate::clock::{Clock, elapsed};
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
    #[command(flatten)]
    server: Server,
}

/// Runs, as the daemon's API tells them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Runs {
    /// The environment.
    pub environment: String,
    /// Newest first.
    pub runs: Vec<Summary>,
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
    let name = arguments.name.as_deref();
    let path = path(global, name, since, arguments.limit);
    let runs: Runs = arguments.server.get(global, &path).await?;
    if runs.runs.is_empty() && screen.format() == Format::Text {
        return screen.print("No run was found.\n");
    }
    let width = screen.width();
    screen.value(&runs, |runs| table(&runs.runs, now, width))
}

/// What is asked of the daemon; it knows all namespaces, and `-n` says which are meant.
pub fn path(global: &Global, name: Option<&str>, since: Option<Timestamp>, limit: usize) -> String {
    let namespace = global.namespace.as_deref().map(encoded);
    let given = [
        ("limit", Some(limit.to_string())),
        ("namespace", namespace),
        ("name", name.map(encoded)),
        ("since", since.map(|since| since.to_string())),
    ];
    let given = given.into_iter();
    let pairs: Vec<String> = given
        .filter_map(|(key, value)| Some(format!("{key}={}", value?)))
        .collect();
    format!("/api/history?{}", pairs.join("&"))
}

/// A value as it may stand in a URL.
pub fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let parts = value.bytes().map(|byte| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    parts.collect()
}

/// A row a run.
fn table(runs: &[Summary], now: Timestamp, width: Option<u16>) -> String {
    let columns = [
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
    let mut table = text::table(&columns, width);
    for run in runs {
        let ended = run.ended.unwrap_or(run.started);
        table.add_row(vec![
            Cell::new(&run.namespace),
            Cell::new(&run.name),
            Cell::new(&run.run),
            text::cell(run.outcome.as_deref().unwrap_or("-")),
            Cell::new(&run.reason),
            Cell::new(format!("{}%", run.peak)),
            Cell::new(format!("{} ago", text::age(elapsed(ended, now)))),
            Cell::new(text::age(elapsed(run.started, ended))),
            Cell::new(&run.message),
        ]);
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
        let found = table(&[record("backend", "one", 60).summary], now, None);
        let wanted = "\
NAMESPACE   NAME      RUN   OUTCOME      REASON   WEIGHT   ENDED     TOOK   WHY
shop        backend   one   RolledBack   Worse    5%       60s ago   60s    error-rate: 49 times worse
";
        assert_eq!(strip_str(&found).to_string(), wanted);
    }

    #[test]
    fn values_are_encoded() {
        assert_eq!(encoded("a-b_c.1/&ü"), "a-b_c.1%2F%26%C3%BC");
    }
}
