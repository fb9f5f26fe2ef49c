//! Requests between bytes and [`ClientMessage`]: the part that both codecs share.

use std::fmt;

use serde::Serialize;

use super::fields::{Identity, RawRequest};
use super::{Codec, json, msgpack};
use crate::error::{ErrorCode, Refusal};
use crate::message::{
    BadRequest, ClientMessage, Mode, Payload, Positions, RequestId, Since, Subscribe, TopicRequest,
};

/// The longest reason that is taken from a decoder, in bytes. A longer one is cut.
const REASON_BYTES_MAX: usize = 240;

/// The answer to bytes that are no request because of `error`.
pub(super) fn unreadable(identity: Option<Identity>, error: &dyn fmt::Display) -> BadRequest {
    let mut reason = error.to_string();
    if reason.len() > REASON_BYTES_MAX {
        // The decoders repeat the whole offending value.
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        reason.push('…');
    }
    BadRequest {
        id: identity.and_then(|i| i.id),
        refusal: Refusal::bad_request(reason),
    }
}

/// The request in `raw`. `checked` makes a payload of the codec's raw data.
pub(super) fn from_raw<D>(
    raw: RawRequest<D>,
    checked: impl FnOnce(D) -> Result<Payload, Refusal>,
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
            data: checked(raw.data.ok_or_else(|| missing("data"))?).map_err(refuse)?,
            key: raw.key.map(|key| key.parse()).transpose().map_err(refuse)?,
            ts: raw.ts,
        }),
        "resync" => Ok(ClientMessage::Resync {
            id: id.ok_or_else(|| missing("id"))?,
            topic: raw.topic.ok_or_else(|| missing("topic"))?,
        }),
        "auth" => Ok(ClientMessage::Auth {
            id: id.ok_or_else(|| missing("id"))?,
            token: raw.token.ok_or_else(|| missing("token"))?.into(),
        }),
        "ping" => Ok(ClientMessage::Ping { id }),
        _ => {
            // The name is cut while it is escaped, since escaping makes it up to ten times as long.
            let shown: String = op.escape_debug().take(40).collect();
            let reason = format!(
                "unknown op \"{shown}\"; known are subscribe, positions, unsubscribe, publish, resync, auth, ping"
            );
            Err(refuse(Refusal::new(ErrorCode::UnknownOp, reason)))
        }
    }
}

/// A request to encode, other than a `publish`.
#[derive(Default, Serialize)]
struct Outgoing<'a> {
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
}

pub(super) fn encode(codec: Codec, message: &ClientMessage, out: &mut Vec<u8>) {
    let outgoing = match message {
        ClientMessage::Publish {
            id,
            topic,
            data,
            key,
            ts,
        } => {
            let extras = (key.as_ref(), *ts);
            return match codec {
                Codec::Json => json::encode_publish(*id, topic, data, extras, out),
                Codec::MessagePack => msgpack::encode_publish(*id, topic, data, extras, out),
            };
        }
        ClientMessage::Subscribe(subscribe) => Outgoing {
            op: "subscribe",
            id: Some(subscribe.id),
            topics: Some(&subscribe.topics),
            mode: subscribe.mode,
            conflate_ms: subscribe.conflate_ms,
            snapshot: (!subscribe.snapshot).then_some(false),
            ..Outgoing::default()
        },
        ClientMessage::Positions { id, since } => Outgoing {
            op: "positions",
            id: Some(*id),
            since: Some(since),
            ..Outgoing::default()
        },
        ClientMessage::Unsubscribe { id, topics } => Outgoing {
            op: "unsubscribe",
            id: Some(*id),
            names: Some(topics),
            ..Outgoing::default()
        },
        ClientMessage::Resync { id, topic } => Outgoing {
            op: "resync",
            id: Some(*id),
            topic: Some(topic),
            ..Outgoing::default()
        },
        ClientMessage::Auth { id, token } => Outgoing {
            op: "auth",
            id: Some(*id),
            token: Some(token.expose()),
            ..Outgoing::default()
        },
        ClientMessage::Ping { id } => Outgoing {
            op: "ping",
            id: *id,
            ..Outgoing::default()
        },
    };
    match codec {
        Codec::Json => json::write(&outgoing, out),
        Codec::MessagePack => msgpack::write(&outgoing, out),
    }
}

/// Whether `op` is one of the messages in [`crate::message::Control`].
pub(super) fn is_control_op(op: &str) -> bool {
    matches!(
        op,
        "welcome"
            | "ack"
            | "synced"
            | "joined"
            | "gap"
            | "end"
            | "status"
            | "heartbeat"
            | "pong"
            | "drain"
            | "error"
    )
}
