//! MessagePack: maps with the field names of the JSON messages, and arrays for the two data messages.

pub(super) mod publish;
mod reader;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::reader::{Packed, read, read_first};
use super::fields::RawRequest;
use super::later::Status;
use super::{BadMessage, DataOp, Stamp, request};
use crate::error::Refusal;
use crate::ids::{Epoch, Micros, Seq};
use crate::json_text::JsonText;
use crate::message::{BadRequest, ClientMessage, Control, Payload, PublishKey, RequestId, ServerMessage};
use crate::msgpack::value::PackedSlice;
use crate::msgpack::write::{self, Head};

/// Appends `value` as MessagePack, with structs as maps.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, and all lengths are known.
    value
        .serialize(&mut rmp_serde::Serializer::new(out).with_struct_map())
        .expect("messages serialise");
}

/// Appends a `publish`.
pub(super) fn encode_publish(
    id: Option<RequestId>,
    topic: &str,
    data: &Payload,
    (key, ts): (Option<&PublishKey>, Option<Micros>),
    out: &mut Vec<u8>,
) {
    let extras = [id.is_some(), key.is_some(), ts.is_some()].map(u32::from);
    Head::Map(3 + extras.iter().sum::<u32>()).write(out);
    write::string("op", out);
    write::string("publish", out);
    if let Some(id) = id {
        write::string("id", out);
        write::unsigned(id.0, out);
    }
    write::string("topic", out);
    write::string(topic, out);
    write::string("data", out);
    data.write_msgpack(out);
    if let Some(key) = key {
        write::string("key", out);
        write::string(key.as_str(), out);
    }
    if let Some(ts) = ts {
        write::string("ts", out);
        write::unsigned(ts.0, out);
    }
}

pub(super) fn decode_request(bytes: &[u8]) -> Result<ClientMessage, BadRequest> {
    if !matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf)) {
        let refusal = Refusal::bad_request("a request is a MessagePack map");
        return Err(BadRequest { id: None, refusal });
    }
    match read::<RawRequest<Packed<'_>>>(bytes) {
        Ok(raw) => request::from_raw(raw, |Packed(data)| {
            Ok(Payload::Packed(PackedSlice::parse(data)?.to_value()))
        }),
        Err(error) => Err(request::unreadable(read_first(bytes).ok(), &error)),
    }
}

/// Appends a data message. Topics and epochs are short, and the payload is written by its own function.
pub(super) fn encode_data(op: DataOp, stamp: Stamp<'_>, payload: &Payload, out: &mut Vec<u8>) {
    match op {
        DataOp::Update => {
            Head::Array(5).write(out);
            write::unsigned(0, out);
            write::string(stamp.topic, out);
        }
        DataOp::Snapshot => {
            Head::Array(6).write(out);
            write::unsigned(1, out);
            write::string(stamp.topic, out);
            write::string(stamp.epoch.as_str(), out);
        }
    }
    write::unsigned(stamp.seq.0, out);
    write::unsigned(stamp.ts.0, out);
    payload.write_msgpack(out);
}

pub(super) fn decode_server(bytes: &[u8]) -> Result<ServerMessage, BadMessage> {
    let bad = |error: &dyn std::fmt::Display| BadMessage(error.to_string());
    match bytes {
        [0x95, 0, ..] => {
            let (_, topic, seq, ts, data): (u8, String, Seq, Micros, Packed<'_>) =
                read(bytes).map_err(|error| bad(&error))?;
            let data = raw(&data)?;
            Ok(ServerMessage::Update { topic, seq, ts, data })
        }
        [0x96, 1, ..] => {
            let (_, topic, epoch, seq, ts, data): (u8, String, Epoch, Seq, Micros, Packed<'_>) =
                read(bytes).map_err(|error| bad(&error))?;
            let data = raw(&data)?;
            Ok(ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                ts,
                data,
            })
        }
        [0x90..=0x9f | 0xdc | 0xdd, ..] => Err(BadMessage(
            "an array that is neither an update nor a snapshot".to_owned(),
        )),
        _ => {
            #[derive(Deserialize)]
            struct Head {
                op: String,
            }
            let head: Head = read(bytes).map_err(|error| bad(&error))?;
            if head.op == "status" {
                read::<Status>(bytes)
                    .map(Status::known)
                    .map_err(|error| bad(&error))
            } else if request::is_control_op(&head.op) {
                read::<Control>(bytes)
                    .map(ServerMessage::Control)
                    .map_err(|error| bad(&error))
            } else {
                Ok(ServerMessage::Unknown(head.op))
            }
        }
    }
}

/// Data as JSON, the form that clients are given.
fn raw(Packed(data): &Packed<'_>) -> Result<Box<RawValue>, BadMessage> {
    let text = JsonText::from_msgpack(data).map_err(|error| BadMessage(format!("data: {error}")))?;
    RawValue::from_string(text.into_string()).map_err(|error| BadMessage(format!("data: {error}")))
}
