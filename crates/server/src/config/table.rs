//! Every setting has a row here; to add a setting, add a row. Tables and rows are in the order of the documentation.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use tickwire_feed::DeriveRule;
use tickwire_router::{ExpiryRule, KindRule, PublishRate, SessionLimits, StaleRule, ViewRule};
use tickwire_wire::{Moment, Pattern, deflate, limits};

use super::admin::AdminKey;
use super::auth::{AuthKey, Jwt};
use super::checks::{
    apart, begins_before_its_end, drains_in_time, finds_the_vanished, limits_fit, proxies_are_named,
    someone_may_connect,
};
use super::choices::{
    ConsoleData, EgressKind, FeedStart, JournalSync, LogFormat, LogLevel, ProxyProtocol, TlsClientAuth,
};
use super::cluster::ClusterSettings;
use super::error::ConfigError;
use super::feed::FeedSource;
use super::journal::StateDir;
use super::key::{Key, Preset, Setting, Shape, Table, int, list, rows, text, truth, unset};
use super::origin::OriginRule;
use super::settings::Settings;
use super::tls::{Tls, TlsClients};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const MINUTE_MS: u64 = 60_000;
/// Most shards: the interest of shards in a topic is a 64-bit mask.
pub(super) const SHARDS_MAX: u64 = 64;
/// Most messages of history that a topic may be set to keep.
pub(super) const HISTORY_MAX: u64 = 1_000_000;
/// Longest silence that a rule may allow: a day.
pub(super) const STALE_MS_MAX: u64 = 24 * 60 * MINUTE_MS;
/// Longest time after a topic's last message that a rule may allow: a year.
pub(super) const EXPIRY_MS_MAX: u64 = 366 * STALE_MS_MAX;
/// Longest delay of a view: a week.
pub(super) const VIEW_DELAY_MS_MAX: u64 = 7 * STALE_MS_MAX;
/// Most bytes that a view may hold.
pub(super) const VIEW_BYTES_MAX: u64 = 1024 * GIB;
/// Fewest bytes that a view may be given, and the default.
pub(super) const VIEW_BYTES: [u64; 2] = [MIB, 256 * MIB];

/// The keys at the top of the file.
pub(super) const TOP: &[Key] = Config::KEYS;
/// The keys of all tables, in the order of the documentation.
pub(super) const TABLES: &[&[Key]] = &[
    LogSettings::KEYS,
    LimitSettings::KEYS,
    HeartbeatSettings::KEYS,
    PublishSettings::KEYS,
    DrainSettings::KEYS,
    SocketSettings::KEYS,
    TlsSettings::KEYS,
    ProxySettings::KEYS,
    AuthSettings::KEYS,
    ConsoleSettings::KEYS,
    AdminSettings::KEYS,
    AccountingSettings::KEYS,
    FeedSettings::KEYS,
    JournalSettings::KEYS,
    ClusterSettings::KEYS,
    CompressionSettings::KEYS,
    TestOnly::KEYS,
];

rows! {
    /// All settings. Each field has the name of its key in the file.
    pub struct Config in "" checked apart {
        listen: SocketAddr = text("127.0.0.1:7400").flag("--listen", "ADDRESS:PORT").restart(),
            "Where clients connect: WebSocket and HTTP. Port 0 takes any free port";
        ops: SocketAddr = text("127.0.0.1:7401").flag("--ops", "ADDRESS:PORT").restart(),
            "Where operators connect: metrics, health and the console. Keep it off public networks";
        shards: Option<usize> = unset("the number of the machine's cores", "4").between(1, SHARDS_MAX).flag("--shards", "N").restart(),
            "Threads that serve connections; each connection stays on its thread";
        anonymous_publish: Vec<Pattern> = list(&[]).flag("--anonymous-publish", "PATTERN"),
            "Topics that clients without a token may publish to. The setting for subscribing is auth.anonymous_subscribe";
        kinds: Vec<KindRule> = list(&[]).file_only(),
            "The kind of topics, the number of messages that each keeps, and the number of closed candles (0 if left out) that it keeps from before these: rules that are tried in order, before the built-in ones";
        staleness: Vec<StaleRule> = list(&[]).file_only(),
            "Time in milliseconds for which topics may be silent before their subscribers are told: rules that are tried in order; other topics are never stale";
        expiry: Vec<ExpiryRule> = list(&[]).file_only(),
            "Time in milliseconds after its last message at which a topic ends: rules that are tried in order; other topics end only when they are deleted. Connections subscribed to a topic's name hold its end up, unless its rule has even_if_watched = true";
        derive: Vec<DeriveRule> = list(&[]).file_only().restart(),
            "Topics whose published trades, books and best quotes candles, tickers and best quotes are derived from: rules that all count. candles is a list of intervals (1s, 1m, 5m, 15m, 1h, 1d; all if left out), ticker and bbo are true if left out";
        views: Vec<ViewRule> = list(&[]).file_only().restart(),
            "Topics that are copied delay_ms later to topics of the same names behind prefix (delayed. if left out): rules that all count. bytes_max bounds the memory of what waits (256 MiB if left out)";
    }
    tables {
        /// The log.
        log: LogSettings,
        /// Limits on clients and memory.
        limits: LimitSettings,
        /// How silent connections are kept alive and dead ones detected.
        heartbeat: HeartbeatSettings,
        /// Publications that may be repeated.
        publish: PublishSettings,
        /// How the broker stops.
        drain: DrainSettings,
        /// Options of the clients' sockets.
        socket: SocketSettings,
        /// How clients' connections are encrypted. `None` if they are not.
        tls: Option<Tls>,
        /// Proxies in front of the broker.
        proxy: ProxySettings,
        /// What clients may do.
        auth: AuthSettings,
        /// The console of the operators' listener.
        console: ConsoleSettings,
        /// The admin API of the operators' listener.
        admin: AdminSettings,
        /// The books of what clients are delivered.
        accounting: AccountingSettings,
        /// The source of market data.
        feed: FeedSettings,
        /// Where messages are kept across restarts.
        journal: JournalSettings,
        /// The other brokers with the same topics.
        cluster: ClusterSettings,
        /// How messages are compressed.
        compression: CompressionSettings,
        /// Switches for tests of the broker itself.
        test: TestOnly,
    }
}

rows! {
    /// The key table `[log]`.
    #[derive(Copy, Eq)]
    pub struct LogSettings in "log." {
        format: LogFormat = text("text").flag("--log-format", "FORMAT").restart(),
            "How log lines are written";
        level: LogLevel = text("info").flag("--log-level", "LEVEL"),
            "The least severe level of the lines that are logged";
    }
}

rows! {
    /// The key table `[limits]`: limits on clients and memory.
    #[derive(Eq)]
    pub struct LimitSettings in "limits." checked limits_fit {
        message_bytes: usize = int(limits::MESSAGE_BYTES_MAX as u64).between(128, limits::BULK_BODY_BYTES_MAX as u64),
            "Longest message of a client in bytes, all its fragments together; one byte more closes with 1009";
        fragments: u32 = int(limits::MESSAGE_FRAGMENTS_MAX as u64).between(1, 1_000_000),
            "Most fragments of one message of a client; one more closes with 1008";
        subscriptions: usize = int(limits::SUBSCRIPTIONS_MAX as u64).between(1, limits::SUBSCRIPTIONS_SET_MAX),
            "Most subscriptions of one connection";
        outbox_bytes: usize = int(limits::OUTBOX_BYTES_MAX as u64).between(limits::OUTBOX_REFILL_BYTES as u64 + 1, GIB),
            "Bytes that may wait for one connection before it counts as lagging";
        stall_ms: u64 = int(limits::STALL_MS).between(100, 60 * MINUTE_MS),
            "Time for which a connection may take none of the bytes that wait for it; then close 4002";
        topics: usize = int(limits::TOPICS_MAX as u64).between(1, 100_000_000),
            "Most topics of the broker; a publication to one more is refused";
        history_bytes: usize = int(limits::HISTORY_BYTES_MAX as u64).between(MIB, 1024 * GIB),
            "Bytes that all histories together may hold, without the newest message of each topic; above that, histories are shortened";
        value_bytes: usize = int(limits::VALUE_BYTES_MAX as u64).between(MIB, 1024 * GIB),
            "Bytes that the newest messages of all topics and their books may hold; a publication that needs more is refused";
        replay_bytes: usize = int(limits::REPLAY_BYTES_MAX as u64).between(0, 1024 * GIB),
            "Bytes of messages that are kept for all promised replays, each counted once; above that, a resume is answered with recovered:false";
        replay_bytes_per_connection: usize = int(limits::REPLAY_BYTES_PER_CONNECTION_MAX as u64).between(0, 1024 * GIB),
            "Bytes of messages that are kept for the promised replays of one connection";
        replay_ms: u64 = int(limits::REPLAY_MS).between(100, 60 * MINUTE_MS),
            "Time that messages of a promised replay may wait for their reader; then close 4002";
        history_page: usize = int(limits::HISTORY_PAGE as u64).between(1, HISTORY_MAX),
            "Most messages of one answer to a history request that names no limit";
        ops_per_s: u32 = int(limits::OPS_PER_S as u64).between(1, limits::OPS_RATE_MAX),
            "Requests per second, in the long run, of one connection, and of one address over HTTP";
        ops_burst: u32 = int(limits::OPS_BURST as u64).between(1, limits::OPS_RATE_MAX),
            "Requests that one connection, or one address over HTTP, may send at once after a quiet time; at least limits.ops_per_s";
        publishes_per_s: u32 = int(limits::PUBLISHES_PER_S as u64).between(1, limits::PUBLISH_RATE_MAX as u64),
            "Publications per second, in the long run, of one connection, and over HTTP of one key, subject of tokens or address; a key or token may have a rate of its own";
        publishes_burst: u32 = int(limits::PUBLISHES_BURST as u64).between(1, limits::PUBLISH_RATE_MAX as u64),
            "Publications that may come at once after a quiet time; at least limits.publishes_per_s";
        topics_per_key: usize = int(limits::TOPICS_PER_KEY_MAX as u64).between(0, 100_000_000),
            "Most topics that one key, one subject of tokens, or one address without a token may make by publishing to them; one more is refused. 0 for any number";
        answer_bytes: usize = int(limits::ANSWER_BYTES_MAX as u64).between(limits::SMALL_ANSWER_BYTES_MAX as u64, 64 * GIB),
            "Bytes of HTTP answers that may wait for their clients, at most a quarter of them for one address; an answer beyond that is replaced by 503. Answers up to 64 KiB do not count";
        rate_limited: u32 = int(limits::RATE_LIMITED_MAX as u64).between(1, 1_000_000),
            "Requests of one connection that may be refused with rate_limited at once, and separately publications; one more closes it, a WebSocket with 1008. They are forgiven as fast as requests, or publications, are allowed";
        refusals_in_a_row: u32 = int(limits::REFUSALS_IN_A_ROW_MAX as u64).between(1, 1_000_000),
            "Requests in a row, each refused whole for what it asks, after which a connection is closed with 1008; one per second is forgiven";
        topics_per_connection: usize = int(limits::TOPICS_PER_CONNECTION_MAX as u64).between(1, 100_000_000),
            "Most topics that all subscriptions of one connection match together";
        pattern_tokens: usize = int(limits::PATTERN_TOKENS_MAX as u64).between(limits::TOPIC_TOKENS_MAX as u64, 16_000_000),
            "Most tokens of one connection's wildcard patterns, and of its topics that did not exist when it subscribed to them";
        connections: Option<usize> = unset("as many as the limit of open files allows", "50000").between(1, 10_000_000),
            "Most connections; one more is refused with 503";
        connections_per_address: u32 = int(limits::CONNECTIONS_PER_ADDRESS_MAX as u64).between(0, 10_000_000),
            "Most connections of one address (for IPv6, its first 64 bits); one more is refused with 429. 0 for any number";
        handshakes_per_s_per_address: u32 = int(limits::HANDSHAKES_PER_S as u64).between(1, 1_000_000),
            "New connections per second, in the long run, of one address; more are refused with 429";
        handshake_burst_per_address: u32 = int(limits::HANDSHAKES_BURST as u64).between(1, 1_000_000),
            "New connections that one address may make at once after a quiet time";
        exempt_addresses: Vec<IpNet> = list(&["127.0.0.0/8", "::1/128"]),
            "Networks whose addresses have no limits of their own. The proxies of proxy.trusted have none either, but their clients have";
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
    pub struct HeartbeatSettings in "heartbeat." checked finds_the_vanished {
        heartbeat_ms: u64 = int(limits::HEARTBEAT_MS).between(100, 60 * MINUTE_MS),
            "Quiet time after which the broker sends a heartbeat on a connection";
        ping_after_ms: u64 = int(limits::PING_AFTER_MS).between(100, 10 * MINUTE_MS),
            "Time without a byte from a client after which the broker pings it";
        pong_timeout_ms: u64 = int(limits::PONG_TIMEOUT_MS).between(100, 10 * MINUTE_MS),
            "Time that a pinged client has to answer; then close 4001";
    }
}

rows! {
    /// The key table `[publish]`: publications with a key, which may be repeated.
    #[derive(Copy, Eq)]
    pub struct PublishSettings in "publish." {
        dedupe_ms: u64 = int(limits::DEDUPE_MS).between(1, 24 * 60 * MINUTE_MS),
            "Time for which the key of a publication is known: another publication with it to the same topic gets the first one's answer, and nothing is published";
        dedupe_keys: usize = int(limits::DEDUPE_KEYS_MAX as u64).between(1, 100_000_000),
            "Most keys that are known, of about 0.3 KB each; with one more the oldest is forgotten before its time";
    }
}

rows! {
    /// The key table `[drain]`: how a broker stops.
    #[derive(Copy, Eq)]
    pub struct DrainSettings in "drain." checked drains_in_time {
        delay_ms: u64 = int(0).between(0, 10 * MINUTE_MS),
            "Time for which a stopping broker still accepts connections while /readyz already fails; the window and the deadline begin after it";
        window_ms: u64 = int(30_000).between(0, 60 * MINUTE_MS),
            "Longest time over which a stopping broker closes its connections; with few connections it is 100 ms for each";
        deadline_ms: u64 = int(60_000).between(1_000, 61 * MINUTE_MS),
            "Time after which a stopping broker ends even if clients are still connected; at least 1,000 more than the window";
    }
}

rows! {
    /// The key table `[socket]`.
    #[derive(Copy, Eq)]
    pub struct SocketSettings in "socket." {
        egress: EgressKind = text("auto").restart(),
            "How bytes are handed to the kernel: one write per connection, or batches by io_uring; auto uses io_uring if the kernel offers it";
        notsent_lowat_bytes: u32 = int(16 * KIB).between(KIB, 16 * MIB).restart(),
            "Unsent bytes of a connection that the kernel accepts (TCP_NOTSENT_LOWAT); bytes that wait in the broker can still be conflated";
        user_timeout_ms: u32 = int(limits::USER_TIMEOUT_MS).between(1_000, 10 * MINUTE_MS).restart(),
            "Time for which sent bytes may stay unacknowledged, or bytes may stay unsent because the client has no room, before the kernel drops the connection (TCP_USER_TIMEOUT). Keep it a third above limits.stall_ms, or stalled readers are reset instead of closed with 4002";
        backlog: u32 = int(4_096).between(1, 65_535).restart(),
            "Connections that may wait to be accepted; net.core.somaxconn of the kernel limits it";
        send_buffer_bytes: Option<usize> = unset("the kernel's own tuning", "262144").between(4 * KIB, 64 * MIB).restart(),
            "Size of a connection's send buffer (SO_SNDBUF)";
    }
}

rows! {
    /// The key table `[tls]` as it is written; [`Tls`] is its meaning.
    pub(super) struct TlsSettings in "tls." {
        cert_file: Option<PathBuf> = unset("no TLS", "\"/etc/tickwire/tls/cert.pem\"").restart(),
            "The broker's certificate and the intermediate certificates up to the root, in PEM. With it, `listen` accepts only TLS";
        key_file: Option<PathBuf> = unset("no TLS", "\"/etc/tickwire/tls/key.pem\""),
            "The private key of tls.cert_file, in PEM";
        client_ca_file: Option<PathBuf> = unset("clients are not asked for certificates", "\"/etc/tickwire/tls/clients.pem\""),
            "Certificates of the signers of clients' certificates, in PEM";
        client_auth: Option<TlsClientAuth> = unset("required with tls.client_ca_file, none without", "\"required\""),
            "Whether clients must show a certificate, may show one, or are not asked";
        handshake_ms: u64 = int(limits::HANDSHAKE_MS).between(100, MINUTE_MS),
            "Time for a client's TLS handshake; then the connection is closed";
    }
}

rows! {
    /// The key table `[proxy]`: proxies whose statements about their clients are trusted.
    #[derive(Eq)]
    pub struct ProxySettings in "proxy." checked proxies_are_named {
        trusted: Vec<IpNet> = list(&[]),
            "Networks of proxies that are trusted to name their clients' addresses (X-Forwarded-For, PROXY protocol)";
        proxy_protocol: ProxyProtocol = text("off"),
            "Whether each connection of a trusted proxy begins with a header of the PROXY protocol: v2 for its version 2";
    }
}

rows! {
    /// The key table `[auth]`.
    #[expect(rustdoc::bare_urls, reason = "what is written of origins is for the configuration's page too")]
    pub struct AuthSettings in "auth." checked someone_may_connect {
        required: bool = truth(false),
            "Whether every request needs a token: without one, it is refused with 401";
        anonymous_subscribe: Vec<Pattern> = list(&[">"]),
            "Topics that clients without a token may subscribe to and read. The setting for publishing is anonymous_publish";
        anonymous_connections: Option<u32> = unset("there is no limit of their own", "1000").between(1, 1_000_000_000),
            "Most connections of all clients without a token together";
        anonymous_subscriptions: Option<usize> = unset("limits.subscriptions", "10").between(1, limits::SUBSCRIPTIONS_SET_MAX),
            "Most subscriptions of one connection without a token";
        anonymous_ops_per_s: Option<u32> = unset("limits.ops_per_s", "10").between(1, limits::OPS_RATE_MAX),
            "Requests per second, in the long run, of one connection without a token; twice as many may come at once";
        anonymous_publishes_per_s: Option<u32> = unset("limits.publishes_per_s", "10").between(1, limits::PUBLISH_RATE_MAX as u64),
            "Publications per second, in the long run, of one connection or address without a token; twice as many may come at once";
        anonymous_bytes_per_s: Option<u32> = unset("there is no limit", "65536").between(limits::BYTES_PER_S_MIN, u32::MAX as u64),
            "Bytes per second that one connection without a token is written; beyond that it is served like a slow reader";
        allowed_origins: Vec<OriginRule> = list(&[]),
            "Origins of web pages that may connect, subscribe and publish, such as https://example.com, or https://*.example.com for all hosts below it. An empty list allows all origins. Clients that are not browsers send no origin and are accepted";
        keys: Vec<AuthKey> = list(&[]).file_only(),
            "Hashes of static keys, with the rights of their holders; `tickwire hash-key` makes them";
        jwt: Option<Jwt> = unset("no JSON Web Token is accepted", "").file_only(),
            "How JSON Web Tokens are verified; their keys are read only from local files";
    }
}

rows! {
    /// The key table `[console]`: the web page of the operators' listener.
    #[expect(rustdoc::bare_urls, reason = "what is written of origins is for the configuration's page too")]
    pub struct ConsoleSettings in "console." {
        data: ConsoleData = text("auto"),
            "Whether the console shows topics and their messages, with the rights that a client has at `listen`. auto shows them if `ops` is a loopback address and clients need no certificate";
        origins: Vec<OriginRule> = list(&[]),
            "Origins at which browsers may open the console, such as https://console.example.com. IP addresses and localhost are always allowed";
    }
}

rows! {
    /// The key table `[admin]`: the admin API of the operators' listener.
    pub struct AdminSettings in "admin." {
        keys: Vec<AdminKey> = list(&[]).file_only(),
            "Hashes of the keys that operators show to the admin API, with the operators' names; `tickwire hash-key` makes them. Without a key there is no admin API";
        dir: Option<StateDir> = unset("a restart forgets revocations", "\"/var/lib/tickwire/admin\"").restart(),
            "The directory with a file of what is revoked, which a restart goes on with; it is made if it does not exist";
    }
}

rows! {
    /// The key table `[accounting]`: the books of what clients are delivered.
    #[derive(Eq)]
    pub struct AccountingSettings in "accounting." {
        enabled: bool = truth(false).restart(),
            "Whether what is delivered is counted by holders of keys and tokens and by families of topics, a day at a time: for the admin API and for metrics";
        families: Vec<Pattern> = list(&[]).restart(),
            "Families of topics, tried in order; at most 63 count, and all other topics are one more. An empty list makes a family of each first token of topics";
        holders: usize = int(10_000).between(1, 1_000_000).restart(),
            "Most holders with accounts of their own, those of the day before included; further ones share one account";
        users: usize = int(200_000).between(1, 10_000_000).restart(),
            "Most addresses of a day that are told apart, each counted for each account and family; the page says if there were more";
        dir: Option<StateDir> = unset("the books are lost at a restart", "\"/var/lib/tickwire/accounting\"").restart(),
            "The directory with a file for each day; it is made if it does not exist. With it, a restart begins no day anew";
        save_s: u64 = int(10).between(1, 3_600).restart(),
            "Seconds between two times that the books are written to accounting.dir. A broker that is killed loses the time since";
        keep_days: u64 = int(400).between(1, 10_000).restart(),
            "Days after which the file of a day is removed from accounting.dir";
    }
}

rows! {
    /// The key table `[feed]`: the source of market data.
    pub struct FeedSettings in "feed." checked begins_before_its_end {
        source as "kind": FeedSource = text("sim").flag("--feed", "FEED").restart(),
            "Source of market data. The flag and the variable accept `none`, `sim` or `replay:PATH,PATH…`";
        + list(&[]).file_only().restart().named("feed.files", Shape::Texts("readable files"),
            "Recordings, or directories of journals, to replay together, when feed.kind is `replay`; relative to the working directory");
        symbols: u32 = int(50).between(1, 10_000).flag("--symbols", "N").restart(),
            "Instruments of the simulated market";
        rate: u32 = int(1_000).between(1, 1_000_000).flag("--rate", "N").restart(),
            "Ticks per second of the simulated market, over all symbols";
        seed: u64 = int(1).between(0, i64::MAX as u64).flag("--seed", "N").restart(),
            "Seed of the simulated market: the same seed gives the same ticks";
        speed: f64 = Key::new(Preset::Number(1.0)).flag("--speed", "FACTOR").restart(),
            "Speed of a replay, as a multiple of the recorded speed";
        from: Option<Moment> = unset("the beginning of the recordings", "\"2024-08-08T08:00:00Z\"").flag("--from", "MOMENT").restart(),
            "Where a replay begins, by the times of the recordings: microseconds since 1970, or a date and a time";
        until: Option<Moment> = unset("the end of the recordings", "\"2024-08-08T09:00:00Z\"").flag("--until", "MOMENT").restart(),
            "Where a replay ends: nothing of this moment or later is published";
        repeats as "loop": bool = truth(false).flag("--loop", "TRUTH").restart(),
            "Whether a replay begins again at its end";
        start: FeedStart = text("now").flag("--start", "WHEN").restart(),
            "Whether the feed starts with the broker or with the first subscription";
        silent_ms: u64 = int(10_000).between(100, 24 * 60 * MINUTE_MS),
            "Silence of a running feed after which /readyz fails";
    }
}

rows! {
    /// The key table `[journal]`: where messages are kept across restarts.
    pub struct JournalSettings in "journal." {
        dir: Option<StateDir> = unset("nothing is kept across restarts", "\"/var/lib/tickwire/journal\"").flag("--journal", "DIR").restart(),
            "The directory of the journal; it is made if it does not exist. With it, each message is written there before anybody sees it";
        sync: JournalSync = text("never").restart(),
            "When what was written is synced to the disk: never (safe if the broker is killed), at intervals, or with each entry before anybody sees its messages (safe if the power fails)";
        sync_ms: u64 = int(100).between(1, MINUTE_MS).restart(),
            "Time between two syncs, if journal.sync is interval";
        segment_bytes: u64 = int(64 * MIB).between(MIB, GIB).restart(),
            "Length of a file from which on another one is begun";
        bytes_max: u64 = int(4 * GIB).between(MIB, 1024 * 1024 * GIB).restart(),
            "Bytes of all files with messages; beyond that, the oldest are removed that a start does not need";
        age_max_s: Option<u64> = unset("they are kept for any time", "86400").between(1, 10 * 366 * 24 * 3_600).restart(),
            "Seconds after which files with messages are removed that a start does not need";
        checkpoint_s: u64 = int(30).between(1, 24 * 3_600).restart(),
            "Shortest time in seconds between two checkpoints. What was published since the last one is read at the start";
    }
}

rows! {
    /// The key table `[compression]`.
    #[derive(Copy, Eq)]
    pub struct CompressionSettings in "compression." {
        enabled: bool = truth(true),
            "Whether permessage-deflate is agreed to if a client offers it, and whether gzip is accepted and sent over HTTP";
        level: u8 = int(limits::DEFLATE_LEVEL as u64).between(1, 9),
            "Level of compression: 1 is the fastest, 9 gives the smallest messages";
        threshold_bytes: usize = int(limits::DEFLATE_THRESHOLD_BYTES as u64).between(0, GIB),
            "Messages with fewer bytes are never compressed";
    }
}

rows! {
    /// The key table `[test]`: switches for tests of the broker itself. They are off by default, and never for
    /// production.
    #[derive(Copy, Eq)]
    pub struct TestOnly in "test." {
        echo: bool = truth(false).restart(),
            "Not for production: opens /v1/echo for conformance suites, where each WebSocket message is sent back unchanged";
        panic: bool = truth(false).restart(),
            "Not for production: lets clients make a shard panic, for tests of the effects on the others";
    }
}

/// The number of file descriptors that connections may not use: for listeners, pollers, recordings, the log.
const OPEN_FILES_RESERVED: u64 = 256;

impl LimitSettings {
    /// The most connections of a process that may have `open_files_max` files open. That is the setting, if there is
    /// one, but never more than the open files allow, of which some are kept for the broker itself. At least 1.
    #[must_use]
    pub fn connections_max(&self, open_files_max: u64) -> usize {
        // A process that may open very few files keeps half of them for itself.
        let allowed = open_files_max
            .saturating_sub(OPEN_FILES_RESERVED)
            .max(open_files_max / 2);
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX).max(1);
        self.connections.map_or(allowed, |asked| asked.min(allowed))
    }

    /// The limits of a session on abuse and on its share of memory.
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

    /// The rate of publishers that have none of their own.
    #[must_use]
    pub const fn publish_rate(&self) -> PublishRate {
        PublishRate {
            per_s: self.publishes_per_s,
            burst: self.publishes_burst,
        }
    }
}

impl Config {
    /// Whether the console offers topics and their messages.
    #[must_use]
    pub fn console_has_data(&self) -> bool {
        let needs_certificate = |tls: &Tls| matches!(tls.clients, TlsClients::MustShow { .. });
        match self.console.data {
            ConsoleData::On => true,
            ConsoleData::Off => false,
            ConsoleData::Auto => {
                self.ops.ip().is_loopback() && !self.tls.as_ref().is_some_and(needs_certificate)
            }
        }
    }
}

impl CompressionSettings {
    /// The settings of a compressor.
    #[must_use]
    pub const fn settings(self) -> deflate::Settings {
        deflate::Settings {
            level: self.level,
            threshold_bytes: self.threshold_bytes,
        }
    }
}
