//! The settings of times in which no new run begins.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::reader::{Reader, Section};
use crate::clock;
use crate::rollout::freeze::{Moment, Until, Window};

/// No window is longer, so that a slip of the pen does not stop releases for good.
const LONGEST: Duration = Duration::from_secs(60 * 24 * 3600);

/// Reads `freeze`.
pub fn freeze(reader: &mut Reader, root: &Section) -> Vec<Window> {
    let sections = reader.sections(root, "freeze");
    let windows = sections.iter().map(|section| window(reader, section));
    windows.collect::<Vec<_>>().into_iter().flatten().collect()
}

fn window(reader: &mut Reader, section: &Section) -> Option<Window> {
    let name = reader.required(section, "name", "a name for people");
    let from = moment(reader, section, "from");
    let until = until(reader, section);
    let zone = zone(reader, section);
    let (from, until) = (from?, until?);
    if let Until::At(at) = until
        && (at == from || at.is_once() != from.is_once())
    {
        let wanted = "another moment of the same kind as `from`: both dated, or neither";
        reader.wrong(section, "to", "one that does not fit `from`", wanted);
    }
    Some(Window {
        name: name?,
        from,
        until,
        zone: zone?,
    })
}

fn moment(reader: &mut Reader, section: &Section, key: &str) -> Option<Moment> {
    let wanted = "a moment such as `Fri 16:00`, `22:00` or `2026-12-23 12:00`";
    let text = reader.required(section, key, wanted)?;
    let moment = text.parse().ok();
    if moment.is_none() {
        reader.wrong(section, key, &format!("{text:?}"), wanted);
    }
    moment
}

fn until(reader: &mut Reader, section: &Section) -> Option<Until> {
    match (section.has("to"), section.has("for")) {
        (true, false) => moment(reader, section, "to").map(Until::At),
        (false, true) => {
            let text = reader.text(section, "for")?;
            let time = humantime::parse_duration(&text).ok();
            let time = time.filter(|time| !time.is_zero() && *time <= LONGEST);
            if time.is_none() {
                let wanted = "a duration such as 9h or 2d, at most 60d";
                reader.wrong(section, "for", &format!("{text:?}"), wanted);
            }
            time.map(Until::After)
        }
        (both, _) => {
            let found = if both { "to and for" } else { "neither" };
            reader.wrong(section, "", found, "exactly one of: to, for");
            None
        }
    }
}

fn zone(reader: &mut Reader, section: &Section) -> Option<TimeZone> {
    let Some(name) = reader.text(section, "zone") else {
        return (!section.has("zone")).then_some(TimeZone::UTC);
    };
    let zone = clock::zone(&name);
    if zone.is_none() {
        let wanted =
            "UTC, a zone such as Europe/Berlin, or a rule such as CET-1CEST,M3.5.0,M10.5.0/3";
        reader.wrong(section, "zone", &format!("{name:?}"), wanted);
    }
    zone
}
