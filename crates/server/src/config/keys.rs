//! Every setting, in one list: its path in the file, what it may hold, its default and what it means.
//!
//! Validation, the unknown-key check, the names of flags and environment variables, the example file and the table of
//! CONFIGURATION.md all come from [`KEYS`], so that none of them can differ from the others.

use tickwire_wire::limits;

use super::{addresses, auth, compression, drain, proxy, publishing, sessions, tls};

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    /// A whole number between two bounds, both allowed.
    Integer { min: u64, max: u64 },
    /// `true` or `false`.
    Bool,
    /// A finite number above 0.
    Positive,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An IP address and a port.
    Address,
    /// A list of topic patterns.
    Patterns,
    /// A file's name.
    File,
    /// A list of file names.
    Files,
    /// A list of origins of web pages.
    Origins,
    /// A list of static keys.
    AuthKeys,
    /// The table of JSON Web Tokens.
    Jwt,
    /// A list of networks: `10.0.0.0/8`, or a single address.
    Networks,
    /// An ordered list of `{pattern, kind, history}`.
    Rules,
    /// An ordered list of `{pattern, after_ms}`.
    StaleRules,
}

impl Shape {
    /// Whether it holds tables.
    pub(super) fn is_rules(self) -> bool {
        matches!(self, Self::Rules | Self::StaleRules | Self::AuthKeys | Self::Jwt)
    }
}

/// What a key holds when nothing sets it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Preset {
    Integer(u64),
    Number(f64),
    Text(&'static str),
    Bool(bool),
    /// An empty list.
    Empty,
    /// A list of texts.
    List(&'static [&'static str]),
    /// Nothing: the broker decides as described. The number is what an example may show.
    Unset(&'static str, u64),
    /// The same, where an example is a text.
    UnsetText(&'static str, &'static str),
}

/// One setting.
#[derive(Debug)]
pub(super) struct Key {
    /// Where it stands in the file, with a dot between table and key.
    pub(super) path: &'static str,
    pub(super) shape: Shape,
    pub(super) preset: Preset,
    /// The command line's name for it.
    pub(super) flag: Option<&'static str>,
    /// Whether only the file can set it.
    pub(super) file_only: bool,
    pub(super) meaning: &'static str,
}

impl Key {
    pub(super) const fn new(path: &'static str, shape: Shape, preset: Preset, meaning: &'static str) -> Self {
        Self {
            path,
            shape,
            preset,
            flag: None,
            file_only: false,
            meaning,
        }
    }

    pub(super) const fn integer(
        path: &'static str,
        min: u64,
        max: u64,
        preset: u64,
        meaning: &'static str,
    ) -> Self {
        Self::new(
            path,
            Shape::Integer { min, max },
            Preset::Integer(preset),
            meaning,
        )
    }

    const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    pub(super) const fn file_only(mut self) -> Self {
        self.file_only = true;
        self
    }

    /// The environment's name for it, if that may set it: the flag's name where there is a flag, else the path.
    pub(super) fn variable(&self) -> Option<String> {
        if self.file_only {
            return None;
        }
        let name = match self.flag {
            Some(flag) => flag.trim_start_matches('-').replace('-', "_"),
            None => self.path.replace('.', "__"),
        };
        Some(format!("TICKWIRE_{}", name.to_ascii_uppercase()))
    }

    /// The table it stands in; empty at the top.
    pub(super) fn table(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(table, _)| table)
    }

    /// Its name within the table.
    pub(super) fn name(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, name)| name)
    }
}

/// The key at `path`.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
pub(super) const GIB: u64 = 1024 * MIB;
pub(super) const MINUTE_MS: u64 = 60_000;

/// Most shards: the interest of shards in a topic is a 64-bit mask.
pub(super) const SHARDS_MAX: u64 = 64;
/// Words of `log.format`.
const LOG_FORMATS: &[&str] = &["text", "json"];
/// Words of `log.level`.
const LOG_LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
/// Words of `feed.kind`.
const FEED_KINDS: &[&str] = &["none", "sim", "replay"];
/// Words of `socket.egress`.
const EGRESS_KINDS: &[&str] = &["auto", "plain", "io_uring"];
/// Words of `feed.start`.
const FEED_STARTS: &[&str] = &["now", "on-subscribe"];
/// Most messages of history that a rule may ask for.
pub(super) const HISTORY_MAX: u64 = 1_000_000;
/// Longest silence that a rule may allow: a day.
pub(super) const STALE_MS_MAX: u64 = 24 * 60 * MINUTE_MS;

/// All settings, those of a table side by side, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "listen",
        Shape::Address,
        Preset::Text("127.0.0.1:7400"),
        "Where clients connect: WebSocket and HTTP. Port 0 takes any free port",
    )
    .flag("--listen"),
    Key::new(
        "ops",
        Shape::Address,
        Preset::Text("127.0.0.1:7401"),
        "Where operators connect: metrics and health. Keep it off public networks",
    )
    .flag("--ops"),
    Key::new(
        "shards",
        Shape::Integer {
            min: 1,
            max: SHARDS_MAX,
        },
        Preset::Unset("the machine's cores", 4),
        "Threads that serve connections; each connection stays on one",
    )
    .flag("--shards"),
    Key::new(
        "anonymous_publish",
        Shape::Patterns,
        Preset::Empty,
        "Topics that anyone may publish to. What anyone may subscribe to is auth.anonymous_subscribe",
    )
    .flag("--anonymous-publish"),
    Key::new(
        "log.format",
        Shape::Choice(LOG_FORMATS),
        Preset::Text("text"),
        "How log lines are written",
    )
    .flag("--log-format"),
    Key::new(
        "log.level",
        Shape::Choice(LOG_LEVELS),
        Preset::Text("info"),
        "The least severe lines that are logged",
    )
    .flag("--log-level"),
    Key::integer(
        "limits.message_bytes",
        128,
        limits::BULK_BODY_BYTES_MAX as u64,
        limits::MESSAGE_BYTES_MAX as u64,
        "Longest client message, all its fragments together; one byte more closes with 1009",
    ),
    Key::integer(
        "limits.fragments",
        1,
        1_000_000,
        limits::MESSAGE_FRAGMENTS_MAX as u64,
        "Most fragments of one client message; one more closes with 1008",
    ),
    Key::integer(
        "limits.subscriptions",
        1,
        1_000_000,
        limits::SUBSCRIPTIONS_MAX as u64,
        "Most subscriptions of one connection",
    ),
    Key::integer(
        "limits.outbox_bytes",
        limits::OUTBOX_REFILL_BYTES as u64 + 1,
        GIB,
        limits::OUTBOX_BYTES_MAX as u64,
        "Bytes that may wait for one connection before it counts as lagging",
    ),
    Key::integer(
        "limits.stall_ms",
        100,
        60 * MINUTE_MS,
        limits::STALL_MS,
        "Time that a connection may take nothing of what waits for it before close 4002",
    ),
    Key::integer(
        "limits.topics",
        1,
        100_000_000,
        limits::TOPICS_MAX as u64,
        "Most topics of the broker; a publish to one more is refused",
    ),
    Key::integer(
        "limits.history_bytes",
        MIB,
        1024 * GIB,
        limits::HISTORY_BYTES_MAX as u64,
        "Bytes that all histories together may hold, without the newest message of each topic; over it, topics shorten their own",
    ),
    sessions::VALUE_BYTES,
    sessions::REPLAY_BYTES,
    sessions::REPLAY_BYTES_PER_CONNECTION,
    sessions::REPLAY_MS,
    Key::integer(
        "limits.history_page",
        1,
        HISTORY_MAX,
        limits::HISTORY_PAGE as u64,
        "Most messages of one answer to a history request that names no limit",
    ),
    Key::integer(
        "limits.ops_per_s",
        1,
        1_000_000,
        limits::OPS_PER_S as u64,
        "Requests per second that one connection may keep up, and one address over HTTP",
    ),
    Key::integer(
        "limits.ops_burst",
        1,
        1_000_000,
        limits::OPS_BURST as u64,
        "Requests that a quiet connection may send at once, and a quiet address over HTTP; at least limits.ops_per_s",
    ),
    publishing::PER_S,
    publishing::BURST,
    publishing::TOPICS_PER_KEY,
    addresses::ANSWER_BYTES,
    sessions::RATE_LIMITED,
    sessions::REFUSALS_IN_A_ROW,
    sessions::TOPICS,
    sessions::PATTERN_TOKENS,
    Key::new(
        "limits.connections",
        Shape::Integer {
            min: 1,
            max: 10_000_000,
        },
        Preset::Unset("what the open-files limit allows", 50_000),
        "Most connections; one more is refused with 503",
    ),
    addresses::CONNECTIONS,
    addresses::HANDSHAKES_PER_S,
    addresses::HANDSHAKE_BURST,
    addresses::EXEMPT,
    Key::integer(
        "limits.handshake_ms",
        100,
        MINUTE_MS,
        limits::HANDSHAKE_MS,
        "Time for the headers of an HTTP request; then the connection is closed",
    ),
    Key::integer(
        "limits.first_request_ms",
        100,
        10 * MINUTE_MS,
        limits::FIRST_REQUEST_MS,
        "Time from the handshake to the first request; then close 4008",
    ),
    // hyper refuses a buffer below 8 KiB.
    Key::integer(
        "limits.header_bytes",
        8 * KIB,
        MIB,
        limits::HEADER_BYTES_MAX as u64,
        "Most bytes of the headers of an HTTP request; more is answered with 431",
    ),
    Key::integer(
        "limits.headers",
        8,
        1_000,
        limits::HEADERS_MAX as u64,
        "Most headers of an HTTP request; more is answered with 431",
    ),
    Key::integer(
        "heartbeat.heartbeat_ms",
        100,
        60 * MINUTE_MS,
        limits::HEARTBEAT_MS,
        "Quiet time after which a connection is sent a heartbeat",
    ),
    Key::integer(
        "heartbeat.ping_after_ms",
        100,
        10 * MINUTE_MS,
        limits::PING_AFTER_MS,
        "Time without a byte from a client after which it is pinged",
    ),
    Key::integer(
        "heartbeat.pong_timeout_ms",
        100,
        10 * MINUTE_MS,
        limits::PONG_TIMEOUT_MS,
        "Time that a pinged client has to answer before close 4001",
    ),
    drain::DELAY,
    drain::WINDOW,
    drain::DEADLINE,
    Key::new(
        "socket.egress",
        Shape::Choice(EGRESS_KINDS),
        Preset::Text("auto"),
        "How bytes are handed to the kernel: a write a connection, or a batch by io_uring; auto takes io_uring where it is",
    ),
    Key::integer(
        "socket.notsent_lowat_bytes",
        KIB,
        16 * MIB,
        16 * KIB,
        "Unsent bytes that the kernel takes for a connection (TCP_NOTSENT_LOWAT); the rest can still be conflated",
    ),
    Key::integer(
        "socket.user_timeout_ms",
        1_000,
        10 * MINUTE_MS,
        limits::USER_TIMEOUT_MS,
        "Time that sent bytes may stay unacknowledged, or unsent for want of room at the client, before the kernel drops the connection (TCP_USER_TIMEOUT). Keep it a third above limits.stall_ms, or stalled readers are reset instead of closed with 4002",
    ),
    Key::integer(
        "socket.backlog",
        1,
        65_535,
        4_096,
        "Connections that may wait to be accepted; the kernel's net.core.somaxconn caps it",
    ),
    Key::new(
        "socket.send_buffer_bytes",
        Shape::Integer {
            min: 4 * KIB,
            max: 64 * MIB,
        },
        Preset::Unset("the kernel's own tuning", 256 * KIB),
        "Size of a connection's send buffer (SO_SNDBUF)",
    ),
    tls::CERT_FILE,
    tls::KEY_FILE,
    tls::CLIENT_CA_FILE,
    tls::CLIENT_AUTH,
    tls::HANDSHAKE_MS,
    proxy::TRUSTED,
    proxy::PROXY_PROTOCOL,
    auth::REQUIRED,
    auth::ANONYMOUS_SUBSCRIBE,
    auth::ALLOWED_ORIGINS,
    auth::KEYS,
    auth::JWT,
    Key::new(
        "feed.kind",
        Shape::Choice(FEED_KINDS),
        Preset::Text("sim"),
        "Where market data comes from. The flag and the variable take `none`, `sim` or `replay:FILE,FILE…`",
    )
    .flag("--feed"),
    Key::new(
        "feed.files",
        Shape::Files,
        Preset::Empty,
        "Recordings to replay together, when feed.kind is `replay`; relative to the working directory",
    )
    .file_only(),
    Key::integer(
        "feed.symbols",
        1,
        10_000,
        50,
        "Instruments of the simulated market",
    )
    .flag("--symbols"),
    Key::integer(
        "feed.rate",
        1,
        1_000_000,
        1_000,
        "Ticks per second of the simulated market, over all symbols",
    )
    .flag("--rate"),
    Key::integer(
        "feed.seed",
        0,
        i64::MAX as u64,
        1,
        "Seed of the simulated market: the same seed gives the same ticks",
    )
    .flag("--seed"),
    Key::new(
        "feed.speed",
        Shape::Positive,
        Preset::Number(1.0),
        "How many times faster than recorded a replay runs",
    )
    .flag("--speed"),
    Key::new(
        "feed.start",
        Shape::Choice(FEED_STARTS),
        Preset::Text("now"),
        "Whether the feed starts with the broker or with the first subscription",
    )
    .flag("--start"),
    Key::integer(
        "feed.silent_ms",
        100,
        24 * 60 * MINUTE_MS,
        10_000,
        "Silence of the feed, once started and not over, after which /readyz fails",
    ),
    compression::ENABLED,
    compression::LEVEL,
    compression::THRESHOLD_BYTES,
    Key::new(
        "test.echo",
        Shape::Bool,
        Preset::Bool(false),
        "Not for production: opens /v1/echo, where each WebSocket message comes back as it came, to conformance suites",
    ),
    Key::new(
        "test.panic",
        Shape::Bool,
        Preset::Bool(false),
        "Not for production: clients may make a shard panic, to tests of what becomes of the others",
    ),
    Key::new(
        "kinds",
        Shape::Rules,
        Preset::Empty,
        "Which topics are of which kind and how many messages each keeps: rules tried in order, before the built-in ones",
    )
    .file_only(),
    Key::new(
        "staleness",
        Shape::StaleRules,
        Preset::Empty,
        "For how many milliseconds topics may be silent before their subscribers are told: rules tried in order; other topics are never stale",
    )
    .file_only(),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_defaults_in_range() {
        let mut names = HashSet::new();
        for key in KEYS {
            assert!(names.insert(key.path.to_owned()), "{} twice", key.path);
            assert!(key.variable().is_none_or(|v| names.insert(v)), "{}", key.path);
            if let Shape::Integer { min, max } = key.shape {
                assert!(min < max && i64::try_from(max).is_ok(), "{}", key.path);
                if let Preset::Integer(preset) = key.preset {
                    assert!((min..=max).contains(&preset), "{}", key.path);
                }
            }
            if let (Shape::Choice(words), Preset::Text(preset)) = (key.shape, key.preset) {
                assert!(words.contains(&preset), "{}", key.path);
            }
        }
    }

    #[test]
    fn keys_of_a_table_stand_side_by_side() {
        let mut tables: Vec<&str> = KEYS.iter().map(Key::table).collect();
        // The lists of rules.
        tables.truncate(tables.len() - 2);
        tables.dedup();
        assert_eq!(
            tables,
            [
                "",
                "log",
                "limits",
                "heartbeat",
                "drain",
                "socket",
                "tls",
                "proxy",
                "auth",
                "feed",
                "compression",
                "test"
            ]
        );
    }
}
