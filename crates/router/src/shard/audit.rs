//! The shard's audit: its ledger's sums, found by looking at everything.

use super::Shard;
use crate::ledger::Audit;

impl Shard {
    /// Adds up, from every subscription and from everything that waits, what the ledger must say. Looks at each
    /// subscription, each frame that waits and, for [`Audit::unseen`], each topic.
    #[must_use]
    pub fn audit(&self) -> Audit {
        let (mut heads, mut pending, mut unseen) = (0_u64, 0, 0);
        for session in self.sessions.iter() {
            pending += session.outbox.stands_for();
            for (topic, subscription) in &session.subscriptions.topics {
                let slot = &self.slots[topic.index()];
                let subscriber = slot.at(subscription.place);
                heads = heads.wrapping_add(slot.head.0);
                pending += slot.head.0 - subscriber.after.0;
                let newest = slot.cell.as_ref().map_or(slot.head, |cell| cell.position().seq);
                unseen += newest.0 - slot.head.0;
            }
        }
        Audit::new(&self.counts.ledger, heads, pending, unseen)
    }

    /// Whether what is summed as it changes, for the export, is what is found by looking: subscriptions, sessions that lag, and
    /// bytes that wait.
    #[must_use]
    pub fn sums_agree(&self) -> bool {
        let (mut subscriptions, mut lagging, mut waiting) = (0, 0, 0);
        for session in self.sessions.iter() {
            subscriptions += session.subscriptions.topics.len();
            lagging += usize::from(session.reader.lags());
            waiting += session.outbox.data_bytes() + session.outbox.control_bytes();
        }
        (subscriptions, lagging, waiting)
            == (
                self.subscription_count(),
                self.lagging_count(),
                self.waiting_bytes(),
            )
    }
}
