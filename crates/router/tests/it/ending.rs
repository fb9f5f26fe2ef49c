//! The end of a topic: what its readers get before it, what comes after, and what is given back.

use expect_test::expect;
use tickwire_router::{KindRule, Shard};
use tickwire_wire::{Codec, Kind};

use crate::script::check;
use crate::world::{Setup, World};

#[test]
fn an_end_comes_once_behind_the_last_message_and_the_next_life_joins() {
    check(
        "open a; open b msgpack; open c; sub a t.a; sub b t.*; sub c t.b; pub t.a 1..2; go; end t.a; go; end t.a; pub t.a 3; go; pub t.a 4; go;
         show topics",
        expect![[r#"
            a: ack 1 t.a@0 every
            a: update t.a 1 1
            a: update t.a 2 2
            b: ack 1 t.* matched=0 every
            b: joined t.a 0
            b: update t.a 1 1
            b: update t.a 2 2
            c: ack 1 t.b@0 every
            ended t.a: 2
            a: end t.a 2 deleted
            b: end t.a 2 deleted
            ended t.a: nothing
            a: joined t.a e-1:0
            a: update t.a 1 3
            b: joined t.a e-1:0
            b: update t.a 1 3
            a: update t.a 2 4
            b: update t.a 2 4
            topics: 1 there, 0 ended, 1 in shards"#]],
    );
}

#[test]
fn what_waits_in_the_queue_comes_before_the_end() {
    check(
        "open a; sub a t.*; pub t.a 1; pub t.a 2; end t.a; pub t.a 7; end t.a; go; show topics",
        expect![[r#"
            ended t.a: 2
            ended t.a: e-1:1
            a: ack 1 t.* matched=0 every
            a: joined t.a 0
            a: update t.a 1 1
            a: update t.a 2 2
            a: end t.a 2 deleted
            a: joined t.a e-1:0
            a: update t.a 1 7
            a: end t.a e-1:1 deleted
            topics: 0 there, 0 ended, 0 in shards"#]],
    );
}

#[test]
fn a_full_queue_loses_no_end() {
    check(
        "queue 1; rule t.> event 10; open a; sub a t.>; pub t.a 1..3; pub t.b 1; end t.a; pub t.a 4; go; show topics",
        expect![[r#"
            ended t.a: 3
            a: ack 1 t.> matched=0 every
            a: joined t.a 0
            a: update t.a 1 1
            a: update t.a 2 2
            a: update t.a 3 3
            a: end t.a 3 deleted
            a: joined t.b 0
            a: update t.b 1 1
            a: joined t.a e-1:0
            a: update t.a 1 4
            topics: 2 there, 0 ended, 2 in shards"#]],
    );
}

#[test]
fn a_slow_reader_gets_the_rest_of_a_life_before_the_next() {
    check(
        "outbox 100; rule t.> event 100; open a; sub a t.*; pub t.a 1; go; stall a; pub t.a 2..9; drain; pub ticker.A 1; drain; end t.a; drain;
         pub t.a 10..12; drain; end t.a; drain; pub t.a 20; drain; show topics; resume a; go; show topics",
        expect![[r#"
            a: ack 1 t.* matched=0 every
            a: joined t.a 0
            a: update t.a 1 1
            ended t.a: 9
            ended t.a: e-1:3
            topics: 2 there, 2 ended, 3 in shards
            a: update t.a 2 2
            a: update t.a 3 3
            a: update t.a 4 4
            a: update t.a 5 5
            a: update t.a 6 6
            a: update t.a 7 7
            a: update t.a 8 8
            a: update t.a 9 9
            a: end t.a 9 deleted
            a: joined t.a e-1:0
            a: update t.a 1 10
            a: update t.a 2 11
            a: update t.a 3 12
            a: end t.a e-1:3 deleted
            a: joined t.a e-2:0
            a: update t.a 1 20
            topics: 2 there, 0 ended, 1 in shards"#]],
    );
}

#[test]
fn what_a_slow_reader_has_not_got_of_a_life_that_is_no_longer_held_is_a_gap() {
    check(
        "outbox 100; rule t.> event 2; open a; sub a t.a; pub t.a 1; go; stall a; pub t.a 2..9; drain; end t.a; drain; resume a; go",
        expect![[r#"
            a: ack 1 t.a@0 every
            a: update t.a 1 1
            ended t.a: 9
            a: gap t.a 2..7 slow
            a: update t.a 8 8
            a: update t.a 9 9
            a: end t.a 9 deleted"#]],
    );
}

#[test]
fn a_rate_holds_no_end_back_and_loses_nothing() {
    check(
        "open a; sub a ticker.A rate=1000; pub ticker.A 1; go; pub ticker.A 2; go; end ticker.A; go; pub ticker.A 3; go; wait 1000; pub ticker.A 4; go;
         wait 1000",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate rate=1000
            a: update ticker.A 1 1
            ended ticker.A: 2
            a: update ticker.A 2 2
            a: end ticker.A 2 deleted
            a: joined ticker.A e-1:0
            a: update ticker.A 1 3
            a: update ticker.A 2 4"#]],
    );
}

#[test]
fn what_waits_before_an_end_is_not_taken_back() {
    check(
        "outbox 100; rule t.> event 1; open a; sub a t.a t.b; pub t.a 1; pub t.b 1; go; stall a; pub t.a 2; drain; end t.a; drain; write a 0;
         pub t.b 2..9; drain; pub t.a 3; drain; show outbox a; resume a; go",
        expect![[r#"
            a: ack 1 t.a@0 every, t.b@0 every
            a: update t.a 1 1
            a: update t.b 1 1
            ended t.a: 2
            outbox a: 0 control, 131 data
            a: update t.a 2 2
            a: end t.a 2 deleted
            a: gap t.b 2..8 slow
            a: update t.b 9 9
            a: joined t.a e-1:0
            a: update t.a 1 3"#]],
    );
}

#[test]
fn a_book_that_is_made_again_begins_empty() {
    check(
        r#"open a; sub a book.A; pub book.A {"symbol":"A","bids":[["1","2"]],"asks":[],"time":0}; go; end book.A; go;
         pub book.A {"symbol":"A","bids":[["3","2"]],"asks":[],"time":0}; go"#,
        expect![[r#"
            a: ack 1 book.A@0 every
            a: update book.A 1 {"symbol":"A","bids":[["1","2"]],"asks":[],"checksum":1330857165,"time":0}
            ended book.A: 1
            a: end book.A 1 deleted
            a: joined book.A e-1:0
            a: update book.A 1 {"symbol":"A","bids":[["3","2"]],"asks":[],"checksum":2103780943,"time":0}"#]],
    );
}

#[test]
fn the_old_epoch_is_not_resumed() {
    check(
        "rule t.> event 10; open a; pub t.a 1..3; end t.a; sub a t.a@2; go; lost a; again a; pub t.a 4; sub a t.a@2; go; lost a; again a;
         sub a t.*@t.a=2; go; lost a; again a; sub a t.a@e-1:1; go; lost a; end t.a; again a; sub a t.*@t.a=e-1:1; go",
        expect![[r#"
            ended t.a: 3
            a: ack 1 t.a@e-1:0 every recovered=false
            a: ack 1 t.a@e-1:1 every recovered=false
            a: gap t.a e-1:1..1 epoch
            a: ack 1 t.* matched=1 every resumed=0 not=1
            a: gap t.a e-1:1..1 epoch
            a: ack 1 t.a@e-1:1 every recovered=true
            ended t.a: e-1:1
            a: ack 1 t.* matched=0 every resumed=0 not=0"#]],
    );
}

#[test]
fn a_name_is_acked_for_the_life_that_its_session_is_in() {
    check(
        "outbox 100; rule t.> event 100; open a; sub a t.*; pub t.a 1; go; stall a; pub t.a 2..9; drain; end t.a; drain; pub t.a 10; drain;
         sub a t.a; resync a t.a; resume a; go; unsub a t.*; pub t.a 11; go; end t.a; go; sub a t.a; pub t.a 12; go",
        expect![[r#"
            a: ack 1 t.* matched=0 every
            a: joined t.a 0
            a: update t.a 1 1
            ended t.a: 9
            a: ack 2 t.a@1 every
            a: ack 3 t.a@1
            a: snapshot t.a 1 1
            a: update t.a 2 2
            a: update t.a 3 3
            a: update t.a 4 4
            a: update t.a 5 5
            a: update t.a 6 6
            a: update t.a 7 7
            a: update t.a 8 8
            a: update t.a 9 9
            a: end t.a 9 deleted
            a: joined t.a e-1:0
            a: update t.a 1 10
            a: ack 4 t.*
            a: update t.a 2 11
            ended t.a: e-1:2
            a: end t.a e-1:2 deleted
            a: ack 5 t.a@e-2:0 every
            a: update t.a 1 12"#]],
    );
}

#[test]
fn an_ack_of_a_name_does_not_overtake_its_end() {
    check(
        "open a; sub a t.a; pub t.a 1; go; stall a; end t.a; drain; write a 0; sub a t.a; resume a; go; pub t.a 2; go",
        expect![[r#"
            a: ack 1 t.a@0 every
            a: update t.a 1 1
            ended t.a: 1
            a: end t.a 1 deleted
            a: ack 2 t.a@e-1:0 every
            a: update t.a 1 2"#]],
    );
}

#[test]
fn an_ack_of_a_pattern_overtook_what_the_mode_before_had_chosen_of_an_ended_topic() {
    check(
        "rule s.> state 1; open a; sub a s.q rate=50; go; stall a; pub s.q 1..12; drain; wait 60; drain; end s.q; sub a s.* mode=every; drain;
         resume a; go",
        expect![[r#"
            a: ack 1 s.q@0 conflate rate=50
            ended s.q: 12
            a: update s.q 1 1
            a: update s.q 12 12
            a: ack 2 s.* matched=0 every
            a: end s.q 12 deleted"#]],
    );
}

#[test]
fn nothing_of_an_ended_topic_comes_after_an_unsubscribe() {
    check(
        "outbox 100; rule t.> event 100; open a; open b; sub a t.a; sub b t.*; pub t.a 1; go; stall a; stall b; pub t.a 2..9; drain; end t.a; drain;
         unsub a t.a; unsub b t.*; resume a; resume b; go; pub t.a 3; go; show topics",
        expect![[r#"
            a: ack 1 t.a@0 every
            a: update t.a 1 1
            b: ack 1 t.* matched=0 every
            b: joined t.a 0
            b: update t.a 1 1
            ended t.a: 9
            a: ack 2 t.a
            b: ack 2 t.*
            topics: 1 there, 0 ended, 0 in shards"#]],
    );
}

#[test]
fn a_one_shot_of_a_topic_that_ends_brings_its_value() {
    check(
        "synced; open a; pub t.a 1; stall a; sub a t.a mode=snapshot; end t.a; drain; resume a; go; show topics",
        expect![[r#"
            ended t.a: 1
            a: ack 1 t.a@1 snapshot
            a: snapshot t.a 1 1
            a: synced 1
            topics: 0 there, 0 ended, 0 in shards"#]],
    );
}

#[test]
fn a_topic_ends_when_nothing_was_published_for_its_time_and_nobody_names_it() {
    check(
        "expiry t.* 100; expiry u.* 100 watched; open a; open b; sub a t.a u.a; sub b >; pub t.a 1; pub t.b 1; pub u.a 1; go; wait 99; look; go;
         pub t.b 2; wait 1; look; go; wait 99; look; go; unsub a t.a; wait 10000; look; go; show topics",
        expect![[r#"
            a: ack 1 t.a@0 every, u.a@0 every
            a: update t.a 1 1
            a: update u.a 1 1
            b: ack 1 > matched=0 state=conflate book=every event=every
            b: joined t.a 0
            b: update t.a 1 1
            b: joined t.b 0
            b: update t.b 1 1
            b: joined u.a 0
            b: update u.a 1 1
            a: end u.a 1 expired
            b: update t.b 2 2
            b: end u.a 1 expired
            b: end t.b 2 expired
            7500 ms a: ack 2 t.a
            b: end t.a 1 expired
            topics: 0 there, 0 ended, 0 in shards"#]],
    );
}

#[test]
fn a_topic_that_was_stale_is_not_counted_when_it_has_ended() {
    check(
        "stale t.* 100; open a; sub a t.a; pub t.a 1; go; wait 100; look; go; show stale; end t.a; go; show stale",
        expect![[r#"
            a: ack 1 t.a@0 every
            a: update t.a 1 1
            a: status t.a stale
            stale: 1 now, 1 changes
            ended t.a: 1
            a: end t.a 1 deleted
            stale: 0 now, 1 changes"#]],
    );
}

#[test]
fn topics_that_have_ended_count_until_nobody_holds_them() {
    check(
        "topics 2; outbox 100; rule t.> event 100; open a; sub a t.a; pub t.a 1; go; stall a; pub t.a 2..9; drain; end t.a; drain;
         show topics; resume a; go; show topics",
        expect![[r#"
            a: ack 1 t.a@0 every
            a: update t.a 1 1
            ended t.a: 9
            topics: 0 there, 1 ended, 1 in shards
            a: update t.a 2 2
            a: update t.a 3 3
            a: update t.a 4 4
            a: update t.a 5 5
            a: update t.a 6 6
            a: update t.a 7 7
            a: update t.a 8 8
            a: update t.a 9 9
            a: end t.a 9 deleted
            topics: 0 there, 0 ended, 0 in shards"#]],
    );
}

/// Each day has its own symbols, and ends those of the day before. What is held after a day is what was held after the
/// second, the first on which topics end.
#[test]
fn a_week_of_daily_symbols_leaves_the_memory_flat() {
    let rule = |pattern: &str, kind, history| KindRule {
        pattern: pattern.parse().expect("a pattern"),
        kind,
        history,
        candles: 0,
    };
    let mut world = World::new(Setup {
        shards: 2,
        topics: 2_000,
        rules: vec![rule("option.>", Kind::Event, 50), rule("quote.>", Kind::State, 1)],
        ..Setup::default()
    });
    world.open(0, Codec::Json, Vec::new());
    world.open(1, Codec::MessagePack, Vec::new());
    world.open(1, Codec::Json, Vec::new());
    world.subscribe(0, ">");
    world.subscribe(1, "option.*.S1");
    let names = |day: u32| {
        let kinds = ["option", "quote"].into_iter();
        kinds.flat_map(move |kind| (0..500).map(move |n| format!("{kind}.D{day}.S{n}")))
    };
    let (mut second, mut read) = (None, 0);
    for day in 0..7 {
        for name in names(day) {
            for n in 0..20 {
                world.publish(&name, &n.to_string());
            }
            world.run();
        }
        world.subscribe(2, &format!("option.D{day}.S7"));
        world.run();
        for name in names(day.wrapping_sub(1)).filter(|_| day > 0) {
            world.directory.delete(&name).expect("it was published");
        }
        world.run();
        read += world
            .clients
            .iter_mut()
            .map(|client| client.inbox.drain(..).len())
            .sum::<usize>();
        let directory = &world.directory;
        let sessions = world.clients.iter().map(|client| {
            let shard = &world.shards[client.shard];
            shard.session_memory_bytes(client.id.expect("a session"))
        });
        let held = (
            (directory.topic_count(), directory.ended_and_held()),
            directory.history_bytes(),
            world.shards.iter().map(Shard::topics_held).collect::<Vec<_>>(),
            world
                .shards
                .iter()
                .map(Shard::subscription_count)
                .collect::<Vec<_>>(),
            sessions.collect::<Vec<_>>(),
        );
        assert_eq!(held.0, (1_000, 0));
        if day > 0 {
            let (before, values) = second.get_or_insert_with(|| (held.clone(), directory.value_bytes()));
            assert_eq!(before, &held, "day {day}");
            // Frames of later lives have longer epochs.
            let more = directory.value_bytes().abs_diff(*values);
            assert!(more < *values / 50, "{more} bytes more than {values}");
        }
    }
    assert!(read > 7 * 500 * 21, "{read} messages were read");
}
