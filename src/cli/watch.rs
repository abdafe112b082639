//! `sluice watch`: the table, redrawn at each change; into a pipe one JSON object a change.
//!
//! With `--until` it ends when the Rollout is there (0), when it cannot be any more (1), or when
//! the time is up (3), so that a pipeline can wait for a release.
//!
//! Not here: when it is there (`until`).

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use serde_json::json;

use super::connect::Cluster;
use super::until::{Until, is_held, reached};
use super::{Error, Global, Screen, get};
use crate::clock::Clock;
use crate::kubernetes::crd::{Rollout, RolloutStatus, Target};
use crate::kubernetes::workload;
use crate::rollout::plan::WorkloadKind;

/// The API server ends a watch after this time, and a new one begins.
const WATCH_SECONDS: u32 = 60;
/// Ages on the screen grow this often; a held Deployment is looked at again, too.
const TICK: Duration = Duration::from_secs(1);

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this one
    name: Option<String>,
    /// End when it is there
    #[arg(long, value_enum, requires = "name")]
    until: Option<Until>,
    /// Give up after this time, e.g. 30m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

/// Follows the Rollouts.
pub async fn watch(
    global: &Global,
    screen: &mut Screen,
    arguments: &Arguments,
) -> Result<(), Error> {
    let read = Duration::from_secs(u64::from(WATCH_SECONDS) + 15);
    let cluster = Cluster::connect_reading(global, read).await?;
    let clock = Clock::machine();
    let mut view = View {
        cluster: &cluster,
        everywhere: global.all_namespaces,
        screen,
        clock,
        rollouts: BTreeMap::new(),
    };
    let following = view.follow(arguments);
    match arguments.timeout {
        None => following.await,
        Some(timeout) => match clock.timeout(timeout, following).await {
            Ok(result) => result,
            Err(_) if arguments.until.is_none() => Ok(()),
            Err(_) => Err(Error::Late {
                what: arguments
                    .until
                    .map(Until::what)
                    .unwrap_or_default()
                    .to_owned(),
                within: timeout,
            }),
        },
    }
}

struct View<'a> {
    cluster: &'a Cluster,
    everywhere: bool,
    screen: &'a mut Screen,
    clock: Clock,
    rollouts: BTreeMap<(String, String), Rollout>,
}

impl View<'_> {
    async fn follow(&mut self, arguments: &Arguments) -> Result<(), Error> {
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
        if let Some(name) = &arguments.name {
            // A name that does not exist is told at once.
            self.cluster.rollout(name).await?;
            config = config.fields(&format!("metadata.name={name}"));
        }
        let events = watcher::watcher(self.cluster.all_rollouts(), config).default_backoff();
        let mut events = events.boxed();
        let mut heard = false;
        loop {
            let next = self.clock.timeout(TICK, events.try_next()).await;
            match next {
                Ok(Ok(Some(event))) => {
                    heard |= matches!(event, Event::InitDone);
                    self.see(event)?;
                }
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) if heard => tracing::debug!(%error, "the watch begins anew"),
                Ok(Err(error)) => return Err(failed(error)),
                Err(_) => {}
            }
            if heard {
                self.draw()?;
            }
            if self.there(arguments).await? {
                return Ok(());
            }
        }
    }

    fn see(&mut self, event: Event<Rollout>) -> Result<(), Error> {
        match event {
            Event::Init => self.rollouts.clear(),
            Event::InitDone => {}
            Event::Delete(rollout) => {
                self.rollouts.remove(&key(&rollout));
            }
            Event::Apply(rollout) | Event::InitApply(rollout) => {
                if !self.screen.is_live() {
                    self.screen.next_value(&line(&rollout, self.clock.now()))?;
                }
                self.rollouts.insert(key(&rollout), rollout);
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> Result<(), Error> {
        if !self.screen.is_live() {
            return Ok(());
        }
        let rollouts: Vec<Rollout> = self.rollouts.values().cloned().collect();
        let width = self.screen.width();
        let table = get::table(&rollouts, self.everywhere, self.clock.now(), width);
        self.screen.redraw(&table)
    }

    async fn there(&self, arguments: &Arguments) -> Result<bool, Error> {
        let (Some(name), Some(until)) = (&arguments.name, arguments.until) else {
            return Ok(false);
        };
        let key = (self.cluster.namespace.clone(), name.clone());
        let Some(rollout) = self.rollouts.get(&key) else {
            return Ok(false);
        };
        let status = rollout.status.clone().unwrap_or_default();
        // Only a state at rest can be the end, and only then it matters whether it is held.
        if reached(until, &status, false).is_none() {
            return Ok(false);
        }
        let held = self.held(&rollout.spec.target, &status).await?;
        match reached(until, &status, held) {
            None => Ok(false),
            Some(Ok(())) => Ok(true),
            Some(Err(why)) => Err(Error::Refused(why)),
        }
    }

    async fn held(&self, target: &Target, status: &RolloutStatus) -> Result<bool, Error> {
        let Target { kind, name } = target;
        let known = WorkloadKind::named(kind).unwrap_or_default();
        let named = (self.cluster.namespace.as_str(), name.as_str());
        let deployment = workload::get(&self.cluster.client, known, named).await;
        let deployment =
            deployment.map_err(|e| Error::api(format!("read the {kind} {name}"), &e))?;
        Ok(deployment.is_some_and(|deployment| is_held(&deployment, status)))
    }
}

fn failed(error: watcher::Error) -> Error {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Error::api("watch Rollouts", &error),
        other => Error::Unreachable {
            doing: "watch Rollouts".to_owned(),
            why: other.to_string(),
        },
    }
}

fn key(rollout: &Rollout) -> (String, String) {
    (rollout.namespace().unwrap_or_default(), rollout.name_any())
}

fn line(rollout: &Rollout, now: Timestamp) -> serde_json::Value {
    let status = rollout.status.clone().unwrap_or_default();
    json!({
        "at": now,
        "namespace": rollout.namespace(),
        "name": rollout.name_any(),
        "phase": status.phase,
        "message": status.message,
        "revision": status.revision,
        "run": status.run,
        "lastRun": status.last_run,
    })
}
