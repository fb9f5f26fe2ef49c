//! A reader of topics beside the shards: it gets every message of the topics of its patterns, in order per topic.
//!
//! For everything that publishes it is one more shard: it has a queue that is bounded, and what does not fit there is read
//! from the histories. It holds nobody up: only bulk bodies wait for it. So a reader that is too slow misses what the
//! histories no longer have, and is told exactly what. It has no sessions and writes nothing. Never reads a clock.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tickwire_wire::{Pattern, Seq};

use crate::cell::TopicCell;
use crate::directory::Directory;
use crate::publication::{Publication, TopicId};
use crate::queue::{Inbox, ShardId};

/// The number of messages that are read from a history at once.
const READ_AT_ONCE: usize = 256;

/// What an observer is told.
#[derive(Debug, Clone, Copy)]
pub enum Observed<'a> {
    /// The topic's next message.
    Message(&'a Arc<TopicCell>, &'a Publication),
    /// Messages of the topic that it does not get, from the first to the last.
    Missed(&'a Arc<TopicCell>, Seq, Seq),
    /// The topic has ended. Nothing of it follows.
    Ended(&'a Arc<TopicCell>),
}

/// A topic that is observed.
#[derive(Debug)]
struct ObservedTopic {
    cell: Arc<TopicCell>,
    /// The last message that was told, or named as missed.
    seq: Seq,
}

/// The reader of a directory's queue for an observer.
#[derive(Debug)]
pub struct Observer {
    directory: Arc<Directory>,
    id: ShardId,
    patterns: Vec<Pattern>,
    inbox: Inbox,
    topics: FxHashMap<TopicId, ObservedTopic>,
    /// Topics of which messages are to be read from the history.
    behind: Vec<TopicId>,
    batch: Vec<Arc<Publication>>,
}

impl Observer {
    /// Observes the topics of `patterns`: those that exist from their next message, later ones from their first. `id` is one
    /// of [`Directory::observers`].
    #[must_use]
    pub fn new(directory: Arc<Directory>, id: ShardId, patterns: Vec<Pattern>) -> Self {
        Self::behind(directory, id, patterns, |_| None)
    }

    /// The same, but topics that exist are read from the message behind the one that `read` gives, if it gives one.
    #[must_use]
    pub fn behind(
        directory: Arc<Directory>,
        id: ShardId,
        patterns: Vec<Pattern>,
        read: impl Fn(&TopicCell) -> Option<Seq>,
    ) -> Self {
        // An observer before this one may have ended by a panic.
        directory.forget_shard(id);
        for pattern in &patterns {
            directory.register(id, pattern);
        }
        let (mut topics, mut behind) = (FxHashMap::default(), Vec::new());
        for cell in patterns.iter().flat_map(|pattern| directory.matching(pattern)) {
            let head = cell.attach(id).seq;
            let seq = read(&cell).map_or(head, |seq| seq.min(head));
            if seq < head {
                behind.push(cell.id());
            }
            topics.entry(cell.id()).or_insert(ObservedTopic { cell, seq });
        }
        Self {
            directory,
            id,
            patterns,
            inbox: Inbox::default(),
            topics,
            behind,
            batch: Vec::new(),
        }
    }

    /// The topics that are observed, each with the last message that was told, or named as missed.
    pub fn positions(&self) -> impl Iterator<Item = (&Arc<TopicCell>, Seq)> {
        self.topics.values().map(|topic| (&topic.cell, topic.seq))
    }

    /// Tells `visit` everything that waits in the queue. Returns the number of messages that waited.
    pub fn observe(&mut self, mut visit: impl FnMut(Observed<'_>)) -> usize {
        self.directory.queue(self.id).take(&mut self.inbox);
        let mut inbox = std::mem::take(&mut self.inbox);
        let count = inbox.publications.len() + inbox.overflowed.len();
        for publication in inbox.publications.drain(..) {
            let id = publication.lineage.id;
            if let Some(topic) = self.topic(id, &inbox.ended) {
                topic.tell(&publication, &mut visit);
            }
        }
        self.behind.extend(inbox.overflowed.drain());
        // An earlier life of a name comes before a later one.
        self.behind.sort_unstable();
        for id in std::mem::take(&mut self.behind) {
            self.catch_up(id, &inbox.ended, &mut visit);
        }
        inbox.stale.clear();
        for cell in inbox.ended.drain(..) {
            if self.topics.remove(&cell.id()).is_some() {
                visit(Observed::Ended(&cell));
            }
            self.directory.end_handled(self.id, &cell);
        }
        self.inbox = inbox;
        count
    }

    /// The topic with this number, if it is observed. It may have ended.
    fn topic(&mut self, id: TopicId, ended: &[Arc<TopicCell>]) -> Option<&mut ObservedTopic> {
        if !self.topics.contains_key(&id) {
            let existing = self.directory.get(id);
            let cell = existing.or_else(|| ended.iter().find(|cell| cell.id() == id).cloned())?;
            let name = cell.topic().as_str();
            if !self.patterns.iter().any(|pattern| pattern.matches(name)) {
                // The directory keeps an interest of everyone in the next life of a topic that has ended.
                cell.detach(self.id);
                return None;
            }
            let seq = Seq::ZERO;
            self.topics.insert(id, ObservedTopic { cell, seq });
        }
        self.topics.get_mut(&id)
    }

    /// Reads what a topic's history has after the last message that was told.
    fn catch_up(&mut self, id: TopicId, ended: &[Arc<TopicCell>], visit: &mut impl FnMut(Observed<'_>)) {
        let mut batch = std::mem::take(&mut self.batch);
        if let Some(topic) = self.topic(id, ended) {
            loop {
                let read = topic.cell.read_after(topic.seq, READ_AT_ONCE, &mut batch);
                if let Some((from, to)) = read.gap {
                    visit(Observed::Missed(&topic.cell, from, to));
                    topic.seq = to;
                }
                for publication in batch.drain(..) {
                    topic.tell(&publication, visit);
                }
                if read.at_head {
                    break;
                }
            }
        } else if self.directory.get(id).is_none() {
            // It has ended, and comes with the topics that have ended, now or next time.
            self.behind
                .extend((!ended.iter().any(|cell| cell.id() == id)).then_some(id));
        }
        self.batch = batch;
    }
}

impl ObservedTopic {
    /// Tells of a message, unless it was told before.
    fn tell(&mut self, publication: &Publication, visit: &mut impl FnMut(Observed<'_>)) {
        if publication.seq <= self.seq {
            return;
        }
        if publication.seq > self.seq.next() {
            visit(Observed::Missed(
                &self.cell,
                self.seq.next(),
                Seq(publication.seq.0 - 1),
            ));
        }
        self.seq = publication.seq;
        visit(Observed::Message(&self.cell, publication));
    }
}

#[cfg(test)]
mod tests;
