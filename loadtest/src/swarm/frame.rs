//! Parses server frames (RFC 6455 §5.2) from bytes as they come.
//!
//! The parser is strict. These are faults: a masked frame, a reserved bit (except RSV1 if compression was negotiated),
//! a reserved opcode, a longer length than needed, and a fragment. Tickwire never fragments, so a fragment means that
//! something is wrong. Text is passed on as bytes; the caller checks whether it is UTF-8. The parser holds the bytes of
//! one incomplete frame at most, and nothing between frames, so that tens of thousands of quiet connections cost
//! nothing. `swarm` bounds what all parsers hold together.

use thiserror::Error;
use tickwire_wire::frame::Opcode;
use tickwire_wire::limits::CONTROL_BYTES_MAX;

/// Longest payload that is accepted, in bytes. NATS puts everything that waits for a reader into one frame: up to its
/// `max_pending` of 64 MiB, and the message that exceeds it.
const PAYLOAD_BYTES_MAX: usize = 65 * 1024 * 1024;

/// Set in the first frame of a compressed message.
const RSV1: u8 = 0x40;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: Opcode,
    /// Whether it is a compressed message (RFC 7692 §6).
    pub(crate) deflated: bool,
    pub(crate) payload: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum FrameFault {
    #[error("a frame has reserved bits set, first byte {0:#04x}")]
    Reserved(u8),
    #[error("a frame has the reserved opcode {0:#x}")]
    Opcode(u8),
    #[error("a {0} frame is masked, which only a client's may be")]
    Masked(Opcode),
    #[error("a {0} frame is a fragment, which is not expected here")]
    Fragment(Opcode),
    #[error("a {0} frame has {1} bytes, a control frame at most {CONTROL_BYTES_MAX}")]
    LongControl(Opcode, usize),
    #[error("the length {0} is written longer than needed")]
    LongLength(u64),
    #[error("a frame of {0} bytes, at most {PAYLOAD_BYTES_MAX} are accepted")]
    TooLong(u64),
}

#[derive(Debug, PartialEq, Eq)]
enum Begins<'a> {
    /// A complete frame, and its length.
    Frame(Frame<'a>, usize),
    /// A part of a frame. At least this many bytes are missing.
    Part(usize),
}

fn begins(bytes: &[u8], deflate: bool) -> Result<Begins<'_>, FrameFault> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(Begins::Part(2 - bytes.len()));
    };
    let deflated = deflate && first & 0x78 == RSV1;
    if first & 0x70 != 0 && !deflated {
        return Err(FrameFault::Reserved(*first));
    }
    let opcode = Opcode::from_bits(first & 0x0f).ok_or(FrameFault::Opcode(first & 0x0f))?;
    if second & 0x80 != 0 {
        return Err(FrameFault::Masked(opcode));
    }
    if first & 0x80 == 0 || opcode == Opcode::Continuation {
        return Err(FrameFault::Fragment(opcode));
    }
    let (header, length, least) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b])), 126),
        (126, _) => return Ok(Begins::Part(4 - bytes.len())),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            (10, length, 0x1_0000)
        }
        (127, _) => return Ok(Begins::Part(10 - bytes.len())),
        (short, _) => (2, u64::from(short), 0),
    };
    if length < least {
        return Err(FrameFault::LongLength(length));
    }
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= PAYLOAD_BYTES_MAX)
        .ok_or(FrameFault::TooLong(length))?;
    if opcode.is_control() && length > CONTROL_BYTES_MAX {
        return Err(FrameFault::LongControl(opcode, length));
    }
    let end = header + length;
    let Some(payload) = bytes.get(header..end) else {
        return Ok(Begins::Part(end - bytes.len()));
    };
    let frame = Frame {
        opcode,
        deflated,
        payload,
    };
    Ok(Begins::Frame(frame, end))
}

#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    rest: Vec<u8>,
    deflate: bool,
}

impl FrameReader {
    pub(crate) fn accept_deflated(&mut self) {
        self.deflate = true;
    }

    pub(crate) fn accepts_deflated(&self) -> bool {
        self.deflate
    }

    /// How many bytes of an incomplete frame it holds.
    pub(crate) fn held(&self) -> usize {
        self.rest.len()
    }

    /// Takes `bytes` and passes to `each` every frame that is now complete, in order.
    ///
    /// # Errors
    /// At the first frame that breaks a rule. Nothing after it can be trusted.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Frame<'_>),
    ) -> Result<(), FrameFault> {
        while !self.rest.is_empty() {
            match begins(&self.rest, self.deflate)? {
                Begins::Part(_) if bytes.is_empty() => return Ok(()),
                Begins::Part(missing) => {
                    let (part, after) = bytes.split_at(missing.min(bytes.len()));
                    // The room is for this frame and not twice as much. Memory that is never written to is never used.
                    self.rest.reserve_exact(missing);
                    self.rest.extend_from_slice(part);
                    bytes = after;
                }
                Begins::Frame(frame, _) => {
                    each(frame);
                    self.rest = Vec::new();
                }
            }
        }
        while !bytes.is_empty() {
            match begins(bytes, self.deflate)? {
                Begins::Frame(frame, end) => {
                    each(frame);
                    bytes = &bytes[end..];
                }
                Begins::Part(missing) => {
                    self.rest.reserve_exact(bytes.len() + missing);
                    self.rest.extend_from_slice(bytes);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tickwire_wire::frame::frame;

    use super::*;

    /// The frames of `pieces`, as opcode and payload, and the fault if there is one.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<(Opcode, Vec<u8>)>, Option<FrameFault>) {
        let (mut reader, mut frames) = (FrameReader::default(), Vec::new());
        for piece in pieces {
            let fed = reader.feed(piece, |frame| frames.push((frame.opcode, frame.payload.to_vec())));
            if let Err(fault) = fed {
                return (frames, Some(fault));
            }
        }
        (frames, None)
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (opcode, length) in [
            (Opcode::Text, 0),
            (Opcode::Ping, 125),
            (Opcode::Text, 126),
            (Opcode::Binary, 70_000),
            (Opcode::Close, 2),
        ] {
            let payload: Vec<u8> = (0..length).map(|i: u32| (i % 251) as u8).collect();
            bytes.extend_from_slice(&frame(opcode, |out| out.extend_from_slice(&payload)));
            expected.push((opcode, payload));
        }
        for size in [1, 2, 3, 5, 127, 4_096, bytes.len()] {
            assert_eq!(
                read(bytes.chunks(size)),
                (expected.clone(), None),
                "{size} bytes at a time"
            );
        }
    }

    #[test]
    fn what_is_held_is_what_came_of_one_frame() {
        let whole = frame(Opcode::Binary, |out| out.resize(100_000, b'x'));
        let mut reader = FrameReader::default();
        let (mut frames, mut held) = (0, 0);
        for piece in whole.chunks(30_000) {
            reader.feed(piece, |_| frames += 1).expect("a good frame");
            held = if frames == 0 { held + piece.len() } else { 0 };
            assert_eq!(reader.held(), held);
            assert!(reader.rest.capacity() <= whole.len());
        }
        assert_eq!((frames, reader.held(), reader.rest.capacity()), (1, 0, 0));
    }

    #[test]
    fn a_compressed_message_is_told_where_it_may_come() {
        let mut reader = FrameReader::default();
        reader.accept_deflated();
        let mut frames = Vec::new();
        for byte in b"\xc1\x01x\x82\x01y" {
            let fed = reader.feed(&[*byte], |frame| {
                frames.push((frame.deflated, frame.payload.to_vec()));
            });
            fed.expect("good frames");
        }
        assert_eq!(frames, [(true, b"x".to_vec()), (false, b"y".to_vec())]);
        for bad in [b"\xc9\0", b"\xe1\0", b"\xa1\0"] {
            assert_eq!(reader.feed(bad, |_| {}), Err(FrameFault::Reserved(bad[0])));
        }
    }

    #[test]
    fn frames_that_break_a_rule() {
        use FrameFault::{Fragment, LongControl, LongLength, Masked, Reserved, TooLong};
        for (bytes, fault) in [
            (&b"\xc1\0"[..], Reserved(0xc1)),
            (b"\x83\0", FrameFault::Opcode(3)),
            (b"\x81\x80", Masked(Opcode::Text)),
            (b"\x01\0", Fragment(Opcode::Text)),
            (b"\x80\0", Fragment(Opcode::Continuation)),
            (b"\x89\x7e\0\x7e", LongControl(Opcode::Ping, 126)),
            (b"\x81\x7e\0\x7d", LongLength(125)),
            (b"\x81\x7f\0\0\0\0\0\0\xff\xff", LongLength(0xffff)),
            (b"\x81\x7f\0\0\0\0\x04\x10\0\x01", TooLong(0x410_0001)),
        ] {
            assert_eq!(read([bytes]), (vec![], Some(fault)));
        }
        // NATS sends everything that waits for a reader in one frame.
        assert_eq!(read([&b"\x82\x7f\0\0\0\0\x04\0\0\0"[..]]), (vec![], None));
    }
}
