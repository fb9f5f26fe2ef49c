//! Asks a broker over HTTP at its public listener: one request on one connection.
//!
//! The answer is bounded in bytes. The caller bounds the time.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tickwire_wire::Pattern;

use crate::connect::{bad, dial, failed, refused};
use crate::endpoint::Endpoint;
use crate::error::ConnectError;
use crate::tls::Tls;

/// Most bytes of an answer. A page of history has the most: 4 MiB of messages.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The part of a listing that is read.
#[derive(Deserialize)]
struct Listing {
    topics: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    topic: String,
}

/// The target of a listing of the topics that match `pattern`.
pub(crate) fn listing_target(pattern: &Pattern) -> String {
    // `>` is the only character of a pattern that a query may not contain (RFC 3986 §3.4).
    format!("/v1/topics?match={}", pattern.as_str().replace('>', "%3E"))
}

/// The names in a listing: one page, in the broker's order.
pub(crate) fn names(endpoint: &Endpoint, body: &[u8]) -> Result<Vec<String>, ConnectError> {
    let listing: Listing = serde_json::from_slice(body)
        .map_err(|error| bad(endpoint, format!("its listing is none: {error}")))?;
    Ok(listing.topics.into_iter().map(|listed| listed.topic).collect())
}

/// The body of the answer to a request.
pub(crate) async fn ask(
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    headers: &[(HeaderName, HeaderValue)],
    (method, target): (Method, &str),
) -> Result<Vec<u8>, ConnectError> {
    let bad_http = |error: hyper::Error| failed(endpoint, &error);
    let stream = dial(endpoint, tls).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(bad_http)?;
    // The task ends when `sender` is dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an HTTP connection failed");
        }
    });
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, endpoint.host_header())
        .header(USER_AGENT, concat!("tickwire-client/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| bad(endpoint, format!("no HTTP request can be made for it: {error}")))?;
    for (name, value) in headers {
        request.headers_mut().insert(name, value.clone());
    }
    let response = sender.send_request(request).await.map_err(bad_http)?;
    if !response.status().is_success() {
        return Err(refused(endpoint, response).await);
    }
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| bad(endpoint, format!("its answer cannot be read: {error}")))?;
    Ok(body.to_bytes().to_vec())
}
