//! The labels of metrics, and the closed sets of their values.
//!
//! Sets that belong only to metrics are enums here. Other sets belong to another crate (the protocol's codes and names,
//! the server's routes). The server hands them over as [`LabelSets`], so that no name is written twice.

/// A label: its name, and the closed set of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// The kind of the topic.
    Kind,
    /// What was delivered: [`DeliveryOp`].
    DeliveryOp,
    /// What was encoded for all subscribers: [`EncodeOp`].
    EncodeOp,
    /// The kind of the client's request.
    RequestOp,
    /// The codec of the subscriber.
    Codec,
    /// The code of the refusal.
    ErrorCode,
    /// The code of the close frame.
    CloseCode,
    /// How the subscriber is connected: [`TransportLabel`].
    Transport,
    /// The HTTP status of a refused handshake.
    Status,
    /// The HTTP route, as a template.
    Route,
    /// The class of the HTTP status: [`StatusClass`].
    StatusClass,
    /// The index of the shard, from 0.
    Shard,
    /// Why a client or its token was refused: [`AuthFailure`].
    AuthFailure,
    /// Why a connection or a request was turned away at the door: [`TurnedAwayLabel`].
    TurnedAway,
    /// The version of the broker.
    Version,
    /// The result of reading the configuration again: [`Reload`].
    Reload,
    /// The kind of fault in a recording.
    Anomaly,
    /// Why a topic has ended.
    EndReason,
    /// The family of topics. Its values are named while the broker runs: [`FAMILIES`].
    Family,
    /// What a node of a cluster does.
    LaneState,
    /// Why the numbers of a cluster begin anew.
    EpochReason,
}

/// The number of families of topics that a broker has at most.
pub const FAMILIES: usize = 64;

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
            Self::AuthFailure | Self::TurnedAway | Self::EndReason | Self::EpochReason => "reason",
            Self::LaneState => "state",
            Self::Version => "version",
            Self::Reload => "result",
            Self::Family => "family",
        }
    }

    /// The label's values, as the documentation shows them.
    pub(crate) const fn values(self) -> &'static str {
        match self {
            Self::Kind => "`state`, `book`, `event`",
            Self::DeliveryOp => "`update`, `snapshot`, `gap`",
            Self::EncodeOp => "`update`, `snapshot`",
            Self::RequestOp => "the protocol's requests; `other` for unknown ones",
            Self::Codec => "`json`, `msgpack`, `json-deflate`, `msgpack-deflate`, `sse`",
            Self::ErrorCode => "the protocol's error codes",
            Self::CloseCode => "the protocol's close codes; `other`",
            Self::Transport => "`websocket`, `sse`",
            Self::Status => "HTTP status; `other`",
            Self::Route => "route template; `other`",
            Self::StatusClass => "`1xx` … `5xx`",
            Self::Shard => "0 … shards − 1",
            Self::AuthFailure => {
                "`origin`, `no_token`, `malformed`, `unknown_key`, `algorithm`, `signature`, `claims`, `audience`, \
                 `issuer`, `not_yet`, `expired`, `holder`, `revoked`"
            }
            Self::TurnedAway => {
                "`full`, `descriptors`, `address_connections`, `address_handshakes`, `address_publishes`, \
                 `holder_publishes`, `holder_connections`, `address_requests`, `connection_requests`, `answers`, `proxy_header`, `busy`"
            }
            Self::Version => "the broker's version",
            Self::Reload => "`ok`, `refused`",
            Self::Family => {
                "the families of `accounting.families`, or first tokens of topics: at most 64, with `(other)`"
            }
            Self::EndReason => "`expired`, `deleted`, `epoch`",
            Self::LaneState => "`joining`, `following`, `taking_over`, `writing`, `doubting`, `cut_off`",
            Self::EpochReason => "`first`, `headless`, `changed`, `restarted`",
            Self::Anomaly => {
                "`unused`, `time_back`, `stale_depth`, `depth_hole`, `old_snapshot`, `repeated_trade`, `trade_hole`, \
                 `late_trade`, `stale_quote`, `second_stream`, `full_book`, \
                 `repeated_message`, `message_gap`"
            }
        }
    }
}

/// The values of the labels that other crates own. A value's position in its slice is the index that the counting calls
/// take.
///
/// A set may end with a catch-all such as `other`: an index beyond the set counts as its last value.
#[derive(Debug, Clone, Copy)]
pub struct LabelSets {
    /// The kinds of topics: `state`, `book`, `event`.
    pub kinds: &'static [&'static str],
    /// The codecs, plain and compressed: `json`, `msgpack`, `json-deflate`, …
    pub codecs: &'static [&'static str],
    /// The kinds of requests: `subscribe`, `publish`, …
    pub request_ops: &'static [&'static str],
    /// The codes of refusals: `bad_request`, …
    pub error_codes: &'static [&'static str],
    /// The WebSocket close codes, as text.
    pub close_codes: &'static [&'static str],
    /// The HTTP routes as templates, such as `/v1/topics/{topic}`: never a path that a client sent.
    pub routes: &'static [&'static str],
    /// The HTTP statuses of refused handshakes, as text.
    pub refused_statuses: &'static [&'static str],
    /// The kinds of faults in lines of a recording that can be read: `stale_depth`, …
    pub anomalies: &'static [&'static str],
    /// The reasons for which topics end: `expired`, `deleted`.
    pub end_reasons: &'static [&'static str],
    /// What a node of a cluster can do: `joining`, `following`, …
    pub lane_states: &'static [&'static str],
    /// The reasons for which the numbers of a cluster begin anew: `first`, …
    pub epoch_reasons: &'static [&'static str],
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
        end_reasons: &["expired", "deleted"],
        lane_states: &["following", "writing"],
        epoch_reasons: &["first", "changed"],
    };
}

/// The kinds of messages that are delivered to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryOp {
    /// The topic's next message.
    Update,
    /// The topic's current value.
    Snapshot,
    /// The numbers of messages that the subscriber will not get.
    Gap,
}

impl DeliveryOp {
    /// The label's values, in index order.
    pub const NAMES: &'static [&'static str] = &["update", "snapshot", "gap"];
}

/// What is encoded once for all subscribers. A gap is not: it names what one subscriber missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EncodeOp {
    /// The topic's next message.
    Update,
    /// The topic's current value.
    Snapshot,
}

impl EncodeOp {
    /// The label's values, in index order.
    pub const NAMES: &'static [&'static str] = &["update", "snapshot"];
}

/// The result of reading the configuration again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reload {
    /// The new configuration is in force.
    Ok,
    /// The new configuration has a fault. The previous one stays in force.
    Refused,
}

impl Reload {
    /// The label's values, in index order.
    pub const NAMES: &'static [&'static str] = &["ok", "refused"];
}

/// How a subscriber is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportLabel {
    /// A WebSocket connection.
    WebSocket,
    /// A stream of server-sent events.
    Sse,
}

impl TransportLabel {
    /// The label's values, in index order.
    pub const NAMES: &'static [&'static str] = &["websocket", "sse"];
}

/// Why a client or its token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthFailure {
    /// The request came from a page of a site that is not allowed.
    Origin,
    /// The client showed no token where one is needed.
    NoToken,
    /// The token is too long or unreadable, or there is more than one.
    Malformed,
    /// The token is not a known static key.
    UnknownKey,
    /// The token's signature has an algorithm that is not accepted.
    Algorithm,
    /// No known key has made the token's signature.
    Signature,
    /// The token's claims are missing or have the wrong type.
    Claims,
    /// The token is for another audience.
    Audience,
    /// The token is from another issuer.
    Issuer,
    /// The token is not valid yet.
    NotYet,
    /// The token has expired.
    Expired,
    /// The token belongs to another holder than that of the connection.
    Holder,
    /// An operator has revoked the token, its key or its subject.
    Revoked,
}

impl AuthFailure {
    /// The label's values, in index order.
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
        "revoked",
    ];
}

/// Why a connection or a request was turned away at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TurnedAwayLabel {
    /// The broker has as many connections as it may.
    Full,
    /// The process has as many files open as it may.
    NoDescriptors,
    /// The address has as many connections as it may.
    AddressConnections,
    /// The address connects too often.
    AddressHandshakes,
    /// The address publishes too often over HTTP.
    AddressPublishes,
    /// The holder of a token publishes too often over HTTP.
    HolderPublishes,
    /// The holder of a token, or the clients without one, have as many connections as they may.
    HolderConnections,
    /// The address sends too many requests over HTTP.
    AddressRequests,
    /// The connection sends too many requests over HTTP.
    ConnectionRequests,
    /// Too many bytes of answers over HTTP are waiting.
    Answers,
    /// A trusted proxy did not tell the address of the client.
    ProxyHeader,
    /// No shard has time for new connections.
    Busy,
}

impl TurnedAwayLabel {
    /// The label's values, in index order.
    pub const NAMES: &'static [&'static str] = &[
        "full",
        "descriptors",
        "address_connections",
        "address_handshakes",
        "address_publishes",
        "holder_publishes",
        "holder_connections",
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
    /// 100 to 199, including the 101 of an upgrade.
    Informational,
    /// 200 to 299.
    Success,
    /// 300 to 399, including the 304 of an unchanged snapshot.
    Redirection,
    /// 400 to 499.
    ClientError,
    /// 500 and above.
    ServerError,
}

impl StatusClass {
    /// The label's values, in index order.
    pub const NAMES: &'static [&'static str] = &["1xx", "2xx", "3xx", "4xx", "5xx"];

    /// The class of an HTTP status. A number that is not a status counts as a server error.
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
