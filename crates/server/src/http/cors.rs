//! What web pages may do with the answers that their browsers get (the Fetch standard, "CORS protocol").
//!
//! Pages in `auth.allowed_origins` may do everything. If that list is empty, pages of any site may read. There are no
//! credentials that a browser adds by itself, so none are allowed.

use hyper::Method;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap,
    HeaderValue, ORIGIN,
};

use super::reply;
use crate::auth::Access;

/// The headers that a page may set. A browser asks before it sends any of them.
const REQUEST_HEADERS: &str =
    "Authorization, Content-Type, Content-Encoding, Idempotency-Key, If-None-Match, Last-Event-ID";
/// The headers that a page may read, besides those that it always may.
const ANSWER_HEADERS: &str =
    "Allow, ETag, Retry-After, Tickwire-Epoch, Tickwire-Newest, Tickwire-Oldest, WWW-Authenticate";
/// Seconds for which a browser may keep the answer to a preflight. No browser keeps it for more than two hours.
const PREFLIGHT_AGE_S: &str = "7200";

/// The pages that may read an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readers {
    /// Pages of any site, for reading requests: there is no list.
    Anyone,
    /// Pages of this origin, which is in the list.
    Origin(HeaderValue),
    /// No page: the list does not have the request's origin, or the request does not come from a page.
    Nobody,
}

impl Readers {
    /// The pages that may read the answer to a request with these `headers`.
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

/// Lets the `readers` read an `answer` to a request with `method`.
pub(super) fn allow(readers: &Readers, method: &Method, answer: &mut HeaderMap) {
    let origin = match readers {
        Readers::Anyone if matches!(*method, Method::GET | Method::HEAD) => HeaderValue::from_static("*"),
        Readers::Anyone => return,
        Readers::Origin(origin) => {
            reply::vary(answer, HeaderValue::from_static("Origin"));
            origin.clone()
        }
        // A page that may read it would get another answer.
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

/// Tells the browser what a page among the `readers` may request at an endpoint with these `methods`.
pub(super) fn allow_requests(readers: &Readers, methods: &'static str, answer: &mut HeaderMap) {
    let (origin, methods) = match readers {
        Readers::Anyone => (
            HeaderValue::from_static("*"),
            methods.replace("POST, ", "").replace("DELETE, ", ""),
        ),
        Readers::Origin(origin) => (origin.clone(), methods.to_owned()),
        Readers::Nobody => return,
    };
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    // These are our own method names, so they are always a valid value. Otherwise nothing would be allowed.
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
