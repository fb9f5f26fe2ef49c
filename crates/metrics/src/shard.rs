//! What one shard counts.
//!
//! Plain numbers that the shard's thread owns: counting costs an addition and touches no memory of other threads.
//! [`flush`](ShardMetrics::flush) moves them into the catalogue, some tens of atomic additions; dropping the struct
//! flushes and takes the shard's gauges back to 0.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::counts::Counts;
use crate::histogram::LocalHistogram;
use crate::labels::{DeliveryOp, EncodeOp, Transport};
use crate::table::Id;

/// What became of messages that subscriptions were owed, since the last flush.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    /// Handed to the socket.
    pub delivered: u64,
    /// Superseded by a newer one that was.
    pub conflated: u64,
    /// Named by a gap that was.
    pub gapped: u64,
    /// Pending when their subscription or connection ended.
    pub dropped: u64,
}

/// The counters of one shard since its last flush, and its gauges as they are now.
///
/// Counters are added to, gauges are set. Indices are positions in the catalogue's
/// [`LabelSets`](crate::LabelSets).
#[derive(Debug)]
pub struct ShardMetrics {
    /// Messages published through this shard, by kind.
    pub publications: Counts,
    /// Payload bytes of these messages.
    pub published_bytes: u64,
    /// Bytes of messages that were compressed, before.
    pub compressed_from_bytes: u64,
    /// Bytes that they were compressed to.
    pub compressed_to_bytes: u64,
    /// Messages that a subscriber was not sent because a newer one took their place.
    pub conflated: u64,
    /// Messages that a subscriber missed and was told of with a gap.
    pub gapped: u64,
    /// Requests received, by what they ask for.
    pub requests: Counts,
    /// Refusals, by error code.
    pub refusals: Counts,
    /// Connections that ended, by close code.
    pub closes: Counts,
    /// Write calls on subscriber sockets.
    pub socket_writes: u64,
    /// Bytes that the kernel took from them.
    pub socket_written_bytes: u64,
    /// Read calls on subscriber sockets.
    pub socket_reads: u64,
    /// Bytes read by them.
    pub socket_read_bytes: u64,
    /// Publications that found the shard's queue full.
    pub queue_overflows: u64,
    /// Times that a session went over its byte budget.
    pub lags: u64,
    /// Sessions that ended by a fault of the broker.
    pub sessions_failed: u64,
    /// Resumes that were refused since too much was kept for replays.
    pub replays_refused: u64,
    /// Messages that subscriptions were owed.
    pub owed: u64,
    /// What became of them.
    pub settled: Settled,
    /// Age of the oldest message that a lagging session is owed.
    pub lag: LocalHistogram,
    /// Bytes that wait for a lagging session.
    pub lagging_bytes: LocalHistogram,
    /// Time from a message's entry into the broker to the return of the write call that took its last byte.
    pub delivery_latency: LocalHistogram,
    /// Time of one cycle of the shard.
    pub cycle_duration: LocalHistogram,

    /// Gauge: sessions of this shard.
    pub sessions: u64,
    /// Gauge: subscriptions of this shard.
    pub subscriptions: u64,
    /// Gauge: sessions that are over their byte budget.
    pub lagging_sessions: u64,
    /// Gauge: owed messages of which nothing has become yet.
    pub pending: u64,
    /// Gauge: encoded bytes that wait for sessions.
    pub outbox_bytes: u64,
    /// Gauge: publications that wait in the shard's queue.
    pub queue_publications: u64,

    deliveries: [u64; DeliveryOp::NAMES.len()],
    encodes: Counts,
    connections: [u64; Transport::NAMES.len()],
    connections_flushed: [u64; Transport::NAMES.len()],
    connections_opened: [u64; Transport::NAMES.len()],
    shard: usize,
    catalogue: Arc<Catalogue>,
}

impl ShardMetrics {
    pub(crate) fn new(catalogue: &Arc<Catalogue>, shard: usize) -> Self {
        let counts = |id| Counts::new(catalogue.family(id).len());
        Self {
            publications: counts(Id::Publications),
            published_bytes: 0,
            compressed_from_bytes: 0,
            compressed_to_bytes: 0,
            conflated: 0,
            gapped: 0,
            requests: counts(Id::Requests),
            refusals: counts(Id::Refusals),
            closes: counts(Id::Closes),
            socket_writes: 0,
            socket_written_bytes: 0,
            socket_reads: 0,
            socket_read_bytes: 0,
            queue_overflows: 0,
            lags: 0,
            sessions_failed: 0,
            replays_refused: 0,
            owed: 0,
            settled: Settled::default(),
            lag: LocalHistogram::new(),
            lagging_bytes: LocalHistogram::new(),
            delivery_latency: LocalHistogram::new(),
            cycle_duration: LocalHistogram::new(),
            sessions: 0,
            subscriptions: 0,
            lagging_sessions: 0,
            pending: 0,
            outbox_bytes: 0,
            queue_publications: 0,
            deliveries: [0; 3],
            encodes: counts(Id::Encodes),
            connections: [0; 2],
            connections_flushed: [0; 2],
            connections_opened: [0; 2],
            shard,
            catalogue: Arc::clone(catalogue),
        }
    }

    /// Index of the shard.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Counts `n` data messages put on their way to one subscriber each.
    #[inline]
    pub fn delivered(&mut self, op: DeliveryOp, n: u64) {
        let count = &mut self.deliveries[op as usize];
        *count = count.wrapping_add(n);
    }

    /// Counts `n` encodings with the codec, plain or compressed, at index `codec`; one beyond the set counts as the last.
    #[inline]
    pub fn encoded(&mut self, codec: usize, op: EncodeOp, n: u64) {
        let codec = codec.min(self.catalogue.codecs() - 1);
        self.encodes.add(codec * EncodeOp::NAMES.len() + op as usize, n);
    }

    /// Counts a connection that completed its handshake and is open from now on.
    #[inline]
    pub fn connection_opened(&mut self, transport: Transport) {
        self.connections[transport as usize] = self.connections[transport as usize].wrapping_add(1);
        self.connections_opened[transport as usize] += 1;
    }

    /// Takes a connection off the open ones, whichever struct counted it as opened.
    #[inline]
    pub fn connection_closed(&mut self, transport: Transport) {
        self.connections[transport as usize] = self.connections[transport as usize].wrapping_sub(1);
    }

    /// The shard begins anew after a panic that `failed` sessions did not outlive: none of its connections is open any more.
    pub fn began_anew(&mut self, failed: u64) {
        self.connections = [0; Transport::NAMES.len()];
        self.catalogue.family(Id::ShardRestarts).add(self.shard, 1);
        self.sessions_failed += failed;
    }

    /// Moves everything counted since the last flush into the catalogue, and the gauges as they are. Call it between
    /// cycles, some times per second, and when the shard falls idle.
    pub fn flush(&mut self) {
        let Self { catalogue, shard, .. } = self;
        for (id, counts) in [
            (Id::Publications, &mut self.publications),
            (Id::Requests, &mut self.requests),
            (Id::Refusals, &mut self.refusals),
            (Id::Closes, &mut self.closes),
            (Id::Encodes, &mut self.encodes),
        ] {
            let family = catalogue.family(id);
            counts.take().for_each(|(series, n)| family.add(series, n));
        }
        for (id, series, count) in [
            (Id::PublishedBytes, 0, &mut self.published_bytes),
            (Id::CompressedFrom, 0, &mut self.compressed_from_bytes),
            (Id::CompressedTo, 0, &mut self.compressed_to_bytes),
            (Id::Conflated, 0, &mut self.conflated),
            (Id::Gapped, 0, &mut self.gapped),
            (Id::SocketWrites, 0, &mut self.socket_writes),
            (Id::SocketWrittenBytes, 0, &mut self.socket_written_bytes),
            (Id::SocketReads, 0, &mut self.socket_reads),
            (Id::SocketReadBytes, 0, &mut self.socket_read_bytes),
            (Id::ShardOverflows, *shard, &mut self.queue_overflows),
            (Id::Lags, *shard, &mut self.lags),
            (Id::SessionsFailed, 0, &mut self.sessions_failed),
            (Id::ReplaysRefused, 0, &mut self.replays_refused),
            (Id::LedgerOwed, *shard, &mut self.owed),
            (Id::LedgerDelivered, *shard, &mut self.settled.delivered),
            (Id::LedgerConflated, *shard, &mut self.settled.conflated),
            (Id::LedgerGapped, *shard, &mut self.settled.gapped),
            (Id::LedgerDropped, *shard, &mut self.settled.dropped),
        ] {
            catalogue.family(id).add(series, std::mem::take(count));
        }
        for (op, count) in self.deliveries.iter_mut().enumerate() {
            catalogue.family(Id::Deliveries).add(op, std::mem::take(count));
        }
        for (transport, count) in self.connections_opened.iter_mut().enumerate() {
            catalogue
                .family(Id::ConnectionsOpened)
                .add(transport, std::mem::take(count));
        }
        for (id, histogram) in [
            (Id::DeliveryLatency, &mut self.delivery_latency),
            (Id::ShardCycle, &mut self.cycle_duration),
            (Id::LagSeconds, &mut self.lag),
            (Id::LagBytes, &mut self.lagging_bytes),
        ] {
            if let Some(observed) = histogram.take() {
                catalogue.family(id).merge(observed);
            }
        }
        self.flush_gauges();
    }

    fn flush_gauges(&mut self) {
        for (id, value) in [
            (Id::Sessions, self.sessions),
            (Id::Subscriptions, self.subscriptions),
            (Id::LaggingSessions, self.lagging_sessions),
            (Id::LedgerPending, self.pending),
            (Id::OutboxBytes, self.outbox_bytes),
            (Id::ShardQueue, self.queue_publications),
        ] {
            self.catalogue.family(id).set(self.shard, value);
        }
        for transport in 0..self.connections.len() {
            let change = self.connections[transport].wrapping_sub(self.connections_flushed[transport]);
            self.catalogue.family(Id::Connections).add(transport, change);
            self.connections_flushed[transport] = self.connections[transport];
        }
    }
}

impl Drop for ShardMetrics {
    fn drop(&mut self) {
        self.sessions = 0;
        self.subscriptions = 0;
        self.lagging_sessions = 0;
        self.pending = 0;
        self.outbox_bytes = 0;
        self.queue_publications = 0;
        self.connections = [0; 2];
        self.flush();
    }
}
