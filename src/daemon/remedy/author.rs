//! Who wrote the commits that brought the template of a run: told, and not counted among those who approve where
//! `notAuthor` is asked for.
//!
//! It goes beside the passes and beside the remedies, with copies of its own: no run and no remedy waits for
//! it, and no other than its own repository's either. Each run is asked about once; what failed for now is tried again, ever more seldom, as long as the run is the
//! newest.
//!
//! Not here: whose commits count (`git::authors`), which commit was being applied (`due`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use git2::Oid;
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use super::due::wanted;
use super::error::Error;
use super::means::Means;
use super::schedule::Schedule;
use super::source::{By, Deployed, Sources, Workload, release};
use super::status::patch;
use super::turns::Turns;
use super::undo::remote;
use super::view::{Naming, Release, Template, names};
use crate::causes;
use crate::daemon::context::{Access, Context};
use crate::daemon::leader::Role;
use crate::git::{Author, Copy, Limits, View, authors};
use crate::kubernetes::crd::{GitAuthor, GitPoint, Rollout};
use crate::kubernetes::flux::Named;

/// Time between two looks at whose authors are not known.
const EVERY: Duration = Duration::from_secs(1);
/// For one look at a repository.
const TIME: Duration = Duration::from_secs(30);

#[allow(missing_debug_implementations)] // kube's Client has none
/// Asks repositories for the authors of what runs try.
pub struct Authors {
    context: Context,
    writes: Client,
    sources: Sources,
    means: Means,
    role: watch::Receiver<Role>,
    turns: Turns,
}

impl Authors {
    /// Nothing is known yet.
    pub fn new(
        context: Context,
        access: &Access,
        means: Means,
        role: watch::Receiver<Role>,
    ) -> Self {
        let folder = means.folder.join("authors");
        Self {
            context,
            sources: Sources::new(access),
            writes: access.writes.clone(),
            means: Means { folder, ..means },
            role,
            turns: Turns::default(),
        }
    }

    /// Looks for ever.
    pub async fn keep_up(self) {
        let this = Arc::new(self);
        let (mut schedule, mut tasks) = (Schedule::default(), JoinSet::new());
        loop {
            this.context.clock.sleep(EVERY).await;
            while let Some(ended) = tasks.try_join_next_with_id() {
                this.ended(ended, &mut schedule);
            }
            if !this.role.borrow().leads() {
                schedule.forget();
                continue;
            }
            for rollout in this.context.cache.rollouts.all_where(|head| head.git) {
                let key = (rollout.namespace().unwrap_or_default(), rollout.name_any());
                let Some(bad) = unknown(&rollout).cloned() else {
                    continue;
                };
                if schedule.may(&key, this.context.clock.ticks()) {
                    let asking = this.clone();
                    let task = tasks.spawn(async move { asking.look(&rollout, &bad).await });
                    schedule.begun(task.id(), key);
                }
            }
        }
    }

    fn ended(&self, ended: Result<(Id, Result<(), Error>), JoinError>, schedule: &mut Schedule) {
        let (task, result) = match ended {
            Ok((task, result)) => (task, result),
            Err(error) => (error.id(), Err(error.into())),
        };
        let Some(key) = schedule.ended(task) else {
            return;
        };
        match result {
            Ok(()) => schedule.done(&key),
            Err(error) => {
                let (rollout, why) = (&key.1, causes::told(&error));
                tracing::debug!(rollout, why, "the authors of a commit are not known yet");
                schedule.failed(key, &why, error.wait(), self.context.clock.ticks());
            }
        }
    }

    async fn look(&self, rollout: &Rollout, bad: &GitPoint) -> Result<(), Error> {
        let found = self.ask(rollout, bad).await?;
        self.write(rollout, bad, &found).await
    }

    /// Empty where the repository cannot say it.
    async fn ask(&self, rollout: &Rollout, bad: &GitPoint) -> Result<Vec<GitAuthor>, Error> {
        let Some(by) = wanted(rollout) else {
            return Ok(Vec::new());
        };
        let cache = &self.context.cache;
        let by = Sources::tracked(cache, rollout, &by)?;
        let workload = Workload::of(cache, rollout);
        let deployed = self.sources.deployed(&by, &workload).await?;
        let _turn = self.turns.at(&deployed.repository.url).await;
        let status = rollout.status.as_ref();
        let git = status.and_then(|status| status.git.as_ref());
        let good = git.and_then(|git| git.good.as_ref());
        let good = good.and_then(|good| Oid::from_str(&good.commit).ok());
        let bad = Oid::from_str(&bad.commit);
        let (Ok(remote), Ok(bad)) = (remote(&deployed.repository, self.means.local), bad) else {
            return Ok(Vec::new());
        };
        let views = Views::of(rollout, &deployed, release(cache, rollout));
        let remote = remote.signed_in(&self.means.tokens, self.context.clock.now());
        let (remote, folder) = (remote.await?, self.means.folder.clone());
        let limits = Limits {
            time: self.means.timeout.min(TIME),
            bytes: self.means.most,
        };
        let runtime = tokio::runtime::Handle::current();
        let asked = tokio::task::spawn_blocking(move || {
            let copy = Copy::open(&folder, runtime, remote, limits)?;
            authors(&copy, (good, bad), &views.all())
        });
        match asked.await? {
            Ok(found) => Ok(taken_for(found, &self.means.people)),
            Err(error) if error.may_pass() => Err(error.into()),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Only where the commit is still the one that was asked about.
    async fn write(
        &self,
        rollout: &Rollout,
        bad: &GitPoint,
        found: &[GitAuthor],
    ) -> Result<(), Error> {
        let operations = json!([
            {"op": "test", "path": "/metadata/uid", "value": rollout.uid()},
            {"op": "test", "path": "/status/git/bad", "value": bad},
            {"op": "add", "path": "/status/git/bad/authors", "value": found},
        ]);
        patch(&self.writes, rollout, operations).await
    }
}

/// The commit of the newest run, as long as nobody has asked who wrote it.
fn unknown(rollout: &Rollout) -> Option<&GitPoint> {
    let by = wanted(rollout)?;
    let status = rollout.status.as_ref()?;
    let bad = status.git.as_ref()?.bad.as_ref()?;
    let newest = match (&status.run, &status.last_run) {
        (Some(run), _) => &run.id,
        (None, last) => &last.as_ref()?.id,
    };
    let has_commits = !matches!(by, By::InputProvider(_));
    let open = bad.authors.is_none() && bad.run.as_ref() == Some(newest);
    (has_commits && open).then_some(bad)
}

/// What the path deploys for the target, in the order in which it is tried.
struct Views {
    template: Template,
    release: Option<Release>,
    naming: Naming,
}

impl Views {
    fn of(rollout: &Rollout, deployed: &Deployed, release: Option<Named>) -> Self {
        let status = rollout.status.as_ref();
        let run = status.and_then(|status| status.run.as_ref());
        let last = status.and_then(|status| status.last_run.as_ref());
        let revision = run
            .map(|run| &run.revision)
            .or(last.map(|last| &last.revision));
        let images = revision.map_or(&[][..], |revision| &revision.images);
        let path = deployed.path.clone();
        Self {
            template: Template {
                path: path.clone(),
                kind: rollout.spec.target.kind.clone(),
                name: rollout.spec.target.name.clone(),
                namespace: deployed.namespace.clone(),
                images: names(images),
            },
            naming: Naming::new(&path, images),
            release: release.map(|at| Release {
                path,
                at,
                images: names(images),
            }),
        }
    }

    fn all(&self) -> Vec<&dyn View> {
        let release = self.release.as_ref().map(|release| release as &dyn View);
        let template: &dyn View = &self.template;
        let naming: &dyn View = &self.naming;
        std::iter::once(template)
            .chain(release)
            .chain([naming])
            .collect()
    }
}

/// With the users for whom they are taken: whom the settings name for the address, else the address itself.
fn taken_for(found: Vec<Author>, people: &Arc<BTreeMap<String, String>>) -> Vec<GitAuthor> {
    let taken = |Author { name, email }| {
        let known = people.get(&email.to_lowercase()).cloned();
        GitAuthor {
            user: known.unwrap_or_else(|| email.clone()),
            name,
            email,
        }
    };
    found.into_iter().map(taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_taken_for_the_user_whom_the_settings_name_or_for_the_address() {
        let people = BTreeMap::from([("ada@old.example".to_owned(), "ada".to_owned())]);
        let author = |name: &str, email: &str| Author {
            name: name.to_owned(),
            email: email.to_owned(),
        };
        let found = vec![
            author("Ada", "Ada@Old.example"),
            author("Bob", "bob@example.com"),
        ];
        let taken = taken_for(found, &Arc::new(people));
        let users: Vec<_> = taken.iter().map(|author| author.user.as_str()).collect();
        assert_eq!(users, ["ada", "bob@example.com"]);
    }

    #[test]
    fn only_the_newest_runs_commit_is_asked_about_and_once() {
        let rollout = |run: &str, authors: serde_json::Value, by: serde_json::Value| -> Rollout {
            serde_json::from_value(json!({
                "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "shop", "namespace": "a"},
                "spec": {"target": {"name": "shop"}, "onFailure": {"git": by}},
                "status": {
                    "run": crate::people::message::samples::run("r-1", 5),
                    "git": {"bad": {"commit": "abc", "revision": "h", "run": run, "authors": authors}},
                },
            }))
            .unwrap()
        };
        let flux = || json!({"mode": "revert", "kustomization": "flux-system/shop"});
        let cases = [
            ("r-1", json!(null), flux(), true),
            ("r-0", json!(null), flux(), false),
            ("r-1", json!([]), flux(), false),
            (
                "r-1",
                json!(null),
                json!({"mode": "revert", "inputProvider": "a/b"}),
                false,
            ),
        ];
        for (run, authors, by, wanted) in cases {
            let rollout = rollout(run, authors, by);
            assert_eq!(unknown(&rollout).is_some(), wanted, "{run}");
        }
    }
}
