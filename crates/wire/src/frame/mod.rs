//! WebSocket frames (RFC 6455 §5): server frames built once and shared, client frames parsed strictly.

mod build;
mod client;
mod frames;
mod mask;
mod parse;

use std::fmt;

pub use build::{close_frame, frame, header_len, is_deflated, payload_of};
pub(crate) use build::{cut_reason, deflated_frame};
pub use client::{client_frame, deflated_client_frame};
pub use frames::{DataMessage, Encoded, Frames, Shared};
pub use parse::{Event, Limits, Parser, Violation};

/// A frame's opcode (RFC 6455 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Opcode {
    /// A further fragment.
    Continuation = 0x0,
    /// Text, UTF-8.
    Text = 0x1,
    /// Any bytes.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// A ping.
    Ping = 0x9,
    /// A pong.
    Pong = 0xa,
}

impl Opcode {
    /// The opcode with these four bits, unless they are reserved.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    /// Whether it belongs to a control frame, which is never fragmented and has at most 125 bytes (RFC 6455 §5.5).
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 >= 0x8
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Continuation => "continuation",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Close => "close",
            Self::Ping => "ping",
            Self::Pong => "pong",
        })
    }
}
