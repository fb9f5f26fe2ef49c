//! How long a run takes: an estimate from the scenarios, corrected by what was measured already.
//!
//! Pure: told times and reads no clock. A server that was measured in a scenario will take as long again; of the others,
//! the estimate is stretched by as much as those measured so far were off.

use std::fmt;
use std::time::Duration;

use crate::compare::scenario::{Kind, Scenario};

/// Time in which a server starts and stops, the client settles, and what is left arrives.
const AROUND: Duration = Duration::from_secs(2);
/// Connections that are made in a second.
const CONNECTED_PER_S: f64 = 4_000.0;

/// One server in one scenario, in every round.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    scenario: String,
    peer: &'static str,
    estimate: Duration,
    /// The latest time that it took.
    took: Option<Duration>,
    rounds_left: u32,
}

/// What is still to be measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Remaining(Vec<Item>);

impl Remaining {
    /// Also `peers` in `scenario`, so many rounds.
    pub(crate) fn add(
        &mut self,
        scenario: &Scenario,
        peers: impl Iterator<Item = &'static str>,
        rounds: u32,
    ) {
        self.0.extend(peers.map(|peer| Item {
            scenario: scenario.name.clone(),
            peer,
            estimate: estimate(scenario),
            took: None,
            rounds_left: rounds,
        }));
    }

    /// A round of a server is over.
    pub(crate) fn done(&mut self, scenario: &str, peer: &str, took: Duration) {
        for item in &mut self.0 {
            if item.scenario == scenario && item.peer == peer {
                item.took = Some(took);
                item.rounds_left = item.rounds_left.saturating_sub(1);
            }
        }
    }

    /// How long everything that is left will take.
    pub(crate) fn time(&self) -> Duration {
        let known = |item: &&Item| item.took.is_some();
        let took: Duration = self.0.iter().filter_map(|item| item.took).sum();
        let estimated: Duration = self.0.iter().filter(known).map(|item| item.estimate).sum();
        let off = match estimated.as_secs_f64() {
            0.0 => 1.0,
            estimated => took.as_secs_f64() / estimated,
        };
        let each = |item: &Item| item.took.unwrap_or(item.estimate.mul_f64(off)) * item.rounds_left;
        self.0.iter().map(each).sum()
    }

    /// Measurements that are left.
    pub(crate) fn measurements(&self) -> u32 {
        self.0.iter().map(|item| item.rounds_left).sum()
    }
}

/// `about 12 min left` or `about 40 s left`.
impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.time().as_secs_f64();
        match left {
            ..100.0 => write!(f, "about {left:.0} s left"),
            _ => write!(f, "about {:.0} min left", left / 60.0),
        }
    }
}

/// How long one measurement takes.
fn estimate(scenario: &Scenario) -> Duration {
    let connecting = Duration::from_secs_f64(f64::from(scenario.subscribers) / CONNECTED_PER_S);
    let measuring = Duration::from_secs(u64::from(scenario.warmup_seconds + scenario.seconds));
    match scenario.kind {
        // With a server of its own for each.
        Kind::Max => (AROUND + connecting + measuring) * scenario.probes,
        // Without and with, twice.
        Kind::Slow => AROUND + connecting + measuring * 4,
        _ => AROUND + connecting + measuring,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(name: &str, text: &str) -> Scenario {
        let text = format!("about = 'x'\nwarmup_seconds = 1\n{text}");
        Scenario::parse(name, &text, false).expect("a good scenario")
    }

    #[test]
    fn estimates() {
        for (text, seconds) in [
            ("kind = 'hot'\nsubscribers = 4000\nseconds = 5", 9),
            ("kind = 'hot'\nsubscribers = 20000\nseconds = 5", 13),
            (
                "kind = 'max'\nsubscribers = 4000\nseconds = 2\nrate = 1\np99_ms_max = 1\nprobes = 9",
                54,
            ),
            (
                "kind = 'slow'\nsubscribers = 4000\nseconds = 4\nrate = 1\nstopped_percent = 10",
                23,
            ),
        ] {
            assert_eq!(estimate(&scenario("x", text)).as_secs(), seconds, "{text}");
        }
    }

    #[test]
    fn what_was_measured_corrects_the_rest() {
        let few = scenario("few", "kind = 'hot'\nsubscribers = 4000\nseconds = 5");
        let many = scenario("many", "kind = 'hot'\nsubscribers = 4000\nseconds = 15");
        let mut remaining = Remaining::default();
        remaining.add(&few, ["a", "b"].into_iter(), 2);
        remaining.add(&many, ["a"].into_iter(), 2);
        // 4 × 9 s and 2 × 19 s.
        assert_eq!((remaining.time().as_secs(), remaining.measurements()), (74, 6));
        assert_eq!(remaining.to_string(), "about 74 s left");
        remaining.done("few", "a", Duration::from_secs(18));
        // Once more 18 s, and the rest twice as long as estimated: 2 × 18 s and 2 × 38 s.
        assert_eq!((remaining.time().as_secs(), remaining.measurements()), (130, 5));
        assert_eq!(remaining.to_string(), "about 2 min left");
        for (scenario, peer) in [
            ("few", "a"),
            ("few", "b"),
            ("few", "b"),
            ("many", "a"),
            ("many", "a"),
        ] {
            remaining.done(scenario, peer, Duration::from_secs(1));
        }
        assert_eq!((remaining.time(), remaining.measurements()), (Duration::ZERO, 0));
    }
}
