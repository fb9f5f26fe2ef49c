//! Coming back with `since`: everything missed, or an honest no.

use expect_test::expect;

use crate::script::check;

#[test]
fn what_was_missed_is_replayed() {
    check(
        "open a; pub trade.A 1..5; sub a trade.A@2; pub trade.A 6; go; pub trade.A 7; go",
        expect![[r#"
            a: ack 1 trade.A@5 every recovered=true
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7"#]],
    );
    check(
        "open a; pub trade.A 1..5; sub a trade.A@0; go",
        expect![[r#"
        a: ack 1 trade.A@5 every recovered=true
        a: update trade.A 1 1
        a: update trade.A 2 2
        a: update trade.A 3 3
        a: update trade.A 4 4
        a: update trade.A 5 5"#]],
    );
    // Nothing was missed.
    check(
        "open a; pub trade.A 1..5; sub a trade.A@5; pub trade.A 6; go",
        expect![[r#"
            a: ack 1 trade.A@5 every recovered=true
            a: update trade.A 6 6"#]],
    );
}

#[test]
fn the_newest_stands_for_all_in_conflate() {
    check(
        "open a; pub ticker.A 1..5; sub a ticker.A@2; go; pub ticker.A 6; go",
        expect![[r#"
            a: ack 1 ticker.A@5 conflate recovered=true
            a: update ticker.A 5 5
            a: update ticker.A 6 6"#]],
    );
    check(
        "open a; pub ticker.A 1..5; sub a ticker.A@5; go; pub ticker.A 6; go",
        expect![[r#"
            a: ack 1 ticker.A@5 conflate recovered=true
            a: update ticker.A 6 6"#]],
    );
    check(
        "open a; pub ticker.A 1..5; sub a ticker.A@other:5; pub ticker.A 6; go",
        expect![[r#"
            a: ack 1 ticker.A@5 conflate recovered=false
            a: snapshot ticker.A 6 6"#]],
    );
}

#[test]
fn a_history_that_no_longer_reaches_is_a_gap() {
    check(
        "rule trade.> event 3; open a; pub trade.A 1..9; sub a trade.A@5; go; sub a trade.B@1; pub trade.A 10; go",
        expect![[r#"
            a: ack 1 trade.A@9 every recovered=false
            a: gap trade.A 6..9 history
            a: ack 2 trade.B@0 every recovered=false
            a: update trade.A 10 10"#]],
    );
    // Exactly enough.
    check(
        "rule trade.> event 3; open a; pub trade.A 1..9; sub a trade.A@6; go",
        expect![[r#"
            a: ack 1 trade.A@9 every recovered=true
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9"#]],
    );
    // Of a state topic the snapshot says it all.
    check(
        "open a; pub ticker.A 1..5; sub a ticker.A@2 mode=every; pub ticker.A 6; go",
        expect![[r#"
            a: ack 1 ticker.A@5 every recovered=false
            a: snapshot ticker.A 6 6"#]],
    );
    check(
        "open a; pub ticker.A 1..5; sub a ticker.A@4 mode=every; go",
        expect![[r#"
            a: ack 1 ticker.A@5 every recovered=true
            a: update ticker.A 5 5"#]],
    );
}

#[test]
fn another_epoch_is_a_gap_over_everything() {
    check(
        "open a; pub trade.A 1..3; sub a trade.A@old:2; pub trade.A 4; go",
        expect![[r#"
            a: ack 1 trade.A@3 every recovered=false
            a: gap trade.A 1..3 epoch
            a: update trade.A 4 4"#]],
    );
    check(
        "open a; open_topic trade.A; sub a trade.A@old:2; pub trade.A 1; go",
        expect![[r#"
            a: ack 1 trade.A@0 every recovered=false
            a: update trade.A 1 1"#]],
    );
}

#[test]
fn a_number_not_reached_yet_is_of_another_lineage() {
    check(
        "open a; pub trade.A 1..3; sub a trade.A@4; go; pub ticker.A 1; sub a ticker.A@18446744073709551615; pub trade.A 4; go",
        expect![[r#"
            a: ack 1 trade.A@3 every recovered=false
            a: gap trade.A 1..3 epoch
            a: ack 2 ticker.A@1 conflate recovered=false
            a: update trade.A 4 4
            a: snapshot ticker.A 1 1"#]],
    );
}

#[test]
fn a_topic_that_does_not_exist() {
    check(
        "open a; sub a trade.A@0 trade.B@4 trade.C@old:0; pub trade.A 1; pub trade.B 1; pub trade.C 1; go",
        expect![[r#"
            a: ack 1 trade.A@0 every recovered=true, trade.B@0 every recovered=false, trade.C@0 every recovered=false
            a: update trade.A 1 1
            a: update trade.B 1 1
            a: update trade.C 1 1"#]],
    );
    check(
        "open a; open_topic trade.A; sub a trade.A@0; pub trade.A 1; go",
        expect![[r#"
            a: ack 1 trade.A@0 every recovered=true
            a: update trade.A 1 1"#]],
    );
}

#[test]
fn a_replay_promised_is_a_replay_sent() {
    // The replay waits for room while the history rolls over it, and a stall lasts while even more comes.
    check(
        "rule trade.> event 3; open a; pub trade.A 1..3; stall a; sub a trade.A@0; pub trade.A 4..9; drain; resume a; pub trade.A 10; go",
        expect![[r#"
            a: ack 1 trade.A@3 every recovered=true
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: gap trade.A 4..6 slow
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9
            a: update trade.A 10 10"#]],
    );
}

#[test]
fn a_topic_that_flows_already_is_not_resumed() {
    // Refused, and nothing has changed: no new name to unsubscribe, the mode as it was.
    check(
        "open a; pub trade.A 1..2; sub a trade.*; sub a trade.A@1; unsub a trade.A; sub a ticker.A; sub a ticker.A@1 mode=every; go",
        expect![[r#"
            a: ack 1 trade.* matched=1 every
            a: ack 2 trade.A bad_request: this connection has the topic already; "since" is for a new subscription
            a: ack 3 trade.A not_subscribed: no subscription of this connection has this name
            a: ack 4 ticker.A@0 conflate
            a: ack 5 ticker.A bad_request: this connection has the topic already; "since" is for a new subscription
            a: snapshot trade.A 2 2"#]],
    );
    check(
        "open a; pub trade.A 1..2; sub a trade.A@1 trade.*; go",
        expect![[r#"
            a: ack 1 trade.A@2 every recovered=true, trade.* matched=1 every
            a: update trade.A 2 2"#]],
    );
}

#[test]
fn coming_back_after_a_break() {
    check(
        "open a; sub a trade.A ticker.A; pub trade.A 1..2; pub ticker.A 1; go; lost a; pub trade.A 3..4; pub ticker.A 2..3; go; again a; sub a trade.A@2 ticker.A@1; pub trade.A 5; go",
        expect![[r#"
            a: ack 1 trade.A@0 every, ticker.A@0 conflate
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update ticker.A 1 1
            a: ack 1 trade.A@4 every recovered=true, ticker.A@3 conflate recovered=true
            a: update ticker.A 3 3
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5"#]],
    );
}
