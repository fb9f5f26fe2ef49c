//! Falling behind: the queue overflows, or the outbox fills.

use expect_test::expect;

use crate::script::check;

#[test]
fn a_full_queue_is_made_up_for_from_the_history() {
    check(
        "queue 2; open a; sub a trade.A; pub trade.A 1..5; show queue; go; pub trade.A 6; go; show count overflows",
        expect![[r#"
            queue: 2
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6
            count overflows: 3"#]],
    );
}

#[test]
fn what_the_history_lost_is_an_exact_gap() {
    check(
        "rule trade.> event 3; queue 2; open a; sub a trade.A; pub trade.A 1..9; go; pub trade.A 10; go; show count gapped",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: gap trade.A 3..6 slow
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9
            a: update trade.A 10 10
            count gapped: 4"#]],
    );
    check(
        "rule trade.> event 3; queue 2; open a; sub a trade.*; pub trade.A 1..9; pub trade.B 1..2; go",
        expect![[r#"
            a: ack 1 trade.* matched=0 every
            a: joined trade.A 0
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: gap trade.A 3..6 slow
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9
            a: joined trade.B 0
            a: update trade.B 1 1
            a: update trade.B 2 2"#]],
    );
}

#[test]
fn conflate_jumps_to_the_newest() {
    check(
        "queue 2; open a; sub a ticker.A; pub ticker.A 1..9; go; pub ticker.A 10; go",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate
            a: update ticker.A 1 1
            a: update ticker.A 2 2
            a: update ticker.A 9 9
            a: update ticker.A 10 10"#]],
    );
}

#[test]
fn a_topic_whose_every_message_overflowed() {
    check(
        "queue 1; open a; sub a >; pub x 1; pub trade.A 1..2; pub ticker.A 1..2; go; pub trade.A 3; go",
        expect![[r#"
            a: ack 1 > matched=0 state=conflate book=every event=every
            a: joined x 0
            a: update x 1 1
            a: joined ticker.A 0
            a: update ticker.A 2 2
            a: joined trade.A 0
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3"#]],
    );
}

#[test]
fn while_catching_up_new_messages_wait_their_turn() {
    check(
        "queue 2; open a; sub a trade.A; go; stall a; pub trade.A 1..5; drain; pub trade.A 6; drain; write a 60; pub trade.A 7..8; drain; resume a; pub trade.A 9; go",
        expect![[r#"
            a: ack 1 trade.A@0 every
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
fn over_budget_goes_on_through_the_history() {
    check(
        "outbox 120; open a; open b; sub a trade.A; sub b trade.A; go; stall a; pub trade.A 1..6; go; show subscribers trade.A; resume a; pub trade.A 7; go",
        expect![[r#"
            a: ack 1 trade.A@0 every
            b: ack 1 trade.A@0 every
            b: update trade.A 1 1
            b: update trade.A 2 2
            b: update trade.A 3 3
            b: update trade.A 4 4
            b: update trade.A 5 5
            b: update trade.A 6 6
            subscribers trade.A: 2
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            b: update trade.A 7 7"#]],
    );
}

#[test]
fn over_budget_for_longer_than_the_history_is_an_exact_gap() {
    check(
        "rule trade.> event 3; outbox 120; open a; sub a trade.A; go; stall a; pub trade.A 1..9; go; resume a; pub trade.A 10; go",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: gap trade.A 1..6 slow
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9
            a: update trade.A 10 10"#]],
    );
}

#[test]
fn over_budget_of_a_conflated_topic_brings_the_newest() {
    check(
        "outbox 120; open a; sub a ticker.A; go; stall a; pub ticker.A 1..9; go; resume a; show count conflated",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate
            a: update ticker.A 9 9
            count conflated: 8"#]],
    );
}

#[test]
fn over_budget_of_a_book_brings_a_snapshot() {
    check(
        r#"rule book.> book 2; outbox 200; open a; sub a book.X; go; stall a;
           pub book.X {"symbol":"X","bids":[["1","1"]],"time":1}; pub book.X {"symbol":"X","bids":[["2","1"]],"time":2};
           pub book.X {"symbol":"X","bids":[["3","1"]],"time":3}; pub book.X {"symbol":"X","bids":[["4","1"]],"time":4};
           pub book.X {"symbol":"X","bids":[["5","1"]],"time":5}; pub book.X {"symbol":"X","bids":[["6","1"]],"time":6};
           go; resume a"#,
        expect![[r#"
            a: ack 1 book.X@0 every
            a: gap book.X 1..6 slow
            a: snapshot book.X 6 {"symbol":"X","bids":[["6","1"],["5","1"],["4","1"],["3","1"],["2","1"],["1","1"]],"asks":[],"checksum":662828011,"time":6}"#]],
    );
}

#[test]
fn taking_nothing_over_budget_is_the_end_of_that_session_alone() {
    check(
        "outbox 120; open a; open b; sub a trade.A; sub b trade.A; go; stall a; pub trade.A 1..6; go; wait 29000; heard a; heard b; wait 10000; resume a; show subscribers trade.A",
        expect![[r#"
            a: ack 1 trade.A@0 every
            b: ack 1 trade.A@0 every
            b: update trade.A 1 1
            b: update trade.A 2 2
            b: update trade.A 3 3
            b: update trade.A 4 4
            b: update trade.A 5 5
            b: update trade.A 6 6
            15000 ms b: heartbeat
            20000 ms b: PING
            30000 ms b: heartbeat
            35000 ms a: gone
            subscribers trade.A: 1"#]],
    );
}

#[test]
fn taking_a_little_over_budget_is_no_stall() {
    check(
        "outbox 120; open a; sub a trade.A; go; stall a; pub trade.A 1..6; go; wait 15000; heard a; write a 30; wait 15000; heard a; write a 30; wait 15000; heard a; resume a",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6"#]],
    );
}

#[test]
fn a_client_that_takes_a_little_and_then_nothing_is_a_stall() {
    // By then all its subscriptions are behind, so no publication finds its outbox full again.
    check(
        "outbox 120; open a; sub a trade.A; go; stall a; pub trade.A *40000; pub trade.A *40000; pub trade.A *40000; pub trade.A *40000; go; write a 60; pub trade.A 5; go; wait 15000; heard a; wait 15000; heard a; wait 15000; heard a; wait 15000; heard a; resume a",
        expect![[r#"
            a: ack 1 trade.A@0 every
            43000 ms a: gone"#]],
    );
}

#[test]
fn a_client_that_does_not_take_what_it_asked_for_is_a_stall() {
    // Nothing is published. Replays and snapshots wait, and their messages are kept.
    check(
        "open a; pub t.a *40000; pub t.b *40000; pub t.c *40000; sub a t.a@0 t.b t.c; stall a; wait 15000; heard a; wait 15000; heard a; wait 15000; heard a; wait 15000; heard a; resume a",
        expect!["43000 ms a: gone"],
    );
}

#[test]
fn a_frame_begun_is_finished_before_the_close() {
    check(
        "outbox 120; open a; sub a trade.A; go; stall a; pub trade.A 1; drain; write a 7; pub trade.A 2..6; drain; close a 1001 bye; resume a",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: CLOSE 1001 bye"#]],
    );
}

#[test]
fn one_message_larger_than_the_budget_is_no_slowness() {
    check(
        r#"outbox 40; open a; sub a chat.A; go; pub chat.A "a text that is longer than the whole budget"; go; pub chat.A 2; go"#,
        expect![[r#"
            a: ack 1 chat.A@0 every
            a: update chat.A 1 "a text that is longer than the whole budget"
            a: update chat.A 2 2"#]],
    );
}

#[test]
fn what_was_asked_for_does_not_count_as_slowness() {
    // A snapshot and a replay fill the outbox. A live message on top is within the budget.
    check(
        r#"outbox 90; open a; pub chat.A 1..4; pub ticker.A "a long text for a snapshot that is over the budget"; sub a chat.A@0 ticker.A; stall a; write a 1; pub chat.A 5; drain; resume a; pub chat.A 6; go"#,
        expect![[r#"
            a: ack 1 chat.A@4 every recovered=true, ticker.A@1 conflate
            a: snapshot ticker.A 1 "a long text for a snapshot that is over the budget"
            a: update chat.A 1 1
            a: update chat.A 2 2
            a: update chat.A 3 3
            a: update chat.A 4 4
            a: update chat.A 5 5
            a: update chat.A 6 6"#]],
    );
}

#[test]
fn what_was_asked_for_does_not_pile_up() {
    // The outbox never runs empty, and messages that are published meanwhile still come in order.
    check(
        "outbox 120; open a; sub a ticker.A chat.A; pub ticker.A 1; go; stall a;
         resync a ticker.A; write a 100; resync a ticker.A; write a 100; resync a ticker.A; write a 100; resync a ticker.A; write a 100;
         resync a ticker.A; write a 100; resync a ticker.A; write a 100;
         pub chat.A 1..9; drain; resume a",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate, chat.A@0 every
            a: update ticker.A 1 1
            a: ack 2 ticker.A@1
            a: snapshot ticker.A 1 1
            a: ack 3 ticker.A@1
            a: ack 4 ticker.A@1
            a: ack 5 ticker.A@1
            a: snapshot ticker.A 1 1
            a: ack 6 ticker.A@1
            a: ack 7 ticker.A@1
            a: snapshot ticker.A 1 1
            a: update chat.A 1 1
            a: update chat.A 2 2
            a: update chat.A 3 3
            a: update chat.A 4 4
            a: update chat.A 5 5
            a: update chat.A 6 6
            a: update chat.A 7 7
            a: update chat.A 8 8
            a: update chat.A 9 9"#]],
    );
}

#[test]
fn a_busy_topic_does_not_keep_others_from_catching_up() {
    // Whenever the client takes bytes, more was published to the busy topic than it took, and the history moves on.
    let more = "pub busy *30000; pub busy *30000; drain; write a 40000;".repeat(3);
    check(
        &format!(
            "queue 0; rule busy event 4; open a; sub a busy; go; stall a; pub busy *30000; {more} pub ticker.A 1; sub a ticker.A; {more} {more}"
        ),
        expect![[r#"
            a: ack 1 busy@0 every
            a: update busy 1 "x…(30000)"
            a: update busy 2 "x…(30000)"
            a: update busy 3 "x…(30000)"
            a: update busy 4 "x…(30000)"
            a: ack 2 ticker.A@1 conflate
            a: update busy 5 "x…(30000)"
            a: snapshot ticker.A 1 1
            a: update busy 6 "x…(30000)"
            a: gap busy 7..7 slow
            a: update busy 8 "x…(30000)"
            a: update busy 9 "x…(30000)"
            a: update busy 10 "x…(30000)"
            a: gap busy 11..11 slow
            a: update busy 12 "x…(30000)"
            a: gap busy 13..13 slow
            a: update busy 14 "x…(30000)""#]],
    );
}

#[test]
fn catching_up_in_chunks_leaves_nothing_behind() {
    // The history is read in pieces. Whatever the number of messages, the last one comes without another publication.
    for count in 1..=49 {
        let out = crate::script::run(&format!("queue 0; open a; sub a t; pub t 1..{count}; go"));
        let expected: String = (1..=count).map(|n| format!("a: update t {n} {n}\n")).collect();
        assert_eq!(out, format!("a: ack 1 t@0 every\n{expected}"));
    }
}

#[test]
fn room_that_ends_at_any_byte_loses_nothing() {
    // A snapshot leaves less and less room for the gap and the two messages after it.
    for long in (65_200..65_600).step_by(10) {
        let out = crate::script::run(&format!(
            "rule t event 2; queue 0; open a; sub a t; go; stall a; pub b *{long}; sub a b mode=snapshot; pub t 1..5; drain; resume a"
        ));
        let expected = format!(
            "a: ack 1 t@0 every\na: ack 2 b@1 snapshot\na: snapshot b 1 \"x…({long})\"\n\
             a: gap t 1..3 slow\na: update t 4 4\na: update t 5 5\n"
        );
        assert_eq!(out, expected);
    }
}

#[test]
fn a_burst_in_the_queue_is_written_before_more_is_handed_out() {
    // These are five messages of 30 kB. More of them at once would exceed any reader's budget, however fast it reads.
    check(
        "open a; sub a chat.A; go; pub chat.A *30000; pub chat.A *30000; pub chat.A *30000; pub chat.A *30000; pub chat.A *30000;
         drain 1000; show count drained; show outbox a; write a; drain 1000; show count drained",
        expect![[r#"
            a: ack 1 chat.A@0 every
            count drained: 3
            outbox a: 0 control, 90210 data
            a: update chat.A 1 "x…(30000)"
            a: update chat.A 2 "x…(30000)"
            a: update chat.A 3 "x…(30000)"
            count drained: 5"#]],
    );
}

#[test]
fn a_stalled_reader_does_not_hold_up_the_queue() {
    check(
        "open a; sub a chat.A; go; stall a; pub chat.A *30000; pub chat.A *30000; pub chat.A *30000; drain 1000;
         pub chat.A 1..500; drain 1000; show queue",
        expect![[r#"
            a: ack 1 chat.A@0 every
            queue: 0"#]],
    );
}

#[test]
fn a_client_that_takes_no_answer_is_a_stall() {
    check(
        "open a; stall a; ping a; go; wait 15000; heard a; wait 15000; heard a; wait 15000; heard a; resume a",
        expect!["43000 ms a: gone"],
    );
}
