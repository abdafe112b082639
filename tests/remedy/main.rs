//! A failed release is taken back in Git too: the daemon, a real Git server, and a stand-in for
//! Flux that applies what the branch says, on the embedded cluster in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's helpers may fail the test

#[path = "../servers/apps.rs"]
#[allow(dead_code)]
mod apps;
mod argo;
mod authors;
mod automation;
#[path = "../servers/child.rs"]
#[allow(dead_code)]
mod child;
mod crashes;
#[path = "../ha/daemons.rs"]
#[allow(dead_code)]
mod daemons;
mod flux;
mod forge;
mod gitless;
mod helm;
#[path = "../ha/line.rs"]
#[allow(dead_code)]
mod line;
mod measured;
#[path = "../servers/process.rs"]
#[allow(dead_code)]
mod process;
mod pulls;
#[path = "../git/repository.rs"]
#[allow(dead_code)]
mod repository;
#[path = "../git/server.rs"]
#[allow(dead_code)]
mod server;
mod traces;
#[path = "../servers/trip.rs"]
mod trip;
#[path = "../servers/world.rs"]
#[allow(dead_code)]
mod world;

use std::time::Duration;

use daemons::Daemon;
use flux::Flux;
use repository::Team;
use serde_json::{Value, json};
use server::Http;
use sluice::kubernetes::crd::{GitRemedy, GitStatus};
use trip::Trip;
use world::{World, virtually};

const MINUTE: Duration = Duration::from_secs(60);

/// A shop whose manifests are in Git and whose failures are put back there.
struct Shop {
    world: World,
    team: Team,
    _http: Http,
    trip: Trip,
    flux: Flux,
    files: Files,
}

/// The manifests of a version with so many errors.
type Files = fn(&str, &str) -> Vec<(&'static str, &'static str)>;

impl Shop {
    async fn open() -> Self {
        Self::with("revert", "shop.git").await
    }

    /// With a mode of remedies, and a repository that is served at this path too.
    async fn with(mode: &str, path: &str) -> Self {
        Self::of(mode, path, files).await
    }

    /// With other manifests.
    async fn of(mode: &str, path: &str, files: Files) -> Self {
        let git = json!({"mode": mode, "kustomization": "flux-system/shop"});
        Self::applied_by(git, path, files).await
    }

    /// With this in `onFailure.git`, which says by whom it is applied.
    async fn applied_by(git: Value, path: &str, files: Files) -> Self {
        let world = World::new().await;
        let team = Team::new();
        team.serve_at(path);
        let trip = Trip::new();
        let layer = axum::middleware::from_fn_with_state(trip.clone(), trip::counted);
        let http = Http::serve_behind(&team.served(), |router| router.layer(layer)).await;
        team.commit("Begin", &files("1", "0"));
        let url = format!("{}/{path}", http.url);
        let flux = if git["application"].is_string() {
            argo::start(&world, &team, &url).await
        } else if git["inputProvider"].is_string() {
            gitless::start(&world).await
        } else {
            Flux::start(&world, &team, &url, "token").await
        };
        world.app("shop", 100, "20s").await;
        world.apply(rollout(&json!({"git": git}))).await;
        Self {
            world,
            team,
            _http: http,
            trip,
            flux,
            files,
        }
    }

    fn daemon(&self) -> Daemon {
        self.daemon_with(&json!({}))
    }

    /// With these settings of `git` too.
    fn daemon_with(&self, more: &Value) -> Daemon {
        let mut git = json!({"folder": self.team.folder.path().join("copies")});
        for (key, value) in more.as_object().unwrap() {
            git[key] = value.clone();
        }
        Daemon::start(&self.world, &json!({"git": git}))
    }

    async fn git(&self) -> GitStatus {
        let status = self.world.rollout("shop").await.status.unwrap_or_default();
        status.git.unwrap_or_default()
    }

    async fn remedy(&self) -> Option<GitRemedy> {
        self.git().await.remedy
    }

    /// Commits a release; waits until its run ended so.
    async fn released(&self, version: &str, errors: &str, outcome: &str) -> git2::Oid {
        let commit = self.commit(version, errors);
        self.ended(version, outcome).await;
        commit
    }

    /// Commits a bad release; once its commit is known and before it is rolled back, people do
    /// something.
    async fn released_behind(
        &self,
        version: &str,
        errors: &str,
        people: impl FnOnce(&Team),
    ) -> git2::Oid {
        let commit = self.commit(version, errors);
        let name = commit.to_string();
        let known = || async { self.git().await.bad.is_some_and(|bad| bad.commit == name) };
        self.world.until("its commit is known", MINUTE, known).await;
        people(&self.team);
        self.ended(version, "RolledBack").await;
        commit
    }

    fn commit(&self, version: &str, errors: &str) -> git2::Oid {
        let files = (self.files)(version, errors);
        self.team
            .commit_on_top(&format!("Release {version}"), &files)
    }

    async fn ended(&self, version: &str, outcome: &str) {
        let image = format!("shop:{version}");
        let ended = || async {
            let status = self.world.rollout("shop").await.status.unwrap_or_default();
            status.last_run.is_some_and(|last| {
                last.outcome == outcome && last.revision.images.contains(&image)
            })
        };
        self.world.until("the run ended", MINUTE * 5, ended).await;
    }

    async fn good_is(&self, commit: git2::Oid) {
        let known = || async {
            self.git()
                .await
                .good
                .is_some_and(|good| good.commit == commit.to_string())
        };
        self.world
            .until("the good commit is known", MINUTE, known)
            .await;
    }
}

fn rollout(on_failure: &Value) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"namespace": "default", "name": "shop"},
        "spec": {
            "target": {"name": "shop"},
            "route": {"ingressNginx": {"ingress": "shop"}},
            "strategy": {"canary": {"steps": [{"weight": 5}, {"weight": 50}]}},
            "analysis": {"within": "1m", "blastMax": "2%"},
            "onFailure": on_failure,
        },
    })
}

/// What says the version, and by which policy image automation writes it.
fn kustomization(version: &str) -> String {
    format!(
        "resources: [deployment.yaml]
images:
- name: shop
  newTag: '{version}' # {{\"$imagepolicy\": \"flux-system:shop:tag\"}}
"
    )
}

/// The manifests of a version, whose image is set by the kustomization.
fn files(version: &str, errors: &str) -> Vec<(&'static str, &'static str)> {
    let deployment = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop, namespace: default}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: shop}}}}
  template:
    metadata:
      labels: {{app: shop}}
      annotations:
        sandbox.sluice.dev/start-after: 100ms
        sandbox.sluice.dev/latency: 5ms 0.3
        sandbox.sluice.dev/errors: '{errors}'
    spec:
      containers: [{{name: app, image: shop, ports: [{{containerPort: 8080}}]}}]
"
    );
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    vec![
        ("apps/shop/deployment.yaml", leak(deployment)),
        ("apps/shop/kustomization.yaml", leak(kustomization(version))),
    ]
}

#[test]
fn the_commit_of_a_failed_release_is_reverted_and_flux_applies_that() {
    virtually(async {
        let shop = Shop::open().await;
        let _daemon = shop.daemon();
        let good = shop.released("2", "0", "Promoted").await;
        shop.good_is(good).await;
        shop.team.commit_on_top("Write", &[("README", "more\n")]);
        let bad = shop.released("3", "0.3", "RolledBack").await;
        let applied = || async {
            shop.remedy()
                .await
                .is_some_and(|remedy| remedy.applied.is_some())
        };
        shop.world
            .until("Flux applied the revert", MINUTE * 3, applied)
            .await;
        let remedy = shop.remedy().await.unwrap();
        assert_eq!(remedy.outcome, "Reverted", "{remedy:?}");
        assert!(remedy.message.contains("Release 3"), "{remedy:?}");
        assert_eq!(
            shop.team.says(&["rev-parse", "main"]),
            remedy.commit.unwrap()
        );
        assert_eq!(shop.team.says(&["rev-parse", "main~1"]), bad.to_string());
        assert!(
            shop.team
                .file("apps/shop/kustomization.yaml")
                .contains("'2'")
        );
        // Our own commit is no release: nothing starts, and stable serves.
        let runs = shop
            .world
            .rollout("shop")
            .await
            .status
            .unwrap()
            .last_run
            .unwrap()
            .id;
        shop.world.clock.sleep(MINUTE * 2).await;
        let status = shop.world.rollout("shop").await.status.unwrap();
        assert_eq!(status.phase.as_deref(), Some("Idle"));
        assert_eq!(status.last_run.unwrap().id, runs);
        assert_eq!(shop.team.says(&["rev-list", "--count", "main"]), "5");
        assert!(
            shop.flux.asked_at_once(),
            "Flux was not asked to look at once"
        );
    });
}

#[test]
fn a_rollout_that_names_what_applies_other_workloads_takes_nothing_back() {
    virtually(async {
        let shop = Shop::open().await;
        let _daemon = shop.daemon();
        let good = shop.released("2", "0", "Promoted").await;
        shop.good_is(good).await;
        // Of the same path, but what it has applied is not this Deployment.
        let status = json!({
            "inventory": {"entries": [{"id": "production_shop_apps_Deployment", "v": "v1"}]},
        });
        shop.world
            .apply(json!({
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                "metadata": {"namespace": "flux-system", "name": "production"},
                "spec": {"path": "./apps/shop", "interval": "1m", "prune": true,
                         "sourceRef": {"kind": "GitRepository", "name": "fleet"}},
                "status": status,
            }))
            .await;
        let git = json!({"mode": "revert", "kustomization": "flux-system/production"});
        shop.world.apply(rollout(&json!({"git": git}))).await;
        let bad = shop.released("3", "0.3", "RolledBack").await;
        let told = || async { shop.remedy().await.is_some() };
        shop.world.until("it is told", MINUTE * 10, told).await;
        let remedy = shop.remedy().await.unwrap();
        assert_eq!(remedy.outcome, "NotReverted", "{remedy:?}");
        let why = "Kustomization flux-system/production does not apply Deployment default/shop";
        assert!(remedy.message.contains(why), "{remedy:?}");
        assert_eq!(shop.team.says(&["rev-parse", "main"]), bad.to_string());
    });
}

#[test]
fn what_a_person_went_back_from_is_reverted_too() {
    virtually(async {
        let shop = Shop::open().await;
        let _daemon = shop.daemon();
        let good = shop.released("2", "0", "Promoted").await;
        shop.good_is(good).await;
        let left = shop.released("3", "0", "Promoted").await;
        shop.good_is(left).await;
        let request = json!({"metadata": {"annotations": {"request.sluice.dev/back": "rollback"}}});
        let params = kube::api::PatchParams::default();
        let client = shop.world.cluster.client("kubernetes-admin");
        let rollouts: kube::Api<sluice::kubernetes::crd::Rollout> =
            kube::Api::namespaced(client, "default");
        let patch = kube::api::Patch::Merge(request);
        rollouts.patch("shop", &params, &patch).await.unwrap();
        let applied = || async {
            let remedy = shop.remedy().await;
            remedy.is_some_and(|remedy| remedy.applied.is_some())
        };
        shop.world
            .until("Flux applied the revert", MINUTE * 5, applied)
            .await;
        let remedy = shop.remedy().await.unwrap();
        assert_eq!(remedy.outcome, "Reverted", "{remedy:?}");
        assert_eq!(shop.team.says(&["rev-parse", "main~1"]), left.to_string());
        let status = shop.world.rollout("shop").await.status.unwrap();
        assert_eq!(status.stable.unwrap().images, ["shop:2"]);
        // From there a failed release goes back to the revert.
        let good = status.git.unwrap().good.unwrap();
        assert_eq!(Some(good.commit), remedy.commit);
        shop.released("4", "0.3", "RolledBack").await;
        let done = || async {
            let next = shop.remedy().await;
            next.is_some_and(|next| next.run != remedy.run && next.applied.is_some())
        };
        shop.world.until("that is reverted", MINUTE * 5, done).await;
        assert!(
            shop.team
                .file("apps/shop/kustomization.yaml")
                .contains("'2'")
        );
    });
}

#[test]
fn a_refusal_is_tried_again_and_a_protected_branch_is_told() {
    virtually(async {
        let shop = Shop::open().await;
        let _daemon = shop.daemon();
        let good = shop.released("2", "0", "Promoted").await;
        shop.good_is(good).await;
        shop.flux.token("wrong").await;
        shop.released("3", "0.3", "RolledBack").await;
        shop.world.clock.sleep(MINUTE).await;
        assert_eq!(shop.remedy().await, None);
        shop.team.hook(
            "pre-receive",
            "echo 'main takes pull requests only' >&2; exit 1",
        );
        shop.flux.token("token").await;
        let told = || async { shop.remedy().await.is_some() };
        shop.world.until("it is told", MINUTE * 10, told).await;
        let remedy = shop.remedy().await.unwrap();
        assert_eq!(remedy.outcome, "NotReverted");
        assert!(remedy.message.contains("pull requests only"), "{remedy:?}");
        assert!(
            remedy
                .message
                .contains("git push origin HEAD:refs/heads/sluice/revert/default-shop-"),
            "{remedy:?}"
        );
    });
}

/// Manifests with something that only kustomize itself builds.
fn with_replacements(version: &str, errors: &str) -> Vec<(&'static str, &'static str)> {
    let deployment = files(version, errors)[0].1;
    let named = deployment.replace("image: shop,", &format!("image: 'shop:{version}',"));
    vec![
        (
            "apps/shop/deployment.yaml",
            Box::leak(named.into_boxed_str()),
        ),
        (
            "apps/shop/kustomization.yaml",
            "resources: [deployment.yaml]\nreplacements: []\n",
        ),
    ]
}

#[test]
fn what_only_kustomize_builds_is_undone_by_the_files_that_name_the_image_and_that_is_said() {
    virtually(async {
        let shop = Shop::of("revert", "shop.git", with_replacements).await;
        let _daemon = shop.daemon();
        let good = shop.released("2", "0", "Promoted").await;
        shop.good_is(good).await;
        let bad = shop.released("3", "0.3", "RolledBack").await;
        let done = || async { shop.remedy().await.is_some() };
        shop.world.until("it is done", MINUTE * 3, done).await;
        let remedy = shop.remedy().await.unwrap();
        assert_eq!(remedy.outcome, "Reverted", "{remedy:?}");
        let how = "by the files that name its images, since apps/shop/kustomization.yaml: replacements is not understood here";
        assert!(remedy.message.contains(how), "{remedy:?}");
        assert_eq!(shop.team.says(&["rev-parse", "main~1"]), bad.to_string());
    });
}
