//! Inflates messages one after the other, with memory that is reused.
//!
//! Never writes more than one byte beyond the limit of a message. Whether a message is accepted depends only on its
//! bytes.

use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

use super::TAIL;

/// An empty stored block that ends a stream. Only a decoder between two blocks takes it for one.
const END: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];
/// The least capacity of a buffer, in bytes.
const BYTES_MIN: usize = 1024;
/// The capacity in bytes that the buffer keeps from one message to the next.
const KEPT_BYTES: usize = 64 * 1024;
/// Most blocks of a message that are marked as last; each ends a stream. A stream costs as much as hundreds of bytes.
const STREAMS_MAX: u32 = 64;

/// Why a message could not be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadDeflate {
    /// The bytes are no whole compressed message.
    #[error("the message is not DEFLATE data, or not all of it (RFC 7692 7.2.2)")]
    Corrupt,
    /// The message has more bytes than it may have.
    #[error("the message inflates to more than {limit} bytes")]
    TooBig {
        /// The number of bytes that it may have.
        limit: usize,
    },
    /// More blocks are marked as last than a message may have.
    #[error("the message has more than {limit} blocks that are marked as last")]
    TooManyStreams {
        /// The number of such blocks that it may have.
        limit: u32,
    },
}

/// The decompressor of a thread. After its first use it holds about 50 KiB and the last message.
#[derive(Debug, Default)]
pub struct Inflater {
    inflate: Option<Decompress>,
    /// The last message is at its beginning. All of the buffer is initialised once, and not again for each stream: the
    /// decompressor is given all of the free room to fill.
    buffer: Vec<u8>,
}

impl Inflater {
    /// A decompressor that holds no memory before it is used.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            inflate: None,
            buffer: Vec::new(),
        }
    }

    /// Bytes of memory that it holds for the last message.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// The message that `payload`, a whole compressed message, inflates to. It has at most `bytes_max` bytes.
    ///
    /// # Errors
    /// If it is corrupt, cut short, would be longer, or has more than 64 blocks that are marked as last.
    ///
    /// ```
    /// use tickwire_wire::deflate::Inflater;
    /// let compressed = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]; // RFC 7692 §7.2.3.1
    /// assert_eq!(Inflater::new().inflate(&compressed, 100), Ok(&b"Hello"[..]));
    /// ```
    pub fn inflate(&mut self, payload: &[u8], bytes_max: usize) -> Result<&[u8], BadDeflate> {
        let mut inflate = self.inflate.take().unwrap_or_else(|| Decompress::new(false));
        inflate.reset(false);
        self.buffer.truncate(KEPT_BYTES);
        self.buffer.shrink_to(KEPT_BYTES);
        let length = Message {
            inflate: &mut inflate,
            buffer: &mut self.buffer,
            length: 0,
            bytes_max,
        }
        .read(payload);
        self.inflate = Some(inflate);
        length.map(|length| &self.buffer[..length])
    }
}

/// A message that is being inflated.
struct Message<'a> {
    inflate: &'a mut Decompress,
    buffer: &'a mut Vec<u8>,
    /// The number of bytes inflated so far.
    length: usize,
    bytes_max: usize,
}

impl Message<'_> {
    /// Inflates `payload`. Returns the length of the message.
    fn read(mut self, payload: &[u8]) -> Result<usize, BadDeflate> {
        let mut rest = payload;
        let mut streams = 0;
        while self.step(&mut rest)? {
            streams += 1;
            if streams > STREAMS_MAX {
                return Err(BadDeflate::TooManyStreams { limit: STREAMS_MAX });
            }
            if rest.is_empty() {
                return Ok(self.length); // its last block was marked as last
            }
            // RFC 7692 §7.2.3.5: blocks may follow one that was marked as the last.
            self.inflate.reset(false);
        }
        // RFC 7692 §7.2.2 step 1. An empty message is one byte, the start of an empty stored block (§7.2.3.6).
        let mut tail = &TAIL[..];
        let whole = match self.step(&mut tail)? {
            true => tail.is_empty(),
            false => {
                let mut end = &END[..];
                self.step(&mut end)? && end.is_empty()
            }
        };
        match whole {
            true => Ok(self.length),
            false => Err(BadDeflate::Corrupt),
        }
    }

    /// Inflates `input` up to its end or that of the stream. Returns whether the stream ended.
    fn step(&mut self, input: &mut &[u8]) -> Result<bool, BadDeflate> {
        loop {
            let end = self.make_room();
            let (had_in, had_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(input, &mut self.buffer[self.length..end], FlushDecompress::None)
                .map_err(|_| BadDeflate::Corrupt)?;
            let taken = (self.inflate.total_in() - had_in) as usize;
            let made = (self.inflate.total_out() - had_out) as usize;
            *input = &input[taken..];
            self.length += made;
            if self.length > self.bytes_max {
                return Err(BadDeflate::TooBig {
                    limit: self.bytes_max,
                });
            }
            if status == Status::StreamEnd {
                return Ok(true);
            }
            // A full buffer may hide further output.
            if input.is_empty() && self.length < end {
                return Ok(false);
            }
            if taken == 0 && made == 0 {
                return Err(BadDeflate::Corrupt); // it makes no progress
            }
        }
    }

    /// Makes room for at least one byte; a full buffer doubles. Returns the end of the room, at most one byte beyond
    /// the limit.
    fn make_room(&mut self) -> usize {
        let most = self.bytes_max.saturating_add(1);
        if self.length == self.buffer.len() {
            let length = (2 * self.length).max(BYTES_MIN).min(most).max(self.length + 1);
            self.buffer.reserve_exact(length - self.length);
            self.buffer.resize(length, 0);
        }
        self.buffer.len().min(most)
    }
}
