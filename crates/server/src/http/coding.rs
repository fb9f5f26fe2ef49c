//! The content codings that a request has and accepts (RFC 9110 §8.4, §12.5.3): gzip or none; and its transfer codings
//! (RFC 9112 §6.1): chunked or none.

use hyper::StatusCode;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderName, TRANSFER_ENCODING};
use tickwire_wire::Refusal;

use super::ErrorResponse;

/// The coding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
}

/// The coding of a request's body. Gzip is accepted if it is `allowed`.
///
/// # Errors
/// 415 for a coding that is not accepted; the answer names the accepted one (§15.5.16).
pub(super) fn of_body(headers: &HeaderMap, allowed: bool) -> Result<Coding, ErrorResponse> {
    let mut named = elements(headers, &CONTENT_ENCODING).filter(|coding| !is(coding, &["identity"]));
    match (named.next(), named.next()) {
        (None, _) => Ok(Coding::Identity),
        (Some(coding), None) if allowed && is_gzip(coding) => Ok(Coding::Gzip),
        _ => {
            let (taken, reason) = if allowed {
                ("gzip", "of content codings only gzip is understood, once")
            } else {
                (
                    "identity",
                    "no content coding is taken: compression.enabled is false",
                )
            };
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            Err(ErrorResponse::new(status, Refusal::bad_request(reason)).with_header(ACCEPT_ENCODING, taken))
        }
    }
}

/// Refuses a body with a transfer coding that is not decoded here. Hyper decodes chunks and hands out the rest
/// unchanged.
///
/// # Errors
/// 501 for everything except a single `chunked` (RFC 9112 §6.1).
pub(crate) fn check_transfer(headers: &HeaderMap) -> Result<(), ErrorResponse> {
    let mut named = elements(headers, &TRANSFER_ENCODING);
    match (named.next(), named.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if is(coding, &["chunked"]) => Ok(()),
        _ => {
            let refusal = Refusal::bad_request("of transfer codings only chunked is understood, once");
            Err(ErrorResponse::new(StatusCode::NOT_IMPLEMENTED, refusal))
        }
    }
}

/// Whether a client that sent these `headers` prefers an answer in gzip.
pub(super) fn prefers_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, 0);
    for element in elements(headers, &ACCEPT_ENCODING) {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let coding = parts.next().unwrap_or_default();
        let weight = parts.next().map_or(1_000, weight);
        match coding {
            b"*" => any = Some(weight),
            coding if is_gzip(coding) => gzip = Some(weight),
            coding if is(coding, &["identity"]) => identity = weight,
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity
}

/// The weight of a text such as `q=0.5`, in thousandths (§12.4.2); 0 if it is not a weight.
fn weight(text: &[u8]) -> u32 {
    let Some((b"q=" | b"Q=", digits)) = text.split_at_checked(2) else {
        return 0;
    };
    let (whole, rest) = match digits {
        [whole @ (b'0' | b'1')] => (*whole, &b""[..]),
        [whole @ (b'0' | b'1'), b'.', rest @ ..] if rest.len() <= 3 => (*whole, rest),
        _ => return 0,
    };
    if !rest.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let part = rest
        .iter()
        .zip([100, 10, 1])
        .map(|(digit, worth)| u32::from(digit - b'0') * worth);
    (u32::from(whole - b'0') * 1_000 + part.sum::<u32>()).min(1_000)
}

fn is_gzip(coding: &[u8]) -> bool {
    // §8.4.1.3: both names mean the same.
    is(coding, &["gzip", "x-gzip"])
}

fn is(coding: &[u8], names: &[&str]) -> bool {
    names
        .iter()
        .any(|name| coding.eq_ignore_ascii_case(name.as_bytes()))
}

/// The elements of a list header, which may have several lines (§5.6.1: empty elements do not count).
fn elements<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(name).into_iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn head(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_str(line).expect("a value"));
        }
        headers
    }

    #[test]
    fn codings_of_bodies() {
        for (lines, coding) in [
            (&[][..], Some(Coding::Identity)),
            (&["identity"], Some(Coding::Identity)),
            (&[""], Some(Coding::Identity)),
            (&["gzip"], Some(Coding::Gzip)),
            (&["GZip"], Some(Coding::Gzip)),
            (&["x-gzip"], Some(Coding::Gzip)),
            (&["identity, gzip"], Some(Coding::Gzip)),
            (&["gzip, gzip"], None),
            (&["gzip", "gzip"], None),
            (&["deflate"], None),
            (&["br"], None),
            (&["gzip;q=1"], None),
            (&["aws-chunked"], None),
        ] {
            let found = of_body(&head(&CONTENT_ENCODING, lines), true);
            assert_eq!(found.as_ref().ok(), coding.as_ref(), "{lines:?}");
            if let Err(refused) = found {
                assert_eq!(refused.status, 415);
                assert_eq!(
                    refused.headers,
                    [(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]
                );
            }
        }
        assert!(of_body(&head(&CONTENT_ENCODING, &[]), false).is_ok());
        let refused = of_body(&head(&CONTENT_ENCODING, &["gzip"]), false).expect_err("it is not allowed");
        assert_eq!(
            refused.headers,
            [(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]
        );
    }

    #[test]
    fn of_transfer_codings_only_chunked_was_looked_at() {
        for (lines, taken) in [
            (&[][..], true),
            (&["chunked"], true),
            (&["Chunked"], true),
            (&["gzip, chunked"], false),
            (&["gzip", "chunked"], false),
            (&["chunked, chunked"], false),
            (&["identity, chunked"], false),
        ] {
            let checked = check_transfer(&head(&TRANSFER_ENCODING, lines));
            assert_eq!(checked.is_ok(), taken, "{lines:?}");
            if let Err(refused) = checked {
                assert_eq!(refused.status, 501);
            }
        }
    }

    #[test]
    fn codings_that_are_taken() {
        for (lines, gzip) in [
            (&[][..], false),
            (&["gzip"], true),
            (&["gzip, deflate, br"], true),
            (&["deflate", "x-gzip"], true),
            (&["*"], true),
            (&["*;q=0.1"], true),
            (&["gzip;q=0"], false),
            (&["gzip;q=0.000, *"], false),
            (&["gzip; q=0.001"], true),
            (&["gzip;q=0.5, identity;q=1"], false),
            (&["identity;q=0.5, gzip;q=0.5"], true),
            (&["identity"], false),
            (&["deflate"], false),
            (&["gzip;q=1.5, identity;q=0.1"], true),
            (&["gzip;q=x"], false),
            (&["gzip;q=0.1234"], false),
            (&["gzip;q="], false),
            (&["gzip;level=9"], false),
            (&["gzipped"], false),
            (&[""], false),
        ] {
            assert_eq!(prefers_gzip(&head(&ACCEPT_ENCODING, lines)), gzip, "{lines:?}");
        }
    }
}
