//! Requests on their way to the broker and back: what was asked, for whom, and where the answer goes.

use tickwire_wire::message::{AckResult, Positions, PublishKey, RequestId, TopicRequest};
use tickwire_wire::{ClientMessage, Micros, Payload, Refusal, Secret};
use tokio::sync::oneshot;

use crate::clocks::{Clocks, Moment};
use crate::error::RequestError;
use crate::ledger::Wanted;

/// What a user asks for.
#[derive(Debug)]
pub(crate) enum Body {
    Subscribe {
        wanted: Wanted,
        topics: Vec<TopicRequest>,
        synced: Synced,
    },
    Unsubscribe(Vec<String>),
    Publish {
        topic: String,
        data: Payload,
        key: Option<PublishKey>,
        ts: Option<Micros>,
    },
    Resync(String),
    Auth(Secret),
    Ping,
}

/// The broker's answer to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Ack(Vec<AckResult>),
    /// The clocks, or `None` if the ping was never sent.
    Pong(Option<Clocks>),
}

/// The channel for the answer.
pub(crate) type Reply = oneshot::Sender<Result<Answer, RequestError>>;

/// The channel that reports that everything a subscription begins with has come.
pub(crate) type Synced = oneshot::Sender<Result<(), RequestError>>;

/// What a request is for, and what its answer changes.
#[derive(Debug)]
pub(crate) enum Purpose {
    Subscribe {
        wanted: Wanted,
        reply: Reply,
        synced: Synced,
    },
    Unsubscribe {
        topics: Vec<String>,
        reply: Reply,
    },
    Ping {
        reply: Reply,
        /// When the ping was sent; `None` before that.
        sent: Option<Moment>,
    },
    Auth {
        token: Secret,
        reply: Reply,
    },
    Other {
        reply: Reply,
    },
    /// Positions that were sent ahead of the next `subscribe`: one of a user, or one that restores subscriptions.
    Positions {
        since: Vec<Positions>,
        restores: bool,
    },
    Restore {
        names: Vec<String>,
    },
    RestoreRights,
}

impl Purpose {
    pub(crate) fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Subscribe { reply, .. }
            | Self::Unsubscribe { reply, .. }
            | Self::Ping { reply, .. }
            | Self::Auth { reply, .. }
            | Self::Other { reply } => Some(reply),
            Self::Positions { .. } | Self::Restore { .. } | Self::RestoreRights => None,
        }
    }

    /// When the request was sent, if it is a ping.
    pub(crate) fn sent(&self) -> Option<Moment> {
        match self {
            Self::Ping { sent, .. } => *sent,
            _ => None,
        }
    }

    /// Whether the request is for this connection only. The next connection restores everything anew.
    pub(crate) fn is_of_connection(&self) -> bool {
        match self {
            Self::Positions { restores, .. } => *restores,
            other => other.reply().is_none(),
        }
    }

    pub(crate) fn into_reply(self) -> Option<Reply> {
        match self {
            Self::Subscribe { reply, .. }
            | Self::Unsubscribe { reply, .. }
            | Self::Ping { reply, .. }
            | Self::Auth { reply, .. }
            | Self::Other { reply } => Some(reply),
            Self::Positions { .. } | Self::Restore { .. } | Self::RestoreRights => None,
        }
    }
}

/// A request that waits to be sent.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) id: RequestId,
    pub(crate) message: ClientMessage,
    pub(crate) bytes: Vec<u8>,
    pub(crate) purpose: Purpose,
}

/// Turns an answer into an error if its single result is a refusal.
pub(crate) fn checked(result: Result<Answer, Refusal>) -> Result<Answer, RequestError> {
    let mut answer = result?;
    if let Answer::Ack(results) = &mut answer
        && let Some(refusal) = results.iter_mut().find_map(|result| result.error.take())
    {
        return Err(refusal.into());
    }
    Ok(answer)
}

/// Sends the answer to the user, if it still waits.
pub(crate) fn answer(reply: Option<Reply>, result: Result<Answer, RequestError>) {
    if let Some(reply) = reply
        && reply.send(result).is_err()
    {
        tracing::debug!("an answer came after its request was given up");
    }
}
