//! What a shard counted, moved into the metrics.

use tickwire_metrics::{DeliveryOp, EncodeOp, Settled};
use tickwire_wire::Micros;

use super::Hub;

impl Hub {
    /// Moves what was counted into the catalogue.
    pub(crate) fn flush(&mut self, now: Micros) {
        self.flushed = now;
        let counts = self.shard.counts().clone();
        let before = std::mem::replace(&mut self.exported, counts.clone());
        let metrics = &mut self.metrics;
        metrics.delivered(DeliveryOp::Update, counts.updates - before.updates);
        metrics.delivered(DeliveryOp::Snapshot, counts.snapshots - before.snapshots);
        metrics.delivered(DeliveryOp::Gap, counts.gaps - before.gaps);
        let (ledger, ledger_before) = (&counts.ledger, &before.ledger);
        metrics.conflated += ledger.conflated - ledger_before.conflated;
        metrics.gapped += ledger.gapped - ledger_before.gapped + counts.unresumed - before.unresumed;
        metrics.lags += counts.lagged - before.lagged;
        metrics.owed += ledger.owed - ledger_before.owed;
        metrics.settled = Settled {
            delivered: ledger.delivered - ledger_before.delivered,
            conflated: ledger.conflated - ledger_before.conflated,
            gapped: ledger.gapped - ledger_before.gapped,
            dropped: ledger.dropped - ledger_before.dropped,
        };
        metrics.pending = ledger.pending();
        metrics.queue_overflows += counts.queue_overflows - before.queue_overflows;
        for (codec, (now, then)) in counts.encodes.iter().zip(before.encodes).enumerate() {
            metrics.encoded(codec, EncodeOp::Update, now[0] - then[0]);
            metrics.encoded(codec, EncodeOp::Snapshot, now[1] - then[1]);
        }
        metrics.replays_refused += counts.replays_refused - before.replays_refused;
        metrics.published_bytes += counts.published_bytes - before.published_bytes;
        metrics.compressed_from_bytes += counts.deflated_from_bytes - before.deflated_from_bytes;
        metrics.compressed_to_bytes += counts.deflated_to_bytes - before.deflated_to_bytes;
        for (into, now, then) in [
            (
                &mut metrics.publications,
                &counts.published[..],
                &before.published[..],
            ),
            (&mut metrics.requests, &counts.ops, &before.ops),
            (&mut metrics.refusals, &counts.refusals, &before.refusals),
            (&mut metrics.closes, &counts.closes, &before.closes),
        ] {
            for (index, (now, then)) in now.iter().zip(then).enumerate() {
                into.add(index, now - then);
            }
        }
        self.shard.each_lagging(now, |bytes, age_us| {
            metrics.lag.observe(age_us);
            metrics.lagging_bytes.observe(bytes as u64);
        });
        metrics.sessions = self.shard.session_count() as u64;
        metrics.subscriptions = self.shard.subscription_count() as u64;
        metrics.lagging_sessions = self.shard.lagging_count() as u64;
        metrics.outbox_bytes = self.shard.waiting_bytes() as u64;
        metrics.queue_publications = self.shard.queue_depth() as u64;
        metrics.flush();
    }
}
