//! MessagePack: maps with the names of the JSON messages, and arrays for the two data messages.

mod check;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::check::check;
use super::fields::RawRequest;
use super::{BadMessage, DataOp, Stamp, request};
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

/// Reads a value that [`check::check`] let pass; of others only an identity, which reserves no memory.
fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    // One level more than is ever let pass: the decoder refuses when none is left.
    decoder.set_max_depth(NESTING_MAX + 2);
    T::deserialize(&mut decoder)
}

pub(super) fn decode_request(bytes: &[u8]) -> Result<ClientMessage, BadRequest> {
    if !matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf)) {
        let refusal = Refusal::bad_request("a request is a MessagePack map");
        return Err(BadRequest { id: None, refusal });
    }
    if let Err(malformed) = check(bytes, NESTING_MAX) {
        return Err(request::unreadable(read(bytes).ok(), &malformed));
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
    // A data message is one level around a payload that may be as deep as any.
    check(bytes, NESTING_MAX + 1).map_err(|malformed| BadMessage(malformed.to_string()))?;
    match bytes {
        [0x95, 0, ..] => {
            let (_, topic, seq, ts, data): (u8, String, Seq, Micros, Value) = read(bytes).map_err(bad)?;
            let data = raw(&data)?;
            Ok(ServerMessage::Update { topic, seq, ts, data })
        }
        [0x96, 1, ..] => {
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
        [0x90..=0x9f | 0xdc | 0xdd, ..] => Err(BadMessage(
            "an array that is neither an update nor a snapshot".to_owned(),
        )),
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
