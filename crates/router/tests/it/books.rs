//! Books: changes checked and completed by the broker, snapshots of the whole book, never a hole.

use expect_test::expect;

use crate::script::check;

#[test]
fn snapshot_then_changes_with_checksums() {
    check(
        r#"open a; open b msgpack;
           pub book.X {"symbol":"X","bids":[["99","1"],["98.50","2"]],"asks":[["101","3"]],"time":5};
           pub book.X {"symbol":"X","bids":[["99","0"]],"time":6};
           sub a book.X; sub b book.X; go;
           pub book.X {"symbol":"X","asks":[["101","0"],["100.5","1.250"]],"checksum":1,"time":7}; go"#,
        expect![[r#"
            a: ack 1 book.X@2 every
            a: snapshot book.X 2 {"symbol":"X","bids":[["98.5","2"]],"asks":[["101","3"]],"checksum":1614589875,"time":6}
            b: ack 1 book.X@2 every
            b: snapshot book.X 2 {"symbol":"X","bids":[["98.5","2"]],"asks":[["101","3"]],"checksum":1614589875,"time":6}
            a: update book.X 3 {"symbol":"X","bids":[],"asks":[["101","0"],["100.5","1.25"]],"checksum":3931542848,"time":7}
            b: update book.X 3 {"symbol":"X","bids":[],"asks":[["101","0"],["100.5","1.25"]],"checksum":3931542848,"time":7}"#]],
    );
    // The resume is from the beginning, without a snapshot.
    check(
        r#"open a; sub a book.X; pub book.X {"symbol":"X","bids":[["99","1"]],"time":5}; go"#,
        expect![[r#"
            a: ack 1 book.X@0 every
            a: update book.X 1 {"symbol":"X","bids":[["99","1"]],"asks":[],"checksum":2342619789,"time":5}"#]],
    );
}

#[test]
fn replace_reaches_subscribers_as_the_changes_it_makes() {
    check(
        r#"open a; sub a book.X;
           pub book.X {"symbol":"X","bids":[["99","1"],["98","2"]],"asks":[["101","3"]],"time":1};
           pub book.X {"symbol":"X","bids":[["98","2"],["97","5"]],"asks":[["101","4"]],"time":2,"replace":true}; go"#,
        expect![[r#"
            a: ack 1 book.X@0 every
            a: update book.X 1 {"symbol":"X","bids":[["99","1"],["98","2"]],"asks":[["101","3"]],"checksum":2840038844,"time":1}
            a: update book.X 2 {"symbol":"X","bids":[["99","0"],["97","5"]],"asks":[["101","4"]],"checksum":1523170304,"time":2}"#]],
    );
}

#[test]
fn what_is_no_book_is_refused() {
    check(
        r#"open a publish=book.>;
           send a {"op":"publish","id":1,"topic":"book.X","data":{"symbol":"X","bids":[["-1","1"]],"time":0}};
           send a {"op":"publish","id":2,"topic":"book.X","data":5};
           send a {"op":"publish","id":3,"topic":"book.X","data":{"symbol":"X","bids":[["1",2]],"time":0}};
           send a {"op":"publish","id":4,"topic":"book.X","data":{"symbol":"X","bids":[["1","2"]],"time":0}}; go;
           sub a book.X mode=snapshot; go"#,
        expect![[r#"
            a: error 1 bad_request: book level [-1,1] is negative
            a: error 2 bad_request: not a book message: invalid type: integer `5`, expected a book: {"symbol","bids","asks","time"} at line 1 column 1
            a: error 3 bad_request: not a book message: invalid type: integer `2`, expected a decimal number as a string at line 1 column 28
            a: ack 4 book.X@1
            a: ack 1 book.X@1 snapshot
            a: snapshot book.X 1 {"symbol":"X","bids":[["1","2"]],"asks":[],"checksum":1330857165,"time":0}"#]],
    );
}

#[test]
fn resuming_a_book() {
    let book = r#"rule book.> book 2; open a; open b; open c; open d;
        pub book.X {"symbol":"X","bids":[["1","1"]],"time":1}; pub book.X {"symbol":"X","bids":[["2","1"]],"time":2};
        pub book.X {"symbol":"X","bids":[["3","1"]],"time":3};"#;
    check(
        &format!("{book} sub a book.X@1; sub b book.X@0; sub c book.X@old:3; sub d book.X@3; go"),
        expect![[r#"
            a: ack 1 book.X@3 every recovered=true
            a: update book.X 2 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":3377227545,"time":2}
            a: update book.X 3 {"symbol":"X","bids":[["3","1"]],"asks":[],"checksum":1197866387,"time":3}
            b: ack 1 book.X@3 every recovered=false
            b: snapshot book.X 3 {"symbol":"X","bids":[["3","1"],["2","1"],["1","1"]],"asks":[],"checksum":1197866387,"time":3}
            c: ack 1 book.X@3 every recovered=false
            c: snapshot book.X 3 {"symbol":"X","bids":[["3","1"],["2","1"],["1","1"]],"asks":[],"checksum":1197866387,"time":3}
            d: ack 1 book.X@3 every recovered=true"#]],
    );
    check(
        &format!("{book} sub a book.X@0 nosnapshot; go"),
        expect![[r#"
        a: ack 1 book.X@3 every recovered=false
        a: snapshot book.X 3 {"symbol":"X","bids":[["3","1"],["2","1"],["1","1"]],"asks":[],"checksum":1197866387,"time":3}"#]],
    );
}

#[test]
fn behind_the_history_a_gap_then_a_snapshot() {
    check(
        r#"rule book.> book 2; queue 1; open a; sub a book.X; go;
           pub book.X {"symbol":"X","bids":[["1","1"]],"time":1}; pub book.X {"symbol":"X","bids":[["2","1"]],"time":2};
           pub book.X {"symbol":"X","bids":[["3","1"]],"time":3}; pub book.X {"symbol":"X","bids":[["4","1"]],"time":4}; go;
           pub book.X {"symbol":"X","bids":[["5","1"]],"time":5}; go"#,
        expect![[r#"
            a: ack 1 book.X@0 every
            a: update book.X 1 {"symbol":"X","bids":[["1","1"]],"asks":[],"checksum":3596227959,"time":1}
            a: gap book.X 2..4 slow
            a: snapshot book.X 4 {"symbol":"X","bids":[["4","1"],["3","1"],["2","1"],["1","1"]],"asks":[],"checksum":2618716216,"time":4}
            a: update book.X 5 {"symbol":"X","bids":[["5","1"]],"asks":[],"checksum":2905496266,"time":5}"#]],
    );
    // As long as the history reaches, the changes themselves come.
    check(
        r#"queue 1; open a; sub a book.X; go;
           pub book.X {"symbol":"X","bids":[["1","1"]],"time":1}; pub book.X {"symbol":"X","bids":[["2","1"]],"time":2};
           pub book.X {"symbol":"X","bids":[["3","1"]],"time":3}; go"#,
        expect![[r#"
            a: ack 1 book.X@0 every
            a: update book.X 1 {"symbol":"X","bids":[["1","1"]],"asks":[],"checksum":3596227959,"time":1}
            a: update book.X 2 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":3377227545,"time":2}
            a: update book.X 3 {"symbol":"X","bids":[["3","1"]],"asks":[],"checksum":1197866387,"time":3}"#]],
    );
}

#[test]
fn resync_of_a_book() {
    check(
        r#"open a; sub a book.X; resync a book.X; pub book.X {"symbol":"X","bids":[["1","1"]],"time":1}; resync a book.X;
           pub book.X {"symbol":"X","bids":[["2","1"]],"time":2}; go; resync a book.X; go"#,
        expect![[r#"
            a: ack 1 book.X@0 every
            a: ack 2 book.X@0
            a: ack 3 book.X@0
            a: snapshot book.X 2 {"symbol":"X","bids":[["2","1"],["1","1"]],"asks":[],"checksum":3377227545,"time":2}
            a: ack 4 book.X@2
            a: snapshot book.X 2 {"symbol":"X","bids":[["2","1"],["1","1"]],"asks":[],"checksum":3377227545,"time":2}"#]],
    );
}

/// A change of the bid at `price`, or a whole book with it.
fn bid(price: u32, whole: bool) -> String {
    format!(r#"pub book.X {{"symbol":"X","bids":[["{price}","1"]],"time":1,"replace":{whole}}}"#)
}

#[test]
fn a_hole_in_the_source_is_told_until_the_next_whole_book() {
    let (first, second, third, whole) = (bid(1, true), bid(2, false), bid(3, false), bid(9, true));
    check(
        &format!(
            "open a; open b msgpack; sub a book.X; sub b book.*; {first}; go; doubt book.X hole; {second}; {third}; go;
             open c; sub c book.X; go; doubt book.X partial; {whole}; {second}; go"
        ),
        expect![[r#"
            a: ack 1 book.X@0 every
            a: update book.X 1 {"symbol":"X","bids":[["1","1"]],"asks":[],"checksum":3596227959,"time":1}
            b: ack 1 book.* matched=0 every
            b: joined book.X 0
            b: update book.X 1 {"symbol":"X","bids":[["1","1"]],"asks":[],"checksum":3596227959,"time":1}
            a: status book.X stale hole
            a: update book.X 2 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":3377227545,"time":1}
            a: update book.X 3 {"symbol":"X","bids":[["3","1"]],"asks":[],"checksum":1197866387,"time":1}
            b: status book.X stale hole
            b: update book.X 2 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":3377227545,"time":1}
            b: update book.X 3 {"symbol":"X","bids":[["3","1"]],"asks":[],"checksum":1197866387,"time":1}
            c: ack 1 book.X@3 every
            c: snapshot book.X 3 {"symbol":"X","bids":[["3","1"],["2","1"],["1","1"]],"asks":[],"checksum":1197866387,"time":1}
            c: status book.X stale hole
            a: status book.X live
            a: update book.X 4 {"symbol":"X","bids":[["3","0"],["2","0"],["1","0"],["9","1"]],"asks":[],"checksum":511942527,"time":1}
            a: update book.X 5 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":895529947,"time":1}
            b: status book.X live
            b: update book.X 4 {"symbol":"X","bids":[["3","0"],["2","0"],["1","0"],["9","1"]],"asks":[],"checksum":511942527,"time":1}
            b: update book.X 5 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":895529947,"time":1}
            c: status book.X live
            c: update book.X 4 {"symbol":"X","bids":[["3","0"],["2","0"],["1","0"],["9","1"]],"asks":[],"checksum":511942527,"time":1}
            c: update book.X 5 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":895529947,"time":1}"#]],
    );
}

#[test]
fn who_resumes_or_takes_no_snapshot_of_a_book_in_doubt_is_told_too() {
    let (first, second, third, whole) = (bid(1, true), bid(2, false), bid(3, false), bid(9, true));
    check(
        &format!(
            "open a; {first}; doubt book.X hole; {second}; {third}; sub a book.X nosnapshot; go; open b; sub b book.X@2; go;
             open c; sub c book.X@3; go; {whole}; go; open d; sub d book.X@1; go; resync d book.X; go"
        ),
        expect![[r#"
            a: ack 1 book.X@3 every
            a: status book.X stale hole
            b: ack 1 book.X@3 every recovered=true
            b: status book.X stale hole
            b: update book.X 3 {"symbol":"X","bids":[["3","1"]],"asks":[],"checksum":1197866387,"time":1}
            c: ack 1 book.X@3 every recovered=true
            c: status book.X stale hole
            a: status book.X live
            a: update book.X 4 {"symbol":"X","bids":[["3","0"],["2","0"],["1","0"],["9","1"]],"asks":[],"checksum":511942527,"time":1}
            b: status book.X live
            b: update book.X 4 {"symbol":"X","bids":[["3","0"],["2","0"],["1","0"],["9","1"]],"asks":[],"checksum":511942527,"time":1}
            c: status book.X live
            c: update book.X 4 {"symbol":"X","bids":[["3","0"],["2","0"],["1","0"],["9","1"]],"asks":[],"checksum":511942527,"time":1}
            d: ack 1 book.X@4 every recovered=true
            d: status book.X stale hole
            d: update book.X 2 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":3377227545,"time":1}
            d: update book.X 3 {"symbol":"X","bids":[["3","1"]],"asks":[],"checksum":1197866387,"time":1}
            d: status book.X live
            d: update book.X 4 {"symbol":"X","bids":[["3","0"],["2","0"],["1","0"],["9","1"]],"asks":[],"checksum":511942527,"time":1}
            d: ack 2 book.X@4
            d: snapshot book.X 4 {"symbol":"X","bids":[["9","1"]],"asks":[],"checksum":511942527,"time":1}"#]],
    );
}

#[test]
fn a_crossed_book_is_told_until_it_is_not_crossed_any_more() {
    check(
        r#"open a; sub a book.X; pub book.X {"symbol":"X","bids":[["99","1"]],"asks":[["101","1"]],"time":1}; go;
           pub book.X {"symbol":"X","bids":[["101","1"]],"time":2}; go; pub book.X {"symbol":"X","bids":[["98","1"]],"time":3}; go;
           show crossed; pub book.X {"symbol":"X","bids":[["101","0"]],"time":4}; go; show crossed"#,
        expect![[r#"
            a: ack 1 book.X@0 every
            a: update book.X 1 {"symbol":"X","bids":[["99","1"]],"asks":[["101","1"]],"checksum":926165848,"time":1}
            a: status book.X stale crossed
            a: update book.X 2 {"symbol":"X","bids":[["101","1"]],"asks":[],"checksum":820368476,"time":2}
            a: update book.X 3 {"symbol":"X","bids":[["98","1"]],"asks":[],"checksum":3257432772,"time":3}
            crossed: 1
            a: status book.X live
            a: update book.X 4 {"symbol":"X","bids":[["101","0"]],"asks":[],"checksum":2815544623,"time":4}
            crossed: 1"#]],
    );
}

#[test]
fn silence_and_doubt_are_one_staleness() {
    let (first, second, whole) = (bid(1, true), bid(2, false), bid(9, true));
    check(
        &format!(
            "stale book.* 100; open a; sub a book.X; {first}; go; look; wait 100; look; go; doubt book.X hole; {second}; go;
             wait 100; look; go; open b; sub b book.X; go; {whole}; go; wait 100; look; go; {second}; go"
        ),
        expect![[r#"
            a: ack 1 book.X@0 every
            a: update book.X 1 {"symbol":"X","bids":[["1","1"]],"asks":[],"checksum":3596227959,"time":1}
            a: status book.X stale
            a: status book.X live
            a: status book.X stale hole
            a: update book.X 2 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":3377227545,"time":1}
            b: ack 1 book.X@2 every
            b: snapshot book.X 2 {"symbol":"X","bids":[["2","1"],["1","1"]],"asks":[],"checksum":3377227545,"time":1}
            b: status book.X stale hole
            a: status book.X live
            a: update book.X 3 {"symbol":"X","bids":[["2","0"],["1","0"],["9","1"]],"asks":[],"checksum":511942527,"time":1}
            b: status book.X live
            b: update book.X 3 {"symbol":"X","bids":[["2","0"],["1","0"],["9","1"]],"asks":[],"checksum":511942527,"time":1}
            a: status book.X stale
            b: status book.X stale
            a: status book.X live
            a: update book.X 4 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":895529947,"time":1}
            b: status book.X live
            b: update book.X 4 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":895529947,"time":1}"#]],
    );
}

#[test]
fn a_reader_that_is_behind_is_told_of_a_hole_on_its_way() {
    let (first, second, third, whole) = (bid(1, true), bid(2, false), bid(3, false), bid(9, true));
    check(
        &format!(
            "queue 1; outbox 1; open a; sub a book.X; {first}; go; stall a; doubt book.X hole; {second}; {third}; go; resume a; go;
             stall a; {whole}; {second}; go; resume a; go"
        ),
        expect![[r#"
            a: ack 1 book.X@0 every
            a: update book.X 1 {"symbol":"X","bids":[["1","1"]],"asks":[],"checksum":3596227959,"time":1}
            a: status book.X stale hole
            a: update book.X 2 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":3377227545,"time":1}
            a: update book.X 3 {"symbol":"X","bids":[["3","1"]],"asks":[],"checksum":1197866387,"time":1}
            a: status book.X live
            a: update book.X 4 {"symbol":"X","bids":[["3","0"],["2","0"],["1","0"],["9","1"]],"asks":[],"checksum":511942527,"time":1}
            a: update book.X 5 {"symbol":"X","bids":[["2","1"]],"asks":[],"checksum":895529947,"time":1}"#]],
    );
}

#[test]
fn a_book_of_another_symbol_than_the_topics_is_refused() {
    use std::sync::Arc;

    use tickwire_router::{Directory, DirectoryLimits, Ingress, Kinds};
    use tickwire_wire::{Epoch, Payload, Topic};

    let limits = DirectoryLimits {
        topics_max: 10,
        topics_per_key_max: 0,
        history_bytes_max: 1_000_000,
        ..DirectoryLimits::default()
    };
    let directory = Directory::new(Epoch::from("e"), Kinds::default(), limits, Vec::new());
    let ingress = Ingress::new(Arc::new(directory));
    for (topic, symbol, fits) in [
        ("book.BTC-USD", "BTC-USD", true),
        ("book.EU.BTC-USD", "BTC-USD", true),
        ("book.EU.BTC-USD", "EU.BTC-USD", true),
        ("book.BTC-USD", "ETH-USD", false),
        ("book.BTC-USD", "USD", false),
        ("book.BTC-USD", "", false),
        ("book.BTC-USD", "btc-usd", false),
        ("book.BTC-USD", "X.book.BTC-USD", false),
    ] {
        let data = format!(r#"{{"symbol":"{symbol}","bids":[["1","1"]],"time":1}}"#);
        let book = serde_json::from_str(&data).expect("a book");
        let topic: Topic = topic.parse().expect("a topic");
        for payload in [
            Payload::from_json(data.as_bytes()).expect("JSON"),
            Payload::Book(Box::new(book)),
        ] {
            let refused = ingress
                .check(topic.as_str(), payload)
                .err()
                .map(|error| error.to_string());
            assert_eq!(refused.is_none(), fits, "{topic} {symbol:?}: {refused:?}");
            if let Some(reason) = refused {
                assert!(
                    reason.contains(&format!("{symbol:?} does not belong to {topic}")),
                    "{reason}"
                );
            }
        }
    }
}
