//! Tests as scripts: [`check`] runs one and compares what the clients read, line by line, with what is expected.
//!
//! Statements are separated by `;`. These set up the world, before all others:
//!
//! | statement | does |
//! |---|---|
//! | `shards N`, `queue N`, `history BYTES`, `topics N`, `outbox BYTES`, `subscriptions N`, `at_once N`, `rate PER_S BURST`, `caps TOPICS TOKENS` | sets a limit |
//! | `rule PATTERN KIND HISTORY` | a kind for topics |
//! | `stale PATTERN MS` | for how long topics may be silent |
//! | `expiry PATTERN MS [watched]` | when topics end; `watched`: even if their names are subscribed |
//! | `archive N` | an archive, with `N` messages in a part; comes behind the others |
//! | `epoch PATTERN EPOCH` | topics of another epoch than that of the world, which is shown with their numbers |
//! | `synced` | `synced` is printed, which it is not otherwise |
//!
//! Clients, named by a word; each request gets the next id of its client, from 1:
//!
//! | statement | does |
//! |---|---|
//! | `open NAME [msgpack] [shard=N] [publish=PATTERN]` | a connection |
//! | `sub NAME TOPIC[@[EPOCH:]SEQ]… [mode=MODE] [rate=MS] [nosnapshot]` | subscribe, with `@` to resume from |
//! | `sub NAME PATTERN@TOPIC=[EPOCH:]SEQ,…` | the same, for a pattern |
//! | `sub NAME TOPIC^MS[/SPEED]` | with the messages from so long after the beginning on, at a speed |
//! | `positions NAME TOPIC=[EPOCH:]SEQ,…` | positions for the next subscribe |
//! | `step NAME` | one more piece of a subscribe that is not done at once, see `at_once` |
//! | `unsub NAME TOPIC…`, `resync NAME TOPIC`, `ping NAME` | these requests |
//! | `send NAME TEXT` | any message |
//! | `wsping NAME TEXT`, `wspong NAME`, `heard NAME`, `closing NAME [CODE]` | a ping frame, some byte, a close frame comes in |
//! | `lost NAME`, `again NAME` | the connection breaks; a new one of the same client |
//!
//! The broker:
//!
//! | statement | does |
//! |---|---|
//! | `pub TOPIC DATA`, `pub TOPIC FROM..TO`, `pub TOPIC *N` | publishes JSON, each of the numbers, a text of `N` letters |
//! | `open_topic TOPIC` | makes a topic without a message |
//! | `doubt TOPIC hole\|partial` | its source says that the book is not to be relied on |
//! | `drain [BUDGET]` | hands out what is queued: all, or about so many deliveries |
//! | `write NAME [BYTES]` | the client's socket takes so many bytes more, or whatever waits |
//! | `stall NAME`, `resume NAME` | the client's socket takes nothing; takes everything |
//! | `go` | drains everything and writes everyone who is not stalled |
//! | `wait MS` | time passes |
//! | `end TOPIC` | deletes a topic |
//! | `answer [N]`, `fail` | the archive answers everything, or the first requests; does not answer the first |
//! | `lose TOPIC FROM..TO` | the archive loses messages |
//! | `look` | looks for topics that fell silent, or have expired |
//! | `close NAME CODE REASON` | the broker ends a connection |
//!
//! `show …` prints numbers of the broker; see [`Script::show`].

use std::fmt::Write as _;

use expect_test::Expect;
use tickwire_router::{EpochRule, ExpiryRule, KindRule, StaleRule};
use tickwire_wire::message::{Position, Positions, Since, StaleReason, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, CloseCode, Codec, Epoch, Kind, Mode, Moment, Pattern, Seq, Topic};

use crate::described::{at, describe};
use crate::fake_archive::FakeArchive;
use crate::world::{EPOCH, START, Setup, World};

/// Runs `script` and compares its output with `expected`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "so that `expect![]` stands bare in the tests"
)]
pub(crate) fn check(script: &str, expected: Expect) {
    expected.assert_eq(run(script).trim_end());
}

/// Runs `script` and returns its output.
pub(crate) fn run(script: &str) -> String {
    let mut run = Script::default();
    for statement in script.split(';').map(str::trim).filter(|s| !s.is_empty()) {
        run.statement(statement);
    }
    run.end_repeats();
    if let Some(world) = &run.world {
        world.check_ledgers();
    }
    run.out
}

#[derive(Default)]
struct Script {
    setup: Option<Setup>,
    world: Option<World>,
    names: Vec<String>,
    rights: Vec<Vec<Pattern>>,
    /// Whether the statement lets time pass, so that messages are printed with their times.
    waits: bool,
    out: String,
    last: String,
    repeated: usize,
}

impl Script {
    fn world(&mut self) -> &mut World {
        let setup = &mut self.setup;
        self.world
            .get_or_insert_with(|| World::new(setup.take().unwrap_or_default()))
    }

    fn statement(&mut self, statement: &str) {
        let mut words = statement.split_whitespace();
        let op = words.next().expect("a statement has a word");
        let words: Vec<&str> = words.collect();
        if self.set_up(op, &words) {
            return;
        }
        match op {
            "open" => self.open(&words),
            "pub" => self.publish(words[0], &words[1..].join(" ")),
            "open_topic" => {
                let topic: Topic = words[0].parse().expect("a topic");
                self.world().directory.open(&topic).expect("there is room");
            }
            "doubt" => {
                let reason = match words[1] {
                    "hole" => StaleReason::Hole,
                    "partial" => StaleReason::Partial,
                    other => panic!("{other} is no reason of a source"),
                };
                let topic: Topic = words[0].parse().expect("a topic");
                let cell = self.world().directory.open(&topic).expect("there is room");
                cell.doubt(reason);
            }
            "drain" => {
                let budget = words.first().map(|n| number(n));
                for shard in 0..self.world().shards.len() {
                    let world = self.world();
                    while world.hand_out(shard, budget.unwrap_or(1_000)) && budget.is_none() {}
                }
            }
            "end" => {
                let ended = self.world().directory.delete(words[0]);
                let ended = ended.map_or_else(|| "nothing".to_owned(), |it| at(&it.epoch, it.seq));
                self.line(&format!("ended {}: {ended}", words[0]));
            }
            "synced" => self.world().shows_synced = true,
            "answer" | "fail" | "lose" => self.archive_statement(op, &words),
            "go" => self.world().run(),
            "look" => self.world().look(),
            "wait" => {
                let ms = number(words[0]);
                self.waits = true;
                self.world().wait_ms(ms as u64);
            }
            "show" => self.show(&words),
            _ => self.client_statement(op, self.client(words[0]), &words[1..], statement),
        }
        self.report();
        self.waits = false;
    }

    fn archive_statement(&mut self, op: &str, words: &[&str]) {
        let world = self.world();
        let archive = world.archive.clone().expect("a world with an archive");
        match (op, words) {
            ("answer", []) => world.settle_archive(),
            ("answer", [count]) => (0..number(count)).for_each(|_| world.answer_archive()),
            ("fail", _) => {
                archive.fail();
                world.settle_archive();
                world.answer_archive();
            }
            (_, [topic, seqs]) => {
                let (from, to) = seqs.split_once("..").expect("FROM..TO");
                let topic = world.directory.find(topic).expect("a topic").id();
                archive.lose(topic, &(number(from) as u64..=number(to) as u64));
            }
            _ => panic!("{op} {words:?}?"),
        }
    }

    /// Executes a statement that sets a limit. Returns whether it was one.
    fn set_up(&mut self, op: &str, words: &[&str]) -> bool {
        if op == "archive" {
            let part = number(words[0]);
            self.world().keep_in(FakeArchive::new(part));
            return true;
        }
        let known = [
            "shards",
            "queue",
            "history",
            "topics",
            "topics_per_key",
            "outbox",
            "subscriptions",
            "at_once",
            "rate",
            "publish_rate",
            "caps",
            "rule",
            "stale",
            "expiry",
            "epoch",
        ];
        if !known.contains(&op) {
            return false;
        }
        assert!(self.world.is_none(), "{op} must come first");
        let setup = self.setup.get_or_insert_default();
        match op {
            "shards" => setup.shards = words[0].parse().expect("a number"),
            "queue" => setup.queue = number(words[0]),
            "history" => setup.history_bytes = number(words[0]),
            "topics" => setup.topics = number(words[0]),
            "topics_per_key" => setup.topics_per_key = number(words[0]),
            "outbox" => setup.settings.outbox_bytes_max = number(words[0]),
            "stale" => setup.stale.push(StaleRule {
                pattern: words[0].parse().expect("a pattern"),
                after_ms: number(words[1]) as u64,
            }),
            "expiry" => setup.expiry.push(ExpiryRule {
                pattern: words[0].parse().expect("a pattern"),
                after_ms: number(words[1]) as u64,
                even_if_watched: words.get(2) == Some(&"watched"),
            }),
            "epoch" => setup.epochs.push(EpochRule {
                pattern: words[0].parse().expect("a pattern"),
                epoch: Epoch::from(words[1]),
            }),
            "subscriptions" => setup.settings.limits.subscriptions = number(words[0]),
            "at_once" => setup.settings.topics_at_once = number(words[0]),
            "caps" => {
                setup.settings.session_limits.topics = number(words[0]);
                setup.settings.session_limits.pattern_tokens = number(words[1]);
            }
            "rate" => {
                setup.settings.limits.ops_per_s = words[0].parse().expect("a number");
                setup.settings.limits.ops_burst = words[1].parse().expect("a number");
            }
            "publish_rate" => {
                setup.settings.limits.publishes_per_s = words[0].parse().expect("a number");
                setup.settings.limits.publishes_burst = words[1].parse().expect("a number");
            }
            _ => setup.rules.push(KindRule {
                pattern: words[0].parse().expect("a pattern"),
                kind: kind(words[1]),
                history: number(words[2]),
                candles: 0,
            }),
        }
        true
    }

    fn client(&self, name: &str) -> usize {
        let found = self.names.iter().position(|n| n == name);
        found.unwrap_or_else(|| panic!("no client {name:?}"))
    }

    fn open(&mut self, words: &[&str]) {
        let (mut shard, mut codec, mut publish) = (0, Codec::Json, Vec::new());
        for word in &words[1..] {
            match word.split_once('=') {
                Some(("shard", n)) => shard = number(n),
                Some(("publish", pattern)) => publish.push(pattern.parse().expect("a pattern")),
                None if *word == "msgpack" => codec = Codec::MessagePack,
                _ => panic!("open … {word}?"),
            }
        }
        let client = self.world().open(shard, codec, publish.clone());
        assert_eq!(client, self.names.len());
        self.names.push(words[0].to_owned());
        self.rights.push(publish);
    }

    fn publish(&mut self, topic: &str, data: &str) {
        if let Some(length) = data.strip_prefix('*') {
            let text = "x".repeat(number(length));
            self.world().publish(topic, &format!("\"{text}\""));
        } else if let Some((from, to)) = data.split_once("..") {
            for n in number(from)..=number(to) {
                self.world().publish(topic, &n.to_string());
            }
        } else {
            self.world().publish(topic, data);
        }
    }

    fn client_statement(&mut self, op: &str, client: usize, words: &[&str], statement: &str) {
        let rest = || {
            let mut parts = statement.splitn(3, char::is_whitespace);
            parts.nth(2).unwrap_or_default().trim()
        };
        let world = self.world();
        let now = world.now;
        let (shard, id) = (world.clients[client].shard, world.clients[client].id);
        match op {
            "sub" => self.subscribe(client, words),
            "unsub" => {
                let topics = words.iter().map(ToString::to_string).collect();
                let id = world.next_request(client);
                self.world()
                    .request(client, &ClientMessage::Unsubscribe { id, topics });
            }
            "positions" => {
                let id = world.next_request(client);
                let since = positions(words[0]);
                world.request(client, &ClientMessage::Positions { id, since });
            }
            "resync" => {
                let topic = words[0].to_owned();
                let id = world.next_request(client);
                world.request(client, &ClientMessage::Resync { id, topic });
            }
            "ping" => {
                let id = world.next_request(client);
                world.request(client, &ClientMessage::Ping { id: Some(id) });
            }
            "send" => world.send(client, rest().as_bytes()),
            "stall" => world.clients[client].room = Some(0),
            "resume" => world.make_room(client, None),
            "write" => {
                world.clients[client].room.get_or_insert(0);
                match words.first() {
                    Some(bytes) => world.make_room(client, Some(number(bytes))),
                    None => {
                        world.make_room(client, None);
                        world.clients[client].room = Some(0);
                    }
                }
            }
            "lost" => world.disconnect(client),
            "again" => {
                let rights = self.rights[client].clone();
                self.world().connect(client, rights);
            }
            "heard" => {
                // The client does not know yet that its session was given up.
                id.into_iter().for_each(|id| world.shards[shard].heard(id, now));
            }
            _ => {
                let id = id.expect("a connection");
                let shard = &mut world.shards[shard];
                match op {
                    "step" => {
                        shard.go_on(id, now);
                    }
                    "wsping" => shard.ping(id, rest().as_bytes(), now),
                    "wspong" => shard.pong(id, now),
                    "closing" => {
                        let code = words.first().map(|code| CloseCode(number(code) as u16));
                        shard.close_received(id, code, now);
                    }
                    "close" => {
                        shard.close(id, CloseCode(number(words[0]) as u16), &words[1..].join(" "), now);
                    }
                    _ => panic!("statement {statement:?}?"),
                }
            }
        }
    }

    fn subscribe(&mut self, client: usize, words: &[&str]) {
        let mut request = Subscribe {
            id: self.world().next_request(client),
            topics: Vec::new(),
            mode: None,
            conflate_ms: None,
            snapshot: true,
        };
        for word in words {
            if let Some(mode) = word.strip_prefix("mode=") {
                request.mode = Some(match mode {
                    "every" => Mode::Every,
                    "conflate" => Mode::Conflate,
                    "snapshot" => Mode::Snapshot,
                    _ => panic!("mode {mode:?}?"),
                });
            } else if let Some(ms) = word.strip_prefix("rate=") {
                request.conflate_ms = Some(ms.parse().expect("a number"));
            } else if *word == "nosnapshot" {
                request.snapshot = false;
            } else if let Some((topic, since)) = word.split_once('@') {
                let since = Some(match since {
                    "" => Since::Many(Vec::new()),
                    many if many.contains('=') => Since::Many(positions(many)),
                    one => Since::One(position(one)),
                });
                let topic = topic.to_owned();
                request.topics.push(TopicRequest::Since { topic, since });
            } else if let Some((topic, ms)) = word.split_once('^') {
                let topic = topic.to_owned();
                let (ms, speed) = ms
                    .split_once('/')
                    .map_or((ms, None), |(ms, speed)| (ms, Some(speed)));
                let from = Moment(START.plus_ms(number(ms) as u64));
                let speed = speed.map(|speed| speed.parse().expect("a speed"));
                request.topics.push(TopicRequest::From { topic, from, speed });
            } else {
                request.topics.push(TopicRequest::Pattern((*word).to_owned()));
            }
        }
        self.world().request(client, &ClientMessage::Subscribe(request));
    }

    /// `show queue`: publications queued per shard. `show outbox NAME`: data bytes that wait. `show subscribers TOPIC`.
    /// `show count NAME`: one of the first shard's counts. `show history`: bytes of all histories, and whether they are
    /// within the limit of `history`. `show sessions`. `show lagging`. `show encodes`. `show unfinished NAME`: how many topics of
    /// its request that is under way are done. `show topics`: how many there are, how many that have ended are still held,
    /// and how many each shard holds.
    fn show(&mut self, words: &[&str]) {
        let text = match words[0] {
            "queue" => {
                let depths = self.world().shards.iter().map(|s| s.queue_depth().to_string());
                depths.collect::<Vec<_>>().join(" ")
            }
            "outbox" => {
                let client = self.client(words[1]);
                let it = &self.world().clients[client];
                let (shard, id) = (it.shard, it.id.expect("a connection"));
                let outbox = self.world().shards[shard].outbox(id).expect("a session");
                format!("{} control, {} data", outbox.control_bytes(), outbox.data_bytes())
            }
            "subscribers" => {
                let cell = self.world().directory.find(words[1]).expect("a topic");
                cell.subscribers().to_string()
            }
            "asked" => {
                let archive = self.world().archive.as_ref().expect("an archive");
                format!("{} asked", archive.waiting())
            }
            "archived" => format!("{} bytes", self.world().directory.archived_bytes()),
            "unfinished" => {
                let client = self.client(words[1]);
                let it = &self.world().clients[client];
                let (shard, id) = (it.shard, it.id.expect("a connection"));
                match self.world().shards[shard].unfinished(id) {
                    Some(done) => format!("{done} done"),
                    None => "nothing".to_owned(),
                }
            }
            "topics" => {
                let world = self.world();
                let held: Vec<String> = world.shards.iter().map(|s| s.topics_held().to_string()).collect();
                let (there, ended) = (world.directory.topic_count(), world.directory.ended_and_held());
                format!("{there} there, {ended} ended, {} in shards", held.join(" "))
            }
            "lagging" => self.world().shards[0].lagging_count().to_string(),
            "sessions" => {
                let counts = self.world().shards.iter().map(|s| s.session_count().to_string());
                counts.collect::<Vec<_>>().join(" ")
            }
            "encodes" => {
                let (mut json, mut msgpack) = ([0; 2], [0; 2]);
                for shard in &self.world().shards {
                    for op in 0..2 {
                        json[op] += shard.counts().encodes[0][op];
                        msgpack[op] += shard.counts().encodes[1][op];
                    }
                }
                format!(
                    "json {} updates {} snapshots, msgpack {} updates {} snapshots",
                    json[0], json[1], msgpack[0], msgpack[1]
                )
            }
            "crossed" => self.world().directory.crossed_books().to_string(),
            "stale" => {
                let directory = &self.world().directory;
                format!(
                    "{} now, {} changes",
                    directory.stale_topics(),
                    directory.stale_changes()
                )
            }
            "count" => self.count(words[1]).to_string(),
            other => panic!("show {other:?}?"),
        };
        self.line(&format!("{}: {text}", words.join(" ")));
    }

    /// One of the first shard's counts.
    fn count(&mut self, name: &str) -> u64 {
        let counts = self.world().shards[0].counts();
        match name {
            "updates" => counts.updates,
            "snapshots" => counts.snapshots,
            "gaps" => counts.gaps,
            "lagged" => counts.lagged,
            "owed" => counts.ledger.owed,
            "delivered" => counts.ledger.delivered,
            "gapped" => counts.ledger.gapped,
            "conflated" => counts.ledger.conflated,
            "dropped" => counts.ledger.dropped,
            "pending" => counts.ledger.pending(),
            "drained" => counts.drained,
            "overflows" => counts.queue_overflows,
            other => panic!("count {other:?}?"),
        }
    }

    /// Prints a line. A line that repeats the previous one is only counted.
    fn line(&mut self, line: &str) {
        let line = shortened(line);
        if line == self.last {
            self.repeated += 1;
            return;
        }
        self.end_repeats();
        let _ = writeln!(self.out, "{line}");
        self.last = line;
    }

    fn end_repeats(&mut self) {
        match std::mem::take(&mut self.repeated) {
            0 => {}
            times => {
                let _ = writeln!(self.out, "… and {times} more of it");
            }
        }
    }

    /// Prints what the clients have read since the last statement.
    fn report(&mut self) {
        let Some(world) = &mut self.world else { return };
        let mut lines = Vec::new();
        for (name, client) in self.names.iter().zip(&mut world.clients) {
            for (at, frame) in client.inbox.drain(..) {
                lines.push((at, format!("{name}: {}", describe(&frame))));
            }
        }
        for (at, client) in world.gone.drain(..) {
            lines.push((at, format!("{}: gone", self.names[client])));
        }
        if self.waits {
            lines.sort_by_key(|(at, _)| *at);
        }
        for (at, line) in lines {
            if self.waits {
                let ms = at.since(START) / 1_000;
                self.line(&format!("{ms} ms {line}"));
            } else {
                self.line(&line);
            }
        }
    }
}

fn position(text: &str) -> Position {
    let (epoch, seq) = text.split_once(':').unwrap_or((EPOCH, text));
    Position {
        epoch: Epoch::from(epoch),
        seq: Seq(number(seq) as u64),
    }
}

/// Parses `TOPIC=[EPOCH:]SEQ,…`.
fn positions(text: &str) -> Vec<Positions> {
    let of_one = |text: &str| {
        let (topic, at) = text.split_once('=').expect("TOPIC=[EPOCH:]SEQ");
        let Position { epoch, seq } = position(at);
        let seqs = [(topic.to_owned(), seq)].into();
        Positions { epoch, seqs }
    };
    text.split(',').map(of_one).collect()
}

/// `line` with long runs of one letter cut.
fn shortened(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let run = rest.chars().take_while(|c| *c == first).count();
        if run > 20 {
            let _ = write!(text, "{first}…({run})");
        } else {
            text.extend(std::iter::repeat_n(first, run));
        }
        rest = &rest[run * first.len_utf8()..];
    }
    text
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn kind(text: &str) -> Kind {
    match text {
        "state" => Kind::State,
        "book" => Kind::Book,
        "event" => Kind::Event,
        _ => panic!("kind {text:?}?"),
    }
}
