//! What bounds a connection's abuse and its share of memory: the keys of `[limits]` that the router goes by.

use tickwire_router::SessionLimits;
use tickwire_wire::limits;

use super::error::ConfigError;
use super::keys::Key;
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

pub(super) fn read(settings: &Settings) -> Result<SessionLimits, ConfigError> {
    Ok(SessionLimits {
        refusals_in_a_row: settings.integer("limits.refusals_in_a_row")?,
        rate_limited: settings.integer("limits.rate_limited")?,
        topics: settings.integer("limits.topics_per_connection")?,
        pattern_tokens: settings.integer("limits.pattern_tokens")?,
    })
}
