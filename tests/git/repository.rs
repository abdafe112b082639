//! A repository as a team has it, made with the `git` program: a bare one on the server and a
//! person's clone beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A person's clone, from which commits are pushed.
pub struct Team {
    /// Goes with everything in it.
    pub folder: tempfile::TempDir,
}

impl Team {
    /// A server's folder with `shop.git`, and a clone of it.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let team = Self { folder };
        std::fs::create_dir_all(team.served()).unwrap();
        git(
            &team.served(),
            &["init", "-q", "--bare", "-b", "main", "shop.git"],
        );
        git(&team.bare(), &["config", "http.receivepack", "true"]);
        let bare = team.bare().display().to_string();
        git(team.folder.path(), &["clone", "-q", &bare, "clone"]);
        git(&team.clone(), &["checkout", "-q", "-b", "main"]);
        team
    }

    /// What is served.
    pub fn served(&self) -> PathBuf {
        self.folder.path().join("served")
    }

    /// The server's repository.
    pub fn bare(&self) -> PathBuf {
        self.served().join("shop.git")
    }

    /// The person's clone.
    pub fn clone(&self) -> PathBuf {
        self.folder.path().join("clone")
    }

    /// Writes files, commits and pushes them; the commit.
    pub fn commit(&self, summary: &str, files: &[(&str, &str)]) -> git2::Oid {
        for (path, text) in files {
            let path = self.clone().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        git(&self.clone(), &["add", "-A"]);
        git(
            &self.clone(),
            &["commit", "-q", "--allow-empty", "-m", summary],
        );
        self.push()
    }

    /// Pushes what the clone has; its head.
    pub fn push(&self) -> git2::Oid {
        git(&self.clone(), &["push", "-q", "origin", "+main"]);
        git2::Oid::from_str(&git(&self.clone(), &["rev-parse", "HEAD"])).unwrap()
    }

    /// What the server says.
    pub fn says(&self, arguments: &[&str]) -> String {
        git(&self.bare(), arguments)
    }

    /// A file as the server's branch has it.
    pub fn file(&self, path: &str) -> String {
        self.says(&["show", &format!("main:{path}")])
    }

    /// A hook of the server's repository.
    pub fn hook(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.bare().join("hooks").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Runs git in a folder, with nobody's configuration; its trimmed output.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .envs([
            ("GIT_AUTHOR_NAME", "Ada"),
            ("GIT_AUTHOR_EMAIL", "ada@shop.example"),
        ])
        .envs([
            ("GIT_COMMITTER_NAME", "Ada"),
            ("GIT_COMMITTER_EMAIL", "ada@shop.example"),
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {told}");
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

impl Team {
    /// Fetches what others pushed, then commits on top of it.
    pub fn commit_on_top(&self, summary: &str, files: &[(&str, &str)]) -> git2::Oid {
        git(
            &self.clone(),
            &["pull", "-q", "--ff-only", "origin", "main"],
        );
        self.commit(summary, files)
    }

    /// Has the server's repository at another path too.
    pub fn serve_at(&self, path: &str) {
        let path = self.served().join(path);
        if !path.exists() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(self.bare(), path).unwrap();
        }
    }

    /// Merges a branch of the server's, as a forge does it; the merge.
    pub fn merge(&self, branch: &str) -> String {
        let clone = self.clone();
        git(&clone, &["fetch", "-q", "origin"]);
        git(&clone, &["reset", "-q", "--hard", "origin/main"]);
        let theirs = format!("origin/{branch}");
        git(
            &clone,
            &[
                "merge", "-q", "--no-ff", "-X", "theirs", "-m", "Merge", &theirs,
            ],
        );
        self.push().to_string()
    }

    /// Takes such commits in on the server.
    pub fn import(&self, commits: &str) {
        use std::io::Write;
        let mut import = Command::new("git")
            .args(["fast-import", "--quiet"])
            .current_dir(self.bare())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = import.stdin.take().unwrap();
        input.write_all(commits.as_bytes()).unwrap();
        drop(input);
        assert!(import.wait().unwrap().success());
    }
}

/// One of many commits, as `git fast-import` reads it.
pub fn quick_commit(number: usize) -> String {
    let text = number.to_string();
    let from = if number == 0 {
        "from refs/heads/main^0\n"
    } else {
        ""
    };
    format!(
        "commit refs/heads/main\ncommitter Ada <ada@shop.example> {} +0000\ndata 1\nn\n{from}\
         M 100644 inline many\ndata {}\n{text}\n",
        1_800_000_000 + number,
        text.len()
    )
}

/// Who runs the tests, which is who signs in.
pub fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
