//! The queue of a shard: publications from any thread, in order per topic.
//!
//! The queue is bounded. When it is full, a publication is not queued; its topic is remembered instead, and the shard
//! serves that topic's subscribers from the directory's history. Messages that the history no longer has become an
//! exact gap.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::{FxHashMap, FxHashSet};
use tickwire_wire::Seq;

use crate::cell::TopicCell;
use crate::outlet::OutletAnswer;
use crate::publication::{Publication, TopicId};
use crate::shard::{FoundStarts, ReplayPart};
use crate::write_queue::WrittenTo;

/// A shard's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

/// Wakes the thread that runs a shard. It is called from the publishing thread, at most once per batch.
pub type WakeShard = Box<dyn Fn() + Send + Sync>;

/// The content of a queue, taken out at once.
#[derive(Debug, Default)]
pub struct Inbox {
    /// The publications in the order in which they came.
    pub publications: Vec<Arc<Publication>>,
    /// Topics that have publications which were not queued because the queue was full.
    pub overflowed: FxHashSet<TopicId>,
    /// Topics that became stale after the publications, with their newest number.
    pub stale: FxHashMap<TopicId, Seq>,
    /// Up to where the messages of the shard's publishers are decided that waited to be written.
    pub(crate) written: Vec<WrittenTo>,
    /// What became of messages of the shard's publishers that were numbered elsewhere, in their order.
    pub(crate) settled: Vec<OutletAnswer>,
    /// Parts of replays that were read from the archive.
    pub(crate) parts: Vec<ReplayPart>,
    /// Where replays begin, for requests that wait for it.
    pub(crate) starts: Vec<FoundStarts>,
    /// Topics that ended after the publications.
    pub(crate) ended: Vec<Arc<TopicCell>>,
}

struct Inner {
    inbox: Inbox,
    /// The number of publications that did not fit since the start.
    refused: u64,
    awake: bool,
}

impl Inner {
    fn add(&mut self, publication: &Arc<Publication>, capacity: usize) {
        if self.inbox.publications.len() < capacity {
            self.inbox.publications.push(publication.clone());
        } else {
            self.inbox.overflowed.insert(publication.lineage.id);
            self.refused += 1;
        }
    }
}

/// A shard's queue.
pub struct ShardQueue {
    inner: Mutex<Inner>,
    capacity: usize,
    wake: WakeShard,
    /// Whether it holds topics that ended. Written with `inner` locked.
    has_ended: AtomicBool,
}

impl ShardQueue {
    /// A queue for `capacity` publications. `wake` wakes its shard.
    #[must_use]
    pub fn new(capacity: usize, wake: WakeShard) -> Self {
        let inner = Inner {
            inbox: Inbox::default(),
            refused: 0,
            awake: false,
        };
        Self {
            inner: Mutex::new(inner),
            capacity,
            wake,
            has_ended: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `publication`, or remembers its topic if the queue is full.
    pub fn push(&self, publication: &Arc<Publication>) {
        let mut inner = self.lock();
        inner.add(publication, self.capacity);
        self.wake(inner);
    }

    /// Does the same without waking the shard. Call [`Self::wake_for_rest`] soon.
    fn push_quietly(&self, publication: &Arc<Publication>) {
        self.lock().add(publication, self.capacity);
    }

    /// Wakes the shard if publications wait that were queued without that, and nothing has woken it since.
    fn wake_for_rest(&self) {
        let inner = self.lock();
        if !inner.inbox.publications.is_empty() || !inner.inbox.overflowed.is_empty() {
            self.wake(inner);
        }
    }

    /// Wakes the shard, unless that was done since it took the content of the queue.
    fn wake(&self, mut inner: MutexGuard<'_, Inner>) {
        let wake = !std::mem::replace(&mut inner.awake, true);
        drop(inner);
        if wake {
            (self.wake)();
        }
    }

    /// Tells the shard that `topic` became stale after message `newest`, which was queued before.
    pub(crate) fn push_stale(&self, topic: TopicId, newest: Seq) {
        let mut inner = self.lock();
        inner.inbox.stale.insert(topic, newest);
        self.wake(inner);
    }

    /// Tells the shard what became of its publishers' messages that waited to be written.
    pub(crate) fn push_written(&self, written: WrittenTo) {
        let mut inner = self.lock();
        // One notice stands for all with the same outcome.
        match inner
            .inbox
            .written
            .last_mut()
            .filter(|last| last.entered == written.entered)
        {
            Some(last) => *last = written,
            None => inner.inbox.written.push(written),
        }
        let wake = !std::mem::replace(&mut inner.awake, true);
        drop(inner);
        if wake {
            (self.wake)();
        }
    }

    /// Tells the shard what became of its publishers' messages that were numbered elsewhere. There are never more than such
    /// messages may wait.
    pub(crate) fn push_settled(&self, settled: &mut Vec<OutletAnswer>) {
        let mut inner = self.lock();
        inner.inbox.settled.append(settled);
        self.wake(inner);
    }

    /// Brings the shard a part of a replay. There are never more than there are places for parts.
    pub(crate) fn push_part(&self, part: ReplayPart) {
        let mut inner = self.lock();
        inner.inbox.parts.push(part);
        self.wake(inner);
    }

    /// Brings the shard what a request waits for. There is at most one for each session.
    pub(crate) fn push_starts(&self, starts: FoundStarts) {
        let mut inner = self.lock();
        inner.inbox.starts.push(starts);
        self.wake(inner);
    }

    /// Tells the shard that a topic ended, after its last message was queued. The end of a topic is never left out:
    /// topics that ended count as topics until their shards have dropped them.
    pub(crate) fn push_end(&self, cell: &Arc<TopicCell>) {
        let mut inner = self.lock();
        inner.inbox.ended.push(cell.clone());
        self.has_ended.store(true, Ordering::Relaxed);
        self.wake(inner);
    }

    /// Takes only the topics that ended. A thread that knows a topic's next life finds its end here, if it was not taken
    /// before.
    pub(crate) fn take_ended(&self) -> Vec<Arc<TopicCell>> {
        // Whoever knows the next life has held a lock since the end was queued.
        if !self.has_ended.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut inner = self.lock();
        self.has_ended.store(false, Ordering::Relaxed);
        std::mem::take(&mut inner.inbox.ended)
    }

    /// Takes the whole content into `empty`, whose allocation the queue goes on with. Returns the number of
    /// publications that did not fit since the start. The next push wakes the shard again.
    pub fn take(&self, empty: &mut Inbox) -> u64 {
        let mut inner = self.lock();
        inner.awake = false;
        if !inner.inbox.ended.is_empty() {
            self.has_ended.store(false, Ordering::Relaxed);
        }
        std::mem::swap(&mut inner.inbox, empty);
        inner.refused
    }

    /// Number of publications waiting.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.lock().inbox.publications.len()
    }
}

/// The queues of all shards, as one publication or a batch of them sees them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipients<'q> {
    queues: &'q [Arc<ShardQueue>],
    /// In a batch: the shards that are to be woken at its end, one bit each.
    later: Option<&'q Cell<u64>>,
}

impl<'q> Recipients<'q> {
    /// Shards that are woken by the publication.
    pub(crate) const fn at_once(queues: &'q [Arc<ShardQueue>]) -> Self {
        Self { queues, later: None }
    }

    /// Shards that [`Self::wake`] wakes. `later` has a bit for each of them.
    pub(crate) const fn later(queues: &'q [Arc<ShardQueue>], later: &'q Cell<u64>) -> Self {
        Self {
            queues,
            later: Some(later),
        }
    }

    /// Queues `publication` for each shard that has its bit set in `interested`.
    #[inline]
    pub(crate) fn push(self, publication: &Arc<Publication>, interested: u64) {
        if let Some(later) = self.later {
            later.set(later.get() | interested);
        }
        for_each_shard(interested, |shard| match self.later {
            Some(_) => self.queues[shard].push_quietly(publication),
            None => self.queues[shard].push(publication),
        });
    }

    /// Wakes the shards that publications were queued for without that.
    pub(crate) fn wake(self) {
        let later = self.later.map_or(0, Cell::take);
        for_each_shard(later, |shard| self.queues[shard].wake_for_rest());
    }
}

/// Calls `visit` with the number of each shard that has its bit set in `shards`.
#[inline]
fn for_each_shard(mut shards: u64, mut visit: impl FnMut(usize)) {
    while shards != 0 {
        visit(shards.trailing_zeros() as usize);
        shards &= shards - 1;
    }
}

impl std::fmt::Debug for ShardQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardQueue")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
