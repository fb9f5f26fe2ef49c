//! To its client, a `subscribe` that is done piece by piece looks as if it were done at once.

use std::rc::Rc;

use expect_test::expect;
use proptest::prelude::*;
use tickwire_router::{Drain, Outbox, OwnLimits, Rights, Transport};
use tickwire_wire::frame::payload_of;
use tickwire_wire::{CloseCode, Codec, Control, ServerMessage};

use crate::grants::grant;
use crate::script::check;
use crate::world::{Frame, Setup, World};

#[test]
fn nothing_of_it_comes_before_its_ack() {
    check(
        "at_once 2; open a; pub ticker.A 1; pub trade.A 1; pub trade.B 1; sub a ticker.A trade.A trade.B new.* ticker.B; go;
         pub ticker.A 2; pub trade.A 2; pub trade.B 2; pub new.x 1; go; step a; pub ticker.A 3; pub trade.A 3; pub trade.B 3; pub new.x 2; go;
         step a; go; pub trade.A 4; pub ticker.B 1; go",
        expect![[r#"
            a: ack 1 ticker.A@1 conflate, trade.A@1 every, trade.B@2 every, new.* matched=1 every, ticker.B@0 conflate
            a: snapshot ticker.A 3 3
            a: snapshot trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: snapshot trade.B 2 2
            a: update trade.B 3 3
            a: snapshot new.x 1 1
            a: update new.x 2 2
            a: update trade.A 4 4
            a: update ticker.B 1 1"#]],
    );
}

#[test]
fn without_snapshots_too() {
    check(
        "at_once 1; open a; pub trade.A 1; sub a trade.A trade.* ticker.* nosnapshot; pub trade.A 2; pub trade.B 1; go; step a;
         pub trade.A 3; pub trade.B 2; pub ticker.A 1; go; step a; pub trade.A 4; pub ticker.A 2; go",
        expect![[r#"
            a: ack 1 trade.A@1 every, trade.* matched=2 every, ticker.* matched=1 conflate
            a: joined ticker.A 1
            a: update ticker.A 2 2
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: joined trade.B 1
            a: update trade.B 2 2"#]],
    );
}

#[test]
fn what_flows_already_goes_on_and_the_ack_keeps_its_place() {
    check(
        "at_once 1; open a; pub trade.A 1; sub a trade.A; go; sub a trade.A trade.B nosnapshot; pub trade.A 2; go;
         pub trade.A 3; drain; step a; pub trade.A 4; go",
        expect![[r#"
            a: ack 1 trade.A@1 every
            a: snapshot trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: ack 2 trade.A@3 every, trade.B@0 every
            a: update trade.A 4 4"#]],
    );
}

#[test]
fn the_next_request_waits_for_it() {
    check(
        "at_once 1; open a; pub trade.A 1; sub a trade.A trade.B trade.C; ping a; unsub a trade.B; go; pub trade.A 2; pub trade.B 1; pub trade.C 1; go",
        expect![[r#"
            a: ack 1 trade.A@1 every, trade.B@0 every, trade.C@0 every
            a: pong 2
            a: ack 3 trade.B
            a: snapshot trade.A 1 1
            a: update trade.A 2 2
            a: update trade.C 1 1"#]],
    );
}

/// Unfinished requests once held memory that nothing bounded.
#[test]
fn what_a_request_under_way_holds_is_counted() {
    let mut setup = Setup::default();
    setup.settings.topics_at_once = 4;
    let mut world = World::new(setup);
    let client = world.open(0, Codec::Json, Vec::new());
    let id = world.clients[client].id.expect("it is connected");
    assert_eq!(world.shards[0].unfinished_bytes(id), 0);
    let names: Vec<String> = (0..20).map(|number| format!("t.{number:0>200}")).collect();
    let request = format!(
        r#"{{"op":"subscribe","id":1,"topics":["{}"]}}"#,
        names.join("\",\"")
    );
    world.send(client, request.as_bytes());
    let held = world.shards[0].unfinished_bytes(id);
    assert!(held > request.len(), "{held} of {} bytes", request.len());
    world.shards[0].finish(id, world.now);
    assert_eq!(world.shards[0].unfinished_bytes(id), 0);
}

#[test]
fn positions_and_topics_of_a_wildcard_under_way_were_not_counted() {
    const TOPICS: usize = 2_000;
    let mut setup = Setup::default();
    setup.settings.topics_at_once = 4;
    let mut world = World::new(setup);
    for number in 0..TOPICS {
        let topic = format!("t.{number}").parse().expect("a topic");
        world.directory.open(&topic).expect("there is room");
    }
    let client = world.open(0, Codec::Json, Vec::new());
    let id = world.clients[client].id.expect("it is connected");
    let seqs: Vec<String> = (0..TOPICS).map(|number| format!(r#""t.{number}":1"#)).collect();
    let request = format!(
        r#"{{"op":"subscribe","id":1,"topics":[{{"topic":"t.*","since":{{"epoch":"e","seqs":{{{}}}}}}}]}}"#,
        seqs.join(",")
    );
    world.send(client, request.as_bytes());
    let asked = world.shards[0].unfinished_bytes(id);
    assert!(asked > request.len(), "{asked} of {} bytes", request.len());
    while world.shards[0].seen_to(id).is_none() {
        assert!(world.shards[0].go_on(id, world.now), "its topics are looked for");
    }
    // A position of each topic, and a bit.
    let found = world.shards[0].unfinished_bytes(id) - asked;
    assert!(found > TOPICS * 16 + TOPICS / 8, "{found} bytes more");
}

#[test]
fn no_step_of_a_wildcard_is_more_work_than_a_piece() {
    const TOPICS: usize = 200;
    // With 4 names at once, a piece is 64 looks at topics, or 16 subscriptions.
    const PIECE: usize = 16;
    let mut setup = Setup::default();
    setup.settings.topics_at_once = 4;
    let mut world = World::new(setup);
    let client = world.open(0, Codec::Json, Vec::new());
    for number in 0..TOPICS {
        world.publish(&format!("t.{number}"), "1");
    }
    let id = world.clients[client].id.expect("it is connected");
    for (request, held) in [
        (r#"{"op":"subscribe","id":1,"topics":["t.*"]}"#, TOPICS),
        (
            r#"{"op":"subscribe","id":2,"topics":["t.*"],"mode":"every"}"#,
            TOPICS,
        ),
        (
            r#"{"op":"subscribe","id":3,"topics":["t.*"],"mode":"snapshot"}"#,
            TOPICS,
        ),
        (r#"{"op":"unsubscribe","id":4,"topics":["t.*"]}"#, 0),
        (
            r#"{"op":"subscribe","id":5,"topics":["t.*"],"mode":"snapshot"}"#,
            0,
        ),
        (r#"{"op":"subscribe","id":6,"topics":[">"]}"#, TOPICS),
    ] {
        let mut before = world.shards[0].subscription_count();
        world.send(client, request.as_bytes());
        let mut pieces = 0;
        while world.shards[0].unfinished(id).is_some() {
            let after = world.shards[0].subscription_count();
            assert!(
                after.abs_diff(before) <= PIECE,
                "{request}: {before}, then {after}"
            );
            (before, pieces) = (after, pieces + 1);
            world.hand_out(0, 1_000);
            world.write_dirty(0);
            world.check_ledgers();
            world.shards[0].go_on(id, world.now);
        }
        assert!(pieces > TOPICS / PIECE, "{request}: {pieces} pieces");
        world.run();
        world.check_ledgers();
        assert_eq!(world.shards[0].subscription_count(), held, "{request}");
    }
    world.disconnect(client);
    let mut left = world.shards[0].subscription_count();
    assert_eq!((left, world.shards[0].session_count()), (TOPICS, 0));
    while world.shards[0].part() {
        let now = world.shards[0].subscription_count();
        // One piece was done here, and one in the round of the world.
        assert!((1..=2 * PIECE).contains(&(left - now)), "{left}, then {now}");
        left = now;
        // Messages that are published meanwhile are not delivered, and no topic joins.
        world.publish("t.1", "1");
        world.publish(&format!("new.{now}"), "1");
        world.run();
        world.check_ledgers();
    }
    assert_eq!(world.shards[0].subscription_count(), 0);
    let subscribers = world.directory.list(&">".parse().expect("a pattern"));
    assert!(subscribers.iter().all(|topic| topic.subscribers == 0));
}

/// Its number is not used for another session before it has left all its topics.
#[test]
fn who_comes_while_another_leaves_gets_nothing_of_what_that_one_had() {
    check(
        "at_once 1; open a; pub t.1 1; pub t.2 1; pub t.3 1; pub t.4 1; pub t.5 1; pub t.6 1; sub a > nosnapshot; step a; step a; step a; go; lost a; again a;
         pub t.1 2; pub t.6 2; pub t.7 1; ping a; go; show subscribers t.1; show subscribers t.6; show subscribers t.7; show sessions",
        expect![[r#"
            a: ack 1 > matched=6 state=conflate book=every event=every
            a: pong 1
            subscribers t.1: 0
            subscribers t.6: 1
            subscribers t.7: 0
            sessions: 1"#]],
    );
}

#[test]
fn topics_that_are_made_while_a_wildcard_is_looked_for_or_entered_join_it() {
    let topics: Vec<String> = (0..20).map(|number| format!("pub t.{number} 1;")).collect();
    check(
        &format!(
            "at_once 1; open a; {} sub a t.* mode=every; show unfinished a; pub t.found 1; drain; {} show unfinished a; pub t.joins 1; drain; pub t.found 2; {} \
             show unfinished a; go; show subscribers t.found; show subscribers t.joins; pub t.joins 2; go",
            topics.concat(),
            "step a;".repeat(2),
            "step a;".repeat(6),
        ),
        expect![[r#"
            unfinished a: 0 done
            … and 1 more of it
            unfinished a: nothing
            a: ack 1 t.* matched=21 every
            a: snapshot t.0 1 1
            a: snapshot t.1 1 1
            a: snapshot t.2 1 1
            a: snapshot t.3 1 1
            a: snapshot t.4 1 1
            a: snapshot t.5 1 1
            a: joined t.joins 0
            a: update t.joins 1 1
            a: snapshot t.6 1 1
            a: snapshot t.7 1 1
            a: snapshot t.8 1 1
            a: snapshot t.9 1 1
            a: snapshot t.10 1 1
            a: snapshot t.11 1 1
            a: snapshot t.12 1 1
            a: snapshot t.13 1 1
            a: snapshot t.14 1 1
            a: snapshot t.15 1 1
            a: snapshot t.16 1 1
            a: snapshot t.17 1 1
            a: snapshot t.18 1 1
            a: snapshot t.19 1 1
            a: snapshot t.found 2 2
            subscribers t.found: 1
            subscribers t.joins: 1
            a: update t.joins 2 2"#]],
    );
}

#[test]
fn topics_that_are_made_while_a_wildcard_is_left_do_not_come() {
    let topics: Vec<String> = (0..20).map(|number| format!("pub t.{number} 1;")).collect();
    check(
        &format!(
            "at_once 1; open a; {} sub a t.* nosnapshot; {} go; unsub a t.*; pub t.early 1; drain; {} pub t.late 1; drain; {} show unfinished a; pub t.1 2; pub t.late 2; \
             go; show subscribers t.early; show subscribers t.late; show subscribers t.19",
            topics.concat(),
            "step a;".repeat(8),
            "step a;".repeat(3),
            "step a;".repeat(8),
        ),
        expect![[r#"
            a: ack 1 t.* matched=20 every
            unfinished a: nothing
            a: ack 2 t.*
            subscribers t.early: 0
            subscribers t.late: 0
            subscribers t.19: 0"#]],
    );
}

/// A refusal after topics were looked at leaves everything as it was.
#[test]
fn a_wildcard_that_is_refused_when_its_topics_are_known_leaves_nothing() {
    let topics: Vec<String> = (0..20).map(|number| format!("pub t.{number} 1;")).collect();
    check(
        &format!(
            "caps 22 100; at_once 1; open a; {} pub u.1 1; pub u.2 1; pub u.3 1; sub a u.1 u.2 u.3 nosnapshot; step a; step a; step a; sub a t.*; show unfinished a; {} show unfinished a; pub t.new 1; go; \
             sub a t.* mode=conflate; {} go; show subscribers t.new; show subscribers t.1",
            topics.concat(),
            "step a;".repeat(2),
            "step a;".repeat(2),
        ),
        expect![[r#"
            unfinished a: 0 done
            unfinished a: nothing
            a: ack 1 u.1@1 every, u.2@1 every, u.3@1 every
            a: ack 2 t.* limit_exceeded: t.* matches 20 topics that the connection does not have; it has 3 and may have 22
            a: ack 3 t.* bad_request: mode conflate: t.* is of kind event, whose messages all count
            subscribers t.new: 0
            subscribers t.1: 0"#]],
    );
}

#[test]
fn a_connection_that_ends_while_a_wildcard_is_looked_for_leaves_no_interest() {
    let topics: Vec<String> = (0..20).map(|number| format!("pub t.{number} 1;")).collect();
    for ends in ["lost a", "closing a"] {
        check(
            &format!(
                "at_once 1; queue 10; open a; {} drain; sub a t.*; show unfinished a; {ends}; pub t.new 1; show queue",
                topics.concat()
            ),
            expect![[r#"
                unfinished a: 0 done
                queue: 0"#]],
        );
    }
}

#[test]
fn names_are_work_too() {
    // Here are no wildcards, and each name has a request of its own.
    check(
        "at_once 4; open a; sub a u.1 u.2 u.3 u.4; show unfinished a; sub a u.5 u.6 u.7 u.8 u.9; show unfinished a; step a; show unfinished a",
        expect![[r#"
            unfinished a: nothing
            unfinished a: 4 done
            unfinished a: nothing"#]],
    );
}

#[test]
fn replays_are_work_too() {
    check(
        "at_once 4; open a; pub trade.A 1..33; pub trade.B 1..33; sub a trade.A@1 trade.B@1 u.1 u.2; show unfinished a; step a; show unfinished a;
         unsub a trade.A trade.B u.1 u.2; show unfinished a",
        expect![[r#"
            unfinished a: 2 done
            unfinished a: nothing
            unfinished a: 2 done"#]],
    );
}

/// While it waits for its ack, the client's subscription keeps its old mode.
#[test]
fn frames_of_the_old_mode_are_not_superseded_before_the_ack() {
    check(
        "rule s.> state 100; at_once 1; outbox 250; open a; pub s.A 1; sub a ticker.R rate=100; sub a s.A mode=every; go; stall a;
         pub s.A 2..20; go; write a 150; go; sub a s.A ticker.B mode=conflate nosnapshot; resume a; go; step a; go",
        expect![[r#"
            a: ack 1 ticker.R@0 conflate rate=100
            a: ack 2 s.A@1 every
            a: snapshot s.A 1 1
            a: update s.A 2 2
            a: update s.A 3 3
            a: update s.A 4 4
            a: update s.A 5 5
            a: ack 3 s.A@5 conflate, ticker.B@0 conflate
            a: update s.A 20 20"#]],
    );
}

#[test]
fn a_topic_that_does_not_fit_is_named_behind_the_ack() {
    check(
        "caps 2 100; at_once 1; open a; pub t.1 1; sub a t.* x y; go; pub t.2 1; pub t.3 1; go; step a; step a; go",
        expect![[r#"
            a: ack 1 t.* matched=1 every, x limit_exceeded: the connection has its most topics, 2, and its wildcards match more: unsubscribe them first, y limit_exceeded: the connection has its most topics, 2, and its wildcards match more: unsubscribe them first
            a: error - limit_exceeded (retryable): t.3 appeared and does not fit: the connection has its most topics, 2. Neither it nor any that appears later joins before the connection has unsubscribed its wildcards
            a: snapshot t.1 1 1
            a: joined t.2 0
            a: update t.2 1 1"#]],
    );
}

#[test]
fn what_is_named_again_goes_on_and_its_snapshot_is_that_of_the_ack() {
    check(
        "at_once 1; open a; pub trade.A 1; sub a trade.A trade.B; step a; go; sub a trade.A trade.C; pub trade.A 2; pub trade.B 1; go; step a; go",
        expect![[r#"
            a: ack 1 trade.A@1 every, trade.B@0 every
            a: snapshot trade.A 1 1
            a: update trade.A 2 2
            a: ack 2 trade.A@2 every, trade.C@0 every
            a: update trade.B 1 1
            a: snapshot trade.A 2 2"#]],
    );
}

#[test]
fn a_replay_promised_in_pieces_is_sent_behind_the_ack() {
    check(
        "at_once 1; open a; pub trade.A 1..3; pub trade.B 1; sub a trade.A@1 trade.B@9 ticker.A; pub trade.A 4; go; step a; pub trade.A 5; step a; go",
        expect![[r#"
            a: ack 1 trade.A@3 every recovered=true, trade.B@1 every recovered=false, ticker.A@0 conflate
            a: gap trade.B 1..1 epoch
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5"#]],
    );
}

#[test]
fn who_lags_meanwhile_goes_on_behind_the_ack() {
    check(
        "at_once 1; outbox 150; open a; pub ticker.A 1; pub trade.A 1; sub a ticker.A trade.A; step a; go; stall a; sub a ticker.A trade.B nosnapshot;
         pub ticker.A 2..4; pub trade.A 2..4; drain; show lagging; resume a; pub trade.B 1; go; step a; go",
        expect![[r#"
            a: ack 1 ticker.A@1 conflate, trade.A@1 every
            a: snapshot ticker.A 1 1
            a: snapshot trade.A 1 1
            lagging: 1
            a: ack 2 ticker.A@1 conflate, trade.B@1 every
            a: update ticker.A 4 4
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4"#]],
    );
}

/// When it was handled, none of its messages had been delivered; when the request was answered, one had.
#[test]
fn the_snapshot_of_what_flows_is_that_of_where_the_ack_says_it_stands() {
    check(
        "at_once 1; open a; open_topic trade.A; sub a trade.A; go; pub trade.A 1; sub a trade.A y; go; step a; go",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: ack 2 trade.A@1 every, y@0 every
            a: snapshot trade.A 1 1"#]],
    );
    check(
        "at_once 1; open a; open_topic trade.A; sub a trade.A; go; pub trade.A 1; sub a > trade.A y mode=snapshot; go; step a; step a; go",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: ack 2 > matched=1 snapshot, trade.A@1 snapshot, y@0 snapshot
            a: snapshot trade.A 1 1"#]],
    );
}

#[test]
fn unsubscribing_in_pieces_ends_with_the_ack() {
    check(
        "at_once 1; open a; pub trade.A 1; pub trade.B 1; sub a trade.A; sub a trade.B; sub a trade.*; go; unsub a trade.A nothing trade.* trade.B; pub trade.A 2;
         pub trade.B 2; go; step a; step a; pub trade.A 3; pub trade.B 3; drain; show subscribers trade.A; show subscribers trade.B; step a; pub trade.B 4; go",
        expect![[r#"
            a: ack 1 trade.A@1 every
            a: ack 2 trade.B@1 every
            a: ack 3 trade.* matched=2 every
            a: snapshot trade.A 1 1
            a: snapshot trade.B 1 1
            a: update trade.A 2 2
            a: update trade.B 2 2
            subscribers trade.A: 0
            subscribers trade.B: 1
            a: ack 4 trade.A, nothing not_subscribed: no subscription of this connection has this name, trade.*, trade.B"#]],
    );
}

#[test]
fn a_drain_ends_it() {
    let mut setup = Setup::default();
    setup.settings.topics_at_once = 1;
    let mut world = World::new(setup);
    let client = world.open(0, Codec::Json, Vec::new());
    world.send(
        client,
        br#"{"op":"subscribe","id":1,"topics":["trade.A","trade.B"]}"#,
    );
    let plan = Drain {
        window_ms: 0,
        deadline_ms: 1_000,
        patience_ms: 1_000,
        seed: 1,
    };
    world.shards[0].begin_drain(plan, world.now);
    world.wait_ms(1);
    let read = world.clients[client]
        .inbox
        .drain(..)
        .map(|(_, frame)| match frame {
            Frame::Message(ServerMessage::Control(Control::Drain { .. })) => "drain",
            Frame::Close(CloseCode::DRAIN, _) => "close",
            other => panic!("{other:?}"),
        });
    assert_eq!(read.collect::<Vec<_>>(), ["drain", "close"]);
    world.check_ledgers();
}

#[test]
fn a_close_ends_it() {
    check(
        "at_once 1; open a; pub trade.A 1; sub a trade.A trade.B; closing a; step a; go; show subscribers trade.A; lost a; again a; sub a trade.A trade.B; lost a; show sessions; show subscribers trade.A",
        expect![[r#"
            a: CLOSE 1000
            subscribers trade.A: 0
            sessions: 0
            subscribers trade.A: 0"#]],
    );
}

/// When rights are lost meanwhile, earlier grants end, behind the ack that granted them.
#[test]
fn rights_lost_meanwhile() {
    let mut setup = Setup::default();
    setup.settings.topics_at_once = 1;
    let mut world = World::new(setup);
    let (before, now) = (Rc::new(Rights::open([])), world.now);
    let shard = &mut world.shards[0];
    let id = shard.open(Codec::Json, Transport::WebSocket, before.clone(), now);
    let request = br#"{"op":"subscribe","id":1,"topics":["trade.A","secret.A","trade.B"]}"#;
    shard.request(id, Codec::Json.decode_request(request), now);
    assert_eq!(shard.unfinished(id), Some(1));
    let after = Rights {
        subscribe: grant("trade.>".split(' ')),
        publish: grant("".split_whitespace()),
        publish_rate: None,
        stamp: false,
        own: OwnLimits::default(),
    };
    shard.replace_rights(&before, &Rc::new(after), now);
    assert_eq!(shard.unfinished(id), None);
    let outbox = shard.outbox(id).expect("a session");
    let ops = outbox.waiting().map(|waiting| {
        let message = Codec::Json.decode_server(payload_of(waiting.bytes));
        match message.expect("a message of the protocol") {
            ServerMessage::Control(Control::Welcome { .. }) => "welcome",
            ServerMessage::Control(Control::Ack { results, .. })
                if results.iter().all(|it| it.error.is_none()) =>
            {
                "ack"
            }
            ServerMessage::Control(Control::Error { reason, .. }) if reason.starts_with("secret.A") => {
                "error"
            }
            ServerMessage::Control(Control::Synced { .. }) => "synced",
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(ops.collect::<Vec<_>>(), ["welcome", "ack", "synced", "error"]);
}

/// The requests and messages of a client whose rights change, one step at a time.
#[derive(Debug, Clone)]
enum Step {
    Publish(usize),
    Subscribe(Vec<usize>, bool),
    Unsubscribe(usize),
    Piece,
    Rights(usize),
    Room(usize),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..TOPICS.len()).prop_map(Step::Publish),
        3 => (prop::collection::vec(0..PATTERNS.len(), 1..5), any::<bool>())
            .prop_map(|(names, once)| Step::Subscribe(names, once)),
        1 => (0..PATTERNS.len()).prop_map(Step::Unsubscribe),
        3 => Just(Step::Piece),
        2 => (0..GRANTS.len()).prop_map(Step::Rights),
        2 => (0..200_usize).prop_map(Step::Room),
        2 => Just(Step::Drain),
    ]
}

const TOPICS: [&str; 4] = ["trade.A", "trade.B", "ticker.A", "book.A"];
const PATTERNS: [&str; 6] = ["trade.A", "trade.B", "ticker.A", "book.A", "trade.*", ">"];
const GRANTS: [&str; 3] = [">", "trade.> ticker.>", "trade.A book.>"];

proptest! {
    /// The world checks that each subscribe with an ack is synced once, behind its ack.
    #[test]
    fn requests_are_synced_whatever_rights_are_lost_meanwhile(steps in prop::collection::vec(step(), 1..40)) {
        let mut setup = Setup::default();
        setup.settings.topics_at_once = 1;
        setup.settings.outbox_bytes_max = 300;
        setup.settings.session_limits.refusals_in_a_row = 1_000;
        let mut world = World::new(setup);
        let client = world.open(0, Codec::Json, Vec::new());
        world.clients[client].room = Some(0);
        let id = world.clients[client].id.expect("it is connected");
        for step in steps {
            let now = world.now;
            match step {
                Step::Publish(topic) => {
                    let book = r#"{"symbol":"A","bids":[["1","2"]],"asks":[],"time":1}"#;
                    world.publish(TOPICS[topic], if TOPICS[topic] == "book.A" { book } else { "1" });
                }
                Step::Subscribe(names, once) => {
                    let names: Vec<&str> = names.into_iter().map(|name| PATTERNS[name]).collect();
                    let mode = if once { r#","mode":"snapshot""# } else { "" };
                    let number = world.next_request(client).0;
                    let request = format!(r#"{{"op":"subscribe","id":{number},"topics":{names:?}{mode}}}"#);
                    world.send(client, request.as_bytes());
                }
                Step::Unsubscribe(name) => {
                    let (number, name) = (world.next_request(client).0, PATTERNS[name]);
                    let request = format!(r#"{{"op":"unsubscribe","id":{number},"topics":["{name}"]}}"#);
                    world.send(client, request.as_bytes());
                }
                Step::Piece => drop(world.shards[0].go_on(id, now)),
                Step::Rights(grants) => {
                    let rights = Rights { subscribe: grant(GRANTS[grants].split(' ')), ..Rights::none() };
                    world.shards[0].change_rights(id, Rc::new(rights), now);
                }
                Step::Room(bytes) => world.make_room(client, Some(bytes)),
                Step::Drain => world.run(),
            }
        }
        world.shards[0].finish(id, world.now);
        world.make_room(client, None);
        world.run();
        prop_assert!(world.shards[0].is_open(id));
        prop_assert!(world.shards[0].outbox(id).is_some_and(Outbox::is_empty));
        world.check_ledgers();
    }
}
