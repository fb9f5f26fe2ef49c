//! Requests on their way to the broker and back: what was asked, whom it serves, where the answer goes.

use tickwire_wire::message::{AckResult, RequestId, TopicRequest};
use tickwire_wire::{ClientMessage, Micros, Payload, Refusal, Secret};
use tokio::sync::oneshot;

use crate::error::RequestError;
use crate::ledger::Wanted;

/// What a user asks for.
#[derive(Debug)]
pub(crate) enum Body {
    Subscribe(Wanted, Vec<TopicRequest>),
    Unsubscribe(Vec<String>),
    Publish { topic: String, data: Payload },
    Resync(String),
    Auth(Secret),
    Ping,
}

/// The broker's answer to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Ack(Vec<AckResult>),
    Pong(Micros),
}

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<Answer, RequestError>>;

/// Whom a request serves and what its answer changes.
#[derive(Debug)]
pub(crate) enum Purpose {
    Subscribe {
        wanted: Wanted,
        reply: Reply,
    },
    /// `own`: how many of the topics the user named; those after them are extra subscriptions.
    Unsubscribe {
        own: usize,
        topics: Vec<String>,
        reply: Reply,
    },
    Auth {
        token: Secret,
        reply: Reply,
    },
    Other {
        reply: Reply,
    },
    Restore {
        wanted: Wanted,
        topics: Vec<TopicRequest>,
    },
    RestoreRights,
}

impl Purpose {
    pub(crate) fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Subscribe { reply, .. }
            | Self::Unsubscribe { reply, .. }
            | Self::Auth { reply, .. }
            | Self::Other { reply } => Some(reply),
            Self::Restore { .. } | Self::RestoreRights => None,
        }
    }

    pub(crate) fn into_reply(self) -> Option<Reply> {
        match self {
            Self::Subscribe { reply, .. }
            | Self::Unsubscribe { reply, .. }
            | Self::Auth { reply, .. }
            | Self::Other { reply } => Some(reply),
            Self::Restore { .. } | Self::RestoreRights => None,
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
