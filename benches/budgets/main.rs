//! The measured budgets: what a tick, a rollback, an idle daemon and a look at Prometheus cost.
//!
//! Prints one table with the target beside each figure. Everything measured is the daemon's own
//! code: the pure parts in this process, the rest in a `sluice run` of its own, over real HTTP,
//! against the embedded cluster that this process serves. Nothing fails by a figure, unless
//! `--strict` is given; the table says which targets were missed.
//!
//! `cargo bench -- tick queries history idle reaction active streams` chooses parts; `scale` and `hub`, which take
//! long, are measured only when they are named. `--trials N` sets how many
//! bad releases are timed and `--namespaces N` over how many namespaces the fleet is spread; `--binary FILE`
//! measures another build of the daemon.

mod daemon;
mod fleet;
mod history;
mod idle;
mod pages;
mod process;
mod queries;
mod reaction;
mod scale;
mod several;
mod stopwatch;
mod streams;
mod table;
mod tick;

use table::Row;

/// That of the binary: the embedded cluster shall not cost more than it must.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a part fails with: anything, since it is only printed.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// What was asked for on the command line.
struct Wanted {
    parts: Vec<String>,
    trials: usize,
    namespaces: usize,
    /// Rollouts of `scale`: at rest, and in a run.
    sizes: (usize, usize),
    /// Whether a missed target is a failure.
    strict: bool,
}

impl Wanted {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut wanted = Self {
            parts: Vec::new(),
            trials: 100,
            namespaces: 50,
            sizes: (scale::IDLE, scale::ACTIVE),
            strict: false,
        };
        let mut arguments = arguments.skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--trials" => wanted.trials = arguments.next().unwrap_or_default().parse()?,
                "--idle" => wanted.sizes.0 = arguments.next().unwrap_or_default().parse()?,
                "--active" => wanted.sizes.1 = arguments.next().unwrap_or_default().parse()?,
                "--strict" => wanted.strict = true,
                "--binary" => {
                    daemon::measure_binary(arguments.next().unwrap_or_default().into())?;
                }
                "--namespaces" => {
                    wanted.namespaces = arguments.next().unwrap_or_default().parse()?;
                }
                part if !part.starts_with("--") => wanted.parts.push(part.to_owned()),
                "--bench" => {} // cargo's own
                other => return Err(format!("no option `{other}`").into()),
            }
        }
        Ok(wanted)
    }

    fn has(&self, part: &str) -> bool {
        self.parts.is_empty() || self.names(part)
    }

    fn names(&self, part: &str) -> bool {
        self.parts.iter().any(|named| named == part)
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
    if wanted.has("streams") {
        rows.extend(streams::measure().await?);
    }
    if wanted.names("scale") {
        rows.extend(scale::measure(wanted.sizes.0, wanted.sizes.1).await?);
    }
    if wanted.names("hub") {
        rows.extend(several::measure().await?);
    }
    println!("{}", table::table(&rows));
    let missed = rows.iter().filter(|row| row.is_missed()).count();
    if wanted.strict && missed > 0 {
        return Err(format!("{missed} targets were missed").into());
    }
    Ok(())
}

/// What needs a cluster: one that grows from nothing to 1,000 Rollouts.
async fn cluster(wanted: &Wanted) -> Result<Vec<Row>, Error> {
    let mut fleet = fleet::Fleet::start(wanted.namespaces).await?;
    let pages = pages::Pages::start(fleet.router()).await?;
    let place =
        |fleet: &fleet::Fleet| daemon::Environment::of("bench", fleet, &pages, daemon::OFTEN);
    let (daemon, mut rows) = idle::started(&[place(&fleet)?], idle::SETTLE).await?;
    rows.extend(idle::measure(&mut fleet, &daemon).await?);
    drop(daemon);
    let daemon = daemon::Daemon::start(&[place(&fleet)?])?;
    rows.extend(idle::restarted(&daemon).await?);
    if wanted.has("reaction") {
        rows.extend(
            reaction::measure(
                &mut fleet,
                &pages,
                &daemon,
                (reaction::FIRST, wanted.trials),
            )
            .await?,
        );
    }
    if wanted.has("active") {
        rows.extend(idle::active(&mut fleet).await?);
    }
    drop(daemon);
    fleet.stop().await?;
    Ok(rows)
}
