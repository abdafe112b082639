//! A release by Helm: the image comes from the values of a `HelmRelease`, which lies in the path of
//! a Kustomization.

use super::world::virtually;
use super::{MINUTE, Shop};

/// A release of a chart that nobody renders here; another one beside it.
fn files(version: &str, errors: &str) -> Vec<(&'static str, &'static str)> {
    let release = format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: shop, namespace: default}}
spec:
  interval: 1m
  chart: {{spec: {{chart: shop, version: 1.x, sourceRef: {{kind: HelmRepository, name: charts}}}}}}
  values:
    errors: '{errors}'
    image: {{tag: '{version}'}}
"
    );
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    vec![
        ("apps/shop/release.yaml", leak(release)),
        (
            "apps/shop/kustomization.yaml",
            "resources: [release.yaml]\n",
        ),
    ]
}

#[test]
fn the_commit_that_changed_the_values_of_a_release_is_reverted_and_no_other() {
    virtually(async {
        let shop = Shop::of("revert", "shop.git", files).await;
        let _daemon = shop.daemon();
        let good = shop.released("2", "0", "Promoted").await;
        shop.good_is(good).await;
        // Of the same file, but not of what is deployed.
        let noted = format!("# by Ada\n{}", files("2", "0")[0].1);
        shop.team
            .commit_on_top("Note", &[("apps/shop/release.yaml", &noted)]);
        let bad = format!("# by Ada\n{}", files("3", "0.3")[0].1);
        shop.team
            .commit_on_top("Release 3", &[("apps/shop/release.yaml", &bad)]);
        shop.ended("3", "RolledBack").await;
        let applied = || async {
            let remedy = shop.remedy().await;
            remedy.is_some_and(|remedy| remedy.applied.is_some())
        };
        shop.world
            .until("Flux applied the revert", MINUTE * 3, applied)
            .await;
        let remedy = shop.remedy().await.unwrap();
        assert_eq!(remedy.outcome, "Reverted", "{remedy:?}");
        assert!(
            remedy.message.contains("HelmRelease default/shop"),
            "{remedy:?}"
        );
        assert_eq!(shop.team.file("apps/shop/release.yaml"), noted.trim_end());
    });
}
