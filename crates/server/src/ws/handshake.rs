//! Decides whether a request for `/v1/ws` becomes a WebSocket connection, and with which codec.
//!
//! Only the request's head is read. A request that breaks a rule of RFC 6455 §4.2.1 is answered with 400, 405 or 426
//! and what to do instead, never with 101. [`crate::ws::extensions`] decides on the extensions that are offered.

use bytes::Bytes;
use fastwebsockets::upgrade;
use http_body_util::Empty;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use tickwire_wire::{Codec, Refusal, Variant};

use crate::auth::is_token_entry;
use crate::http::{ErrorResponse, METHODS_OF_STREAMS};
use crate::ws::extensions::{self, Deflate};

/// The version of the WebSocket protocol in RFC 6455.
const WEBSOCKET_VERSION: &str = "13";
/// The most characters of an offer that a refusal repeats.
const SHOWN_CHARS_MAX: usize = 100;

/// A request that is accepted as a WebSocket handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The codec of the connection's messages.
    pub codec: Codec,
    /// The agreed compression.
    pub deflate: Option<Deflate>,
    /// Whether the client offered subprotocols, so that the answer must name the chosen one.
    offered: bool,
    key: HeaderValue,
}

impl Accepted {
    /// The same, but without compression if it is not `allowed`.
    #[must_use]
    pub(crate) fn with_compression(mut self, allowed: bool) -> Self {
        self.deflate = self.deflate.filter(|_| allowed);
        self
    }

    /// The encoding of the connection's data messages.
    #[must_use]
    pub(crate) fn variant(&self) -> Variant {
        match self.deflate {
            Some(deflate) => Variant::deflated(self.codec, deflate.window()),
            None => Variant::plain(self.codec),
        }
    }

    /// The answer, 101 Switching Protocols (RFC 6455 §4.2.2 step 5).
    ///
    /// It is made from the key alone, so it does not matter whether `hyper::upgrade::on` has been called on the
    /// request.
    ///
    /// # Errors
    /// Never, as key and version were checked. Otherwise 500.
    pub(crate) fn response(self) -> Result<Response<Empty<Bytes>>, ErrorResponse> {
        let mut head = Request::new(());
        let version = HeaderValue::from_static(WEBSOCKET_VERSION);
        head.headers_mut().insert(SEC_WEBSOCKET_VERSION, version);
        head.headers_mut().insert(SEC_WEBSOCKET_KEY, self.key);
        let (mut response, _) =
            upgrade::upgrade(head).map_err(|error| ErrorResponse::fault(&error.to_string()))?;
        if self.offered {
            let chosen = HeaderValue::from_static(self.codec.subprotocol());
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, chosen);
        }
        if let Some(deflate) = self.deflate {
            let headers = response.headers_mut();
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, deflate.response());
        }
        Ok(response)
    }
}

/// Decides on `request`, whose path is the right one.
///
/// # Errors
/// The answer in place of a connection.
pub(crate) fn check<B>(request: &Request<B>) -> Result<Accepted, ErrorResponse> {
    let headers = request.headers();
    // RFC 6455 §4.2.1 item 1: an HTTP/1.1 or higher GET. Later versions have no Upgrade at all (RFC 9113 §8.6).
    if request.method() != Method::GET {
        // A handshake with another method is a bad request (§4.2.2), whatever else is wrong.
        return Err(if has_token(headers, &UPGRADE, "websocket") {
            ErrorResponse::bad_request("a WebSocket handshake is a GET")
                .with_header(ALLOW, METHODS_OF_STREAMS)
        } else {
            ErrorResponse::method_not_allowed(request.uri().path(), METHODS_OF_STREAMS)
        });
    }
    if request.version() != Version::HTTP_11 {
        return Err(upgrade_required("a WebSocket handshake needs HTTP/1.1"));
    }
    // Items 3 and 4.
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        return Err(upgrade_required(
            "this is a WebSocket endpoint: send \"Upgrade: websocket\" and \"Connection: Upgrade\"",
        ));
    }
    // Item 6. The answer names the supported version (§4.4).
    if the_only(headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != WEBSOCKET_VERSION) {
        return Err(upgrade_required(
            "only WebSocket version 13 is understood: send \"Sec-WebSocket-Version: 13\"",
        )
        .with_header(SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION));
    }
    // Item 2, and RFC 9112 §3.2.
    if the_only(headers, &HOST).is_none() {
        return Err(ErrorResponse::bad_request("exactly one Host header is needed"));
    }
    // Item 5.
    let key = the_only(headers, &SEC_WEBSOCKET_KEY)
        .filter(|key| is_key(key.as_bytes()))
        .ok_or_else(|| {
            ErrorResponse::bad_request("exactly one Sec-WebSocket-Key is needed, 16 bytes in base64")
        })?;
    // The bytes after the head are frames. A body would be read as frames, or the frames as a second request.
    if headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0")
    {
        return Err(ErrorResponse::bad_request("a WebSocket handshake has no body"));
    }
    Ok(Accepted {
        codec: choose_codec(headers)?,
        deflate: extensions::negotiate(headers)?,
        offered: offers(headers).next().is_some(),
        key: key.clone(),
    })
}

/// The first known codec in the client's list, which is in its order of preference (RFC 6455 §4.1 item 10). JSON if
/// there is no list.
fn choose_codec(headers: &HeaderMap) -> Result<Codec, ErrorResponse> {
    let only_tokens = || tokens(headers, &SEC_WEBSOCKET_PROTOCOL).next().is_some();
    if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) || (offers(headers).next().is_none() && only_tokens()) {
        return Ok(Codec::Json);
    }
    offers(headers)
        .find_map(|name| {
            Codec::ALL
                .into_iter()
                .find(|codec| codec.subprotocol().as_bytes() == name)
        })
        .ok_or_else(|| {
            let offers: Vec<_> = offers(headers).map(String::from_utf8_lossy).collect();
            let offers: String = offers.join(", ").chars().take(SHOWN_CHARS_MAX).collect();
            ErrorResponse::bad_request(format!(
                "no subprotocol of {offers:?} is known; known are {} and {}",
                Codec::Json.subprotocol(),
                Codec::MessagePack.subprotocol()
            ))
        })
}

/// The subprotocols that the client offers. Entries with a token are not subprotocols, and no answer repeats them.
fn offers(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    tokens(headers, &SEC_WEBSOCKET_PROTOCOL).filter(|entry| !is_token_entry(entry))
}

/// 426, which always names the protocol to upgrade to (RFC 9110 §15.5.22).
fn upgrade_required(reason: &str) -> ErrorResponse {
    ErrorResponse::new(StatusCode::UPGRADE_REQUIRED, Refusal::bad_request(reason))
        .with_header(UPGRADE, "websocket")
        .with_header(CONNECTION, "Upgrade")
}

/// The elements of a comma-separated list in one or more header lines (RFC 9110 §5.6.1: empty elements do not count).
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token.as_bytes()))
}

/// The value of a header that must occur exactly once.
fn the_only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut all = headers.get_all(name).into_iter();
    all.next().filter(|_| all.next().is_none())
}

/// Whether `text` is the base64 of 16 bytes: 22 digits, of which the last carries two bits, and the padding. The four
/// unused bits of the last digit do not matter.
fn is_key(text: &[u8]) -> bool {
    matches!(text.split_at_checked(22), Some((digits, b"==")) if digits
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/')))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use expect_test::{Expect, expect};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// The header lines of a valid handshake. The key is that of RFC 6455 §1.3.
    const GOOD: [&str; 5] = [
        "Host: example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ];

    /// The valid handshake with `lines` in place of its headers of the same names. `Name:` removes a header.
    fn request_with(lines: &[&str]) -> Request<()> {
        let name_of = |line: &str| line.split(':').next().unwrap().to_ascii_lowercase();
        let mut request = Request::get("/v1/ws");
        let kept = GOOD
            .iter()
            .filter(|good| !lines.iter().any(|line| name_of(line) == name_of(good)));
        for line in kept.chain(lines) {
            let (name, value) = line.split_once(':').unwrap();
            if !value.is_empty() {
                request = request.header(name, value.strip_prefix(' ').unwrap());
            }
        }
        request.body(()).unwrap()
    }

    /// The outcome in one line: codec, chosen subprotocol and extension, or status, extra headers and reason.
    fn outcome<B>(request: &Request<B>) -> String {
        match check(request) {
            Ok(accepted) => {
                let codec = accepted.codec;
                let response = accepted.response().unwrap();
                assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
                let named = response
                    .headers()
                    .get(SEC_WEBSOCKET_PROTOCOL)
                    .map_or("no subprotocol", |name| name.to_str().unwrap());
                let extension = response.headers().get(SEC_WEBSOCKET_EXTENSIONS);
                let extension =
                    extension.map_or(String::new(), |name| format!(", {}", name.to_str().unwrap()));
                format!("101 {codec}, {named}{extension}")
            }
            Err(refused) => {
                let headers: String = refused
                    .headers
                    .iter()
                    .map(|(name, value)| format!(" [{name}: {}]", value.to_str().unwrap()))
                    .collect();
                format!("{}{headers} {}", refused.status.as_u16(), refused.refusal.reason)
            }
        }
    }

    #[track_caller]
    fn check_lines(lines: &[&str], expected: &Expect) {
        expected.assert_eq(&outcome(&request_with(lines)));
    }

    #[test]
    fn handshakes_in_order() {
        check_lines(&[], &expect!["101 json, no subprotocol"]);
        // Tokens are compared without case, in comma lists and over several lines (RFC 6455 §4.2.1 items 3 and 4).
        check_lines(
            &["Upgrade: WebSocket", "Connection: keep-alive, UPGRADE"],
            &expect!["101 json, no subprotocol"],
        );
        check_lines(
            &[
                "Upgrade: h2c",
                "Upgrade: ,websocket ,",
                "Connection: close",
                "Connection: Upgrade",
            ],
            &expect!["101 json, no subprotocol"],
        );
        check_lines(&["Content-Length: 0"], &expect!["101 json, no subprotocol"]);
        check_lines(
            &["Sec-WebSocket-Extensions: permessage-deflate"],
            &expect![
                "101 json, no subprotocol, permessage-deflate; server_no_context_takeover; client_no_context_takeover"
            ],
        );
        check_lines(
            &["Sec-WebSocket-Extensions: permessage-bzip2"],
            &expect!["101 json, no subprotocol"],
        );
        // The unused bits of the last digit are set.
        check_lines(
            &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="],
            &expect!["101 json, no subprotocol"],
        );
    }

    #[test]
    fn the_clients_order_chooses_the_codec() {
        check_lines(
            &["Sec-WebSocket-Protocol: tickwire.v1.json"],
            &expect!["101 json, tickwire.v1.json"],
        );
        check_lines(
            &["Sec-WebSocket-Protocol: tickwire.v1.msgpack, tickwire.v1.json"],
            &expect!["101 msgpack, tickwire.v1.msgpack"],
        );
        check_lines(
            &["Sec-WebSocket-Protocol: tickwire.v1.json,tickwire.v1.msgpack"],
            &expect!["101 json, tickwire.v1.json"],
        );
        check_lines(
            &[
                "Sec-WebSocket-Protocol: tickwire.v9.cbor",
                "Sec-WebSocket-Protocol: tickwire.v1.msgpack",
            ],
            &expect!["101 msgpack, tickwire.v1.msgpack"],
        );
        check_lines(
            &["Sec-WebSocket-Protocol: mqtt, \"graphql\""],
            &expect![[
                r#"400 no subprotocol of "mqtt, \"graphql\"" is known; known are tickwire.v1.json and tickwire.v1.msgpack"#
            ]],
        );
        check_lines(
            &["Sec-WebSocket-Protocol: TICKWIRE.V1.JSON"],
            &expect![[
                r#"400 no subprotocol of "TICKWIRE.V1.JSON" is known; known are tickwire.v1.json and tickwire.v1.msgpack"#
            ]],
        );
        check_lines(
            &["Sec-WebSocket-Protocol: ,"],
            &expect![[
                r#"400 no subprotocol of "" is known; known are tickwire.v1.json and tickwire.v1.msgpack"#
            ]],
        );
        let long = format!("Sec-WebSocket-Protocol: {}", "a".repeat(8_000));
        assert!(outcome(&request_with(&[&long])).len() < 300);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn handshakes_out_of_order() {
        check_lines(
            &["Upgrade:"],
            &expect![[
                r#"426 [upgrade: websocket] [connection: Upgrade] this is a WebSocket endpoint: send "Upgrade: websocket" and "Connection: Upgrade""#
            ]],
        );
        check_lines(
            &["Upgrade: h2c"],
            &expect![[
                r#"426 [upgrade: websocket] [connection: Upgrade] this is a WebSocket endpoint: send "Upgrade: websocket" and "Connection: Upgrade""#
            ]],
        );
        check_lines(
            &["Upgrade: websocketx"],
            &expect![[
                r#"426 [upgrade: websocket] [connection: Upgrade] this is a WebSocket endpoint: send "Upgrade: websocket" and "Connection: Upgrade""#
            ]],
        );
        check_lines(
            &["Connection:"],
            &expect![[
                r#"426 [upgrade: websocket] [connection: Upgrade] this is a WebSocket endpoint: send "Upgrade: websocket" and "Connection: Upgrade""#
            ]],
        );
        check_lines(
            &["Connection: keep-alive"],
            &expect![[
                r#"426 [upgrade: websocket] [connection: Upgrade] this is a WebSocket endpoint: send "Upgrade: websocket" and "Connection: Upgrade""#
            ]],
        );
        for version in ["", " 8", " 14", " 013", " 13, 8", " 13,13", " +13", " x"] {
            let line = format!("Sec-WebSocket-Version:{version}");
            assert!(outcome(&request_with(&[&line])).starts_with("426"), "{line}");
        }
        check_lines(
            &["Sec-WebSocket-Version: 8"],
            &expect![[
                r#"426 [upgrade: websocket] [connection: Upgrade] [sec-websocket-version: 13] only WebSocket version 13 is understood: send "Sec-WebSocket-Version: 13""#
            ]],
        );
        check_lines(
            &["Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"],
            &expect![[
                r#"426 [upgrade: websocket] [connection: Upgrade] [sec-websocket-version: 13] only WebSocket version 13 is understood: send "Sec-WebSocket-Version: 13""#
            ]],
        );
        check_lines(&["Host:"], &expect!["400 exactly one Host header is needed"]);
        check_lines(
            &["Host: a", "Host: b"],
            &expect!["400 exactly one Host header is needed"],
        );
        for key in [
            "",
            " dGhlIHNhbXBsZSBub25jZQ",
            " dGhlIHNhbXBsZSBub25jZQ=",
            " dGhlIHNhbXBsZSBub25jZQ===",
            " dGhlIHNhbXBsZSBub25jZSE=",
            " dGhlIHNhbXBsZSBub25j",
            " dGhlIHNhbXBsZSBub25jZSBhbmQgbW9yZQ==",
            " dGhlIHNhbXBsZSBub25-ZQ==",
            " dGhlIHNhbXBsZSBub2 jZQ==",
        ] {
            let line = format!("Sec-WebSocket-Key:{key}");
            assert!(outcome(&request_with(&[&line])).starts_with("400"), "{line}");
        }
        check_lines(
            &[GOOD[3], GOOD[3]],
            &expect!["400 exactly one Sec-WebSocket-Key is needed, 16 bytes in base64"],
        );
        check_lines(
            &["Content-Length: 5"],
            &expect!["400 a WebSocket handshake has no body"],
        );
        check_lines(
            &["Content-Length: 0", "Content-Length: 5"],
            &expect!["400 a WebSocket handshake has no body"],
        );
        check_lines(
            &["Content-Length: 00"],
            &expect!["400 a WebSocket handshake has no body"],
        );
        check_lines(
            &["Transfer-Encoding: chunked"],
            &expect!["400 a WebSocket handshake has no body"],
        );
        check_lines(
            &["Content-Length: 0", "Transfer-Encoding: chunked"],
            &expect!["400 a WebSocket handshake has no body"],
        );
    }

    #[test]
    fn methods_and_versions() {
        for method in [
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::OPTIONS,
            Method::CONNECT,
        ] {
            let mut request = request_with(&[]);
            *request.method_mut() = method;
            assert_eq!(
                outcome(&request),
                "400 [allow: GET, OPTIONS] a WebSocket handshake is a GET"
            );
            request.headers_mut().remove(UPGRADE);
            assert_eq!(
                outcome(&request),
                "405 [allow: GET, OPTIONS] /v1/ws takes GET, OPTIONS only"
            );
        }
        for version in [
            Version::HTTP_09,
            Version::HTTP_10,
            Version::HTTP_2,
            Version::HTTP_3,
        ] {
            let mut request = request_with(&[]);
            *request.version_mut() = version;
            assert!(outcome(&request).starts_with("426"), "{version:?}");
        }
    }

    /// RFC 6455 §4.2.1 requires all of its items: a handshake with any of them wrong is refused.
    #[test]
    fn no_combination_of_faults_is_accepted() {
        let faults = [
            "Host:",
            "Upgrade: h2c",
            "Connection: close",
            "Sec-WebSocket-Key: short",
            "Sec-WebSocket-Version: 12",
            "Content-Length: 1",
            "Transfer-Encoding: chunked",
            "Sec-WebSocket-Protocol: other",
        ];
        for chosen in 0_u32..1 << faults.len() {
            let lines: Vec<&str> = (0..faults.len())
                .filter(|at| chosen >> at & 1 == 1)
                .map(|at| faults[at])
                .collect();
            assert_eq!(check(&request_with(&lines)).is_ok(), chosen == 0, "{lines:?}");
        }
    }

    #[test]
    fn the_key_is_answered_as_in_the_rfc() {
        let response = check(&request_with(&[])).unwrap().response().unwrap();
        // RFC 6455 §1.3.
        assert_eq!(
            response.headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(response.headers()["upgrade"], "websocket");
        assert_eq!(response.headers()["connection"], "upgrade");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn hyper_upgrades_with_this_answer() {
        let (mut client, server) = tokio::io::duplex(1_024);
        let service = service_fn(|mut request: Request<Incoming>| async move {
            let on_upgrade = hyper::upgrade::on(&mut request);
            let response = check(&request).unwrap().response().unwrap();
            tokio::spawn(async move {
                let mut upgraded = TokioIo::new(on_upgrade.await.unwrap());
                let mut received = [0; 5];
                upgraded.read_exact(&mut received).await.unwrap();
                upgraded.write_all(&received).await.unwrap();
            });
            Ok::<_, Infallible>(response)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service)
            .with_upgrades();
        let serving = tokio::spawn(connection);

        let head = format!("GET /v1/ws HTTP/1.1\r\n{}\r\n\r\n", GOOD.join("\r\n"));
        // Bytes right after the head must reach the upgraded connection.
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(b"early").await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nearly"), "{answer}");
        serving.await.unwrap().unwrap();
    }
}
