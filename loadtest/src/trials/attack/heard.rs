//! What a broker sends to an attacker: a status, refusals, a close. If the broker uses TLS, nothing is read, since
//! attackers never have a key. An incomplete message is kept.

use tickwire_wire::frame::Opcode;

use crate::swarm::{FrameReader, handshake};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'m> {
    Upgraded,
    /// The handshake was not accepted, or the request was another one.
    Status(u16),
    Message(&'m [u8]),
    /// A close frame; 1005 if it has no code.
    Close(u16),
}

/// Reads what comes on one connection.
#[derive(Debug)]
pub(super) enum Listener {
    /// Waits for the whole head of an HTTP answer. These bytes have come so far.
    Head(Vec<u8>),
    Frames(FrameReader),
    Deaf,
}

impl Listener {
    /// Starts to read, unless the broker uses TLS.
    pub(super) fn new(secured: bool) -> Self {
        match secured {
            true => Self::Deaf,
            false => Self::Head(Vec::new()),
        }
    }

    /// Takes bytes and passes what they contain to `each`.
    pub(super) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Heard<'_>)) -> anyhow::Result<()> {
        let mut early = None;
        if let Self::Head(head) = self {
            head.extend_from_slice(bytes);
            let Some((status, end)) = handshake::answered(head)? else {
                return Ok(());
            };
            early = Some(head.split_off(end));
            *self = match status {
                101 => Self::Frames(FrameReader::default()),
                _ => Self::Deaf,
            };
            each(match status {
                101 => Heard::Upgraded,
                _ => Heard::Status(status),
            });
        }
        let Self::Frames(reader) = self else {
            return Ok(());
        };
        // Whether compression was negotiated does not matter here.
        reader.accept_deflated();
        reader.feed(early.as_deref().unwrap_or(bytes), |frame| match frame.opcode {
            Opcode::Text | Opcode::Binary | Opcode::Continuation => each(Heard::Message(frame.payload)),
            Opcode::Close => {
                let code = frame.payload.first_chunk();
                each(Heard::Close(code.map_or(1005, |code| u16::from_be_bytes(*code))));
            }
            Opcode::Ping | Opcode::Pong => {}
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read from `bytes`, however they are cut; `None` if they are invalid.
    #[track_caller]
    fn check(secured: bool, bytes: &[u8], expected: Option<&[&str]>) {
        for size in [1, 2, 7, bytes.len()] {
            let (mut listener, mut heard) = (Listener::new(secured), Vec::new());
            let listened = bytes.chunks(size).try_for_each(|piece| {
                listener.feed(piece, |event| {
                    heard.push(match event {
                        Heard::Message(message) => format!("message of {}", message.len()),
                        other => format!("{other:?}"),
                    });
                })
            });
            match expected {
                Some(expected) => assert_eq!(heard, expected, "{size} bytes at a time"),
                None => assert!(listened.is_err(), "{size} bytes at a time"),
            }
        }
    }

    #[test]
    fn what_a_server_says_is_heard() {
        let refused = b"HTTP/1.1 431 Too Large\r\ncontent-length: 0\r\n\r\n";
        check(false, refused, Some(&["Status(431)"]));
        check(true, refused, Some(&[]));
        check(false, b"SSH-2.0\r\n\r\n", None);
        let upgraded = |frames: &[u8]| [b"HTTP/1.1 101 Switching Protocols\r\n\r\n", frames].concat();
        check(
            false,
            &upgraded(b"\x81\x02hi\x89\x00\xc1\x00\x88\x04\x03\xf0no"),
            Some(&["Upgraded", "message of 2", "message of 0", "Close(1008)"]),
        );
        check(false, &upgraded(b"\x88\x00"), Some(&["Upgraded", "Close(1005)"]));
        check(false, &upgraded(b"\x81\x81"), None);
    }
}
