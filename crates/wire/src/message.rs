//! The messages of PROTOCOL.md, both directions, as types.
//!
//! Requests hold topics as text: each topic is validated by itself, so that a bad one does not fail the others. Names
//! of fields are those of the wire. The codecs in [`crate::codec`] convert the messages to bytes and back.

mod entry;
mod key;
mod reasons;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::codec::later;
use crate::error::{ErrorCode, Refusal};
use crate::ids::{Epoch, Micros, Seq, whole_number};
use crate::json_text::JsonText;
use crate::market::{Bbo, Book, Candle, Ticker, Trade};
use crate::msgpack::value::PackedValue;
use crate::secret::Secret;
pub use entry::{Position, Positions, Since, TopicRequest};
pub use key::PublishKey;
pub use reasons::{EndReason, GapReason, StaleReason, TopicState};

/// The id of a request, an integer that the client chooses. The answer has the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(#[serde(deserialize_with = "whole_number")] pub u64);

/// How a topic's messages relate to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Only the newest message counts.
    State,
    /// Data is an L2 snapshot or a set of level changes; the broker keeps the book.
    Book,
    /// Every message counts.
    Event,
}

impl Kind {
    /// The kind on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Book => "book",
            Self::Event => "event",
        }
    }
}

/// Which of a topic's messages a subscriber gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Each message, in order.
    Every,
    /// The newest message always arrives; superseded ones may be skipped.
    Conflate,
    /// One snapshot without a subscription.
    Snapshot,
}

impl Mode {
    /// The mode on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Every => "every",
            Self::Conflate => "conflate",
            Self::Snapshot => "snapshot",
        }
    }

    /// The default mode of a subscription to a topic of `kind`.
    #[must_use]
    pub const fn default_for(kind: Kind) -> Self {
        match kind {
            Kind::State => Self::Conflate,
            Kind::Book | Kind::Event => Self::Every,
        }
    }
}

/// `subscribe`: topics, and what the client wants for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The request's id.
    pub id: RequestId,
    /// Topics and patterns, with positions to resume from.
    pub topics: Vec<TopicRequest>,
    /// The mode. `None` stands for the kind's default.
    pub mode: Option<Mode>,
    /// Shortest time between two updates of a topic, in milliseconds. With 0, messages are skipped only if the client
    /// is behind.
    pub conflate_ms: Option<u32>,
    /// Whether a snapshot is sent first.
    pub snapshot: bool,
}

/// A request from a client.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientMessage {
    /// Subscribe to topics.
    Subscribe(Subscribe),
    /// Say where the session's next `subscribe` resumes the topics of its patterns.
    Positions {
        /// The request's id.
        id: RequestId,
        /// The positions, by epoch.
        since: Vec<Positions>,
    },
    /// End subscriptions.
    Unsubscribe {
        /// The request's id.
        id: RequestId,
        /// Topics and patterns as they were subscribed.
        topics: Vec<String>,
    },
    /// Publish a message.
    Publish {
        /// The request's id, if an `ack` is wanted.
        id: Option<RequestId>,
        /// The topic, not validated.
        topic: String,
        /// The message.
        data: Payload,
        /// By which the broker knows the publication again if it is repeated.
        key: Option<PublishKey>,
        /// The message's time, where the rights allow to set it.
        ts: Option<Micros>,
    },
    /// Send a fresh snapshot of a subscribed topic.
    Resync {
        /// The request's id.
        id: RequestId,
        /// The topic, not validated.
        topic: String,
    },
    /// Replace the connection's rights.
    Auth {
        /// The request's id.
        id: RequestId,
        /// The new token.
        token: Secret,
    },
    /// Ask for a `pong`.
    Ping {
        /// The request's id, if it has one.
        id: Option<RequestId>,
    },
}

/// A request that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    /// The request's id, if it could be read.
    pub id: Option<RequestId>,
    /// The refusal to answer with.
    pub refusal: Refusal,
}

/// The data of a publication. Market data stays typed until a subscriber needs its bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// JSON text, for all other data.
    Json(JsonText),
    /// The same data from a publisher of MessagePack.
    Packed(PackedValue),
    /// `ticker.<symbol>`
    Ticker(Box<Ticker>),
    /// `bbo.<symbol>`
    Bbo(Box<Bbo>),
    /// `trade.<symbol>`
    Trade(Box<Trade>),
    /// `candle.<interval>.<symbol>`
    Candle(Box<Candle>),
    /// `book.<symbol>`
    Book(Box<Book>),
}

/// The limits in a `welcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedLimits {
    /// Most subscriptions of the connection.
    pub subscriptions: usize,
    /// Longest client message in bytes.
    pub message_bytes: usize,
    /// Requests per second in the long run.
    pub ops_per_s: u32,
    /// Requests that may come at once after a quiet time.
    #[serde(default)]
    pub ops_burst: u32,
    /// Publications per second in the long run. 0 from a broker that counts them as requests.
    #[serde(default)]
    pub publishes_per_s: u32,
    /// Publications that may come at once after a quiet time.
    #[serde(default)]
    pub publishes_burst: u32,
}

/// The stored messages of a topic that a replay from a moment begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRange {
    /// The first of them.
    pub from_seq: Seq,
    /// The last of them: the topic's newest message. It is the one before `from_seq` if there are none.
    pub to_seq: Seq,
}

/// One result of an `ack`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct AckResult {
    /// The topic or pattern as written in the request.
    pub topic: String,
    /// The number of topics that the pattern matches now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<usize>,
    /// The epoch of the topic's numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The position at which the subscription begins, or the number of the published message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// The mode that was granted, if it is the same for every topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The modes that were granted by kind, if a pattern stands for topics of several kinds and so has no single mode.
    #[serde(
        default,
        deserialize_with = "later::modes",
        skip_serializing_if = "Option::is_none"
    )]
    pub modes: Option<BTreeMap<Kind, Mode>>,
    /// The least time between two updates that was granted for `conflate`, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflate_ms: Option<u32>,
    /// Whether the topic was resumed, if the request asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// What is replayed, if the request asked for the messages from a moment on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayRange>,
    /// The time of the oldest message that is stored, if messages from the moment on are no longer stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_stored: Option<Micros>,
    /// The number of the pattern's topics that were resumed, if the request asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<usize>,
    /// The number of the pattern's topics that were not resumed, if the request asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_resumed: Option<usize>,
    /// Whether a publication with the same key was published before. Then `epoch` and `seq` are that one's. Only `true` is
    /// sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// Why this topic was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

/// A message from the broker that is not market data. It is short and, except `joined`, made for one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Control {
    /// The first message of a connection.
    Welcome {
        /// The session's name, for logs and support.
        session: String,
        /// The broker's name and version.
        server: String,
        /// When it was sent.
        ts: Micros,
        /// Time in milliseconds without other messages after which a heartbeat comes.
        heartbeat_ms: u64,
        /// The limits of the connection.
        limits: AnnouncedLimits,
    },
    /// Answers a request.
    Ack {
        /// The request's id.
        id: RequestId,
        /// One result per topic, in the request's order.
        #[serde(default)]
        results: Vec<AckResult>,
    },
    /// Everything that a request brought has been sent: its snapshots and replays.
    Synced {
        /// The request's id.
        id: RequestId,
    },
    /// A topic has joined the client's subscriptions, and the client was not told its epoch before.
    Joined {
        /// The topic.
        topic: String,
        /// The epoch of the numbers.
        epoch: Epoch,
        /// The position at which the subscription begins: the next message is the one after it.
        seq: Seq,
    },
    /// Messages that will not come.
    Gap {
        /// The topic.
        topic: String,
        /// The epoch of the numbers.
        epoch: Epoch,
        /// First missing message.
        from: Seq,
        /// Last missing message.
        to: Seq,
        /// Why they will not come.
        #[serde(deserialize_with = "later::gap_reason")]
        reason: GapReason,
    },
    /// A topic has ended: no message of this lineage follows. Should it be made again, a `joined` tells its new epoch.
    End {
        /// The topic.
        topic: String,
        /// The epoch of the numbers.
        epoch: Epoch,
        /// The last message.
        seq: Seq,
        /// Why it has ended.
        #[serde(deserialize_with = "later::end_reason")]
        reason: EndReason,
    },
    /// The state of a topic's source changed, or a replay has come to its end.
    Status {
        /// The topic.
        topic: String,
        /// The new state.
        state: TopicState,
        /// Why a book is stale. `None` if its source is silent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<StaleReason>,
        /// With [`TopicState::CaughtUp`] the last message before the live ones.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<Seq>,
    },
    /// No other message was sent for a while.
    Heartbeat {
        /// When it was sent.
        ts: Micros,
    },
    /// Answers a `ping`.
    Pong {
        /// The request's id, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
        /// When it was sent.
        ts: Micros,
        /// When the `ping` was read. Older brokers omit it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        received: Option<Micros>,
    },
    /// The broker will close the connection.
    Drain {
        /// Time in milliseconds that the client should wait before it connects again.
        reconnect_after_ms: u64,
        /// Time in milliseconds after which the connection is closed at the latest.
        deadline_ms: u64,
    },
    /// A request was refused.
    Error {
        /// The request's id, if it could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
        /// The code for programs.
        #[serde(deserialize_with = "later::code")]
        code: ErrorCode,
        /// The reason for people.
        reason: String,
        /// Whether the same request may succeed later.
        #[serde(default)]
        retryable: bool,
    },
}

impl Control {
    /// The `error` that answers request `id` with `refusal`.
    #[must_use]
    pub fn error(id: Option<RequestId>, refusal: Refusal) -> Self {
        Self::Error {
            id,
            code: refusal.code,
            reason: refusal.reason,
            retryable: refusal.code.is_retryable(),
        }
    }
}

/// A message from the broker, as a client reads it.
#[derive(Debug, Clone)]
pub enum ServerMessage {
    /// A topic's current value.
    Snapshot {
        /// The topic.
        topic: String,
        /// The epoch of the numbers.
        epoch: Epoch,
        /// The number of the message that the value belongs to.
        seq: Seq,
        /// When that message entered the broker.
        ts: Micros,
        /// The value, as JSON with either codec.
        data: Box<RawValue>,
    },
    /// A topic's next message.
    Update {
        /// The topic.
        topic: String,
        /// Its number.
        seq: Seq,
        /// When it entered the broker.
        ts: Micros,
        /// The message, as JSON with either codec.
        data: Box<RawValue>,
    },
    /// Any other known message.
    Control(Control),
    /// A message with an `op` that this version does not know. Receivers ignore it.
    Unknown(String),
}
