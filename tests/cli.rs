//! The binary against the sandbox's API server: exit codes, output, requests and their answers.
//!
//! What plays the daemon here only answers requests; what it decides has its own tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's helpers may fail the test

#[path = "servers/binary.rs"]
#[allow(dead_code)]
mod binary;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use binary::Ended;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{CustomResourceExt, ResourceExt};
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::kubernetes::crd::{REQUEST_PREFIX, Rollout};
use sluice::sandbox::api;
use sluice::sandbox::scenario::{self, Way};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

struct World {
    client: kube::Client,
    kubeconfig: PathBuf,
    tasks: JoinSet<()>,
}

impl World {
    async fn new(name: &str) -> Self {
        let server = api::Api::new(Clock::machine());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let text = server.kubeconfig(listener.local_addr().unwrap());
        let file = format!("sluice-cli-{}-{name}.yaml", std::process::id());
        let kubeconfig = std::env::temp_dir().join(file);
        std::fs::write(&kubeconfig, text).unwrap();
        let client = server.client("daemon");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = server.serve(listener, CancellationToken::new()).await;
        });
        let crds: Api<Definition> = Api::all(client.clone());
        crds.create(&PostParams::default(), &Rollout::crd())
            .await
            .unwrap();
        Self {
            client,
            kubeconfig,
            tasks,
        }
    }

    fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn rollout(&self, status: Value) {
        let rollout = serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": "backend"},
            "spec": {
                "target": {"kind": "Deployment", "name": "backend"},
                "route": {"ingressNginx": {"ingress": "backend"}},
            },
        }));
        let rollouts = self.rollouts();
        let parameters = PostParams::default();
        rollouts
            .create(&parameters, &rollout.unwrap())
            .await
            .unwrap();
        self.status(status).await;
    }

    async fn status(&self, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        let rollouts = self.rollouts();
        let parameters = PatchParams::default();
        rollouts
            .patch_status("backend", &parameters, &patch)
            .await
            .unwrap();
    }

    /// Answers every request, as the daemon does.
    fn answer(&mut self, done: bool) {
        let rollouts = self.rollouts();
        self.tasks.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let Ok(rollout) = rollouts.get("backend").await else {
                    continue;
                };
                for (key, request) in rollout.annotations() {
                    let Some(id) = key.strip_prefix(REQUEST_PREFIX) else {
                        continue;
                    };
                    let answer = json!({"id": id, "act": request.split(' ').next(), "done": done,
                        "message": format!("heard {request:?}"), "at": "2026-01-01T00:00:00Z"});
                    let status = Patch::Merge(json!({"status": {"answers": [answer]}}));
                    let gone = Patch::Merge(json!({"metadata": {"annotations": {key: null}}}));
                    let parameters = PatchParams::default();
                    let _ = rollouts.patch_status("backend", &parameters, &status).await;
                    let _ = rollouts.patch("backend", &parameters, &gone).await;
                }
            }
        });
    }

    async fn sluice(&self, arguments: &str) -> Ended {
        // A command that hangs fails its test, and the others go on.
        let mut command = Command::new("timeout");
        command
            .args(["20", env!("CARGO_BIN_EXE_sluice")])
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments.split(' '));
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        Ended::of(output)
    }
}

type Definition =
    k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

fn idle() -> Value {
    json!({
        "phase": "Idle", "message": "serves and waits", "revision": "aaaaaaaaaa",
        "stable": {"hash": "aaaaaaaaaa", "images": ["shop:v1"]},
        "lastRun": {
            "id": "backend-1", "revision": {"hash": "aaaaaaaaaa", "images": ["shop:v1"]},
            "outcome": "Promoted", "reason": "Promoted", "message": "it is no worse",
            "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z",
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn get_and_explain_show_the_status() {
    let world = World::new("look").await;
    let empty = world.sluice("get").await;
    assert_eq!(
        (empty.code, empty.stdout.as_str()),
        (0, "No Rollout was found.\n")
    );

    world.rollout(idle()).await;
    let table = world.sluice("get").await;
    assert_eq!(table.code, 0, "{}", table.stderr);
    let row = table.stdout.lines().nth(1).unwrap();
    assert!(
        row.starts_with("backend   Idle    -        -      -         aaaaaaaaaa"),
        "{row}"
    );
    assert!(!table.stdout.contains('\x1b'), "{}", table.stdout);

    let list: Value = serde_json::from_str(&world.sluice("get -o json").await.stdout).unwrap();
    assert_eq!(list["items"][0]["status"]["phase"], "Idle");
    let one = world.sluice("get backend -o yaml").await.stdout;
    assert!(one.contains("kind: Rollout"), "{one}");

    let report = world.sluice("explain backend").await;
    assert!(
        report
            .stdout
            .contains("Phase     Idle\nWhy       serves and waits\n"),
        "{}",
        report.stdout
    );
    let missing = world.sluice("explain nobody").await;
    assert_eq!(missing.code, 1);
    assert!(
        missing.stderr.contains("next: see `sluice get -A`"),
        "{}",
        missing.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_and_a_refusal_is_code_1() {
    let mut world = World::new("ask").await;
    world.rollout(idle()).await;
    world.answer(true);
    let asked = world.sluice("hold backend").await;
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    let heard = r#"hold aaaaaaaaaa {"by":"kubernetes-admin"}"#;
    assert_eq!(asked.stdout, format!("hold: heard {heard:?}\n"));

    let mut other = World::new("refuse").await;
    other.rollout(idle()).await;
    other.answer(false);
    let refused = other.sluice("promote backend --revision bbbbbbbbbb").await;
    assert_eq!(refused.code, 1);
    let heard = r#"promote bbbbbbbbbb {"by":"kubernetes-admin"}"#;
    let wanted = format!("error: promote was refused: heard {heard:?}\n");
    assert_eq!(refused.stderr, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_answers_is_withdrawn() {
    let world = World::new("silence").await;
    world.rollout(idle()).await;
    let asked = world.sluice("abort backend --timeout 500ms").await;
    assert_eq!(asked.code, 3);
    assert!(
        asked
            .stderr
            .starts_with("error: no daemon answered within 500ms\n"),
        "{}",
        asked.stderr
    );
    let rollout = world.rollouts().get("backend").await.unwrap();
    assert!(
        rollout.annotations().is_empty(),
        "{:?}",
        rollout.annotations()
    );

    let asked = world.sluice("abort backend --no-wait").await;
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    let rollout = world.rollouts().get("backend").await.unwrap();
    let requests: Vec<&String> = rollout.annotations().values().collect();
    assert_eq!(requests, [r#"abort aaaaaaaaaa {"by":"kubernetes-admin"}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_ends_when_the_rollout_is_there() {
    let mut world = World::new("watch").await;
    let mut stepping = idle();
    stepping["phase"] = "Stepping".into();
    stepping["run"] = json!({
        "id": "backend-2", "revision": {"hash": "bbbbbbbbbb", "images": ["shop:v2"]}, "weight": 5,
        "started": "2026-01-01T00:02:00Z", "since": "2026-01-01T00:02:00Z", "verdict": "Undecided",
    });
    world.rollout(stepping).await;
    let late = world
        .sluice("watch backend --until promoted --timeout 700ms")
        .await;
    assert_eq!(late.code, 3, "{}", late.stderr);

    let rollouts = world.rollouts();
    world.tasks.spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let status = Patch::Merge(json!({"status": {"phase": "Idle", "run": null}}));
        let parameters = PatchParams::default();
        let _ = rollouts.patch_status("backend", &parameters, &status).await;
    });
    let watched = world
        .sluice("watch backend --until promoted --timeout 10s")
        .await;
    assert_eq!(watched.code, 0, "{}", watched.stderr);
    let phases: Vec<Value> = watched
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["phase"].clone())
        .collect();
    assert_eq!(phases, ["Stepping", "Idle"]);
    let failed = world.sluice("watch backend --until failed").await;
    assert_eq!(
        (failed.code, failed.stderr.as_str()),
        (1, "error: it ended Promoted: it is no worse\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_there_is_code_4() {
    let world = World::new("gone").await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let text = api::Api::new(Clock::machine()).kubeconfig(address);
    std::fs::write(&world.kubeconfig, text).unwrap();
    for command in ["get", "explain backend", "hold backend", "watch"] {
        let ended = world.sluice(command).await;
        assert_eq!(ended.code, 4, "{command}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("refused"),
            "{command}: {}",
            ended.stderr
        );
    }
}

#[test]
fn lint_prints_each_problem_with_its_place() {
    let name = format!("sluice-lint-{}.yaml", std::process::id());
    let file = std::env::temp_dir().join(name);
    let mut text = std::fs::File::create(&file).unwrap();
    text.write_all(b"apiVersion: sluice.dev/v1alpha1\nkind: Rollout\nmetadata: {name: a}\nspec: {targett: 1}\n")
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg("lint")
        .arg(&file)
        .output()
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains(":4:8: spec.targett: found an unknown field"),
        "{stderr}"
    );
    assert!(
        stderr.contains(":4:7: spec.target: found nothing, wanted a mapping"),
        "{stderr}"
    );
    assert!(
        stderr.contains(":4:1: spec.route: found nothing"),
        "{stderr}"
    );
    assert!(stderr.ends_with("error: 3 problems found\n"), "{stderr}");
}

#[test]
fn a_daemon_whose_folders_cannot_be_read_says_all_of_them_and_does_not_begin() {
    let name = format!("sluice-settings-{}.yaml", std::process::id());
    let file = std::env::temp_dir().join(name);
    let text = "environment: staging\nlisten: 127.0.0.1:0\nrules: [no-rules]\nsmoke: [no-tests]\n\
                evidence: {prometheus: {url: http://127.0.0.1:9}}\n";
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["run", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for folder in ["no-rules", "no-tests"] {
        assert!(
            stderr.contains(&format!("{folder}: cannot be read")),
            "{stderr}"
        );
    }
    assert!(!stderr.contains("listens"), "{stderr}");
}

#[test]
fn bash_completes_a_command_and_a_value() {
    let completed = |words: &str, last: usize| {
        let script = format!(
            "source <({} completion bash) && COMP_WORDS=({words}) COMP_CWORD={last} && \
             _sluice sluice \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"; echo \"${{COMPREPLY[@]}}\"",
            env!("CARGO_BIN_EXE_sluice")
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed("sluice prom", 1), "promote");
    assert_eq!(completed("sluice get --output ya", 3), "yaml");
}

#[test]
fn a_manual_page_is_written_for_each_command() {
    let directory = std::env::temp_dir().join(format!("sluice-man-{}", std::process::id()));
    let written = |directory: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command
            .args(["man", "--to"])
            .arg(directory)
            .output()
            .unwrap()
    };
    let nowhere = written(&directory);
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
    std::fs::create_dir(&directory).unwrap();
    let output = written(&directory);
    let page = std::fs::read_to_string(directory.join("sluice-promote.1"));
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(page.unwrap().contains("\\-\\-from"));
}

#[tokio::test]
async fn an_ingress_of_a_cluster_becomes_routes() {
    let world = World::new("migrate").await;
    let backend = json!({"service": {"name": "shop", "port": {"name": "http"}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    let rules = json!([{"host": "shop.test", "http": {"paths": paths}}]);
    let objects = [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop", "namespace": "default"},
               "spec": {"selector": {"app": "shop"}, "ports": [{"name": "http", "port": 8080}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop", "namespace": "default"},
               "spec": {"ingressClassName": "nginx", "rules": rules}}),
    ];
    for object in &objects {
        scenario::apply(world.client.clone(), Way::ServerSide, object)
            .await
            .unwrap();
    }
    let written = world
        .sluice("migrate ingress-to-gateway shop --gateway infra/public")
        .await;
    assert_eq!(written.code, 0, "{}", written.stderr);
    assert!(
        written.stdout.contains("# The switch, in this order:"),
        "{}",
        written.stdout
    );
    for route in scenario::manifests(&written.stdout).unwrap() {
        let backend = &route["spec"]["rules"][0]["backendRefs"][0];
        assert_eq!(backend, &json!({"name": "shop", "port": 8080}));
    }
    let gone = world
        .sluice("migrate ingress-to-gateway cart --gateway public")
        .await;
    assert_eq!(
        (gone.code, gone.stderr.as_str()),
        (1, "error: there is no Ingress cart in default\n")
    );
}
