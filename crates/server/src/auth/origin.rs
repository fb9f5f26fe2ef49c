//! Whether the page that a browser makes a request for may connect.
//!
//! A WebSocket is not held back by the same-origin policy, so the broker looks by itself (RFC 6455 §10.2, CWE-1385).

use hyper::header::{HeaderMap, ORIGIN};

use super::Denied;
use crate::config::{OriginRule, WebOrigin};

/// Whether a request with `headers` comes from a page of one of `allowed`, or from no page. With none allowed, all are.
pub(super) fn check(allowed: &[OriginRule], headers: &HeaderMap) -> Result<(), Denied> {
    let mut named = headers.get_all(ORIGIN).into_iter();
    let (Some(origin), false) = (named.next(), allowed.is_empty()) else {
        return Ok(());
    };
    // "null" and lists of several (RFC 6454 §7.1) are no origin that could be allowed.
    let parsed = origin.to_str().ok().and_then(WebOrigin::parse);
    match parsed {
        Some(origin) if named.next().is_none() && allowed.iter().any(|rule| rule.covers(&origin)) => Ok(()),
        _ => Err(Denied::ForeignOrigin),
    }
}
