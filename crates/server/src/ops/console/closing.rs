//! Closes a session on request of an operator that has this right.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderMap, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tickwire_wire::{ErrorCode, Refusal};

use super::gate::forbidden;
use crate::auth::shown_token;
use crate::http::{ErrorResponse, UnreadQuery};
use crate::ops::{Ops, debug_pages};

#[derive(Debug, Serialize)]
struct ClosedSession<'a> {
    closed: &'a str,
}

/// `POST /console/close?session=NAME`
///
/// # Errors
/// 401 without a token, 403 if its key does not have the right, 404 if there is no such session, 503 if its shard does
/// not answer.
pub(in crate::ops) async fn close(
    ops: &Ops,
    headers: &HeaderMap,
    query: UnreadQuery<'_>,
) -> Result<Response<Full<Bytes>>, ErrorResponse> {
    ops.check_page(headers)?;
    let (_, access) = ops.live_settings.rules();
    let Some(token) = shown_token(headers)? else {
        let reason = "closing a session needs a static key with close_sessions = true, as a bearer token";
        let refusal = Refusal::new(ErrorCode::Unauthenticated, reason);
        return Err(
            ErrorResponse::new(StatusCode::UNAUTHORIZED, refusal).with_header(WWW_AUTHENTICATE, "Bearer")
        );
    };
    let key = access.closer(&token, ops.clock.wall()).ok_or_else(|| {
        forbidden("this token may not close sessions: only static keys with close_sessions = true may")
    })?;
    let query = query.read()?;
    let name = query
        .one("session")?
        .ok_or_else(|| ErrorResponse::bad_request("session is missing: the name of the session to close"))?;
    if !ops.inspector.close(name).await? {
        let refusal = Refusal::bad_request(format!("there is no open session {name}"));
        return Err(ErrorResponse::new(StatusCode::NOT_FOUND, refusal));
    }
    tracing::info!(session = name, key, "an operator closed a session");
    Ok(debug_pages::json(&ClosedSession { closed: name }))
}
