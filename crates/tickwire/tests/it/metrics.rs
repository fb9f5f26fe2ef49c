//! Every metric of the catalogue moves when what it counts happens. A metric that nothing moves is useless.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::admin;
use crate::handshake::{GET, GOOD};
use crate::support::{Authority, Broker, Frame, Nats, Opcode, Socket, get, poll, post};

/// Metrics that other tests move: faults of the broker (`panics`), a log that is not read (`logging`), a queue that is
/// empty again before the test can look (the server's `run::broker`), and a queue that makes outside publishers wait
/// long before it is full (the router's `behind`). The same of what derives: the server's `run::derive_thread`.
const MOVED_ELSEWHERE: [&str; 7] = [
    "tickwire_derive_missed_messages_total",
    "tickwire_derive_queue_messages",
    "tickwire_shard_restarts_total",
    "tickwire_sessions_failed_total",
    "tickwire_log_lines_lost_total",
    "tickwire_shard_queue_publications",
    "tickwire_shard_queue_overflows_total",
];

/// Each metric of a page with the sum of its series; for a histogram, the number of observations.
fn sums(page: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().expect("a type has a name");
        sums.insert(name.to_owned(), 0.0);
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let name = series.split('{').next().expect("a sample has a name");
        let name = name.strip_suffix("_count").unwrap_or(name);
        if let Some(sum) = sums.get_mut(name) {
            *sum += value.parse::<f64>().expect("a value is a number").abs();
        }
    }
    sums
}

/// The metrics that have moved, and all that exist.
#[derive(Default)]
pub(crate) struct Moved {
    all: BTreeSet<String>,
    moved: BTreeSet<String>,
}

impl Moved {
    fn look(&mut self, broker: &Broker) {
        for (name, sum) in sums(&get(broker.ops, "/metrics").body) {
            if sum > 0.0 {
                self.moved.insert(name.clone());
            }
            self.all.insert(name);
        }
    }

    /// Waits until each of these metrics has moved.
    fn wait(&mut self, broker: &Broker, names: &[&str]) {
        for name in names {
            let name = format!("tickwire_{name}");
            poll(&name, || {
                self.look(broker);
                self.moved.contains(&name).then_some(())
            });
        }
    }
}

/// Sends a request.
pub(crate) fn send(socket: &mut Socket, request: &serde_json::Value) {
    socket.send(Frame::text(&request.to_string()));
}

/// Publishes `count` messages of `bytes` bytes each to a topic, in one request. Returns the status.
pub(crate) fn publish(broker: &Broker, topic: &str, count: usize, bytes: usize) -> u16 {
    let line = json!({"topic": topic, "data": "x".repeat(bytes)}).to_string() + "\n";
    post(broker.listen, "/v1/publish", &line.repeat(count)).status
}

const SETTINGS: &str = r#"
anonymous_publish = [">"]
[limits]
outbox_bytes = 65537
[[kinds]]
pattern = "slow.>"
kind = "event"
history = 2
[[staleness]]
pattern = "quiet.>"
after_ms = 100
"#;

const RECORDING: &str = r#"1700000000000000000 {"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1700000000000,"m":false}}
this is no line of a recording
1700000000001000000 {"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000001,"s":"BTCUSDT","t":2,"p":"2","q":"1","T":1700000000001,"m":false}}
1700000000001000000 {"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000001,"s":"BTCUSDT","t":2,"p":"2","q":"1","T":1700000000001,"m":false}}
"#;

/// Writes a file in a folder. Returns its path.
fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    let mut file = std::fs::File::create(&path).expect("a file can be made");
    file.write_all(text.as_bytes()).expect("a file can be written");
    path.display().to_string()
}

/// A reader that gets compressed messages and stays connected.
pub(crate) fn compressed_reader(broker: &Broker) -> Socket {
    let deflate = [&GOOD[..], &["Sec-WebSocket-Extensions: permessage-deflate"]].concat();
    let (mut compressed, answer) = Socket::request(broker, GET, &deflate);
    assert_eq!(answer.status, 101);
    assert_eq!(compressed.message()["op"], "welcome");
    send(
        &mut compressed,
        &json!({"op": "subscribe", "id": 1, "topics": ["chat.*"]}),
    );
    assert_eq!(compressed.message()["op"], "ack");
    assert_eq!(publish(broker, "chat.long", 1, 1_000), 200);
    assert_eq!(compressed.message()["op"], "joined");
    assert_eq!(compressed.deflated_message()["op"], "update");
    compressed
}

/// Moves the metrics of readers that lag or have been promised a replay. The readers stay connected.
pub(crate) fn slow_readers(moved: &mut Moved, broker: &Broker) -> [Socket; 2] {
    // A reader that stops reading lags, is conflated and misses messages.
    let mut slow = Socket::open(broker);
    let asked = json!({"op": "subscribe", "id": 1, "topics": ["slow.a", "ticker.a"]});
    send(&mut slow, &asked);
    assert_eq!(slow.message()["op"], "ack");
    poll("it lags", || {
        assert_eq!(publish(broker, "slow.a", 200, 60_000), 200);
        assert_eq!(publish(broker, "ticker.a", 20, 10), 200);
        moved.look(broker);
        moved.moved.contains("tickwire_lagging_sessions").then_some(())
    });
    moved.wait(
        broker,
        &[
            "lags_total",
            "lag_seconds",
            "lagging_outbox_bytes",
            "outbox_bytes",
            "ledger_pending",
        ],
    );
    poll("it has caught up", || {
        slow.frame();
        moved.look(broker);
        let done = ["tickwire_ledger_gapped_total", "tickwire_ledger_conflated_total"];
        done.iter().all(|name| moved.moved.contains(*name)).then_some(())
    });
    // Another reader has been promised a replay and does not read it.
    let mut resumed = Socket::open(broker);
    assert_eq!(publish(broker, "chat.many", 200, 10_000), 200);
    let epoch = get(broker.listen, "/v1/topics/chat.many").body;
    let epoch: serde_json::Value = serde_json::from_str(&epoch).expect("JSON");
    let since = json!({"epoch": epoch["epoch"], "seq": 0});
    send(
        &mut resumed,
        &json!({"op": "subscribe", "id": 1, "topics": [{"topic": "chat.many", "since": since}]}),
    );
    moved.wait(broker, &["replay_bytes"]);
    send(
        &mut resumed,
        &json!({"op": "subscribe", "id": 2, "topics": [{"topic": "slow.a", "since": since}]}),
    );
    moved.wait(broker, &["gapped_messages_total"]);
    [slow, resumed]
}

/// Moves the metrics of subscribers, publishers and a feed.
fn move_most(moved: &mut Moved) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let settings = file(&folder, "tickwire.toml", SETTINGS);
    let feed = format!("replay:{}", file(&folder, "recording.jsonl", RECORDING));
    let broker = Broker::start(&["--config", &settings, "--feed", &feed, "--shards", "1"]);
    moved.wait(
        &broker,
        &[
            "feed_ticks_total",
            "feed_malformed_lines_total",
            "feed_anomalies_total",
            "feed_lateness_seconds",
        ],
    );

    // The bytes of a WebSocket client count like those over HTTP.
    let mut publisher = Socket::open(&broker);
    send(
        &mut publisher,
        &json!({"op": "publish", "id": 1, "topic": "quiet.a", "data": "four"}),
    );
    assert_eq!(publisher.message()["op"], "ack");
    broker.wait_for_metric("tickwire_published_bytes_total", |bytes| bytes == 6.0);
    let crossed = json!({"symbol": "x", "bids": [["2", "1"]], "asks": [["1", "1"]], "time": 0});
    send(
        &mut publisher,
        &json!({"op": "publish", "id": 2, "topic": "book.x", "data": crossed}),
    );
    assert_eq!(publisher.message()["op"], "ack");
    send(&mut publisher, &json!({"op": "fly", "id": 3}));
    assert_eq!(publisher.message()["op"], "error");

    let _compressed = compressed_reader(&broker);
    let _slow = slow_readers(moved, &broker);

    assert_eq!(Socket::request(&broker, GET, &[]).1.status, 426);
    let token = [&GOOD[..], &["Authorization: Bearer nonsense"]].concat();
    assert_eq!(Socket::request(&broker, GET, &token).1.status, 401);
    publisher.send(Frame::new(Opcode::Close, &1_000_u16.to_be_bytes()));
    let (_, (code, _)) = publisher.until_closed();
    assert_eq!(code, 1_000);
    let mut half = Socket::connect(&broker);
    half.send_bytes(b"POST /v1/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{");
    moved.wait(&broker, &["bulk_body_bytes", "closes_total"]);
    drop(half);
    broker.signal("HUP");
    moved.wait(
        &broker,
        &[
            "stale_topics",
            "stale_changes_total",
            "config_reloads_total",
            "ledger_dropped_total",
            "clock_offset_seconds",
        ],
    );
    broker.stop();
}

/// Moves the metrics of what a broker with little room turns away.
fn move_what_is_short(moved: &mut Moved) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let text = "anonymous_publish = [\">\"]\n[limits]\nexempt_addresses = []\nvalue_bytes = 1048576\n\
                replay_bytes_per_connection = 0\nstall_ms = 500\nops_burst = 1000\nconnections_per_address = 4\n";
    let settings = file(&folder, "tickwire.toml", text);
    let broker = Broker::start(&["--config", &settings, "--shards", "1", "--start", "on-subscribe"]);
    (0..3).for_each(|_| assert_eq!(publish(&broker, "chat.x", 1, 10), 200));
    assert_eq!(publish(&broker, "chat.long", 1, 50_000), 200);
    // The last message finds no room, nor do those of the feed.
    let refused = (0..20).find(|n| publish(&broker, &format!("ticker.S{n}"), 1, 60_000) != 200);
    assert!(refused.is_some_and(|n| n > 0), "{refused:?}");
    let mut reader = Socket::open(&broker);
    send(
        &mut reader,
        &json!({"op": "subscribe", "id": 1, "topics": ["ticker.S0"]}),
    );
    moved.wait(&broker, &["feed_refused_ticks_total", "value_bytes", "addresses"]);

    let value = get(broker.listen, "/v1/topics/chat.x").body;
    let value: serde_json::Value = serde_json::from_str(&value).expect("JSON");
    let since = json!({"epoch": value["epoch"], "seq": 1});
    send(
        &mut reader,
        &json!({"op": "subscribe", "id": 2, "topics": [{"topic": "chat.x", "since": since}]}),
    );
    moved.wait(&broker, &["replays_refused_total"]);
    let (_, ended) = Socket::request(&broker, "DELETE /v1/topics/chat.x HTTP/1.1", &[]);
    assert_eq!(ended.status, 200);
    moved.wait(&broker, &["topics_ended_total"]);

    let mut stream = Socket::connect(&broker);
    let head = stream.ask("GET /v1/sse?topic=chat.long HTTP/1.1", &[]);
    assert_eq!(head.status, 200);
    poll("a stream that is not read is ended", || {
        publish(&broker, "chat.long", 20, 50_000);
        moved.look(&broker);
        moved
            .moved
            .contains("tickwire_sse_streams_dropped_total")
            .then_some(())
    });
    let others: Vec<Socket> = (0..4).map(|_| Socket::connect(&broker)).collect();
    moved.wait(&broker, &["turned_away_total"]);
    drop((others, stream));
    broker.stop();
}

/// Moves the metrics of what is derived: of four trades one is late, one has no price, and no ticker can be published.
fn move_derived(moved: &mut Moved) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let text = "anonymous_publish = [\">\"]\n[[derive]]\nfrom = \"trade.>\"\n[[kinds]]\npattern = \"ticker.>\"\nkind = \"book\"\n";
    let settings = file(&folder, "tickwire.toml", text);
    let broker = Broker::start(&["--config", &settings, "--feed", "none"]);
    for data in [
        r#"{"price":1,"size":1,"time":5000000}"#,
        r#"{"price":1,"size":1,"time":7000000}"#,
        r#"{"price":1,"size":1,"time":5000000}"#,
        "1",
    ] {
        assert_eq!(post(broker.listen, "/v1/topics/trade.A", data).status, 200);
    }
    let counts = ["messages", "late_trades", "skipped_messages", "refused_messages"];
    let names = counts.map(|name| format!("derive_{name}_total"));
    moved.wait(&broker, &names.each_ref().map(String::as_str));
    broker.stop();
}

/// Moves the metrics of books, which cannot be saved any more.
fn move_accounted(moved: &mut Moved) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let books = folder.path().join("books");
    let text =
        format!("anonymous_publish = [\">\"]\n[accounting]\nenabled = true\nsave_s = 1\ndir = {books:?}\n");
    let settings = file(&folder, "tickwire.toml", &text);
    let broker = Broker::start(&["--config", &settings, "--feed", "none"]);
    assert_eq!(publish(&broker, "ticker.a", 1, 10), 200);
    let mut reader = Socket::open(&broker);
    for (id, mode) in [(1, "snapshot"), (2, "conflate")] {
        let request = json!({"op": "subscribe", "id": id, "topics": ["ticker.a"], "mode": mode});
        send(&mut reader, &request);
        // The next message is for the subscription only once that is there.
        while reader.message()["id"] != id {}
    }
    assert_eq!(publish(&broker, "ticker.a", 1, 10), 200);
    let counted = ["messages_total", "repeats_total", "bytes_total", "users"];
    let names = counted.map(|name| format!("accounted_{name}"));
    moved.wait(&broker, &names.each_ref().map(String::as_str));
    moved.wait(&broker, &["accounts"]);
    std::fs::remove_dir_all(&books).expect("it was made");
    poll("it is to be saved again", || {
        assert_eq!(publish(&broker, "ticker.a", 1, 10), 200);
        moved.look(&broker);
        moved
            .moved
            .contains("tickwire_accounting_failed_writes_total")
            .then_some(())
    });
    broker.stop();
}

/// Moves the metrics of publications with keys, of which the broker keeps one.
fn move_repeated(moved: &mut Moved) {
    let args = ["--feed", "none", "--anonymous-publish", ">"];
    let broker = Broker::start_with(&args, &[("TICKWIRE_PUBLISH__DEDUPE_KEYS", "1")]);
    let line = |key: &str| json!({"topic": "a", "data": 1, "key": key}).to_string() + "\n";
    let body = [line("k1"), line("k2"), line("k2")].concat();
    assert_eq!(
        post(broker.listen, "/v1/publish", &body).body,
        r#"{"published":2,"duplicates":1}"#
    );
    let names = [
        "duplicate_publications_total",
        "publish_keys",
        "publish_key_bytes",
        "publish_keys_dropped_total",
    ];
    moved.wait(&broker, &names);
    broker.stop();
}

/// Moves the metrics of the journal, whose directory is taken away at last.
fn move_journal(moved: &mut Moved) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("journal");
    let args = ["--feed", "none", "--anonymous-publish", ">", "--journal"];
    let args = [&args[..], &[dir.to_str().expect("UTF-8")]].concat();
    let start = |sync| {
        let variables = [
            ("TICKWIRE_JOURNAL__SYNC", sync),
            ("TICKWIRE_JOURNAL__CHECKPOINT_S", "1"),
            ("TICKWIRE_JOURNAL__SEGMENT_BYTES", "1048576"),
        ];
        Broker::start_with(&args, &variables)
    };
    let broker = start("interval");
    assert_eq!(publish(&broker, "a", 10, 10), 200);
    let names = [
        "written_bytes_total",
        "entries_total",
        "store_seconds",
        "sync_seconds",
        "bytes",
    ];
    let names = names.map(|name| format!("journal_{name}"));
    moved.wait(&broker, &names.each_ref().map(String::as_str));
    assert_eq!(publish(&broker, "a", 10, 10), 200);
    broker.signal("KILL");
    assert_eq!(broker.wait_code(), None, "a signal has ended it");
    let broker = start("each");
    moved.wait(&broker, &["journal_recovered_entries"]);
    let seen = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !seen.load(Ordering::Relaxed) {
                assert_eq!(publish(&broker, "a", 400, 10_000), 200);
            }
        });
        moved.wait(&broker, &["journal_unwritten_bytes"]);
        seen.store(true, Ordering::Relaxed);
    });
    // The history has let go of the first messages of the topic.
    assert_eq!(publish(&broker, "a", 1_100, 10), 200);
    let seen = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !seen.load(Ordering::Relaxed) {
                assert_eq!(get(broker.listen, "/v1/topics/a/history?since=0").status, 200);
            }
        });
        moved.wait(&broker, &["archive_bytes", "archive_messages_total"]);
        seen.store(true, Ordering::Relaxed);
    });
    // The next file cannot be made.
    std::fs::rename(&dir, folder.path().join("away")).expect("it is there");
    poll("a publication that is refused", || {
        (publish(&broker, "a", 40, 10_000) == 503).then_some(())
    });
    moved.wait(&broker, &["journal_failed_writes_total"]);
    broker.stop();
}

/// Moves the metrics of what operators do.
fn move_admin(moved: &mut Moved) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let settings = file(&folder, "tickwire.toml", &admin::operator_lines());
    let broker = Broker::start(&["--config", &settings, "--feed", "none"]);
    let _client = Socket::open(&broker);
    let body = json!({"address": "127.0.0.1"});
    assert_eq!(
        admin::admin(&broker, "POST", "close", &body).1,
        json!({"closed": 1})
    );
    let body = json!({"subject": "mallory"});
    assert_eq!(admin::admin(&broker, "POST", "revocations", &body).0, 200);
    moved.wait(&broker, &["sessions_closed_by_operators_total", "revocations"]);
    broker.stop();
}

/// Moves the metrics of views: one is full, and a copy does not fit its topic.
fn move_views(moved: &mut Moved) {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "anonymous_publish = [\">\"]\n[[views]]\npattern = \"chat.>\"\ndelay_ms = 1000\nbytes_max = 1048576\n\
                [[kinds]]\npattern = \"delayed.chat.book\"\nkind = \"book\"\n";
    let config = file(&folder, "views.toml", text);
    let broker = Broker::start(&["--feed", "none", "--config", &config]);
    assert_eq!(publish(&broker, "chat.book", 1, 10), 200);
    assert_eq!(publish(&broker, "chat.long", 40, 60_000), 200);
    let counts = [
        "held_messages",
        "held_bytes",
        "lost_messages_total",
        "messages_total",
        "refused_messages_total",
    ];
    let names = counts.map(|name| format!("view_{name}"));
    moved.wait(&broker, &names.each_ref().map(String::as_str));
    broker.stop();
}

/// Moves the metrics of a cluster. Returns whether there is a NATS server for it.
fn move_cluster(moved: &mut Moved) -> bool {
    let Some(mut nats) = Nats::start("every_metric_is_moved_by_what_it_counts") else {
        return false;
    };
    let url = nats.url();
    let broker = Broker::start(&["--feed", "none", "--anonymous-publish", ">", "--cluster", &url]);
    assert_eq!(publish(&broker, "a", 10, 10), 200);
    let names = [
        "position",
        "end",
        "term",
        "state",
        "messages_total",
        "appends_total",
        "epoch_changes_total",
    ];
    let names = names.map(|name| format!("lane_{name}"));
    moved.wait(&broker, &names.each_ref().map(String::as_str));
    nats.kill();
    let mut waits = Socket::open(&broker);
    waits.send(Frame::text(r#"{"op":"publish","id":1,"topic":"a","data":1}"#));
    moved.wait(&broker, &["lane_unsettled_messages"]);
    nats.begin();
    broker.stop();
    true
}

/// Moves the metrics of certificates.
fn move_tls(moved: &mut Moved) {
    let authority = Authority::new();
    let broker = authority.start(&["--feed", "none"], &[]);
    let mut plain = Socket::connect(&broker);
    plain.send_bytes(b"GET /v1/topics HTTP/1.1\r\n\r\n");
    moved.wait(
        &broker,
        &["tls_handshakes_failed_total", "tls_certificate_not_after_seconds"],
    );
    authority.issue("broker");
    moved.wait(&broker, &["tls_reloads_total"]);
    std::fs::write(authority.path("broker.pem"), "half a certifi").expect("a file can be written");
    moved.wait(&broker, &["tls_reloads_failed_total"]);
    broker.stop();
}

#[test]
fn every_metric_is_moved_by_what_it_counts() {
    let mut moved = Moved::default();
    move_most(&mut moved);
    move_what_is_short(&mut moved);
    move_derived(&mut moved);
    move_views(&mut moved);
    move_repeated(&mut moved);
    move_accounted(&mut moved);
    move_journal(&mut moved);
    move_admin(&mut moved);
    move_tls(&mut moved);
    let has_nats = move_cluster(&mut moved);
    let still: Vec<&String> = moved
        .all
        .difference(&moved.moved)
        .filter(|name| !MOVED_ELSEWHERE.contains(&name.as_str()))
        .filter(|name| has_nats || !name.starts_with("tickwire_lane_"))
        .collect();
    assert!(still.is_empty(), "nothing has moved {still:?}");
    assert!(moved.all.len() > 60, "{:?}", moved.all);
}
