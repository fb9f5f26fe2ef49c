//! What a run on a bad network found, and the closing table.

use serde::Serialize;

use super::audit::Sums;
use super::follower::Followed;
use crate::swarm::report::{Faults, Outcome, Table, grouped};
use crate::swarm::scrape::Metrics;
use crate::trials::proxy::Happened;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ChaosOutcome {
    pub(super) scenario: &'static str,
    pub(super) broker: String,
    pub(super) seed: u64,
    pub(super) seconds: f64,
    pub(super) clients: usize,
    pub(super) published: u64,
    pub(super) connections: u64,
    pub(super) connects_failed: u64,
    pub(super) happened: Happened,
    #[serde(flatten)]
    pub(super) sums: Sums,
    /// Messages that the broker says it conflated, and that it says it named in gaps.
    pub(super) broker_conflated: f64,
    pub(super) broker_gapped: f64,
    pub(super) faults: Faults,
}

impl ChaosOutcome {
    /// Adds what became of a client.
    pub(super) fn add(&mut self, followed: Followed) {
        self.sums.add(&followed.sums);
        self.connections += followed.connections;
        self.connects_failed += followed.connects_failed;
        self.faults.merge(followed.faults);
        let sums = followed.sums;
        for (kind, count) in [
            ("undeclared gap", sums.undeclared),
            ("duplicate", sums.duplicates),
            ("false recovered", sums.false_recovered),
            ("wrong content", sums.wrong_content),
        ] {
            if count > 0 {
                self.faults.add(kind, format_args!("{count} at one client"));
            }
        }
    }

    /// Adds what the broker's metrics say.
    pub(super) fn server(&mut self, before: &Metrics, after: &Metrics) {
        self.broker_conflated = after.grown(before, "tickwire_conflated_messages_total", "");
        self.broker_gapped = after.grown(before, "tickwire_gapped_messages_total", "");
    }

    fn disconnects(&self) -> u64 {
        self.connections.saturating_sub(self.clients as u64)
    }
}

impl Outcome for ChaosOutcome {
    fn table(&self) -> Table {
        let (sums, happened) = (&self.sums, &self.happened);
        let mut table = Table::default();
        table.row("broker", &self.broker);
        table.row("seed", self.seed);
        table.row(
            "clients",
            format_args!("{} for {:.1} s", grouped(self.clients as u64), self.seconds),
        );
        table.row("messages published", grouped(self.published));
        table.row(
            "messages received",
            format_args!(
                "{}, of these {} snapshots",
                grouped(sums.messages),
                grouped(sums.snapshots)
            ),
        );
        table.row(
            "faults of the network",
            format_args!(
                "{} stalls, {} trickles, {} delays, {} resets, {} closes, {} half-closes",
                happened.stall,
                happened.trickle,
                happened.delay,
                happened.reset,
                happened.close,
                happened.half_close
            ),
        );
        table.row("disconnects", grouped(self.disconnects()));
        table.row("attempts to connect that failed", grouped(self.connects_failed));
        table.row("resumes, recovered:true", grouped(sums.recovered));
        table.row("resumes, recovered:false", grouped(sums.not_recovered));
        table.row("begun anew without a position", grouped(sums.begun_anew));
        table.row(
            "gaps declared",
            format_args!("{} of {} messages", grouped(sums.gaps), grouped(sums.gapped)),
        );
        table.row("replaced by a book's snapshot", grouped(sums.replaced));
        table.row("declared missing by the client", grouped(sums.unresumed));
        table.row("superseded (conflate)", grouped(sums.conflated));
        table.row(
            "the broker's counts",
            format_args!(
                "{} conflated, {} gapped",
                grouped(self.broker_conflated as u64),
                grouped(self.broker_gapped as u64)
            ),
        );
        table.row("undeclared gaps", sums.undeclared);
        table.row("duplicates", sums.duplicates);
        table.row("false recovered:true", sums.false_recovered);
        table.row("wrong content", sums.wrong_content);
        table
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }
}
