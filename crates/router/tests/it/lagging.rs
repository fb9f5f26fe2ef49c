//! The states of a slow reader: live, lagging, catching up, live again; and their price.

use expect_test::expect;
use tickwire_router::{HotTopic, KindRule, Transport, Watched};
use tickwire_wire::{Codec, Control, Kind, Seq, ServerMessage};

use crate::script::check;
use crate::world::{Frame, Setup, VARIANTS, World};

#[test]
fn what_waited_is_taken_back_and_the_newest_comes_first() {
    check(
        "outbox 300; open a; sub a trade.A ticker.A ticker.B; go; stall a; pub trade.A 1..2; pub ticker.A 1..2; pub ticker.B 1; drain;
         show outbox a; show lagging; pub trade.A 3; pub ticker.A 3; drain; show outbox a; show lagging; pub ticker.B 2; drain; resume a;
         show lagging; show count lagged; show count conflated; pub ticker.A 4; go",
        expect![[r#"
            a: ack 1 trade.A@0 every, ticker.A@0 conflate, ticker.B@0 conflate
            outbox a: 0 control, 343 data
            lagging: 0
            outbox a: 0 control, 0 data
            lagging: 1
            a: update ticker.A 3 3
            a: update ticker.B 2 2
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            lagging: 0
            count lagged: 1
            count conflated: 3
            a: update ticker.A 4 4"#]],
    );
}

#[test]
fn a_frame_begun_stays_and_is_finished() {
    check(
        "outbox 200; open a; sub a trade.A; go; stall a; pub trade.A 1; drain; write a 5; pub trade.A 2..9; drain; show outbox a; resume a",
        expect![[r#"
            a: ack 1 trade.A@0 every
            outbox a: 0 control, 68 data
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9"#]],
    );
}

#[test]
fn an_ack_among_the_data_tells_where_the_client_stands_now() {
    // The messages that were queued before it come behind it.
    check(
        "outbox 150; open a; sub a trade.A trade.B; go; stall a; pub trade.A 1..2; drain; resync a trade.A; pub trade.A 3..5; pub trade.B 1..3; drain; show count lagged; resume a",
        expect![[r#"
            a: ack 1 trade.A@0 every, trade.B@0 every
            count lagged: 1
            a: ack 2 trade.A@0
            a: update trade.A 1 1
            a: snapshot trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.B 1 1
            a: update trade.B 2 2
            a: update trade.B 3 3
            a: update trade.A 5 5"#]],
    );
    // A resume begins at the position in its request.
    check(
        "outbox 150; open a; pub trade.A 1..3; pub x 1; sub a trade.B; go; stall a; sub a x mode=snapshot; write a 1; sub a trade.A@1; write a 60; pub trade.A 4..9; pub trade.B 1..4; drain; show count lagged; resume a",
        expect![[r#"
            a: ack 1 trade.B@0 every
            count lagged: 1
            a: ack 2 x@1 snapshot
            a: ack 3 trade.A@3 every recovered=true
            a: snapshot x 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.B 1 1
            a: update trade.B 2 2
            a: update trade.B 3 3
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.B 4 4
            a: update trade.A 8 8
            a: update trade.A 9 9"#]],
    );
}

#[test]
fn the_ack_of_a_subscription_that_ended_introduces_no_other() {
    check(
        "outbox 100; open a; stall a; pub trade.A 1; sub a trade.A; sub a trade.A; unsub a trade.A; sub a trade.* nosnapshot; pub trade.A 2..4; drain; show count lagged; resume a; go",
        expect![[r#"
            count lagged: 1
            a: ack 1 trade.A@1 every
            a: ack 2 trade.A@1 every
            a: ack 3 trade.A
            a: ack 4 trade.* matched=1 every
            a: joined trade.A 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4"#]],
    );
}

#[test]
fn the_ack_of_a_subscription_that_ended_keeps_its_number_when_a_pattern_resumes_the_topic() {
    check(
        "outbox 100; open a; stall a; pub trade.A 1; pub ticker.B 1; sub a trade.A nosnapshot; sub a trade.A ticker.B nosnapshot; unsub a ticker.B; sub a ticker.*@ticker.B=0; pub trade.A 2..5; drain; show count lagged; resume a; go",
        expect![[r#"
            count lagged: 1
            a: ack 1 trade.A@1 every
            a: ack 2 trade.A@1 every, ticker.B@1 conflate
            a: ack 3 ticker.B
            a: ack 4 ticker.* matched=1 conflate resumed=1 not=0
            a: update ticker.B 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5"#]],
    );
    // This is so too if it is named once more, at its position by then.
    check(
        "outbox 100; open a; stall a; pub trade.A 1; pub ticker.B 1; sub a trade.A nosnapshot; sub a trade.A ticker.B nosnapshot; unsub a ticker.B; sub a ticker.*@ticker.B=0 ticker.B; pub trade.A 2..5; drain; show count lagged; resume a; go",
        expect![[r#"
            count lagged: 1
            a: ack 1 trade.A@1 every
            a: ack 2 trade.A@1 every, ticker.B@1 conflate
            a: ack 3 ticker.B
            a: ack 4 ticker.* matched=1 conflate resumed=1 not=0, ticker.B@0 conflate
            a: snapshot ticker.B 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5"#]],
    );
}

#[test]
fn an_ack_keeps_the_place_of_a_subscription_that_ended() {
    // The new subscription begins before the position of the old one.
    check(
        "outbox 150; open a; pub ticker.A 1..3; sub a ticker.A trade.B; go; stall a; pub trade.B 1; resync a ticker.A; unsub a ticker.A; sub a ticker.A@1; pub trade.B 2..5; drain; show count lagged; resume a",
        expect![[r#"
            a: ack 1 ticker.A@3 conflate, trade.B@0 every
            a: snapshot ticker.A 3 3
            count lagged: 1
            a: ack 2 ticker.A@3
            a: ack 3 ticker.A
            a: ack 4 ticker.A@3 conflate recovered=true
            a: update ticker.A 3 3
            a: update trade.B 1 1
            a: update trade.B 2 2
            a: update trade.B 3 3
            a: update trade.B 4 4
            a: update trade.B 5 5"#]],
    );
}

#[test]
fn a_mode_that_was_changed_holds_for_what_comes_again() {
    check(
        "outbox 150; open a; sub a ticker.A trade.B; pub ticker.A 1; go; stall a; pub ticker.A 2..3; drain; sub a ticker.A mode=every nosnapshot; pub ticker.A 4..9; drain; show count lagged; resume a; pub ticker.A 10..11; go",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate, trade.B@0 every
            a: update ticker.A 1 1
            count lagged: 1
            a: ack 2 ticker.A@1 every
            a: gap ticker.A 2..8 slow
            a: update ticker.A 9 9
            a: update ticker.A 10 10
            a: update ticker.A 11 11"#]],
    );
}

/// The beginning of a request waits again, whatever is asked for since.
#[test]
fn a_request_is_not_synced_before_the_newest_that_a_change_of_mode_made_one_of_all() {
    check(
        "outbox 150; synced; open a; pub ticker.A 1..2; stall a; sub a ticker.A@1; write a 10; sub a ticker.> mode=every; pub ticker.A 3..9; drain; resume a; go",
        expect![[r#"
            a: ack 1 ticker.A@2 conflate recovered=true
            a: ack 2 ticker.> matched=1 every
            a: synced 2
            a: gap ticker.A 2..8 slow
            a: synced 1
            a: update ticker.A 9 9"#]],
    );
}

/// A request waits for the message that was the newest, even if it comes as one of all because the mode has changed.
#[test]
fn a_request_is_not_synced_before_the_newest_if_a_later_request_asks_for_all_before_it() {
    check(
        "rule ticker.> state 4; outbox 150; synced; open a; pub ticker.A 1..3; stall a; sub a ticker.A@0; sub a ticker.> mode=every nosnapshot; resume a; go",
        expect![[r#"
            a: ack 1 ticker.A@3 conflate recovered=true
            a: ack 2 ticker.> matched=1 every
            a: synced 2
            a: update ticker.A 1 1
            a: update ticker.A 2 2
            a: update ticker.A 3 3
            a: synced 1"#]],
    );
    check(
        "rule ticker.> state 4; outbox 150; synced; open a; pub ticker.A 1..3; stall a; sub a ticker.B; sub a ticker.A@0; write a 10; sub a ticker.> mode=every nosnapshot; pub ticker.B 1..9; drain; show count lagged; resume a; go",
        expect![[r#"
            count lagged: 1
            a: ack 1 ticker.B@0 conflate
            a: synced 1
            a: ack 2 ticker.A@3 conflate recovered=true
            a: ack 3 ticker.> matched=1 every
            a: synced 3
            a: update ticker.A 1 1
            a: gap ticker.B 1..5 slow
            a: update ticker.B 6 6
            a: update ticker.B 7 7
            a: update ticker.A 2 2
            a: update ticker.A 3 3
            a: synced 2
            a: update ticker.B 8 8
            a: update ticker.B 9 9"#]],
    );
}

#[test]
fn a_replay_that_was_promised_is_kept_when_it_is_taken_back() {
    check(
        "rule trade.> event 3; outbox 200; open a; pub trade.A 1..3; sub a trade.A@0 trade.B; stall a; write a 1; pub trade.B 1..9; pub trade.A 4..9; drain; show count lagged; resume a",
        expect![[r#"
            count lagged: 1
            a: ack 1 trade.A@3 every recovered=true, trade.B@0 every
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: gap trade.B 1..6 slow
            a: update trade.B 7 7
            a: update trade.B 8 8
            a: gap trade.A 4..6 slow
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.B 9 9
            a: update trade.A 9 9"#]],
    );
}

#[test]
fn a_one_shot_is_owed_again() {
    check(
        "outbox 200; open a; pub ticker.x 1; sub a trade.A; go; stall a; sub a ticker.x mode=snapshot; write a 1; pub trade.A 1..9; drain; pub ticker.x 2; show count lagged; resume a",
        expect![[r#"
            a: ack 1 trade.A@0 every
            count lagged: 1
            a: ack 2 ticker.x@1 snapshot
            a: snapshot ticker.x 2 2
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9"#]],
    );
}

#[test]
fn unsubscribing_what_it_is_behind_of_ends_the_lagging() {
    check(
        "outbox 200; open a; sub a trade.A; go; stall a; pub trade.A 1..9; drain; show lagging; unsub a trade.A; show lagging; sub a trade.B; pub trade.B 1; go; resume a; show count dropped",
        expect![[r#"
            a: ack 1 trade.A@0 every
            lagging: 1
            lagging: 0
            a: ack 2 trade.A
            a: ack 3 trade.B@0 every
            a: update trade.B 1 1
            count dropped: 9"#]],
    );
}

#[test]
fn between_the_gap_and_the_snapshot_of_a_book() {
    // The gap was written partly when the session began to lag again. Later messages become one more gap, and then the
    // snapshot comes.
    let book = |n: u32| format!(r#"pub book.X {{"symbol":"X","bids":[["{n}","1"]],"time":{n}}};"#);
    let books = |from, to| (from..=to).map(book).collect::<String>();
    check(
        &format!(
            "rule book.> book 1; outbox 400; open a; sub a book.X trade.A; go; stall a; {} drain; write a 70; {} pub trade.A 1..8; drain; show count lagged; resume a; {} go",
            books(1, 4),
            books(5, 6),
            books(7, 7)
        ),
        expect![[r#"
            a: ack 1 book.X@0 every, trade.A@0 every
            count lagged: 2
            a: gap book.X 1..4 slow
            a: gap book.X 5..6 slow
            a: snapshot book.X 6 {"symbol":"X","bids":[["6","1"],["5","1"],["4","1"],["3","1"],["2","1"],["1","1"]],"asks":[],"checksum":662828011,"time":6}
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update book.X 7 {"symbol":"X","bids":[["7","1"]],"asks":[],"checksum":2568722077,"time":7}"#]],
    );
}

#[test]
fn a_value_that_was_superseded_while_it_waited_is_replaced() {
    // While it lagged, it was given the values of 5. It took nothing, and the values that it reads then are newer.
    check(
        "outbox 200; open a; sub a ticker.A trade.A; go; stall a; pub ticker.A 1..5; pub trade.A 1..9; drain; write a 1;
         pub ticker.A 6..8; drain; write a 60; pub ticker.A 9; drain; resume a; show count conflated",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate, trade.A@0 every
            a: update ticker.A 5 5
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update ticker.A 9 9
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9
            count conflated: 7"#]],
    );
}

#[test]
fn what_waits_behind_a_value_is_replaced_before_it() {
    // The replay was promised when every message counted; the snapshot behind it when only the newest did.
    check(
        "outbox 300; open a; pub ticker.A 1; sub a trade.B; go; stall a; pub trade.B 1..9; drain; sub a ticker.A@0 mode=every; sub a ticker.A; show outbox a; write a 300; show outbox a; write a 100; show outbox a; pub ticker.A 2; drain; resume a; pub ticker.A 3; go",
        expect![[r#"
            a: ack 1 trade.B@0 every
            outbox a: 106 control, 108 data
            a: ack 2 ticker.A@1 every recovered=true
            a: ack 3 ticker.A@0 conflate
            a: update trade.B 1 1
            outbox a: 0 control, 136 data
            a: update trade.B 2 2
            outbox a: 0 control, 268 data
            a: update trade.B 3 3
            a: update ticker.A 1 1
            a: snapshot ticker.A 2 2
            a: update trade.B 4 4
            a: update trade.B 5 5
            a: update trade.B 6 6
            a: update trade.B 7 7
            a: update trade.B 8 8
            a: update trade.B 9 9
            a: update ticker.A 3 3"#]],
    );
}

#[test]
fn a_replay_that_goes_on_is_not_overtaken() {
    // This is a state topic with a history: the replay was promised when every message counted, and now only the newest
    // does.
    check(
        "rule ticker.> state 100; outbox 200; open a; pub ticker.A 1..9; sub a trade.B; go; stall a; pub trade.B 1..9; drain; sub a ticker.A@0 mode=every; write a 300; sub a ticker.A rate=100 nosnapshot; write a 100; write a 60; pub ticker.A 10; drain; write a 100; resume a",
        expect![[r#"
            a: ack 1 trade.B@0 every
            a: ack 2 ticker.A@9 every recovered=true
            a: update trade.B 1 1
            a: update trade.B 2 2
            a: update trade.B 3 3
            a: ack 3 ticker.A@0 conflate rate=100
            a: update ticker.A 1 1
            a: update ticker.A 2 2
            a: update ticker.A 3 3
            a: update trade.B 4 4
            a: update ticker.A 4 4
            a: update ticker.A 5 5
            a: update ticker.A 6 6
            a: update trade.B 5 5
            a: update trade.B 6 6
            a: update trade.B 7 7
            a: update ticker.A 7 7
            a: update ticker.A 8 8
            a: update ticker.A 9 9
            a: update trade.B 8 8
            a: update trade.B 9 9
            a: update ticker.A 10 10"#]],
    );
}

#[test]
fn a_value_that_waits_before_a_snapshot_is_not_made_newer() {
    // It belongs to a replay that was promised while every message counted. The snapshot that the second ack promises
    // is the first newer one.
    check(
        "outbox 300; open a; pub ticker.A *150; sub a ticker.B trade.B; go; stall a; pub ticker.B 1; pub trade.B 1..9; drain;
         sub a ticker.A@0 mode=every; sub a ticker.A rate=100; write a 300; pub ticker.A 2; drain; write a 1; pub ticker.A 3; drain;
         write a 1; resume a",
        expect![[r#"
            a: ack 1 ticker.B@0 conflate, trade.B@0 every
            a: ack 2 ticker.A@1 every recovered=true
            a: ack 3 ticker.A@0 conflate rate=100
            a: update ticker.B 1 1
            a: update trade.B 1 1
            a: update trade.B 2 2
            a: update ticker.A 1 "x…(150)"
            a: snapshot ticker.A 3 3
            a: update trade.B 3 3
            a: update trade.B 4 4
            a: update trade.B 5 5
            a: update trade.B 6 6
            a: update trade.B 7 7
            a: update trade.B 8 8
            a: update trade.B 9 9"#]],
    );
}

#[test]
fn a_value_that_was_replaced_while_it_waited_is_replaced_again() {
    // The bytes are taken one by one. Behind the partly written value of B, the value of A was replaced once, and can
    // be replaced again.
    check(
        "outbox 200; open a; sub a ticker.B ticker.A trade.A; go; stall a; pub ticker.B 1; pub ticker.A 1..5; pub trade.A 1..9; drain;
         write a 1; pub ticker.A 6; drain; write a 1; pub ticker.A 7; drain; write a 1; pub ticker.A 8; drain; resume a",
        expect![[r#"
            a: ack 1 ticker.B@0 conflate, ticker.A@0 conflate, trade.A@0 every
            a: update ticker.B 1 1
            a: update ticker.A 8 8
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9"#]],
    );
}

#[test]
fn a_value_that_a_rate_holds_back_replaces_the_one_that_waits() {
    // The second value of A waits for its time when the socket takes bytes again.
    check(
        "outbox 200; open a; sub a ticker.B trade.A; sub a ticker.A rate=1000; go; stall a; pub ticker.B 1; pub ticker.A 1;
         pub trade.A 1..9; drain; write a 1; pub ticker.A 2; drain; resume a",
        expect![[r#"
            a: ack 1 ticker.B@0 conflate, trade.A@0 every
            a: ack 2 ticker.A@0 conflate rate=1000
            a: update ticker.B 1 1
            a: update ticker.A 2 2
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9"#]],
    );
}

#[test]
fn a_stall_begins_with_the_lagging_and_ends_with_a_byte() {
    check(
        "outbox 150; open a; sub a trade.A; go; stall a; pub trade.A 1..9; go; wait 29000; heard a; show lagging; write a 1; wait 29000; heard a; show lagging; wait 12000; show count owed; show count dropped",
        expect![[r#"
            a: ack 1 trade.A@0 every
            lagging: 1
            … and 1 more of it
            65000 ms a: gone
            count owed: 9
            count dropped: 9"#]],
    );
}

fn world(clients: usize) -> World {
    let mut setup = Setup::default();
    setup.settings.outbox_bytes_max = 2_000;
    setup.rules.push(KindRule {
        pattern: "book.>".parse().expect("a pattern"),
        kind: Kind::Book,
        history: 4,
        candles: 0,
    });
    let mut world = World::new(setup);
    for client in 0..clients {
        let client = world.open(0, VARIANTS[client % 4], Vec::new());
        world.subscribe(client, "book.X");
    }
    world.run();
    world
}

#[test]
fn a_snapshot_is_encoded_once_for_10_000_who_resync() {
    const CLIENTS: usize = 10_000;
    let mut world = world(CLIENTS);
    for client in 0..CLIENTS {
        world.clients[client].room = Some(0);
        world.clients[client].inbox.clear();
    }
    for n in 1..=40 {
        world.publish(
            "book.X",
            &format!(r#"{{"symbol":"X","bids":[["{n}","1"]],"time":{n}}}"#),
        );
        world.hand_out(0, 1_000_000);
    }
    assert_eq!(world.shards[0].lagging_count(), CLIENTS);
    assert_eq!(world.shards[0].waiting_bytes(), 0);
    for client in 0..CLIENTS {
        world.clients[client].room = None;
        let id = world.clients[client].id.expect("a session");
        world.shards[0].writable(id);
    }
    world.run();
    for client in &world.clients {
        let [(_, gap), (_, snapshot)] = &client.inbox[..] else {
            panic!("{:?}", client.inbox);
        };
        let Frame::Message(ServerMessage::Control(Control::Gap { from, to, .. })) = gap else {
            panic!("{gap:?}");
        };
        let Frame::Message(ServerMessage::Snapshot { seq, .. }) = snapshot else {
            panic!("{snapshot:?}");
        };
        assert_eq!((from.0, to.0, seq.0), (1, 40, 40));
    }
    let counts = world.shards[0].counts();
    let snapshots: Vec<u64> = counts.encodes.iter().map(|of_codec| of_codec[1]).collect();
    assert_eq!(snapshots, [1, 1, 1, 1, 0], "once per variant");
    assert_eq!(counts.ledger.gapped, 40 * CLIENTS as u64);
    assert_eq!(world.shards[0].lagging_count(), 0);
    world.check_ledgers();
}

#[test]
fn who_is_furthest_behind_and_which_topic_is_hottest() {
    let mut world = World::new(Setup::default());
    for pattern in ["t.*", "t.a", "t.b"] {
        let client = world.open(0, Codec::Json, Vec::new());
        world.subscribe(client, pattern);
    }
    world.run();
    world.clients[0].room = Some(0);
    world.clients[2].room = Some(0);
    let long = format!("\"{}\"", "x".repeat(30_000));
    for _ in 0..12 {
        world.publish("t.a", &long);
        world.run();
    }
    world.publish("t.b", "1");
    world.run();
    let now = world.now.plus_ms(5);
    let shard = &world.shards[0];
    let worst = shard.sessions_debug(5, Watched::Behind, now);
    let told: Vec<_> = worst
        .iter()
        .map(|lag| {
            (
                lag.messages,
                lag.subscriptions,
                lag.behind,
                lag.oldest_us,
                lag.lagging_since.is_some(),
            )
        })
        .collect();
    assert_eq!(told, [(13, 2, 2, 5_000, true), (1, 1, 0, 5_000, false)]);
    assert_eq!(Some(worst[0].session), world.clients[0].id);
    assert_eq!(worst[0].name, "0-1", "as in its welcome");
    assert_eq!(
        (worst[0].codec, worst[0].transport),
        (Codec::Json, Transport::WebSocket)
    );
    assert!(worst[0].bytes < 100 && worst[1].bytes > 10, "{worst:?}");
    assert_eq!((worst[0].state, worst[1].state), ("lagging", "live"));
    assert_eq!(shard.sessions_debug(1, Watched::Behind, now).len(), 1);
    let all = shard.sessions_debug(5, Watched::All, now);
    assert_eq!((all.len(), all[2].messages, all[2].stalled_since), (3, 0, None));
    assert_eq!(shard.session_named("0-1"), world.clients[0].id);
    assert_eq!(shard.session_named("1-1"), None);
    let mut seen = Vec::new();
    world.shards[0].each_lagging(now, |bytes, age_us| seen.push((bytes, age_us)));
    assert_eq!(seen, [(0, 5_000)]);
    let shard = &world.shards[0];
    let hottest = HotTopic::hottest(shard.directory(), &[shard.handed_out()], 1);
    assert_eq!(hottest.len(), 1);
    let hot = &hottest[0];
    assert_eq!(
        (hot.topic.as_str(), hot.subscribers, hot.seq, hot.stale),
        ("t.a", 2, Seq(12), false)
    );
    // The one that stalls was handed its budget of them.
    assert_eq!(hot.deliveries, 12 + 9);
    // These are the counts of another shard with the same connections, and with more deliveries of one topic.
    let [t_a, t_b] = ["t.a", "t.b"].map(|topic| shard.directory().find(topic).expect("a topic").id());
    let shards = [shard.handed_out(), vec![(t_a, 12 + 9), (t_b, 1_000)]];
    let hottest = HotTopic::hottest(shard.directory(), &shards, 5);
    let told: Vec<_> = hottest
        .iter()
        .map(|hot| (hot.topic.as_str(), hot.deliveries))
        .collect();
    assert_eq!(told, [("t.b", 1_001), ("t.a", 2 * (12 + 9))]);
}

#[test]
fn what_a_reader_lost_is_told_of_its_session_alone() {
    let mut world = World::new(Setup::default());
    for _ in 0..2 {
        let client = world.open(0, Codec::Json, Vec::new());
        world.subscribe(client, "ticker.A");
    }
    world.run();
    world.clients[0].room = Some(0);
    let long = format!("\"{}\"", "x".repeat(30_000));
    for _ in 0..20 {
        world.publish("ticker.A", &long);
        world.run();
    }
    world.make_room(0, None);
    world.run();
    let shard = &world.shards[0];
    let lost: Vec<_> = shard
        .sessions_debug(5, Watched::All, world.now)
        .iter()
        .map(|lag| (lag.session, lag.conflated, lag.gapped, lag.state))
        .collect();
    let conflated = shard.counts().ledger.conflated;
    assert!(conflated > 0);
    let id = |client: usize| world.clients[client].id.expect("it is open");
    assert!(lost.contains(&(id(0), conflated, 0, "live")), "{lost:?}");
    assert!(lost.contains(&(id(1), 0, 0, "live")), "{lost:?}");
}
