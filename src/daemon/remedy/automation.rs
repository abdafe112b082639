//! Image automation beside a remedy: without this, Flux would commit the bad tag again as soon as
//! it is reverted.
//!
//! It is suspended before the commit is pushed, and let go when a newer template has passed, or at
//! once if nothing came of the remedy. What is suspended is written down before anything else is tried, so that
//! it is let go also after a remedy that never ends. What cannot be suspended does not hold up the remedy: it
//! is said.
//!
//! Not here: which automations matter (`kubernetes::flux::automation`).

use kube::ResourceExt;

use super::policies::Failed;
use super::source::{By, Deployed};
use super::{Case, Error, Remedies};
use crate::causes;
use crate::daemon::settings::ImageAutomation;
use crate::kubernetes::crd::{GitRemedy, Rollout};
use crate::kubernetes::flux::{Named, Reach};
use crate::rollout::reason::Reason;
use crate::rollout::remedy::RemedyOutcome;

/// What was suspended for a remedy.
#[derive(Debug, Default)]
pub struct Suspended {
    automations: Vec<Named>,
    why_not: Option<String>,
}

impl Suspended {
    fn names(&self) -> Vec<String> {
        let named = |at: &Named| format!("{}/{}", at.namespace, at.name);
        self.automations.iter().map(named).collect()
    }
}

impl Remedies {
    /// Whose tags the commit excludes, if the settings say so.
    pub(super) fn failed_tags(&self, rollout: &Rollout) -> Option<Failed> {
        let status = rollout.status.as_ref()?;
        let failed = &status.last_run.as_ref()?.revision.images;
        let stable = &status.stable.as_ref()?.images;
        let wanted = self.means.image_automation == ImageAutomation::ExcludeTag;
        wanted.then(|| Failed::new(failed, stable))
    }

    /// Suspends what would write the bad tag again, if the settings say so.
    pub(super) async fn suspend_automations(
        &self,
        rollout: &Rollout,
        run: &str,
        deployed: &Deployed,
    ) -> Suspended {
        let Some(repository) = &deployed.object else {
            return Suspended::default();
        };
        if self.means.image_automation == ImageAutomation::Leave {
            return Suspended::default();
        }
        let reach = Reach {
            repository: repository.clone(),
            branch: deployed.repository.branch.clone(),
            path: deployed.path.clone(),
        };
        let named = named(rollout);
        let flux = &self.sources.flux;
        let (automations, failed) = flux.suspend_automations(&reach, &named, run).await;
        Suspended {
            automations,
            why_not: failed.as_ref().map(|error| causes::told(error)),
        }
    }

    /// Notes what is suspended, beside the remedy before if there was one.
    pub(super) async fn noted(&self, case: &Case<'_>, suspended: &Suspended) -> Result<(), Error> {
        let begun = || {
            let why = "image automation is suspended; the commits are not taken back yet";
            GitRemedy::none("", RemedyOutcome::Suspended, why, case.now)
        };
        let mut remedy = case.git.remedy.clone().unwrap_or_else(begun);
        let known = remedy.suspended.len();
        for name in suspended.names() {
            if !remedy.suspended.contains(&name) {
                remedy.suspended.push(name);
            }
        }
        if remedy.suspended.len() == known {
            return Ok(());
        }
        self.keep(case, remedy).await
    }

    /// The remedy with what was suspended for it; what it does not need is let go, and named.
    pub(super) async fn with_suspended(
        &self,
        rollout: &Rollout,
        remedy: GitRemedy,
        suspended: Suspended,
    ) -> Result<(GitRemedy, Vec<String>), Error> {
        let names = suspended.names();
        let outcome = remedy.outcome();
        if !outcome.is_some_and(RemedyOutcome::keeps_suspended) {
            for at in &suspended.automations {
                self.sources
                    .flux
                    .lift_automation(at, &named(rollout))
                    .await?;
            }
            return Ok((remedy, names));
        }
        let until = if remedy.excluded.is_empty() {
            "a newer template has passed"
        } else {
            "the policy chooses another tag"
        };
        let told = |at| told(at, until);
        let told: String = suspended.automations.iter().map(told).collect();
        let which = if names.is_empty() { "" } else { "some " };
        let why_not = suspended.why_not.map(|why| {
            format!("; {which}image automation is not suspended and may write the tag again: {why}")
        });
        let message = [remedy.message, told, why_not.unwrap_or_default()].concat();
        let remedy = GitRemedy {
            message,
            suspended: names,
            ..remedy
        };
        Ok((remedy, Vec::new()))
    }

    /// Lets image automation go once no policy chooses a tag any more that our commit excludes.
    pub(super) async fn await_policies(
        &self,
        case: &Case<'_>,
        remedy: GitRemedy,
    ) -> Result<(), Error> {
        for excluded in &remedy.excluded {
            let (policy, tag) = excluded.split_once(':').unwrap_or_default();
            if self.sources.flux.chooses(&at(policy), tag).await? {
                return Ok(());
            }
        }
        let why = "the image policy chooses another tag";
        self.lift(case, remedy, why).await
    }

    /// Lets go what was suspended for a remedy.
    pub(super) async fn lift(
        &self,
        case: &Case<'_>,
        mut remedy: GitRemedy,
        why: &str,
    ) -> Result<(), Error> {
        let names = std::mem::take(&mut remedy.suspended);
        for name in &names {
            let at = at(name);
            let (flux, rollout) = (&self.sources.flux, named(case.rollout));
            match case.by {
                By::InputProvider(_) => flux.let_in(&at, &rollout).await?,
                By::Kustomization(_) | By::Application(_) => {
                    flux.lift_automation(&at, &rollout).await?;
                }
            }
        }
        let run = remedy.run.clone();
        self.keep(case, remedy).await?;
        let reason = Reason::AutomationResumed {
            why: why.to_owned(),
            names: names.join(", "),
        };
        self.tell(case, &run, reason);
        Ok(())
    }
}

/// Of `namespace/name`.
fn at(name: &str) -> Named {
    let (namespace, name) = name.split_once('/').unwrap_or_default();
    Named {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

pub(super) fn named(rollout: &Rollout) -> String {
    let namespace = rollout.namespace().unwrap_or_default();
    format!("{namespace}/{}", rollout.name_any())
}

fn told(at: &Named, until: &str) -> String {
    let Named { namespace, name } = at;
    format!(
        "; ImageUpdateAutomation {namespace}/{name} is suspended until {until} (or: flux resume image update {name} -n {namespace})"
    )
}
