//! What came over a slow link, from each server, and the closing table.

use serde::Serialize;

use crate::swarm::report::{Faults, Outcome, Table, bytes, grouped, micros};

/// One server.
#[derive(Debug, Default, Serialize)]
pub(super) struct Served {
    pub(super) peer: &'static str,
    pub(super) version: String,
    pub(super) seconds: f64,
    pub(super) published: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) age_us_p50: u64,
    pub(super) age_us_p99: u64,
    pub(super) age_us_max: u64,
    /// The last message's age; where it grows without end, this is about the largest.
    pub(super) age_us_last: u64,
    /// What the kernel held for the connection on the server's side.
    pub(super) send_queue_mean_bytes: u64,
    pub(super) send_queue_max_bytes: u64,
    /// Time that as many messages as there are topics took over the link.
    pub(super) round_us: Option<u64>,
}

impl Served {
    /// Works out the time of a round.
    pub(super) fn with_round(mut self, topics: usize) -> Self {
        if self.messages > 0 {
            self.round_us = Some((self.seconds * 1e6 * topics as f64 / self.messages as f64) as u64);
        }
        self
    }
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SlowLinkOutcome {
    pub(super) scenario: &'static str,
    pub(super) bytes_per_s: u32,
    pub(super) topics: usize,
    pub(super) rate_each: u32,
    /// The kernel's way of filling a link (`net.ipv4.tcp_congestion_control`).
    pub(super) congestion_control: String,
    pub(super) served: Vec<Served>,
    /// Servers that are not there, and why.
    pub(super) skipped: Vec<String>,
    pub(super) faults: Faults,
}

impl Outcome for SlowLinkOutcome {
    fn table(&self) -> Table {
        let mut table = Table::default();
        table.row(
            "link",
            format_args!(
                "{} bytes/s to the reader, TCP {}",
                grouped(u64::from(self.bytes_per_s)),
                self.congestion_control
            ),
        );
        table.row(
            "published",
            format_args!("{} topics, {} messages/s on each", self.topics, self.rate_each),
        );
        for served in &self.served {
            let peer = served.peer;
            table.row(
                format!("{peer}: server"),
                format_args!(
                    "{}, {:.0} s, {} published",
                    served.version,
                    served.seconds,
                    grouped(served.published)
                ),
            );
            table.row(
                format!("{peer}: received"),
                format_args!(
                    "{} messages, {:.1} KB/s",
                    grouped(served.messages),
                    served.bytes as f64 / served.seconds.max(1e-3) / 1e3
                ),
            );
            table.row(
                format!("{peer}: age when received"),
                format_args!(
                    "p50 {}, p99 {}, max {}, last {}",
                    micros(served.age_us_p50),
                    micros(served.age_us_p99),
                    micros(served.age_us_max),
                    micros(served.age_us_last)
                ),
            );
            table.row(
                format!("{peer}: a message of each topic takes"),
                served.round_us.map_or("unknown".to_owned(), micros),
            );
            table.row(
                format!("{peer}: kernel's send queue"),
                format_args!(
                    "{} in the mean, at most {}",
                    bytes(served.send_queue_mean_bytes),
                    bytes(served.send_queue_max_bytes)
                ),
            );
        }
        for skipped in &self.skipped {
            table.row("skipped", skipped);
        }
        table
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }
}
