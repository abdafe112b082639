//! Programs that the tests start, and that end with the tests, however those end.
//!
//! A shell stands between: it ends the program when its own standard input closes, which the
//! kernel does even if the test process is killed. The only such guard; every test that starts a
//! server or a daemon includes this file. Not here: which program, and whether it is ready.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs "$@", says its process id, and ends it when nobody holds the other end of standard input any
/// more. A signal to all of the test's processes does not end the guard before its program, which
/// takes signals as if it were started by hand.
const GUARD: &str = r#"trap '' HUP INT TERM; log="$1"; shift
(trap - HUP INT TERM; exec "$@") >>"$log" 2>&1 & program=$!; echo "$program"
cat >/dev/null; kill -9 "$program" 2>/dev/null; wait "$program""#;

/// A running program; dropping it ends it at once and waits for that.
#[derive(Debug)]
pub struct Server {
    shell: Child,
    pid: u32,
    log: PathBuf,
}

impl Server {
    /// Starts a program with nothing of the environment but the PATH; what it prints is added to `log`.
    #[allow(clippy::disallowed_methods)] // the PATH is known from the environment only
    pub fn start(program: impl AsRef<OsStr>, arguments: &[impl AsRef<OsStr>], log: &Path) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(log)
            .arg(program)
            .args(arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What it says of the end of its program is no news.
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        let mut pid = String::new();
        let out = shell.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut pid).expect("a line");
        Self {
            shell,
            pid: pid.trim().parse().expect("a process id"),
            log: log.to_owned(),
        }
    }

    /// Sends a signal, by name.
    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).arg(self.pid.to_string());
        assert!(kill.status().expect("kill").success(), "kill -{name}");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        stat.map_or(true, |stat| {
            let state = stat.rsplit(')').next();
            state.is_some_and(|state| state.starts_with(" Z"))
        })
    }

    /// The exit code of one that has ended.
    pub fn code(mut self) -> i32 {
        self.close();
        let ended = self.shell.wait().expect("the guard's end");
        ended.code().expect("a code")
    }

    /// The end of what it printed.
    pub fn told(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    fn close(&mut self) {
        drop(self.shell.stdin.take());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
        self.shell.wait().ok();
    }
}

/// Ports of 127.0.0.1 that were free a moment ago, all different.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().expect("its address").port())
}
