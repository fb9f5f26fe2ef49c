//! The closed sets that labels range over.
//!
//! Sets that belong to metrics alone are enums here. Sets that another crate owns (the protocol's codes and names, the
//! server's routes) are handed over by the server as [`LabelSets`], so that no name is written twice.

/// A label: its name, and which closed set its values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// Kind of the topic.
    Kind,
    /// What was delivered: [`DeliveryOp`].
    DeliveryOp,
    /// What was encoded for all who take it: [`EncodeOp`].
    EncodeOp,
    /// What the client asked for.
    RequestOp,
    /// Codec of the subscriber.
    Codec,
    /// Code of the refusal.
    ErrorCode,
    /// Close code.
    CloseCode,
    /// [`Transport`].
    Transport,
    /// HTTP status of a refused handshake.
    Status,
    /// HTTP route, as a template.
    Route,
    /// [`StatusClass`].
    StatusClass,
    /// Index of the shard, from 0.
    Shard,
    /// Why a client was not let in: [`AuthFailure`].
    AuthFailure,
    /// Why somebody was turned away at the door.
    TurnedAway,
    /// Version of the broker.
    Version,
    /// What came of reading the configuration again: [`Reload`].
    Reload,
    /// What is wrong with a line of a recording.
    Anomaly,
}

impl Label {
    /// The label's name in the exposition format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kind | Self::Anomaly => "kind",
            Self::DeliveryOp | Self::EncodeOp | Self::RequestOp => "op",
            Self::Codec => "codec",
            Self::ErrorCode | Self::CloseCode => "code",
            Self::Transport => "transport",
            Self::Status | Self::StatusClass => "status",
            Self::Route => "route",
            Self::Shard => "shard",
            Self::AuthFailure => "reason",
            Self::TurnedAway => "reason",
            Self::Version => "version",
            Self::Reload => "result",
        }
    }

    /// The label's values, for the documentation.
    pub(crate) const fn values(self) -> &'static str {
        match self {
            Self::Kind => "`state`, `book`, `event`",
            Self::DeliveryOp => "`update`, `snapshot`, `gap`",
            Self::EncodeOp => "`update`, `snapshot`",
            Self::RequestOp => "the protocol's requests; `other` for unknown ones",
            Self::Codec => "`json`, `msgpack`, `json-deflate`, `msgpack-deflate`",
            Self::ErrorCode => "the protocol's error codes",
            Self::CloseCode => "the protocol's close codes; `other`",
            Self::Transport => "`websocket`, `sse`",
            Self::Status => "HTTP status; `other`",
            Self::Route => "route template; `other`",
            Self::StatusClass => "`1xx` … `5xx`",
            Self::Shard => "0 … shards − 1",
            Self::AuthFailure => {
                "`origin`, `no_token`, `malformed`, `unknown_key`, `algorithm`, `signature`, `claims`, `audience`, \
                 `issuer`, `not_yet`, `expired`, `holder`"
            }
            Self::TurnedAway => {
                "`full`, `descriptors`, `address_connections`, `address_handshakes`, `address_publishes`, \
                 `holder_publishes`, `address_requests`, `connection_requests`, `answers`, `proxy_header`, `busy`"
            }
            Self::Version => "the broker's version",
            Self::Reload => "`ok`, `refused`",
            Self::Anomaly => {
                "`unused`, `time_back`, `stale_depth`, `depth_hole`, `old_snapshot`, `repeated_trade`, `trade_hole`, \
                 `late_trade`, `stale_quote`, `second_stream`, `full_book`"
            }
        }
    }
}

/// The values of the labels that other crates own. A position in a slice is the index that the counting calls take.
///
/// A set may end with a catch-all such as `other`: an index beyond a set counts as its last value.
#[derive(Debug, Clone, Copy)]
pub struct LabelSets {
    /// Kinds of topics: `state`, `book`, `event`.
    pub kinds: &'static [&'static str],
    /// Codecs, and those compressed: `json`, `msgpack`, `json-deflate`, …
    pub codecs: &'static [&'static str],
    /// What clients ask for: `subscribe`, `publish`, …
    pub request_ops: &'static [&'static str],
    /// Codes of refusals: `bad_request`, …
    pub error_codes: &'static [&'static str],
    /// WebSocket close codes, as text.
    pub close_codes: &'static [&'static str],
    /// HTTP routes as templates: `/v1/topics/{topic}`, never a path that a client sent.
    pub routes: &'static [&'static str],
    /// HTTP statuses of refused handshakes, as text.
    pub refused_statuses: &'static [&'static str],
    /// What may be wrong with a line of a recording that can be read: `stale_depth`, …
    pub anomalies: &'static [&'static str],
}

impl LabelSets {
    /// Short sets for examples and tests.
    pub const EXAMPLE: Self = Self {
        kinds: &["state", "book", "event"],
        codecs: &["json", "msgpack"],
        request_ops: &["subscribe", "unsubscribe", "publish", "other"],
        error_codes: &["bad_request", "bad_topic", "internal"],
        close_codes: &["1000", "1002", "4002", "other"],
        routes: &["/v1/ws", "/v1/topics/{topic}", "other"],
        refused_statuses: &["400", "403", "503", "other"],
        anomalies: &["stale_depth", "depth_hole"],
    };
}

/// What is delivered to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryOp {
    /// A topic's next message.
    Update,
    /// A topic's current value.
    Snapshot,
    /// The name of what is missing.
    Gap,
}

impl DeliveryOp {
    /// The values, in index order.
    pub const NAMES: &'static [&'static str] = &["update", "snapshot", "gap"];
}

/// What is encoded once for all who take it. A gap is no such thing: it names what one subscriber missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EncodeOp {
    /// A topic's next message.
    Update,
    /// A topic's current value.
    Snapshot,
}

impl EncodeOp {
    /// The values, in index order.
    pub const NAMES: &'static [&'static str] = &["update", "snapshot"];
}

/// What came of reading the configuration again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reload {
    /// It holds.
    Ok,
    /// Something was wrong with it; the one before goes on.
    Refused,
}

impl Reload {
    /// The values, in index order.
    pub const NAMES: &'static [&'static str] = &["ok", "refused"];
}

/// How a subscriber is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A WebSocket connection.
    WebSocket,
    /// A stream of server-sent events.
    Sse,
}

impl Transport {
    /// The values, in index order.
    pub const NAMES: &'static [&'static str] = &["websocket", "sse"];
}

/// Why a client was not let in, or its token not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthFailure {
    /// A page of another site.
    Origin,
    /// None was shown where one is needed.
    NoToken,
    /// Too long, not readable, or more than one.
    Malformed,
    /// No such static key.
    UnknownKey,
    /// Signed by an algorithm that is not taken.
    Algorithm,
    /// Not signed by a known key.
    Signature,
    /// Claims that are missing or of the wrong type.
    Claims,
    /// For another audience.
    Audience,
    /// Of another issuer.
    Issuer,
    /// Shown before its time.
    NotYet,
    /// Shown after its time.
    Expired,
    /// Of another holder than the connection's.
    Holder,
}

impl AuthFailure {
    /// The values, in index order.
    pub const NAMES: &'static [&'static str] = &[
        "origin",
        "no_token",
        "malformed",
        "unknown_key",
        "algorithm",
        "signature",
        "claims",
        "audience",
        "issuer",
        "not_yet",
        "expired",
        "holder",
    ];
}

/// Why somebody was turned away at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TurnedAway {
    /// The broker has its most connections.
    Full,
    /// The process can have no more files open.
    NoDescriptors,
    /// The address has its most connections.
    AddressConnections,
    /// The address connects too often.
    AddressHandshakes,
    /// The address publishes too often over HTTP.
    AddressPublishes,
    /// The holder of a token publishes too often over HTTP.
    HolderPublishes,
    /// The address asks too often over HTTP.
    AddressRequests,
    /// The connection asks too often over HTTP.
    ConnectionRequests,
    /// Too many bytes of answers over HTTP wait.
    Answers,
    /// A trusted proxy did not say where the connection came from.
    ProxyHeader,
    /// No shard comes around to new connections.
    Busy,
}

impl TurnedAway {
    /// The values, in index order.
    pub const NAMES: &'static [&'static str] = &[
        "full",
        "descriptors",
        "address_connections",
        "address_handshakes",
        "address_publishes",
        "holder_publishes",
        "address_requests",
        "connection_requests",
        "answers",
        "proxy_header",
        "busy",
    ];
}

/// The first digit of an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusClass {
    /// 100–199, among them 101 of an upgrade.
    Informational,
    /// 200–299
    Success,
    /// 300–399, among them 304 of an unchanged snapshot.
    Redirection,
    /// 400–499
    ClientError,
    /// 500 and above.
    ServerError,
}

impl StatusClass {
    /// The values, in index order.
    pub const NAMES: &'static [&'static str] = &["1xx", "2xx", "3xx", "4xx", "5xx"];

    /// The class of an HTTP status. A number that is no status counts as a server error.
    ///
    /// ```
    /// use tickwire_metrics::StatusClass;
    /// assert_eq!(StatusClass::of(304), StatusClass::Redirection);
    /// ```
    #[must_use]
    pub const fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}
