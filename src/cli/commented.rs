//! Objects as YAML that can be applied, with what a person should read as comments before them.

use serde_json::Value;

use super::{Error, screen};

/// The sections with lines, then the objects.
pub(super) fn text(sections: &[(&str, Vec<String>)], objects: &[Value]) -> Result<String, Error> {
    let mut all = String::new();
    for (title, lines) in sections.iter().filter(|(_, lines)| !lines.is_empty()) {
        all.extend(["# ", *title, "\n"]);
        for line in lines {
            // Whatever ends a line, also within a text of somebody else's: nothing gets out of its comment.
            for part in line.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
                all.extend(["#   ", part, "\n"]);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn nothing_gets_out_of_its_comment() {
        for end in ["\n", "\r\n", "\r", "\u{85}", "\u{2028}", "\u{2029}"] {
            let note = format!("a snippet:{end}---{end}kind: ClusterRoleBinding");
            let wanted = serde_json::json!({"kind": "HTTPRoute"});
            let text = text(&[("Notes:", vec![note])], std::slice::from_ref(&wanted)).unwrap();
            let found: Vec<Value> = yaml::documents(&text)
                .unwrap()
                .iter()
                .map(yaml::Node::to_json)
                .collect();
            assert_eq!(found, [wanted], "{end:?}");
        }
    }
}
