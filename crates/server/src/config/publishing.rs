//! How fast clients may publish, and how many topics one of them may make: keys of `[limits]`, and fields of `auth.keys`.

use tickwire_router::PublishRate;
use tickwire_wire::limits;

use super::error::ConfigError;
use super::fields::Fields;
use super::keys::Key;
use super::settings::Settings;

pub(super) const PER_S: Key = Key::integer(
    "limits.publishes_per_s",
    1,
    limits::PUBLISH_RATE_MAX as u64,
    limits::PUBLISHES_PER_S as u64,
    "Publications per second that one connection may keep up, and over HTTP one key, subject of tokens or address; a key or token may have a rate of its own",
);
pub(super) const BURST: Key = Key::integer(
    "limits.publishes_burst",
    1,
    limits::PUBLISH_RATE_MAX as u64,
    limits::PUBLISHES_BURST as u64,
    "Publications that may come at once after a quiet time; at least limits.publishes_per_s",
);
pub(super) const TOPICS_PER_KEY: Key = Key::integer(
    "limits.topics_per_key",
    0,
    100_000_000,
    limits::TOPICS_PER_KEY_MAX as u64,
    "Most topics that one key, subject of tokens, or address without a token may make by publishing to them; one more is refused. 0 for any number",
);

/// The field of `auth.keys` with a key's publications per second.
pub(super) const KEY_PER_S: &str = "publishes_per_s";
/// The field of `auth.keys` with a key's publications at once.
pub(super) const KEY_BURST: &str = "publishes_burst";

/// The rate of publishers without one of their own.
pub(super) fn read(settings: &Settings) -> Result<PublishRate, ConfigError> {
    let rate = PublishRate {
        per_s: settings.integer(PER_S.path)?,
        burst: settings.integer(BURST.path)?,
    };
    // A burst is at least one second's worth.
    if rate.per_s > rate.burst {
        return Err(settings.refuse_beside(PER_S.path, "must be at most", BURST.path));
    }
    Ok(rate)
}

/// The rate of a static key, if it has one of its own.
pub(super) fn read_of_key(fields: &Fields<'_>) -> Result<Option<PublishRate>, ConfigError> {
    let read = |name| fields.integer(name, 1, u64::from(limits::PUBLISH_RATE_MAX));
    let rate = PublishRate::of(read(KEY_PER_S)?, read(KEY_BURST)?);
    rate.map_err(|rule| fields.refuse(KEY_BURST, rule))
}
