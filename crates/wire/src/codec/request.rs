//! Requests between bytes and [`ClientMessage`]: what both codecs share.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields::{Identity, RawRequest};
use super::{Codec, json, msgpack};
use crate::error::{ErrorCode, Refusal};
use crate::message::{
    BadRequest, ClientMessage, Mode, Payload, Positions, RequestId, Since, Subscribe, TopicRequest,
};

/// Longest reason taken from a decoder; a longer one is cut.
const REASON_BYTES_MAX: usize = 240;

/// The answer to bytes that are no request because of `error`.
pub(super) fn unreadable(identity: Option<Identity>, error: &dyn fmt::Display) -> BadRequest {
    let mut reason = error.to_string();
    if reason.len() > REASON_BYTES_MAX {
        // The decoders repeat the offending value whole.
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        reason.push('…');
    }
    BadRequest {
        id: identity.and_then(|i| i.id),
        refusal: Refusal::bad_request(reason),
    }
}

/// The request that `raw` is; `payload` turns the codec's raw data into a payload.
pub(super) fn from_raw<D>(
    raw: RawRequest<D>,
    payload: impl FnOnce(D) -> Result<Payload, Refusal>,
) -> Result<ClientMessage, BadRequest> {
    let id = raw.id;
    let refuse = |refusal| BadRequest { id, refusal };
    let Some(op) = raw.op else {
        return Err(refuse(Refusal::bad_request("a request needs a field \"op\"")));
    };
    let missing = |name: &str| refuse(Refusal::bad_request(format!("{op} needs a field {name:?}")));
    match op.as_str() {
        "subscribe" => Ok(ClientMessage::Subscribe(Subscribe {
            id: id.ok_or_else(|| missing("id"))?,
            topics: raw.topics.ok_or_else(|| missing("topics"))?,
            mode: raw.mode,
            conflate_ms: raw.conflate_ms,
            snapshot: raw.snapshot.unwrap_or(true),
        })),
        "positions" => Ok(ClientMessage::Positions {
            id: id.ok_or_else(|| missing("id"))?,
            since: match raw.since.ok_or_else(|| missing("since"))? {
                Since::Many(since) => since,
                Since::One(_) => return Err(missing("seqs")),
            },
        }),
        "unsubscribe" => Ok(ClientMessage::Unsubscribe {
            id: id.ok_or_else(|| missing("id"))?,
            topics: raw
                .topics
                .ok_or_else(|| missing("topics"))?
                .into_iter()
                .map(TopicRequest::into_topic)
                .collect(),
        }),
        "publish" => Ok(ClientMessage::Publish {
            id,
            topic: raw.topic.ok_or_else(|| missing("topic"))?,
            data: payload(raw.data.ok_or_else(|| missing("data"))?).map_err(refuse)?,
        }),
        "resync" => Ok(ClientMessage::Resync {
            id: id.ok_or_else(|| missing("id"))?,
            topic: raw.topic.ok_or_else(|| missing("topic"))?,
        }),
        "auth" => Ok(ClientMessage::Auth {
            id: id.ok_or_else(|| missing("id"))?,
            token: raw.token.ok_or_else(|| missing("token"))?.into(),
        }),
        "ping" => Ok(ClientMessage::Ping {
            id: id.ok_or_else(|| missing("id"))?,
        }),
        _ => {
            // Cut where it is written: what has to be escaped is up to ten times as long.
            let shown: String = op.escape_debug().take(40).collect();
            let reason = format!(
                "unknown op \"{shown}\"; known are subscribe, positions, unsubscribe, publish, resync, auth, ping"
            );
            Err(refuse(Refusal::new(ErrorCode::UnknownOp, reason)))
        }
    }
}

/// A request to be written; the data comes separately, in the codec's own form.
#[derive(Serialize)]
struct Outgoing<'a, D> {
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topics: Option<&'a [TopicRequest]>,
    #[serde(rename = "topics", skip_serializing_if = "Option::is_none")]
    names: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<&'a [Positions]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflate_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<D>,
}

pub(super) fn encode(codec: Codec, message: &ClientMessage, out: &mut Vec<u8>) {
    let text = match message {
        ClientMessage::Publish { data, .. } => {
            let mut text = Vec::new();
            data.write_json(&mut text);
            Some(text)
        }
        _ => None,
    };
    let text = text.as_deref();
    match codec {
        // As it is: a number that no type of Rust holds stays what it was.
        Codec::Json => json::write(&outgoing::<&RawValue>(message, text.map(read)), out),
        Codec::MessagePack => msgpack::write(&outgoing::<serde_json::Value>(message, text.map(read)), out),
    }
}

/// The JSON of a payload, which is valid.
fn read<'t, T: Deserialize<'t>>(text: &'t [u8]) -> T {
    serde_json::from_slice(text).expect("a payload is valid JSON")
}

fn outgoing<D>(message: &ClientMessage, data: Option<D>) -> Outgoing<'_, D> {
    let nothing = Outgoing {
        op: "",
        id: None,
        topics: None,
        names: None,
        since: None,
        topic: None,
        mode: None,
        conflate_ms: None,
        snapshot: None,
        token: None,
        data,
    };
    match message {
        ClientMessage::Subscribe(subscribe) => Outgoing {
            op: "subscribe",
            id: Some(subscribe.id),
            topics: Some(&subscribe.topics),
            mode: subscribe.mode,
            conflate_ms: subscribe.conflate_ms,
            snapshot: (!subscribe.snapshot).then_some(false),
            ..nothing
        },
        ClientMessage::Positions { id, since } => Outgoing {
            op: "positions",
            id: Some(*id),
            since: Some(since),
            ..nothing
        },
        ClientMessage::Unsubscribe { id, topics } => Outgoing {
            op: "unsubscribe",
            id: Some(*id),
            names: Some(topics),
            ..nothing
        },
        ClientMessage::Publish { id, topic, .. } => Outgoing {
            op: "publish",
            id: *id,
            topic: Some(topic),
            ..nothing
        },
        ClientMessage::Resync { id, topic } => Outgoing {
            op: "resync",
            id: Some(*id),
            topic: Some(topic),
            ..nothing
        },
        ClientMessage::Auth { id, token } => Outgoing {
            op: "auth",
            id: Some(*id),
            token: Some(token.expose()),
            ..nothing
        },
        ClientMessage::Ping { id } => Outgoing {
            op: "ping",
            id: Some(*id),
            ..nothing
        },
    }
}

/// Whether `op` is one of [`crate::message::Control`]'s.
pub(super) fn is_control_op(op: &str) -> bool {
    matches!(
        op,
        "welcome" | "ack" | "synced" | "joined" | "gap" | "status" | "heartbeat" | "pong" | "drain" | "error"
    )
}
