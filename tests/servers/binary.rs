//! The binary as a command: what it was given, and what came of it.
//!
//! Not here: daemons, which go on until they are ended (`process`).

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// What came of it.
#[derive(Debug)]
pub struct Ended {
    /// -1 where a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs `sluice` in the repository's folder, with this on its standard input.
pub fn sluice(arguments: &[&str], stdin: &str) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("SLUICE_CONFIG")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    let feeding = std::thread::spawn(move || {
        // Wrong options end the process before it reads.
        let _ = pipe.write_all(text.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    Ended::of(output)
}
