//! Why the limits refuse a connection or a request, and what its client is told.

use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;
use tickwire_metrics::TurnedAwayLabel as Label;
use tickwire_wire::{ErrorCode, Refusal};

/// Sent in place of an answer if clients use TLS: a record with the fatal alert `access_denied` (RFC 8446 §6.2). There
/// is no handshake with a client that is refused.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// Seconds after which a client that found the broker full may try again.
const RETRY_FULL_S: u64 = 5;

/// Why a connection, a handshake or a request is refused by the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// The broker has as many connections as it may have.
    Full,
    /// No shard has room for new connections now.
    Busy,
    /// The process cannot open more files.
    NoDescriptors,
    /// The address has as many connections as it may have.
    AddressConnections(u32),
    /// The address has connected too often. It may connect again after this number of microseconds.
    AddressHandshakes(u64),
    /// The address has published too often over HTTP. It may publish again after this number of microseconds.
    AddressPublishes(u64),
    /// The holder of a token has published too often over HTTP. It may publish again after this number of microseconds.
    HolderPublishes(u64),
    /// The holder of a token has as many connections as it may have.
    HolderConnections(u32),
    /// The clients without a token have as many connections together as they may have.
    AnonymousConnections(u32),
    /// The address has sent too many HTTP requests. It may send one after this number of microseconds.
    AddressRequests(u64),
    /// The connection has sent too many HTTP requests. It may send one after this number of microseconds.
    ConnectionRequests(u64),
    /// Too many bytes of HTTP answers wait, for all clients together or for those of the address.
    Answers,
}

impl TurnedAway {
    /// Its label in the metrics.
    pub(crate) fn label(self) -> Label {
        match self {
            Self::Full => Label::Full,
            Self::Busy => Label::Busy,
            Self::NoDescriptors => Label::NoDescriptors,
            Self::AddressConnections(_) => Label::AddressConnections,
            Self::AddressHandshakes(_) => Label::AddressHandshakes,
            Self::AddressPublishes(_) => Label::AddressPublishes,
            Self::HolderPublishes(_) => Label::HolderPublishes,
            Self::HolderConnections(_) | Self::AnonymousConnections(_) => Label::HolderConnections,
            Self::AddressRequests(_) => Label::AddressRequests,
            Self::ConnectionRequests(_) => Label::ConnectionRequests,
            Self::Answers => Label::Answers,
        }
    }

    /// The status of the HTTP answer.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Full | Self::Busy | Self::NoDescriptors | Self::Answers => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Seconds after which the client may try again.
    pub(crate) fn retry_after_s(self) -> u64 {
        match self {
            Self::Full
            | Self::Busy
            | Self::NoDescriptors
            | Self::AddressConnections(_)
            | Self::HolderConnections(_)
            | Self::AnonymousConnections(_) => RETRY_FULL_S,
            Self::Answers => 1,
            Self::AddressHandshakes(us)
            | Self::AddressPublishes(us)
            | Self::HolderPublishes(us)
            | Self::AddressRequests(us)
            | Self::ConnectionRequests(us) => us.div_ceil(1_000_000),
        }
    }

    /// The refusal to send.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Full => {
                let reason = "the broker has its most connections; try again";
                Refusal::new(ErrorCode::LimitExceeded, reason)
            }
            Self::Busy => {
                let reason = "the broker has too much to do for a new connection; try again";
                Refusal::new(ErrorCode::LimitExceeded, reason)
            }
            Self::NoDescriptors => {
                let reason = "the broker can open no more connections now; try again";
                Refusal::new(ErrorCode::LimitExceeded, reason)
            }
            Self::AddressConnections(most) => {
                let reason = format!("this address has its most connections, {most}");
                Refusal::new(ErrorCode::LimitExceeded, reason)
            }
            Self::HolderConnections(most) => {
                let reason = format!("the holder of this token has its most connections, {most}");
                Refusal::new(ErrorCode::LimitExceeded, reason)
            }
            Self::AnonymousConnections(most) => {
                let reason = format!("clients without a token have their most connections together, {most}");
                Refusal::new(ErrorCode::LimitExceeded, reason)
            }
            Self::AddressHandshakes(us) => too_often("this address connects", us),
            Self::AddressPublishes(us) => too_often("this address publishes", us),
            Self::HolderPublishes(us) => too_often("the holder of this token publishes", us),
            Self::AddressRequests(us) => too_often("this address asks", us),
            Self::ConnectionRequests(us) => too_often("this connection asks", us),
            Self::Answers => {
                let reason = "too many bytes of answers wait for their readers; try again";
                Refusal::new(ErrorCode::LimitExceeded, reason)
            }
        }
    }

    /// The bytes for a connection that is refused before its request is read or, if it is `secured` by TLS, before its
    /// handshake.
    pub(crate) fn told(self, secured: bool) -> Bytes {
        if secured {
            Bytes::from_static(&ALERT)
        } else {
            self.unasked()
        }
    }

    /// The HTTP answer to a request that is not read.
    fn unasked(self) -> Bytes {
        #[derive(Serialize)]
        struct Body {
            error: Refusal,
        }
        let error = self.refusal();
        let body = serde_json::to_string(&Body { error }).expect("text serialises");
        let (status, retry_after) = (self.status(), self.retry_after_s());
        format!(
            "HTTP/1.1 {status}\r\nretry-after: {retry_after}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into()
    }
}

/// The refusal of something that may be done again after `us` microseconds.
fn too_often(who_does_what: &str, us: u64) -> Refusal {
    let wait_ms = us.div_ceil(1_000);
    let reason = format!("{who_does_what} too often; wait {wait_ms} ms");
    Refusal::new(ErrorCode::RateLimited, reason)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::http::ErrorResponse;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn answers() {
        let check = |why: TurnedAway, expected: &Expect| {
            let text = String::from_utf8(why.unasked().to_vec()).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(head.contains(&format!("content-length: {}", body.len())));
            let mut lines = head.lines();
            let shown = [lines.next(), lines.next(), Some(body)];
            expected.assert_eq(&shown.map(Option::unwrap_or_default).join("\n"));
            let response = ErrorResponse::from(why).into_response();
            assert!(head.starts_with(&format!("HTTP/1.1 {}", response.status())));
            assert_eq!(response.headers()["retry-after"], why.retry_after_s().to_string());
        };
        check(
            TurnedAway::Full,
            &expect![[r#"
            HTTP/1.1 503 Service Unavailable
            retry-after: 5
            {"error":{"code":"limit_exceeded","reason":"the broker has its most connections; try again"}}"#]],
        );
        check(
            TurnedAway::NoDescriptors,
            &expect![[r#"
            HTTP/1.1 503 Service Unavailable
            retry-after: 5
            {"error":{"code":"limit_exceeded","reason":"the broker can open no more connections now; try again"}}"#]],
        );
        check(
            TurnedAway::AddressConnections(7),
            &expect![[r#"
            HTTP/1.1 429 Too Many Requests
            retry-after: 5
            {"error":{"code":"limit_exceeded","reason":"this address has its most connections, 7"}}"#]],
        );
        check(
            TurnedAway::AddressHandshakes(20_001),
            &expect![[r#"
            HTTP/1.1 429 Too Many Requests
            retry-after: 1
            {"error":{"code":"rate_limited","reason":"this address connects too often; wait 21 ms"}}"#]],
        );
        check(
            TurnedAway::AddressPublishes(1_000_001),
            &expect![[r#"
            HTTP/1.1 429 Too Many Requests
            retry-after: 2
            {"error":{"code":"rate_limited","reason":"this address publishes too often; wait 1001 ms"}}"#]],
        );
        check(
            TurnedAway::HolderPublishes(9_000),
            &expect![[r#"
            HTTP/1.1 429 Too Many Requests
            retry-after: 1
            {"error":{"code":"rate_limited","reason":"the holder of this token publishes too often; wait 9 ms"}}"#]],
        );
        check(
            TurnedAway::HolderConnections(3),
            &expect![[r#"
            HTTP/1.1 429 Too Many Requests
            retry-after: 5
            {"error":{"code":"limit_exceeded","reason":"the holder of this token has its most connections, 3"}}"#]],
        );
        check(
            TurnedAway::AnonymousConnections(9),
            &expect![[r#"
            HTTP/1.1 429 Too Many Requests
            retry-after: 5
            {"error":{"code":"limit_exceeded","reason":"clients without a token have their most connections together, 9"}}"#]],
        );
        check(
            TurnedAway::AddressRequests(1),
            &expect![[r#"
            HTTP/1.1 429 Too Many Requests
            retry-after: 1
            {"error":{"code":"rate_limited","reason":"this address asks too often; wait 1 ms"}}"#]],
        );
        check(
            TurnedAway::ConnectionRequests(20_000_000),
            &expect![[r#"
            HTTP/1.1 429 Too Many Requests
            retry-after: 20
            {"error":{"code":"rate_limited","reason":"this connection asks too often; wait 20000 ms"}}"#]],
        );
        check(
            TurnedAway::Answers,
            &expect![[r#"
            HTTP/1.1 503 Service Unavailable
            retry-after: 1
            {"error":{"code":"limit_exceeded","reason":"too many bytes of answers wait for their readers; try again"}}"#]],
        );
    }
}
