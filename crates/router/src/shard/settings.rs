//! The settings of a shard, and how it takes other ones while it runs.

use tickwire_wire::deflate::{Deflater, Settings as DeflateSettings};
use tickwire_wire::message::AnnouncedLimits;

use super::{SessionLimits, Shard};

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
    pub(super) const fn live_bytes_end(&self) -> usize {
        self.outbox_bytes_max.saturating_add(1)
    }
}

impl Shard {
    /// The same shard with these settings of compression in place of the defaults.
    #[must_use]
    pub fn with_compression(mut self, settings: DeflateSettings) -> Self {
        self.deflater = Deflater::new(settings);
        self
    }

    /// Applies other settings from now on. Existing sessions get them at their next check; a limit may then differ from
    /// the one in their `welcome`. Messages that are compressed already stay as they are.
    pub fn reconfigure(&mut self, settings: ShardSettings, compression: DeflateSettings) {
        self.settings = settings;
        self.deflater = Deflater::new(compression);
        for session in self.sessions.iter_mut() {
            session.reader.limit(self.settings.live_bytes_end());
        }
    }
}
