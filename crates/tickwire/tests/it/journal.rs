//! What a broker with a journal has after it was stopped, killed, or started on damaged files.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Broker, Frame, Socket, get, poll, post, refused_to_start};

/// Publishers may be as fast as they can, and a checkpoint is made every second.
pub(crate) const UNLIMITED: [(&str, &str); 3] = [
    ("TICKWIRE_JOURNAL__CHECKPOINT_S", "1"),
    ("TICKWIRE_LIMITS__PUBLISHES_PER_S", "1000000"),
    ("TICKWIRE_LIMITS__PUBLISHES_BURST", "1000000"),
];

/// A directory for a journal.
pub(crate) struct Journal {
    pub(crate) folder: TempDir,
}

impl Journal {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder }
    }

    pub(crate) fn dir(&self) -> &str {
        self.folder.path().to_str().expect("UTF-8")
    }

    pub(crate) fn start(&self, variables: &[(&str, &str)]) -> Broker {
        Broker::start_with(&args(self.dir()), variables)
    }

    /// The newest segment that has an entry.
    pub(crate) fn last_segment(&self) -> PathBuf {
        let names = fs::read_dir(self.folder.path()).expect("it is there");
        let names = names.map(|entry| entry.expect("it is there").path());
        let is_used = |path: &PathBuf| {
            path.extension().is_some_and(|it| it == "segment")
                && fs::metadata(path).is_ok_and(|it| it.len() > 150)
        };
        names.filter(is_used).max().expect("a segment")
    }
}

fn args(dir: &str) -> [&str; 6] {
    ["--feed", "none", "--anonymous-publish", ">", "--journal", dir]
}

pub(crate) fn kill(broker: Broker) {
    broker.signal("KILL");
    assert_eq!(broker.wait_code(), None, "a signal has ended it");
}

fn ask(socket: &mut Socket, request: &Value) -> Value {
    socket.send(Frame::text(&request.to_string()));
    loop {
        let message = socket.message();
        if message["id"] == request["id"] {
            return message;
        }
    }
}

pub(crate) fn publish(socket: &mut Socket, id: u64, topic: &str, data: &Value) -> Value {
    let ack = ask(
        socket,
        &json!({"op": "publish", "id": id, "topic": topic, "data": data}),
    );
    assert_eq!(ack["op"], "ack", "{ack}");
    ack["results"][0].clone()
}

pub(crate) fn value_of(broker: &Broker, topic: &str) -> Value {
    let answer = get(broker.listen, &format!("/v1/topics/{topic}"));
    assert_eq!(answer.status, 200, "{topic}: {}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

#[test]
fn a_restart_goes_on_in_the_same_epoch() {
    let journal = Journal::new();
    for killed in [true, false] {
        let topic = |name: &str| format!("{name}.{killed}");
        let (chat, book, gone) = (topic("chat"), topic("book"), topic("gone"));
        let broker = journal.start(&[]);
        let mut socket = Socket::open(&broker);
        let first = publish(&mut socket, 1, &chat, &json!({"n": 1}));
        for n in 2..=20 {
            publish(&mut socket, n, &chat, &json!({"n": n}));
        }
        let symbol = &book["book.".len()..];
        let levels = json!({"symbol": symbol, "bids": [["9", "1"]], "asks": [["10", "2"]], "time": 1, "replace": true});
        publish(&mut socket, 21, &book, &levels);
        let change = json!({"symbol": symbol, "bids": [["9", "0"], ["8", "3"]], "time": 2});
        publish(&mut socket, 22, &book, &change);
        let ended = publish(&mut socket, 23, &gone, &json!(1));
        let (listen, path) = (broker.listen, format!("/v1/topics/{gone}"));
        assert_eq!(delete(listen, &path), 200);
        assert_eq!(post(listen, &path, "2").status, 200);
        let keyed = json!({"op": "publish", "id": 24, "topic": chat, "key": "k", "data": {"n": 21}});
        let once = ask(&mut socket, &keyed)["results"][0].clone();
        assert_eq!(once["seq"], 21, "{once}");
        let before: Vec<Value> = [&chat, &book, &gone]
            .map(|topic| value_of(&broker, topic))
            .to_vec();
        if killed {
            kill(broker);
        } else {
            drop(socket);
            broker.stop();
        }

        let broker = journal.start(&[]);
        broker.wait_for_log("the journal is read");
        let after: Vec<Value> = [&chat, &book, &gone]
            .map(|topic| value_of(&broker, topic))
            .to_vec();
        assert_eq!(after, before);
        assert_ne!(after[2]["epoch"], ended["epoch"], "it is the topic's next life");
        let mut socket = Socket::open(&broker);
        let since = json!({"epoch": first["epoch"], "seq": 5});
        let topics = json!([{"topic": chat, "since": since}]);
        let ack = ask(
            &mut socket,
            &json!({"op": "subscribe", "id": 1, "topics": topics, "mode": "every"}),
        );
        assert_eq!(ack["results"][0]["recovered"], true, "{ack}");
        for seq in 6..=21 {
            let message = socket.message();
            assert_eq!(
                (&message["op"], &message["seq"]),
                (&json!("update"), &json!(seq)),
                "{message}"
            );
            assert_eq!(message["data"], json!({"n": seq}));
        }
        let mut again = ask(&mut socket, &keyed)["results"][0].clone();
        assert_eq!(again["duplicate"], true, "{again}");
        again.as_object_mut().expect("an object").remove("duplicate");
        assert_eq!(again, once);
        let next = publish(&mut socket, 2, &chat, &json!("next"));
        assert_eq!((&next["epoch"], &next["seq"]), (&first["epoch"], &json!(22)));
        let change = json!({"symbol": symbol, "asks": [["10", "0"]], "time": 3});
        assert_eq!(publish(&mut socket, 3, &book, &change)["seq"], 3);
        broker.stop();
    }
}

pub(crate) fn delete(address: std::net::SocketAddr, path: &str) -> u16 {
    let mut stream = std::net::TcpStream::connect(address).expect("the broker listens");
    let request = format!("DELETE {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status")
}

/// Answers come in the order of the requests, although those to publications wait until these are written.
#[test]
fn answers_keep_their_order_behind_publications() {
    let journal = Journal::new();
    let broker = journal.start(&[("TICKWIRE_JOURNAL__SYNC", "each")]);
    let mut socket = Socket::open(&broker);
    let mut ids = Vec::new();
    for round in 0..20_u64 {
        let id = round * 10;
        let publish = |id: u64, topic: &str| json!({"op": "publish", "id": id, "topic": topic, "data": 1});
        let requests = [
            publish(id, "a.b"),
            publish(id + 1, "not a topic"),
            publish(id + 2, "a.b"),
            json!({"op": "ping", "id": id + 3}),
            publish(id + 4, "a.c"),
            json!({"op": "subscribe", "id": id + 5, "topics": ["x.y"]}),
            json!({"op": "nonsense", "id": id + 6}),
            publish(id + 7, "a.d"),
        ];
        for request in requests {
            ids.push(request["id"].as_u64().expect("a number"));
            socket.send(Frame::text(&request.to_string()));
        }
    }
    let answered: Vec<u64> = (0..ids.len())
        .map(|_| socket.message()["id"].as_u64().expect("an answer"))
        .collect();
    assert_eq!(answered, ids);
    broker.stop();
}

/// A client that publishes and counts, and one that resumes, on a broker that is killed again and again.
#[test]
fn nothing_that_was_acked_or_seen_is_lost_by_kills() {
    let journal = Journal::new();
    let mut acked = BTreeMap::<(String, String), u64>::new();
    let mut position: Option<(String, u64)> = None;
    for round in 0..6_u64 {
        let broker = journal.start(&UNLIMITED);
        for ((topic, epoch), seq) in &acked {
            let value = value_of(&broker, topic);
            assert_eq!(value["epoch"], *epoch, "{topic}");
            assert!(
                value["seq"].as_u64() >= Some(*seq),
                "{topic} was acked to {seq}: {value}"
            );
        }
        let mut reader = Socket::open(&broker);
        let since = position
            .as_ref()
            .map(|(epoch, seq)| json!({"epoch": epoch, "seq": seq}));
        let topics = json!([{"topic": "load.0", "since": since}]);
        let ack = ask(
            &mut reader,
            &json!({"op": "subscribe", "id": 1, "topics": topics, "mode": "every", "snapshot": false}),
        );
        if position.is_some() {
            assert_eq!(ack["results"][0]["recovered"], true, "round {round}: {ack}");
        }
        let (stopped, publisher) = (AtomicBool::new(false), Socket::open(&broker));
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| flood(publisher, round, &stopped));
            let mut read = 0;
            while read < 300 {
                let message = reader.message();
                assert_ne!(message["op"], "gap", "round {round}: {message}");
                if message["op"] != "update" {
                    continue;
                }
                let (epoch, seq) = (
                    message["epoch"].as_str(),
                    message["seq"].as_u64().expect("a number"),
                );
                if let Some((in_epoch, last)) = &position {
                    assert_eq!(seq, last + 1, "round {round}: {message}");
                    assert!(
                        epoch.is_none_or(|epoch| epoch == in_epoch),
                        "round {round}: {message}"
                    );
                }
                let epoch = epoch.or(ack["results"][0]["epoch"].as_str()).expect("an epoch");
                position = Some((epoch.to_owned(), seq));
                read += 1;
            }
            broker.signal("KILL");
            stopped.store(true, Ordering::Relaxed);
            acked.extend(publisher.join().expect("it counts"));
        });
        assert_eq!(broker.wait_code(), None, "a signal has ended it");
    }
    assert!(acked.values().sum::<u64>() > 500, "{acked:?}");
}

/// Publishes until the broker is gone. Returns the last message of each topic and epoch that was acked.
fn flood(mut socket: Socket, round: u64, stopped: &AtomicBool) -> BTreeMap<(String, String), u64> {
    let mut writer = socket.writer();
    let mut acked = BTreeMap::new();
    let sender = std::thread::spawn(move || {
        for id in 1_u64.. {
            let (topic, data) = (id % 3, format!("{round}:{id}"));
            let request = json!({"op": "publish", "id": id, "topic": format!("load.{topic}"), "data": data});
            if writer
                .write_all(&Frame::text(&request.to_string()).bytes())
                .is_err()
            {
                return;
            }
        }
    });
    while !stopped.load(Ordering::Relaxed) {
        // The broker may be gone in the middle of a frame.
        let Ok(message) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| socket.message())) else {
            break;
        };
        if message["op"] == "ack" {
            let result = &message["results"][0];
            let text = |field: &str| result[field].as_str().expect("a text").to_owned();
            let seq = result["seq"].as_u64().expect("a number");
            acked.insert((text("topic"), text("epoch")), seq);
        }
    }
    drop(socket);
    sender.join().expect("it ends with the broker");
    acked
}

#[test]
fn a_second_broker_is_refused_the_directory() {
    let journal = Journal::new();
    let _broker = journal.start(&[]);
    let ports = ["serve", "--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0"];
    let (status, log) = refused_to_start(&[&ports[1..], &args(journal.dir())].concat());
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("is used by another process"), "{log}");
}

/// While the journal cannot be written, publishing is refused, readers are served, and the broker says so. It goes on by itself.
#[test]
fn publishing_is_refused_while_the_journal_cannot_be_written() {
    let journal = Journal::new();
    let dir = journal.folder.path().join("inner");
    let segment_bytes = ("TICKWIRE_JOURNAL__SEGMENT_BYTES", "1048576");
    let broker = Broker::start_with(&args(dir.to_str().expect("UTF-8")), &[segment_bytes]);
    let mut socket = Socket::open(&broker);
    publish(&mut socket, 1, "chat.a", &json!("first"));
    fs::rename(&dir, journal.folder.path().join("away")).expect("it is there");
    let long = json!("x".repeat(60_000));
    let mut last = 1;
    let refusal = poll("a publication that is refused", || {
        let request = json!({"op": "publish", "id": 2, "topic": "chat.a", "data": long});
        let answer = ask(&mut socket, &request);
        match answer["op"].as_str() {
            Some("error") => Some(answer),
            _ => {
                last = answer["results"][0]["seq"].as_u64().expect("a number");
                None
            }
        }
    });
    assert_eq!(refusal["code"], "internal", "{refusal}");
    let reason = refusal["reason"].as_str().expect("a text");
    assert!(reason.starts_with("the journal cannot be written: "), "{reason}");
    let line = json!({"topic": "chat.b", "data": 1}).to_string() + "\n";
    for (path, body) in [("/v1/topics/chat.b", "1"), ("/v1/publish", &line)] {
        let answer = post(broker.listen, path, body);
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(
            answer.body.contains("the journal cannot be written"),
            "{}",
            answer.body
        );
        assert!(answer.head.contains("\r\nretry-after: 1"), "{}", answer.head);
    }
    assert_eq!(delete(broker.listen, "/v1/topics/chat.a"), 503);
    let ready = get(broker.ops, "/readyz");
    assert_eq!(ready.status, 503, "{}", ready.body);
    assert!(ready.body.contains("journal"), "{}", ready.body);
    assert_eq!(value_of(&broker, "chat.a")["seq"], last);
    fs::create_dir(&dir).expect("it is away");
    let seq = poll("a publication that is taken", || {
        let request = json!({"op": "publish", "id": 3, "topic": "chat.a", "data": "again"});
        ask(&mut socket, &request)["results"][0]["seq"].as_u64()
    });
    assert_eq!(seq, last + 1, "no number is left out");
    assert_eq!(get(broker.ops, "/readyz").status, 200);
    broker.stop();
}

#[test]
fn a_torn_end_is_cut_off_and_a_damaged_middle_refuses_the_start() {
    let journal = Journal::new();
    let broker = journal.start(&[]);
    let mut socket = Socket::open(&broker);
    for n in 1..=10 {
        publish(&mut socket, n, "chat.a", &json!(n));
    }
    kill(broker);
    let segment = journal.last_segment();
    let length = fs::metadata(&segment).expect("it is there").len();
    OpenOptions::new()
        .append(true)
        .open(&segment)
        .and_then(|mut file| file.write_all(b"torn"))
        .expect("a file");
    let broker = journal.start(&[]);
    broker.wait_for_log("it is cut off");
    assert_eq!(value_of(&broker, "chat.a")["seq"], 10);
    kill(broker);
    assert_eq!(fs::metadata(&segment).expect("it is there").len(), length);

    flip(&segment, length / 2);
    let (status, log) = refused_to_start(
        &[
            &["--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0"],
            &args(journal.dir())[..],
        ]
        .concat(),
    );
    assert_eq!(status.code(), Some(1), "{log}");
    let name = segment
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    assert!(log.contains(name) && log.contains("is damaged at byte"), "{log}");
}

/// Changes a bit of a byte of a file.
pub(crate) fn flip(path: &Path, at: u64) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("a file");
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))
        .and_then(|_| file.read_exact(&mut byte))
        .expect("a byte");
    byte[0] ^= 1;
    file.seek(SeekFrom::Start(at))
        .and_then(|_| file.write_all(&byte))
        .expect("a byte");
}
