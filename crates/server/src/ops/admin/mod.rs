//! The admin API: what operators change at a running broker. It lists and closes sessions, revokes keys, subjects and
//! tokens, drains, and shows the books of accounts.
//!
//! There is none unless the settings have keys for it: its paths are then like any unknown path. Each request needs one
//! of these keys. A page of another site cannot use it through an operator's browser: a browser adds no key by itself,
//! and a request that names another site's origin is refused ([`Ops::check_page`]).
//!
//! What an operator has asked for is carried out to its end, whether or not the operator waits for the answer. Each
//! request leaves one audit line. Answers are bounded, and so are the bodies of requests. No key and no token is logged
//! or repeated.

mod action;
mod audit;
mod request;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderMap, ORIGIN};
use hyper::{Response, StatusCode};

use self::action::Action;
use self::audit::AuditLine;
use crate::auth::{Denied, find_static_key, shown_token};
use crate::http::ErrorResponse;
use crate::ops::{Asked, Ops, OpsReply};

/// The paths of the admin API.
pub(super) const SESSIONS: &str = "/admin/v1/sessions";
pub(super) const SESSION: &str = "/admin/v1/sessions/{session}";
pub(super) const CLOSE: &str = "/admin/v1/close";
pub(super) const REVOCATIONS: &str = "/admin/v1/revocations";
pub(super) const REVOCATION: &str = "/admin/v1/revocations/{id}";
pub(super) const ACCOUNTING: &str = "/admin/v1/accounting";
pub(super) const DRAIN: &str = "/admin/v1/drain";

/// Answers a request of the admin API.
///
/// # Errors
/// 403 for another site's page, 401 without a key, and those of the action.
pub(super) async fn answer(ops: &Arc<Ops>, asked: Asked<'_>) -> OpsReply {
    let mut line = AuditLine::new(asked.peer, asked.request.method(), asked.path);
    let operator = match ops.operator(asked.request.headers()) {
        Ok(operator) => operator,
        Err(refused) => return line.refused(refused),
    };
    line.by(&operator);
    let action = match Action::read(ops, asked).await {
        Ok(action) => action,
        Err(refused) => return line.refused(refused),
    };
    line.about(action.what());
    // A client that goes away does not cut an action off half-way.
    let ops = ops.clone();
    let carried_out = tokio::task::spawn_local(async move {
        match action.carry_out(&ops, &operator).await {
            Ok(done) => Ok(line.done(done)),
            Err(refused) => line.refused(refused),
        }
    });
    carried_out
        .await
        .unwrap_or_else(|_| Err(ErrorResponse::fault("an action of an operator panicked")))
}

/// The outcome of an action.
struct Done {
    status: StatusCode,
    /// The outcome for the audit line.
    outcome: String,
    answer: Response<Full<Bytes>>,
}

impl Ops {
    /// Whether there is an admin API.
    pub(super) fn has_admin(&self) -> bool {
        !self.live_settings.rules().0.admin.keys.is_empty()
    }

    /// The name of the operator whose request has these `headers`.
    ///
    /// # Errors
    /// 403 for a page of another site, 401 without a key of the admin API.
    fn operator(&self, headers: &HeaderMap) -> Result<String, ErrorResponse> {
        // A request without an origin comes from no page, or from a page of this listener. A broker that operators reach
        // by a name needs no setting for it.
        if headers.contains_key(ORIGIN) {
            self.check_page(headers)?;
        }
        let token = shown_token(headers)?.ok_or(Denied::NoToken)?;
        let (config, _) = self.live_settings.rules();
        let key = find_static_key(&config.admin.keys, |key| &key.hash, token.expose());
        let key = key.ok_or(Denied::UnknownKey)?;
        Ok(key.name.clone())
    }
}
