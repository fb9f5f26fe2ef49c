//! Submissions: what a node's publishers hand in, on the way to the writer of the lane.
//!
//! A node numbers its submissions from 1. The writer takes those of each node in their order, each once.

use tickwire_wire::message::EndReason;
use tickwire_wire::{Micros, Topic};

use super::NodeId;
use crate::bytes::{Malformed, Reader, put_bytes, put_number};
use crate::frame::{self, BodyKind};

/// The number of a submission among those of its node, from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubmissionNumber(pub u64);

impl SubmissionNumber {
    /// The number of the submission `count` places behind this one.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// What a submission asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish<'a> {
    /// To publish a message.
    Publish {
        /// Its data as JSON.
        text: &'a [u8],
        /// The key by which it is known if its publisher repeats it.
        key: Option<&'a str>,
        /// The time that its publisher gives it.
        stamp: Option<Micros>,
    },
    /// To end the topic.
    End(EndReason),
}

/// A submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission<'a> {
    /// The topic.
    pub topic: Topic,
    /// What is to be done with it.
    pub wish: Wish<'a>,
}

const KEYED: u8 = 1;
const STAMPED: u8 = 2;
const END: u8 = 4;
/// The least bytes of a submission: flags, a topic of one character, and a length or a reason.
const SUBMISSION_BYTES_MIN: usize = 4;

/// Appends a submission to the body of a batch. `text` is the data of a message as JSON.
pub fn put_submission(out: &mut Vec<u8>, topic: &str, wish: &Wish<'_>) {
    match wish {
        Wish::Publish { text, key, stamp } => {
            let keyed = if key.is_some() { KEYED } else { 0 };
            let stamped = if stamp.is_some() { STAMPED } else { 0 };
            out.push(keyed | stamped);
            put_bytes(out, topic.as_bytes());
            if let Some(key) = key {
                put_bytes(out, key.as_bytes());
            }
            if let Some(stamp) = stamp {
                put_number(out, stamp.0);
            }
            put_bytes(out, text);
        }
        Wish::End(reason) => {
            out.push(END);
            put_bytes(out, topic.as_bytes());
            put_number(out, *reason as u64);
            out.push(0);
        }
    }
}

fn read_submission<'a>(reader: &mut Reader<'a>) -> Result<Submission<'a>, Malformed> {
    let flags = reader.byte("what a submission is")?;
    let topic = reader.text("the name of a topic")?;
    let topic = topic.parse().map_err(|_| Malformed("the name of a topic"))?;
    let wish = match flags {
        END => {
            let reason = usize::try_from(reader.number("the reason of an end")?);
            let reason = EndReason::ALL.get(reason.unwrap_or(usize::MAX));
            reader.byte("the end of a submission")?;
            Wish::End(*reason.ok_or(Malformed("the reason of an end"))?)
        }
        _ if flags & !(KEYED | STAMPED) == 0 => {
            let key = flags & KEYED != 0;
            let key = key.then(|| reader.text("a key")).transpose()?;
            let stamp = flags & STAMPED != 0;
            let stamp = stamp.then(|| reader.number("a time")).transpose()?;
            Wish::Publish {
                key,
                stamp: stamp.map(Micros),
                text: reader.bytes("the data of a message")?,
            }
        }
        _ => return Err(Malformed("what a submission is")),
    };
    Ok(Submission { topic, wish })
}

/// Some submissions of a node, in their order, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmissionBatch {
    /// The node.
    pub node: NodeId,
    /// The number of the first.
    pub first: SubmissionNumber,
    /// The oldest submission of the node of which it does not know yet what became of it.
    pub oldest: SubmissionNumber,
    /// How many.
    pub count: u32,
    /// The submissions, as [`put_submission`] appends them.
    pub body: Vec<u8>,
}

impl SubmissionBatch {
    /// The number behind the last of them.
    #[must_use]
    pub const fn end(&self) -> SubmissionNumber {
        self.first.plus(self.count as u64)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 40);
        frame::put(&mut out, BodyKind::Submissions, |out| {
            out.extend_from_slice(&self.node.0.to_le_bytes());
            put_number(out, self.first.0);
            put_number(out, self.oldest.0);
            put_number(out, u64::from(self.count));
            out.extend_from_slice(&self.body);
        });
        out
    }

    /// Reads the bytes of a batch. Its submissions are read by [`Self::submissions`].
    ///
    /// # Errors
    /// If they are none, or damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let frame = frame::first(bytes).map_err(|_| Malformed("a whole batch of submissions"))?;
        if frame.len() != bytes.len() {
            return Err(Malformed("the end of a batch of submissions"));
        }
        let mut reader = frame::body(frame, BodyKind::Submissions)?;
        let node = NodeId(reader.fixed_number("a node")?);
        let first = SubmissionNumber(reader.number("the number of a submission")?);
        let oldest = SubmissionNumber(reader.number("the number of a submission")?);
        let count = reader.count(SUBMISSION_BYTES_MIN, "a number of submissions")?;
        let count = u32::try_from(count).map_err(|_| Malformed("a number of submissions"))?;
        if oldest.0 == 0 || first.0 == 0 || first.0.checked_add(u64::from(count)).is_none() {
            return Err(Malformed("the number of a submission"));
        }
        let body = reader.rest().to_vec();
        let batch = Self {
            node,
            first,
            oldest,
            count,
            body,
        };
        // Whatever is behind this never finds a batch that is damaged half-way.
        let mut read = 0;
        for submission in batch.submissions() {
            submission?;
            read += 1;
        }
        if read != batch.count {
            return Err(Malformed("as many submissions as a batch says"));
        }
        Ok(batch)
    }

    /// Its submissions in their order.
    pub fn submissions(&self) -> impl Iterator<Item = Result<Submission<'_>, Malformed>> {
        let mut reader = Reader::new(&self.body);
        std::iter::from_fn(move || {
            if reader.left() == 0 {
                return None;
            }
            let submission = read_submission(&mut reader);
            if submission.is_err() {
                reader = Reader::new(&[]);
            }
            Some(submission)
        })
    }
}
