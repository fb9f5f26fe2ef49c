//! Several brokers as one, on a real NATS server: what clients see of it, and what they see when processes die.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::journal::{kill, publish, value_of};
use crate::support::{Broker, Frame, Nats, Socket, get, poll, post};

/// Starts a broker of the cluster.
fn join(nats: &Nats) -> Broker {
    let url = nats.url();
    let args = ["--feed", "none", "--anonymous-publish", ">", "--cluster", &url];
    let unlimited = [
        ("TICKWIRE_LIMITS__PUBLISHES_PER_S", "1000000"),
        ("TICKWIRE_LIMITS__PUBLISHES_BURST", "1000000"),
    ];
    Broker::start_with(&args, &unlimited)
}

/// What a broker says of its lane.
fn lane(broker: &Broker) -> Value {
    let answer = get(broker.ops, "/debug/cluster");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let report: Value = serde_json::from_str(&answer.body).expect("JSON");
    report["lanes"][0].clone()
}

fn is_writer(broker: &Broker) -> bool {
    lane(broker)["state"] == "writing"
}

/// The place of the broker that numbers the messages, once there is one.
fn writer(brokers: &[Broker]) -> usize {
    poll("a broker numbers messages", || brokers.iter().position(is_writer))
}

fn history(broker: &Broker, topic: &str) -> Value {
    let answer = get(broker.listen, &format!("/v1/topics/{topic}/history"));
    serde_json::from_str(&answer.body).expect("JSON")
}

/// Waits until a broker has message `seq` of `topic`.
fn has(broker: &Broker, topic: &str, seq: u64) {
    poll("a message is at all brokers", || {
        let newest = history(broker, topic)["newest"].as_u64();
        newest.filter(|newest| *newest >= seq)
    });
}

fn subscribe(broker: &Broker, entry: &Value) -> (Socket, Value) {
    let mut socket = Socket::open(broker);
    let request = json!({"op": "subscribe", "id": 1, "topics": [entry]});
    socket.send(Frame::text(&request.to_string()));
    let ack = of_op(&mut socket, "ack");
    (socket, ack["results"][0].clone())
}

/// The next message with this `op`.
fn of_op(socket: &mut Socket, op: &str) -> Value {
    loop {
        let message = socket.message();
        if message["op"] == op {
            return message;
        }
    }
}

#[test]
fn brokers_of_a_cluster_have_the_same_topics() {
    let Some(nats) = Nats::start("brokers_of_a_cluster_have_the_same_topics") else {
        return;
    };
    let brokers = [join(&nats), join(&nats), join(&nats)];
    let (mut reader, _) = subscribe(&brokers[0], &json!("chat.*"));
    let mut seqs = Vec::new();
    for n in 0..9_u64 {
        let mut socket = Socket::open(&brokers[n as usize % 3]);
        let placed = publish(&mut socket, 1, "chat.a", &json!({"n": n}));
        seqs.push(placed["seq"].as_u64().expect("a number"));
    }
    assert_eq!(seqs, (1..=9).collect::<Vec<_>>());
    for n in 0..9_u64 {
        let update = of_op(&mut reader, "update");
        assert_eq!((&update["seq"], &update["data"]["n"]), (&json!(n + 1), &json!(n)));
    }
    // A key is known at all of them, whoever has numbered the message.
    for (at, duplicate) in [(0, false), (1, true), (2, true)] {
        let mut socket = Socket::open(&brokers[at]);
        let request = json!({"op": "publish", "id": 2, "topic": "chat.a", "data": 1, "key": "k"});
        socket.send(Frame::text(&request.to_string()));
        let result = of_op(&mut socket, "ack")["results"][0].clone();
        assert_eq!(
            (&result["seq"], result["duplicate"] == true),
            (&json!(10), duplicate),
            "{result}"
        );
    }
    // A change of a book that nobody has published whole is refused by whoever numbers it, wherever it is handed in.
    for broker in &brokers {
        let crossed = json!({"symbol": "X", "bids": [["9", "1"]], "asks": [], "time": 1, "replace": false, "nothing": 1});
        let answer = post(broker.listen, "/v1/topics/book.Y", &crossed.to_string());
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
    let lines = "{\"topic\":\"trade.B\",\"data\":1}\n{\"topic\":\"trade.B\",\"data\":2}\n";
    let answer = post(brokers[1].listen, "/v1/publish", lines);
    assert_eq!((answer.status, answer.body.trim()), (200, "{\"published\":2}"));
    for broker in &brokers {
        has(broker, "chat.a", 10);
        has(broker, "trade.B", 2);
    }
    let all: Vec<Value> = brokers.iter().map(|broker| history(broker, "chat.a")).collect();
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
    // A topic ends at all of them, and begins anew in another epoch.
    let epoch = value_of(&brokers[2], "trade.B")["epoch"].clone();
    let mut socket = Socket::open(&brokers[0]);
    delete(&brokers[1], "trade.B");
    assert_eq!(of_op(&mut reader, "update")["seq"], 10);
    let placed = publish(&mut socket, 5, "trade.B", &json!(3));
    assert_eq!(placed["seq"], 1);
    assert_ne!(placed["epoch"], epoch);
}

/// Ends a topic, and waits until it has ended at this broker.
fn delete(broker: &Broker, topic: &str) {
    let first = format!("DELETE /v1/topics/{topic} HTTP/1.1");
    let (_, answer) = Socket::request(broker, &first, &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// The numbers of the updates up to `last`, which must follow on each other.
fn follow(reader: &mut Socket, mut seq: u64, last: u64) {
    while seq < last {
        let update = of_op(reader, "update");
        assert_eq!(update["seq"], seq + 1, "{update}");
        seq += 1;
    }
}

#[test]
fn numbers_go_on_when_the_writer_is_killed() {
    let Some(nats) = Nats::start("numbers_go_on_when_the_writer_is_killed") else {
        return;
    };
    let mut brokers = vec![join(&nats), join(&nats), join(&nats)];
    let dead = writer(&brokers);
    let epoch = publish(&mut Socket::open(&brokers[dead]), 1, "chat.a", &json!(1))["epoch"].clone();
    let killed = brokers.remove(dead);
    has(&brokers[0], "chat.a", 1);
    let (mut reader, ack) = subscribe(&brokers[0], &json!("chat.a"));
    assert_eq!(ack["seq"], 1);
    let mut socket = Socket::open(&brokers[1]);
    let request = json!({"op": "publish", "id": 2, "topic": "chat.a", "data": 2});
    kill(killed);
    // It is handed in while nobody numbers messages, and waits.
    socket.send(Frame::text(&request.to_string()));
    let placed = of_op(&mut socket, "ack")["results"][0].clone();
    assert_eq!((&placed["epoch"], &placed["seq"]), (&epoch, &json!(2)));
    follow(&mut reader, 1, 2);
    // Whoever joins has what was there before.
    let joined = join(&nats);
    assert_eq!(history(&joined, "chat.a"), history(&brokers[0], "chat.a"));
    let placed = publish(&mut Socket::open(&joined), 1, "chat.a", &json!(3));
    assert_eq!((&placed["epoch"], &placed["seq"]), (&epoch, &json!(3)));
    follow(&mut reader, 2, 3);
}

#[test]
fn a_broker_that_stops_hands_the_numbering_over() {
    let Some(nats) = Nats::start("a_broker_that_stops_hands_the_numbering_over") else {
        return;
    };
    let mut brokers = vec![join(&nats), join(&nats)];
    let first = publish(&mut Socket::open(&brokers[0]), 1, "chat.a", &json!(1));
    for n in 2..5 {
        let leaves = writer(&brokers);
        let broker = brokers.remove(leaves);
        broker.terminate();
        assert_eq!(broker.wait_code(), Some(0));
        let placed = publish(&mut Socket::open(&brokers[0]), 1, "chat.a", &json!(n));
        assert_eq!((&placed["epoch"], &placed["seq"]), (&first["epoch"], &json!(n)));
        brokers.push(join(&nats));
    }
}

#[test]
fn numbers_go_on_when_nats_is_killed() {
    let Some(mut nats) = Nats::start("numbers_go_on_when_nats_is_killed") else {
        return;
    };
    let brokers = [join(&nats), join(&nats)];
    let first = publish(&mut Socket::open(&brokers[0]), 1, "chat.a", &json!(1));
    let (mut reader, _) = subscribe(&brokers[1], &json!("chat.*"));
    nats.kill();
    let mut socket = Socket::open(&brokers[1]);
    let request = json!({"op": "publish", "id": 2, "topic": "chat.a", "data": 2});
    socket.send(Frame::text(&request.to_string()));
    poll("a broker without NATS is not ready", || {
        (get(brokers[0].ops, "/readyz").status == 503).then_some(())
    });
    nats.begin();
    let placed = of_op(&mut socket, "ack")["results"][0].clone();
    assert_eq!((&placed["epoch"], &placed["seq"]), (&first["epoch"], &json!(2)));
    assert_eq!(of_op(&mut reader, "update")["seq"], 2);
    for broker in &brokers {
        has(broker, "chat.a", 2);
        poll("a broker with NATS is ready", || {
            (get(broker.ops, "/readyz").status == 200).then_some(())
        });
    }
}

#[test]
fn a_client_goes_on_at_another_broker() {
    let Some(nats) = Nats::start("a_client_goes_on_at_another_broker") else {
        return;
    };
    let brokers = [join(&nats), join(&nats)];
    let mut socket = Socket::open(&brokers[0]);
    let mut placed = Value::Null;
    for n in 0..50 {
        placed = publish(&mut socket, n + 1, "chat.a", &json!(n));
    }
    // It is the newest message of all, which the other broker may not have yet. Asked again and again at once, so that it is
    // sometimes behind.
    for n in 50..100 {
        let since = json!({"topic": "chat.a", "since": {"epoch": placed["epoch"], "seq": placed["seq"]}});
        let (mut reader, ack) = subscribe(&brokers[1], &since);
        assert_eq!(ack["recovered"], true, "{ack}");
        placed = publish(&mut socket, n + 1, "chat.a", &json!(n));
        let update = of_op(&mut reader, "update");
        assert_eq!(update["seq"], placed["seq"]);
    }
    // What it has missed comes first.
    let since = json!({"topic": "chat.a", "since": {"epoch": placed["epoch"], "seq": 60}});
    let (mut reader, ack) = subscribe(&brokers[1], &since);
    assert_eq!(ack["recovered"], true, "{ack}");
    follow(&mut reader, 60, 100);
    // A number that nobody has given is one of another lineage, once that is sure.
    let since = json!({"topic": "chat.a", "since": {"epoch": placed["epoch"], "seq": 1_000}});
    let (_, ack) = subscribe(&brokers[1], &since);
    assert_eq!(ack["recovered"], false, "{ack}");
}

#[test]
fn readers_are_told_when_nats_has_forgotten_messages() {
    let Some(mut nats) = Nats::start("readers_are_told_when_nats_has_forgotten_messages") else {
        return;
    };
    let brokers = [join(&nats), join(&nats)];
    let mut socket = Socket::open(&brokers[0]);
    let before = publish(&mut socket, 1, "ticker.A", &json!({"p": 1}));
    nats.kill();
    nats.keep();
    nats.begin();
    let placed = publish(&mut socket, 2, "ticker.A", &json!({"p": 2}));
    assert_eq!((&placed["epoch"], &placed["seq"]), (&before["epoch"], &json!(2)));
    publish(&mut socket, 3, "chat.a", &json!("once"));
    has(&brokers[1], "chat.a", 1);
    let (mut reader, _) = subscribe(&brokers[1], &json!("ticker.A"));
    assert_eq!(of_op(&mut reader, "snapshot")["data"]["p"], 2);
    // What the log has acknowledged is gone from it, but both brokers have seen it.
    nats.kill();
    nats.set_back();
    nats.begin();
    let end = of_op(&mut reader, "end");
    assert_eq!((&end["seq"], &end["reason"]), (&json!(2), &json!("epoch")));
    let joined = of_op(&mut reader, "joined");
    assert_ne!(joined["epoch"], before["epoch"]);
    let update = of_op(&mut reader, "update");
    assert_eq!(
        (&update["seq"], &update["data"]["p"]),
        (&json!(1), &json!(2)),
        "the value is kept"
    );
    for broker in &brokers {
        let value = poll("the value is there again", || {
            let answer = get(broker.listen, "/v1/topics/ticker.A");
            (answer.status == 200).then(|| serde_json::from_str::<Value>(&answer.body).expect("JSON"))
        });
        assert_eq!((&value["epoch"], &value["seq"]), (&joined["epoch"], &json!(1)));
        // An event is not published twice.
        assert_eq!(get(broker.listen, "/v1/topics/chat.a").status, 404);
    }
    // Nobody goes on in the old epoch.
    let since = json!({"topic": "ticker.A", "since": {"epoch": before["epoch"], "seq": 1}});
    let (_, ack) = subscribe(&brokers[0], &since);
    assert_eq!(ack["recovered"], false, "{ack}");
}

#[test]
fn a_broker_that_is_alone_says_so_and_one_without_nats_waits() {
    let alone = Broker::start(&["--feed", "none"]);
    assert_eq!(get(alone.ops, "/debug/cluster").status, 404);
    let Some(mut nats) = Nats::start("a_broker_that_is_alone_says_so_and_one_without_nats_waits") else {
        return;
    };
    nats.kill();
    let url = nats.url();
    let waits = std::thread::spawn(move || Broker::start(&["--feed", "none", "--cluster", &url]));
    nats.begin();
    let broker = waits.join().expect("it has started");
    assert_eq!(lane(&broker)["state"], "writing");
}

/// What a client of NATS gets as an answer, by the protocol of NATS itself.
fn ask_nats(nats: &Nats, subject: &str, body: &str) -> Value {
    let stream = TcpStream::connect(nats.address()).expect("it listens");
    let mut writer = stream.try_clone().expect("a socket has two halves");
    let mut lines = BufReader::new(stream);
    let request = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB inbox.x 1\r\nPUB {subject} inbox.x {}\r\n{body}\r\n",
        body.len()
    );
    writer.write_all(request.as_bytes()).expect("it is taken");
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).expect("lines") > 0, "NATS closes");
        if line.starts_with("PING") {
            writer.write_all(b"PONG\r\n").expect("it is taken");
        }
        if line.starts_with("MSG") {
            let mut answer = String::new();
            lines.read_line(&mut answer).expect("a body");
            return serde_json::from_str(&answer).expect("JSON");
        }
    }
}

#[test]
fn plain_clients_of_nats_publish() {
    let Some(nats) = Nats::start("plain_clients_of_nats_publish") else {
        return;
    };
    let brokers = [join(&nats), join(&nats)];
    let (mut reader, _) = subscribe(&brokers[0], &json!("chat.a"));
    for n in 1..=10 {
        let answer = ask_nats(&nats, "tw.main.pub.chat.a", &json!({"n": n}).to_string());
        assert_eq!(
            (&answer["topic"], &answer["seq"]),
            (&json!("chat.a"), &json!(n)),
            "{answer}"
        );
        let update = of_op(&mut reader, "update");
        assert_eq!((&update["seq"], &update["data"]["n"]), (&json!(n), &json!(n)));
    }
    for (subject, body, code) in [
        ("tw.main.pub.chat.a", "{nothing", "bad_request"),
        ("tw.main.pub.chat.*a", "1", "bad_topic"),
        ("tw.main.pub.book.X", "{\"nothing\":1}", "bad_request"),
    ] {
        let answer = ask_nats(&nats, subject, body);
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
}
