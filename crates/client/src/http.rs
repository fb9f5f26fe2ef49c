//! Asks a broker over HTTP at its public listener: one request on one connection.
//!
//! A whole answer is bounded in bytes, and the caller bounds its time. A [`Download`] is taken chunk by chunk.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tickwire_wire::Pattern;
use tokio::time::timeout;

use crate::connect::{bad, dial, failed, refused};
use crate::endpoint::Endpoint;
use crate::error::{ConnectError, Loss};
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

/// An answer that is taken chunk by chunk: [`crate::ClientBuilder::download`].
#[derive(Debug)]
pub struct Download {
    endpoint: Endpoint,
    body: Incoming,
    /// The longest time that a chunk may take.
    stall_ms: u64,
    _sender: SendRequest<Full<Bytes>>,
}

impl Download {
    /// The next chunk; `None` at the end of the answer.
    ///
    /// # Errors
    /// When the connection ends before the answer does, or nothing comes within the time for connecting.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ConnectError> {
        let within = Duration::from_millis(self.stall_ms);
        loop {
            let frame = match timeout(within, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => frame.map_err(|error| failed(&self.endpoint, &error))?,
                Err(_) => {
                    return Err(ConnectError::Lost {
                        endpoint: self.endpoint.to_string(),
                        loss: Loss::Silent {
                            after_ms: self.stall_ms,
                        },
                    });
                }
            };
            // Trailers are no data.
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

/// Asks for an answer that is taken chunk by chunk.
pub(crate) async fn download(
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    headers: &[(HeaderName, HeaderValue)],
    target: &str,
    stall_ms: u64,
) -> Result<Download, ConnectError> {
    let (response, sender) = request(endpoint, tls, headers, (Method::GET, target, Bytes::new())).await?;
    Ok(Download {
        endpoint: endpoint.clone(),
        body: response.into_body(),
        stall_ms,
        _sender: sender,
    })
}

/// The body of the answer to a request.
pub(crate) async fn ask(
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    headers: &[(HeaderName, HeaderValue)],
    asked: (Method, &str, Bytes),
) -> Result<Vec<u8>, ConnectError> {
    let (response, _sender) = request(endpoint, tls, headers, asked).await?;
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| bad(endpoint, format!("its answer cannot be read: {error}")))?;
    Ok(body.to_bytes().to_vec())
}

/// The beginning of the answer to a request that was granted. The connection ends with the sender.
async fn request(
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    headers: &[(HeaderName, HeaderValue)],
    (method, target, body): (Method, &str, Bytes),
) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), ConnectError> {
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
    let is_json = !body.is_empty();
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, endpoint.host_header())
        .header(USER_AGENT, concat!("tickwire-client/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(body))
        .map_err(|error| bad(endpoint, format!("no HTTP request can be made for it: {error}")))?;
    if is_json {
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
    }
    for (name, value) in headers {
        request.headers_mut().insert(name, value.clone());
    }
    let response = sender.send_request(request).await.map_err(bad_http)?;
    if !response.status().is_success() {
        return Err(refused(endpoint, response).await);
    }
    Ok((response, sender))
}
