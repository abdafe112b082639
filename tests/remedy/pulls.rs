//! Where the branch that is deployed takes no pushes, or must not be pushed to: pull requests, on
//! a stand-in for each forge.

use serde_json::json;
use sluice::kubernetes::crd::GitRemedy;

use super::daemons::Daemon;
use super::forge::{Forge, Kind, TOKENS};
use super::world::virtually;
use super::{MINUTE, Shop, files, rollout};

/// A shop on a forge, after its good release and before the bad one.
struct Place {
    shop: Shop,
    forge: Forge,
    _daemon: Daemon,
}

impl Place {
    async fn open(kind: Kind, mode: &str) -> Self {
        let shop = Shop::with(mode, kind.path()).await;
        let forge = Forge::start(kind, shop.team.folder.path(), &shop.trip).await;
        let daemon = shop.daemon_with(&forge.settings());
        let good = shop.released("2", "0", "Promoted").await;
        shop.good_is(good).await;
        Self {
            shop,
            forge,
            _daemon: daemon,
        }
    }

    /// The remedy, once it fits.
    async fn remedy(&self, what: &str, fits: impl Fn(&GitRemedy) -> bool) -> GitRemedy {
        let found = || async { self.shop.remedy().await.is_some_and(|remedy| fits(&remedy)) };
        self.shop.world.until(what, MINUTE * 15, found).await;
        self.shop.remedy().await.unwrap()
    }

    async fn requested(&self) -> GitRemedy {
        let remedy = self.remedy("the remedy is done", |_| true).await;
        assert_eq!(remedy.outcome, "PullRequested", "{remedy:?}");
        remedy
    }
}

/// After a good release and one that fails: the bad commit, and what its remedy came to.
async fn failed(shop: &Shop, outcome: &str) -> (git2::Oid, GitRemedy) {
    let good = shop.released("2", "0", "Promoted").await;
    shop.good_is(good).await;
    let bad = shop.released("3", "0.3", "RolledBack").await;
    let told = || async { shop.remedy().await.is_some() };
    shop.world.until("it is told", MINUTE * 2, told).await;
    let remedy = shop.remedy().await.unwrap();
    assert_eq!(remedy.outcome, outcome, "{remedy:?}");
    (bad, remedy)
}

/// The branch that is deployed is as the bad release left it.
fn assert_unpushed(shop: &Shop, bad: git2::Oid) {
    let head = shop.team.says(&["rev-parse", "main"]);
    assert_eq!(
        head,
        bad.to_string(),
        "nothing is pushed to what is deployed"
    );
}

fn state(remedy: &GitRemedy) -> &str {
    remedy
        .pull_request
        .as_ref()
        .map_or("none", |pull| &pull.state)
}

#[test]
fn on_each_forge_a_pull_request_is_opened_and_its_merge_is_applied() {
    virtually(async {
        for kind in Kind::ALL {
            let place = Place::open(kind, "pullRequest").await;
            let bad = place.shop.released("3", "0.3", "RolledBack").await;
            let remedy = place.requested().await;
            assert_unpushed(&place.shop, bad);
            let [pull] = place.forge.pulls().try_into().unwrap();
            assert_eq!(pull.title, "Revert \"Release 3\"");
            assert!(pull.branch.ends_with(&remedy.run), "{pull:?}");
            assert_eq!(pull.onto, "main");
            let trailer = format!("Sluice-Run: {}", remedy.run);
            for part in ["`Release 3` by `Ada`", "canary", &trailer] {
                assert!(pull.text.contains(part), "{part}: {pull:?}");
            }
            let commit = place.shop.team.says(&["rev-parse", &pull.branch]);
            assert_eq!(remedy.commit.as_ref(), Some(&commit));
            assert!(remedy.message.contains("Release 3"), "{remedy:?}");
            let url = &remedy.pull_request.as_ref().unwrap().url;
            let wanted = match kind {
                Kind::AzureDevOps => "/org/team/_git/shop/pullrequest/1",
                _ => "https://forge.example/team/shop/1",
            };
            assert!(url.ends_with(wanted), "{url}");
            let opened = place.forge.seen();
            let posts = opened.iter().filter(|seen| seen.method == "POST");
            let posts: Vec<&str> = posts.map(|seen| seen.path.as_str()).collect();
            assert_eq!(posts, [kind.list()]);

            place.shop.world.clock.sleep(MINUTE * 2).await;
            let open = place.shop.remedy().await.unwrap();
            assert_eq!((state(&open), &open.applied), ("Open", &None));
            let merge = place.shop.team.merge(&pull.branch);
            place.forge.decide(&merge);
            let applied = |remedy: &GitRemedy| remedy.applied.is_some();
            let remedy = place.remedy("Flux applied the merge", applied).await;
            assert_eq!(state(&remedy), "Merged", "{kind:?}");
            assert_eq!(remedy.commit, Some(merge));
            assert_eq!(place.forge.pulls().len(), 1);
        }
    });
}

#[test]
fn a_pull_request_that_people_close_is_theirs() {
    virtually(async {
        let place = Place::open(Kind::GitLab, "pullRequest").await;
        place.shop.released("3", "0.3", "RolledBack").await;
        place.requested().await;
        place.forge.decide("closed");
        let closed = |remedy: &GitRemedy| state(remedy) == "Closed";
        place.remedy("it is seen to be closed", closed).await;
        place.shop.world.clock.sleep(MINUTE).await;
        let asked = place.forge.seen().len();
        place.shop.world.clock.sleep(MINUTE * 5).await;
        assert_eq!(place.forge.seen().len(), asked, "it was asked on");
        assert_eq!(place.forge.pulls().len(), 1);
    });
}

#[test]
fn a_protected_branch_leads_to_a_pull_request() {
    virtually(async {
        let place = Place::open(Kind::GitHub, "revert").await;
        let bad = place.shop.released_behind("3", "0.3", |team| {
            let refuse = "while read old new ref; do [ $ref != refs/heads/main ] || { echo 'main is protected' >&2; exit 1; }; done";
            team.hook("pre-receive", refuse);
        });
        let bad = bad.await;
        let remedy = place.requested().await;
        assert_unpushed(&place.shop, bad);
        let [pull] = place.forge.pulls().try_into().unwrap();
        let parent = format!("{}~1", pull.branch);
        assert_eq!(
            place.shop.team.says(&["rev-parse", &parent]),
            bad.to_string()
        );
        assert_eq!(state(&remedy), "Open");
    });
}

#[test]
fn a_later_edit_of_the_same_lines_leads_to_a_pull_request_that_names_the_files() {
    virtually(async {
        let place = Place::open(Kind::Gitea, "revert").await;
        let bad = place.shop.released_behind("3", "0.3", |team| {
            let noted =
                "resources: [deployment.yaml]\nimages: [{name: shop, newTag: '3'}] # by Ada\n";
            team.commit_on_top("Note", &[("apps/shop/kustomization.yaml", noted)]);
        });
        let bad = bad.await;
        let remedy = place.requested().await;
        assert!(
            remedy.message.contains("apps/shop/kustomization.yaml"),
            "{remedy:?}"
        );
        let [pull] = place.forge.pulls().try_into().unwrap();
        assert!(
            pull.text
                .contains("conflicts with later changes of apps/shop/kustomization.yaml")
        );
        let parent = format!("{}~1", pull.branch);
        assert_eq!(
            place.shop.team.says(&["rev-parse", &parent]),
            bad.to_string()
        );
    });
}

#[test]
fn a_forge_that_limits_or_refuses_is_asked_again_when_it_wants() {
    virtually(async {
        let place = Place::open(Kind::GitHub, "pullRequest").await;
        place.forge.fault(503, &[], "<html>");
        place
            .forge
            .fault(401, &[], r#"{"message": "Bad credentials"}"#);
        place.forge.fault(429, &[("retry-after", "600")], "");
        place.forge.forget();
        place.shop.released("3", "0.3", "RolledBack").await;
        place.shop.world.clock.sleep(MINUTE * 2).await;
        assert_eq!(place.forge.seen().len(), 3);
        place.shop.world.clock.sleep(MINUTE * 7).await;
        assert_eq!(place.forge.seen().len(), 3, "it was not left alone");
        place.requested().await;
        assert_eq!(place.forge.pulls().len(), 1);
    });
}

/// Two Deployments whose version one commit sets.
fn two(version: &str, errors: &str) -> Vec<(&'static str, &'static str)> {
    let shop = files(version, errors)[0].1;
    let pay: &'static str = Box::leak(shop.replace("shop", "pay").into_boxed_str());
    let images = format!(
        "resources: [deployment.yaml, pay.yaml]
images:
- {{name: shop, newTag: '{version}'}}
- {{name: pay, newTag: '{version}'}}
"
    );
    vec![
        ("apps/shop/deployment.yaml", shop),
        ("apps/shop/pay.yaml", pay),
        (
            "apps/shop/kustomization.yaml",
            Box::leak(images.into_boxed_str()),
        ),
    ]
}

#[test]
fn two_rollouts_that_fail_by_one_commit_have_one_pull_request() {
    virtually(async {
        let kind = Kind::Gitea;
        let shop = Shop::of("pullRequest", kind.path(), two).await;
        shop.world.app("pay", 100, "20s").await;
        let git = json!({"mode": "pullRequest", "kustomization": "flux-system/shop"});
        let pay = rollout(&json!({"git": git}))
            .to_string()
            .replace("\"shop\"", "\"pay\"");
        shop.world.apply(serde_json::from_str(&pay).unwrap()).await;
        let forge = Forge::start(kind, shop.team.folder.path(), &shop.trip).await;
        let _daemon = shop.daemon_with(&forge.settings());
        let of = |name: &'static str| {
            let world = &shop.world;
            async move {
                world
                    .rollout(name)
                    .await
                    .status
                    .unwrap_or_default()
                    .git
                    .unwrap_or_default()
            }
        };
        let good = shop.released("2", "0", "Promoted").await.to_string();
        let known = || async {
            let goods = [of("shop").await.good, of("pay").await.good];
            goods
                .iter()
                .flatten()
                .filter(|point| point.commit == good)
                .count()
                == 2
        };
        shop.world
            .until("the good commit is known to both", MINUTE * 5, known)
            .await;
        shop.released("3", "0.3", "RolledBack").await;
        let done =
            || async { of("shop").await.remedy.is_some() && of("pay").await.remedy.is_some() };
        shop.world
            .until("both remedies are done", MINUTE * 15, done)
            .await;
        let remedies = [
            of("shop").await.remedy.unwrap(),
            of("pay").await.remedy.unwrap(),
        ];
        let urls = remedies
            .clone()
            .map(|remedy| remedy.pull_request.map(|pull| pull.url));
        assert!(urls[0].is_some() && urls[0] == urls[1], "{remedies:?}");
        let shared = |remedy: &GitRemedy| remedy.message.contains("as for another Rollout");
        assert_eq!(
            remedies.iter().filter(|one| shared(one)).count(),
            1,
            "{remedies:?}"
        );
        assert_eq!(forge.pulls().len(), 1);
    });
}

/// Two Deployments whose version one commit sets, of which one fails.
fn one_of_two(version: &str, errors: &str) -> Vec<(&'static str, &'static str)> {
    let mut files = two(version, errors);
    let well = two(version, "0")[1];
    files[1] = well;
    files
}

#[test]
fn a_commit_that_brought_another_service_too_is_taken_back_by_a_pull_request() {
    virtually(async {
        let kind = Kind::Gitea;
        let shop = Shop::of("revert", kind.path(), one_of_two).await;
        shop.world.app("pay", 100, "20s").await;
        let forge = Forge::start(kind, shop.team.folder.path(), &shop.trip).await;
        let _daemon = shop.daemon_with(&forge.settings());
        let (bad, remedy) = failed(&shop, "PullRequested").await;
        let others = "takes back what others run too: Deployment default/pay";
        assert!(remedy.message.contains(others), "{remedy:?}");
        assert_unpushed(&shop, bad);
        assert_eq!(forge.pulls().len(), 1);
    });
}

/// One base with the version, and two overlays of which only the first is deployed here.
fn shared_base(version: &str, errors: &str) -> Vec<(&'static str, &'static str)> {
    let mut all = vec![
        ("apps/shop/kustomization.yaml", "resources: [../../base]\n"),
        (
            "production/shop/kustomization.yaml",
            "resources: [../../base]\n",
        ),
    ];
    for (path, text) in files(version, errors) {
        let path = path.replace("apps/shop", "base");
        all.push((Box::leak(path.into_boxed_str()), text));
    }
    all
}

#[test]
fn a_base_that_another_overlay_shares_is_taken_back_by_a_pull_request() {
    virtually(async {
        let kind = Kind::Gitea;
        let shop = Shop::of("revert", kind.path(), shared_base).await;
        let forge = Forge::start(kind, shop.team.folder.path(), &shop.trip).await;
        let _daemon = shop.daemon_with(&forge.settings());
        let (bad, remedy) = failed(&shop, "PullRequested").await;
        let others = "Deployment default/shop in production/shop";
        assert!(remedy.message.contains(others), "{remedy:?}");
        assert_unpushed(&shop, bad);
    });
}

#[test]
fn a_github_app_opens_the_pull_request_by_a_token_of_its_installation() {
    virtually(async {
        let shop = Shop::with("pullRequest", Kind::GitHub.path()).await;
        let folder = shop.team.folder.path();
        let forge = Forge::start(Kind::GitHub, folder, &shop.trip).await;
        let _daemon = shop.daemon_with(&forge.settings_of_app(folder));
        failed(&shop, "PullRequested").await;
        let seen = forge.seen();
        let tokens = seen.iter().filter(|one| one.path == TOKENS);
        assert_eq!(tokens.count(), 1, "the token is kept");
    });
}

#[test]
fn without_a_forge_a_pull_request_is_left_to_people() {
    virtually(async {
        let shop = Shop::with("pullRequest", "shop.git").await;
        let _daemon = shop.daemon();
        let (_, remedy) = failed(&shop, "NotReverted").await;
        assert!(remedy.message.contains("git.forge"), "{remedy:?}");
        let branches = shop.team.says(&["branch", "--format=%(refname:short)"]);
        assert!(
            branches.contains("sluice/revert/default-shop-"),
            "{branches}"
        );
    });
}
