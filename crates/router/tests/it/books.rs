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
    // From the beginning, without a snapshot.
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
    // As long as the history reaches, the changes themselves.
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
