//! The token that a client shows at each handshake: a text, or a file that someone else keeps fresh.

use std::path::PathBuf;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use tickwire_wire::Secret;

use crate::error::ConnectError;

/// Longest file that is taken for a token's.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// Where the token comes from.
#[derive(Debug, Clone)]
pub(crate) enum TokenSource {
    /// It is known.
    Text(Secret),
    /// It is read anew for each connection.
    File(PathBuf),
}

impl TokenSource {
    /// The header that shows the token (RFC 6750 §2.1).
    pub(crate) async fn header(&self) -> Result<(HeaderName, HeaderValue), ConnectError> {
        let read;
        let token = match self {
            Self::Text(token) => token,
            Self::File(path) => {
                let unreadable = |error| ConnectError::TokenUnreadable {
                    path: path.clone(),
                    error,
                };
                let text = tokio::fs::read_to_string(path).await.map_err(unreadable)?;
                // Windows begins files of UTF-8 with a byte order mark.
                read = Secret::from(text.strip_prefix('\u{feff}').unwrap_or(&text).trim());
                &read
            }
        };
        let text = token.expose();
        if text.is_empty() || text.len() > FILE_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(ConnectError::BadToken);
        }
        let mut value =
            HeaderValue::try_from(format!("Bearer {text}")).map_err(|_| ConnectError::BadToken)?;
        value.set_sensitive(true);
        Ok((AUTHORIZATION, value))
    }
}
