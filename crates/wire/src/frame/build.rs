//! Server frames: never masked, never fragmented, built once with their header.

use super::Opcode;
use crate::close::CloseCode;
use crate::limits::CONTROL_BYTES_MAX;

/// Bytes of payload that room is made for at first, beside those of data.
const PAYLOAD_BYTES: usize = 480;
/// Longest header of a server frame: two bytes and a 64-bit length.
const HEADER_MAX: usize = 10;

const FIN: u8 = 0x80;
/// The bit in the first frame of a message that says it is compressed (RFC 7692 §6).
const RSV1: u8 = 0x40;

/// A whole, final frame with the payload that `fill` appends.
///
/// ```
/// use tickwire_wire::frame::{Opcode, frame};
/// assert_eq!(*frame(Opcode::Text, |payload| payload.extend(b"hi")), *b"\x81\x02hi");
/// ```
pub fn frame(opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) -> Box<[u8]> {
    build(FIN | opcode as u8, PAYLOAD_BYTES, fill)
}

/// Does the same as [`frame`] for a message around `data_bytes` bytes of data, for which room is made at once.
pub(super) fn data_frame(opcode: Opcode, data_bytes: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Box<[u8]> {
    build(FIN | opcode as u8, PAYLOAD_BYTES + data_bytes, fill)
}

/// A whole, final frame of a compressed message.
pub(crate) fn deflated_frame(opcode: Opcode, payload: &[u8]) -> Box<[u8]> {
    build(FIN | RSV1 | opcode as u8, payload.len(), |out| {
        out.extend_from_slice(payload);
    })
}

/// Whether a server frame belongs to a compressed message.
///
/// # Panics
/// When `frame` is empty.
#[must_use]
pub fn is_deflated(frame: &[u8]) -> bool {
    frame[0] & RSV1 != 0
}

fn build(first: u8, payload_bytes: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(HEADER_MAX + payload_bytes);
    bytes.resize(HEADER_MAX, 0);
    fill(&mut bytes);
    let payload_len = bytes.len() - HEADER_MAX;
    let mut header = [0; HEADER_MAX];
    header[0] = first;
    let header_len = match payload_len {
        0..=125 => {
            header[1] = payload_len as u8;
            2
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
            10
        }
    };
    let start = HEADER_MAX - header_len;
    bytes[start..HEADER_MAX].copy_from_slice(&header[..header_len]);
    // A frame is kept for long: it is put where it just fits.
    bytes[start..].into()
}

/// Length of the header of a server frame.
///
/// # Panics
/// When `frame` is shorter than two bytes.
#[must_use]
pub fn header_len(frame: &[u8]) -> usize {
    match frame[1] & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}

/// The payload of a server frame.
///
/// # Panics
/// When `frame` is no whole server frame.
#[must_use]
pub fn payload_of(frame: &[u8]) -> &[u8] {
    &frame[header_len(frame)..]
}

/// A close frame with `code` and as much of `reason` as fits (RFC 6455 §5.5.1).
#[must_use]
pub fn close_frame(code: CloseCode, reason: &str) -> Box<[u8]> {
    frame(Opcode::Close, |payload| {
        payload.extend_from_slice(&code.0.to_be_bytes());
        payload.extend_from_slice(cut_reason(reason).as_bytes());
    })
}

/// As much of `reason` as fits into a close frame.
pub(crate) fn cut_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_has_the_shortest_length() {
        for (len, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let bytes = frame(Opcode::Binary, |out| out.resize(out.len() + len, 7));
            assert_eq!((header_len(&bytes), payload_of(&bytes).len()), (header, len));
        }
    }

    #[test]
    fn close_reason_is_cut_at_a_character() {
        let bytes = close_frame(CloseCode::POLICY, &"é".repeat(100));
        assert_eq!(payload_of(&bytes)[..2], 1008_u16.to_be_bytes());
        assert_eq!(
            std::str::from_utf8(&payload_of(&bytes)[2..]),
            Ok("é".repeat(61).as_str())
        );
    }
}
