//! `status`: telling subscribers that a topic's source fell silent, and that it came back.
//!
//! Each subscription knows what it was told last. What it is to be told waits for nothing but its place: `live` comes before
//! the message that ended the silence, `stale` after all messages before it. Who has no room is told when there is some, and
//! then only what is true by then: nothing is lost and nothing piles up.

use std::rc::Rc;
use std::sync::Arc;

use tickwire_wire::message::TopicState;
use tickwire_wire::{Codec, Control, Micros, Seq};

use super::{Shard, Subscriber};
use crate::cell::TopicCell;
use crate::item::Status;
use crate::publication::TopicId;
use crate::session::SessionId;

/// What a topic's subscribers are told, encoded once per codec.
struct News<'a> {
    cell: &'a TopicCell,
    stale: bool,
    /// The message before the silence, or the one that ends it.
    seq: Seq,
    frames: [Option<Rc<[u8]>>; Codec::ALL.len()],
    /// Whether a subscriber who has come further than `seq` knows of a later silence.
    known: bool,
}

impl News<'_> {
    fn status(&mut self, codec: Codec) -> Status {
        let frame = &mut self.frames[codec as usize];
        let frame = frame.get_or_insert_with(|| status_frame(codec, self.cell, self.stale));
        Status {
            topic: self.cell.id(),
            stale: self.stale,
            frame: frame.clone(),
        }
    }
}

impl Shard {
    /// Tells a topic's subscribers that its source fell silent after message `newest`, unless it has come back meanwhile.
    /// That message was delivered, but to those who are behind.
    pub(super) fn source_fell_silent(&mut self, topic: TopicId, newest: Seq, now: Micros) {
        let Some(cell) = self.directory.get(topic) else {
            return;
        };
        if cell.stale_since() != Some(newest) {
            return;
        }
        self.meet(&cell);
        if !self.is_unwanted(topic) {
            self.slots[topic.index()].stale_since = Some(newest);
            self.tell(&cell, true, newest, now);
        }
    }

    /// Tells the subscribers of a topic whose source was silent that it came back, if message `seq`, which they are about
    /// to get, came after the silence.
    pub(super) fn source_came_back(&mut self, topic: TopicId, seq: Seq, now: Micros) {
        let slot = &mut self.slots[topic.index()];
        if slot.stale_since.is_some_and(|since| seq > since)
            && let Some(cell) = slot.cell.clone()
        {
            // Who went on from the directory may know of this message, and of a silence behind it.
            let known = self.tell(&cell, false, seq, now);
            self.slots[topic.index()].stale_since = known.then_some(seq);
        }
    }

    /// Tells the subscribers of a topic who were told otherwise; of the end of a silence those who do not have message `seq`
    /// yet. Returns whether others know of a later silence.
    fn tell(&mut self, cell: &Arc<TopicCell>, stale: bool, seq: Seq, now: Micros) -> bool {
        let topic = cell.id();
        let mut news = News {
            cell,
            stale,
            seq,
            frames: [const { None }; Codec::ALL.len()],
            known: false,
        };
        let mut subscribers = std::mem::take(&mut self.slots[topic.index()].subscribers);
        self.tell_all(&mut subscribers, &mut news);
        self.slots[topic.index()].subscribers = subscribers;
        for index in 0..self.slots[topic.index()].rated.len() {
            let mut subscribers = std::mem::take(self.slots[topic.index()].rated_mut(index));
            self.tell_all(&mut subscribers, &mut news);
            *self.slots[topic.index()].rated_mut(index) = subscribers;
        }
        let known = news.known;
        self.lag_overfull(now);
        known
    }

    fn tell_all(&mut self, subscribers: &mut [Subscriber], news: &mut News<'_>) {
        for subscriber in subscribers {
            // Who is behind is told on the way to the head.
            if subscriber.told_stale == news.stale || subscriber.behind {
                continue;
            }
            if !news.stale && subscriber.after >= news.seq {
                news.known = true;
                continue;
            }
            let Some(session) = self.sessions.get_mut(subscriber.session.index()) else {
                continue;
            };
            if session.outbox.live_bytes() >= session.live_bytes_end {
                subscriber.behind = true;
                session.pulls.follow_later(news.cell.id(), subscriber.every);
                if session.lagging_since.is_none() {
                    self.overfull.push(subscriber.session);
                }
            } else {
                session.outbox.push_status(news.status(session.codec()));
                subscriber.told_stale = news.stale;
            }
            self.mark_dirty(subscriber.session);
        }
    }

    /// Tells a subscription that goes on from the directory that the source came back, if it did since: also when it has
    /// fallen silent again behind messages that are still to come.
    pub(super) fn tell_live(&mut self, id: SessionId, cell: &TopicCell, subscriber: &mut Subscriber) {
        if subscriber.told_stale && cell.stale_since() != Some(subscriber.after) {
            self.tell_one(id, cell, subscriber, false);
        }
    }

    /// Tells a subscription that has come to the head of its topic that the source is silent, if it is.
    pub(super) fn tell_stale(&mut self, id: SessionId, cell: &TopicCell, subscriber: &mut Subscriber) {
        let since = cell.stale_since();
        if since.is_some() && !subscriber.told_stale {
            self.tell_one(id, cell, subscriber, true);
            // The shard may not have heard of it.
            let slot = &mut self.slots[cell.id().index()];
            slot.stale_since = slot.stale_since.or(since);
        }
    }

    fn tell_one(&mut self, id: SessionId, cell: &TopicCell, subscriber: &mut Subscriber, stale: bool) {
        if let Some(session) = self.open_session(id) {
            let frame = status_frame(session.codec(), cell, stale);
            let topic = cell.id();
            session.outbox.push_status(Status { topic, stale, frame });
            subscriber.told_stale = stale;
        }
    }
}

fn status_frame(codec: Codec, cell: &TopicCell, stale: bool) -> Rc<[u8]> {
    let status = Control::Status {
        topic: cell.topic().to_string(),
        state: if stale {
            TopicState::Stale
        } else {
            TopicState::Live
        },
    };
    Shard::control_frame(codec, &status).into()
}
