//! One rule's question in parts, where the answer to the whole is too large.
//!
//! An answer above the limit is not read, so the same question would fail for ever, and for all who
//! share it. It is asked in halves, by Rollout, and for a single Rollout over half of the time: so what
//! is too large of one costs the others nothing. How many Rollouts an answer could hold is kept for the
//! next look, and tried to be more with each.
//!
//! Not here: how one part is asked (`client`).

use std::ops::Range;
use std::time::Duration;

use super::error::Error;
use super::reply::Fetched;

/// So many queries are made of one question in one look ...
const MOST: usize = 16;
/// ... and it begins with no more parts than this.
const MOST_AT_FIRST: usize = 4;

/// Some Rollouts of a question, over some time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// Which members of the ask.
    pub members: Range<usize>,
    pub range: Duration,
}

/// A question on its way.
#[derive(Debug)]
pub(super) struct Parts {
    /// The next one last.
    open: Vec<Part>,
    asked: usize,
    /// No time is shortened below this.
    shortest: Duration,
    /// The time may not be shortened: who asks goes on in smaller pieces.
    whole: bool,
    /// How many members one part had at first.
    most: usize,
    /// How many the largest part had that was answered, if one was too large.
    fitted: Option<usize>,
    /// What came of the parts.
    pub fetched: Fetched,
}

impl Parts {
    /// A question of so many members; each part has `most` of them.
    pub fn new(members: usize, range: Duration, most: usize, shortest: Duration) -> Self {
        let least = members.div_ceil(MOST_AT_FIRST).max(1);
        let most = most.clamp(least, members.max(1));
        let starts = (0..members).step_by(most).rev();
        let part = |start: usize| Part {
            members: start..(start + most).min(members),
            range,
        };
        Self {
            open: starts.map(part).collect(),
            asked: 0,
            shortest,
            whole: false,
            most,
            fitted: None,
            fetched: Fetched::nothing(members),
        }
    }

    /// The same, never over less time.
    #[must_use]
    pub fn over_all_time(self, whole: bool) -> Self {
        Self { whole, ..self }
    }

    /// What to ask next.
    pub fn next(&mut self) -> Option<Part> {
        self.asked += 1;
        self.open.pop()
    }

    /// Takes a part's answer.
    pub fn take(&mut self, part: &Part, answer: Result<Fetched, Error>) {
        match answer {
            Ok(fetched) => {
                self.fitted = self.fitted.map(|known| known.max(part.members.len()));
                self.fetched.put(part.members.start, fetched);
            }
            Err(error @ Error::TooLarge { .. }) => self.shrink(part, &error),
            Err(error) => self.fetched.fail(part.members.clone(), &error),
        }
    }

    fn shrink(&mut self, part: &Part, error: &Error) {
        let count = part.members.len();
        let shorter = part.range / 2;
        self.fitted = self.fitted.or(Some(1));
        if self.asked + self.open.len() + 2 > MOST {
            self.fetched.fail(part.members.clone(), error);
        } else if count > 1 {
            let middle = part.members.start + count / 2;
            for members in [middle..part.members.end, part.members.start..middle] {
                let range = part.range;
                self.open.push(Part { members, range });
            }
        } else if !self.whole && shorter >= self.shortest {
            let said = format!(
                "{error}: read is what came in the last {} s",
                shorter.as_secs()
            );
            self.fetched.tell(part.members.clone(), &said);
            self.open.push(Part {
                members: part.members.clone(),
                range: shorter,
            });
        } else {
            self.fetched.fail(part.members.clone(), error);
        }
    }

    /// How many members one part may have at the next look; `None` if all of them.
    pub fn next_most(&self) -> Option<usize> {
        let most = self.fitted.unwrap_or(self.most);
        let more = most + (most / 32).max(1);
        (more < self.fetched.shares.len()).then_some(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// Asks until nothing is open. An answer holds what `weighs` says of a member and of seconds,
    /// up to 100. What came of each member: the seconds that were read, 0 for a failure.
    fn play(mut parts: Parts, weighs: impl Fn(usize, u64) -> u64) -> (Vec<u64>, usize, Parts) {
        let members = parts.fetched.shares.len();
        let (mut read, mut asked) = (vec![0; members], 0);
        while let Some(part) = parts.next() {
            asked += 1;
            let seconds = part.range.as_secs();
            let weight: u64 = part.members.clone().map(|at| weighs(at, seconds)).sum();
            if weight > 100 {
                parts.take(&part, Err(Error::TooLarge { limit: 1 }));
            } else {
                part.members.clone().for_each(|at| read[at] = seconds);
                parts.take(&part, Ok(Fetched::nothing(part.members.len())));
            }
        }
        (read, asked, parts)
    }

    #[test]
    fn what_is_too_large_of_one_costs_the_others_nothing() {
        let parts = Parts::new(5, HOUR, usize::MAX, Duration::from_secs(60));
        let heavy = |at, seconds| if at == 3 { seconds / 10 } else { 1 };
        let (read, asked, parts) = play(parts, heavy);
        assert_eq!(read, [3_600, 3_600, 3_600, 900, 3_600]);
        assert_eq!(asked, 9);
        let told: Vec<usize> = parts
            .fetched
            .shares
            .iter()
            .map(|share| share.problems.len())
            .collect();
        assert_eq!(told, [0, 0, 0, 2, 0]);
    }

    #[test]
    fn one_that_never_fits_fails_alone_and_the_number_of_questions_is_bounded() {
        let new = |members| Parts::new(members, HOUR, usize::MAX, Duration::from_secs(60));
        let (read, asked, parts) = play(new(2), |at, _| if at == 0 { 1_000 } else { 1 });
        assert_eq!((read, asked <= MOST), (vec![0, 3_600], true));
        let failed = |at: usize| parts.fetched.shares[at].failed.is_some();
        assert!(failed(0) && !failed(1));
        let (_, asked, _) = play(new(1_000), |_, _| 1_000);
        assert!(asked <= MOST, "{asked}");
        // A replay of the past goes on in smaller pieces of its own.
        let (read, asked, _) = play(new(1).over_all_time(true), |_, seconds| seconds);
        assert_eq!((read, asked), (vec![0], 1));
    }

    #[test]
    fn how_many_fit_is_kept_and_tried_to_be_more() {
        let shortest = Duration::from_secs(60);
        let (read, asked, parts) = play(Parts::new(8, HOUR, usize::MAX, shortest), |_, _| 30);
        assert_eq!((read, asked), (vec![3_600; 8], 7));
        assert_eq!(parts.next_most(), Some(3));
        let (_, asked, parts) = play(Parts::new(8, HOUR, 3, shortest), |_, _| 30);
        assert_eq!((asked, parts.next_most()), (3, Some(4)));
        // Never one query for each, however little one answer holds.
        let (_, asked, _) = play(Parts::new(1_000, HOUR, 1, shortest), |_, _| 0);
        assert_eq!(asked, MOST_AT_FIRST);
        let (_, _, parts) = play(Parts::new(8, HOUR, 7, shortest), |_, _| 1);
        assert_eq!(parts.next_most(), None);
    }
}
