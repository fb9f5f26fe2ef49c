//! Why messages are missing, why topics end, and the states of their sources.

use serde::{Deserialize, Serialize};

/// Why messages are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// The reader fell behind.
    Slow,
    /// The history no longer reaches back to the position.
    History,
    /// The position is of another epoch.
    Epoch,
}

impl GapReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Slow, Self::History, Self::Epoch];

    /// The reason as on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::History => "history",
            Self::Epoch => "epoch",
        }
    }
}

/// Why a topic has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndReason {
    /// No message came for as long as a rule of the broker allows.
    Expired,
    /// Somebody who may publish the topic has deleted it.
    Deleted,
    /// The log of the cluster has lost messages, so the numbers of all its topics begin anew.
    Epoch,
}

impl EndReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Expired, Self::Deleted, Self::Epoch];

    /// The reason as on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Deleted => "deleted",
            Self::Epoch => "epoch",
        }
    }
}

/// What a `status` says of a topic: the state of its source, or that a replay has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicState {
    /// No message came for longer than expected.
    Stale,
    /// Messages come again.
    Live,
    /// The client has everything from the moment that it asked for: what follows is live.
    CaughtUp,
}

/// Why a book is stale although its messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StaleReason {
    /// The source has sent changes only, and no whole book yet.
    Partial,
    /// The source lost changes.
    Hole,
    /// The best bid is not below the best ask.
    Crossed,
}
