//! A promotion by pull request, on a stand-in for each forge: asked for once, merged by a person, seen.
//!
//! Not here: the requests that each forge is sent (`tests/remedy`).

use super::forge::{Forge, Kind};
use super::stand::{Stand, kustomization};
use super::trip::Trip;

const PROMOTE: &str = "promote backend --from staging --to production";

#[tokio::test(flavor = "multi_thread")]
async fn on_each_forge_people_are_asked_once_and_a_merge_is_seen() {
    for kind in Kind::ALL {
        let stand = Stand::new("deliver: pullRequest", "gates: {versions: '>=1.0.0'}").await;
        stand.team.serve_at(kind.path());
        stand.rewrite("/shop.git", &format!("/{}", kind.path()));
        let forge = Forge::start(kind, stand.team.folder.path(), &Trip::new()).await;
        let settings = forge.settings()["forge"].to_string();
        stand.rewrite(
            "robot@shop.example}",
            &format!("robot@shop.example, forge: {settings}}}"),
        );
        for _ in 0..2 {
            let asked = stand.sluice(PROMOTE).await;
            assert_eq!(asked.code, 0, "{kind:?}: {}{}", asked.stdout, asked.stderr);
            assert!(
                asked
                    .stdout
                    .contains(" asks people to merge sluice/promote/"),
                "{}",
                asked.stdout
            );
        }
        let pulls = forge.pulls();
        assert_eq!(pulls.len(), 1, "{kind:?}: {pulls:?}");
        assert_eq!(
            (pulls[0].title.as_str(), pulls[0].onto.as_str()),
            ("Promote backend v1.3.0 to production", "main")
        );
        let told = "- versions: v1.3.0 is within >=1.0.0";
        assert!(pulls[0].text.contains(told), "{}", pulls[0].text);
        let waiting = stand.sluice("status backend").await;
        assert!(
            waiting.stdout.contains("production: may go"),
            "{}",
            waiting.stdout
        );

        let merge = stand.team.merge(&pulls[0].branch);
        forge.decide(&merge);
        let file = stand.team.file("clusters/production/kustomization.yaml");
        assert_eq!(file, kustomization("v1.3.0", "v2").trim_end());
        let seen = stand.sluice("status backend").await;
        assert!(seen.stdout.contains("production has it"), "{}", seen.stdout);
        let again = stand.sluice(PROMOTE).await;
        assert!(
            again.stdout.ends_with("production has it already\n"),
            "{}",
            again.stdout
        );
        assert_eq!(forge.pulls().len(), 1, "{kind:?}");
    }
}
