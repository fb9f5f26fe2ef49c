//! Dialects: the way in which a session's messages become bytes.
//!
//! A dialect makes the bytes of a message once, when the message is queued. The bytes of a publication are made once
//! for each encoding, and are shared by all sessions with a dialect of that encoding. Nothing decodes bytes that a
//! dialect has made.

use crate::close::CloseCode;
use crate::codec::Codec;
use crate::deflate::{Variant, WindowBits};
use crate::frame::{Opcode, close_frame, frame};
use crate::message::Control;
use crate::sse::{self, Framing};

/// The way in which the messages of a session become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Frames of RFC 6455.
    WebSocket(Variant),
    /// Server-sent events.
    Sse(Framing),
}

impl Dialect {
    /// Number of dialects; each [index](Self::index) is below it.
    pub const COUNT: usize = Variant::COUNT + 2;
    /// Number of forms of a control message; each [form](Self::form) is below it.
    pub const FORMS: usize = Codec::ALL.len() + 2;

    /// The codec of its messages.
    #[inline]
    #[must_use]
    pub const fn codec(self) -> Codec {
        match self {
            Self::WebSocket(variant) => variant.codec(),
            Self::Sse(_) => Codec::Json,
        }
    }

    /// The receiver's window, if messages may be compressed.
    #[must_use]
    pub const fn window(self) -> Option<WindowBits> {
        match self {
            Self::WebSocket(variant) => variant.window(),
            Self::Sse(_) => None,
        }
    }

    /// Its index among all dialects.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::WebSocket(variant) => variant.index(),
            Self::Sse(framing) => Variant::COUNT + framing as usize,
        }
    }

    /// The form of its control messages. Control messages of equal forms have the same bytes.
    #[must_use]
    pub const fn form(self) -> usize {
        match self {
            Self::WebSocket(variant) => variant.codec() as usize,
            Self::Sse(framing) => Codec::ALL.len() + framing as usize,
        }
    }

    /// The bytes of a control message.
    #[must_use]
    pub fn control(self, message: &Control) -> Box<[u8]> {
        match self {
            Self::WebSocket(variant) => {
                let codec = variant.codec();
                frame(codec.opcode(), |out| codec.encode_control(message, out))
            }
            Self::Sse(framing) => {
                let event = framing.make(|out| sse::write_control(message, out));
                event.into_boxed_slice()
            }
        }
    }

    /// The last bytes of a session, which tell its client that it is closed.
    #[must_use]
    pub fn close(self, code: CloseCode, reason: &str) -> Box<[u8]> {
        match self {
            Self::WebSocket(_) => close_frame(code, reason),
            Self::Sse(framing) => {
                let mut event = framing.make(|out| sse::write_close(code, reason, out));
                event.extend_from_slice(framing.end());
                event.into_boxed_slice()
            }
        }
    }

    /// The bytes of a ping (RFC 6455 §5.5.2). `None` for a stream of events.
    #[must_use]
    pub fn ping(self) -> Option<Box<[u8]>> {
        self.signal(Opcode::Ping, &[])
    }

    /// The bytes of a pong (RFC 6455 §5.5.3). `None` for a stream of events.
    #[must_use]
    pub fn pong(self, payload: &[u8]) -> Option<Box<[u8]>> {
        self.signal(Opcode::Pong, payload)
    }

    fn signal(self, opcode: Opcode, payload: &[u8]) -> Option<Box<[u8]>> {
        let is_websocket = matches!(self, Self::WebSocket(_));
        is_websocket.then(|| frame(opcode, |out| out.extend_from_slice(payload)))
    }
}

impl From<Variant> for Dialect {
    fn from(variant: Variant) -> Self {
        Self::WebSocket(variant)
    }
}

impl From<Codec> for Dialect {
    fn from(codec: Codec) -> Self {
        Self::WebSocket(codec.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMINGS: [Framing; 2] = [Framing::Chunked, Framing::Bare];

    #[test]
    fn dialects_are_numbered_without_holes() {
        let mut websockets = Vec::new();
        for codec in Codec::ALL {
            websockets.push(Variant::plain(codec));
            websockets.extend(
                (8..=15)
                    .filter_map(WindowBits::new)
                    .map(|bits| Variant::deflated(codec, bits)),
            );
        }
        let websockets = websockets.into_iter().map(Dialect::from);
        let all: Vec<Dialect> = websockets.chain(FRAMINGS.map(Dialect::Sse)).collect();
        let mut indices: Vec<usize> = all.iter().map(|dialect| dialect.index()).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..Dialect::COUNT).collect::<Vec<_>>());
        let mut forms: Vec<usize> = all.iter().map(|dialect| dialect.form()).collect();
        forms.sort_unstable();
        forms.dedup();
        assert_eq!(forms, (0..Dialect::FORMS).collect::<Vec<_>>());
    }

    #[test]
    fn the_same_message_in_each_dialect() {
        let message = Control::Drain {
            reconnect_after_ms: 7,
            deadline_ms: 9,
        };
        let json = r#"{"op":"drain","reconnect_after_ms":7,"deadline_ms":9}"#;
        let event = format!("retry: 7\n\nevent: drain\ndata: {json}\n\n");
        let close = "event: close\ndata: {\"code\":4000,\"reason\":\"bye\"}\n\n";
        let cases = [
            (
                Dialect::from(Codec::Json),
                [&[0x81, json.len() as u8], json.as_bytes()].concat(),
                b"\x88\x05\x0f\xa0bye".to_vec(),
            ),
            (
                Dialect::Sse(Framing::Chunked),
                format!("{:x}\r\n{event}\r\n", event.len()).into_bytes(),
                format!("{:x}\r\n{close}\r\n0\r\n\r\n", close.len()).into_bytes(),
            ),
            (
                Dialect::Sse(Framing::Bare),
                event.clone().into_bytes(),
                close.as_bytes().to_vec(),
            ),
        ];
        for (dialect, control, closed) in cases {
            assert_eq!(*dialect.control(&message), *control, "{dialect:?}");
            assert_eq!(*dialect.close(CloseCode::DRAIN, "bye"), *closed, "{dialect:?}");
        }
        assert_eq!(
            Dialect::from(Codec::MessagePack).pong(b"?").as_deref(),
            Some(&b"\x8a\x01?"[..])
        );
        assert_eq!(Dialect::Sse(Framing::Chunked).ping(), None);
    }
}
