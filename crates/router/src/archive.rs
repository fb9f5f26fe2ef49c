//! What the router asks of an archive: the messages of a topic that its history does not hold any more.
//!
//! The router has no files. It asks, and is answered later, by another thread. What was read counts in the account of memory
//! until it is dropped, and asking needs a place in that account first, so all readers together never hold more than
//! [`ARCHIVE_BYTES_MAX`]. Who asks for a part names the last message that it wants, one that has entered; so nobody gets a
//! message that is not visible.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use tickwire_wire::{Micros, Seq};

use crate::cell::{Numbered, TopicCell};
use crate::history::StoredFrom;
use crate::memory::Memory;
use crate::publication::Publication;

/// The bytes of data from which on a part is full. Its last message may exceed them.
pub const ARCHIVED_PART_BYTES: usize = 128 * 1024;
/// The most messages of a part.
pub const ARCHIVED_PART_MESSAGES: usize = 1_024;
/// The memory that a part is expected to need at most.
const PLACE_BYTES: usize = 4 * ARCHIVED_PART_BYTES;
/// Most bytes of memory of all parts together that were asked for and are not dropped yet.
pub const ARCHIVE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The messages that histories do not hold any more.
pub trait Archive: fmt::Debug + Send + Sync {
    /// Finds where messages begin. The answer has one for each of `wanted`.
    fn locate(&self, wanted: Vec<WantedStart>, reply: ArchiveReply<Vec<ArchivedStart>>);

    /// Reads a part of a topic's messages.
    fn read(&self, wanted: WantedPart, reply: ArchiveReply<ArchivedPart>);
}

/// An archive has ended, or has failed to read. The log says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the archive cannot be read")]
pub struct ArchiveFailed;

/// What is called with an answer.
type TellAnswer<T> = Box<dyn FnOnce(Result<T, ArchiveFailed>) + Send>;

/// The way back for an answer. If it is dropped, whoever asked is told that the archive has failed.
pub struct ArchiveReply<T>(Option<TellAnswer<T>>);

impl<T> ArchiveReply<T> {
    /// A way back that calls `told`, once.
    #[must_use]
    pub fn new(told: impl FnOnce(Result<T, ArchiveFailed>) + Send + 'static) -> Self {
        Self(Some(Box::new(told)))
    }

    /// Answers.
    pub fn send(mut self, answer: T) {
        if let Some(told) = self.0.take() {
            told(Ok(answer));
        }
    }
}

impl<T> Drop for ArchiveReply<T> {
    fn drop(&mut self) {
        if let Some(told) = self.0.take() {
            told(Err(ArchiveFailed));
        }
    }
}

impl<T> fmt::Debug for ArchiveReply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveReply").finish_non_exhaustive()
    }
}

/// A place to begin that is looked for.
#[derive(Debug, Clone)]
pub struct WantedStart {
    /// The topic.
    pub cell: Arc<TopicCell>,
    /// The moment.
    pub moment: Micros,
}

/// Where an archive has messages of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchivedStart {
    /// The first message from the moment on.
    pub first: Option<Seq>,
    /// The oldest message and its time.
    pub oldest: Option<(Seq, Micros)>,
}

impl ArchivedStart {
    /// Where a replay from `moment` begins, if what the history has is `stored`.
    pub(crate) fn before(self, stored: StoredFrom, moment: Micros) -> StoredFrom {
        let Some((oldest, ts)) = self.oldest.filter(|(oldest, _)| *oldest < stored.first) else {
            return stored;
        };
        let lacks = oldest > Seq::ZERO.next() && moment <= ts;
        StoredFrom {
            first: self.first.map_or(stored.first, |first| first.min(stored.first)),
            not_stored: lacks.then_some(ts),
        }
    }
}

/// Where an archive goes on with a topic. It is a hint, and means nothing to anybody else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bookmark(pub u64);

/// A part of a topic's messages that is wanted.
#[derive(Debug)]
pub struct WantedPart {
    /// The topic.
    pub cell: Arc<TopicCell>,
    /// The message before the first one.
    pub after: Seq,
    /// The last one. It has entered.
    pub last: Seq,
    /// That of the part before, if there is one.
    pub bookmark: Bookmark,
    /// The place for what is read.
    pub place: ArchivePlace,
}

impl WantedPart {
    /// The part, as it was read: `messages` in the order of their numbers, and no other up to `through`.
    #[must_use]
    pub fn found(self, mut messages: Vec<Numbered>, through: Seq, bookmark: Bookmark) -> ArchivedPart {
        let mut newest = self.after;
        messages.retain(|message| {
            let is_next = message.seq > newest && message.seq <= self.last;
            newest = if is_next { message.seq } else { newest };
            is_next
        });
        // Each part takes its reader on.
        let through = if messages.is_empty() {
            self.last
        } else {
            through.clamp(newest, self.last)
        };
        let messages: VecDeque<_> = self.cell.archived(messages).into();
        let bytes = messages.iter().map(|message| message.data_bytes()).sum();
        let mut place = self.place;
        place.holds(bytes);
        ArchivedPart {
            after: self.after,
            messages,
            through,
            bookmark,
            _place: place,
        }
    }
}

/// A part of a topic's messages that was read.
#[derive(Debug)]
pub struct ArchivedPart {
    after: Seq,
    messages: VecDeque<Arc<Publication>>,
    through: Seq,
    bookmark: Bookmark,
    _place: ArchivePlace,
}

/// What comes next in a part.
#[derive(Debug)]
pub enum ArchivedNext {
    /// A message. If its number is not the next, those before it are not stored.
    Message(Arc<Publication>),
    /// Messages up to this number are not stored.
    Missing(Seq),
    /// Nothing: the part is used up.
    End,
}

impl ArchivedPart {
    /// The last message that was taken, or the one before the first.
    #[must_use]
    pub fn after(&self) -> Seq {
        self.after
    }

    /// The last message of which the part says something.
    #[must_use]
    pub fn through(&self) -> Seq {
        self.through
    }

    /// Where the archive goes on behind it.
    #[must_use]
    pub fn bookmark(&self) -> Bookmark {
        self.bookmark
    }

    /// The number of messages that are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.messages.len()
    }

    /// The next message, which stays.
    #[must_use]
    pub fn peek(&self) -> Option<&Arc<Publication>> {
        self.messages.front()
    }

    /// Takes what comes next.
    pub fn take(&mut self) -> ArchivedNext {
        if let Some(next) = self.messages.pop_front() {
            self.after = next.seq;
            return ArchivedNext::Message(next);
        }
        if self.after < self.through {
            self.after = self.through;
            return ArchivedNext::Missing(self.through);
        }
        ArchivedNext::End
    }
}

/// A place in the account of what was read from an archive.
#[derive(Debug)]
pub struct ArchivePlace {
    memory: Arc<Memory>,
    bytes: usize,
}

impl ArchivePlace {
    /// A place for one part, if there is room for it.
    pub(crate) fn take(memory: &Arc<Memory>) -> Option<Self> {
        memory.archived.change(0, PLACE_BYTES);
        let place = Self {
            memory: memory.clone(),
            bytes: PLACE_BYTES,
        };
        (!memory.archived.is_over()).then_some(place)
    }

    fn holds(&mut self, bytes: usize) {
        self.memory.archived.change(self.bytes, bytes);
        self.bytes = bytes;
    }
}

impl Drop for ArchivePlace {
    fn drop(&mut self) {
        self.memory.archived.change(self.bytes, 0);
    }
}
