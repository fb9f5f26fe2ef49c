//! The client's side of the opening handshake of a WebSocket connection (RFC 6455 §4.1), without a socket.
//!
//! Every connection uses the key of the RFC's own example, so that the right answer is known beforehand. A new key for
//! each connection would guard against caches on the way, which a load test does not have.

use thiserror::Error;

use crate::swarm::bare::Cut;

/// The key of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The answer to that key, from the same section.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const END: &[u8] = b"\r\n\r\n";
const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
/// The parameter with which a server compresses each message by itself (RFC 7692 §7.1.1.1).
const NO_TAKEOVER: &str = "server_no_context_takeover";
/// Longest head of an answer that is accepted, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most characters of an answer that an error repeats.
const SHOWN_CHARS_MAX: usize = 300;

/// Why an answer does not open a WebSocket connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the handshake's answer {0}")]
pub(crate) struct HandshakeFault(String);

#[derive(Debug, Clone)]
pub(crate) struct Handshake {
    /// Host and port.
    pub(crate) host: String,
    pub(crate) path: String,
    /// The only subprotocol that is offered, if there is one. The server must choose it.
    pub(crate) subprotocol: Option<&'static str>,
    /// How many connections publish. They are the first ones.
    pub(crate) publishers: usize,
    /// The path, with query, of the server-sent events that every connection which does not publish asks for instead.
    pub(crate) events: Option<String>,
    /// How the stream is cut into messages, if no connection has a handshake.
    pub(crate) bare: Option<Cut>,
    /// How the answers are cut, if the publishers send requests of HTTP instead.
    pub(crate) posts: Option<Cut>,
    /// Whether permessage-deflate is offered and must be accepted, without context takeover by the server. What comes
    /// is then the same for all connections.
    pub(crate) deflate: bool,
}

/// How a connection begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Opening<'h> {
    WebSocket,
    /// By asking for the events at this path.
    Events(&'h str),
    /// At once.
    Bare(Cut),
}

impl Handshake {
    /// How connection `number` begins.
    pub(crate) fn opening(&self, number: usize) -> Opening<'_> {
        let publishes = number < self.publishers;
        match (self.bare, self.posts, &self.events) {
            (Some(cut), ..) => Opening::Bare(cut),
            (_, Some(cut), _) if publishes => Opening::Bare(cut),
            (.., Some(path)) if !publishes => Opening::Events(path),
            _ => Opening::WebSocket,
        }
    }

    pub(crate) fn request(&self) -> String {
        let Self { host, path, .. } = self;
        let offer = self
            .subprotocol
            .map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"))
            .unwrap_or_default();
        let deflate =
            format!("{EXTENSIONS}: permessage-deflate; {NO_TAKEOVER}; client_no_context_takeover\r\n");
        let extension = if self.deflate { deflate.as_str() } else { "" };
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{offer}{extension}\r\n"
        )
    }

    pub(crate) fn events_request(&self, path: &str) -> String {
        let host = &self.host;
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n")
    }

    /// Reads the bytes of the answer so far. Returns where its head ends once that is complete and right.
    ///
    /// # Errors
    /// When the answer does not accept what was asked for.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<Option<usize>, HandshakeFault> {
        // RFC 6455 §4.1: what the client must verify, items 2 to 6. The server may not choose an extension that is not
        // offered.
        let extensions = match self.deflate {
            true => Must::Agree,
            false => Must::Be(""),
        };
        let headers = [
            ("Upgrade", Must::Mean("websocket")),
            ("Connection", Must::Mean("upgrade")),
            ("Sec-WebSocket-Accept", Must::Be(ACCEPT)),
            (EXTENSIONS, extensions),
            (
                "Sec-WebSocket-Protocol",
                Must::Be(self.subprotocol.unwrap_or_default()),
            ),
        ];
        accepted(bytes, 101, &headers)
    }

    /// As [`Self::check`], of the answer to a request for server-sent events.
    ///
    /// # Errors
    /// When the answer is anything but a stream in chunks.
    pub(crate) fn check_events(bytes: &[u8]) -> Result<Option<usize>, HandshakeFault> {
        let headers = [
            ("Content-Type", Must::Be("text/event-stream")),
            ("Transfer-Encoding", Must::Be("chunked")),
        ];
        accepted(bytes, 200, &headers)
    }
}

/// What a header must be.
#[derive(Debug, Clone, Copy)]
enum Must {
    /// Exactly this, or absent if this is empty.
    Be(&'static str),
    /// The same, whatever its case.
    Mean(&'static str),
    /// Permessage-deflate, accepted without a context that the server keeps.
    Agree,
}

/// Where the head of an answer ends, once it is complete, if it has this status and these headers.
fn accepted(bytes: &[u8], expected: u16, headers: &[(&str, Must)]) -> Result<Option<usize>, HandshakeFault> {
    let Some((status, end)) = answered(bytes)? else {
        return Ok(None);
    };
    if status != expected {
        return Err(HandshakeFault(format!(
            "is {:?} and not {expected}",
            shown(bytes)
        )));
    }
    let text = String::from_utf8_lossy(&bytes[..end - END.len()]);
    for (name, must) in headers {
        let lines = text.split("\r\n").filter_map(|line| line.split_once(':'));
        let of_name = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        let found: Vec<&str> = of_name.map(|(_, value)| value.trim()).collect();
        let found = found.join(", ");
        let is_right = match must {
            Must::Be(expected) => found == *expected,
            Must::Mean(expected) => found.eq_ignore_ascii_case(expected),
            Must::Agree => {
                let mut parts = found.split(';').map(str::trim);
                parts.next() == Some("permessage-deflate") && parts.any(|part| part == NO_TAKEOVER)
            }
        };
        if !is_right {
            let text = format!("has the header {name}: {found:?} and must {must:?}");
            return Err(HandshakeFault(text));
        }
    }
    Ok(Some(end))
}

/// The status of an HTTP answer and where its head ends, once the head is complete.
///
/// # Errors
/// When the bytes are not an HTTP answer, or its head is too long.
pub(crate) fn answered(bytes: &[u8]) -> Result<Option<(u16, usize)>, HandshakeFault> {
    let Some(head) = bytes.windows(END.len()).position(|part| part == END) else {
        return match bytes.len() {
            0..HEAD_BYTES_MAX => Ok(None),
            _ => Err(HandshakeFault(format!(
                "has a head of more than {HEAD_BYTES_MAX} bytes"
            ))),
        };
    };
    let status = bytes
        .strip_prefix(b"HTTP/1.1 ")
        .or(bytes.strip_prefix(b"HTTP/1.0 "))
        .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok())
        .ok_or_else(|| HandshakeFault(format!("is no HTTP: {:?}", shown(bytes))))?;
    Ok(Some((status, head + END.len())))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .take(SHOWN_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: tickwire.v1.json\r\n\r\n";

    fn handshake() -> Handshake {
        Handshake {
            host: "example.com".to_owned(),
            path: "/v1/ws".to_owned(),
            subprotocol: Some("tickwire.v1.json"),
            publishers: 1,
            events: None,
            bare: None,
            posts: None,
            deflate: false,
        }
    }

    #[test]
    fn the_request() {
        expect![[r#"
            GET /v1/ws HTTP/1.1
            Host: example.com
            Upgrade: websocket
            Connection: Upgrade
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
            Sec-WebSocket-Version: 13
            Sec-WebSocket-Protocol: tickwire.v1.json

        "#]]
        .assert_eq(&handshake().request().replace("\r\n", "\n"));
    }

    /// Publishers may begin otherwise than readers.
    #[test]
    fn who_begins_how() {
        let cut = Some((|bytes| bytes.len()) as Cut);
        let events = Some("/v1/sse".to_owned());
        for (bare, posts, events, publisher, reader) in [
            (None, None, None, "WebSocket", "WebSocket"),
            (None, None, events, "WebSocket", "Events"),
            (None, cut, None, "Bare", "WebSocket"),
            (cut, None, None, "Bare", "Bare"),
        ] {
            let handshake = Handshake {
                publishers: 2,
                bare,
                posts,
                events,
                ..handshake()
            };
            for (number, expected) in [(0, publisher), (1, publisher), (2, reader)] {
                let opening = format!("{:?}", handshake.opening(number));
                assert!(opening.starts_with(expected), "{number}: {opening}");
            }
        }
    }

    #[test]
    fn a_good_answer_is_recognised_once_it_is_whole() {
        let bytes = [GOOD.as_bytes(), b"\x81\x02hi"].concat();
        for end in 0..GOOD.len() {
            assert_eq!(handshake().check(&bytes[..end]), Ok(None), "{end} bytes");
        }
        assert_eq!(handshake().check(&bytes), Ok(Some(GOOD.len())));
    }

    #[test]
    fn answers_that_are_not_in_order() {
        const TABLE: &str = r#"
            101 Switching | 503 Service | is "HTTP/1.1 503 Service Prot
            HTTP/1.1 101 | SSH-2.0 101 | is no HTTP: "SSH-2.0 101 Sw
            s3pPLM | S3pPLM | has the header Sec-WebSocket-Accept: "S3pPLM
            connection: Upgrade | x: y | has the header Connection: "" and must Mean("upgrade")
            v1.json | v1.msgpack | has the header Sec-WebSocket-Protocol: "tickwire.v1.msgpack
            upgrade: websocket | upgrade: websocket~sec-websocket-extensions: x | has the header Sec-WebSocket-Ext"#;
        for line in TABLE.lines().skip(1) {
            let [from, to, fault] = line.split(" | ").map(str::trim).collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            assert!(GOOD.contains(from));
            let answer = GOOD.replace(from, &to.replace('~', "\r\n"));
            let found = handshake()
                .check(answer.as_bytes())
                .expect_err("must be refused")
                .0;
            assert!(found.starts_with(fault), "{found}");
        }
    }

    #[test]
    fn compression_must_be_agreed_on_without_context_takeover() {
        let handshake = Handshake {
            deflate: true,
            ..handshake()
        };
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
        assert!(handshake.request().contains(offer));
        const TABLE: &str = "
            permessage-deflate; server_no_context_takeover = true
            permessage-deflate;client_no_context_takeover;server_no_context_takeover = true
            permessage-deflate = false
            permessage-deflate; client_no_context_takeover = false
            x-webkit-deflate-frame; server_no_context_takeover = false";
        for (answer, accepted) in TABLE.lines().filter_map(|line| line.split_once(" = ")) {
            let answer = answer.trim();
            let line = format!("connection: Upgrade\r\nsec-websocket-extensions: {answer}");
            let good = GOOD.replace("connection: Upgrade", &line);
            assert_eq!(
                handshake.check(good.as_bytes()).is_ok().to_string(),
                accepted,
                "{answer}"
            );
        }
        assert!(handshake.check(GOOD.as_bytes()).is_err());
    }

    #[test]
    fn a_head_has_a_limit() {
        let endless = vec![b'a'; HEAD_BYTES_MAX];
        assert_eq!(handshake().check(&endless[1..]), Ok(None));
        assert_eq!(
            handshake().check(&endless),
            Err(HandshakeFault("has a head of more than 16384 bytes".to_owned()))
        );
    }
}
