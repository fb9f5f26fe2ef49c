//! Client frames: masked, and either a whole message or a fragment. Clients and tests of the parser use them.

use super::{Opcode, frame, header_len, mask};

/// A client frame with `payload` masked by `mask`. With `fin` it ends its message.
///
/// RFC 6455 §5.3 requires a mask that cannot be predicted. The caller provides it.
///
/// ```
/// use tickwire_wire::frame::{Opcode, client_frame};
/// let bytes = client_frame(true, Opcode::Text, [0x37, 0xfa, 0x21, 0x3d], b"Hello"); // RFC 6455 §5.7
/// assert_eq!(bytes, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
/// ```
#[must_use]
pub fn client_frame(fin: bool, opcode: Opcode, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(opcode, |out| out.extend_from_slice(payload)).into_vec();
    let header = header_len(&bytes);
    mask::apply(&mut bytes[header..], mask);
    if !fin {
        bytes[0] &= 0x7f;
    }
    bytes[1] |= 0x80;
    bytes.splice(header..header, mask);
    bytes
}

/// Does the same as [`client_frame`] with RSV1 set: the first frame of a compressed message (RFC 7692 §6.1). `payload`
/// must be compressed already.
#[must_use]
pub fn deflated_client_frame(fin: bool, opcode: Opcode, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = client_frame(fin, opcode, mask, payload);
    bytes[0] |= 0x40;
    bytes
}
