//! Requests that wait for answers, and the check that an answer fits its request.

use tickwire_wire::message::{AckResult, RequestId, TopicRequest};
use tickwire_wire::{Control, Mode, ServerMessage};

use super::broken::BrokenPromise;

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) enum Asked {
    Subscribe {
        topics: Vec<TopicRequest>,
        mode: Option<Mode>,
        snapshot: bool,
        /// The number of this request among those that were sent.
        sent: u64,
    },
    Unsubscribe(Vec<String>),
    Resync(String),
    Other,
}

/// Checks that `results` has one result per topic of the request, in order.
pub(super) fn same_topics<'a>(
    id: RequestId,
    topics: impl Iterator<Item = &'a str>,
    results: &[AckResult],
) -> Result<(), BrokenPromise> {
    let mut results = results.iter();
    let mut index = 0;
    let mismatch = |index, expected: &str, got: &str| BrokenPromise::AckMismatch {
        id,
        index,
        expected: expected.to_owned(),
        got: got.to_owned(),
    };
    for expected in topics {
        match results.next() {
            Some(result) if result.topic == expected => index += 1,
            other => return Err(mismatch(index, expected, other.map_or("nothing", |r| &r.topic))),
        }
    }
    results
        .next()
        .map_or(Ok(()), |extra| Err(mismatch(index, "nothing", &extra.topic)))
}

/// The value of `op` in `message`.
pub(super) fn op_of(message: &ServerMessage) -> &str {
    match message {
        ServerMessage::Snapshot { .. } => "snapshot",
        ServerMessage::Update { .. } => "update",
        ServerMessage::Control(control) => match control {
            Control::Welcome { .. } => "welcome",
            Control::Ack { .. } => "ack",
            Control::Synced { .. } => "synced",
            Control::Joined { .. } => "joined",
            Control::Gap { .. } => "gap",
            Control::End { .. } => "end",
            Control::Status { .. } => "status",
            Control::Heartbeat { .. } => "heartbeat",
            Control::Pong { .. } => "pong",
            Control::Drain { .. } => "drain",
            Control::Error { .. } => "error",
        },
        ServerMessage::Unknown(op) => op,
    }
}
