//! The work that a shard does at once is bounded, however many topics or sessions have something due. The tests count,
//! and never measure time.

use std::collections::BTreeSet;

use tickwire_router::{Rights, SessionId, SharedBucket, Transport, Watched};
use tickwire_wire::{Codec, Control, ServerMessage};

use crate::world::{Frame, Setup, World};

/// The number of topics or sessions that have something due.
const MANY: usize = 5_000;

#[test]
fn topics_that_a_full_queue_left_out_are_seen_to_a_piece_at_a_time() {
    let mut setup = Setup {
        queue: 1,
        ..Setup::default()
    };
    setup.settings.session_limits.topics = MANY + 1;
    let mut world = World::new(setup);
    let client = world.open(0, Codec::Json, Vec::new());
    world.subscribe(client, ">");
    for round in 1..=2 {
        (0..MANY).for_each(|n| world.publish(&format!("trade.S{n}"), &round.to_string()));
        let behind = |world: &World| {
            let lags = world.shards[0].sessions_debug(1, Watched::Behind, world.now);
            lags.first().map_or(0, |lag| lag.behind)
        };
        let mut pieces = 0;
        while world.hand_out(0, 100) {
            pieces += 1;
            assert!(
                behind(&world) <= pieces * 101,
                "{} of them at once",
                behind(&world)
            );
        }
        assert!(pieces >= MANY / 101, "{pieces} pieces");
        world.run();
        let updates = world.clients[client]
            .inbox
            .drain(..)
            .filter(|(_, frame)| matches!(frame, Frame::Message(ServerMessage::Update { .. })));
        assert_eq!(updates.count(), MANY, "round {round}");
        world.check_ledgers();
    }
}

#[test]
fn topics_that_fell_silent_are_told_of_a_piece_at_a_time() {
    let mut world = World::new(Setup {
        stale: vec![tickwire_router::StaleRule {
            pattern: ">".parse().expect("a pattern"),
            after_ms: 1_000,
        }],
        queue: 2 * MANY,
        ..Setup::default()
    });
    let client = world.open(0, Codec::Json, Vec::new());
    world.subscribe(client, ">");
    (0..MANY).for_each(|n| world.publish(&format!("ticker.S{n}"), "1"));
    while world.hand_out(0, 1_000) {}
    world.run();
    world.clients[client].inbox.clear();
    world.now = world.now.plus_ms(2_000);
    world.look();
    let (mut pieces, mut told) = (0, 0);
    loop {
        let more = world.hand_out(0, 100);
        pieces += 1;
        world.write_dirty(0);
        let now = world.clients[client].inbox.drain(..).count();
        assert!(now <= 101, "{now} at once");
        told += now;
        if !more {
            break;
        }
    }
    assert_eq!(told, MANY);
    assert!(pieces >= MANY / 101, "{pieces} pieces");
}

#[test]
fn heartbeats_are_one_frame_for_all_of_a_codec_and_come_so_many_at_a_time() {
    let mut setup = Setup::default();
    setup.settings.first_request_ms = 1_000_000;
    setup.settings.ping_after_ms = 1_000_000;
    let mut world = World::new(setup);
    let shard = &mut world.shards[0];
    let rights = std::rc::Rc::new(Rights::open([]));
    let sessions: Vec<(SessionId, Codec)> = (0..MANY)
        .map(|n| {
            let codec = Codec::ALL[n % 2];
            let id = shard.open(codec, Transport::WebSocket, rights.clone(), world.now);
            (id, codec)
        })
        .collect();
    let write = |shard: &mut tickwire_router::Shard, now| {
        let mut frames = BTreeSet::new();
        let mut sessions = 0;
        while let Some(id) = shard.next_dirty() {
            let outbox = shard.outbox(id).expect("a session has an outbox");
            let bytes: usize = outbox.waiting().map(|waiting| waiting.bytes.len()).sum();
            frames.extend(outbox.waiting().map(|waiting| waiting.bytes.as_ptr() as usize));
            let wrote = shard.wrote(id, bytes, now, |_| {});
            assert!(wrote.is_ok(), "as much as waits");
            sessions += 1;
        }
        (sessions, frames)
    };
    assert_eq!(write(shard, world.now).0, MANY, "each has its welcome");
    let now = world.now.plus_ms(15_000);
    let (mut told, mut rounds) = (0, 0);
    while shard.next_timeout().is_some_and(|at| at <= now) {
        shard.on_timeout(now);
        assert!(shard.dirty_count() <= 1_000, "{} at once", shard.dirty_count());
        let (sessions, frames) = write(shard, now);
        assert!(frames.len() <= Codec::ALL.len(), "{} frames", frames.len());
        told += sessions;
        rounds += 1;
    }
    assert_eq!(told, sessions.len());
    assert!(rounds >= 5, "{rounds} rounds");
}

#[test]
fn who_connects_anew_has_no_new_allowance_for_looking_at_topics_from_its_address() {
    const TOPICS: usize = 3_000;
    let mut setup = Setup::default();
    (setup.settings.limits.ops_per_s, setup.settings.limits.ops_burst) = (1, 4);
    let mut world = World::new(setup);
    for n in 0..TOPICS {
        let topic = format!("t.{n}").parse().expect("a topic");
        world.directory.open(&topic).expect("there is room");
    }
    let address = SharedBucket::default();
    let granted = |world: &mut World, address: Option<&SharedBucket>| {
        let client = world.open(0, Codec::Json, Vec::new());
        let id = world.clients[client].id.expect("it is connected");
        if let Some(address) = address {
            world.shards[0].share_lookups(id, address.clone());
        }
        world.subscribe(client, "t.*");
        world.run();
        let (_, ack) = world.clients[client].inbox.pop().expect("an answer");
        world.disconnect(client);
        match ack {
            Frame::Message(ServerMessage::Control(Control::Ack { results, .. })) => {
                results[0].error.is_none()
            }
            other => panic!("unexpected {other:?}"),
        }
    };
    // An address may look at sixteen thousand topics at once, and a connection at three thousand of them.
    let visits = (0..20).filter(|_| granted(&mut world, Some(&address))).count();
    assert!((5..8).contains(&visits), "{visits} visits");
    assert!(granted(&mut world, None), "another address");
    world.now = world.now.plus_ms(4_000);
    assert!(granted(&mut world, Some(&address)), "later there is more");
}
