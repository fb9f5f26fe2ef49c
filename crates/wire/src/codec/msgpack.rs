//! MessagePack: maps with the names of the JSON messages, and arrays for the two data messages.

use rmp_serde::config::DefaultConfig;
use rmp_serde::decode::ReadReader;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::request::{self, RawRequest};
use super::{BadMessage, DataOp, Stamp};
use crate::error::Refusal;
use crate::ids::{Epoch, Micros, Seq};
use crate::limits::NESTING_MAX;
use crate::message::{BadRequest, ClientMessage, Control, Payload, ServerMessage};

/// Appends `value` as MessagePack, structs as maps.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, and all lengths are known.
    value
        .serialize(&mut rmp_serde::Serializer::new(out).with_struct_map())
        .expect("messages serialise");
}

/// Appends valid JSON `text` as MessagePack.
pub(super) fn transcode(text: &[u8], out: &mut Vec<u8>) {
    // A payload's text was read as a value when it came in.
    let value: Value = serde_json::from_slice(text).expect("a payload is valid JSON");
    write(&value, out);
}

/// Reads exactly one value.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut input = bytes;
    let mut decoder: rmp_serde::Deserializer<ReadReader<&mut &[u8]>, DefaultConfig> =
        rmp_serde::Deserializer::new(&mut input);
    decoder.set_max_depth(NESTING_MAX);
    let value = T::deserialize(&mut decoder)?;
    drop(decoder);
    if input.is_empty() {
        Ok(value)
    } else {
        Err(rmp_serde::decode::Error::Uncategorized(format!(
            "{} bytes after the message",
            input.len()
        )))
    }
}

pub(super) fn decode_request(bytes: &[u8]) -> Result<ClientMessage, BadRequest> {
    // Arrays would be taken for structs field by field: a request is a map.
    if !matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf)) {
        return Err(BadRequest {
            id: None,
            refusal: Refusal::bad_request("a request is a MessagePack map"),
        });
    }
    match read::<RawRequest<Value>>(bytes) {
        Ok(raw) => request::from_raw(raw, |value| {
            let mut text = Vec::new();
            super::json::write(&value, &mut text);
            Ok(Payload::Json(text.into()))
        }),
        Err(error) => Err(request::unreadable(read(bytes).ok(), &error)),
    }
}

pub(super) fn encode_data(op: DataOp, stamp: Stamp<'_>, payload: &Payload, out: &mut Vec<u8>) {
    head(op, stamp, out).expect("writing to memory cannot fail");
    payload.write_msgpack(out);
}

/// Appends everything of a data message but its data.
fn head(
    op: DataOp,
    stamp: Stamp<'_>,
    out: &mut Vec<u8>,
) -> Result<(), rmp::encode::ValueWriteError<std::io::Error>> {
    match op {
        DataOp::Update => {
            rmp::encode::write_array_len(out, 5)?;
            rmp::encode::write_uint(out, 0)?;
            rmp::encode::write_str(out, stamp.topic)?;
        }
        DataOp::Snapshot => {
            rmp::encode::write_array_len(out, 6)?;
            rmp::encode::write_uint(out, 1)?;
            rmp::encode::write_str(out, stamp.topic)?;
            rmp::encode::write_str(out, stamp.epoch.as_str())?;
        }
    }
    rmp::encode::write_uint(out, stamp.seq.0)?;
    rmp::encode::write_uint(out, stamp.ts.0)?;
    Ok(())
}

pub(super) fn decode_server(bytes: &[u8]) -> Result<ServerMessage, BadMessage> {
    let bad = |e: rmp_serde::decode::Error| BadMessage(e.to_string());
    let raw = |value: &Value| serde_json::value::to_raw_value(value).map_err(|e| BadMessage(e.to_string()));
    match bytes.first() {
        Some(0x95) => {
            let (_, topic, seq, ts, data): (u8, String, Seq, Micros, Value) = read(bytes).map_err(bad)?;
            let data: Box<RawValue> = raw(&data)?;
            Ok(ServerMessage::Update { topic, seq, ts, data })
        }
        Some(0x96) => {
            let (_, topic, epoch, seq, ts, data): (u8, String, Epoch, Seq, Micros, Value) =
                read(bytes).map_err(bad)?;
            let data = raw(&data)?;
            Ok(ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                ts,
                data,
            })
        }
        _ => {
            #[derive(Deserialize)]
            struct Head {
                op: String,
            }
            let head: Head = read(bytes).map_err(bad)?;
            if request::is_control_op(&head.op) {
                read::<Control>(bytes).map(ServerMessage::Control).map_err(bad)
            } else {
                Ok(ServerMessage::Unknown(head.op))
            }
        }
    }
}
