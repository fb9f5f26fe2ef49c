//! The errors of the client, one enum per operation.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use tickwire_wire::{CloseCode, Refusal};

/// Why a URL is not the address of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// The text is not a URL, or a URL without a host.
    #[error("{url:?} is no URL: {reason}; write ws://HOST:PORT/v1/ws")]
    Malformed {
        /// The text that was given as a URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The URL's scheme is neither `ws` nor `wss`.
    #[error("{url:?} has the scheme {scheme:?}, which is not supported: this client speaks ws:// and wss://")]
    UnsupportedScheme {
        /// The text that was given as a URL.
        url: String,
        /// The URL's scheme.
        scheme: String,
    },
}

/// Why TLS cannot be set up.
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
    /// A file does not hold what it should.
    #[error("{} cannot be used: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS files were given for a connection without TLS.
    #[error("certificates were named for {endpoint}, which is not encrypted: write wss:// or leave them out")]
    Unused {
        /// The broker's URL.
        endpoint: String,
    },
    /// The system has no certificates of authorities.
    #[error("no certificates of the system were found, so nobody would be trusted: name a file ({reason})")]
    NoRoots {
        /// Why none were found.
        reason: String,
    },
}

/// Why a connection could not be made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The URL is not the address of a broker.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A header of the builder is not a valid HTTP header.
    #[error("header {name:?} has a name or value that HTTP does not allow")]
    BadHeader {
        /// The header's name.
        name: String,
    },
    /// The token file cannot be read.
    #[error("cannot read the token in {}: {error}", path.display())]
    TokenUnreadable {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        error: io::Error,
    },
    /// The token is empty or holds characters that a token may not have.
    #[error("the token is no token: it must be one line of ASCII characters without blanks")]
    BadToken,
    /// There is no TCP connection.
    #[error("cannot reach {endpoint}: {error}")]
    Unreachable {
        /// The broker's URL.
        endpoint: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The TLS handshake failed: the certificate is not trusted or is for another host, or the other end does not speak
    /// TLS.
    #[error("no TLS with {endpoint}: {reason}")]
    TlsFailed {
        /// The broker's URL.
        endpoint: String,
        /// What is wrong, in words for the user.
        reason: String,
        /// Whether the cause is a certificate that no trusted authority has signed.
        is_untrusted: bool,
    },
    /// No welcome came within the time for connecting.
    #[error("{endpoint} did not welcome within {after_ms} ms")]
    TimedOut {
        /// The broker's URL.
        endpoint: String,
        /// The time allowed, in milliseconds.
        after_ms: u64,
    },
    /// The HTTP status of the answer is not 101.
    #[error("{endpoint} refused the connection with HTTP status {status}: {body}")]
    Refused {
        /// The broker's URL.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// The code and reason of the broker's error. For another server, the beginning of the answer's body without
        /// control characters.
        body: String,
        /// The value of `Retry-After`, in seconds, if there was one.
        retry_after_s: Option<u64>,
    },
    /// The answer is not a WebSocket handshake of this protocol.
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
        /// How the connection ended.
        loss: Loss,
    },
}

impl ConnectError {
    /// Whether the same attempt may succeed later without a change by the user.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Url(_)
            | Self::Tls(_)
            | Self::BadHeader { .. }
            | Self::BadToken
            | Self::TokenUnreadable { .. }
            | Self::BadHandshake { .. } => false,
            // A certificate may be replaced, and some are replaced late.
            Self::Unreachable { .. } | Self::TlsFailed { .. } | Self::TimedOut { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Lost { loss, .. } => loss.is_retryable(),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Loss {
    /// The broker closed the connection.
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
        /// How long no byte came, in milliseconds.
        after_ms: u64,
    },
    /// The network ended the connection without a close frame. The text says how.
    #[error("the connection broke: {0}")]
    Broke(String),
    /// The broker sent something that is not a WebSocket frame or not a message of the protocol. The text says what.
    /// The client stops after three connections in a row that end like this within seconds.
    #[error("the broker broke the protocol: {0}")]
    Protocol(String),
    /// The broker drains, and this client left at the time that the broker had given it.
    #[error("the broker drains and asked to reconnect")]
    Drained,
    /// This client closed the connection.
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

    /// The code of the broker's close frame, if it sent one with a code.
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

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The broker refused the request.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The request is longer than the broker accepts. It was not sent.
    #[error("the request has {bytes} bytes, the broker takes {max}: split it")]
    TooLarge {
        /// The request's length in bytes.
        bytes: usize,
        /// The broker's limit in bytes.
        max: usize,
    },
    /// No answer came in time. Whether the request took effect is unknown.
    #[error("no answer within {after_ms} ms; whether the request took effect is unknown")]
    TimedOut {
        /// The time allowed, in milliseconds.
        after_ms: u64,
    },
    /// The connection was lost before the answer. Whether the request took effect is unknown.
    #[error("the connection was lost before the answer; whether the request took effect is unknown")]
    Disconnected,
    /// The client has stopped for good.
    #[error("the client is closed")]
    Closed,
    /// More requests wait for their `synced` than the client keeps. The oldest is given up; its subscriptions go on.
    #[error("more than {max} requests wait to be synced; the client no longer waits for the oldest")]
    TooManyWaiting {
        /// The most that wait.
        max: usize,
    },
    /// The broker's answer lacks what the request needs. The text names it.
    #[error("the broker's answer lacks {0}")]
    BadAnswer(&'static str),
}
