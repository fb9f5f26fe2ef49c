//! Mistakes and malice within RFC 6455: each is answered with its code, and the connection stays open.

use serde_json::{Value, json};

use crate::handshake::{GET, GOOD};
use crate::support::{Broker, Client, Codec, Frame, Opcode, Socket, Tool, poll};

/// What the test sends.
enum Input {
    /// A message in the connection's codec.
    Message(Value),
    /// A text message.
    Text(String),
    /// A binary message, as hexadecimal digits.
    Bytes(String),
}

use Input::{Bytes, Message, Text};

/// Settings under which no test here reaches the rate limit by accident.
const UNHURRIED: [(&str, &str); 2] = [
    ("TICKWIRE_LIMITS__OPS_BURST", "1000000"),
    ("TICKWIRE_LIMITS__OPS_PER_S", "1000000"),
];

/// The only error in `answer`: of an `error` message, or of an `ack` whose results all have the same code.
fn error_in(answer: &Value) -> (String, String) {
    let error = match answer["op"].as_str() {
        Some("error") => answer,
        Some("ack") => &answer["results"][0]["error"],
        _ => panic!("no error: {answer}"),
    };
    let text = |name: &str| {
        error[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name}: {answer}"))
    };
    (text("code").to_owned(), text("reason").to_owned())
}

/// Sends each input. Checks that exactly one answer comes, with this code and these words, and that the connection then
/// answers a ping.
fn check(client: &mut Client, cases: Vec<(Input, &str, &str)>) {
    for (input, code, words) in cases {
        let (shown, command) = match input {
            Message(message) => (message.to_string(), json!({ "send": message })),
            Text(text) => (text.clone(), json!({ "text": text })),
            Bytes(hex) => (hex.clone(), json!({ "hex": hex })),
        };
        let shown: String = shown.chars().take(200).collect();
        client.tell(&command);
        let answers = client.until_pong();
        assert_eq!(answers.len(), 1, "{shown}: {answers:?}");
        let (found, reason) = error_in(&answers[0]);
        assert_eq!(found, code, "{shown}: {reason}");
        assert!(
            reason.contains(words),
            "{shown}: {reason:?} does not say {words:?}"
        );
    }
}

/// A subscription to `topics`, with further `fields`.
fn subscribe(topics: &Value, fields: &Value) -> Input {
    let mut request = json!({"op": "subscribe", "id": 7, "topics": topics});
    request
        .as_object_mut()
        .expect("a map")
        .extend(fields.as_object().expect("a map").clone());
    Message(request)
}

/// Requests that are wrong in both codecs.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn wrong_messages() -> Vec<(Input, &'static str, &'static str)> {
    let since = |since: Value| json!([{"topic": "trade.A", "since": since}]);
    let none = || json!({});
    let mut wrong = vec![
        (Message(json!([])), "bad_request", ""),
        (Message(json!("ping")), "bad_request", ""),
        (Message(json!(null)), "bad_request", ""),
        (Message(json!({})), "bad_request", "\"op\""),
        (Message(json!({"op": 5, "id": 1})), "bad_request", "op: "),
        (Message(json!({"op": "fly", "id": 1})), "unknown_op", "\"fly\""),
        (Message(json!({"op": "welcome"})), "unknown_op", "\"welcome\""),
        (Message(json!({"op": "ping", "id": "1"})), "bad_request", "id: "),
        (Message(json!({"op": "ping", "id": -1})), "bad_request", "id: "),
        (Message(json!({"op": "ping", "id": 1.5})), "bad_request", "id: "),
        (Message(json!({"op": "ping", "id": [1]})), "bad_request", "id: "),
        (
            Message(json!({"op": "subscribe", "topics": ["a"]})),
            "bad_request",
            "\"id\"",
        ),
        (
            Message(json!({"op": "subscribe", "id": 1})),
            "bad_request",
            "\"topics\"",
        ),
        (subscribe(&json!("a"), &none()), "bad_request", "topics: "),
        (subscribe(&json!({}), &none()), "bad_request", "topics: "),
        (
            subscribe(&json!([]), &none()),
            "bad_request",
            "\"topics\" is empty",
        ),
        (subscribe(&json!([5]), &none()), "bad_request", "topics: "),
        (subscribe(&json!([null]), &none()), "bad_request", "topics: "),
        (
            subscribe(&json!([{"since": 1}]), &none()),
            "bad_request",
            "since: ",
        ),
        (
            subscribe(&since(json!({"seq": 1})), &none()),
            "bad_request",
            "epoch",
        ),
        (
            subscribe(&since(json!({"epoch": "e"})), &none()),
            "bad_request",
            "seq",
        ),
        (
            subscribe(&since(json!({"epoch": "e", "seq": -1})), &none()),
            "bad_request",
            "seq: ",
        ),
        (
            subscribe(&json!(["a"]), &json!({"mode": "fast"})),
            "bad_request",
            "mode: ",
        ),
        (
            subscribe(&json!(["a"]), &json!({"mode": 1})),
            "bad_request",
            "mode: ",
        ),
        (
            subscribe(&json!(["a"]), &json!({"conflate_ms": -1})),
            "bad_request",
            "conflate_ms: ",
        ),
        (
            subscribe(&json!(["a"]), &json!({"conflate_ms": 4_294_967_296_u64})),
            "bad_request",
            "conflate_ms: ",
        ),
        (
            subscribe(&json!(["a"]), &json!({"snapshot": "yes"})),
            "bad_request",
            "snapshot: ",
        ),
        (
            Message(json!({"op": "unsubscribe", "id": 1})),
            "bad_request",
            "\"topics\"",
        ),
        (
            Message(json!({"op": "unsubscribe", "id": 1, "topics": []})),
            "bad_request",
            "empty",
        ),
        (
            Message(json!({"op": "unsubscribe", "id": 1, "topics": ["a.b"]})),
            "not_subscribed",
            "",
        ),
        (
            Message(json!({"op": "unsubscribe", "id": 1, "topics": ["a..b"]})),
            "bad_topic",
            "byte 2",
        ),
        (
            Message(json!({"op": "resync", "id": 1, "topic": "a.b"})),
            "not_subscribed",
            "a.b",
        ),
        (
            Message(json!({"op": "resync", "id": 1, "topic": "a.*"})),
            "bad_topic",
            "wildcard",
        ),
        (
            Message(json!({"op": "resync", "id": 1})),
            "bad_request",
            "\"topic\"",
        ),
        (
            Message(json!({"op": "auth", "id": 1})),
            "bad_request",
            "\"token\"",
        ),
        (
            Message(json!({"op": "auth", "id": 1, "token": "x"})),
            "unauthenticated",
            "token",
        ),
    ];
    wrong.extend(wrong_publications());
    wrong
}

/// Publications that are wrong in both codecs.
fn wrong_publications() -> Vec<(Input, &'static str, &'static str)> {
    vec![
        (
            Message(json!({"op": "publish", "topic": "trade.A", "data": 1})),
            "forbidden",
            "trade.A",
        ),
        (
            Message(json!({"op": "publish", "id": 1, "topic": "chats.a", "data": 1})),
            "forbidden",
            "chats.a",
        ),
        (
            Message(json!({"op": "publish", "id": 1, "topic": "chat.*", "data": 1})),
            "bad_topic",
            "wildcard",
        ),
        (
            Message(json!({"op": "publish", "id": 1, "topic": "chat..a", "data": 1})),
            "bad_topic",
            "byte 5",
        ),
        (
            Message(json!({"op": "publish", "id": 1, "topic": "chat.a"})),
            "bad_request",
            "\"data\"",
        ),
        (
            Message(json!({"op": "publish", "id": 1, "data": 1})),
            "bad_request",
            "\"topic\"",
        ),
        (Message(nested(65)), "bad_request", "nested deeper than 64"),
    ]
}

/// A publication whose data is `depth` arrays deep.
fn nested(depth: usize) -> Value {
    let data = (1..depth).fold(json!([]), |inner, _| json!([inner]));
    json!({"op": "publish", "id": 1, "topic": "chat.deep", "data": data})
}

/// Subscriptions with one wrong topic.
fn wrong_topics() -> Vec<(Input, &'static str, &'static str)> {
    let long = "x".repeat(256);
    let tokens = ["x"; 17].join(".");
    let mut cases: Vec<_> = [
        ("", "empty"),
        (".a", "byte 0"),
        ("a.", "byte 2"),
        ("a..b", "byte 2"),
        ("a b", "byte 1"),
        ("a.é", "byte 2"),
        ("a\u{0}", "byte 1"),
        ("a/b", "byte 1"),
        ("a*", "byte 1"),
        ("a.>.b", "byte 2"),
        (&long, "256 bytes"),
        (&tokens, "17 tokens"),
    ]
    .into_iter()
    .map(|(topic, words)| (subscribe(&json!([topic]), &json!({})), "bad_topic", words))
    .collect();
    for (topic, kind) in [
        ("trade.A", "event"),
        ("book.A", "book"),
        (">", "event"),
        ("chat.*", "event"),
    ] {
        cases.push((
            subscribe(&json!([topic]), &json!({"mode": "conflate"})),
            "bad_request",
            kind,
        ));
    }
    let since = json!([{"topic": "trade.*", "since": {"epoch": "e", "seq": 1}}]);
    cases.push((subscribe(&since, &json!({})), "bad_request", "\"seqs\""));
    cases
}

#[test]
fn wrong_requests_are_answered_with_their_code_and_the_connection_lives_on() {
    let Some(python) = Tool::Python.find("wrong_requests_are_answered") else {
        return;
    };
    let broker = Broker::start_with(&["--feed", "none", "--anonymous-publish", "chat.>"], &UNHURRIED);
    for codec in Codec::ALL {
        let mut client = Client::python(&python, &broker, codec);
        check(&mut client, wrong_messages());
        check(&mut client, wrong_topics());
        client.close(1000);
    }
    broker.stop();
}

#[test]
fn text_that_is_no_request_is_answered() {
    let Some(python) = Tool::Python.find("text_that_is_no_request_is_answered") else {
        return;
    };
    let broker = Broker::start_with(&["--feed", "none", "--anonymous-publish", "chat.>"], &UNHURRIED);
    let mut client = Client::python(&python, &broker, Codec::Json);
    let arrays = "[".repeat(30_000) + &"]".repeat(30_000);
    let deep = format!(r#"{{"op":"publish","id":1,"topic":"chat.a","data":{arrays}}}"#);
    let mut cases: Vec<_> = [
        ("", ""),
        (" ", ""),
        ("ping", ""),
        ("{", ""),
        (r#"{"op":"ping","id":1}}"#, ""),
        (r#"{"op":"ping","id":1} {"op":"ping","id":2}"#, ""),
        (r#"{"op":"ping","id":1,}"#, ""),
        (r#"{'op':'ping','id':1}"#, ""),
        (r#"{"op":"ping","id":01}"#, ""),
        (r#"{"op":"ping","id":1e400}"#, ""),
        (r#"{"op":"ping","id":18446744073709551616}"#, "id: "),
        (r#"{"op":"ping","op":"ping","id":1}"#, "twice"),
        (r#"{"op":"ping","id":1,"x":NaN}"#, ""),
        (r#"{"op":"subscribe","id":1,"topics":["\ud800"]}"#, ""),
        (r#"{"op":"publish","id":1,"topic":"chat.a","data":"\ud800"}"#, ""),
        (r#"{"op":"publish","id":1,"topic":"chat.a","data":1e400}"#, ""),
        ("\u{feff}{\"op\":\"ping\",\"id\":1}", ""),
        (&deep, "nested deeper than 64"),
    ]
    .into_iter()
    .map(|(text, words)| (Text(text.to_owned()), "bad_request", words))
    .collect();
    // A binary message on a JSON connection.
    cases.push((Bytes("81a26f70a470696e67".to_owned()), "bad_request", "text"));
    check(&mut client, cases);
    client.close(1000);
    broker.stop();
}

#[test]
fn bytes_that_are_no_request_are_answered() {
    let Some(python) = Tool::Python.find("bytes_that_are_no_request_are_answered") else {
        return;
    };
    let broker = Broker::start_with(&["--feed", "none", "--anonymous-publish", "chat.>"], &UNHURRIED);
    let mut client = Client::python(&python, &broker, Codec::Msgpack);
    let ping = "82a26f70a470696e67a2696401";
    let mut cases: Vec<_> = [
        // No bytes; a byte that is never used; an array; a number.
        "".to_owned(),
        "c1".to_owned(),
        "90".to_owned(),
        "01".to_owned(),
        // A map and an array that declare four billion members.
        "dfffffffff".to_owned(),
        "83a26f70a470696e67a2696401a178ddffffffff".to_owned(),
        // A string that declares four gigabytes; messages that end too early.
        "81a26f70dbffffffff".to_owned(),
        "82a26f70a470696e67a26964".to_owned(),
        "81a26f70a470696e".to_owned(),
        // Two messages in one; a key that is not UTF-8; a key that is a number; bytes in place of a string.
        format!("{ping}{ping}"),
        "83a26f70a470696e67a2696401a1ff01".to_owned(),
        "83a26f70a470696e67a26964010101".to_owned(),
        "82a26f70c40470696e67a2696401".to_owned(),
        // Sixty thousand arrays, one in the other.
        format!("83a26f70a470696e67a2696401a178{}", "91".repeat(60_000)),
    ]
    .into_iter()
    .map(|hex| (Bytes(hex), "bad_request", ""))
    .collect();
    // A text message on a MessagePack connection.
    cases.push((
        Text(r#"{"op":"ping","id":1}"#.to_owned()),
        "bad_request",
        "binary",
    ));
    check(&mut client, cases);
    // Valid but unusual: the longest forms of the map and of the number.
    client.tell(&json!({"hex": "df00000002a26f70a470696e67a26964cf0000000000000009"}));
    assert_eq!(client.next()["id"], 9);
    client.close(1000);
    broker.stop();
}

#[test]
fn what_is_right_in_a_request_is_done_and_what_is_unknown_passed_over() {
    let Some(python) = Tool::Python.find("what_is_right_in_a_request_is_done") else {
        return;
    };
    let broker = Broker::start_with(&["--feed", "none", "--anonymous-publish", "chat.>"], &UNHURRIED);
    for codec in Codec::ALL {
        let mut client = Client::python(&python, &broker, codec);
        let answer = client.ask(&json!({"op": "ping", "id": 3, "pong": {"a": [1, null]}, "topics": null}));
        assert_eq!((&answer["op"], &answer["id"]), (&json!("pong"), &json!(3)));
        assert!(answer["ts"].is_u64());
        // One bad topic does not fail the others. The results are in the request's order.
        let results = client.subscribe(4, &json!(["chat.a", "bad..topic", "chat.b"]));
        let topics: Vec<_> = results.iter().map(|result| &result["topic"]).collect();
        assert_eq!(topics, ["chat.a", "bad..topic", "chat.b"]);
        assert_eq!(results[1]["error"]["code"], "bad_topic");
        assert_eq!(results[1]["error"]["reason"], "empty token at byte 4");
        for result in [&results[0], &results[2]] {
            assert!(
                result.get("error").is_none() && result["mode"] == "every",
                "{result}"
            );
        }
        // The deepest data that is accepted; one level more is refused.
        let answer = client.ask(&nested(64));
        assert_eq!(answer["op"], "ack", "{answer}");
        let answer = client.ask(&json!({"op": "unsubscribe", "id": 5, "topics": ["chat.b", "chat.c"]}));
        assert!(answer["results"][0].get("error").is_none(), "{answer}");
        assert_eq!(answer["results"][1]["error"]["code"], "not_subscribed");
        client.close(1000);
    }
    broker.stop();
}

#[test]
fn a_connection_has_at_most_so_many_subscriptions() {
    let Some(python) = Tool::Python.find("a_connection_has_at_most_so_many_subscriptions") else {
        return;
    };
    let broker = Broker::start_with(&["--feed", "none"], &[("TICKWIRE_LIMITS__SUBSCRIPTIONS", "3")]);
    let mut client = Client::python(&python, &broker, Codec::Json);
    assert_eq!(client.welcome["limits"]["subscriptions"], 3);
    let answer = client.ask(&json!({"op": "subscribe", "id": 1, "topics": ["a", "b", "c", "d"]}));
    assert_eq!(
        (&answer["op"], &answer["code"]),
        (&json!("error"), &json!("limit_exceeded"))
    );
    assert_eq!(answer["retryable"], true);
    client.subscribe(2, &json!(["a", "b.>"]));
    let results = client.subscribe(3, &json!(["c", "d.*", "a"]));
    assert!(results[0].get("error").is_none(), "{results:?}");
    assert_eq!(results[1]["error"]["code"], "limit_exceeded");
    assert!(
        results[2].get("error").is_none(),
        "one that it has already takes no more room"
    );
    // An ended subscription makes room.
    client.ask(&json!({"op": "unsubscribe", "id": 4, "topics": ["b.>"]}));
    let results = client.subscribe(5, &json!(["d.*"]));
    assert!(results[0].get("error").is_none(), "{results:?}");
    client.close(1000);
    broker.stop();
}

#[test]
fn a_message_may_have_65536_bytes_and_not_one_more() {
    let Some(python) = Tool::Python.find("a_message_may_have_65536_bytes_and_not_one_more") else {
        return;
    };
    let broker = Broker::start(&["--feed", "none"]);
    for codec in Codec::ALL {
        let mut client = Client::python(&python, &broker, codec);
        assert_eq!(client.welcome["limits"]["message_bytes"], 65_536);
        let ping = json!({"op": "ping", "id": 1});
        client.tell(&json!({"pad": ping, "bytes": 65_536}));
        assert_eq!(client.next()["op"], "pong");
        client.tell(&json!({"pad": ping, "bytes": 65_537}));
        let (code, reason) = client.closed();
        assert_eq!(code, 1009, "{reason}");
    }
    broker.stop();
}

#[test]
fn requests_beyond_the_rate_are_refused_until_the_client_waits() {
    let Some(python) = Tool::Python.find("requests_beyond_the_rate_are_refused") else {
        return;
    };
    let broker = Broker::start_with(
        &["--feed", "none"],
        &[
            ("TICKWIRE_LIMITS__OPS_PER_S", "10"),
            ("TICKWIRE_LIMITS__OPS_BURST", "20"),
        ],
    );
    let mut client = Client::python(&python, &broker, Codec::Json);
    assert_eq!(client.welcome["limits"]["ops_per_s"], 10);
    for id in 0..200 {
        client.send(&json!({"op": "ping", "id": id}));
    }
    // The answers are in the order of the requests: first those of the burst, then refusals among the others.
    let answers: Vec<Value> = (0..200).map(|_| client.next()).collect();
    for (id, answer) in answers.iter().enumerate() {
        assert_eq!(answer["id"], id, "{answer}");
        if id < 20 {
            assert_eq!(answer["op"], "pong", "{answer}");
        }
    }
    let refused: Vec<_> = answers.iter().filter(|answer| answer["op"] == "error").collect();
    for answer in &refused {
        assert_eq!(
            (&answer["code"], &answer["retryable"]),
            (&json!("rate_limited"), &json!(true))
        );
    }
    assert!(!refused.is_empty(), "200 requests at 10 a second");
    // The connection stays open, and gets answers again when the client slows down.
    let ping = json!({"op": "ping", "id": 1_000});
    poll("an answer after the refusals", || {
        (client.ask(&ping)["op"] == "pong").then_some(())
    });
    client.close(1000);
    broker.stop();
}

#[test]
fn a_flood_of_requests_is_closed_as_abuse() {
    let Some(python) = Tool::Python.find("a_flood_of_requests_is_closed_as_abuse") else {
        return;
    };
    let broker = Broker::start_with(
        &["--feed", "none"],
        &[
            ("TICKWIRE_LIMITS__OPS_PER_S", "1"),
            ("TICKWIRE_LIMITS__OPS_BURST", "1"),
        ],
    );
    let mut client = Client::python(&python, &broker, Codec::Json);
    for id in 0..2_000 {
        client.send(&json!({"op": "ping", "id": id}));
    }
    let (code, reason) = client.closed();
    assert_eq!(code, 1008, "{reason}");
    assert!(reason.contains("rate_limited"), "{reason}");
    broker.stop();
}

/// The requests of a client that does not wait for answers, the first one as large as allowed, and its close frame.
fn large_and_more() -> Vec<u8> {
    let topics: Vec<String> = (0..1_024).map(|number| format!("chat.{number}")).collect();
    let requests = [
        json!({"op": "subscribe", "id": 1, "topics": topics}),
        json!({"op": "ping", "id": 2}),
        json!({"op": "unsubscribe", "id": 3, "topics": topics}),
        json!({"op": "subscribe", "id": 4, "topics": topics}),
        json!({"op": "ping", "id": 5}),
    ];
    // More requests, which are not large but many.
    let more = topics.chunks(100).zip(6..);
    let more = more.map(|(part, id)| json!({"op": "subscribe", "id": id, "topics": part}));
    let frames = requests.into_iter().chain(more);
    let frames = frames.map(|request| Frame::text(&request.to_string()).bytes());
    let mut bytes: Vec<u8> = frames.flatten().collect();
    bytes.extend(Frame::new(Opcode::Close, b"\x03\xe8").bytes());
    bytes
}

/// A large request is done in pieces. Its sender still gets all answers in order.
#[test]
fn what_comes_behind_a_large_request_is_answered_behind_it() {
    let broker = Broker::start_with(&["--feed", "none"], &[("TICKWIRE_SHARDS", "1")]);
    let mut waiting: Vec<Socket> = (0..8)
        .map(|number| {
            // Half of the clients do not even wait for the answer to their handshake.
            let mut socket = Socket::connect(&broker);
            if number % 2 == 0 {
                socket.shake_hands();
                socket.send_bytes(&large_and_more());
            } else {
                let head = format!("{GET}\r\nHost: a\r\n{}\r\n\r\n", GOOD.join("\r\n"));
                socket.send_bytes(&[head.as_bytes(), &large_and_more()].concat());
                assert_eq!(socket.read_answer().status, 101);
                assert_eq!(socket.message()["op"], "welcome");
            }
            socket
        })
        .collect();
    for socket in &mut waiting {
        for (id, op) in [(1, "ack"), (2, "pong"), (3, "ack"), (4, "ack"), (5, "pong")] {
            let answer = socket.message();
            assert_eq!((&answer["id"], &answer["op"]), (&json!(id), &json!(op)));
            if op == "ack" {
                let results = answer["results"].as_array().expect("an ack has results");
                assert_eq!(results.len(), 1_024);
                for (result, number) in results.iter().zip(0..) {
                    assert_eq!(result["topic"], format!("chat.{number}"));
                    assert!(result["error"].is_null(), "{result}");
                }
            }
        }
        for id in 6..17 {
            let ack = socket.message();
            assert_eq!((&ack["id"], &ack["op"]), (&json!(id), &json!("ack")));
        }
        assert_eq!(socket.close_frame().0, 1000);
        socket.ended();
    }
    // Some clients leave before their requests are done.
    for _ in 0..8 {
        let mut socket = Socket::open(&broker);
        socket.send_bytes(&large_and_more());
    }
    for series in [
        r#"tickwire_connections{transport="websocket"}"#,
        r#"tickwire_subscriptions{shard="0"}"#,
    ] {
        broker.wait_for_metric(series, |count| count == 0.0);
    }
    broker.stop();
}

/// A feed that waits for the first subscription waits until the whole request is done.
#[test]
fn a_feed_that_waits_does_not_begin_in_the_middle_of_a_request() {
    let broker = Broker::start(&["--start", "on-subscribe", "--rate", "100000"]);
    let mut topics: Vec<String> = (0..1_000).map(|number| format!("chat.{number}")).collect();
    topics.extend(["bbo", "trade", "book"].map(|channel| format!("{channel}.BTC-USD")));
    let mut socket = Socket::open(&broker);
    let subscribe = json!({"op": "subscribe", "id": 1, "topics": topics}).to_string();
    socket.send(Frame::text(&subscribe));
    let ack = socket.message();
    let results = ack["results"].as_array().expect("an ack has results");
    assert_eq!(results.len(), topics.len());
    for result in results {
        assert_eq!(result["seq"], 0, "{result}");
    }
    let update = socket.message();
    assert_eq!(
        (&update["op"], &update["seq"]),
        (&json!("update"), &json!(1)),
        "{update}"
    );
    drop(socket);
    broker.stop();
}
