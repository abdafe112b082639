//! What differs between two transcripts, as people read it.

use std::fmt::Write as _;

use serde_json::Value;

use super::conversation::Conversation;
use super::deliberate;
use super::player::Told;

/// How many differences of one answer are shown.
const SHOWN: usize = 12;

/// What differs, unless it is meant to.
pub fn report(conversation: &Conversation, there: &[Told], here: &[Told]) -> Option<String> {
    let mut out = String::new();
    for (there, here) in there.iter().zip(here) {
        let mut found = Vec::new();
        walk("", Some(&there.answer), Some(&here.answer), &mut found);
        found.retain(|(at, line)| !is_deliberate(conversation, at, line));
        if found.is_empty() {
            continue;
        }
        writeln!(out, "  {}", there.asked).expect("a line");
        for (at, line) in found.iter().take(SHOWN) {
            writeln!(out, "    {at}\n{line}").expect("a line");
        }
        if found.len() > SHOWN {
            writeln!(out, "    ... and {} more", found.len() - SHOWN).expect("a line");
        }
    }
    if there.len() != here.len() {
        let (there, here) = (ended(there), ended(here));
        writeln!(
            out,
            "  real ended with {there}\n  sandbox ended with {here}"
        )
        .expect("a line");
    }
    (!out.is_empty()).then(|| format!("{} [{}]\n{out}", conversation.about, conversation.namespace))
}

fn ended(told: &[Told]) -> String {
    let last = told.last();
    last.map_or_else(String::new, |told| {
        format!("{} {}", told.asked, shown(Some(&told.answer)))
    })
}

fn is_deliberate(conversation: &Conversation, at: &str, line: &str) -> bool {
    conversation
        .apart
        .keys()
        .any(|start| at.starts_with(start.as_str()))
        || deliberate::covers(at, line)
}

fn walk(at: &str, there: Option<&Value>, here: Option<&Value>, found: &mut Vec<(String, String)>) {
    match (there, here) {
        (Some(Value::Object(there)), Some(Value::Object(here))) => {
            let mut names: Vec<&String> = there.keys().chain(here.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let step = name.replace('~', "~0").replace('/', "~1");
                walk(
                    &format!("{at}/{step}"),
                    there.get(name),
                    here.get(name),
                    found,
                );
            }
        }
        (Some(Value::Array(there)), Some(Value::Array(here))) => {
            for index in 0..there.len().max(here.len()) {
                walk(
                    &format!("{at}/{index}"),
                    there.get(index),
                    here.get(index),
                    found,
                );
            }
        }
        (there, here) if there == here => {}
        (there, here) => found.push((
            at.to_owned(),
            format!(
                "      real:    {}\n      sandbox: {}",
                shown(there),
                shown(here)
            ),
        )),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(
        || "(absent)".into(),
        |value| {
            let text = value.to_string();
            text.chars().take(700).collect()
        },
    )
}
