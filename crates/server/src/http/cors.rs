//! What pages of web sites may do with the answers that their browsers get (the Fetch standard, "CORS protocol").
//!
//! With `auth.allowed_origins`, its pages may do everything; without, those of any site may read. There are no credentials that a
//! browser would add by itself, so none are allowed to be.

use hyper::Method;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap,
    HeaderValue, ORIGIN,
};

use super::reply;
use crate::auth::Access;

/// What a page may set: none of it is sent without being asked for.
const REQUEST_HEADERS: &str =
    "Authorization, Content-Type, Content-Encoding, Idempotency-Key, If-None-Match, Last-Event-ID";
/// What a page may read, beyond what it always may.
const ANSWER_HEADERS: &str = "Allow, ETag, Retry-After, WWW-Authenticate";
/// Seconds for which a browser may remember the answer to a preflight; longer than two hours none does.
const PREFLIGHT_AGE_S: &str = "7200";

/// Which pages may read an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readers {
    /// Those of any site, what is read; there is no list.
    Anyone,
    /// Those of this origin, which is on the list.
    Origin(HeaderValue),
    /// None: the list does not hold the request's origin, or no page asks.
    Nobody,
}

impl Readers {
    /// Those of an answer to a request with these `headers`.
    pub(super) fn of(access: &Access, headers: &HeaderMap) -> Self {
        if access.lets_any_page_in() {
            return Self::Anyone;
        }
        match headers.get(ORIGIN) {
            Some(origin) if access.check_origin(headers).is_ok() => Self::Origin(origin.clone()),
            _ => Self::Nobody,
        }
    }
}

/// Whether a browser asks if its page may make a request.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Lets the `readers` see an `answer` to a request by `method`.
pub(super) fn allow(readers: &Readers, method: &Method, answer: &mut HeaderMap) {
    let origin = match readers {
        Readers::Anyone if matches!(*method, Method::GET | Method::HEAD) => HeaderValue::from_static("*"),
        Readers::Anyone => return,
        Readers::Origin(origin) => {
            reply::vary(answer, HeaderValue::from_static("Origin"));
            origin.clone()
        }
        // To a page that may read it the answer would be another one.
        Readers::Nobody => {
            reply::vary(answer, HeaderValue::from_static("Origin"));
            return;
        }
    };
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    answer.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(ANSWER_HEADERS),
    );
}

/// Tells the browser of one of the `readers` what its page may do where `methods` are taken.
pub(super) fn allow_requests(readers: &Readers, methods: &'static str, answer: &mut HeaderMap) {
    let (origin, methods) = match readers {
        Readers::Anyone => (HeaderValue::from_static("*"), methods.replace("POST, ", "")),
        Readers::Origin(origin) => (origin.clone(), methods.to_owned()),
        Readers::Nobody => return,
    };
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    // They are names of ours, so this is always a value; without it nothing is allowed.
    if let Ok(methods) = HeaderValue::try_from(methods) {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
        (ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE_S),
    ] {
        answer.insert(name, HeaderValue::from_static(value));
    }
}
