//! Reads the entries of a part of a segment, a piece of the file at a time.

use std::io;
use std::ops::ControlFlow;

use tickwire_lane::{FrameError, first_frame, frame_length, next_frame};

use crate::journal::disk::{ReadFile, read_all};

/// What a scan finds.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A whole frame.
    Frame {
        /// Where it begins in the file.
        offset: u64,
        /// Its bytes.
        frame: &'a [u8],
    },
    /// Bytes that are no frame.
    Damage {
        /// Where they begin in the file.
        offset: u64,
    },
}

/// Reads frames with one buffer, which is kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    buffer: Vec<u8>,
}

impl Scanner {
    /// Calls `visit` with each frame of `file` from `from` up to `end`, until it breaks. Reads `piece` bytes at a time.
    /// Returns where the last whole frame ends.
    pub(super) fn run(
        &mut self,
        file: &dyn ReadFile,
        (from, end): (u64, u64),
        piece: usize,
        mut visit: impl FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> io::Result<u64> {
        let (mut at, mut whole, mut wanted) = (from, from, piece);
        // Where damage begins that was told, while what follows it is looked for.
        let mut damage = None;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            self.buffer.resize(wanted.min(left), 0);
            let count = read_all(file, &mut self.buffer, at)?;
            self.buffer.truncate(count);
            let is_last = count == left || count < wanted.min(left);
            let (mut used, read) = (0, wanted);
            wanted = piece;
            while used < count {
                let rest = &self.buffer[used..];
                let offset = at + used as u64;
                match first_frame(rest) {
                    Ok(frame) => {
                        used += frame.len();
                        whole = at + used as u64;
                        if visit(Found::Frame { offset, frame }).is_break() {
                            return Ok(whole);
                        }
                        continue;
                    }
                    Err(FrameError::Short) if !is_last => {
                        let length = frame_length(rest);
                        // Nothing that the file cannot have is read for.
                        if length.is_none_or(|length| offset.saturating_add(length as u64) <= end) {
                            wanted = length.map_or(piece, |length| length.max(piece));
                            break;
                        }
                    }
                    Err(_) => {}
                }
                if damage != Some(offset) && visit(Found::Damage { offset }).is_break() {
                    return Ok(whole);
                }
                match next_frame(&self.buffer, used + 1) {
                    Some(next) => used = next,
                    None if is_last => return Ok(whole),
                    // The next one may begin in these bytes and end behind them.
                    None => {
                        (damage, wanted) = (Some(offset), read.saturating_mul(2));
                        break;
                    }
                }
            }
            at += used as u64;
            if is_last && used >= count {
                break;
            }
        }
        Ok(whole)
    }
}
