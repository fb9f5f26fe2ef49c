//! The answers to refused HTTP requests: a status, and `{"error":{"code":…,"reason":…}}` as the body.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode, Uri};
use serde::Serialize;
use tickwire_router::Ingress;
use tickwire_wire::{ErrorCode, Refusal};

use crate::auth::Denied;
use crate::limits::TurnedAway;

/// The answer to a refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {refusal}")]
pub struct ErrorResponse {
    /// The status, 400 or above.
    pub status: StatusCode,
    /// The body's code and reason.
    pub refusal: Refusal,
    /// Headers that the status requires, such as `Allow`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl ErrorResponse {
    /// An answer with `status` because of `refusal`.
    #[must_use]
    pub fn new(status: StatusCode, refusal: Refusal) -> Self {
        Self {
            status,
            refusal,
            headers: Vec::new(),
        }
    }

    /// 400 with `bad_request` because of `reason`.
    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Refusal::bad_request(reason))
    }

    /// 500 because of a fault of the broker. The log tells more about it than the answer.
    pub(crate) fn fault(what: &str) -> Self {
        tracing::error!("a request failed: {what}");
        Refusal::new(ErrorCode::Internal, "a fault of the broker").into()
    }

    /// The answer of a draining broker to a request for a WebSocket connection or a stream.
    pub(crate) fn draining() -> Self {
        let refusal = Refusal::new(ErrorCode::Internal, "the broker is draining; connect again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, refusal).with_header(RETRY_AFTER, "1")
    }

    /// The answer to a publication or an end that was refused. What a journal refuses may be tried again soon.
    pub(super) fn not_published(refusal: Refusal, ingress: &Ingress) -> Self {
        if refusal.code == ErrorCode::Internal && ingress.writes_first() {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, refusal).with_header(RETRY_AFTER, "1");
        }
        refusal.into()
    }

    /// 404 for `target`, on a listener that has `paths`. A target without a path, as in `CONNECT`, names another host.
    pub(crate) fn nothing_at(target: &Uri, paths: &str) -> Self {
        let reason = match target.path() {
            "" => format!("{target} is no path, and the broker is no proxy; there are {paths}"),
            path => format!("there is nothing at {path}; there are {paths}"),
        };
        Self::new(StatusCode::NOT_FOUND, Refusal::bad_request(reason))
    }

    /// 405 for `path`, which answers only to the methods `allowed`, such as `"GET, HEAD"`.
    #[must_use]
    pub fn method_not_allowed(path: &str, allowed: &'static str) -> Self {
        let refusal = Refusal::bad_request(format!("{path} takes {allowed} only"));
        Self::new(StatusCode::METHOD_NOT_ALLOWED, refusal).with_header(hyper::header::ALLOW, allowed)
    }

    /// Adds a header.
    ///
    /// # Panics
    /// If `value` has a byte that a header may not have.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// The body of an answer with `refusal`.
    pub(super) fn body_of(refusal: &Refusal) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a Refusal,
        }
        // A refusal is text, which always serialises.
        serde_json::to_vec(&Body { error: refusal }).expect("text serialises")
    }

    /// The whole response.
    ///
    /// # Panics
    /// Never: a refusal is text, which always serialises.
    #[must_use]
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let body = Self::body_of(&self.refusal);
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        response
    }
}

/// The answer with the status that fits the code. Its body is the refusal that a WebSocket client would get as an
/// `error`.
impl From<Refusal> for ErrorResponse {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            ErrorCode::BadRequest | ErrorCode::BadTopic | ErrorCode::UnknownOp => StatusCode::BAD_REQUEST,
            ErrorCode::NotSubscribed => StatusCode::NOT_FOUND,
            ErrorCode::Unauthenticated | ErrorCode::TokenExpired => StatusCode::UNAUTHORIZED,
            ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            ErrorCode::LimitExceeded => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let response = Self::new(status, refusal);
        if status == StatusCode::UNAUTHORIZED {
            // This names the accepted kind of token (RFC 9110 §11.6.1).
            return response.with_header(WWW_AUTHENTICATE, "Bearer");
        }
        response
    }
}

/// 403 for a page of another site, otherwise 401 with the accepted kind of token (RFC 6750 §3).
impl From<Denied> for ErrorResponse {
    fn from(denied: Denied) -> Self {
        let mut response = Self::from(denied.refusal());
        if response.status == StatusCode::UNAUTHORIZED && denied != Denied::NoToken {
            let other_token = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            response.headers = vec![(WWW_AUTHENTICATE, other_token)];
        }
        response
    }
}

impl From<TurnedAway> for ErrorResponse {
    fn from(why: TurnedAway) -> Self {
        let mut response = Self::new(why.status(), why.refusal());
        let retry_after = HeaderValue::from(why.retry_after_s());
        response.headers.push((RETRY_AFTER, retry_after));
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_body_is_json_whatever_the_reason_holds() {
        let response = ErrorResponse::bad_request("a \"quote\"\nand a line").into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body,
            r#"{"error":{"code":"bad_request","reason":"a \"quote\"\nand a line"}}"#
        );
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let response = ErrorResponse::method_not_allowed("/v1/ws", "GET").into_response();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "GET");
    }

    #[test]
    fn every_code_is_an_error_status() {
        for code in ErrorCode::ALL {
            let status = ErrorResponse::from(Refusal::new(code, "")).status;
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
            assert_eq!(
                code.is_retryable(),
                status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
                "{code}"
            );
        }
    }
}
