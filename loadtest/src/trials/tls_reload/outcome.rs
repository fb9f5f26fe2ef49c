//! What a run found, and the closing table.

use serde::Serialize;

use crate::swarm::report::{Faults, Outcome, Table, byte_change, bytes, grouped};

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct TlsReloadOutcome {
    pub(super) scenario: &'static str,
    pub(super) broker: String,
    pub(super) connections: usize,
    /// Time that all connections took to connect, shake hands and subscribe.
    pub(super) connected_ms: u64,
    pub(super) dropped: u64,
    pub(super) published: u64,
    pub(super) updates: u64,
    pub(super) missing: u64,
    /// For each replacement, the time until a new connection was shown the new certificate; none when it never was.
    pub(super) served_ms: Vec<Option<u64>>,
    pub(super) rss_before_bytes: u64,
    pub(super) rss_connected_bytes: u64,
    pub(super) rss_end_bytes: u64,
    pub(super) faults: Faults,
}

impl TlsReloadOutcome {
    /// The broker's memory for a connection, in bytes.
    fn rss_each_bytes(&self) -> u64 {
        let grown = self.rss_connected_bytes.saturating_sub(self.rss_before_bytes);
        grown / self.connections.max(1) as u64
    }
}

impl Outcome for TlsReloadOutcome {
    fn table(&self) -> Table {
        let mut table = Table::default();
        table.row("broker", &self.broker);
        table.row(
            "connections",
            format_args!(
                "{} over TLS, subscribed within {} ms",
                grouped(self.connections as u64),
                grouped(self.connected_ms)
            ),
        );
        let served: Vec<String> = self
            .served_ms
            .iter()
            .map(|served| served.map_or("never".to_owned(), |ms| format!("{ms} ms")))
            .collect();
        table.row(
            "new certificate is shown after",
            format_args!("{} ({} replacements)", served.join(", "), served.len()),
        );
        table.row("connections dropped", grouped(self.dropped));
        table.row(
            "messages",
            format_args!(
                "{} published, {} received, {} missing",
                grouped(self.published),
                grouped(self.updates),
                grouped(self.missing)
            ),
        );
        table.row(
            "broker's RSS",
            format_args!(
                "{} without connections, {} with all ({} per connection), {} at the end",
                bytes(self.rss_before_bytes),
                bytes(self.rss_connected_bytes),
                bytes(self.rss_each_bytes()),
                byte_change(self.rss_connected_bytes, self.rss_end_bytes)
            ),
        );
        table
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }
}
