//! The token of a request: in `Authorization`, or among the subprotocols, since browsers cannot set that header.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{AUTHORIZATION, HeaderMap, SEC_WEBSOCKET_PROTOCOL};
use tickwire_wire::Secret;

use super::Denied;

/// The prefix of an entry in `Sec-WebSocket-Protocol` that is a token in base64url and not a subprotocol.
const TOKEN_ENTRY: &str = "tickwire.token.";

/// Whether an entry of `Sec-WebSocket-Protocol` is a token. Such an entry is neither chosen nor repeated in the answer.
pub(crate) fn is_token_entry(entry: &[u8]) -> bool {
    entry.starts_with(TOKEN_ENTRY.as_bytes())
}

/// The token in `headers`, if there is one.
pub(crate) fn shown_token(headers: &HeaderMap) -> Result<Option<Secret>, Denied> {
    let mut shown = None;
    let mut found = |token: Secret| match shown.replace(token) {
        None => Ok(()),
        Some(_) => Err(Denied::TwoTokens),
    };
    for value in headers.get_all(AUTHORIZATION) {
        let text = value
            .to_str()
            .map_err(|_| Denied::Malformed("it is not ASCII text"))?;
        // Other schemes are for a proxy in front.
        if let Some(token) = bearer(text) {
            if token.is_empty() {
                return Err(Denied::Malformed("it is empty"));
            }
            found(Secret::from(token))?;
        }
    }
    for line in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        for entry in line
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
        {
            if let Some(encoded) = entry.strip_prefix(TOKEN_ENTRY.as_bytes()) {
                found(decoded(encoded)?)?;
            }
        }
    }
    Ok(shown)
}

/// The token of an `Authorization` header with the scheme Bearer (RFC 6750 §2.1). The case of a scheme does not matter
/// (RFC 9110 §11.1).
fn bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn decoded(encoded: &[u8]) -> Result<Secret, Denied> {
    let no_base64 = Denied::Malformed("behind tickwire.token. must be its base64url, without padding");
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| no_base64)?;
    let text = String::from_utf8(bytes).map_err(|_| Denied::Malformed("it is not text"))?;
    if text.is_empty() {
        return Err(Denied::Malformed("it is empty"));
    }
    Ok(Secret::from(text))
}
