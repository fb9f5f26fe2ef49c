//! The whole state of a topic, to be kept outside of the broker, and a topic that is made from it.

use std::sync::Arc;

use tickwire_wire::message::StaleReason;
use tickwire_wire::{Epoch, Kind, Micros, Refusal, Seq, Topic, market};

use super::entering::Sequencer;
use super::{Numbered, TopicCell};
use crate::memory::Moves;
use crate::publication::Publication;

/// A topic as it is at one moment.
#[derive(Debug)]
pub struct DumpedTopic {
    /// Its name.
    pub topic: Topic,
    /// Its kind.
    pub kind: Kind,
    /// How many messages its history may have.
    pub history: usize,
    /// The epoch of its numbers.
    pub epoch: Epoch,
    /// Which of its name's lives it is.
    pub life: u32,
    /// Its newest message.
    pub head: Seq,
    /// The whole book after the newest message, if it is one and has not lost it.
    pub book: Option<market::Book>,
    /// The closed candles that it keeps from before its history, oldest first.
    pub candles: Vec<Arc<Publication>>,
    /// The messages that its history holds, oldest first.
    pub messages: Vec<Arc<Publication>>,
}

/// A topic that is to be made again.
#[derive(Debug, Clone)]
pub struct RestoredTopic {
    /// Its name.
    pub topic: Topic,
    /// Its kind, whatever the rules say now.
    pub kind: Kind,
    /// The epoch of its numbers and which of its name's lives it is; `None` for those that a new topic has.
    pub epoch: Option<(Epoch, u32)>,
}

/// What a topic had before.
#[derive(Debug)]
pub struct RestoredState {
    /// Its newest message.
    pub head: Seq,
    /// The whole book after the newest message.
    pub book: Option<market::Book>,
    /// Closed candles from before these messages, oldest first.
    pub candles: Vec<Numbered>,
    /// Its newest messages up to `head`, without a hole.
    pub messages: Vec<Numbered>,
}

impl Publication {
    /// Why the book is in doubt from this message on.
    #[must_use]
    pub fn doubt(&self) -> Option<StaleReason> {
        self.doubt
    }
}

impl TopicCell {
    /// The topic with all that it holds. `None` if it has no message.
    #[must_use]
    pub fn dump(&self) -> Option<DumpedTopic> {
        let state = self.lock();
        let newest = state.history.newest()?;
        let book = state.book().and_then(|book| match &newest.payload {
            tickwire_wire::Payload::Book(update) => Some(book.snapshot(update.symbol.clone(), update.time)),
            _ => None,
        });
        Some(DumpedTopic {
            topic: self.topic.clone(),
            kind: self.kind,
            history: state.history.capacity(),
            epoch: state.lineage.epoch.clone(),
            life: self.life.number(),
            head: state.head(),
            book,
            candles: state.history.closed_candles().cloned().collect(),
            messages: state.history.read(Seq::ZERO).cloned().collect(),
        })
    }

    /// The topic without what it holds. `head` is the message that is said to be its newest.
    #[must_use]
    pub fn described(&self, head: Seq) -> DumpedTopic {
        let state = self.lock();
        DumpedTopic {
            topic: self.topic.clone(),
            kind: self.kind,
            history: state.history.capacity(),
            epoch: state.lineage.epoch.clone(),
            life: self.life.number(),
            head,
            book: None,
            candles: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// Gives a new topic what it had before. No reader knows it yet. `now` is the time at this broker.
    ///
    /// # Errors
    /// If the parts do not fit together.
    pub fn restore(&self, restored: RestoredState, now: Micros) -> Result<(), Refusal> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let doubt = restored.messages.last().and_then(|newest| newest.doubt);
        state.sequencer = Sequencer::restored(self.kind, restored.head, restored.book, doubt)?;
        self.doubted
            .store(doubt.is_some(), std::sync::atomic::Ordering::Relaxed);
        let mut moves = Moves::default();
        let lineage = &state.lineage;
        let made =
            |Numbered {
                 seq,
                 ts,
                 payload,
                 doubt,
                 ..
             }| { Publication::new(lineage.clone(), seq, ts, payload).doubted(doubt) };
        let candles = restored.candles.into_iter().map(made);
        state.history.restore_candles(candles.map(Arc::new), &mut moves);
        for message in restored.messages.into_iter().map(made) {
            let message = Arc::new(message.held_as_value());
            state.history.push_with(message, &lineage.memory, &mut moves);
        }
        state.lineage.memory.record(&moves);
        state.heard = now;
        state.count_book();
        Ok(())
    }
}
