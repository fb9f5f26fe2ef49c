//! Subscribing with `from`: the stored messages from a moment on, then `caught_up`, then what is live.

use expect_test::{Expect, expect};

use crate::script::check;

/// Checks a script behind `open a`, and the publications of 1 to 5 to `trade.A`: message N at N × 10 ms.
#[track_caller]
fn check_five(set_up: &str, script: &str, expected: Expect) {
    let five = "wait 10; pub trade.A 1; wait 10; pub trade.A 2; wait 10; pub trade.A 3; wait 10; pub trade.A 4; \
                wait 10; pub trade.A 5";
    check(&format!("{set_up}; open a; synced; {five}; {script}"), expected);
}

#[test]
fn stored_messages_then_live_ones() {
    check_five(
        "",
        "sub a trade.A^30; go; pub trade.A 6; go",
        expect![[r#"
        a: ack 1 trade.A@2 every replay=3..5
        a: update trade.A 3 3
        a: update trade.A 4 4
        a: update trade.A 5 5
        a: caught up trade.A 5
        a: synced 1
        a: update trade.A 6 6"#]],
    );
    // Between two messages, and before the first of a topic that has all of them.
    check_five(
        "",
        "sub a trade.A^25; go",
        expect![[r#"
        a: ack 1 trade.A@2 every replay=3..5
        a: update trade.A 3 3
        a: update trade.A 4 4
        a: update trade.A 5 5
        a: caught up trade.A 5
        a: synced 1"#]],
    );
    check_five(
        "",
        "sub a trade.A^0; go",
        expect![[r#"
        a: ack 1 trade.A@0 every replay=1..5
        a: update trade.A 1 1
        a: update trade.A 2 2
        a: update trade.A 3 3
        a: update trade.A 4 4
        a: update trade.A 5 5
        a: caught up trade.A 5
        a: synced 1"#]],
    );
    // What is published before the client reads comes before live, too.
    check_five(
        "",
        "sub a trade.A^50; pub trade.A 6; go; pub trade.A 7; go",
        expect![[r#"
        a: ack 1 trade.A@4 every replay=5..5
        a: update trade.A 5 5
        a: update trade.A 6 6
        a: caught up trade.A 6
        a: synced 1
        a: update trade.A 7 7"#]],
    );
}

#[test]
fn nothing_to_replay() {
    check_five(
        "",
        "sub a trade.A^51; go; pub trade.A 6; go",
        expect![[r#"
        a: ack 1 trade.A@5 every replay=6..5
        a: caught up trade.A 5
        a: synced 1
        a: update trade.A 6 6"#]],
    );
    check_five(
        "",
        "sub a trade.B^0; go; pub trade.B 1; go",
        expect![[r#"
        a: ack 1 trade.B@0 every replay=1..0
        a: caught up trade.B 0
        a: synced 1
        a: update trade.B 1 1"#]],
    );
    check_five(
        "",
        "open_topic trade.C; sub a trade.C^0; go; pub trade.C 1; go",
        expect![[r#"
        a: ack 1 trade.C@0 every replay=1..0
        a: caught up trade.C 0
        a: synced 1
        a: update trade.C 1 1"#]],
    );
}

#[test]
fn what_is_no_longer_stored() {
    check_five(
        "rule trade.> event 3",
        "sub a trade.A^10; go",
        expect![[r#"
        a: ack 1 trade.A@2 every replay=3..5 stored from 30 ms
        a: update trade.A 3 3
        a: update trade.A 4 4
        a: update trade.A 5 5
        a: caught up trade.A 5
        a: synced 1"#]],
    );
    // Message 2 is the last one that is gone.
    check_five(
        "rule trade.> event 3",
        "sub a trade.A^20; go",
        expect![[r#"
        a: ack 1 trade.A@2 every replay=3..5 stored from 30 ms
        a: update trade.A 3 3
        a: update trade.A 4 4
        a: update trade.A 5 5
        a: caught up trade.A 5
        a: synced 1"#]],
    );
    check_five(
        "rule trade.> event 3",
        "sub a trade.A^21; go",
        expect![[r#"
        a: ack 1 trade.A@2 every replay=3..5
        a: update trade.A 3 3
        a: update trade.A 4 4
        a: update trade.A 5 5
        a: caught up trade.A 5
        a: synced 1"#]],
    );
    // A message that is gone came at the same time as the oldest that is stored.
    check_five(
        "rule trade.> event 3",
        "pub trade.A 6..7; sub a trade.A^51; sub a trade.A^50; unsub a trade.A; pub trade.A 8; sub a trade.A^50; go",
        expect![[r#"
            a: ack 1 trade.A@7 every replay=8..7
            a: ack 2 trade.A bad_request: this connection has the topic already; "since" and "from" are for a new subscription
            a: synced 2
            a: ack 3 trade.A
            a: ack 4 trade.A@5 every replay=6..8 stored from 50 ms
            a: synced 1
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: caught up trade.A 8
            a: synced 4"#]],
    );
}

#[test]
fn the_history_of_a_state_is_short() {
    check_five(
        "rule trade.> state 1",
        "sub a trade.A^20; go; pub trade.A 6..8; go",
        expect![[r#"
            a: ack 1 trade.A@4 every replay=5..5 stored from 50 ms
            a: update trade.A 5 5
            a: caught up trade.A 5
            a: synced 1
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8"#]],
    );
    check_five(
        "rule trade.> state 3",
        "sub a trade.A^30 trade.B^0; go",
        expect![[r#"
        a: ack 1 trade.A@2 every replay=3..5, trade.B@0 every replay=1..0
        a: caught up trade.B 0
        a: update trade.A 3 3
        a: update trade.A 4 4
        a: update trade.A 5 5
        a: caught up trade.A 5
        a: synced 1"#]],
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    check_five(
        "",
        "sub a trade.*^0; sub a trade.A^0 mode=conflate; sub a trade.A^0 mode=snapshot; sub a trade.A^0 rate=100; \
         sub a book.A^0 trade.B; sub a trade.B^0; sub a trade.A^40 mode=every; sub a trade.A^40; go",
        expect![[r#"
            a: ack 1 trade.* bad_request: "from" is for one topic; trade.* is a pattern: name its topics, each with its own "from"
            a: synced 1
            a: ack 2 trade.A bad_request: mode conflate: "from" asks for every message; leave the mode out, or ask for mode every
            a: synced 2
            a: ack 3 trade.A bad_request: mode snapshot: "from" asks for every message; leave the mode out, or ask for mode every
            a: synced 3
            a: ack 4 trade.A bad_request: conflate_ms 100 goes with mode conflate, not with mode every
            a: synced 4
            a: ack 5 book.A bad_request: book.A is a book: its changes from a moment on are no book without the one before them. Leave "from" out, or read the changes over HTTP: /v1/topics/book.A/history, trade.B@0 every
            a: synced 5
            a: ack 6 trade.B bad_request: this connection has the topic already; "since" and "from" are for a new subscription
            a: synced 6
            a: ack 7 trade.A@3 every replay=4..5
            a: ack 8 trade.A bad_request: this connection has the topic already; "since" and "from" are for a new subscription
            a: synced 8
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: caught up trade.A 5
            a: synced 7"#]],
    );
    check_five(
        "",
        "send a {\"op\":\"subscribe\",\"id\":1,\"topics\":[{\"topic\":\"trade.A\",\"from\":1,\"since\":{\"epoch\":\"e\",\"seq\":1}}]}; \
         send a {\"op\":\"subscribe\",\"id\":2,\"topics\":[{\"topic\":\"trade.A\",\"from\":\"yesterday\"}]}; \
         send a {\"op\":\"subscribe\",\"id\":3,\"topics\":[{\"topic\":\"trade.A\",\"from\":-1}]}; \
         send a {\"op\":\"subscribe\",\"id\":4,\"topics\":[{\"topic\":\"trade.A\",\"from\":1.5}]}; \
         send a {\"op\":\"subscribe\",\"id\":5,\"topics\":[{\"topic\":\"trade.A\",\"from\":null}],\"snapshot\":false}; \
         send a {\"op\":\"subscribe\",\"id\":6,\"topics\":[{\"topic\":\"trade.B\",\"from\":\"1970-01-01T00:16:40Z\"}]}; go",
        expect![[r#"
            a: error 1 bad_request: topics: an entry has a field "since" or "from", not both at line 1 column 93
            a: error 2 bad_request: topics: from: "yesterday" is no moment: write microseconds since 1970, such as 1723161253000000, or a date and a time, such as 2024-08-08T23:54:13Z at line 1 column 72
            a: error 3 bad_request: topics: from: invalid value: integer `-1`, expected a moment: microseconds since 1970, or a date and a time (RFC 3339) at line 1 column 63
            a: error 4 bad_request: topics: from: invalid value: floating point `1.5`, expected a moment: microseconds since 1970, or a date and a time (RFC 3339) at line 1 column 64
            a: ack 5 trade.A@5 every
            a: synced 5
            a: ack 6 trade.B@0 every replay=1..0
            a: caught up trade.B 0
            a: synced 6"#]],
    );
}

#[test]
fn a_slow_reader_gets_a_gap_and_catches_up_once() {
    // The history drops what the reader has not taken.
    check_five(
        "rule trade.> event 3",
        "stall a; sub a trade.A^30; pub trade.A 6..9; resume a; go; pub trade.A 10; go",
        expect![[r#"
            a: ack 1 trade.A@2 every replay=3..5
            a: gap trade.A 3..6 slow
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9
            a: caught up trade.A 9
            a: synced 1
            a: update trade.A 10 10"#]],
    );
    // What waits is taken back, and `caught_up` with it: it comes at the next head, once.
    check_five(
        "outbox 2000; rule trade.> event 4",
        "stall a; sub a trade.A^40 nosnapshot; write a 1; pub trade.A 6; go; pub trade.A *900; pub trade.A *900; \
         pub trade.A *900; pub trade.A 10; go; resume a; go; pub trade.A 11; go",
        expect![[r#"
            a: ack 1 trade.A@3 every replay=4..5
            a: gap trade.A 4..6 slow
            a: update trade.A 7 "x…(900)"
            a: update trade.A 8 "x…(900)"
            a: update trade.A 9 "x…(900)"
            a: update trade.A 10 10
            a: caught up trade.A 10
            a: synced 1
            a: update trade.A 11 11"#]],
    );
}

#[test]
fn synced_comes_behind_what_was_caught_up_with() {
    check_five(
        "",
        "pub trade.B 1; stall a; sub a trade.A^40 trade.B; resume a; go; sub a trade.C^0; go",
        expect![[r#"
            a: ack 1 trade.A@3 every replay=4..5, trade.B@1 every
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: caught up trade.A 5
            a: snapshot trade.B 1 1
            a: synced 1
            a: ack 2 trade.C@0 every replay=1..0
            a: caught up trade.C 0
            a: synced 2"#]],
    );
}

#[test]
fn a_topic_that_is_left_or_ends_during_a_replay() {
    check_five(
        "",
        "stall a; sub a trade.A^40; unsub a trade.A; resume a; go",
        expect![[r#"
        a: ack 1 trade.A@3 every replay=4..5
        a: ack 2 trade.A
        a: synced 1"#]],
    );
    check_five(
        "",
        "stall a; sub a trade.A^40; end trade.A; resume a; go; pub trade.A 1; go",
        expect![[r#"
        ended trade.A: 5
        a: ack 1 trade.A@3 every replay=4..5
        a: update trade.A 4 4
        a: update trade.A 5 5
        a: caught up trade.A 5
        a: synced 1
        a: end trade.A 5 deleted
        a: joined trade.A e-1:0
        a: update trade.A 1 1"#]],
    );
}

#[test]
fn a_pattern_beside_a_replay() {
    check_five(
        "",
        "stall a; sub a trade.A^40; sub a trade.*; resume a; go; pub trade.A 6; go",
        expect![[r#"
            a: ack 1 trade.A@3 every replay=4..5
            a: ack 2 trade.* matched=1 every
            a: synced 2
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: caught up trade.A 5
            a: synced 1
            a: update trade.A 6 6"#]],
    );
}

/// A newer message in place of the last one would make the number in `caught_up` wrong.
#[test]
fn a_state_that_is_conflated_during_its_replay() {
    check_five(
        "rule trade.> state 5; outbox 2000",
        "stall a; sub a trade.A^30 mode=every; go; write a 1; sub a trade.A mode=conflate nosnapshot; \
         pub trade.A 6; pub trade.A 7; go; resume a; go; pub trade.A 8; go",
        expect![[r#"
            a: ack 1 trade.A@2 every replay=3..5
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: caught up trade.A 5
            a: synced 1
            a: ack 2 trade.A@5 conflate
            a: synced 2
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8"#]],
    );
}
