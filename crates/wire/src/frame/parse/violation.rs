//! The faults of a client in its frames, and the close codes for them.

use thiserror::Error;

use crate::close::CloseCode;
use crate::deflate::BadDeflate;
use crate::frame::Opcode;

/// A breach of RFC 6455 or of the [`Limits`](super::Limits). The connection cannot continue after it.
///
/// Its text is the reason in the close frame: it fits in one and names the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Violation {
    /// A frame is not masked. Clients must mask every frame (RFC 6455 §5.1).
    #[error("client frame is not masked (RFC 6455 5.1)")]
    NotMasked,
    /// Reserved bits are set that no negotiated extension uses on such a frame; 0x40 is RSV1, 0x20 RSV2, 0x10 RSV3.
    #[error("reserved bits {0:#04x} are set but no extension was negotiated for it (RFC 6455 5.2)")]
    ReservedBits(u8),
    /// An opcode that is not defined.
    #[error("opcode {0:#x} is reserved (RFC 6455 5.2)")]
    ReservedOpcode(u8),
    /// A control frame without FIN.
    #[error("{0} frame is fragmented (RFC 6455 5.5)")]
    ControlFragmented(Opcode),
    /// A control frame whose length does not fit in seven bits.
    #[error("{0} frame is longer than 125 bytes (RFC 6455 5.5)")]
    ControlTooLong(Opcode),
    /// A length is written in more bytes than it needs.
    #[error("length {length} is not in its shortest form but in {bits} bits (RFC 6455 5.2)")]
    LengthNotMinimal {
        /// The length, in bytes.
        length: u64,
        /// The bits that it was written in: 16 or 64.
        bits: u8,
    },
    /// A 64-bit length with its most significant bit set.
    #[error("length {0:#x} has its top bit set (RFC 6455 5.2)")]
    LengthTopBit(u64),
    /// A continuation where no message was begun.
    #[error("continuation frame without a message to continue (RFC 6455 5.4)")]
    NothingToContinue,
    /// A new message before the last fragment of the one before.
    #[error("{0} frame inside a fragmented message (RFC 6455 5.4)")]
    MessageInterrupted(Opcode),
    /// A message has more bytes than it may have, all fragments together, according to a frame's header.
    #[error("message of at least {bytes} bytes; at most {limit} are allowed")]
    MessageTooBig {
        /// The number of the message's bytes, including the frame that is refused.
        bytes: u64,
        /// [`Limits::message_bytes`](super::Limits::message_bytes)
        limit: usize,
    },
    /// A compressed message inflates to more bytes than a message may have.
    #[error("message inflates to more than the {limit} bytes that are allowed")]
    InflatesTooBig {
        /// [`Limits::message_bytes`](super::Limits::message_bytes)
        limit: usize,
    },
    /// A compressed message cannot be inflated.
    #[error("compressed message is not DEFLATE data, or not all of it (RFC 7692 7.2.2)")]
    DeflateCorrupt,
    /// A compressed message has more blocks that are marked as last than it may have.
    #[error("compressed message with more than {limit} blocks that are marked as last")]
    TooManyStreams {
        /// The number of such blocks that it may have.
        limit: u32,
    },
    /// A message has more fragments than it may have.
    #[error("message in more than {limit} fragments")]
    TooManyFragments {
        /// [`Limits::fragments`](super::Limits::fragments)
        limit: u32,
    },
    /// A text is not UTF-8, whatever bytes follow.
    #[error("text is not UTF-8 at byte {at} (RFC 6455 8.1)")]
    TextNotUtf8 {
        /// Bytes of the message before the broken sequence.
        at: usize,
    },
    /// A text ends inside its last code point.
    #[error("text ends inside the code point at byte {at} (RFC 6455 8.1)")]
    TextCutShort {
        /// Bytes of the message before the code point.
        at: usize,
    },
    /// A close frame has one byte, which is neither empty nor a code.
    #[error("close frame has 1 byte; a code has 2 (RFC 6455 5.5.1)")]
    CloseCodeCutShort,
    /// A close code may not be sent.
    #[error("close code {0} must not be sent (RFC 6455 7.4)")]
    CloseCodeForbidden(CloseCode),
    /// A close reason that is not UTF-8.
    #[error("close reason is not UTF-8 at byte {at} (RFC 6455 5.5.1)")]
    CloseReasonNotUtf8 {
        /// Bytes of the reason before the broken sequence.
        at: usize,
    },
}

impl From<BadDeflate> for Violation {
    fn from(bad: BadDeflate) -> Self {
        match bad {
            BadDeflate::Corrupt => Self::DeflateCorrupt,
            BadDeflate::TooBig { limit } => Self::InflatesTooBig { limit },
            BadDeflate::TooManyStreams { limit } => Self::TooManyStreams { limit },
        }
    }
}

impl Violation {
    /// The code that the connection is closed with.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::NotMasked
            | Self::ReservedBits(_)
            | Self::ReservedOpcode(_)
            | Self::ControlFragmented(_)
            | Self::ControlTooLong(_)
            | Self::LengthNotMinimal { .. }
            | Self::LengthTopBit(_)
            | Self::NothingToContinue
            | Self::MessageInterrupted(_)
            | Self::CloseCodeCutShort
            | Self::CloseCodeForbidden(_) => CloseCode::PROTOCOL,
            // 1007 is for data that does not have the form of its message's type (RFC 6455 §7.4.1).
            Self::DeflateCorrupt
            | Self::TextNotUtf8 { .. }
            | Self::TextCutShort { .. }
            | Self::CloseReasonNotUtf8 { .. } => CloseCode::NOT_UTF8,
            Self::TooManyFragments { .. } | Self::TooManyStreams { .. } => CloseCode::POLICY,
            Self::MessageTooBig { .. } | Self::InflatesTooBig { .. } => CloseCode::TOO_BIG,
        }
    }
}
