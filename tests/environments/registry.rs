//! Versions that move by tags in a registry: Debian's `docker-registry`, behind a password, and the binary.
//!
//! Not here: tokens (a stand-in beside `src/registry`), and how records are named (unit tests).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sluice::clock::Clock;
use sluice::environments::Pipeline;
use sluice::environments::pipeline::Follows;
use sluice::registry::{Access, Manifest, Registry};

use super::binary::Ended;
use super::child::{Server, free_ports};
use super::needs;
use super::stand::Stand;

/// The registry's only user and her password, as bcrypt.
const USERS: &str = "ada:$2b$05$xH60qWFDutEVXTotCiBDH.dtEfI2sJYbMMYRRBpjwhzWoYgQxtqz6\n";
const REPOSITORY: &str = "shop/backend";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry with its folder; goes with its test.
pub struct Shop {
    folder: tempfile::TempDir,
    pub host: String,
    registry: Registry,
    _server: Server,
}

/// `None`: it is not installed, which is said aloud.
fn program() -> Option<&'static str> {
    let program = ["/usr/bin/docker-registry"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    if program.is_none() {
        needs::left_out("tags in a registry", "docker-registry is missing");
    }
    program
}

fn digest(bytes: &[u8]) -> String {
    let hex = Sha256::digest(bytes);
    let hex: Vec<String> = hex.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

impl Shop {
    pub async fn open() -> Option<Self> {
        let program = program()?;
        let folder = tempfile::tempdir().unwrap();
        let [port] = free_ports();
        let host = format!("127.0.0.1:{port}");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("users"), USERS).unwrap();
        let settings = json!({
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": at("images")}},
            "http": {"addr": host},
            "auth": {"htpasswd": {"realm": "shop", "path": at("users")}},
        });
        std::fs::write(at("registry.yml"), settings.to_string()).unwrap();
        let config = at("registry.yml").display().to_string();
        let server = Server::start(program, &["serve", &config], &at("log"));
        let login = json!({"auths": {&host: {"username": "ada", "password": "secret"}}});
        std::fs::write(at("config.json"), login.to_string()).unwrap();
        let access = Access {
            config_file: Some(at("config.json")),
            ..Access::default()
        };
        let registry = Registry::new(&host, &access).unwrap();
        let clock = Clock::machine();
        let up = async {
            while registry.tags(REPOSITORY).await.is_err() {
                clock.sleep(Duration::from_millis(50)).await;
            }
        };
        let up = clock.timeout(Duration::from_secs(30), up).await;
        assert!(up.is_ok(), "{}", server.told());
        Some(Self {
            folder,
            host,
            registry,
            _server: server,
        })
    }

    /// Pushes an index with one image, made of a few words; its digest.
    pub async fn push(&self, words: &str, tags: &[&str]) -> String {
        let config = self.blob(b"{}".as_slice());
        let layer = self.blob(words.as_bytes());
        let image = json!({"schemaVersion": 2, "mediaType": IMAGE,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer,
                "size": words.len()}]});
        let image = manifest(IMAGE, &image);
        let put = self.registry.put(REPOSITORY, &image.digest, &image).await;
        put.unwrap();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": IMAGE,
            "digest": image.digest, "size": image.bytes.len(),
            "platform": {"architecture": "amd64", "os": "linux"}}]});
        let index = manifest(INDEX, &index);
        for tag in tags {
            self.registry.put(REPOSITORY, tag, &index).await.unwrap();
        }
        index.digest
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let file = self.folder.path().join("blob");
        std::fs::write(&file, bytes).unwrap();
        let user = ["-sSf", "-u", "ada:secret", "--noproxy", "*"];
        let url = format!("http://{}/v2/{REPOSITORY}/blobs/uploads/", self.host);
        let begun = Command::new("curl")
            .args(user)
            .args([
                "-X",
                "POST",
                "-o",
                "/dev/null",
                "-w",
                "%header{location}",
                &url,
            ])
            .output()
            .unwrap();
        let place = String::from_utf8(begun.stdout).unwrap();
        let digest = digest(bytes);
        let put = Command::new("curl")
            .args(user)
            .args(["-X", "PUT", "-H", "content-type: application/octet-stream"])
            .arg("--data-binary")
            .arg(format!("@{}", file.display()))
            .arg(format!("{place}&digest={digest}"))
            .status();
        assert!(put.unwrap().success(), "{place}");
        digest
    }

    pub async fn leads(&self, tag: &str) -> Option<String> {
        self.registry.digest(REPOSITORY, tag).await.unwrap()
    }

    pub fn login(&self) -> PathBuf {
        self.folder.path().join("config.json")
    }

    /// Runs the binary on a pipeline of this registry.
    async fn sluice(&self, arguments: &str) -> Ended {
        let file = self.folder.path().join("environments.yaml");
        let text = format!(
            "registry: {{configFile: config.json}}
services: [{{name: backend, image: '{}/{REPOSITORY}'}}]
environments:
- {{name: develop, deliver: registry, newest: '>=1.0.0-0'}}
- {{name: staging, deliver: registry, tag: staging-latest}}
- {{name: production, deliver: registry, tag: production-latest, gates: {{versions: '>=1.0.0-0'}}}}
- {{name: released, deliver: registry, newest: '>=1.0.0'}}
",
            self.host
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("timeout");
        command
            .args(["60", env!("CARGO_BIN_EXE_sluice")])
            .args(arguments.split(' '))
            .arg("--pipeline")
            .arg(&file);
        let output = tokio::task::spawn_blocking(move || command.output());
        Ended::of(output.await.unwrap().unwrap())
    }
}

fn manifest(media: &str, value: &Value) -> Manifest {
    let bytes = serde_json::to_vec_pretty(value).unwrap();
    Manifest {
        media: media.to_owned(),
        digest: digest(&bytes),
        bytes,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_moved_to_the_same_bytes_and_back() {
    let Some(shop) = Shop::open().await else {
        return;
    };
    let old = shop
        .push("old", &["v1.2.0", "staging-latest", "production-latest"])
        .await;
    let new = shop.push("new", &["v1.3.0-rc.1"]).await;
    let done = shop
        .sluice("promote backend --from develop --to staging --by Ada<ada@shop.example>")
        .await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let note = "note  a tag keeps no words: who did it (--by) is recorded nowhere";
    assert!(done.stdout.contains(note), "{}", done.stdout);
    assert_eq!(shop.leads("staging-latest").await.as_ref(), Some(&new));

    let promote = "promote backend --from staging --to production";
    let dry = shop.sluice(&format!("{promote} --dry-run")).await;
    let image = format!("{}/{REPOSITORY}:production-latest", shop.host);
    let wanted = format!("-{image} {old}\n+{image} {new}\n");
    assert!(dry.stdout.contains(&wanted), "{}{}", dry.stdout, dry.stderr);
    assert_eq!(shop.leads("production-latest").await.as_ref(), Some(&old));
    let done = shop.sluice(promote).await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(shop.leads("production-latest").await.as_ref(), Some(&new));
    let again = shop.sluice(promote).await;
    assert!(
        again.stdout.ends_with("production has it already\n"),
        "{}",
        again.stdout
    );

    let status = shop.sluice("status -o json").await;
    let told: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(told[2]["version"], format!("v1.3.0-rc.1@{new}"), "{told:#}");
    assert!(told[2]["since"].is_string(), "{told:#}");

    let back = shop.sluice("rollback production backend").await;
    assert_eq!(back.code, 0, "{}{}", back.stdout, back.stderr);
    assert_eq!(shop.leads("production-latest").await.as_ref(), Some(&old));
    let again = shop.sluice("rollback production backend").await;
    assert_eq!(again.code, 0, "{}{}", again.stdout, again.stderr);
    let wanted = "note  production went back from v1.3.0-rc.1";
    assert!(again.stdout.contains(wanted), "{}", again.stdout);
    assert_eq!(shop.leads("production-latest").await.as_ref(), Some(&old));
    // The tag is another one since; the environment had what it was then, and the new bytes never.
    let moved = shop.push("moved", &["v1.3.0-rc.1", "v1.4.0"]).await;
    for never in ["v1.4.0", &moved] {
        let refused = shop
            .sluice(&format!("rollback production backend --to {never}"))
            .await;
        assert_eq!(refused.code, 1, "{}", refused.stdout);
        let wanted = format!("{never} of backend was not found in production, which has v1.2.0");
        let told = &refused.stderr;
        assert!(told.contains(&wanted), "{told}");
        assert!(told.contains(", and had v1.3.0-rc.1 before"), "{told}");
    }
    let refused = shop.sluice(promote).await;
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    let wanted = format!("v1.3.0-rc.1 leads to {moved} now, and {new} was tried");
    assert!(refused.stderr.contains(&wanted), "{}", refused.stderr);
    assert_eq!(shop.leads("production-latest").await.as_ref(), Some(&old));
    let named = shop
        .sluice("rollback production backend --to v1.3.0-rc.1")
        .await;
    assert_eq!(named.code, 0, "{}{}", named.stdout, named.stderr);
    assert_eq!(shop.leads("production-latest").await.as_ref(), Some(&new));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_becomes_the_release_of_its_version_and_no_release_is_moved() {
    let Some(shop) = Shop::open().await else {
        return;
    };
    let first = shop.push("first", &["v1.2.0", "production-latest"]).await;
    let new = shop
        .push("new", &["v1.3.0-rc.1", "production-latest"])
        .await;
    let promote = "promote backend --from production --to released";
    let done = shop.sluice(promote).await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(shop.leads("v1.3.0").await, Some(new));
    shop.push("other", &["v1.3.0-rc.2", "production-latest"])
        .await;
    let refused = shop.sluice(promote).await;
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(
        refused.stdout.contains("a version is not moved"),
        "{}",
        refused.stdout
    );
    let back = shop.sluice("rollback released backend").await;
    assert!(
        back.stderr.contains("exclude v1.3.0 in its provider"),
        "{}",
        back.stderr
    );
    assert_eq!(shop.leads("v1.2.0").await, Some(first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_came_when_a_newer_one_was_there_is_no_version_that_was_there() {
    let Some(shop) = Shop::open().await else {
        return;
    };
    let newest = shop.push("newest", &["v2.0.0"]).await;
    let late = shop.push("late", &["v1.0.5"]).await;
    let promote = "promote backend --from develop --to staging";
    let shut = shop.sluice(&format!("{promote} --version v1.0.5")).await;
    assert_eq!(shut.code, 1, "{}", shut.stdout);
    let why = format!("shut  there      nothing shows that develop had v1.0.5@{late}: ");
    assert!(shut.stdout.contains(&why), "{}", shut.stdout);
    assert_eq!(shop.leads("staging-latest").await, None);
    // Its tag leads to other bytes than those that were named.
    let other = format!("{promote} --version v1.0.5@sha256:{}", "ab".repeat(32));
    let refused = shop.sluice(&other).await;
    let wanted = "was not found in develop, which has v2.0.0";
    assert!(
        refused.stderr.contains(wanted),
        "{}{}",
        refused.stdout,
        refused.stderr
    );
    let done = shop.sluice(&format!("{promote} --version v2.0.0")).await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(shop.leads("staging-latest").await, Some(newest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_moving_tag_that_others_made_is_seen_and_can_be_taken_back() {
    let Some(shop) = Shop::open().await else {
        return;
    };
    let old = shop.push("old", &["v1.2.0", "staging-latest"]).await;
    let new = shop.push("new", &["v1.3.0"]).await;
    let done = shop
        .sluice("promote backend --from staging --to production")
        .await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    shop.push("by hand", &["production-latest"]).await;
    let status = shop.sluice("status").await;
    let row = status
        .stdout
        .lines()
        .find(|row| row.contains("production "))
        .unwrap();
    assert!(row.contains("sha256:") && !row.contains("v1.2.0"), "{row}");
    let back = shop.sluice("rollback production backend").await;
    assert_eq!(back.code, 0, "{}{}", back.stdout, back.stderr);
    assert_eq!(shop.leads("production-latest").await, Some(old));
    assert_eq!(shop.leads("v1.3.0").await, Some(new));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rollout_serves_was_there_though_a_newer_tag_came_since() {
    let Some(shop) = Shop::open().await else {
        return;
    };
    let served = shop.push("served", &["v1.3.0"]).await;
    shop.push("newer", &["v1.4.0"]).await;
    let stand = Stand::new("deliver: registry", "tag: production-latest").await;
    let image = format!("{}/{REPOSITORY}", shop.host);
    let from = "path: clusters/staging, deliver: push";
    stand.rewrite(from, "deliver: registry, newest: '>=1.0.0'");
    stand.rewrite("  path: clusters/production\n", "");
    stand.rewrite(
        "{name: backend}, {name: frontend}",
        &format!("{{name: backend, image: '{image}'}}"),
    );
    let login = shop.login();
    let registry = format!("registry: {{configFile: '{}'}}\ngit:", login.display());
    stand.rewrite("git:", &registry);
    let cluster = stand.cluster().await;
    cluster.says(Some(("Idle", "Promoted", "v1.2.0"))).await;
    let promote = "promote backend --from staging --to production --version v1.3.0";
    let shut = stand.sluice(promote).await;
    assert_eq!(shut.code, 1, "{}{}", shut.stdout, shut.stderr);
    let why = "shop/backend there does not serve it and did not try it last";
    assert!(shut.stdout.contains(why), "{}", shut.stdout);
    cluster.serves(&format!("{image}:v1.3.0@{served}")).await;
    let done = stand.sluice(promote).await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(shop.leads("production-latest").await, Some(served));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_goes_from_git_to_the_registry_of_the_next_environment() {
    let Some(shop) = Shop::open().await else {
        return;
    };
    let old = shop.push("old", &["v1.2.0", "production-latest"]).await;
    let new = shop.push("new", &["v1.3.0"]).await;
    let stand = Stand::new("deliver: registry", "tag: production-latest").await;
    let image = format!("{}/{REPOSITORY}", shop.host);
    stand.rewrite("  path: clusters/production\n", "");
    stand.rewrite(
        "{name: frontend}",
        "{name: frontend, image: 'registry.example/web'}",
    );
    stand.rewrite(
        "{name: backend}",
        &format!("{{name: backend, image: '{image}'}}"),
    );
    stand.rewrite(
        "git:",
        &format!(
            "registry: {{configFile: '{}'}}\ngit:",
            shop.login().display()
        ),
    );
    stand.use_image(&image);
    let done = stand
        .sluice("promote backend --from staging --to production")
        .await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(shop.leads("production-latest").await, Some(new));
    let status = stand.sluice("status backend").await;
    assert!(
        status.stdout.contains("production has it"),
        "{}",
        status.stdout
    );
    let back = stand.sluice("rollback production backend").await;
    assert_eq!(back.code, 0, "{}{}", back.stdout, back.stderr);
    assert_eq!(shop.leads("production-latest").await, Some(old));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_in_the_registry_is_an_error_and_one_that_cannot_be_asked_for_a_warning()
 {
    let Some(shop) = Shop::open().await else {
        return;
    };
    shop.push("old", &["v1.2.0"]).await;
    let folder = shop.folder.path().join("applications");
    std::fs::create_dir(&folder).unwrap();
    let [nobody] = free_ports();
    let image = format!("{}/{REPOSITORY}", shop.host);
    let containers = [
        format!("{image}:v1.2.0"),
        format!("{image}:v9.9.9"),
        format!("127.0.0.1:{nobody}/shop/backend:v1"),
    ];
    let containers: Vec<Value> = containers
        .iter()
        .enumerate()
        .map(|(at, image)| json!({"name": format!("c{at}"), "image": image}))
        .collect();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": containers}});
    std::fs::write(folder.join("a.yaml"), pod.to_string()).unwrap();
    let validated = shop
        .sluice(&format!("validate {} --online", folder.display()))
        .await;
    assert_eq!(validated.code, 1, "{}", validated.stdout);
    let found = validated
        .stderr
        .lines()
        .filter(|line| line.contains(" image-exists: "));
    let found: Vec<&str> = found.collect();
    assert_eq!(found.len(), 2, "{}", validated.stderr);
    let wanted = format!("error image-exists: Pod a: {image}:v9.9.9 is not in the registry");
    assert!(
        found.iter().any(|line| line.ends_with(&wanted)),
        "{found:#?}"
    );
    let away = found.iter().find(|line| line.contains("warning"));
    assert!(
        away.is_some_and(|line| line.contains("cannot reach the registry")),
        "{found:#?}"
    );
}

#[test]
fn the_example_without_commits_follows_the_tags_of_its_providers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clusters");
    let pipeline = Pipeline::load(&folder.join("environments-gitless.yaml")).unwrap();
    for environment in &pipeline.environments {
        let file = folder.join(format!("gitless/{}.yaml", environment.name));
        let text = std::fs::read_to_string(file).unwrap();
        let documents = sluice::yaml::documents(&text).unwrap();
        let objects: Vec<Value> = documents.iter().map(sluice::yaml::Node::to_json).collect();
        let provider = &objects[0]["spec"];
        let image = pipeline.services[0].image.as_deref().unwrap();
        assert_eq!(provider["url"], format!("oci://{image}"));
        let filter = &provider["filter"];
        let takes = regex::Regex::new(filter["includeTag"].as_str().unwrap()).unwrap();
        match environment.follows().unwrap() {
            Follows::Tag(tag) => assert!(takes.is_match(tag)),
            Follows::Newest(range) => {
                assert_eq!(filter["semver"], range.to_string());
                assert!(takes.is_match("v1.3.0-rc.1"));
            }
        }
        // What is noted beside the image is no version.
        assert!(!takes.is_match("sluice.production.20261122T151514Z.v1.3.0"));
        // A tag that is moved is seen by its digest.
        assert!(text.contains("digest: << inputs.digest | quote >>"));
    }
}
