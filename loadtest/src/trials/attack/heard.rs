//! What a broker says to an attacker, cut out of the bytes as they come: a status, refusals, a close. Of a broker that speaks
//! TLS nothing but whether it does, since attackers never have a key.
//!
//! Reads frames leniently, compressed ones too, since what is tested is the broker and not this. Of a message it keeps the
//! first kilobytes, of data messages nothing that matters; it never keeps more than that.

use thiserror::Error;

/// Longest head of an HTTP answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a message that are kept. Refusals are shorter; an `ack` of very many topics is not.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Bytes before what is in a record of TLS (RFC 8446 §5.1).
const RECORD_HEADER_BYTES: usize = 5;
/// Most bytes in one (RFC 8446 §5.2).
const RECORD_BYTES_MAX: u16 = 16 * 1024 + 256;

const CLOSE: u8 = 0x8;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;

/// Something that was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'m> {
    /// The handshake is accepted.
    Upgraded,
    /// It is not, or what was asked for was none.
    Status(u16),
    /// A message's beginning.
    Message(&'m [u8]),
    /// A close frame; 1005 if it has no code.
    Close(u16),
}

/// No server says that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this is neither an HTTP answer nor a server's frame nor, where TLS is spoken, a record of it")]
pub(super) struct Nonsense;

/// What a broker says next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    /// The head of an HTTP answer.
    Head,
    /// Frames of WebSocket.
    Frames,
    /// Records of TLS, to the end.
    Records,
}

/// A frame or a record of which not all bytes are there yet.
#[derive(Debug)]
struct Partial {
    /// Of a record its type, which no opcode is like.
    opcode: u8,
    missing: u64,
}

/// Listens to one connection.
#[derive(Debug)]
pub(super) struct Listener {
    speech: Speech,
    partial: Option<Partial>,
    /// The head of an answer, the header of a frame or a record, or the beginning of its payload.
    kept: Vec<u8>,
}

impl Listener {
    /// Listens to a broker that speaks TLS if it is `secured`, else HTTP.
    pub(super) fn new(secured: bool) -> Self {
        Self {
            speech: match secured {
                true => Speech::Records,
                false => Speech::Head,
            },
            partial: None,
            kept: Vec::new(),
        }
    }

    /// Takes bytes and gives `each` what they say.
    ///
    /// # Errors
    /// When they say nothing that a server says.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Heard<'_>)) -> Result<(), Nonsense> {
        if self.speech == Speech::Head {
            let Some(behind) = self.head(bytes, &mut each)? else {
                return Ok(());
            };
            bytes = behind;
        }
        while !bytes.is_empty() {
            bytes = match self.partial.take() {
                None if self.speech == Speech::Records => self.record(bytes)?,
                None => self.header(bytes)?,
                Some(partial) => self.payload(partial, bytes),
            };
            if let Some(partial) = self.partial.take_if(|partial| partial.missing == 0) {
                let kept = std::mem::take(&mut self.kept);
                match partial.opcode {
                    TEXT | BINARY => each(Heard::Message(&kept)),
                    CLOSE => each(Heard::Close(
                        kept.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code)),
                    )),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Reads the head of an HTTP answer; returns what is behind that of an accepted handshake.
    fn head<'b>(
        &mut self,
        bytes: &'b [u8],
        each: &mut impl FnMut(Heard<'_>),
    ) -> Result<Option<&'b [u8]>, Nonsense> {
        const END: &[u8] = b"\r\n\r\n";
        let before = self.kept.len();
        self.kept.extend_from_slice(bytes);
        let Some(at) = self.kept.windows(END.len()).position(|part| part == END) else {
            return if before + bytes.len() > HEAD_BYTES_MAX {
                Err(Nonsense)
            } else {
                Ok(None)
            };
        };
        let status = self
            .kept
            .strip_prefix(b"HTTP/1.1 ")
            .or(self.kept.strip_prefix(b"HTTP/1.0 "))
            .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok())
            .ok_or(Nonsense)?;
        self.kept = Vec::new();
        if status != 101 {
            each(Heard::Status(status));
            return Ok(None);
        }
        self.speech = Speech::Frames;
        each(Heard::Upgraded);
        Ok(bytes.get((at + END.len()).saturating_sub(before)..))
    }

    /// Reads a frame's header (RFC 6455 §5.2), which may come in parts; returns what is behind it.
    fn header<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Nonsense> {
        for (at, byte) in bytes.iter().enumerate() {
            self.kept.push(*byte);
            let Some(&[first, second]) = self.kept.first_chunk() else {
                continue;
            };
            let length = match (second, &self.kept[2..]) {
                (0..=125, _) => u64::from(second),
                (126, [high, low]) => u64::from(u16::from_be_bytes([*high, *low])),
                (127, length) if length.len() == 8 => length
                    .first_chunk()
                    .map_or(0, |length| u64::from_be_bytes(*length)),
                (126 | 127, _) => continue,
                // A server masks nothing.
                (128.., _) => return Err(Nonsense),
            };
            self.kept = Vec::new();
            self.partial = Some(Partial {
                opcode: first & 0x0f,
                missing: length,
            });
            return Ok(&bytes[at + 1..]);
        }
        Ok(&[])
    }

    /// Reads a record's header (RFC 8446 §5.1), which may come in parts; returns what is behind it.
    fn record<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Nonsense> {
        let (header, behind) = bytes.split_at(bytes.len().min(RECORD_HEADER_BYTES - self.kept.len()));
        self.kept.extend_from_slice(header);
        let Ok([kind, major, _, high, low]) = <[u8; RECORD_HEADER_BYTES]>::try_from(&self.kept[..]) else {
            return Ok(behind);
        };
        let length = u16::from_be_bytes([high, low]);
        // The minor version says nothing any more.
        if !(20..=23).contains(&kind) || major != 3 || length > RECORD_BYTES_MAX {
            return Err(Nonsense);
        }
        self.kept = Vec::new();
        self.partial = Some(Partial {
            opcode: kind,
            missing: u64::from(length),
        });
        Ok(behind)
    }

    /// Reads of a payload what is there; returns what is behind it.
    fn payload<'b>(&mut self, mut partial: Partial, bytes: &'b [u8]) -> &'b [u8] {
        let count = usize::try_from(partial.missing).map_or(bytes.len(), |missing| missing.min(bytes.len()));
        let room = KEPT_BYTES_MAX - self.kept.len();
        self.kept.extend_from_slice(&bytes[..count.min(room)]);
        partial.missing -= count as u64;
        self.partial = Some(partial);
        &bytes[count..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard of `bytes`, however they are cut.
    #[track_caller]
    fn check(secured: bool, bytes: &[u8], expected: &[&str]) {
        for size in [1, 2, 7, bytes.len()] {
            let (mut listener, mut heard) = (Listener::new(secured), Vec::new());
            for piece in bytes.chunks(size) {
                listener
                    .feed(piece, |event| {
                        heard.push(match event {
                            Heard::Message(message) => format!("message of {}", message.len()),
                            other => format!("{other:?}"),
                        });
                    })
                    .expect("a server's bytes");
            }
            assert_eq!(heard, expected, "{size} bytes at a time");
        }
    }

    #[test]
    fn what_a_server_says_is_heard() {
        check(
            false,
            b"HTTP/1.1 431 Too Large\r\ncontent-length: 0\r\n\r\n",
            &["Status(431)"],
        );
        let upgraded = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let long = [&[0x81, 126, 0x01, 0x00][..], &[b'x'; 256]].concat();
        let bytes = [
            upgraded,
            &b"\x81\x02hi\x89\x00\xc1\x00"[..],
            &long,
            b"\x88\x04\x03\xf0no",
        ]
        .concat();
        check(
            false,
            &bytes,
            &[
                "Upgraded",
                "message of 2",
                "message of 0",
                "message of 256",
                "Close(1008)",
            ],
        );
        check(
            false,
            &[upgraded, &b"\x88\x00"[..]].concat(),
            &["Upgraded", "Close(1005)"],
        );
    }

    #[test]
    fn of_a_long_message_the_beginning_is_kept() {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x82\x7f".to_vec();
        bytes.extend(200_000_u64.to_be_bytes());
        bytes.resize(bytes.len() + 200_000, b'x');
        check(false, &bytes, &["Upgraded", "message of 65536"]);
    }

    #[test]
    fn of_tls_nothing_is_heard() {
        // A part of a handshake whose bytes would say something in HTTP or be a close, and an alert.
        let inside = b"HTTP/1.1 400 Bad Request\r\n\r\n\x88\x00";
        let handshake = [&[22, 3, 3, 0, inside.len() as u8][..], inside].concat();
        let longest = [&[23, 3, 3, 0x41, 0x00][..], &[0; RECORD_BYTES_MAX as usize]].concat();
        check(
            true,
            &[&handshake, &longest, &b"\x15\x03\x03\x00\x02\x02\x50"[..]].concat(),
            &[],
        );
    }

    #[test]
    fn what_no_server_says_is_an_error() {
        let endless = vec![b'x'; HEAD_BYTES_MAX + 1];
        for (secured, bytes) in [
            (false, &b"SSH-2.0\r\n\r\n"[..]),
            (false, b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x81"),
            (false, &endless),
            (true, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            (true, b"\x18\x03\x03\x00\x00"),
            (true, b"\x16\x02\x03\x00\x00"),
            (true, b"\x16\x03\x03\x41\x01"),
            (true, b"\x16\x03\x03\x00\x01x\x81\x00\x00\x00\x00"),
        ] {
            assert_eq!(
                Listener::new(secured).feed(bytes, |_| {}),
                Err(Nonsense),
                "{bytes:?}"
            );
        }
    }
}
