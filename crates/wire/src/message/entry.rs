//! The entries of a `subscribe`: topics and patterns, and where each begins.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ids::{Epoch, Seq};
use crate::moment::Moment;
use crate::speed::ReplaySpeed;

/// The position in a topic that a client has reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The epoch of the number.
    pub epoch: Epoch,
    /// The last message that the client has seen.
    pub seq: Seq,
}

/// The positions that a client has reached in topics of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Positions {
    /// The epoch of the numbers.
    pub epoch: Epoch,
    /// The last message that the client has seen of each topic. The topics are not validated.
    pub seqs: BTreeMap<String, Seq>,
}

/// Where to resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Since {
    /// A topic: `{"epoch":"k3v9","seq":57}`
    One(Position),
    /// The topics of a pattern: `{"epoch":"k3v9","seqs":{"trade.A":57,"trade.B":12}}`, or an array of these, one for
    /// each epoch.
    Many(Vec<Positions>),
}

impl From<Position> for Since {
    fn from(position: Position) -> Self {
        Self::One(position)
    }
}

/// One entry of a `subscribe`'s `topics`: the bare pattern, a topic or pattern with the positions to resume from, or a
/// topic with the moment from which its stored messages are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TopicRequest {
    /// `"ticker.*"`
    Pattern(String),
    /// `{"topic":"trade.BTC-USD","since":{"epoch":"k3v9","seq":57}}`
    Since {
        /// The topic or pattern.
        topic: String,
        /// Where to resume, if anywhere.
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<Since>,
    },
    /// `{"topic":"trade.BTC-USD","from":1723161253000000,"speed":10}`
    From {
        /// The topic.
        topic: String,
        /// The moment from which on its messages are wanted.
        from: Moment,
        /// How fast they are sent; `None` for as fast as the client takes them.
        #[serde(skip_serializing_if = "Option::is_none")]
        speed: Option<ReplaySpeed>,
    },
}

impl TopicRequest {
    /// The topic or pattern, not validated.
    #[must_use]
    pub fn topic(&self) -> &str {
        match self {
            Self::Pattern(topic) | Self::Since { topic, .. } | Self::From { topic, .. } => topic,
        }
    }

    /// The topic or pattern, not validated.
    #[must_use]
    pub fn into_topic(self) -> String {
        match self {
            Self::Pattern(topic) | Self::Since { topic, .. } | Self::From { topic, .. } => topic,
        }
    }

    /// The position or positions to resume from.
    #[must_use]
    pub fn since(&self) -> Option<&Since> {
        match self {
            Self::Pattern(_) | Self::From { .. } => None,
            Self::Since { since, .. } => since.as_ref(),
        }
    }

    /// The moment from which on the topic's messages are wanted.
    #[must_use]
    pub fn from(&self) -> Option<Moment> {
        match self {
            Self::Pattern(_) | Self::Since { .. } => None,
            Self::From { from, .. } => Some(*from),
        }
    }

    /// How fast the messages from that moment on are wanted, if not as fast as the client takes them.
    #[must_use]
    pub fn speed(&self) -> Option<ReplaySpeed> {
        match self {
            Self::Pattern(_) | Self::Since { .. } => None,
            Self::From { speed, .. } => *speed,
        }
    }

    /// The position to resume from, if the request gives that of a single topic.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        match self.since()? {
            Since::One(position) => Some(position),
            Since::Many(_) => None,
        }
    }
}
