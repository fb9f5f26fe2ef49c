//! New settings for a running broker. All parts are built first, and then all are put in place. Never only some of them
//! are.
//!
//! A part is taken as a whole by one thread or structure. A new part needs a field of [`Parts`], a line in
//! [`Parts::build`] that makes it from the settings and may fail, and a line in [`Parts::apply`] that puts it in place
//! and cannot fail.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tickwire_metrics::{Catalogue, Metric};
use tickwire_router::{Directory, DirectoryLimits, Kinds};

use crate::auth::{Access, AccessError, Revocations};
use crate::config::{Config, ConfigError};
use crate::limits::{ConnectionLimits, LimitRules};
use crate::net::acceptor::ShardHandle;
use crate::net::tls::{TlsError, TlsIdentity, TlsStore};
use crate::run::command::Command;
use crate::run::live_settings::LiveSettings;

/// Why new settings were not applied. The old ones stay.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The settings could not be read, or one of them is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keys that verify tokens cannot be loaded.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The broker's certificate cannot be loaded.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The result of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The settings that differ from those at the start and that take effect only after a restart.
    pub needs_restart: Vec<&'static str>,
}

/// The parts of a running broker that a reload changes.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) handles: &'a [ShardHandle],
    pub(crate) connection_limits: &'a ConnectionLimits,
    pub(crate) live_settings: &'a LiveSettings,
    /// `None` if clients do not use TLS.
    pub(crate) tls: Option<&'a TlsStore>,
}

/// All parts that can change while a broker runs, ready to be put in place.
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
    /// Makes all parts or none, for a process that may have `open_files` files open. What is revoked stays so.
    ///
    /// # Errors
    /// The first fault.
    pub(crate) fn build(
        config: Arc<Config>,
        open_files: u64,
        revocations: &Arc<Revocations>,
    ) -> Result<Self, ReloadError> {
        Ok(Self {
            kinds: config.topic_kinds(),
            limits: config.directory_limits(),
            limit_rules: LimitRules::of(&config, config.limits.connections_max(open_files)),
            access: load_access(&config, revocations)?,
            identity: config.tls.as_ref().map(TlsIdentity::load).transpose()?,
            config,
        })
    }

    /// Puts all parts in place.
    pub(crate) fn apply(self, running: &Running<'_>) {
        let (stale_rules, expiry_rules) = (self.config.staleness.clone(), self.config.expiry.clone());
        running.live_settings.set(&self.config, &self.access);
        running.connection_limits.replace(self.limit_rules);
        running
            .directory
            .reconfigure(self.limits, self.kinds, stale_rules, expiry_rules);
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

/// Exports that the settings in force were read now.
pub(crate) fn settings_hold(catalogue: &Catalogue) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let at_us = since.map_or(0, |since| since.as_secs()).saturating_mul(1_000_000);
    catalogue.set(Metric::ConfigLoaded, &[], at_us);
}

/// Loads the rules of access, with these revocations. Keys that cannot be used are named in the log, if their file can be read.
///
/// # Errors
/// If a file in the settings cannot be used.
pub(crate) fn load_access(
    config: &Config,
    revocations: &Arc<Revocations>,
) -> Result<Arc<Access>, AccessError> {
    let access = Access::load(config)?;
    for key in access.ignored_keys() {
        tracing::warn!(%key, "a key is ignored");
    }
    Ok(Arc::new(access.with_revocations(revocations.clone())))
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
