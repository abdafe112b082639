//! Flux's image automation writes the bad tag again as soon as it is reverted, unless it is
//! suspended.

use serde_json::json;
use sluice::kubernetes::flux::SUSPENDED_FOR;

use super::world::virtually;
use super::{MINUTE, Shop};

#[test]
fn image_automation_is_suspended_until_a_newer_release_passes() {
    virtually(async {
        for (mode, commits) in [("leave", 5), ("suspend", 4)] {
            let shop = Shop::open().await;
            let _daemon = shop.daemon_with(&json!({"imageAutomation": mode}));
            let good = shop.released("2", "0", "Promoted").await;
            shop.good_is(good).await;
            shop.commit("3", "0.3");
            shop.flux.newest("3");
            shop.ended("3", "RolledBack").await;
            let applied = || async {
                shop.remedy()
                    .await
                    .is_some_and(|remedy| remedy.outcome == "Reverted")
            };
            shop.world
                .until("it is reverted", MINUTE * 3, applied)
                .await;
            shop.world.clock.sleep(MINUTE * 2).await;
            let log = shop.team.says(&["log", "--format=%s", "main"]);
            assert_eq!(log.lines().count(), commits, "{mode}: {log}");
            if mode == "leave" {
                continue;
            }
            let remedy = shop.remedy().await.unwrap();
            assert_eq!(remedy.suspended, ["flux-system/all"]);
            assert!(
                remedy
                    .message
                    .contains("flux resume image update all -n flux-system")
            );
            let automation = shop.flux.automation().await;
            let mark = format!("default/shop {}", remedy.run);
            assert_eq!(automation.data["spec"]["suspend"], true);
            assert_eq!(
                automation.metadata.annotations.unwrap()[SUSPENDED_FOR],
                mark
            );

            shop.flux.newest("4");
            shop.released("4", "0", "Promoted").await;
            let resumed = || async {
                shop.remedy()
                    .await
                    .is_some_and(|remedy| remedy.suspended.is_empty())
            };
            shop.world.until("it goes on", MINUTE * 3, resumed).await;
            let automation = shop.flux.automation().await;
            assert!(automation.data["spec"]["suspend"].is_null());
            let annotations = automation.metadata.annotations.unwrap_or_default();
            assert_eq!(annotations.get(SUSPENDED_FOR), None);
        }
    });
}

#[test]
fn image_automation_goes_on_after_a_remedy_that_never_came_to_an_end() {
    virtually(async {
        let shop = Shop::open().await;
        let _daemon = shop.daemon_with(&json!({"imageAutomation": "suspend"}));
        let good = shop.released("2", "0", "Promoted").await;
        shop.good_is(good).await;
        shop.flux.token("wrong").await;
        shop.released("3", "0.3", "RolledBack").await;
        let noted = || async {
            let remedy = shop.remedy().await;
            remedy.is_some_and(|remedy| remedy.suspended == ["flux-system/all"])
        };
        shop.world.until("it is suspended", MINUTE * 3, noted).await;
        let remedy = shop.remedy().await.unwrap();
        assert_eq!(remedy.outcome, "Suspended", "{remedy:?}");
        let automation = shop.flux.automation().await;
        assert_eq!(automation.data["spec"]["suspend"], true);
        // Nobody could revert it; a person went on.
        shop.released("4", "0", "Promoted").await;
        let resumed = || async {
            let remedy = shop.remedy().await;
            remedy.is_some_and(|remedy| remedy.suspended.is_empty())
        };
        shop.world.until("it goes on", MINUTE * 3, resumed).await;
        let automation = shop.flux.automation().await;
        assert!(automation.data["spec"]["suspend"].is_null());
    });
}

const POLICIES: &str = "\
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImageRepository
metadata: {name: shop, namespace: flux-system}
spec: {image: shop, interval: 5m}
---
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImagePolicy
metadata: {name: shop, namespace: flux-system}
spec:
  imageRepositoryRef: {name: shop}
  policy:
    semver: {range: '>=1.0.0'} # all of them
";

#[test]
fn the_commit_excludes_the_tag_and_image_automation_goes_on_at_once() {
    virtually(async {
        let shop = Shop::open().await;
        let files = [("policies/shop.yaml", POLICIES)];
        shop.team.commit_on_top("Policies", &files);
        let _daemon = shop.daemon_with(&json!({"imageAutomation": "excludeTag"}));
        let good = shop.released("2", "0", "Promoted").await;
        shop.good_is(good).await;
        shop.commit("3", "0.3");
        shop.flux.newest("3");
        shop.ended("3", "RolledBack").await;
        let resumed = || async {
            let remedy = shop.remedy().await;
            remedy.is_some_and(|remedy| remedy.applied.is_some() && remedy.suspended.is_empty())
        };
        shop.world.until("it goes on", MINUTE * 3, resumed).await;
        let remedy = shop.remedy().await.unwrap();
        assert_eq!(remedy.outcome, "Reverted");
        assert_eq!(remedy.excluded, ["flux-system/shop:3"]);
        assert!(
            remedy
                .message
                .contains("is suspended until the policy chooses another tag"),
            "{remedy:?}"
        );
        let wanted = POLICIES.replace("'>=1.0.0'", "'>=1.0.0, !=3.0.0'");
        assert_eq!(shop.team.file("policies/shop.yaml"), wanted.trim_end());
        let said = shop.team.says(&["log", "-1", "--format=%B", "main"]);
        assert!(
            said.contains("Excludes 3 in ImagePolicy flux-system/shop."),
            "{said}"
        );
        // It runs again and has nothing to write.
        shop.world.clock.sleep(MINUTE * 2).await;
        let automation = shop.flux.automation().await;
        assert!(automation.data["spec"]["suspend"].is_null());
        assert_eq!(shop.team.says(&["rev-list", "--count", "main"]), "5");
        // The next tag it writes by itself.
        shop.flux.newest("4");
        let written = || async {
            let file = shop.team.file("apps/shop/kustomization.yaml");
            file.contains("'4'")
        };
        shop.world.until("it writes", MINUTE, written).await;
    });
}
