//! Commits undone on real Git servers: Git's own HTTP backend and a real sshd.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's helpers may fail the test

mod app;
mod large;
#[path = "../servers/needs.rs"]
mod needs;
#[allow(dead_code)] // some of it is for tests/remedy
mod repository;
mod server;

use std::time::Duration;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use git2::Oid;
use repository::Team;
use secrecy::SecretString;
use server::{Http, Ssh};
use sluice::git::{
    Address, Copy, Credentials, Error, Limits, Message, Onto, Order, Outcome, Remote, Signer, View,
    undo,
};
use tokio::runtime::Handle;

const BACKEND: &str = "apps/backend.yaml";

/// The text of one file is what is deployed.
struct File;

impl View for File {
    fn of(&self, repository: &git2::Repository, tree: &git2::Tree<'_>) -> Result<String, Error> {
        let Ok(entry) = tree.get_path(std::path::Path::new(BACKEND)) else {
            return Ok(String::new());
        };
        let blob = repository.find_blob(entry.id()).unwrap();
        Ok(String::from_utf8_lossy(blob.content()).into_owned())
    }
}

/// What one undoing is about.
struct Case {
    good: Oid,
    bad: Oid,
    onto: Onto,
    rollout: &'static str,
    signer: Option<Signer>,
}

impl Case {
    fn new(good: Oid, bad: Oid) -> Self {
        Self {
            good,
            bad,
            onto: Onto::Branch,
            rollout: "shop/backend",
            signer: None,
        }
    }
}

fn limits() -> Limits {
    Limits {
        time: Duration::from_secs(60),
        bytes: 64 << 20,
    }
}

fn bot() -> Credentials {
    Credentials::basic("bot", "token")
}

async fn undone(
    team: &Team,
    url: &str,
    as_whom: Credentials,
    case: Case,
) -> Result<Outcome, Error> {
    undone_within(limits(), team, url, as_whom, case).await
}

async fn undone_within(
    limits: Limits,
    team: &Team,
    url: &str,
    credentials: Credentials,
    case: Case,
) -> Result<Outcome, Error> {
    let remote = Remote {
        at: Address::parse(url).unwrap().0,
        branch: "main".to_owned(),
        credentials,
        authority: None,
    };
    let (runtime, folder) = (Handle::current(), team.folder.path().join("copies"));
    let work = move || {
        let mut copy = Copy::open(&folder, runtime, remote, limits)?;
        let order = Order {
            good: case.good,
            bad: case.bad,
            message: Message {
                rollout: case.rollout.to_owned(),
                run: "backend-7".to_owned(),
                verdict: "canary 31 of 612 (5.07%), stable 12 of 11,590 (0.10%)".to_owned(),
                link: None,
            },
            committer: ("Sluice", "sluice@shop.example"),
            now: 1_800_000_000,
            signer: case.signer.as_ref(),
            onto: case.onto.clone(),
            beside: None,
        };
        undo(&mut copy, &order, &File)
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A team whose server speaks HTTP, with a good and a bad release between other commits.
async fn released() -> (Team, Http, String, Oid, Oid) {
    let team = Team::new();
    let http = Http::serve(&team.served()).await;
    let url = format!("{}/shop.git", http.url);
    let good = team.commit("Release v2", &[(BACKEND, "a: 1\nimage: v2\nb: 1\nc: 1\n")]);
    team.commit("Write more", &[("README", "more\n")]);
    let bad = team.commit("Release v3", &[(BACKEND, "a: 1\nimage: v3\nb: 1\nc: 1\n")]);
    (team, http, url, good, bad)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_deepened_stays_as_deep() {
    let team = Team::new();
    let http = Http::serve(&team.served()).await;
    for commit in 0..60 {
        team.commit(&format!("Write {commit}"), &[]);
    }
    let remote = Remote {
        at: Address::parse(&format!("{}/shop.git", http.url)).unwrap().0,
        branch: "main".to_owned(),
        credentials: bot(),
        authority: None,
    };
    let (runtime, folder) = (Handle::current(), team.folder.path().join("copies"));
    let work = move || {
        let open = || Copy::open(&folder, runtime.clone(), remote.clone(), limits()).unwrap();
        let commits = |copy: &Copy| {
            let head = copy.fetch().unwrap();
            let mut walk = copy.repository().revwalk().unwrap();
            walk.push(head).unwrap();
            walk.count()
        };
        let mut copy = open();
        let before = commits(&copy);
        assert!(copy.deepen().unwrap());
        let deep = commits(&copy);
        drop(copy);
        (before, deep, commits(&open()))
    };
    let (before, deep, again) = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(before, 50);
    assert!(deep >= 60, "{deep}");
    assert_eq!(again, deep);
}

/// GitLab: the listing of a repository without `.git` is redirected, and nothing else is there.
async fn like_gitlab(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path.starts_with("/shop.git/") {
        return next.run(request).await;
    }
    if request.method() != Method::GET {
        return StatusCode::NOT_FOUND.into_response();
    }
    let to = path.replacen("/shop/", "/shop.git/", 1);
    let query = request.uri().query().unwrap_or_default();
    Redirect::permanent(&format!("{to}?{query}")).into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_redirected_listing_goes_where_that_led_to() {
    let (team, _http, _, good, bad) = released().await;
    let layer = axum::middleware::from_fn(like_gitlab);
    let gitlab = Http::serve_behind(&team.served(), |router| router.layer(layer)).await;
    let url = format!("{}/shop", gitlab.url);
    let outcome = undone(&team, &url, bot(), Case::new(good, bad)).await;
    assert!(matches!(outcome, Ok(Outcome::Pushed { .. })), "{outcome:?}");
    assert!(team.file(BACKEND).contains("image: v2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commit_that_led_to_the_bad_template_is_reverted_and_nothing_else() {
    let (team, _http, url, good, bad) = released().await;
    team.commit("Write still more", &[("README", "still more\n")]);
    let outcome = undone(&team, &url, bot(), Case::new(good, bad))
        .await
        .unwrap();
    let Outcome::Pushed { commit, undone } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        undone
            .iter()
            .map(|change| &*change.summary)
            .collect::<Vec<_>>(),
        ["Release v3"]
    );
    assert_eq!(team.says(&["rev-parse", "main"]), commit.0.to_string());
    assert_eq!(team.file(BACKEND), "a: 1\nimage: v2\nb: 1\nc: 1");
    assert_eq!(team.file("README"), "still more");
    let text = team.says(&["log", "-1", "--format=%an%n%B", "main"]);
    let wanted = format!(
        "Sluice\nRevert \"Release v3\"\n\ncanary 31 of 612 (5.07%), stable 12 of 11,590 (0.10%)\n\n\
         This reverts commit {bad} (Release v3).\n\n\
         Sluice-Run: backend-7\nSluice-Rollout: shop/backend"
    );
    assert_eq!(text, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_was_taken_back_before_is_not_taken_back_again() {
    let (team, _http, url, good, _) = released().await;
    team.commit("Revert v3", &[(BACKEND, "a: 1\nimage: v2\nb: 1\nc: 1\n")]);
    let bad = team.commit("Release v4", &[(BACKEND, "a: 1\nimage: v4\nb: 1\nc: 1\n")]);
    let outcome = undone(&team, &url, bot(), Case::new(good, bad)).await;
    let Ok(Outcome::Pushed { undone, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    let summaries: Vec<&str> = undone
        .iter()
        .map(|change| change.summary.as_str())
        .collect();
    assert_eq!(summaries, ["Release v4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remedy_that_is_done_again_finds_its_commit() {
    let (team, _http, url, good, bad) = released().await;
    let first = undone(&team, &url, bot(), Case::new(good, bad))
        .await
        .unwrap();
    team.commit_on_top("Later", &[("README", "later\n")]);
    let second = undone(&team, &url, bot(), Case::new(good, bad))
        .await
        .unwrap();
    let commit = |outcome: &Outcome| match outcome {
        Outcome::Pushed { commit, .. } => *commit,
        other => panic!("{other:?}"),
    };
    assert_eq!(commit(&first), commit(&second));
    assert_eq!(team.says(&["rev-list", "--count", "main"]), "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_pull_request_the_branch_itself_stays() {
    let (team, _http, url, good, bad) = released().await;
    for _ in 0..2 {
        let onto = Onto::Own("sluice/revert-backend-7".to_owned());
        let case = Case {
            onto,
            ..Case::new(good, bad)
        };
        let outcome = undone(&team, &url, bot(), case).await.unwrap();
        assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}");
    }
    assert_eq!(team.says(&["rev-parse", "main"]), bad.to_string());
    let ahead = team.says(&["rev-list", "--count", "main..sluice/revert-backend-7"]);
    assert_eq!(ahead, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_people_restored_or_went_on_from_is_left_to_them() {
    let (team, _http, url, good, bad) = released().await;
    let newer = team.commit("Release v4", &[(BACKEND, "a: 1\nimage: v4\nb: 1\nc: 1\n")]);
    let outcome = undone(&team, &url, bot(), Case::new(good, bad))
        .await
        .unwrap();
    assert!(
        matches!(&outcome, Outcome::Superseded { by } if by.commit.0 == newer),
        "{outcome:?}"
    );
    team.commit("Back", &[(BACKEND, "a: 1\nimage: v2\nb: 1\nc: 1\n")]);
    let outcome = undone(&team, &url, bot(), Case::new(good, bad))
        .await
        .unwrap();
    assert!(matches!(outcome, Outcome::Restored { .. }), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn later_changes_of_other_lines_stay_and_of_the_same_lines_conflict() {
    let (team, _http, url, good, _) = released().await;
    team.commit("Edit the comment", &[("other.yaml", "x\n")]);
    let both = "a: 1\nimage: v3\nb: 1\nc: 1\nd: 1\n";
    let bad_too = team.commit("Beside", &[(BACKEND, both)]);
    let again = "a: 1\nimage: v3 # keep\nb: 1\nc: 1\nd: 1\n";
    let case = Case::new(good, bad_too);
    let outcome = undone(&team, &url, bot(), case).await.unwrap();
    let Outcome::Pushed { undone: found, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(team.file(BACKEND), "a: 1\nimage: v2\nb: 1\nc: 1");

    let (team, _http, url, good, released) = released().await;
    let newer = team.commit("Comment", &[(BACKEND, again)]);
    team.commit("Unrelated", &[("README", "x\n")]);
    let case = Case::new(good, released);
    let outcome = undone(&team, &url, bot(), case).await.unwrap();
    assert!(
        matches!(&outcome, Outcome::Superseded { by } if by.commit.0 == newer),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_pushes_nothing_and_names_commit_and_file() {
    let (team, _http, url, good, _) = released().await;
    let shared = "shared.yaml";
    let with_shared = [
        (BACKEND, "a: 1\nimage: v5\nb: 1\nc: 1\n"),
        (shared, "x: 5\n"),
    ];
    let bad = team.commit("Release v5", &with_shared);
    let head = team.commit("Tune", &[(shared, "x: 6\n")]);
    let error = undone(&team, &url, bot(), Case::new(good, bad))
        .await
        .unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains(&bad.to_string()[..12]) && said.contains(shared),
        "{said}"
    );
    assert_eq!(team.says(&["rev-parse", "main"]), head.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_branch_says_so_in_the_servers_words() {
    let (team, _http, url, good, bad) = released().await;
    team.hook(
        "pre-receive",
        "echo 'main takes pull requests only' >&2; exit 1",
    );
    let error = undone(&team, &url, bot(), Case::new(good, bad))
        .await
        .unwrap_err();
    let said = error.to_string();
    assert!(
        matches!(error, Error::Protected { .. }) && said.contains("pull requests only"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_moves_under_the_push_is_fetched_again() {
    let (team, _http, url, good, bad) = released().await;
    // Once, another push comes in between: the hook moves the branch before ours is taken.
    let script = "test -e moved && exit 0; touch moved; unset GIT_QUARANTINE_PATH; \
        new=$(git commit-tree -p main -m Between main^{tree}); git update-ref refs/heads/main $new";
    team.hook("pre-receive", script);
    git_identity(&team);
    let outcome = undone(&team, &url, bot(), Case::new(good, bad))
        .await
        .unwrap();
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}");
    let log = team.says(&["log", "--format=%s", "-2", "main"]);
    assert_eq!(log, "Revert \"Release v3\"\nBetween");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_way_back_is_fetched_step_by_step() {
    let team = Team::new();
    let http = Http::serve(&team.served()).await;
    let url = format!("{}/shop.git", http.url);
    let good = team.commit("Release v2", &[(BACKEND, "image: v2\n")]);
    let bad = team.commit("Release v3", &[(BACKEND, "image: v3\n")]);
    let many: String = (0..700).map(repository::quick_commit).collect();
    team.import(&many);
    let outcome = undone(&team, &url, bot(), Case::new(good, bad))
        .await
        .unwrap();
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}");
    assert_eq!(team.file(BACKEND), "image: v2");
    assert_eq!(team.file("many"), "699");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_is_taken_back_as_one_change() {
    let team = Team::new();
    let http = Http::serve(&team.served()).await;
    let url = format!("{}/shop.git", http.url);
    let good = team.commit("Release v2", &[(BACKEND, "image: v2\n")]);
    let clone = team.clone();
    repository::git(&clone, &["checkout", "-q", "-b", "feature"]);
    std::fs::write(clone.join(BACKEND), "image: v3\n").unwrap();
    repository::git(&clone, &["commit", "-qam", "Work"]);
    repository::git(&clone, &["checkout", "-q", "main"]);
    repository::git(
        &clone,
        &["merge", "-q", "--no-ff", "-m", "Merge v3", "feature"],
    );
    let bad = team.push();
    let outcome = undone(&team, &url, bot(), Case::new(good, bad))
        .await
        .unwrap();
    let Outcome::Pushed { undone, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(undone.len() == 1 && undone[0].merge, "{undone:?}");
    assert_eq!(team.file(BACKEND), "image: v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_branch_is_left_alone() {
    let (team, _http, url, good, bad) = released().await;
    let clone = team.clone();
    repository::git(&clone, &["checkout", "-q", "--orphan", "new"]);
    repository::git(&clone, &["commit", "-q", "-m", "Anew"]);
    repository::git(&clone, &["branch", "-q", "-M", "new", "main"]);
    let head = team.push();
    let error = undone(&team, &url, bot(), Case::new(good, bad))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoPath { .. }), "{error}");
    assert_eq!(team.says(&["rev-parse", "main"]), head.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn line_ends_submodules_and_lfs_pointers_come_back_byte_for_byte() {
    let team = Team::new();
    let http = Http::serve(&team.served()).await;
    let url = format!("{}/shop.git", http.url);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 1\n";
    let files = [(BACKEND, "image: v2\r\nb: 1\r\n"), ("logo.png", pointer)];
    team.commit("Release v2", &files);
    let clone = team.clone();
    let module = "160000,0123456789abcdef0123456789abcdef01234567,vendor";
    repository::git(&clone, &["update-index", "--add", "--cacheinfo", module]);
    repository::git(&clone, &["commit", "-qm", "Vendor"]);
    let good = team.push();
    let module = "160000,89abcdef0123456789abcdef0123456789abcdef,vendor";
    repository::git(&clone, &["update-index", "--cacheinfo", module]);
    std::fs::write(clone.join(BACKEND), "image: v3\r\nb: 1\r\n").unwrap();
    std::fs::write(clone.join("logo.png"), pointer.replace("aa", "bb")).unwrap();
    repository::git(&clone, &["add", "apps", "logo.png"]);
    repository::git(&clone, &["commit", "-qm", "Release v3"]);
    let bad = team.push();
    undone(&team, &url, bot(), Case::new(good, bad))
        .await
        .unwrap();
    assert_eq!(
        team.says(&["rev-parse", "main^{tree}"]),
        team.says(&["rev-parse", &format!("{good}^{{tree}}")])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_commit_is_good_to_git() {
    let (team, _http, url, good, bad) = released().await;
    let folder = team.folder.path();
    let key = folder.join("signing");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let text = SecretString::from(std::fs::read_to_string(&key).unwrap());
    let signer = Some(Signer::new(&text, None).unwrap());
    let case = Case {
        signer,
        ..Case::new(good, bad)
    };
    undone(&team, &url, bot(), case).await.unwrap();
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let allowed = folder.join("allowed");
    std::fs::write(&allowed, format!("sluice@shop.example {public}")).unwrap();
    let setting = format!("gpg.ssh.allowedSignersFile={}", allowed.display());
    // Fails where the signature is not good.
    team.says(&["-c", &setting, "verify-commit", "main"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_or_not_there_is_told_apart_and_no_secret_is_printed() {
    let (team, _http, url, good, bad) = released().await;
    let stranger = Credentials::basic("bot", "hunter2");
    let refused = undone(&team, &url, stranger, Case::new(good, bad))
        .await
        .unwrap_err();
    let said = refused.to_string();
    assert!(
        matches!(refused, Error::Refused { .. }) && said.contains("401"),
        "{said}"
    );
    assert!(!format!("{said}{refused:?}").contains("hunter2"));
    let nobody = "http://127.0.0.1:9/shop.git";
    let error = undone(&team, nobody, bot(), Case::new(good, bad))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { .. }) && error.may_pass(),
        "{error}"
    );
    let missing = url.replace("shop.git", "none.git");
    let error = undone(&team, &missing, bot(), Case::new(good, bad))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_limit_is_not_held() {
    let (team, _http, url, good, bad) = released().await;
    let limits = Limits {
        bytes: 400,
        ..limits()
    };
    let case = Case::new(good, bad);
    let error = undone_within(limits, &team, &url, bot(), case)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

/// A file of zeros that is packed into nothing, at first alone and then as a difference from itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_pack_of_a_large_file_is_not_unpacked() {
    let (team, _http, url, good, bad) = released().await;
    let text = "0".repeat(33 << 20);
    for end in ["", "1"] {
        team.commit("Add a film", &[("film", &format!("{text}{end}"))]);
    }
    team.commit("Remove the film", &[("film", "")]);
    let error = undone(&team, &url, bot(), Case::new(good, bad)).await;
    let told = error.unwrap_err().to_string();
    let wanted = "sends an object of 34 MiB, and no more than 32 MiB are unpacked";
    assert!(told.contains(wanted), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_ssh_the_key_must_fit_and_the_host_must_be_known() {
    let team = Team::new();
    let keys = tempfile::tempdir().unwrap();
    let Ok(ssh) = Ssh::serve(keys.path()).await else {
        return needs::left_out("Git over SSH", "sshd is missing");
    };
    let good = team.commit("Release v2", &[(BACKEND, "image: v2\n")]);
    let bad = team.commit("Release v3", &[(BACKEND, "image: v3\n")]);
    let user = repository::user();
    let url = format!(
        "ssh://{user}@127.0.0.1:{}{}",
        ssh.port,
        team.bare().display()
    );
    let with = |identity: &str, known_hosts: &str| Credentials::Ssh {
        identity: SecretString::from(identity.to_owned()),
        passphrase: None,
        known_hosts: known_hosts.to_owned(),
    };
    let stranger = with(&ssh.identity, "");
    let error = undone(&team, &url, stranger, Case::new(good, bad))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not in known_hosts"), "{error}");
    let bot = with(&ssh.identity, &ssh.known_hosts);
    let outcome = undone(&team, &url, bot, Case::new(good, bad))
        .await
        .unwrap();
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}");
    assert_eq!(team.file(BACKEND), "image: v2");
    let lost = url.replace("shop.git", "none.git");
    let bot = with(&ssh.identity, &ssh.known_hosts);
    let error = undone(&team, &lost, bot, Case::new(good, bad))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

/// The server's hook commits too.
fn git_identity(team: &Team) {
    team.says(&["config", "user.name", "Ada"]);
    team.says(&["config", "user.email", "ada@shop.example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rollouts_of_one_commit_share_a_branch_and_others_do_not() {
    let team = Team::new();
    let http = Http::serve(&team.served()).await;
    let url = format!("{}/shop.git", http.url);
    let good = team.commit("Begin", &[(BACKEND, "1"), ("other", "1")]);
    let bad = team.commit("Release", &[(BACKEND, "2"), ("other", "2")]);
    let of = |rollout: &'static str, branch: &str, bad| Case {
        onto: Onto::Own(format!("sluice/revert/{branch}")),
        rollout,
        ..Case::new(good, bad)
    };
    let first = undone(&team, &url, bot(), of("shop/a", "a", bad)).await;
    assert!(matches!(first, Ok(Outcome::Pushed { .. })), "{first:?}");
    let second = undone(&team, &url, bot(), of("shop/b", "b", bad)).await;
    let shared =
        matches!(&second, Ok(Outcome::Shared { branch, .. }) if branch == "sluice/revert/a");
    assert!(shared, "{second:?}");
    let branches = team.says(&["branch", "--format=%(refname:short)"]);
    assert_eq!(branches, "main\nsluice/revert/a");
    // What takes back more is another request.
    let worse = team.commit("Release again", &[(BACKEND, "3")]);
    let third = undone(&team, &url, bot(), of("shop/c", "c", worse)).await;
    assert!(matches!(third, Ok(Outcome::Pushed { .. })), "{third:?}");
}
