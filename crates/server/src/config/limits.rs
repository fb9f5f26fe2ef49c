//! What bounds clients and memory: the key table `[limits]`.

use tickwire_router::{PublishRate, SessionLimits};

use super::addresses::AddressLimits;
use super::error::ConfigError;
use super::settings::Settings;
use super::{publishing, sessions};

/// File descriptors that are kept from connections: listeners, pollers, recordings, the log.
const OPEN_FILES_RESERVED: u64 = 256;

/// The key table `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest client message in bytes, all its fragments together.
    pub message_bytes: usize,
    /// Most fragments of one client message.
    pub fragments: u32,
    /// Most subscriptions of one connection.
    pub subscriptions: usize,
    /// Bytes that may wait for one connection.
    pub outbox_bytes: usize,
    /// Time in milliseconds that a connection may take nothing of what waits for it.
    pub stall_ms: u64,
    /// Most topics of the broker.
    pub topics: usize,
    /// Bytes that all histories together may hold.
    pub history_bytes: usize,
    /// Bytes that the newest messages of all topics and their books may hold.
    pub value_bytes: usize,
    /// Bytes of messages that promised replays may keep.
    pub replay_bytes: usize,
    /// Most messages of an answer to a history request that names no limit.
    pub history_page: usize,
    /// Requests per second that one connection may keep up, and one address over HTTP.
    pub ops_per_s: u32,
    /// Requests that a quiet connection may send at once, and a quiet address over HTTP.
    pub ops_burst: u32,
    /// How fast one connection may publish, and one address or key over HTTP.
    pub publish_rate: PublishRate,
    /// Most topics that one key, subject of tokens or address may make; 0 for any number.
    pub topics_per_key: usize,
    /// Bytes of answers over HTTP that may wait for their clients.
    pub answer_bytes: usize,
    /// What bounds a connection's abuse and its share of memory.
    pub sessions: SessionLimits,
    /// What bounds one address.
    pub addresses: AddressLimits,
    /// Most connections; what the open-files limit allows if none, see [`Limits::connections_max`].
    pub connections: Option<usize>,
    /// Time in milliseconds for the headers of an HTTP request.
    pub handshake_ms: u64,
    /// Time in milliseconds from the handshake to the first request.
    pub first_request_ms: u64,
    /// Most bytes of the headers of an HTTP request.
    pub header_bytes: usize,
    /// Most headers of an HTTP request.
    pub headers: usize,
}

impl Limits {
    /// The most connections of a process that may have `open_files_max` files open: the setting where there is one, but never
    /// more than the files allow, of which some are kept for the broker itself. At least 1.
    #[must_use]
    pub fn connections_max(&self, open_files_max: u64) -> usize {
        // A process that may open very few files keeps half of them for itself.
        let allowed = open_files_max
            .saturating_sub(OPEN_FILES_RESERVED)
            .max(open_files_max / 2);
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX).max(1);
        self.connections.map_or(allowed, |asked| asked.min(allowed))
    }
}

impl Limits {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let limits = Self {
            message_bytes: settings.integer("limits.message_bytes")?,
            fragments: settings.integer("limits.fragments")?,
            subscriptions: settings.integer("limits.subscriptions")?,
            outbox_bytes: settings.integer("limits.outbox_bytes")?,
            stall_ms: settings.integer("limits.stall_ms")?,
            topics: settings.integer("limits.topics")?,
            history_bytes: settings.integer("limits.history_bytes")?,
            value_bytes: settings.integer("limits.value_bytes")?,
            replay_bytes: settings.integer("limits.replay_bytes")?,
            history_page: settings.integer("limits.history_page")?,
            ops_per_s: settings.integer("limits.ops_per_s")?,
            ops_burst: settings.integer("limits.ops_burst")?,
            publish_rate: publishing::read(settings)?,
            topics_per_key: settings.integer(publishing::TOPICS_PER_KEY.path)?,
            answer_bytes: settings.integer("limits.answer_bytes")?,
            sessions: sessions::read(settings)?,
            addresses: AddressLimits::read(settings)?,
            connections: settings.integer_if_set("limits.connections")?,
            handshake_ms: settings.integer("limits.handshake_ms")?,
            first_request_ms: settings.integer("limits.first_request_ms")?,
            header_bytes: settings.integer("limits.header_bytes")?,
            headers: settings.integer("limits.headers")?,
        };
        // A message that was accepted must fit in an outbox.
        if limits.message_bytes > limits.outbox_bytes {
            return Err(settings.refuse_beside(
                "limits.message_bytes",
                "must be at most",
                "limits.outbox_bytes",
            ));
        }
        // A burst is at least one second's worth.
        if limits.ops_per_s > limits.ops_burst {
            return Err(settings.refuse_beside("limits.ops_per_s", "must be at most", "limits.ops_burst"));
        }
        Ok(limits)
    }
}
