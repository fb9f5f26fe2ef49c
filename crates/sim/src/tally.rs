//! How much of what happened in runs: whether the seeds reach what they are there for.

use serde_json::{Map, Value};
use tickwire_router::Counts;
use tickwire_wire::CloseCode;

/// Sums over runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Operations and rounds of shards.
    pub steps: u64,
    /// Starts of a broker.
    pub starts: u64,
    /// Connections that clients opened.
    pub connections: u64,
    /// Writes of which the socket took a part.
    pub partial_writes: u64,
    /// Updates and snapshots put into outboxes.
    pub messages: u64,
    /// Bytes of messages that were compressed, before.
    pub compressed_bytes: u64,
    /// Topics that said their lineage before their first update.
    pub joined: u64,
    /// Requests that were told that all that they bring has come.
    pub synced: u64,
    /// Topics that patterns resumed.
    pub resumed: u64,
    /// Messages that a newer one replaced.
    pub conflated: u64,
    /// Gaps that clients were told of.
    pub gaps: u64,
    /// Messages that gaps named.
    pub gapped: u64,
    /// Messages dropped because their subscription or connection ended.
    pub dropped: u64,
    /// Times that a connection began to lag.
    pub lagged: u64,
    /// Publications that did not fit in a shard's queue.
    pub queue_overflows: u64,
    /// Closes with 4002.
    pub closed_slow: u64,
    /// Closes with 4001.
    pub closed_silent: u64,
    /// Closes with 4008.
    pub closed_idle: u64,
}

impl Tally {
    /// Adds what a shard counted.
    pub(crate) fn count(&mut self, counts: &Counts) {
        let closes = |code: CloseCode| {
            let index = CloseCode::SENT.iter().position(|sent| *sent == code);
            index.map_or(0, |index| counts.closes[index])
        };
        self.messages += counts.updates + counts.snapshots;
        self.compressed_bytes += counts.deflated_from_bytes;
        self.conflated += counts.ledger.conflated;
        self.gaps += counts.gaps;
        self.gapped += counts.ledger.gapped + counts.unresumed;
        self.dropped += counts.ledger.dropped;
        self.lagged += counts.lagged;
        self.queue_overflows += counts.queue_overflows;
        self.closed_slow += closes(CloseCode::SLOW);
        self.closed_silent += closes(CloseCode::NO_PONG);
        self.closed_idle += closes(CloseCode::NO_REQUEST);
    }

    /// Adds the sums of other runs.
    pub fn add(&mut self, other: &Self) {
        let mut others = other.named();
        for (sum, (_, more)) in self.fields().into_iter().zip(&mut others) {
            *sum += *more;
        }
    }

    fn fields(&mut self) -> [&mut u64; 18] {
        [
            &mut self.steps,
            &mut self.starts,
            &mut self.connections,
            &mut self.partial_writes,
            &mut self.messages,
            &mut self.compressed_bytes,
            &mut self.joined,
            &mut self.synced,
            &mut self.resumed,
            &mut self.conflated,
            &mut self.gaps,
            &mut self.gapped,
            &mut self.dropped,
            &mut self.lagged,
            &mut self.queue_overflows,
            &mut self.closed_slow,
            &mut self.closed_silent,
            &mut self.closed_idle,
        ]
    }

    /// The sums with what they are of.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 18] {
        [
            ("steps", self.steps),
            ("broker starts", self.starts),
            ("connections", self.connections),
            ("partial writes", self.partial_writes),
            ("messages", self.messages),
            ("bytes of messages compressed", self.compressed_bytes),
            ("topics that joined", self.joined),
            ("requests synced", self.synced),
            ("topics that patterns resumed", self.resumed),
            ("conflated", self.conflated),
            ("gaps", self.gaps),
            ("messages named by gaps", self.gapped),
            ("dropped with what they were for", self.dropped),
            ("lags", self.lagged),
            ("queue overflows", self.queue_overflows),
            ("closed as slow (4002)", self.closed_slow),
            ("closed as silent (4001)", self.closed_silent),
            ("closed without a request (4008)", self.closed_idle),
        ]
    }

    /// The sums as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let fields = self.named().into_iter();
        Value::Object(
            fields
                .map(|(name, sum)| (name.replace(' ', "_"), Value::from(sum)))
                .collect::<Map<_, _>>(),
        )
    }
}
