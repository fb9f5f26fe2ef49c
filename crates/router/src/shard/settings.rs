//! What a shard promises and allows, and how it takes other settings while it runs.

use tickwire_wire::deflate::{Deflater, Settings as DeflateSettings};
use tickwire_wire::message::AnnouncedLimits;

use super::{SessionLimits, Shard};

/// What a shard promises and allows its connections.
#[derive(Debug, Clone)]
pub struct ShardSettings {
    /// The `server` of a `welcome`.
    pub server: String,
    /// The limits of a `welcome`.
    pub limits: AnnouncedLimits,
    /// Further limits of a connection, which it learns of when it meets them.
    pub session_limits: SessionLimits,
    /// Names of a `subscribe` or `unsubscribe` that are seen to before others have their turn; at least one is.
    pub topics_at_once: usize,
    /// Bytes of market data that may wait for one connection.
    pub outbox_bytes_max: usize,
    /// Time that a connection may take nothing of what waits for it.
    pub stall_ms: u64,
    /// Quiet time after which a heartbeat is sent.
    pub heartbeat_ms: u64,
    /// Time without a byte from a WebSocket client after which it is pinged.
    pub ping_after_ms: u64,
    /// Time that a pinged client has to answer.
    pub pong_timeout_ms: u64,
    /// Time from the handshake to the first request.
    pub first_request_ms: u64,
    /// Time that a client has to answer a close frame.
    pub close_timeout_ms: u64,
}

impl ShardSettings {
    /// Live bytes waiting from which on a session that does not lag is handed nothing more.
    pub(super) const fn live_bytes_end(&self) -> usize {
        self.outbox_bytes_max.saturating_add(1)
    }
}

impl Shard {
    /// The shard with other settings of compression than the defaults.
    #[must_use]
    pub fn with_compression(mut self, settings: DeflateSettings) -> Self {
        self.deflater = Deflater::new(settings);
        self
    }

    /// Takes other settings from now on. Sessions that exist have them at their next check; what their `welcome` told them
    /// of a limit may have changed then. What is compressed already stays as it is.
    pub fn reconfigure(&mut self, settings: ShardSettings, compression: DeflateSettings) {
        self.settings = settings;
        self.deflater = Deflater::new(compression);
        for session in self.sessions.iter_mut() {
            session.reader.limit(self.settings.live_bytes_end());
        }
    }
}
