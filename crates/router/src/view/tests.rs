//! Views compared with what was published: a copy is its source, later and never before; what is missing shows.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tickwire_wire::{Epoch, Kind, Pattern, Payload, Seq, Topic};

use super::*;
use crate::arrival::Arrival;
use crate::directory::DirectoryLimits;
use crate::ingress::Origin;
use crate::kinds::{KindRule, Kinds};
use crate::queue::ShardQueue;

const SOURCES: [&str; 3] = ["trade.A", "ticker.A", "book.A"];
const DELAY_MS: u64 = 1_000;
/// Enough for all messages of a test.
const PLENTY: usize = 1 << 20;

fn rule(pattern: &str, bytes_max: usize) -> ViewRule {
    ViewRule {
        pattern: pattern.parse().expect("a pattern"),
        prefix: "delayed.".parse().expect("a prefix"),
        delay_ms: DELAY_MS,
        bytes_max,
    }
}

/// A directory with a shard, a queue of `capacity` messages for views, and histories of `history` messages.
fn directory(history: usize, capacity: usize) -> Arc<Directory> {
    let queue = || Arc::new(ShardQueue::new(capacity, Box::new(|| {})));
    let kinds = [
        ("trade.>", Kind::Event),
        ("ticker.>", Kind::State),
        ("book.>", Kind::Book),
    ];
    let rules = kinds.map(|(pattern, kind)| KindRule {
        pattern: pattern.parse().expect("a pattern"),
        kind,
        history,
        candles: 0,
    });
    let prefixes: [ViewPrefix; 1] = ["delayed.".parse().expect("a prefix")];
    let kinds = Kinds::with_rules(rules.to_vec()).with_copies(&prefixes);
    let directory = Directory::new(Epoch::from("e"), kinds, DirectoryLimits::default(), vec![queue()]);
    Arc::new(directory.with_observer(queue()))
}

fn views(directory: &Arc<Directory>, pattern: &str, bytes_max: usize, now: Micros) -> Views {
    let id = directory.observers().next().expect("there is a queue");
    Views::new(directory, id, vec![rule(pattern, bytes_max)], now)
}

/// A message of a source, as it was published.
#[derive(Debug, Clone)]
struct Told {
    entered: Micros,
    ts: Micros,
    json: String,
    /// The whole book after it.
    book: Option<String>,
}

/// Sources, a view of them, and everything that was published, by life.
struct World {
    directory: Arc<Directory>,
    views: Views,
    now: Micros,
    published: BTreeMap<&'static str, Vec<BTreeMap<Seq, Told>>>,
    /// The epoch of each copy, and the life of its source that it has come to.
    lives: BTreeMap<&'static str, (Epoch, usize)>,
    next: u64,
}

fn json(payload: &Payload) -> String {
    let mut json = Vec::new();
    payload.write_json(&mut json);
    String::from_utf8(json).expect("JSON")
}

/// The levels and the checksum of a book. Its time is that of its newest message.
fn levels(cell: &TopicCell) -> Option<String> {
    let snapshot = cell.snapshot()?;
    match &snapshot.payload {
        Payload::Book(book) => Some(format!("{:?} {:?} {}", book.bids, book.asks, book.checksum)),
        _ => None,
    }
}

impl World {
    fn new(bytes_max: usize) -> Self {
        Self::with_queue(bytes_max, 1 << 16)
    }

    fn with_queue(bytes_max: usize, capacity: usize) -> Self {
        let directory = directory(1_000, capacity);
        let now = Micros(1_000_000);
        Self {
            views: views(&directory, ">", bytes_max, now),
            directory,
            now,
            published: BTreeMap::new(),
            lives: BTreeMap::new(),
            next: 0,
        }
    }

    fn publish(&mut self, source: &'static str, stamped: bool) {
        self.next += 1;
        let n = self.next;
        let payload = if source.starts_with("book") {
            let text = format!(
                r#"{{"symbol":"A","bids":[["{}","{}"]],"asks":[["{}","1"]],"time":{n},"replace":{}}}"#,
                1 + n % 5,
                n % 3,
                10 + n % 4,
                n.is_multiple_of(7)
            );
            Payload::Book(Box::new(serde_json::from_str(&text).expect("a book")))
        } else {
            Payload::from_json(n.to_string().as_bytes()).expect("JSON")
        };
        let arrival = Arrival {
            stamp: stamped.then_some(Micros(self.now.0 - 500_000)),
            ..Arrival::from(self.now)
        };
        let ingress = Ingress::new(self.directory.clone());
        let topic = source.parse().expect("a topic");
        let published = ingress
            .submit(Origin::Feed, &topic, payload, arrival)
            .expect("there is room");
        let cell = self.directory.find(source).expect("it exists");
        let newest = cell.newest().expect("a message");
        let told = Told {
            entered: self.now,
            ts: newest.ts,
            json: json(&newest.payload),
            book: levels(&cell),
        };
        let lives = self.published.entry(source).or_default();
        if lives.is_empty() || published.seq == Seq(1) {
            lives.push(BTreeMap::new());
        }
        let life = lives.last_mut().expect("a life");
        life.insert(published.seq, told);
    }

    /// Publishes what is due, one message at a time, and compares each with its source.
    fn publish_due(&mut self) {
        loop {
            let before = self.views.tally();
            let more = self.views.publish_due(self.now, 1);
            for source in SOURCES {
                self.check(source);
            }
            let after = self.views.tally();
            if !more && after.held == before.held {
                return;
            }
        }
    }

    fn check(&mut self, source: &'static str) {
        let Some(copy) = self.directory.find(&format!("delayed.{source}")) else {
            return;
        };
        let Some(newest) = copy.newest() else { return };
        // Of a life that was wholly lost there is no copy.
        let (epoch, life) = self
            .lives
            .entry(source)
            .or_insert_with(|| (copy.position().epoch, 0));
        if *epoch != copy.position().epoch {
            *epoch = copy.position().epoch;
            *life += 1;
        }
        let lives = &self.published[source];
        let is_of = |told: &Told| {
            let is_data = match &told.book {
                Some(book) => levels(&copy).as_ref() == Some(book),
                None => json(&newest.payload) == told.json,
            };
            is_data && newest.ts == told.ts.plus_ms(DELAY_MS)
        };
        while !lives[*life].get(&newest.seq).is_some_and(is_of) {
            *life += 1;
            assert!(
                *life < lives.len(),
                "{source} {}: no source has it with this time and data",
                newest.seq
            );
        }
        let told = &lives[*life][&newest.seq];
        let due = told.entered.plus_ms(DELAY_MS);
        assert!(
            newest.entered >= due,
            "{source} {}: early by {}",
            newest.seq,
            due.since(newest.entered)
        );
    }

    /// The newest numbers of the copies and of their sources.
    fn heads(&self, source: &str) -> (Option<Seq>, Option<Seq>) {
        let head = |name: &str| self.directory.find(name).map(|cell| cell.position().seq);
        (head(&format!("delayed.{source}")), head(source))
    }
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Publish(usize, bool),
    End(usize),
    Observe,
    PublishDue,
    Pass(u64),
    /// The views end, and others begin.
    Anew,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..SOURCES.len(), any::<bool>()).prop_map(|(source, stamped)| Op::Publish(source, stamped)),
        1 => (0..SOURCES.len()).prop_map(Op::End),
        4 => Just(Op::Observe),
        4 => Just(Op::PublishDue),
        6 => (1_u64..700_000).prop_map(Op::Pass),
    ]
}

fn run(world: &mut World, ops: &[Op], bytes_max: usize) {
    for op in ops {
        match *op {
            Op::Publish(source, stamped) => world.publish(SOURCES[source], stamped),
            Op::End(source) => {
                world.directory.delete(SOURCES[source]);
            }
            Op::Observe => {
                world.views.observe(world.now);
            }
            Op::PublishDue => world.publish_due(),
            Op::Pass(passed) => world.now.0 += passed,
            Op::Anew => world.views = views(&world.directory, ">", bytes_max, world.now),
        }
    }
}

proptest! {
    #[test]
    fn a_copy_is_its_source_that_much_later_and_never_before(
        ops in prop::collection::vec(op(), 1..80),
        capacity in prop_oneof![Just(1_usize), Just(3), Just(1 << 16)],
    ) {
        let mut world = World::with_queue(PLENTY, capacity);
        run(&mut world, &ops, PLENTY);
        world.views.observe(world.now);
        world.now.0 += DELAY_MS * 1_000;
        world.publish_due();
        for source in SOURCES {
            let (copy, original) = world.heads(source);
            prop_assert_eq!(copy, original, "{}: everything has come, the end, too", source);
        }
        let tally = world.views.tally();
        prop_assert_eq!((tally.held, tally.held_bytes, tally.lost, tally.refused), (0, 0, 0, 0));
    }

    #[test]
    fn a_view_that_is_full_stays_within_its_bytes_and_what_is_missing_shows(
        ops in prop::collection::vec(op(), 1..120),
        messages in 1_usize..12,
    ) {
        let bytes_max = messages * held_message_bytes(64);
        let mut world = World::new(bytes_max);
        for op in &ops {
            run(&mut world, &[*op], bytes_max);
            prop_assert!(world.views.tally().held_bytes <= (bytes_max + 64 * SOURCES.len() * held_message_bytes(0)) as u64);
        }
        // What comes when there is room again is right, although something is missing before it.
        for _ in 0..2 {
            world.views.observe(world.now);
            world.now.0 += DELAY_MS * 1_000;
            world.publish_due();
            for source in SOURCES {
                world.publish(source, false);
                world.views.observe(world.now);
                world.now.0 += DELAY_MS * 1_000;
                world.publish_due();
                let (copy, original) = world.heads(source);
                if bytes_max >= 2_000 {
                    prop_assert_eq!(copy, original, "{}", source);
                }
            }
        }
    }

    /// As after a panic of the thread, and as after a restart with a journal: the copies are there, and the histories.
    #[test]
    fn views_that_begin_anew_go_on_behind_their_copies(
        ops in prop::collection::vec(prop_oneof![9 => op(), 1 => Just(Op::Anew)], 1..80),
    ) {
        let mut world = World::new(PLENTY);
        // An end that nobody has read is known only by the numbers.
        let ops: Vec<Op> = ops.into_iter().filter(|op| !matches!(op, Op::End(_))).collect();
        run(&mut world, &ops, PLENTY);
        world.views.observe(world.now);
        world.now.0 += DELAY_MS * 1_000;
        world.publish_due();
        for source in SOURCES {
            let (copy, original) = world.heads(source);
            prop_assert_eq!(copy, original, "{}", source);
        }
        prop_assert_eq!(world.views.tally().refused, 0);
    }
}

#[test]
fn nothing_is_visible_of_a_topic_before_its_first_message_is_due() {
    let mut world = World::new(PLENTY);
    world.publish("ticker.A", false);
    world.views.observe(world.now);
    world.now.0 += DELAY_MS * 1_000 - 1;
    assert!(!world.views.publish_due(world.now, 100));
    let everything: Pattern = "delayed.>".parse().expect("a pattern");
    assert!(world.directory.matching(&everything).is_empty());
    assert_eq!(world.views.next_due(), Some(Micros(world.now.0 + 1)));
    world.now.0 += 1;
    world.views.publish_due(world.now, 100);
    assert_eq!(world.directory.matching(&everything).len(), 1);
}

#[test]
fn copies_are_no_sources() {
    let mut world = World::new(PLENTY);
    for _ in 0..4 {
        world.publish("trade.A", false);
        world.views.observe(world.now);
        world.now.0 += DELAY_MS * 1_000;
        world.publish_due();
    }
    world.views.observe(world.now);
    let names = world.directory.matching(&">".parse().expect("a pattern"));
    let mut names: Vec<_> = names.iter().map(|cell| cell.topic().to_string()).collect();
    names.sort();
    assert_eq!(names, ["delayed.trade.A", "trade.A"]);
}

#[test]
fn a_copy_whose_source_has_ended_unseen_ends_its_delay_later() {
    let mut world = World::new(PLENTY);
    world.publish("trade.A", false);
    world.views.observe(world.now);
    world.now.0 += DELAY_MS * 1_000;
    world.publish_due();
    world.directory.delete("trade.A");
    world.views = views(&world.directory, ">", PLENTY, world.now);
    world.now.0 += DELAY_MS * 1_000 - 1;
    world.views.observe(world.now);
    world.views.publish_due(world.now, 100);
    assert!(world.directory.find("delayed.trade.A").is_some());
    world.now.0 += 1;
    world.views.publish_due(world.now, 100);
    assert!(world.directory.find("delayed.trade.A").is_none());
}

#[test]
fn a_held_message_counts_what_operating_md_says() {
    assert_eq!(held_message_bytes(200), 200 + 144);
}

/// Ten thousand topics, fifteen minutes later, with a message a minute each.
#[test]
fn what_ten_thousand_topics_hold_for_fifteen_minutes_is_what_the_formula_says() {
    const TOPICS: u64 = 10_000;
    const MINUTES: u64 = 15;
    let directory = directory(1, 1 << 16);
    let id = directory.observers().next().expect("there is a queue");
    let mut now = Micros(1_000_000);
    let delayed = ViewRule {
        delay_ms: MINUTES * 60_000,
        bytes_max: 1 << 30,
        ..rule("ticker.>", 0)
    };
    let mut views = Views::new(&directory, id, vec![delayed], now);
    let ingress = Ingress::new(directory.clone());
    let text = format!("\"{}\"", "x".repeat(198));
    let topics: Vec<Topic> = (0..TOPICS)
        .map(|number| format!("ticker.T{number}").parse().expect("a topic"))
        .collect();
    let publish = |views: &mut Views, now: Micros| {
        for topic in &topics {
            let payload = Payload::from_json(text.as_bytes()).expect("JSON");
            ingress
                .submit(Origin::Feed, topic, payload, now)
                .expect("there is room");
            let mut inbox = crate::queue::Inbox::default();
            directory.queue(ShardId(0)).take(&mut inbox);
            views.observe(now);
        }
    };
    publish(&mut views, now);
    let before = resident_bytes();
    for _ in 1..MINUTES {
        now = now.plus_ms(60_000);
        publish(&mut views, now);
    }
    let grown = resident_bytes().saturating_sub(before);
    let held = TOPICS * (MINUTES - 1);
    let formula = held * held_message_bytes(text.len()) as u64;
    let tally = views.tally();
    assert_eq!((tally.held, tally.published), (TOPICS * MINUTES, 0));
    let data = Payload::from_json(text.as_bytes()).expect("JSON").heap_bytes();
    assert_eq!(
        tally.held_bytes,
        TOPICS * MINUTES * held_message_bytes(data) as u64
    );
    assert!(grown <= formula * 11 / 10, "{grown} bytes for {formula}");
    assert!(grown >= formula / 3, "{grown} bytes for {formula}");
    // Nothing is visible until then, and all of it at its time.
    assert_eq!(
        views.next_due(),
        Some(Micros(1_000_000).plus_ms(MINUTES * 60_000))
    );
    now = Micros(1_000_000).plus_ms(MINUTES * 60_000);
    assert!(!views.publish_due(now, 1 << 20));
    assert_eq!(views.tally().published, TOPICS);
    now = now.plus_ms(MINUTES * 60_000);
    views.publish_due(now, 1 << 20);
    assert_eq!((views.tally().held, views.tally().held_bytes), (0, 0));
}

/// The memory of this process that is in use.
#[allow(clippy::disallowed_methods, reason = "the system tells it in a file")]
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("the system says it");
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<u64>().expect("a number") * 1_024
}
