//! Clients that are told of a drain and closed by it, and how the closes are spread.

use std::fmt::{self, Display};
use std::time::{Duration, Instant};

use serde::Serialize;
use tickwire_wire::{CloseCode, Control};

use crate::swarm::{Ending, Faults, Watch};

#[derive(Debug)]
pub(super) struct Told {
    /// Whether each client was told of the drain.
    told: Vec<bool>,
    /// When clients were closed with code 4000.
    pub(super) closes: Vec<Instant>,
}

impl Told {
    /// The state of `clients` clients before a drain.
    pub(super) fn new(clients: usize) -> Self {
        Self {
            told: vec![false; clients],
            closes: Vec::new(),
        }
    }

    /// How many clients were told of the drain.
    pub(super) fn told(&self) -> u64 {
        self.told.iter().filter(|told| **told).count() as u64
    }

    /// Checks whether all clients were told, and closed at an even rate.
    pub(super) fn judge(&self, closes: &Closes, faults: &mut Faults) {
        let all = self.told.len() as u64;
        for (kind, count) in [
            ("not all were told", self.told()),
            ("not all were closed with 4000", closes.count),
        ] {
            if count < all {
                faults.add(kind, format_args!("{count} of {all}"));
            }
        }
        // Wherever a second begins, it may contain one more close at each of its ends.
        let (found, most) = (closes.max_per_s, 2.0 * closes.mean_per_s + 2.0);
        if found as f64 > most {
            let text = format_args!("{found} in a second, at most {most} are allowed");
            faults.add("closes are not spread", text);
        }
    }
}

impl Watch for Told {
    fn other(&mut self, reader: usize, control: &Control, faults: &mut Faults) -> bool {
        let is_drain = matches!(control, Control::Drain { .. });
        if is_drain && std::mem::replace(&mut self.told[reader], true) {
            faults.add("told twice", format_args!("reader {reader}"));
        }
        is_drain
    }

    fn ended(&mut self, reader: usize, ending: &Ending, _: &mut Faults) -> bool {
        let by_drain = matches!(
            ending,
            Ending::Closed {
                code: Some(CloseCode::DRAIN),
                ..
            }
        );
        if !by_drain || !self.told[reader] {
            return false;
        }
        self.closes.push(Instant::now());
        true
    }
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Closes {
    pub(super) count: u64,
    window_s: u64,
    /// The most closes in any second, wherever it begins.
    max_per_s: u64,
    mean_per_s: f64,
}

impl Closes {
    /// The spread of closes at these moments, after a signal at `signalled`.
    pub(super) fn spread(at: &[Instant], signalled: Instant, window_s: u64) -> Self {
        let mut after: Vec<Duration> = at
            .iter()
            .map(|at| at.saturating_duration_since(signalled))
            .collect();
        after.sort_unstable();
        let mut closes = Self {
            count: after.len() as u64,
            window_s,
            mean_per_s: after.len() as f64 / window_s as f64,
            ..Self::default()
        };
        let mut first = 0;
        for (last, at) in after.iter().enumerate() {
            while *at - after[first] >= Duration::from_secs(1) {
                first += 1;
            }
            closes.max_per_s = closes.max_per_s.max((last + 1 - first) as u64);
        }
        closes
    }
}

impl Display for Closes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at most, {:.1} in the mean over {} s",
            self.max_per_s, self.mean_per_s, self.window_s
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(after_ms: impl Iterator<Item = u64>) -> (Closes, Faults) {
        let signalled = Instant::now();
        let at: Vec<Instant> = after_ms
            .map(|after| signalled + Duration::from_millis(after))
            .collect();
        let closes = Closes::spread(&at, signalled, 10);
        let (mut told, mut faults) = (Told::new(at.len()), Faults::default());
        told.told.fill(true);
        told.judge(&closes, &mut faults);
        (closes, faults)
    }

    #[test]
    fn a_burst_is_a_fault_wherever_its_second_begins() {
        let (closes, faults) = judged((0..100).map(|nth| nth * 100));
        assert_eq!((faults.count(), closes.max_per_s), (0, 10));
        // Half of the burst is before a full second, half after it. Seconds counted from the signal would not show it.
        let burst = (0..24)
            .map(|nth| 500 + nth * 40)
            .chain((0..76).map(|nth| 2_000 + nth * 100));
        let (_, faults) = judged(burst);
        assert_eq!(faults.count(), 1, "{faults:?}");
    }
}
