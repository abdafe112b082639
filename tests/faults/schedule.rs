//! What happens in one simulation, and when: everything is drawn from the seed before it begins.
//!
//! A schedule is a plain list of events, so that it can be printed, played again and made
//! smaller. Nothing in it depends on how the daemon reacts; an event that has nothing to hit
//! does nothing.
//!
//! Not here: what an event does to the cluster (`world`, `net`).

use std::fmt;

use sluice::sandbox::random::Random;

/// Events happen within so many milliseconds; then everything heals.
pub const LENGTH: u64 = 75_000;

/// One simulation.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub seed: u64,
    pub settings: Settings,
    pub events: Vec<Event>,
}

/// What the cluster and the Rollout are like.
#[allow(clippy::struct_excessive_bools)] // each is a field of the spec or of the world
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub replicas: i64,
    pub routers: usize,
    pub daemons: usize,
    /// Whether they agree by a Lease on one that acts.
    pub lease: bool,
    /// Least time of the first step, in seconds.
    pub hold: u64,
    /// Whether the last step waits for a person.
    pub approval: bool,
    /// Whether a run without metrics is rolled back rather than held.
    pub no_data_rolls_back: bool,
    pub restore_template: bool,
    /// Whether what is promoted is watched on.
    pub bake: bool,
    /// Whether all traffic is switched at once.
    pub blue_green: bool,
    /// Whether there is no canary.
    pub rolling: bool,
    /// Whether an `HTTPRoute` is split, in place of an Ingress for the canary.
    pub gateway: bool,
}

/// Something happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Milliseconds after the schedule's start.
    pub at: u64,
    pub what: What,
}

/// What happens. Durations are in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The next requests of a daemon of this class go wrong.
    Requests {
        daemon: usize,
        class: Class,
        hurt: Hurt,
        times: u32,
    },
    /// What a daemon watches comes late.
    Lag { daemon: usize, by: u64, lasts: u64 },
    /// The next lists are answered as they were before.
    OldLists { daemon: usize, times: u32 },
    /// All watches of a daemon end; with 410 if they expire.
    WatchesEnd { daemon: usize, expired: bool },
    /// A daemon is killed and started again.
    Kill { daemon: usize, back: u64 },
    /// A daemon is killed at the nth of its next writes, before or after that takes effect.
    KillAtWrite {
        daemon: usize,
        nth: u32,
        done: bool,
        back: u64,
    },
    /// No daemon can read metrics.
    Dark { how: Dark, lasts: u64 },
    /// One router's metrics are missing.
    Hidden { router: usize, lasts: u64 },
    /// One router answers no request for its metrics.
    Hangs { router: usize, lasts: u64 },
    /// All routers repeat the metrics that they have now.
    Repeats { lasts: u64 },
    /// A router starts anew: its counters begin at zero.
    RouterRestarts { router: usize },
    /// The clock of a daemon jumps by this.
    Jump { daemon: usize, by: i64 },
    /// A person or a tool does something.
    User(Act),
}

/// Which requests of a daemon are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Write,
    Status,
    Weight,
    Target,
    Lease,
    List,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hurt {
    LostBefore,
    LostAfter,
    /// It arrives later, whether or not its sender still waits.
    Delayed(u64),
    /// It takes effect at once, but the answer comes later.
    AnsweredLate(u64),
    /// It takes effect twice at once.
    Twice,
    /// It takes effect, and again after this time.
    Again(u64),
    Hangs,
    Refused(u16),
}

/// How the metrics are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dark {
    Down,
    Html,
    Nan,
    Partial,
    Hangs,
}

/// What people and tools do.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Release(Kind),
    /// The template of the beginning again.
    Return,
    Scale(i64),
    /// The path of the main Ingress; of an `HTTPRoute` in place, as it is at that moment.
    EditPath,
    /// Its host, by applying it whole.
    EditHost,
    /// The canary's weight, by hand.
    EditWeight(u8),
    Delete(Ours),
    OpenGate(Opening),
    CloseGate,
    Ask(&'static str),
    Suspend,
    Continue,
    Restart,
    /// The Rollout is deleted, and made again after this time.
    Unguard {
        back: u64,
    },
}

/// What a release is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Good,
    /// Six requests of ten are answered 500.
    Bad,
    /// The same, once it has more than 40% of the traffic.
    LateBad,
    Crash,
    Pull,
    Hang,
}

/// Objects of ours that somebody deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ours {
    Deployment,
    Service,
    /// The canary's Ingress; of an `HTTPRoute` its part, since the original is applied again.
    Ingress,
    Kept,
}

/// How the gate is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    Policy,
    Binding,
    Label,
    Glass,
}

/// Draws.
struct Draw(Random);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }
}

/// Whether a seed's cluster has an `HTTPRoute`: each fifth, and none that rolls.
pub fn is_gateway(seed: u64) -> bool {
    seed % 5 == 2
}

impl Schedule {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Self {
        let mut draw = Draw(Random::new(seed.wrapping_mul(0x9e37_79b9) ^ 0xfa_17));
        let settings = settings(&mut draw);
        let count = draw.between(3, 14);
        let mut events: Vec<Event> = (0..count).map(|_| event(&mut draw, &settings)).collect();
        let first = draw.of(&[
            Kind::Good,
            Kind::Good,
            Kind::Bad,
            Kind::LateBad,
            Kind::Crash,
            Kind::Hang,
        ]);
        events.push(Event {
            at: draw.between(100, 4_000),
            what: What::User(Act::Release(first)),
        });
        while draw.chance(40) {
            events.push(rare(&mut draw, &settings));
        }
        events.sort_by_key(|event| event.at);
        let rolling = settings.restore_template && seed % 10 == 5;
        let bake = settings.restore_template && (seed.is_multiple_of(3) || rolling);
        let settings = Settings {
            bake,
            blue_green: seed.is_multiple_of(4),
            rolling,
            gateway: is_gateway(seed),
            ..settings
        };
        Self {
            seed,
            settings,
            events,
        }
    }

    /// The same with other events.
    pub fn with(&self, events: Vec<Event>) -> Self {
        Self {
            events,
            ..self.clone()
        }
    }
}

fn settings(draw: &mut Draw) -> Settings {
    let daemons = if draw.chance(40) { 2 } else { 1 };
    Settings {
        replicas: draw.between(2, 5) as i64,
        routers: draw.between(1, 3) as usize,
        daemons,
        // Two without one write over each other for ever: harmless, but no end.
        lease: daemons > 1 || draw.chance(30),
        hold: draw.of(&[0, 0, 15]),
        approval: draw.chance(15),
        no_data_rolls_back: draw.chance(20),
        restore_template: !draw.chance(15),
        bake: false,
        blue_green: false,
        rolling: false,
        gateway: false,
    }
}

fn event(draw: &mut Draw, settings: &Settings) -> Event {
    let daemon = draw.below(settings.daemons as u64) as usize;
    let router = draw.below(settings.routers as u64) as usize;
    let lasts = draw.between(1_000, 30_000);
    let what = match draw.below(100) {
        0..30 => What::Requests {
            daemon,
            class: class(draw),
            hurt: hurt(draw),
            times: draw.between(1, 7) as u32,
        },
        30..36 => What::Lag {
            daemon,
            by: draw.between(200, 6_000),
            lasts,
        },
        36..40 => What::OldLists { daemon, times: 20 },
        40..44 => What::WatchesEnd {
            daemon,
            expired: draw.chance(50),
        },
        44..49 => What::Kill {
            daemon,
            back: draw.between(1, 15_000),
        },
        49..59 => What::KillAtWrite {
            daemon,
            nth: draw.between(1, 30) as u32,
            done: draw.chance(50),
            back: draw.between(1, 15_000),
        },
        59..64 => What::Dark {
            how: draw.of(&[Dark::Down, Dark::Html, Dark::Nan, Dark::Partial]),
            lasts,
        },
        64..67 => What::Hidden { router, lasts },
        67..69 => What::RouterRestarts { router },
        69..73 => What::Jump {
            daemon,
            by: draw.of(&[-30_000, -5_000, -1_000, 2_000, 20_000, 3_600_000]),
        },
        _ => What::User(act(draw)),
    };
    Event {
        at: draw.between(100, LENGTH),
        what,
    }
}

/// What happens seldom, but in many schedules.
fn rare(draw: &mut Draw, settings: &Settings) -> Event {
    let daemon = draw.below(settings.daemons as u64) as usize;
    let router = draw.below(settings.routers as u64) as usize;
    let lasts = draw.between(1_000, 30_000);
    let what = match draw.below(6) {
        0 => What::Dark {
            how: Dark::Hangs,
            lasts,
        },
        1 => What::Hangs { router, lasts },
        2 => What::Repeats { lasts },
        3 => What::Jump {
            daemon,
            by: draw.of(&[-3_600_000, 3_600_000]),
        },
        _ => What::User(Act::Unguard { back: lasts }),
    };
    Event {
        at: draw.between(100, LENGTH),
        what,
    }
}

fn class(draw: &mut Draw) -> Class {
    draw.of(&[
        Class::Write,
        Class::Write,
        Class::Status,
        Class::Weight,
        Class::Target,
        Class::Lease,
        Class::List,
    ])
}

fn hurt(draw: &mut Draw) -> Hurt {
    let later = draw.between(100, 8_000);
    draw.of(&[
        Hurt::LostBefore,
        Hurt::LostAfter,
        Hurt::Delayed(later),
        Hurt::AnsweredLate(later),
        Hurt::Twice,
        Hurt::Again(later),
        Hurt::Hangs,
        Hurt::Refused(409),
        Hurt::Refused(429),
        Hurt::Refused(500),
        Hurt::Refused(503),
    ])
}

fn act(draw: &mut Draw) -> Act {
    match draw.below(100) {
        0..30 => Act::Release(draw.of(&[
            Kind::Good,
            Kind::Good,
            Kind::Bad,
            Kind::LateBad,
            Kind::Crash,
            Kind::Pull,
            Kind::Hang,
        ])),
        30..37 => Act::Return,
        37..45 => Act::Scale(draw.of(&[0, 1, 2, 3, 5])),
        45..48 => Act::EditPath,
        48..50 => Act::EditHost,
        50..54 => Act::EditWeight(draw.of(&[0, 3, 40, 90])),
        54..64 => {
            Act::Delete(draw.of(&[Ours::Deployment, Ours::Service, Ours::Ingress, Ours::Kept]))
        }
        64..69 => Act::OpenGate(draw.of(&[
            Opening::Policy,
            Opening::Binding,
            Opening::Label,
            Opening::Glass,
        ])),
        69..72 => Act::CloseGate,
        72..92 => Act::Ask(draw.of(&[
            "promote", "approve", "approve", "hold", "resume", "abort", "rollback", "retry",
        ])),
        92..95 => Act::Suspend,
        95..98 => Act::Continue,
        _ => Act::Restart,
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "seed {}: {:?}", self.seed, self.settings)?;
        for event in &self.events {
            writeln!(
                out,
                "  {:>7.3} s  {:?}",
                event.at as f64 / 1000.0,
                event.what
            )?;
        }
        Ok(())
    }
}
