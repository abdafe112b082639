//! The evidence, proven by simulation on the production code path: false rates at every look,
//! detection against Wald's bound, dependent errors, whole rollouts, little traffic, latency, patience.
//!
//! Prints each part's table with the target beside each figure and a mark where it is missed;
//! nothing fails by a figure. Seeded: the same arguments give the same tables.
//!
//! `make bench-evidence ONLY=false-rates RUNS=1000` chooses parts and runs; RUNS is for rates near
//! 1% (10,000 unless said), means and dependent errors take a tenth of it. `SEED=2` is fresh
//! chance, `ROW="1000 rps"` only the rows with this in their name.

mod dependent;
mod little;
mod many;
mod rates;
mod rollout;
mod rollouts;
#[allow(dead_code)] // the budgets count what was missed
#[path = "../budgets/table.rs"]
mod table;
mod times;
mod traffic;
mod watch;
mod world;

use many::Wanted;
use table::Row;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A part's name and what it measures.
type Part = (&'static str, fn(&Wanted) -> Vec<Row>);

const PARTS: [Part; 13] = [
    ("detection", rates::detection),
    ("both", rates::both),
    ("little", little::little),
    ("latency", times::latencies),
    ("suspicion", rollouts::suspicion),
    ("rollouts", rollouts::whole),
    ("apart", rollouts::apart),
    ("patience", rollouts::patience),
    ("cost", dependent::cost),
    ("noisy", dependent::noisy),
    ("dependent", dependent::healthy),
    ("blind", dependent::blind),
    ("false-rates", rates::false_rates),
];

fn main() -> Result<(), Error> {
    let wanted = parse(std::env::args())?;
    let chosen = |part: &Part| wanted.parts.is_empty() || wanted.parts.iter().any(|p| p == part.0);
    for (name, measure) in PARTS.iter().filter(|part| chosen(part)) {
        println!("{name}");
        println!("{}", table::table(&measure(&wanted)));
    }
    Ok(())
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Wanted, Error> {
    let mut wanted = Wanted {
        parts: Vec::new(),
        runs: 10_000,
        row: String::new(),
        seed: 1,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut arguments = arguments.skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--runs" => wanted.runs = value().parse()?,
            "--row" => wanted.row = value(),
            "--seed" => wanted.seed = value().parse()?,
            "--threads" => wanted.threads = value().parse()?,
            part if PARTS.iter().any(|known| known.0 == part) => {
                wanted.parts.push(part.to_owned());
            }
            "--bench" => {} // cargo's own
            other => return Err(format!("no part `{other}`; known are {}", known()).into()),
        }
    }
    Ok(wanted)
}

fn known() -> String {
    PARTS.map(|part| part.0).join(", ")
}
