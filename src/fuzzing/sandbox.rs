//! What the sandbox reads of others: scenarios, and requests to its API server.

use std::path::Path;

use super::people::lines;
use super::text;
use crate::sandbox::{api, scenario};

/// A scenario. It may name no files: which there are is the machine's matter.
pub fn scenario(data: &[u8]) -> bool {
    let text = text(data).replace("file", "fiel");
    match scenario::parse("scenario.yaml", &text, Path::new("nowhere")) {
        Ok(scenario) => {
            assert!(!scenario.steps.iter().any(|(line, _)| *line == 0));
            true
        }
        Err(problems) => {
            assert!(!problems.problems.is_empty());
            let lines = lines(&text);
            let within = problems
                .problems
                .iter()
                .all(|problem| problem.line <= lines);
            assert!(within, "{problems}");
            false
        }
    }
}

/// Requests, one after the other to one server: `METHOD path media-type` in a line, then the
/// body up to a line `---`.
pub fn api(data: &[u8]) -> bool {
    let text = text(data);
    api::fuzzing(text.split("\n---\n").take(8).filter_map(|request| {
        let (head, body) = request.split_once('\n').unwrap_or((request, ""));
        let mut words = head.split(' ');
        Some((words.next()?, words.next()?, words.next()?, body))
    }))
}
