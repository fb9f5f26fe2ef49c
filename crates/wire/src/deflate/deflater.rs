//! Compresses messages one after the other, with memory that is reused.
//!
//! It holds about 300 KiB once a message was compressed, whatever the number of connections. It never returns a frame
//! that is not smaller than the plain one.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{TAIL, WindowBits};
use crate::frame::{Opcode, deflated_frame, frame};
use crate::limits::{DEFLATE_LEVEL, DEFLATE_THRESHOLD_BYTES};

/// The capacity in bytes that a buffer keeps from one message to the next.
const KEPT_BYTES: usize = 64 * 1024;

/// Which messages are compressed, and how hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// From 1, the fastest, to 9, the smallest.
    pub level: u8,
    /// Messages with fewer bytes than this are not compressed.
    pub threshold_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: DEFLATE_LEVEL,
            threshold_bytes: DEFLATE_THRESHOLD_BYTES,
        }
    }
}

/// The compressor of a thread.
#[derive(Debug)]
pub struct Deflater {
    settings: Settings,
    compress: Option<Compress>,
    plain: Vec<u8>,
    deflated: Vec<u8>,
}

/// A frame for receivers of compressed messages.
#[derive(Debug)]
pub(crate) struct Made {
    /// The frame.
    pub(crate) frame: Box<[u8]>,
    /// Whether it is compressed.
    pub(crate) deflated: bool,
    /// The length of the message in bytes.
    pub(crate) payload_len: usize,
}

impl Deflater {
    /// A compressor that holds no memory before it is used.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            compress: None,
            plain: Vec::new(),
            deflated: Vec::new(),
        }
    }

    /// A server frame with the whole message `payload`. It is compressed if that makes it smaller and the receiver can
    /// read it. `window` is the agreed window of the receiver; `None` if it takes no compressed messages.
    ///
    /// ```
    /// use tickwire_wire::deflate::{Deflater, Settings, WindowBits};
    /// use tickwire_wire::frame::Opcode;
    /// let mut deflater = Deflater::new(Settings { level: 6, threshold_bytes: 0 });
    /// let frame = deflater.message(Opcode::Text, &[b'a'; 100], Some(WindowBits::MAX));
    /// assert_eq!(frame[0], 0xc1); // FIN, RSV1, text
    /// assert_eq!(deflater.message(Opcode::Text, b"short", Some(WindowBits::MAX))[..2], [0x81, 5]);
    /// ```
    pub fn message(&mut self, opcode: Opcode, payload: &[u8], window: Option<WindowBits>) -> Box<[u8]> {
        let fits = window.is_some_and(|window| WindowBits::for_message(payload.len()) <= window);
        let deflated = fits.then(|| self.frame(opcode, payload)).flatten();
        deflated.unwrap_or_else(|| frame(opcode, |out| out.extend_from_slice(payload)))
    }

    /// The compressed server frame of `payload`, for a window that holds all of it. `None` if `payload` is shorter than
    /// the threshold or would not become smaller.
    pub fn frame(&mut self, opcode: Opcode, payload: &[u8]) -> Option<Box<[u8]>> {
        if payload.len() < self.settings.threshold_bytes.max(1) {
            return None;
        }
        let deflated = self.deflate(payload);
        let smaller = deflated.filter(|deflated| deflated.len() < payload.len());
        let bytes = smaller.map(|deflated| deflated_frame(opcode, deflated));
        self.deflated.shrink_to(KEPT_BYTES);
        bytes
    }

    /// Does the same as [`Self::frame`] for the payload that `fill` appends. If there is no compressed frame, returns
    /// the plain one.
    pub(crate) fn frame_of(&mut self, opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) -> Made {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        fill(&mut plain);
        let deflated = self.frame(opcode, &plain);
        let made = Made {
            deflated: deflated.is_some(),
            payload_len: plain.len(),
            frame: deflated.unwrap_or_else(|| frame(opcode, |out| out.extend_from_slice(&plain))),
        };
        self.plain = plain;
        self.plain.shrink_to(KEPT_BYTES);
        made
    }

    /// The payload of the compressed message (RFC 7692 §7.2.1). `None` if it would be longer than `payload`.
    fn deflate(&mut self, payload: &[u8]) -> Option<&[u8]> {
        let level = Compression::new(u32::from(self.settings.level));
        let compress = self.compress.get_or_insert_with(|| Compress::new(level, false));
        compress.reset();
        self.deflated.clear();
        // There is room for the worst case, nine bits for each byte. If zlib-rs 0.6.8 lacks room, it keeps the rest of
        // its output across a reset, and panics some messages later.
        let worst = payload.len() + payload.len() / 8 + 64;
        self.deflated.reserve(worst + 2 * TAIL.len());
        // The window is always the largest. A message that is not longer than a receiver's window holds no larger
        // distance.
        let status = compress.compress_vec(payload, &mut self.deflated, FlushCompress::Sync);
        let all =
            compress.total_in() == payload.len() as u64 && self.deflated.len() < self.deflated.capacity();
        if !matches!(status, Ok(Status::Ok)) || !all {
            self.compress = None; // it may still hold output
            return None;
        }
        self.deflated.strip_suffix(&TAIL)
    }
}

impl Default for Deflater {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}
