//! Objects as YAML that can be applied, with what a person should read as comments before them.

use serde_json::Value;

use super::{Error, screen};

/// The sections with lines, then the objects.
pub(super) fn text(sections: &[(&str, Vec<String>)], objects: &[Value]) -> Result<String, Error> {
    let mut all = String::new();
    for (title, lines) in sections.iter().filter(|(_, lines)| !lines.is_empty()) {
        all.extend(["# ", *title, "\n"]);
        for line in lines {
            all.extend(["#   ", line.as_str(), "\n"]);
        }
        all.push_str("#\n");
    }
    for object in objects {
        all.push_str("---\n");
        all.push_str(&screen::yaml(object)?);
    }
    Ok(all)
}

/// Lines with their numbers.
pub(super) fn numbered(lines: &[String]) -> Vec<String> {
    let numbered = lines.iter().enumerate();
    numbered
        .map(|(at, line)| format!("{}. {line}", at + 1))
        .collect()
}
