//! What bounds a connection's abuse and its share of memory: the keys of `[limits]` that the router goes by.

use tickwire_router::SessionLimits;
use tickwire_wire::limits;

use super::error::ConfigError;
use super::keys::{GIB, Key};
use super::settings::Settings;

pub(super) const RATE_LIMITED: Key = Key::integer(
    "limits.rate_limited",
    1,
    1_000_000,
    limits::RATE_LIMITED_MAX as u64,
    "Requests of one connection that may be refused with rate_limited at once, and apart from them publications; one more closes it, a WebSocket with 1008. They are forgiven as fast as requests, or publications, are allowed",
);
pub(super) const REFUSALS_IN_A_ROW: Key = Key::integer(
    "limits.refusals_in_a_row",
    1,
    1_000_000,
    limits::REFUSALS_IN_A_ROW_MAX as u64,
    "Requests in a row, each refused whole for what it asks, with which a connection is closed with 1008; one a second is forgiven",
);
pub(super) const TOPICS: Key = Key::integer(
    "limits.topics_per_connection",
    1,
    100_000_000,
    limits::TOPICS_PER_CONNECTION_MAX as u64,
    "Most topics that all subscriptions of one connection match together",
);
pub(super) const PATTERN_TOKENS: Key = Key::integer(
    "limits.pattern_tokens",
    limits::TOPIC_TOKENS_MAX as u64,
    16_000_000,
    limits::PATTERN_TOKENS_MAX as u64,
    "Most tokens of one connection's wildcards, and of its topics that did not exist when it subscribed to them",
);

pub(super) const VALUE_BYTES: Key = Key::integer(
    "limits.value_bytes",
    1024 * 1024,
    1024 * GIB,
    limits::VALUE_BYTES_MAX as u64,
    "Bytes that the newest messages of all topics and their books may hold; a publication that needs more is refused",
);
pub(super) const REPLAY_BYTES: Key = Key::integer(
    "limits.replay_bytes",
    0,
    1024 * GIB,
    limits::REPLAY_BYTES_MAX as u64,
    "Bytes of messages that are kept for all replays that were promised, each counted once; over it, a resume is answered with recovered:false",
);
pub(super) const REPLAY_BYTES_PER_CONNECTION: Key = Key::integer(
    "limits.replay_bytes_per_connection",
    0,
    1024 * GIB,
    limits::REPLAY_BYTES_PER_CONNECTION_MAX as u64,
    "The same of one connection",
);
pub(super) const REPLAY_MS: Key = Key::integer(
    "limits.replay_ms",
    100,
    60 * 60_000,
    limits::REPLAY_MS,
    "Time that messages of a promised replay may wait for their reader before close 4002",
);

pub(super) fn read(settings: &Settings) -> Result<SessionLimits, ConfigError> {
    Ok(SessionLimits {
        refusals_in_a_row: settings.integer("limits.refusals_in_a_row")?,
        rate_limited: settings.integer("limits.rate_limited")?,
        topics: settings.integer("limits.topics_per_connection")?,
        pattern_tokens: settings.integer("limits.pattern_tokens")?,
        replay_bytes: settings.integer("limits.replay_bytes_per_connection")?,
        replay_ms: settings.integer("limits.replay_ms")?,
    })
}
