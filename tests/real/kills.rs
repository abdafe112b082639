//! The daemon's process is killed again and again (`ordeal`), on the real control plane.
//!
//! The audit log says when it writes again.

use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::sync::Mutex;

use sluice::kubernetes::crd::ACCOUNT;

use super::stand::Stand;
use crate::ordeal::{Ground, survive};

/// How many writes of the daemon's account the audit log holds, read on from where it was left.
struct Writes {
    log: std::path::PathBuf,
    read: Mutex<(u64, u64)>,
}

impl Writes {
    fn so_far(&self) -> u64 {
        let mut read = self.read.lock().unwrap();
        let mut file = std::fs::File::open(&self.log).unwrap();
        file.seek(SeekFrom::Start(read.0)).unwrap();
        let mut lines = BufReader::new(file);
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            read.0 += line.len() as u64;
            read.1 += u64::from(is_write(&line));
            line.clear();
        }
        read.1
    }
}

fn is_write(line: &str) -> bool {
    let verbs = ["create", "update", "patch", "delete"];
    let ours = line.contains(&format!("\"username\":\"{ACCOUNT}\""));
    ours && verbs
        .iter()
        .any(|verb| line.contains(&format!("\"verb\":\"{verb}\"")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn releases_survive_a_daemon_that_is_killed_on_a_real_control_plane() {
    let Some(stand) = Stand::with_sluice().await else {
        return;
    };
    let writes = Writes {
        log: stand.plane.audit_log(),
        read: Mutex::default(),
    };
    let ground = Ground {
        apps: &stand.apps,
        daemon: &|| stand.daemon("kills-real", ""),
        writes: &|| writes.so_far(),
    };
    survive(ground, 4).await;
}
