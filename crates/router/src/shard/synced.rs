//! `synced`: telling a client that all that its `subscribe` brought has been sent.
//!
//! What a request brings is, for each topic, what the subscription begins with: the snapshot, the replay, of a conflated topic the
//! newest message, of one that was not resumed the gap. When the last of it is in the outbox, `synced` goes behind it; what is
//! taken back takes it along. A request that brings nothing is told so right behind its `ack`.

use tickwire_wire::Control;

use super::session_mut::SessionMut;
use super::{First, Shard, Subscriber};
use crate::item::Synced;
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;
use crate::session::{SessionId, Subscriptions};
use crate::syncs::Awaited;

impl Subscriptions {
    /// Whether what a subscription begins with is still to be put on its way.
    fn begins_yet(&self, topic: TopicId, subscriber: &Subscriber) -> bool {
        subscriber.opening.first() != First::Nothing
            || (subscriber.behind && !subscriber.every)
            || (self.replays(topic) && !is_planted(Fault::SyncedEarly))
            || self.misses(topic)
    }
}

impl SessionMut<'_> {
    /// A subscription had a turn: it may have begun by it.
    pub(super) fn arrived(&mut self, topic: TopicId, subscriber: &Subscriber) {
        let subscriptions = &mut self.session.subscriptions;
        let waits = subscriptions.topics.get(&topic);
        if waits.is_some_and(|subscription| !subscription.awaited.is_nothing())
            && !subscriptions.begins_yet(topic, subscriber)
            && let Some(subscription) = subscriptions.topics.get_mut(&topic)
        {
            subscriptions.syncs.arrived(&mut subscription.awaited);
            self.send_synced();
        }
    }

    /// A one-shot had its turn, which `awaited` waited for: it was sent, or is now what a subscription begins with.
    pub(super) fn one_shot_arrived(&mut self, topic: TopicId, mut awaited: Awaited) {
        let subscriptions = &mut self.session.subscriptions;
        let place = subscriptions.place_of(topic);
        let subscriber = place.map(|place| self.slots[topic.index()].at(place));
        let waits = subscriber.is_some_and(|subscriber| subscriptions.begins_yet(topic, subscriber));
        match subscriptions.topics.get_mut(&topic) {
            Some(subscription) if waits => {
                let own = &mut subscription.awaited;
                subscriptions.syncs.hand_over(awaited, own);
            }
            _ => subscriptions.syncs.arrived(&mut awaited),
        }
        self.send_synced();
    }

    /// Tells the client of the requests all of which is on its way, or will not come since the client has left it.
    pub(super) fn send_synced(&mut self) {
        let session = &mut *self.session;
        if session.unfinished.is_some() {
            return; // by which it may have left something, as the ack will tell
        }
        while let Some(request) = session.subscriptions.syncs.next_due() {
            let bytes = session.dialect.control(&Control::Synced { id: request });
            session.outbox.push_synced(Synced { request, bytes });
        }
        if !session.outbox.is_empty() {
            self.rounds.enter(session);
        }
    }
}

impl Shard {
    /// The request that was under way is answered; it is told at once if it brought nothing.
    pub(super) fn brought(&mut self, id: SessionId) {
        let session = self.open_session(id);
        if let Some(request) = session.and_then(|session| session.subscriptions.syncs.answered()) {
            let synced = Control::Synced { id: request };
            if self.answers_keep_their_place(id) {
                self.send_in_order(id, &synced);
            } else {
                self.send_control(id, &synced);
            }
        }
    }

    /// As [`SessionMut::send_synced`].
    pub(super) fn send_synced(&mut self, id: SessionId) {
        if let Some(mut it) = self.session_mut(id) {
            it.send_synced();
        }
    }
}
