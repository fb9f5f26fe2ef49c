//! Messages that are numbered and wait to be written to a log, before they enter their topics.
//!
//! Publishers put them in, under the lock of their topic, so those of a topic are in the order of their numbers. One
//! thread takes them out, writes them, has them enter, and says so. If it cannot write, everything that waits is
//! dropped, and the *generation* changes: each topic then numbers again from what has entered. So no number is given to two
//! messages that anybody sees, and none is left out. While the log cannot be written, nothing is taken.
//!
//! What waits is gathered in portions, each of which becomes one entry of the log. A publisher encodes its message, so that the
//! thread that writes has little left to do for each.
//!
//! The queue is bounded in bytes. Publishers wait from [`WAIT_BYTES`] on, and whoever does not wait is refused beyond
//! [`MOST_BYTES`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tickwire_wire::message::{EndReason, PublishKey};
use tickwire_wire::{ErrorCode, Micros, Refusal, Seq};

use crate::arrival::FeedMark;
use crate::cell::{Numbered, TopicCell};
use crate::directory::Directory;
use crate::queue::{ShardId, ShardQueue, WakeShard};

/// The bytes that may wait before publishers do: 64 entries of 64 KiB.
const WAIT_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes that may wait.
const MOST_BYTES: usize = 16 * WAIT_BYTES;
/// The bytes from which on a portion takes no further record.
const PORTION_BYTES: usize = 64 * 1024;
/// The bytes that a record counts for beside its data.
const RECORD_BYTES: usize = 128;

/// The place of a message among all that were put into the queue, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) number: u64,
    /// See [`WriteQueue::generation`].
    pub(crate) generation: u32,
}

impl Ticket {
    /// Whether nothing was dropped between the two.
    #[must_use]
    pub fn is_of_one_life(self, other: Self) -> bool {
        self.generation == other.generation
    }
}

/// Calls back when all that was put in before is written and has entered, or with the reason why it never will be.
pub type Told = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// The key of a message, by which it is known if its publisher repeats it.
#[derive(Debug, Clone)]
pub struct RecordKey {
    /// The key.
    pub key: PublishKey,
    /// When the message came.
    pub at: Micros,
}

/// What waits to be written.
pub enum Record {
    /// A message, with its key and its place in a feed if it has these, and the number of bytes of its text in the portion.
    Message(
        Arc<TopicCell>,
        Numbered,
        Option<Box<RecordKey>>,
        Option<FeedMark>,
        usize,
    ),
    /// The end of a topic, with the number of its last message.
    End(Arc<TopicCell>, EndReason, Seq),
    /// Nothing to be written: someone waits for what is before it.
    Told(Told),
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(cell, numbered, ..) => {
                f.debug_tuple("Message").field(cell).field(&numbered.seq).finish()
            }
            Self::End(cell, reason, last) => f
                .debug_tuple("End")
                .field(cell)
                .field(reason)
                .field(last)
                .finish(),
            Self::Told(_) => f.write_str("Told"),
        }
    }
}

impl Record {
    /// About how many bytes it takes in memory and in the log.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Message(_, numbered, _, _, text) => RECORD_BYTES + numbered.payload.heap_bytes() + text,
            Self::End(..) | Self::Told(_) => RECORD_BYTES,
        }
    }
}

/// A portion: records that are taken out together.
#[derive(Debug, Default)]
pub struct WriteBatch {
    /// The records, in their order.
    pub records: Vec<Record>,
    /// The data of the messages as JSON, one behind the other.
    pub texts: Vec<u8>,
    /// The number of the last message or end among them, or before them.
    last: u64,
    bytes: usize,
}

/// Up to where a shard's messages are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenTo {
    /// The number of the last message that this is about; the first is the one after the last such notice.
    pub(crate) last: u64,
    /// Whether they have entered. Otherwise they are dropped.
    pub(crate) entered: bool,
}

impl WriteBatch {
    /// Whether it has no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn push(&mut self, record: Record, text: &[u8]) {
        self.bytes += record.bytes();
        self.records.push(record);
        self.texts.extend_from_slice(text);
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// The last one takes records until it has [`PORTION_BYTES`].
    portions: VecDeque<WriteBatch>,
    /// A portion without records, kept for its memory.
    spare: WriteBatch,
    /// The number of the newest message.
    given: u64,
    /// The number of the newest message that has entered.
    entered: u64,
    /// Why nothing is taken, if that is so.
    refusing: Option<String>,
    /// The shards that wait for messages in the queue or in the last batch, one bit each.
    asking: u64,
    awake: bool,
}

impl Inner {
    /// Puts a record behind the others.
    fn put(&mut self, record: Record, text: &[u8]) {
        if self
            .portions
            .back()
            .is_none_or(|last| last.bytes >= PORTION_BYTES)
        {
            self.portions.push_back(std::mem::take(&mut self.spare));
        }
        if let Some(last) = self.portions.back_mut() {
            last.push(record, text);
            last.last = self.given;
        }
    }
}

/// The queue.
pub struct WriteQueue {
    inner: Mutex<Inner>,
    generation: AtomicU32,
    bytes: AtomicUsize,
    wake: WakeShard,
}

impl fmt::Debug for WriteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteQueue")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl WriteQueue {
    /// An empty queue. `wake` wakes the thread that writes; it is called at most once for each [`Self::take`].
    #[must_use]
    pub fn new(wake: WakeShard) -> Self {
        Self {
            inner: Mutex::default(),
            generation: AtomicU32::new(0),
            bytes: AtomicUsize::new(0),
            wake,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often everything that waited was dropped. What was numbered in an earlier generation does not count.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// The bytes that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether publishers should wait before they hand in more.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.waiting_bytes() > WAIT_BYTES
    }

    /// Why nothing can be published, if that is so.
    #[must_use]
    pub fn refusing(&self) -> Option<String> {
        self.lock().refusing.clone()
    }

    /// Refuses a message while too much waits. Called before it is numbered.
    pub(crate) fn check_room(&self) -> Result<(), Refusal> {
        if self.waiting_bytes() <= MOST_BYTES {
            return Ok(());
        }
        Err(unavailable("it has too much to write"))
    }

    /// Puts a record behind the others, with the text of its message. The record was numbered in `generation`. When its message has
    /// entered or is dropped, `shard` is told.
    ///
    /// # Errors
    /// If the generation has changed, or nothing is taken. Then what was numbered does not count.
    pub(crate) fn push(
        &self,
        (record, text): (Record, &[u8]),
        generation: u32,
        shard: Option<ShardId>,
    ) -> Result<Ticket, Refusal> {
        let bytes = record.bytes();
        let mut inner = self.lock();
        if let Some(reason) = &inner.refusing {
            return Err(unavailable(reason));
        }
        if generation != self.generation() {
            return Err(dropped());
        }
        if !matches!(record, Record::Told(_)) {
            inner.given += 1;
        }
        let number = inner.given;
        inner.put(record, text);
        inner.asking |= shard.map_or(0, |shard| 1 << shard.0);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let wake = !std::mem::replace(&mut inner.awake, true);
        drop(inner);
        if wake {
            (self.wake)();
        }
        Ok(Ticket { number, generation })
    }

    /// Whether the message of `ticket` still waits. `None` if it has entered. Otherwise `shard` is told when it has entered or is
    /// dropped.
    ///
    /// # Errors
    /// If it may have been dropped.
    pub(crate) fn ask(&self, ticket: Ticket, shard: Option<ShardId>) -> Result<Option<Ticket>, Refusal> {
        let mut inner = self.lock();
        if ticket.generation != self.generation() {
            return Err(dropped());
        }
        if ticket.number <= inner.entered {
            return Ok(None);
        }
        inner.asking |= shard.map_or(0, |shard| 1 << shard.0);
        Ok(Some(ticket))
    }

    /// Calls `told` when the message of `ticket` has entered, or is dropped. If the log fails in the meantime, a message
    /// that entered may be reported as dropped.
    pub fn when_written(&self, ticket: Ticket, told: Told) {
        let pushed = {
            let mut inner = self.lock();
            if ticket.generation == self.generation() && inner.refusing.is_none() {
                inner.put(Record::Told(told), &[]);
                self.bytes.fetch_add(RECORD_BYTES, Ordering::Relaxed);
                Ok(!std::mem::replace(&mut inner.awake, true))
            } else {
                Err(told)
            }
        };
        match pushed {
            Ok(true) => (self.wake)(),
            Ok(false) => {}
            Err(told) => told(Err(dropped())),
        }
    }

    /// Takes the oldest portion, if there is one, into `batch`, whose records have been taken out. If nothing is left then, the
    /// next record wakes the thread again.
    pub fn take(&self, batch: &mut WriteBatch) {
        let mut inner = self.lock();
        if let Some(portion) = inner.portions.pop_front() {
            inner.spare = std::mem::replace(batch, portion);
            inner.spare.texts.clear();
        }
        inner.awake = !inner.portions.is_empty();
    }

    /// Says that the messages of a batch have entered. Its records have been taken out.
    pub fn entered(&self, batch: &mut WriteBatch, directory: &Directory) {
        self.bytes
            .fetch_sub(std::mem::take(&mut batch.bytes), Ordering::Relaxed);
        let asking = {
            let mut inner = self.lock();
            inner.entered = batch.last;
            let asking = inner.asking;
            if inner.portions.is_empty() {
                inner.asking = 0;
            }
            asking
        };
        let written = WrittenTo {
            last: batch.last,
            entered: true,
        };
        tell(directory.queues(), asking, written);
    }

    /// Drops a batch that could not be written, and everything behind it, and takes nothing from now on. Everything that
    /// was written must have entered.
    pub fn fail(&self, batch: &mut WriteBatch, reason: &str, directory: &Directory) {
        let (dropped_records, asking, last) = {
            let mut inner = self.lock();
            self.generation.fetch_add(1, Ordering::Release);
            inner.refusing = Some(reason.to_owned());
            self.bytes.store(0, Ordering::Relaxed);
            let mut records = std::mem::take(&mut batch.records);
            let portions = inner.portions.drain(..);
            records.extend(portions.flat_map(|portion| portion.records));
            (records, std::mem::take(&mut inner.asking), inner.given)
        };
        *batch = WriteBatch::default();
        let written = WrittenTo { last, entered: false };
        tell(directory.queues(), asking, written);
        for record in dropped_records {
            match record {
                // Whoever repeats it now publishes it.
                Record::Message(cell, _, Some(key), ..) => directory.key_dropped(cell.topic(), &key.key),
                Record::Told(told) => told(Err(unavailable(reason))),
                Record::Message(..) | Record::End(..) => {}
            }
        }
    }

    /// Takes messages again.
    pub fn accept(&self) {
        self.lock().refusing = None;
    }
}

/// Tells the shards in `asking`.
fn tell(shards: &[Arc<ShardQueue>], mut asking: u64, written: WrittenTo) {
    while asking != 0 {
        shards[asking.trailing_zeros() as usize].push_written(written);
        asking &= asking - 1;
    }
}

fn unavailable(reason: &str) -> Refusal {
    Refusal::new(
        ErrorCode::Internal,
        format!("the journal cannot be written: {reason}; publish it again later"),
    )
}

/// The refusal of what was numbered before everything was dropped.
pub(crate) fn dropped() -> Refusal {
    unavailable("what was published just now may not be in it")
}
