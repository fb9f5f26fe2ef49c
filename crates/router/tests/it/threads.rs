//! The directory shared by publishers and shards on threads. Nothing waits for a time; a lost wake-up hangs the test.

#![expect(clippy::disallowed_methods, reason = "threads are what is tested")]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use tickwire_router::{
    Delivery, Directory, DirectoryLimits, Ingress, Kinds, Origin, Rights, SessionId, Shard, ShardId,
    ShardQueue, StaleRule, Transport,
};
use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Epoch, Micros, Payload, RequestId, Seq, Topic};

use crate::world::{EPOCH, Setup};

const NOW: Micros = Micros(1);

/// A directory, and a receiver of wake-ups for each shard.
fn directory(shards: usize, queue: usize) -> (Arc<Directory>, Vec<mpsc::Receiver<()>>) {
    let (wakes, woken): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::channel()).unzip();
    let queues = wakes.into_iter().map(|wake| {
        let wake = Mutex::new(wake);
        let wake = move || {
            // A shard that has ended needs no wake-up.
            let _ = wake.lock().expect("no panic holds it").send(());
        };
        Arc::new(ShardQueue::new(queue, Box::new(wake)))
    });
    let limits = DirectoryLimits {
        topics_max: 1 << 20,
        topics_per_key_max: 0,
        history_bytes_max: 1 << 30,
        ..DirectoryLimits::default()
    };
    let directory = Directory::new(Epoch::from(EPOCH), Kinds::default(), limits, queues.collect());
    (Arc::new(directory), woken)
}

fn publish(directory: &Arc<Directory>, topic: &str) -> Seq {
    let topic = topic.parse().expect("a topic");
    let payload = Payload::from_json(b"1").expect("JSON");
    let published = Ingress::new(directory.clone()).submit(Origin::Feed, &topic, payload, NOW);
    published.expect("published").seq
}

/// A shard with one session that writes everything at once.
struct Reading {
    shard: Shard,
    session: SessionId,
    /// The last number of each topic that was read.
    at: BTreeMap<String, Seq>,
}

impl Reading {
    fn new(id: u8, directory: Arc<Directory>) -> Self {
        let mut settings = Setup::default().settings;
        settings.limits.subscriptions = 1 << 20;
        settings.session_limits.pattern_tokens = 1 << 20;
        settings.limits.ops_per_s = 1_000_000;
        settings.limits.ops_burst = 1_000_000;
        settings.outbox_bytes_max = 1 << 30;
        let mut shard = Shard::new(ShardId(id), directory, settings);
        let session = shard.open(Codec::Json, Transport::WebSocket, Rc::new(Rights::open([])), NOW);
        Self {
            shard,
            session,
            at: BTreeMap::new(),
        }
    }

    fn subscribe(&mut self, pattern: &str) {
        let request = ClientMessage::Subscribe(Subscribe {
            id: RequestId(1),
            topics: vec![TopicRequest::Pattern(pattern.to_owned())],
            mode: None,
            conflate_ms: None,
            snapshot: true,
        });
        self.shard.request(self.session, Ok(request), NOW);
    }

    /// Drains and reads everything. Every message must be the next one of its topic.
    fn read(&mut self) {
        let mut at = std::mem::take(&mut self.at);
        self.read_to(|delivery| {
            let publication = delivery.publication();
            let topic = publication.lineage.topic.to_string();
            if let Some(before) = at.insert(topic, publication.seq) {
                assert_eq!(publication.seq, before.next(), "{:?}", publication.lineage.topic);
            } else if delivery.op() == DataOp::Update {
                assert_eq!(publication.seq, Seq(1), "{:?}", publication.lineage.topic);
            }
        });
        self.at = at;
    }

    /// Drains and writes everything, and calls `read` with each message.
    fn read_to(&mut self, mut read: impl FnMut(&Delivery)) {
        while self.shard.hand_out(1_000, NOW) {}
        while self.shard.dirty_count() > 0 {
            // `None` ends a round and begins none.
            let Some(id) = self.shard.next_dirty() else {
                continue;
            };
            let outbox = self.shard.outbox(id).expect("a session");
            let count = outbox.waiting().map(|waiting| waiting.bytes.len()).sum();
            let wrote = self.shard.wrote(id, count, NOW, &mut read);
            wrote.expect("no more than waited");
        }
    }
}

#[test]
fn a_topic_made_while_it_is_subscribed_is_not_missed() {
    const TOPICS: usize = 3_000;
    let (directory, _woken) = directory(1, 1_024);
    let (turn, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wait_for = |counter: &AtomicUsize, value: usize| {
        while counter.load(Ordering::Acquire) < value {
            std::thread::yield_now();
        }
    };
    let mut reading = Reading::new(0, directory.clone());
    let mut missed = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=TOPICS {
                wait_for(&turn, n);
                publish(&directory, &format!("t.{n}"));
                publish(&directory, &format!("t.{n}"));
                done.store(n, Ordering::Release);
            }
        });
        for n in 1..=TOPICS {
            turn.store(n, Ordering::Release);
            // The delay goes from "just before" to "just after", so that some of them meet in the middle.
            for _ in 0..n % 100 * 10 {
                std::hint::spin_loop();
            }
            let topic = format!("t.{n}");
            reading.subscribe(&topic);
            wait_for(&done, n);
            reading.read();
            if reading.at.get(&topic) != Some(&Seq(2)) {
                missed.push(topic);
            }
        }
    });
    assert_eq!(missed, [""; 0]);
}

#[test]
fn every_shard_gets_everything_in_order() {
    const TOPICS: usize = 20;
    const EACH: u64 = 300;
    const PUBLISHERS: u64 = 3;
    const { assert!(EACH * PUBLISHERS < 1_024, "the histories hold all of it") };
    // The queues are far too short, so most messages come from the histories.
    let (directory, woken) = directory(2, 50);
    std::thread::scope(|scope| {
        for (shard, woken) in (0..).zip(woken) {
            let directory = directory.clone();
            scope.spawn(move || {
                let mut reading = Reading::new(shard, directory);
                reading.subscribe(">");
                reading.read();
                let all = |at: &BTreeMap<String, Seq>| {
                    at.len() == TOPICS && at.values().all(|seq| seq.0 == EACH * PUBLISHERS)
                };
                while !all(&reading.at) {
                    woken.recv().expect("the directory lives");
                    reading.read();
                }
            });
        }
        for publisher in 0..PUBLISHERS {
            let directory = &directory;
            scope.spawn(move || {
                for n in 0..EACH * TOPICS as u64 {
                    publish(directory, &format!("t.{}", (n + publisher) % TOPICS as u64));
                }
            });
        }
    });
    assert_eq!(directory.topic_count(), TOPICS);
}

/// New rules are looked up in pieces. Each topic is checked by them, and once: those of every piece, and one that is made
/// while others are looked up.
#[test]
fn new_rules_hold_for_each_of_very_many_topics() {
    const TOPICS: u64 = 5_000;
    let limits = DirectoryLimits::default();
    let directory = Arc::new(Directory::new(
        Epoch::from("e"),
        Kinds::default(),
        limits,
        Vec::new(),
    ));
    let ingress = Ingress::new(directory.clone());
    let publish = |name: String| {
        let topic: Topic = name.parse().expect("a topic");
        let payload = Payload::from_json(b"1").expect("JSON");
        let published = ingress.submit(Origin::Feed, &topic, payload, Micros(1_000));
        published.expect("room for it");
    };
    for n in 0..TOPICS {
        publish(format!("old.{n}"));
    }
    let rules = ["old.*", "new.*"].map(|pattern| StaleRule {
        pattern: pattern.parse().expect("a pattern"),
        after_ms: 100,
    });
    std::thread::scope(|scope| {
        scope.spawn(|| directory.reconfigure(limits, Kinds::default(), rules.to_vec(), Vec::new()));
        scope.spawn(|| (0..TOPICS).for_each(|n| publish(format!("new.{n}"))));
    });
    let now = Micros(1_000).plus_ms(100);
    while directory.look_for_stale(now).is_some_and(|at| at <= now) {}
    assert_eq!(directory.stale_topics(), 2 * TOPICS, "each is checked");
    assert_eq!(directory.stale_changes(), 2 * TOPICS, "and falls silent once");
}

/// A publisher ends a topic again and again while shards read it, by its name and by a pattern. Each life comes whole, and
/// in order.
#[test]
fn a_topic_that_ends_while_it_is_read_loses_no_message_of_any_life() {
    const LIVES: usize = 1_500;
    const MESSAGES: u64 = 3;
    let (directory, _woken) = directory(2, 16);
    let is_over = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let readings = ["t.a", "t.*"].into_iter().zip(0_u8..).map(|(pattern, id)| {
            let (directory, is_over) = (directory.clone(), &is_over);
            let (ready, is_ready) = mpsc::channel();
            let reading = scope.spawn(move || {
                let mut reading = Reading::new(id, directory);
                reading.subscribe(pattern);
                ready.send(()).expect("the test waits for it");
                let mut read: Vec<(String, Seq)> = Vec::new();
                loop {
                    // What was published before this look comes with the reading behind it.
                    let is_last = is_over.load(Ordering::Acquire) > 0;
                    reading.read_to(|delivery| {
                        let publication = delivery.publication();
                        read.push((publication.lineage.epoch.to_string(), publication.seq));
                    });
                    if is_last {
                        assert_eq!(reading.shard.topics_held(), 0);
                        return read;
                    }
                }
            });
            is_ready.recv().expect("it subscribes");
            reading
        });
        let readings: Vec<_> = readings.collect();
        let mut epochs = Vec::new();
        for _ in 0..LIVES {
            for seq in 1..=MESSAGES {
                assert_eq!(publish(&directory, "t.a"), Seq(seq));
            }
            epochs.push(
                directory
                    .delete("t.a")
                    .expect("it was published")
                    .epoch
                    .to_string(),
            );
        }
        is_over.store(1, Ordering::Release);
        let all: Vec<(String, Seq)> = epochs
            .into_iter()
            .flat_map(|epoch| (1..=MESSAGES).map(move |seq| (epoch.clone(), Seq(seq))))
            .collect();
        for reading in readings {
            assert!(reading.join().expect("it reads") == all, "a message is missing");
        }
    });
    assert_eq!((directory.ended_and_held(), directory.topic_count()), (0, 0));
}
