//! What several settings together must fulfil.

use super::choices::ProxyProtocol;
use super::error::ConfigError;
use super::settings::Settings;
use super::table::{
    AuthSettings, Config, DrainSettings, FeedSettings, HeartbeatSettings, LimitSettings, ProxySettings,
};
use super::{admin, cluster, rules};

/// Longest time in milliseconds after its last byte for which a vanished client may be kept, by the two settings that
/// detect it.
const HALF_OPEN_MS_MAX: u64 = 300_000;
/// Time in milliseconds that is kept free after the window of a drain, for clients to take waiting data and to answer.
const AFTER_WINDOW_MS: u64 = 1_000;

/// The two listeners must not collide. Port 0 stands for any free port.
pub(super) fn apart(config: &Config, settings: &Settings) -> Result<(), ConfigError> {
    let (a, b) = (config.listen, config.ops);
    let collide = a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified());
    settings.refuse_beside_if(collide, "ops", "must be another address than", "listen")?;
    admin::operators_are_no_clients(config, settings)?;
    cluster::stands_alone(config, settings)?;
    rules::derives_what_nobody_makes(config, settings)
}

/// An accepted message must fit in an outbox, and a burst must be at least one second's worth.
pub(super) fn limits_fit(limits: &LimitSettings, settings: &Settings) -> Result<(), ConfigError> {
    for (exceeds, path, other) in [
        (
            limits.publishes_per_s > limits.publishes_burst,
            "limits.publishes_per_s",
            "limits.publishes_burst",
        ),
        (
            limits.message_bytes > limits.outbox_bytes,
            "limits.message_bytes",
            "limits.outbox_bytes",
        ),
        (
            limits.ops_per_s > limits.ops_burst,
            "limits.ops_per_s",
            "limits.ops_burst",
        ),
    ] {
        settings.refuse_beside_if(exceeds, path, "must be at most", other)?;
    }
    Ok(())
}

pub(super) fn finds_the_vanished(
    heartbeat: &HeartbeatSettings,
    settings: &Settings,
) -> Result<(), ConfigError> {
    let late = heartbeat.ping_after_ms + heartbeat.pong_timeout_ms > HALF_OPEN_MS_MAX;
    let rule = format!("must find a vanished client within {HALF_OPEN_MS_MAX} ms together with");
    settings.refuse_beside_if(
        late,
        "heartbeat.ping_after_ms",
        &rule,
        "heartbeat.pong_timeout_ms",
    )
}

pub(super) fn begins_before_its_end(feed: &FeedSettings, settings: &Settings) -> Result<(), ConfigError> {
    let empty = feed
        .until
        .is_some_and(|until| feed.from.is_some_and(|from| from >= until));
    settings.refuse_beside_if(empty, "feed.from", "must be before", "feed.until")
}

pub(super) fn drains_in_time(drain: &DrainSettings, settings: &Settings) -> Result<(), ConfigError> {
    let early = drain.window_ms + AFTER_WINDOW_MS > drain.deadline_ms;
    let rule = format!("must be at least {AFTER_WINDOW_MS} more than");
    settings.refuse_beside_if(early, "drain.deadline_ms", &rule, "drain.window_ms")
}

/// Headers are accepted only from trusted proxies. Without any proxy no connection would have one.
pub(super) fn proxies_are_named(proxy: &ProxySettings, settings: &Settings) -> Result<(), ConfigError> {
    let unnamed = proxy.proxy_protocol == ProxyProtocol::V2 && proxy.trusted.is_empty();
    settings.refuse_beside_if(
        unnamed,
        "proxy.proxy_protocol",
        "needs proxies, but",
        "proxy.trusted",
    )
}

pub(super) fn someone_may_connect(auth: &AuthSettings, settings: &Settings) -> Result<(), ConfigError> {
    if auth.required && auth.keys.is_empty() && auth.jwt.is_none() {
        let rule = "nobody could connect: set auth.keys or auth.jwt, so that there are tokens to show";
        return Err(settings.refuse("auth.required", rule));
    }
    Ok(())
}
