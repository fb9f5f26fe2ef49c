//! Reading and publishing over HTTP.

use serde_json::json;

use crate::support::{TestBroker, list, number, request, text};

#[test]
fn a_topic_s_value() {
    let broker = TestBroker::start();
    broker.publish("ticker.X", "{\"last\": \"1\"}");
    broker.publish("ticker.X", "{\"last\": \"2\"}");
    let answer = broker.get("/v1/topics/ticker.X");
    assert_eq!(answer.status, 200);
    let value = answer.json();
    assert_eq!(
        (&value["op"], &value["topic"], &value["seq"], &value["data"]),
        (
            &json!("snapshot"),
            &json!("ticker.X"),
            &json!(2),
            &json!({"last": "2"})
        )
    );
    assert!(value["ts"].as_u64() > Some(1_500_000_000_000_000));
    let epoch = text(&value["epoch"]);
    assert_eq!(answer.header("etag"), format!("\"{epoch}:2\""));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    // The path is the same in another spelling.
    assert_eq!(broker.get("/v1/topics/ticker%2EX").body, answer.body);
}

#[test]
fn a_value_that_the_client_has_is_not_sent_again() {
    let broker = TestBroker::start();
    broker.publish("ticker.X", "1");
    let mut client = broker.connect();
    let etag = client
        .send("GET", "/v1/topics/ticker.X", &[], "")
        .header("etag")
        .to_owned();
    let none_match = format!("If-None-Match: {etag}");
    let same = client.send("GET", "/v1/topics/ticker.X", &[&none_match], "");
    assert_eq!(
        (same.status, same.header("etag"), same.body.len()),
        (304, etag.as_str(), 0)
    );
    broker.publish("ticker.X", "2");
    let newer = client.send("GET", "/v1/topics/ticker.X", &[&none_match], "");
    assert_eq!((newer.status, &newer.json()["data"]), (200, &json!(2)));
}

#[test]
fn a_head_is_the_answer_without_its_body() {
    let broker = TestBroker::start();
    broker.publish("ticker.X", "1");
    let mut client = broker.connect();
    for target in [
        "/v1/topics/ticker.X",
        "/v1/topics/ticker.X/history",
        "/v1/topics",
        "/v1/topics/none",
    ] {
        let mut get = client.send("GET", target, &[], "");
        let mut head = client.send("HEAD", target, &[], "");
        for answer in [&mut get, &mut head] {
            answer.headers.remove("date").unwrap();
        }
        assert_eq!(
            (head.status, &head.headers),
            (get.status, &get.headers),
            "{target}"
        );
    }
}

#[test]
fn a_book_s_value_is_the_whole_book() {
    let broker = TestBroker::start();
    for change in [
        r#"{"symbol":"X","bids":[["99","2"]],"asks":[["101","1"],["102","5"]],"time":1}"#,
        r#"{"symbol":"X","bids":[["98","4"]],"asks":[["101","0"]],"time":2}"#,
    ] {
        broker.publish("book.X", change);
    }
    let value = broker.get("/v1/topics/book.X").json();
    assert_eq!(value["seq"], 2);
    assert_eq!(value["data"]["bids"], json!([["99", "2"], ["98", "4"]]));
    assert_eq!(value["data"]["asks"], json!([["102", "5"]]));
    let history = broker.get("/v1/topics/book.X/history").json();
    assert_eq!(history["messages"][1]["data"]["asks"], json!([["101", "0"]]));
}

#[test]
fn refused_reads() {
    let broker = TestBroker::start();
    broker.publish("trade.X", "1");
    for (target, refusal) in [
        (
            "/v1/topics/trade.Y",
            "404 bad_topic: no such topic: nothing was published to trade.Y yet, or it has ended",
        ),
        (
            "/v1/topics/trade.Y/history",
            "404 bad_topic: no such topic: nothing was published to trade.Y yet, or it has ended",
        ),
        ("/v1/topics/", "400 bad_topic: topic is empty"),
        ("/v1/topics/a..b", "400 bad_topic: empty token at byte 2"),
        (
            "/v1/topics/trade.*",
            "400 bad_topic: wildcard at byte 6: a single topic is needed here",
        ),
        (
            "/v1/topics/a%zz",
            "400 bad_topic: the topic cannot be decoded: '%' at byte 1 is not followed by two hexadecimal digits",
        ),
        (
            "/v1/topics/trade.X/history?since=x",
            "400 bad_request: since=\"x\" in the query must be the number of a message, a whole number",
        ),
        (
            "/v1/topics/trade.X/history?since=-1",
            "400 bad_request: since=\"-1\" in the query must be the number of a message, a whole number",
        ),
        (
            "/v1/topics/trade.X/history?limit=0",
            "400 bad_request: limit=\"0\" in the query must be a whole number, at least 1",
        ),
        (
            "/v1/topics/trade.X/history?limit=1&limit=2",
            "400 bad_request: the query has \"limit\" more than once",
        ),
        (
            "/v1/topics?limit=10001",
            "400 bad_request: limit=10001 in the query must be a whole number from 1 to 10000",
        ),
        ("/v1/topics?match=a..b", "400 bad_topic: empty token at byte 2"),
        (
            "/v1/topics?after=%3E",
            "400 bad_topic: wildcard at byte 0: a single topic is needed here",
        ),
        (
            "/v1/topics?match=%",
            "400 bad_request: \"%\" in the query cannot be decoded: '%' at byte 0 is not followed by two hexadecimal digits",
        ),
        (
            "/v2",
            "404 bad_request: there is nothing at /v2; there are /v1/ws, /v1/sse, /v1/topics, /v1/topics/{topic}, /v1/topics/{topic}/history and /v1/publish",
        ),
    ] {
        let answer = broker.get(target);
        assert_eq!(answer.refusal(), refusal, "{target}");
        // A page of another site may read the reason.
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{target}");
    }
}

#[test]
fn every_endpoint_names_its_methods() {
    let broker = TestBroker::start();
    for (method, target, allow) in [
        ("DELETE", "/v1/topics", "GET, HEAD, OPTIONS"),
        ("DELETE", "/v1/topics/a/history", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/topics/a", "GET, HEAD, POST, DELETE, OPTIONS"),
        ("POST", "/v1/topics", "GET, HEAD, OPTIONS"),
        ("POST", "/v1/topics/a/history", "GET, HEAD, OPTIONS"),
        ("GET", "/v1/publish", "POST, OPTIONS"),
        ("HEAD", "/v1/publish", "POST, OPTIONS"),
        ("POST", "/v1/sse?topic=a", "GET, OPTIONS"),
        ("HEAD", "/v1/sse?topic=a", "GET, OPTIONS"),
    ] {
        let answer = broker.connect().send(method, target, &[], "");
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, allow),
            "{method} {target}"
        );
    }
}

#[test]
fn a_refused_connect_named_nothing_that_was_asked_for() {
    let broker = TestBroker::start();
    for (method, target, refusal) in [
        (
            "CONNECT",
            "example.com:443",
            "404 bad_request: example.com:443 is no path, and the broker is no proxy; there are /v1/ws, /v1/sse, /v1/topics, /v1/topics/{topic}, /v1/topics/{topic}/history and /v1/publish",
        ),
        (
            "GET",
            "http://example.com",
            "404 bad_request: there is nothing at /; there are /v1/ws, /v1/sse, /v1/topics, /v1/topics/{topic}, /v1/topics/{topic}/history and /v1/publish",
        ),
    ] {
        let answer = broker.connect().send(method, target, &[], "");
        assert_eq!(answer.refusal(), refusal, "{method} {target}");
    }
    let connect = request("CONNECT", "example.com:443", &[], "");
    let mut operator = broker.connect_ops();
    operator.write(&connect);
    assert_eq!(
        operator.answer(false).refusal(),
        "404 bad_request: example.com:443 is no path, and the broker is no proxy; there are /metrics, /livez, /readyz, /debug/sessions, /debug/topics, /debug/cluster, /, /console.js, /console.css, /console/about, /console/health, /console/history, /console/close, /v1/topics, /v1/ws"
    );
}

#[test]
fn the_history_of_a_topic() {
    let broker = TestBroker::with(
        "[[kinds]]\npattern = \"short.*\"\nkind = \"event\"\nhistory = 4\n",
        &[("LIMITS__HISTORY_PAGE", "3")],
    );
    for number in 1..=10 {
        broker.publish("short.X", &number.to_string());
    }
    let page = |query: &str| {
        let page = broker.get(&format!("/v1/topics/short.X/history{query}")).json();
        let messages = list(&page["messages"]);
        for message in messages {
            assert_eq!(
                (&message["op"], &message["seq"]),
                (&json!("update"), &message["data"])
            );
        }
        let seqs: Vec<_> = messages.iter().map(|message| number(&message["seq"])).collect();
        assert_eq!(page["topic"], "short.X");
        (number(&page["oldest"]), number(&page["newest"]), seqs)
    };
    assert_eq!(page(""), (7, 10, vec![7, 8, 9]));
    assert_eq!(page("?since=9"), (7, 10, vec![10]));
    assert_eq!(page("?since=8&limit=1"), (7, 10, vec![9]));
    assert_eq!(page("?since=3&limit=1024"), (7, 10, vec![7, 8, 9, 10]));
    assert_eq!(page("?since=10"), (7, 10, vec![]));
    assert_eq!(page("?since=18446744073709551614"), (7, 10, vec![]));
}

#[test]
fn a_long_history_comes_in_answers_of_a_bounded_size() {
    let broker = TestBroker::start();
    let long = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..75 {
        broker.publish("trade.X", &long);
    }
    let first = broker.get("/v1/topics/trade.X/history?limit=1024");
    assert!(
        first.body.len() <= 4 * 1024 * 1024 + 1_000,
        "{}",
        first.body.len()
    );
    let seqs = |page: &serde_json::Value| -> Vec<u64> {
        let messages = list(&page["messages"]).iter();
        messages.map(|message| number(&message["seq"])).collect()
    };
    let mut all = seqs(&first.json());
    assert!(all.len() < 75);
    let rest = broker.get(&format!(
        "/v1/topics/trade.X/history?limit=1024&since={}",
        all.len()
    ));
    all.extend(seqs(&rest.json()));
    assert_eq!(all, (1..=75).collect::<Vec<_>>());
}

#[test]
fn the_listing_comes_sorted_and_in_pages() {
    let broker = TestBroker::start();
    // There are more topics than one step of the walk handles, made in another order than that of their names.
    let lines: String = (0..5_000)
        .map(|n| format!("{{\"topic\":\"many.{:04}\",\"data\":{n}}}\n", (n * 7_919) % 5_000))
        .collect();
    let bulk = broker.connect().send("POST", "/v1/publish", &[], &lines);
    assert_eq!(bulk.json(), json!({"published": 5_000}));
    broker.publish("ticker.X", "1");
    broker.publish("ticker.X", "2");
    let ticker = broker.get("/v1/topics?match=ticker.*").json();
    let epoch = ticker["topics"][0]["epoch"].clone();
    let expected = json!({"topic": "ticker.X", "kind": "state", "epoch": epoch, "seq": 2, "subscribers": 0});
    assert_eq!(ticker, json!({"topics": [expected]}));
    assert_eq!(broker.get("/v1/topics?match=ticker.X").json(), ticker);
    assert_eq!(
        broker.get("/v1/topics?match=ticker.X&after=ticker.X").json(),
        json!({"topics": []})
    );
    assert_eq!(
        broker.get("/v1/topics?match=none.%3E").json(),
        json!({"topics": []})
    );

    let (mut names, mut after) = (Vec::new(), String::new());
    let mut client = broker.connect();
    for pages in 1.. {
        let page = client
            .send("GET", &format!("/v1/topics?limit=1500{after}"), &[], "")
            .json();
        let topics = list(&page["topics"]);
        names.extend(topics.iter().map(|topic| text(&topic["topic"]).to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => {
                assert_eq!(pages, 4);
                break;
            }
        }
    }
    let mut expected: Vec<_> = (0..5_000).map(|n| format!("many.{n:04}")).collect();
    expected.push("ticker.X".to_owned());
    assert_eq!(names, expected);
    let default = broker.get("/v1/topics").json();
    assert_eq!(list(&default["topics"]).len(), 1_000);
    assert_eq!(default["next"], "many.0999");
    // A full last page has no next one.
    let last = broker
        .get("/v1/topics?match=many.*&limit=10&after=many.4989")
        .json();
    assert_eq!((list(&last["topics"]).len(), last.get("next")), (10, None));
}

#[test]
fn publishing_gives_the_message_its_number() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    let first = client.send("POST", "/v1/topics/trade.X", &[], " {\"a\": [1, null]}\n");
    assert_eq!(first.status, 200);
    // Pages of other sites get only what anyone may read.
    assert_eq!(first.header("access-control-allow-origin"), "");
    let second = client.send("POST", "/v1/topics/trade%2eX", &[], "\"two\"").json();
    assert_eq!((&second["topic"], &second["seq"]), (&json!("trade.X"), &json!(2)));
    assert_eq!(first.json()["epoch"], second["epoch"]);
    let history = client.send("GET", "/v1/topics/trade.X/history", &[], "").json();
    assert_eq!(history["epoch"], second["epoch"]);
    assert_eq!(history["messages"][0]["data"], json!({"a": [1, null]}));
    // The length of this body is not announced.
    client.write(b"POST /v1/topics/trade.X HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n");
    assert_eq!(client.answer(false).json()["seq"], 3);
    assert_eq!(
        client.send("GET", "/v1/topics/trade.X", &[], "").json()["data"],
        json!([1])
    );
}

#[test]
fn refused_publications() {
    let broker = TestBroker::publishing(
        "trade.*,book.*",
        "[limits]\nmessage_bytes = 200\ntopics = 2\n",
        &[],
    );
    let refusal = |topic: &str, body: &str| {
        let answer = broker
            .connect()
            .send("POST", &format!("/v1/topics/{topic}"), &[], body);
        answer.refusal()
    };
    assert_eq!(
        refusal("chat.X", "1"),
        "403 forbidden: this connection may not publish to chat.X"
    );
    assert_eq!(refusal("a..b", "1"), "400 bad_topic: empty token at byte 2");
    assert_eq!(
        refusal("trade.X", ""),
        "400 bad_request: data is not JSON: the text ends at byte 0, where a value is expected"
    );
    assert_eq!(
        refusal("trade.X", "{} {}"),
        "400 bad_request: data is not JSON: the end of the text is expected at byte 3"
    );
    assert_eq!(
        refusal("trade.X", &"[".repeat(100)),
        "400 bad_request: data is nested deeper than 64"
    );
    assert_eq!(
        refusal("trade.X", &format!("\"{}\"", "x".repeat(199))),
        "413 too_large: the body is longer than 200 bytes"
    );
    assert!(refusal("book.X", "1").starts_with("400 bad_request: not a book message: "));
    assert_eq!(broker.get("/v1/topics").json(), json!({"topics": []}));
    broker.publish("trade.X", &format!("\"{}\"", "x".repeat(198)));
    broker.publish("trade.Y", "1");
    assert_eq!(
        refusal("trade.Z", "1"),
        "503 limit_exceeded: the broker holds its most topics (2); publish to an existing one or raise limits.topics"
    );
    for (code, count) in [
        ("forbidden", 1.0),
        ("bad_topic", 1.0),
        ("bad_request", 4.0),
        ("too_large", 1.0),
    ] {
        broker.wait_for_metric(&format!("tickwire_refusals_total{{code=\"{code}\"}}"), count);
    }
}
