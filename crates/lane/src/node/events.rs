//! What happens to a node of a lane, and what is to be done for it.

use super::NodeId;
use super::notice::Notice;
use super::state::LaneState;
use super::submission::SubmissionBatch;
use crate::Position;

/// A part of the log that was read.
#[derive(Debug)]
pub struct LogPart {
    /// The oldest entry that the log has. In an empty log: the one after the newest that it has had.
    pub first: Position,
    /// The newest entry that the log had when the part began to be read.
    pub last: Position,
    /// The entries that were read, in their order, without a hole.
    pub entries: Vec<(Position, Vec<u8>)>,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The log has the entry at this position.
    Stored(Position),
    /// The log ends elsewhere than it should.
    Refused,
    /// Not known. The log may have it, or get it later.
    Unknown,
}

/// What happens to a node.
#[derive(Debug)]
pub enum Input {
    /// The connection to the log is there.
    Connected,
    /// The connection to the log is lost.
    Disconnected,
    /// The log has stored an entry.
    Live(Position, Vec<u8>),
    /// A part of the log was read that the [`Output::Read`] with this number has asked for.
    Read(u64, LogPart),
    /// It could not be read.
    NotRead(u64),
    /// What became of the [`Output::Append`] with this number.
    Appended(u64, Appended),
    /// Another node says something.
    Notice(Notice),
    /// Submissions of another node have come. Only a writer takes them.
    Batch(SubmissionBatch),
    /// Submissions of this node's publishers: their number, and the bytes that [`put_submission`](super::put_submission) has made.
    Submitted(u32, Vec<u8>),
    /// Whether the mark is there that [`Output::LookForMark`] has asked for.
    Mark(bool),
    /// The state of the lane that [`Output::AskState`] has asked for, which the host has taken over. `None` if nobody has it.
    State(Option<LaneState>),
    /// The node is to give up writing, as it will stop.
    Leave,
    /// Time has passed.
    Tick,
}

/// What is to be done for a node.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Read the log from an entry on, and give it back by [`Input::Read`] or [`Input::NotRead`]. First find out how far the log
    /// goes, from whoever takes the appends. A later number makes the answer to an earlier one meaningless.
    Read(u64, Position),
    /// Append an entry behind `expected`, and say what became of it by [`Input::Appended`].
    Append {
        /// Its number. A later one makes the answer to an earlier one meaningless.
        number: u64,
        /// The bytes.
        bytes: Vec<u8>,
        /// The newest entry of the log. If it is another one, the append must be refused.
        expected: Position,
    },
    /// Tell all nodes.
    Tell(Notice),
    /// Send submissions to the writer, which is this node. They may be lost.
    Forward(NodeId, SubmissionBatch),
    /// Get the state of the lane from another node or a checkpoint, let the host take it over, and say so by [`Input::State`].
    AskState,
    /// Leave a mark in the memory of the log's servers, which is gone when all of them have been restarted.
    MakeMark,
    /// See whether that mark is there, and say so by [`Input::Mark`].
    LookForMark,
    /// The writer has begun a new epoch, for this reason.
    EpochBegun(EpochReason),
}

/// Why the numbers begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochReason {
    /// The log has nothing.
    First,
    /// What is left of the log does not say what the topics have.
    Headless,
    /// The log has lost or changed entries that somebody has seen.
    Changed,
    /// All of the log's servers were restarted, and may have lost entries.
    Restarted,
}

impl EpochReason {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::First, Self::Headless, Self::Changed, Self::Restarted];

    /// The reason in a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Headless => "headless",
            Self::Changed => "changed",
            Self::Restarted => "restarted",
        }
    }
}

/// What a node does, for people and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanePhase {
    /// It gets the state of the lane.
    Joining,
    /// It follows the writer.
    Following,
    /// It tries to become the writer.
    TakingOver,
    /// It is the writer.
    Writing,
    /// The log has another past than the one that it has entered.
    Doubting,
    /// It has not heard of a writer for too long.
    CutOff,
}

impl LanePhase {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Joining,
        Self::Following,
        Self::TakingOver,
        Self::Writing,
        Self::Doubting,
        Self::CutOff,
    ];

    /// It in a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Following => "following",
            Self::TakingOver => "taking_over",
            Self::Writing => "writing",
            Self::Doubting => "doubting",
            Self::CutOff => "cut_off",
        }
    }
}
