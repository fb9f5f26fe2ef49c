//! The state of a lane beside its topics, for a node that joins; and what a node says of itself.

use tickwire_wire::Epoch;

use super::known::Decisions;
use super::notice::Standing;
use super::submission::SubmissionNumber;
use super::{LaneNode, LanePhase, NodeId};
use crate::bytes::{Malformed, put_number};
use crate::frame::{self, BodyKind};
use crate::{Place, Position};

/// The state of a lane at one place of its log, beside the topics.
#[derive(Debug, Clone)]
pub struct LaneState {
    /// The node that it is of, and where that stood.
    pub standing: Standing,
    /// Whether everything that was kept from the epoch before is published again.
    pub is_whole: bool,
    pub(super) decisions: Decisions,
}

/// Least bytes of a node and its newest decision.
const DECISION_BYTES_MIN: usize = 10;

impl LaneState {
    /// Appends its frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        frame::put(out, BodyKind::LaneState, |out| {
            self.standing.put(out);
            out.push(u8::from(self.is_whole));
            let all = self.decisions.all();
            put_number(out, all.len() as u64);
            for (node, number, at) in all {
                out.extend_from_slice(&node.0.to_le_bytes());
                put_number(out, number.0);
                put_number(out, at.0);
            }
        });
    }

    /// Reads the frame at the beginning of `bytes`. Also returns the bytes behind it.
    ///
    /// # Errors
    /// If it is none, or damaged.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let frame = frame::first(bytes).map_err(|_| Malformed("the whole state of a lane"))?;
        let mut reader = frame::body(frame, BodyKind::LaneState)?;
        let standing = Standing::read(&mut reader)?;
        let is_whole = reader.byte("whether an epoch is whole")? != 0;
        let count = reader.count(DECISION_BYTES_MIN, "a number of nodes")?;
        let mut decisions = Decisions::default();
        for _ in 0..count {
            let node = NodeId(reader.fixed_number("a node")?);
            let number = SubmissionNumber(reader.number("the number of a submission")?);
            decisions.decided(node, number, Position(reader.number("a position")?));
        }
        reader.end()?;
        let state = Self {
            standing,
            is_whole,
            decisions,
        };
        Ok((state, &bytes[frame.len()..]))
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> &Epoch {
        &self.standing.epoch
    }

    /// Where the log goes on behind it.
    #[must_use]
    pub fn place(&self) -> Place {
        self.standing.place
    }
}

/// What a node does and knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStanding {
    /// What it does.
    pub phase: LanePhase,
    /// Where it stands.
    pub standing: Standing,
    /// The writer that it knows.
    pub writer: Option<NodeId>,
    /// The newest entry of the log that it knows of.
    pub log_end: Position,
    /// How many submissions of its publishers are not settled.
    pub unsettled: u64,
    /// Their bytes.
    pub unsettled_bytes: usize,
    /// Whether it is connected to the log.
    pub is_connected: bool,
}

impl<H> LaneNode<H> {
    /// Whether the node has entered everything that it knows to be in the log.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        let is_reading = self.is_reading && !matches!(self.phase, super::Phase::Writing(_));
        self.is_whole() && !is_reading && self.place.position >= self.log_end
    }

    /// Whether the node has the state of the lane, and does not doubt it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.has_state
            && self.epoch.is_some()
            && !matches!(self.phase, super::Phase::Doubting | super::Phase::Joining)
    }

    /// The state of the lane beside the topics, which are those of the host now. `None` while the node does not have it.
    #[must_use]
    pub fn state(&self) -> Option<LaneState> {
        let epoch = self.epoch.clone().filter(|_| self.is_whole())?;
        Some(LaneState {
            standing: Standing {
                node: self.id,
                term: self.term,
                epoch,
                place: self.place,
            },
            is_whole: self.is_whole,
            decisions: self.decisions.clone(),
        })
    }
}
