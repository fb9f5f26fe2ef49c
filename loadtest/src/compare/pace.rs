//! When the messages of an open loop are due, and the search for the highest rate.
//!
//! Pure: no clock. A schedule never skips and never slows down. A message that is sent late keeps the time at which it
//! was due. So the cost of a stall counts for every message that it delays (no coordinated omission).

use std::fmt::{self, Display};
use std::rc::Rc;

use crate::swarm::{Nanos, grouped};

/// When each message of a recording is due after its start, and when the recording repeats.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tempo {
    /// The times in order; the first is 0.
    due_ns: Vec<u64>,
    period_ns: u64,
}

impl Tempo {
    /// A tempo with messages at these times, which are in order and begin with 0. The recording repeats after the last
    /// message, with a pause of the average distance between messages.
    pub(crate) fn new(due_ns: Vec<u64>) -> Self {
        let last = due_ns.last().copied().unwrap_or(0);
        let apart = last / (due_ns.len() as u64).saturating_sub(1).max(1);
        Self {
            due_ns,
            period_ns: last + apart.max(1),
        }
    }

    fn due(&self, number: u64) -> u64 {
        let messages = self.due_ns.len() as u64;
        let at = self.due_ns[(number % messages) as usize];
        number / messages * self.period_ns + at
    }

    /// How many messages are due before `ns`.
    fn before(&self, ns: u64) -> u64 {
        let rest = ns % self.period_ns;
        let begun = self.due_ns.partition_point(|due| *due < rest);
        ns / self.period_ns * self.due_ns.len() as u64 + begun as u64
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    begins: Nanos,
    pace: Pace,
}

#[derive(Debug, Clone)]
enum Pace {
    /// This many per second, evenly spaced.
    Even(f64),
    Recorded(Rc<Tempo>),
}

impl Schedule {
    /// `per_s` messages per second, the first at `begins`.
    pub(crate) fn even(begins: Nanos, per_s: f64) -> Self {
        let pace = Pace::Even(per_s);
        Self { begins, pace }
    }

    /// Messages at the times of `tempo`, the first at `begins`.
    pub(crate) fn recorded(begins: Nanos, tempo: Rc<Tempo>) -> Self {
        let pace = Pace::Recorded(tempo);
        Self { begins, pace }
    }

    pub(crate) fn due(&self, number: u64) -> Nanos {
        let after = match &self.pace {
            Pace::Even(per_s) => (number as f64 * 1e9 / per_s) as u64,
            Pace::Recorded(tempo) => tempo.due(number),
        };
        Nanos(self.begins.0 + after)
    }

    /// How many messages are due before `moment`.
    pub(crate) fn before(&self, moment: Nanos) -> u64 {
        let passed = moment.since(self.begins);
        let mut count = match &self.pace {
            Pace::Even(per_s) => (passed.as_secs_f64() * per_s).ceil() as u64,
            Pace::Recorded(tempo) => return tempo.before(moment.0.saturating_sub(self.begins.0)),
        };
        // Corrects an error of one, which rounding can cause.
        while count > 0 && self.due(count - 1) >= moment {
            count -= 1;
        }
        while self.due(count) < moment {
            count += 1;
        }
        count
    }
}

/// A search for the highest rate at which something holds. It doubles the rate, then halves the distance of the
/// logarithms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    next: f64,
    /// The highest rate that held.
    pub(crate) held: Option<f64>,
    failed: Option<f64>,
}

/// Two rates whose ratio is below this count as the same.
const NEAR: f64 = 1.03;

impl Search {
    /// A search that starts with the rate `first`.
    pub(crate) fn new(first: f64) -> Self {
        Self {
            next: first,
            held: None,
            failed: None,
        }
    }

    /// The rate to try next; `None` once the answer is exact enough.
    pub(crate) fn next(&self) -> Option<f64> {
        match (self.held, self.failed) {
            (Some(held), Some(failed)) if failed / held < NEAR => None,
            _ => Some(self.next),
        }
    }

    /// Takes the result for the rate that [`Self::next`] returned.
    pub(crate) fn tell(&mut self, holds: bool) {
        if holds {
            self.held = Some(self.next);
        } else {
            self.failed = Some(self.next);
        }
        self.next = match (self.held, self.failed) {
            (Some(held), Some(failed)) => (held * failed).sqrt(),
            (Some(held), None) => held * 2.0,
            (None, Some(failed)) => failed / 2.0,
            (None, None) => self.next,
        };
    }
}

/// The two rates between which the limit is.
impl Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |rate: f64| grouped(rate as u64);
        match (self.held, self.failed) {
            (Some(held), Some(failed)) => write!(
                f,
                "the limit is between {} per second, which held, and {}, which did not",
                shown(held),
                shown(failed)
            ),
            (Some(held), None) => write!(f, "{} per second held, and none higher was tried", shown(held)),
            (None, Some(failed)) => write!(
                f,
                "no rate held; the lowest that was tried is {} per second",
                shown(failed)
            ),
            (None, None) => f.write_str("no rate was tried"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_even_and_odd_rates_count_exactly() {
        let schedule = Schedule::even(Nanos(1_000), 4.0);
        assert_eq!(
            [0, 1, 4].map(|number| schedule.due(number).0),
            [1_000, 250_001_000, 1_000_001_000]
        );
        assert_eq!(schedule.before(Nanos(0)), 0);
        for per_s in [4.0, 0.3, 7.0, 1e9 / 3.0, 39_999.7] {
            let schedule = Schedule::even(Nanos(77), per_s);
            for number in [0, 1, 2, 999, 1_234_567] {
                let due = schedule.due(number);
                assert_eq!(schedule.before(due), number, "{per_s}");
                assert!(schedule.before(Nanos(due.0 + 1)) > number, "{per_s}");
            }
        }
    }

    /// Bursts stay bursts, and the recording repeats after its end.
    #[test]
    fn a_recorded_schedule_is_as_recorded() {
        for (times, expected) in [
            (
                vec![0, 0, 50, 400],
                vec![1_000, 1_000, 1_050, 1_400, 1_533, 1_533, 1_583, 1_933, 2_066],
            ),
            (vec![0], vec![1_000, 1_001, 1_002]),
            (vec![0, 0, 0], vec![1_000, 1_000, 1_000, 1_001]),
        ] {
            let schedule = Schedule::recorded(Nanos(1_000), Rc::new(Tempo::new(times)));
            let dues: Vec<u64> = (0..expected.len() as u64)
                .map(|number| schedule.due(number).0)
                .collect();
            assert_eq!(dues, expected);
            for moment in 900..=expected[expected.len() - 1] {
                let due = expected.iter().filter(|due| **due < moment).count() as u64;
                assert_eq!(schedule.before(Nanos(moment)), due, "{moment}");
            }
        }
    }

    #[test]
    fn a_search_closes_in() {
        for limit in [0.9, 130.0, 5_000.0] {
            let mut search = Search::new(100.0);
            let mut tries = 0;
            while let Some(rate) = search.next() {
                search.tell(rate < limit);
                tries += 1;
            }
            let best = search.held.expect("found");
            assert!(best < limit && limit < best * NEAR, "{limit}: {best}");
            assert!(tries < 16, "{tries}");
            assert!(
                search.to_string().contains(" per second, which held, and "),
                "{search}"
            );
        }
    }

    #[test]
    fn nothing_held() {
        let mut search = Search::new(8.0);
        search.tell(false);
        assert_eq!((search.next(), search.held), (Some(4.0), None));
        search.tell(false);
        assert_eq!(
            search.to_string(),
            "no rate held; the lowest that was tried is 4 per second"
        );
    }
}
