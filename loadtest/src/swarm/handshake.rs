//! The client's side of the opening handshake of a WebSocket connection (RFC 6455 §4.1), without a socket.
//!
//! Every connection uses the key of the RFC's own example, so that the right answer is known beforehand. A new key for
//! each connection would guard against caches on the way, which a load test does not have.

use thiserror::Error;

/// The key of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The answer to that key, from the same section.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const END: &[u8] = b"\r\n\r\n";
const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
/// The parameter with which a server compresses each message by itself (RFC 7692 §7.1.1.1).
const NO_TAKEOVER: &str = "server_no_context_takeover";
/// What a server answers that agrees to it.
const AGREED: &str = "permessage-deflate; server_no_context_takeover";
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
    /// The path, with query, of the server-sent events that every connection but the first asks for instead.
    pub(crate) events: Option<String>,
    /// Whether permessage-deflate is offered and must be accepted, without context takeover by the server. What comes
    /// is then the same for all connections.
    pub(crate) deflate: bool,
}

impl Handshake {
    pub(crate) fn request(&self) -> String {
        let Self { host, path, .. } = self;
        let offer = self
            .subprotocol
            .map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"))
            .unwrap_or_default();
        let extension = match self.deflate {
            true => {
                format!("{EXTENSIONS}: permessage-deflate; {NO_TAKEOVER}; client_no_context_takeover\r\n")
            }
            false => String::new(),
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{offer}{extension}\r\n"
        )
    }

    pub(crate) fn events_request(&self, path: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
            self.host
        )
    }

    /// As [`Self::check`], of the answer to a request for server-sent events.
    ///
    /// # Errors
    /// When the answer is anything but a stream in chunks.
    pub(crate) fn check_events(bytes: &[u8]) -> Result<Option<usize>, HandshakeFault> {
        let Some((status, end)) = answered(bytes)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes[..end - END.len()]);
        let is_stream = status == 200
            && values(&text, "Content-Type") == ["text/event-stream"]
            && values(&text, "Transfer-Encoding") == ["chunked"];
        match is_stream {
            true => Ok(Some(end)),
            false => Err(HandshakeFault(format!(
                "is {:?} and no stream in chunks",
                shown(bytes)
            ))),
        }
    }

    /// Reads the bytes of the answer so far. Returns where its head ends once that is complete and right.
    ///
    /// # Errors
    /// When the answer does not accept what was asked for.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<Option<usize>, HandshakeFault> {
        let Some((status, end)) = answered(bytes)? else {
            return Ok(None);
        };
        if status != 101 {
            return Err(HandshakeFault(format!("is {:?} and not 101", shown(bytes))));
        }
        let text = String::from_utf8_lossy(&bytes[..end - END.len()]);
        let (_, headers) = text.split_once("\r\n").unwrap_or_default();
        let must_be = |name: &'static str, expected: &str, case_matters: bool| {
            let found = values(headers, name);
            let equal = |value: &str| match case_matters {
                true => value == expected,
                false => value.eq_ignore_ascii_case(expected),
            };
            match &found[..] {
                [only] if equal(only) => Ok(()),
                [] if expected.is_empty() => Ok(()),
                _ => Err(HandshakeFault(format!(
                    "must have the one header {name}: {expected}, it has {found:?}"
                ))),
            }
        };
        // RFC 6455 §4.1: what the client must verify, items 2 to 6. The server may not choose an extension that is not
        // offered.
        must_be("Upgrade", "websocket", false)?;
        must_be("Connection", "upgrade", false)?;
        must_be("Sec-WebSocket-Accept", ACCEPT, true)?;
        if !self.deflate || !agrees(&values(headers, EXTENSIONS)) {
            let expected = if self.deflate { AGREED } else { "" };
            must_be(EXTENSIONS, expected, true)?;
        }
        must_be(
            "Sec-WebSocket-Protocol",
            self.subprotocol.unwrap_or_default(),
            true,
        )?;
        Ok(Some(end))
    }
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

/// Whether permessage-deflate was accepted and the server keeps no context.
fn agrees(extensions: &[&str]) -> bool {
    let [only] = extensions else { return false };
    let mut parts = only.split(';').map(str::trim);
    parts.next() == Some("permessage-deflate") && parts.any(|part| part == NO_TAKEOVER)
}

fn values<'h>(headers: &'h str, name: &str) -> Vec<&'h str> {
    headers
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
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
            events: None,
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
        const HEADER: &str = "must have the one header ";
        for (from, to, fault) in [
            ("101 Switching", "503 Service", "is \"HTTP/1.1 503 Service Prot"),
            ("HTTP/1.1 ", "SSH-2.0 ", "is no HTTP: \"SSH-2.0 101 Sw"),
            ("s3pPLM", "S3pPLM", "Sec-WebSocket-Accept: s3pPLM"),
            ("connection: Upgrade\r\n", "", "Connection: upgrade, it has []"),
            (
                "v1.json",
                "v1.msgpack",
                "Sec-WebSocket-Protocol: tickwire.v1.json, it has ",
            ),
            (
                "connection: ",
                "sec-websocket-extensions: x\r\nconnection: ",
                "Sec-WebSocket-Extensions: , it has [\"x",
            ),
        ] {
            assert!(GOOD.contains(from));
            let outcome = handshake().check(GOOD.replace(from, to).as_bytes());
            let found = outcome.expect_err("must be refused").0;
            let found = found.trim_start_matches(HEADER);
            assert!(found.starts_with(fault), "{found}");
        }
    }

    #[test]
    fn compression_must_be_agreed_on_without_context_takeover() {
        let handshake = Handshake {
            events: None,
            deflate: true,
            ..handshake()
        };
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
        assert!(handshake.request().contains(offer));
        for (answer, accepted) in [
            ("permessage-deflate; server_no_context_takeover", true),
            (
                "permessage-deflate;client_no_context_takeover;server_no_context_takeover",
                true,
            ),
            ("permessage-deflate", false),
            ("permessage-deflate; client_no_context_takeover", false),
            ("x-webkit-deflate-frame; server_no_context_takeover", false),
        ] {
            let line = format!("connection: Upgrade\r\nsec-websocket-extensions: {answer}");
            let good = GOOD.replace("connection: Upgrade", &line);
            assert_eq!(handshake.check(good.as_bytes()).is_ok(), accepted, "{answer}");
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
