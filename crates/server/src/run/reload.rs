//! Other settings for a running broker: all parts are built first, then each is put in place; never some of them.
//!
//! A part is what one thread or structure takes whole. To add one: a field of [`Parts`], a line in [`Parts::build`] that
//! makes it of the settings and may fail, and a line in [`Parts::apply`] that puts it in place and cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tickwire_router::{Directory, DirectoryLimits, Kinds, ShardSettings};
use tickwire_wire::limits::TOPICS_AT_ONCE;
use tickwire_wire::message::AnnouncedLimits;

use crate::auth::{Access, AccessError};
use crate::config::{Config, ConfigError};
use crate::limits::{AddressLimits, LimitRules};
use crate::net::acceptor::ShardHandle;
use crate::net::tls::{TlsError, TlsIdentity, TlsStore};
use crate::run::broker::VERSION;
use crate::run::shard_thread::Command;

/// Time for clients to answer a close frame.
const CLOSE_TIMEOUT_MS: u64 = 2_000;

/// Why other settings were not taken. What held before goes on.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The settings could not be read, or one of them is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keys that verify tokens cannot be had.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The broker's certificate cannot be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The settings that differ from those that the broker was started with and hold only after a restart.
    pub needs_restart: Vec<&'static str>,
}

/// Numbers that settings give and that a thread reads when it needs them.
#[derive(Debug, Default)]
pub(crate) struct LiveSettings {
    /// Silence of the feed in milliseconds that is too long.
    pub(crate) silent_ms: AtomicU64,
    /// Time in milliseconds that an operator's connection may take nothing of an answer.
    pub(crate) stall_ms: AtomicU64,
}

impl LiveSettings {
    /// Sets them as `config` has them.
    pub(crate) fn set(&self, config: &Config) {
        self.silent_ms.store(config.feed.silent_ms, Ordering::Relaxed);
        self.stall_ms.store(config.limits.stall_ms, Ordering::Relaxed);
    }
}

/// The running broker, as far as new parts are put into it.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) handles: &'a [ShardHandle],
    pub(crate) address_limits: &'a AddressLimits,
    pub(crate) live_settings: &'a LiveSettings,
    /// None if clients do not speak TLS.
    pub(crate) tls: Option<&'a TlsStore>,
}

/// Everything that can change while a broker runs, ready to be put in place.
#[derive(Debug)]
pub(crate) struct Parts {
    kinds: Kinds,
    limits: DirectoryLimits,
    limit_rules: LimitRules,
    access: Arc<Access>,
    identity: Option<TlsIdentity>,
    config: Arc<Config>,
}

impl Parts {
    /// Makes all parts, or none, for a process that may have `open_files` files open.
    ///
    /// # Errors
    /// The first that cannot be made.
    pub(crate) fn build(config: Arc<Config>, open_files: u64) -> Result<Self, ReloadError> {
        Ok(Self {
            kinds: Kinds::with_rules(config.kinds.clone()),
            limits: directory_limits(&config),
            limit_rules: LimitRules::of(&config, config.limits.connections_max(open_files)),
            access: load_access(&config)?,
            identity: config.tls.as_ref().map(TlsIdentity::load).transpose()?,
            config,
        })
    }

    /// Puts all parts in place.
    pub(crate) fn apply(self, running: &Running<'_>) {
        let stale_rules = self.config.staleness.clone();
        running.live_settings.set(&self.config);
        running.address_limits.replace(self.limit_rules);
        running
            .directory
            .reconfigure(self.limits, self.kinds, stale_rules);
        if let (Some(tls), Some(identity)) = (running.tls, self.identity) {
            tls.install(identity);
        }
        for handle in running.handles {
            let command = Command::Reconfigure(self.config.clone(), self.access.clone());
            if handle.commands.blocking_send(command).is_err() {
                tracing::error!("a shard had stopped before it was told of other settings");
            }
        }
    }
}

/// The rules of who may do what. Keys that cannot be used though their file can are named in the log.
///
/// # Errors
/// When a file that the settings name cannot be used.
pub(crate) fn load_access(config: &Config) -> Result<Arc<Access>, AccessError> {
    let access = Access::load(config)?;
    for key in access.ignored_keys() {
        tracing::warn!(%key, "a key is ignored");
    }
    Ok(Arc::new(access))
}

/// What the directory may hold.
pub(crate) fn directory_limits(config: &Config) -> DirectoryLimits {
    DirectoryLimits {
        topics_max: config.limits.topics,
        topics_per_key_max: config.limits.topics_per_key,
        history_bytes_max: config.limits.history_bytes,
        value_bytes_max: config.limits.value_bytes,
        replay_bytes_max: config.limits.replay_bytes,
    }
}

/// What a shard promises and allows.
pub(crate) fn shard_settings(config: &Config) -> ShardSettings {
    let limits = &config.limits;
    ShardSettings {
        server: format!("tickwire/{VERSION}"),
        limits: AnnouncedLimits {
            subscriptions: limits.subscriptions,
            message_bytes: limits.message_bytes,
            ops_per_s: limits.ops_per_s,
            ops_burst: limits.ops_burst,
            publishes_per_s: limits.publishes_per_s,
            publishes_burst: limits.publishes_burst,
        },
        session_limits: limits.sessions(),
        topics_at_once: TOPICS_AT_ONCE,
        outbox_bytes_max: limits.outbox_bytes,
        stall_ms: limits.stall_ms,
        heartbeat_ms: config.heartbeat.heartbeat_ms,
        ping_after_ms: config.heartbeat.ping_after_ms,
        pong_timeout_ms: config.heartbeat.pong_timeout_ms,
        first_request_ms: limits.first_request_ms,
        close_timeout_ms: CLOSE_TIMEOUT_MS,
    }
}

/// Seconds since 1970.
pub(crate) fn unix_time_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FeedSource, Tls, TlsClients};

    #[test]
    fn what_needs_a_restart_is_named() {
        let started = Config::default();
        assert_eq!(started.needs_restart(&started), Vec::<&str>::new());
        let mut other = started.clone();
        other.limits.subscriptions += 1;
        other.heartbeat.heartbeat_ms += 1;
        other.drain.window_ms += 1;
        other.feed.silent_ms += 1;
        assert_eq!(started.needs_restart(&other), Vec::<&str>::new());
        other.shards = Some(1);
        other.socket.backlog += 1;
        other.feed.source = FeedSource::None;
        assert_eq!(
            started.needs_restart(&other),
            ["shards", "socket.backlog", "feed.kind"]
        );
    }

    #[test]
    fn a_reload_that_a_part_of_several_keys_does_not_take_is_named_by_the_right_one() {
        let replay = |file: &str| {
            let mut config = Config::default();
            config.feed.source = FeedSource::Replay(vec![file.into()]);
            config
        };
        assert_eq!(replay("a").needs_restart(&replay("a")), [""; 0]);
        assert_eq!(replay("a").needs_restart(&replay("b")), ["feed.files"]);
        let encrypted = |handshake_ms| Config {
            tls: Some(Tls {
                cert_file: "c".into(),
                key_file: "k".into(),
                clients: TlsClients::Anonymous,
                handshake_ms,
            }),
            ..Config::default()
        };
        assert_eq!(encrypted(1).needs_restart(&encrypted(2)), [""; 0]);
        assert_eq!(encrypted(1).needs_restart(&Config::default()), ["tls.cert_file"]);
    }
}
