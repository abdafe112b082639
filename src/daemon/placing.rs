//! Whether a promotion's pods find nodes: asked when nothing comes of it, after all that a pass does, and remembered
//! for a while. It is a help only: nothing waits for it, and a pass does not fail by it.
//!
//! Not here: when a decision needs to know it (`rollout::decide`), and which pods count (`kubernetes::execute`).

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::elapsed;

/// It is asked no more often than this.
const AGAIN: Duration = Duration::from_secs(30);
/// An answer holds for so long where no newer one can be had.
const HOLDS: Duration = Duration::from_secs(120);

/// What is known of it.
#[derive(Debug, Default)]
pub struct Placing {
    asked: Option<Timestamp>,
    answer: Option<(Timestamp, Option<String>)>,
}

impl Placing {
    /// Why a pod finds no node, as far as that is known.
    pub fn unplaced(&self, now: Timestamp) -> Option<String> {
        let (at, why) = self.answer.as_ref()?;
        why.clone()
            .filter(|_| *at > now || elapsed(*at, now) < HOLDS)
    }

    /// Forgets it all: nobody needs to know it now.
    pub fn rest(&mut self) {
        *self = Self::default();
    }

    /// Whether it is to be asked again.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let asked = self.asked;
        asked.is_none_or(|at| at > now || elapsed(at, now) >= AGAIN)
    }

    /// Notes what was answered, if something was. Whether a decision comes to something else by it.
    pub fn note<E>(&mut self, now: Timestamp, answer: Result<Option<String>, E>) -> bool {
        self.asked = Some(now);
        let Ok(why) = answer else {
            return false;
        };
        let known = self.unplaced(now).is_some();
        let news = known != why.is_some();
        self.answer = Some((now, why));
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn an_answer_is_remembered_and_asked_for_again_after_a_while() {
        let why = || Some("pod shop-1 finds no node".to_owned());
        let mut placing = Placing::default();
        assert!(placing.is_due(at(0)) && placing.unplaced(at(0)).is_none());
        assert!(placing.note(at(0), Ok::<_, ()>(why())));
        assert!(!placing.is_due(at(29)) && placing.is_due(at(30)));
        assert!(!placing.note(at(30), Ok::<_, ()>(why())), "no news");
        // Where nothing is answered, what was holds for a while.
        assert!(!placing.note(at(60), Err(())));
        assert!(!placing.is_due(at(61)));
        assert_eq!(placing.unplaced(at(149)), why());
        assert_eq!(placing.unplaced(at(150)), None);
        assert!(!placing.note(at(160), Ok::<_, ()>(None)));
        assert!(placing.note(at(190), Ok::<_, ()>(why())));
        assert!(placing.note(at(220), Ok::<_, ()>(None)));
        assert_eq!(placing.unplaced(at(220)), None);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_put_it_off() {
        let mut placing = Placing::default();
        placing.note(at(3600), Err(()));
        assert!(placing.is_due(at(0)));
    }
}
