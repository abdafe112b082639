//! The measured budgets: what a tick, a rollback, an idle daemon and a look at Prometheus cost.
//!
//! Prints one table with the target beside each figure. Everything measured is the daemon's own
//! code: the pure parts in this process, the rest in a `sluice run` of its own, over real HTTP,
//! against the embedded cluster that this process serves. Nothing fails by a figure; the table
//! says which targets were missed.
//!
//! `cargo bench -- tick queries history idle reaction active` chooses parts; `--trials N` sets how many
//! bad releases are timed and `--namespaces N` over how many namespaces the fleet is spread.

mod daemon;
mod fleet;
mod history;
mod idle;
mod pages;
mod queries;
mod reaction;
mod stopwatch;
mod table;
mod tick;

use table::Row;

/// What a part fails with: anything, since it is only printed.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// What was asked for on the command line.
struct Wanted {
    parts: Vec<String>,
    trials: usize,
    namespaces: usize,
}

impl Wanted {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut wanted = Self {
            parts: Vec::new(),
            trials: 100,
            namespaces: 50,
        };
        let mut arguments = arguments.skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--trials" => wanted.trials = arguments.next().unwrap_or_default().parse()?,
                "--namespaces" => {
                    wanted.namespaces = arguments.next().unwrap_or_default().parse()?;
                }
                part if !part.starts_with("--") => wanted.parts.push(part.to_owned()),
                _ => {} // cargo's own
            }
        }
        Ok(wanted)
    }

    fn has(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|named| named == part)
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let wanted = Wanted::parse(std::env::args())?;
    let mut rows: Vec<Row> = Vec::new();
    if wanted.has("tick") {
        rows.extend(tick::measure()?);
    }
    if wanted.has("queries") {
        rows.extend(queries::measure().await?);
    }
    if wanted.has("history") {
        rows.extend(history::measure().await?);
    }
    if ["idle", "reaction", "active"]
        .iter()
        .any(|part| wanted.has(part))
    {
        rows.extend(cluster(&wanted).await?);
    }
    println!("{}", table::table(&rows));
    Ok(())
}

/// What needs a cluster: one that grows from nothing to 1,000 Rollouts.
async fn cluster(wanted: &Wanted) -> Result<Vec<Row>, Error> {
    let mut fleet = fleet::Fleet::start(wanted.namespaces).await?;
    let pages = pages::Pages::start(fleet.router()).await?;
    let daemon = daemon::Daemon::start(&fleet, &pages)?;
    let mut rows = idle::measure(&mut fleet, &daemon).await?;
    drop(daemon);
    let daemon = daemon::Daemon::start(&fleet, &pages)?;
    rows.push(idle::restarted(&daemon).await?);
    if wanted.has("reaction") {
        rows.extend(reaction::measure(&mut fleet, &pages, &daemon, wanted.trials).await?);
    }
    if wanted.has("active") {
        rows.extend(idle::active(&mut fleet).await?);
    }
    drop(daemon);
    fleet.stop().await?;
    Ok(rows)
}
