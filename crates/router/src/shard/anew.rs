//! A shard that begins anew after a panic has left it half-way through a change.
//!
//! Nothing that the old shard holds is trusted, except plain sums. Other shards and the topics' own state are not
//! touched.

use tickwire_wire::CloseCode;
use tickwire_wire::deflate::Settings as DeflateSettings;

use super::Shard;
use crate::session::{Session, SessionId, Writing};
use crate::settings::ShardSettings;

impl Shard {
    /// Whether a close frame may be written to a session next, in place of its outbox. That is so if the session is open and
    /// the last byte that was written to its connection certainly ended a frame.
    #[must_use]
    pub fn is_between_frames(&self, id: SessionId) -> bool {
        // Of the bytes that were offered, more may have been written than the outbox knows.
        let between = |session: &Session| {
            session.is_open() && session.writing != Writing::Offered && !session.outbox.is_begun()
        };
        self.sessions.get(id).is_some_and(between)
    }

    /// A shard with these settings that takes the place of this one. It has no sessions, and no topic is queued for it.
    /// The generations of sessions and the counts continue: messages that subscriptions were owed count as dropped, and
    /// sessions that were open count as closed with 1011.
    #[must_use]
    pub fn anew(&self, settings: ShardSettings, compression: DeflateSettings) -> Self {
        self.directory.forget_shard(self.id);
        for (_, slot) in self.slots.iter() {
            slot.cell.subscribers_removed(slot.counted);
            slot.cell.unnamed(slot.named);
        }
        let mut fresh = Self::new(self.id, self.directory.clone(), settings).with_compression(compression);
        fresh.generation = self.generation;
        fresh.counts = self.counts.clone();
        fresh.counts.ledger.end_all();
        fresh.accounts = self.accounts.anew();
        let open = self.sessions.iter().filter(|session| session.is_open());
        open.for_each(|_| fresh.counts.closed(CloseCode::INTERNAL));
        fresh
    }
}
