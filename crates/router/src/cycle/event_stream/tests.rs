//! Streams whose sockets take what they are offered in any parts.

use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;
use tickwire_wire::limits::STALL_MS;
use tickwire_wire::message::{AnnouncedLimits, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Dialect, Micros, Payload, RequestId};

use super::*;
use crate::directory::DirectoryLimits;
use crate::ingress::Origin;
use crate::kinds::Kinds;
use crate::ledger::Ledger;
use crate::queue::{ShardId, ShardQueue};
use crate::rights::Rights;
use crate::session::{SessionId, Transport};
use crate::settings::{SessionLimits, ShardSettings};
use crate::shard::Shard;

/// The topics of the stream, in the order of its request: one of each kind whose messages are small.
const TOPICS: [&str; 2] = ["trade.X", "ticker.X"];
const HEAD: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// A shard with one session, which is a stream with positions, and what its client has got.
struct World {
    shard: Shard,
    id: SessionId,
    stream: EventStream,
    pieces: Pieces,
    got: Vec<u8>,
}

impl World {
    fn new(outbox_bytes_max: usize) -> Self {
        let queue = Arc::new(ShardQueue::new(1_024, Box::new(|| {})));
        let limits = DirectoryLimits::default();
        let directory = Directory::new("e".into(), Kinds::default(), limits, vec![queue]);
        let settings = ShardSettings {
            server: "test".to_owned(),
            limits: AnnouncedLimits {
                subscriptions: 8,
                message_bytes: 65_536,
                ops_per_s: 1_000,
                ops_burst: 1_000,
                publishes_per_s: 1_000,
                publishes_burst: 1_000,
            },
            session_limits: SessionLimits::default(),
            topics_at_once: usize::MAX,
            outbox_bytes_max,
            stall_ms: STALL_MS,
            heartbeat_ms: 15_000,
            ping_after_ms: 20_000,
            pong_timeout_ms: 20_000,
            first_request_ms: 10_000,
            close_timeout_ms: 5_000,
        };
        let mut shard = Shard::new(ShardId(0), Arc::new(directory), settings);
        let rights = Rc::new(Rights::open([">".parse().expect("a pattern")]));
        let id = shard.open(Dialect::Sse(Framing::Chunked), Transport::Sse, rights, Micros(0));
        let topics = TOPICS.map(|topic| TopicRequest::Since {
            topic: topic.to_owned(),
            since: None,
        });
        let subscribe = Subscribe {
            id: RequestId(0),
            topics: topics.into(),
            mode: None,
            conflate_ms: None,
            snapshot: true,
        };
        shard.request(id, Ok(ClientMessage::Subscribe(subscribe)), Micros(0));
        let answer = shard.take_answer(id).expect("it is answered");
        let track = Track::begin(None, &answer.expect("it is granted"), shard.directory());
        shard.front_begun(id);
        Self {
            shard,
            id,
            stream: EventStream::new(Framing::Chunked, HEAD.into(), Some(track)),
            pieces: Pieces::default(),
            got: Vec::new(),
        }
    }

    fn publish(&mut self, topic: &str, bytes: usize) {
        let data = format!("\"{}\"", "x".repeat(bytes));
        let payload = Payload::from_json(data.as_bytes()).expect("JSON");
        let topic = topic.parse().expect("a topic");
        let ingress = self.shard.ingress();
        assert!(ingress.submit(Origin::Feed, &topic, payload, Micros(0)).is_ok());
        self.shard.hand_out(usize::MAX, Micros(0));
    }

    /// One round of writing, in which the socket is offered about `bytes_max` bytes and takes at most `most`. Returns
    /// whether it was offered anything.
    fn write(&mut self, bytes_max: usize, most: usize) -> bool {
        // A round that is over is followed by another one.
        let next = self.shard.next_dirty().or_else(|| self.shard.next_dirty());
        let Some(id) = next else {
            return false;
        };
        let outbox = self.shard.outbox(id).expect("it is open");
        self.pieces.clear();
        let directory = self.shard.directory();
        self.stream
            .put_together(outbox, directory, bytes_max, &mut self.pieces);
        let offered = self.stream.offered(&self.pieces).expect("something waits");
        let count = offered.len().min(most);
        self.got.extend_from_slice(&offered[..count]);
        let taken = self.stream.took(count, &self.pieces);
        let wrote = self.shard.wrote(id, taken.of_outbox, Micros(0), |_| {});
        wrote.expect("no more than waited");
        if taken.has_begun {
            self.shard.front_begun(id);
        }
        self.shard.writable(id);
        true
    }

    fn ledger(&self) -> &Ledger {
        &self.shard.counts().ledger
    }

    /// The events that have come, with their ids; and that these name the position behind each event.
    fn events(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.got).expect("text");
        let mut rest = text.strip_prefix(HEAD).expect("the head comes first");
        let mut body = String::new();
        while let Some((size, after)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
            body += &after[..size];
            rest = after[size..].strip_prefix("\r\n").expect("the end of a chunk");
        }
        let mut positions = [0; TOPICS.len()];
        let mut events = Vec::new();
        for event in body.split("\n\n") {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            let Some(data) = field("data: ") else { continue };
            let data: Value = serde_json::from_str(data).expect("JSON");
            let moved = match data["op"].as_str() {
                Some("update" | "snapshot") => data["seq"].as_u64(),
                Some("gap") => data["to"].as_u64(),
                _ => None,
            };
            if let Some(seq) = moved {
                let at = TOPICS.iter().position(|topic| data["topic"] == *topic);
                positions[at.expect("a topic of the stream")] = seq;
            }
            let id = format!("e:{},{}", positions[0], positions[1]);
            let has_id = moved.is_some() || data["op"] == "ack";
            assert_eq!(field("id: "), has_id.then_some(&*id), "{data}");
            events.push(data);
        }
        events
    }
}

#[test]
fn a_message_counted_as_delivered_before_the_socket_had_taken_it() {
    let mut world = World::new(1 << 20);
    while world.write(usize::MAX, usize::MAX) {}
    for _ in 0..3 {
        world.publish("trade.X", 1_000);
    }
    assert!(world.write(usize::MAX, 1_500));
    assert_eq!((world.ledger().delivered, world.ledger().pending()), (1, 2));
    let waiting = world.shard.waiting_bytes();
    assert!(
        waiting > 1_500,
        "{waiting} bytes wait of 3,000, and 1,500 were taken"
    );
    while world.write(usize::MAX, usize::MAX) {}
    assert_eq!((world.ledger().delivered, world.ledger().pending()), (3, 0));
}

#[test]
fn a_large_event_was_kept_as_bytes_of_the_streams_own() {
    let mut world = World::new(64 << 20);
    while world.write(usize::MAX, usize::MAX) {}
    let large = 1 << 20;
    world.publish("trade.X", large);
    let before = world.got.len();
    while world.write(8_192, 5_000) {
        let taken = world.got.len() - before;
        let held = world.pieces.bytes_len() + world.stream.own.capacity();
        assert!(held <= 8_192 + 64, "{held} bytes are held");
        let waiting = world.shard.waiting_bytes();
        assert!(
            taken + waiting >= large || waiting == 0,
            "{waiting} wait behind {taken}"
        );
    }
    assert_eq!(
        world.events().last().map(|event| event["seq"].clone()),
        Some(1.into())
    );
}

/// Something that happens to a stream.
#[derive(Debug, Clone)]
enum Act {
    /// Data of this many bytes is published to a topic.
    Publish(usize, usize),
    /// The client is answered.
    Answer,
    /// The socket is offered about as many bytes as the first number, and takes at most the second.
    Write(usize, usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (0..TOPICS.len(), 0_usize..600).prop_map(|(topic, bytes)| Act::Publish(topic, bytes)),
        Just(Act::Answer),
        (1_usize..700, 0_usize..40).prop_map(|(offered, taken)| Act::Write(offered, taken)),
        (1_usize..3_000, 0_usize..3_000).prop_map(|(offered, taken)| Act::Write(offered, taken)),
    ];
    prop::collection::vec(act, 1..60)
}

proptest! {
    /// A socket may take a part of an id, an id alone or a part of an event. Then other messages come, and those that
    /// wait are taken back or replaced.
    #[test]
    fn each_event_has_the_id_of_its_own_position_whatever_the_socket_takes(acts in acts()) {
        let mut world = World::new(2_000);
        for act in acts {
            match act {
                Act::Publish(topic, bytes) => world.publish(TOPICS[topic], bytes),
                Act::Answer => {
                    let ping = ClientMessage::Ping {
                        id: Some(RequestId(1)),
                    };
                    world.shard.request(world.id, Ok(ping), Micros(0));
                }
                Act::Write(bytes_max, most) => {
                    world.write(bytes_max, most);
                }
            }
        }
        while world.write(4_096, usize::MAX) {}
        let events = world.events();
        for (topic, skips) in TOPICS.iter().zip([false, true]) {
            let mut last = 0;
            for event in events.iter().filter(|event| event["topic"] == *topic) {
                let first = event["from"].as_u64().or(event["seq"].as_u64());
                let first = first.expect("a number");
                if event["op"] != "joined" {
                    prop_assert!(first == last + 1 || skips && first > last, "{event} after {last}");
                    last = event["to"].as_u64().unwrap_or(first);
                }
            }
            let newest = world.shard.directory().find(topic).map_or(0, |cell| cell.position().seq.0);
            prop_assert_eq!(last, newest);
        }
        prop_assert_eq!(world.ledger().pending(), 0);
        prop_assert!(world.shard.audit().agrees_with(world.ledger()));
    }
}
