//! The configuration of the broker: typed, checked, and merged from flags, environment, file and defaults.
//!
//! A [`Config`] from [`Config::load`] is valid: every value is in its range and fits the others. An unknown key or
//! variable is an error, never ignored, since a misspelt limit would otherwise be no limit. Each setting has one row in
//! `table.rs`, from which its field, its reader and its line in `docs/CONFIGURATION.md` are made. This code reads the
//! configuration file and checks whether the recordings in it can be opened. It touches nothing else.

mod admin;
mod auth;
mod checks;
mod choices;
mod cluster;
mod credentials;
mod docs;
mod error;
mod feed;
mod fields;
mod journal;
mod key;
mod key_hash;
mod layers;
mod nearest;
mod origin;
mod router;
mod rules;
mod settings;
mod table;
pub(crate) mod test_only;
#[cfg(test)]
mod tests;
mod tls;

use std::path::Path;

pub use self::admin::AdminKey;
pub use self::auth::{AuthKey, Jwt, JwtAlgorithm};
pub use self::choices::{
    ClusterStorage, ConsoleData, EgressKind, FeedStart, JournalSync, LogFormat, LogLevel, ProxyProtocol,
};
pub use self::cluster::{ClusterName, ClusterSettings, NatsServers};
use self::credentials::Credentials;
pub use self::docs::Flag;
pub use self::error::{ConfigError, ValueOrigin};
pub use self::feed::FeedSource;
pub use self::journal::StateDir;
use self::key::Table as _;
pub use self::key_hash::KeyHash;
pub use self::layers::Overrides;
pub use self::origin::{OriginRule, WebOrigin};
use self::settings::Settings;
pub use self::table::{
    AccountingSettings, AdminSettings, AuthSettings, CompressionSettings, Config, ConsoleSettings,
    DrainSettings, FeedSettings, HeartbeatSettings, JournalSettings, LimitSettings, LogSettings,
    ProxySettings, PublishSettings, SocketSettings, TestOnly,
};
pub use self::tls::{Tls, TlsClients};

impl Config {
    /// Merges the settings and checks them all. `flags` have precedence over `environment`, that over the file, and
    /// that over the defaults.
    ///
    /// From `environment` only `TICKWIRE_*` and `CREDENTIALS_DIRECTORY` are read.
    ///
    /// # Errors
    /// The first fault: a file that cannot be read, an unknown key or variable, a value out of its range or in conflict
    /// with another, or a recording that cannot be read.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &Overrides,
    ) -> Result<Self, ConfigError> {
        let environment: Vec<(String, String)> = environment.into_iter().collect();
        let mut settings = Settings::with_credentials(Credentials::of(&environment));
        settings.put_defaults();
        if let Some(path) = file {
            settings.put_file(path)?;
        }
        settings.put_environment(&environment)?;
        settings.put_flags(flags);
        Self::read(&settings)
    }

    /// The changed settings in `other` that need a restart, because a running broker does not take them from a reload.
    pub(crate) fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        let mut differing = self.differing(other);
        differing.retain(|path| key::find(path).is_some_and(|key| key.restart));
        differing
    }

    /// The number of readers of topics that take the place of a shard: what derives, and what copies.
    pub(crate) fn observers(&self) -> usize {
        usize::from(!self.derive.is_empty()) + usize::from(!self.views.is_empty())
    }

    /// The number of shards on a machine with `cores` cores, or the setting if there is one. At least 1, at most 64; one
    /// less if something is derived, and one less if there are views.
    #[must_use]
    pub fn shard_count(&self, cores: usize) -> usize {
        let most = usize::try_from(table::SHARDS_MAX).unwrap_or(usize::MAX) - self.observers();
        self.shards.unwrap_or(cores).clamp(1, most)
    }
}

impl Default for Config {
    /// The configuration without any settings.
    fn default() -> Self {
        Self::load(None, [], &Overrides::default()).expect("the defaults are valid")
    }
}
