//! Replays of recordings, read by Python's `websockets`. Every message is compared with the recording, every book with
//! its checksum.

use serde_json::{Value, json};

use crate::support::{Broker, Codec, Script, Tool, recording, test_file};

const BTC: &str = "binance-spot-btcusdt-20240808.jsonl.gz";
const ETH: &str = "binance-spot-ethusdt-20240808.jsonl.gz";

/// Histories that hold everything that each reader must get: a reader that falls behind misses nothing.
const WHOLE: &str = "[[kinds]]\npattern = \"trade.>\"\nkind = \"event\"\nhistory = 100000\n\
                     [[kinds]]\npattern = \"book.>\"\nkind = \"book\"\nhistory = 100000\n";

/// Replays `files` at `speed` in a broker with these `kinds`. Returns what a subscriber of everything saw, or `None` if
/// something needed is missing.
fn follow(
    test: &str,
    files: &[&str],
    (speed, kinds): (&str, &str),
    codec: Codec,
    naming: &str,
) -> Option<Value> {
    let python = Tool::Python.find(test)?;
    let paths = files
        .iter()
        .map(|file| recording(test, file))
        .collect::<Option<Vec<_>>>()?;
    let feed = format!("replay:{}", paths.join(","));
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("kinds.toml");
    std::fs::write(&config, kinds).expect("a file");
    let broker = Broker::start(&[
        "--config",
        &config.to_string_lossy(),
        "--feed",
        &feed,
        "--speed",
        speed,
        "--start",
        "on-subscribe",
    ]);
    let mut args = vec![
        test_file("python/replay.py"),
        broker.url(),
        codec.as_str().to_owned(),
        naming.to_owned(),
    ];
    args.extend(paths);
    let mut script = Script::start(&python, &args);
    broker.wait_for_log("the recording is over");
    script.tell(&json!("over"));
    let report = script.next();
    script.finish();
    broker.stop();
    Some(report)
}

#[test]
fn a_recording_arrives_whole_in_either_codec() {
    for codec in Codec::ALL {
        let test = "a_recording_arrives_whole_in_either_codec";
        let Some(report) = follow(test, &[BTC], ("100", WHOLE), codec, "exact") else {
            return;
        };
        assert_eq!(report["faults"], json!([]), "{report}");
        assert_eq!(report["missed"], json!({}), "{report}");
        assert_eq!(report["counts"]["trade.BTC-USDT"], 9_757, "{report}");
    }
}

/// Twice as fast and twice as much: a reader that cannot keep up may miss something, but is told exactly what.
#[test]
fn two_recordings_by_wildcards_lack_nothing_that_a_gap_does_not_name() {
    let test = "two_recordings_by_wildcards_lack_nothing_that_a_gap_does_not_name";
    let Some(report) = follow(test, &[BTC, ETH], ("200", ""), Codec::Json, "wildcards") else {
        return;
    };
    assert_eq!(report["faults"], json!([]), "{report}");
    for (topic, all) in [("trade.BTC-USDT", 9_757), ("trade.ETH-USDT", 6_106)] {
        let count = |what: &str| report[what][topic].as_u64().unwrap_or(0);
        assert_eq!(count("counts") + count("missed"), all, "{report}");
    }
}
