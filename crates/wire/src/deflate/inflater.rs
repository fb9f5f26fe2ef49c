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
}

/// The decompressor of a thread: about 50 KiB once it was used, and what a message inflates to.
#[derive(Debug, Default)]
pub struct Inflater {
    inflate: Option<Decompress>,
    bytes: Vec<u8>,
}

impl Inflater {
    /// A decompressor that holds no memory before it is used.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            inflate: None,
            bytes: Vec::new(),
        }
    }

    /// Bytes of memory that it holds for the last message.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// What `payload`, that of a whole compressed message, inflates to, at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When it is corrupt, cut short or would be longer.
    ///
    /// ```
    /// use tickwire_wire::deflate::Inflater;
    /// let compressed = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]; // RFC 7692 §7.2.3.1
    /// assert_eq!(Inflater::new().inflate(&compressed, 100), Ok(&b"Hello"[..]));
    /// ```
    pub fn inflate(&mut self, payload: &[u8], bytes_max: usize) -> Result<&[u8], BadDeflate> {
        let mut inflate = self.inflate.take().unwrap_or_else(|| Decompress::new(false));
        inflate.reset(false);
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        let whole = Message {
            inflate: &mut inflate,
            bytes: &mut self.bytes,
            bytes_max,
        }
        .read(payload);
        self.inflate = Some(inflate);
        whole.map(|()| &*self.bytes)
    }
}

/// A message that is being inflated.
struct Message<'a> {
    inflate: &'a mut Decompress,
    bytes: &'a mut Vec<u8>,
    bytes_max: usize,
}

impl Message<'_> {
    fn read(mut self, payload: &[u8]) -> Result<(), BadDeflate> {
        let mut rest = payload;
        while self.step(&mut rest)? {
            if rest.is_empty() {
                return Ok(()); // its last block was marked as such
            }
            // RFC 7692 §7.2.3.5: blocks may follow one that was marked as the last.
            self.inflate.reset(false);
        }
        // RFC 7692 §7.2.2 step 1. An empty message is one byte, the start of an empty stored block (§7.2.3.6).
        let mut tail = &TAIL[..];
        if self.step(&mut tail)? {
            return if tail.is_empty() {
                Ok(())
            } else {
                Err(BadDeflate::Corrupt)
            };
        }
        let mut end = &END[..];
        match self.step(&mut end)? && end.is_empty() {
            true => Ok(()),
            false => Err(BadDeflate::Corrupt),
        }
    }

    /// Inflates `input` up to its end or that of the stream; says whether it was the latter.
    fn step(&mut self, input: &mut &[u8]) -> Result<bool, BadDeflate> {
        loop {
            self.make_room();
            let (before, had) = (self.inflate.total_in(), self.bytes.len());
            let status = self
                .inflate
                .decompress_vec(input, self.bytes, FlushDecompress::None)
                .map_err(|_| BadDeflate::Corrupt)?;
            let taken = (self.inflate.total_in() - before) as usize;
            *input = &input[taken..];
            if self.bytes.len() > self.bytes_max {
                return Err(BadDeflate::TooBig {
                    limit: self.bytes_max,
                });
            }
            if status == Status::StreamEnd {
                return Ok(true);
            }
            // A full buffer may hide that there is more.
            if input.is_empty() && self.bytes.len() < self.bytes.capacity() {
                return Ok(false);
            }
            if taken == 0 && self.bytes.len() == had {
                return Err(BadDeflate::Corrupt); // it is stuck
            }
        }
    }

    /// Makes room for at least one byte: as much again as there is, but not more than one byte beyond the limit.
    fn make_room(&mut self) {
        let len = self.bytes.len();
        if len == self.bytes.capacity() {
            let most = self.bytes_max.saturating_add(1);
            let capacity = (2 * len).max(BYTES_MIN).min(most).max(len + 1);
            self.bytes.reserve_exact(capacity - len);
        }
    }
}
