//! What can go wrong, one enum per operation.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use tickwire_wire::{CloseCode, Refusal};

/// Why a URL names no broker that this client can reach.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Not a URL, or one without a host.
    #[error("{url:?} is no URL: {reason}; write ws://HOST:PORT/v1/ws")]
    Malformed {
        /// The text.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another scheme than `ws` and `wss`.
    #[error("scheme {scheme:?} is not supported: this client speaks ws:// and wss://")]
    UnsupportedScheme {
        /// The URL's scheme.
        scheme: String,
    },
}

/// Why there is nothing to shake hands with by TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// A file does not hold what it is for.
    #[error("{} cannot be used: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Files were named for a connection that does not use them.
    #[error("certificates were named for {endpoint}, which is not encrypted: write wss:// or leave them out")]
    Unused {
        /// The broker's URL.
        endpoint: String,
    },
    /// The system has no certificates.
    #[error("no certificates of the system were found, so nobody would be trusted: name a file ({reason})")]
    NoRoots {
        /// Why none were found.
        reason: String,
    },
}

/// Why a connection could not be made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The URL names no broker.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The files or the system give nobody to trust.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A header of the builder is none.
    #[error("header {name:?} has a name or value that HTTP does not allow")]
    BadHeader {
        /// The header's name.
        name: String,
    },
    /// The file of the token cannot be read.
    #[error("cannot read the token in {}: {error}", path.display())]
    TokenUnreadable {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        error: io::Error,
    },
    /// The token is empty, or holds what no token does.
    #[error("the token is no token: it must be one line of ASCII characters without blanks")]
    BadToken,
    /// No TCP connection.
    #[error("cannot reach {endpoint}: {error}")]
    Unreachable {
        /// The broker's URL.
        endpoint: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// No TLS handshake: the certificate is not trusted or not that of the host, or the far end speaks no TLS.
    #[error("no TLS with {endpoint}: {reason}")]
    TlsFailed {
        /// The broker's URL.
        endpoint: String,
        /// What is wrong.
        reason: String,
        /// Nobody who is trusted has signed the certificate.
        is_untrusted: bool,
    },
    /// No welcome within the time for connecting.
    #[error("{endpoint} did not welcome within {after_ms} ms")]
    TimedOut {
        /// The broker's URL.
        endpoint: String,
        /// The time allowed, in milliseconds.
        after_ms: u64,
    },
    /// An HTTP answer other than 101.
    #[error("{endpoint} refused the connection with HTTP status {status}: {body}")]
    Refused {
        /// The broker's URL.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// The code and reason of the broker's error; of another server the beginning of the answer's body, without control
        /// characters.
        body: String,
        /// `Retry-After`, in seconds.
        retry_after_s: Option<u64>,
    },
    /// An answer that is no WebSocket handshake of this protocol.
    #[error("{endpoint} does not speak this protocol: {reason}")]
    BadHandshake {
        /// The broker's URL.
        endpoint: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The connection ended before its welcome.
    #[error("{endpoint} ended the connection before its welcome: {loss}")]
    Lost {
        /// The broker's URL.
        endpoint: String,
        /// How it ended.
        loss: Loss,
    },
}

impl ConnectError {
    /// Whether the same attempt may succeed later, nothing but time having passed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Url(_)
            | Self::Tls(_)
            | Self::BadHeader { .. }
            | Self::BadToken
            | Self::TokenUnreadable { .. }
            | Self::BadHandshake { .. } => false,
            // Certificates are replaced, some of them late.
            Self::Unreachable { .. } | Self::TlsFailed { .. } | Self::TimedOut { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Lost { loss, .. } => loss.is_retryable(),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Loss {
    /// The broker closed it.
    #[error("closed by the broker with code {}{}", code.map_or("none".to_owned(), |c| c.to_string()), with_reason(reason))]
    Closed {
        /// The close frame's code, if it had one.
        code: Option<CloseCode>,
        /// The close frame's text.
        reason: String,
    },
    /// No byte came for longer than the heartbeats allow.
    #[error("nothing came from the broker for {after_ms} ms")]
    Silent {
        /// For how long, in milliseconds.
        after_ms: u64,
    },
    /// The network ended it without a close frame.
    #[error("the connection broke: {0}")]
    Broke(String),
    /// What came is no WebSocket frame or no message of the protocol. After three connections in a row that end so within seconds, no
    /// other is tried.
    #[error("the broker broke the protocol: {0}")]
    Protocol(String),
    /// The broker drains: this client left when it was told to.
    #[error("the broker drains and asked to reconnect")]
    Drained,
    /// This client closed it.
    #[error("closed by this client")]
    Left,
}

impl Loss {
    /// Whether another connection may be tried.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Closed { code, .. } => code.is_none_or(CloseCode::should_reconnect),
            Self::Silent { .. } | Self::Broke(_) | Self::Protocol(_) | Self::Drained => true,
            Self::Left => false,
        }
    }

    /// The code of the broker's close frame.
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Closed { code, .. } => *code,
            _ => None,
        }
    }
}

fn with_reason(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(" ({reason})")
    }
}

/// Why a request has no answer that helps.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The broker refused it.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Longer than the broker takes; it was not sent.
    #[error("the request has {bytes} bytes, the broker takes {max}: split it")]
    TooLarge {
        /// The request's length in bytes.
        bytes: usize,
        /// The broker's limit in bytes.
        max: usize,
    },
    /// No answer in time; whether it took effect is unknown.
    #[error("no answer within {after_ms} ms; whether the request took effect is unknown")]
    TimedOut {
        /// The time allowed, in milliseconds.
        after_ms: u64,
    },
    /// The connection was lost before the answer; whether it took effect is unknown.
    #[error("the connection was lost before the answer; whether the request took effect is unknown")]
    Disconnected,
    /// The client has stopped for good.
    #[error("the client is closed")]
    Closed,
    /// The broker's answer lacks what the request needs.
    #[error("the broker's answer lacks {0}")]
    BadAnswer(&'static str),
}
