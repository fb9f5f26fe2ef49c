//! One topic: its kind, numbers, last value, history, book, and which shards want it.
//!
//! Shared by all threads. A message enters here: under the topic's lock it gets its number, replaces the last value,
//! joins the history and is queued for each interested shard, in order. A refused message leaves everything as it was.
//! Never reads a clock.

mod ahead;
mod dump;
mod ending;
mod entering;
mod holding;
mod moment;
mod older;
mod trial;
mod written;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tickwire_wire::market::Level;
use tickwire_wire::message::{EndReason, GapReason, StaleReason};
use tickwire_wire::{Epoch, Kind, Micros, Payload, Seq, Topic};

use self::ahead::Ahead;
pub use self::dump::{DumpedTopic, RestoredState, RestoredTopic};
pub(crate) use self::ending::CellEnd;
pub(crate) use self::entering::NotPublished;
use self::entering::Sequencer;
pub use self::entering::{NotEntered, Numbered};
pub(crate) use self::holding::check_room;
pub use self::trial::{BookTrial, ValueTrial};
pub use self::written::{WrittenMessage, WrittenText, read_written_book};
use crate::book::OrderBook;
use crate::epochs::Life;
use crate::history::History;
use crate::kinds::Kept;
use crate::memory::MessagePlace;
use crate::planted::{Fault, is_planted};
use crate::positions::{LeftAt, Missed};
use crate::publication::{Lineage, Publication, TopicId};
use crate::queue::{ShardId, ShardQueue};
use crate::replays::PromisedReplay;
use crate::rights::Publisher;
use crate::write_queue::Ticket;

/// The place of a published message in its topic, and its effects outside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The topic's lineage.
    pub epoch: Epoch,
    /// The message's number.
    pub seq: Seq,
    /// The topic's kind.
    pub kind: Kind,
    /// Whether it took all histories together over their budget.
    pub(crate) over_budget: bool,
    /// Whether the book became crossed by it.
    pub(crate) crossed: bool,
    /// Whether the topic was stale.
    pub(crate) came_back: bool,
    /// If it waits to be written first: its place there. It has not entered, and its number does not count before that.
    pub ticket: Option<Ticket>,
}

impl Published {
    /// The place of a message that was published before, which has no effects any more.
    pub(crate) fn before(epoch: Epoch, seq: Seq, kind: Kind) -> Self {
        Self {
            epoch,
            seq,
            kind,
            over_budget: false,
            crossed: false,
            came_back: false,
            ticket: None,
        }
    }
}

struct State {
    lineage: Arc<Lineage>,
    /// Numbers the next message. Readers see the messages that it has numbered.
    sequencer: Sequencer,
    /// Numbers the next message instead, if messages are written before they enter.
    ahead: Option<Box<Ahead>>,
    history: History,
    /// When the newest message arrived at this broker.
    heard: Micros,
    /// The bytes that the account of values holds for the book.
    book_bytes: usize,
    /// The whole book after the newest message. It is made when it is first asked for.
    book_snapshot: Option<Arc<Publication>>,
    /// The shards that want the topic, one bit each.
    interested: u64,
    /// Why the topic has ended, if it has. Then it takes no message.
    ended: Option<EndReason>,
}

impl State {
    /// The newest number that readers see.
    fn head(&self) -> Seq {
        self.sequencer.seq()
    }

    /// The book as readers see it, if the topic is one and has not lost it.
    fn book(&self) -> Option<&OrderBook> {
        self.sequencer.book()
    }

    /// The lineage's epoch and the newest number.
    fn position(&self) -> Attached {
        Attached {
            epoch: self.lineage.epoch.clone(),
            seq: self.head(),
        }
    }
}

/// One topic. The cell is shared by threads; publishing through it saves the look-up by name.
pub struct TopicCell {
    id: TopicId,
    kind: Kind,
    topic: Topic,
    life: Life,
    /// Whom the topic counts for, if a client has made it.
    maker: Option<Publisher>,
    state: Mutex<State>,
    subscribers: AtomicU32,
    /// The number of connections whose subscriptions name the topic.
    named: AtomicU32,
    /// 0 while the topic is not stale. Otherwise one more than its newest number when it fell silent. Written with the
    /// state locked.
    stale: AtomicU64,
    /// Whether the newest message belongs to a book in doubt. Written with the state locked.
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

/// The position of a topic at the moment when a subscription begins.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The epoch of the numbers.
    pub epoch: Epoch,
    /// The number of the newest message. Every later message reaches the shard's queue.
    pub seq: Seq,
}

/// The outcome of a resume from a position that a client gave.
#[derive(Debug)]
pub(crate) enum Resume {
    /// The position can be resumed. `messages` are those that the client missed since.
    Replay { since: Seq, messages: PromisedReplay },
    /// The missed messages still exist, but promised replays already keep too much.
    TooMuch(Missed),
    /// Missed messages are gone, or the position belongs to another lineage. A position that this lineage has not
    /// reached yet is treated as one of another lineage.
    Unreachable(Missed),
}

/// What was read from the history for a subscription that is behind.
#[derive(Debug, Default)]
pub struct Catchup {
    /// The first and the last number of the messages that no longer exist.
    pub gap: Option<(Seq, Seq)>,
    /// Whether the messages that were read end at the newest one.
    pub at_head: bool,
}

/// A part of a topic's history.
#[derive(Debug)]
pub struct HistoryPage {
    /// The epoch of the numbers.
    pub epoch: Epoch,
    /// The number of the oldest message that the history holds, if it holds any. From it on no message is missing.
    pub oldest: Option<Seq>,
    /// The newest number.
    pub newest: Seq,
    /// The messages that were asked for, oldest first.
    pub messages: Vec<Arc<Publication>>,
}

/// The result of a check whether a topic is stale.
pub(crate) enum StaleCheck {
    /// The topic has no message yet, or was known to be stale already.
    Nothing,
    /// The topic has become stale now.
    FellSilent,
    /// The topic is not stale. Its last message arrived at this time.
    At(Micros),
}

impl TopicCell {
    /// A topic without a message. `interested` has a bit for each shard that wants the topic.
    pub(crate) fn new(
        lineage: Lineage,
        life: Life,
        maker: Option<Publisher>,
        kept: Kept,
        interested: u64,
    ) -> Self {
        Self {
            life,
            maker,
            named: AtomicU32::new(0),
            id: lineage.id,
            kind: lineage.kind,
            topic: lineage.topic.clone(),
            state: Mutex::new(State {
                sequencer: Sequencer::new(lineage.kind),
                ahead: None,
                history: History::new(kept),
                heard: Micros(0),
                book_bytes: 0,
                book_snapshot: None,
                interested,
                ended: None,
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

    /// What sets the topic apart from its earlier lives.
    pub(crate) fn life(&self) -> Life {
        self.life
    }

    /// Whom the topic counts for, if a client has made it.
    pub(crate) fn maker(&self) -> Option<Publisher> {
        self.maker
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
        // A panic while the lock is held is a bug. It leaves at worst one message that is not queued, so serving goes
        // on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lineage's epoch and the newest number.
    #[must_use]
    pub fn position(&self) -> Attached {
        self.lock().position()
    }

    /// Registers the interest of `shard`. From here on every message is queued for it.
    pub(crate) fn attach(&self, shard: ShardId) -> Attached {
        let mut state = self.lock();
        state.interested |= 1 << shard.0;
        state.position()
    }

    /// The position of a reader that has read up to `seq` of `epoch`, as this topic understands it.
    pub(crate) fn left_at(&self, epoch: &Epoch, seq: Seq) -> LeftAt {
        if *epoch == self.lock().lineage.epoch || is_planted(Fault::OtherLineageResumed) {
            LeftAt::Message(seq)
        } else {
            LeftAt::Elsewhere
        }
    }

    /// Does the same as [`Self::attach`]. It also keeps every message after `left_at` if the position is of this
    /// lineage, all those messages still exist, and they fit in the `most` bytes that the session may have kept. If
    /// `most` is `None`, the session needs none of them, and none is kept.
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
                match (state.history.gone_before(since, state.head()), most) {
                    (Some(_), _) => Resume::Unreachable(Missed::since(since)),
                    (None, Some(most)) => state.promise(since, most),
                    (None, None) => {
                        let messages = PromisedReplay::new();
                        Resume::Replay { since, messages }
                    }
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

    /// When the oldest message after `seq` that the history still holds entered the broker.
    pub(crate) fn first_after(&self, seq: Seq) -> Option<Micros> {
        let state = self.lock();
        state
            .history
            .read(seq)
            .next()
            .map(|publication| publication.entered)
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
        let snapshot = Arc::new(snapshot.doubted(newest.doubt).entered(newest.entered));
        snapshot.move_to(MessagePlace::Copy);
        state.book_snapshot = Some(snapshot.clone());
        Some(snapshot)
    }

    /// Appends up to `max` messages after `after` to `out`, oldest first. Returns which messages are missing before
    /// them.
    pub fn read_after(&self, after: Seq, max: usize, out: &mut Vec<Arc<Publication>>) -> Catchup {
        let state = self.lock();
        let gone_before = state.history.gone_before(after, state.head());
        let last = |first: Seq| Seq(first.0 - u64::from(!is_planted(Fault::GapNamesHeld)));
        let gap = gone_before.map(|first| (after.next(), last(first)));
        let rest = state.history.read(after);
        let at_head = rest.len() <= max;
        out.extend(rest.take(max).cloned());
        Catchup { gap, at_head }
    }

    /// The history at one moment: its ends, and up to `limit` messages after `since`, oldest first. Closed candles that
    /// are kept from before the history come first.
    #[must_use]
    pub fn history(&self, since: Seq, limit: usize) -> HistoryPage {
        let state = self.lock();
        HistoryPage {
            epoch: state.lineage.epoch.clone(),
            oldest: state.history.oldest_seq(),
            newest: state.head(),
            messages: state.history.read_all(since).take(limit).cloned().collect(),
        }
    }

    /// A copy of the book as it is now, if the topic is a book.
    #[cfg(test)]
    pub(crate) fn book(&self) -> Option<OrderBook> {
        self.lock().book().cloned()
    }

    /// The best bid and the best ask as they are now, if the topic is a book that has both.
    #[must_use]
    pub fn best_quotes(&self) -> Option<(Level, Level)> {
        self.lock().book()?.best_quotes()
    }

    /// The newest number if the topic is stale: nothing was published since for longer than its rule allows.
    #[must_use]
    pub fn stale_since(&self) -> Option<Seq> {
        self.stale.load(Ordering::Relaxed).checked_sub(1).map(Seq)
    }

    /// Marks the book as in doubt from the next message on, until a message replaces the whole book. The first reason
    /// holds. Does nothing if the topic is no book.
    pub fn doubt(&self, reason: StaleReason) {
        let mut state = self.lock();
        state.sequencer.doubt(reason);
        if let Some(ahead) = &mut state.ahead {
            ahead.doubt(reason);
        }
    }

    /// Whether the newest message belongs to a book in doubt.
    pub(crate) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }

    /// Marks the topic as stale if its last message arrived `after_ms` or more before `now`, and queues this for each
    /// interested shard behind the messages. The time at which a message was numbered does not count here, because it
    /// is from the clock of another program.
    pub(crate) fn look(&self, now: Micros, after_ms: u64, queues: &[Arc<ShardQueue>]) -> StaleCheck {
        let state = self.lock();
        if state.history.newest().is_none() || state.ended.is_some() {
            return StaleCheck::Nothing;
        }
        let last = state.heard;
        if last.plus_ms(after_ms) > now {
            return StaleCheck::At(last);
        }
        if self.stale_since().is_some() {
            return StaleCheck::Nothing;
        }
        self.stale.store(state.head().0 + 1, Ordering::Relaxed);
        let mut interested = state.interested;
        while interested != 0 {
            queues[interested.trailing_zeros() as usize].push_stale(self.id, state.head());
            interested &= interested - 1;
        }
        StaleCheck::FellSilent
    }

    /// Gives up the older half of the history.
    pub(crate) fn shorten(&self) {
        self.lock().history.shorten();
    }

    /// Gives up the parts of the value that can be made again: its frames, and the snapshot of a book.
    pub(crate) fn strip(&self) {
        let mut state = self.lock();
        state.drop_snapshot();
        state.history.strip();
    }
}

#[cfg(test)]
mod tests;
