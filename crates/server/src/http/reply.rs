//! The parts that answers of all endpoints have in common.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::history::Export;
use super::stream::Granted;

/// The body of an answer that hyper writes: a whole one, or one that is made while the client takes it.
pub(crate) type WrittenBody = Either<Full<Bytes>, Box<Export>>;
/// The body of an answer. The hub writes streams.
pub(crate) type ReplyBody = Either<WrittenBody, Box<Granted>>;

/// An answer.
pub(crate) type Reply = Response<ReplyBody>;

/// A whole answer as a [`Reply`].
pub(crate) fn whole(response: Response<Full<Bytes>>) -> Reply {
    response.map(|body| Either::Left(Either::Left(body)))
}

/// Adds `name` to `Vary`: the answer depends on this header of the request (RFC 9110 §12.5.5).
pub(crate) fn vary(answer: &mut HeaderMap, name: HeaderValue) {
    let names = match answer.get(VARY) {
        None => Ok(name),
        Some(before) => HeaderValue::from_bytes(&[before.as_bytes(), b", ", name.as_bytes()].concat()),
    };
    // Two names and a comma are always a valid value.
    if let Ok(names) = names {
        answer.insert(VARY, names);
    }
}

/// 204 with the methods of an endpoint (RFC 9110 §9.3.7).
pub(super) fn options(methods: &'static str) -> Reply {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(methods));
    whole(response)
}

/// 200 with `body`, which must be JSON.
pub(super) fn json_text(body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // A shared cache may store it, but must revalidate it each time.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    whole(response)
}

/// 200 with `export`, whose type is `media_type`.
pub(super) fn export(export: Export, media_type: &'static str) -> Reply {
    let mut response = Response::new(Either::Left(Either::Right(Box::new(export))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 200 with `value` as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Reply {
    json_text(text_of(value))
}

/// `value` as JSON.
pub(super) fn text_of<T: Serialize>(value: &T) -> Vec<u8> {
    // Values of the endpoints are structs of text and numbers, which always serialise.
    serde_json::to_vec(value).expect("an answer serialises")
}
