//! Which version of each service is in each environment, and what stands between it and the next.
//!
//! Not here: how a version gets there (`promote`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::error::Error;
use super::gates::{self, Answer, Facts, Since, Standing};
use super::pipeline::Environment;
use super::places::Service;
use super::promote::{Desk, Seen};
use super::version::Version;
use crate::git;

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

impl Place {
    /// The gates that are shut before the next environment.
    pub fn shut(&self) -> impl Iterator<Item = &Answer> {
        self.gates.iter().filter(|answer| !answer.open)
    }

    /// Whether its version may go on now.
    pub fn may_go(&self) -> bool {
        self.ahead && self.shut().next().is_none()
    }
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
        let services = self.pipeline.services.iter();
        let services: Vec<&Service> = services.filter(|s| is_meant(&s.name)).collect();
        let mut columns = Vec::new();
        for environment in &self.pipeline.environments {
            columns.push(self.column(environment, &services)?);
        }
        let mut places = Vec::new();
        for (row, service) in services.into_iter().enumerate() {
            let all = columns.iter().filter_map(|column| column.get(row));
            let each: Vec<_> = self.pipeline.environments.iter().zip(all).collect();
            places.extend(each.iter().enumerate().map(|(at, here)| {
                let next = each.get(at + 1).copied();
                self.place(service, *here, next, standings)
            }));
        }
        Ok(places)
    }

    /// What an environment has of each service, or why that is not known; what concerns all is an error.
    fn column(
        &self,
        environment: &Environment,
        services: &[&Service],
    ) -> Result<Vec<Result<Seen, String>>, Error> {
        let all = match self.present_of_all(environment, services) {
            // Only this environment's: one that was just added, say.
            Err(error @ Error::Git(git::Error::NoBranch { .. })) => {
                let why = crate::causes::told(&error);
                return Ok(services.iter().map(|_| Err(why.clone())).collect());
            }
            all => all?,
        };
        all.into_iter()
            .map(|seen| match seen {
                Ok(seen) => Ok(Ok(seen)),
                Err(error @ (Error::Git(_) | Error::Credential { .. })) => Err(error),
                Err(error) => Ok(Err(crate::causes::told(&error))),
            })
            .collect()
    }

    fn place(
        &self,
        service: &Service,
        (environment, seen): (&Environment, &Result<Seen, String>),
        next: Option<(&Environment, &Result<Seen, String>)>,
        standings: &Standings,
    ) -> Place {
        let says = standings.get(&(environment.name.clone(), service.name.clone()));
        let there = seen.as_ref().ok();
        let version = there.map(|seen| &seen.version);
        let other = next.and_then(|(_, seen)| seen.as_ref().ok());
        let other = other.map(|seen| &seen.version);
        let same = version
            .zip(other)
            .is_some_and(|(one, other)| one.agrees(other));
        let ahead = next.is_some() && !same;
        let commit = there.and_then(|seen| seen.commit.as_ref());
        let facts = Facts {
            environment: &environment.name,
            to: next.map_or("", |(next, _)| &next.name),
            service,
            since: there.map_or(Since::Over, |seen| seen.since),
            rollout: says
                .and_then(|says| says.as_ref().ok())
                .and_then(Option::as_ref),
            now: self.now,
            smoked: None,
            target_pins: next
                .zip(other)
                .map(|((next, _), other)| next.follows().is_some() || other.digest.is_some()),
            despite: None,
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
            since: there.and_then(|seen| seen.since.time()),
            commit: commit.map(|(commit, _)| commit.clone()),
            summary: commit.map(|(_, summary)| summary.clone()),
            phase: says.map(phase),
            why: seen.as_ref().err().cloned(),
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
