//! Compressing one message for all sessions that take it compressed, and inflating a message of a client.

use std::fmt;

use tickwire_wire::codec::DataOp;
use tickwire_wire::deflate::{Deflater, Inflater, Settings};
use tickwire_wire::frame::payload_of;
use tickwire_wire::limits::DEFLATE_LEVEL;
use tickwire_wire::{Codec, Epoch, Payload};

use crate::case::HotPath;
use crate::encode::encode;

/// An uncompressed message, and the compressor of a shard.
pub struct Deflate {
    message: Vec<u8>,
    codec: Codec,
    deflater: Deflater,
}

impl fmt::Debug for Deflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflate")
            .field("bytes", &self.message.len())
            .finish_non_exhaustive()
    }
}

impl Deflate {
    /// Compresses `payload`, encoded as an `op` in `codec`, at `level`. Level 0 means the broker's default.
    #[must_use]
    pub fn new(payload: &Payload, op: DataOp, codec: Codec, level: u8) -> Self {
        let frame = encode(payload, &Epoch::from("k3v9"), op, codec);
        let level = if level == 0 { DEFLATE_LEVEL } else { level };
        Self {
            message: payload_of(&frame).to_vec(),
            codec,
            deflater: Deflater::new(Settings {
                level,
                threshold_bytes: 0,
            }),
        }
    }
}

impl HotPath for Deflate {
    type Output = Option<Box<[u8]>>;

    fn run(&mut self) -> Self::Output {
        self.deflater.frame(self.codec.opcode(), &self.message)
    }

    fn check(&mut self, frame: &Self::Output) {
        let frame = frame.as_ref().expect("market data becomes smaller");
        let mut inflater = Inflater::new();
        let inflated = inflater.inflate(payload_of(frame), self.message.len());
        assert_eq!(inflated.map(<[u8]>::to_vec), Ok(self.message.clone()));
    }
}

/// A compressed message of a client, and the decompressor of a shard.
#[derive(Debug)]
pub struct Inflate {
    compressed: Vec<u8>,
    message: Vec<u8>,
    inflater: Inflater,
}

impl Inflate {
    /// Inflates `payload`, encoded as JSON and compressed.
    ///
    /// # Panics
    /// When compression does not make the message smaller, as it does market data.
    #[must_use]
    pub fn new(payload: &Payload) -> Self {
        let mut deflate = Deflate::new(payload, DataOp::Update, Codec::Json, 0);
        let frame = deflate.run();
        Self {
            compressed: payload_of(&frame.expect("market data becomes smaller")).to_vec(),
            message: deflate.message,
            inflater: Inflater::new(),
        }
    }
}

impl HotPath for Inflate {
    /// The message's length.
    type Output = usize;

    fn run(&mut self) -> usize {
        let inflated = self.inflater.inflate(&self.compressed, self.message.len());
        inflated.expect("what was compressed").len()
    }

    fn check(&mut self, len: &usize) {
        assert_eq!(*len, self.message.len());
        let inflated = self.inflater.inflate(&self.compressed, *len);
        assert_eq!(inflated.map(<[u8]>::to_vec), Ok(self.message.clone()));
    }
}
