//! The messages of a broker as items of a log, and back.

use tickwire_lane::{Content, Item};
use tickwire_router::Numbered;
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

/// What a log holds of a kind's message.
pub(super) fn content(kind: Kind, text: &[u8]) -> Content<'_> {
    match kind {
        Kind::Book => Content::Change(text),
        Kind::State | Kind::Event => Content::Data(text),
    }
}
