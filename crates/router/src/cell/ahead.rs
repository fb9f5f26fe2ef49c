//! Messages that are numbered and not yet visible: they are written first.
//!
//! A second sequencer is then ahead of the one whose messages readers see. What it has numbered waits in the
//! [`WriteQueue`]. If that is dropped, the sequencer is dropped, too, and the next one begins where readers are.

use std::cell::RefCell;
use std::sync::Arc;

use tickwire_wire::message::{EndReason, StaleReason};
use tickwire_wire::{ErrorCode, Micros, Payload, Refusal, Seq};

use super::entering::{NotPublished, Numbered, Sequencer};
use super::{Published, State, TopicCell, check_room};
use crate::arrival::Arrival;
use crate::book::OrderBook;
use crate::directory::EndedTopic;
use crate::expiry::ExpiryRule;
use crate::queue::ShardId;
use crate::write_queue::{Record, RecordKey, WriteQueue};

thread_local! {
    /// The text of a message, kept for its memory.
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The sequencer of a topic whose messages are written before they enter.
#[derive(Debug)]
pub(super) struct Ahead {
    sequencer: Sequencer,
    /// The time of the newest message.
    newest: Option<Micros>,
    /// The generation of what it has numbered.
    generation: u32,
    /// Whether the topic's end waits to be written. Until then it takes no message.
    is_ending: bool,
}

impl Ahead {
    pub(super) fn doubt(&mut self, reason: StaleReason) {
        self.sequencer.doubt(reason);
    }
}

impl State {
    /// The sequencer ahead, as it is in this generation.
    fn ahead(&mut self, generation: u32) -> &mut Ahead {
        self.ahead.take_if(|ahead| ahead.generation != generation);
        let (sequencer, history) = (&self.sequencer, &self.history);
        self.ahead.get_or_insert_with(|| {
            Box::new(Ahead {
                sequencer: sequencer.clone(),
                newest: history.newest().map(|newest| newest.ts),
                generation,
                is_ending: false,
            })
        })
    }

    /// The bytes of memory that the book of the sequencer ahead holds.
    pub(super) fn ahead_bytes(&self) -> usize {
        let book = self.ahead.as_ref().and_then(|ahead| ahead.sequencer.book());
        book.map_or(0, OrderBook::memory_bytes)
    }
}

impl TopicCell {
    /// Gives `payload` the next number, and puts it into `queue`. It enters when it is written; `shard` is told then.
    pub(crate) fn publish_later(
        self: &Arc<Self>,
        payload: Payload,
        arrival: Arrival<'_>,
        queue: &WriteQueue,
        shard: Option<ShardId>,
    ) -> Result<Published, NotPublished> {
        queue.check_room()?;
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.ended.is_some() {
            return Err(NotPublished::Ended(payload));
        }
        check_room(&state.lineage.memory, state.growth_bytes(&payload))?;
        let epoch = state.lineage.epoch.clone();
        let generation = queue.generation();
        let ahead = state.ahead(generation);
        if ahead.is_ending {
            return Err(is_ending(self).into());
        }
        let ts = arrival.ts(ahead.newest);
        let (numbered, _) = ahead.sequencer.number(payload, ts, &self.topic, arrival.copied)?;
        ahead.newest = Some(ts);
        let seq = numbered.seq;
        let key = arrival.key.map(|key| {
            Box::new(RecordKey {
                key: key.clone(),
                at: arrival.now,
            })
        });
        let pushed = TEXT.with_borrow_mut(|text| {
            text.clear();
            numbered.payload.write_json(text);
            let record = Record::Message(self.clone(), numbered, key, arrival.mark, text.len());
            queue.push((record, text), generation, shard)
        });
        match pushed {
            Ok(ticket) => Ok(Published {
                epoch,
                seq,
                kind: self.kind,
                over_budget: false,
                crossed: false,
                came_back: false,
                ticket: Some(ticket),
            }),
            Err(refusal) => {
                // Nothing that was numbered in this generation is written any more.
                state.ahead = None;
                Err(refusal.into())
            }
        }
    }

    /// Gives `payload` the next number. The caller sees to it that the message enters, or that `generation` is over. Only one
    /// thread may do this.
    pub(crate) fn number_ahead(
        &self,
        payload: Payload,
        arrival: Arrival<'_>,
        generation: u32,
    ) -> Result<Numbered, NotPublished> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.ended.is_some() {
            return Err(NotPublished::Ended(payload));
        }
        check_room(&state.lineage.memory, state.growth_bytes(&payload))?;
        let ahead = state.ahead(generation);
        if ahead.is_ending {
            return Err(is_ending(self).into());
        }
        let ts = arrival.ts(ahead.newest);
        let (numbered, _) = ahead.sequencer.number(payload, ts, &self.topic, arrival.copied)?;
        ahead.newest = Some(ts);
        Ok(numbered)
    }

    /// Takes no message any more, as the topic is to end. Returns the number of its last message; `None` if it has ended
    /// or is to end already.
    pub(crate) fn end_ahead(&self, generation: u32) -> Option<Seq> {
        let mut state = self.lock();
        if state.ended.is_some() || state.ahead(generation).is_ending {
            return None;
        }
        let ahead = state.ahead(generation);
        ahead.is_ending = true;
        Some(ahead.sequencer.seq())
    }

    /// Puts the end of the topic into `queue`. `None` if it has ended, or its end waits already.
    pub(crate) fn end_later(
        self: &Arc<Self>,
        reason: EndReason,
        queue: &WriteQueue,
    ) -> Result<Option<EndedTopic>, Refusal> {
        self.end_later_locked(&mut self.lock(), reason, queue)
    }

    fn end_later_locked(
        self: &Arc<Self>,
        state: &mut State,
        reason: EndReason,
        queue: &WriteQueue,
    ) -> Result<Option<EndedTopic>, Refusal> {
        let generation = queue.generation();
        if state.ended.is_some() || state.ahead(generation).is_ending {
            return Ok(None);
        }
        let seq = state.ahead(generation).sequencer.seq();
        let record = Record::End(self.clone(), reason, seq);
        let pushed = queue.push((record, &[]), generation, None);
        state.ahead.take_if(|_| pushed.is_err());
        let ticket = Some(pushed?);
        state.ahead(generation).is_ending = true;
        let epoch = state.lineage.epoch.clone();
        Ok(Some(EndedTopic { epoch, seq, ticket }))
    }

    /// Puts the end of the topic into `queue`, if it has expired by `rule` at `now` and nothing waits to enter it.
    pub(crate) fn expire_later(self: &Arc<Self>, now: Micros, rule: &ExpiryRule, queue: &WriteQueue) {
        let mut state = self.lock();
        let generation = queue.generation();
        let head = state.head();
        let is_quiet = state.ahead(generation).sequencer.seq() == head;
        if is_quiet && self.expires_after_locked(&state, now, rule).is_none() {
            // If it cannot be written now, the next look finds the topic again.
            let _refused = self.end_later_locked(&mut state, EndReason::Expired, queue);
        }
    }
}

fn is_ending(cell: &TopicCell) -> Refusal {
    let reason = format!(
        "{} is just ending; publish it again to begin its next life",
        cell.topic
    );
    Refusal::new(ErrorCode::Internal, reason)
}
