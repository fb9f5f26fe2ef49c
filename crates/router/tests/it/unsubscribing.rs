//! Unsubscribing: after the ack nothing of the topic comes and everything of the others does, and the broker removes
//! its state.

use expect_test::expect;

use crate::script::check;

#[test]
fn waiting_data_of_the_topic_is_dropped() {
    check(
        "open a; sub a trade.A trade.B; go; stall a; pub trade.A 1..2; pub trade.B 1..2; drain; unsub a trade.A; pub trade.A 3; pub trade.B 3; drain; show outbox a; resume a; show count dropped",
        expect![[r#"
            a: ack 1 trade.A@0 every, trade.B@0 every
            outbox a: 53 control, 204 data
            a: ack 2 trade.A
            a: update trade.B 1 1
            a: update trade.B 2 2
            a: update trade.B 3 3
            count dropped: 2"#]],
    );
}

#[test]
fn a_frame_begun_is_finished_first() {
    check(
        "open a; sub a trade.A; go; stall a; pub trade.A 1..2; drain; write a 5; unsub a trade.A; resume a; pub trade.A 3; go",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: ack 2 trade.A"#]],
    );
    // Messages that were written completely are not affected.
    check(
        "open a; sub a trade.A; go; stall a; pub trade.A 1..2; drain; write a 52; unsub a trade.A; resume a",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: ack 2 trade.A"#]],
    );
}

#[test]
fn a_topic_that_another_pattern_covers_goes_on() {
    check(
        "open a; sub a trade.A trade.*; go; stall a; pub trade.A 1; drain; unsub a trade.A; pub trade.A 2; drain; resume a; unsub a trade.*; pub trade.A 3; go",
        expect![[r#"
            a: ack 1 trade.A@0 every, trade.* matched=0 every
            a: ack 2 trade.A
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: ack 3 trade.*"#]],
    );
}

#[test]
fn only_what_was_subscribed_by_that_name() {
    check(
        "open a; open b; sub a trade.*; sub b trade.A; unsub a trade.A; unsub b trade.*; unsub b trade.A trade.A; go",
        expect![[r#"
            a: ack 1 trade.* matched=0 every
            a: ack 2 trade.A not_subscribed: no subscription of this connection has this name
            b: ack 1 trade.A@0 every
            b: ack 2 trade.* not_subscribed: no subscription of this connection has this name
            b: ack 3 trade.A, trade.A not_subscribed: no subscription of this connection has this name"#]],
    );
}

#[test]
fn snapshots_and_replays_that_were_pending_are_not_sent() {
    check(
        "open a; pub trade.A 1..3; pub ticker.A 1; sub a trade.A@1 ticker.A; unsub a ticker.A trade.A; go; sub a trade.A; go",
        expect![[r#"
            a: ack 1 trade.A@3 every recovered=true, ticker.A@1 conflate
            a: ack 2 ticker.A, trade.A
            a: ack 3 trade.A@3 every
            a: snapshot trade.A 3 3"#]],
    );
}

#[test]
fn the_shard_is_no_longer_fed() {
    check(
        "shards 2; open a; open b shard=1; sub a trade.A; sub b trade.*; pub trade.A 1; show queue; go;
         unsub a trade.A; pub trade.A 2; show queue; go; unsub b trade.*; pub trade.A 3; pub trade.B 1; show queue;
         sub a trade.A; pub trade.A 4; show queue; go; lost a; pub trade.A 5; show queue; again a; sub a trade.A; pub trade.A 6; show queue; go",
        expect![[r#"
            queue: 1 1
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            b: ack 1 trade.* matched=0 every
            b: joined trade.A 0
            b: update trade.A 1 1
            queue: 0 1
            a: ack 2 trade.A
            b: update trade.A 2 2
            queue: 0 0
            queue: 1 0
            a: ack 3 trade.A@3 every
            a: snapshot trade.A 3 3
            a: update trade.A 4 4
            b: ack 2 trade.*
            queue: 0 0
            queue: 1 0
            a: ack 1 trade.A@5 every
            a: snapshot trade.A 5 5
            a: update trade.A 6 6"#]],
    );
    // A topic that appeared for an ended subscription costs at most one more message.
    check(
        "open a; sub a t.*; pub t.a 1; unsub a t.*; go; pub t.a 2; show queue",
        expect![[r#"
            a: ack 1 t.* matched=0 every
            a: ack 2 t.*
            queue: 0"#]],
    );
}

#[test]
fn subscribing_anew_starts_anew() {
    check(
        "open a; sub a trade.A; go; stall a; pub trade.A 1..2; drain; unsub a trade.A; sub a trade.A; pub trade.A 3; drain; resume a",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: ack 2 trade.A
            a: ack 3 trade.A@2 every
            a: snapshot trade.A 2 2
            a: update trade.A 3 3"#]],
    );
    check(
        "open a; sub a t.a; unsub a t.a; sub a t.a; pub t.a 1; go; show subscribers t.a",
        expect![[r#"
            a: ack 1 t.a@0 every
            a: ack 2 t.a
            a: ack 3 t.a@0 every
            a: update t.a 1 1
            subscribers t.a: 1"#]],
    );
}
