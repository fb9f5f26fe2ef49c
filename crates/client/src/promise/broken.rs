//! The ways in which a broker can break what PROTOCOL.md lets a client rely on.
//!
//! There is one variant per fault. Each names the topic and the numbers, so that a log line is enough for a bug report.

use thiserror::Error;
use tickwire_wire::message::RequestId;
use tickwire_wire::{Epoch, Micros, Seq};

use crate::book::BookError;

/// A promise of the protocol that the broker did not keep.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BrokenPromise {
    /// A message came again that had been delivered.
    #[error("{topic}: message {seq} came twice")]
    Duplicate {
        /// The topic.
        topic: String,
        /// The number of the message.
        seq: Seq,
    },
    /// A number is lower than one that was delivered.
    #[error("{topic}: message {got} came after {last}")]
    Backward {
        /// The topic.
        topic: String,
        /// The highest number that was delivered before.
        last: Seq,
        /// The number that came.
        got: Seq,
    },
    /// Messages of a subscription in mode `every` are missing and no `gap` named them.
    #[error("{topic}: message {got} came where {expected} was due, and no gap named what is missing")]
    Hole {
        /// The topic.
        topic: String,
        /// The number of the message that had to come.
        expected: Seq,
        /// The number of the message that came.
        got: Seq,
    },
    /// A `gap` names messages that had been delivered.
    #[error("{topic}: a gap from {from} names messages that came: the last was {last}")]
    GapOverlaps {
        /// The topic.
        topic: String,
        /// The number of the last message before the gap.
        last: Seq,
        /// The number of the first message that the gap names.
        from: Seq,
    },
    /// A `gap` begins later than the first missing message.
    #[error("{topic}: a gap from {from} leaves out what is missing from {expected}")]
    GapLeavesHole {
        /// The topic.
        topic: String,
        /// The number of the first missing message.
        expected: Seq,
        /// The number of the first message that the gap names.
        from: Seq,
    },
    /// A `gap` names no message: it ends before it begins.
    #[error("{topic}: a gap from {from} to {to} names nothing")]
    GapEmpty {
        /// The topic.
        topic: String,
        /// The number of the first message that the gap names.
        from: Seq,
        /// The number of the last message that the gap names.
        to: Seq,
    },
    /// An `ack` said `recovered:true`, but the subscription was not recovered.
    #[error("{topic}: recovered:true was false: {fault}")]
    FalseRecovery {
        /// The topic.
        topic: String,
        /// What shows that it was not.
        fault: RecoveryFault,
    },
    /// After `recovered:false`, the gap ends before the head, so the broker is about to replay some of the missed
    /// messages.
    #[error("{topic}: recovered:false at {head}, but the gap ends at {to}: part of a replay follows")]
    PartialReplay {
        /// The topic.
        topic: String,
        /// The number of the topic's last message at the `ack`.
        head: Seq,
        /// The number of the last message that the gap names.
        to: Seq,
    },
    /// After `recovered:false`, an update came before the snapshot or gap that tells the client its position.
    #[error("{topic}: update {seq} came before a snapshot or gap gave a position to count from")]
    NoPosition {
        /// The topic.
        topic: String,
        /// The number of the update.
        seq: Seq,
    },
    /// The lineage changed, but no `snapshot`, `ack` or `gap` with reason `epoch` told so.
    #[error("{topic}: the epoch became {got} from {known} without being announced")]
    SilentEpoch {
        /// The topic.
        topic: String,
        /// The epoch before.
        known: Epoch,
        /// The epoch now.
        got: Epoch,
    },
    /// An update came for a topic whose lineage no `ack`, `snapshot`, `gap` or `joined` had told. Its number means
    /// nothing, and the topic could not be resumed. Every broker of this version keeps this promise. An older one sends
    /// no `joined` and breaks it once for each topic that appears under a pattern.
    #[error("{topic}: update {seq} came, and nothing had told the topic's epoch")]
    UnknownLineage {
        /// The topic.
        topic: String,
        /// The number of the update.
        seq: Seq,
    },
    /// A `joined` came for a topic whose lineage was known.
    #[error("{topic}: a joined came, and the topic's epoch was known")]
    JoinedAgain {
        /// The topic.
        topic: String,
    },
    /// A message of a topic came after its `end`, and no `joined` had said that it was made again.
    #[error("{topic}: a message came after the end of the topic")]
    AfterEnd {
        /// The topic.
        topic: String,
    },
    /// A `synced` came for a request that does not wait for one: it brought nothing, was not acked yet, or was synced
    /// before.
    #[error("a synced came to request {}, which waits for none", id.0)]
    UnknownSynced {
        /// The request's id.
        id: RequestId,
    },
    /// A `synced` came before everything that the request brings.
    #[error("{topic}: request {} was synced before all that it brings had come", id.0)]
    SyncedEarly {
        /// The topic of which something is missing.
        topic: String,
        /// The request's id.
        id: RequestId,
    },
    /// A `caught_up` came without being awaited, before the end of the replay, or with another number than that of the last
    /// message.
    #[error("{topic}: a caught_up came with {seq}; the last message was {last}")]
    CaughtUp {
        /// The topic.
        topic: String,
        /// The number of the last message.
        last: Seq,
        /// The number in the `caught_up`.
        seq: Seq,
    },
    /// The `ack` of a pattern gives a lower number of topics that were resumed, or were not resumed, than the messages
    /// show.
    #[error("{pattern}: {said} topics were said to be {what}, and {shown} were")]
    ResumeCount {
        /// The pattern.
        pattern: String,
        /// Which of the two numbers is wrong: `resumed` or `not resumed`.
        what: &'static str,
        /// The number in the `ack`.
        said: usize,
        /// The least number that the messages show.
        shown: usize,
    },
    /// A `pong` says that its `ping` was read after the `pong` was sent.
    #[error("the pong to request {} was sent at {ts}, and its ping read at {received}", id.0)]
    PongTimes {
        /// The request's id.
        id: RequestId,
        /// When the `ping` was read.
        received: Micros,
        /// When the `pong` was sent.
        ts: Micros,
    },
    /// A message of a topic came before the `ack` of its subscription.
    #[error("{topic}: a message came before the ack of its subscription")]
    BeforeAck {
        /// The topic.
        topic: String,
    },
    /// A message of a topic came after the `ack` that ended its subscription.
    #[error("{topic}: a message came after the ack that ended its subscription")]
    AfterUnsubscribe {
        /// The topic.
        topic: String,
    },
    /// A message came for a topic that no subscription covers.
    #[error("{topic}: a message came, and no subscription covers it")]
    NeverSubscribed {
        /// The topic.
        topic: String,
    },
    /// A book's changes do not lead to the state that the broker announced. Checked only with
    /// [`super::Checker::verify_books`].
    #[error("{topic}: {error}")]
    Book {
        /// The topic.
        topic: String,
        /// What is wrong with the book.
        error: BookError,
    },
    /// The first message was not a `welcome`, or a later one was.
    #[error("a {op} came where {expected} was due")]
    Welcome {
        /// The `op` of the message that came.
        op: String,
        /// What had to come instead.
        expected: &'static str,
    },
    /// An answer came to a request that does not wait for one.
    #[error("an answer came to request {}, which waits for none", id.0)]
    UnknownAnswer {
        /// The answer's id.
        id: RequestId,
    },
    /// An `ack` does not have one result per topic in the request's order.
    #[error("the ack of request {} has {got} where its topic {index} is {expected}", id.0)]
    AckMismatch {
        /// The request's id.
        id: RequestId,
        /// Index of the topic in the request, from 0.
        index: usize,
        /// The request's topic at that index, or `nothing`.
        expected: String,
        /// The result's topic at that index, or `nothing`.
        got: String,
    },
}

/// What shows that `recovered:true` is false.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecoveryFault {
    /// There was nothing to recover: the request had no `since`.
    #[error("the request had no position to resume from")]
    Unasked,
    /// The topic's lineage is this one and not the request's.
    #[error("the epoch is {0}")]
    OtherEpoch(Epoch),
    /// The topic has only reached this number, which is below the request's position.
    #[error("the topic is at {0} only")]
    Ahead(Seq),
    /// A snapshot, with this number, came in place of the missed messages.
    #[error("a snapshot at {0} came in place of the missed messages")]
    Snapshot(Seq),
    /// The first message was not the one after the request's position.
    #[error("update {got} came where {expected} was due")]
    Hole {
        /// The number of the message that had to come.
        expected: Seq,
        /// The number of the message that came.
        got: Seq,
    },
    /// A gap with reason `history` or `epoch` followed. The number is the first that it names.
    #[error("a gap from {0} followed, and not because of a slow reader")]
    Gap(Seq),
}

/// The fault of message `got`, which came behind message `last`.
pub(super) fn backward(topic: &str, last: Seq, got: Seq) -> BrokenPromise {
    let topic = topic.to_owned();
    if got == last {
        BrokenPromise::Duplicate { topic, seq: got }
    } else {
        BrokenPromise::Backward { topic, last, got }
    }
}
