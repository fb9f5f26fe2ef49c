//! Negotiates the extension of a connection: permessage-deflate (RFC 7692 §7.1), or none.
//!
//! The parser is strict. A header that breaks the grammar of RFC 6455 §9.1 fails the handshake. An offer with
//! parameters that are not those of RFC 7692 is declined, and the next one is checked. The agreement never includes
//! context takeover, in either direction: so the compressed frame of a message is the same for all, and no connection
//! keeps a state for it.

use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use tickwire_wire::deflate::WindowBits;

use crate::http::ErrorResponse;

const PERMESSAGE_DEFLATE: &str = "permessage-deflate";

/// The agreed parameters of permessage-deflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deflate {
    /// The window for messages to the client, if it asked for one.
    asked: Option<WindowBits>,
}

impl Deflate {
    /// The window with which the client inflates messages.
    #[must_use]
    pub(crate) fn window(self) -> WindowBits {
        self.asked.unwrap_or(WindowBits::MAX)
    }

    /// The extension's header for the answer to the handshake.
    ///
    /// # Panics
    /// Never: the text is made of visible ASCII.
    #[must_use]
    pub(crate) fn response(self) -> HeaderValue {
        let mut text =
            format!("{PERMESSAGE_DEFLATE}; server_no_context_takeover; client_no_context_takeover");
        if let Some(window) = self.asked {
            text += &format!("; server_max_window_bits={}", window.bits());
        }
        HeaderValue::try_from(text).expect("visible ASCII")
    }
}

/// The first acceptable offer of permessage-deflate, if there is one.
///
/// # Errors
/// The answer to a request whose header is malformed.
pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Option<Deflate>, ErrorResponse> {
    let (mut agreed, mut offers) = (None, 0);
    for line in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let mut scanner = Scanner(line.as_bytes());
        while let Some(offer) = scanner.extension().map_err(|Malformed(what)| {
            ErrorResponse::bad_request(format!(
                "Sec-WebSocket-Extensions is malformed: {what} (RFC 6455 9.1)"
            ))
        })? {
            offers += 1;
            agreed = agreed.or(offer);
        }
    }
    if offers == 0 && headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Err(ErrorResponse::bad_request(
            "Sec-WebSocket-Extensions is empty: name an extension or leave the header out",
        ));
    }
    Ok(agreed)
}

/// The parameters of an offer so far, and whether it is declined.
#[derive(Debug, Default)]
struct Offer {
    declined: bool,
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<WindowBits>,
    client_max_window_bits: bool,
}

impl Offer {
    /// Adds a parameter. Each may occur once, with a value if it needs one (RFC 7692 §7.1).
    fn parameter(&mut self, name: &[u8], value: Option<&[u8]>) {
        let once = |seen: &mut bool| !std::mem::replace(seen, true);
        let accepted = match (name, value) {
            (b"server_no_context_takeover", None) => once(&mut self.server_no_context_takeover),
            (b"client_no_context_takeover", None) => once(&mut self.client_no_context_takeover),
            (b"server_max_window_bits", Some(value)) => match window_bits(value) {
                Some(window) => self.server_max_window_bits.replace(window).is_none(),
                None => false,
            },
            // The broker can inflate with any window of a client, so there is nothing to answer.
            (b"client_max_window_bits", value) => {
                value.is_none_or(|value| window_bits(value).is_some())
                    && once(&mut self.client_max_window_bits)
            }
            _ => false,
        };
        self.declined |= !accepted;
    }

    fn accept(self) -> Option<Deflate> {
        (!self.declined).then_some(Deflate {
            asked: self.server_max_window_bits,
        })
    }
}

/// A decimal number between 8 and 15 without a leading zero.
fn window_bits(value: &[u8]) -> Option<WindowBits> {
    let text = std::str::from_utf8(value).ok()?;
    let digits = value.iter().all(u8::is_ascii_digit) && !text.starts_with('0');
    WindowBits::new(text.parse().ok().filter(|_| digits)?)
}

/// The fault of a header.
struct Malformed(&'static str);

/// The rest of a header line.
struct Scanner<'h>(&'h [u8]);

impl<'h> Scanner<'h> {
    /// The next element of the list, as its offer. The outer `None` is the end of the line.
    #[expect(
        clippy::option_option,
        reason = "an element that offers nothing usable is not the end of the list"
    )]
    fn extension(&mut self) -> Result<Option<Option<Deflate>>, Malformed> {
        // RFC 9110 §5.6.1: empty elements do not count.
        while self.takes(b',') {}
        if self.0.is_empty() {
            return Ok(None);
        }
        let is_deflate = self.token()? == PERMESSAGE_DEFLATE.as_bytes();
        let mut offer = Offer::default();
        while self.takes(b';') {
            let name = self.token()?;
            let value = if self.takes(b'=') {
                Some(self.value()?)
            } else {
                None
            };
            offer.parameter(name, value.as_deref());
        }
        if !self.0.is_empty() && !self.takes(b',') {
            return Err(Malformed(
                "something other than \";\" or \",\" follows an element",
            ));
        }
        Ok(Some(offer.accept().filter(|_| is_deflate)))
    }

    /// Skips white space. If `byte` is next, takes it with the white space after it and returns `true`.
    fn takes(&mut self, byte: u8) -> bool {
        self.0 = self.0.trim_ascii_start();
        let taken = self.0.strip_prefix(&[byte]);
        self.0 = taken.unwrap_or(self.0).trim_ascii_start();
        taken.is_some()
    }

    fn token(&mut self) -> Result<&'h [u8], Malformed> {
        let len = self
            .0
            .iter()
            .position(|byte| !is_token(*byte))
            .unwrap_or(self.0.len());
        if len == 0 {
            return Err(Malformed("a name or value is missing or not a token"));
        }
        let (token, rest) = self.0.split_at(len);
        self.0 = rest;
        Ok(token)
    }

    /// A token, or a quoted string whose content is a token.
    fn value(&mut self) -> Result<std::borrow::Cow<'h, [u8]>, Malformed> {
        let Some(mut rest) = self.0.strip_prefix(b"\"") else {
            return self.token().map(std::borrow::Cow::Borrowed);
        };
        let mut value = Vec::new();
        loop {
            rest = match rest {
                [b'"', after @ ..] => {
                    self.0 = after;
                    break;
                }
                [b'\\', byte, after @ ..] | [byte, after @ ..] if is_token(*byte) => {
                    value.push(*byte);
                    after
                }
                [] => return Err(Malformed("a quoted value is not closed")),
                _ => return Err(Malformed("a quoted value is not a token")),
            };
        }
        if value.is_empty() {
            return Err(Malformed("a quoted value is empty"));
        }
        Ok(value.into())
    }
}

/// Whether `byte` may be in a token (RFC 9110 §5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    /// The outcome of header lines: the answer without its beginning, "none", or the reason of the refusal.
    fn outcome(lines: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_bytes(line).unwrap());
        }
        match negotiate(&headers) {
            Ok(None) => "none".to_owned(),
            Ok(Some(deflate)) => {
                let response = deflate.response();
                response.to_str().unwrap().replace(ANSWER, "deflate")
            }
            Err(refused) => refused.refusal.reason,
        }
    }

    #[test]
    fn offers_of_clients() {
        for (offer, expected) in [
            ("permessage-deflate", "deflate"),
            // Browsers; Node ws; Python websockets.
            ("permessage-deflate; client_max_window_bits", "deflate"),
            (
                "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
                "deflate; server_max_window_bits=12",
            ),
            (
                "permessage-deflate;server_no_context_takeover;client_no_context_takeover",
                "deflate",
            ),
            (
                "permessage-deflate; server_max_window_bits=8",
                "deflate; server_max_window_bits=8",
            ),
            (
                "permessage-deflate; server_max_window_bits=\"1\\0\"",
                "deflate; server_max_window_bits=10",
            ),
            (
                " permessage-deflate ;\tserver_max_window_bits = 15 , x",
                "deflate; server_max_window_bits=15",
            ),
            ("x-webkit-deflate-frame", "none"),
            ("permessage-bzip2; level=9, permessage-deflate", "deflate"),
            ("foo; bar=\"baz\"; qux, permessage-deflate", "deflate"),
            (",, permessage-deflate,,", "deflate"),
            ("PERMESSAGE-DEFLATE", "none"),
        ] {
            assert_eq!(outcome(&[offer.as_bytes()]), expected, "{offer}");
        }
        assert_eq!(outcome(&[]), "none");
        assert_eq!(outcome(&[b"foo", b"permessage-deflate"]), "deflate");
    }

    #[test]
    fn offers_that_are_declined() {
        for parameters in [
            "unknown",
            "server_no_context_takeover=1",
            "client_no_context_takeover=\"x\"",
            "server_no_context_takeover; server_no_context_takeover",
            "client_max_window_bits; client_max_window_bits",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=08",
            "server_max_window_bits=0",
            "server_max_window_bits=+9",
            "server_max_window_bits=1e1",
            "server_max_window_bits=99999999999999999999",
            "server_max_window_bits=10; server_max_window_bits=10",
        ] {
            let offer = format!("permessage-deflate; {parameters}");
            assert_eq!(outcome(&[offer.as_bytes()]), "none", "{offer}");
            // The next offer is checked.
            let offers = format!("{offer}, permessage-deflate; server_max_window_bits=9");
            assert_eq!(
                outcome(&[offers.as_bytes()]),
                "deflate; server_max_window_bits=9",
                "{offers}"
            );
        }
        let first_wins = "permessage-deflate; server_max_window_bits=9, permessage-deflate";
        assert_eq!(
            outcome(&[first_wins.as_bytes()]),
            "deflate; server_max_window_bits=9"
        );
    }

    #[test]
    fn headers_that_are_malformed() {
        for header in [
            "permessage-deflate;",
            "permessage-deflate; ;",
            ";",
            "permessage-deflate; =8",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"10",
            "permessage-deflate; server_max_window_bits=\"\"",
            "permessage-deflate; server_max_window_bits=\"1 0\"",
            "permessage-deflate; server_max_window_bits=10 11",
            "permessage-deflate server_max_window_bits=10",
            "permessage-deflate, foo bar",
            "permessage-deflate=1",
            "\"permessage-deflate\"",
            "foo; a=(b)",
            "permessage-deflate; server_max_window_bits=\"\\",
        ] {
            let outcome = outcome(&[header.as_bytes()]);
            assert!(
                outcome.starts_with("Sec-WebSocket-Extensions is malformed"),
                "{header}: {outcome}"
            );
        }
        for header in ["", ",", " , ,"] {
            let outcome = outcome(&[header.as_bytes()]);
            assert!(
                outcome.starts_with("Sec-WebSocket-Extensions is empty"),
                "{header}: {outcome}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_outcome(header in "[a-z_;,= \"\\\\0-9\t-]{0,60}") {
            outcome(&[header.as_bytes()]);
        }

        #[test]
        fn a_refusal_depends_on_the_grammar_alone(
            names in prop::collection::vec("[a-z!#_-]{1,9}(; ?[a-z]{1,5}(=[a-z0-9]{1,4})?){0,3}", 1..5)
        ) {
            assert_eq!(outcome(&[names.join(", ").as_bytes()]), "none");
        }
    }
}
