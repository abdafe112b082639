//! Which version of each service is in each environment, and what stands between it and the next.
//!
//! Not here: how a version gets there (`promote`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::error::Error;
use super::gates::{self, Answer, Facts, Standing};
use super::past::Stay;
use super::pipeline::Environment;
use super::places::Service;
use super::promote::Desk;
use super::version::Version;

/// A service in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The service.
    pub service: String,
    /// The environment.
    pub environment: String,
    /// Its version, where one is pinned.
    pub version: Option<Version>,
    /// When the commit was made that brought it.
    pub since: Option<Timestamp>,
    /// That commit.
    pub commit: Option<String>,
    /// The first line of its message.
    pub summary: Option<String>,
    /// What the Rollout says, where a cluster is named: its phase, or why nothing is known.
    pub phase: Option<String>,
    /// Why there is no version.
    pub why: Option<String>,
    /// The environment that comes next.
    pub next: Option<String>,
    /// Whether that one has another version.
    pub ahead: bool,
    /// The answers of the gates before the next environment.
    pub gates: Vec<Answer>,
}

/// What clusters said, by environment and service; or why they did not.
pub type Standings = BTreeMap<(String, String), Result<Option<Standing>, String>>;

impl Desk<'_> {
    /// Every service that is meant in every environment, in their order.
    pub fn places(
        &self,
        is_meant: &dyn Fn(&str) -> bool,
        standings: &Standings,
    ) -> Result<Vec<Place>, Error> {
        let mut places = Vec::new();
        for service in self.pipeline.services.iter().filter(|s| is_meant(&s.name)) {
            let mut stays = Vec::new();
            for environment in &self.pipeline.environments {
                stays.push(match self.present(environment, service) {
                    Ok(stay) => Ok(stay),
                    Err(error @ (Error::Git(_) | Error::Credential { .. })) => return Err(error),
                    Err(error) => Err(crate::causes::told(&error)),
                });
            }
            let each = self.pipeline.environments.iter().zip(&stays).enumerate();
            places.extend(each.map(|(at, (environment, stay))| {
                let next = self.pipeline.environments.get(at + 1);
                let next = next.zip(stays.get(at + 1));
                self.place(service, (environment, stay), next, standings)
            }));
        }
        Ok(places)
    }

    fn place(
        &self,
        service: &Service,
        (environment, stay): (&Environment, &Result<Stay, String>),
        next: Option<(&Environment, &Result<Stay, String>)>,
        standings: &Standings,
    ) -> Place {
        let says = standings.get(&(environment.name.clone(), service.name.clone()));
        let there = stay.as_ref().ok();
        let version = there.map(|stay| &stay.version);
        let other = next.and_then(|(_, stay)| stay.as_ref().ok());
        let ahead = next.is_some() && version != other.map(|stay| &stay.version);
        let facts = Facts {
            environment: &environment.name,
            since: there.map(|stay| stay.since),
            rollout: says
                .and_then(|says| says.as_ref().ok())
                .and_then(Option::as_ref),
            now: self.now,
        };
        let gates = match (next, version) {
            (Some((next, _)), Some(version)) if ahead => {
                gates::answers(&next.gates, version, &facts)
            }
            _ => Vec::new(),
        };
        Place {
            service: service.name.clone(),
            environment: environment.name.clone(),
            version: version.cloned(),
            since: there.map(|stay| stay.since),
            commit: there.map(|stay| stay.commit.to_string()),
            summary: there.map(|stay| stay.summary.clone()),
            phase: says.map(phase),
            why: stay.as_ref().err().cloned(),
            next: next
                .filter(|_| there.is_some())
                .map(|(next, _)| next.name.clone()),
            ahead,
            gates,
        }
    }
}

fn phase(says: &Result<Option<Standing>, String>) -> String {
    match says {
        Ok(Some(standing)) => standing.phase.clone(),
        Ok(None) => "no Rollout".to_owned(),
        Err(why) => why.clone(),
    }
}
