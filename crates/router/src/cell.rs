//! One topic: its kind, numbers, last value, history, book, and which shards want it.
//!
//! Shared by all threads. A message enters here: under the topic's lock it gets its number, replaces the last value,
//! joins the history and is queued for each interested shard, in order. A refused message leaves everything as it was.
//! Never reads a clock.

mod entering;
mod holding;
mod sequencer;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tickwire_wire::message::{GapReason, StaleReason};
use tickwire_wire::{Epoch, Kind, Micros, Payload, Seq, Topic};

pub use self::entering::NotEntered;
pub(crate) use self::entering::{Entered, Outlets};
pub use self::sequencer::Numbered;
use self::sequencer::Sequencer;
use crate::book::Book;
use crate::directory::ShardId;
use crate::history::History;
use crate::memory::Place;
use crate::planted::{Fault, is_planted};
use crate::publication::{Lineage, Publication, TopicId};
use crate::queue::ShardQueue;
use crate::replays::Replay;
use crate::shard::{LeftAt, Missed};
use crate::store::{Kept, Store};

/// The place a published message got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The topic's lineage.
    pub epoch: Epoch,
    /// The message's number.
    pub seq: Seq,
    /// The topic's kind.
    pub kind: Kind,
}

struct State {
    lineage: Arc<Lineage>,
    /// What numbers the next message. What it has numbered is what readers see.
    sequencer: Sequencer,
    history: History,
    /// When the newest message arrived here.
    heard: Micros,
    /// Bytes that the account of values holds for the book.
    book_bytes: usize,
    /// The whole book after the newest message, made when first asked for.
    book_snapshot: Option<Arc<Publication>>,
    /// One bit per shard.
    interested: u64,
}

impl State {
    /// The newest number that readers see.
    fn head(&self) -> Seq {
        self.sequencer.seq()
    }

    /// The book as readers see it, if the topic is one and has not lost it.
    fn book(&self) -> Option<&Book> {
        self.sequencer.book()
    }

    /// Where the topic is.
    fn position(&self) -> Attached {
        Attached {
            epoch: self.lineage.epoch.clone(),
            seq: self.head(),
        }
    }
}

/// One topic. Shared; publishing through it saves the look-up by name.
pub struct TopicCell {
    id: TopicId,
    kind: Kind,
    topic: Topic,
    state: Mutex<State>,
    subscribers: AtomicU32,
    /// One more than the newest number when the topic fell silent; 0 when it is not. Written with the state locked.
    stale: AtomicU64,
    /// Whether the newest message is of a book in doubt. Written with the state locked.
    doubted: AtomicBool,
}

impl std::fmt::Debug for TopicCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicCell")
            .field("id", &self.id)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// What a subscription finds at its topic at the moment it begins.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The lineage of the numbers.
    pub epoch: Epoch,
    /// The newest message; everything after it reaches the shard's queue.
    pub seq: Seq,
}

/// Whether a position that a client came back with can be resumed.
#[derive(Debug)]
pub(crate) enum Resume {
    /// It is there, and these are the messages that the client missed since.
    Replay { since: Seq, messages: Replay },
    /// They are there, but too much is kept for replays already.
    TooMuch(Missed),
    /// They are not all there any more, or the position is of another lineage. A position that this lineage has not
    /// reached yet is taken for one of another.
    Unreachable(Missed),
}

/// A piece of history read for a subscriber that is behind.
#[derive(Debug, Default)]
pub struct Catchup {
    /// First and last number that no longer exist.
    pub gap: Option<(Seq, Seq)>,
    /// Whether `out` now ends at the newest message.
    pub at_head: bool,
}

/// A part of a topic's history.
#[derive(Debug)]
pub struct HistoryPage {
    /// The lineage of the numbers.
    pub epoch: Epoch,
    /// Number of the oldest message that the history holds, if it holds any.
    pub oldest: Option<Seq>,
    /// The newest number.
    pub newest: Seq,
    /// The messages that were asked for, oldest first.
    pub messages: Vec<Arc<Publication>>,
}

/// What a look at a topic that may be stale found.
pub(crate) enum Heard {
    /// There was no message yet, or none for too long, which was known before.
    Nothing,
    /// The silence is too long as of now.
    FellSilent,
    /// The last message arrived then.
    At(Micros),
}

impl TopicCell {
    /// A topic without a message, `interested` being the mask of the shards that want it.
    pub(crate) fn new(lineage: Lineage, history: usize, interested: u64) -> Self {
        Self {
            id: lineage.id,
            kind: lineage.kind,
            topic: lineage.topic.clone(),
            state: Mutex::new(State {
                sequencer: Sequencer::new(lineage.kind),
                history: History::new(history),
                heard: Micros(0),
                book_bytes: 0,
                book_snapshot: None,
                interested,
                lineage: Arc::new(lineage),
            }),
            subscribers: AtomicU32::new(0),
            stale: AtomicU64::new(0),
            doubted: AtomicBool::new(false),
        }
    }

    /// The topic's number.
    #[must_use]
    pub fn id(&self) -> TopicId {
        self.id
    }

    /// The topic's kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Number of connections subscribed to the topic.
    #[must_use]
    pub fn subscribers(&self) -> u32 {
        self.subscribers.load(Ordering::Relaxed)
    }

    pub(crate) fn subscriber_added(&self) {
        self.subscribers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn subscribers_removed(&self, count: u32) {
        self.subscribers.fetch_sub(count, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it is held would be a bug that leaves at worst one message unqueued; serving goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lineage's epoch and the newest number.
    #[must_use]
    pub fn position(&self) -> Attached {
        self.lock().position()
    }

    /// Registers interest of `shard`; from here on every message is queued for it.
    pub(crate) fn attach(&self, shard: ShardId) -> Attached {
        let mut state = self.lock();
        state.interested |= 1 << shard.0;
        state.position()
    }

    /// What a position with this `epoch` is in this topic.
    pub(crate) fn left_at(&self, epoch: &Epoch, seq: Seq) -> LeftAt {
        if *epoch == self.lock().lineage.epoch || is_planted(Fault::OtherLineageResumed) {
            LeftAt::Message(seq)
        } else {
            LeftAt::Elsewhere
        }
    }

    /// As [`Self::attach`], and keeps every message after `left_at`, if it is of this lineage and they all still exist and the
    /// session may have `most` bytes of them kept. Without `most` none is kept, and none is needed.
    pub(crate) fn attach_at(
        &self,
        shard: ShardId,
        left_at: LeftAt,
        most: Option<usize>,
    ) -> (Attached, Resume) {
        let mut state = self.lock();
        state.interested |= 1 << shard.0;
        let resume = match left_at {
            LeftAt::Message(since) if since <= state.head() => {
                match state.history.kept(since, state.head()) {
                    Kept::From(_) => Resume::Unreachable(Missed::since(since)),
                    Kept::All => match most {
                        Some(most) => state.promise(since, most),
                        None => {
                            let messages = Replay::new();
                            Resume::Replay { since, messages }
                        }
                    },
                }
            }
            LeftAt::Message(_) | LeftAt::Elsewhere => Resume::Unreachable(Missed {
                from: Seq::ZERO.next(),
                reason: GapReason::Epoch,
            }),
        };
        (state.position(), resume)
    }

    /// Withdraws the interest of `shard`.
    pub(crate) fn detach(&self, shard: ShardId) {
        self.lock().interested &= !(1 << shard.0);
    }

    /// The newest message, if there is one.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<Publication>> {
        self.lock().history.newest().cloned()
    }

    /// The message with number `seq`, if the history still holds it.
    #[must_use]
    pub fn get(&self, seq: Seq) -> Option<Arc<Publication>> {
        self.lock().history.get(seq).cloned()
    }

    /// When the oldest message after `seq` that the history still holds entered.
    pub(crate) fn first_after(&self, seq: Seq) -> Option<Micros> {
        let state = self.lock();
        state.history.read(seq).next().map(|publication| publication.ts)
    }

    /// The current value: the newest message, or the whole book.
    #[must_use]
    pub fn snapshot(&self) -> Option<Arc<Publication>> {
        let mut state = self.lock();
        let newest = state.history.newest()?.clone();
        if self.kind != Kind::Book {
            return Some(newest);
        }
        let book = state.book()?;
        if let Some(snapshot) = &state.book_snapshot {
            return Some(snapshot.clone());
        }
        let Payload::Book(update) = &newest.payload else {
            return Some(newest);
        };
        let whole = Payload::Book(Box::new(book.snapshot(update.symbol.clone(), update.time)));
        let seq = Seq(newest.seq.0 - u64::from(is_planted(Fault::SnapshotBefore)));
        let snapshot = Publication::new(state.lineage.clone(), seq, newest.ts, whole);
        let snapshot = Arc::new(snapshot.doubted(newest.doubt));
        snapshot.move_to(Place::Copy);
        state.book_snapshot = Some(snapshot.clone());
        Some(snapshot)
    }

    /// Appends up to `max` messages after `after` to `out`, oldest first, and tells what is missing before them.
    pub fn read_after(&self, after: Seq, max: usize, out: &mut Vec<Arc<Publication>>) -> Catchup {
        let state = self.lock();
        let gap = match state.history.kept(after, state.head()) {
            Kept::All => None,
            Kept::From(first) => Some((
                after.next(),
                Seq(first.0 - u64::from(!is_planted(Fault::GapNamesHeld))),
            )),
        };
        let rest = state.history.read(after);
        let at_head = rest.len() <= max;
        out.extend(rest.take(max).cloned());
        Catchup { gap, at_head }
    }

    /// What the history holds, as it is at one moment: its ends, and up to `limit` messages after `since`, oldest first.
    #[must_use]
    pub fn history(&self, since: Seq, limit: usize) -> HistoryPage {
        let state = self.lock();
        HistoryPage {
            epoch: state.lineage.epoch.clone(),
            oldest: state.history.oldest_seq(),
            newest: state.head(),
            messages: state.history.read(since).take(limit).cloned().collect(),
        }
    }

    /// A copy of the book as it is now, of a topic that is one.
    #[must_use]
    pub fn book(&self) -> Option<Book> {
        self.lock().book().cloned()
    }

    /// The newest number, if nothing was published since for longer than the topic's rule allows.
    #[must_use]
    pub fn stale_since(&self) -> Option<Seq> {
        self.stale.load(Ordering::Relaxed).checked_sub(1).map(Seq)
    }

    /// Says that from the next message on the book is not to be relied on, until a message replaces it as a whole. The
    /// first reason holds.
    pub fn doubt(&self, reason: StaleReason) {
        self.lock().sequencer.doubt(reason);
    }

    /// Whether the newest message is of a book that is not to be relied on.
    pub(crate) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }

    /// Takes the topic for stale if its last message arrived here `after_ms` before `now` or earlier, and tells each interested
    /// shard behind what was published. When the message was numbered says nothing of it: that is another's clock.
    pub(crate) fn look(&self, now: Micros, after_ms: u64, queues: &[Arc<ShardQueue>]) -> Heard {
        let state = self.lock();
        if state.history.newest().is_none() {
            return Heard::Nothing;
        }
        let last = state.heard;
        if last.plus_ms(after_ms) > now {
            return Heard::At(last);
        }
        if self.stale_since().is_some() {
            return Heard::Nothing;
        }
        self.stale.store(state.head().0 + 1, Ordering::Relaxed);
        let mut interested = state.interested;
        while interested != 0 {
            queues[interested.trailing_zeros() as usize].push_stale(self.id, state.head());
            interested &= interested - 1;
        }
        Heard::FellSilent
    }

    /// Gives up the older half of the history.
    pub(crate) fn shorten(&self) {
        self.lock().history.shorten();
    }

    /// Gives up what can be made anew of the value: its frames, and the snapshot of a book.
    pub(crate) fn strip(&self) {
        let mut state = self.lock();
        state.drop_snapshot();
        state.history.strip();
    }
}

#[cfg(test)]
mod tests;
