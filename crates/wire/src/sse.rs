//! Server-sent events as bytes (HTML Living Standard, "Server-sent events", §9.2.6), in the chunks of an HTTP body.
//!
//! An event ends with an empty line, so a line break in the data would cut it short. Each line of the data gets its own
//! `data:`, and the browser joins them again with `\n`. In JSON a line break is only between tokens.

mod cursor;

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;

use crate::close::CloseCode;
use crate::codec::{Codec, DataOp};
use crate::frame::cut_reason;
use crate::message::Control;
pub use cursor::{Cursor, CursorError};

/// The `Content-Type` of a stream.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// Longest head of a chunk: 16 digits and the end of the line.
const CHUNK_HEAD_MAX: usize = 18;

/// How the body of a stream is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// In chunks (RFC 9112 §7.1).
    Chunked,
    /// By the end of the connection, for clients of HTTP/1.0 (RFC 9112 §6.3).
    Bare,
}

impl Framing {
    /// Appends the bytes that `fill` appends to the body, in a chunk of their own if the body has chunks. `fill` must
    /// append something: an empty chunk would end the body.
    pub fn append(self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
        if self == Self::Bare {
            return fill(out);
        }
        let start = out.len();
        out.resize(start + CHUNK_HEAD_MAX, 0);
        fill(out);
        let length = out.len() - start - CHUNK_HEAD_MAX;
        debug_assert!(length > 0, "an empty chunk is the last");
        let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1) as usize;
        let unused = CHUNK_HEAD_MAX - digits - 2;
        write!(&mut out[start + unused..], "{length:x}\r\n").expect("room for the digits");
        out.drain(start..start + unused);
        out.extend_from_slice(b"\r\n");
    }

    /// The bytes that [`Self::append`] would append.
    pub fn make(self, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.append(&mut out, fill);
        out
    }

    /// The bytes that end the body.
    #[must_use]
    pub const fn end(self) -> &'static [u8] {
        match self {
            Self::Chunked => b"0\r\n\r\n",
            Self::Bare => b"",
        }
    }

    /// The part of a chunk, made as [`Self::Chunked`], that belongs into the body.
    #[must_use]
    pub fn of_chunk(self, chunk: &[u8]) -> &[u8] {
        match self {
            Self::Chunked => chunk,
            Self::Bare => {
                let head = chunk
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(0, |at| at + 1);
                chunk[head..].strip_suffix(b"\r\n").unwrap_or_default()
            }
        }
    }
}

/// Appends an event called `name` with the data that `fill` appends.
fn write_event(name: &'static str, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    debug_assert!(!name.contains(['\r', '\n']), "a name is one line");
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let start = out.len();
    fill(out);
    if out[start..].iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        let data = out.split_off(start);
        write_lines(&data, out);
    }
    out.extend_from_slice(b"\n\n");
}

/// Appends the lines of `data`. The first `data: ` was appended already.
fn write_lines(data: &[u8], out: &mut Vec<u8>) {
    let mut rest = data;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
        out.extend_from_slice(line);
        rest = match after {
            [] => return,
            [b'\r', b'\n', next @ ..] | [_, next @ ..] => next,
        };
        out.extend_from_slice(b"\ndata: ");
    }
}

/// Appends the event of an `update` or a `snapshot`. `fill` appends its message as JSON.
pub fn write_data(op: DataOp, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let name = match op {
        DataOp::Update => "update",
        DataOp::Snapshot => "snapshot",
    };
    write_event(name, out, fill);
}

/// Appends the event of a control message. A `drain` sets the time that the client waits before it reconnects.
pub fn write_control(message: &Control, out: &mut Vec<u8>) {
    let name = match message {
        Control::Welcome { .. } => "welcome",
        Control::Ack { .. } => "ack",
        Control::Synced { .. } => "synced",
        Control::Joined { .. } => "joined",
        Control::Gap { .. } => "gap",
        Control::End { .. } => "end",
        Control::Status { .. } => "status",
        Control::Heartbeat { .. } => "heartbeat",
        Control::Pong { .. } => "pong",
        Control::Drain {
            reconnect_after_ms, ..
        } => {
            write_retry(*reconnect_after_ms, out);
            "drain"
        }
        Control::Error { .. } => "error",
    };
    write_event(name, out, |out| Codec::Json.encode_control(message, out));
}

/// Appends the last event of a stream: `code`, and as much of `reason` as fits in a close frame.
///
/// # Panics
/// Never: a number and text always serialise.
pub fn write_close(code: CloseCode, reason: &str, out: &mut Vec<u8>) {
    /// The data of the last event.
    #[derive(Serialize)]
    struct Closed<'a> {
        code: u16,
        reason: &'a str,
    }
    let closed = Closed {
        code: code.0,
        reason: cut_reason(reason),
    };
    write_event("close", out, |out| {
        serde_json::to_writer(out, &closed).expect("a close serialises");
    });
}

/// Appends the line with the position that a client sends when it reconnects after the next event.
///
/// # Panics
/// Never: writing to memory cannot fail.
pub fn write_id(id: impl Display, out: &mut Vec<u8>) {
    writeln!(out, "id: {id}").expect("writing to memory");
}

/// Appends the time in milliseconds that a client waits before it reconnects.
///
/// # Panics
/// Never: writing to memory cannot fail.
pub fn write_retry(retry_ms: u64, out: &mut Vec<u8>) {
    write!(out, "retry: {retry_ms}\n\n").expect("writing to memory");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(data: &str) -> String {
        let mut out = Vec::new();
        write_event("update", &mut out, |out| out.extend_from_slice(data.as_bytes()));
        String::from_utf8(out).unwrap()
    }

    /// The data of the events of `stream`, read by the rules of browsers.
    fn read(stream: &str) -> Vec<String> {
        let (mut events, mut data) = (Vec::new(), None::<String>);
        for line in stream.replace("\r\n", "\n").replace('\r', "\n").lines() {
            if line.is_empty() {
                events.extend(data.take());
            } else if let Some(text) = line.strip_prefix("data:") {
                let text = text.strip_prefix(' ').unwrap_or(text);
                data = Some(match data {
                    Some(before) => format!("{before}\n{text}"),
                    None => text.to_owned(),
                });
            }
        }
        events
    }

    #[test]
    fn events_on_the_wire() {
        assert_eq!(written("{}"), "event: update\ndata: {}\n\n");
        assert_eq!(
            written("{\n\"a\":\r\n1\r}"),
            "event: update\ndata: {\ndata: \"a\":\ndata: 1\ndata: }\n\n"
        );
        assert_eq!(written(""), "event: update\ndata: \n\n");
        assert_eq!(written("1\n"), "event: update\ndata: 1\ndata: \n\n");
        let mut out = Vec::new();
        write_id("k3v9:57,0", &mut out);
        write_retry(1_500, &mut out);
        write_close(CloseCode::SLOW, "\"slow\"\nreader", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "id: k3v9:57,0\nretry: 1500\n\nevent: close\ndata: {\"code\":4002,\"reason\":\"\\\"slow\\\"\\nreader\"}\n\n"
        );
    }

    #[test]
    fn chunks_have_their_length_and_can_be_taken_off() {
        for length in [1, 15, 16, 255, 256, 4_095, 65_536] {
            let data = "\n".repeat(length);
            let mut out = b"before".to_vec();
            Framing::Chunked.append(&mut out, |out| out.extend_from_slice(data.as_bytes()));
            let chunk = &out[b"before".len()..];
            assert_eq!(chunk, format!("{length:x}\r\n{data}\r\n").as_bytes());
            assert_eq!(Framing::Bare.of_chunk(chunk), data.as_bytes());
            assert_eq!(Framing::Chunked.of_chunk(chunk), chunk);
            let bare = Framing::Bare.make(|out| out.extend_from_slice(data.as_bytes()));
            assert_eq!(bare, data.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn no_data_breaks_out_of_its_event(data in "[a\r\n: ]{0,20}") {
            let stream = written(&data) + &written("next");
            let same = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(read(&stream), [same, "next".to_owned()]);
        }
    }
}
