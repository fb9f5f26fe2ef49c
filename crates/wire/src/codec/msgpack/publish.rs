//! Reads a `publish` of MessagePack in the form that nearly all clients send: in one pass and without a copy.
//!
//! That form is a map with the fields `op`, `topic`, `data` and perhaps `id`, once each and in any order. Every other request
//! is left to the reader of all requests, which also says what is wrong with a bad one. What this reads, that one reads as
//! the same.

use crate::message::{ClientMessage, Payload, RequestId};
use crate::msgpack::read::{Input, PackedItem};
use crate::msgpack::value::PackedSlice;

/// A `publish` of MessagePack whose topic and data are lent from the bytes of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedPublish<'a> {
    /// The request's id, if it has one.
    pub id: Option<RequestId>,
    /// The topic, not validated.
    pub topic: &'a str,
    /// The data.
    pub data: PackedSlice<'a>,
}

impl From<PackedPublish<'_>> for ClientMessage {
    fn from(publish: PackedPublish<'_>) -> Self {
        Self::Publish {
            id: publish.id,
            topic: publish.topic.to_owned(),
            data: Payload::Packed(publish.data.to_value()),
            key: None,
            ts: None,
        }
    }
}

/// The publication in `bytes`, if they have the form that this reads.
pub(in crate::codec) fn read(bytes: &[u8]) -> Option<PackedPublish<'_>> {
    let mut input = Input::new(bytes);
    let PackedItem::Map(pairs) = input.item().ok()? else {
        return None;
    };
    let (mut has_op, mut id, mut topic, mut data) = (false, None, None, None);
    for _ in 0..pairs {
        match string(&mut input)? {
            b"op" if !has_op => {
                has_op = true;
                (string(&mut input)? == b"publish").then_some(())?;
            }
            b"id" if id.is_none() => {
                let PackedItem::Unsigned(number) = input.item().ok()? else {
                    return None;
                };
                id = Some(RequestId(number));
            }
            b"topic" if topic.is_none() => topic = Some(std::str::from_utf8(string(&mut input)?).ok()?),
            b"data" if data.is_none() => data = Some(PackedSlice::next_of(&mut input).ok()?),
            _ => return None,
        }
    }
    input.finish().ok()?;
    has_op.then_some(())?;
    Some(PackedPublish {
        id,
        topic: topic?,
        data: data?,
    })
}

fn string<'a>(input: &mut Input<'a>) -> Option<&'a [u8]> {
    match input.item().ok()? {
        PackedItem::String(bytes) => Some(bytes),
        _ => None,
    }
}
