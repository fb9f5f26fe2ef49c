//! The bytes of one data message for its receivers: frames and events. Each encoding is made when a receiver first
//! needs it, and then shared.
//!
//! A compressed frame is kept only if it is smaller than the plain one. Otherwise receivers of compressed frames get
//! the plain one, which is not kept twice.

use std::sync::OnceLock;

use super::build::data_frame;
use super::payload_of;
use crate::codec::{Codec, DataOp, Stamp};
use crate::deflate::{Deflater, Encoding, Variant, WindowBits};
use crate::dialect::Dialect;
use crate::message::Payload;
use crate::sse::{self, Framing};

/// A data message that is to be encoded.
#[derive(Debug, Clone, Copy)]
pub struct DataMessage<'a> {
    /// Its form.
    pub op: DataOp,
    /// Its place in its topic.
    pub stamp: Stamp<'a>,
    /// Its content.
    pub payload: &'a Payload,
}

impl DataMessage<'_> {
    fn encode(self, codec: Codec, out: &mut Vec<u8>) {
        codec.encode_data(self.op, self.stamp, self.payload, out);
    }
}

/// One data message's frames and events.
#[derive(Debug, Default)]
pub struct Frames {
    plain: [OnceLock<Box<[u8]>>; Codec::ALL.len()],
    // Often no receiver needs the others, so they take no more than a pointer.
    others: OnceLock<Box<Others>>,
}

/// The encodings of a message that only some receivers need.
#[derive(Debug, Default)]
struct Others {
    deflated: [OnceLock<Deflated>; Codec::ALL.len()],
    /// The event, as a chunk of an HTTP body.
    event: OnceLock<Box<[u8]>>,
}

/// The result of compressing a message.
#[derive(Debug)]
enum Deflated {
    /// The frame, and the smallest window that can read it.
    Frame(Box<[u8]>, WindowBits),
    /// It is not smaller, or the message is too short to try.
    Useless,
}

impl Deflated {
    fn for_window(&self, window: WindowBits) -> Option<&[u8]> {
        match self {
            Self::Frame(bytes, least) if *least <= window => Some(bytes),
            Self::Frame(..) | Self::Useless => None,
        }
    }
}

/// The bytes of a message for one receiver.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'a> {
    /// The frame or event, including its header.
    pub bytes: &'a [u8],
    /// The encodings that this call made: the compressed frame and the plain one.
    pub encoded: [Option<Encoded>; 2],
}

/// A new encoding of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// The encoding.
    pub encoding: Encoding,
    /// The length of the message in bytes.
    pub payload_bytes: usize,
    /// The length of its frame in bytes, without the header: the same unless it is compressed. For an event, its whole
    /// length.
    pub frame_payload_bytes: usize,
}

impl Frames {
    /// The plain frame of `message` for receivers of `codec`, and the encoding if this call made it.
    pub fn plain(&self, codec: Codec, message: DataMessage<'_>) -> Shared<'_> {
        let mut encoded = None;
        let bytes = self.plain[codec as usize].get_or_init(|| {
            let data_bytes = message.payload.kept_bytes();
            let frame = data_frame(codec.opcode(), data_bytes, |out| message.encode(codec, out));
            let payload_bytes = payload_of(&frame).len();
            encoded = Some(Encoded {
                encoding: Encoding::of(codec, false),
                payload_bytes,
                frame_payload_bytes: payload_bytes,
            });
            frame
        });
        let encoded = [encoded, None];
        Shared { bytes, encoded }
    }

    /// The bytes of `message` for receivers of `dialect`, and the encodings that this call made.
    pub fn encode(&self, dialect: Dialect, message: DataMessage<'_>, deflater: &mut Deflater) -> Shared<'_> {
        match dialect {
            Dialect::WebSocket(variant) => self.frame(variant, message, deflater),
            Dialect::Sse(framing) => self.event(framing, message),
        }
    }

    fn frame(&self, variant: Variant, message: DataMessage<'_>, deflater: &mut Deflater) -> Shared<'_> {
        let codec = variant.codec();
        let mut deflated_now = None;
        if let Some(window) = variant.window() {
            let deflated = self.others().deflated[codec as usize].get_or_init(|| {
                let made = deflater.frame_of(codec.opcode(), |out| self.write(codec, message, out));
                deflated_now = Some(Encoded {
                    encoding: Encoding::of(codec, made.deflated),
                    payload_bytes: made.payload_len,
                    frame_payload_bytes: payload_of(&made.frame).len(),
                });
                if made.deflated {
                    return Deflated::Frame(made.frame, WindowBits::for_message(made.payload_len));
                }
                if self.plain[codec as usize].set(made.frame).is_err() {
                    deflated_now = None; // there was a frame already
                }
                Deflated::Useless
            });
            if let Some(bytes) = deflated.for_window(window) {
                let encoded = [deflated_now, None];
                return Shared { bytes, encoded };
            }
        }
        let Shared { bytes, encoded } = self.plain(codec, message);
        let encoded = [deflated_now, encoded[0]];
        Shared { bytes, encoded }
    }

    fn event(&self, framing: Framing, message: DataMessage<'_>) -> Shared<'_> {
        let mut encoded = None;
        let bytes = self.others().event.get_or_init(|| {
            let mut payload_bytes = 0;
            let chunk = Framing::Chunked.make(|out| {
                sse::write_data(message.op, out, |out| {
                    let start = out.len();
                    self.write(Codec::Json, message, out);
                    payload_bytes = out.len() - start;
                });
            });
            encoded = Some(Encoded {
                encoding: Encoding::Event,
                payload_bytes,
                frame_payload_bytes: chunk.len(),
            });
            chunk.into_boxed_slice()
        });
        let (bytes, encoded) = (framing.of_chunk(bytes), [encoded, None]);
        Shared { bytes, encoded }
    }

    /// Appends the encoded message: from its plain frame, or encoded now if there is none.
    fn write(&self, codec: Codec, message: DataMessage<'_>, out: &mut Vec<u8>) {
        match self.plain[codec as usize].get() {
            Some(plain) => out.extend_from_slice(payload_of(plain)),
            None => message.encode(codec, out),
        }
    }

    fn others(&self) -> &Others {
        self.others.get_or_init(Box::default)
    }

    /// The bytes for receivers of `dialect`, if they were made before.
    #[inline]
    #[must_use]
    pub fn encoded(&self, dialect: Dialect) -> Option<&[u8]> {
        let variant = match dialect {
            Dialect::WebSocket(variant) => variant,
            Dialect::Sse(framing) => {
                let chunk = self.others.get()?.event.get()?;
                return Some(framing.of_chunk(chunk));
            }
        };
        let codec = variant.codec() as usize;
        if let Some(window) = variant.window() {
            let deflated = self.others.get()?.deflated[codec].get()?;
            if let Some(bytes) = deflated.for_window(window) {
                return Some(bytes);
            }
        }
        self.plain[codec].get().map(AsRef::as_ref)
    }
}
