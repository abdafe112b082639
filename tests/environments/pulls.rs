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

/// Names that nobody can resolve; whoever serves them takes the whole address, as a proxy is given it.
#[tokio::test(flavor = "multi_thread")]
async fn the_repository_and_its_forge_are_reached_through_a_proxy_and_what_is_excepted_is_not() {
    let kind = Kind::Gitea;
    let stand = Stand::new("deliver: pullRequest", "gates: {versions: '>=1.0.0'}").await;
    stand.team.serve_at(kind.path());
    stand.rewrite("/shop.git", &format!("/{}", kind.path()));
    let forge = Forge::start(kind, stand.team.folder.path(), &Trip::new()).await;
    let mut settings = forge.settings()["forge"].clone();
    let api = settings["api"].as_str().unwrap().to_owned();
    let (at, path) = api.split_at(api.find("/api").unwrap());
    settings["api"] = format!("http://forge.invalid{path}").into();
    settings["host"] = "127.0.0.1".into();
    stand.rewrite(
        "robot@shop.example}",
        &format!("robot@shop.example, forge: {settings}}}"),
    );
    let variables = [("HTTP_PROXY", at), ("NO_PROXY", "127.0.0.1")];
    let asked = stand.sluice_in(PROMOTE, &variables).await;
    assert_eq!(asked.code, 0, "{}{}", asked.stdout, asked.stderr);
    assert_eq!(forge.pulls().len(), 1);

    stand.rewrite(stand.server(), "http://git.invalid");
    let variables = [("HTTP_PROXY", stand.server())];
    let status = stand.sluice_in("status backend", &variables).await;
    assert!(
        status.stdout.contains("v1.3.0"),
        "{}{}",
        status.stdout,
        status.stderr
    );
}
