//! What compressed messages stand for, each inflated once however many connections it comes to.
//!
//! Where the server keeps no context, the bytes of a compressed message alone say what it stands for, so that the same bytes need
//! not be inflated again. A client that inflated each delivery would cost more than a server that compresses once.
//!
//! Bounded: so many messages, each as long as it came; when they are too many, all are forgotten.

use rustc_hash::FxHashMap;
use tickwire_wire::deflate::{BadDeflate, Inflater};

/// Messages that are kept.
const KNOWN_MAX: usize = 8_192;
/// Longest message that is accepted.
const BYTES_MAX: usize = 65 * 1024 * 1024;

/// Messages that were inflated, and counts of all that came.
#[derive(Debug, Default)]
pub(crate) struct Inflated {
    inflater: Inflater,
    /// What came, and where it is as it is.
    known: FxHashMap<Vec<u8>, usize>,
    plain: Vec<Vec<u8>>,
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
        let place = match self.known.get(deflated) {
            Some(place) => *place,
            None => self.inflate(deflated)?,
        };
        let plain = &self.plain[place];
        self.counts.messages += 1;
        self.counts.deflated += 1;
        self.counts.bytes += deflated.len() as u64;
        self.counts.plain_bytes += plain.len() as u64;
        Ok(plain)
    }

    fn inflate(&mut self, deflated: &[u8]) -> Result<usize, BadDeflate> {
        let plain = self.inflater.inflate(deflated, BYTES_MAX)?;
        if self.plain.len() >= KNOWN_MAX {
            self.known.clear();
            self.plain.clear();
        }
        let place = self.plain.len();
        self.plain.push(plain.to_vec());
        self.known.insert(deflated.to_vec(), place);
        self.counts.inflated += 1;
        Ok(place)
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
