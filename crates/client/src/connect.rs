//! Makes one connection: TCP, TLS where the URL says so, the HTTP upgrade (RFC 6455 §4.1), and the two halves of the
//! WebSocket.
//!
//! The handshake is done here and not by `fastwebsockets::handshake`. That function does not verify
//! `Sec-WebSocket-Accept`, discards the body of a refusal, and prints to standard error.

use std::io::Cursor;

use bytes::Bytes;
use fastwebsockets::{Role, WebSocketRead, WebSocketWrite, after_handshake_split};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tickwire_wire::Codec;
use tokio::io::{AsyncReadExt, BufReader, BufWriter, Chain};
use tokio::net::TcpStream;

use crate::endpoint::Endpoint;
use crate::error::{ConnectError, Loss};
use crate::idle::{IdleTimeout, QuietMax};
use crate::stream::{ReadHalf, Stream, WriteHalf};
use crate::tls::Tls;

/// Bytes to read from the socket at once. fastwebsockets asks for one frame's bytes at a time.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes to gather before a write to the socket.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// Most bytes to keep of the body of a refusal.
const REFUSAL_BODY_BYTES_MAX: usize = 4 * 1024;

/// The receiving half. It first yields the bytes that came together with the HTTP answer.
pub(crate) type Receiver = WebSocketRead<BufReader<IdleTimeout<Chain<Cursor<Bytes>, ReadHalf>>>>;
/// The sending half.
pub(crate) type Sender = WebSocketWrite<BufWriter<WriteHalf>>;

/// Connects to `endpoint` and does the handshake. It has no deadline of its own.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    codec: Codec,
    headers: &[(HeaderName, HeaderValue)],
    message_bytes_max: usize,
    quiet_max: QuietMax,
) -> Result<(Receiver, Sender), ConnectError> {
    let stream = dial(endpoint, tls).await?;
    let upgraded = shake_hands(endpoint, codec, headers, stream).await?;
    let parts = upgraded
        .downcast::<TokioIo<Box<dyn Stream>>>()
        .map_err(|_| bad(endpoint, "the upgraded connection is of an unknown type"))?;
    let (read, write) = parts.io.into_inner().into_halves();
    let read = IdleTimeout::new(Cursor::new(parts.read_buf).chain(read), quiet_max);
    let (mut receiver, sender) = after_handshake_split(
        BufReader::with_capacity(READ_BUFFER_BYTES, read),
        BufWriter::with_capacity(WRITE_BUFFER_BYTES, write),
        Role::Client,
    );
    // The session answers pings and closes, because it owns the order of what is sent.
    receiver.set_auto_pong(false);
    receiver.set_auto_close(false);
    receiver.set_max_message_size(message_bytes_max.saturating_add(1));
    Ok((receiver, sender))
}

/// Opens a connection to `endpoint`, encrypted if its scheme is `wss`.
pub(crate) async fn dial(endpoint: &Endpoint, tls: Option<&Tls>) -> Result<Box<dyn Stream>, ConnectError> {
    let unreachable = |error| ConnectError::Unreachable {
        endpoint: endpoint.to_string(),
        error,
    };
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    Ok(match tls {
        Some(tls) => Box::new(tls.connect(endpoint, stream).await?),
        None => Box::new(stream),
    })
}

pub(crate) fn bad(endpoint: &Endpoint, reason: impl Into<String>) -> ConnectError {
    ConnectError::BadHandshake {
        endpoint: endpoint.to_string(),
        reason: reason.into(),
    }
}

/// What a failed HTTP exchange means. An answer that is not HTTP is the server's fault; all other failures are the
/// network's.
pub(crate) fn failed(endpoint: &Endpoint, error: &hyper::Error) -> ConnectError {
    if error.is_parse() {
        // A TLS server answers plain text with an alert, which is not HTTP.
        let hint = if endpoint.is_tls() {
            ""
        } else {
            "; if it speaks TLS, write wss://"
        };
        return bad(endpoint, format!("its answer is no HTTP/1.1: {error}{hint}"));
    }
    ConnectError::Lost {
        endpoint: endpoint.to_string(),
        loss: Loss::Broke(error.to_string()),
    }
}

async fn shake_hands(
    endpoint: &Endpoint,
    codec: Codec,
    headers: &[(HeaderName, HeaderValue)],
    stream: Box<dyn Stream>,
) -> Result<Upgraded, ConnectError> {
    let bad_http = |error: hyper::Error| failed(endpoint, &error);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(bad_http)?;
    // The task ends when the upgrade is done or `sender` is dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "the HTTP connection of a handshake failed");
        }
    });
    let mut request = request(endpoint, codec, headers)?;
    let accept = expected_accept(&mut request).map_err(|error| bad(endpoint, error.to_string()))?;
    let mut response = sender.send_request(request).await.map_err(bad_http)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(endpoint, response).await);
    }
    verify(&response, &accept, codec).map_err(|reason| bad(endpoint, reason))?;
    hyper::upgrade::on(&mut response).await.map_err(bad_http)
}

fn request(
    endpoint: &Endpoint,
    codec: Codec,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<Request<Empty<Bytes>>, ConnectError> {
    let mut request = Request::get(endpoint.target())
        .header(HOST, endpoint.host_header())
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, fastwebsockets::handshake::generate_key())
        .header(SEC_WEBSOCKET_PROTOCOL, codec.subprotocol())
        .header(USER_AGENT, concat!("tickwire-client/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|error| bad(endpoint, format!("no HTTP request can be made for it: {error}")))?;
    for (name, value) in headers {
        request.headers_mut().insert(name, value.clone());
    }
    Ok(request)
}

/// The `Sec-WebSocket-Accept` that a server must answer to `request`.
fn expected_accept(
    request: &mut Request<Empty<Bytes>>,
) -> Result<HeaderValue, fastwebsockets::WebSocketError> {
    let (mut answer, _) = fastwebsockets::upgrade::upgrade(request)?;
    let accept = answer.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
    accept.ok_or(fastwebsockets::WebSocketError::MissingSecWebSocketKey)
}

/// Checks what RFC 6455 §4.1 makes a client verify of the answer.
fn verify<B>(response: &Response<B>, accept: &HeaderValue, codec: Codec) -> Result<(), String> {
    let headers = response.headers();
    let has_token = |name: &HeaderName, token: &str| {
        let mut values = headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok());
        values.any(|value| {
            value
                .split(',')
                .any(|item| item.trim().eq_ignore_ascii_case(token))
        })
    };
    if !has_token(&UPGRADE, "websocket") || !has_token(&CONNECTION, "upgrade") {
        return Err("its 101 upgrades to something else than WebSocket".to_owned());
    }
    if headers.get(SEC_WEBSOCKET_ACCEPT) != Some(accept) {
        return Err("its Sec-WebSocket-Accept does not match the key".to_owned());
    }
    match headers.get(SEC_WEBSOCKET_PROTOCOL) {
        Some(chosen) if chosen == codec.subprotocol() => Ok(()),
        chosen => Err(format!(
            "it chose subprotocol {:?} and not {}",
            chosen
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .unwrap_or_default(),
            codec.subprotocol()
        )),
    }
}

pub(crate) async fn refused(endpoint: &Endpoint, response: Response<Incoming>) -> ConnectError {
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let retry_after_s = retry_after.and_then(|text| text.parse().ok());
    // A body that is too long or breaks off is ignored: the status is what counts.
    let body = match Limited::new(response.into_body(), REFUSAL_BODY_BYTES_MAX)
        .collect()
        .await
    {
        Ok(body) => reason_of(&body.to_bytes()),
        Err(error) => format!("(unreadable: {error})"),
    };
    ConnectError::Refused {
        endpoint: endpoint.to_string(),
        status,
        body,
        retry_after_s,
    }
}

/// The reason in the body of a refusal, on one line: the broker's error, or whatever text the body holds.
fn reason_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refused {
        error: Named,
    }
    #[derive(Deserialize)]
    struct Named {
        code: String,
        reason: String,
    }
    let text = match serde_json::from_slice::<Refused>(body) {
        Ok(Refused { error }) => format!("{}: {}", error.code, error.reason),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[(&'static str, &'static str)]) -> Result<(), String> {
        let mut response = Response::builder().status(101);
        for (name, value) in lines {
            response = response.header(*name, *value);
        }
        let response = response.body(()).expect("a response");
        verify(&response, &HeaderValue::from_static("abc"), Codec::Json)
    }

    #[test]
    fn answers_that_are_no_handshake() {
        let good = [
            ("Upgrade", "WebSocket"),
            ("Connection", "keep-alive, Upgrade"),
            ("Sec-WebSocket-Accept", "abc"),
            ("Sec-WebSocket-Protocol", "tickwire.v1.json"),
        ];
        assert_eq!(check(&good), Ok(()));
        for (index, wrong, message) in [
            (0, "h2c", "its 101 upgrades to something else than WebSocket"),
            (1, "close", "its 101 upgrades to something else than WebSocket"),
            (2, "abd", "its Sec-WebSocket-Accept does not match the key"),
            (
                3,
                "mqtt",
                "it chose subprotocol \"mqtt\" and not tickwire.v1.json",
            ),
        ] {
            let mut lines = good;
            lines[index].1 = wrong;
            assert_eq!(check(&lines), Err(message.to_owned()));
        }
        assert_eq!(
            check(&good[..3]),
            Err("it chose subprotocol \"\" and not tickwire.v1.json".to_owned())
        );
    }

    #[test]
    fn the_accept_is_that_of_rfc_6455() {
        // The key and the answer are those of RFC 6455 §1.3.
        let mut request = Request::get("/")
            .header(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .body(Empty::new())
            .expect("a request");
        let accept = expected_accept(&mut request).expect("a key");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
