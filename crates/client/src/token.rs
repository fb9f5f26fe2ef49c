//! The token that a client shows at each handshake: a text, or a file that another program renews.

use std::path::PathBuf;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use tickwire_wire::Secret;

use crate::error::ConnectError;

/// The largest token file that is read, in bytes.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// Where the token comes from.
#[derive(Debug, Clone)]
pub(crate) enum TokenSource {
    /// The token itself.
    Text(Secret),
    /// A file that is read again for each connection.
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
                // Windows programs begin a UTF-8 file with a byte order mark.
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
