//! Where the branch that is deployed takes no pushes, or must not be pushed to: pull requests, on
//! a stand-in for each forge.

use sluice::kubernetes::crd::GitRemedy;

use super::daemons::Daemon;
use super::forge::{Forge, Kind};
use super::world::virtually;
use super::{MINUTE, Shop};

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
            assert_eq!(
                place.shop.team.says(&["rev-parse", "main"]),
                bad.to_string()
            );
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
        assert_eq!(
            place.shop.team.says(&["rev-parse", "main"]),
            bad.to_string()
        );
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

#[test]
fn without_a_forge_a_pull_request_is_left_to_people() {
    virtually(async {
        let shop = Shop::with("pullRequest", "shop.git").await;
        let _daemon = shop.daemon();
        let good = shop.released("2", "0", "Promoted").await;
        shop.good_is(good).await;
        shop.released("3", "0.3", "RolledBack").await;
        let told = || async { shop.remedy().await.is_some() };
        shop.world.until("it is told", MINUTE * 2, told).await;
        let remedy = shop.remedy().await.unwrap();
        assert_eq!(remedy.outcome, "NotReverted");
        assert!(remedy.message.contains("git.forge"), "{remedy:?}");
        let branches = shop.team.says(&["branch", "--format=%(refname:short)"]);
        assert!(
            branches.contains("sluice/revert/default-shop-"),
            "{branches}"
        );
    });
}
