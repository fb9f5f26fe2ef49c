//! The replay of hand-made recordings: order, merging, snapshots and faults.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tempfile::TempDir;
use tickwire_feed::replay::{FAULTS_MAX, LINE_BYTES_MAX};
use tickwire_feed::{Excerpt, FaultKind, Feed, Part, Replay, ReplayError, Tick};
use tickwire_wire::Payload;
use tickwire_wire::market::Level;

use crate::support::ticks;

/// The start of the hand-made recordings, in milliseconds: a whole minute.
pub(crate) const BASE_MS: u64 = 1_723_161_240_000;

/// A trade that is executed and received at `ms`.
pub(crate) fn trade(ms: u64, symbol: &str, id: u64, price: &str, size: &str) -> String {
    let (lower, ms) = (symbol.to_lowercase(), BASE_MS + ms);
    format!(
        r#"{ms}000000 {{"stream":"{lower}@trade","data":{{"e":"trade","E":{ms},"s":"{symbol}","t":{id},"p":"{price}","q":"{size}","T":{ms},"m":false}}}}"#
    )
}

pub(crate) fn bbo(ms: u64, symbol: &str, bid: &str, ask: &str) -> String {
    let (lower, ms) = (symbol.to_lowercase(), BASE_MS + ms);
    format!(
        r#"{ms}000000 {{"stream":"{lower}@bookTicker","data":{{"s":"{symbol}","b":"{bid}","B":"1","a":"{ask}","A":"2"}}}}"#
    )
}

/// A depth event with the updates `first` to `last`: one bid.
pub(crate) fn depth(ms: u64, symbol: &str, (first, last): (u64, u64), price: &str, size: &str) -> String {
    let (lower, ms) = (symbol.to_lowercase(), BASE_MS + ms);
    format!(
        r#"{ms}000000 {{"stream":"{lower}@depth@100ms","data":{{"e":"depthUpdate","E":{ms},"s":"{symbol}","U":{first},"u":{last},"b":[["{price}","{size}"]],"a":[]}}}}"#
    )
}

pub(crate) fn snapshot(ms: u64, last: u64, price: &str) -> String {
    let ms = BASE_MS + ms;
    format!(r#"{ms}000000 {{"lastUpdateId":{last},"bids":[["{price}","1.50"]],"asks":[]}}"#)
}

pub(crate) fn show(feed: &Feed, tick: &Tick) -> String {
    let levels = |levels: &[Level]| {
        levels
            .iter()
            .map(|level| format!("{}x{}", level.price, level.size))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let data = match &tick.payload {
        Payload::Trade(data) => format!("{} {}x{} {:?}", data.id, data.price, data.size, data.side),
        Payload::Bbo(data) => format!("{}x{} {}x{}", data.bid, data.bid_size, data.ask, data.ask_size),
        Payload::Ticker(data) => format!("{} v{} {}%", data.last, data.volume, data.change_pct),
        Payload::Candle(data) => {
            format!(
                "{} n{}{}",
                data.start.0 / 1_000 - BASE_MS,
                data.trades,
                if data.closed { " closed" } else { "" }
            )
        }
        Payload::Book(data) => {
            let whole = if data.replace { "= " } else { "" };
            format!("{whole}{}/{}", levels(&data.bids), levels(&data.asks))
        }
        Payload::Json(_) | Payload::Packed(_) => panic!("feeds publish market data only"),
    };
    let doubt = tick
        .doubt
        .map(|doubt| format!(" ({doubt:?})"))
        .unwrap_or_default();
    let ms = tick.at.0 / 1_000 - BASE_MS;
    format!("{ms} {} {data}{doubt}", feed.topic(tick.topic))
}

pub(crate) struct Recordings(TempDir);

impl Recordings {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a folder for the test"))
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("the folder takes it");
        path
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// Replays the files `a`, `b`, …. Returns their ticks, then the faults and the counts that are not 0.
fn replay(files: &[&[u8]], keep: impl Fn(&Tick) -> bool) -> String {
    let folder = Recordings::new();
    let names = ["a", "b", "c"];
    let paths: Vec<PathBuf> = files
        .iter()
        .zip(names)
        .map(|(bytes, name)| folder.file(name, bytes))
        .collect();
    let mut feed = Feed::Replay(
        Excerpt::open(&paths, Part::default(), crate::support::books()).expect("the files are there"),
    );
    let mut log = String::new();
    for tick in ticks(&mut feed, usize::MAX).iter().filter(|tick| keep(tick)) {
        log += &format!("{}\n", show(&feed, tick));
    }
    for fault in feed.faults() {
        let file = fault.file.file_name().unwrap_or_default().to_string_lossy();
        log += &format!("fault {file}:{} {}\n", fault.line, fault.reason);
    }
    let stats = feed.stats();
    for (kind, count) in stats.faults.iter() {
        let _ = writeln!(log, "{count} {}", kind.name());
    }
    if stats.covered_depth > 0 {
        let _ = writeln!(log, "{} covered", stats.covered_depth);
    }
    log
}

fn check(lines: &[String], expected: &Expect) {
    expected.assert_eq(&replay(&[lines.join("\n").as_bytes()], |_| true));
}

/// As [`check`], but without tickers and candles.
pub(crate) fn check_files(files: &[&[u8]], expected: &Expect) {
    expected.assert_eq(&replay(files, |tick| {
        !matches!(tick.payload, Payload::Ticker(_) | Payload::Candle(_))
    }));
}

#[test]
fn a_trade_brings_ticker_and_candles() {
    check(
        &[
            bbo(59_000, "BTCUSDT", "9", "11"),
            trade(59_500, "BTCUSDT", 1, "10.00", "0.50"),
            trade(60_000, "BTCUSDT", 2, "11", "1"),
        ],
        &expect![[r#"
            59000 bbo.BTC-USDT 9x1 11x2
            59500 trade.BTC-USDT 1 10x0.5 Buy
            59500 ticker.BTC-USDT 10 v0.5 0%
            59500 candle.1s.BTC-USDT 59000 n1
            59500 candle.1m.BTC-USDT 0 n1
            60000 candle.1s.BTC-USDT 59000 n1 closed
            60000 candle.1m.BTC-USDT 0 n1 closed
            60000 trade.BTC-USDT 2 11x1 Buy
            60000 ticker.BTC-USDT 11 v1.5 10%
            60000 candle.1s.BTC-USDT 60000 n1
            60000 candle.1m.BTC-USDT 60000 n1
            60000 candle.1s.BTC-USDT 60000 n1 closed
            60000 candle.1m.BTC-USDT 60000 n1 closed
        "#]],
    );
}

#[test]
fn depth_closes_candles_a_second_late_and_best_quotes_never() {
    check(
        &[
            trade(1_500, "ETHBTC", 1, "1", "1"),
            bbo(5_000, "ETHBTC", "1", "2"),
            depth(2_999, "ETHBTC", (1, 1), "1", "1"),
            trade(1_900, "ETHBTC", 2, "1", "1"),
            depth(3_000, "ETHBTC", (2, 2), "1", "2"),
            trade(1_999, "ETHBTC", 3, "1", "1"),
        ],
        &expect![[r#"
            1500 trade.ETH-BTC 1 1x1 Buy
            1500 ticker.ETH-BTC 1 v1 0%
            1500 candle.1s.ETH-BTC 1000 n1
            1500 candle.1m.ETH-BTC 0 n1
            5000 bbo.ETH-BTC 1x1 2x2
            5000 book.ETH-BTC 1x1/ (Partial)
            5000 trade.ETH-BTC 2 1x1 Buy
            5000 ticker.ETH-BTC 1 v2 0%
            5000 candle.1s.ETH-BTC 1000 n2
            5000 candle.1m.ETH-BTC 0 n2
            5000 candle.1s.ETH-BTC 1000 n2 closed
            5000 book.ETH-BTC 1x2/ (Partial)
            5000 trade.ETH-BTC 3 1x1 Buy
            5000 ticker.ETH-BTC 1 v3 0%
            5000 candle.1m.ETH-BTC 0 n3
            5000 candle.1m.ETH-BTC 0 n3 closed
            fault a:3 time is 2001 ms before an earlier line's
            fault a:4 time is 3100 ms before an earlier line's
            fault a:5 time is 2000 ms before an earlier line's
            fault a:6 time is 3001 ms before an earlier line's
            fault a:6 trade 3 comes after a candle of its time was closed
            4 time_back
            1 late_trade
        "#]],
    );
}

#[test]
fn files_merge_by_time_and_the_first_given_goes_first() {
    let a = [
        bbo(1, "AUSDT", "1", "2"),
        bbo(3, "AUSDT", "3", "4"),
        bbo(3, "AUSDT", "5", "6"),
    ]
    .join("\n");
    let b = [
        bbo(2, "BUSDC", "1", "2"),
        bbo(3, "BUSDC", "3", "4"),
        bbo(4, "BUSDC", "5", "6"),
    ]
    .join("\r\n");
    check_files(
        &[a.as_bytes(), &gzip(b.as_bytes())],
        &expect![[r#"
        1 bbo.A-USDT 1x1 2x2
        2 bbo.B-USDC 1x1 2x2
        3 bbo.A-USDT 3x1 4x2
        3 bbo.A-USDT 5x1 6x2
        3 bbo.B-USDC 3x1 4x2
        4 bbo.B-USDC 5x1 6x2
    "#]],
    );
    check_files(
        &[&gzip(b.as_bytes()), a.as_bytes()],
        &expect![[r#"
        1 bbo.A-USDT 1x1 2x2
        2 bbo.B-USDC 1x1 2x2
        3 bbo.B-USDC 3x1 4x2
        3 bbo.A-USDT 3x1 4x2
        3 bbo.A-USDT 5x1 6x2
        4 bbo.B-USDC 5x1 6x2
    "#]],
    );
}

#[test]
fn a_snapshot_replaces_and_what_it_covers_is_dropped() {
    let lines = [
        depth(1, "BTCUSDT", (1, 4), "10", "1"),
        depth(2, "BTCUSDT", (5, 7), "11", "1"),
        // The snapshot covers part of the event before it; that event comes again.
        snapshot(3, 5, "12"),
        depth(4, "BTCUSDT", (8, 9), "13", "1"),
        // The snapshot covers everything so far, and one event that has not come yet.
        snapshot(5, 11, "14"),
        depth(6, "BTCUSDT", (10, 11), "15", "1"),
        depth(7, "BTCUSDT", (12, 12), "16", "1"),
        depth(8, "BTCUSDT", (14, 14), "17", "1"),
    ];
    check_files(
        &[lines.join("\n").as_bytes()],
        &expect![[r#"
            1 book.BTC-USDT 10x1/ (Partial)
            2 book.BTC-USDT 11x1/ (Partial)
            3 book.BTC-USDT = 12x1.5/
            3 book.BTC-USDT 11x1/
            4 book.BTC-USDT 13x1/
            5 book.BTC-USDT = 14x1.5/
            7 book.BTC-USDT 16x1/
            8 book.BTC-USDT 17x1/ (Hole)
            fault a:8 depth event U 14, u 14 does not follow on 12: the book is stale until a snapshot
            1 depth_hole
            1 covered
        "#]],
    );
}

#[test]
fn a_snapshot_belongs_to_the_first_symbol_of_its_file() {
    let after = [
        snapshot(1, 5, "1"),
        bbo(2, "AUSDT", "1", "2"),
        bbo(3, "BUSDT", "1", "2"),
        snapshot(4, 6, "2"),
    ];
    check_files(
        &[after.join("\n").as_bytes()],
        &expect![[r#"
            1 book.A-USDT = 1x1.5/
            2 bbo.A-USDT 1x1 2x2
            3 bbo.B-USDT 1x1 2x2
            4 book.A-USDT = 2x1.5/
        "#]],
    );
    let never = [snapshot(1, 5, "1"), snapshot(2, 6, "2")].join("\n");
    let reason = "snapshot in a file without a line that tells its symbol";
    assert_eq!(refused(never.as_bytes()), format!("line 1: {reason}"));
    let far: Vec<String> = (1..=6)
        .map(|n| snapshot(n, n, "1"))
        .chain([bbo(7, "AUSDT", "1", "2")])
        .collect();
    check_files(
        &[far.join("\n").as_bytes()],
        &expect![[r#"
            3 book.A-USDT = 1x1.5/
            4 book.A-USDT = 1x1.5/
            5 book.A-USDT = 1x1.5/
            6 book.A-USDT = 1x1.5/
            7 bbo.A-USDT 1x1 2x2
            fault a:1 snapshot too far before the first line that tells its symbol
            fault a:2 snapshot too far before the first line that tells its symbol
            2 malformed
        "#]],
    );
}

#[test]
fn bad_lines_are_named_and_skipped() {
    let lines = [
        "".to_owned(),
        bbo(1, "AUSDT", "1", "2"),
        "nonsense".to_owned(),
        bbo(2, "A.B", "1", "2"),
        trade(2, "AUSDT", 1, "0", "1"),
        trade(2, "AUSDT", 2, "1", "0"),
        "x".repeat(LINE_BYTES_MAX + 1),
        "   ".to_owned(),
        format!("{BASE_MS}000003 {{\"{}", "é".repeat(1_000)),
        bbo(3, "AUSDT", "3", "4"),
    ];
    check_files(
        &[lines.join("\n").as_bytes()],
        &expect![[r#"
            1 bbo.A-USDT 1x1 2x2
            3 bbo.A-USDT 3x1 4x2
            fault a:3 does not begin with the local time and a space, as in `1723161254087896568 {…}`
            fault a:4 symbol "A.B" is not letters, digits, _ or -, at most 64 bytes
            fault a:5 price 0 is not above 0 and at most 1000000000000 with 12 digits after the point
            fault a:6 size 0 is not above 0 with at most 12 digits after the point
            fault a:7 longer than 1048576 bytes
            fault a:9 not a message of the exchange: EOF while parsing a string at line 1 column 2002
            6 malformed
        "#]],
    );
}

#[test]
fn a_broken_gzip_is_the_end_of_its_file_only() {
    let a = [bbo(1, "AUSDT", "1", "2"), bbo(5, "AUSDT", "3", "4")].join("\n") + "\n";
    let whole = gzip(a.as_bytes());
    let b = bbo(9, "BUSDT", "1", "2");
    check_files(
        &[&whole[..whole.len() - 4], b.as_bytes()],
        &expect![[r#"
        1 bbo.A-USDT 1x1 2x2
        5 bbo.A-USDT 3x1 4x2
        9 bbo.B-USDT 1x1 2x2
        fault a:3 the file ends here, it cannot be read on: unexpected end of file
        1 malformed
    "#]],
    );
}

#[test]
fn times_never_go_back() {
    let lines = [
        bbo(100, "AUSDT", "1", "2"),
        bbo(90, "AUSDT", "3", "4"),
        bbo(95, "AUSDT", "5", "6"),
        bbo(101, "AUSDT", "7", "8"),
    ];
    check_files(
        &[lines.join("\n").as_bytes()],
        &expect![[r#"
            100 bbo.A-USDT 1x1 2x2
            100 bbo.A-USDT 3x1 4x2
            100 bbo.A-USDT 5x1 6x2
            101 bbo.A-USDT 7x1 8x2
            fault a:2 time is 10 ms before an earlier line's
            fault a:3 time is 5 ms before an earlier line's
            2 time_back
        "#]],
    );
}

#[test]
fn a_line_from_the_far_future_does_not_stop_the_replay() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
    let lines = [
        bbo(900 * DAY_MS, "AUSDT", "1", "2"),
        bbo(DAY_MS, "AUSDT", "3", "4"),
        bbo(90_000 * DAY_MS, "AUSDT", "5", "6"),
        bbo(DAY_MS + 1, "AUSDT", "7", "8"),
        // The next line confirms the jump, so it is accepted.
        bbo(5 * DAY_MS, "AUSDT", "9", "10"),
        bbo(5 * DAY_MS + 1, "AUSDT", "11", "12"),
        bbo(7 * DAY_MS, "AUSDT", "13", "14"),
    ];
    check_files(
        &[lines.join("\n").as_bytes()],
        &expect![[r#"
        86400000 bbo.A-USDT 3x1 4x2
        86400001 bbo.A-USDT 7x1 8x2
        432000000 bbo.A-USDT 9x1 10x2
        432000001 bbo.A-USDT 11x1 12x2
        604800000 bbo.A-USDT 13x1 14x2
        fault a:1 time is 77673600 s after the next line's
        fault a:3 time is 7775913599 s after the next line's
        2 malformed
    "#]],
    );
}

#[test]
fn faults_are_counted_beyond_those_that_are_kept() {
    let folder = Recordings::new();
    let path = folder.file("a", ("x\n".repeat(1_000) + &bbo(1, "AUSDT", "1", "2")).as_bytes());
    let replay = Replay::open(&[path]).expect("a line can be used");
    let stats = replay.stats();
    assert_eq!(
        (
            replay.faults().len(),
            stats.faults.of(FaultKind::Malformed),
            stats.lines
        ),
        (FAULTS_MAX, 1_000, 1_001)
    );
}

#[test]
fn files_that_cannot_be_opened_are_named() {
    assert!(matches!(Replay::open(&[]), Err(ReplayError::NoFiles)));
    let folder = Recordings::new();
    for path in [folder.0.path().join("missing"), folder.0.path().to_owned()] {
        let error = Replay::open(std::slice::from_ref(&path)).expect_err("not a file");
        let ReplayError::Unreadable { file, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(Path::new(file), path);
        assert!(
            error
                .to_string()
                .starts_with(&format!("recording {} cannot be opened: ", path.display()))
        );
    }
}

/// Why a recording is refused as a whole.
pub(crate) fn refused(bytes: &[u8]) -> String {
    let folder = Recordings::new();
    let good = folder.file("good", bbo(1, "AUSDT", "1", "2").as_bytes());
    let bad = folder.file("bad", bytes);
    match Replay::open(&[good, bad.clone()]) {
        Err(ReplayError::NothingUsable { file, why }) if file == bad => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_recording_without_a_usable_line_is_refused() {
    let whole = gzip(bbo(1, "AUSDT", "1", "2").as_bytes());
    for (bytes, why) in [
        (&b""[..], "it has no line"),
        (&gzip(b""), "it has no line"),
        (b"\n\n", "it has no line"),
        (
            &whole[..4],
            "line 1: the file ends here, it cannot be read on: unexpected end of file",
        ),
        (
            b"\nsymbol,price\nBTCUSDT,1\n",
            "line 2: does not begin with the local time and a space, as in `1723161254087896568 {\u{2026}}`",
        ),
        (
            br#"1618677817.06: {"type":"subscriptions","channels":[]}"#,
            "line 1: looks like a message of Coinbase; recordings of Binance are read",
        ),
    ] {
        assert_eq!(refused(bytes), why);
    }
}

/// A line, sometimes with a byte changed, removed or added.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let whole = (0..4_u8, 0..5_000_u64, 0..20_u64).prop_map(|(kind, ms, number)| {
        let number_text = format!("{number}.{ms:05}");
        match kind {
            0 => trade(ms, "BTCUSDT", number, &number_text, "1"),
            1 => bbo(ms, "BTCUSDT", &number_text, "30"),
            2 => depth(ms, "BTCUSDT", (number, number + 1), &number_text, "1"),
            _ => snapshot(ms, number, &number_text),
        }
    });
    (whole, any::<Option<(prop::sample::Index, u8, u8)>>()).prop_map(|(line, damage)| {
        let mut line = line.into_bytes();
        match damage {
            Some((at, 0..60, byte)) => *at.get_mut(&mut line) = byte,
            Some((at, 60..120, _)) => drop(line.remove(at.index(line.len()))),
            Some((at, 120..180, byte)) => line.insert(at.index(line.len()), byte),
            _ => {}
        }
        line
    })
}

proptest! {
    /// Any bytes are replayed without a panic. Times are in order, and each line is a tick, a fault or a known
    /// omission.
    #[test]
    fn any_bytes_are_survived(
        a in prop::collection::vec(line(), 0..60),
        b in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10),
        cut in any::<prop::sample::Index>(),
    ) {
        let folder = Recordings::new();
        let packed = gzip(&a.join(&b'\n'));
        let files = [
            folder.file("whole", &[bbo(0, "BTCUSDT", "1", "2").into_bytes(), a.join(&b'\n')].join(&b'\n')),
            folder.file("noise", &b.join(&b'\n')),
            folder.file("cut", &packed[..cut.index(packed.len())]),
        ];
        let usable = |file: &PathBuf| Replay::open(std::slice::from_ref(file)).is_ok();
        let files: Vec<PathBuf> = files.into_iter().filter(usable).collect();
        let mut feed = Feed::Replay(Excerpt::open(&files, Part::default(), crate::support::books()).expect("each can be used"));
        let published = ticks(&mut feed, usize::MAX);
        let stats = feed.stats();
        prop_assert!(feed.faults().len() as u64 <= stats.faults.all());
        let derived = |tick: &&Tick| matches!(tick.payload, Payload::Ticker(_) | Payload::Candle(_));
        let said = (published.len() - published.iter().filter(derived).count()) as u64;
        // Blank lines add nothing. A snapshot may bring every event before it again.
        prop_assert!(said <= stats.lines * (stats.lines + 1));
        let (malformed, stale) = (stats.faults.of(FaultKind::Malformed), stats.faults.of(FaultKind::StaleDepth));
        prop_assert!(malformed + stale <= stats.lines + 1);
    }
}
