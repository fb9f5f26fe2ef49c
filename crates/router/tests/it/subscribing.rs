//! Subscribing: acks, the messages after them, and refusals.

use expect_test::expect;

use crate::script::check;

#[test]
fn ack_then_snapshot_then_live() {
    check(
        "open a; open b msgpack; pub ticker.A 1; sub a ticker.A; sub b ticker.A; pub ticker.A 2; go; pub ticker.A 3; go",
        expect![[r#"
            a: ack 1 ticker.A@1 conflate
            a: snapshot ticker.A 2 2
            b: ack 1 ticker.A@1 conflate
            b: snapshot ticker.A 2 2
            a: update ticker.A 3 3
            b: update ticker.A 3 3"#]],
    );
    check(
        "open a; pub trade.A 1..2; sub a trade.A; pub trade.A 3..4; go",
        expect![[r#"
            a: ack 1 trade.A@2 every
            a: snapshot trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4"#]],
    );
}

#[test]
fn without_snapshot_only_what_comes_later() {
    check(
        "open a; pub ticker.A 1; pub trade.A 1..2; sub a ticker.A trade.A trade.* nosnapshot; pub ticker.A 2; pub trade.A 3; go",
        expect![[r#"
            a: ack 1 ticker.A@1 conflate, trade.A@2 every, trade.* matched=1 every
            a: update ticker.A 2 2
            a: update trade.A 3 3"#]],
    );
}

#[test]
fn a_topic_without_a_message_has_no_snapshot() {
    check(
        "open a; open_topic ticker.A; sub a ticker.A ticker.B ticker.*; go; pub ticker.A 1; pub ticker.B 1; go",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate, ticker.B@0 conflate, ticker.* matched=1 conflate
            a: update ticker.A 1 1
            a: update ticker.B 1 1"#]],
    );
}

#[test]
fn wildcards_are_acked_with_what_they_match_and_later_topics_join() {
    check(
        "open a; pub trade.A 1; pub trade.B 1..2; pub ticker.A 1; sub a trade.*; go; pub trade.C 1..2; pub trade.C.x 1; go",
        expect![[r#"
            a: ack 1 trade.* matched=2 every
            a: snapshot trade.A 1 1
            a: snapshot trade.B 2 2
            a: joined trade.C 0
            a: update trade.C 1 1
            a: update trade.C 2 2"#]],
    );
    check(
        "open a; pub t.a 1; sub a >; go; pub new 1..2; pub ticker.A 1; go",
        expect![[r#"
            a: ack 1 > matched=1 state=conflate book=every event=every
            a: snapshot t.a 1 1
            a: joined new 0
            a: update new 1 1
            a: update new 2 2
            a: joined ticker.A 0
            a: update ticker.A 1 1"#]],
    );
}

#[test]
fn a_topic_is_delivered_once_however_many_patterns_match() {
    check(
        "open a; pub trade.A 1; sub a trade.A trade.* > *.A; go; pub trade.A 2; pub trade.B 1; go;
         unsub a > trade.A; pub trade.A 3; pub trade.B 2; go; unsub a *.A; pub trade.A 4; go;
         unsub a trade.*; pub trade.A 5; go; show subscribers trade.A",
        expect![[r#"
            a: ack 1 trade.A@1 every, trade.* matched=1 every, > matched=1 state=conflate book=every event=every, *.A matched=1 state=conflate book=every event=every
            a: snapshot trade.A 1 1
            a: update trade.A 2 2
            a: joined trade.B 0
            a: update trade.B 1 1
            a: ack 2 >, trade.A
            a: update trade.A 3 3
            a: update trade.B 2 2
            a: ack 3 *.A
            a: update trade.A 4 4
            a: ack 4 trade.*
            subscribers trade.A: 0"#]],
    );
    // The result is the same if the topics are made after the patterns.
    check(
        "open a; sub a trade.A trade.* > *.A; pub trade.A 1; go; unsub a trade.* > *.A; pub trade.A 2; go",
        expect![[r#"
            a: ack 1 trade.A@0 every, trade.* matched=0 every, > matched=0 state=conflate book=every event=every, *.A matched=0 state=conflate book=every event=every
            a: update trade.A 1 1
            a: ack 2 trade.*, >, *.A
            a: update trade.A 2 2"#]],
    );
}

#[test]
fn a_name_twice_in_one_request_is_one_subscription() {
    check(
        "open a; pub ticker.A 1; sub a ticker.A ticker.A ticker.* ticker.*; go; unsub a ticker.A ticker.*; pub ticker.A 2; go",
        expect![[r#"
            a: ack 1 ticker.A@1 conflate, ticker.A@1 conflate, ticker.* matched=1 conflate, ticker.* matched=1 conflate
            a: snapshot ticker.A 1 1
            a: ack 2 ticker.A, ticker.*"#]],
    );
}

#[test]
fn a_bad_topic_fails_alone() {
    check(
        "open a; pub ticker.A 1; sub a ticker.A bad..topic a.b* >.a ticker.*@3 trade.é; unsub a bad..topic nothing ticker.A; go",
        expect![[r#"
            a: ack 1 ticker.A@1 conflate, bad..topic bad_topic: empty token at byte 4, a.b* bad_topic: wildcard at byte 3 must be a whole token, >.a bad_topic: '>' at byte 0 must be the last token, ticker.* bad_request: "since" of a pattern has a field "seqs": the numbers by topic, trade.é bad_topic: byte 6 ('é') is not one of A-Z a-z 0-9 _ - .
            a: ack 2 bad..topic bad_topic: empty token at byte 4, nothing not_subscribed: no subscription of this connection has this name, ticker.A"#]],
    );
    check(
        r#"open a; send a {"op":"subscribe","id":7,"topics":[""]}; go"#,
        expect!["a: ack 7  bad_topic: topic is empty"],
    );
}

#[test]
fn messages_that_all_count_are_not_conflated() {
    check(
        "open a; pub ticker.raw 1; pub trade.A 1; sub a trade.A book.A trade.* > book.> ticker.A ticker.* *.A mode=conflate; go",
        expect![[r#"
            a: ack 1 trade.A bad_request: mode conflate: trade.A is of kind event, whose messages all count, book.A bad_request: mode conflate: book.A is of kind book, whose messages all count, trade.* bad_request: mode conflate: trade.* is of kind event, whose messages all count, > bad_request: mode conflate: > is of kind event, whose messages all count, book.> bad_request: mode conflate: book.> is of kind book, whose messages all count, ticker.A@0 conflate, ticker.* matched=1 conflate, *.A bad_request: mode conflate: *.A is of kind event, whose messages all count
            a: snapshot ticker.raw 1 1"#]],
    );
    // This also holds if only a rule of the operator sets the kind, even for a topic that appears later.
    check(
        "rule ticker.raw event 10; open a; sub a ticker.* mode=conflate; pub ticker.raw 1..3; go",
        expect![[r#"
            a: ack 1 ticker.* matched=0 state=conflate event=every
            a: joined ticker.raw 0
            a: update ticker.raw 1 1
            a: update ticker.raw 2 2
            a: update ticker.raw 3 3"#]],
    );
    check(
        "rule ticker.raw event 10; open a; pub ticker.raw 1; sub a ticker.* mode=conflate; go",
        expect![
            "a: ack 1 ticker.* bad_request: mode conflate: ticker.raw is of kind event, whose messages all count"
        ],
    );
}

#[test]
fn every_message_of_a_state_topic_on_request() {
    check(
        "queue 2; open a; open b; sub a ticker.A mode=every; sub b ticker.A; pub ticker.A 1..2; go; pub ticker.A 3..6; go; pub ticker.A 7; go",
        expect![[r#"
            a: ack 1 ticker.A@0 every
            a: update ticker.A 1 1
            a: update ticker.A 2 2
            b: ack 1 ticker.A@0 conflate
            b: update ticker.A 1 1
            b: update ticker.A 2 2
            a: update ticker.A 3 3
            a: update ticker.A 4 4
            a: gap ticker.A 5..5 slow
            a: update ticker.A 6 6
            b: update ticker.A 3 3
            b: update ticker.A 4 4
            b: update ticker.A 6 6
            a: update ticker.A 7 7
            b: update ticker.A 7 7"#]],
    );
}

#[test]
fn the_strictest_mode_of_all_patterns_is_granted() {
    check(
        "queue 1; open a; sub a ticker.*; sub a ticker.A mode=every; pub ticker.A 1..2; pub ticker.B 1..2; go;
         unsub a ticker.A; pub ticker.A 3..6; go",
        expect![[r#"
            a: ack 1 ticker.* matched=0 conflate
            a: ack 2 ticker.A@0 every
            a: update ticker.A 1 1
            a: joined ticker.B 0
            a: update ticker.B 2 2
            a: update ticker.A 2 2
            a: ack 3 ticker.A
            a: update ticker.A 3 3
            a: update ticker.A 6 6"#]],
    );
    check(
        "queue 1; open a; sub a ticker.A mode=every; sub a ticker.A; pub ticker.A 1..2; go",
        expect![[r#"
            a: ack 1 ticker.A@0 every
            a: ack 2 ticker.A@0 conflate
            a: update ticker.A 1 1
            a: update ticker.A 2 2"#]],
    );
}

#[test]
fn a_mode_that_changes_is_acknowledged_in_its_place() {
    // The waiting messages were chosen by the old mode: an ack of "every" must not come before the jump.
    check(
        "queue 1; open a; sub a ticker.*; go; stall a; pub ticker.A 1..3; drain; write a 0; sub a ticker.* mode=every; pub ticker.A 4; drain; resume a",
        expect![[r#"
            a: ack 1 ticker.* matched=0 conflate
            a: joined ticker.A 0
            a: update ticker.A 1 1
            a: update ticker.A 3 3
            a: ack 2 ticker.* matched=1 every
            a: update ticker.A 4 4"#]],
    );
    check(
        "queue 1; open a; sub a ticker.*; go; stall a; pub ticker.A 1..3; drain; write a 0; sub a *.A mode=every; pub ticker.A 4; drain; resume a",
        expect![[r#"
            a: ack 1 ticker.* matched=0 conflate
            a: joined ticker.A 0
            a: update ticker.A 1 1
            a: update ticker.A 3 3
            a: ack 2 *.A matched=1 every
            a: update ticker.A 4 4"#]],
    );
}

#[test]
fn looking_for_many_topics_is_paid_from_the_allowance() {
    // Each of three wildcards of one request looks at 30,000 topics: the third exceeds the burst.
    let open = (0..30_000)
        .map(|n| format!("open_topic t.{n}; "))
        .collect::<String>();
    check(
        &format!("rate 1 4; {open} open a; sub a t.* t.> > t.1; go; wait 4000; sub a >; go"),
        expect![[r#"
            a: ack 1 t.* matched=30000 every, t.> rate_limited: more than 1 requests per second after a burst of 4; wait 27002 ms, > rate_limited: more than 1 requests per second after a burst of 4; wait 27002 ms, t.1@0 every
            a: error 2 rate_limited (retryable): more than 1 requests per second after a burst of 4; wait 24002 ms"#]],
    );
}

#[test]
fn replays_cost_of_the_allowance() {
    // Sixteen messages cost as much as a look at a topic, when they are promised and when they are given up.
    check(
        "rule t.> event 40000; rate 1 4; open a; pub t.A 1..32001; sub a t.A@1; unsub a t.A; ping a; go",
        expect![[r#"
            a: ack 1 t.A@32001 every recovered=true
            a: ack 2 t.A
            a: error 3 rate_limited (retryable): more than 1 requests per second after a burst of 4; wait 3001 ms"#]],
    );
}

#[test]
fn limit_on_subscriptions() {
    check(
        "subscriptions 2; open a; sub a x.a x.*; sub a x.a x.b y; unsub a x.a; sub a y; sub a a b c; go",
        expect![[r#"
            a: ack 1 x.a@0 every, x.* matched=0 every
            a: error 2 limit_exceeded (retryable): 3 topics in one request; a connection has at most 2
            a: ack 3 x.a
            a: ack 4 y@0 every
            a: error 5 limit_exceeded (retryable): 3 topics in one request; a connection has at most 2"#]],
    );
    // One-shots are not subscriptions.
    check(
        "subscriptions 1; open a; pub t 1; sub a t; sub a t mode=snapshot; go",
        expect![[r#"
            a: ack 1 t@1 every
            a: ack 2 t@1 snapshot
            a: snapshot t 1 1"#]],
    );
}

#[test]
fn empty_and_unreadable_requests() {
    check(
        r#"open a; send a {"op":"subscribe","id":1,"topics":[]}; send a {"op":"unsubscribe","id":2,"topics":[]};
           send a {"op":"subscribe","topics":["x"]}; send a {"op":"fly","id":4}; send a nonsense;
           send a {"op":"auth","id":6,"token":"t"}; go"#,
        expect![[r#"
            a: error 1 bad_request: "topics" is empty
            a: error 2 bad_request: "topics" is empty
            a: error - bad_request: subscribe needs a field "id"
            a: error 4 unknown_op: unknown op "fly"; known are subscribe, positions, unsubscribe, publish, resync, auth, ping
            a: error - bad_request: expected ident at line 1 column 2
            a: error 6 unauthenticated: no such token"#]],
    );
}

#[test]
fn subscribing_again_brings_a_fresh_snapshot_in_its_place() {
    check(
        "open a; sub a ticker.A; pub ticker.A 1; drain; sub a ticker.A; pub ticker.A 2; go; pub ticker.A 3; go",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate
            a: update ticker.A 1 1
            a: ack 2 ticker.A@1 conflate
            a: snapshot ticker.A 2 2
            a: update ticker.A 3 3"#]],
    );
    check(
        "open a; sub a trade.A; pub trade.A 1..2; drain; sub a trade.A; pub trade.A 3; go",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: ack 2 trade.A@2 every
            a: snapshot trade.A 2 2
            a: update trade.A 3 3"#]],
    );
    check(
        "open a; sub a ticker.*; pub ticker.A 1; go; sub a ticker.*; go; sub a ticker.A nosnapshot; go",
        expect![[r#"
            a: ack 1 ticker.* matched=0 conflate
            a: joined ticker.A 0
            a: update ticker.A 1 1
            a: ack 2 ticker.* matched=1 conflate
            a: ack 3 ticker.A@1 conflate"#]],
    );
}

#[test]
fn a_snapshot_asked_for_while_a_replay_waits_comes_behind_it() {
    check(
        "open a; pub trade.A 1..3; stall a; sub a trade.A@0; sub a trade.A; drain; pub trade.A 4; resume a; go",
        expect![[r#"
            a: ack 1 trade.A@3 every recovered=true
            a: ack 2 trade.A@0 every
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: snapshot trade.A 3 3
            a: update trade.A 4 4"#]],
    );
    check(
        "open a; pub trade.A 1..3; stall a; sub a trade.A@1; sub a trade.A; drain; pub trade.A 4; resume a; go",
        expect![[r#"
            a: ack 1 trade.A@3 every recovered=true
            a: ack 2 trade.A@1 every
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: snapshot trade.A 3 3
            a: update trade.A 4 4"#]],
    );
}

#[test]
fn resync_sends_a_fresh_snapshot() {
    check(
        "open a; sub a ticker.A trade.A; pub ticker.A 1; pub trade.A 1..2; go; pub ticker.A 2; resync a ticker.A; resync a trade.A; pub trade.A 3; go",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate, trade.A@0 every
            a: update ticker.A 1 1
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: ack 2 ticker.A@1
            a: ack 3 trade.A@2
            a: snapshot ticker.A 2 2
            a: snapshot trade.A 2 2
            a: update trade.A 3 3"#]],
    );
    check(
        "open a; sub a ticker.*; resync a ticker.A; resync a trade.A; resync a ticker.*; resync a a..b; pub ticker.A 1; resync a ticker.A; go",
        expect![[r#"
            a: ack 1 ticker.* matched=0 conflate
            a: ack 2 ticker.A@0
            a: error 3 not_subscribed: no subscription of this connection covers trade.A
            a: error 4 bad_topic: wildcard at byte 7: a single topic is needed here
            a: error 5 bad_topic: empty token at byte 2
            a: ack 6 ticker.A@0
            a: snapshot ticker.A 1 1"#]],
    );
}

/// The message at the subscription's position is gone, so the snapshot is that of the next one.
#[test]
fn a_snapshot_comes_though_the_history_of_an_event_topic_has_gone_on() {
    for asked in ["resync a trade.A", "sub a trade.A mode=snapshot", "sub a trade.A"] {
        let script = format!(
            "rule trade.> event 1; open a; sub a trade.A; pub trade.A 1; go; stall a; pub trade.A 2..6; {asked}; resume a; pub trade.A 7; go"
        );
        let out = crate::script::run(&script);
        let lines: Vec<&str> = out.lines().collect();
        let expected = [
            "a: gap trade.A 2..5 slow",
            "a: update trade.A 6 6",
            "a: snapshot trade.A 6 6",
            "a: update trade.A 7 7",
        ];
        assert!(lines[2].starts_with("a: ack 2 trade.A@1"), "{asked}: {out}");
        assert_eq!(lines[3..], expected, "{asked}");
    }
    // The topic has a value, though the subscription began before there was one.
    check(
        "rule trade.> event 2; open a; sub a trade.A nosnapshot; stall a; pub trade.A 1..3; resync a trade.A; resume a; go",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: ack 2 trade.A@0
            a: gap trade.A 1..1 slow
            a: update trade.A 2 2
            a: snapshot trade.A 2 2
            a: update trade.A 3 3"#]],
    );
}

/// One ack waits behind data. No later answer overtakes it, whatever request it is for.
#[test]
fn no_answer_overtakes_an_ack_that_keeps_its_place() {
    check(
        r#"open a publish=chat.>; sub a trade.A; go; stall a; pub trade.A 1..2; drain; ping a; sub a trade.A nosnapshot; ping a; resync a nothing; send a {"op":"publish","id":6,"topic":"chat.x","data":1}; send a nonsense; wsping a hello; unsub a trade.B; resume a"#,
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: pong 2
            a: PONG hello
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: ack 3 trade.A@2 every
            a: pong 4
            a: error 5 not_subscribed: no subscription of this connection covers nothing
            a: ack 6 chat.x@1
            a: error - bad_request: expected ident at line 1 column 2
            a: ack 6 trade.B not_subscribed: no subscription of this connection has this name"#]],
    );
    // Without such an ack, answers do not wait for data.
    check(
        "open a; sub a trade.A; go; stall a; pub trade.A 1..2; drain; ping a; resync a nothing; resume a",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: pong 2
            a: error 3 not_subscribed: no subscription of this connection covers nothing
            a: update trade.A 1 1
            a: update trade.A 2 2"#]],
    );
}

#[test]
fn acks_are_read_in_the_order_of_their_requests() {
    // The first ack waits behind data. The second one belongs to a later request, so it must not overtake.
    check(
        "open a; sub a trade.A; go; stall a; pub trade.A 1..2; drain; sub a trade.A trade.B nosnapshot; unsub a trade.B; sub a trade.B; resume a",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: ack 2 trade.A@2 every, trade.B@0 every
            a: ack 3 trade.B
            a: ack 4 trade.B@0 every"#]],
    );
}
