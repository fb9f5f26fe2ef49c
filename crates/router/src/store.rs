//! The interface of the place where the messages of a topic are kept to be read again.
//!
//! A reader first asks what is kept, and gets the answer at once. The histories in memory are the only store. Messages
//! that they have dropped are kept nowhere else, and a reader that needs them is told that they are gone.

use std::sync::Arc;

use tickwire_wire::Seq;

use crate::publication::Publication;

/// Which messages after some number a store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// All of them.
    All,
    /// Those from this number on. Earlier ones are gone.
    From(Seq),
}

/// The messages of one topic, to be read again.
pub(crate) trait Store {
    /// Which messages after `after` are kept, if `head` is the newest number of the topic.
    fn kept(&self, after: Seq, head: Seq) -> Kept;

    /// The kept messages after `after`, oldest first.
    fn read(&self, after: Seq) -> impl ExactSizeIterator<Item = &Arc<Publication>>;
}
