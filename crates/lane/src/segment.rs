//! A segment: a part of a log in a file. A head, and then entries, one behind the other.
//!
//! A file may end in the middle of an entry, because its writer was stopped there. Such a tail has nothing valid behind it.
//! Where something valid follows, the file is damaged.

use tickwire_wire::{Epoch, Micros};

use crate::bytes::{Malformed, put_bytes, put_number};
use crate::entry::read_epoch;
use crate::frame::{self, BodyKind, FrameError};
use crate::{Chain, Place, Position};

/// The head of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHead {
    /// The place of its first entry.
    pub place: Place,
    /// The epoch of the log.
    pub epoch: Epoch,
    /// Whether the epoch begins here: what is before belongs to another.
    pub begins_epoch: bool,
    /// Whether each entry is on the disk before anybody sees it.
    pub synced: bool,
    /// What tells the machine's starts apart.
    pub boot: [u8; 16],
    /// When it was begun.
    pub made: Micros,
}

const BEGINS_EPOCH: u8 = 1;
const SYNCED: u8 = 2;

impl SegmentHead {
    /// Appends the head.
    pub fn put(&self, out: &mut Vec<u8>) {
        frame::put(out, BodyKind::SegmentHead, |out| {
            let begins = if self.begins_epoch { BEGINS_EPOCH } else { 0 };
            out.push(begins | if self.synced { SYNCED } else { 0 });
            put_number(out, self.place.position.0);
            out.extend_from_slice(&self.place.chain.0.to_le_bytes());
            put_bytes(out, self.epoch.as_str().as_bytes());
            out.extend_from_slice(&self.boot);
            put_number(out, self.made.0);
        });
    }

    /// Reads the frame of a head.
    ///
    /// # Errors
    /// If it is another frame.
    pub fn read(frame: &[u8]) -> Result<Self, Malformed> {
        let mut reader = frame::body(frame, BodyKind::SegmentHead)?;
        let flags = reader.byte("the flags of a segment")?;
        if flags & !(BEGINS_EPOCH | SYNCED) != 0 {
            return Err(Malformed("flags that this version knows"));
        }
        let head = Self {
            place: Place {
                position: Position(reader.number("a position")?),
                chain: Chain(reader.fixed_number("the hash of the entry before")?),
            },
            epoch: read_epoch(&mut reader)?,
            begins_epoch: flags & BEGINS_EPOCH != 0,
            synced: flags & SYNCED != 0,
            boot: reader.fixed("the start of a machine")?,
            made: Micros(reader.number("a time")?),
        };
        reader.end()?;
        Ok(head)
    }
}

/// The next part of a segment's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// A whole frame, which is an entry unless another program has written it.
    Entry {
        /// Where it begins in the file.
        offset: usize,
        /// Its bytes.
        frame: &'a [u8],
    },
    /// The file ends in the middle of an entry, or with bytes that are none. Nothing valid follows.
    Torn {
        /// Where the valid part ends.
        offset: usize,
    },
    /// Bytes that are no entry, with a valid one behind them.
    Damaged {
        /// Where they begin.
        offset: usize,
        /// What is wrong there.
        error: FrameError,
        /// Where the next valid entry begins.
        next: usize,
    },
}

/// Reads the bytes of a segment, one entry after the other.
#[derive(Debug, Clone)]
pub struct SegmentReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> SegmentReader<'a> {
    /// The head of a segment, and a reader of what follows it. `None` if the file ends within the head: its writer was
    /// stopped while it made the file.
    ///
    /// # Errors
    /// Where and why the bytes are no segment.
    pub fn new(bytes: &'a [u8]) -> Result<Option<(SegmentHead, Self)>, (usize, String)> {
        match frame::first(bytes) {
            Ok(frame) => {
                let head = SegmentHead::read(frame).map_err(|error| (0, error.to_string()))?;
                let at = frame.len();
                Ok(Some((head, Self { bytes, at })))
            }
            Err(error) => match frame::next_valid(bytes, 1) {
                Some(_) => Err((0, error.to_string())),
                None => Ok(None),
            },
        }
    }

    /// A reader of entries that are a part of a segment, without its head.
    #[must_use]
    pub fn behind_head(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many of its bytes were read.
    #[must_use]
    pub fn read_bytes(&self) -> usize {
        self.at
    }

    /// Whether `bytes` begin with the head of a segment.
    #[must_use]
    pub fn has_head(bytes: &[u8]) -> bool {
        frame::first(bytes).is_ok_and(|frame| frame::kind(frame) == Some(BodyKind::SegmentHead as u8))
    }
}

impl<'a> Iterator for SegmentReader<'a> {
    type Item = Part<'a>;

    /// The next part. Nothing comes behind what is torn; behind damage the next valid entry does.
    fn next(&mut self) -> Option<Part<'a>> {
        let (bytes, offset) = (self.bytes, self.at);
        if offset == bytes.len() {
            return None;
        }
        match frame::first(&bytes[offset..]) {
            Ok(frame) => {
                self.at += frame.len();
                Some(Part::Entry { offset, frame })
            }
            Err(error) => match frame::next_valid(bytes, offset + 1) {
                Some(next) => {
                    self.at = next;
                    Some(Part::Damaged { offset, error, next })
                }
                None => {
                    self.at = bytes.len();
                    Some(Part::Torn { offset })
                }
            },
        }
    }
}
