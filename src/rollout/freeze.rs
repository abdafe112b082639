//! Freeze windows: times in which no new run begins, by calendar and time zone.
//!
//! A window begins on a day at a time (`Fri 16:00`), each day (`22:00`) or once (`2026-12-23 12:00`), and lasts until
//! another such moment or for a duration. Local times that do not exist or exist twice are taken as calendars do:
//! the later, the first.
//!
//! Guarantees: pure; the same moment gives the same answer. Not here: what a freeze holds back (`decide`).

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// A time in which no new run begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Its name, for people.
    pub name: String,
    /// When it begins.
    pub from: Moment,
    /// When it ends.
    pub until: Until,
    /// Whose calendar.
    pub zone: TimeZone,
}

/// A moment of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Each day.
    Daily(Time),
    /// Each week.
    Weekly(Weekday, Time),
    /// Once.
    Once(DateTime),
}

/// How a window ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// At the next such moment.
    At(Moment),
    /// After this time.
    After(Duration),
}

/// A freeze that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// The window's name.
    pub window: String,
    /// When it ends.
    pub until: Timestamp,
}

/// The freeze that is in force at `now`; of several the one that ends last.
pub fn frozen(windows: &[Window], now: Timestamp) -> Option<Frozen> {
    let all = windows.iter().filter_map(|window| window.covers(now));
    all.max_by_key(|frozen| frozen.until)
}

impl Window {
    fn covers(&self, now: Timestamp) -> Option<Frozen> {
        let local = now.to_zoned(self.zone.clone()).datetime();
        let begin = self.from.newest(local)?;
        let until = match self.until {
            Until::At(moment) => self.zone.to_timestamp(moment.next(begin)?).ok()?,
            Until::After(time) => {
                let begin = self.zone.to_timestamp(begin).ok()?;
                begin.checked_add(time).unwrap_or(Timestamp::MAX)
            }
        };
        (now < until).then(|| Frozen {
            window: self.name.clone(),
            until,
        })
    }
}

impl Moment {
    /// Whether it comes once.
    pub fn is_once(self) -> bool {
        matches!(self, Self::Once(_))
    }

    /// The newest that is not after `now`.
    fn newest(self, now: DateTime) -> Option<DateTime> {
        if let Self::Once(at) = self {
            return (at <= now).then_some(at);
        }
        (0..=7).find_map(|back| {
            let date = now.date().checked_sub(Span::new().days(back)).ok()?;
            self.on(date).filter(|at| *at <= now)
        })
    }

    /// The first after `begin`.
    fn next(self, begin: DateTime) -> Option<DateTime> {
        if let Self::Once(at) = self {
            return (at > begin).then_some(at);
        }
        (0..=7).find_map(|ahead| {
            let date = begin.date().checked_add(Span::new().days(ahead)).ok()?;
            self.on(date).filter(|at| *at > begin)
        })
    }

    fn on(self, date: Date) -> Option<DateTime> {
        match self {
            Self::Daily(time) => Some(date.to_datetime(time)),
            Self::Weekly(day, time) => (date.weekday() == day).then(|| date.to_datetime(time)),
            Self::Once(at) => Some(at),
        }
    }
}

/// No moment of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no moment such as `Fri 16:00`, `22:00` or `2026-12-23 12:00`")]
pub struct NoMoment;

impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            [time] if time.contains(':') => self::time(time).map(Self::Daily),
            [date] => self::date(date).map(|date| Self::Once(date.to_datetime(Time::midnight()))),
            [day, time] => match weekday(day) {
                Some(day) => Ok(Self::Weekly(day, self::time(time)?)),
                None => Ok(Self::Once(date(day)?.to_datetime(self::time(time)?))),
            },
            _ => Err(NoMoment),
        }
    }
}

fn date(text: &str) -> Result<Date, NoMoment> {
    let plain = text.len() == 10 && text.bytes().all(|c| c.is_ascii_digit() || c == b'-');
    let date = plain.then(|| text.parse::<Date>().ok()).flatten();
    date.ok_or(NoMoment)
}

fn time(text: &str) -> Result<Time, NoMoment> {
    let (hour, minute) = text.split_once(':').ok_or(NoMoment)?;
    let number = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
        plain
            .then(|| text.parse::<i8>().ok())
            .flatten()
            .ok_or(NoMoment)
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| NoMoment)
}

/// By at least three letters of its English name.
fn weekday(text: &str) -> Option<Weekday> {
    let days = [
        ("monday", Weekday::Monday),
        ("tuesday", Weekday::Tuesday),
        ("wednesday", Weekday::Wednesday),
        ("thursday", Weekday::Thursday),
        ("friday", Weekday::Friday),
        ("saturday", Weekday::Saturday),
        ("sunday", Weekday::Sunday),
    ];
    let text = text.to_ascii_lowercase();
    let found = days
        .iter()
        .find(|(name, _)| text.len() >= 3 && name.starts_with(&text));
    found.map(|(_, day)| *day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Berlin's rule, so that no test depends on the machine's time zones.
    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    fn window(from: &str, until: &str) -> Window {
        let duration = humantime::parse_duration(until).map(Until::After);
        Window {
            name: "window".to_owned(),
            from: from.parse().unwrap(),
            until: duration.unwrap_or_else(|_| Until::At(until.parse().unwrap())),
            zone: TimeZone::posix(BERLIN).unwrap(),
        }
    }

    #[test]
    fn a_window_holds_from_its_beginning_until_just_before_its_end() {
        let weekend = ("Fri 16:00", "Mon 08:00");
        let cases = [
            // In winter Berlin is an hour ahead of UTC, in summer two. 2026-01-02 is a Friday.
            (weekend, "2026-01-02T14:59:59Z", None),
            (
                weekend,
                "2026-01-02T15:00:00Z",
                Some("2026-01-05T07:00:00Z"),
            ),
            (
                weekend,
                "2026-01-04T12:00:00Z",
                Some("2026-01-05T07:00:00Z"),
            ),
            (
                weekend,
                "2026-01-05T06:59:59Z",
                Some("2026-01-05T07:00:00Z"),
            ),
            (weekend, "2026-01-05T07:00:00Z", None),
            (
                weekend,
                "2026-07-03T14:00:00Z",
                Some("2026-07-06T06:00:00Z"),
            ),
            // The clocks go forward on Sunday, 2026-03-29.
            (
                weekend,
                "2026-03-28T12:00:00Z",
                Some("2026-03-30T06:00:00Z"),
            ),
            (
                ("22:00", "9h"),
                "2026-01-02T21:30:00Z",
                Some("2026-01-03T06:00:00Z"),
            ),
            (
                ("22:00", "9h"),
                "2026-01-03T05:59:00Z",
                Some("2026-01-03T06:00:00Z"),
            ),
            (("22:00", "9h"), "2026-01-03T06:00:00Z", None),
            (
                ("22:00", "07:00"),
                "2026-01-02T23:30:00Z",
                Some("2026-01-03T06:00:00Z"),
            ),
            (("12:00", "13:00"), "2026-01-02T12:30:00Z", None),
            (
                ("2026-12-23 12:00", "2027-01-04"),
                "2026-12-23T10:59:00Z",
                None,
            ),
            (
                ("2026-12-23 12:00", "2027-01-04"),
                "2026-12-31T23:00:00Z",
                Some("2027-01-03T23:00:00Z"),
            ),
            (
                ("2026-12-23 12:00", "2027-01-04"),
                "2027-01-03T23:00:00Z",
                None,
            ),
        ];
        for ((from, until), now, wanted) in cases {
            let found = frozen(&[window(from, until)], now.parse().unwrap());
            let found = found.map(|frozen| frozen.until.to_string());
            assert_eq!(found.as_deref(), wanted, "{from} to {until} at {now}");
        }
    }

    #[test]
    fn of_several_windows_the_one_that_ends_last_counts() {
        let both = [window("22:00", "9h"), window("2026-01-01", "2026-02-01")];
        let found = frozen(&both, "2026-01-02T22:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(found.until.to_string(), "2026-01-31T23:00:00Z");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        let good = [
            "Fri 16:00",
            "friday 00:00",
            "22:00",
            "2026-12-23",
            "2026-12-23 12:00",
        ];
        let bad = [
            "",
            "16",
            "25:00",
            "1:00",
            "Fr 16:00",
            "Fri",
            "Fri 16:00 17:00",
            "2026-02-30",
            "12:60",
            "+1:00",
        ];
        for text in good {
            assert!(text.parse::<Moment>().is_ok(), "{text}");
        }
        for text in bad {
            assert_eq!(text.parse::<Moment>(), Err(NoMoment), "{text}");
        }
    }
}
