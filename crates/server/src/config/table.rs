//! Every setting, a row each: to add one, add its row. The tables stand in the order of the documentation, and so do their rows.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use tickwire_router::{KindRule, PublishRate, SessionLimits, StaleRule};
use tickwire_wire::{Pattern, deflate, limits};

use super::auth::{AuthKey, Jwt};
use super::choices::{EgressKind, FeedStart, LogFormat, LogLevel, ProxyProtocol, TlsClientAuth};
use super::error::ConfigError;
use super::feed::FeedSource;
use super::key::{Key, Preset, Setting, Shape, Table, int, list, rows, text, truth, unset};
use super::settings::Settings;
use super::tls::Tls;
use crate::auth::OriginRule;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const MINUTE_MS: u64 = 60_000;
/// Most shards: the interest of shards in a topic is a 64-bit mask.
pub(super) const SHARDS_MAX: u64 = 64;
/// Most messages of history that may be asked for.
pub(super) const HISTORY_MAX: u64 = 1_000_000;
/// Longest silence that a rule may allow: a day.
pub(super) const STALE_MS_MAX: u64 = 24 * 60 * MINUTE_MS;
/// Longest time in milliseconds, from its last byte, that a client which has vanished may be kept by the two settings
/// that find it out.
const HALF_OPEN_MS_MAX: u64 = 300_000;
/// Time in milliseconds that is kept behind the window of draining: for what clients have yet to take, and for their answers.
const AFTER_WINDOW_MS: u64 = 1_000;

/// The keys at the top of the file.
pub(super) const TOP: &[Key] = Config::KEYS;
/// The keys of all tables, in the order of the documentation.
pub(super) const TABLES: &[&[Key]] = &[
    Log::KEYS,
    Limits::KEYS,
    Heartbeat::KEYS,
    Drain::KEYS,
    Socket::KEYS,
    TlsSettings::KEYS,
    Proxy::KEYS,
    Auth::KEYS,
    Feed::KEYS,
    Compression::KEYS,
    TestOnly::KEYS,
];

rows! {
    /// Everything that can be set. Each field is the key of the same name in the file.
    pub struct Config in "" checked apart {
        listen: SocketAddr = text("127.0.0.1:7400").flag("--listen", "ADDRESS:PORT").restart(),
            "Where clients connect: WebSocket and HTTP. Port 0 takes any free port";
        ops: SocketAddr = text("127.0.0.1:7401").flag("--ops", "ADDRESS:PORT").restart(),
            "Where operators connect: metrics and health. Keep it off public networks";
        shards: Option<usize> = unset("the machine's cores", "4").between(1, SHARDS_MAX).flag("--shards", "N").restart(),
            "Threads that serve connections; each connection stays on one";
        anonymous_publish: Vec<Pattern> = list(&[]).flag("--anonymous-publish", "PATTERN"),
            "Topics that anyone may publish to. What anyone may subscribe to is auth.anonymous_subscribe";
        kinds: Vec<KindRule> = list(&[]).file_only(),
            "Which topics are of which kind and how many messages each keeps: rules tried in order, before the built-in ones";
        staleness: Vec<StaleRule> = list(&[]).file_only(),
            "For how many milliseconds topics may be silent before their subscribers are told: rules tried in order; other topics are never stale";
    }
    tables {
        /// The log.
        log: Log,
        /// What bounds clients and memory.
        limits: Limits,
        /// How silent connections are kept and found out.
        heartbeat: Heartbeat,
        /// How the broker leaves.
        drain: Drain,
        /// Options of the clients' sockets.
        socket: Socket,
        /// How clients' connections are encrypted; not at all if none.
        tls: Option<Tls>,
        /// Proxies in front.
        proxy: Proxy,
        /// Who may do what.
        auth: Auth,
        /// Where market data comes from.
        feed: Feed,
        /// Whether and how messages are compressed.
        compression: Compression,
        /// What only tests of the broker itself switch on.
        test: TestOnly,
    }
}

rows! {
    /// The key table `[log]`.
    #[derive(Copy, Eq)]
    pub struct Log in "log." {
        format: LogFormat = text("text").flag("--log-format", "FORMAT").restart(),
            "How log lines are written";
        level: LogLevel = text("info").flag("--log-level", "LEVEL"),
            "The least severe lines that are logged";
    }
}

rows! {
    /// The key table `[limits]`: what bounds clients and memory.
    #[derive(Eq)]
    pub struct Limits in "limits." checked limits_fit {
        message_bytes: usize = int(limits::MESSAGE_BYTES_MAX as u64).between(128, limits::BULK_BODY_BYTES_MAX as u64),
            "Longest client message, all its fragments together; one byte more closes with 1009";
        fragments: u32 = int(limits::MESSAGE_FRAGMENTS_MAX as u64).between(1, 1_000_000),
            "Most fragments of one client message; one more closes with 1008";
        subscriptions: usize = int(limits::SUBSCRIPTIONS_MAX as u64).between(1, 1_000_000),
            "Most subscriptions of one connection";
        outbox_bytes: usize = int(limits::OUTBOX_BYTES_MAX as u64).between(limits::OUTBOX_REFILL_BYTES as u64 + 1, GIB),
            "Bytes that may wait for one connection before it counts as lagging";
        stall_ms: u64 = int(limits::STALL_MS).between(100, 60 * MINUTE_MS),
            "Time that a connection may take nothing of what waits for it before close 4002";
        topics: usize = int(limits::TOPICS_MAX as u64).between(1, 100_000_000),
            "Most topics of the broker; a publish to one more is refused";
        history_bytes: usize = int(limits::HISTORY_BYTES_MAX as u64).between(MIB, 1024 * GIB),
            "Bytes that all histories together may hold, without the newest message of each topic; over it, topics shorten their own";
        value_bytes: usize = int(limits::VALUE_BYTES_MAX as u64).between(MIB, 1024 * GIB),
            "Bytes that the newest messages of all topics and their books may hold; a publication that needs more is refused";
        replay_bytes: usize = int(limits::REPLAY_BYTES_MAX as u64).between(0, 1024 * GIB),
            "Bytes of messages that are kept for all replays that were promised, each counted once; over it, a resume is answered with recovered:false";
        replay_bytes_per_connection: usize = int(limits::REPLAY_BYTES_PER_CONNECTION_MAX as u64).between(0, 1024 * GIB),
            "The same of one connection";
        replay_ms: u64 = int(limits::REPLAY_MS).between(100, 60 * MINUTE_MS),
            "Time that messages of a promised replay may wait for their reader before close 4002";
        history_page: usize = int(limits::HISTORY_PAGE as u64).between(1, HISTORY_MAX),
            "Most messages of one answer to a history request that names no limit";
        ops_per_s: u32 = int(limits::OPS_PER_S as u64).between(1, 1_000_000),
            "Requests per second that one connection may keep up, and one address over HTTP";
        ops_burst: u32 = int(limits::OPS_BURST as u64).between(1, 1_000_000),
            "Requests that a quiet connection may send at once, and a quiet address over HTTP; at least limits.ops_per_s";
        publishes_per_s: u32 = int(limits::PUBLISHES_PER_S as u64).between(1, limits::PUBLISH_RATE_MAX as u64),
            "Publications per second that one connection may keep up, and over HTTP one key, subject of tokens or address; a key or token may have a rate of its own";
        publishes_burst: u32 = int(limits::PUBLISHES_BURST as u64).between(1, limits::PUBLISH_RATE_MAX as u64),
            "Publications that may come at once after a quiet time; at least limits.publishes_per_s";
        topics_per_key: usize = int(limits::TOPICS_PER_KEY_MAX as u64).between(0, 100_000_000),
            "Most topics that one key, subject of tokens, or address without a token may make by publishing to them; one more is refused. 0 for any number";
        answer_bytes: usize = int(limits::ANSWER_BYTES_MAX as u64).between(limits::SMALL_ANSWER_BYTES_MAX as u64, 64 * GIB),
            "Bytes of answers over HTTP that may wait for their clients, a quarter of them for one address; one more is refused with 503. Answers up to 64 KiB do not count";
        rate_limited: u32 = int(limits::RATE_LIMITED_MAX as u64).between(1, 1_000_000),
            "Requests of one connection that may be refused with rate_limited at once, and apart from them publications; one more closes it, a WebSocket with 1008. They are forgiven as fast as requests, or publications, are allowed";
        refusals_in_a_row: u32 = int(limits::REFUSALS_IN_A_ROW_MAX as u64).between(1, 1_000_000),
            "Requests in a row, each refused whole for what it asks, with which a connection is closed with 1008; one a second is forgiven";
        topics_per_connection: usize = int(limits::TOPICS_PER_CONNECTION_MAX as u64).between(1, 100_000_000),
            "Most topics that all subscriptions of one connection match together";
        pattern_tokens: usize = int(limits::PATTERN_TOKENS_MAX as u64).between(limits::TOPIC_TOKENS_MAX as u64, 16_000_000),
            "Most tokens of one connection's wildcards, and of its topics that did not exist when it subscribed to them";
        connections: Option<usize> = unset("what the open-files limit allows", "50000").between(1, 10_000_000),
            "Most connections; one more is refused with 503";
        connections_per_address: u32 = int(limits::CONNECTIONS_PER_ADDRESS_MAX as u64).between(0, 10_000_000),
            "Most connections of one address, IPv6 by its first 64 bits; one more is refused with 429. 0 for any number";
        handshakes_per_s_per_address: u32 = int(limits::HANDSHAKES_PER_S as u64).between(1, 1_000_000),
            "New connections per second that one address may keep up; more are refused with 429";
        handshake_burst_per_address: u32 = int(limits::HANDSHAKES_BURST as u64).between(1, 1_000_000),
            "New connections that one address may make at once after a quiet time";
        exempt_addresses: Vec<IpNet> = list(&["127.0.0.0/8", "::1/128"]),
            "Networks whose addresses have no limits of their own. Nor have the proxies of proxy.trusted, but their clients";
        handshake_ms: u64 = int(limits::HANDSHAKE_MS).between(100, MINUTE_MS),
            "Time for the headers of an HTTP request; then the connection is closed";
        first_request_ms: u64 = int(limits::FIRST_REQUEST_MS).between(100, 10 * MINUTE_MS),
            "Time from the handshake to the first request; then close 4008";
        // hyper refuses a buffer below 8 KiB.
        header_bytes: usize = int(limits::HEADER_BYTES_MAX as u64).between(8 * KIB, MIB),
            "Most bytes of the headers of an HTTP request; more is answered with 431";
        headers: usize = int(limits::HEADERS_MAX as u64).between(8, 1_000),
            "Most headers of an HTTP request; more is answered with 431";
    }
}

rows! {
    /// The key table `[heartbeat]`.
    #[derive(Copy, Eq)]
    pub struct Heartbeat in "heartbeat." checked finds_the_vanished {
        heartbeat_ms: u64 = int(limits::HEARTBEAT_MS).between(100, 60 * MINUTE_MS),
            "Quiet time after which a connection is sent a heartbeat";
        ping_after_ms: u64 = int(limits::PING_AFTER_MS).between(100, 10 * MINUTE_MS),
            "Time without a byte from a client after which it is pinged";
        pong_timeout_ms: u64 = int(limits::PONG_TIMEOUT_MS).between(100, 10 * MINUTE_MS),
            "Time that a pinged client has to answer before close 4001";
    }
}

rows! {
    /// The key table `[drain]`: how a broker leaves.
    #[derive(Copy, Eq)]
    pub struct Drain in "drain." checked drains_in_time {
        delay_ms: u64 = int(0).between(0, 10 * MINUTE_MS),
            "Time for which a broker that was told to stop still takes connections, while /readyz fails already; the window and the deadline begin after it";
        window_ms: u64 = int(30_000).between(0, 60 * MINUTE_MS),
            "Longest time over which connections are closed when the broker stops; with few it is 100 ms for each";
        deadline_ms: u64 = int(60_000).between(1_000, 61 * MINUTE_MS),
            "Time after which a broker that stops ends, whoever is still connected; at least 1,000 more than the window";
    }
}

rows! {
    /// The key table `[socket]`.
    #[derive(Copy, Eq)]
    pub struct Socket in "socket." {
        egress: EgressKind = text("auto").restart(),
            "How bytes are handed to the kernel: a write a connection, or a batch by io_uring; auto takes io_uring where it is";
        notsent_lowat_bytes: u32 = int(16 * KIB).between(KIB, 16 * MIB).restart(),
            "Unsent bytes that the kernel takes for a connection (TCP_NOTSENT_LOWAT); the rest can still be conflated";
        user_timeout_ms: u32 = int(limits::USER_TIMEOUT_MS).between(1_000, 10 * MINUTE_MS).restart(),
            "Time that sent bytes may stay unacknowledged, or unsent for want of room at the client, before the kernel drops the connection (TCP_USER_TIMEOUT). Keep it a third above limits.stall_ms, or stalled readers are reset instead of closed with 4002";
        backlog: u32 = int(4_096).between(1, 65_535).restart(),
            "Connections that may wait to be accepted; the kernel's net.core.somaxconn caps it";
        send_buffer_bytes: Option<usize> = unset("the kernel's own tuning", "262144").between(4 * KIB, 64 * MIB).restart(),
            "Size of a connection's send buffer (SO_SNDBUF)";
    }
}

rows! {
    /// The key table `[tls]` as it is set; [`Tls`] is what it means.
    pub(super) struct TlsSettings in "tls." {
        cert_file: Option<PathBuf> = unset("no TLS", "\"/etc/tickwire/tls/cert.pem\"").restart(),
            "The broker's certificate and those between it and the root, in PEM. With it, `listen` speaks TLS and nothing else";
        key_file: Option<PathBuf> = unset("no TLS", "\"/etc/tickwire/tls/key.pem\""),
            "The private key of tls.cert_file, in PEM";
        client_ca_file: Option<PathBuf> = unset("clients are not asked for certificates", "\"/etc/tickwire/tls/clients.pem\""),
            "Certificates, in PEM, of those who may sign clients' certificates";
        client_auth: Option<TlsClientAuth> = unset("required with tls.client_ca_file, none without", "\"required\""),
            "Whether clients must show a certificate, may show one, or are not asked";
        handshake_ms: u64 = int(limits::HANDSHAKE_MS).between(100, MINUTE_MS),
            "Time for a client's TLS handshake; then the connection is closed";
    }
}

rows! {
    /// The key table `[proxy]`: which proxies are believed about their clients.
    #[derive(Eq)]
    pub struct Proxy in "proxy." checked proxies_are_named {
        trusted: Vec<IpNet> = list(&[]),
            "Networks of proxies in front that are believed about their clients' addresses (X-Forwarded-For, PROXY protocol)";
        proxy_protocol: ProxyProtocol = text("off"),
            "Whether each connection of a trusted proxy begins with a header of the PROXY protocol, version 2";
    }
}

rows! {
    /// The key table `[auth]`.
    #[expect(rustdoc::bare_urls, reason = "what is written of origins is for the configuration's page too")]
    pub struct Auth in "auth." checked someone_may_connect {
        required: bool = truth(false),
            "Whether a token is needed at all: without one, every request is refused with 401";
        anonymous_subscribe: Vec<Pattern> = list(&[">"]),
            "Topics that anyone may subscribe to and read. What anyone may publish to is anonymous_publish";
        allowed_origins: Vec<OriginRule> = list(&[]),
            "Web pages that may connect, subscribe and publish, as https://example.com, or https://*.example.com for all hosts below it; empty: those of any site. Clients that are no browsers name none and are let in";
        keys: Vec<AuthKey> = list(&[]).file_only(),
            "Static keys and what their holders may do; `tickwire hash-key` makes them";
        jwt: Option<Jwt> = unset("no JSON Web Token is taken", "").file_only(),
            "How JSON Web Tokens are verified: with keys of local files only";
    }
}

rows! {
    /// The key table `[feed]`: where market data comes from.
    pub struct Feed in "feed." {
        source as "kind": FeedSource = text("sim").flag("--feed", "FEED").restart(),
            "Where market data comes from. The flag and the variable take `none`, `sim` or `replay:FILE,FILE…`";
        + list(&[]).file_only().restart().named("feed.files", Shape::Texts("readable files"),
            "Recordings to replay together, when feed.kind is `replay`; relative to the working directory");
        symbols: u32 = int(50).between(1, 10_000).flag("--symbols", "N").restart(),
            "Instruments of the simulated market";
        rate: u32 = int(1_000).between(1, 1_000_000).flag("--rate", "N").restart(),
            "Ticks per second of the simulated market, over all symbols";
        seed: u64 = int(1).between(0, i64::MAX as u64).flag("--seed", "N").restart(),
            "Seed of the simulated market: the same seed gives the same ticks";
        speed: f64 = Key::new(Preset::Number(1.0)).flag("--speed", "FACTOR").restart(),
            "How many times faster than recorded a replay runs";
        start: FeedStart = text("now").flag("--start", "WHEN").restart(),
            "Whether the feed starts with the broker or with the first subscription";
        silent_ms: u64 = int(10_000).between(100, 24 * 60 * MINUTE_MS),
            "Silence of the feed, once started and not over, after which /readyz fails";
    }
}

rows! {
    /// The key table `[compression]`.
    #[derive(Copy, Eq)]
    pub struct Compression in "compression." {
        enabled: bool = truth(true),
            "Whether connections that offer permessage-deflate get it, and gzip is taken and given over HTTP";
        level: u8 = int(limits::DEFLATE_LEVEL as u64).between(1, 9),
            "How hard messages are compressed: 1 is the fastest, 9 makes the smallest";
        threshold_bytes: usize = int(limits::DEFLATE_THRESHOLD_BYTES as u64).between(0, GIB),
            "Messages with fewer bytes are never compressed";
    }
}

rows! {
    /// The key table `[test]`: what only tests of the broker itself switch on. Never for production, and off by default.
    #[derive(Copy, Eq)]
    pub struct TestOnly in "test." {
        echo: bool = truth(false).restart(),
            "Not for production: opens /v1/echo, where each WebSocket message comes back as it came, to conformance suites";
        panic: bool = truth(false).restart(),
            "Not for production: clients may make a shard panic, to tests of what becomes of the others";
    }
}

/// Listeners must not be in each other's way. Port 0 stands for any free port.
fn apart(config: &Config, settings: &Settings) -> Result<(), ConfigError> {
    let (a, b) = (config.listen, config.ops);
    let collide = a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified());
    settings.refuse_beside_if(collide, "ops", "must be another address than", "listen")
}

/// A message that was accepted must fit in an outbox, and a burst is at least one second's worth.
fn limits_fit(limits: &Limits, settings: &Settings) -> Result<(), ConfigError> {
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

fn finds_the_vanished(heartbeat: &Heartbeat, settings: &Settings) -> Result<(), ConfigError> {
    let late = heartbeat.ping_after_ms + heartbeat.pong_timeout_ms > HALF_OPEN_MS_MAX;
    let rule = format!("must find a vanished client within {HALF_OPEN_MS_MAX} ms together with");
    settings.refuse_beside_if(
        late,
        "heartbeat.ping_after_ms",
        &rule,
        "heartbeat.pong_timeout_ms",
    )
}

fn drains_in_time(drain: &Drain, settings: &Settings) -> Result<(), ConfigError> {
    let early = drain.window_ms + AFTER_WINDOW_MS > drain.deadline_ms;
    let rule = format!("must be at least {AFTER_WINDOW_MS} more than");
    settings.refuse_beside_if(early, "drain.deadline_ms", &rule, "drain.window_ms")
}

/// Headers are taken from proxies that are trusted only, so there would be none.
fn proxies_are_named(proxy: &Proxy, settings: &Settings) -> Result<(), ConfigError> {
    let unnamed = proxy.proxy_protocol == ProxyProtocol::V2 && proxy.trusted.is_empty();
    settings.refuse_beside_if(
        unnamed,
        "proxy.proxy_protocol",
        "needs proxies, but",
        "proxy.trusted",
    )
}

fn someone_may_connect(auth: &Auth, settings: &Settings) -> Result<(), ConfigError> {
    if auth.required && auth.keys.is_empty() && auth.jwt.is_none() {
        let rule = "nobody could connect: set auth.keys or auth.jwt, so that there are tokens to show";
        return Err(settings.refuse("auth.required", rule));
    }
    Ok(())
}

/// File descriptors that are kept from connections: listeners, pollers, recordings, the log.
const OPEN_FILES_RESERVED: u64 = 256;

impl Limits {
    /// The most connections of a process that may have `open_files_max` files open, at least 1. It is the setting, or the
    /// number that the files allow if that is less or nothing is set. The broker keeps some files for itself.
    #[must_use]
    pub fn connections_max(&self, open_files_max: u64) -> usize {
        // A process that may open very few files keeps half of them for itself.
        let allowed = open_files_max
            .saturating_sub(OPEN_FILES_RESERVED)
            .max(open_files_max / 2);
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX).max(1);
        self.connections.map_or(allowed, |asked| asked.min(allowed))
    }

    /// What bounds a connection's abuse and its share of memory.
    #[must_use]
    pub const fn sessions(&self) -> SessionLimits {
        SessionLimits {
            refusals_in_a_row: self.refusals_in_a_row,
            rate_limited: self.rate_limited,
            topics: self.topics_per_connection,
            pattern_tokens: self.pattern_tokens,
            replay_bytes: self.replay_bytes_per_connection,
            replay_ms: self.replay_ms,
        }
    }

    /// The rate of publishers without one of their own.
    #[must_use]
    pub const fn publish_rate(&self) -> PublishRate {
        PublishRate {
            per_s: self.publishes_per_s,
            burst: self.publishes_burst,
        }
    }
}

impl Compression {
    /// What a compressor is made with.
    #[must_use]
    pub const fn settings(self) -> deflate::Settings {
        deflate::Settings {
            level: self.level,
            threshold_bytes: self.threshold_bytes,
        }
    }
}
