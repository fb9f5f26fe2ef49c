//! The queue of a shard: publications from any thread, in order per topic.
//!
//! The queue is bounded. When it is full, a publication is not queued; its topic is remembered instead, and the shard
//! serves that topic's subscribers from the directory's history. Messages that the history no longer has become an
//! exact gap.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::{FxHashMap, FxHashSet};
use tickwire_wire::Seq;

use crate::cell::TopicCell;
use crate::publication::{Publication, TopicId};

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
    /// Topics that ended after the publications.
    pub(crate) ended: Vec<Arc<TopicCell>>,
}

struct Inner {
    inbox: Inbox,
    /// The number of publications that did not fit since the start.
    refused: u64,
    awake: bool,
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
        if inner.inbox.publications.len() < self.capacity {
            inner.inbox.publications.push(publication.clone());
        } else {
            inner.inbox.overflowed.insert(publication.lineage.id);
            inner.refused += 1;
        }
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
        let wake = !std::mem::replace(&mut inner.awake, true);
        drop(inner);
        if wake {
            (self.wake)();
        }
    }

    /// Tells the shard that a topic ended, after its last message was queued. The end of a topic is never left out:
    /// topics that ended count as topics until their shards have dropped them.
    pub(crate) fn push_end(&self, cell: &Arc<TopicCell>) {
        let mut inner = self.lock();
        inner.inbox.ended.push(cell.clone());
        self.has_ended.store(true, Ordering::Relaxed);
        let wake = !std::mem::replace(&mut inner.awake, true);
        drop(inner);
        if wake {
            (self.wake)();
        }
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

impl std::fmt::Debug for ShardQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardQueue")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
