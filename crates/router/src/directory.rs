//! All topics of the broker, and the queues of all shards.
//!
//! All threads share it. A topic over the limit is refused. A topic that ends is removed, and its number is not used
//! again. Never reads a clock.
//!
//! Locks, outermost first: the list of topics, then the interests. A topic's lock is taken with neither held, except
//! for a topic that is being made or ended. Only the lock of a shard's queue is taken within it.

mod ending;
mod health;
mod laned;
mod making;
mod reconfigure;
mod relief;
mod restoring;
mod search;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use dashmap::DashMap;
use tickwire_wire::limits::{
    DEDUPE_KEYS_MAX, DEDUPE_MS, HISTORY_BYTES_MAX, REPLAY_BYTES_MAX, TOPICS_MAX, TOPICS_PER_KEY_MAX,
    VALUE_BYTES_MAX,
};
use tickwire_wire::message::{EndReason, PublishKey};
use tickwire_wire::{Epoch, Kind, Micros, Pattern, Refusal, Seq, Topic};

use crate::archive::Archive;
use crate::cell::{Attached, Published, TopicCell};
use crate::dedupe::{Dedupe, DedupeLimits, DedupeTally};
use crate::epochs::{EpochRule, Epochs, Life};
use crate::expiry::ExpiryRule;
use crate::families::Families;
use crate::index::PatternIndex;
use crate::kinds::Kinds;
use crate::looks::Looks;
use crate::memory::Memory;
use crate::outlet::Outlet;
use crate::publication::TopicId;
use crate::queue::{Inbox, Recipients, ShardId, ShardQueue};
use crate::rights::Publisher;
use crate::staleness::{StaleRule, Staleness};
use crate::tree::TopicTree;
use crate::write_queue::WriteQueue;
pub use ending::EndedTopic;
pub use laned::KeptValue;
pub use making::PublishError;
pub(crate) use search::Search;

/// Most shards of a directory: interest is a 64-bit mask.
pub const SHARDS_MAX: usize = 64;

/// The number of topics from which a shard is removed before other work has its turn.
const FORGET_AT_ONCE: usize = 1_024;

/// The limits of a directory.
#[derive(Debug, Clone, Copy)]
pub struct DirectoryLimits {
    /// Most topics.
    pub topics_max: usize,
    /// Most topics that one publisher may make; 0 for any number.
    pub topics_per_key_max: usize,
    /// Most bytes of all histories together, without the newest message of each topic.
    pub history_bytes_max: usize,
    /// Most bytes of the newest messages of all topics, and of their books.
    pub value_bytes_max: usize,
    /// Most bytes of all messages together that promised replays keep.
    pub replay_bytes_max: usize,
    /// For how long the keys of publications are known, and how many.
    pub dedupe: DedupeLimits,
}

impl Default for DirectoryLimits {
    fn default() -> Self {
        Self {
            topics_max: TOPICS_MAX,
            topics_per_key_max: TOPICS_PER_KEY_MAX,
            history_bytes_max: HISTORY_BYTES_MAX,
            value_bytes_max: VALUE_BYTES_MAX,
            replay_bytes_max: REPLAY_BYTES_MAX,
            dedupe: DedupeLimits {
                within_ms: DEDUPE_MS,
                keys_max: DEDUPE_KEYS_MAX,
            },
        }
    }
}

/// A topic as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The name.
    pub topic: Topic,
    /// The kind.
    pub kind: Kind,
    /// The lineage of the numbers.
    pub epoch: Epoch,
    /// The newest number.
    pub seq: Seq,
    /// Connections subscribed.
    pub subscribers: u32,
}

/// The topics in the order in which they were made, and by their tokens.
#[derive(Default)]
struct Topics {
    by_id: BTreeMap<TopicId, Arc<TopicCell>>,
    /// The number of the topic that is made next.
    next: TopicId,
    /// How many topics have ended.
    ended: u64,
    tree: TopicTree,
    /// How many of the topics each publisher has made.
    made_by: HashMap<Publisher, u32>,
}

/// All topics, and the ways into all shards.
pub struct Directory {
    by_name: DashMap<Topic, Arc<TopicCell>>,
    topics: RwLock<Topics>,
    /// The number of subscriptions of each shard, by pattern. Their topics may not exist yet.
    interests: RwLock<PatternIndex<Interests>>,
    kinds: RwLock<Arc<Kinds>>,
    /// The queues of all shards, and behind them those of the observers.
    queues: Vec<Arc<ShardQueue>>,
    /// The number of shards.
    shards: usize,
    /// Where messages wait to be written before they enter, if they do.
    write_queue: Option<Arc<WriteQueue>>,
    /// Where messages go that are numbered elsewhere, if they are.
    outlet: Option<Arc<Outlet>>,
    /// What has the messages that the histories do not hold any more, if anything has.
    archive: OnceLock<Arc<dyn Archive>>,
    epochs: Epochs,
    families: Arc<Families>,
    dedupe: Dedupe,
    memory: Arc<Memory>,
    /// The number of the topic whose turn it was to give up memory.
    turn: AtomicU32,
    staleness: Staleness,
    expiries: Looks<ExpiryRule>,
    /// How many topics have ended, by reason.
    ended: [AtomicU64; EndReason::ALL.len()],
    /// How often a book became crossed.
    crossed_books: AtomicU64,
    topics_max: AtomicUsize,
    topics_per_key_max: AtomicUsize,
}

/// The number of subscriptions with one pattern, by shard.
#[derive(Debug, Default)]
struct Interests(Vec<u32>);

impl Interests {
    fn mask(&self) -> u64 {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .fold(0, |mask, (shard, _)| mask | 1 << shard)
    }

    /// Removes the subscriptions of `shard`. Returns whether other shards have any.
    fn forget(&mut self, shard: ShardId) -> bool {
        if let Some(count) = self.0.get_mut(usize::from(shard.0)) {
            *count = 0;
        }
        self.mask() != 0
    }
}

impl Directory {
    /// An empty directory. Its topics have the epoch `epoch`, and `queues` are the queues of its shards.
    ///
    /// # Panics
    /// If there are more than [`SHARDS_MAX`] queues.
    #[must_use]
    pub fn new(epoch: Epoch, kinds: Kinds, limits: DirectoryLimits, queues: Vec<Arc<ShardQueue>>) -> Self {
        assert!(
            queues.len() <= SHARDS_MAX,
            "{} shards; at most {SHARDS_MAX} are possible",
            queues.len()
        );
        Self {
            by_name: DashMap::new(),
            topics: RwLock::default(),
            interests: RwLock::default(),
            kinds: RwLock::new(Arc::new(kinds)),
            shards: queues.len(),
            queues,
            write_queue: None,
            outlet: None,
            archive: OnceLock::new(),
            epochs: Epochs::one(epoch),
            families: Arc::new(Families::none()),
            dedupe: Dedupe::new(limits.dedupe),
            memory: Arc::new(Memory::new(
                limits.value_bytes_max,
                limits.history_bytes_max,
                limits.replay_bytes_max,
            )),
            turn: AtomicU32::new(0),
            staleness: Staleness::default(),
            expiries: Looks::default(),
            ended: [const { AtomicU64::new(0) }; EndReason::ALL.len()],
            crossed_books: AtomicU64::new(0),
            topics_max: AtomicUsize::new(limits.topics_max),
            topics_per_key_max: AtomicUsize::new(limits.topics_per_key_max),
        }
    }

    /// Adds the queue of an [`Observer`](crate::Observer), which is a shard for everything that publishes. Call this before
    /// anything is published.
    ///
    /// # Panics
    /// If there are [`SHARDS_MAX`] queues already.
    #[must_use]
    pub fn with_observer(mut self, queue: Arc<ShardQueue>) -> Self {
        assert!(self.queues.len() < SHARDS_MAX, "there is no bit for an observer");
        self.queues.push(queue);
        self
    }

    /// The numbers that the observers have as shards, in the order in which they were added.
    pub fn observers(&self) -> impl Iterator<Item = ShardId> + use<> {
        (self.shards..self.queues.len()).map(|index| ShardId(index as u8))
    }

    /// Sets the `rules` for how long topics may be silent. They are tried in order. Call this before anything is
    /// published.
    #[must_use]
    pub fn with_stale_rules(mut self, rules: Vec<StaleRule>) -> Self {
        self.staleness = Staleness::with_rules(rules);
        self
    }

    /// Sets the `rules` by which topics end by themselves. They are tried in order. Call this before anything is
    /// published.
    #[must_use]
    pub fn with_expiry_rules(self, rules: Vec<ExpiryRule>) -> Self {
        self.expiries.replace(rules);
        self
    }

    /// Sets `rules` that give topics other epochs than the common one. They are tried in order. Call this before
    /// anything is published.
    #[must_use]
    pub fn with_epochs(mut self, rules: Vec<EpochRule>) -> Self {
        self.epochs = self.epochs.with_rules(rules);
        self
    }

    /// Has all messages and ends put into `queue`, by which they are written before they enter. Call this before anything
    /// is published.
    #[must_use]
    pub fn with_write_queue(mut self, queue: Arc<WriteQueue>) -> Self {
        self.write_queue = Some(queue);
        self
    }

    /// Where messages wait to be written before they enter, if they do.
    #[must_use]
    pub fn write_queue(&self) -> Option<&Arc<WriteQueue>> {
        self.write_queue.as_ref()
    }

    fn kinds(&self) -> Arc<Kinds> {
        self.kinds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn topics_max(&self) -> usize {
        self.topics_max.load(Ordering::Relaxed)
    }

    fn topics_read(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn interests_write(&self) -> RwLockWriteGuard<'_, PatternIndex<Interests>> {
        self.interests.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch that `topic` has or would have. If the topic is just ending, that of its next life.
    #[must_use]
    pub fn epoch_of(&self, topic: &str) -> Epoch {
        // Whoever ends a topic tells the shards, and holds this lock until the next life's epoch is decided.
        let _decided = self.topics_read();
        let existing = self.find(topic).map(|cell| cell.position().epoch);
        existing.unwrap_or_else(|| self.epochs.of(topic).0)
    }

    /// The position at which a subscription to `topic`, which does not exist, begins, and the life that it is of.
    pub(crate) fn before_first(&self, topic: &str) -> (Attached, Life) {
        let (epoch, life) = self.epochs.of(topic);
        let seq = Seq::ZERO;
        (Attached { epoch, seq }, life)
    }

    /// The kind that `topic` has or would have.
    #[must_use]
    pub fn kind_of(&self, topic: &str) -> Kind {
        // The rules may have changed since the topic was made.
        let existing = self.by_name.get(topic).map(|cell| cell.kind());
        existing.unwrap_or_else(|| self.kinds().of(topic).0)
    }

    /// The kinds that topics which match `pattern` can have.
    pub fn kinds_of_pattern(&self, pattern: &Pattern) -> Vec<Kind> {
        self.kinds().of_pattern(pattern).collect()
    }

    /// The topic, if it exists.
    #[must_use]
    pub fn find(&self, topic: &str) -> Option<Arc<TopicCell>> {
        self.by_name.get(topic).map(|cell| cell.clone())
    }

    /// Does the same as [`Self::find`], and waits for a thread that is just making the topic. A shard that has
    /// registered its interest before and gets `None` will be sent the topic's first message.
    pub(crate) fn find_settled(&self, topic: &str) -> Option<Arc<TopicCell>> {
        // This lock is held while a topic is made, from looking at the interests until the topic can be found.
        let _settled = self.topics_read();
        self.find(topic)
    }

    /// The topic with this number.
    #[must_use]
    pub fn get(&self, id: TopicId) -> Option<Arc<TopicCell>> {
        self.topics_read().by_id.get(&id).cloned()
    }

    /// Number of topics.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics_read().by_id.len()
    }

    /// Calls `visit` with up to `max` topics in the order in which they were made, beginning with number `from`.
    /// Returns where to go on, or `None` at the end. A walk in steps meets each topic once that exists from its beginning
    /// to its end.
    ///
    /// The list of topics is locked meanwhile: `visit` must not use a topic's state.
    pub fn walk(&self, from: TopicId, max: usize, mut visit: impl FnMut(&Arc<TopicCell>)) -> Option<TopicId> {
        let topics = self.topics_read();
        let mut rest = topics.by_id.range(from..);
        rest.by_ref().take(max).for_each(|(_, cell)| visit(cell));
        rest.next().map(|(next, _)| *next)
    }

    /// The length of the longest queue of a shard, in publications.
    #[must_use]
    pub fn queue_depth_max(&self) -> usize {
        let shards = &self.queues[..self.shards];
        shards.iter().map(|queue| queue.depth()).max().unwrap_or(0)
    }

    /// The length of the longest queue of an observer, in publications.
    #[must_use]
    pub fn observer_depth_max(&self) -> usize {
        let observers = &self.queues[self.shards..];
        observers.iter().map(|queue| queue.depth()).max().unwrap_or(0)
    }

    /// Registers that `shard` wants the topics of `pattern`, also those that are made later. Register before you look
    /// at the existing topics.
    pub(crate) fn register(&self, shard: ShardId, pattern: &Pattern) {
        let mut interests = self.interests_write();
        let counts = &mut interests.entry(pattern).0;
        let index = usize::from(shard.0);
        if counts.len() <= index {
            counts.resize(index + 1, 0);
        }
        counts[index] += 1;
    }

    /// Undoes one [`Self::register`].
    pub(crate) fn unregister(&self, shard: ShardId, pattern: &Pattern) {
        let mut interests = self.interests_write();
        let Some(interest) = interests.get_mut(pattern) else {
            return;
        };
        if let Some(count) = interest.0.get_mut(usize::from(shard.0)) {
            *count = count.saturating_sub(1);
        }
        if interest.mask() == 0 {
            interests.remove(pattern);
        }
    }

    /// The topics that match `pattern` and hold at least one message, for a listing.
    #[must_use]
    pub fn list(&self, pattern: &Pattern) -> Vec<TopicInfo> {
        let cells = self.matching(pattern).into_iter();
        cells
            .map(|cell| {
                let Attached { epoch, seq } = cell.position();
                let topic = cell.topic().clone();
                TopicInfo {
                    topic,
                    kind: cell.kind(),
                    epoch,
                    seq,
                    subscribers: cell.subscribers(),
                }
            })
            .filter(|info| info.seq > Seq::ZERO)
            .collect()
    }

    /// Removes every interest of `shard` and empties its queue. Nothing is queued for the shard until it subscribes anew. Used
    /// when a shard has ended, or when its own tables cannot be trusted after a panic.
    pub fn forget_shard(&self, shard: ShardId) {
        // The interests come before the topics: then no topic that is made from here on is wanted by `shard`.
        self.interests_write().retain(|interests| interests.forget(shard));
        let mut from = Some(TopicId::default());
        while let Some(at) = from {
            let mut cells = Vec::new();
            from = self.walk(at, FORGET_AT_ONCE, |cell| cells.push(cell.clone()));
            cells.iter().for_each(|cell| cell.detach(shard));
        }
        let mut queued = Inbox::default();
        self.queue(shard).take(&mut queued);
        for cell in queued.ended {
            self.end_handled(shard, &cell);
        }
    }

    /// Publishes by `publish`, unless a publication to `topic` with this key is known at `now`: then returns what that one got,
    /// and `true`. If that one waits to be written, `shard` is told when it is.
    pub(crate) fn once<E: From<Refusal>>(
        &self,
        (topic, key): (&Topic, &PublishKey),
        now: Micros,
        shard: Option<ShardId>,
        publish: impl FnOnce() -> Result<Published, E>,
    ) -> Result<(Published, bool), E> {
        let (mut published, is_duplicate) = self.dedupe.once(topic, key, now, publish)?;
        if let (true, Some(queue), Some(ticket)) = (is_duplicate, &self.write_queue, published.ticket) {
            published.ticket = queue.ask(ticket, shard)?;
        }
        Ok((published, is_duplicate))
    }

    /// Forgets keys of publications whose time is over at `now`. Returns whether more of them are left for another call.
    pub fn forget_keys(&self, now: Micros) -> bool {
        self.dedupe.forget(now)
    }

    /// The counts of the keys of publications.
    #[must_use]
    pub fn dedupe_tally(&self) -> DedupeTally {
        self.dedupe.tally()
    }

    /// Whether a publication to `topic` with `key` would be a duplicate at `now`.
    #[must_use]
    pub fn knows_key(&self, topic: &Topic, key: &PublishKey, now: Micros) -> bool {
        self.dedupe.knows(topic, key, now)
    }

    /// The queues of all shards.
    #[must_use]
    pub fn queues(&self) -> &[Arc<ShardQueue>] {
        &self.queues
    }

    /// The same queues for a publication that wakes its shards at once.
    pub(crate) fn recipients(&self) -> Recipients<'_> {
        Recipients::at_once(&self.queues)
    }

    /// The queue of `shard`.
    ///
    /// # Panics
    /// If there is no such shard.
    #[must_use]
    pub fn queue(&self, shard: ShardId) -> &Arc<ShardQueue> {
        &self.queues[usize::from(shard.0)]
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory")
            .field("epochs", &self.epochs)
            .field("topics", &self.topic_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interests_are_forgotten_with_their_last_subscription() {
        let directory = Directory::new(
            Epoch::from("e"),
            Kinds::default(),
            DirectoryLimits {
                topics_max: 10,
                topics_per_key_max: 0,
                history_bytes_max: 1_000,
                ..DirectoryLimits::default()
            },
            Vec::new(),
        );
        let patterns = ["a.*", "a.b", ">"].map(|text| text.parse::<Pattern>().expect("a pattern"));
        for shard in [ShardId(0), ShardId(63), ShardId(0)] {
            patterns
                .iter()
                .for_each(|pattern| directory.register(shard, pattern));
        }
        let mask = |topic: &str| {
            let mut mask = 0;
            let interests = directory.interests.read().expect("no panic");
            interests.matches(topic, |interest| mask |= interest.mask());
            mask
        };
        assert_eq!(mask("a.b"), 1 << 63 | 1);
        directory.unregister(ShardId(63), &patterns[2]);
        assert_eq!((mask("a.c"), mask("c")), (1 << 63 | 1, 1));
        for shard in [ShardId(0), ShardId(63), ShardId(0)] {
            patterns
                .iter()
                .for_each(|pattern| directory.unregister(shard, pattern));
        }
        // One removal too many does not underflow.
        assert_eq!(mask("a.b"), 0);
        assert!(directory.interests.read().expect("no panic").is_empty());
    }
}
