//! The positions in topics that clients say they have reached, and what they have missed from there on.

use rustc_hash::FxHashMap;
use tickwire_wire::Seq;
use tickwire_wire::message::GapReason;

use crate::publication::TopicId;

/// The position in a topic that a client says it has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftAt {
    /// This message of the topic's lineage.
    Message(Seq),
    /// A position in another lineage.
    Elsewhere,
}

/// The content of the `gap` of a topic that was not resumed: the messages from `from` up to where its subscription
/// began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) from: Seq,
    pub(crate) reason: GapReason,
}

impl Missed {
    /// Messages after `since` are missing because the history no longer has all of them.
    pub(crate) const fn since(since: Seq) -> Self {
        Self {
            from: since.next(),
            reason: GapReason::History,
        }
    }
}

/// The positions that a client says it has reached, by topic. Only topics that exist are in it.
pub(crate) type Places = FxHashMap<TopicId, LeftAt>;

/// The bytes that positions hold. The table has a byte for each place beside it.
pub(crate) fn memory_bytes(places: &Places) -> usize {
    places.capacity() * (size_of::<(TopicId, LeftAt)>() + 1)
}
