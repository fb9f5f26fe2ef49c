//! Counts of what happened in runs. They show whether the seeds reach what they are for.

use serde_json::{Map, Value};
use tickwire_router::Counts;
use tickwire_wire::CloseCode;

/// Sums over runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Operations, and rounds of shards.
    pub steps: u64,
    /// Starts of a broker.
    pub starts: u64,
    /// Connections that clients opened.
    pub connections: u64,
    /// Streams of events that were granted.
    pub streams: u64,
    /// Streams that were asked for with an id.
    pub streams_again: u64,
    /// Writes that the socket took only in part.
    pub partial_writes: u64,
    /// Rounds after which something was still to be read.
    pub behind: u64,
    /// Rounds after which a request was not done.
    pub parked: u64,
    /// Updates and snapshots put into outboxes.
    pub messages: u64,
    /// Bytes of messages that were compressed, before compression.
    pub compressed_bytes: u64,
    /// How many topics told their lineage in a `joined`.
    pub joined: u64,
    /// How many requests got their `synced`.
    pub synced: u64,
    /// How many replays from a moment came to live messages.
    pub caught_up: u64,
    /// How many topics patterns resumed.
    pub resumed: u64,
    /// Messages that a newer one replaced.
    pub conflated: u64,
    /// Gaps that clients were sent.
    pub gaps: u64,
    /// Messages that gaps named.
    pub gapped: u64,
    /// Messages dropped because their subscription or connection ended.
    pub dropped: u64,
    /// How often a connection began to lag.
    pub lagged: u64,
    /// Publications that did not fit in a shard's queue.
    pub queue_overflows: u64,
    /// Closes with code 4002.
    pub closed_slow: u64,
    /// Closes with code 4001.
    pub closed_silent: u64,
    /// Closes with code 4008.
    pub closed_idle: u64,
    /// Closes with code 4000.
    pub closed_drained: u64,
    /// How often the broker took other settings.
    pub reloads: u64,
    /// How often a topic was to end.
    pub ended: u64,
}

impl Tally {
    /// Adds the counters of a shard.
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
        self.closed_drained += closes(CloseCode::DRAIN);
    }

    /// Adds the sums of other runs.
    pub fn add(&mut self, other: &Self) {
        let mut others = other.named();
        for (sum, (_, more)) in self.fields().into_iter().zip(&mut others) {
            *sum += *more;
        }
    }

    fn fields(&mut self) -> [&mut u64; 26] {
        [
            &mut self.steps,
            &mut self.starts,
            &mut self.connections,
            &mut self.streams,
            &mut self.streams_again,
            &mut self.partial_writes,
            &mut self.behind,
            &mut self.parked,
            &mut self.messages,
            &mut self.compressed_bytes,
            &mut self.joined,
            &mut self.synced,
            &mut self.caught_up,
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
            &mut self.closed_drained,
            &mut self.reloads,
            &mut self.ended,
        ]
    }

    /// The sums with their names.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 26] {
        [
            ("steps", self.steps),
            ("broker starts", self.starts),
            ("connections", self.connections),
            ("streams of events", self.streams),
            ("streams asked for with an id", self.streams_again),
            ("partial writes", self.partial_writes),
            ("rounds with something left to read", self.behind),
            ("rounds with a request left", self.parked),
            ("messages", self.messages),
            ("bytes of messages compressed", self.compressed_bytes),
            ("topics that joined", self.joined),
            ("requests synced", self.synced),
            ("replays caught up with", self.caught_up),
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
            ("closed to drain (4000)", self.closed_drained),
            ("reloads", self.reloads),
            ("topics deleted", self.ended),
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
