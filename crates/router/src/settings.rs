//! The settings of a shard: the limits and times that it applies to its connections.

use tickwire_wire::limits::{
    PATTERN_TOKENS_MAX, RATE_LIMITED_MAX, REFUSALS_IN_A_ROW_MAX, REPLAY_BYTES_PER_CONNECTION_MAX, REPLAY_MS,
    TOPICS_PER_CONNECTION_MAX,
};
use tickwire_wire::message::AnnouncedLimits;

/// The limits and times that a shard applies to its connections.
#[derive(Debug, Clone)]
pub struct ShardSettings {
    /// The `server` of a `welcome`.
    pub server: String,
    /// The limits of a `welcome`.
    pub limits: AnnouncedLimits,
    /// Further limits of a connection. It learns of one when it exceeds it.
    pub session_limits: SessionLimits,
    /// Names of a `subscribe` or `unsubscribe` that are handled before other work has its turn; at least one is.
    pub topics_at_once: usize,
    /// Bytes of market data that may wait for one connection.
    pub outbox_bytes_max: usize,
    /// Time in milliseconds for which a connection may take none of the waiting bytes.
    pub stall_ms: u64,
    /// Quiet time in milliseconds after which a heartbeat is sent.
    pub heartbeat_ms: u64,
    /// Time in milliseconds without a byte from a WebSocket client after which it is pinged.
    pub ping_after_ms: u64,
    /// Time in milliseconds that a pinged client has to answer.
    pub pong_timeout_ms: u64,
    /// Time in milliseconds from the handshake to the first request.
    pub first_request_ms: u64,
    /// Time in milliseconds that a client has to answer a close frame.
    pub close_timeout_ms: u64,
}

impl ShardSettings {
    /// The number of waiting live bytes from which on a session gets nothing more live.
    pub(crate) const fn live_bytes_end(&self) -> usize {
        self.outbox_bytes_max.saturating_add(1)
    }
}

/// The limits of one connection that its `welcome` does not contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Requests in a row, each refused whole for what it asks, after which the connection is closed; at least 1.
    pub refusals_in_a_row: u32,
    /// Requests that may be refused with `rate_limited` at once; they are forgiven as fast as requests are allowed.
    pub rate_limited: u32,
    /// Most topics that all its patterns match together.
    pub topics: usize,
    /// Most tokens of its patterns that the indexes hold.
    pub pattern_tokens: usize,
    /// Most bytes of messages that are kept for its promised replays.
    pub replay_bytes: usize,
    /// Time in milliseconds that such messages may wait.
    pub replay_ms: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            refusals_in_a_row: REFUSALS_IN_A_ROW_MAX,
            rate_limited: RATE_LIMITED_MAX,
            topics: TOPICS_PER_CONNECTION_MAX,
            pattern_tokens: PATTERN_TOKENS_MAX,
            replay_bytes: REPLAY_BYTES_PER_CONNECTION_MAX,
            replay_ms: REPLAY_MS,
        }
    }
}
