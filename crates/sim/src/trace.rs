//! A trace of a run: a hash by which two runs can be compared and, on request, text.
//!
//! Each operation, each byte that a connection took and each frame that a client read goes into the hash. The text is
//! bounded: the last [`LINES_MAX`] lines are kept.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

/// How many lines of a run are kept: what led to a fault is at the end.
const LINES_MAX: usize = 400;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a, over words of eight bytes for speed.
pub(crate) fn hash(mut hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word))
            .wrapping_mul(PRIME)
            .rotate_left(23);
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    (hash ^ bytes.len() as u64).wrapping_mul(PRIME)
}

/// The hash of a text.
pub(crate) fn hash_of(text: &str) -> u64 {
    hash(OFFSET, text.as_bytes())
}

/// The hash of a sequence of numbers.
pub(crate) fn hash_numbers(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(OFFSET, |hash, number| {
        (hash ^ number).wrapping_mul(PRIME).rotate_left(23)
    })
}

/// The trace so far.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// An empty trace. It keeps lines if `with_lines`.
    pub(crate) fn new(with_lines: bool) -> Self {
        Self {
            hash: OFFSET,
            lines: with_lines.then(VecDeque::new),
        }
    }

    /// Adds bytes that were transferred.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.hash = hash(self.hash, bytes);
    }

    /// Adds a number that tells what happened.
    pub(crate) fn number(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(PRIME).rotate_left(23);
    }

    /// Adds a line for a person who looks at the run.
    pub(crate) fn line(&mut self, line: impl FnOnce(&mut String) -> fmt::Result) {
        let Some(lines) = &mut self.lines else { return };
        let mut text = String::new();
        // Writing to memory fails only if formatting the value does.
        if line(&mut text).is_err() {
            let _ = write!(text, " …");
        }
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(text);
    }

    /// The hash and the lines.
    pub(crate) fn finish(self) -> (u64, Vec<String>) {
        (self.hash, self.lines.unwrap_or_default().into())
    }
}
