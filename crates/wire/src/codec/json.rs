//! JSON. It is read by serde_json. Data messages are written by hand around the payload's own text.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields::{self, RawRequest};
use super::later::Status;
use super::{BadMessage, DataOp, Stamp, request};
use crate::ids::{Epoch, Micros, Seq};
use crate::message::{BadRequest, ClientMessage, Control, Payload, PublishKey, RequestId, ServerMessage};

/// Appends `value` as JSON.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, and no type of this crate has a map key that is not a string.
    serde_json::to_writer(out, value).expect("messages serialise");
}

/// Appends a `publish`.
pub(super) fn encode_publish(
    id: Option<RequestId>,
    topic: &str,
    data: &Payload,
    (key, ts): (Option<&PublishKey>, Option<Micros>),
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(br#"{"op":"publish""#);
    if let Some(id) = id {
        out.extend_from_slice(br#","id":"#);
        out.extend_from_slice(itoa::Buffer::new().format(id.0).as_bytes());
    }
    out.extend_from_slice(br#","topic":"#);
    write(topic, out);
    out.extend_from_slice(br#","data":"#);
    data.write_json(out);
    if let Some(key) = key {
        out.extend_from_slice(br#","key":"#);
        write(key.as_str(), out);
    }
    if let Some(ts) = ts {
        out.extend_from_slice(br#","ts":"#);
        out.extend_from_slice(itoa::Buffer::new().format(ts.0).as_bytes());
    }
    out.push(b'}');
}

pub(super) fn decode_request(bytes: &[u8]) -> Result<ClientMessage, BadRequest> {
    match serde_json::from_slice::<RawRequest<&RawValue>>(bytes) {
        // The reader of raw text only looks for its end.
        Ok(raw) => request::from_raw(raw, |data| Payload::from_json(data.get().as_bytes())),
        Err(error) => Err(request::unreadable(serde_json::from_slice(bytes).ok(), &error)),
    }
}

pub(super) fn encode_data(op: DataOp, stamp: Stamp<'_>, payload: &Payload, out: &mut Vec<u8>) {
    let mut number = itoa::Buffer::new();
    // Topics and epochs hold no characters that JSON escapes.
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
        "status" => serde_json::from_slice::<Status>(bytes)
            .map(Status::known)
            .map_err(bad),
        op if request::is_control_op(op) => serde_json::from_slice::<Control>(bytes)
            .map(ServerMessage::Control)
            .map_err(bad),
        op => Ok(ServerMessage::Unknown(op.to_owned())),
    }
}
