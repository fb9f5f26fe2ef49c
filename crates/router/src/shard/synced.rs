//! `synced`: telling a client that all that its `subscribe` brought has been sent.
//!
//! What a request brings is, for each topic, what the subscription begins with: the snapshot, the replay, of a conflated topic the
//! newest message, of one that was not resumed the gap. When the last of it is in the outbox, `synced` goes behind it; what is
//! taken back takes it along. A request that brings nothing is told so right behind its `ack`.

use tickwire_wire::Control;

use super::{First, Shard, Subscriber};
use crate::item::Synced;
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;
use crate::session::{Session, SessionId};
use crate::syncs::Awaited;

/// Whether what a subscription begins with is still to be put on its way.
fn begins_yet(session: &Session, topic: TopicId, subscriber: &Subscriber) -> bool {
    subscriber.opening.first() != First::Nothing
        || (subscriber.behind && !subscriber.every)
        || (session.replays(topic) && !is_planted(Fault::SyncedEarly))
        || session.misses(topic)
}

impl Shard {
    /// The request that is under way brings what a subscription begins with.
    pub(super) fn brings(&mut self, id: SessionId, topic: TopicId) {
        if let Some(session) = self.open_session(id)
            && let Some(subscription) = session.topics.get_mut(&topic)
        {
            session.syncs.bring(&mut subscription.awaited);
        }
    }

    /// The request that was under way is answered; it is told at once if it brought nothing.
    pub(super) fn brought(&mut self, id: SessionId) {
        let nothing = self.open_session(id).and_then(|session| session.syncs.answered());
        if let Some(request) = nothing {
            let synced = Control::Synced { id: request };
            if self.answers_keep_their_place(id) {
                self.send_in_order(id, &synced);
            } else {
                self.send_control(id, &synced);
            }
        }
    }

    /// A subscription had a turn: it may have begun by it.
    pub(super) fn arrived(&mut self, id: SessionId, topic: TopicId, subscriber: &Subscriber) {
        if let Some(session) = self.sessions.get_mut(id.index())
            && let Some(subscription) = session.topics.get(&topic)
            && !subscription.awaited.is_nothing()
            && !begins_yet(session, topic, subscriber)
            && let Some(subscription) = session.topics.get_mut(&topic)
        {
            session.syncs.arrived(&mut subscription.awaited);
            self.send_synced(id);
        }
    }

    /// A one-shot had its turn, which `awaited` waited for: it was sent, or is now what a subscription begins with.
    pub(super) fn one_shot_arrived(&mut self, id: SessionId, topic: TopicId, mut awaited: Awaited) {
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        let subscriber = session
            .topics
            .get(&topic)
            .map(|subscription| *self.slots[topic.index()].at(subscription.place));
        let waits = subscriber.is_some_and(|subscriber| begins_yet(session, topic, &subscriber));
        match session.topics.get_mut(&topic) {
            Some(subscription) if waits => session.syncs.hand_over(awaited, &mut subscription.awaited),
            _ => session.syncs.arrived(&mut awaited),
        }
        self.send_synced(id);
    }

    /// Tells a session of the requests all of which is on its way, or will not come since the client has left it.
    pub(super) fn send_synced(&mut self, id: SessionId) {
        let Some(session) = self.open_session(id) else {
            return;
        };
        if session.unfinished.is_some() {
            return; // by which it may have left something, as the ack will tell
        }
        while let Some(request) = session.syncs.next_due() {
            let bytes = session.dialect.control(&Control::Synced { id: request });
            session.outbox.push_synced(Synced { request, bytes });
        }
        if !session.outbox.is_empty() {
            self.mark_dirty(id);
        }
    }
}
