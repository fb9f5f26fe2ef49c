//! `POST /v1/publish`: publishes all lines or none.

use serde_json::json;

use crate::support::{Answer, Http, TestBroker, number, text};

/// The longest body.
const BODY_BYTES_MAX: usize = 16_777_216;

fn bulk(broker: &TestBroker, body: &str) -> Answer {
    broker.connect().send("POST", "/v1/publish", &[], body)
}

/// A line with the message `data` for `topic`.
fn line(topic: &str, data: &str) -> String {
    format!("{{\"topic\":\"{topic}\",\"data\":{data}}}\n")
}

/// The topics and their newest numbers.
fn published(broker: &TestBroker) -> Vec<(String, u64)> {
    let listing = broker.get("/v1/topics").json();
    let topics = listing["topics"].as_array().expect("a list").iter();
    topics
        .map(|topic| (text(&topic["topic"]).to_owned(), number(&topic["seq"])))
        .collect()
}

#[test]
fn lines_are_published_in_their_order() {
    let broker = TestBroker::start();
    let body = [
        line("a", "1"),
        "\r\n".to_owned(),
        line("b", "{\"x\":1}"),
        line("a", "2"),
        line("a", "3"),
    ]
    .concat();
    assert_eq!(bulk(&broker, &body).json(), json!({"published": 4}));
    let history = broker.get("/v1/topics/a/history").json();
    let data: Vec<_> = history["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["data"].clone())
        .collect();
    assert_eq!(data, [1, 2, 3]);
    assert_eq!(broker.get("/v1/topics/b").json()["data"], json!({"x": 1}));
    assert_eq!(bulk(&broker, "").json(), json!({"published": 0}));
    broker.wait_for_metric("tickwire_publications_total{kind=\"event\"}", 4.0);
    broker.wait_for_metric("tickwire_published_bytes_total", 10.0);
}

#[test]
fn one_bad_line_and_nothing_is_published() {
    let broker = TestBroker::publishing("a,b,book.*", "[limits]\nmessage_bytes = 200\n", &[]);
    let good = line("a", "1");
    for (bad, reason) in [
        (
            "nonsense".to_owned(),
            "400 bad_request: line 2: is no JSON object {\"topic\",\"data\"}; nothing was published",
        ),
        (
            line("a..b", "1"),
            "400 bad_topic: line 2: empty token at byte 2; nothing was published",
        ),
        (
            line("c", "1"),
            "400 forbidden: line 2: this connection may not publish to c; nothing was published",
        ),
        (
            line("a", &"1".repeat(200)),
            "400 too_large: line 2: has 221 bytes; at most 200 are allowed; nothing was published",
        ),
        (
            line(
                "book.X",
                "{\"symbol\":\"X\",\"bids\":[[\"-1\",\"1\"]],\"time\":0}",
            ),
            "400 bad_request: line 2: book level [-1,1] is negative; nothing was published",
        ),
    ] {
        // Whatever follows, the answer names the first bad line.
        let body = [
            good.clone(),
            bad.trim_end().to_owned() + "\n",
            good.clone(),
            "also nonsense".to_owned(),
        ]
        .concat();
        assert_eq!(bulk(&broker, &body).refusal(), reason);
        assert_eq!(published(&broker), [], "{reason}");
    }
    let not_a_book = bulk(&broker, &(good + &line("book.X", "7")));
    assert!(
        not_a_book
            .refusal()
            .starts_with("400 bad_request: line 2: not a book message"),
        "{}",
        not_a_book.text()
    );
    assert_eq!(published(&broker), []);
}

#[test]
fn a_change_that_only_the_book_s_state_refuses_refuses_all() {
    let broker = TestBroker::with("[limits]\nmessage_bytes = 1048576\noutbox_bytes = 4194304\n", &[]);
    let levels = |from: usize, count: usize| {
        let levels: Vec<String> = (from..from + count)
            .map(|price| format!("[\"{price}\",\"1\"]"))
            .collect();
        format!("{{\"symbol\":\"X\",\"bids\":[{}],\"time\":0}}", levels.join(","))
    };
    // A side holds 16,384 levels: these fill all but one of them.
    broker.publish("book.X", &levels(1, 16_383));
    let body = [
        line("trade.X", "1"),
        line("book.Y", &levels(1, 1).replace("\"X\"", "\"Y\"")),
        line("book.X", &levels(20_000, 1)),
        line("book.X", &levels(20_001, 1)),
        line("book.X", &levels(20_002, 1)),
    ]
    .concat();
    let refused = bulk(&broker, &body).refusal();
    assert_eq!(
        refused,
        "400 limit_exceeded: line 4: a book holds at most 16384 levels a side; nothing was published"
    );
    assert_eq!(published(&broker), [("book.X".to_owned(), 1)]);
    // With room that an earlier line made, the same changes fit.
    let removal = "{\"symbol\":\"X\",\"bids\":[[\"1\",\"0\"],[\"2\",\"0\"]],\"time\":0}";
    let body = line("book.X", removal) + &body;
    assert_eq!(bulk(&broker, &body).json(), json!({"published": 6}));
}

#[test]
fn too_many_new_topics_refuse_all() {
    let broker = TestBroker::with("[limits]\ntopics = 3\n", &[]);
    broker.publish("a", "1");
    let body = ["b", "a", "c", "b", "d", "e"]
        .map(|topic| line(topic, "1"))
        .concat();
    assert_eq!(
        bulk(&broker, &body).refusal(),
        "400 limit_exceeded: line 5: the broker holds its most topics (3); publish to an existing one or raise \
         limits.topics; nothing was published"
    );
    assert_eq!(published(&broker), [("a".to_owned(), 1)]);
    // The refused lines have not used up the room.
    let body = ["b", "c", "a"].map(|topic| line(topic, "1")).concat();
    assert_eq!(bulk(&broker, &body).json(), json!({"published": 3}));
}

#[test]
fn those_who_may_publish_nothing_are_refused_at_once() {
    let broker = TestBroker::publishing("", "", &[]);
    let mut client = broker.connect();
    // The body is announced and never sent.
    client.write(b"POST /v1/publish HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n");
    assert_eq!(
        client.answer(false).refusal(),
        "403 forbidden: this client may not publish to any topic"
    );
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    client.write(b"POST /v1/publish HTTP/1.1\r\nHost: test\r\nContent-Length: 16777217\r\n\r\n");
    let answer = client.answer(false);
    assert_eq!(
        answer.refusal(),
        "413 too_large: the body is longer than 16777216 bytes"
    );
}

/// A client that has begun a body of this length.
fn begun(broker: &TestBroker, length: usize) -> Http {
    let mut client = broker.connect();
    let head = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    );
    client.write(head.as_bytes());
    assert_eq!(client.head().0, 100);
    client
}

#[test]
fn bodies_that_come_slowly_keep_nobody_from_publishing() {
    let broker = TestBroker::with("", &[("SHARDS", "1")]);
    let mut slow: Vec<Http> = (0..50).map(|_| begun(&broker, BODY_BYTES_MAX)).collect();
    for client in &mut slow {
        client.write(b"\n");
    }
    for n in 1..=20 {
        let answer = bulk(&broker, &line("a", &n.to_string()));
        assert_eq!(answer.json(), json!({"published": 1}));
    }
}

#[test]
fn only_so_many_bytes_of_bodies_are_held_at_a_time() {
    let broker = TestBroker::with("", &[("SHARDS", "1"), ("LIMITS__HANDSHAKE_MS", "60000")]);
    let all_but_one = vec![b'\n'; BODY_BYTES_MAX - 1];
    let mut waiting: Vec<Http> = (0..4).map(|_| begun(&broker, BODY_BYTES_MAX)).collect();
    for client in &mut waiting {
        client.write(&all_but_one);
    }
    // All of it must have arrived before another client asks for room; otherwise one of them would be refused in its
    // place.
    let held = 4.0 * all_but_one.len() as f64;
    broker.wait_for_metric("tickwire_bulk_body_bytes", held);
    let refused = bulk(&broker, &line("a", "1"));
    assert_eq!(
        refused.refusal(),
        "503 limit_exceeded: too many bulk publications are under way; try again"
    );
    assert_eq!(refused.header("retry-after"), "1");
    // A body that is answered makes room, and so does one whose client goes away.
    let mut last = waiting.pop().expect("four wait");
    last.write(b"\n");
    assert_eq!(last.answer(false).json(), json!({"published": 0}));
    assert_eq!(bulk(&broker, &line("a", "1")).json(), json!({"published": 1}));
    let mut next = begun(&broker, BODY_BYTES_MAX);
    next.write(&all_but_one);
    broker.wait_for_metric("tickwire_bulk_body_bytes", held);
    assert_eq!(bulk(&broker, &line("a", "1")).status, 503);
    // Clients that are gone hold nothing.
    drop(waiting);
    broker.wait_for_metric("tickwire_bulk_body_bytes", all_but_one.len() as f64);
    assert_eq!(bulk(&broker, &line("a", "2")).status, 200);
}

#[test]
fn a_large_body_is_published_whole() {
    let broker = TestBroker::start();
    let body: String = (0..150_000).map(|n| line("trade.X", &n.to_string())).collect();
    assert_eq!(bulk(&broker, &body).json(), json!({"published": 150_000}));
    assert_eq!(published(&broker), [("trade.X".to_owned(), 150_000)]);
}
