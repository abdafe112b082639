//! What a remedy costs in a large repository: 5,000 files, 10,000 commits, 50 releases taken back
//! over Git's http-backend. Measured, not judged: `make bench-git`.

use std::fmt::Write;
use std::time::Duration;

use sluice::clock::Clock;

use super::repository::Team;
use super::server::Http;
use super::{BACKEND, Case, Limits, Onto, Outcome, bot, undone_within};

const FILES: usize = 5_000;
const COMMITS: usize = 10_000;
const RELEASES: usize = 50;

/// All of its history, as `git fast-import` reads it.
fn history() -> String {
    let mut text = String::from(
        "commit refs/heads/main\ncommitter Ada <ada@shop.example> 1700000000 +0000\ndata 1\nn\n",
    );
    for file in 0..FILES {
        let folder = file % 50;
        let body = format!("name: app-{file}\nreplicas: {}\n", file % 7);
        let _ = write!(
            text,
            "M 100644 inline apps/{folder}/app-{file}.yaml\ndata {}\n{body}\n",
            body.len()
        );
    }
    for commit in 1..COMMITS {
        let file = commit * 7 % FILES;
        let body = format!("name: app-{file}\nreplicas: {commit}\n");
        let _ = write!(
            text,
            "commit refs/heads/main\ncommitter Ada <ada@shop.example> {} +0000\ndata 1\nn\n\
             M 100644 inline apps/{}/app-{file}.yaml\ndata {}\n{body}\n",
            1_700_000_000 + commit,
            file % 50,
            body.len()
        );
    }
    text
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() >> 10
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; make bench-git"]
async fn what_a_remedy_costs_in_a_large_repository() {
    let team = Team::new();
    team.import(&history());
    team.commit_on_top("Release", &[(BACKEND, "image: v0\n")]);
    let http = Http::serve(&team.served()).await;
    let url = format!("{}/shop.git", http.url);
    let before = peak_mib();
    let clock = Clock::machine();
    let (mut times, mut first) = (Vec::new(), Duration::ZERO);
    for round in 0..RELEASES {
        let good = team.says(&["rev-parse", "main"]).parse().unwrap();
        let bad = format!("image: v{}\n", round + 1);
        let bad = team.commit_on_top("Release", &[(BACKEND, &bad)]);
        let case = Case {
            onto: Onto::Branch,
            ..Case::new(good, bad)
        };
        let limits = Limits {
            time: Duration::from_secs(300),
            bytes: 1 << 30,
        };
        let began = clock.ticks();
        let outcome = undone_within(limits, &team, &url, bot(), case).await;
        let took = clock.ticks().saturating_sub(began);
        assert!(matches!(outcome, Ok(Outcome::Pushed { .. })), "{outcome:?}");
        if round == 0 {
            first = took;
        } else {
            times.push(took);
        }
    }
    times.sort();
    let quantile = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    println!(
        "{FILES} files, {COMMITS} commits: first {first:.0?}, then p50 {:.0?}, p99 {:.0?}; \
         peak memory {} MiB (with the server and the test, {before} MiB before)",
        quantile(0.5),
        quantile(0.99),
        peak_mib()
    );
    // A good commit from the beginning: everything is fetched.
    let good = team.says(&["rev-parse", "main~9000"]).parse().unwrap();
    let bad = team.commit_on_top("Release", &[(BACKEND, "image: old\n")]);
    let began = clock.ticks();
    let limits = Limits {
        time: Duration::from_secs(300),
        bytes: 1 << 30,
    };
    let outcome = undone_within(limits, &team, &url, bot(), Case::new(good, bad)).await;
    let Ok(Outcome::Pushed { undone, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    println!(
        "good commit 9,000 back: {:.1?} for {} commits; peak memory {} MiB",
        clock.ticks().saturating_sub(began),
        undone.len(),
        peak_mib()
    );
}
