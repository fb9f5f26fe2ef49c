//! A client frame's header (RFC 6455 §5.2), checked as far as its bytes have arrived.
//!
//! Every rule is applied to the first byte to which it can be applied. So the result depends only on the bytes, and not
//! on how they were cut.

use super::{Limits, Violation};
use crate::frame::Opcode;
use crate::limits::CONTROL_BYTES_MAX;

/// Longest header of a client frame: two bytes, a 64-bit length and the mask.
pub(super) const HEADER_MAX: usize = 14;

const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_IN_16_BITS: u8 = 126;
const LENGTH_IN_64_BITS: u8 = 127;

/// The reserved bits.
const RSV: u8 = 0x70;
/// The reserved bit that permessage-deflate uses, on the first frame of a message (RFC 7692 §6).
const RSV1: u8 = 0x40;

/// A valid header, and the progress in its frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    /// Whether it begins a compressed message.
    pub(super) deflated: bool,
    /// The mask for the next payload byte.
    pub(super) mask: [u8; 4],
    /// Payload bytes that are still to come.
    pub(super) missing: usize,
}

/// The message under way, as far as its frames have arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// The number of its whole fragments so far.
    pub(super) fragments: u32,
    /// The number of its bytes so far.
    pub(super) bytes: usize,
}

impl Head {
    /// The header at the start of `bytes` and its length. `None` as long as it is not whole. If `deflate` is set,
    /// messages may be compressed.
    pub(super) fn read(
        bytes: &[u8],
        before: Option<Before>,
        limits: Limits,
        deflate: bool,
    ) -> Result<Option<(Self, usize)>, Violation> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let opcode = opcode(first, before, limits, deflate)?;
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        if second & MASKED == 0 {
            return Err(Violation::NotMasked);
        }
        if opcode.is_control() && usize::from(second & LENGTH) > CONTROL_BYTES_MAX {
            return Err(Violation::ControlTooLong(opcode));
        }
        let Some((length, at)) = length(second & LENGTH, &bytes[2..])? else {
            return Ok(None);
        };
        let missing = if opcode.is_control() {
            length as usize
        } else {
            affordable(length, before, limits)?
        };
        let Some(mask) = bytes[2 + at..].first_chunk() else {
            return Ok(None);
        };
        let head = Self {
            opcode,
            fin: first & FIN != 0,
            deflated: first & RSV1 != 0,
            mask: *mask,
            missing,
        };
        Ok(Some((head, 2 + at + mask.len())))
    }
}

/// The opcode of a frame with the first byte `first`, if such a frame may come now.
fn opcode(first: u8, before: Option<Before>, limits: Limits, deflate: bool) -> Result<Opcode, Violation> {
    let begins_message = matches!(first & OPCODE, 0x1 | 0x2);
    let meant = if deflate && begins_message { RSV1 } else { 0 };
    if first & RSV & !meant != 0 {
        return Err(Violation::ReservedBits(first & RSV & !meant));
    }
    let opcode = Opcode::from_bits(first & OPCODE).ok_or(Violation::ReservedOpcode(first & OPCODE))?;
    if opcode.is_control() {
        return if first & FIN == 0 {
            Err(Violation::ControlFragmented(opcode))
        } else {
            Ok(opcode)
        };
    }
    match (opcode, before) {
        (Opcode::Continuation, None) => Err(Violation::NothingToContinue),
        (Opcode::Continuation, Some(before)) if before.fragments >= limits.fragments => {
            Err(Violation::TooManyFragments {
                limit: limits.fragments,
            })
        }
        (Opcode::Text | Opcode::Binary, Some(_)) => Err(Violation::MessageInterrupted(opcode)),
        _ => Ok(opcode),
    }
}

/// The payload's length, and the number of header bytes that it takes after the second one.
fn length(code: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    let (length, size, least) = match code {
        LENGTH_IN_16_BITS => match bytes.first_chunk() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2, 126),
            None => return Ok(None),
        },
        LENGTH_IN_64_BITS => match bytes.first_chunk() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 8, 0x1_0000),
            None => return Ok(None),
        },
        _ => (u64::from(code), 0, 0),
    };
    if length < least {
        let bits = size as u8 * 8;
        return Err(Violation::LengthNotMinimal { length, bits });
    }
    if length >> 63 != 0 {
        return Err(Violation::LengthTopBit(length));
    }
    Ok(Some((length, size)))
}

/// The length of a data frame, if its message stays within the limit with it.
fn affordable(length: u64, before: Option<Before>, limits: Limits) -> Result<usize, Violation> {
    let held = before.map_or(0, |message| message.bytes);
    match usize::try_from(length) {
        Ok(length) if length <= limits.message_bytes.saturating_sub(held) => Ok(length),
        _ => Err(Violation::MessageTooBig {
            bytes: length.saturating_add(held as u64),
            limit: limits.message_bytes,
        }),
    }
}
