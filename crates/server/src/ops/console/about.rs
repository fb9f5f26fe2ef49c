//! What the page may show its user.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::HeaderMap;
use serde::Serialize;

use crate::VERSION;
use crate::auth::shown_token;
use crate::http::ErrorResponse;
use crate::ops::{Ops, debug_pages};

#[derive(Debug, Serialize)]
struct About<'a> {
    version: &'a str,
    /// Whether topics are shown to this user.
    data: bool,
    /// The reason if no topics are shown.
    reason: Option<String>,
    /// Whether another token may help.
    token: bool,
    /// The name of the token's holder.
    holder: Option<&'a str>,
    /// Whether this user may close sessions.
    may_close: bool,
}

/// `GET /console/about`
///
/// # Errors
/// 403 if the request comes from another site's page.
pub(in crate::ops) fn about(ops: &Ops, headers: &HeaderMap) -> Result<Response<Full<Bytes>>, ErrorResponse> {
    ops.check_page(headers)?;
    let (_, access) = ops.live_settings.rules();
    let admitted = ops.admit_viewer(headers);
    let token = shown_token(headers).ok().flatten();
    let holder = admitted
        .as_ref()
        .ok()
        .and_then(|admission| admission.holder.as_ref());
    let refused = admitted.as_ref().err();
    Ok(debug_pages::json(&About {
        version: VERSION,
        data: refused.is_none(),
        reason: refused.map(|refused| refused.refusal.reason.clone()),
        token: refused.is_some_and(|refused| refused.status == hyper::StatusCode::UNAUTHORIZED),
        holder: holder.and_then(|holder| access.name_of(holder)),
        may_close: token.is_some_and(|token| access.closer(&token, ops.clock.wall()).is_some()),
    }))
}
