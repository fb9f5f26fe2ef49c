//! `synced`: tells a client that everything that its `subscribe` brought has been sent.
//!
//! For each topic, a request brings the beginning of the subscription: the snapshot, the replay, the newest message of
//! a conflated topic, or the gap of a topic that was not resumed. A replay from a moment ends with its `caught_up`. When the last of it is in the outbox, `synced` goes
//! behind it. If such a message is taken back, `synced` is taken back as well. A request that brings nothing gets
//! `synced` right behind its `ack`.

use tickwire_wire::Control;

use super::sessions::SessionMut;
use super::{First, Shard, Subscriber};
use crate::outbox::{Item, Synced};
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;
use crate::session::{SessionId, Subscriptions};
use crate::syncs::Awaited;

impl Subscriptions {
    /// Whether the beginning of a subscription is still to be sent.
    fn begins_yet(&self, topic: TopicId, subscriber: &Subscriber) -> bool {
        subscriber.prelude.first() != First::Nothing
            || (subscriber.behind
                && (!subscriber.every || self.beginnings.end_behind(topic, subscriber.after)))
            || (self.replays.has(topic) && !is_planted(Fault::SyncedEarly))
            || self.beginnings.misses(topic)
            || self.beginnings.is_replayed(topic)
    }
}

impl SessionMut<'_> {
    /// Records that a subscription had a turn: its beginning may be sent now.
    pub(super) fn arrived(&mut self, topic: TopicId, subscriber: &Subscriber) {
        let subscriptions = &mut self.session.subscriptions;
        if subscriptions.is_awaited(topic)
            && !subscriptions.begins_yet(topic, subscriber)
            && let Some(subscription) = subscriptions.topics.get_mut(topic)
        {
            subscriptions.syncs.arrived(&mut subscription.awaited);
            subscriptions.beginnings.ended(topic);
            self.send_synced();
        }
    }

    /// Records the turn of a one-shot that `awaited` waited for: it was sent, or is now the beginning of a
    /// subscription.
    pub(super) fn one_shot_arrived(&mut self, topic: TopicId, mut awaited: Awaited) {
        let subscriptions = &mut self.session.subscriptions;
        let place = subscriptions.place_of(topic);
        let subscriber = place.map(|place| self.slots[topic].at(place));
        let waits = subscriber.is_some_and(|subscriber| subscriptions.begins_yet(topic, subscriber));
        match subscriptions.topics.get_mut(topic) {
            Some(subscription) if waits => {
                let own = &mut subscription.awaited;
                subscriptions.syncs.hand_over(awaited, own);
            }
            _ => subscriptions.syncs.arrived(&mut awaited),
        }
        self.send_synced();
    }

    /// Sends `synced` for the requests whose messages are all on their way, or will not come because the client has
    /// left the topic.
    pub(super) fn send_synced(&mut self) {
        let session = &mut *self.session;
        if session.unfinished.is_some() {
            return; // it may leave a topic, which its ack will tell
        }
        while let Some(request) = session.subscriptions.syncs.next_due() {
            let bytes = session.dialect.control(&Control::Synced { id: request });
            session
                .outbox
                .push(Item::Synced(Box::new(Synced { request, bytes })));
        }
        if !session.outbox.is_empty() {
            self.rounds.mark(session);
        }
    }
}

impl Shard {
    /// Records that the request under way is answered. If it brought nothing, its `synced` is sent at once.
    pub(super) fn brought(&mut self, id: SessionId) {
        let session = self.sessions.open(id);
        if let Some(request) = session.and_then(|session| session.subscriptions.syncs.answered()) {
            self.send_behind_answers(id, &Control::Synced { id: request });
        }
    }

    /// Does the same as [`SessionMut::send_synced`].
    pub(super) fn send_synced(&mut self, id: SessionId) {
        if let Some(mut it) = self.session_mut(id) {
            it.send_synced();
        }
    }
}
