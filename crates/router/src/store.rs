//! Where the messages of a topic are kept to be read again.
//!
//! A reader asks first what is kept, and gets the answer at once. The histories in memory are the only store. What they have dropped is
//! kept nowhere else, and a reader that needs it is told that it is gone.

use std::sync::Arc;

use tickwire_wire::Seq;

use crate::publication::Publication;

/// What a store keeps of a topic's messages after some number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// All of them.
    All,
    /// Those from this number on. The ones before are gone.
    From(Seq),
}

/// The messages of one topic, to be read again.
pub(crate) trait Store {
    /// What is kept of the messages after `after`, given that `head` is the newest number of the topic.
    fn kept(&self, after: Seq, head: Seq) -> Kept;

    /// The messages after `after` that are kept, oldest first.
    fn read(&self, after: Seq) -> impl ExactSizeIterator<Item = &Arc<Publication>>;
}
