//! Publishing, and coming back after a while: order, numbers, replay, and a broker that started again.

use serde_json::{Value, json};

use crate::program::run;
use crate::support::{Broker, Client, Codec, Frame, Socket, Tool};

/// No feed, and no limit on how fast clients publish.
const OPEN: [&str; 6] = [
    "--feed",
    "none",
    "--anonymous-publish",
    "chat.>",
    "--anonymous-publish",
    "ticker.>",
];
const UNHURRIED: [(&str, &str); 2] = [
    ("TICKWIRE_LIMITS__OPS_BURST", "1000000"),
    ("TICKWIRE_LIMITS__OPS_PER_S", "1000000"),
];

/// Values that a codec may change.
fn values() -> Vec<Value> {
    let text = "a \"quote\", a \\, a line\nand\ttab, \u{0}, é, 日本, 🦀";
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(0.1),
        json!(-1.5e300),
        json!(5e-324),
        json!(""),
        json!(text),
        json!([]),
        json!({}),
        json!([[], {}, [null, [1, "2", {"3": 4.5}]]]),
        json!({"z": 1, "a": 2, "é": {"": null}}),
    ]
}

/// Publishes `data` and returns the number in its `ack`.
fn publish(client: &mut Client, id: u64, topic: &str, data: &Value) -> u64 {
    let ack = client.ask(&json!({"op": "publish", "id": id, "topic": topic, "data": data}));
    assert_eq!((&ack["op"], &ack["id"]), (&json!("ack"), &json!(id)), "{ack}");
    let result = &ack["results"][0];
    assert_eq!(result["topic"], topic, "{ack}");
    result["seq"]
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {ack}"))
}

/// Subscribes to `topic` and resumes it after `since`. Returns the result.
fn resume(client: &mut Client, topic: &str, since: (&str, u64)) -> Value {
    let since = json!({"epoch": since.0, "seq": since.1});
    client
        .subscribe(1, &json!([{"topic": topic, "since": since}]))
        .remove(0)
}

/// The number and data of the next message, which must be an update of `topic`.
fn update(client: &mut Client, topic: &str) -> (u64, Value) {
    let message = client.next();
    assert_eq!(
        (&message["op"], &message["topic"]),
        (&json!("update"), &json!(topic)),
        "{message}"
    );
    (
        message["seq"].as_u64().expect("an update has a number"),
        message["data"].clone(),
    )
}

#[test]
fn what_is_published_arrives_in_order_and_unspoiled_in_either_codec() {
    let Some(python) = Tool::Python.find("what_is_published_arrives_in_order") else {
        return;
    };
    let broker = Broker::start_with(&OPEN, &UNHURRIED);
    let mut subscribers = Codec::ALL.map(|codec| {
        let mut client = Client::python(&python, &broker, codec);
        let results = client.subscribe(1, &json!(["chat.a"]));
        assert_eq!(
            (&results[0]["seq"], &results[0]["mode"]),
            (&json!(0), &json!("every"))
        );
        client
    });
    let mut seq = 0;
    for codec in Codec::ALL {
        let mut publisher = Client::python(&python, &broker, codec);
        // All values are sent at once. The acks come in the order of the requests.
        let values = values();
        for (id, data) in values.iter().enumerate() {
            publisher.send(&json!({"op": "publish", "id": id, "topic": "chat.a", "data": data}));
        }
        for (id, data) in values.iter().enumerate() {
            seq += 1;
            let ack = publisher.next();
            assert_eq!(
                (&ack["id"], &ack["results"][0]["seq"]),
                (&json!(id), &json!(seq)),
                "{ack}"
            );
            for subscriber in &mut subscribers {
                assert_eq!(update(subscriber, "chat.a"), (seq, data.clone()));
            }
        }
        // A publication without an id gets no ack.
        publisher.send(&json!({"op": "publish", "topic": "chat.a", "data": "unasked"}));
        assert_eq!(publisher.until_pong(), [] as [Value; 0]);
        seq += 1;
        for subscriber in &mut subscribers {
            assert_eq!(update(subscriber, "chat.a"), (seq, json!("unasked")));
        }
        publisher.close(1000);
    }
    // A publisher that subscribes also gets its own messages, and each message only once.
    let mut both = Client::python(&python, &broker, Codec::Json);
    both.subscribe(1, &json!(["chat.*", "chat.b", "chat.>"]));
    // Messages of chat.a come first. All of them have been read when the first of chat.b comes.
    for number in 1..=2 {
        both.send(&json!({"op": "publish", "topic": "chat.b", "data": number}));
    }
    let first = loop {
        let message = both.next();
        if message["topic"] == "chat.b" {
            break message;
        }
    };
    assert_eq!(
        (&first["op"], &first["seq"]),
        (&json!("update"), &json!(1)),
        "{first}"
    );
    let second = both.next();
    assert_eq!(
        (&second["topic"], &second["seq"]),
        (&json!("chat.b"), &json!(2)),
        "{second}"
    );
    both.close(1000);
    broker.stop();
}

/// With the broker's defaults, the rate of requests does not limit publishing.
#[test]
fn a_publisher_that_pipelines_is_neither_refused_nor_closed() {
    const MESSAGES: u64 = 5_000;
    let broker = Broker::start(&OPEN);
    let mut socket = Socket::open(&broker);
    let publish = Frame::text(r#"{"op":"publish","topic":"chat.a","data":{"n":1}}"#);
    socket.send_bytes(&publish.bytes().repeat(MESSAGES as usize));
    socket.send(Frame::text(
        r#"{"op":"publish","id":7,"topic":"chat.a","data":0}"#,
    ));
    let answer = socket.message();
    assert_eq!(
        (&answer["op"], &answer["results"][0]["seq"]),
        (&json!("ack"), &json!(MESSAGES + 1)),
        "the first answer is that of the last: {answer}"
    );
    // So the lines of a file go as fast as the broker takes them. At the rate of requests they would take a minute and
    // a half.
    let url = broker.url();
    let lines: String = (0..MESSAGES).map(|n| format!("{n}\n")).collect();
    let outcome = run(&["pub", "--url", &url, "chat.b"], &lines);
    assert!(
        outcome
            .stderr
            .contains(&format!("chat.b: {MESSAGES} published, 0 failed")),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    broker.stop();
}

#[test]
fn messages_by_websocket_and_by_http_are_numbered_in_one_row() {
    let Some(python) = Tool::Python.find("messages_by_websocket_and_by_http_are_numbered") else {
        return;
    };
    let broker = Broker::start(&OPEN);
    let mut reader = Client::python(&python, &broker, Codec::Msgpack);
    let epoch = reader.subscribe(1, &json!(["chat.a"]))[0]["epoch"].clone();
    let mut publisher = Client::python(&python, &broker, Codec::Json);
    let post = |client: &mut Client, path: &str, body: &str| {
        client.tell(&json!({"post": broker.http(path), "body": body}));
        client.event()["posted"].clone()
    };
    for turn in 0..5 {
        let first = turn * 4 + 1;
        assert_eq!(
            publish(&mut publisher, first, "chat.a", &json!("by WebSocket")),
            first
        );
        let receipt = post(&mut publisher, "/v1/topics/chat.a", r#"{"by": "HTTP"}"#);
        assert_eq!(
            receipt,
            json!({"topic": "chat.a", "epoch": epoch, "seq": first + 1})
        );
        let lines = r#"{"topic":"chat.a","data":"one line"}
{"topic":"chat.a","data":"another line"}
"#;
        assert_eq!(
            post(&mut publisher, "/v1/publish", lines),
            json!({"published": 2})
        );
        let data = [
            json!("by WebSocket"),
            json!({"by": "HTTP"}),
            json!("one line"),
            json!("another line"),
        ];
        for (seq, data) in (first..).zip(data) {
            assert_eq!(update(&mut reader, "chat.a"), (seq, data));
        }
    }
    reader.close(1000);
    publisher.close(1000);
    broker.stop();
}

#[test]
fn who_comes_back_gets_exactly_what_was_missed() {
    let Some(python) = Tool::Python.find("who_comes_back_gets_exactly_what_was_missed") else {
        return;
    };
    let broker = Broker::start_with(&OPEN, &UNHURRIED);
    let mut publisher = Client::python(&python, &broker, Codec::Json);
    for codec in Codec::ALL {
        let topic = format!("chat.{}", codec.as_str());
        let mut reader = Client::python(&python, &broker, codec);
        let epoch = reader.subscribe(1, &json!([topic]))[0]["epoch"].clone();
        let epoch = epoch.as_str().expect("an epoch is text");
        for number in 1..=5 {
            assert_eq!(publish(&mut publisher, number, &topic, &json!(number)), number);
            assert_eq!(update(&mut reader, &topic), (number, json!(number)));
        }
        reader.close(1000);
        for number in 6..=40 {
            publish(&mut publisher, number, &topic, &json!(number));
        }
        let mut reader = Client::python(&python, &broker, codec);
        let result = resume(&mut reader, &topic, (epoch, 5));
        assert_eq!(result["recovered"], true, "{result}");
        assert_eq!(
            (&result["epoch"], &result["seq"]),
            (&json!(epoch), &json!(40)),
            "{result}"
        );
        // First the missed messages come, then new ones.
        publish(&mut publisher, 41, &topic, &json!(41));
        for number in 6..=41 {
            assert_eq!(update(&mut reader, &topic), (number, json!(number)));
        }
        reader.close(1000);
        // Nothing was missed.
        let mut reader = Client::python(&python, &broker, codec);
        let result = resume(&mut reader, &topic, (epoch, 41));
        assert_eq!(result["recovered"], true, "{result}");
        assert_eq!(reader.until_pong(), [] as [Value; 0]);
        publish(&mut publisher, 42, &topic, &json!(42));
        assert_eq!(update(&mut reader, &topic), (42, json!(42)));
        reader.close(1000);
    }
    broker.stop();
}

#[test]
fn what_the_history_no_longer_holds_is_named_by_a_gap() {
    let Some(python) = Tool::Python.find("what_the_history_no_longer_holds_is_named") else {
        return;
    };
    let broker = Broker::start_with(&OPEN, &UNHURRIED);
    let mut publisher = Client::python(&python, &broker, Codec::Json);
    // The history of an event topic holds 1,024 messages.
    for number in 1..=1_100_u64 {
        publisher.send(&json!({"op": "publish", "topic": "chat.a", "data": number}));
    }
    publisher.until_pong();
    let mut reader = Client::python(&python, &broker, Codec::Json);
    let epoch = reader.subscribe(1, &json!(["chat.none"]))[0]["epoch"].clone();
    let epoch = epoch.as_str().expect("an epoch is text");
    for (since, recovered) in [(75, false), (76, true), (1_099, true), (1_100, true)] {
        let mut reader = Client::python(&python, &broker, Codec::Msgpack);
        let result = resume(&mut reader, "chat.a", (epoch, since));
        assert_eq!(result["recovered"], recovered, "since {since}: {result}");
        if recovered {
            for number in since + 1..=1_100 {
                assert_eq!(update(&mut reader, "chat.a"), (number, json!(number)));
            }
        } else {
            let gap = json!({
                "op": "gap", "topic": "chat.a", "epoch": epoch,
                "from": since + 1, "to": 1_100, "reason": "history",
            });
            assert_eq!(reader.next(), gap);
        }
        assert_eq!(reader.until_pong(), [] as [Value; 0]);
        reader.close(1000);
    }
    // Each value replaces the one before: there is nothing to replay, and the newest comes.
    for number in 1..=3 {
        publish(&mut publisher, number, "ticker.A", &json!({ "number": number }));
    }
    let result = resume(&mut reader, "ticker.A", (epoch, 1));
    assert_eq!(result["recovered"], true, "{result}");
    assert_eq!(update(&mut reader, "ticker.A"), (3, json!({"number": 3})));
    reader.close(1000);
    broker.stop();
}

#[test]
fn a_broker_that_began_anew_has_another_epoch() {
    let Some(python) = Tool::Python.find("a_broker_that_began_anew_has_another_epoch") else {
        return;
    };
    let old = Broker::start(&OPEN);
    let mut client = Client::python(&python, &old, Codec::Json);
    let results = client.subscribe(1, &json!(["chat.a"]));
    let epoch = results[0]["epoch"].as_str().expect("an epoch is text").to_owned();
    publish(&mut client, 2, "ticker.A", &json!("old"));
    old.stop();
    assert_eq!(client.next()["op"], "drain");
    assert_eq!(client.closed().0, 4000);

    let new = Broker::start(&OPEN);
    let mut publisher = Client::python(&python, &new, Codec::Json);
    for number in 1..=3 {
        publish(&mut publisher, number, "chat.a", &json!(number));
    }
    publish(&mut publisher, 4, "ticker.A", &json!("new"));
    for codec in Codec::ALL {
        // The numbers of the old lineage mean nothing here, whether or not they occur in the new one.
        for seq in [0, 2, 900] {
            let mut client = Client::python(&python, &new, codec);
            let result = resume(&mut client, "chat.a", (&epoch, seq));
            assert_eq!(result["recovered"], false, "{result}");
            assert_ne!(result["epoch"], epoch, "{result}");
            let gap = client.next();
            assert_eq!(
                (&gap["op"], &gap["reason"]),
                (&json!("gap"), &json!("epoch")),
                "{gap}"
            );
            assert_eq!((&gap["from"], &gap["to"]), (&json!(1), &json!(3)), "{gap}");
            assert_eq!(gap["epoch"], result["epoch"], "{gap}");
            let result = resume(&mut client, "ticker.A", (&epoch, seq));
            assert_eq!(result["recovered"], false, "{result}");
            let snapshot = client.next();
            assert_eq!(
                (&snapshot["op"], &snapshot["data"], &snapshot["epoch"]),
                (&json!("snapshot"), &json!("new"), &result["epoch"])
            );
            let result = resume(&mut client, "chat.none", (&epoch, seq));
            assert_eq!(
                result["recovered"], false,
                "nothing is there to recover: {result}"
            );
            assert_eq!(client.until_pong(), [] as [Value; 0]);
            client.close(1000);
        }
    }
    new.stop();
}
