//! Every metric of the broker, one row each.
//!
//! Names follow the conventions of Prometheus: base units, seconds and bytes, as suffix; `_total` on counters and on
//! nothing else. A test holds the table to the rules that `promtool check metrics` applies.

use crate::labels::Label;

/// What a metric's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// Only ever grows while the broker runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations counted in buckets, with their sum.
    Histogram,
}

impl MetricType {
    /// The type as the exposition format has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The unit of a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A number of things.
    One,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// The unit as the documentation has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "",
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
        }
    }
}

/// One row: a metric and what it means.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in the exposition format.
    pub name: &'static str,
    /// What its values mean.
    pub kind: MetricType,
    /// Unit of its values.
    pub unit: Unit,
    /// Its labels. One series exists for each combination of their values.
    pub labels: &'static [Label],
    /// What it tells an operator, in one sentence.
    pub help: &'static str,
}

/// Position of a metric in [`TABLE`]: the variants stand in the rows' order, which a test checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id {
    Publications,
    PublishedBytes,
    Deliveries,
    Conflated,
    Gapped,
    Encodes,
    CompressedFrom,
    CompressedTo,
    DeliveryLatency,
    Requests,
    Refusals,
    Connections,
    ConnectionsOpened,
    HandshakesRefused,
    Closes,
    SseDropped,
    Sessions,
    Subscriptions,
    LaggingSessions,
    Lags,
    LagSeconds,
    LagBytes,
    LedgerOwed,
    LedgerDelivered,
    LedgerConflated,
    LedgerGapped,
    LedgerDropped,
    LedgerPending,
    OutboxBytes,
    Topics,
    HistoryBytes,
    StaleTopics,
    StaleChanges,
    SocketWrites,
    SocketWrittenBytes,
    SocketReads,
    SocketReadBytes,
    ShardQueue,
    ShardOverflows,
    ShardCycle,
    HttpRequests,
    TlsNotAfter,
    TlsReloads,
    TlsReloadsFailed,
    TlsHandshakesFailed,
    FeedTicks,
    FeedLateness,
    FeedMalformed,
    BuildInfo,
}

const fn counter(name: &'static str, unit: Unit, labels: &'static [Label], help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricType::Counter,
        unit,
        labels,
        help,
    }
}

const fn gauge(name: &'static str, unit: Unit, labels: &'static [Label], help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricType::Gauge,
        unit,
        labels,
        help,
    }
}

const fn seconds(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricType::Histogram,
        unit: Unit::Seconds,
        labels: &[],
        help,
    }
}

/// Every metric of the broker.
pub const TABLE: &[Metric] = &[
    counter(
        "tickwire_publications_total",
        Unit::One,
        &[Label::Kind],
        "Messages published to topics, from the feed and from clients.",
    ),
    counter(
        "tickwire_published_bytes_total",
        Unit::Bytes,
        &[],
        "Payload bytes of the messages that clients published.",
    ),
    counter(
        "tickwire_deliveries_total",
        Unit::One,
        &[Label::DeliveryOp],
        "Data messages put on their way to one subscriber each.",
    ),
    counter(
        "tickwire_conflated_messages_total",
        Unit::One,
        &[],
        "Messages that a subscriber was not sent because a newer one of the topic took their place.",
    ),
    counter(
        "tickwire_gapped_messages_total",
        Unit::One,
        &[],
        "Messages that a subscriber missed and was told of with a gap.",
    ),
    counter(
        "tickwire_encodes_total",
        Unit::One,
        &[Label::Codec, Label::DeliveryOp],
        "Times that a message was encoded, at most once per message and variant in use; a codec with `-deflate` is compressed.",
    ),
    counter(
        "tickwire_compressed_input_bytes_total",
        Unit::Bytes,
        &[],
        "Bytes of the messages that were compressed, before that; each message once per codec, however many receive it.",
    ),
    counter(
        "tickwire_compressed_output_bytes_total",
        Unit::Bytes,
        &[],
        "Bytes that these messages were compressed to.",
    ),
    seconds(
        "tickwire_delivery_latency_seconds",
        "Time from a message's entry into the broker to the return of the write call that took its last byte.",
    ),
    counter(
        "tickwire_requests_total",
        Unit::One,
        &[Label::RequestOp],
        "Requests received from clients.",
    ),
    counter(
        "tickwire_refusals_total",
        Unit::One,
        &[Label::ErrorCode],
        "Requests, or topics of a request, that were refused.",
    ),
    gauge(
        "tickwire_connections",
        Unit::One,
        &[Label::Transport],
        "Subscriber connections that are open now.",
    ),
    counter(
        "tickwire_connections_opened_total",
        Unit::One,
        &[Label::Transport],
        "Subscriber connections that completed their handshake.",
    ),
    counter(
        "tickwire_handshakes_refused_total",
        Unit::One,
        &[Label::Status],
        "Handshakes answered with an error status.",
    ),
    counter(
        "tickwire_closes_total",
        Unit::One,
        &[Label::CloseCode],
        "WebSocket connections that ended, by the close code that was sent or, where none was, received.",
    ),
    counter(
        "tickwire_sse_streams_dropped_total",
        Unit::One,
        &[],
        "Streams of server-sent events that the broker ended because their reader was too slow.",
    ),
    gauge(
        "tickwire_sessions",
        Unit::One,
        &[Label::Shard],
        "Sessions that a shard serves now.",
    ),
    gauge(
        "tickwire_subscriptions",
        Unit::One,
        &[Label::Shard],
        "Subscriptions that a shard serves now, topics and patterns as clients named them.",
    ),
    gauge(
        "tickwire_lagging_sessions",
        Unit::One,
        &[Label::Shard],
        "Sessions that went over their byte budget, have not caught up since, and are served from cursors now.",
    ),
    counter(
        "tickwire_lags_total",
        Unit::One,
        &[Label::Shard],
        "Times that a session went over its byte budget: what waited for it was taken back.",
    ),
    seconds(
        "tickwire_lag_seconds",
        "Age of about the oldest message that a lagging session is owed, observed for each of them at each flush.",
    ),
    Metric {
        name: "tickwire_lagging_outbox_bytes",
        kind: MetricType::Histogram,
        unit: Unit::Bytes,
        labels: &[],
        help: "Encoded bytes that wait for a lagging session, observed for each of them at each flush.",
    },
    counter(
        "tickwire_ledger_owed_total",
        Unit::One,
        &[Label::Shard],
        "Messages that subscriptions were owed: the sum of the five rows that follow.",
    ),
    counter(
        "tickwire_ledger_delivered_total",
        Unit::One,
        &[Label::Shard],
        "Owed messages of which the last byte was handed to the socket.",
    ),
    counter(
        "tickwire_ledger_conflated_total",
        Unit::One,
        &[Label::Shard],
        "Owed messages that a newer one, delivered, made superfluous.",
    ),
    counter(
        "tickwire_ledger_gapped_total",
        Unit::One,
        &[Label::Shard],
        "Owed messages that a gap, handed to the socket, named as missing.",
    ),
    counter(
        "tickwire_ledger_dropped_total",
        Unit::One,
        &[Label::Shard],
        "Owed messages that were pending when their subscription or connection ended.",
    ),
    gauge(
        "tickwire_ledger_pending",
        Unit::One,
        &[Label::Shard],
        "Owed messages of which nothing has become yet.",
    ),
    gauge(
        "tickwire_outbox_bytes",
        Unit::Bytes,
        &[Label::Shard],
        "Encoded bytes that wait for sessions of a shard now.",
    ),
    gauge("tickwire_topics", Unit::One, &[], "Topics that exist now."),
    gauge(
        "tickwire_history_bytes",
        Unit::Bytes,
        &[],
        "Bytes that the histories of all topics hold now.",
    ),
    gauge(
        "tickwire_stale_topics",
        Unit::One,
        &[],
        "Topics that have been silent for longer than their rule in `staleness` allows.",
    ),
    counter(
        "tickwire_stale_changes_total",
        Unit::One,
        &[],
        "Times that a topic fell silent, or came back, by its rule in `staleness`.",
    ),
    counter(
        "tickwire_socket_writes_total",
        Unit::One,
        &[],
        "Write calls on subscriber sockets.",
    ),
    counter(
        "tickwire_socket_written_bytes_total",
        Unit::Bytes,
        &[],
        "Bytes that the kernel took from write calls on subscriber sockets.",
    ),
    counter(
        "tickwire_socket_reads_total",
        Unit::One,
        &[],
        "Read calls on subscriber sockets.",
    ),
    counter(
        "tickwire_socket_read_bytes_total",
        Unit::Bytes,
        &[],
        "Bytes read from subscriber sockets.",
    ),
    gauge(
        "tickwire_shard_queue_publications",
        Unit::One,
        &[Label::Shard],
        "Publications that wait in a shard's queue now.",
    ),
    counter(
        "tickwire_shard_queue_overflows_total",
        Unit::One,
        &[Label::Shard],
        "Publications that found a shard's queue full; its subscribers are served from history instead.",
    ),
    seconds(
        "tickwire_shard_cycle_duration_seconds",
        "Time that a shard took for one cycle: queue, reads, timers, writes.",
    ),
    counter(
        "tickwire_http_requests_total",
        Unit::One,
        &[Label::Route, Label::StatusClass],
        "HTTP requests answered, on both listeners.",
    ),
    gauge(
        "tickwire_tls_certificate_not_after_seconds",
        Unit::Seconds,
        &[],
        "When the certificate that new connections are shown ends, in seconds since 1970; 0 without TLS.",
    ),
    counter(
        "tickwire_tls_reloads_total",
        Unit::One,
        &[],
        "Times that certificate and key were replaced by what their files held anew.",
    ),
    counter(
        "tickwire_tls_reloads_failed_total",
        Unit::One,
        &[],
        "Times that the files of certificate and key had changed and could not be used; the ones before still are.",
    ),
    counter(
        "tickwire_tls_handshakes_failed_total",
        Unit::One,
        &[],
        "TLS handshakes that failed or took too long, clients that do not speak TLS among them.",
    ),
    counter(
        "tickwire_feed_ticks_total",
        Unit::One,
        &[],
        "Ticks that the built-in feed published.",
    ),
    seconds(
        "tickwire_feed_lateness_seconds",
        "Time by which the built-in feed published a tick after its scheduled moment.",
    ),
    counter(
        "tickwire_feed_malformed_lines_total",
        Unit::One,
        &[],
        "Lines of a replayed recording that could not be read and were left out.",
    ),
    gauge(
        "tickwire_build_info",
        Unit::One,
        &[Label::Version],
        "Always 1; the label names the version that runs.",
    ),
];

/// What the process itself adds, under the names that every Prometheus client uses.
pub const PROCESS_TABLE: &[Metric] = &[
    counter(
        "process_cpu_seconds_total",
        Unit::Seconds,
        &[],
        "Total user and system CPU time spent in seconds.",
    ),
    gauge(
        "process_open_fds",
        Unit::One,
        &[],
        "Number of open file descriptors.",
    ),
    gauge(
        "process_max_fds",
        Unit::One,
        &[],
        "Maximum number of open file descriptors.",
    ),
    gauge(
        "process_virtual_memory_bytes",
        Unit::Bytes,
        &[],
        "Virtual memory size in bytes.",
    ),
    gauge(
        "process_resident_memory_bytes",
        Unit::Bytes,
        &[],
        "Resident memory size in bytes.",
    ),
    gauge(
        "process_start_time_seconds",
        Unit::Seconds,
        &[],
        "Start time of the process since unix epoch in seconds.",
    ),
    gauge(
        "process_threads",
        Unit::One,
        &[],
        "Number of OS threads in the process.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_in_the_order_of_the_rows() {
        assert_eq!(
            Id::BuildInfo as usize,
            TABLE.len() - 1,
            "an id or a row is missing"
        );
        for (id, name) in [
            (Id::Publications, "tickwire_publications_total"),
            (Id::PublishedBytes, "tickwire_published_bytes_total"),
            (Id::Deliveries, "tickwire_deliveries_total"),
            (Id::Conflated, "tickwire_conflated_messages_total"),
            (Id::Gapped, "tickwire_gapped_messages_total"),
            (Id::Encodes, "tickwire_encodes_total"),
            (Id::CompressedFrom, "tickwire_compressed_input_bytes_total"),
            (Id::CompressedTo, "tickwire_compressed_output_bytes_total"),
            (Id::DeliveryLatency, "tickwire_delivery_latency_seconds"),
            (Id::Requests, "tickwire_requests_total"),
            (Id::Refusals, "tickwire_refusals_total"),
            (Id::Connections, "tickwire_connections"),
            (Id::ConnectionsOpened, "tickwire_connections_opened_total"),
            (Id::HandshakesRefused, "tickwire_handshakes_refused_total"),
            (Id::Closes, "tickwire_closes_total"),
            (Id::SseDropped, "tickwire_sse_streams_dropped_total"),
            (Id::Sessions, "tickwire_sessions"),
            (Id::Subscriptions, "tickwire_subscriptions"),
            (Id::LaggingSessions, "tickwire_lagging_sessions"),
            (Id::Lags, "tickwire_lags_total"),
            (Id::LagSeconds, "tickwire_lag_seconds"),
            (Id::LagBytes, "tickwire_lagging_outbox_bytes"),
            (Id::LedgerOwed, "tickwire_ledger_owed_total"),
            (Id::LedgerDelivered, "tickwire_ledger_delivered_total"),
            (Id::LedgerConflated, "tickwire_ledger_conflated_total"),
            (Id::LedgerGapped, "tickwire_ledger_gapped_total"),
            (Id::LedgerDropped, "tickwire_ledger_dropped_total"),
            (Id::LedgerPending, "tickwire_ledger_pending"),
            (Id::OutboxBytes, "tickwire_outbox_bytes"),
            (Id::Topics, "tickwire_topics"),
            (Id::HistoryBytes, "tickwire_history_bytes"),
            (Id::StaleTopics, "tickwire_stale_topics"),
            (Id::StaleChanges, "tickwire_stale_changes_total"),
            (Id::SocketWrites, "tickwire_socket_writes_total"),
            (Id::SocketWrittenBytes, "tickwire_socket_written_bytes_total"),
            (Id::SocketReads, "tickwire_socket_reads_total"),
            (Id::SocketReadBytes, "tickwire_socket_read_bytes_total"),
            (Id::ShardQueue, "tickwire_shard_queue_publications"),
            (Id::ShardOverflows, "tickwire_shard_queue_overflows_total"),
            (Id::ShardCycle, "tickwire_shard_cycle_duration_seconds"),
            (Id::HttpRequests, "tickwire_http_requests_total"),
            (Id::TlsNotAfter, "tickwire_tls_certificate_not_after_seconds"),
            (Id::TlsReloads, "tickwire_tls_reloads_total"),
            (Id::TlsReloadsFailed, "tickwire_tls_reloads_failed_total"),
            (Id::TlsHandshakesFailed, "tickwire_tls_handshakes_failed_total"),
            (Id::FeedTicks, "tickwire_feed_ticks_total"),
            (Id::FeedLateness, "tickwire_feed_lateness_seconds"),
            (Id::FeedMalformed, "tickwire_feed_malformed_lines_total"),
            (Id::BuildInfo, "tickwire_build_info"),
        ] {
            assert_eq!(TABLE[id as usize].name, name);
        }
    }
}
