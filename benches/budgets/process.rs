//! What a process takes of the machine, as Linux says it in `/proc`.
//!
//! Memory is told apart: what is the process's own, and pages of its executable, which the system can drop
//! when it needs room and which all processes of the same file share. Both are resident, so both count.

use std::fs;
use std::time::Duration;

use super::Error;
use super::table::Row;

const MEGABYTE: f64 = 1e6;

/// A process by its id.
#[derive(Debug, Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// This one, in which the embedded cluster runs.
    pub fn own() -> Self {
        Self(std::process::id())
    }

    /// Time on the processor so far.
    pub fn processor(self) -> Result<Duration, Error> {
        /// Ticks a second of `/proc`, on every Linux that Rust runs on.
        const TICKS: u64 = 100;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let fields = fields.split_whitespace().skip(11).take(2);
        let ticks: Result<Vec<u64>, _> = fields.map(str::parse).collect();
        Ok(Duration::from_millis(
            ticks?.iter().sum::<u64>() * 1000 / TICKS,
        ))
    }

    /// Resident memory against its target in megabytes, and what of it is whose.
    pub fn memory(self, with: &str, target: f64) -> Result<Vec<Row>, Error> {
        let resident = self.megabytes("VmRSS:")?;
        let (own, mapped) = (self.megabytes("RssAnon:")?, self.megabytes("RssFile:")?);
        Ok(vec![
            Row::held(
                format!("resident memory, {with}"),
                format!("{resident:.1} MB"),
                format!("< {target:.0} MB"),
                resident < target,
            ),
            Row::known(
                format!("of that its own, and pages of the executable, {with}"),
                format!("{own:.1} + {mapped:.1} MB"),
            ),
        ])
    }

    fn megabytes(self, what: &str) -> Result<f64, Error> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        let kibibytes: f64 = kibibytes.ok_or("no such line")?.parse()?;
        Ok(kibibytes * 1024.0 / MEGABYTE)
    }
}
