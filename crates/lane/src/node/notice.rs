//! What the nodes of a lane tell each other beside the log: beats, questions before a takeover, doubts.

use tickwire_wire::Epoch;

use super::{NodeId, Term};
use crate::bytes::{Malformed, Reader, put_bytes, put_number};
use crate::entry::read_epoch;
use crate::frame::{self, BodyKind};
use crate::{Chain, Place, Position};

/// What a node tells all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The writer is there, and has stored everything up to this place.
    Beat(Standing),
    /// A node wants to become the writer, and asks whether anybody has another log than the one that ends here.
    Ask(Standing),
    /// The answer: whether the node that answers has entered something that is not in that log.
    Answer {
        /// Who answers.
        standing: Standing,
        /// Who has asked.
        to: NodeId,
        /// Whether what it has entered is in the log that was asked about.
        agrees: bool,
    },
    /// A node has entered something up to this place that is not in the log.
    Doubt(Standing),
}

/// Where a node stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The node.
    pub node: NodeId,
    /// The newest term that it knows.
    pub term: Term,
    /// The epoch that it is in.
    pub epoch: Epoch,
    /// Up to where it has entered the log.
    pub place: Place,
}

const BEAT: u8 = 0;
const ASK: u8 = 1;
const ANSWER: u8 = 2;
const DOUBT: u8 = 3;

impl Notice {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(80);
        frame::put(&mut out, BodyKind::Notice, |out| {
            let (what, standing) = match self {
                Self::Beat(standing) => (BEAT, standing),
                Self::Ask(standing) => (ASK, standing),
                Self::Answer { standing, .. } => (ANSWER, standing),
                Self::Doubt(standing) => (DOUBT, standing),
            };
            out.push(what);
            standing.put(out);
            if let Self::Answer { to, agrees, .. } = self {
                out.extend_from_slice(&to.0.to_le_bytes());
                out.push(u8::from(*agrees));
            }
        });
        out
    }

    /// Reads the bytes of a notice.
    ///
    /// # Errors
    /// If they are none, or damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let frame = frame::first(bytes).map_err(|_| Malformed("a whole notice"))?;
        let mut reader = frame::body(frame, BodyKind::Notice)?;
        let what = reader.byte("what a notice is")?;
        let standing = Standing::read(&mut reader)?;
        let notice = match what {
            BEAT => Self::Beat(standing),
            ASK => Self::Ask(standing),
            DOUBT => Self::Doubt(standing),
            ANSWER => Self::Answer {
                standing,
                to: NodeId(reader.fixed_number("a node")?),
                agrees: reader.byte("an answer")? != 0,
            },
            _ => return Err(Malformed("what a notice is")),
        };
        reader.end()?;
        Ok(notice)
    }
}

impl Standing {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.node.0.to_le_bytes());
        put_number(out, u64::from(self.term.0));
        put_bytes(out, self.epoch.as_str().as_bytes());
        put_number(out, self.place.position.0);
        out.extend_from_slice(&self.place.chain.0.to_le_bytes());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            node: NodeId(reader.fixed_number("a node")?),
            term: Term(reader.small("a term")?),
            epoch: read_epoch(reader)?,
            place: Place {
                position: Position(reader.number("a position")?),
                chain: Chain(reader.fixed_number("the hash of an entry")?),
            },
        })
    }
}
