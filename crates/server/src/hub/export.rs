//! What a shard counted, moved into the metrics.

use tickwire_metrics::{DeliveryOp, EncodeOp, Metric};
use tickwire_wire::Micros;

use super::Hub;

impl Hub {
    /// Moves what was counted into the catalogue.
    pub(crate) fn flush(&mut self, now: Micros) {
        (self.flushed, self.counted) = (now, false);
        self.book();
        let (shard, counts, metrics) = (&self.shard, self.shard.counts(), &mut self.sockets.metrics);
        let (number, ledger) = (usize::from(shard.id().0), &counts.ledger);
        for (metric, value) in [
            (Metric::Conflated, ledger.conflated),
            (Metric::Gapped, ledger.gapped + counts.unresumed),
            (Metric::ReplaysRefused, counts.replays_refused),
            (Metric::PublishedBytes, counts.published_bytes),
            (Metric::CompressedFrom, counts.deflated_from_bytes),
            (Metric::CompressedTo, counts.deflated_to_bytes),
        ] {
            metrics.set(metric, &[], value);
        }
        for (metric, value) in [
            (Metric::Lags, counts.lagged),
            (Metric::LedgerOwed, ledger.owed),
            (Metric::LedgerDelivered, ledger.delivered),
            (Metric::LedgerConflated, ledger.conflated),
            (Metric::LedgerGapped, ledger.gapped),
            (Metric::LedgerDropped, ledger.dropped),
            (Metric::LedgerPending, ledger.pending()),
            (Metric::ShardOverflows, counts.queue_overflows),
            (Metric::Sessions, shard.session_count() as u64),
            (Metric::Subscriptions, shard.subscription_count() as u64),
            (Metric::LaggingSessions, shard.lagging_count() as u64),
            (Metric::OutboxBytes, shard.waiting_bytes() as u64),
            (Metric::ShardQueue, shard.queue_depth() as u64),
        ] {
            metrics.set(metric, &[number], value);
        }
        for (op, count) in [
            (DeliveryOp::Update, counts.updates),
            (DeliveryOp::Snapshot, counts.snapshots),
            (DeliveryOp::Gap, counts.gaps),
        ] {
            metrics.set(Metric::Deliveries, &[op as usize], count);
        }
        for (codec, [updates, snapshots]) in counts.encodes.into_iter().enumerate() {
            metrics.set(Metric::Encodes, &[codec, EncodeOp::Update as usize], updates);
            metrics.set(Metric::Encodes, &[codec, EncodeOp::Snapshot as usize], snapshots);
        }
        for (metric, values) in [
            (Metric::Publications, &counts.published[..]),
            (Metric::Requests, &counts.ops),
            (Metric::Refusals, &counts.refusals),
            (Metric::Closes, &counts.closes),
        ] {
            for (index, value) in values.iter().enumerate() {
                metrics.set(metric, &[index], *value);
            }
        }
        self.shard.each_lagging(now, |bytes, age_us| {
            metrics.observe(Metric::LagSeconds, age_us);
            metrics.observe(Metric::LagBytes, bytes as u64);
        });
        metrics.flush();
    }
}
