//! What a stall run found, and the closing table.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::swarm::latency::Latency;
use crate::swarm::report::{Faults, Outcome, Table, byte_change, bytes, grouped, micros};

/// One time of standing still.
#[derive(Debug, Default, Serialize)]
pub(super) struct Round {
    pub(super) rss_before_bytes: u64,
    pub(super) rss_stalled_bytes: u64,
    /// RSS without the pages of files, where the system tells.
    pub(super) anon_before_bytes: Option<u64>,
    pub(super) anon_stalled_bytes: Option<u64>,
    /// What the kernel held for a stopped connection, both ends, in the mean and at most.
    pub(super) kernel_mean_bytes: u64,
    pub(super) kernel_max_bytes: u64,
    /// Pages that TCP counts, the whole machine's.
    pub(super) tcp_before_bytes: u64,
    pub(super) tcp_stalled_bytes: u64,
    pub(super) lagging: f64,
    /// Messages that a stopped reader found in the kernel's buffers, in the mean and at most.
    pub(super) stale_mean_messages: f64,
    pub(super) stale_max_messages: u64,
    pub(super) stale_max_bytes: u64,
    /// Stopped readers that had the newest of a topic in time.
    pub(super) fresh: usize,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct StallOutcome {
    pub(super) scenario: &'static str,
    pub(super) broker: String,
    pub(super) connections: usize,
    pub(super) stopped: usize,
    pub(super) seconds: u64,
    pub(super) published: u64,
    pub(super) calm: Latency,
    pub(super) stalled: Latency,
    pub(super) rounds: Vec<Round>,
    pub(super) updates: u64,
    pub(super) skipped: u64,
    /// The broker's counts of the same.
    pub(super) broker_updates: f64,
    pub(super) broker_conflated: f64,
    /// The broker's own ledger, as far as it keeps one.
    pub(super) ledger: BTreeMap<String, f64>,
    pub(super) faults: Faults,
}

impl StallOutcome {
    /// Growth of the broker per stopped connection, in bytes, the worst round.
    pub(super) fn growth_bytes(&self) -> u64 {
        let of = |round: &Round| round.rss_stalled_bytes.saturating_sub(round.rss_before_bytes);
        let most = self.rounds.iter().map(of).max().unwrap_or(0);
        most / self.stopped.max(1) as u64
    }

    fn round(&self, table: &mut Table, number: usize, round: &Round) {
        table.row(
            format!("round {number}: broker's RSS"),
            format_args!(
                "{} before, {} ({} per stopped connection; anonymous {})",
                bytes(round.rss_before_bytes),
                byte_change(round.rss_before_bytes, round.rss_stalled_bytes),
                bytes(
                    round.rss_stalled_bytes.saturating_sub(round.rss_before_bytes)
                        / self.stopped.max(1) as u64
                ),
                match (round.anon_before_bytes, round.anon_stalled_bytes) {
                    (Some(before), Some(stalled)) => byte_change(before, stalled),
                    _ => "unknown".to_owned(),
                }
            ),
        );
        table.row(
            format!("round {number}: in the kernel"),
            format_args!(
                "{} per stopped connection in the mean, at most {}; TCP's pages {}",
                bytes(round.kernel_mean_bytes),
                bytes(round.kernel_max_bytes),
                byte_change(round.tcp_before_bytes, round.tcp_stalled_bytes)
            ),
        );
        table.row(
            format!("round {number}: going on"),
            format_args!(
                "{} of {} have the newest, after {:.1} older messages in the mean, at most {} ({}); {} were lagging",
                round.fresh,
                self.stopped,
                round.stale_mean_messages,
                round.stale_max_messages,
                bytes(round.stale_max_bytes),
                round.lagging
            ),
        );
    }
}

impl Outcome for StallOutcome {
    fn table(&self) -> Table {
        let mut table = Table::default();
        table.row("broker", &self.broker);
        table.row(
            "connections",
            format_args!(
                "{}, of these {} stand still for {} s, {} times",
                grouped(self.connections as u64),
                grouped(self.stopped as u64),
                self.seconds,
                self.rounds.len()
            ),
        );
        table.row("messages published", grouped(self.published));
        table.row("the others' latency, all read", shown(&self.calm));
        table.row("the others' latency, some stopped", shown(&self.stalled));
        for (number, round) in self.rounds.iter().enumerate() {
            self.round(&mut table, number + 1, round);
        }
        table.row(
            "broker's growth per stopped connection",
            format_args!("{} at most", bytes(self.growth_bytes())),
        );
        table.row(
            "delivered",
            format_args!(
                "{} received, {} by the broker's count",
                grouped(self.updates),
                grouped(self.broker_updates as u64)
            ),
        );
        table.row(
            "conflated",
            format_args!(
                "{} skipped, {} by the broker's count",
                grouped(self.skipped),
                grouped(self.broker_conflated as u64)
            ),
        );
        if self.ledger.is_empty() {
            table.row("broker's ledger", "it exports none");
        }
        for (name, value) in &self.ledger {
            table.row(name, value);
        }
        table
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }
}

fn shown(latency: &Latency) -> String {
    format!(
        "p50 {}, p99 {}, p999 {}, max {} of {}",
        micros(latency.p50),
        micros(latency.p99),
        micros(latency.p999),
        micros(latency.max),
        grouped(latency.count)
    )
}
