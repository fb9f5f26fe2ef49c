//! The counts of deliveries: how many, and how late.
//!
//! Latency is measured from the time at which a message was due, for messages due in the measured time. Counting a
//! delivery takes a time that is already known and one counter. A latency of more than ten minutes counts as ten.

use std::rc::Rc;

use hdrhistogram::Histogram;

use crate::compare::Script;
use crate::swarm::{Nanos, latencies};

/// One in so many payloads is checked in full.
const VERIFY_EVERY: u64 = 1_024;

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) delivered: u64,
    /// How many of them had a damaged payload.
    pub(crate) damaged: u64,
    /// Latencies in microseconds.
    pub(crate) latency: Histogram<u64>,
    pub(crate) last_us: u64,
    script: Rc<Script>,
    window: Option<(Nanos, Nanos)>,
    /// The time of the deliveries that follow.
    pub(crate) now: Nanos,
}

impl Tally {
    /// Creates the counts, at 0, for what `script` publishes.
    pub(crate) fn new(script: Rc<Script>) -> anyhow::Result<Self> {
        Ok(Self {
            script,
            last_us: 0,
            delivered: 0,
            damaged: 0,
            latency: latencies()?,
            window: None,
            now: Nanos(0),
        })
    }

    /// Measures only messages due from `from` until before `to`, from now on.
    pub(crate) fn measure(&mut self, from: Nanos, to: Nanos) {
        self.window = Some((from, to));
        self.latency.reset();
    }

    #[inline]
    pub(crate) fn deliver(&mut self, bytes: &[u8]) {
        self.delivered += 1;
        if self.delivered.is_multiple_of(VERIFY_EVERY) && !self.script.agrees(bytes) {
            self.damaged += 1;
        }
        let Some(due) = self.script.due(bytes) else {
            self.damaged += 1;
            return;
        };
        if let Some((from, to)) = self.window
            && due >= from
            && due < to
        {
            let micros = self.now.0.saturating_sub(due.0) / 1_000;
            self.last_us = micros.max(1);
            self.latency.saturating_record(self.last_us);
        }
    }

    /// Counts `count` messages that never came with the latency that they would have `now`, so that they improve no
    /// figure.
    pub(crate) fn never_came(&mut self, count: u64, now: Nanos) {
        if let Some((_, to)) = self.window {
            let micros = now.0.saturating_sub(to.0) / 1_000;
            self.latency.saturating_record_n(micros.max(1), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new(Rc::new(Script::plain(1))).expect("good bounds")
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn only_what_was_due_in_time_is_measured() {
        let mut tally = tally();
        tally.measure(Nanos(SECOND), Nanos(2 * SECOND));
        let (script, mut out) = (Script::plain(1), Vec::new());
        for (due, came) in [
            (SECOND - 1, SECOND + 5_000),
            (SECOND, SECOND + 7_000),
            (2 * SECOND - 1, 2 * SECOND + 8_999),
            (2 * SECOND, 2 * SECOND + 9_000_000),
        ] {
            tally.now = Nanos(came);
            tally.deliver(script.write(Nanos(due), 1, &mut out));
        }
        let latencies: Vec<u64> = tally
            .latency
            .iter_recorded()
            .map(|value| value.value_iterated_to())
            .collect();
        assert_eq!((tally.delivered, tally.damaged, latencies), (4, 0, vec![7, 9]));
        tally.never_came(3, Nanos(3 * SECOND));
        assert_eq!((tally.latency.len(), tally.latency.max() / 1_000), (5, 1_000));
    }

    #[test]
    fn what_is_no_payload_is_damaged() {
        let mut tally = tally();
        tally.deliver(b"\"short\"");
        assert_eq!((tally.delivered, tally.damaged), (1, 1));
    }
}
