//! Requests on their way to the broker and back: what was asked, whom it serves, where the answer goes.

use tickwire_wire::message::{AckResult, Positions, RequestId, TopicRequest};
use tickwire_wire::{ClientMessage, Payload, Refusal, Secret};
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
    },
    Resync(String),
    Auth(Secret),
    Ping,
}

/// The broker's answer to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Ack(Vec<AckResult>),
    /// Without the clocks, if the ping was never sent.
    Pong(Option<Clocks>),
}

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<Answer, RequestError>>;

/// Who is told that all that a subscription begins with has come.
pub(crate) type Synced = oneshot::Sender<Result<(), RequestError>>;

/// Whom a request serves and what its answer changes.
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
        /// None before it is sent.
        sent: Option<Moment>,
    },
    Auth {
        token: Secret,
        reply: Reply,
    },
    Other {
        reply: Reply,
    },
    /// What was sent ahead of the next `subscribe`, which a user asked for or which restores what was subscribed.
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

    /// When it was sent, if it is a ping.
    pub(crate) fn sent(&self) -> Option<Moment> {
        match self {
            Self::Ping { sent, .. } => *sent,
            _ => None,
        }
    }

    /// Whether it is for this connection only: on the next one everything is restored anew.
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

/// An answer whose single result may be a refusal.
pub(crate) fn checked(result: Result<Answer, Refusal>) -> Result<Answer, RequestError> {
    let mut answer = result?;
    if let Answer::Ack(results) = &mut answer
        && let Some(refusal) = results.iter_mut().find_map(|result| result.error.take())
    {
        return Err(refusal.into());
    }
    Ok(answer)
}

/// Answers, if the user still waits.
pub(crate) fn answer(reply: Option<Reply>, result: Result<Answer, RequestError>) {
    if let Some(reply) = reply
        && reply.send(result).is_err()
    {
        tracing::debug!("an answer came after its request was given up");
    }
}
