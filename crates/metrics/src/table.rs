//! Every metric of the broker, one declaration each.
//!
//! Names follow the conventions of Prometheus: base units (seconds and bytes) as suffix, and `_total` on counters only.
//! A test checks the table by the rules that `promtool check metrics` applies.

use crate::definition::{Definition, MetricType, Unit};
use crate::labels::Label;

/// Declares metrics. A row holds the metric's name in the code, its type, unit and labels, its exported name, and its
/// help for operators.
macro_rules! metrics {
    ($($id:ident: $kind:ident $unit:ident [$($label:ident),*] $name:literal $help:literal;)*) => {
        /// A metric of the broker. The number of a variant is its position in [`TABLE`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Metric {
            $(#[doc = $help] $id,)*
        }

        impl Metric {
            /// All metrics, in the order of the [`TABLE`].
            pub const ALL: &[Self] = &[$(Self::$id,)*];
        }

        /// Every metric of the broker.
        pub const TABLE: &[Definition] = &[
            $(Definition {
                name: $name,
                kind: MetricType::$kind,
                unit: Unit::$unit,
                labels: &[$(Label::$label),*],
                help: $help,
            },)*
        ];
    };
}

metrics! {
    Publications: Counter One [Kind] "tickwire_publications_total"
        "Messages published to topics, from the feed and from clients.";
    PublishedBytes: Counter Bytes [] "tickwire_published_bytes_total"
        "Payload bytes of the messages that clients published.";
    Deliveries: Counter One [DeliveryOp] "tickwire_deliveries_total"
        "Data messages put on their way to one subscriber each.";
    Conflated: Counter One [] "tickwire_conflated_messages_total"
        "Messages that a subscriber was not sent because a newer one of the topic took their place.";
    Gapped: Counter One [] "tickwire_gapped_messages_total"
        "Messages that a subscriber missed and was told of with a gap.";
    Encodes: Counter One [Codec, EncodeOp] "tickwire_encodes_total"
        "Times that a message was encoded, at most once per message and variant in use; a codec with `-deflate` is compressed.";
    CompressedFrom: Counter Bytes [] "tickwire_compressed_input_bytes_total"
        "Bytes of the messages that were compressed, before that; each message once per codec, however many receive it.";
    CompressedTo: Counter Bytes [] "tickwire_compressed_output_bytes_total"
        "Bytes that these messages were compressed to.";
    DeliveryLatency: Histogram Seconds [] "tickwire_delivery_latency_seconds"
        "Time from a message's entry into the broker to the return of the write call that took its last byte.";
    Requests: Counter One [RequestOp] "tickwire_requests_total"
        "Requests received from clients.";
    Refusals: Counter One [ErrorCode] "tickwire_refusals_total"
        "Requests, or topics of a request, that were refused.";
    Connections: Gauge One [Transport] "tickwire_connections"
        "Subscriber connections that are open now.";
    ConnectionsOpened: Counter One [Transport] "tickwire_connections_opened_total"
        "Subscriber connections that completed their handshake.";
    HandshakesRefused: Counter One [Status] "tickwire_handshakes_refused_total"
        "Handshakes answered with an error status.";
    AuthFailures: Counter One [AuthFailure] "tickwire_auth_failures_total"
        "Requests and auth operations that were refused because of their token or origin.";
    Closes: Counter One [CloseCode] "tickwire_closes_total"
        "WebSocket connections that ended, by the close code that was sent or, where none was, received.";
    SseDropped: Counter One [] "tickwire_sse_streams_dropped_total"
        "Streams of server-sent events that the broker ended because their reader was too slow.";
    TurnedAway: Counter One [TurnedAway] "tickwire_turned_away_total"
        "Connections, handshakes and requests over HTTP that were turned away at the door.";
    Addresses: Gauge One [] "tickwire_addresses"
        "Addresses that connections and rates are counted of now.";
    BulkBytes: Gauge Bytes [] "tickwire_bulk_body_bytes"
        "Bytes of bodies of bulk publications that are held now, until they are published or refused.";
    Sessions: Gauge One [Shard] "tickwire_sessions"
        "Sessions that a shard serves now.";
    Subscriptions: Gauge One [Shard] "tickwire_subscriptions"
        "Subscriptions that a shard serves now, topics and patterns as clients named them.";
    LaggingSessions: Gauge One [Shard] "tickwire_lagging_sessions"
        "Sessions that went over their byte budget, have not caught up since, and are served from cursors now.";
    Lags: Counter One [Shard] "tickwire_lags_total"
        "Times that a session went over its byte budget: what waited for it was taken back.";
    LagSeconds: Histogram Seconds [] "tickwire_lag_seconds"
        "Age of about the oldest message that a lagging session is owed, observed at each flush for at most 256 of them a shard, in turn.";
    LagBytes: Histogram Bytes [] "tickwire_lagging_outbox_bytes"
        "Encoded bytes that wait for a lagging session, observed at each flush for at most 256 of them a shard, in turn.";
    LedgerOwed: Counter One [Shard] "tickwire_ledger_owed_total"
        "Messages that subscriptions were owed: the sum of the five rows that follow.";
    LedgerDelivered: Counter One [Shard] "tickwire_ledger_delivered_total"
        "Owed messages of which the last byte was handed to the socket.";
    LedgerConflated: Counter One [Shard] "tickwire_ledger_conflated_total"
        "Owed messages that a newer one, delivered, made superfluous.";
    LedgerGapped: Counter One [Shard] "tickwire_ledger_gapped_total"
        "Owed messages that a gap, handed to the socket, named as missing.";
    LedgerDropped: Counter One [Shard] "tickwire_ledger_dropped_total"
        "Owed messages that were pending when their subscription or connection ended.";
    LedgerPending: Gauge One [Shard] "tickwire_ledger_pending"
        "Owed messages of which nothing has become yet.";
    OutboxBytes: Gauge Bytes [Shard] "tickwire_outbox_bytes"
        "Encoded bytes that wait for sessions of a shard now.";
    Topics: Gauge One [] "tickwire_topics"
        "Topics that exist now.";
    HistoryBytes: Gauge Bytes [] "tickwire_history_bytes"
        "Bytes that the histories of all topics hold now, frames that were made included; not the newest message of each.";
    ValueBytes: Gauge Bytes [] "tickwire_value_bytes"
        "Bytes that the newest messages of all topics hold now, frames that were made and books included.";
    ReplayBytes: Gauge Bytes [] "tickwire_replay_bytes"
        "Bytes of messages that promised replays keep now, each counted once, whether or not a history holds it too.";
    ReplaysRefused: Counter One [] "tickwire_replays_refused_total"
        "Resumes that the history could have served and that were refused, since too much was kept for replays.";
    ClockOffset: Gauge Seconds [] "tickwire_clock_offset_seconds"
        "Time by which the system's clock is ahead of the broker's: how far it was corrected since the start.";
    StaleTopics: Gauge One [] "tickwire_stale_topics"
        "Topics that have been silent for longer than their rule in `staleness` allows.";
    StaleChanges: Counter One [] "tickwire_stale_changes_total"
        "Times that a topic fell silent, or came back, by its rule in `staleness`.";
    CrossedBooks: Counter One [] "tickwire_crossed_books_total"
        "Times that a book became crossed: its best bid was not below its best ask any more.";
    SocketWrites: Counter One [] "tickwire_socket_writes_total"
        "Write calls on subscriber sockets.";
    SocketWrittenBytes: Counter Bytes [] "tickwire_socket_written_bytes_total"
        "Bytes that the kernel took from write calls on subscriber sockets.";
    SocketReads: Counter One [] "tickwire_socket_reads_total"
        "Read calls on subscriber sockets.";
    SocketReadBytes: Counter Bytes [] "tickwire_socket_read_bytes_total"
        "Bytes read from subscriber sockets.";
    ShardQueue: Gauge One [Shard] "tickwire_shard_queue_publications"
        "Publications that wait in a shard's queue now.";
    ShardOverflows: Counter One [Shard] "tickwire_shard_queue_overflows_total"
        "Publications that found a shard's queue full; its subscribers are served from history instead.";
    ShardCycle: Histogram Seconds [] "tickwire_shard_cycle_duration_seconds"
        "Time that a shard took for one cycle: queue, reads, timers, writes.";
    HttpRequests: Counter One [Route, StatusClass] "tickwire_http_requests_total"
        "HTTP requests answered, on both listeners.";
    TlsNotAfter: Gauge Seconds [] "tickwire_tls_certificate_not_after_seconds"
        "When the certificate that new connections are shown ends, in seconds since 1970; not exported without TLS.";
    TlsReloads: Counter One [] "tickwire_tls_reloads_total"
        "Times that certificate and key were read anew and put in place: after their files had changed, and at each SIGHUP.";
    TlsReloadsFailed: Counter One [] "tickwire_tls_reloads_failed_total"
        "Times that the files of certificate and key had changed and could not be used; the ones before still are.";
    TlsHandshakesFailed: Counter One [] "tickwire_tls_handshakes_failed_total"
        "TLS handshakes that failed or took too long, clients that do not speak TLS among them.";
    FeedTicks: Counter One [] "tickwire_feed_ticks_total"
        "Ticks that the built-in feed published.";
    FeedLateness: Histogram Seconds [] "tickwire_feed_lateness_seconds"
        "Time by which the built-in feed published a tick after its scheduled moment.";
    FeedRefused: Counter One [] "tickwire_feed_refused_ticks_total"
        "Ticks of the built-in feed that were not published, for want of room or since they do not fit their topic.";
    FeedMalformed: Counter One [] "tickwire_feed_malformed_lines_total"
        "Lines of a replayed recording that could not be read and were left out.";
    FeedAnomalies: Counter One [Anomaly] "tickwire_feed_anomalies_total"
        "Lines of a replayed recording that were not as they should be, by what was wrong with them.";
    ConfigReloads: Counter One [Reload] "tickwire_config_reloads_total"
        "Times that the configuration was read again, by what came of it.";
    ConfigLoaded: Gauge Seconds [] "tickwire_config_last_success_timestamp_seconds"
        "Time of the last start or reload whose configuration holds, since unix epoch in seconds.";
    LogLost: Counter One [] "tickwire_log_lines_lost_total"
        "Lines of the log that found no room in its queue, or could not be written.";
    SessionsFailed: Counter One [] "tickwire_sessions_failed_total"
        "Sessions and HTTP connections that a fault of the broker ended, sessions with 1011 where that could be said.";
    ShardRestarts: Counter One [Shard] "tickwire_shard_restarts_total"
        "Times that a shard began anew after a panic; its sessions are among those that failed.";
    BuildInfo: Gauge One [Version] "tickwire_build_info"
        "Always 1; the label names the version that runs.";
}
