//! Finds requests with both `Content-Length` and `Transfer-Encoding`. Different programs read such a request
//! differently, and so requests can be smuggled past a proxy (RFC 9112 §6.1).
//!
//! Hyper uses the encoding and silently drops the length, so the bytes are scanned on their way to it, line by line. A
//! body is scanned like a head. To be taken for one it would need both names, each at the start of a line and with a
//! colon, before an empty line, and JSON cannot have that. The scan keeps the start of one line; its work is linear in
//! the bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const LENGTH: &[u8] = b"content-length:";
const ENCODING: &[u8] = b"transfer-encoding:";

/// Whether a connection has sent a request whose length can be read in two ways.
// It is shared within one thread, but hyper requires a transport that can be sent to another one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Smuggling(Arc<AtomicBool>);

impl Smuggling {
    /// Whether the connection has sent such a request.
    pub(crate) fn is_found(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The state of the scan of a head.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// The start of the line, in lower case.
    line: [u8; ENCODING.len()],
    /// The number of bytes of the line, including a carriage return at its end.
    length: usize,
    has_length: bool,
    has_encoding: bool,
    found: Smuggling,
}

impl HeadScan {
    /// A scan that reports to `found`.
    pub(super) fn new(found: Smuggling) -> Self {
        Self {
            found,
            ..Self::default()
        }
    }

    /// Scans the next bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let end = memchr::memchr(b'\n', rest);
            self.keep(&rest[..end.unwrap_or(rest.len())]);
            let Some(end) = end else { return };
            self.end_line();
            rest = &rest[end + 1..];
        }
    }

    fn keep(&mut self, part: &[u8]) {
        if let Some(room) = self.line.get_mut(self.length..) {
            let kept = room.len().min(part.len());
            room[..kept].copy_from_slice(&part[..kept]);
            room[..kept].make_ascii_lowercase();
        }
        self.length += part.len();
    }

    fn end_line(&mut self) {
        let length = std::mem::take(&mut self.length);
        let line = &self.line[..length.min(ENCODING.len())];
        if matches!(line, b"" | b"\r") {
            (self.has_length, self.has_encoding) = (false, false);
            return;
        }
        self.has_length |= line.starts_with(LENGTH);
        self.has_encoding |= line.starts_with(ENCODING);
        if self.has_length && self.has_encoding {
            self.found.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_found(bytes: &[u8], piece: usize) -> bool {
        let found = Smuggling::default();
        let mut scan = HeadScan::new(found.clone());
        bytes.chunks(piece).for_each(|piece| scan.read(piece));
        found.is_found()
    }

    #[test]
    fn both_in_one_head_are_found_however_they_come() {
        for (text, expected) in [
            (
                "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                true,
            ),
            (
                "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\nHost: a\r\nCONTENT-LENGTH:5\r\n\r\n",
                true,
            ),
            (
                "POST / HTTP/1.1\nContent-Length: 5\nTransfer-Encoding: chunked\n\n",
                true,
            ),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345", false),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                false,
            ),
            // The two headers are in two requests.
            (
                "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n12POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                false,
            ),
            (
                "POST / HTTP/1.1\r\nX-Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                false,
            ),
            (
                "POST / HTTP/1.1\r\nContent-Lengthy: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                false,
            ),
            (
                "POST /?Content-Length:5 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                false,
            ),
            // In a JSON body the names are not at the start of a line.
            (
                "{\"a\":\"Content-Length: 5\\r\\nTransfer-Encoding: chunked\"}\n",
                false,
            ),
        ] {
            for piece in [1, 2, 7, 4_096] {
                assert_eq!(is_found(text.as_bytes(), piece), expected, "{piece}: {text:?}");
            }
        }
        let long = [
            &b"a".repeat(100_000)[..],
            b"\ncontent-length:",
            &b"1".repeat(100_000),
            b"\ntransfer-encoding: chunked\n",
        ];
        assert!(is_found(&long.concat(), 1_000));
    }
}
