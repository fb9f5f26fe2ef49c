//! The messages of a broker as items of a log, and back.

use tickwire_lane::{Content, Item, KeptKey};
use tickwire_router::{KnownKey, Numbered};
use tickwire_wire::{Kind, Payload, Refusal, market};

/// A message of the log as it enters.
pub(super) fn numbered(item: &Item<'_>) -> Result<Numbered, Refusal> {
    let payload = match item.content {
        Content::Data(text) => Payload::from_json(text)?,
        Content::Change(text) => Payload::Book(Box::new(book(text)?)),
        Content::Whole(text) => Payload::Book(Box::new(market::Book {
            replace: true,
            ..book(text)?
        })),
        Content::End(_) => return Err(Refusal::bad_request("an end is no message")),
    };
    Ok(Numbered {
        after: item.after,
        seq: item.seq,
        ts: item.ts,
        payload,
        doubt: item.doubt,
    })
}

pub(super) fn book(text: &[u8]) -> Result<market::Book, Refusal> {
    serde_json::from_slice(text).map_err(|error| Refusal::bad_request(format!("not a book message: {error}")))
}

/// The keys that are taken from a directory together.
pub(super) const KEYS_AT_ONCE: usize = 1_024;

/// A key of the log as a directory has it.
pub(super) fn known_key(kept: &KeptKey<'_>) -> Result<KnownKey, Refusal> {
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
pub(super) fn kept_key(known: &KnownKey) -> KeptKey<'_> {
    KeptKey {
        topic: known.topic.as_str(),
        key: known.key.as_str(),
        epoch: known.epoch.clone(),
        seq: known.seq,
        kind: known.kind,
        at: known.at,
    }
}

/// What a log holds of a kind's message.
pub(super) fn content(kind: Kind, text: &[u8]) -> Content<'_> {
    match kind {
        Kind::Book => Content::Change(text),
        Kind::State | Kind::Event => Content::Data(text),
    }
}
