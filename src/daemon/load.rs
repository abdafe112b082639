//! Synthetic load: the smoke tests that rules ask for, in a loop, to both arms of each run.
//!
//! Guarantees: a try is made of both arms at once and counts when both have come to something; no more
//! tries are under way than [`MOST`] of a rule; nothing is sent for a Rollout that is not watched any
//! more. What was not handed in when the daemon ends is counted nowhere.
//!
//! Not here: what counts (`rollout::load`), and the tests themselves (`crate::smoke`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::smoke::{InForce, Tests, unknown};
use crate::clock::Clock;
use crate::prometheus::{Key, Readings, Subject};
use crate::rollout::load::{Pair, Tally};
use crate::rollout::rule::{Kind, Load};
use crate::rollout::smoke::{Probe, Words};
use crate::smoke::Asker;

/// Tries of one rule that are under way at a time; where they hang, fewer are begun.
const MOST: usize = 32;

/// The loads of all Rollouts that are watched.
#[derive(Debug)]
pub struct Loads {
    clock: Clock,
    asker: Asker,
    tests: InForce,
    /// By Rollout and rule.
    going: BTreeMap<(Key, String), Going>,
}

/// One rule's load; it ends when this is dropped.
#[derive(Debug)]
struct Going {
    order: Order,
    came: Arc<Mutex<Came>>,
    _task: JoinSet<()>,
}

/// What is asked of whom, and how often.
#[derive(Debug, Clone, PartialEq)]
struct Order {
    load: Load,
    /// What is filled in for the canary, and for stable.
    words: [Words; 2],
}

/// What came of it since it was handed in last.
#[derive(Debug, Default)]
struct Came {
    tally: Tally,
    /// Why nothing can be asked now.
    lacks: Option<String>,
    newest: Option<Timestamp>,
}

impl Loads {
    /// Nothing is sent yet.
    pub fn new(clock: Clock, asker: Asker, tests: InForce) -> Self {
        Self {
            clock,
            asker,
            tests,
            going: BTreeMap::new(),
        }
    }

    /// Begins what is asked for now, and ends what is not any more.
    pub fn follow(&mut self, subjects: &[Subject]) {
        let mut before = std::mem::take(&mut self.going);
        for subject in subjects {
            for rule in &subject.rules {
                let Kind::Load(load) = &rule.kind else {
                    continue;
                };
                let place = (subject.key(), rule.name.clone());
                let order = Order::of(subject, load);
                let goes_on = before.remove(&place).filter(|going| going.order == order);
                let going = goes_on.unwrap_or_else(|| self.begin(order));
                self.going.insert(place, going);
            }
        }
    }

    fn begin(&self, order: Order) -> Going {
        let came = Arc::<Mutex<Came>>::default();
        let mut task = JoinSet::new();
        task.spawn(pour(
            order.clone(),
            self.tests.clone(),
            self.asker.clone(),
            self.clock,
            Arc::clone(&came),
        ));
        Going {
            order,
            came,
            _task: task,
        }
    }

    /// Adds what came of the loads to the readings of their Rollouts.
    pub fn hand_in(&mut self, readings: &mut Readings) {
        for ((key, rule), going) in &self.going {
            let Some(reading) = readings.get_mut(key) else {
                continue;
            };
            let mut came = lock(&going.came);
            if let Some(sample) = came.tally.take(rule, self.clock.now()) {
                came.newest = Some(sample.to);
                reading.samples.push(sample);
            }
            if let Some(newest) = came.newest {
                reading.newest_of.insert(rule.clone(), newest);
            }
            if let Some(lacks) = &came.lacks {
                reading.add_absent(format!("{rule}: {lacks}"));
            }
        }
    }
}

impl Order {
    fn of(subject: &Subject, load: &Load) -> Self {
        let words = |service: &str| {
            Words::from([
                ("namespace", subject.namespace.clone()),
                ("rollout", subject.name.clone()),
                ("service", service.to_owned()),
                ("stable", subject.service.clone()),
                ("port", subject.port.clone()),
            ])
        };
        Self {
            load: load.clone(),
            words: [words(&subject.canary_service), words(&subject.service)],
        }
    }

    /// What is asked of the canary and of stable, and the time that each has; or why nothing can be.
    fn probes(&self, known: &Tests) -> Result<([Probe; 2], Duration), String> {
        let name = &self.load.test;
        let test = known.get(name).ok_or_else(|| unknown(name, known))?;
        if let Probe::Job(_) = test.probe {
            return Err(format!(
                "smoke test {name} is a Job, wanted http, tcp or grpc: load is many small requests"
            ));
        }
        let [canary, stable] = &self.words;
        let namespace = canary.get("namespace").map_or("", String::as_str);
        let is_for = test.is_for(namespace);
        is_for.map_err(|why| format!("smoke test {name} {why}"))?;
        let filled = |words| {
            let filled = test.probe.filled(words);
            filled.map_err(|why| format!("smoke test {name}: {why}"))
        };
        let probes = [filled(canary)?, filled(stable)?];
        if probes[0] == probes[1] {
            return Err(format!(
                "smoke test {name} asks the same of both arms; {{{{service}}}} is the arm's own Service"
            ));
        }
        Ok((probes, test.timeout))
    }
}

/// Sends one rule's load for ever.
async fn pour(order: Order, tests: InForce, asker: Asker, clock: Clock, came: Arc<Mutex<Came>>) {
    let mut tries = FuturesUnordered::new();
    let mut pause = Box::pin(clock.sleep(order.load.every));
    loop {
        tokio::select! {
            () = &mut pause => {
                pause = Box::pin(clock.sleep(order.load.every));
                match order.probes(&tests.now()) {
                    Ok(_) if tries.len() >= MOST => {}
                    Ok((probes, timeout)) => tries.push(one(probes, timeout, &asker, clock)),
                    Err(why) => lock(&came).lacks = Some(why),
                }
            }
            Some(pair) = tries.next() => {
                let mut came = lock(&came);
                came.lacks = None;
                came.tally.add(pair);
            }
        }
    }
}

async fn one(probes: [Probe; 2], timeout: Duration, asker: &Asker, clock: Clock) -> Pair {
    let begun = clock.now();
    let [canary, stable] = &probes;
    let canary = asker.attempt(canary, timeout, clock);
    let stable = asker.attempt(stable, timeout, clock);
    let (canary, stable) = futures::join!(canary, stable);
    Pair {
        begun,
        canary: canary.failure.is_none(),
        stable: stable.failure.is_none(),
    }
}

fn lock(came: &Mutex<Came>) -> MutexGuard<'_, Came> {
    came.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::prometheus::Reading;
    use crate::rollout::evidence::ArmCounts;
    use crate::rollout::rule::lint;
    use crate::smoke::file;

    fn subject(load: &str) -> Subject {
        let rules = lint(&format!("- name: probe\n  load: {load}\n"), "r").unwrap();
        Subject {
            namespace: "shop".into(),
            name: "api".into(),
            ingress: "api".into(),
            other_ingresses: Vec::new(),
            service: "api".into(),
            canary_service: "api-canary".into(),
            port: "80".into(),
            other_ports: Vec::new(),
            workload: "api".into(),
            canary_workload: "api-canary".into(),
            canary_pods: String::new(),
            stable_pods: String::new(),
            rules: rules.into_iter().map(Arc::new).collect(),
            cursor: None,
            since: Timestamp::UNIX_EPOCH,
        }
    }

    fn tests(text: &str) -> InForce {
        InForce::of(file::read("t.yaml", text).unwrap())
    }

    const HEALTH: &str = "- {name: health, tcp: {address: '{{service}}.{{namespace}}:{{port}}'}}\n";

    /// The canary's answers are bad, each third hangs; stable's are good.
    fn asker(clock: Clock, asked: Arc<AtomicU32>) -> Asker {
        Asker::with(move |probe| {
            let asked = asked.clone();
            Box::pin(async move {
                if probe.to_string() == "connect to api.shop:80" {
                    return Ok(());
                }
                assert_eq!(probe.to_string(), "connect to api-canary.shop:80");
                if asked.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
                    clock.sleep(Duration::from_secs(60)).await;
                }
                Err("refused".to_owned())
            })
        })
    }

    fn read(loads: &mut Loads, subject: &Subject) -> Reading {
        let mut readings = Readings::from([(subject.key(), Reading::default())]);
        loads.hand_in(&mut readings);
        readings.remove(&subject.key()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn both_arms_are_asked_alike_and_a_hanging_answer_is_a_bad_one() {
        let clock = Clock::scaled(Timestamp::UNIX_EPOCH, 1.0);
        let asked = Arc::<AtomicU32>::default();
        let mut loads = Loads::new(clock, asker(clock, asked.clone()), tests(HEALTH));
        let subject = subject("{test: health, every: 100ms}");
        loads.follow(std::slice::from_ref(&subject));
        clock.sleep(Duration::from_millis(1_050)).await;
        let reading = read(&mut loads, &subject);
        let counts = |total, bad| ArmCounts::Proportion { total, bad };
        assert_eq!(reading.samples.len(), 1);
        // Three of ten hang, and count when their time is over.
        assert_eq!(reading.samples[0].canary, counts(7.0, 7.0));
        assert_eq!(reading.samples[0].stable, counts(7.0, 0.0));
        assert_eq!(reading.newest_of["probe"], clock.now());
        assert_eq!(read(&mut loads, &subject).samples, []);
        clock.sleep(Duration::from_secs(30)).await;
        let sample = read(&mut loads, &subject).samples.remove(0);
        assert!(sample.canary.total() > 100.0);
        assert_eq!(
            sample.canary.total().to_bits(),
            sample.stable.total().to_bits()
        );
        // Not watched any more: nothing is sent.
        loads.follow(&[]);
        tokio::task::yield_now().await;
        let before = asked.load(Ordering::Relaxed);
        clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(asked.load(Ordering::Relaxed), before);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_asked_is_told_and_counts_nothing() {
        let clock = Clock::scaled(Timestamp::UNIX_EPOCH, 1.0);
        let same = "- {name: health, tcp: {address: 'api:80'}}\n";
        let alike = "- {name: health, http: {url: 'http://api', matches: up, json: [{path: '$.a', is: 1}]}}\n";
        let word = "- {name: health, tcp: {address: '{{host}}:80'}}\n";
        let others = "- {name: health, namespaces: [pay], tcp: {address: '{{service}}:80'}}\n";
        for (text, wanted) in [
            (
                "- {name: other, tcp: {address: 'a:1'}}\n",
                "probe: there is no smoke test \"health\"; known: other",
            ),
            (
                same,
                "probe: smoke test health asks the same of both arms; {{service}} is the arm's own Service",
            ),
            (
                alike,
                "probe: smoke test health asks the same of both arms; {{service}} is the arm's own Service",
            ),
            (
                others,
                "probe: smoke test health is not for Rollouts of shop, only for those of pay",
            ),
            (
                word,
                "probe: smoke test health: \"{{host}}:80\" names \"host\", known here: namespace, port, rollout, service, stable",
            ),
        ] {
            let mut loads = Loads::new(clock, asker(clock, Arc::default()), tests(text));
            let subject = subject("{test: health}");
            loads.follow(std::slice::from_ref(&subject));
            clock.sleep(Duration::from_secs(1)).await;
            let reading = read(&mut loads, &subject);
            assert_eq!(reading.absent.as_deref(), Some(wanted));
            assert_eq!(reading.samples, []);
        }
    }
}
