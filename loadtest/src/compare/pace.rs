//! When the messages of an open loop are due, and the search for the highest rate.
//!
//! Pure: no clock. A schedule never skips and never slows down; a message that is sent late keeps the moment at which it
//! was due, so what a stall costs is counted for every message that it delays (no coordinated omission).

use crate::payload::Nanos;

/// Messages at even distances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    begins: Nanos,
    per_s: f64,
}

impl Schedule {
    /// `per_s` messages per second, the first at `begins`.
    pub(crate) fn new(begins: Nanos, per_s: f64) -> Self {
        Self { begins, per_s }
    }

    /// When message `number` is due, from 0.
    pub(crate) fn due(&self, number: u64) -> Nanos {
        Nanos(self.begins.0 + (number as f64 * 1e9 / self.per_s) as u64)
    }

    /// Messages that are due before `moment`.
    pub(crate) fn before(&self, moment: Nanos) -> u64 {
        let mut count = (moment.since(self.begins).as_secs_f64() * self.per_s).ceil() as u64;
        // What rounding may have moved by one.
        while count > 0 && self.due(count - 1) >= moment {
            count -= 1;
        }
        while self.due(count) < moment {
            count += 1;
        }
        count
    }
}

/// A search for the highest rate at which something holds, by doubling and then by halving the distance of logarithms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    next: f64,
    /// The highest that held.
    held: Option<f64>,
    /// The lowest that did not.
    failed: Option<f64>,
}

/// Two rates closer than this are the same.
const NEAR: f64 = 1.03;

impl Search {
    /// A search that tries `first` first.
    pub(crate) fn new(first: f64) -> Self {
        Self {
            next: first,
            held: None,
            failed: None,
        }
    }

    /// The rate to try next; none once the answer is known well enough.
    pub(crate) fn next(&self) -> Option<f64> {
        match (self.held, self.failed) {
            (Some(held), Some(failed)) if failed / held < NEAR => None,
            _ => Some(self.next),
        }
    }

    /// Takes what came of the rate that [`Self::next`] said.
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

    /// The highest rate that held.
    pub(crate) fn best(&self) -> Option<f64> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_even() {
        let schedule = Schedule::new(Nanos(1_000), 4.0);
        for (number, due) in [(0, 1_000), (1, 250_001_000), (4, 1_000_001_000)] {
            assert_eq!(schedule.due(number), Nanos(due));
            assert_eq!(schedule.before(Nanos(due)), number);
            assert_eq!(schedule.before(Nanos(due + 1)), number + 1);
        }
        assert_eq!(schedule.before(Nanos(0)), 0);
    }

    #[test]
    fn odd_rates_count_exactly() {
        for per_s in [0.3, 7.0, 1e9 / 3.0, 39_999.7] {
            let schedule = Schedule::new(Nanos(77), per_s);
            for number in [1, 2, 999, 1_234_567] {
                assert_eq!(schedule.before(schedule.due(number)), number, "{per_s}");
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
            let best = search.best().expect("found");
            assert!(best < limit && limit < best * NEAR, "{limit}: {best}");
            assert!(tries < 16, "{tries}");
        }
    }

    #[test]
    fn nothing_held() {
        let mut search = Search::new(8.0);
        search.tell(false);
        assert_eq!((search.next(), search.best()), (Some(4.0), None));
    }
}
