//! The player's part in a scenario that has a Git repository: what Flux applies is committed first, what
//! others push is applied, and each commit is told.
//!
//! Not here: the repository and Flux's stand-in (`fleet`).

use serde_json::Value;

use super::super::fleet::{self, Fleet};
use super::super::format::{Release, Scenario, Way};
use super::{Player, acts, one};
use crate::sandbox::scenario::told::Told;

impl Player<'_> {
    /// Makes the scenario's repository, if it has one.
    pub(super) async fn open(&mut self, scenario: &Scenario) -> Result<(), String> {
        if let Some(folder) = &scenario.git {
            let fleet = Fleet::begin(self.stage, folder, &scenario.namespace);
            self.fleet = Some(fleet.await?);
        }
        Ok(())
    }

    /// Commits what Flux is about to apply.
    pub(super) async fn commit(
        &mut self,
        way: Way,
        objects: &[Value],
        summary: &str,
    ) -> Result<(), String> {
        let Some(fleet) = self.fleet.as_mut().filter(|_| way == Way::Flux) else {
            return Ok(());
        };
        let text = fleet.commit(self.stage, objects, summary).await?;
        self.tell_commit(text);
        Ok(())
    }

    pub(super) fn tell_commit(&mut self, text: String) {
        let at = self.at();
        self.sink.told(&Told::Git { at, text });
    }

    /// Lets Flux apply what others pushed. What fails is tried at the next look.
    pub(super) async fn sync(&mut self) {
        let Some(fleet) = &mut self.fleet else {
            return;
        };
        match fleet.follow(self.stage, &mut self.git).await {
            Ok(Some(text)) => self.tell_commit(text),
            Ok(None) => {}
            Err(why) => tracing::warn!("Flux's stand-in: {why}"),
        }
    }

    /// What is on the branch in the end.
    pub(super) fn tell_log(&mut self) {
        let Some(fleet) = &self.fleet else {
            return;
        };
        let log = fleet.log().unwrap_or_else(one);
        let head = "what is on the branch now, newest first:".to_owned();
        for text in [head].into_iter().chain(log) {
            self.tell_commit(text);
        }
    }

    /// A release; the image that it names.
    pub(super) async fn release(&mut self, release: &Release) -> Result<String, String> {
        let (way, manifest) = acts::released(&self.git, release)?;
        let summary = fleet::summary(&manifest);
        self.commit(way, std::slice::from_ref(&manifest), &summary)
            .await?;
        acts::release(self.stage, &mut self.git, (way, manifest)).await
    }
}
