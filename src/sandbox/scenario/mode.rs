//! The three modes of the gate, in which the same scenarios are played.
//!
//! A scenario is written for the policies. In another mode its cluster has the webhook, or nothing, and its
//! daemon is told so. What cannot hold in a mode says so itself, with the reason (`notWith`); what is
//! about a mode of its own (it sets the daemon's `gate`, or has no policies) is played as it is. In mode
//! `paused` nobody asks that a Deployment is not paused.
//!
//! Not here: what a mode does.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::Check;
use super::format::{Scenario, Step};

/// How the gate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// By admission policies.
    #[default]
    Policy,
    /// By the daemon's webhook.
    Webhook,
    /// By Deployments that are kept paused.
    Paused,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Policy, Self::Webhook, Self::Paused];

    /// Its name, as settings have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Webhook => "webhook",
            Self::Paused => "paused",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mode = Self::ALL.into_iter().find(|mode| mode.name() == text);
        mode.ok_or_else(|| format!("found {text:?}, wanted policy, webhook or paused"))
    }
}

impl Scenario {
    /// The same with the gate in this mode.
    ///
    /// # Errors
    /// Why it cannot hold there.
    pub fn in_mode(mut self, mode: Mode) -> Result<Self, String> {
        if let Some(why) = self.not_with.get(&mode) {
            return Err(why.clone());
        }
        let own = !self.cluster.gate || self.cluster.webhook || self.daemon["gate"].is_string();
        if mode == Mode::Policy || own {
            return Ok(self);
        }
        self.cluster.webhook = mode == Mode::Webhook;
        self.cluster.gate = self.cluster.webhook;
        if self.with_daemon {
            let mut daemon = if self.daemon.is_object() {
                self.daemon
            } else {
                json!({})
            };
            json_patch::merge(&mut daemon, &gate(mode));
            self.daemon = daemon;
        }
        if mode == Mode::Paused {
            self.expects_no_open_deployment();
        }
        Ok(self)
    }
}

impl Scenario {
    /// In mode `paused` a Deployment is paused between runs as well, so that it is not is no more asked.
    fn expects_no_open_deployment(&mut self) {
        for (_, step) in &mut self.steps {
            let checks = match step {
                Step::Expect(expect) => &mut expect.that,
                Step::Always(checks) => checks,
                Step::Run(run) => &mut run.then,
                _ => continue,
            };
            for check in checks {
                if let Check::Deployment(check) = check {
                    check.paused = check.paused.filter(|paused| *paused);
                }
            }
        }
    }
}

fn gate(mode: Mode) -> Value {
    if mode == Mode::Webhook {
        json!({"gate": "webhook", "webhook": {"namespace": "sluice-system"}})
    } else {
        json!({"gate": mode.name()})
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sandbox::scenario::parse;

    fn scenario(header: &str) -> Scenario {
        let text = format!("{{name: a, {header} steps: []}}");
        parse("a", &text, Path::new("")).unwrap()
    }

    #[test]
    fn the_daemon_and_the_cluster_are_told_the_mode() {
        let plain = || scenario("daemon: {log: {level: debug}},");
        let webhook = plain().in_mode(Mode::Webhook).unwrap();
        assert!(webhook.cluster.gate && webhook.cluster.webhook);
        assert_eq!(webhook.daemon["gate"], "webhook");
        assert_eq!(webhook.daemon["log"]["level"], "debug");
        let paused = plain().in_mode(Mode::Paused).unwrap();
        assert!(!paused.cluster.gate && !paused.cluster.webhook);
        assert_eq!(paused.daemon["gate"], "paused");
        assert_eq!(
            plain().in_mode(Mode::Policy).unwrap().daemon,
            plain().daemon
        );
    }

    #[test]
    fn a_scenario_with_a_mode_of_its_own_keeps_it_and_one_that_cannot_hold_says_why() {
        let own = scenario("cluster: {gate: false}, daemon: {gate: paused},");
        assert_eq!(own.in_mode(Mode::Webhook).unwrap().daemon["gate"], "paused");
        let not = scenario("notWith: {paused: it wants to},");
        assert_eq!(not.in_mode(Mode::Paused).unwrap_err(), "it wants to");
    }
}
