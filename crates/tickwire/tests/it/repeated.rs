//! Publications with a key: repeated in any way, each is published once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::program::run;
use crate::support::{Answer, Broker, Frame, Socket, get, post};

const OPEN: [&str; 4] = ["--feed", "none", "--anonymous-publish", ">"];

/// Publishes over HTTP with a key.
fn post_once(broker: &Broker, topic: &str, key: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(broker.listen).expect("the broker listens");
    let length = body.len();
    let request = format!(
        "POST /v1/topics/{topic} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIdempotency-Key: {key}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it is answered");
    Answer::of(&text)
}

/// Publishes over a WebSocket with a key. Returns the result.
fn publish_once(socket: &mut Socket, topic: &str, key: &str, data: &Value) -> Value {
    let publish = json!({"op": "publish", "id": 1, "topic": topic, "data": data, "key": key});
    socket.send(Frame::text(&publish.to_string()));
    let ack = socket.message();
    assert_eq!(ack["op"], "ack", "{ack}");
    ack["results"][0].clone()
}

fn messages(broker: &Broker, topic: &str) -> Vec<Value> {
    let history = get(broker.listen, &format!("/v1/topics/{topic}/history"));
    let history: Value = serde_json::from_str(&history.body).expect("JSON");
    let messages = history["messages"].as_array().expect("messages");
    messages.iter().map(|message| message["data"].clone()).collect()
}

#[test]
fn what_has_a_key_is_published_once_in_every_way() {
    let broker = Broker::start(&OPEN);
    let mut socket = Socket::open(&broker);
    let first = publish_once(&mut socket, "a", "k1", &json!(1));
    assert_eq!((&first["seq"], &first["duplicate"]), (&json!(1), &Value::Null));
    // Another client, other data, another way: the first one's answer.
    let mut other = Socket::open(&broker);
    let again = publish_once(&mut other, "a", "k1", &json!(2));
    let mut expected = first.clone();
    expected["duplicate"] = json!(true);
    assert_eq!(again, expected);
    let answer = post_once(&broker, "a", "\"k1\"", "3");
    assert_eq!(
        serde_json::from_str::<Value>(&answer.body).expect("JSON"),
        expected
    );
    let answer = post_once(&broker, "a", "k2", "4");
    assert!(
        answer.status == 200 && !answer.body.contains("duplicate"),
        "{}",
        answer.body
    );
    let body = [
        r#"{"topic":"a","data":5,"key":"k2"}"#,
        r#"{"topic":"a","data":6,"key":"k3"}"#,
        r#"{"topic":"a","data":7}"#,
        r#"{"topic":"b","data":8,"key":"k1"}"#,
        r#"{"topic":"a","data":9,"key":"k3"}"#,
    ]
    .join("\n");
    let answer = post(broker.listen, "/v1/publish", &body);
    assert_eq!(answer.body, r#"{"published":3,"duplicates":2}"#);
    assert_eq!(messages(&broker, "a"), [1, 4, 6, 7]);
    assert_eq!(messages(&broker, "b"), [8]);
    // A refusal leaves no key behind.
    let refused = json!({"op": "publish", "id": 2, "topic": "book.a", "data": 1, "key": "k1"});
    socket.send(Frame::text(&refused.to_string()));
    assert_eq!(socket.message()["op"], "error");
    let book = json!({"symbol": "a", "bids": [["1", "1"]], "time": 1});
    let published = publish_once(&mut socket, "book.a", "k1", &book);
    assert_eq!(
        (&published["seq"], &published["duplicate"]),
        (&json!(1), &Value::Null)
    );
    for (series, value) in [
        ("tickwire_duplicate_publications_total", 4.0),
        ("tickwire_publish_keys", 5.0),
        ("tickwire_publish_keys_dropped_total", 0.0),
        ("tickwire_publications_total{kind=\"event\"}", 5.0),
    ] {
        broker.wait_for_metric(series, |got| got == value);
    }
    broker.stop();
}

#[test]
fn keys_that_are_none_are_refused() {
    let broker = Broker::start(&OPEN);
    let mut socket = Socket::open(&broker);
    for key in [json!(""), json!("k".repeat(65)), json!(5)] {
        let publish = json!({"op": "publish", "id": 1, "topic": "a", "data": 1, "key": key});
        socket.send(Frame::text(&publish.to_string()));
        let answer = socket.message();
        assert_eq!(
            (&answer["op"], &answer["code"]),
            (&json!("error"), &json!("bad_request")),
            "{answer}"
        );
    }
    assert_eq!(post_once(&broker, "a", "", "1").status, 400);
    assert_eq!(
        get(broker.listen, "/v1/topics/a").status,
        404,
        "nothing was published"
    );
    broker.stop();
}

#[test]
fn a_key_is_forgotten_after_its_time() {
    let broker = Broker::start_with(&OPEN, &[("TICKWIRE_PUBLISH__DEDUPE_MS", "1")]);
    let mut socket = Socket::open(&broker);
    publish_once(&mut socket, "a", "k", &json!(1));
    broker.wait_for_metric("tickwire_publish_keys", |keys| keys == 0.0);
    let again = publish_once(&mut socket, "a", "k", &json!(2));
    assert_eq!((&again["seq"], &again["duplicate"]), (&json!(2), &Value::Null));
    broker.stop();
}

#[test]
fn lines_with_keys_can_be_published_again() {
    let broker = Broker::start(&OPEN);
    let (url, lines) = (broker.url(), "1\n2\n3\n");
    let publish = |lines: &str| {
        let args = ["pub", "--url", &url, "--publish-key", "today", "a"];
        let outcome = run(&args, lines);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stderr.trim().to_owned()
    };
    assert_eq!(publish("1\n2\n"), "tickwire: a: 2 published, 0 failed");
    assert_eq!(
        publish(lines),
        "tickwire: a: 1 published, 2 published before, 0 failed"
    );
    assert_eq!(messages(&broker, "a"), [1, 2, 3]);
    broker.stop();
}
