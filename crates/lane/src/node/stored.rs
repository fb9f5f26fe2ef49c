//! What is stored of a lane: entries that also say who wrote them and what became of which submissions.
//!
//! The bytes of one are two frames, one behind the other: the head, and the [entry](crate::Entry). The entry declares each
//! of its topics, so it can be read without those before it. The hash of both frames is the chain.

use std::borrow::Cow;

use tickwire_wire::{Epoch, ErrorCode, Seq};

use super::submission::SubmissionNumber;
use super::{NodeId, Term};
use crate::bytes::{Malformed, Reader, put_bytes, put_number};
use crate::entry::{Entry, read_epoch};
use crate::frame::{self, BodyKind};

/// What an entry of a lane begins or ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneFlags {
    /// Its writer has become that with it.
    pub begins_term: bool,
    /// All topics end before it, and the numbers begin anew.
    pub begins_epoch: bool,
    /// Everything that was kept from the epoch before is published again.
    pub is_whole: bool,
    /// Its writer leaves.
    pub clean_end: bool,
}

impl LaneFlags {
    const fn bits(self) -> u8 {
        self.begins_term as u8
            | (self.begins_epoch as u8) << 1
            | (self.is_whole as u8) << 2
            | (self.clean_end as u8) << 3
    }

    fn read(bits: u8) -> Result<Self, Malformed> {
        let flags = Self {
            begins_term: bits & 1 != 0,
            begins_epoch: bits & 2 != 0,
            is_whole: bits & 4 != 0,
            clean_end: bits & 8 != 0,
        };
        if flags.bits() == bits {
            return Ok(flags);
        }
        Err(Malformed("flags of a lane that this version knows"))
    }
}

/// What became of a submission that is not published by the entry that decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unpublished<'a> {
    /// It was refused.
    Refused {
        /// The code of the refusal.
        code: ErrorCode,
        /// The reason, for people.
        reason: Cow<'a, str>,
    },
    /// A submission with its key was published before.
    Known {
        /// The epoch of that message's number.
        epoch: Epoch,
        /// That message's number.
        seq: Seq,
    },
}

/// The submissions of a node that an entry decides. Those that are not among `unpublished` are items of the entry, in
/// this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided<'a> {
    /// The node.
    pub node: NodeId,
    /// The number of the first.
    pub first: SubmissionNumber,
    /// How many.
    pub count: u32,
    /// Those that the entry does not publish, by their places from `first` on, ascending.
    pub unpublished: Vec<(u32, Unpublished<'a>)>,
}

/// The least bytes of a [`Decided`] and of one that is not published.
const DECIDED_BYTES_MIN: usize = 11;
const UNPUBLISHED_BYTES_MIN: usize = 4;

/// The head of an entry of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneHead<'a> {
    /// What it begins or ends.
    pub flags: LaneFlags,
    /// The term of its writer.
    pub term: Term,
    /// Its writer.
    pub writer: NodeId,
    /// What it decides, in the order of its items.
    pub decided: Vec<Decided<'a>>,
}

impl<'a> LaneHead<'a> {
    /// Appends its frame.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        frame::put(out, BodyKind::LaneHead, |out| {
            out.push(self.flags.bits());
            put_number(out, u64::from(self.term.0));
            out.extend_from_slice(&self.writer.0.to_le_bytes());
            put_number(out, self.decided.len() as u64);
            for decided in &self.decided {
                put_decided(out, decided);
            }
        });
    }

    fn read(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = frame::body(frame, BodyKind::LaneHead)?;
        let flags = LaneFlags::read(reader.byte("the flags of a lane")?)?;
        let term = Term(reader.small("a term")?);
        let writer = NodeId(reader.fixed_number("a writer")?);
        let count = reader.count(DECIDED_BYTES_MIN, "a number of nodes")?;
        let decided = (0..count).map(|_| read_decided(&mut reader));
        let decided = decided.collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self {
            flags,
            term,
            writer,
            decided,
        })
    }
}

fn put_decided(out: &mut Vec<u8>, decided: &Decided<'_>) {
    out.extend_from_slice(&decided.node.0.to_le_bytes());
    put_number(out, decided.first.0);
    put_number(out, u64::from(decided.count));
    put_number(out, decided.unpublished.len() as u64);
    for (place, why) in &decided.unpublished {
        put_number(out, u64::from(*place));
        match why {
            Unpublished::Known { epoch, seq } => {
                out.push(0);
                put_bytes(out, epoch.as_str().as_bytes());
                put_number(out, seq.0);
            }
            Unpublished::Refused { code, reason } => {
                let at = ErrorCode::ALL.iter().position(|known| known == code);
                out.push(at.unwrap_or_default() as u8 + 1);
                put_bytes(out, reason.as_bytes());
            }
        }
    }
}

fn read_decided<'a>(reader: &mut Reader<'a>) -> Result<Decided<'a>, Malformed> {
    let node = NodeId(reader.fixed_number("a node")?);
    let first = SubmissionNumber(reader.number("the number of a submission")?);
    let count = reader.small("a number of submissions")?;
    if first.0 == 0 || first.0.checked_add(u64::from(count)).is_none() {
        return Err(Malformed("the number of a submission"));
    }
    let others = reader.count(UNPUBLISHED_BYTES_MIN, "a number of submissions")?;
    let mut unpublished = Vec::with_capacity(others);
    let mut least = 0;
    for _ in 0..others {
        let place = reader.small("the place of a submission")?;
        if place < least || place >= count {
            return Err(Malformed("places in their order"));
        }
        least = place + 1;
        let why = match reader.byte("what became of a submission")? {
            0 => Unpublished::Known {
                epoch: read_epoch(reader)?,
                seq: Seq(reader.number("the number of a message")?),
            },
            code => Unpublished::Refused {
                code: *ErrorCode::ALL
                    .get(usize::from(code) - 1)
                    .ok_or(Malformed("the code of a refusal"))?,
                reason: Cow::Borrowed(reader.text("the reason of a refusal")?),
            },
        };
        unpublished.push((place, why));
    }
    Ok(Decided {
        node,
        first,
        count,
        unpublished,
    })
}

/// An entry of a lane that was read. It borrows from the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneEntry<'a> {
    /// Who wrote it, and what it decides.
    pub head: LaneHead<'a>,
    /// The messages.
    pub entry: Entry<'a>,
}

impl<'a> LaneEntry<'a> {
    /// Reads the bytes of an entry.
    ///
    /// # Errors
    /// If they are none, or damaged.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let damaged = |_| Malformed("a whole entry of a lane");
        let first = frame::first(bytes).map_err(damaged)?;
        let head = LaneHead::read(first)?;
        let rest = bytes.get(first.len()..).unwrap_or_default();
        let second = frame::first(rest).map_err(damaged)?;
        if second.len() != rest.len() {
            return Err(Malformed("the end of an entry of a lane"));
        }
        let entry = Entry::read(second)?;
        let items = entry.items.len() as u64;
        let published = head
            .decided
            .iter()
            .map(|decided| u64::from(decided.count).saturating_sub(decided.unpublished.len() as u64));
        // Items that no submission has brought come last: what was kept from the epoch before.
        if published.fold(0, u64::saturating_add) > items {
            return Err(Malformed("an item for each submission that is published"));
        }
        Ok(Self { head, entry })
    }
}
