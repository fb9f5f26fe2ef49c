//! What a soak found: figures of this side, figures of the broker, and the closing table.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::audience::Counts;
use crate::swarm::broker::Broker;
use crate::swarm::latency::Latency;
use crate::swarm::proc::Memory;
use crate::swarm::report::{Faults, Outcome, Table, bytes, grouped, micros};
use crate::swarm::scrape::Metrics;

/// Rows of memory in the table, besides the last.
const MEMORY_ROWS: usize = 6;
/// Growth of memory over the last half, in percent, above which it is called growing.
const STEADY_PERCENT: f64 = 3.0;

/// The broker's memory at one time.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Sample {
    pub(super) at_s: f64,
    pub(super) memory: Memory,
}

impl Sample {
    /// Now, `at` after the beginning.
    ///
    /// # Errors
    /// When the broker is gone.
    pub(super) fn take(broker: &Broker, at: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            at_s: at.as_secs_f64(),
            memory: broker.memory()?,
        })
    }
}

/// What the broker's own metrics say of the measured time.
#[derive(Debug, Default, Serialize)]
pub(super) struct Server {
    ticks_per_s: f64,
    lateness_mean_s: Option<f64>,
    lateness_p50_at_most_s: Option<f64>,
    lateness_p99_at_most_s: Option<f64>,
    deliveries: f64,
    encodes: f64,
    socket_writes: f64,
    conflated: f64,
    queue_overflows: f64,
    history_bytes: [f64; 2],
    topics: f64,
}

impl Server {
    /// Between two pages that were fetched `time` apart.
    pub(super) fn between(before: &Metrics, after: &Metrics, time: Duration) -> Self {
        let grown = |name| after.grown(before, name, "");
        let lateness = after.observed(before, "tickwire_feed_lateness_seconds");
        Self {
            ticks_per_s: grown("tickwire_feed_ticks_total") / time.as_secs_f64(),
            lateness_mean_s: lateness.mean(),
            lateness_p50_at_most_s: lateness.at_most(0.5),
            lateness_p99_at_most_s: lateness.at_most(0.99),
            deliveries: after.grown(before, "tickwire_deliveries_total", "op=\"update\""),
            encodes: grown("tickwire_encodes_total"),
            socket_writes: grown("tickwire_socket_writes_total"),
            conflated: grown("tickwire_conflated_messages_total"),
            queue_overflows: grown("tickwire_shard_queue_overflows_total"),
            history_bytes: [before, after].map(|page| page.sum("tickwire_history_bytes", "")),
            topics: after.sum("tickwire_topics", ""),
        }
    }
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SoakOutcome {
    pub(super) scenario: &'static str,
    pub(super) broker: String,
    pub(super) symbols: usize,
    pub(super) subscribers: usize,
    /// Topics over all subscribers.
    pub(super) topics: usize,
    pub(super) seconds: f64,
    pub(super) counts: Counts,
    pub(super) updates_min: u64,
    pub(super) updates_max: u64,
    /// Of updates.
    pub(super) latency_us: Latency,
    pub(super) broker_cpu_s: f64,
    pub(super) broker_cpu_by_thread_s: BTreeMap<String, f64>,
    /// None when the threads are not known.
    pub(super) shard_cpu_s: Option<f64>,
    pub(super) own_cpu_s: f64,
    pub(super) own_rss_bytes: u64,
    pub(super) server: Server,
    pub(super) samples: Vec<Sample>,
    pub(super) faults: Faults,
}

impl SoakOutcome {
    fn per_update_us(&self, cpu_s: f64) -> String {
        match self.counts.updates {
            0 => "no delivery".to_owned(),
            updates => format!("{:.3} µs", cpu_s * 1e6 / updates as f64),
        }
    }

    fn traffic(&self, table: &mut Table) {
        let counts = &self.counts;
        let per_s = |count: u64| grouped((count as f64 / self.seconds.max(1e-3)) as u64);
        table.row("broker", &self.broker);
        table.row(
            "load",
            format_args!(
                "{} subscribers with {} topics of {} symbols, {:.1} s",
                grouped(self.subscribers as u64),
                grouped(self.topics as u64),
                grouped(self.symbols as u64),
                self.seconds
            ),
        );
        table.row("deliveries", grouped(counts.updates));
        table.row(
            "deliveries/s",
            format_args!(
                "{} ({} a second)",
                per_s(counts.updates),
                bytes((counts.bytes as f64 / self.seconds) as u64)
            ),
        );
        table.row(
            "deliveries per subscriber",
            format_args!("{} to {}", grouped(self.updates_min), grouped(self.updates_max)),
        );
        table.row("missed sequences", grouped(counts.missing + counts.gapped));
        table.row("gaps", grouped(counts.gaps));
        table.row("closes", grouped(counts.closes));
        table.row("conflated", grouped(counts.skipped));
        table.row(
            "decoded in full",
            format_args!(
                "{}, of these book checksums {}",
                grouped(counts.decoded),
                grouped(counts.books_verified)
            ),
        );
        let latency = &self.latency_us;
        table.row(
            "latency p50 / p90 / p99",
            [latency.p50, latency.p90, latency.p99].map(micros).join(" / "),
        );
        table.row(
            "latency p99.9 / max",
            [latency.p999, latency.max].map(micros).join(" / "),
        );
        table.row("latency mean", micros(latency.mean as u64));
    }

    fn cost(&self, table: &mut Table) {
        let threads: Vec<String> = self
            .broker_cpu_by_thread_s
            .iter()
            .map(|(name, seconds)| format!("{name} {seconds:.2}"))
            .collect();
        table.row(
            "broker's CPU",
            format_args!("{:.2} s ({})", self.broker_cpu_s, threads.join(", ")),
        );
        table.row("broker's CPU per delivery", self.per_update_us(self.broker_cpu_s));
        if let Some(seconds) = self.shard_cpu_s {
            table.row("shards' CPU per delivery", self.per_update_us(seconds));
        }
        table.row(
            "this side",
            format_args!(
                "CPU {:.2} s ({} per delivery), RSS {}",
                self.own_cpu_s,
                self.per_update_us(self.own_cpu_s),
                bytes(self.own_rss_bytes)
            ),
        );
        let server = &self.server;
        table.row("feed's ticks/s", grouped(server.ticks_per_s.max(0.0) as u64));
        table.row(
            "feed's lateness",
            format_args!(
                "mean {}, p50 ≤ {}, p99 ≤ {}",
                seconds(server.lateness_mean_s),
                seconds(server.lateness_p50_at_most_s),
                seconds(server.lateness_p99_at_most_s)
            ),
        );
        table.row(
            "broker's own counts",
            format_args!(
                "{} deliveries, {} encodes, {} writes ({:.1} deliveries each), {} conflated, {} queue overflows",
                grouped(server.deliveries as u64),
                grouped(server.encodes as u64),
                grouped(server.socket_writes as u64),
                server.deliveries / server.socket_writes.max(1.0),
                grouped(server.conflated as u64),
                grouped(server.queue_overflows as u64)
            ),
        );
    }

    fn memory(&self, table: &mut Table) {
        let every_s = (self.seconds / MEMORY_ROWS as f64 / 10.0).ceil().max(1.0) * 10.0;
        let mut next_s = every_s;
        for (at, sample) in self.samples.iter().enumerate() {
            let is_last = at + 1 == self.samples.len();
            if at > 0 && sample.at_s < next_s && !is_last {
                continue;
            }
            if sample.at_s >= next_s {
                next_s += every_s;
            }
            let anon = sample.memory.anon_bytes.map_or("unknown".to_owned(), bytes);
            let rss = bytes(sample.memory.rss_bytes);
            table.row(
                format!("broker's RSS at {:.0} s", sample.at_s),
                format_args!("{rss} (anonymous {anon})"),
            );
        }
        let [before, after] = self.server.history_bytes.map(|number| bytes(number as u64));
        table.row("broker's histories", format_args!("{before} to {after}"));
        let growth = growth_percent(&self.samples).map_or("unknown: too few samples".to_owned(), |percent| {
            let word = if percent > STEADY_PERCENT {
                "growing"
            } else {
                "steady"
            };
            format!("{percent:+.2} % ({word})")
        });
        table.row("RSS growth, last half", growth);
    }
}

impl Outcome for SoakOutcome {
    fn table(&self) -> Table {
        let mut table = Table::default();
        self.traffic(&mut table);
        self.cost(&mut table);
        self.memory(&mut table);
        table
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }
}

/// Growth from the first to the last fifth of the last half, in percent of the former.
fn growth_percent(samples: &[Sample]) -> Option<f64> {
    let half = &samples[samples.len() / 2..];
    let fifth = half.len() / 5;
    if fifth == 0 {
        return None;
    }
    let mean = |some: &[Sample]| {
        some.iter()
            .map(|sample| sample.memory.rss_bytes as f64)
            .sum::<f64>()
            / some.len() as f64
    };
    let (from, to) = (mean(&half[..fifth]), mean(&half[half.len() - fifth..]));
    Some((to / from - 1.0) * 100.0)
}

fn seconds(value: Option<f64>) -> String {
    match value {
        None => "unknown".to_owned(),
        Some(value) if value.is_infinite() => "∞".to_owned(),
        Some(value) => micros((value * 1e6).round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(megabytes: impl IntoIterator<Item = u64>) -> Vec<Sample> {
        let sample = |(at, megabytes): (usize, u64)| Sample {
            at_s: at as f64,
            memory: Memory {
                rss_bytes: megabytes * 1_000_000,
                anon_bytes: None,
            },
        };
        megabytes.into_iter().enumerate().map(sample).collect()
    }

    #[test]
    fn growth_is_that_of_the_last_half() {
        assert_eq!(growth_percent(&samples([1; 4])), None);
        assert_eq!(
            growth_percent(&samples((0..20).map(|at| at.min(5) + 1))),
            Some(0.0)
        );
        let growing = growth_percent(&samples(100..120)).expect("enough samples");
        assert!((growing - 8.0 / 110.5 * 100.0).abs() < 1e-9, "{growing}");
    }

    #[test]
    fn the_table_of_an_empty_run_can_be_made() {
        let outcome = SoakOutcome {
            samples: samples([5, 6]),
            seconds: 1.0,
            ..SoakOutcome::default()
        };
        let text = outcome.table().to_string();
        for row in [
            "missed sequences           0\n",
            "RSS growth, last half      unknown",
        ] {
            assert!(text.contains(row), "{text}");
        }
    }
}
