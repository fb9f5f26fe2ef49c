//! What the broker is told to do: typed, checked, and merged from flags, environment, file and defaults.
//!
//! A [`Config`] that [`Config::load`] returned is valid: every value is in its range and fits the others. An unknown key or
//! variable is an error, never ignored, since a misspelt limit would otherwise be no limit. The keys stand in one list
//! (`keys.rs`), which `docs/CONFIGURATION.md` is generated from. Reads the configuration file and looks whether the
//! recordings that it names can be opened; touches nothing else.

mod addresses;
mod auth;
mod compression;
mod credentials;
mod docs;
mod drain;
mod error;
mod feed;
mod fields;
mod keys;
mod layer;
mod limits;
mod nearest;
mod overrides;
mod proxy;
mod publishing;
mod sessions;
mod settings;
mod stale;
pub(crate) mod test_only;
#[cfg(test)]
mod tests;
mod tls;

use std::net::SocketAddr;
use std::path::Path;

use tickwire_router::{KindRule, StaleRule};
use tickwire_wire::Pattern;

pub use self::addresses::AddressLimits;
pub use self::auth::{Auth, AuthKey, Jwt, JwtAlgorithm};
pub use self::compression::Compression;
use self::credentials::Credentials;
pub use self::docs::Flag;
pub use self::drain::Drain;
pub use self::error::{ConfigError, Origin};
pub use self::feed::{Feed, FeedSource, FeedStart};
use self::layer::Layer;
pub use self::limits::Limits;
pub use self::overrides::Overrides;
pub use self::proxy::Proxy;
use self::settings::Settings;
pub use self::test_only::TestOnly;
pub use self::tls::{Tls, TlsClients};

/// Longest time in milliseconds, from its last byte, that a client which has vanished may be kept by the two settings
/// that find it out.
const HALF_OPEN_MS_MAX: u64 = 300_000;

/// Everything that can be set. Each field is the key of the same name in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where operators connect: metrics and health.
    pub ops: SocketAddr,
    /// Threads that serve connections; as many as the machine has cores if none, see [`Config::shard_count`].
    pub shards: Option<usize>,
    /// Topics that anyone may publish to.
    pub anonymous_publish: Vec<Pattern>,
    /// The log.
    pub log: Log,
    /// What bounds clients and memory.
    pub limits: Limits,
    /// How silent connections are kept and found out.
    pub heartbeat: Heartbeat,
    /// How the broker leaves.
    pub drain: Drain,
    /// Options of the clients' sockets.
    pub socket: Socket,
    /// How clients' connections are encrypted; not at all if none.
    pub tls: Option<Tls>,
    /// Proxies in front.
    pub proxy: Proxy,
    /// Who may do what.
    pub auth: Auth,
    /// Where market data comes from.
    pub feed: Feed,
    /// Whether and how messages are compressed.
    pub compression: Compression,
    /// Which topics are of which kind: tried in order, before the built-in rules.
    pub kinds: Vec<KindRule>,
    /// For how long topics may be silent: tried in order.
    pub staleness: Vec<StaleRule>,
    /// What only tests of the broker itself switch on.
    pub test: TestOnly,
}

/// The key table `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// How lines are written.
    pub format: LogFormat,
    /// The least severe lines that are logged.
    pub level: LogLevel,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How severe a log line is, the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something may fail.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Every event that the program reports.
    Trace,
}

impl LogLevel {
    /// Every level, the most severe first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The level as the file has it, which is also how filter directives have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The key table `[heartbeat]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Quiet time in milliseconds after which a connection is sent a heartbeat.
    pub heartbeat_ms: u64,
    /// Time in milliseconds without a byte from a client after which it is pinged.
    pub ping_after_ms: u64,
    /// Time in milliseconds that a pinged client has to answer.
    pub pong_timeout_ms: u64,
}

/// How bytes are handed to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressKind {
    /// By `io_uring` where the kernel offers it, otherwise plainly.
    Auto,
    /// One system call a connection.
    Plain,
    /// One system call for a batch of connections.
    IoUring,
}

/// The key table `[socket]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// How bytes are handed to the kernel.
    pub egress: EgressKind,
    /// Unsent bytes that the kernel takes for a connection (`TCP_NOTSENT_LOWAT`).
    pub notsent_lowat_bytes: u32,
    /// Time in milliseconds that sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`).
    pub user_timeout_ms: u32,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    /// Size of the send buffer in bytes (`SO_SNDBUF`); the kernel's own tuning if none.
    pub send_buffer_bytes: Option<usize>,
}

impl Config {
    /// Merges `flags` over `environment` over the file over the defaults, and checks the whole.
    ///
    /// Of `environment` only `TICKWIRE_*` is looked at, and `CREDENTIALS_DIRECTORY`.
    ///
    /// # Errors
    /// The first fault: a file that cannot be read, an unknown key or variable, a value out of its range or at odds with
    /// another, a recording that cannot be read.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &Overrides,
    ) -> Result<Self, ConfigError> {
        let environment: Vec<(String, String)> = environment.into_iter().collect();
        let credentials = Credentials::of(&environment);
        let mut layers = vec![Layer::defaults()];
        if let Some(path) = file {
            layers.push(Layer::file(path)?);
        }
        layers.push(Layer::environment(environment)?);
        layers.push(flags.layer());
        Self::read(&Settings::merge(layers, file).with_credentials(credentials))
    }

    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let config = Self {
            listen: settings.address("listen")?,
            ops: settings.address("ops")?,
            shards: settings.integer_if_set("shards")?,
            anonymous_publish: settings.patterns("anonymous_publish")?,
            log: Log::read(settings)?,
            limits: Limits::read(settings)?,
            heartbeat: Heartbeat::read(settings)?,
            drain: Drain::read(settings)?,
            socket: Socket::read(settings)?,
            tls: Tls::read(settings)?,
            proxy: Proxy::read(settings)?,
            auth: Auth::read(settings)?,
            feed: Feed::read(settings)?,
            compression: Compression::read(settings)?,
            kinds: settings.rules("kinds")?,
            staleness: stale::read(settings, "staleness")?,
            test: TestOnly::read(settings)?,
        };
        if addresses_collide(config.listen, config.ops) {
            return Err(settings.refuse_beside("ops", "must be another address than", "listen"));
        }
        Ok(config)
    }

    /// The number of shards on a machine with `cores` cores: the setting where there is one. At least 1, at most 64.
    #[must_use]
    pub fn shard_count(&self, cores: usize) -> usize {
        let most = usize::try_from(keys::SHARDS_MAX).unwrap_or(usize::MAX);
        self.shards.unwrap_or(cores).clamp(1, most)
    }
}

impl Default for Config {
    /// What holds where nothing is set.
    fn default() -> Self {
        Self::read(&Settings::merge([Layer::defaults()], None)).expect("the defaults are valid")
    }
}

/// Whether listeners on both addresses would be in each other's way. Port 0 stands for any free port.
fn addresses_collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

impl Log {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            format: settings.choice(
                "log.format",
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            )?,
            level: settings.choice("log.level", &LogLevel::ALL.map(|level| (level.as_str(), level)))?,
        })
    }
}

impl Heartbeat {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let heartbeat = Self {
            heartbeat_ms: settings.integer("heartbeat.heartbeat_ms")?,
            ping_after_ms: settings.integer("heartbeat.ping_after_ms")?,
            pong_timeout_ms: settings.integer("heartbeat.pong_timeout_ms")?,
        };
        if heartbeat.ping_after_ms + heartbeat.pong_timeout_ms > HALF_OPEN_MS_MAX {
            let rule = format!("must find a vanished client within {HALF_OPEN_MS_MAX} ms together with");
            return Err(settings.refuse_beside(
                "heartbeat.ping_after_ms",
                &rule,
                "heartbeat.pong_timeout_ms",
            ));
        }
        Ok(heartbeat)
    }
}

impl Socket {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let kinds = [
            ("auto", EgressKind::Auto),
            ("plain", EgressKind::Plain),
            ("io_uring", EgressKind::IoUring),
        ];
        let socket = Self {
            egress: settings.choice("socket.egress", &kinds)?,
            notsent_lowat_bytes: settings.integer("socket.notsent_lowat_bytes")?,
            user_timeout_ms: settings.integer("socket.user_timeout_ms")?,
            backlog: settings.integer("socket.backlog")?,
            send_buffer_bytes: settings.integer_if_set("socket.send_buffer_bytes")?,
        };
        Ok(socket)
    }
}
