//! What a test does without a program that it needs: it says in a line what is left out, past the harness, which
//! keeps what passing tests print to itself; where `CI=true` nothing may be left out, and it fails.
//!
//! Not here: where each program is looked for.

use std::io::Write as _;
use std::process::Command;

/// Says that something is left out, and why.
pub fn left_out(what: &str, why: &str) {
    #[allow(clippy::disallowed_methods)] // whether this is CI is known from the environment only
    let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(!in_ci, "{why}; with CI=true nothing is left out: {what}");
    // Without a place to say it there is nobody to hear it.
    let _ = writeln!(std::io::stderr(), "LEFT OUT: {what}: {why}");
}

/// Whether a program answers to this; if not, `what` is left out.
#[allow(dead_code)] // some look for files
pub fn is_here(program: &str, arguments: &[&str], what: &str) -> bool {
    let asked = Command::new(program).args(arguments).output();
    let here = asked.is_ok_and(|output| output.status.success());
    if !here {
        left_out(what, &format!("{program} is missing"));
    }
    here
}
