//! Coming back with `since`: the client gets everything that it missed, or is told that it does not.

use expect_test::expect;

use crate::script::{check, run};

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
    // The history has exactly enough.
    check(
        "rule trade.> event 3; open a; pub trade.A 1..9; sub a trade.A@6; go",
        expect![[r#"
            a: ack 1 trade.A@9 every recovered=true
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9"#]],
    );
    // In a state topic the snapshot is enough.
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
    // The replay waits for room while the history moves past it, and a stall goes on while even more comes.
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
    // The request is refused and has changed nothing: there is no new name to unsubscribe, and the mode is the old one.
    check(
        "open a; pub trade.A 1..2; sub a trade.*; sub a trade.A@1; unsub a trade.A; sub a ticker.A; sub a ticker.A@1 mode=every; go",
        expect![[r#"
            a: ack 1 trade.* matched=1 every
            a: ack 2 trade.A bad_request: this connection has the topic already; "since" and "from" are for a new subscription
            a: ack 3 trade.A not_subscribed: no subscription of this connection has this name
            a: ack 4 ticker.A@0 conflate
            a: ack 5 ticker.A bad_request: this connection has the topic already; "since" and "from" are for a new subscription
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

#[test]
fn a_topic_made_after_the_ack_of_its_pattern_joins_before_its_first_update() {
    // It can be resumed, as its client knows the lineage.
    check(
        "synced; open a; sub a late.*; pub late.a 1..3; go; lost a; pub late.a 4..6; again a; positions a late.a=3; sub a late.*; pub late.b 1; go",
        expect![[r#"
            a: ack 1 late.* matched=0 every
            a: synced 1
            a: joined late.a 0
            a: update late.a 1 1
            a: update late.a 2 2
            a: update late.a 3 3
            a: ack 1 
            a: ack 2 late.* matched=1 every resumed=1 not=0
            a: joined late.b 0
            a: update late.b 1 1
            a: update late.a 4 4
            a: update late.a 5 5
            a: update late.a 6 6
            a: synced 2"#]],
    );
}

#[test]
fn a_topic_that_had_no_message_at_the_ack_joins_too() {
    check(
        "open a; open_topic trade.A; pub trade.B 1; sub a trade.* nosnapshot; pub trade.A 1..2; pub trade.B 2; go",
        expect![[r#"
            a: ack 1 trade.* matched=2 every
            a: joined trade.A 0
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: joined trade.B 1
            a: update trade.B 2 2"#]],
    );
}

#[test]
fn who_subscribed_by_name_is_told_by_the_ack() {
    check(
        "open a; sub a trade.A; sub a trade.*; pub trade.A 1; pub trade.B 1; go; sub a trade.B; pub trade.B 2; go",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: ack 2 trade.* matched=0 every
            a: update trade.A 1 1
            a: joined trade.B 0
            a: update trade.B 1 1
            a: ack 3 trade.B@1 every
            a: snapshot trade.B 1 1
            a: update trade.B 2 2"#]],
    );
}

#[test]
fn whoever_is_behind_is_told_of_what_joins_meanwhile() {
    // The topic comes through the full queue, is taken back and sent again, and has lost the beginning of its history.
    check(
        "queue 2; open a; sub a trade.*; pub trade.A 1..5; pub trade.B 1; go; pub trade.A 6; go",
        expect![[r#"
            a: ack 1 trade.* matched=0 every
            a: joined trade.A 0
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: joined trade.B 0
            a: update trade.B 1 1
            a: update trade.A 6 6"#]],
    );
    check(
        "outbox 150; open a; sub a trade.*; go; stall a; pub trade.A 1..3; drain; pub trade.B 1; drain; show outbox a; resume a; pub trade.A 4; go",
        expect![[r#"
            a: ack 1 trade.* matched=0 every
            outbox a: 0 control, 0 data
            a: joined trade.A 0
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: joined trade.B 0
            a: update trade.B 1 1
            a: update trade.A 3 3
            a: update trade.A 4 4"#]],
    );
    check(
        "rule trade.> event 2; outbox 100; open a; sub a trade.*; go; stall a; pub trade.A 1..9; drain; resume a; go",
        expect![[r#"
            a: ack 1 trade.* matched=0 every
            a: gap trade.A 1..7 slow
            a: update trade.A 8 8
            a: update trade.A 9 9"#]],
    );
    check(
        "open a; sub a ticker.* rate=100; pub ticker.A 1..3; go; wait 100; pub ticker.A 4; go",
        expect![[r#"
            a: ack 1 ticker.* matched=0 conflate rate=100
            a: joined ticker.A 0
            a: update ticker.A 1 1
            100 ms a: update ticker.A 3 3"#]],
    );
}

#[test]
fn the_lineage_is_encoded_once_for_all() {
    check(
        "open a; open b; open c msgpack; sub a trade.*; sub b trade.*; sub c trade.*; pub trade.A 1; go",
        expect![[r#"
            a: ack 1 trade.* matched=0 every
            a: joined trade.A 0
            a: update trade.A 1 1
            b: ack 1 trade.* matched=0 every
            b: joined trade.A 0
            b: update trade.A 1 1
            c: ack 1 trade.* matched=0 every
            c: joined trade.A 0
            c: update trade.A 1 1"#]],
    );
}

#[test]
fn a_pattern_resumes_each_topic_wholly_or_not_at_all() {
    // The topics: one that the history reaches, one that it does not, one of another lineage, one without a position,
    // and one that does not match.
    check(
        "rule trade.> event 4; synced; open a; sub a trade.*; pub trade.A 1..9; pub trade.B 1..9; pub trade.C 1..3; pub trade.D 1..2; go; lost a; again a; sub a trade.*@trade.A=7,trade.B=2,trade.C=other:1,book.X=1,no=5,trade.A.B=1; pub trade.A 10; pub trade.C 4; go",
        expect![[r#"
            a: ack 1 trade.* matched=0 every
            a: synced 1
            a: joined trade.A 0
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9
            a: joined trade.B 0
            a: update trade.B 1 1
            a: update trade.B 2 2
            a: update trade.B 3 3
            a: update trade.B 4 4
            a: update trade.B 5 5
            a: update trade.B 6 6
            a: update trade.B 7 7
            a: update trade.B 8 8
            a: update trade.B 9 9
            a: joined trade.C 0
            a: update trade.C 1 1
            a: update trade.C 2 2
            a: update trade.C 3 3
            a: joined trade.D 0
            a: update trade.D 1 1
            a: update trade.D 2 2
            a: ack 1 trade.* matched=4 every resumed=1 not=3
            a: update trade.A 8 8
            a: update trade.A 9 9
            a: update trade.A 10 10
            a: gap trade.B 3..9 history
            a: gap trade.C 1..3 epoch
            a: update trade.C 4 4
            a: snapshot trade.D 2 2
            a: synced 1"#]],
    );
}

#[test]
fn a_pattern_of_state_and_books_resumes_by_the_newest_and_by_changes() {
    let book = |price: u32| format!(r#"pub book.A {{"symbol":"A","bids":[["{price}","1"]],"time":0}};"#);
    let books: String = (1..=3).map(book).collect();
    check(
        &format!(
            "rule book.A book 8; open a; pub ticker.A 1..5; pub ticker.B 1..5; {books} sub a >@ticker.A=2,ticker.B=other:5,book.A=1; go"
        ),
        expect![[r#"
            a: ack 1 > matched=3 state=conflate book=every event=every resumed=2 not=1
            a: update ticker.A 5 5
            a: snapshot ticker.B 5 5
            a: update book.A 2 {"symbol":"A","bids":[["2","1"]],"asks":[],"checksum":3377227545,"time":0}
            a: update book.A 3 {"symbol":"A","bids":[["3","1"]],"asks":[],"checksum":1197866387,"time":0}"#]],
    );
}

#[test]
fn positions_hold_until_the_next_subscribe() {
    // A request's own positions have precedence over those that were sent before. The next request does not get them.
    check(
        "open a; pub trade.A 1..3; pub trade.B 1..3; positions a trade.A=1,trade.B=2; positions a trade.B=1; sub a trade.*@trade.A=2; go; unsub a trade.*; sub a trade.* nosnapshot; go",
        expect![[r#"
            a: ack 1 
            a: ack 2 
            a: ack 3 trade.* matched=2 every resumed=2 not=0
            a: update trade.A 3 3
            a: update trade.B 2 2
            a: update trade.B 3 3
            a: ack 4 trade.*
            a: ack 5 trade.* matched=2 every"#]],
    );
    // This holds even for a request that names no pattern, or is refused.
    check(
        "open a; pub trade.A 1..3; positions a trade.A=1; sub a trade.A; go; unsub a trade.A; sub a trade.*; go; positions a trade.A=1; sub a bad..topic; unsub a trade.*; sub a trade.*; go",
        expect![[r#"
            a: ack 1 
            a: ack 2 trade.A@3 every
            a: snapshot trade.A 3 3
            a: ack 3 trade.A
            a: ack 4 trade.* matched=1 every
            a: snapshot trade.A 3 3
            a: ack 5 
            a: ack 6 bad..topic bad_topic: empty token at byte 4
            a: ack 7 trade.*
            a: ack 8 trade.* matched=1 every
            a: snapshot trade.A 3 3"#]],
    );
}

#[test]
fn positions_are_bounded_as_topics_are() {
    check(
        "caps 2 64; open a; pub t.a 1; pub t.b 1; pub u.c 1; positions a t.a=0,gone.x=5,gone.y=6; positions a t.b=0; positions a t.a=1,u.c=0; sub a t.*; go",
        expect![[r#"
            a: ack 1 
            a: ack 2 
            a: error 3 limit_exceeded (retryable): 1 positions more; the connection has sent 2 ahead and may send 2
            a: ack 4 t.* matched=2 every resumed=2 not=0
            a: update t.a 1 1
            a: update t.b 1 1"#]],
    );
}

#[test]
fn looking_for_the_topics_of_positions_is_paid_for_however_they_come() {
    let positions: Vec<String> = (0..3_000).map(|n| format!("t.{n}=1")).collect();
    let positions = positions.join(",");
    for (request, answer) in [
        (
            format!("positions a {positions}; sub a t.*"),
            "a: ack 1 \na: error 2 ",
        ),
        (
            format!("sub a t.*@{positions}; ping a"),
            "a: ack 1 t.* matched=0 every resumed=0 not=0\na: error 2 ",
        ),
    ] {
        let read = run(&format!("rate 1 4; open a; {request}; go"));
        assert!(read.starts_with(&format!("{answer}rate_limited")), "{read}");
    }
}

#[test]
fn positions_have_the_form_that_their_topic_needs() {
    check(
        "open a; pub trade.A 1..2; sub a trade.A@trade.A=1; sub a trade.*@1; sub a trade.*@trade.A=1 mode=snapshot; sub a trade.*; sub a trade.*@trade.A=1; go",
        expect![[r#"
            a: ack 1 trade.A bad_request: "since" of a topic without wildcards has a field "seq"
            a: ack 2 trade.* bad_request: "since" of a pattern has a field "seqs": the numbers by topic
            a: ack 3 trade.* bad_request: mode snapshot: a snapshot is not resumed
            a: ack 4 trade.* matched=1 every
            a: ack 5 trade.* bad_request: this connection has the pattern already; "since" is for a new subscription
            a: snapshot trade.A 2 2"#]],
    );
}

#[test]
fn what_a_connection_has_already_is_not_resumed_by_a_pattern() {
    check(
        "open a; pub trade.A 1..3; pub trade.B 1..3; sub a trade.A@2; go; sub a trade.*@trade.A=0,trade.B=2; go",
        expect![[r#"
            a: ack 1 trade.A@3 every recovered=true
            a: update trade.A 3 3
            a: ack 2 trade.* matched=2 every resumed=1 not=0
            a: update trade.B 3 3"#]],
    );
}

#[test]
fn the_end_of_a_request_comes_behind_all_that_it_brought() {
    // The order is that of the outbox, even for a reader that takes little, lags and is sent it again.
    check(
        "outbox 150; synced; open a; pub trade.A 1..3; pub ticker.A 1; stall a; sub a trade.A@0 ticker.A; sub a ticker.B; write a 100; write a 100; write a 50; pub ticker.A 2; drain; pub ticker.A 3..5; drain; write a 100; write a 200; resume a; go",
        expect![[r#"
            a: ack 1 trade.A@3 every recovered=true, ticker.A@1 conflate
            a: ack 2 ticker.B@0 conflate
            a: synced 2
            a: snapshot ticker.A 5 5
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: synced 1"#]],
    );
    check(
        "synced; open a; open b; pub trade.A 1; pub trade.B 1; sub a trade.A; sub a x; sub a trade.> mode=snapshot; sub a trade.A trade.B; resync a trade.A; sub a bad..topic; unsub a x; go",
        expect![[r#"
            a: ack 1 trade.A@1 every
            a: ack 2 x@0 every
            a: synced 2
            a: ack 3 trade.> matched=2 snapshot
            a: ack 4 trade.A@1 every, trade.B@1 every
            a: ack 5 trade.A@1
            a: ack 6 bad..topic bad_topic: empty token at byte 4
            a: synced 6
            a: ack 7 x
            a: snapshot trade.A 1 1
            a: synced 1
            a: snapshot trade.B 1 1
            a: synced 3
            a: synced 4"#]],
    );
    // The request is done in pieces.
    check(
        "at_once 1; synced; open a; pub trade.A 1; pub trade.B 1; sub a trade.A trade.B; go; step a; go",
        expect![[r#"
            a: ack 1 trade.A@1 every, trade.B@1 every
            a: snapshot trade.A 1 1
            a: snapshot trade.B 1 1
            a: synced 1"#]],
    );
    // The client leaves what it brought.
    check(
        "synced; open a; pub trade.A 1; stall a; sub a trade.A; go; unsub a trade.A; resume a; go",
        expect![[r#"
            a: ack 1 trade.A@1 every
            a: ack 2 trade.A
            a: synced 1"#]],
    );
}
