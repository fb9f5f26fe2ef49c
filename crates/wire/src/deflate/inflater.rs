//! Inflating messages, one after the other, with memory that is used again.
//!
//! Never writes more than one byte beyond what a message may have. Which verdict a message gets depends on its bytes alone.

use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

use super::TAIL;

/// An empty stored block that ends a stream: only a decoder that stands between two blocks takes it for one.
const END: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];
/// Least capacity of a buffer.
const BYTES_MIN: usize = 1024;
/// Capacity that the buffer keeps from one message to the next.
const KEPT_BYTES: usize = 64 * 1024;
/// Most blocks of a message that are marked as last, that is streams. Each costs as much as hundreds of bytes.
const STREAMS_MAX: u32 = 64;

/// Why a message could not be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadDeflate {
    /// The bytes are no compressed message, or not a whole one.
    #[error("the message is not DEFLATE data, or not all of it (RFC 7692 7.2.2)")]
    Corrupt,
    /// More bytes than a message may have.
    #[error("the message inflates to more than {limit} bytes")]
    TooBig {
        /// What it may have.
        limit: usize,
    },
    /// More blocks that are marked as last than a message may have.
    #[error("the message has more than {limit} blocks that are marked as last")]
    TooManyStreams {
        /// What it may have.
        limit: u32,
    },
}

/// The decompressor of a thread: about 50 KiB once it was used, and what a message inflates to.
#[derive(Debug, Default)]
pub struct Inflater {
    inflate: Option<Decompress>,
    /// The last message stands at its beginning. All of it is initialised, once: what is given to the decompressor to be
    /// filled is as long as the room that there is, and it is asked for each stream of a message.
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

    /// What `payload`, that of a whole compressed message, inflates to, at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When it is corrupt, cut short, would be longer or has more than 64 blocks that are marked as last.
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
    /// Bytes of it that are there.
    length: usize,
    bytes_max: usize,
}

impl Message<'_> {
    /// Inflates `payload`; says how many bytes it has become.
    fn read(mut self, payload: &[u8]) -> Result<usize, BadDeflate> {
        let mut rest = payload;
        let mut streams = 0;
        while self.step(&mut rest)? {
            streams += 1;
            if streams > STREAMS_MAX {
                return Err(BadDeflate::TooManyStreams { limit: STREAMS_MAX });
            }
            if rest.is_empty() {
                return Ok(self.length); // its last block was marked as such
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

    /// Inflates `input` up to its end or that of the stream; says whether it was the latter.
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
            // A full buffer may hide that there is more.
            if input.is_empty() && self.length < end {
                return Ok(false);
            }
            if taken == 0 && made == 0 {
                return Err(BadDeflate::Corrupt); // it is stuck
            }
        }
    }

    /// Makes room for at least one byte: twice as much as there is if it is full. Says where it ends, at most one byte
    /// beyond the limit.
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
