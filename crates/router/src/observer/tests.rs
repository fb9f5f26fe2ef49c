//! The observer compared with what was published: every message is told or named as missed, once and in order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tickwire_wire::{Epoch, Kind, Micros, Payload};

use super::*;
use crate::directory::DirectoryLimits;
use crate::ingress::{Ingress, Origin};
use crate::kinds::{KindRule, Kinds};
use crate::queue::ShardQueue;

const TOPICS: [&str; 4] = ["trade.A", "trade.B", "trade.a.b", "chat.A"];

/// A directory with one shard, and an observer whose queue holds `queue` messages. Histories hold 3.
fn directory(queue: usize) -> Arc<Directory> {
    let queues = [8, queue].map(|capacity| Arc::new(ShardQueue::new(capacity, Box::new(|| {}))));
    let [shard, observer] = queues;
    let rule = KindRule {
        pattern: ">".parse().expect("a pattern"),
        kind: Kind::Event,
        history: 3,
        candles: 0,
    };
    let kinds = Kinds::with_rules(vec![rule]);
    let directory = Directory::new(Epoch::from("e"), kinds, DirectoryLimits::default(), vec![shard]);
    Arc::new(directory.with_observer(observer))
}

fn observer(directory: &Arc<Directory>) -> Observer {
    let patterns = ["trade.>", "trade.A"].map(|text| text.parse().expect("a pattern"));
    let id = directory.observers().next().expect("there is a queue for it");
    Observer::new(directory.clone(), id, patterns.to_vec())
}

fn publish(directory: &Arc<Directory>, topic: &str) -> Seq {
    let payload = Payload::from_json(b"1").expect("JSON");
    let topic = topic.parse().expect("a topic");
    let ingress = Ingress::new(directory.clone());
    let published = ingress.submit(Origin::Feed, &topic, payload, Micros(1));
    published.expect("there is room").seq
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Publish(usize),
    End(usize),
    Observe,
    /// The observer ends, and another one begins.
    Anew,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..TOPICS.len()).prop_map(Op::Publish),
        1 => (0..TOPICS.len()).prop_map(Op::End),
        2 => Just(Op::Observe),
        1 => Just(Op::Anew),
    ]
}

/// What was told of one life of a topic.
#[derive(Debug, Default, PartialEq)]
struct Told {
    last: u64,
    missed: u64,
    ended: bool,
}

proptest! {
    #[test]
    fn every_message_is_told_or_named_as_missed(
        queue in 1_usize..6,
        ops in proptest::collection::vec(op(), 1..80),
    ) {
        let directory = directory(queue);
        let mut reader = observer(&directory);
        // By the number of the topic: how far a new observer begins, and what was published.
        let mut lives: BTreeMap<TopicId, u64> = BTreeMap::new();
        let mut told: BTreeMap<TopicId, Told> = BTreeMap::new();
        for op in ops.into_iter().chain([Op::Observe, Op::Observe]) {
            match op {
                Op::Publish(topic) => {
                    let seq = publish(&directory, TOPICS[topic]);
                    let cell = directory.find(TOPICS[topic]).expect("it was published to");
                    if TOPICS[topic].starts_with("trade.") {
                        lives.insert(cell.id(), seq.0);
                    }
                }
                Op::End(topic) => {
                    directory.delete(TOPICS[topic]);
                }
                Op::Observe => {
                    reader.observe(|observed| match observed {
                        Observed::Message(cell, publication) => {
                            let told = told.entry(cell.id()).or_default();
                            assert!(!told.ended && cell.topic().as_str().starts_with("trade."));
                            assert_eq!(publication.seq.0, told.last + 1, "of {cell:?}");
                            told.last += 1;
                        }
                        Observed::Missed(cell, from, to) => {
                            let told = told.entry(cell.id()).or_default();
                            assert!(from.0 == told.last + 1 && to >= from, "{from} to {to} of {cell:?}");
                            told.missed += to.0 - told.last;
                            told.last = to.0;
                        }
                        Observed::Ended(cell) => told.entry(cell.id()).or_default().ended = true,
                    });
                }
                Op::Anew => {
                    reader = observer(&directory);
                    for (id, last) in &lives {
                        let told = told.entry(*id).or_default();
                        told.last = *last;
                        // The observer hears of the ends of topics that it knows.
                        told.ended = directory.get(*id).is_none();
                    }
                }
            }
        }
        for (id, last) in &lives {
            let (told, has_ended) = (told.entry(*id).or_default(), directory.get(*id).is_none());
            prop_assert_eq!((told.last, told.ended), (*last, has_ended), "of {:?}", id);
        }
        // It holds no topic that has ended, and no interest in the names of their next lives.
        drop(reader);
        directory.forget_shard(ShardId(0));
        prop_assert_eq!(directory.ended_and_held(), 0);
    }
}

#[test]
fn what_the_histories_no_longer_have_is_named() {
    let directory = directory(2);
    let mut reader = observer(&directory);
    for _ in 0..9 {
        publish(&directory, "trade.A");
    }
    let mut told = Vec::new();
    let mut observe = |told: &mut Vec<String>| {
        reader.observe(|observed| {
            told.push(match observed {
                Observed::Message(cell, publication) => format!("{} {}", cell.topic(), publication.seq),
                Observed::Missed(cell, from, to) => format!("{} {from}-{to} missed", cell.topic()),
                Observed::Ended(cell) => format!("{} ended", cell.topic()),
            });
        })
    };
    assert_eq!(
        observe(&mut told),
        3,
        "two messages, and a topic of which more did not fit"
    );
    let expected = ["1", "2", "3-6 missed", "7", "8", "9"].map(|seq| format!("trade.A {seq}"));
    assert_eq!(told, expected);
    told.clear();
    publish(&directory, "trade.A");
    directory.delete("trade.A");
    publish(&directory, "trade.A");
    observe(&mut told);
    assert_eq!(told, ["trade.A 10", "trade.A 1", "trade.A ended"]);
    assert_eq!(directory.ended_and_held(), 1, "the shard was not told yet");
}

#[test]
fn only_bulk_bodies_wait_for_an_observer() {
    let directory = directory(100_000);
    let _reader = observer(&directory);
    let ingress = Ingress::new(directory.clone());
    let bulk = Origin::Bulk(crate::rights::Publisher(1));
    for _ in 0..bulk.queue_high() {
        publish(&directory, "trade.A");
    }
    assert!(!ingress.is_congested(bulk));
    publish(&directory, "trade.A");
    assert_eq!(directory.observer_depth_max(), bulk.queue_high() + 1);
    assert!(ingress.is_congested(bulk));
    assert!(!ingress.is_congested(Origin::Feed) && !ingress.is_congested(Origin::Client(None)));
}
