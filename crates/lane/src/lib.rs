//! A log of published messages, as bytes: what is written of them, and what is read from it again.
//!
//! A log is a row of *entries*. Each has the messages of about a millisecond with their numbers, and the hash of the entry
//! before it, so that no entry can be lost, doubled or replaced without being noticed. A [`Writer`] makes entries, and a
//! [`Follower`] says of what it reads whether it is the next. A *checkpoint* is the state of all topics at one place of
//! the log. A *segment* is a part of the log in a file, and an *index* says where a segment has the messages of each topic. A
//! *recording* has segments as compressed blocks.
//!
//! The crate never uses a file, a socket, a clock or a thread: bytes come in and go out. What it reads may be damaged or
//! foreign. Then it gives an error, and never takes more memory than a few times the bytes that it was given.

mod block;
mod bytes;
mod checkpoint;
mod entry;
mod follower;
mod frame;
mod index;
mod message;
pub mod names;
pub mod node;
mod segment;
mod writer;

pub use block::{BLOCK_BYTES_MAX, BlockError, BlockPart, BlockReader, put_block};
pub use bytes::Malformed;
pub use checkpoint::{
    Checkpoint, CheckpointError, CheckpointHead, CheckpointPart, CheckpointWriter, EndedCount, KeptKey,
    TopicState,
};
pub use entry::{Declaration, Entry, EntryFlags, EntryItems, TopicNumber};
pub use follower::{FollowError, Follower, LifeNumber, Start, Verdict};
pub use frame::{FRAME_BYTES_MAX, FrameError, first_frame, frame_length, next_frame};
pub use index::{
    BLOCK_BYTES, BlockRef, INDEX_HEAD_BYTES_MAX, IndexBuilder, IndexHead, IndexPart, SegmentIdentity,
    TopicIndex, read_topic,
};
pub use message::{Content, Item, ItemKey, ItemMark};
pub use segment::{Part, SegmentHead, SegmentReader};
pub use writer::{TopicKey, Writer};

/// The number of an entry in its log. The first entry of a log has 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The hash of an entry: XXH3 with 64 bits over all its bytes. The next entry has it. Before the first entry it is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Chain(pub u64);

impl Chain {
    /// The hash of an entry.
    #[must_use]
    pub fn of(entry: &[u8]) -> Self {
        Self(twox_hash::XxHash3_64::oneshot(entry))
    }
}

/// A place in a log: behind the entry `position`, whose hash is `chain`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The number of the last entry before it; 0 at the beginning of the log.
    pub position: Position,
    /// The hash of that entry.
    pub chain: Chain,
}

#[cfg(test)]
mod tests;
