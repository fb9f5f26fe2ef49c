//! WebSocket close codes: the registered ones that the broker uses and its private ones.
//!
//! 4000–4499 ask the client to reconnect, 4500–4999 forbid it (PROTOCOL.md, "Errors and closes").

use std::fmt;

/// Why a connection was closed, as a number that both sides understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled (RFC 6455 §7.4.1).
    pub const NORMAL: Self = Self(1000);
    /// The server goes down or the client leaves.
    pub const GOING_AWAY: Self = Self(1001);
    /// The other side broke a rule of RFC 6455.
    pub const PROTOCOL: Self = Self(1002);
    /// A text was not UTF-8.
    pub const NOT_UTF8: Self = Self(1007);
    /// The client abused the connection again and again.
    pub const POLICY: Self = Self(1008);
    /// A message was longer than the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// The broker has a fault.
    pub const INTERNAL: Self = Self(1011);
    /// The broker restarts.
    pub const RESTARTING: Self = Self(1012);
    /// The broker drains: the client reconnects as the `drain` message told it.
    pub const DRAIN: Self = Self(4000);
    /// A ping was not answered in time.
    pub const NO_PONG: Self = Self(4001);
    /// The client read too slowly.
    pub const SLOW: Self = Self(4002);
    /// The token expired.
    pub const TOKEN_EXPIRED: Self = Self(4003);
    /// The first request did not come in time.
    pub const NO_REQUEST: Self = Self(4008);
    /// The token is not accepted.
    pub const BAD_TOKEN: Self = Self(4501);
    /// There are too many connections.
    pub const TOO_MANY: Self = Self(4503);

    /// Every code that a broker may send by the protocol, for catalogues and metrics.
    pub const SENT: [Self; 15] = [
        Self::NORMAL,
        Self::GOING_AWAY,
        Self::PROTOCOL,
        Self::NOT_UTF8,
        Self::POLICY,
        Self::TOO_BIG,
        Self::INTERNAL,
        Self::RESTARTING,
        Self::DRAIN,
        Self::NO_PONG,
        Self::SLOW,
        Self::TOKEN_EXPIRED,
        Self::NO_REQUEST,
        Self::BAD_TOKEN,
        Self::TOO_MANY,
    ];

    /// Whether a close frame may carry this code (RFC 6455 §7.4): not 1004–1006, 1015, nor an unassigned one.
    #[must_use]
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Whether a client may connect again after this code.
    #[must_use]
    pub fn should_reconnect(self) -> bool {
        !matches!(self.0, 1002 | 1007..=1010 | 4500..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_on_the_wire() {
        for code in CloseCode::SENT {
            assert!(code.may_be_sent(), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert!(!CloseCode(code).may_be_sent(), "{code}");
        }
        assert!(CloseCode::SLOW.should_reconnect() && CloseCode(1006).should_reconnect());
        assert!(!CloseCode::BAD_TOKEN.should_reconnect() && !CloseCode::POLICY.should_reconnect());
    }
}
