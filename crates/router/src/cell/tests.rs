//! What a panic half-way through a change would leave behind, which is made here by hand.

use std::rc::Rc;
use std::sync::Arc;

use tickwire_wire::limits::{OUTBOX_BYTES_MAX, STALL_MS};
use tickwire_wire::message::{AnnouncedLimits, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, ErrorCode, Kind, Micros, Payload, RequestId, Topic};

use crate::directory::{Directory, DirectoryLimits, PublishError, ShardId};
use crate::kinds::{KindRule, Kinds};
use crate::queue::ShardQueue;
use crate::rights::Rights;
use crate::session::Transport;
use crate::shard::{SessionLimits, Shard, ShardSettings};

#[test]
fn a_book_that_a_panic_has_cost_is_refused_until_it_is_published_whole() {
    let limits = DirectoryLimits {
        topics_max: 10,
        topics_per_key_max: 0,
        history_bytes_max: 1 << 20,
        value_bytes_max: 1 << 20,
        replay_bytes_max: 1 << 20,
    };
    let directory = Directory::new("e".into(), Kinds::default(), limits, Vec::new());
    let topic = "book.A".parse().expect("a topic");
    let publish = |replace: bool| {
        let text = format!(r#"{{"symbol":"A","bids":[["1","2"]],"asks":[],"replace":{replace},"time":1}}"#);
        let payload = Payload::from_json(text.as_bytes()).expect("JSON");
        directory.publish(&topic, payload, Micros(1))
    };
    publish(false).expect("it is a change");
    let cell = directory.find("book.A").expect("it was made");
    assert!(cell.snapshot().is_some());
    cell.lock().book = None;
    match publish(false) {
        Err(PublishError::Refused(refusal)) => {
            assert_eq!(refusal.code, ErrorCode::Internal);
            assert!(refusal.reason.contains("publish it whole"), "{refusal}");
        }
        other => panic!("{other:?}"),
    }
    cell.lock().book_snapshot = None;
    assert!(cell.snapshot().is_none(), "a change is no snapshot");
    publish(true).expect("it is whole");
    assert!(cell.snapshot().is_some());
    publish(false).expect("it goes on");
}

#[test]
fn who_is_behind_in_a_book_that_a_panic_has_cost_waits_until_it_is_published_whole() {
    let rule = KindRule {
        pattern: "book.>".parse().expect("a pattern"),
        kind: Kind::Book,
        history: 1,
    };
    // One message fits in the queue: whoever misses the others goes on from the history.
    let queue = Arc::new(ShardQueue::new(1, Box::new(|| {})));
    let kinds = Kinds::with_rules(vec![rule]);
    let limits = DirectoryLimits::default();
    let directory = Arc::new(Directory::new("e".into(), kinds, limits, vec![queue]));
    let topic: Topic = "book.A".parse().expect("a topic");
    let publish = |replace: bool| {
        let text = format!(r#"{{"symbol":"A","bids":[["1","2"]],"asks":[],"replace":{replace},"time":1}}"#);
        let payload = Payload::from_json(text.as_bytes()).expect("JSON");
        directory.publish(&topic, payload, Micros(1)).expect("it fits")
    };
    publish(false);
    let mut shard = Shard::new(ShardId(0), directory.clone(), settings());
    let rights = Rc::new(Rights::open(Vec::new()));
    let id = shard.open(Codec::Json, Transport::WebSocket, rights, Micros(1));
    let request = ClientMessage::Subscribe(Subscribe {
        id: RequestId(1),
        topics: vec![TopicRequest::Pattern("book.A".to_owned())],
        mode: None,
        conflate_ms: None,
        snapshot: true,
    });
    shard.request(id, Ok(request), Micros(1));
    let write = |shard: &mut Shard| {
        let mut read = String::new();
        while let Some(id) = shard.next_dirty() {
            let waiting = shard.outbox(id).expect("a session").waiting();
            let bytes = waiting.map(|frame| frame.bytes).collect::<Vec<_>>().concat();
            shard.wrote(id, bytes.len(), Micros(1), |_| {}).expect("no more");
            read += &String::from_utf8_lossy(&bytes);
        }
        read
    };
    assert!(write(&mut shard).contains(r#""op":"snapshot""#));
    (0..3).for_each(|_| drop(publish(false)));
    directory.find("book.A").expect("it was made").lock().book = None;
    directory
        .find("book.A")
        .expect("it was made")
        .lock()
        .book_snapshot = None;
    while shard.drain(1, Micros(1)) {}
    let read = write(&mut shard);
    assert_eq!(shard.dirty_count(), 0, "it is asked again and again: {read}");
    publish(true);
    while shard.drain(1, Micros(1)) {}
    let read = write(&mut shard);
    let (gap, snapshot) = (read.find(r#""op":"gap""#), read.find(r#""op":"snapshot""#));
    assert!(gap.is_some() && gap < snapshot, "{read}");
    assert!(shard.audit().agrees_with(&shard.counts().ledger));
}

fn settings() -> ShardSettings {
    ShardSettings {
        server: "test".to_owned(),
        limits: AnnouncedLimits {
            subscriptions: 8,
            message_bytes: 65_536,
            ops_per_s: 50,
            ops_burst: 200,
            publishes_per_s: 50,
            publishes_burst: 200,
        },
        session_limits: SessionLimits::default(),
        topics_at_once: usize::MAX,
        outbox_bytes_max: OUTBOX_BYTES_MAX,
        stall_ms: STALL_MS,
        heartbeat_ms: 15_000,
        ping_after_ms: 20_000,
        pong_timeout_ms: 20_000,
        first_request_ms: 10_000,
        close_timeout_ms: 5_000,
    }
}
