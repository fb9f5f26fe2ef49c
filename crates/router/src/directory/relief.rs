//! The memory of all topics together, and how some of it is given up if it is too much.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Directory;
use crate::cell::TopicCell;
use crate::publication::TopicId;

/// The number of topics that give up memory before other work has its turn.
const TOPICS_RELIEVED_AT_ONCE: usize = 16;

impl Directory {
    /// Bytes that all histories hold, without the newest message of each topic.
    #[must_use]
    pub fn history_bytes(&self) -> usize {
        self.memory.history.bytes()
    }

    /// Bytes that the newest messages of all topics and their books hold.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        self.memory.value_bytes()
    }

    /// Bytes of messages that promised replays keep, each counted once.
    #[must_use]
    pub fn replay_bytes(&self) -> usize {
        self.memory.replays.bytes()
    }

    /// Bytes of messages that were read from the archive and are not sent yet, and of those that were asked for.
    #[must_use]
    pub fn archived_bytes(&self) -> usize {
        self.memory.archived.bytes()
    }

    /// Gives up memory that is over its budget: histories become shorter, and frames of values are made again when they
    /// are needed. Memory can go over budget without a publication, since frames are made of messages that are held
    /// already. Does little at a time.
    pub fn relieve(&self) {
        for _ in 0..TOPICS_RELIEVED_AT_ONCE {
            let (history, values) = (self.memory.history.is_over(), self.memory.values_are_over());
            let Some(cell) = (history || values).then(|| self.next_in_turn()).flatten() else {
                return;
            };
            if history {
                cell.shorten();
            }
            if values {
                cell.strip();
            }
        }
    }

    /// The topic whose turn it is to give up memory.
    pub(super) fn next_in_turn(&self) -> Option<Arc<TopicCell>> {
        let topics = self.topics_read();
        let last = TopicId(self.turn.load(Ordering::Relaxed));
        let mut later = topics.by_id.range((Bound::Excluded(last), Bound::Unbounded));
        let (id, cell) = later.next().or_else(|| topics.by_id.first_key_value())?;
        self.turn.store(id.0, Ordering::Relaxed);
        Some(cell.clone())
    }
}
