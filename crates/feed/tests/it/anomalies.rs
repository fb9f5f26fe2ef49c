//! Faults of real recordings: each kind is handled, counted and reported with its line.

use expect_test::expect;
use tickwire_feed::Check;
use tickwire_wire::limits::BOOK_LEVELS_MAX;

use crate::replay::{BASE_MS, Recordings, bbo, check_files, depth, snapshot, trade};

/// A depth event of futures with the updates `first` to `last`, after the event that ended with `previous`.
fn futures(ms: u64, previous: u64, (first, last): (u64, u64), price: &str) -> String {
    let ms = BASE_MS + ms;
    format!(
        r#"{ms}000000 {{"e":"depthUpdate","E":{ms},"T":{ms},"s":"BTCUSDT","U":{first},"u":{last},"pu":{previous},"b":[["{price}","1"]],"a":[]}}"#
    )
}

/// The ten best levels; here there is only one bid.
fn top(ms: u64, last: u64, price: &str) -> String {
    let ms = BASE_MS + ms;
    format!(
        r#"{ms}000000 {{"stream":"btcusdt@depth10@100ms","data":{{"lastUpdateId":{last},"bids":[["{price}","1"]],"asks":[]}}}}"#
    )
}

#[test]
fn depth_events_that_come_again_or_late_do_not_bring_levels_back() {
    let lines = [
        snapshot(0, 100, "9"),
        bbo(0, "BTCUSDT", "1", "2"),
        depth(1, "BTCUSDT", (101, 102), "100", "1"),
        depth(2, "BTCUSDT", (103, 104), "100", "0"),
        depth(3, "BTCUSDT", (101, 102), "100", "1"),
        snapshot(4, 110, "8"),
        depth(5, "BTCUSDT", (103, 104), "100", "1"),
        depth(6, "BTCUSDT", (105, 110), "100", "1"),
        depth(7, "BTCUSDT", (109, 112), "7", "1"),
    ];
    check_files(
        &[lines.join("\n").as_bytes()],
        &expect![[r#"
        0 book.BTC-USDT = 9x1.5/
        0 bbo.BTC-USDT 1x1 2x2
        1 book.BTC-USDT 100x1/
        2 book.BTC-USDT 100x0/
        4 book.BTC-USDT = 8x1.5/
        7 book.BTC-USDT 7x1/
        fault a:5 depth event U 101, u 102 after one with u 104
        fault a:7 depth event U 103, u 104 after one with u 104
        2 stale_depth
        1 covered
    "#]],
    );
}

#[test]
fn recordings_that_overlap_are_joined_without_anything_twice() {
    let first = [
        snapshot(0, 100, "9"),
        bbo(0, "BTCUSDT", "1", "2").replace(r#""data":{"#, r#""data":{"u":100,"#),
        depth(1, "BTCUSDT", (101, 101), "10", "1"),
        trade(1, "BTCUSDT", 7, "1", "1"),
        bbo(2, "BTCUSDT", "3", "4").replace(r#""data":{"#, r#""data":{"u":102,"#),
        depth(2, "BTCUSDT", (102, 102), "11", "1"),
        trade(2, "BTCUSDT", 8, "1", "1"),
    ];
    let rest = [
        depth(3, "BTCUSDT", (103, 103), "12", "1"),
        trade(3, "BTCUSDT", 9, "1", "1"),
    ];
    let joined = [first.join("\n"), first.join("\n"), rest.join("\n")].join("\n");
    check_files(
        &[joined.as_bytes()],
        &expect![[r#"
        0 book.BTC-USDT = 9x1.5/
        0 bbo.BTC-USDT 1x1 2x2
        1 book.BTC-USDT 10x1/
        1 trade.BTC-USDT 7 1x1 Buy
        2 bbo.BTC-USDT 3x1 4x2
        2 book.BTC-USDT 11x1/
        2 trade.BTC-USDT 8 1x1 Buy
        3 book.BTC-USDT 12x1/
        3 trade.BTC-USDT 9 1x1 Buy
        fault a:8 time is 2 ms before an earlier line's
        fault a:8 snapshot of update 100 of a book that has update 102
        fault a:9 time is 2 ms before an earlier line's
        fault a:9 best quotes of update 100 after those of 102
        fault a:10 time is 1 ms before an earlier line's
        fault a:10 depth event U 101, u 101 after one with u 102
        fault a:11 time is 1 ms before an earlier line's
        fault a:11 trade 7 after trade 8
        fault a:12 best quotes of update 102 after those of 102
        fault a:13 depth event U 102, u 102 after one with u 102
        fault a:14 trade 8 after trade 8
        4 time_back
        2 stale_depth
        1 old_snapshot
        2 repeated_trade
        2 stale_quote
    "#]],
    );
}

#[test]
fn trades_count_once_and_missing_ones_are_told() {
    let lines = [
        trade(0, "BTCUSDT", 5, "1", "1"),
        trade(1, "BTCUSDT", 5, "1", "1"),
        trade(2, "BTCUSDT", 4, "1", "1"),
        trade(3, "BTCUSDT", 9, "1", "1"),
        // The same executions again, as another stream sends them.
        trade(4, "BTCUSDT", 3, "1", "1")
            .replace("@trade", "@aggTrade")
            .replace(r#""e":"trade""#, r#""e":"aggTrade""#)
            .replace(r#""t":3"#, r#""a":3"#),
        // Another symbol has its own numbers.
        trade(5, "ETHUSDT", 5, "1", "1"),
    ];
    check_files(
        &[lines.join("\n").as_bytes()],
        &expect![[r#"
        0 trade.BTC-USDT 5 1x1 Buy
        3 trade.BTC-USDT 9 1x1 Buy
        5 trade.ETH-USDT 5 1x1 Buy
        fault a:2 trade 5 after trade 5
        fault a:3 trade 4 after trade 5
        fault a:4 trades 6 to 8 are missing before trade 9
        fault a:5 trades both single and aggregated; the kind that came first counts
        2 repeated_trade
        1 trade_hole
        1 second_stream
    "#]],
    );
}

#[test]
fn a_hole_leaves_the_book_in_doubt_until_the_next_snapshot() {
    let lines = [
        snapshot(0, 100, "9"),
        depth(1, "BTCUSDT", (101, 102), "10", "1"),
        depth(2, "BTCUSDT", (111, 112), "11", "1"),
        depth(3, "BTCUSDT", (113, 113), "12", "1"),
        // The snapshot was requested within the hole: the updates after it are still missing.
        snapshot(4, 108, "8"),
        // The snapshot was requested at the end of the hole, and comes late.
        snapshot(5, 110, "7"),
        depth(6, "BTCUSDT", (114, 114), "13", "1"),
    ];
    check_files(
        &[lines.join("\n").as_bytes()],
        &expect![[r#"
        0 book.BTC-USDT = 9x1.5/
        1 book.BTC-USDT 10x1/
        2 book.BTC-USDT 11x1/ (Hole)
        3 book.BTC-USDT 12x1/ (Hole)
        5 book.BTC-USDT = 7x1.5/
        5 book.BTC-USDT 11x1/
        5 book.BTC-USDT 12x1/
        6 book.BTC-USDT 13x1/
        fault a:3 depth event U 111, u 112 does not follow on 102: the book is stale until a snapshot
        fault a:5 snapshot of update 108, and not every change from there to 113 is there
        1 depth_hole
        1 old_snapshot
    "#]],
    );
    let lines = [
        snapshot(0, 1_000, "9"),
        futures(1, 950, (960, 990), "10"),
        futures(2, 990, (995, 1_040), "11"),
        futures(3, 1_040, (1_050, 1_060), "12"),
        futures(4, 1_070, (1_071, 1_080), "13"),
        snapshot(5, 1_090, "8"),
        futures(6, 1_080, (1_081, 1_095), "14"),
    ];
    check_files(
        &[lines.join("\n").as_bytes()],
        &expect![[r#"
        0 book.BTC-USDT = 9x1.5/
        2 book.BTC-USDT 11x1/
        3 book.BTC-USDT 12x1/
        4 book.BTC-USDT 13x1/ (Hole)
        5 book.BTC-USDT = 8x1.5/
        6 book.BTC-USDT 14x1/
        fault a:5 depth event U 1071, u 1080, pu 1070 does not follow on 1060: the book is stale until a snapshot
        1 depth_hole
        1 covered
    "#]],
    );
}

#[test]
fn a_snapshot_that_comes_many_events_late_loses_none_of_them() {
    let mut lines = vec![bbo(0, "BTCUSDT", "1", "2")];
    lines.extend((1..=40).map(|n| depth(n * 100, "BTCUSDT", (n, n), &n.to_string(), "1")));
    // The snapshot is 25 events old.
    lines.push(snapshot(4_001, 15, "99"));
    lines.push(snapshot(4_002, 20, "98"));
    let folder = Recordings::new();
    let file = folder.file("late", lines.join("\n").as_bytes());
    let mut check = Check::open(&[file]).expect("it can be used");
    while check.step() {}
    let (_, held) = check.symbols().next().expect("a symbol");
    assert_eq!((held.whole_books, held.changes), (1, 40 + 25));
    let faults: Vec<String> = check.faults().iter().map(|fault| fault.reason.clone()).collect();
    assert_eq!(faults, ["snapshot of update 20 of a book that has update 40"]);
}

#[test]
fn the_best_levels_are_the_whole_book_and_their_kind_does_not_mix() {
    let lines = [
        top(0, 100, "9"),
        top(1, 100, "9"),
        top(2, 104, "10"),
        top(3, 103, "9"),
        depth(4, "BTCUSDT", (105, 105), "11", "1"),
    ];
    check_files(
        &[lines.join("\n").as_bytes()],
        &expect![[r#"
        0 book.BTC-USDT = 9x1/
        2 book.BTC-USDT = 10x1/
        fault a:4 best levels of update 103 of a book that has update 104
        fault a:5 a book both as changes and as its best levels; the kind that came first counts
        1 old_snapshot
        1 second_stream
        1 covered
    "#]],
    );
}

#[test]
fn a_check_names_a_crossed_book_with_its_line_and_prices() {
    let folder = Recordings::new();
    let asks = |line: String| line.replace(r#""asks":[]"#, r#""asks":[["11","1"]]"#);
    let lines = [
        asks(snapshot(0, 100, "9")),
        depth(1, "BTCUSDT", (101, 101), "10", "1"),
        depth(2, "BTCUSDT", (102, 102), "11", "1"),
        depth(3, "BTCUSDT", (103, 103), "12", "1"),
        depth(4, "BTCUSDT", (104, 105), "11", "0"),
        asks(snapshot(5, 106, "9")),
        depth(6, "BTCUSDT", (107, 107), "12", "1"),
    ];
    let file = folder.file("crossed", lines.join("\n").as_bytes());
    let mut check = Check::open(&[file]).expect("it can be used");
    while check.step() {}
    let faults: Vec<(u64, &str)> = check
        .faults()
        .iter()
        .map(|fault| (fault.line, fault.reason.as_str()))
        .collect();
    let crossed = [
        (3, "the book of BTC-USDT is crossed: bid 11, ask 11"),
        (7, "the book of BTC-USDT is crossed: bid 12, ask 11"),
    ];
    assert_eq!(faults, crossed);
    assert_eq!((check.counts().all(), check.lines()), (2, 7));
    let (first, last) = check.span().expect("events");
    assert_eq!(last.since(first), 6_000);
}

#[test]
fn symbols_of_other_letters_are_written_as_code_points() {
    let lines = [
        trade(0, "币安人生USDT", 1, "1", "1"),
        // Two names that would become the same symbol.
        bbo(1, "币X", "1", "2"),
        bbo(2, "u5E01X", "1", "2"),
    ];
    check_files(
        &[lines.join("\n").as_bytes()],
        &expect![[r#"
        0 trade.u5E01u5B89u4EBAu751F-USDT 1 1x1 Buy
        1 bbo.u5E01X 1x1 2x2
        fault a:3 symbol "u5E01X" would be u5E01X, as another one is
        1 malformed
    "#]],
    );
}

#[test]
fn a_check_names_a_change_that_a_full_book_does_not_take() {
    let folder = Recordings::new();
    let levels: Vec<String> = (1..=BOOK_LEVELS_MAX)
        .map(|price| format!(r#"["{price}","1"]"#))
        .collect();
    let full = snapshot(0, 100, "9").replace(r#"["9","1.50"]"#, &levels.join(","));
    let lines = [
        full,
        depth(1, "BTCUSDT", (101, 101), "5", "2"),
        depth(2, "BTCUSDT", (102, 102), "0.5", "1"),
    ];
    let file = folder.file("full", lines.join("\n").as_bytes());
    let mut check = Check::open(&[file]).expect("it can be used");
    while check.step() {}
    let faults: Vec<(u64, &str)> = check
        .faults()
        .iter()
        .map(|fault| (fault.line, fault.reason.as_str()))
        .collect();
    assert_eq!(
        faults,
        [(3, "the book of BTC-USDT has more than 16384 levels a side")]
    );
}
