//! Where the sandbox differs from the real server on purpose, in every conversation.
//!
//! A conversation's own exceptions stand beside it, under `apart`.

use std::sync::LazyLock;

use regex::Regex;

/// Pattern of the pointer, and why.
const DELIBERATE: &[(&str, &str)] = &[
    (
        r"^/body/(\d+/object/)?columnDefinitions/\d+/description$",
        "nobody sees them: kubectl explain reads the schema",
    ),
    (
        r"/(f:)?lastProbeTime$",
        "a time that is not set is left out, not written as null",
    ),
    (
        r"/(f:)?(eventTime|firstTimestamp|lastTimestamp|deprecated\w+|source|reportingComponent|reportingInstance)(/\.)?$",
        "of an Event what is not set is left out, not written as null or empty",
    ),
    (
        r"^/body/(items/\d+/|rows/\d+/object/)?metadata/managedFields/\d+/fieldsV1/f:(regarding|note|involvedObject|message|reportingComponent|reportingController)",
        "Events of both groups are stored, and owned, in the core form",
    ),
];

static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let patterns = DELIBERATE.iter().map(|(pattern, _)| Regex::new(pattern));
    patterns
        .map(|pattern| pattern.expect("a pattern"))
        .collect()
});

/// Whether a difference at this pointer is meant.
pub fn covers(at: &str, _line: &str) -> bool {
    PATTERNS.iter().any(|pattern| pattern.is_match(at))
}
