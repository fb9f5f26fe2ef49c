//! `mode: snapshot`: one snapshot, and no subscription.

use expect_test::expect;

use crate::script::check;

#[test]
fn one_snapshot_and_no_subscription() {
    check(
        "open a; pub ticker.A 1; pub ticker.B 1; pub trade.A 1..3; sub a ticker.A trade.A nothing ticker.* mode=snapshot; pub ticker.A 2; go; pub ticker.A 3; go; unsub a ticker.A; show subscribers ticker.A",
        expect![[r#"
            a: ack 1 ticker.A@1 snapshot, trade.A@3 snapshot, nothing@0 snapshot, ticker.* matched=2 snapshot
            a: snapshot ticker.A 2 2
            a: snapshot trade.A 3 3
            a: snapshot ticker.B 1 1
            subscribers ticker.A: 0"#]],
    );
}

#[test]
fn of_a_topic_that_flows_it_keeps_the_order() {
    // The topic's next messages are queued already: older ones must not follow a snapshot of the newest.
    check(
        "open a; sub a trade.A; pub trade.A 1; go; pub trade.A 2..3; sub a trade.A mode=snapshot; go",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: ack 2 trade.A@1 snapshot
            a: snapshot trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3"#]],
    );
    check(
        "open a; sub a ticker.A; pub ticker.A 1; go; pub ticker.A 2..3; sub a ticker.A mode=snapshot; go",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate
            a: update ticker.A 1 1
            a: ack 2 ticker.A@1 snapshot
            a: snapshot ticker.A 3 3"#]],
    );
}

#[test]
fn a_session_is_in_a_batch_once_though_what_is_pulled_in_touches_it_again() {
    // While the session is handed out, the one-shot turns out to be for a topic that is subscribed by then, which asks
    // for it once more. In this order of events bytes were once sent twice. Every script checks its batches.
    check(
        "open a; open b; pub trade.A 1; go; sub a trade.A mode=snapshot; sub a trade.A nosnapshot; sub b trade.A mode=snapshot; sub b trade.A nosnapshot; pub trade.A 2; go; pub trade.A 3; go",
        expect![[r#"
            a: ack 1 trade.A@1 snapshot
            a: ack 2 trade.A@1 every
            a: update trade.A 2 2
            a: snapshot trade.A 2 2
            b: ack 1 trade.A@1 snapshot
            b: ack 2 trade.A@1 every
            b: update trade.A 2 2
            b: snapshot trade.A 2 2
            a: update trade.A 3 3
            b: update trade.A 3 3"#]],
    );
}

#[test]
fn of_a_topic_that_is_subscribed_next_it_keeps_the_order() {
    check(
        "open a; pub trade.A 1..2; sub a trade.A mode=snapshot; sub a trade.A nosnapshot; pub trade.A 3..4; go",
        expect![[r#"
            a: ack 1 trade.A@2 snapshot
            a: ack 2 trade.A@2 every
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: snapshot trade.A 4 4"#]],
    );
    check(
        "open a; pub ticker.x 1; stall a; pub trade.A 1..2; sub a ticker.x trade.A mode=snapshot; write a 1; pub trade.A 3; sub a trade.A nosnapshot; pub trade.A 4; drain; resume a",
        expect![[r#"
            a: ack 1 ticker.x@1 snapshot, trade.A@2 snapshot
            a: snapshot ticker.x 1 1
            a: snapshot trade.A 2 2
            a: ack 2 trade.A@3 every
            a: update trade.A 4 4"#]],
    );
}

#[test]
fn nothing_of_it_after_unsubscribing_the_topic() {
    check(
        "open a; pub trade.A 1..2; sub a trade.A mode=snapshot; sub a trade.A; unsub a trade.A; go",
        expect![[r#"
            a: ack 1 trade.A@2 snapshot
            a: ack 2 trade.A@2 every
            a: ack 3 trade.A"#]],
    );
}

#[test]
fn asking_again_and_again_costs_one_snapshot() {
    check(
        "open a; pub t.a 1; pub t.b 1; stall a; sub a t.* t.* t.a > mode=snapshot; sub a > > > mode=snapshot; resume a; show count snapshots; sub a t.a mode=snapshot; go",
        expect![[r#"
            a: ack 1 t.* matched=2 snapshot, t.* matched=2 snapshot, t.a@1 snapshot, > matched=2 snapshot
            a: ack 2 > matched=2 snapshot, > matched=2 snapshot, > matched=2 snapshot
            a: snapshot t.a 1 1
            a: snapshot t.b 1 1
            count snapshots: 2
            a: ack 3 t.a@1 snapshot
            a: snapshot t.a 1 1"#]],
    );
}
