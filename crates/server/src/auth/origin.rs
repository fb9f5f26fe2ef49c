//! Checks whether the web page behind a browser's request may connect.
//!
//! The same-origin policy does not apply to WebSockets, so the broker checks the origin itself (RFC 6455 §10.2,
//! CWE-1385).

use hyper::header::{HeaderMap, ORIGIN};

use super::Denied;
use crate::config::{OriginRule, WebOrigin};

/// Checks that a request with `headers` comes from a page of an origin in `allowed`, or from no page. If `allowed` is
/// empty, all pages are allowed.
pub(super) fn check(allowed: &[OriginRule], headers: &HeaderMap) -> Result<(), Denied> {
    let mut named = headers.get_all(ORIGIN).into_iter();
    let (Some(origin), false) = (named.next(), allowed.is_empty()) else {
        return Ok(());
    };
    // "null" and lists of several origins (RFC 6454 §7.1) cannot be allowed.
    let parsed = origin.to_str().ok().and_then(WebOrigin::parse);
    match parsed {
        Some(origin) if named.next().is_none() && allowed.iter().any(|rule| rule.covers(&origin)) => Ok(()),
        _ => Err(Denied::ForeignOrigin),
    }
}
