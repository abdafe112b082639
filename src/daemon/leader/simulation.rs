//! Candidates against one lease under everything that may happen to them, by seed: requests lost
//! before and after they take effect, late, or taken after they were given up; clocks that run
//! apart; processes that are frozen, killed and started anew; a lease that is deleted.
//!
//! At every step at most one candidate leads; when the trouble ends one does, and stays.

use std::time::Duration;

use proptest::prelude::*;

use super::decide::{Act, Knows, Ticks, Timing, decide};
use crate::kubernetes::lease::{Record, Stored};
use crate::stats::splitmix::SplitMix;

const TIMING: Timing = Timing {
    lease: Duration::from_secs(15),
    renew: Duration::from_secs(10),
    retry: Duration::from_secs(2),
};
/// Milliseconds of one step.
const STEP: u64 = 20;
/// Steps of trouble, and then without.
const TROUBLE: u64 = 120_000 / STEP;
const CALM: u64 = 60_000 / STEP;
/// Clocks run this much too slow or too fast: together less than `lease / renew`.
const SLOWEST: f64 = 0.83;
const FASTEST: f64 = 1.2;

/// Random numbers.
struct Random(SplitMix);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    /// Whether something that happens once in so many times happens.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

#[derive(Debug, Clone)]
enum Request {
    Read,
    Make,
    Write {
        record: Record,
        over: Option<String>,
    },
}

/// A request on its way.
#[derive(Debug, Clone)]
struct Flight {
    request: Request,
    /// By the sender's clock.
    sent: Ticks,
    patience: Duration,
    /// When it takes effect; never, if it is lost before.
    effect: Option<u64>,
    /// When the answer is there; never, if that is lost.
    answer: Option<u64>,
    result: Option<Result<Option<Stored>, ()>>,
}

struct Candidate {
    name: String,
    knows: Knows,
    rate: f64,
    frozen_until: u64,
    flight: Option<Flight>,
    lives: u64,
}

impl Candidate {
    fn clock(&self, now: u64) -> Ticks {
        Duration::from_millis(now).mul_f64(self.rate)
    }

    fn leads(&self, now: u64) -> bool {
        self.knows.leads(&TIMING, self.clock(now)).is_some()
    }
}

#[derive(Default)]
struct Server {
    lease: Option<Stored>,
    version: u64,
}

impl Server {
    fn take(&mut self, request: &Request) -> Result<Option<Stored>, ()> {
        let (record, over) = match request {
            Request::Read => return Ok(self.lease.clone()),
            Request::Make => (None, &None),
            Request::Write { record, over } => (Some(record.clone()), over),
        };
        if self.lease.as_ref().map(|lease| &lease.version) != over.as_ref() {
            return Err(());
        }
        self.version += 1;
        self.lease = Some(Stored {
            record,
            version: self.version.to_string(),
        });
        Ok(self.lease.clone())
    }
}

struct World {
    random: Random,
    now: u64,
    server: Server,
    candidates: Vec<Candidate>,
    /// Given up by their senders, and perhaps taken all the same.
    astray: Vec<Flight>,
    trouble: bool,
}

impl World {
    fn new(seed: u64, candidates: usize) -> Self {
        let mut random = Random(SplitMix(seed));
        let new = |index: usize| Candidate {
            name: format!("candidate-{index}"),
            knows: Knows::default(),
            rate: SLOWEST + (FASTEST - SLOWEST) * (random.below(1001) as f64 / 1000.0),
            frozen_until: 0,
            flight: None,
            lives: 0,
        };
        let candidates = (0..candidates).map(new).collect();
        Self {
            random,
            now: 0,
            server: Server::default(),
            candidates,
            astray: Vec::new(),
            trouble: true,
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        if self.trouble {
            self.harm();
        }
        for flight in &mut self.astray {
            if flight.effect.is_some_and(|at| at <= self.now) {
                flight.effect = None;
                let _ = self.server.take(&flight.request);
            }
        }
        self.astray.retain(|flight| flight.effect.is_some());
        for index in 0..self.candidates.len() {
            self.run(index);
            self.check();
        }
    }

    fn check(&self) {
        let leaders = self.candidates.iter().filter(|c| c.leads(self.now));
        let leaders: Vec<&str> = leaders.map(|c| c.name.as_str()).collect();
        assert!(leaders.len() <= 1, "at {} ms: {leaders:?}", self.now);
    }

    fn run(&mut self, index: usize) {
        self.fly(index);
        let candidate = &mut self.candidates[index];
        if candidate.frozen_until > self.now {
            return;
        }
        let clock = candidate.clock(self.now);
        if candidate.flight.is_none() {
            let request = match decide(&candidate.knows, &candidate.name, &TIMING, clock) {
                Act::Wait { .. } => return,
                Act::Look => Request::Read,
                Act::Make => Request::Make,
                Act::Write { record, over } => {
                    candidate.knows.writes(over.as_deref());
                    Request::Write { record, over }
                }
            };
            let patience = candidate.knows.patience(&TIMING, clock);
            let flight = self.send(request, clock, patience);
            self.candidates[index].flight = Some(flight);
        }
    }

    fn send(&mut self, request: Request, sent: Ticks, patience: Duration) -> Flight {
        let slow = self.trouble && self.random.once_in(10);
        let longest = if slow { 20_000 } else { 60 };
        let effect = self.now + self.random.below(longest);
        let answer = effect + self.random.below(longest);
        let mut lost = || self.trouble && self.random.once_in(8);
        Flight {
            request,
            sent,
            patience,
            effect: Some(effect).filter(|_| !lost()),
            answer: Some(answer).filter(|_| !lost()),
            result: None,
        }
    }

    /// Lets a request take effect, be answered or be given up.
    fn fly(&mut self, index: usize) {
        let candidate = &mut self.candidates[index];
        let Some(mut flight) = candidate.flight.take() else {
            return;
        };
        if flight.effect.is_some_and(|at| at <= self.now) {
            flight.effect = None;
            flight.result = Some(self.server.take(&flight.request));
        }
        let clock = candidate.clock(self.now);
        let awake = candidate.frozen_until <= self.now;
        let answered = flight.answer.is_some_and(|at| at <= self.now);
        match flight.result.clone().filter(|_| awake && answered) {
            Some(result) => answer(candidate, &flight, result, clock),
            None if awake && clock >= flight.sent + flight.patience => {
                candidate.knows.failed(flight.sent, &TIMING);
                self.astray.push(flight);
            }
            None => candidate.flight = Some(flight),
        }
    }

    fn harm(&mut self) {
        if self.random.once_in(30_000 / STEP) {
            let index = self.random.below(self.candidates.len() as u64) as usize;
            let length = self.random.below(30_000);
            self.candidates[index].frozen_until = self.now + length;
        }
        if self.random.once_in(40_000 / STEP) {
            let index = self.random.below(self.candidates.len() as u64) as usize;
            self.restart(index);
        }
        if self.random.once_in(10_000 / STEP) {
            self.server.lease = None;
        }
    }

    /// Kills a candidate, or lets it go in order; another life begins, under the same name or not.
    fn restart(&mut self, index: usize) {
        let candidate = &mut self.candidates[index];
        self.astray.extend(candidate.flight.take());
        let ours = candidate.leads(self.now) && self.random.once_in(2);
        let release = candidate.knows.release(&candidate.name).filter(|_| ours);
        let over = candidate.knows.version().map(str::to_owned);
        candidate.lives += 1;
        if self.random.once_in(2) {
            candidate.name = format!("candidate-{index}-{}", candidate.lives);
        }
        candidate.knows = Knows::default();
        if let Some(record) = release {
            let request = Request::Write { record, over };
            let flight = self.send(request, Ticks::ZERO, Duration::ZERO);
            self.astray.push(flight);
        }
    }
}

fn answer(
    candidate: &mut Candidate,
    flight: &Flight,
    result: Result<Option<Stored>, ()>,
    clock: Ticks,
) {
    let knows = &mut candidate.knows;
    match (&flight.request, result) {
        (Request::Read | Request::Make, Ok(stored)) => {
            knows.saw(&candidate.name, &TIMING, stored, clock);
        }
        (Request::Write { .. }, Ok(Some(stored))) => {
            knows.wrote(stored, flight.sent, &TIMING, clock);
        }
        _ => knows.overtaken(clock, &TIMING),
    }
}

fn play(seed: u64, candidates: usize) {
    let mut world = World::new(seed, candidates);
    for _ in 0..TROUBLE {
        world.step();
    }
    world.trouble = false;
    for _ in 0..CALM {
        world.step();
    }
    let leader = || world.candidates.iter().position(|c| c.leads(world.now));
    let first = leader();
    assert!(first.is_some(), "nobody leads in the end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn at_most_one_leads_and_in_the_end_one_does(seed: u64, candidates in 2..4usize) {
        play(seed, candidates);
    }
}

fn held(holder: Option<&str>) -> Stored {
    Stored {
        record: Some(Record {
            holder: holder.map(str::to_owned),
            duration: TIMING.lease,
            transitions: 4,
            acquired: None,
        }),
        version: "7".to_owned(),
    }
}

fn at(seconds: u64) -> Ticks {
    Duration::from_secs(seconds)
}

/// What is done at a time after the lease was seen so at second 100.
fn after_seeing(stored: Option<Stored>, now: Ticks) -> Act {
    let mut knows = Knows::default();
    assert_eq!(decide(&knows, "a", &TIMING, at(100)), Act::Look);
    knows.saw("a", &TIMING, stored, at(100));
    decide(&knows, "a", &TIMING, now)
}

fn term(act: Act) -> Option<u32> {
    match act {
        Act::Write { record, .. } => Some(record.transitions),
        _ => None,
    }
}

#[test]
fn a_released_lease_is_taken_at_once() {
    assert_eq!(term(after_seeing(Some(held(None)), at(100))), Some(5));
}

#[test]
fn a_held_lease_is_looked_at_and_taken_when_it_was_silent_for_its_duration() {
    let seen = || Some(held(Some("b")));
    assert_eq!(after_seeing(seen(), at(100)), Act::Wait { until: at(102) });
    assert_eq!(after_seeing(seen(), at(102)), Act::Look);
    assert_eq!(after_seeing(seen(), at(114)), Act::Look);
    assert_eq!(term(after_seeing(seen(), at(115))), Some(5));
}

#[test]
fn a_lease_that_is_absent_may_have_been_deleted_under_a_leader() {
    assert_eq!(after_seeing(None, at(100)), Act::Make);
    let blank = || {
        Some(Stored {
            record: None,
            version: "8".to_owned(),
        })
    };
    assert_eq!(after_seeing(blank(), at(114)), Act::Look);
    assert_eq!(term(after_seeing(blank(), at(115))), Some(0));
}

#[test]
fn a_namesake_is_not_taken_for_oneself() {
    let seen = || Some(held(Some("a")));
    assert_eq!(after_seeing(seen(), at(114)), Act::Look);
    assert_eq!(term(after_seeing(seen(), at(115))), Some(5));
}

#[test]
fn a_leader_renews_leads_for_the_deadline_and_stops_when_another_is_seen() {
    let mut knows = Knows::default();
    knows.wrote(held(Some("a")), at(100), &TIMING, at(101));
    assert_eq!(
        decide(&knows, "a", &TIMING, at(101)),
        Act::Wait { until: at(102) }
    );
    assert_eq!(term(decide(&knows, "a", &TIMING, at(102))), Some(4));
    assert_eq!(knows.leads(&TIMING, at(109)), Some(at(110)));
    assert_eq!(knows.leads(&TIMING, at(110)), None);
    knows.saw("a", &TIMING, Some(held(Some("b"))), at(103));
    assert_eq!(knows.leads(&TIMING, at(103)), None);
    assert_eq!(knows.release("a"), None);
}
