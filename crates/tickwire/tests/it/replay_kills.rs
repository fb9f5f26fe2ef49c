//! Replays into a broker with a journal that is killed again and again: each message is published once, in its order.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::journal::{Journal, kill};
use crate::program::{run, tickwire};
use crate::support::{Broker, DEADLINE, Script, Tool, get, recording, test_file};

const FILES: [&str; 2] = [
    "binance-spot-btcusdt-20240808.jsonl.gz",
    "binance-spot-ethusdt-20240808.jsonl.gz",
];

/// The argument of `--feed` for both recordings.
fn both(test: &str) -> Option<(String, Vec<String>)> {
    let paths = FILES.iter().map(|file| recording(test, file));
    let paths: Vec<String> = paths.collect::<Option<_>>()?;
    Some((format!("replay:{}", paths.join(",")), paths))
}

/// A broker that replays into the journal.
fn start(journal: &Journal, feed: &str, speed: &str, more: &[&str]) -> Broker {
    let args = ["--feed", feed, "--speed", speed, "--journal", journal.dir()];
    let checkpoints = [("TICKWIRE_JOURNAL__CHECKPOINT_S", "1")];
    Broker::start_with(&[&args, more].concat(), &checkpoints)
}

/// What the journal has of each topic: the numbers and data of its messages, in order.
fn messages(journal: &Journal) -> BTreeMap<String, Vec<(u64, String)>> {
    let printed = tickwire(&["journal", "cat", journal.dir()]).output();
    let printed = printed.expect("the program runs");
    assert!(
        printed.status.success(),
        "{}",
        String::from_utf8_lossy(&printed.stderr)
    );
    let mut topics = BTreeMap::<String, Vec<(u64, String)>>::new();
    for line in printed
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let mut line: Value = serde_json::from_slice(line).expect("JSON");
        let topic = line["topic"].as_str().expect("a topic").to_owned();
        // Nothing in the data is of the clock.
        let data = line["data"].take().to_string();
        let seq = line["seq"].as_u64().expect("a number");
        topics.entry(topic).or_default().push((seq, data));
    }
    topics
}

/// The whole of two recordings, without kills and with kills at moments that nobody has chosen.
#[test]
fn a_killed_broker_publishes_a_replay_as_one_that_was_not_killed() {
    let test = "a_killed_broker_publishes_a_replay_as_one_that_was_not_killed";
    let Some((feed, _)) = both(test) else { return };
    let whole = Journal::new();
    let broker = start(&whole, &feed, "1000", &[]);
    broker.wait_for_log("the recording is over");
    broker.stop();
    let expected = messages(&whole);
    let all: usize = expected.values().map(Vec::len).sum();
    assert!(
        all > 10_000 && expected.len() == 12,
        "{all} of {}",
        expected.len()
    );

    let journal = Journal::new();
    for round in 1..=6 {
        let broker = start(&journal, &feed, "30", &[]);
        let enough = f64::from(1_000 * round);
        broker.wait_for_metric("tickwire_feed_ticks_total", |ticks| ticks > enough);
        kill(broker);
        let verified = run(&["journal", "verify", journal.dir()], "");
        assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    }
    let broker = start(&journal, &feed, "1000", &[]);
    broker.wait_for_log("the feed goes on behind what the journal has of it");
    broker.wait_for_log("the recording is over");
    // One that was over stays so. What it has published last may be lost by a kill, and then it would go on.
    broker.stop();
    let broker = start(&journal, &feed, "1000", &[]);
    broker.wait_for_log("the recording was over before the broker was started again");
    broker.stop();
    let found = messages(&journal);
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (topic, expected) in &expected {
        let found = &found[topic];
        let differs = found
            .iter()
            .zip(expected)
            .find(|(found, expected)| found != expected);
        assert_eq!(differs, None, "{topic}");
        assert_eq!(found.len(), expected.len(), "{topic}");
    }

    // Another part is another feed.
    let broker = start(&journal, &feed, "1000", &["--until", "2024-08-08T23:54:30Z"]);
    broker.wait_for_log("the feed is not the one that the journal has messages of");
    broker.stop();
}

/// A journal that keeps everything.
const ALL: &str = "[journal]\nbytes_max = 1000000000000\n";

#[allow(clippy::print_stdout, reason = "a long run says what it has seen")]
fn say(text: &str) {
    println!("{text}");
}

/// A Python client that checks what it reads.
struct Checking {
    script: Script,
    /// The newest progress that it has told.
    progress: Value,
}

impl Checking {
    /// Reads on for `time`, and until the client has read something meanwhile, or all of `wanted`: topics, and the numbers of their
    /// last messages. Returns whether it has all.
    fn goes_on(&mut self, time: Duration, wanted: &[(String, u64)]) -> bool {
        let (began, before) = (Instant::now(), self.progress.clone());
        while began.elapsed() < time || self.progress == before {
            assert!(began.elapsed() < time + DEADLINE, "nothing comes any more");
            self.progress = self.script.next()["progress"].take();
            let mut wanted = wanted.iter();
            if wanted.len() > 0 && wanted.all(|(topic, seq)| self.progress[topic] == *seq) {
                return true;
            }
        }
        false
    }
}

/// Kills a broker that replays `kills` times, `each` after it was started. Then it goes on without the feed, and is killed so
/// until the Python client has read every trade.
fn kill_again_and_again(test: &str, speed: &str, kills: u64, each: Duration) {
    let (Some(python), Some((feed, paths))) = (Tool::Python.find(test), both(test)) else {
        return;
    };
    let journal = Journal::new();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tickwire.toml");
    std::fs::write(&config, ALL).expect("a file");
    let config = config.display().to_string();
    let [listen, ops] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let start = |feed: &[&str]| {
        let kept = ["--journal", journal.dir(), "--config", &config];
        Broker::start_passed([&listen, &ops], "listen:ops", &[feed, &kept].concat())
    };
    let replay = || {
        start(&[
            "--feed",
            &feed,
            "--speed",
            speed,
            "--loop",
            "--start",
            "on-subscribe",
        ])
    };
    let mut broker = replay();
    let mut script_args = vec![
        test_file("python/replay_kills.py"),
        test_file("../../../clients/python/src"),
        broker.url().replace("/v1/ws", ""),
    ];
    script_args.extend(paths);
    let mut client = Checking {
        script: Script::start(&python, &script_args),
        progress: Value::Null,
    };
    for _ in 0..kills {
        client.goes_on(each, &[]);
        kill(broker);
        broker = replay();
    }
    client.goes_on(each, &[]);
    kill(broker);
    broker = start(&["--feed", "none"]);
    let last = |topic: &str| {
        let page: Value = serde_json::from_str(&get(broker.listen, topic).body).expect("JSON");
        page["seq"].as_u64().expect("a number")
    };
    let trades = ["trade.BTC-USDT", "trade.ETH-USDT"];
    let wanted = trades.map(|topic| (topic.to_owned(), last(&format!("/v1/topics/{topic}"))));
    let mut killed = kills + 1;
    while !client.goes_on(each, &wanted) {
        kill(broker);
        broker = start(&["--feed", "none"]);
        killed += 1;
    }
    client.script.tell(&json!("over"));
    let report = loop {
        let line = client.script.next();
        if line["progress"].is_null() {
            break line;
        }
    };
    client.script.finish();
    kill(broker);
    say(&format!("{killed} kills, trades {wanted:?}: {report}"));
    assert_eq!(report["faults"], json!([]), "{report}");
    // On a busy machine a broker may be killed before the client is back.
    assert!(report["reconnects"].as_u64() > Some(killed / 3), "{report}");
    let verified = run(&["journal", "verify", journal.dir()], "");
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    say(&verified.stdout);
}

#[test]
fn a_client_resumes_in_a_replay_whose_broker_is_killed() {
    let test = "a_client_resumes_in_a_replay_whose_broker_is_killed";
    kill_again_and_again(test, "100", 3, Duration::from_millis(1_500));
}

/// The long form, two minutes of a thousandfold pace: `cargo test --release -p tickwire --test it -- --ignored --nocapture
/// a_day_of_replay`.
#[test]
#[ignore = "it takes four minutes"]
fn a_day_of_replay() {
    kill_again_and_again("a_day_of_replay", "1000", 1, Duration::from_secs(60));
}
