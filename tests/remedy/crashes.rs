//! Daemons that are killed at each effect between the verdict and the last remedy: every request
//! to the Git server and the forge and every write to the API server, before and after it is done.
//! Whatever the moment, each remedy is done once and none twice.
//!
//! `make crashes` plays 200 of them, `make test` some.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::forge::{Forge, Kind};
use super::world::virtually;
use super::{MINUTE, Shop};

/// Kills that are played without `SLUICE_CRASHES`.
const USUAL: i64 = 12;

#[allow(clippy::disallowed_methods)] // how long a test plays is said outside
fn crashes() -> i64 {
    let asked = std::env::var("SLUICE_CRASHES").ok();
    asked.map_or(USUAL, |number| number.parse().unwrap())
}

/// One shop whose releases fail again and again, each time with a kill at another effect.
struct Crashes {
    shop: Shop,
    forge: Forge,
    pull_requests: bool,
}

impl Crashes {
    async fn begin(mode: &str, kind: Kind) -> Self {
        let shop = Shop::with(mode, kind.path()).await;
        let forge = Forge::start(kind, shop.team.folder.path(), &shop.trip).await;
        let daemon = shop.daemon_with(&forge.settings());
        let good = shop.released("2", "0", "Promoted").await;
        shop.good_is(good).await;
        drop(daemon);
        Self {
            shop,
            forge,
            pull_requests: mode == "pullRequest",
        }
    }

    /// A release fails, its daemon is killed at this effect, another goes on. False if there were
    /// fewer effects.
    async fn killed_at(&self, effect: i64, version: i64) -> bool {
        let (shop, version) = (&self.shop, version.to_string());
        let daemon = shop.daemon_with(&self.forge.settings());
        daemon.line.effects_on(&shop.trip);
        shop.commit(&version, "0.3");
        let back = || async { shop.world.phase("shop").await.starts_with("Roll") };
        let patience = MINUTE * 5;
        shop.world.until("it rolls back", patience, back).await;
        shop.trip.arm(effect);
        let done = || self.done(&version);
        let reached = tokio::select! {
            () = shop.trip.reached() => true,
            _ = shop.world.until("the kill or the end", patience, done) => false,
        };
        drop(daemon);
        shop.trip.release();
        let _next = shop.daemon_with(&self.forge.settings());
        shop.world.until("it is remedied", patience, done).await;
        if self.pull_requests {
            self.merged().await;
        }
        self.once(&version).await;
        reached
    }

    /// The newest remedy is this version's, and Flux applied it or people are asked.
    async fn done(&self, version: &str) -> bool {
        let status = self.shop.world.rollout("shop").await.status;
        let status = status.unwrap_or_default();
        let images = [format!("shop:{version}")];
        let last = status.last_run;
        let last = last.filter(|last| last.revision.images == images);
        let remedy = status.git.and_then(|git| git.remedy);
        match (last, remedy) {
            (Some(last), Some(remedy)) => {
                let asked = remedy.pull_request.is_some();
                remedy.run == last.id && (asked || remedy.applied.is_some())
            }
            _ => false,
        }
    }

    /// People merge the one that was opened, and Flux applies it.
    async fn merged(&self) {
        let remedy = self.shop.remedy().await.unwrap();
        assert_eq!(remedy.outcome, "PullRequested", "{remedy:?}");
        let pulls = self.forge.pulls();
        let of_run = |branch: &str| branch.ends_with(&remedy.run);
        let of_run = pulls.iter().filter(|pull| of_run(&pull.branch));
        assert_eq!(of_run.count(), 1, "{pulls:?}");
        let merge = self.shop.team.merge(&pulls.last().unwrap().branch);
        self.forge.decide(&merge);
        let applied = || async {
            let remedy = self.shop.remedy().await;
            remedy.is_some_and(|remedy| remedy.applied.is_some())
        };
        let patience = MINUTE * 10;
        self.shop
            .world
            .until("it is applied", patience, applied)
            .await;
    }

    /// Git, traffic and template are back, each once.
    async fn once(&self, version: &str) {
        let world = &self.shop.world;
        let idle = || async { world.phase("shop").await == "Idle" };
        world.until("it rests", MINUTE * 5, idle).await;
        let log = self.shop.team.says(&["log", "--format=%s", "main"]);
        let revert = format!("Revert \"Release {version}\"");
        let reverts = log.lines().filter(|line| *line == revert).count();
        assert_eq!(reverts, 1, "{log}");
        let spec = &world.deployment("shop").await["spec"];
        let image = &spec["template"]["spec"]["containers"][0]["image"];
        assert_eq!(image, "shop:2");
        assert_ne!(spec["paused"], json!(true));
        assert_eq!(self.names::<Deployment>().await, ["shop"]);
        assert_eq!(self.names::<Ingress>().await, ["shop"]);
    }

    async fn names<T>(&self) -> Vec<String>
    where
        T: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api: Api<T> = Api::namespaced(self.shop.world.admin.clone(), "default");
        let found = api.list(&ListParams::default()).await.unwrap();
        found.iter().map(ResourceExt::name_any).collect()
    }
}

#[test]
fn a_daemon_killed_at_any_effect_does_each_remedy_once() {
    virtually(async {
        let each = crashes() / 2;
        for (mode, kind) in [("revert", Kind::GitHub), ("pullRequest", Kind::GitLab)] {
            let crashes = Crashes::begin(mode, kind).await;
            // A few are spread over the effects; many go through all of them, again and again.
            let stride = if each < 30 { 5 } else { 1 };
            let (mut kills, mut rounds, mut effect) = (0, 0, 1);
            while kills < each {
                let reached = crashes.killed_at(effect, 3 + rounds).await;
                rounds += 1;
                if reached {
                    kills += 1;
                    effect += stride;
                } else {
                    println!("{mode}: fewer than {effect} effects");
                    effect = 1 + rounds % stride;
                }
                assert!(rounds <= 2 * each, "{mode}: only {kills} kills");
            }
            println!("{mode}: {kills} kills in {rounds} rounds");
        }
    });
}
