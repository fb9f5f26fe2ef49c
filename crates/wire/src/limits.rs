//! The limits of the protocol, and the defaults of those that can be set.
//!
//! A limit that an operator may change is a default here, with a setting in the server's configuration. The others are
//! part of the protocol. Relations between them are checked at compile time, at the end of this file. A limit that only one
//! parser, endpoint or kind of token has is a constant beside its code.

/// Longest topic or pattern, in bytes (PROTOCOL.md, "Topics").
pub const TOPIC_BYTES_MAX: usize = 255;
/// Most dot-separated tokens in a topic or pattern.
pub const TOPIC_TOKENS_MAX: usize = 16;
/// Default for the most topics a broker holds; one more is refused with `limit_exceeded`.
pub const TOPICS_MAX: usize = 1_000_000;
/// Default for the most topics that one key, subject of tokens or address may make; one more is refused with
/// `limit_exceeded`.
pub const TOPICS_PER_KEY_MAX: usize = 100_000;

/// Longest client message, in bytes, all its fragments together. One byte more closes with 1009.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest key of a publication that may be repeated, in bytes.
pub const PUBLISH_KEY_BYTES_MAX: usize = 64;
/// Default for the time for which the key of a publication is known, in milliseconds.
pub const DEDUPE_MS: u64 = 120_000;
/// Default for the most keys of publications that are known.
pub const DEDUPE_KEYS_MAX: usize = 200_000;
/// Most fragments of one client message. One more closes with 1008.
pub const MESSAGE_FRAGMENTS_MAX: u32 = 64;
/// Longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
/// Deepest nesting of arrays and maps in published data.
pub const NESTING_MAX: usize = 64;

/// Default for the level of compression: 1, the fastest, to 9, the smallest.
pub const DEFLATE_LEVEL: u8 = 1;
/// Default for the size in bytes below which a message is not compressed.
pub const DEFLATE_THRESHOLD_BYTES: usize = 128;

/// Longest text of a decimal price or size, in bytes.
pub const DECIMAL_BYTES_MAX: usize = 40;
/// Most levels that one side of a book may hold.
pub const BOOK_LEVELS_MAX: usize = 16_384;
/// Levels of each side that a book's checksum covers.
pub const BOOK_CHECKSUM_LEVELS: usize = 10;

/// Messages of history that an `event` topic keeps by default.
pub const EVENT_HISTORY_MAX: usize = 1_024;
/// Changes of history that a `book` topic keeps by default.
pub const BOOK_HISTORY_MAX: usize = 1_024;
/// Closed candles that a `candle` topic keeps by default, beside its newest message.
pub const CLOSED_CANDLES_MAX: usize = 500;
/// Default for the bytes that all histories together may hold; over it, topics shorten their own.
pub const HISTORY_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Default for the bytes that the newest messages of all topics and their books may hold together; a publication that needs
/// more is refused with `limit_exceeded`.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Default for the bytes of messages that promised replays may keep together, each counted once.
pub const REPLAY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Default for the bytes of messages that may be kept for the replays promised to one connection.
pub const REPLAY_BYTES_PER_CONNECTION_MAX: usize = 16 * 1024 * 1024;
/// Default for the time that such messages may wait before close 4002, in milliseconds.
pub const REPLAY_MS: u64 = 60_000;

/// Default for the most subscriptions (patterns and topics as the client named them) of one connection.
pub const SUBSCRIPTIONS_MAX: usize = 1_024;
/// Names of a `subscribe` or `unsubscribe` that a shard handles before other work has its turn.
pub const TOPICS_AT_ONCE: usize = 128;
/// Default for the bytes that may wait for one connection.
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;
/// Bytes of free room in an outbox below which snapshots and replays are not pulled in.
pub const OUTBOX_REFILL_BYTES: usize = 64 * 1024;
/// The shortest times between two updates of a topic that a `conflate` subscription can have, in milliseconds. The time
/// that a client asks for is raised to one of them; a time above the last is refused with `bad_request`.
pub const CONFLATE_MS_CLASSES: [u32; 13] = [
    0, 10, 20, 50, 100, 200, 250, 500, 1_000, 2_000, 5_000, 10_000, 60_000,
];
/// Bytes of answers (acks, errors, pongs) that may wait for one connection; with more it is closed with 4002.
pub const CONTROL_QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// Publications that may wait in one shard's queue; beyond it the shard catches up from the histories.
pub const SHARD_QUEUE_MAX: usize = 65_536;

/// Default for client operations per second and connection.
pub const OPS_PER_S: u32 = 50;
/// Default for the operations that a quiet connection may send at once.
pub const OPS_BURST: u32 = 200;
/// Default for the publications per second of one connection.
pub const PUBLISHES_PER_S: u32 = 10_000;
/// Default for the publications that a quiet connection may send at once.
pub const PUBLISHES_BURST: u32 = 20_000;
/// Most publications per second, and at once, that an operator or a token can grant.
pub const PUBLISH_RATE_MAX: u32 = 10_000_000;
/// Most requests per second, and at once, that an operator or a token can grant.
pub const OPS_RATE_MAX: u64 = 1_000_000;
/// Most subscriptions of a connection that an operator or a token can grant.
pub const SUBSCRIPTIONS_SET_MAX: u64 = 1_000_000;
/// The least rate of bytes that a connection can be limited to. What is written at a time takes a few seconds at it.
pub const BYTES_PER_S_MIN: u64 = 16 * 1024;
/// The allowance of one address for looks at topics, by all its WebSocket connections and streams: as much as this
/// number of connections have.
pub const ADDRESS_VISITS: u32 = 4;
/// Default for the requests in a row, each refused whole for what it asks, after which a connection is closed with
/// 1008.
pub const REFUSALS_IN_A_ROW_MAX: u32 = 10;
/// The number of these refusals that are forgiven per second.
pub const REFUSALS_FORGIVEN_PER_S: u32 = 1;
/// Default for the requests that may be refused with `rate_limited` at once; one more closes with 1008. They are forgiven
/// as fast as requests are allowed.
pub const RATE_LIMITED_MAX: u32 = 200;
/// Default for the most topics that all patterns of a connection match together.
pub const TOPICS_PER_CONNECTION_MAX: usize = 65_536;
/// Default for the most tokens of a connection's wildcard patterns, and of its topics that did not exist when it
/// subscribed to them. The indexes hold these tokens.
pub const PATTERN_TOKENS_MAX: usize = 4 * SUBSCRIPTIONS_MAX;

/// Default for the quiet time after which the broker sends a `heartbeat`, in milliseconds.
pub const HEARTBEAT_MS: u64 = 15_000;
/// Default for the time without any byte from a client after which it is pinged, in milliseconds.
pub const PING_AFTER_MS: u64 = 20_000;
/// Default for the time that a pinged client has to answer before close 4001, in milliseconds.
pub const PONG_TIMEOUT_MS: u64 = 20_000;
/// Default for the time from the handshake to the first request, in milliseconds; then close 4008.
pub const FIRST_REQUEST_MS: u64 = 10_000;
/// Default for the time for which a connection may take none of the waiting bytes before close 4002, in milliseconds.
pub const STALL_MS: u64 = 30_000;
/// Default for the time after which the kernel ends a connection whose client acknowledges nothing or has no room
/// (`TCP_USER_TIMEOUT`), in milliseconds.
pub const USER_TIMEOUT_MS: u64 = 40_000;
/// Default for the time that a client has to send its request headers, in milliseconds.
pub const HANDSHAKE_MS: u64 = 5_000;

/// Default for the most connections of one address.
pub const CONNECTIONS_PER_ADDRESS_MAX: u32 = 1_000;
/// Default for the new connections per second of one address.
pub const HANDSHAKES_PER_S: u32 = 50;
/// Default for the new connections that one address may make at once after a quiet time.
pub const HANDSHAKES_BURST: u32 = 1_000;

/// Most bytes of HTTP request headers.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most HTTP request headers.
pub const HEADERS_MAX: usize = 100;
/// Longest body of `POST /v1/publish`, in bytes.
pub const BULK_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most `topic=` parameters of one server-sent-events request.
pub const SSE_TOPICS_MAX: usize = 64;
/// Most bytes that are read of what a client sends behind its request for server-sent events. These bytes are ignored.
pub const SSE_HEARD_BYTES_MAX: usize = 8 * 1024;
/// Default for the most messages that `GET …/history` returns.
pub const HISTORY_PAGE: usize = 100;
/// Most messages that `GET …/history` returns, whatever its `limit` says.
pub const HISTORY_PAGE_MAX: usize = 1_024;
/// Bytes of messages after which `GET …/history` ends its answer early.
pub const HISTORY_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Default for the bytes of answers over HTTP that may wait for their clients to take them, all together.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes up to which an answer does not count towards [`ANSWER_BYTES_MAX`].
pub const SMALL_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an answer per second that a client must take over HTTP on average.
pub const ANSWER_BYTES_PER_S: u64 = 16 * 1024;
/// Topics that `GET /v1/topics` returns if its request has no `limit`.
pub const TOPICS_PAGE: usize = 1_000;
/// Most topics that `GET /v1/topics` returns.
pub const TOPICS_PAGE_MAX: usize = 10_000;

/// Bytes of log lines that may wait to be written; further ones are lost and counted.
pub const LOG_QUEUE_BYTES_MAX: usize = 256 * 1024;
/// Log lines per second from one place in the code. One more line says how many were left out.
pub const LOG_LINES_PER_S_MAX: u32 = 100;

/// The most WebSocket connections that the operators' listener has open at a time, for the console.
pub const CONSOLE_CONNECTIONS_MAX: usize = 16;
/// Time in milliseconds between two rows of the health that the console shows.
pub const HEALTH_EVERY_MS: u64 = 2_000;
/// The rows of health that are kept: 15 minutes.
pub const HEALTH_ROWS_MAX: usize = 450;

const _: () = {
    assert!(CONTROL_BYTES_MAX < 126, "a control frame has a 7-bit length");
    assert!(
        1 <= DEFLATE_LEVEL && DEFLATE_LEVEL <= 9,
        "DEFLATE has nine levels"
    );
    assert!(
        MESSAGE_BYTES_MAX <= OUTBOX_BYTES_MAX,
        "a message that was accepted must fit in an outbox"
    );
    assert!(
        OUTBOX_REFILL_BYTES < OUTBOX_BYTES_MAX,
        "a refill must not by itself exceed the budget"
    );
    assert!(
        MESSAGE_BYTES_MAX <= BULK_BODY_BYTES_MAX,
        "a bulk body holds at least one message"
    );
    assert!(
        BOOK_CHECKSUM_LEVELS <= BOOK_LEVELS_MAX,
        "the checksum covers levels that a book may hold"
    );
    assert!(
        HISTORY_PAGE <= HISTORY_PAGE_MAX,
        "a page that was not sized is a page that may be"
    );
    assert!(
        2 * HISTORY_ANSWER_BYTES_MAX <= ANSWER_BYTES_MAX / 4,
        "an address may have more than one full page of history on its way"
    );
    assert!(
        TOPICS_PAGE <= TOPICS_PAGE_MAX,
        "a page that was not sized is a page that may be"
    );
    assert!(
        REPLAY_BYTES_PER_CONNECTION_MAX <= REPLAY_BYTES_MAX,
        "one connection alone may have all that it is allowed"
    );
    assert!(CONFLATE_MS_CLASSES[0] == 0, "the first class has no least time");
    let mut class = 1;
    while class < CONFLATE_MS_CLASSES.len() {
        assert!(
            CONFLATE_MS_CLASSES[class - 1] < CONFLATE_MS_CLASSES[class],
            "the classes of conflate_ms ascend"
        );
        class += 1;
    }
    assert!(OPS_PER_S <= OPS_BURST, "a burst is at least one second's worth");
    assert!(
        PUBLISHES_PER_S <= PUBLISHES_BURST && PUBLISHES_BURST <= PUBLISH_RATE_MAX,
        "a burst is at least one second's worth"
    );
    assert!(
        PATTERN_TOKENS_MAX >= TOPIC_TOKENS_MAX,
        "one pattern of any length is allowed"
    );
    assert!(
        HANDSHAKES_BURST >= CONNECTIONS_PER_ADDRESS_MAX,
        "the clients of one address may all come back at once"
    );
    assert!(
        PING_AFTER_MS + PONG_TIMEOUT_MS <= 45_000,
        "a half-open peer is gone within 45 s"
    );
    assert!(
        USER_TIMEOUT_MS <= 45_000,
        "a half-open peer is gone within 45 s, with data on its way too"
    );
    assert!(
        STALL_MS + STALL_MS / 4 < USER_TIMEOUT_MS,
        "a stalled reader, found out within a quarter more than its time, is closed before the kernel resets it"
    );
    assert!(
        TOPICS_PER_KEY_MAX <= TOPICS_MAX,
        "the broker has room for the topics of one key"
    );
    assert!(
        TOPIC_TOKENS_MAX * 2 - 1 <= TOPIC_BYTES_MAX,
        "sixteen one-byte tokens fit in a topic"
    );
};
