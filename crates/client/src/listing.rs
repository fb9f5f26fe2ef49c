//! Lists the topics of a broker over HTTP at its public listener: one request on one connection.
//!
//! The answer is bounded in bytes. The caller bounds the time.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::header::{HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tickwire_wire::Pattern;

use crate::connect::{bad, dial, failed, refused};
use crate::endpoint::Endpoint;
use crate::error::ConnectError;
use crate::tls::Tls;

/// Most bytes of a listing.
const LISTING_BYTES_MAX: usize = 1024 * 1024;

/// The part of a listing that is read.
#[derive(Deserialize)]
struct Listing {
    topics: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    topic: String,
}

/// The first topics that match `pattern`, in the broker's order: one page of the listing.
pub(crate) async fn topics(
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    headers: &[(HeaderName, HeaderValue)],
    pattern: &Pattern,
) -> Result<Vec<String>, ConnectError> {
    let bad_http = |error: hyper::Error| failed(endpoint, &error);
    let stream = dial(endpoint, tls).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(bad_http)?;
    // The task ends when `sender` is dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the HTTP connection of a listing failed");
        }
    });
    // `>` is the only character of a pattern that a query may not contain (RFC 3986 §3.4).
    let pattern = pattern.as_str().replace('>', "%3E");
    let mut request = Request::get(format!("/v1/topics?match={pattern}"))
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
    let body = Limited::new(response.into_body(), LISTING_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| bad(endpoint, format!("its listing cannot be read: {error}")))?;
    let listing: Listing = serde_json::from_slice(&body.to_bytes())
        .map_err(|error| bad(endpoint, format!("its listing is none: {error}")))?;
    Ok(listing.topics.into_iter().map(|listed| listed.topic).collect())
}
