//! Random operations over two shards, read by clients that check every promise of PROTOCOL.md ([`crate::reader`]).
//!
//! Queues, histories and budgets are tiny, so falling behind is normal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proptest::prelude::*;
use tickwire_router::{KindRule, Shard, StaleRule};
use tickwire_wire::deflate::Encoding;
use tickwire_wire::limits::OUTBOX_REFILL_BYTES;
use tickwire_wire::message::{Position, Since, StaleReason, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Epoch, Kind, Mode, Seq};

use crate::reader::{Asked, LONG, Levels, Reader, TopicTruth, Truth, Wanted};
use crate::world::{EPOCH, Setup, VARIANTS, World};

const CLIENTS: usize = 6;
const SHARDS: u8 = 2;

/// The name, kind and number of messages of history of each topic.
const TOPICS: [(&str, Kind, u64); 10] = [
    ("ticker.A", Kind::State, 1),
    ("ticker.B", Kind::State, 1),
    ("candle.1m.A", Kind::State, 1),
    ("trade.A", Kind::Event, 6),
    ("trade.B", Kind::Event, 6),
    ("chat.x", Kind::Event, 2),
    ("chat.y.z", Kind::Event, 2),
    ("book.A", Kind::Book, 4),
    ("book.B", Kind::Book, 1),
    ("x", Kind::Event, 100),
];

const PATTERNS: [&str; 18] = [
    "ticker.A",
    "ticker.B",
    "candle.1m.A",
    "trade.A",
    "trade.B",
    "chat.x",
    "chat.y.z",
    "book.A",
    "book.B",
    "x",
    "ticker.*",
    "candle.>",
    "trade.*",
    "chat.>",
    "book.*",
    "*.A",
    "*.*.*",
    ">",
];

#[derive(Clone)]
enum Op {
    Subscribe {
        client: usize,
        /// The patterns, some with a position to resume from.
        topics: Vec<(usize, Option<Resume>)>,
        mode: Option<Mode>,
        /// The rate, one of the classes of the router.
        conflate_ms: u32,
        snapshot: bool,
    },
    Unsubscribe {
        client: usize,
        patterns: Vec<usize>,
    },
    Resync {
        client: usize,
        topic: usize,
    },
    Publish {
        topic: usize,
        times: u8,
        level: u8,
        long: bool,
    },
    Drain {
        shard: usize,
        budget: usize,
    },
    Write {
        client: usize,
        bytes: Option<usize>,
    },
    /// Lets this time pass, in ms.
    Wait(u64),
    /// Looks for stale topics.
    Look,
    Lose {
        client: usize,
    },
    /// Connects again and resumes everything that it had, from its positions.
    Return {
        client: usize,
        mode: Option<Mode>,
    },
}

/// Writes the operation as one line, so that a failure can be read.
impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscribe {
                client,
                topics,
                mode,
                conflate_ms,
                snapshot,
            } => {
                write!(f, "sub {client}")?;
                for (pattern, resume) in topics {
                    write!(f, " {}", PATTERNS[*pattern])?;
                    if let Some(resume) = resume {
                        write!(f, "@{resume:?}")?;
                    }
                }
                write!(f, " mode={mode:?} rate={conflate_ms} snapshot={snapshot}")
            }
            Self::Unsubscribe { client, patterns } => {
                write!(f, "unsub {client}")?;
                patterns
                    .iter()
                    .try_for_each(|pattern| write!(f, " {}", PATTERNS[*pattern]))
            }
            Self::Resync { client, topic } => write!(f, "resync {client} {}", TOPICS[*topic].0),
            Self::Publish {
                topic,
                times,
                level,
                long,
            } => {
                write!(
                    f,
                    "pub {} ×{times} (level {level}, long {long})",
                    TOPICS[*topic].0
                )
            }
            Self::Drain { shard, budget } => write!(f, "drain {shard} {budget}"),
            Self::Write { client, bytes } => write!(f, "write {client} {bytes:?}"),
            Self::Wait(ms) => write!(f, "wait {ms}"),
            Self::Look => write!(f, "look"),
            Self::Lose { client } => write!(f, "lost {client}"),
            Self::Return { client, mode } => write!(f, "again {client} mode={mode:?}"),
        }
    }
}

#[derive(Debug, Clone)]
enum Resume {
    /// This number of messages before the head.
    Behind(u64),
    Ahead,
    OtherEpoch,
}

fn mode() -> impl Strategy<Value = Option<Mode>> {
    prop_oneof![
        4 => Just(None),
        2 => Just(Some(Mode::Every)),
        1 => Just(Some(Mode::Conflate)),
        1 => Just(Some(Mode::Snapshot)),
    ]
}

fn resume() -> impl Strategy<Value = Option<Resume>> {
    prop_oneof![
        4 => Just(None),
        3 => (0_u64..9).prop_map(|n| Some(Resume::Behind(n))),
        1 => Just(Some(Resume::Ahead)),
        1 => Just(Some(Resume::OtherEpoch)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    let subscribe = (
        client.clone(),
        prop::collection::vec((0..PATTERNS.len(), resume()), 1..4),
        mode(),
        prop::sample::select(vec![0_u32, 0, 10, 100, 1_000]),
        any::<bool>(),
    );
    prop_oneof![
        4 => subscribe.prop_map(|(client, topics, mode, conflate_ms, snapshot)| {
            Op::Subscribe { client, topics, mode, conflate_ms, snapshot }
        }),
        2 => (client.clone(), prop::collection::vec(0..PATTERNS.len(), 1..3))
            .prop_map(|(client, patterns)| Op::Unsubscribe { client, patterns }),
        1 => (client.clone(), 0..TOPICS.len()).prop_map(|(client, topic)| Op::Resync { client, topic }),
        8 => (0..TOPICS.len(), 1_u8..8, any::<u8>(), prop::bool::weighted(0.1))
            .prop_map(|(topic, times, level, long)| Op::Publish { topic, times, level, long }),
        5 => (0..usize::from(SHARDS), 0_usize..12).prop_map(|(shard, budget)| Op::Drain { shard, budget }),
        6 => (client.clone(), prop_oneof![
            6 => (0_usize..200).prop_map(Some),
            1 => (200_usize..40_000).prop_map(Some),
            2 => Just(None),
        ])
            .prop_map(|(client, bytes)| Op::Write { client, bytes }),
        3 => (1_u64..300).prop_map(Op::Wait),
        2 => Just(Op::Look),
        1 => client.clone().prop_map(|client| Op::Lose { client }),
        2 => (client, mode()).prop_map(|(client, mode)| Op::Return { client, mode }),
    ]
}

struct Model {
    world: World,
    truth: Truth,
    readers: Vec<Reader>,
    budget: usize,
}

impl Model {
    fn new(queue: usize, budget: usize, squeezed: bool) -> Self {
        let rules = TOPICS.iter().map(|(name, kind, kept)| KindRule {
            pattern: name.parse().expect("a pattern"),
            kind: *kind,
            history: usize::try_from(*kept).expect("small"),
            candles: 0,
        });
        let mut setup = Setup {
            shards: SHARDS,
            queue,
            history_bytes: if squeezed { 5_000 } else { 1 << 30 },
            rules: rules.collect(),
            stale: vec![StaleRule {
                pattern: ">".parse().expect("a pattern"),
                after_ms: 200,
            }],
            ..Setup::default()
        };
        setup.settings.outbox_bytes_max = budget;
        setup.settings.limits.ops_per_s = 1_000_000;
        setup.settings.limits.ops_burst = 1_000_000;
        // No source is silent, and no client idle or stalled, for so long.
        let settings = &mut setup.settings;
        settings.stall_ms = 1_000_000_000;
        settings.heartbeat_ms = 1_000_000_000;
        settings.ping_after_ms = 1_000_000_000;
        settings.first_request_ms = 1_000_000_000;
        let mut world = World::new(setup);
        for client in 0..CLIENTS {
            let variant = VARIANTS[client % VARIANTS.len()];
            world.open(client % usize::from(SHARDS), variant, Vec::new());
            world.clients[client].room = Some(0);
        }
        let topic = |(name, kind, kept): &(&'static str, Kind, u64)| TopicTruth {
            name,
            kind: *kind,
            kept: *kept,
            squeezed,
            head: 0,
            told: (false, None),
            long: BTreeSet::new(),
            books: vec![Levels::default()],
        };
        world.shows_synced = true;
        Self {
            world,
            truth: TOPICS.iter().map(topic).collect(),
            readers: (0..CLIENTS).map(|_| Reader::default()).collect(),
            budget,
        }
    }

    fn heads(&self) -> Vec<u64> {
        self.truth.iter().map(|topic| topic.head).collect()
    }

    /// Whether the client's session takes requests.
    fn is_open(&self, client: usize) -> bool {
        let it = &self.world.clients[client];
        it.id.is_some_and(|id| self.world.shards[it.shard].is_open(id))
    }

    fn subscribe(
        &mut self,
        client: usize,
        topics: Vec<Wanted>,
        (mode, conflate_ms): (Option<Mode>, u32),
        snapshot: bool,
    ) {
        let id = self.world.next_request(client);
        let requests = topics.iter().map(|(topic, since)| match since {
            None => TopicRequest::Pattern(topic.clone()),
            Some((epoch, seq)) => TopicRequest::Since {
                topic: topic.clone(),
                since: Some(Since::One(Position {
                    epoch: Epoch::from(epoch.as_str()),
                    seq: Seq(*seq),
                })),
            },
        });
        let message = ClientMessage::Subscribe(Subscribe {
            id,
            topics: requests.collect(),
            mode,
            conflate_ms: Some(conflate_ms),
            snapshot,
        });
        let heads = self.heads();
        let asked = Asked::Subscribe {
            topics,
            mode,
            conflate_ms,
            snapshot,
            heads,
        };
        self.readers[client].ask(id.0, asked);
        self.world.request(client, &message);
    }

    fn publish(&mut self, topic: usize, level: u8, long: bool) {
        let it = &mut self.truth[topic];
        it.head += 1;
        if it.kind != Kind::Book {
            if long {
                it.long.insert(it.head);
            }
            self.world.publish(it.name, &it.data(it.head));
            return;
        }
        let (side, price, size) = (usize::from(level & 1), 1 + (level >> 1) % 16, level >> 5);
        let mut levels = it.books.last().expect("from none").clone();
        if size == 0 {
            levels[side].remove(&price.to_string());
        } else {
            levels[side].insert(price.to_string(), size.to_string());
        }
        it.books.push(levels);
        let side = ["bids", "asks"][side];
        let symbol = it.name.trim_start_matches("book.");
        let data = format!(r#"{{"symbol":"{symbol}","{side}":[["{price}","{size}"]],"time":0}}"#);
        self.world.publish(it.name, &data);
    }

    fn since(&self, pattern: usize, resume: &Resume) -> Option<(String, u64)> {
        let topic = self.truth.iter().find(|topic| topic.name == PATTERNS[pattern])?;
        Some(match resume {
            Resume::Behind(n) => (EPOCH.to_owned(), topic.head.saturating_sub(*n)),
            Resume::Ahead => (EPOCH.to_owned(), topic.head + 1),
            Resume::OtherEpoch => ("other".to_owned(), topic.head),
        })
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Subscribe {
                client,
                topics,
                mode,
                conflate_ms,
                snapshot,
            } if self.is_open(client) => {
                // Subscriptions have a resume; single snapshots have none.
                let topics = topics.into_iter().map(|(pattern, resume)| {
                    let resume = resume.filter(|_| mode != Some(Mode::Snapshot));
                    let since = resume.and_then(|resume| self.since(pattern, &resume));
                    (PATTERNS[pattern].to_owned(), since)
                });
                let topics = topics.collect();
                self.subscribe(client, topics, (mode, conflate_ms), snapshot);
            }
            Op::Unsubscribe { client, patterns } if self.is_open(client) => {
                let topics: Vec<String> = patterns.iter().map(|p| PATTERNS[*p].to_owned()).collect();
                let id = self.world.next_request(client);
                self.readers[client].ask(id.0, Asked::Unsubscribe(topics.clone()));
                self.world
                    .request(client, &ClientMessage::Unsubscribe { id, topics });
            }
            Op::Resync { client, topic } if self.is_open(client) => {
                let topic = TOPICS[topic].0.to_owned();
                let id = self.world.next_request(client);
                let heads = self.heads();
                self.readers[client].ask(id.0, Asked::Resync(topic.clone(), heads));
                self.world.request(client, &ClientMessage::Resync { id, topic });
            }
            Op::Publish {
                topic,
                times,
                level,
                long,
            } => {
                for n in 0..times {
                    self.publish(topic, level.wrapping_add(n.wrapping_mul(37)), long);
                }
            }
            Op::Drain { shard, budget } => {
                self.world.hand_out(shard, budget);
            }
            Op::Write { client, bytes } => {
                self.world.make_room(client, bytes);
                if bytes.is_none() {
                    self.world.clients[client].room = Some(0);
                }
            }
            Op::Wait(ms) => self.world.wait_ms(ms),
            Op::Look => self.world.look(),
            Op::Lose { client } => self.world.disconnect(client),
            Op::Return { client, mode } if self.world.clients[client].id.is_none() => {
                self.connect(client);
                let before = std::mem::take(&mut self.readers[client]);
                let topics = before.positions(&self.truth);
                let mode = mode.filter(|mode| *mode == Mode::Every);
                if !topics.is_empty() {
                    self.subscribe(client, topics, (mode, 0), true);
                }
            }
            _ => {}
        }
        self.read();
    }

    fn connect(&mut self, client: usize) {
        self.world.connect(client, Vec::new());
        self.world.clients[client].room = Some(0);
    }

    /// Lets the readers read, and checks the ledgers and the bounds of every outbox.
    fn read(&mut self) {
        self.world.check_ledgers();
        for (client, reader) in self.world.clients.iter_mut().zip(&mut self.readers) {
            for (_, frame) in client.inbox.drain(..) {
                reader.read(&frame, &self.truth);
            }
        }
        for client in &self.world.clients {
            let shard = &self.world.shards[client.shard];
            if let Some(outbox) = client.id.and_then(|id| shard.outbox(id)) {
                let frame = LONG + 1_000;
                assert!(outbox.live_bytes() <= self.budget + frame);
                assert!(
                    outbox.data_bytes() - outbox.live_bytes() - outbox.answer_bytes()
                        <= OUTBOX_REFILL_BYTES + frame
                );
            }
        }
    }

    /// Writes everything and checks what must be true at the end.
    fn finish(&mut self) {
        for client in 0..CLIENTS {
            self.world.make_room(client, None);
        }
        self.world.run();
        self.world.run();
        // By then subscriptions with the lowest rate have their newest message.
        self.world.wait_ms(1_000);
        self.read();
        for topic in &mut self.truth {
            let cell = self.world.directory.find(topic.name);
            let silent = cell.is_some_and(|cell| cell.stale_since().is_some());
            let doubt = topic.is_crossed().then_some(StaleReason::Crossed);
            topic.told = (silent || doubt.is_some(), doubt);
        }
        for client in 0..CLIENTS {
            if self.is_open(client) {
                self.readers[client].finish(&self.truth);
            }
        }
        self.check_subscribers();
        self.check_encodes();
        self.check_interest();
    }

    /// Checks that the number of subscribers of each topic is that of the open sessions with a pattern that matches.
    fn check_subscribers(&self) {
        for topic in self.truth.iter().filter(|topic| topic.head > 0) {
            let open = (0..CLIENTS).filter(|client| self.is_open(*client));
            let expected = open
                .filter(|client| self.readers[*client].covers(topic.name))
                .count();
            let cell = self.world.directory.find(topic.name).expect("published");
            assert_eq!(cell.subscribers() as usize, expected, "{}", topic.name);
            assert_eq!(cell.position().seq, Seq(topic.head));
        }
    }

    fn check_encodes(&self) {
        let published: u64 = self.truth.iter().map(|topic| topic.head).sum();
        for encoding in Encoding::ALL {
            let counts = self.world.shards.iter().map(Shard::counts);
            let updates: u64 = counts.map(|counts| counts.encodes[encoding.index()][0]).sum();
            assert!(updates <= published, "an update is encoded once per variant");
        }
    }

    /// Checks that without any session no message is queued for a shard, in existing or in new topics.
    fn check_interest(&mut self) {
        for client in 0..CLIENTS {
            self.world.disconnect(client);
        }
        let mut before = BTreeMap::new();
        for (shard, it) in self.world.shards.iter().enumerate() {
            before.insert(
                shard,
                (it.queue_depth(), it.subscription_count(), it.waiting_bytes()),
            );
        }
        assert!(before.values().all(|left| *left == (0, 0, 0)), "{before:?}");
        for topic in 0..TOPICS.len() {
            self.publish(topic, 0, false);
        }
        self.world.publish("ticker.new", "1");
        assert!(
            self.world.shards.iter().all(|shard| shard.queue_depth() == 0),
            "nobody wants them"
        );
    }
}

proptest! {
    // The environment variable PROPTEST_CASES sets a larger number.
    #![proptest_config(ProptestConfig {
        cases: 2 * ProptestConfig::default().cases,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_promise_is_kept(
        queue in prop_oneof![1 => 0_usize..3, 2 => 3_usize..40],
        budget in prop_oneof![1 => 100_usize..600, 2 => Just(256 * 1024)],
        squeezed in prop::bool::weighted(0.25),
        ops in prop::collection::vec(op(), 1..160),
    ) {
        let mut model = Model::new(queue, budget, squeezed);
        for op in ops {
            model.apply(op);
        }
        model.finish();
    }
}
