//! The plan of a seed: the limits of a world, its clients, and everything that happens, in order.
//!
//! The whole plan is made before anything runs. So a failing run can be shortened by leaving things out.

use tickwire_router::cycle::Budgets;
use tickwire_wire::deflate::WindowBits;
use tickwire_wire::sse::Framing;
use tickwire_wire::{Codec, Dialect, Mode, Variant};

use crate::chance::Chance;
use crate::op::{Op, Pace, Since};
use crate::topics::{ALL_PATTERNS, EARLY, MORTALS, NAMES, PATTERNS};

/// The choices of the setting of this name.
const OUTBOX_BYTES: [usize; 5] = [100, 500, 2_000, 20_000, 262_144];
/// The choices of the setting of this name.
const TOPICS_AT_ONCE: [usize; 4] = [1, 2, 1_000, 1_000];

/// The settings of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSetup {
    /// The shard that the client connects to.
    pub shard: usize,
    /// What it speaks.
    pub dialect: Dialect,
    /// How many bytes the socket between the broker and the client holds.
    pub socket_bytes: usize,
}

/// The limits of a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Number of shards.
    pub shards: usize,
    /// How many publications a shard's queue holds.
    pub queue: usize,
    /// How many messages the history of an event topic holds.
    pub kept_events: usize,
    /// How many changes the history of a book holds.
    pub kept_books: usize,
    /// Whether all histories together have little room.
    pub squeezed: bool,
    /// Whether there is an archive, and whether that has lost messages.
    pub archive: Option<bool>,
    /// Most bytes of market data that wait for one connection.
    pub outbox_bytes: usize,
    /// The shard's setting of this name.
    pub stall_ms: u64,
    /// The shard's setting of this name.
    pub heartbeat_ms: u64,
    /// The shard's setting of this name.
    pub ping_after_ms: u64,
    /// The shard's setting of this name.
    pub pong_timeout_ms: u64,
    /// The shard's setting of this name.
    pub first_request_ms: u64,
    /// The shard's setting of this name.
    pub close_timeout_ms: u64,
    /// Requests per second. The burst is twice as many.
    pub ops_per_s: u32,
    /// Most subscriptions of a connection.
    pub subscriptions: usize,
    /// How many topics of a request are handled in one piece.
    pub topics_at_once: usize,
    /// How many connections are written in one batch.
    pub batch: usize,
    /// The most bytes that a connection which was full is written at a time.
    pub piece_bytes: usize,
    /// How many microseconds pass between two looks at the clock.
    pub look_us: u64,
    /// How much a shard does in one round.
    pub budgets: Budgets,
    /// The clients.
    pub clients: Vec<ClientSetup>,
}

/// A world and what happens in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The limits.
    pub setup: Setup,
    /// Everything that happens, in order.
    pub ops: Vec<Op>,
}

impl Plan {
    /// The plan of `seed`.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let setup = Setup {
            archive: archive(seed),
            ..setup(&mut chance)
        };
        let writer = Writer {
            topics: if chance.percent(40) {
                chance.between(1, 4)
            } else {
                EARLY
            },
            churn: chance.percent(60),
            violent: chance.percent(70),
            stalls: chance.percent(75),
            restarts: chance.percent(25),
            drains: chance.percent(15),
            reloads: chance.percent(25),
            // Few long messages fill an outbox; many short ones fill a queue.
            long_percent: chance.pick(&[0, 3, 15, 40]),
            chance,
            setup: &setup,
            ops: Vec::new(),
            mortality: mortality(seed),
            moments: moments(seed),
        };
        let ops = writer.write();
        Self { setup, ops }
    }
}

fn setup(chance: &mut Chance) -> Setup {
    let shards = chance.pick(&[1, 1, 2, 3]);
    let clients = (0..chance.between(1, 7)).map(|index| ClientSetup {
        shard: chance.below(shards),
        dialect: dialect(index, chance),
        socket_bytes: chance.pick(&[1, 7, 64, 300, 1_500, 16_384, 16_384, 100_000]),
    });
    let clients = clients.collect();
    Setup {
        shards,
        queue: chance.pick(&[1, 3, 12, 40, 1_000]),
        kept_events: chance.pick(&[1, 2, 6, 40, 1_024]),
        kept_books: chance.pick(&[1, 2, 4, 30, 1_024]),
        squeezed: chance.percent(15),
        archive: None,
        outbox_bytes: chance.pick(&OUTBOX_BYTES),
        stall_ms: chance.pick(&[1_000, 2_000, 30_000]),
        heartbeat_ms: chance.pick(&[1_000, 15_000]),
        ping_after_ms: chance.pick(&[2_000, 20_000]),
        pong_timeout_ms: chance.pick(&[1_500, 20_000]),
        first_request_ms: chance.pick(&[3_000, 10_000]),
        close_timeout_ms: chance.pick(&[500, 5_000]),
        ops_per_s: if chance.percent(10) { 5 } else { 1_000_000 },
        subscriptions: if chance.percent(10) { 3 } else { 64 },
        topics_at_once: chance.pick(&TOPICS_AT_ONCE),
        batch: chance.pick(&[1, 2, 64, 64]),
        piece_bytes: chance.pick(&[50, 1_000, 16_384]),
        look_us: chance.pick(&[0, 0, 1, 20, 120, 400]),
        budgets: Budgets {
            parked_bytes_max: chance.pick(&[0, 200, 1 << 24]),
            ..Budgets::default()
        },
        clients,
    }
}

/// What the client with this number speaks.
fn dialect(index: usize, chance: &mut Chance) -> Dialect {
    if chance.percent(20) {
        return Dialect::Sse(chance.pick(&[Framing::Chunked, Framing::Chunked, Framing::Bare]));
    }
    let codec = chance.pick(&Codec::ALL);
    let variant = match index % 3 {
        1 => Variant::deflated(codec, WindowBits::MAX),
        _ => Variant::plain(codec),
    };
    variant.into()
}

/// The chances of topics that end, in the worlds that have some. They are apart from the others: a world is the same with
/// them.
fn mortality(seed: u64) -> Option<Chance> {
    let mut chance = Chance::new(!seed);
    chance.percent(40).then_some(chance)
}

/// The chances of replays from a moment, in the worlds that have some. They are apart from the others, too.
fn moments(seed: u64) -> Option<Chance> {
    let mut chance = Chance::new(seed.rotate_left(32) ^ 0x6d6f_6d65_6e74);
    chance.percent(40).then_some(chance)
}

/// Whether the world has an archive, which may be one that has lost messages. This is apart from the others, too.
fn archive(seed: u64) -> Option<bool> {
    let mut chance = Chance::new(seed.rotate_left(16) ^ 0x6172_6368_6976);
    chance.percent(50).then(|| chance.percent(30))
}

/// Writes the operations of a plan.
struct Writer<'a> {
    chance: Chance,
    setup: &'a Setup,
    ops: Vec<Op>,
    /// How many topics are published to.
    topics: usize,
    /// Whether subscriptions come and go all the time.
    churn: bool,
    /// Whether connections break.
    violent: bool,
    /// Whether readers stall.
    stalls: bool,
    restarts: bool,
    /// Whether shards begin to leave.
    drains: bool,
    /// Whether the broker takes other settings.
    reloads: bool,
    long_percent: u64,
    mortality: Option<Chance>,
    moments: Option<Chance>,
}

impl Writer<'_> {
    fn write(mut self) -> Vec<Op> {
        for client in 0..self.setup.clients.len() {
            self.ops.push(Op::Connect {
                client,
                resume: false,
                ahead: false,
            });
            let first = self.subscribe(client);
            self.ops.push(first);
        }
        let length = match self.chance.below(10) {
            0..=4 => self.chance.between(20, 120),
            5..=8 => self.chance.between(100, 350),
            _ => self.chance.between(300, 1_200),
        };
        for _ in 0..length {
            let op = self.op();
            self.ops.push(op);
            if let Some(chance) = &mut self.mortality
                && chance.percent(30)
            {
                let op = mortal_op(chance, self.setup.clients.len());
                self.ops.push(op);
            }
            if let Some(chance) = &mut self.moments
                && chance.percent(15)
            {
                let ops = moment_ops(chance, self.setup.clients.len(), self.topics);
                self.ops.extend(ops);
            }
        }
        self.ops.push(Op::Settle);
        self.ops
    }

    fn client(&mut self) -> usize {
        self.chance.below(self.setup.clients.len())
    }

    fn topic(&mut self) -> usize {
        // Sometimes a topic that has not been used before.
        if self.chance.percent(4) {
            self.chance.between(EARLY, NAMES.len() - 1)
        } else {
            self.chance.below(self.topics)
        }
    }

    fn pattern(&mut self) -> usize {
        if self.chance.percent(45) {
            self.topic()
        } else if self.chance.percent(60) {
            self.chance.between(NAMES.len(), PATTERNS - 1)
        } else {
            self.chance.below(PATTERNS)
        }
    }

    fn size(&mut self) -> usize {
        if self.chance.percent(self.long_percent) {
            self.chance.pick(&[100, 400, 2_000, 20_000])
        } else {
            0
        }
    }

    fn op(&mut self) -> Op {
        match self.chance.below(100) {
            0..=29 => self.publish(),
            30..=54 => Op::Cycle {
                shard: self.chance.below(self.setup.shards),
                budget: self.chance.pick(&[0, 1, 3, 20, 65_536, 65_536]),
                read: self.chance.pick(&[1, 50, 65_536, 65_536, 65_536]),
            },
            55..=62 => self.time(),
            63..=69 => self.reading(),
            70..=74 if self.violent => self.breaking(),
            75..=79 => {
                let client = self.client();
                Op::Connect {
                    client,
                    resume: self.chance.percent(80),
                    ahead: self.chance.percent(40),
                }
            }
            80..=97 => self.request(),
            98 if self.restarts && self.chance.percent(15) => Op::Restart,
            98 if self.reloads && self.chance.percent(60) => Op::Reload {
                outbox_bytes: self.chance.pick(&OUTBOX_BYTES),
                topics_at_once: self.chance.pick(&TOPICS_AT_ONCE),
            },
            99 if self.chance.percent(20) => Op::Settle,
            99 if self.drains && self.chance.percent(30) => Op::Drain {
                shard: self.chance.below(self.setup.shards),
                window_ms: self.chance.pick(&[1, 500, 5_000]),
                patience_ms: self.chance.pick(&[1, 300, 3_000]),
            },
            _ => self.publish(),
        }
    }

    fn publish(&mut self) -> Op {
        Op::Publish {
            topic: self.topic(),
            times: self.chance.pick(&[1, 1, 1, 2, 3, 8, 30]),
            level: self.chance.next() as u8,
            size: self.size(),
        }
    }

    fn time(&mut self) -> Op {
        let ms = match self.chance.below(20) {
            0..=13 => self.chance.between(1, 60),
            14..=18 => self.chance.between(60, 2_500),
            _ => self.chance.between(2_500, 45_000),
        };
        Op::Wait { ms: ms as u64 }
    }

    fn reading(&mut self) -> Op {
        let client = self.client();
        if !self.stalls || self.chance.percent(25) {
            let bytes = self.chance.pick(&[1, 13, 200, 5_000, 1_000_000]);
            return Op::Read { client, bytes };
        }
        let pace = match self.chance.below(10) {
            0..=3 => Pace::Stalled,
            4..=6 => Pace::Trickle(self.chance.pick(&[1, 10, 100, 1_000])),
            _ => Pace::Eager,
        };
        Op::Pace { client, pace }
    }

    fn breaking(&mut self) -> Op {
        let client = self.client();
        match self.chance.below(10) {
            0..=6 => Op::Lose {
                client,
                drained: self.chance.percent(50),
            },
            7 => Op::Leave { client },
            _ => Op::Mute {
                client,
                on: self.chance.percent(50),
            },
        }
    }

    fn request(&mut self) -> Op {
        let client = self.client();
        let more = if self.churn { 0 } else { 50 };
        match self.chance.below(100) + more {
            0..=39 | 140.. => self.subscribe(client),
            40..=59 => {
                let patterns = (0..self.chance.between(1, 3)).map(|_| self.pattern());
                Op::Unsubscribe {
                    client,
                    patterns: patterns.collect(),
                }
            }
            60..=69 => Op::Resync {
                client,
                topic: self.topic(),
            },
            70..=89 => Op::Ping {
                client,
                frame: self.chance.percent(50),
            },
            90..=91 => Op::Junk { client },
            92..=94 => self.positions(client),
            _ => Op::Say {
                client,
                topic: self.topic(),
                size: self.size(),
                key: self.chance.pick(&[None, None, Some(0), Some(1), Some(2)]),
            },
        }
    }

    fn positions(&mut self, client: usize) -> Op {
        let mut topics: Vec<(usize, Since)> = Vec::new();
        for _ in 0..self.chance.between(1, 8) {
            let topic = self.topic();
            let since = since(&mut self.chance);
            if topics.iter().all(|(other, _)| *other != topic) {
                topics.push((topic, since));
            }
        }
        Op::Positions { client, topics }
    }

    fn subscribe(&mut self, client: usize) -> Op {
        let mode = match self.chance.below(10) {
            0..=4 => None,
            5..=6 => Some(Mode::Every),
            7..=8 => Some(Mode::Conflate),
            _ => Some(Mode::Snapshot),
        };
        let mut topics: Vec<(usize, Option<Since>)> = Vec::new();
        for _ in 0..self.chance.between(1, 6) {
            let pattern = self.pattern();
            let resumes = mode != Some(Mode::Snapshot) && self.chance.percent(35);
            let since = resumes.then(|| since(&mut self.chance));
            // If a request named a topic twice, no client could tell which of the results a gap belongs to.
            if topics.iter().all(|(other, _)| *other != pattern) {
                topics.push((pattern, since));
            }
        }
        Op::Subscribe {
            client,
            topics,
            mode,
            conflate_ms: self
                .chance
                .pick(&[None, None, None, Some(0), Some(50), Some(400)]),
            snapshot: self.chance.percent(75),
        }
    }
}

/// An operation on topics that end.
fn mortal_op(chance: &mut Chance, clients: usize) -> Op {
    let mortal = chance.below(MORTALS.len());
    let client = chance.below(clients);
    let pattern = chance.between(PATTERNS, ALL_PATTERNS - 1);
    match chance.below(20) {
        0..=9 => Op::PublishMortal {
            mortal,
            times: chance.pick(&[1, 1, 2, 5, 12]),
        },
        10..=13 => Op::End { mortal },
        14..=16 => Op::Subscribe {
            client,
            topics: vec![(pattern, chance.percent(40).then_some(Since::Own))],
            mode: chance.pick(&[None, None, Some(Mode::Every)]),
            conflate_ms: chance.pick(&[None, None, Some(50)]),
            snapshot: chance.percent(60),
        },
        17 => Op::Unsubscribe {
            client,
            patterns: vec![pattern],
        },
        _ => Op::Read {
            client,
            bytes: chance.pick(&[1, 50, 300, 1_000_000]),
        },
    }
}

/// A client asks for a topic from a moment on. It leaves the topic before, since the topic must be new to it.
fn moment_ops(chance: &mut Chance, clients: usize, topics: usize) -> [Op; 2] {
    let client = chance.below(clients);
    let pattern = match chance.below(20) {
        0 => chance.below(PATTERNS), // patterns are refused
        _ => chance.below(topics),
    };
    let from = Since::Ago(chance.pick(&[0, 1, 10, 100, 1_000, 10_000, 1_000_000]));
    let subscribe = Op::Subscribe {
        client,
        topics: vec![(pattern, Some(from))],
        mode: chance.pick(&[None, None, None, Some(Mode::Every), Some(Mode::Conflate)]),
        conflate_ms: chance.pick(&[None, None, None, None, Some(0), Some(50)]),
        snapshot: chance.percent(75),
    };
    let leave = Op::Unsubscribe {
        client,
        patterns: vec![pattern],
    };
    [leave, subscribe]
}

fn since(chance: &mut Chance) -> Since {
    match chance.below(10) {
        0..=4 => Since::Behind(chance.pick(&[0, 1, 2, 3, 5, 8, 50])),
        5..=7 => Since::Own,
        8 => Since::Ahead,
        _ => Since::OtherEpoch,
    }
}
