//! Inflates compressed messages, each once for all connections that it comes to.
//!
//! If the server keeps no context, the bytes of a compressed message alone determine its content. So the same bytes
//! need not be inflated again. A client that inflated each delivery would cost more than a server that compresses once.
//!
//! The number of kept messages is bounded. When there are too many, all are forgotten.

use rustc_hash::FxHashMap;
use tickwire_wire::deflate::{BadDeflate, Inflater};

const KNOWN_MAX: usize = 8_192;
const BYTES_MAX: usize = 65 * 1024 * 1024;

/// The messages that were inflated, and counts of all that came.
#[derive(Debug, Default)]
pub(crate) struct Inflated {
    inflater: Inflater,
    /// The compressed messages, and the index of each one's content.
    known: FxHashMap<Vec<u8>, usize>,
    plain: Vec<Vec<u8>>,
    pub(crate) counts: Counts,
}

/// What came on connections that negotiated compression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) deflated: u64,
    /// The bytes of all messages as they came, without the frames' headers.
    pub(crate) bytes: u64,
    /// The bytes of their content.
    pub(crate) plain_bytes: u64,
    /// How many compressed messages had to be inflated.
    pub(crate) inflated: u64,
}

impl Inflated {
    #[inline]
    pub(crate) fn plain(&mut self, message: &[u8]) {
        self.counts.messages += 1;
        self.counts.bytes += message.len() as u64;
        self.counts.plain_bytes += message.len() as u64;
    }

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
        let counts = inflated.counts;
        assert_eq!(
            (counts.messages, counts.deflated, counts.inflated),
            (5_001, 5_000, 500)
        );
        assert!(counts.bytes * 2 < counts.plain_bytes, "{counts:?}");
        assert_eq!(inflated.message(b""), Err(BadDeflate::Corrupt));
        assert_eq!(inflated.message(b"\xff"), Err(BadDeflate::Corrupt));
        assert_eq!(inflated.counts, counts);
    }
}
