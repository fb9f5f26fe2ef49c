//! Sessions of all dialects together: which of them share bytes, and which values are kept beside a message's bytes.

use std::rc::Rc;

use tickwire_router::{Delivery, Drain, Reach, Rights, SessionId, Shard, Transport, Waiting};
use tickwire_wire::codec::DataOp;
use tickwire_wire::deflate::Encoding;
use tickwire_wire::message::{Position, Since, Subscribe, TopicRequest};
use tickwire_wire::sse::Framing;
use tickwire_wire::{
    ClientMessage, CloseCode, Codec, Control, Dialect, Epoch, ErrorCode, Micros, Refusal, RequestId, Seq,
};

use crate::world::{Setup, World};

const CHUNKED: Dialect = Dialect::Sse(Framing::Chunked);
const BARE: Dialect = Dialect::Sse(Framing::Bare);

/// A session that subscribes to `topics`, from a position if it is given.
fn open(world: &mut World, dialect: Dialect, topics: &[&str], since: Option<&Position>) -> SessionId {
    let id = begin(world, dialect, topics, since);
    world.shards[0].finish(id, world.now);
    id
}

/// A session that begins to subscribe.
fn begin(world: &mut World, dialect: Dialect, topics: &[&str], since: Option<&Position>) -> SessionId {
    let transport = match dialect {
        Dialect::WebSocket(_) => Transport::WebSocket,
        Dialect::Sse(_) => Transport::Sse,
    };
    let (shard, now) = (&mut world.shards[0], world.now);
    let id = shard.open(dialect, transport, Rc::new(Rights::open([])), now);
    let topics = topics.iter().map(|topic| TopicRequest::Since {
        topic: (*topic).to_owned(),
        since: since.cloned().map(Since::One),
    });
    let subscribe = Subscribe {
        id: RequestId(7),
        topics: topics.collect(),
        mode: None,
        conflate_ms: None,
        snapshot: true,
    };
    shard.request(id, Ok(ClientMessage::Subscribe(subscribe)), now);
    id
}

/// The messages that wait for a session, each as `look` sees it.
fn waiting<T>(world: &mut World, id: SessionId, look: impl Fn(Waiting<'_>) -> T) -> Vec<T> {
    let shard = &mut world.shards[0];
    shard.writable(id);
    while shard.next_dirty().is_some() {}
    let outbox = shard.outbox(id).expect("it is there");
    outbox.waiting().map(look).collect()
}

/// Makes a session take all that waits.
fn take(world: &mut World, id: SessionId) -> String {
    let bytes = waiting(world, id, |waiting| waiting.bytes.to_vec()).concat();
    let wrote = world.shards[0].wrote(id, bytes.len(), world.now, |_| {});
    assert!(wrote.is_ok(), "as much as waits");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn an_event_is_made_once_for_all_streams() {
    let mut world = World::new(Setup::default());
    let dialects = [CHUNKED, CHUNKED, BARE, Codec::Json.into()];
    let ids = dialects.map(|dialect| {
        let id = open(&mut world, dialect, &["trade.X"], None);
        take(&mut world, id);
        id
    });
    world.publish("trade.X", "[1,\n2]");
    while world.hand_out(0, 1_000) {}
    let frames = ids.map(|id| {
        waiting(&mut world, id, |waiting| {
            assert_eq!(waiting.reach, Reach::Nowhere, "the publication says it");
            waiting
                .delivery
                .map(|_| (waiting.bytes.as_ptr() as usize, waiting.bytes.to_vec()))
        })
    });
    let update = |at: usize| frames[at].iter().flatten().next().expect("an update").clone();
    let [(first, chunk), (second, _), (bare, event), (frame, json)] = [0, 1, 2, 3].map(update);
    assert_eq!(first, second, "the same bytes");
    assert!((first..first + chunk.len()).contains(&bare), "a part of them");
    assert!(!(first..first + chunk.len()).contains(&frame), "others");
    let json = String::from_utf8_lossy(tickwire_wire::frame::payload_of(&json)).into_owned();
    let lines = json.replace('\n', "\ndata: ");
    let event = String::from_utf8(event).expect("text");
    assert_eq!(event, format!("event: update\ndata: {lines}\n\n"));
    assert_eq!(chunk, format!("{:x}\r\n{event}\r\n", event.len()).into_bytes());
    let encodes = &world.shards[0].counts().encodes;
    assert_eq!(encodes[Encoding::Event.index()], [1, 0]);
    assert_eq!(encodes[Encoding::Plain(Codec::Json).index()], [1, 0]);
}

#[test]
fn a_stream_is_told_what_brings_it_where() {
    let mut world = World::new(Setup::default());
    for n in 1..=3 {
        world.publish("trade.X", &n.to_string());
    }
    let topic = world.directory.find("trade.X").expect("it was published to").id();
    let gone = Position {
        epoch: Epoch::from("gone"),
        seq: Seq(1),
    };
    let id = open(&mut world, CHUNKED, &["trade.X"], Some(&gone));
    let reaches = waiting(&mut world, id, |waiting| {
        (waiting.delivery.is_some(), waiting.reach)
    });
    let expected = [
        Reach::Nowhere, // the welcome
        Reach::Begins,
        Reach::To(topic, Seq(3)),
        Reach::Nowhere, // synced
    ];
    assert_eq!(reaches, expected.map(|reach| (false, reach)));
}

#[test]
fn a_gap_of_a_book_brought_a_stream_beyond_the_book_that_follows_it() {
    let mut world = World::new(Setup::default());
    let id = open(&mut world, CHUNKED, &["book.X"], None);
    take(&mut world, id);
    for time in 1..=20_000 {
        let bids = format!(
            r#"{{"symbol":"X","bids":[["{}","1"]],"asks":[],"time":{time}}}"#,
            time % 1_000
        );
        world.publish("book.X", &bids);
        while world.hand_out(0, 1_000) {}
    }
    let seen = waiting(&mut world, id, |waiting| {
        let text = String::from_utf8_lossy(waiting.bytes).into_owned();
        (
            text.contains("event: gap"),
            waiting.delivery.map(Delivery::op),
            waiting.reach,
        )
    });
    // A client that is cut off here comes back with where it was, and gets the gap and the book again.
    assert!(seen.contains(&(true, None, Reach::Unmoved)), "{seen:?}");
    assert!(
        seen.contains(&(false, Some(DataOp::Snapshot), Reach::Nowhere)),
        "{seen:?}"
    );
}

#[test]
fn the_answer_to_a_streams_subscription_is_there_as_a_value_once() {
    let mut world = World::new(Setup::default());
    let stream = open(&mut world, CHUNKED, &["trade.X", "a..b"], None);
    let answer = world.shards[0].take_answer(stream).expect("an answer");
    let results = answer.expect("something was granted");
    let refused: Vec<bool> = results.iter().map(|result| result.error.is_some()).collect();
    assert_eq!(refused, [false, true]);
    assert_eq!(world.shards[0].take_answer(stream), None);
    let websocket = open(&mut world, Codec::Json.into(), &["trade.X"], None);
    assert_eq!(world.shards[0].take_answer(websocket), None);
    // The number is used again by a session that must not find the old answer.
    let left = open(&mut world, CHUNKED, &["trade.X"], None);
    world.shards[0].remove(left);
    let next = world.shards[0].open(CHUNKED, Transport::Sse, Rc::new(Rights::open([])), world.now);
    assert_eq!((next, world.shards[0].take_answer(next)), (left, None));
}

#[test]
fn a_stream_whose_session_ended_while_opening_had_no_answer_and_was_not_counted() {
    type End = fn(&mut Shard, SessionId, Micros);
    let ends: [(End, ErrorCode, &str); 3] = [
        (
            |shard, id, now| shard.withdraw(id, "the key was withdrawn", now),
            ErrorCode::TokenExpired,
            "the key was withdrawn",
        ),
        (
            |shard, id, now| {
                shard.expires(id, Some(now));
                shard.on_timeout(now);
            },
            ErrorCode::TokenExpired,
            "the token has expired",
        ),
        (
            |shard, _, now| {
                let drain = Drain {
                    window_ms: 0,
                    deadline_ms: 1_000,
                    patience_ms: 1_000,
                    seed: 1,
                };
                shard.begin_drain(drain, now);
                shard.on_timeout(now);
            },
            ErrorCode::Internal,
            "the broker is draining; reconnect",
        ),
    ];
    for (end, code, reason) in ends {
        let mut setup = Setup::default();
        setup.settings.topics_at_once = 1;
        let mut world = World::new(setup);
        let topics = ["trade.X", "trade.Y", "trade.Z"];
        let granted = open(&mut world, CHUNKED, &topics, None);
        let opening = begin(&mut world, CHUNKED, &topics, None);
        let (shard, now) = (&mut world.shards[0], world.now);
        assert!(matches!(shard.take_answer(granted), Some(Ok(_))));
        let before = shard.open(CHUNKED, Transport::Sse, Rc::new(Rights::open([])), now);
        for id in [granted, opening, before] {
            end(shard, id, now);
        }
        assert!(!shard.go_on(opening, now));
        for (id, answer) in [
            (granted, None),
            (opening, Some(Err(Refusal::new(code, reason)))),
            (before, Some(Err(Refusal::new(code, reason)))),
        ] {
            assert_eq!(shard.take_answer(id), answer);
        }
        assert_eq!(shard.counts().refusals[code as usize], 2, "{reason}");
    }
}

#[test]
fn each_dialect_closes_in_its_own_way_and_the_code_is_known() {
    let mut world = World::new(Setup::default());
    for (dialect, close) in [
        (
            CHUNKED,
            "event: close\ndata: {\"code\":4002,\"reason\":\"slow\"}\n\n\r\n0\r\n\r\n",
        ),
        (
            BARE,
            "event: close\ndata: {\"code\":4002,\"reason\":\"slow\"}\n\n",
        ),
        (Codec::Json.into(), "slow"),
    ] {
        let id = open(&mut world, dialect, &["trade.X"], None);
        let outbox = world.shards[0].outbox(id).expect("it is there");
        assert_eq!(outbox.closed(), None);
        let now = world.now;
        world.shards[0].close(id, CloseCode::SLOW, "slow", now);
        let told = take(&mut world, id);
        assert!(told.ends_with(close), "{told}");
        let outbox = world.shards[0].outbox(id).expect("it is there");
        assert_eq!(outbox.closed(), Some(CloseCode::SLOW), "also when it is written");
    }
}

#[test]
fn heartbeats_of_streams_are_events_and_they_are_not_pinged() {
    let mut world = World::new(Setup::default());
    let ids = [CHUNKED, CHUNKED, BARE].map(|dialect| {
        let id = open(&mut world, dialect, &["trade.X"], None);
        take(&mut world, id);
        id
    });
    let now = world.now.plus_ms(25_000);
    world.shards[0].on_timeout(now);
    let beat = Control::Heartbeat { ts: now };
    for (id, dialect) in ids.into_iter().zip([CHUNKED, CHUNKED, BARE]) {
        let beats = waiting(&mut world, id, |waiting| waiting.bytes.to_vec());
        assert_eq!(beats, [dialect.control(&beat).into_vec()]);
    }
}
