//! JSON, read by serde_json and, for the data messages, written by hand around the payload's own text.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields::{self, RawRequest};
use super::{BadMessage, DataOp, Stamp, request};
use crate::error::Refusal;
use crate::ids::{Epoch, Micros, Seq};
use crate::limits::NESTING_MAX;
use crate::message::{BadRequest, ClientMessage, Control, Payload, ServerMessage};

/// Appends `value` as JSON.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, and no type of this crate has a map key that is not a string.
    serde_json::to_writer(out, value).expect("messages serialise");
}

/// Whether no array or map of `text` is nested deeper than [`NESTING_MAX`]. Text that is not JSON may pass.
///
/// ```
/// assert!(tickwire_wire::codec::nesting_fits(br#"[["[[[[[["]]"#));
/// assert!(!tickwire_wire::codec::nesting_fits("[".repeat(65).as_bytes()));
/// ```
#[must_use]
pub fn nesting_fits(text: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > NESTING_MAX {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// The payload that `value` is, with everything checked that another codec's encoder relies on.
pub(super) fn checked_payload(value: &RawValue) -> Result<Payload, Refusal> {
    // Raw text is only skimmed for its end: numbers out of range and lone surrogates show when it is read in full.
    serde_json::from_str::<serde_json::Value>(value.get())
        .map_err(|e| Refusal::bad_request(format!("data is not usable JSON: {e}")))?;
    Ok(Payload::Json(Bytes::copy_from_slice(value.get().as_bytes())))
}

pub(super) fn decode_request(bytes: &[u8]) -> Result<ClientMessage, BadRequest> {
    if !nesting_fits(bytes) {
        let refusal = Refusal::bad_request(format!("the request is nested deeper than {NESTING_MAX}"));
        return Err(BadRequest { id: None, refusal });
    }
    match serde_json::from_slice::<RawRequest<&RawValue>>(bytes) {
        Ok(raw) => request::from_raw(raw, checked_payload),
        Err(error) => Err(request::unreadable(serde_json::from_slice(bytes).ok(), &error)),
    }
}

pub(super) fn encode_data(op: DataOp, stamp: Stamp<'_>, payload: &Payload, out: &mut Vec<u8>) {
    let mut number = itoa::Buffer::new();
    // Topics and epochs hold no character that JSON escapes.
    match op {
        DataOp::Update => {
            out.extend_from_slice(br#"{"op":"update","topic":""#);
            out.extend_from_slice(stamp.topic.as_bytes());
        }
        DataOp::Snapshot => {
            out.extend_from_slice(br#"{"op":"snapshot","topic":""#);
            out.extend_from_slice(stamp.topic.as_bytes());
            out.extend_from_slice(br#"","epoch":""#);
            out.extend_from_slice(stamp.epoch.as_str().as_bytes());
        }
    }
    out.extend_from_slice(br#"","seq":"#);
    out.extend_from_slice(number.format(stamp.seq.0).as_bytes());
    out.extend_from_slice(br#","ts":"#);
    out.extend_from_slice(number.format(stamp.ts.0).as_bytes());
    out.extend_from_slice(br#","data":"#);
    payload.write_json(out);
    out.push(b'}');
}

pub(super) fn decode_server(bytes: &[u8]) -> Result<ServerMessage, BadMessage> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        op: std::borrow::Cow<'a, str>,
        topic: Option<String>,
        epoch: Option<Epoch>,
        seq: Option<Seq>,
        ts: Option<Micros>,
        #[serde(borrow, default, deserialize_with = "fields::present")]
        data: Option<&'a RawValue>,
    }
    let bad = |e: serde_json::Error| BadMessage(e.to_string());
    let head: Head<'_> = serde_json::from_slice(bytes).map_err(bad)?;
    match &*head.op {
        op @ ("snapshot" | "update") => {
            let missing = |name: &str| BadMessage(format!("{op} without {name}"));
            let topic = head.topic.ok_or_else(|| missing("topic"))?;
            let seq = head.seq.ok_or_else(|| missing("seq"))?;
            let ts = head.ts.ok_or_else(|| missing("ts"))?;
            let data = head.data.ok_or_else(|| missing("data"))?.to_owned();
            if op == "update" {
                return Ok(ServerMessage::Update { topic, seq, ts, data });
            }
            let epoch = head.epoch.ok_or_else(|| missing("epoch"))?;
            Ok(ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                ts,
                data,
            })
        }
        op if request::is_control_op(op) => serde_json::from_slice::<Control>(bytes)
            .map(ServerMessage::Control)
            .map_err(bad),
        op => Ok(ServerMessage::Unknown(op.to_owned())),
    }
}
