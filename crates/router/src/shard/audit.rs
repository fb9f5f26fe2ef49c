//! The shard's audit: finds the sums of its ledger by looking at everything.

use super::Shard;
use crate::ledger::Audit;

impl Shard {
    /// The sums that the ledger must have, added up from every subscription and everything that waits. Looks at each
    /// subscription, each waiting frame and, for [`Audit::unseen`], each topic.
    #[must_use]
    pub fn audit(&self) -> Audit {
        let (mut heads, mut pending, mut unseen) = (0_u64, 0, 0);
        for session in self.sessions.iter() {
            pending += session.outbox.stands_for();
            for (topic, subscription) in session.subscriptions.topics.iter() {
                let slot = &self.slots[topic];
                let subscriber = slot.at(subscription.place);
                heads = heads.wrapping_add(slot.head.0);
                pending += slot.head.0 - subscriber.after.0;
                let newest = slot.cell.position().seq;
                unseen += newest.0 - slot.head.0;
            }
        }
        Audit::new(&self.counts.ledger, heads, pending, unseen)
    }

    /// Whether the running sums for the export agree with what is found by looking: subscriptions, lagging sessions,
    /// and waiting bytes.
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
