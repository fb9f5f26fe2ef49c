//! What a drain run found, and the closing table.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::swarm::report::{Faults, Outcome, Table, grouped};

/// What a drain run found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct DrainOutcome {
    pub(super) scenario: &'static str,
    pub(super) broker: String,
    pub(super) connections: usize,
    pub(super) window_s: u64,
    pub(super) told: usize,
    pub(super) closed: usize,
    /// Closes in each second from the signal on.
    pub(super) closes_each_s: Vec<u64>,
    /// The most closes in any second, wherever it begins.
    pub(super) closes_max_per_s: u64,
    pub(super) closes_mean_per_s: f64,
    /// From the signal to the broker's end.
    pub(super) stopped_after_s: f64,
    pub(super) exit: String,
    pub(super) updates: u64,
    pub(super) behind_max: u64,
    pub(super) reconnected: usize,
    pub(super) resumed: u64,
    pub(super) declared: u64,
    pub(super) faults: Faults,
}

impl DrainOutcome {
    /// Takes note of when clients were closed after a signal at `signalled`.
    pub(super) fn spread(&mut self, closes: &[Instant], signalled: Instant) {
        let mut after: Vec<Duration> = closes
            .iter()
            .map(|at| at.saturating_duration_since(signalled))
            .collect();
        after.sort_unstable();
        self.closed = after.len();
        self.closes_mean_per_s = self.closed as f64 / self.window_s as f64;
        for at in &after {
            let second = usize::try_from(at.as_secs()).unwrap_or(usize::MAX);
            if self.closes_each_s.len() <= second {
                self.closes_each_s.resize(second + 1, 0);
            }
            self.closes_each_s[second] += 1;
        }
        let mut first = 0;
        for (last, at) in after.iter().enumerate() {
            while *at - after[first] >= Duration::from_secs(1) {
                first += 1;
            }
            self.closes_max_per_s = self.closes_max_per_s.max((last + 1 - first) as u64);
        }
    }

    /// Judges what was found.
    pub(super) fn judge(&mut self) {
        let connections = self.connections;
        if self.told < connections {
            let text = format_args!("{} of {connections}", self.told);
            self.faults.add("not all were told", text);
        }
        if self.closed < connections {
            let text = format_args!("{} of {connections}", self.closed);
            self.faults.add("not all were closed with 4000", text);
        }
        // A second that is cut anywhere may hold one close more at each of its ends.
        let most = 2.0 * self.closes_mean_per_s + 2.0;
        if self.closes_max_per_s as f64 > most {
            let text = format_args!(
                "{} in a second, at most {most} are allowed",
                self.closes_max_per_s
            );
            self.faults.add("closes are not spread", text);
        }
        if self.reconnected < connections {
            let text = format_args!("{} of {connections}", self.reconnected);
            self.faults.add("not all came back", text);
        }
        if self.declared < self.resumed {
            let text = format_args!("{} of {}", self.declared, self.resumed);
            self.faults.add("resume not declared", text);
        }
    }
}

impl Outcome for DrainOutcome {
    fn table(&self) -> Table {
        let mut table = Table::default();
        let connections = self.connections as u64;
        table.row("broker", &self.broker);
        table.row("connections", grouped(connections));
        table.row(
            "told, then closed with 4000",
            format_args!("{}, {}", grouped(self.told as u64), grouped(self.closed as u64)),
        );
        table.row(
            "closes in a second",
            format_args!(
                "{} at most, {:.1} in the mean over {} s: {:?}",
                grouped(self.closes_max_per_s),
                self.closes_mean_per_s,
                self.window_s,
                self.closes_each_s
            ),
        );
        table.row(
            "messages up to the closes",
            format_args!(
                "{}, each client's without a hole; at most {} behind the foremost client",
                grouped(self.updates),
                self.behind_max
            ),
        );
        table.row(
            "broker's end",
            format_args!("{} after {:.1} s", self.exit, self.stopped_after_s),
        );
        table.row(
            "came back",
            format_args!(
                "{} clients; of {} subscriptions resumed {} were told exactly",
                grouped(self.reconnected as u64),
                grouped(self.resumed),
                grouped(self.declared)
            ),
        );
        table
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(after_ms: &[u64], window_s: u64) -> DrainOutcome {
        let signalled = Instant::now();
        let closes: Vec<Instant> = after_ms
            .iter()
            .map(|after| signalled + Duration::from_millis(*after))
            .collect();
        let mut outcome = DrainOutcome {
            window_s,
            connections: closes.len(),
            told: closes.len(),
            reconnected: closes.len(),
            ..DrainOutcome::default()
        };
        outcome.spread(&closes, signalled);
        outcome.judge();
        outcome
    }

    #[test]
    fn a_burst_is_a_fault_wherever_its_second_begins() {
        let even: Vec<u64> = (0..100).map(|nth| nth * 100).collect();
        let outcome = judged(&even, 10);
        assert_eq!((outcome.faults.count(), outcome.closes_max_per_s), (0, 10));
        assert_eq!(outcome.closes_each_s, vec![10; 10]);
        // Half of it before a full second, half after: the seconds from the signal on show nothing.
        let burst: Vec<u64> = (0..24)
            .map(|nth| 500 + nth * 40)
            .chain((0..76).map(|nth| 2_000 + nth * 100))
            .collect();
        let outcome = judged(&burst, 10);
        assert!(outcome.closes_each_s.iter().all(|closes| *closes <= 20));
        assert_eq!(outcome.faults.count(), 1, "{:?}", outcome.faults);
    }
}
