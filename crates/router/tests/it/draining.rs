//! The drain of a shard: every client is told and closed at its own time, behind the data that waited for it.

use std::rc::Rc;

use tickwire_router::{Drain, Rights};
use tickwire_wire::message::Control;
use tickwire_wire::{CloseCode, Codec, Epoch, Micros, Seq, ServerMessage};

use crate::grants::grant;
use crate::world::{EPOCH, Frame, Setup, World};

const PLAN: Drain = Drain {
    window_ms: 10_000,
    deadline_ms: 20_000,
    patience_ms: 3_000,
    seed: 1,
};

/// A world with `count` subscribers of `trade.A` that have read their answers.
fn subscribed(count: usize) -> World {
    let mut world = World::new(Setup::default());
    for client in 0..count {
        assert_eq!(world.open(0, Codec::Json, Vec::new()), client);
        world.send(client, br#"{"op":"subscribe","id":1,"topics":["trade.A"]}"#);
    }
    world.run();
    for client in &mut world.clients {
        client.inbox.clear();
    }
    world
}

fn begin(world: &mut World) {
    let now = world.now;
    world.shards[0].begin_drain(PLAN, now);
    world.run();
}

/// Lets time pass until a client's time has come.
fn wait_for_close(world: &mut World, client: usize) {
    let id = world.clients[client].id.expect("it is connected");
    while world.shards[0].is_open(id) {
        world.wait_ms(10);
    }
}

/// The time that a client was told, and the later messages as words: `update SEQ`, `snapshot SEQ`, `synced ID` or
/// `close CODE`.
fn read(world: &World, client: usize) -> (Option<u64>, Vec<(Micros, String)>) {
    let (mut told, mut rest) = (None, Vec::new());
    for (at, frame) in &world.clients[client].inbox {
        match frame {
            Frame::Message(ServerMessage::Control(Control::Drain {
                reconnect_after_ms,
                deadline_ms,
            })) => {
                assert!(told.is_none() && *deadline_ms <= PLAN.deadline_ms);
                told = Some(*reconnect_after_ms);
            }
            Frame::Message(ServerMessage::Update { seq, .. }) => rest.push((*at, format!("update {seq}"))),
            Frame::Message(ServerMessage::Snapshot { seq, .. }) => {
                rest.push((*at, format!("snapshot {seq}")));
            }
            Frame::Message(ServerMessage::Control(Control::Synced { id })) => {
                rest.push((*at, format!("synced {}", id.0)));
            }
            Frame::Close(code, _) => rest.push((*at, format!("close {code}"))),
            _ => {}
        }
    }
    (told, rest)
}

#[test]
fn each_is_closed_at_the_time_that_it_was_told_and_gets_everything_until_then() {
    let mut world = subscribed(40);
    let began = world.now;
    begin(&mut world);
    for second in 0..10 {
        world.publish("trade.A", &second.to_string());
        world.run();
        world.wait_ms(1_000);
    }
    world.check_ledgers();
    for client in 0..40 {
        let (told, rest) = read(&world, client);
        let told_ms = told.expect("every client is told");
        let (closed, last) = rest.last().expect("every client is closed");
        assert_eq!(last, "close 4000");
        let closed_ms = closed.since(began) / 1_000;
        assert!(
            closed_ms.abs_diff(told_ms) <= 1,
            "told {told_ms}, closed after {closed_ms}"
        );
        let updates: Vec<String> = (1..=told_ms / 1_000 + 1)
            .map(|seq| format!("update {seq}"))
            .collect();
        let got: Vec<&String> = rest.iter().map(|(_, word)| word).take(rest.len() - 1).collect();
        assert_eq!(got, updates.iter().collect::<Vec<_>>(), "told {told_ms}");
    }
}

#[test]
fn a_close_comes_behind_what_a_slow_reader_takes_in_time() {
    let mut world = subscribed(1);
    world.clients[0].room = Some(0);
    world.publish("trade.A", "1");
    world.publish("trade.A", "2");
    begin(&mut world);
    wait_for_close(&mut world, 0);
    // A message that is published after its time does not come.
    world.publish("trade.A", "3");
    world.run();
    assert!(read(&world, 0).1.is_empty());
    world.make_room(0, None);
    let words: Vec<String> = read(&world, 0).1.into_iter().map(|(_, word)| word).collect();
    assert_eq!(words, ["update 1", "update 2", "close 4000"]);
    world.check_ledgers();
}

#[test]
fn who_takes_nothing_in_time_gets_the_close_without_the_rest_and_then_is_gone() {
    let mut world = subscribed(1);
    world.clients[0].room = Some(0);
    world.publish("trade.A", "1");
    begin(&mut world);
    wait_for_close(&mut world, 0);
    world.wait_ms(PLAN.patience_ms);
    world.check_ledgers();
    world.make_room(0, None);
    let words: Vec<String> = read(&world, 0).1.into_iter().map(|(_, word)| word).collect();
    assert_eq!(words, ["close 4000"]);

    let mut world = subscribed(1);
    world.clients[0].room = Some(0);
    world.publish("trade.A", "1");
    begin(&mut world);
    world.wait_ms(PLAN.deadline_ms);
    assert_eq!(
        world.shards[0].session_count(),
        0,
        "nobody keeps the broker for ever"
    );
    world.check_ledgers();
}

#[test]
fn who_comes_during_the_drain_is_told_too() {
    let mut world = subscribed(1);
    begin(&mut world);
    world.wait_ms(4_000);
    let late = world.open(0, Codec::Json, Vec::new());
    world.run();
    world.wait_ms(6_001);
    world.run();
    let (told, rest) = read(&world, late);
    assert!(told.is_some_and(|told_ms| told_ms < 6_000), "{told:?}");
    assert_eq!(rest.len(), 1);
    assert_eq!(world.clients[late].closed, Some(CloseCode::DRAIN));
}

/// A draining broker with a subscriber that takes nothing although a message waits for it. Its token expires `after_ms`
/// milliseconds after the time that it was told.
fn leaving_and_expiring(after_ms: u64) -> World {
    let mut world = subscribed(1);
    begin(&mut world);
    let told_ms = read(&world, 0).0.expect("every client is told");
    let id = world.clients[0].id.expect("it is connected");
    // Clients are told times in whole milliseconds.
    let expires = world.now.plus_ms(told_ms + 1 + after_ms);
    world.shards[0].set_expiry(id, Some(expires));
    world.clients[0].room = Some(0);
    world.publish("trade.A", "1");
    world.run();
    wait_for_close(&mut world, 0);
    assert!(world.now < expires, "it leaves before its token expires");
    world
}

fn words(world: &World, client: usize) -> Vec<String> {
    let (_, rest) = read(world, client);
    rest.into_iter().map(|(_, word)| word).collect()
}

#[test]
fn nothing_that_waits_for_who_leaves_comes_after_its_token_expired() {
    let mut world = leaving_and_expiring(1_000);
    world.wait_ms(900);
    world.make_room(0, None);
    assert_eq!(words(&world, 0), ["update 1", "close 4000"], "until then it does");

    let mut world = leaving_and_expiring(1_000);
    world.wait_ms(1_001);
    world.check_ledgers();
    world.make_room(0, None);
    assert_eq!(words(&world, 0), ["close 4000"]);
}

#[test]
fn the_token_of_who_left_ends_nobody_who_comes_later() {
    let mut world = leaving_and_expiring(100);
    let number = world.clients[0].id;
    world.disconnect(0);
    world.connect(0, Vec::new());
    assert_eq!(world.clients[0].id, number, "numbers are used again");
    world.wait_ms(PLAN.window_ms);
    assert_eq!(words(&world, 0), ["close 4000"]);
}

#[test]
fn who_leaves_is_told_what_is_synced_whatever_right_it_loses() {
    let mut world = World::new(Setup::default());
    world.shows_synced = true;
    world.open(0, Codec::Json, Vec::new());
    world.clients[0].room = Some(0);
    for (topic, value) in [("ticker.A", "1"), ("trade.A", "2"), ("ticker.B", "3")] {
        world.publish(topic, value);
        world.subscribe(0, topic);
    }
    world.run();
    begin(&mut world);
    wait_for_close(&mut world, 0);
    let (id, now) = (world.clients[0].id.expect("it is connected"), world.now);
    let rights = Rights {
        subscribe: grant(["ticker.>"].into_iter()),
        ..Rights::none()
    };
    world.shards[0].change_rights(id, Rc::new(rights), now);
    world.make_room(0, None);
    // The messages that the second request brought are dropped, and the third is synced behind it.
    assert_eq!(
        words(&world, 0),
        ["snapshot 1", "synced 1", "snapshot 1", "close 4000"]
    );
    world.check_ledgers();
}

#[test]
fn what_waits_for_who_leaves_goes_with_the_right_to_it() {
    for withdrawn in [true, false] {
        let mut world = leaving_and_expiring(1_000);
        let (id, now) = (world.clients[0].id.expect("it is connected"), world.now);
        if withdrawn {
            world.shards[0].withdraw(id, "withdrawn", now);
        } else {
            world.shards[0].change_rights(id, Rc::new(Rights::none()), now);
        }
        world.check_ledgers();
        world.make_room(0, None);
        assert_eq!(words(&world, 0), ["close 4000"], "withdrawn: {withdrawn}");
    }
}

/// Drains a client that takes nothing, until the broker's patience with it is over. Then the client reads. Returns the positions
/// in its acks, and the other messages as words.
fn drain_slowly(world: &mut World) -> (Vec<(Epoch, Seq)>, Vec<String>) {
    begin(world);
    wait_for_close(world, 0);
    world.wait_ms(PLAN.patience_ms);
    world.make_room(0, None);
    let acks = world.clients[0].inbox.iter();
    let acks = acks.filter_map(|(_, frame)| match frame {
        Frame::Message(ServerMessage::Control(Control::Ack { results, .. })) => {
            results[0].epoch.clone().zip(results[0].seq)
        }
        _ => None,
    });
    (acks.collect(), words(world, 0))
}

/// A client that has subscribed as `request` says and takes nothing from there on. A message of `topic` waits for it.
fn stopped(request: &[u8], topic: &str) -> World {
    let mut world = World::new(Setup::default());
    assert_eq!(world.open(0, Codec::Json, Vec::new()), 0);
    world.send(0, request);
    world.run();
    world.clients[0].inbox.clear();
    world.clients[0].room = Some(0);
    world.publish(topic, "1");
    world.run();
    world
}

#[test]
fn an_ack_told_a_client_that_drained_slowly_of_messages_that_it_never_got() {
    let request = br#"{"op":"subscribe","id":1,"topics":["ticker.A"],"mode":"conflate"}"#;
    let mut world = stopped(request, "ticker.A");
    world.send(0, br#"{"op":"resync","id":2,"topic":"ticker.A"}"#);
    let (acks, words) = drain_slowly(&mut world);
    assert_eq!(acks, [(EPOCH.into(), Seq(0))], "it has no message");
    assert_eq!(words, ["close 4000"]);
    world.check_ledgers();
}

#[test]
fn an_ack_told_a_client_that_drained_slowly_of_what_it_never_got_of_an_ended_topic() {
    let mut world = stopped(br#"{"op":"subscribe","id":1,"topics":["trade.A"]}"#, "trade.A");
    world.directory.delete("trade.A").expect("it is there");
    world.run();
    world.send(0, br#"{"op":"subscribe","id":2,"topics":["trade.A"]}"#);
    let (acks, words) = drain_slowly(&mut world);
    let nothing = (EPOCH.into(), Seq(0));
    assert_eq!(acks, [nothing], "it has neither the message nor the end");
    assert_eq!(words, ["close 4000"]);
    world.check_ledgers();
}
