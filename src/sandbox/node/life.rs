//! The life of a pod on the sandbox's node: pure, a state machine over time.
//!
//! [`Life::advance`] brings a pod to where it is at a time; [`Life::state`] is what its
//! containers show. All containers of a pod share one life. After the kubelet: a process that
//! ends is started again after a second, then after 10 s, 20 s and so on up to five minutes.
//! Not here: the API's form of it (`report.rs`), and going away (the node's business).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::behaviour::{Behaviour, Doom, Fate, Misunderstood};
use crate::clock::elapsed;
use crate::sandbox::drive::after;

const CRASHES_AFTER: Duration = Duration::from_millis(500);
const FIRST_RESTART: Duration = Duration::from_secs(1);
const PULL_SHOWN: Duration = Duration::from_secs(1);
const BACK_OFF: Duration = Duration::from_secs(10);
const BACK_OFF_MOST: Duration = Duration::from_secs(300);
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// Where a pod's containers are.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// Not yet begun.
    New,
    /// Cannot start: something it needs does not exist.
    Blocked(String),
    /// Never starts: its annotations cannot be understood.
    Misunderstood(String),
    /// The image could not be pulled; tried again at `until` after a pause.
    PullFailed {
        until: Timestamp,
    },
    PullBackOff {
        until: Timestamp,
    },
    /// The process runs. `ready_at` is none if it never gets ready.
    Running {
        since: Timestamp,
        ready_at: Option<Timestamp>,
        dies_at: Option<Timestamp>,
    },
    /// The process has ended, and starts again at `until`.
    Ended {
        until: Timestamp,
    },
    BackOff {
        until: Timestamp,
    },
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub started: Timestamp,
    pub ended: Timestamp,
    pub exit_code: i32,
    pub reason: &'static str,
}

/// A pod's life so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    behaviour: Result<Behaviour, Misunderstood>,
    pub begun: Timestamp,
    pub stage: Stage,
    pub restarts: i32,
    pub last: Option<Ending>,
    /// When readiness last changed.
    pub turned: Timestamp,
    pub ready: bool,
    crashes: u32,
    pulls: u32,
}

impl Life {
    /// A pod that has just come to the node.
    pub fn new(behaviour: Result<Behaviour, Misunderstood>, now: Timestamp) -> Self {
        Self {
            behaviour,
            begun: now,
            stage: Stage::New,
            restarts: 0,
            last: None,
            turned: now,
            ready: false,
            crashes: 0,
            pulls: 0,
        }
    }

    /// A pod that was ready since `since` when the node itself started.
    pub fn resumed(
        behaviour: Result<Behaviour, Misunderstood>,
        begun: Timestamp,
        since: Timestamp,
        restarts: i32,
    ) -> Self {
        let mut life = Self::new(behaviour, begun);
        life.restarts = restarts;
        life.turned = since;
        life.ready = true;
        let dies_at = life.strikes_at(since);
        life.stage = Stage::Running {
            since: begun,
            ready_at: Some(since),
            dies_at,
        };
        life
    }

    pub fn behaviour(&self) -> Option<&Behaviour> {
        self.behaviour.as_ref().ok()
    }

    /// Whether a process runs that could answer.
    pub fn runs(&self) -> bool {
        matches!(self.stage, Stage::Running { .. })
    }

    /// Lives on until `now`. `missing` says what the pod needs and does not exist.
    pub fn advance(&mut self, missing: Option<&str>, now: Timestamp) {
        while self.step(missing, now) {}
    }

    /// When something happens by itself.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::New => Some(self.begun),
            Stage::Blocked(_) | Stage::Misunderstood(_) => None,
            Stage::PullFailed { until }
            | Stage::PullBackOff { until }
            | Stage::Ended { until }
            | Stage::BackOff { until } => Some(until),
            Stage::Running {
                ready_at, dies_at, ..
            } => {
                let ready_at = ready_at.filter(|_| !self.ready);
                ready_at.into_iter().chain(dies_at).min()
            }
        }
    }

    fn step(&mut self, missing: Option<&str>, now: Timestamp) -> bool {
        let before = self.stage.clone();
        let was_ready = self.ready;
        match before {
            Stage::New => self.begin(missing, self.begun),
            Stage::Blocked(_) => self.begin(missing, now),
            Stage::PullFailed { until } if until <= now => {
                let until = after(until, back_off(self.pulls));
                self.pulls += 1;
                self.stage = Stage::PullBackOff { until };
            }
            Stage::PullBackOff { until } if until <= now => {
                self.stage = Stage::PullFailed {
                    until: after(until, PULL_SHOWN),
                };
            }
            Stage::Running {
                since,
                ready_at,
                dies_at,
            } => self.run(since, ready_at, dies_at, now),
            Stage::Ended { until } | Stage::BackOff { until } if until <= now => {
                self.restarts += 1;
                self.start(until);
            }
            _ => {}
        }
        self.stage != before || self.ready != was_ready
    }

    fn begin(&mut self, missing: Option<&str>, now: Timestamp) {
        let fate = match &self.behaviour {
            Err(problem) => {
                self.stage = Stage::Misunderstood(problem.to_string());
                return;
            }
            Ok(behaviour) => behaviour.fate.map(|doom| doom.fate),
        };
        match missing {
            _ if fate == Some(Fate::Pull) => {
                self.stage = Stage::PullFailed {
                    until: after(now, PULL_SHOWN),
                }
            }
            Some(missing) => self.stage = Stage::Blocked(missing.to_owned()),
            None => self.start(now),
        }
    }

    fn start(&mut self, now: Timestamp) {
        let Ok(behaviour) = &self.behaviour else {
            return;
        };
        let hangs = matches!(
            behaviour.fate,
            Some(Doom {
                fate: Fate::Hang,
                ..
            })
        );
        let crashes = behaviour
            .fate
            .is_some_and(|doom| doom.is_deadly() && doom.after.is_none());
        self.stage = Stage::Running {
            since: now,
            ready_at: (!hangs && !crashes).then(|| after(now, behaviour.start_after)),
            dies_at: crashes.then(|| after(now, CRASHES_AFTER)),
        };
    }

    fn run(
        &mut self,
        since: Timestamp,
        ready_at: Option<Timestamp>,
        dies_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        if let Some(at) = ready_at.filter(|at| !self.ready && *at <= now) {
            self.ready = true;
            self.turned = at;
            self.stage = Stage::Running {
                since,
                ready_at,
                dies_at: self.strikes_at(at),
            };
        } else if let Some(at) = dies_at.filter(|at| *at <= now) {
            self.end(since, at);
        }
    }

    /// When the fate strikes a pod that became ready then.
    fn strikes_at(&self, ready: Timestamp) -> Option<Timestamp> {
        let doom = self
            .behaviour
            .as_ref()
            .ok()?
            .fate
            .filter(|doom| doom.is_deadly())?;
        Some(after(ready, doom.after?))
    }

    fn end(&mut self, started: Timestamp, ended: Timestamp) {
        let oom = self
            .behaviour()
            .and_then(|b| b.fate)
            .is_some_and(|doom| doom.fate == Fate::Oom);
        let (exit_code, reason) = if oom {
            (137, "OOMKilled")
        } else {
            (1, "Error")
        };
        self.last = Some(Ending {
            started,
            ended,
            exit_code,
            reason,
        });
        if self.ready {
            self.ready = false;
            self.turned = ended;
        }
        if elapsed(started, ended) >= FORGIVEN_AFTER {
            self.crashes = 0;
        }
        self.stage = match self.crashes {
            0 => Stage::Ended {
                until: after(ended, FIRST_RESTART),
            },
            crashes => Stage::BackOff {
                until: after(ended, back_off(crashes - 1)),
            },
        };
        self.crashes += 1;
    }
}

impl Doom {
    fn is_deadly(self) -> bool {
        matches!(self.fate, Fate::Crash | Fate::Oom)
    }
}

/// 10 s, 20 s, 40 s ... up to five minutes.
fn back_off(times: u32) -> Duration {
    BACK_OFF
        .saturating_mul(1 << times.min(8))
        .min(BACK_OFF_MOST)
}

/// A new life, or the one that the pod had when an earlier node left it ready.
pub fn life_of(pod: &Pod, now: Timestamp) -> Life {
    let behaviour = Behaviour::parse(pod.annotations());
    let resumed = || {
        let status = pod.status.as_ref()?;
        let ready = status
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == "Ready" && c.status == "True")?;
        let since = ready.last_transition_time.as_ref()?.0;
        let begun = status.start_time.as_ref()?.0;
        let restarts = status
            .container_statuses
            .iter()
            .flatten()
            .map(|container| container.restart_count)
            .max()?;
        Some(Life::resumed(behaviour.clone(), begun, since, restarts))
    };
    resumed().unwrap_or_else(|| Life::new(behaviour.clone(), now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::node::behaviour::PREFIX;

    fn life(pairs: &[(&str, &str)]) -> Life {
        let annotations = pairs
            .iter()
            .map(|(name, text)| (format!("{PREFIX}{name}"), (*text).to_owned()));
        Life::new(Behaviour::parse(&annotations.collect()), at(0.0))
    }

    fn at(second: f64) -> Timestamp {
        after(Timestamp::UNIX_EPOCH, Duration::from_secs_f64(second))
    }

    /// In a word, where the life is.
    fn word(life: &Life) -> String {
        let stage = match &life.stage {
            Stage::New => "new",
            Stage::Blocked(_) => "blocked",
            Stage::Misunderstood(_) => "misunderstood",
            Stage::PullFailed { .. } => "pull-failed",
            Stage::PullBackOff { .. } => "pull-back-off",
            Stage::Running { .. } if life.ready => "ready",
            Stage::Running { .. } => "running",
            Stage::Ended { .. } => "ended",
            Stage::BackOff { .. } => "back-off",
        };
        format!("{stage} {}", life.restarts)
    }

    fn check(annotations: &[(&str, &str)], timeline: &[(f64, &str)]) {
        let mut life = life(annotations);
        for (second, expected) in timeline {
            life.advance(None, at(*second));
            assert_eq!(word(&life), *expected, "at {second}");
        }
        // Going straight to the end comes to the same.
        let mut direct = self::life(annotations);
        direct.advance(None, at(timeline.last().unwrap().0));
        assert_eq!(direct, life);
    }

    #[test]
    fn a_healthy_pod_gets_ready_after_its_start() {
        check(
            &[("start-after", "2s")],
            &[
                (0.0, "running 0"),
                (1.9, "running 0"),
                (2.0, "ready 0"),
                (999.0, "ready 0"),
            ],
        );
    }

    #[test]
    fn a_crashing_pod_restarts_with_growing_pauses() {
        let timeline = [
            (0.0, "running 0"),
            (0.5, "ended 0"),
            (1.5, "running 1"),
            (2.0, "back-off 1"),
            (12.0, "running 2"),
            (12.5, "back-off 2"),
            (32.5, "running 3"),
        ];
        check(&[("fate", "crash")], &timeline);
    }

    #[test]
    fn a_pod_may_die_after_it_was_ready() {
        let timeline = [
            (1.0, "ready 0"),
            (30.9, "ready 0"),
            (31.0, "ended 0"),
            (32.0, "running 1"),
            (33.0, "ready 1"),
        ];
        check(&[("fate", "oom after 30s")], &timeline);
        let mut life = life(&[("fate", "oom after 30s")]);
        life.advance(None, at(31.0));
        assert_eq!(life.last.unwrap().reason, "OOMKilled");
    }

    #[test]
    fn a_hanging_pod_runs_and_an_unpullable_one_does_not() {
        check(
            &[("fate", "hang")],
            &[(0.0, "running 0"), (999.0, "running 0")],
        );
        check(
            &[("fate", "pull")],
            &[
                (0.0, "pull-failed 0"),
                (1.0, "pull-back-off 0"),
                (11.0, "pull-failed 0"),
                (12.0, "pull-back-off 0"),
            ],
        );
    }

    #[test]
    fn a_pod_waits_for_what_it_needs() {
        let mut life = life(&[]);
        life.advance(Some("configmap \"a\" not found"), at(5.0));
        assert_eq!(word(&life), "blocked 0");
        assert_eq!(life.wakes_at(), None);
        life.advance(None, at(9.0));
        assert_eq!(life.wakes_at(), Some(at(10.0)));
    }

    #[test]
    fn a_misunderstood_pod_never_runs_and_says_why() {
        let mut life = life(&[("errors", "lots")]);
        life.advance(None, at(99.0));
        assert!(matches!(&life.stage, Stage::Misunderstood(why) if why.contains("\"lots\"")));
    }
}
