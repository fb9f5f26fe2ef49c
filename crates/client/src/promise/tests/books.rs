//! Books: what the checker verifies of them, and when it cannot know.

use expect_test::expect;
use tickwire_wire::Micros;

use super::trace::{raw, run, welcome};
use super::*;

#[test]
fn books_are_verified_when_asked_for() {
    let mut checker = Checker::new().verify_books("book.>".parse().expect("a pattern"));
    assert_eq!(checker.received(&welcome()), Ok(()));
    assert_eq!(run(&mut checker, "sub 1 >; ack 1 >/every"), "");
    let snapshot = |checksum: u32| ServerMessage::Snapshot {
        topic: "book.A".to_owned(),
        epoch: Epoch::from("k"),
        seq: Seq(7),
        ts: Micros(1),
        data: raw(&format!(
            r#"{{"symbol":"A","bids":[["9.9","1"]],"asks":[["10.1","2"]],"checksum":{checksum},"time":1}}"#
        )),
    };
    let error = checker.received(&snapshot(1)).expect_err("a wrong checksum");
    expect!["book.A: after message 7 the book's checksum is 0x258184b6 and not 0x00000001"]
        .assert_eq(&error.to_string());
    assert_eq!(run(&mut checker, "snap trade.A@k:1"), "");
}

/// Message `seq` of book `A`, an update or a snapshot. With a right checksum it is the whole book, whatever was there
/// before.
fn book_message(seq: u64, is_right: bool, is_snapshot: bool) -> ServerMessage {
    let checksum = if is_right { 629_245_110 } else { 1 };
    let data = raw(&format!(
        r#"{{"symbol":"A","bids":[["9.9","1"]],"asks":[["10.1","2"]],"checksum":{checksum},"time":1}}"#
    ));
    let (topic, seq, ts) = ("book.A".to_owned(), Seq(seq), Micros(1));
    let epoch = Epoch::from("k");
    match is_snapshot {
        true => ServerMessage::Snapshot {
            topic,
            epoch,
            seq,
            ts,
            data,
        },
        false => ServerMessage::Update { topic, seq, ts, data },
    }
}

/// A checker that verifies books and has read a trace that keeps all promises.
fn verifying(trace: &str) -> Checker {
    let mut checker = Checker::new().verify_books("book.>".parse().expect("a pattern"));
    assert_eq!(checker.received(&welcome()), Ok(()));
    assert_eq!(run(&mut checker, trace), "", "{trace}");
    checker
}

#[test]
fn nothing_is_claimed_of_a_book_that_goes_on_in_the_middle_until_its_snapshot() {
    for before in [
        "sub 1 since book.A=k:6; ack 1 book.A@k:6/every+",
        "sub 1 since book.A=k:6; ack 1 book.A@k:9/every+",
        "sub 1 each >=k,book.A:6; ack 1 >/every=1,0",
        "sub 1 book.A nosnap; ack 1 book.A@k:6/every",
        "sub 1 > nosnap; ack 1 >/every; joined book.A@k:6",
        "sub 1 > nosnap; ack 1 >/every; sub 2 book.A nosnap; ack 2 book.A@k:6/every",
        "sub 1 > nosnap; ack 1 >/every; resync 2 book.A; ack 2 book.A@k:6",
    ] {
        let mut checker = verifying(before);
        for (seq, is_right) in [(7, true), (8, false)] {
            let update = book_message(seq, is_right, false);
            assert_eq!(checker.received(&update), Ok(()), "{before}");
        }
        assert_eq!(run(&mut checker, "resync 9 book.A; ack 9 book.A@k:8"), "");
        assert_eq!(checker.received(&book_message(8, true, true)), Ok(()), "{before}");
        assert_eq!(
            checker.received(&book_message(9, true, false)),
            Ok(()),
            "{before}"
        );
        let wrong = checker.received(&book_message(10, false, false));
        assert!(
            matches!(wrong, Err(BrokenPromise::Book { .. })),
            "{before}: {wrong:?}"
        );
        // The fault is reported once.
        assert_eq!(
            checker.received(&book_message(11, true, false)),
            Ok(()),
            "{before}"
        );
    }
}

#[test]
fn a_book_that_was_left_is_not_taken_for_where_it_goes_on() {
    for again in [
        "sub 3 book.A nosnap; ack 3 book.A@k:20/every",
        "sub 3 > nosnap; ack 3 >/every; joined book.A@k:20",
        "sub 3 > nosnap; ack 3 >/every; sub 4 book.A nosnap; ack 4 book.A@k:20/every",
        "cut; sub 3 since book.A=k:20; ack 3 book.A@k:20/every+",
    ] {
        let mut checker = verifying("sub 1 book.A; ack 1 book.A@k:7/every");
        assert_eq!(checker.received(&book_message(7, true, true)), Ok(()));
        assert_eq!(run(&mut checker, "unsub 2 book.A; ack 2 book.A"), "");
        assert_eq!(run(&mut checker, again), "", "{again}");
        assert_eq!(
            checker.received(&book_message(21, false, false)),
            Ok(()),
            "{again}"
        );
    }
    // A book that is resumed at its own position stays known.
    let mut checker = verifying("sub 1 book.A; ack 1 book.A@k:7/every");
    assert_eq!(checker.received(&book_message(7, true, true)), Ok(()));
    let resumed = "cut; sub 2 since book.A=k:7; ack 2 book.A@k:7/every+";
    assert_eq!(run(&mut checker, resumed), "");
    assert!(checker.received(&book_message(8, false, false)).is_err());
}

#[test]
fn a_change_of_a_book_whose_snapshot_is_due_is_a_broken_promise() {
    for before in [
        "sub 1 book.A; ack 1 book.A@k:6/every",
        "sub 1 book.A nosnap; ack 1 book.A@k:5/every; gap book.A@k 6 6 slow",
    ] {
        let mut checker = verifying(before);
        let broken = checker.received(&book_message(7, true, false));
        expect!["book.A: change 7 came without a snapshot before it; wait for one or ask with resync"]
            .assert_eq(&broken.expect_err(before).to_string());
        assert_eq!(checker.received(&book_message(8, true, false)), Ok(()), "once");
    }
}

#[test]
fn a_book_that_begins_under_a_subscription_is_verified_from_its_first_message() {
    // The topic begins under a pattern, under its own name, and under both. The last one begins again in another
    // lineage.
    for before in [
        "sub 1 >; ack 1 >/every; joined book.A@k:0",
        "sub 1 book.A; ack 1 book.A@k:0/every",
        "sub 1 >; ack 1 >/every; joined book.A@k:0; sub 2 book.A nosnap; ack 2 book.A@k:0/every",
        "positions 1 j,book.A:8; sub 2 >; ack 1; ack 2 >/every=0,0; resync 3 book.A; ack 3 book.A@k:0",
    ] {
        let mut checker = Checker::new().verify_books("book.>".parse().expect("a pattern"));
        assert_eq!(checker.received(&welcome()), Ok(()));
        assert_eq!(run(&mut checker, before), "");
        let update = |seq: u64, bids: &str, checksum: u32| ServerMessage::Update {
            topic: "book.A".to_owned(),
            seq: Seq(seq),
            ts: Micros(1),
            data: raw(&format!(
                r#"{{"symbol":"A","bids":{bids},"asks":[["10.1","2"]],"checksum":{checksum},"time":1}}"#
            )),
        };
        let first = update(1, r#"[["9.9","1"]]"#, 629_245_110);
        assert_eq!(checker.received(&first), Ok(()), "{before}");
        assert_eq!(
            checker.received(&update(2, "[]", 629_245_110)),
            Ok(()),
            "{before}"
        );
        let wrong = checker.received(&update(3, "[]", 1));
        assert!(
            matches!(wrong, Err(BrokenPromise::Book { .. })),
            "{before}: {wrong:?}"
        );
    }
}
