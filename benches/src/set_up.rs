//! The input of the hot paths: market messages, books, directories, a topic with its subscribers.
//!
//! It is always the same, down to the last digit: no randomness, no clock.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use tickwire_router::{
    AccountId, Directory, DirectoryLimits, Kinds, Origin, Rights, SessionId, SessionLimits, Shard, ShardId,
    ShardQueue, ShardSettings, Transport, UserId,
};
use tickwire_wire::limits::{
    FIRST_REQUEST_MS, HEARTBEAT_MS, MESSAGE_BYTES_MAX, OPS_BURST, OPS_PER_S, OUTBOX_BYTES_MAX, PING_AFTER_MS,
    PONG_TIMEOUT_MS, PUBLISHES_BURST, PUBLISHES_PER_S, SHARD_QUEUE_MAX, SUBSCRIPTIONS_MAX, TOPICS_AT_ONCE,
};
use tickwire_wire::market::{self, Bbo, Candle, Level, Ticker, Trade};
use tickwire_wire::message::{AnnouncedLimits, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Decimal, Epoch, Micros, Payload, RequestId, Symbol, Topic};

/// The time of every event.
pub const NOW: Micros = Micros(1_723_118_400_123_456);

/// The instrument of every message.
#[must_use]
pub fn symbol() -> Symbol {
    Symbol::from("BTC-USD")
}

fn price(cents: i64) -> Decimal {
    Decimal::new(cents, 2)
}

fn size(units: i64) -> Decimal {
    Decimal::new(units, 5)
}

/// A `ticker`.
#[must_use]
pub fn ticker() -> Payload {
    Payload::Ticker(Box::new(Ticker {
        symbol: symbol(),
        last: price(6_117_342),
        bid: price(6_117_341),
        bid_size: size(134_219),
        ask: price(6_117_347),
        ask_size: size(20_155),
        open: price(5_988_000),
        high: price(6_145_999),
        low: price(5_901_250),
        volume: size(1_843_355_127),
        vwap: price(6_033_381),
        change_pct: price(216),
        time: NOW,
    }))
}

/// A `bbo`.
#[must_use]
pub fn bbo() -> Payload {
    Payload::Bbo(Box::new(Bbo {
        symbol: symbol(),
        bid: price(6_117_341),
        bid_size: size(134_219),
        ask: price(6_117_347),
        ask_size: size(20_155),
        time: NOW,
    }))
}

/// A `trade`.
#[must_use]
pub fn trade() -> Payload {
    Payload::Trade(Box::new(Trade {
        symbol: symbol(),
        id: 3_742_199_887,
        price: price(6_117_342),
        size: size(4_120),
        side: market::Side::Buy,
        time: NOW,
    }))
}

/// A `candle`.
#[must_use]
pub fn candle() -> Payload {
    Payload::Candle(Box::new(Candle {
        symbol: symbol(),
        interval: "1m".into(),
        start: Micros(NOW.0 / 60_000_000 * 60_000_000),
        open: price(6_115_001),
        high: price(6_119_090),
        low: price(6_114_488),
        close: price(6_117_342),
        volume: size(2_455_018),
        trades: 1_843,
        closed: false,
    }))
}

/// A `book` update of three levels a side.
#[must_use]
pub fn book_change() -> Payload {
    let mut book = whole_book(3);
    (book.checksum, book.replace) = (3_310_070_434, false);
    Payload::Book(Box::new(book))
}

/// A message that a client published as JSON: 236 bytes with strings, numbers, an array and a map.
///
/// # Panics
/// Never: the text is JSON.
#[must_use]
pub fn published() -> Payload {
    Payload::from_json(
        br#"{"user":"u-83k2","room":"lobby","text":"the spread on BTC-USD is closing, look at the book \u2013 \"now\"","sent":1723118400123,"score":0.73125,"tags":["btc","spread","urgent"],"reply":{"to":"u-17aa","seq":41827},"edited":false,"thread":null}"#,
    )
    .expect("JSON")
}

/// A side of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The buyers' side.
    Bids,
    /// The sellers' side.
    Asks,
}

fn level_at(side: Side, ticks: usize, units: i64) -> Level {
    let ticks = ticks as i64;
    let price = match side {
        Side::Bids => price(6_117_341 - ticks),
        Side::Asks => price(6_117_347 + ticks),
    };
    Level {
        price,
        size: size(units),
    }
}

/// The level that has `depth` better ones before it on a side of a [`whole_book`].
#[must_use]
pub fn level(side: Side, depth: usize) -> Level {
    level_at(side, 2 * depth, 20_155 + 1_113 * (depth as i64 % 97))
}

/// A level between the one at `depth` and the next one.
#[must_use]
pub fn level_behind(side: Side, depth: usize) -> Level {
    level_at(side, 2 * depth + 1, 500_000)
}

/// A book with `levels` levels a side, as a publisher sends it.
#[must_use]
pub fn whole_book(levels: usize) -> market::Book {
    market::Book {
        symbol: symbol(),
        bids: (0..levels).map(|depth| level(Side::Bids, depth)).collect(),
        asks: (0..levels).map(|depth| level(Side::Asks, depth)).collect(),
        checksum: 0,
        time: NOW,
        replace: true,
    }
}

/// A book message that changes one level.
#[must_use]
pub fn change_of(side: Side, level: Level) -> market::Book {
    let (bids, asks) = match side {
        Side::Bids => (vec![level], Vec::new()),
        Side::Asks => (Vec::new(), vec![level]),
    };
    market::Book {
        symbol: symbol(),
        bids,
        asks,
        checksum: 0,
        time: NOW,
        replace: false,
    }
}

/// A directory with one shard and room for `topics` topics. The other limits are the broker's defaults.
#[must_use]
pub fn directory(topics: usize) -> Arc<Directory> {
    let queue = ShardQueue::new(SHARD_QUEUE_MAX, Box::new(|| {}));
    let limits = DirectoryLimits {
        topics_max: topics,
        ..DirectoryLimits::default()
    };
    Arc::new(Directory::new(
        Epoch::from("k3v9"),
        Kinds::default(),
        limits,
        vec![Arc::new(queue)],
    ))
}

/// The only shard of `directory`, with the broker's default limits.
#[must_use]
pub fn shard(directory: &Arc<Directory>) -> Shard {
    Shard::new(ShardId(0), directory.clone(), shard_settings())
}

fn shard_settings() -> ShardSettings {
    ShardSettings {
        server: "tickwire-benches".to_owned(),
        limits: AnnouncedLimits {
            subscriptions: SUBSCRIPTIONS_MAX,
            message_bytes: MESSAGE_BYTES_MAX,
            ops_per_s: OPS_PER_S,
            ops_burst: OPS_BURST,
            publishes_per_s: PUBLISHES_PER_S,
            publishes_burst: PUBLISHES_BURST,
        },
        session_limits: SessionLimits::default(),
        topics_at_once: TOPICS_AT_ONCE,
        outbox_bytes_max: OUTBOX_BYTES_MAX,
        stall_ms: 30_000,
        heartbeat_ms: HEARTBEAT_MS,
        ping_after_ms: PING_AFTER_MS,
        pong_timeout_ms: PONG_TIMEOUT_MS,
        first_request_ms: FIRST_REQUEST_MS,
        close_timeout_ms: 5_000,
    }
}

/// A topic and the sessions that subscribe to it, all in one shard.
pub struct Audience {
    /// The shard of the sessions.
    pub shard: Shard,
    /// The topic, a `ticker`.
    pub topic: Topic,
    /// The sessions.
    pub sessions: Vec<SessionId>,
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Audience({} sessions)", self.sessions.len())
    }
}

impl Audience {
    /// `sessions` sessions, which use `codecs` in turn. They subscribe in the topic's default mode and have read the
    /// broker's answers.
    ///
    /// # Panics
    /// Never: the topic is valid.
    #[must_use]
    pub fn new(sessions: usize, codecs: &[Codec]) -> Self {
        let directory = directory(1);
        let mut shard = shard(&directory);
        let topic: Topic = "ticker.BTC-USD".parse().expect("a topic");
        directory.open(&topic).expect("there is room for it");
        let rights = Rc::new(Rights::open([]));
        let open = |(_, codec): (usize, &Codec)| {
            let id = shard.open(*codec, Transport::WebSocket, rights.clone(), NOW);
            let request = ClientMessage::Subscribe(Subscribe {
                id: RequestId(1),
                topics: vec![TopicRequest::Pattern(topic.to_string())],
                mode: None,
                conflate_ms: None,
                snapshot: true,
            });
            shard.request(id, Ok(request), NOW);
            id
        };
        let sessions = (0..sessions).zip(codecs.iter().cycle()).map(open).collect();
        let mut audience = Self {
            shard,
            topic,
            sessions,
        };
        audience.read_all();
        assert_eq!(audience.shard.subscription_count(), audience.sessions.len());
        audience
    }

    /// Has the deliveries counted for accounts of so many sessions each.
    ///
    /// # Panics
    /// If there are 2³² sessions.
    pub fn account(&mut self, sessions_each: usize) {
        for (index, id) in self.sessions.iter().enumerate() {
            let account = u32::try_from(index / sessions_each).expect("few accounts");
            self.shard.account(*id, AccountId(account), UserId(index as u64));
        }
    }

    /// Publishes to the topic and puts the message into each outbox.
    ///
    /// # Panics
    /// When `payload` is a book.
    pub fn publish(&mut self, payload: Payload) {
        let ingress = self.shard.ingress();
        let published = ingress.submit(Origin::Feed, &self.topic, payload, NOW);
        published.expect("any message that is no book");
        while self.shard.hand_out(usize::MAX, NOW) {}
    }

    /// Lets each session take everything that waits for it.
    ///
    /// # Panics
    /// Never: a session takes no more than waits for it.
    pub fn read_all(&mut self) {
        while self.shard.dirty_count() > 0 {
            self.read_round();
        }
    }

    fn read_round(&mut self) {
        while let Some(id) = self.shard.next_dirty() {
            let Some(outbox) = self.shard.outbox(id) else {
                continue;
            };
            let count = outbox.waiting().map(|waiting| waiting.bytes.len()).sum();
            self.shard
                .wrote(id, count, NOW, |_| {})
                .expect("no more than waited");
        }
    }
}
