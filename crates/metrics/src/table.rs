//! Every metric of the broker, with one row each.
//!
//! Names follow the conventions of Prometheus: base units (seconds and bytes) as suffix, and `_total` on counters only.
//! A test checks the table by the rules that `promtool check metrics` applies.

use crate::definition::{Definition, MetricType, Unit};
use crate::labels::Label;

/// Declares metrics. A row has the metric's name in the code, its type, unit and labels, its exported name, and its
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
    Duplicates: Counter One [] "tickwire_duplicate_publications_total"
        "Publications that were not published because their key was known: clients repeated them.";
    DedupeKeys: Gauge One [] "tickwire_publish_keys"
        "Keys of publications that are known now.";
    DedupeBytes: Gauge Bytes [] "tickwire_publish_key_bytes"
        "Bytes that the known keys of publications hold now.";
    DedupeEarly: Counter One [] "tickwire_publish_keys_dropped_total"
        "Keys of publications that were forgotten before their time because there were more than `publish.dedupe_keys`.";
    Deliveries: Counter One [DeliveryOp] "tickwire_deliveries_total"
        "Data messages that were put into outboxes, one for each subscriber.";
    Conflated: Counter One [] "tickwire_conflated_messages_total"
        "Messages that a subscriber was not sent because a newer message of the topic replaced them.";
    Gapped: Counter One [] "tickwire_gapped_messages_total"
        "Messages that a subscriber missed and that a gap named.";
    Encodes: Counter One [Codec, EncodeOp] "tickwire_encodes_total"
        "Encodings of messages for subscribers: of each message at most one per `codec` and `op`, unless its frames were given up for lack of memory; a codec with `-deflate` is compressed.";
    CompressedFrom: Counter Bytes [] "tickwire_compressed_input_bytes_total"
        "Bytes of compressed messages before compression; each message counts once per codec, whatever the number of its receivers.";
    CompressedTo: Counter Bytes [] "tickwire_compressed_output_bytes_total"
        "Bytes of the same messages after compression.";
    DeliveryLatency: Histogram Seconds [] "tickwire_delivery_latency_seconds"
        "Time from a message's entry into the broker to the return of the write call that handed its last byte to the kernel. Over TLS: to the encryption of that byte.";
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
        "HTTP requests and `auth` operations that were refused because of their token or origin.";
    Revocations: Gauge One [] "tickwire_revocations"
        "Revocations of static keys, subjects and tokens that are in force now.";
    OperatorCloses: Counter One [] "tickwire_sessions_closed_by_operators_total"
        "Sessions that operators closed: by the admin API, by a revocation, or in the console.";
    Closes: Counter One [CloseCode] "tickwire_closes_total"
        "WebSocket connections that ended, by the close code that was sent or, if none was sent, received.";
    SseDropped: Counter One [] "tickwire_sse_streams_dropped_total"
        "Streams of server-sent events that the broker ended because their reader was too slow.";
    TurnedAway: Counter One [TurnedAway] "tickwire_turned_away_total"
        "Connections, handshakes and HTTP requests that were refused by the limits of the broker, of an address or of a holder.";
    Addresses: Gauge One [] "tickwire_addresses"
        "Addresses whose connections and rates are counted now.";
    BulkBytes: Gauge Bytes [] "tickwire_bulk_body_bytes"
        "Bytes of bulk publications that wait in memory now, until they are published or refused.";
    Sessions: Gauge One [Shard] "tickwire_sessions"
        "Sessions that a shard serves now.";
    Subscriptions: Gauge One [Shard] "tickwire_subscriptions"
        "Subscriptions that a shard serves now, with each topic of a session counted once.";
    LaggingSessions: Gauge One [Shard] "tickwire_lagging_sessions"
        "Lagging sessions now: they exceeded their byte budget and have not caught up since.";
    Lags: Counter One [Shard] "tickwire_lags_total"
        "Times that a session exceeded its byte budget, so that its waiting data was taken back.";
    LagSeconds: Histogram Seconds [] "tickwire_lag_seconds"
        "Approximate age of the oldest message that a lagging session is owed, observed at each flush for at most 256 sessions of a shard, in turn.";
    LagBytes: Histogram Bytes [] "tickwire_lagging_outbox_bytes"
        "Encoded bytes that wait for a lagging session, observed at each flush for at most 256 sessions of a shard, in turn.";
    LedgerOwed: Counter One [Shard] "tickwire_ledger_owed_total"
        "Messages that subscriptions were owed: the sum of the next five metrics.";
    LedgerDelivered: Counter One [Shard] "tickwire_ledger_delivered_total"
        "Owed messages whose last byte the kernel has taken, or over TLS was encrypted.";
    LedgerConflated: Counter One [Shard] "tickwire_ledger_conflated_total"
        "Owed messages that a newer, delivered message made superfluous.";
    LedgerGapped: Counter One [Shard] "tickwire_ledger_gapped_total"
        "Owed messages that a gap, handed to the socket, named as missing.";
    LedgerDropped: Counter One [Shard] "tickwire_ledger_dropped_total"
        "Owed messages that were pending when their subscription or connection ended.";
    LedgerPending: Gauge One [Shard] "tickwire_ledger_pending"
        "Owed messages that have no outcome yet.";
    OutboxBytes: Gauge Bytes [Shard] "tickwire_outbox_bytes"
        "Encoded bytes that wait for all sessions of a shard now.";
    Topics: Gauge One [] "tickwire_topics"
        "Topics that exist now.";
    TopicsEnded: Counter One [EndReason] "tickwire_topics_ended_total"
        "Topics that have ended.";
    HistoryBytes: Gauge Bytes [] "tickwire_history_bytes"
        "Bytes that the histories of all topics hold now, including their encoded frames, without the newest message of each topic.";
    ValueBytes: Gauge Bytes [] "tickwire_value_bytes"
        "Bytes that the newest messages of all topics hold now, including their encoded frames and the books.";
    ReplayBytes: Gauge Bytes [] "tickwire_replay_bytes"
        "Bytes of messages that promised replays keep now, each counted once, even if a history holds it too.";
    ArchivedBytes: Gauge Bytes [] "tickwire_archive_bytes"
        "Bytes of messages that were read from the journal for replays and are not sent yet, and of those that were asked for.";
    ArchiveMessages: Counter One [] "tickwire_archive_messages_total"
        "Messages that were read from the journal for replays and histories.";
    ReplaysRefused: Counter One [] "tickwire_replays_refused_total"
        "Resumes that the history could have served and that were refused because promised replays kept too much.";
    ClockOffset: Gauge Seconds [] "tickwire_clock_offset_seconds"
        "Time by which the system's clock is ahead of the broker's clock: its corrections since the start.";
    StaleTopics: Gauge One [] "tickwire_stale_topics"
        "Topics that are stale now: silent for longer than their rule in `staleness` allows.";
    StaleChanges: Counter One [] "tickwire_stale_changes_total"
        "Times that a topic became stale or live again by its rule in `staleness`.";
    CrossedBooks: Counter One [] "tickwire_crossed_books_total"
        "Times that a book became crossed: its best bid was no longer below its best ask.";
    SocketWrites: Counter One [] "tickwire_socket_writes_total"
        "Write calls on subscriber sockets.";
    SocketWrittenBytes: Counter Bytes [] "tickwire_socket_written_bytes_total"
        "Bytes that the kernel accepted in write calls on subscriber sockets.";
    SocketReads: Counter One [] "tickwire_socket_reads_total"
        "Read calls on subscriber sockets.";
    SocketReadBytes: Counter Bytes [] "tickwire_socket_read_bytes_total"
        "Bytes read from subscriber sockets.";
    ShardQueue: Gauge One [Shard] "tickwire_shard_queue_publications"
        "Publications that wait in a shard's queue now.";
    ShardOverflows: Counter One [Shard] "tickwire_shard_queue_overflows_total"
        "Publications that did not fit in a shard's full queue; their subscribers are served from the histories instead.";
    ShardCycle: Histogram Seconds [] "tickwire_shard_cycle_duration_seconds"
        "Duration of one cycle of a shard: queue, reads, timers, writes.";
    HttpRequests: Counter One [Route, StatusClass] "tickwire_http_requests_total"
        "HTTP requests answered, on both listeners.";
    TlsNotAfter: Gauge Seconds [] "tickwire_tls_certificate_not_after_seconds"
        "End of the certificate for new connections, in seconds since 1970; not exported without TLS.";
    TlsReloads: Counter One [] "tickwire_tls_reloads_total"
        "Times that the certificate and key were reloaded, after a change of their files or at a SIGHUP.";
    TlsReloadsFailed: Counter One [] "tickwire_tls_reloads_failed_total"
        "Times that the files of the certificate and key had changed but could not be used; the old ones stay in use.";
    TlsHandshakesFailed: Counter One [] "tickwire_tls_handshakes_failed_total"
        "TLS handshakes that failed or took too long, including those of clients that do not use TLS.";
    FeedTicks: Counter One [] "tickwire_feed_ticks_total"
        "Ticks that the built-in feed published.";
    FeedLateness: Histogram Seconds [] "tickwire_feed_lateness_seconds"
        "Delay between the time at which a tick of the built-in feed was due and its publication.";
    FeedRefused: Counter One [] "tickwire_feed_refused_ticks_total"
        "Ticks of the built-in feed that were not published because a limit was reached or they do not fit their topic.";
    FeedMalformed: Counter One [] "tickwire_feed_malformed_lines_total"
        "Lines of a replayed recording that could not be read and were skipped.";
    FeedAnomalies: Counter One [Anomaly] "tickwire_feed_anomalies_total"
        "Faulty lines of a replayed recording, by the kind of fault.";
    DeriveTaken: Counter One [] "tickwire_derive_messages_total"
        "Published trades, best quotes and changes of books that candles, tickers or best quotes are derived from by the rules in `derive`.";
    DeriveSkipped: Counter One [] "tickwire_derive_skipped_messages_total"
        "Messages of topics with a rule in `derive` of which nothing was derived, because they are neither a trade nor best quotes, or a number is out of range.";
    DeriveLate: Counter One [] "tickwire_derive_late_trades_total"
        "Trades that came after a candle of their time was closed; they are in the ticker, but not in that candle.";
    DeriveMissed: Counter One [] "tickwire_derive_missed_messages_total"
        "Messages of topics with a rule in `derive` that came faster than they could be read; they are in no candle and no ticker.";
    DeriveRefused: Counter One [] "tickwire_derive_refused_messages_total"
        "Derived messages that were not published because a limit was reached or they do not fit their topic.";
    DeriveQueue: Gauge One [] "tickwire_derive_queue_messages"
        "Messages that wait now for being derived from or copied: the longest queue.";
    ViewHeld: Gauge One [] "tickwire_view_held_messages"
        "Messages that views hold until they are due.";
    ViewHeldBytes: Gauge Bytes [] "tickwire_view_held_bytes"
        "Bytes of the messages that views hold, at most bytes_max for each view.";
    ViewPublished: Counter One [] "tickwire_view_messages_total"
        "Messages of views that were published.";
    ViewLost: Counter One [] "tickwire_view_lost_messages_total"
        "Messages that a view did not hold because it was full or they came too fast; readers of the copies get a gap.";
    ViewRefused: Counter One [] "tickwire_view_refused_messages_total"
        "Messages of views that were not published because a limit was reached or they do not fit their topic.";
    ConfigReloads: Counter One [Reload] "tickwire_config_reloads_total"
        "Reloads of the configuration, by their result.";
    ConfigLoaded: Gauge Seconds [] "tickwire_config_last_success_timestamp_seconds"
        "Time of the start or of the last successful reload, in seconds since the Unix epoch.";
    JournalBytes: Gauge Bytes [] "tickwire_journal_bytes"
        "Bytes of the journal's files at the last checkpoint.";
    JournalWritten: Counter Bytes [] "tickwire_journal_written_bytes_total"
        "Bytes of entries that were written to the journal.";
    JournalEntries: Counter One [] "tickwire_journal_entries_total"
        "Entries that were written to the journal; each has the messages that waited when it was begun.";
    JournalUnwritten: Gauge Bytes [] "tickwire_journal_unwritten_bytes"
        "Bytes of messages that wait to be written to the journal; from 4 MiB on publishers wait.";
    JournalStore: Histogram Seconds [] "tickwire_journal_store_seconds"
        "Duration of writing an entry to the journal, with its sync if journal.sync is each.";
    JournalSync: Histogram Seconds [] "tickwire_journal_sync_seconds"
        "Duration of the syncs of the journal's files, if journal.sync is interval.";
    JournalFailures: Counter One [] "tickwire_journal_failed_writes_total"
        "Entries that could not be written to the journal, attempts to write again included; their messages were refused.";
    JournalRecovered: Gauge One [] "tickwire_journal_recovered_entries"
        "Entries of the journal that were read at the start, behind its checkpoint.";
    AccountedMessages: Counter One [Family] "tickwire_accounted_messages_total"
        "Messages that subscriptions were owed and that were delivered, by families of topics; only with `accounting.enabled`.";
    AccountedRepeats: Counter One [Family] "tickwire_accounted_repeats_total"
        "Delivered snapshots that no subscription was owed, by families of topics; only with `accounting.enabled`.";
    AccountedBytes: Counter Bytes [Family] "tickwire_accounted_bytes_total"
        "Bytes of delivered messages as they were sent, before TLS, by families of topics; only with `accounting.enabled`.";
    AccountedUsers: Gauge One [Family] "tickwire_accounted_users"
        "Users that were delivered messages today, by families of topics: holders of keys and tokens, and addresses without one.";
    Accounts: Gauge One [] "tickwire_accounts"
        "Accounts in the books of today; not exported without `accounting.enabled`.";
    AccountingFailures: Counter One [] "tickwire_accounting_failed_writes_total"
        "Times that the books could not be written to `accounting.dir`; it is tried again.";
    LanePosition: Gauge One [] "tickwire_lane_position"
        "The newest entry of the cluster's log whose messages have entered here.";
    LaneEnd: Gauge One [] "tickwire_lane_end"
        "The newest entry of the cluster's log that this node knows of.";
    LaneTerm: Gauge One [] "tickwire_lane_term"
        "The term of the writer of the cluster's log; it grows by one or more with each writer.";
    LaneState: Gauge One [LaneState] "tickwire_lane_state"
        "1 for what this node does in the cluster now, 0 for the rest.";
    LaneMessages: Counter One [] "tickwire_lane_messages_total"
        "Messages of the cluster's log that have entered here or were known here.";
    LaneAppends: Counter One [] "tickwire_lane_appends_total"
        "Entries that this node has tried to append to the cluster's log as its writer.";
    LaneEpochs: Counter One [EpochReason] "tickwire_lane_epoch_changes_total"
        "Times that this node, as the writer, has begun the numbers of all topics anew.";
    LaneUnsettled: Gauge One [] "tickwire_lane_unsettled_messages"
        "Messages of this node's publishers of which it is not known yet what became of them.";
    LogLost: Counter One [] "tickwire_log_lines_lost_total"
        "Log lines that were lost because the queue was full or they could not be written.";
    SessionsFailed: Counter One [] "tickwire_sessions_failed_total"
        "Sessions and HTTP connections that a fault of the broker ended; sessions with 1011 if that could be sent.";
    ShardRestarts: Counter One [Shard] "tickwire_shard_restarts_total"
        "Times that a shard began anew after a panic; its sessions count as failed.";
    BuildInfo: Gauge One [Version] "tickwire_build_info"
        "Always 1; the label is the version of the running broker.";
}
