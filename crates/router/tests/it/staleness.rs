//! `status`: sources that fall silent and come back.

use expect_test::expect;

use crate::script::check;

#[test]
fn silence_is_told_once_and_its_end_before_the_update_that_ends_it() {
    check(
        "stale t.* 100; open a; open b msgpack; sub a t.a; sub b t.*; pub t.a 1; go; wait 99; look; go; wait 1; look; go;
         wait 500; look; go; show stale; pub t.a 2; go; show stale; wait 100; look; go; wait 99; pub t.a 3; go; show stale",
        expect![[r#"
            a: ack 1 t.a@0 every
            a: update t.a 1 1
            b: ack 1 t.* matched=0 every
            b: joined t.a 0
            b: update t.a 1 1
            a: status t.a stale
            b: status t.a stale
            stale: 1 now, 1 changes
            a: status t.a live
            a: update t.a 2 2
            b: status t.a live
            b: update t.a 2 2
            stale: 0 now, 2 changes
            a: status t.a stale
            b: status t.a stale
            a: status t.a live
            a: update t.a 3 3
            b: status t.a live
            b: update t.a 3 3
            stale: 0 now, 4 changes"#]],
    );
}

#[test]
fn topics_without_a_rule_or_a_message_are_never_stale() {
    check(
        "stale t.* 100; open a; sub a >; open_topic t.b; pub u 1; go; look; wait 1000; look; go; pub t.b 1; go;
         wait 100; look; go; show stale",
        expect![[r#"
            a: ack 1 > matched=0 state=conflate book=every event=every
            a: joined u 0
            a: update u 1 1
            a: joined t.b 0
            a: update t.b 1 1
            a: status t.b stale
            stale: 1 now, 1 changes"#]],
    );
}

#[test]
fn the_first_rule_that_matches_counts() {
    check(
        "stale t.a 1000; stale t.> 100; open a; sub a t.>; pub t.a 1; pub t.b 1; go; look; wait 100; look; go; wait 900; look; go",
        expect![[r#"
            a: ack 1 t.> matched=0 every
            a: joined t.a 0
            a: update t.a 1 1
            a: joined t.b 0
            a: update t.b 1 1
            a: status t.b stale
            a: status t.a stale"#]],
    );
}

#[test]
fn whoever_subscribes_to_a_stale_topic_is_told_after_its_value() {
    check(
        "stale t.* 100; stale ticker.* 100; open a; pub t.a 1; pub ticker.A 1; wait 100; look; sub a t.a; sub a ticker.* nosnapshot; go;
         go; pub t.a 2; pub ticker.A 2; go; lost a; wait 100; look; again a; sub a t.a@1 ticker.A@1 mode=every; go; pub ticker.A 3; go",
        expect![[r#"
            a: ack 1 t.a@1 every
            a: ack 2 ticker.* matched=1 conflate
            a: status ticker.A stale
            a: snapshot t.a 1 1
            a: status t.a stale
            a: status t.a live
            a: update t.a 2 2
            a: status ticker.A live
            a: joined ticker.A 1
            a: update ticker.A 2 2
            a: ack 1 t.a@2 every recovered=true, ticker.A@2 every recovered=true
            a: update t.a 2 2
            a: status t.a stale
            a: update ticker.A 2 2
            a: status ticker.A stale
            a: status ticker.A live
            a: update ticker.A 3 3"#]],
    );
}

#[test]
fn what_was_published_before_the_silence_comes_before_it_is_told() {
    check(
        "stale t.* 100; open a; sub a t.a; pub t.a 1..3; wait 100; look; go; pub t.a 4; go",
        expect![[r#"
            100 ms a: ack 1 t.a@0 every
            a: update t.a 1 1
            a: update t.a 2 2
            a: update t.a 3 3
            a: status t.a stale
            a: status t.a live
            a: update t.a 4 4"#]],
    );
}

#[test]
fn a_silence_that_ends_before_it_is_told_is_not() {
    check(
        "stale t.* 100; open a; sub a t.a; pub t.a 1; go; wait 100; look; pub t.a 2; go; show stale",
        expect![[r#"
            a: ack 1 t.a@0 every
            a: update t.a 1 1
            a: update t.a 2 2
            stale: 0 now, 2 changes"#]],
    );
}

#[test]
fn whoever_heard_of_a_silence_from_the_directory_hears_of_its_end() {
    check(
        "stale t.* 100; open a; open b; sub b t.a; pub t.a 1; go; wait 100; look; sub a t.a; write a 100000; pub t.a 2; go",
        expect![[r#"
            b: ack 1 t.a@0 every
            b: update t.a 1 1
            a: ack 1 t.a@1 every
            a: snapshot t.a 1 1
            a: status t.a stale
            a: status t.a live
            a: update t.a 2 2
            b: update t.a 2 2"#]],
    );
}

#[test]
fn a_slow_reader_is_told_only_what_is_true_when_it_reads() {
    check(
        "outbox 50000; rule s.* state 1; stale t.* 100; stale s.* 100; open a; sub a t.a s.a; go; stall a; pub t.a *40000; pub t.a *40001; go;
         pub t.a *40002; pub s.a 1; go; wait 100; look; go; pub t.a 4; go; wait 100; look; go; pub t.a 5; go; wait 100; look; go; resume a; go",
        expect![[r#"
            a: ack 1 t.a@0 every, s.a@0 conflate
            a: update s.a 1 1
            a: status s.a stale
            a: update t.a 1 "x…(40000)"
            a: update t.a 2 "x…(40001)"
            a: update t.a 3 "x…(40002)"
            a: update t.a 4 4
            a: update t.a 5 5
            a: status t.a stale"#]],
    );
}

#[test]
fn leaving_a_topic_drops_its_status_and_a_full_queue_loses_none() {
    check(
        "queue 0; stale t.* 100; open a; open b; sub a t.a; sub b t.a; pub t.a 1; go; stall a; wait 100; look; go; unsub a t.a; resume a; go;
         pub t.a 2; go; wait 100; look; go",
        expect![[r#"
            a: ack 1 t.a@0 every
            a: update t.a 1 1
            b: ack 1 t.a@0 every
            b: update t.a 1 1
            b: status t.a stale
            a: ack 2 t.a
            b: status t.a live
            b: update t.a 2 2
            b: status t.a stale"#]],
    );
}

#[test]
fn a_rate_does_not_hold_back_a_status() {
    check(
        "stale ticker.* 100; open a; sub a ticker.A rate=50; pub ticker.A 1; go; pub ticker.A 2; go; wait 100; look; go;
         pub ticker.A 3; go; pub ticker.A 4; go; wait 50",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate rate=50
            a: update ticker.A 1 1
            50 ms a: update ticker.A 2 2
            a: status ticker.A stale
            a: status ticker.A live
            a: update ticker.A 3 3
            150 ms a: update ticker.A 4 4"#]],
    );
}

#[test]
fn a_topic_that_is_no_book_was_stale_for_ever_by_a_doubt_of_its_source() {
    check(
        "open a; sub a trade.A; open_topic trade.A; doubt trade.A hole; pub trade.A 1; go; pub trade.A 2; go",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: update trade.A 2 2"#]],
    );
}
