//! Checks that a request of a browser comes from the console's own page, and finds the rights of its user.
//!
//! Pages of other sites can make an operator's browser open a WebSocket to a loopback address (RFC 6455 §10.2), and can
//! give their own name that address, so that the browser takes it for theirs (DNS rebinding). So the host that the
//! browser names must be an address, `localhost` or a name in the settings, and the page's origin must be that host.

use std::net::IpAddr;

use hyper::StatusCode;
use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::http::uri::Authority;
use tickwire_metrics::Metric;
use tickwire_wire::{ErrorCode, Refusal};

use crate::auth::{Admission, shown_token};
use crate::config::{OriginRule, WebOrigin};
use crate::http::ErrorResponse;
use crate::ops::Ops;

/// Why the console has no data.
pub(super) const NO_DATA: &str = "the console shows no topics here: console.data is \"off\"; or it is \"auto\", and ops is no loopback address or clients need a certificate. With \"on\" it shows them";

impl Ops {
    /// The rights of the user of the console whose request has these `headers`: those that its token, or none, has at
    /// the clients' listener.
    ///
    /// # Errors
    /// 403 for another site's page or where the settings do not offer data, 401 for a token that is not accepted.
    pub(super) fn admit_viewer(&self, headers: &HeaderMap) -> Result<Admission, ErrorResponse> {
        self.check_page(headers)?;
        let (config, access) = self.live_settings.rules();
        if !config.console_has_data() {
            return Err(forbidden(NO_DATA));
        }
        let admitted = shown_token(headers).and_then(|token| access.admit(token.as_ref(), self.clock.wall()));
        admitted.map_err(|denied| {
            let reason = denied.failure() as usize;
            self.catalogue.add(Metric::AuthFailures, &[reason], 1);
            denied.into()
        })
    }

    /// Checks that a request with these `headers` comes from the console's page or from no page.
    ///
    /// # Errors
    /// 403 otherwise.
    pub(in crate::ops) fn check_page(&self, headers: &HeaderMap) -> Result<(), ErrorResponse> {
        let (config, _) = self.live_settings.rules();
        check(&config.console.origins, headers).map_err(forbidden)
    }
}

pub(super) fn forbidden(reason: impl Into<String>) -> ErrorResponse {
    ErrorResponse::new(
        StatusCode::FORBIDDEN,
        Refusal::new(ErrorCode::Forbidden, reason.into()),
    )
}

/// Checks the host and the origin of a request with `headers`, where the settings allow the origins `allowed`.
fn check(allowed: &[OriginRule], headers: &HeaderMap) -> Result<(), &'static str> {
    let text = |value: Option<&HeaderValue>| value.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let host = text(headers.get(HOST)).unwrap_or_default();
    let own: Vec<WebOrigin> = ["http", "https"]
        .iter()
        .filter_map(|scheme| WebOrigin::parse(&format!("{scheme}://{host}")))
        .collect();
    let is_allowed = |origin: &WebOrigin| allowed.iter().any(|rule| rule.covers(origin));
    if !host.is_empty() && !is_local(&host) && !own.iter().any(is_allowed) {
        return Err(
            "the console is not open at this host: name its origin in console.origins, or use an address or localhost",
        );
    }
    let mut origins = headers.get_all(ORIGIN).into_iter();
    let origin = match (origins.next(), origins.next()) {
        (None, _) => return Ok(()),
        (origin, None) => text(origin).and_then(|origin| WebOrigin::parse(&origin)),
        (Some(_), Some(_)) => None,
    };
    match origin {
        Some(origin) if own.contains(&origin) || is_allowed(&origin) => Ok(()),
        _ => Err("the request comes from a page of another site"),
    }
}

/// Whether a `Host` is an address or `localhost`: names that no other site can have.
fn is_local(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_does_not_reach_the_console_through_an_operators_browser() {
        let rules = [OriginRule::parse("https://console.example").expect("an origin")];
        for (host, origin, passes) in [
            ("127.0.0.1:7401", None, true),
            ("127.0.0.1:7401", Some("http://127.0.0.1:7401"), true),
            ("localhost:7401", Some("http://localhost:7401"), true),
            ("[::1]:7401", Some("http://[::1]:7401"), true),
            ("", None, true),
            ("console.example", None, true),
            ("console.example", Some("https://console.example"), true),
            // A proxy may name the broker's own address.
            ("127.0.0.1:7401", Some("https://console.example"), true),
            ("127.0.0.1:7401", Some("https://evil.example"), false),
            ("127.0.0.1:7401", Some("http://127.0.0.1:7400"), false),
            ("127.0.0.1:7401", Some("http://localhost:7401"), false),
            ("127.0.0.1:7401", Some("null"), false),
            // The site's name leads to a loopback address.
            ("evil.example:7401", Some("http://evil.example:7401"), false),
            ("evil.example:7401", None, false),
            ("127.0.0.1.evil.example", None, false),
            ("localhost.evil.example", None, false),
            ("", Some("http://evil.example"), false),
        ] {
            let mut headers = HeaderMap::new();
            let value = |text: &str| HeaderValue::from_str(text).expect("a value");
            headers.insert(HOST, value(host));
            if let Some(origin) = origin {
                headers.insert(ORIGIN, value(origin));
            }
            assert_eq!(check(&rules, &headers).is_ok(), passes, "{host} {origin:?}");
        }
    }

    #[test]
    fn a_request_with_two_origins_has_none() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        for _ in 0..2 {
            headers.append(ORIGIN, HeaderValue::from_static("http://localhost"));
        }
        assert!(check(&[], &headers).is_err());
    }
}
