//! The replay of real recordings, compared line by line with their text.
//!
//! The recordings are not part of the project: `TICKWIRE_RECORDINGS` tells their folder. Without them the tests are
//! skipped and say so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use tickwire_feed::{Excerpt, FaultKind, Feed, FeedStats, Part, Replay, Tick};
use tickwire_wire::market::{Level, Side};
use tickwire_wire::{Decimal, Micros, Payload};

use crate::derived_audit::DerivedAudit;
use crate::support::{by_symbol, ticks};

const BTC: &str = "binance-spot-btcusdt-20240808.jsonl.gz";
const ETH: &str = "binance-spot-ethusdt-20240808.jsonl.gz";

/// The recordings `names`. If one is missing, prints that `test` is skipped and why.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn recordings(test: &str, names: &[&str]) -> Option<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder =
        std::env::var_os("TICKWIRE_RECORDINGS").map_or_else(|| "../shared/data".into(), PathBuf::from);
    let files: Vec<PathBuf> = names.iter().map(|name| root.join(&folder).join(name)).collect();
    let Some(missing) = files.iter().find(|file| !file.exists()) else {
        return Some(files);
    };
    let line = format!(
        "skipped: {test}: no recording {}; TICKWIRE_RECORDINGS names the folder that has it\n",
        missing.display()
    );
    print!("{line}");
    if let Some(log) = std::env::var_os("TICKWIRE_TEST_SKIP_LOG") {
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(log);
        opened
            .and_then(|mut log| log.write_all(line.as_bytes()))
            .expect("the list of skipped tests can be written");
    }
    None
}

fn replay(files: &[PathBuf]) -> Feed {
    Feed::Replay(
        Excerpt::open(files, Part::default(), crate::support::books()).expect("the recordings are there"),
    )
}

/// The lines of a recording, as times and JSON.
fn lines(file: &Path) -> impl Iterator<Item = (u64, Value)> {
    let reader = BufReader::new(GzDecoder::new(File::open(file).expect("the recording is there")));
    reader.lines().map(|line| {
        let line = line.expect("the recording is whole");
        let (time_ns, json) = line.split_once(' ').expect("a time, a space, a message");
        (
            time_ns.parse().expect("nanoseconds"),
            serde_json::from_str(json).expect("JSON"),
        )
    })
}

/// Checks that `number` has the digits of `text`, apart from zeros at the end.
fn assert_number(number: Decimal, text: &Value) {
    let text = text.as_str().expect("numbers are text");
    let canonical = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    };
    assert_eq!(number.to_string(), canonical);
}

fn assert_levels(levels: &[Level], text: &Value) {
    let text = text.as_array().expect("levels are an array");
    assert_eq!(levels.len(), text.len());
    for (level, text) in levels.iter().zip(text) {
        assert_number(level.price, &text[0]);
        assert_number(level.size, &text[1]);
    }
}

/// Checks that `tick` holds the data of a streamed line.
fn assert_same(tick: &Tick, stream: &str, data: &Value) {
    let ms = |field: &str| Micros(data[field].as_u64().expect("milliseconds") * 1_000);
    match &tick.payload {
        Payload::Trade(trade) => {
            assert!(stream.ends_with("@trade"));
            assert_eq!((Some(trade.id), trade.time), (data["t"].as_u64(), ms("T")));
            assert_number(trade.price, &data["p"]);
            assert_number(trade.size, &data["q"]);
            assert_eq!(trade.side == Side::Sell, data["m"] == true);
        }
        Payload::Bbo(bbo) => {
            assert!(stream.ends_with("@bookTicker"));
            assert_eq!(bbo.time, tick.at);
            for (number, field) in [
                (bbo.bid, "b"),
                (bbo.bid_size, "B"),
                (bbo.ask, "a"),
                (bbo.ask_size, "A"),
            ] {
                assert_number(number, &data[field]);
            }
        }
        Payload::Book(book) => {
            assert!(stream.ends_with("@depth@100ms") && !book.replace);
            assert_eq!(book.time, ms("E"));
            assert_levels(&book.bids, &data["b"]);
            assert_levels(&book.asks, &data["a"]);
        }
        other => panic!("no line says {other:?}"),
    }
}

/// Compares every line of `file` with the ticks of its replay, in order.
fn check_lines(file: &Path, symbol: &str) {
    let mut feed = replay(&[file.to_owned()]);
    let all = ticks(&mut feed, usize::MAX);
    let derived = |tick: &&Tick| !matches!(tick.payload, Payload::Ticker(_) | Payload::Candle(_));
    let mut said = all.iter().filter(derived);
    let mut depth: Vec<Value> = Vec::new();
    for (time_ns, line) in lines(file) {
        let tick = said.next().expect("a tick for every line");
        assert_eq!(tick.at, Micros(time_ns / 1_000));
        assert_eq!(crate::support::symbol_of(&tick.payload), symbol);
        if let Some(stream) = line["stream"].as_str() {
            assert_same(tick, stream, &line["data"]);
            if stream.contains("@depth") {
                depth.push(line["data"].clone());
            }
            continue;
        }
        let Payload::Book(book) = &tick.payload else {
            panic!("{:?} for a snapshot", tick.payload)
        };
        assert!(book.replace);
        assert_levels(&book.bids, &line["bids"]);
        assert_levels(&book.asks, &line["asks"]);
        // Events that came before the snapshot but are newer come again.
        for newer in depth
            .iter()
            .filter(|data| data["u"].as_u64() > line["lastUpdateId"].as_u64())
        {
            assert_same(
                said.next().expect("changes newer than the snapshot"),
                "@depth@100ms",
                newer,
            );
        }
    }
    assert!(said.next().is_none(), "no tick without a line");
    assert!(feed.faults().is_empty(), "{:?}", feed.faults());
}

#[test]
fn every_line_comes_out_in_order_and_exact() {
    let Some(files) = recordings("every_line_comes_out_in_order_and_exact", &[BTC, ETH]) else {
        return;
    };
    check_lines(&files[0], "BTC-USDT");
    check_lines(&files[1], "ETH-USDT");
}

#[test]
fn files_merge_by_time_with_their_counts() {
    let Some(files) = recordings("files_merge_by_time_with_their_counts", &[BTC, ETH]) else {
        return;
    };
    let mut feed = replay(&files);
    let all = ticks(&mut feed, usize::MAX);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for tick in &all {
        *counts.entry(feed.topic(tick.topic).as_str()).or_default() += 1;
    }
    let count = |topic: &str| counts.get(topic).copied().unwrap_or_default();
    for (symbol, trades, bbos, depths) in [
        ("BTC-USDT", 9_757, 28_040, 3_451),
        ("ETH-USDT", 6_106, 24_077, 3_434),
    ] {
        assert_eq!(count(&format!("trade.{symbol}")), trades);
        assert_eq!(count(&format!("ticker.{symbol}")), trades);
        assert_eq!(count(&format!("bbo.{symbol}")), bbos);
        // The depth events and the snapshot. In the BTC recording one event is newer than the snapshot after it.
        assert_eq!(
            count(&format!("book.{symbol}")),
            depths + 1 + u64::from(symbol == "BTC-USDT")
        );
    }
    let stats = FeedStats {
        ticks: all.len() as u64,
        lines: 41_249 + 33_618,
        ..FeedStats::default()
    };
    assert_eq!(feed.stats(), stats);
    assert_eq!((feed.next_tick(), feed.next_at()), (None, None));
}

#[test]
fn trade_ids_increase_and_derived_data_agree() {
    let Some(files) = recordings("trade_ids_increase_and_derived_data_agree", &[BTC, ETH]) else {
        return;
    };
    let all = ticks(&mut replay(&files), usize::MAX);
    for (symbol, ticks) in by_symbol(&all) {
        let mut audit = DerivedAudit::new(false, 97);
        let mut id = 0;
        for tick in ticks {
            audit.tick(tick);
            if let Payload::Trade(trade) = &tick.payload {
                assert!(trade.id > id, "trade {} of {symbol} after {id}", trade.id);
                id = trade.id;
            }
        }
        assert!(
            audit.finish(Micros(u64::MAX)) > 300,
            "six minutes have more than 300 candles"
        );
        assert_eq!(audit.waited_us_max, 0, "every trade has its ticker at once");
    }
}

#[test]
fn books_do_not_cross_after_the_snapshot() {
    let Some(files) = recordings("books_do_not_cross_after_the_snapshot", &[BTC, ETH]) else {
        return;
    };
    let all = ticks(&mut replay(&files), usize::MAX);
    for (symbol, ticks) in by_symbol(&all) {
        let (mut bids, mut asks, mut whole) = (BTreeMap::new(), BTreeMap::new(), 0);
        let mut ticks = ticks.into_iter().peekable();
        while let Some(tick) = ticks.next() {
            let Payload::Book(book) = &tick.payload else {
                continue;
            };
            if book.replace {
                (bids, asks) = (BTreeMap::new(), BTreeMap::new());
            } else if bids.is_empty() {
                continue;
            }
            for (side, levels) in [(&mut bids, &book.bids), (&mut asks, &book.asks)] {
                for level in levels {
                    side.insert(level.price, level.size);
                }
                side.retain(|_, size: &mut Decimal| !size.is_zero());
            }
            let (bid, ask) = (bids.keys().next_back(), asks.keys().next());
            // More changes of the snapshot's own moment may follow it.
            let more = ticks
                .peek()
                .is_some_and(|next| next.at == tick.at && matches!(next.payload, Payload::Book(_)));
            assert!(
                more || bid < ask,
                "{symbol}: bid {bid:?} and ask {ask:?} at {}",
                tick.at
            );
            whole += 1;
        }
        assert!(whole > 3_000, "{symbol} had {whole} whole books");
    }
}

/// Raw captures of four exchanges. Those of Binance are replayed, with the snapshots that were fetched over HTTP. For
/// the others, the fault names the exchange.
#[test]
fn raw_captures_are_replayed_or_their_exchange_is_named() {
    let names = [
        "binance.ws.1",
        "binance.http.0",
        "coinbase.ws.28",
        "kraken.ws.50",
        "okx.ws.1",
    ];
    let files = names.map(|name| format!("venues/{name}.txt.gz"));
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let test = "raw_captures_are_replayed_or_their_exchange_is_named";
    let Some(files) = recordings(test, &files) else {
        return;
    };
    let mut feed = replay(&files[..2]);
    let all = ticks(&mut feed, usize::MAX);
    let whole = |tick: &&Tick| matches!(&tick.payload, Payload::Book(book) if book.replace);
    let whole: Vec<&str> = all
        .iter()
        .filter(whole)
        .map(|tick| feed.topic(tick.topic).as_str())
        .collect();
    assert_eq!(
        whole,
        ["book.NKN-USDT", "book.BLZ-ETH", "book.LRC-BTC", "book.RUNE-EUR"]
    );
    let stats = feed.stats();
    assert!(all.iter().any(|tick| matches!(tick.payload, Payload::Trade(_))));
    assert_eq!(stats.faults.of(FaultKind::Malformed), 0, "{:?}", feed.faults());
    assert!(
        stats.faults.of(FaultKind::Unused) > 0,
        "candles of the exchange are not replayed"
    );
    for (file, exchange) in files[2..].iter().zip(["Coinbase", "Kraken", "OKX"]) {
        let error = Replay::open(std::slice::from_ref(file)).expect_err("of another exchange");
        assert!(error.to_string().contains(exchange), "{error}");
    }
}
