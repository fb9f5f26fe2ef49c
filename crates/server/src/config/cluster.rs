//! The settings of a cluster.

use std::path::PathBuf;

use async_nats::ServerAddr;
use figment::value::Value;

use super::choices::ClusterStorage;
use super::error::ConfigError;
use super::key::{Key, Setting, Shape, Table, int, rows, text, truth, unset};
use super::settings::Settings;
use super::table::Config;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
/// Most characters of a cluster's name.
const NAME_MAX: usize = 32;

/// The addresses of NATS servers, which are one cluster of servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServers(pub Vec<ServerAddr>);

impl NatsServers {
    /// The addresses without passwords, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        let hosts = self
            .0
            .iter()
            .map(|server| format!("{}:{}", server.host(), server.port()));
        hosts.collect::<Vec<_>>().join(",")
    }
}

impl Setting for NatsServers {
    const SHAPE: Shape = Shape::Text("addresses");

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let text = settings.value(path).and_then(Value::as_str);
        let parts = text.unwrap_or_default().split(',').map(str::trim);
        let servers = parts.filter(|part| !part.is_empty()).map(str::parse);
        let servers = servers.collect::<Result<Vec<ServerAddr>, _>>();
        match servers {
            Ok(servers) if !servers.is_empty() => Ok(Self(servers)),
            Ok(_) | Err(_) => Err(settings.refuse(
                path,
                "must be addresses of NATS servers with commas between them, such as nats://10.0.0.1:4222,nats://10.0.0.2:4222",
            )),
        }
    }
}

/// The name of a cluster. It is a part of subjects and of the names of streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterName(pub String);

impl Setting for ClusterName {
    const SHAPE: Shape = Shape::Text("name");

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let name = settings.value(path).and_then(Value::as_str).unwrap_or_default();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(fits) {
            return Ok(Self(name.to_owned()));
        }
        Err(settings.refuse(path, "must be 1 to 32 letters, digits, hyphens and underscores"))
    }
}

rows! {
    /// The key table `[cluster]`: several brokers that have the same topics, numbers and epochs.
    pub struct ClusterSettings in "cluster." {
        nats: Option<NatsServers> = unset("the broker is alone", "\"nats://127.0.0.1:4222\"").flag("--cluster", "ADDRESSES").restart(),
            "NATS servers with JetStream, with commas between them. All brokers with the same servers and cluster.name are one: each message is stored there before anybody sees it";
        name: ClusterName = text("main").restart(),
            "The name of the cluster; brokers with another name have nothing to do with these";
        credentials_file: Option<PathBuf> = unset("none are shown", "\"/etc/tickwire/nats.creds\"").restart(),
            "File with the credentials that NATS asks for: a token of the user and its key, as nsc writes them";
        ca_file: Option<PathBuf> = unset("those of the system", "\"/etc/tickwire/nats-ca.pem\"").restart(),
            "File with the certificates of the authorities that NATS servers' certificates are checked with, for addresses that begin with tls://";
        writer: bool = truth(true).restart(),
            "Whether this broker may become the one that numbers messages";
        replicas: usize = int(1).between(1, 5).restart(),
            "On how many NATS servers the log is kept, if this broker makes it";
        storage: ClusterStorage = text("file").restart(),
            "Where NATS keeps the log, if this broker makes it";
        log_bytes: u64 = int(8 * GIB).between(16 * MIB, 1024 * 1024 * GIB).restart(),
            "Bytes of the log, if this broker makes it; beyond that, the oldest entries are let go of";
        nats_synced: bool = truth(false).restart(),
            "Whether what NATS has acknowledged survives a restart of all its servers, as with its sync_interval: always. Otherwise the numbers begin anew then";
    }
}

/// What does not go together with a cluster.
pub(super) fn stands_alone(config: &Config, settings: &Settings) -> Result<(), ConfigError> {
    let ClusterSettings { nats, .. } = &config.cluster;
    let has_both = nats.is_some() && config.journal.dir.is_some();
    let has_views = nats.is_some() && !config.views.is_empty();
    settings.refuse_beside_if(
        has_views,
        "views",
        "cannot be kept by several brokers yet. Leave them out beside",
        "cluster.nats",
    )?;
    settings.refuse_beside_if(
        has_both,
        "journal.dir",
        "is of no use: the log of the cluster keeps the messages. Leave it out beside",
        "cluster.nats",
    )
}
