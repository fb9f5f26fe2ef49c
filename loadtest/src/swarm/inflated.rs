//! What compressed messages stand for, each inflated once however many connections it comes to.
//!
//! Where the server keeps no context, the bytes of a compressed message alone say what it stands for, so that the same bytes need
//! not be inflated again: they are looked up by a hash, and compared. Any other message that is in the place of one is inflated
//! and takes the place. A client that inflated each delivery would cost more than a server that compresses once.
//!
//! Bounded: so many messages, each as long as it came.

use std::hash::Hasher as _;

use rustc_hash::FxHasher;
use tickwire_wire::deflate::{BadDeflate, Inflater};

/// Messages that are kept; a power of two.
const PLACES: usize = 8_192;
/// Longest message that is accepted.
const BYTES_MAX: usize = 65 * 1024 * 1024;

/// A message as it came and as it is.
#[derive(Debug, Clone, Default)]
struct Known {
    deflated: Vec<u8>,
    plain: Vec<u8>,
}

/// Messages that were inflated, and counts of all that came.
#[derive(Debug, Default)]
pub(crate) struct Inflated {
    inflater: Inflater,
    /// Empty as long as nothing came.
    known: Vec<Known>,
    counts: Counts,
}

/// What came on connections that agreed on compression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Messages.
    pub(crate) messages: u64,
    /// Of these, compressed ones.
    pub(crate) deflated: u64,
    /// Bytes of all of them as they came, without the frames' headers.
    pub(crate) bytes: u64,
    /// Bytes of what they stand for.
    pub(crate) plain_bytes: u64,
    /// Compressed ones that had to be inflated.
    pub(crate) inflated: u64,
}

impl Inflated {
    /// What came so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts a message that is not compressed.
    #[inline]
    pub(crate) fn plain(&mut self, message: &[u8]) {
        self.counts.messages += 1;
        self.counts.bytes += message.len() as u64;
        self.counts.plain_bytes += message.len() as u64;
    }

    /// What a compressed message stands for.
    #[inline]
    pub(crate) fn message(&mut self, deflated: &[u8]) -> Result<&[u8], BadDeflate> {
        if self.known.is_empty() {
            self.known = vec![Known::default(); PLACES];
        }
        let mut hasher = FxHasher::default();
        hasher.write(deflated);
        let place = (hasher.finish() >> 32) as usize % PLACES;
        let known = &mut self.known[place];
        if known.deflated != deflated || deflated.is_empty() {
            let plain = self.inflater.inflate(deflated, BYTES_MAX)?;
            known.plain.clear();
            known.plain.extend_from_slice(plain);
            known.deflated.clear();
            known.deflated.extend_from_slice(deflated);
            self.counts.inflated += 1;
        }
        self.counts.messages += 1;
        self.counts.deflated += 1;
        self.counts.bytes += deflated.len() as u64;
        self.counts.plain_bytes += known.plain.len() as u64;
        Ok(&known.plain)
    }
}

#[cfg(test)]
mod tests {
    use tickwire_wire::deflate::{Deflater, Settings};
    use tickwire_wire::frame::{Opcode, payload_of};

    use super::*;

    #[test]
    fn each_is_inflated_once() {
        let mut deflater = Deflater::new(Settings {
            level: 1,
            threshold_bytes: 0,
        });
        let messages: Vec<(Vec<u8>, Vec<u8>)> = (0..500)
            .map(|number| {
                let plain = format!("{number} {}", "61837.63 ".repeat(20)).into_bytes();
                let frame = deflater.frame(Opcode::Text, &plain).expect("it becomes smaller");
                (payload_of(&frame).to_vec(), plain)
            })
            .collect();
        let mut inflated = Inflated::default();
        for (deflated, plain) in &messages {
            for _ in 0..10 {
                assert_eq!(inflated.message(deflated), Ok(&plain[..]));
            }
        }
        inflated.plain(b"plain");
        let counts = inflated.counts();
        assert_eq!(
            (counts.messages, counts.deflated, counts.inflated),
            (5_001, 5_000, 500)
        );
        assert!(counts.bytes * 2 < counts.plain_bytes, "{counts:?}");
        assert_eq!(inflated.message(b""), Err(BadDeflate::Corrupt));
        assert_eq!(inflated.message(b"\xff"), Err(BadDeflate::Corrupt));
        assert_eq!(inflated.counts(), counts);
    }
}
