//! The state that a panic half-way through a change would leave. It is made by hand here.

use std::rc::Rc;
use std::sync::Arc;

use tickwire_wire::frame::payload_of;
use tickwire_wire::limits::{OUTBOX_BYTES_MAX, STALL_MS};
use tickwire_wire::message::{AnnouncedLimits, Position, Subscribe, TopicRequest};
use tickwire_wire::{
    ClientMessage, Codec, Control, ErrorCode, Kind, Micros, Payload, RequestId, Seq, ServerMessage, Topic,
};

use crate::book::OrderBook;
use crate::directory::{Directory, DirectoryLimits, PublishError};
use crate::ingress::{Ingress, Origin};
use crate::kinds::{KindRule, Kinds};
use crate::queue::{ShardId, ShardQueue};
use crate::rights::Rights;
use crate::session::Transport;
use crate::settings::{SessionLimits, ShardSettings};
use crate::shard::Shard;

#[test]
fn a_book_that_a_panic_has_cost_is_refused_until_it_is_published_whole() {
    let limits = DirectoryLimits {
        topics_max: 10,
        topics_per_key_max: 0,
        history_bytes_max: 1 << 20,
        value_bytes_max: 1 << 20,
        replay_bytes_max: 1 << 20,
        ..DirectoryLimits::default()
    };
    let directory = Arc::new(Directory::new("e".into(), Kinds::default(), limits, Vec::new()));
    let ingress = Ingress::new(directory.clone());
    let topic = "book.A".parse().expect("a topic");
    let publish = |replace: bool| {
        let text = format!(r#"{{"symbol":"A","bids":[["1","2"]],"asks":[],"replace":{replace},"time":1}}"#);
        let payload = Payload::from_json(text.as_bytes()).expect("JSON");
        ingress.submit(Origin::Feed, &topic, payload, Micros(1))
    };
    publish(false).expect("it is a change");
    let cell = directory.find("book.A").expect("it was made");
    assert!(cell.snapshot().is_some());
    cell.lock().sequencer.lose_book();
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

/// A book that its broker may lose, and its readers.
struct Lossy {
    directory: Arc<Directory>,
    topic: Topic,
    shard: Shard,
}

impl Lossy {
    /// A book whose history holds `history` messages, with a shard whose queue holds `queue`.
    fn new(history: usize, queue: usize) -> Self {
        let rule = KindRule {
            pattern: "book.>".parse().expect("a pattern"),
            kind: Kind::Book,
            history,
            candles: 0,
        };
        let queue = Arc::new(ShardQueue::new(queue, Box::new(|| {})));
        let kinds = Kinds::with_rules(vec![rule]);
        let limits = DirectoryLimits::default();
        let directory = Arc::new(Directory::new("e".into(), kinds, limits, vec![queue]));
        Self {
            shard: Shard::new(ShardId(0), directory.clone(), settings()),
            topic: "book.A".parse().expect("a topic"),
            directory,
        }
    }

    fn try_publish(&self, bid: &str, replace: bool) -> Result<u64, PublishError> {
        let text =
            format!(r#"{{"symbol":"A","bids":[["{bid}","2"]],"asks":[],"replace":{replace},"time":1}}"#);
        let payload = Payload::from_json(text.as_bytes()).expect("JSON");
        let ingress = Ingress::new(self.directory.clone());
        let published = ingress.submit(Origin::Feed, &self.topic, payload, Micros(1))?;
        Ok(published.seq.0)
    }

    fn publish(&self, bid: &str, replace: bool) -> u64 {
        self.try_publish(bid, replace).expect("it is taken")
    }

    /// Loses the book, as a panic half-way through a change does.
    fn lose(&self) {
        let cell = self.directory.find("book.A").expect("it was made");
        cell.lock().sequencer.lose_book();
        cell.lock().book_snapshot = None;
    }

    /// Adds a client that subscribes, from the position `since` if it is given.
    fn subscribe(&mut self, since: Option<u64>) {
        let rights = Rc::new(Rights::open(Vec::new()));
        let id = self
            .shard
            .open(Codec::Json, Transport::WebSocket, rights, Micros(1));
        let topic = self.topic.to_string();
        let since = since.map(|seq| Position {
            epoch: "e".into(),
            seq: Seq(seq),
        });
        let request = ClientMessage::Subscribe(Subscribe {
            id: RequestId(1),
            topics: vec![TopicRequest::Since {
                topic,
                since: since.map(Into::into),
            }],
            mode: None,
            conflate_ms: None,
            snapshot: true,
        });
        self.shard.request(id, Ok(request), Micros(1));
    }

    /// The messages that all clients together are sent, without their welcomes: the ops with their numbers.
    fn read(&mut self) -> Vec<String> {
        while self.shard.hand_out(1, Micros(1)) {}
        let mut read = Vec::new();
        while let Some(id) = self.shard.next_dirty() {
            let waiting = self.shard.outbox(id).expect("a session").waiting();
            let frames: Vec<Vec<u8>> = waiting.map(|frame| frame.bytes.to_vec()).collect();
            let bytes = frames.iter().map(Vec::len).sum();
            self.shard.wrote(id, bytes, Micros(1), |_| {}).expect("no more");
            read.extend(frames.iter().filter_map(|frame| shown(payload_of(frame))));
        }
        assert_eq!(
            self.shard.dirty_count(),
            0,
            "it is asked again and again: {read:?}"
        );
        assert!(self.shard.audit().agrees_with(&self.shard.counts().ledger));
        read
    }
}

fn shown(message: &[u8]) -> Option<String> {
    Some(match Codec::Json.decode_server(message).expect("a message") {
        ServerMessage::Control(Control::Welcome { .. }) => return None,
        ServerMessage::Control(Control::Ack { results, .. }) => {
            format!("ack {}", results[0].seq.expect("it is granted"))
        }
        ServerMessage::Control(Control::Synced { .. }) => "synced".to_owned(),
        ServerMessage::Control(Control::Gap { from, to, .. }) => format!("gap {from} {to}"),
        ServerMessage::Snapshot { seq, .. } => format!("snapshot {seq}"),
        ServerMessage::Update { seq, .. } => format!("update {seq}"),
        other => panic!("{other:?}"),
    })
}

#[test]
fn who_is_behind_in_a_book_that_a_panic_has_cost_waits_until_it_is_published_whole() {
    // The queue holds one message: a reader that misses the others continues from the history.
    let mut book = Lossy::new(1, 1);
    book.publish("1", false);
    book.subscribe(None);
    assert_eq!(book.read(), ["ack 1", "snapshot 1", "synced"]);
    assert_eq!([(); 3].map(|()| book.publish("1", false)), [2, 3, 4]);
    book.lose();
    assert_eq!(book.read(), ["update 2"]);
    book.publish("1", true);
    assert_eq!(book.read(), ["gap 3 6", "snapshot 6"]);
}

/// A change from nothing is not a change from the book that the readers have.
#[test]
fn who_had_a_book_that_a_panic_has_cost_got_the_whole_as_a_change_of_it() {
    let mut book = Lossy::new(100, 100);
    book.publish("1", false);
    book.subscribe(None);
    book.publish("2", false);
    assert_eq!(book.read(), ["ack 1", "snapshot 2", "synced"]);
    book.lose();
    book.subscribe(Some(1));
    book.subscribe(Some(2));
    assert_eq!(book.read(), ["ack 2", "update 2", "synced", "ack 2", "synced"]);
    // The number between them belongs to the message that was lost with the book.
    assert_eq!(book.publish("3", true), 4);
    assert_eq!(book.read(), ["gap 3 4", "snapshot 4"].repeat(3));
    book.publish("4", false);
    assert_eq!(book.read(), ["update 5"].repeat(3));
    // A client that comes back from before it is not resumed.
    book.subscribe(Some(2));
    assert_eq!(book.read(), ["ack 5", "snapshot 5", "synced"]);
}

#[test]
fn whose_snapshot_was_due_when_a_panic_cost_the_book_got_a_change_without_it() {
    let mut book = Lossy::new(100, 100);
    book.publish("1", false);
    book.subscribe(None);
    book.lose();
    book.subscribe(None);
    assert_eq!(book.read(), ["ack 1", "ack 1"]);
    book.publish("2", true);
    assert_eq!(book.read(), ["snapshot 3", "synced"].repeat(2));
    book.publish("3", false);
    assert_eq!(book.read(), ["update 4"].repeat(2));
}

#[test]
fn a_book_that_a_panic_has_cost_went_on_counting_among_the_values() {
    let book = Lossy::new(100, 100);
    book.publish("1", false);
    let whole = book.directory.value_bytes();
    book.lose();
    assert!(book.try_publish("2", false).is_err());
    let lost = book.directory.value_bytes();
    assert!(
        lost + size_of::<OrderBook>() <= whole,
        "{lost} of {whole} bytes are left"
    );
    book.publish("1", true);
    assert!(book.try_publish("-1", false).is_err(), "a refused change");
    let back = book.directory.value_bytes();
    assert!(
        lost + size_of::<OrderBook>() <= back,
        "{back} bytes with the book"
    );
}

#[test]
fn a_whole_that_is_refused_does_not_bring_back_a_book_that_a_panic_has_cost() {
    let book = Lossy::new(100, 100);
    book.publish("1", false);
    book.lose();
    assert!(book.try_publish("-1", true).is_err());
    assert!(book.try_publish("2", false).is_err(), "a change of nothing");
    assert_eq!(book.publish("2", true), 3);
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
