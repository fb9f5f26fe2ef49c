//! The audit lines of the admin API: who has asked for what, from which address, and the outcome.
//!
//! Each request writes one line, at a target of its own, so that a log can be filtered for them. A line names what an
//! action is about by what the request was understood to mean, never by the request's bytes.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Response, StatusCode};

use super::Done;
use crate::http::ErrorResponse;
use crate::net::proxied::ClientAddr;
use crate::ops::OpsReply;

/// What an audit line says.
#[derive(Debug)]
pub(super) struct AuditLine {
    from: ClientAddr,
    call: String,
    by: Option<String>,
    what: String,
}

impl AuditLine {
    /// The line of a request with this method for the page `path`, from `from`.
    pub(super) fn new(from: ClientAddr, method: &Method, path: &str) -> Self {
        Self {
            from,
            call: format!("{method} {path}"),
            by: None,
            what: String::new(),
        }
    }

    /// Names the operator.
    pub(super) fn by(&mut self, operator: &str) {
        self.by = Some(operator.to_owned());
    }

    /// Names what the request is about.
    pub(super) fn about(&mut self, what: String) {
        self.what = what;
    }

    /// Writes the line of a request that was carried out, and returns its answer.
    pub(super) fn done(self, done: Done) -> Response<Full<Bytes>> {
        self.write(done.status, &done.outcome);
        let mut answer = done.answer;
        *answer.status_mut() = done.status;
        answer
    }

    /// Writes the line of a request that was refused or failed.
    pub(super) fn refused(self, refused: ErrorResponse) -> OpsReply {
        self.write(refused.status, &refused.refusal.reason);
        Err(refused)
    }

    fn write(&self, status: StatusCode, outcome: &str) {
        let Self { from, call, by, what } = self;
        let (by, status) = (by.as_deref().unwrap_or_default(), status.as_u16());
        if status < 400 {
            tracing::info!(target: "tickwire_audit", by, %from, call, what, status, outcome, "an operator acted");
        } else {
            tracing::warn!(target: "tickwire_audit", by, %from, call, what, status, outcome, "a request to the admin API was refused");
        }
    }
}
