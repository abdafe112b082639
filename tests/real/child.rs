//! Servers that the tests start, and that end with the tests, however those end.
//!
//! A shell stands between: it ends the server when its own standard input closes, which the
//! kernel does even if the test process is killed.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server; dropping it ends the server and waits for that.
#[derive(Debug)]
pub struct Server {
    shell: Child,
}

/// Runs "$@" and ends it when nobody holds the other end of standard input any more. A signal
/// to all of the test's processes does not end the guard before its server.
const GUARD: &str =
    r#"trap '' HUP INT TERM; "$@" & server=$!; cat; kill -9 "$server"; wait "$server""#;

impl Server {
    /// Starts a program; what it prints goes to `log`.
    pub fn start(program: &Path, arguments: &[String], log: &Path) -> Self {
        let out = File::create(log).expect("a log file");
        let shell = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(out.try_clone().expect("the log file again"))
            .stderr(out)
            .spawn()
            .expect("sh");
        Self { shell }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().ok();
    }
}

/// Ports of 127.0.0.1 that were free a moment ago, all different.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().expect("its address").port())
}
