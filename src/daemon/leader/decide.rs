//! Who leads: what one candidate does next, from what it has seen of the lease and from the time
//! that has passed here.
//!
//! Guarantees, while the clocks of two machines run within a ratio of `lease / renew` of each
//! other: no two candidates lead at one time, whatever is lost, delayed, repeated or frozen, and
//! also when the lease is deleted. Time of other machines is never used: a lease is old when this
//! candidate has seen it unchanged for its whole duration.
//!
//! Caveat: a person who writes another holder into the lease overrules this.
//!
//! Not here: requests and waiting (`campaign`).

use std::time::Duration;

use crate::kubernetes::lease::{Record, Stored};

/// Time since an unknown moment, by this machine's monotonic clock.
pub type Ticks = Duration;

/// The three times of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long others wait for a leader that is silent.
    pub lease: Duration,
    /// How long a leader acts without a renewal; shorter than `lease`.
    pub renew: Duration,
    /// Time between two tries.
    pub retry: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Read the lease.
    Look,
    /// Make a lease in which nobody leads: it was deleted, perhaps under a leader, and what is
    /// made now has a version over which one can write when that leader must have ended.
    Make,
    /// Write this record over that version, or make the lease.
    Write {
        record: Record,
        over: Option<String>,
    },
    /// Nothing before this time.
    Wait { until: Ticks },
}

/// The lease as it was seen last, and since when it has been so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// `None` if there is no lease.
    stored: Option<Stored>,
    since: Ticks,
    /// Whether nobody is known to have written since.
    fresh: bool,
}

/// What a candidate knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Knows {
    seen: Option<Seen>,
    /// When the newest renewal that was taken had been sent. Forgotten when another leads.
    sent: Option<Ticks>,
    /// Whether what bears our name is our own: not a namesake's, nor taken late.
    wrote: bool,
    /// The next look, or renewal.
    due: Ticks,
    /// No request before this time.
    pause: Ticks,
    /// The highest count of transitions that was ever seen.
    highest: Option<u32>,
}

impl Knows {
    /// The lease was read.
    pub fn saw(&mut self, me: &str, timing: &Timing, stored: Option<Stored>, now: Ticks) {
        let record = stored.as_ref().and_then(|stored| stored.record.as_ref());
        self.highest = self.highest.max(record.map(|record| record.transitions));
        let holder = record.and_then(|record| record.holder.as_deref());
        if holder.is_some_and(|holder| holder != me) {
            self.sent = None;
            self.wrote = false;
        }
        if self.sent.is_none() {
            self.due = now + timing.retry;
        }
        let same = self.seen.as_ref().filter(|seen| seen.stored == stored);
        let since = same.map_or(now, |seen| seen.since);
        self.seen = Some(Seen {
            stored,
            since,
            fresh: true,
        });
    }

    /// A write over a version (or none) is about to leave.
    pub fn writes(&mut self, over: Option<&str>) {
        // One that makes the lease may be taken late, after another one came and went.
        self.wrote = over.is_some();
    }

    /// A write that had been sent at `sent` was taken.
    pub fn wrote(&mut self, stored: Stored, sent: Ticks, timing: &Timing, now: Ticks) {
        let record = stored.record.as_ref();
        self.highest = self.highest.max(record.map(|record| record.transitions));
        self.wrote = true;
        self.sent = Some(sent);
        self.due = sent + timing.retry;
        self.seen = Some(Seen {
            stored: Some(stored),
            since: now,
            fresh: true,
        });
    }

    /// A request that had been sent at `sent` failed.
    pub fn failed(&mut self, sent: Ticks, timing: &Timing) {
        self.pause = sent + timing.retry;
    }

    /// A write was refused, since the lease is not any more what was seen.
    pub fn overtaken(&mut self, now: Ticks, timing: &Timing) {
        if let Some(seen) = &mut self.seen {
            seen.fresh = false;
        }
        self.pause = now + timing.retry / 4;
    }

    /// The lease may have changed: look at once.
    pub fn hinted(&mut self) {
        self.due = Ticks::ZERO;
    }

    /// Until when this candidate leads, if it does.
    pub fn leads(&self, timing: &Timing, now: Ticks) -> Option<Ticks> {
        let until = self.sent? + timing.renew;
        (now < until).then_some(until)
    }

    /// The time that a request may take.
    pub fn patience(&self, timing: &Timing, now: Ticks) -> Duration {
        let most = timing.renew / 2;
        let leads = self.leads(timing, now);
        leads.map_or(most, |until| most.min(until.saturating_sub(now)))
    }

    /// The count of transitions: of our own term while this candidate leads.
    pub fn term(&self) -> u32 {
        self.highest.unwrap_or_default()
    }

    /// Who holds the lease, as far as is known.
    pub fn holder(&self) -> Option<&str> {
        self.record()?.holder.as_deref()
    }

    /// The version of the lease that was seen last.
    pub fn version(&self) -> Option<&str> {
        let stored = self.seen.as_ref()?.stored.as_ref()?;
        Some(&stored.version)
    }

    /// What frees the lease on the way out; nothing, if it is not ours.
    pub fn release(&self, me: &str) -> Option<Record> {
        let record = self.record()?;
        let ours = self.wrote && record.holder.as_deref() == Some(me);
        ours.then(|| Record {
            holder: None,
            ..record.clone()
        })
    }

    fn record(&self) -> Option<&Record> {
        self.seen.as_ref()?.stored.as_ref()?.record.as_ref()
    }

    /// What this candidate writes to lead, or to go on leading.
    fn claim(&self, me: &str, timing: &Timing, now: Ticks) -> Record {
        let record = self.record();
        let held = record.is_some_and(|record| record.holder.as_deref() == Some(me));
        let goes_on = self.leads(timing, now).is_some() || (held && self.wrote);
        let next = self.highest.map_or(0, |highest| highest.saturating_add(1));
        Record {
            holder: Some(me.to_owned()),
            duration: timing.lease,
            transitions: if goes_on { self.term() } else { next },
            acquired: record
                .filter(|_| goes_on)
                .and_then(|record| record.acquired),
        }
    }

    /// When the lease may be taken.
    fn free_at(&self, seen: &Seen, me: &str, timing: &Timing) -> Ticks {
        let Some(record) = self.record() else {
            // One before it may have been deleted while somebody leads.
            return seen.since + timing.lease;
        };
        match record.holder.as_deref() {
            None => Ticks::ZERO,
            Some(holder) if holder == me && self.wrote => Ticks::ZERO,
            Some(_) if record.duration.is_zero() => seen.since + timing.lease,
            Some(_) => seen.since + record.duration,
        }
    }
}

/// What a candidate does now.
pub fn decide(knows: &Knows, me: &str, timing: &Timing, now: Ticks) -> Act {
    let leads = knows.leads(timing, now);
    let or_end = |until: Ticks| Act::Wait {
        until: leads.map_or(until, |end| until.min(end)),
    };
    if now < knows.pause {
        return or_end(knows.pause);
    }
    let Some(seen) = knows.seen.as_ref().filter(|seen| seen.fresh) else {
        return Act::Look;
    };
    if leads.is_none() && seen.stored.is_none() {
        return Act::Make;
    }
    let write_at = match leads {
        Some(_) => knows.due,
        None => knows.free_at(seen, me, timing),
    };
    if now >= write_at {
        Act::Write {
            record: knows.claim(me, timing, now),
            over: knows.version().map(str::to_owned),
        }
    } else if leads.is_none() && now >= knows.due {
        Act::Look
    } else {
        or_end(write_at.min(knows.due))
    }
}
