//! The messages of a broker as items of a log, and back.

use tickwire_lane::{Content, Item, ItemMark, KeptKey};
use tickwire_router::{FeedMark, KnownKey, WrittenMessage, WrittenText};
use tickwire_wire::{Kind, Refusal};

/// A message of a log. `None` for an end, and for a gap.
pub(crate) fn written<'a>(item: &Item<'a>) -> Option<WrittenMessage<'a>> {
    let text = match item.content {
        Content::Data(text) => WrittenText::Data(text),
        Content::Change(text) => WrittenText::Change(text),
        Content::Whole(text) => WrittenText::Whole(text),
        Content::End(_) | Content::Gap(_) => return None,
    };
    Some(WrittenMessage {
        after: item.after,
        seq: item.seq,
        ts: item.ts,
        doubt: item.doubt,
        text,
    })
}

/// The keys that are taken from a directory together.
pub(crate) const KEYS_AT_ONCE: usize = 1_024;

/// A key of the log as a directory has it.
pub(crate) fn known_key(kept: &KeptKey<'_>) -> Result<KnownKey, Refusal> {
    Ok(KnownKey {
        topic: kept.topic.parse()?,
        key: kept.key.parse()?,
        epoch: kept.epoch.clone(),
        seq: kept.seq,
        kind: kept.kind,
        at: kept.at,
    })
}

/// A directory's key as a log has it.
pub(crate) fn kept_key(known: &KnownKey) -> KeptKey<'_> {
    KeptKey {
        topic: known.topic.as_str(),
        key: known.key.as_str(),
        epoch: known.epoch.clone(),
        seq: known.seq,
        kind: known.kind,
        at: known.at,
    }
}

/// The place of a message in a feed as a log has it.
pub(crate) fn item_mark(FeedMark { feed, number }: FeedMark) -> ItemMark {
    ItemMark { feed, number }
}

/// The place in a feed of a log's message.
pub(crate) fn feed_mark(ItemMark { feed, number }: ItemMark) -> FeedMark {
    FeedMark { feed, number }
}

/// What a log holds of a kind's message.
pub(crate) fn content(kind: Kind, text: &[u8]) -> Content<'_> {
    match kind {
        Kind::Book => Content::Change(text),
        Kind::State | Kind::Event => Content::Data(text),
    }
}
