//! The settings of whose approvals an environment asks for.

use std::time::Duration;

use super::reader::{Reader, Section};
use crate::rollout::approval::{Approvals, Environment};

/// The most people.
const MOST: u16 = 20;

/// Reads `approvals`.
pub fn approvals(reader: &mut Reader, root: &Section) -> Environment {
    let section = reader.section(root, "approvals");
    let wanted = "a whole number from 1 to 20";
    let mut required = reader.number(&section, "required", 1, wanted);
    if required > MOST {
        reader.wrong(&section, "required", &required.to_string(), wanted);
        required = 1;
    }
    let from = reader.texts(&section, "from");
    let expires = expires(reader, &section);
    Environment {
        approvals: Approvals {
            required: u8::try_from(required).unwrap_or(1),
            from: (!from.is_empty()).then_some(from).into_iter().collect(),
            expires,
            not_author: reader.flag(&section, "notAuthor", false),
        },
        every_run: reader.flag(&section, "everyRun", false),
    }
}

fn expires(reader: &mut Reader, section: &Section) -> Option<Duration> {
    let text = reader.text(section, "expires")?;
    let time = humantime::parse_duration(&text).ok();
    let time = time.filter(|time| !time.is_zero());
    if time.is_none() {
        let wanted = "a duration above zero, e.g. 4h";
        reader.wrong(section, "expires", &format!("{text:?}"), wanted);
    }
    time
}
