//! Streams of server-sent events: how they begin, what they carry, how they end.

use serde_json::json;

use crate::stream::Stream;
use crate::support::{TestBroker, number, text};

#[test]
fn a_stream_begins_with_welcome_ack_and_values_and_goes_on_with_updates() {
    let broker = TestBroker::start();
    broker.publish("ticker.X", "{\"last\":\n\"1\"}");
    let mut stream = Stream::open(broker.connect(), "topic=ticker.X&topic=trade.X&mode=every", &[]);
    let welcome = stream.expect("welcome");
    assert_eq!(welcome.data["limits"]["subscriptions"], 1_024);
    let ack = stream.expect("ack");
    let epoch = text(&ack.data["results"][0]["epoch"]).to_owned();
    assert_eq!(
        ack.data["results"],
        json!([
            {"topic": "ticker.X", "epoch": epoch, "seq": 1, "mode": "every"},
            {"topic": "trade.X", "epoch": epoch, "seq": 0, "mode": "every"},
        ])
    );
    // A client that is cut off here sends this id back and gets the same value.
    assert_eq!(ack.id, Some(format!("{epoch}:0,0")));
    let snapshot = stream.expect("snapshot");
    assert_eq!(snapshot.data["data"], json!({"last": "1"}));
    assert_eq!(snapshot.id, Some(format!("{epoch}:1,0")));
    assert_eq!(stream.synced, 0);
    for (topic, id) in [("trade.X", "1,1"), ("ticker.X", "2,1"), ("trade.X", "2,2")] {
        broker.publish(topic, "7");
        let update = stream.expect("update");
        assert_eq!(
            (&update.data["topic"], &update.data["data"]),
            (&json!(topic), &json!(7))
        );
        assert_eq!(update.id, Some(format!("{epoch}:{id}")));
    }
    assert_eq!((stream.synced, &*stream.retries), (1, &[2_000][..]));
    broker.wait_for_metric("tickwire_connections{transport=\"sse\"}", 1.0);
    drop(stream);
    broker.wait_for_metric("tickwire_connections{transport=\"sse\"}", 0.0);
    broker.wait_for_metric("tickwire_connections_opened_total{transport=\"sse\"}", 1.0);
    broker.wait_for_metric("tickwire_sse_streams_dropped_total", 0.0);
}

#[test]
fn a_stream_may_be_rated() {
    let broker = TestBroker::start();
    broker.publish("ticker.X", "1");
    let mut stream = Stream::open(
        broker.connect(),
        "topic=ticker.X&topic=trade.X&conflate_ms=1",
        &[],
    );
    stream.expect("welcome");
    let ack = stream.expect("ack");
    let results = &ack.data["results"];
    assert_eq!(results[0]["conflate_ms"], 10, "raised to a class of the broker's");
    assert_eq!(
        results[1]["error"]["code"], "bad_request",
        "its messages all count"
    );
    assert_eq!(stream.expect("snapshot").data["seq"], 1);
    for n in 2..=20 {
        broker.publish("ticker.X", &n.to_string());
    }
    let mut seq = 1;
    while seq < 20 {
        let next = number(&stream.expect("update").data["seq"]);
        assert!(next > seq, "{next} after {seq}");
        seq = next;
    }
}

#[test]
fn a_wildcard_gets_topics_that_come_later_and_no_ids() {
    let broker = TestBroker::start();
    broker.publish("trade.X", "1");
    let mut stream = Stream::open(broker.connect(), "topic=trade.*&topic=ticker.Y", &[]);
    stream.expect("welcome");
    let ack = stream.expect("ack");
    assert_eq!(
        ack.data["results"][0],
        json!({"topic": "trade.*", "matched": 1, "mode": "every"})
    );
    assert_eq!(ack.id, None);
    assert_eq!(stream.expect("snapshot").data["topic"], "trade.X");
    broker.publish("trade.New", "1");
    let joined = stream.expect("joined");
    assert_eq!(
        (&joined.data["topic"], &joined.data["seq"], joined.id),
        (&json!("trade.New"), &json!(0), None)
    );
    assert!(joined.data["epoch"].is_string());
    let update = stream.expect("update");
    assert_eq!(
        (&update.data["topic"], &update.data["seq"]),
        (&json!("trade.New"), &json!(1))
    );
    assert_eq!(update.id, None);
}

#[test]
fn values_that_do_not_fit_in_the_outbox_at_once_come_all_the_same() {
    let broker = TestBroker::start();
    let long = "x".repeat(2_000);
    let lines: String = (0..300)
        .map(|n| format!("{{\"topic\":\"many.{n:03}\",\"data\":\"{long}\"}}\n"))
        .collect();
    broker.connect().send("POST", "/v1/publish", &[], &lines);
    let mut stream = Stream::open(broker.connect(), "topic=many.*", &[]);
    stream.expect_ack();
    let mut topics: Vec<_> = (0..300)
        .map(|_| text(&stream.expect("snapshot").data["topic"]).to_owned())
        .collect();
    topics.sort();
    assert_eq!(
        topics,
        (0..300).map(|n| format!("many.{n:03}")).collect::<Vec<_>>()
    );
}

#[test]
fn values_only() {
    let broker = TestBroker::start();
    broker.publish("trade.X", "1");
    broker.publish("trade.Y", "2");
    let mut stream = Stream::open(broker.connect(), "topic=trade.*&mode=snapshot", &[]);
    assert_eq!(
        stream.expect_ack(),
        [json!({"topic": "trade.*", "matched": 2, "mode": "snapshot"})]
    );
    let snapshots = [stream.expect("snapshot"), stream.expect("snapshot")];
    let mut values = snapshots.map(|snapshot| (number(&snapshot.data["data"]), snapshot.id));
    values.sort();
    assert_eq!(values, [(1, None), (2, None)]);
}

#[test]
fn what_is_refused_of_a_stream_is_told_in_its_ack() {
    let broker = TestBroker::start();
    let mut stream = Stream::open(broker.connect(), "topic=a..b&topic=trade.X&mode=every", &[]);
    let results = stream.expect_ack();
    assert_eq!(
        results[0],
        json!({"topic": "a..b", "error": {"code": "bad_topic", "reason": "empty token at byte 2"}})
    );
    assert_eq!(results[1]["topic"], "trade.X");
    broker.publish("trade.X", "1");
    assert_eq!(stream.expect("update").data["data"], 1);
}

#[test]
fn refused_streams() {
    let broker = TestBroker::start();
    broker.publish("trade.X", "1");
    let many: String = (0..65).map(|n| format!("&topic=t{n}")).collect();
    for (query, headers, refusal) in [
        (
            "",
            &[][..],
            "400 bad_request: the query has no topic; name one or more, as in /v1/sse?topic=ticker.*",
        ),
        (&*many, &[], "400 bad_request: 65 topics in the query; at most 64"),
        (
            "topic=a&topic=a",
            &[],
            "400 bad_request: the query has topic=\"a\" more than once",
        ),
        ("topic=a..b&topic=.", &[], "400 bad_topic: empty token at byte 2"),
        (
            "topic=a&mode=fast",
            &[],
            "400 bad_request: mode=\"fast\" in the query must be every, conflate or snapshot",
        ),
        (
            "topic=trade.X&mode=conflate",
            &[],
            "400 bad_request: mode conflate: trade.X is of kind event, whose messages all count",
        ),
        (
            "topic=a&conflate_ms=x",
            &[],
            "400 bad_request: conflate_ms=\"x\" in the query must be a whole number of milliseconds",
        ),
        (
            "topic=a&last_event_id=x",
            &[],
            "400 bad_request: Last-Event-ID has no ':' between epoch and numbers",
        ),
        (
            "topic=a",
            &["Last-Event-ID: e:1,2"],
            "400 bad_request: Last-Event-ID has 2 numbers for the 1 topics of the request",
        ),
        (
            "topic=a",
            &["Last-Event-ID: e:1", "Last-Event-ID: e:2"],
            "400 bad_request: Last-Event-ID stands there more than once",
        ),
        (
            "topic=a",
            &["Last-Event-ID: \u{e9}:1"],
            "400 bad_request: Last-Event-ID is not ASCII text",
        ),
        (
            "topic=a.*",
            &["Last-Event-ID: e:1"],
            "400 bad_request: Last-Event-ID needs topics without wildcards, and a mode other than snapshot",
        ),
    ] {
        let answer = broker
            .connect()
            .send("GET", &format!("/v1/sse?{query}"), headers, "");
        assert_eq!(answer.refusal(), refusal, "{query} {headers:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    broker.wait_for_metric("tickwire_handshakes_refused_total{status=\"400\"}", 12.0);
    // The shard counts refused topics, the endpoint the other refusals.
    broker.wait_for_metric("tickwire_refusals_total{code=\"bad_topic\"}", 2.0);
    broker.wait_for_metric("tickwire_refusals_total{code=\"bad_request\"}", 11.0);
    broker.wait_for_metric("tickwire_connections_opened_total{transport=\"sse\"}", 0.0);
    broker.wait_for_metric("tickwire_sessions{shard=\"0\"}", 0.0);
    broker.wait_for_metric("tickwire_sessions{shard=\"1\"}", 0.0);
}

#[test]
fn a_quiet_stream_has_heartbeats() {
    let broker = TestBroker::with("", &[("HEARTBEAT__HEARTBEAT_MS", "100")]);
    let mut connection = broker.connect();
    connection.write(b"GET /v1/sse?topic=trade.X HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(connection.head().0, 200);
    let mut text = String::new();
    while !text.contains("event: heartbeat\ndata: {\"op\":\"heartbeat\",\"ts\":") {
        text += &String::from_utf8(connection.chunk().unwrap()).unwrap();
    }
}

#[test]
fn a_broker_that_stops_says_so() {
    let broker = TestBroker::start();
    let mut stream = Stream::open(broker.connect(), "topic=trade.X", &[]);
    stream.expect_ack();
    drop(broker);
    let drain = stream.expect("drain");
    assert!(drain.data["reconnect_after_ms"].is_u64(), "{drain:?}");
    let close = stream.expect("close");
    assert_eq!(
        close.data,
        json!({"code": 4000, "reason": "the broker is draining; reconnect"})
    );
    assert!(stream.next().is_none());
}

#[test]
fn streams_that_follow_each_other_do_not_mix() {
    // A session's number is used again, and no stream sees the events of another.
    let broker = TestBroker::start();
    for round in 0..20 {
        let topic = format!("trade.{round}");
        let mut stream = Stream::open(broker.connect(), &format!("topic={topic}"), &[]);
        stream.expect_ack();
        broker.publish(&topic, &round.to_string());
        let update = stream.expect("update");
        assert_eq!(
            (&update.data["topic"], &update.data["data"]),
            (&json!(topic), &json!(round))
        );
    }
}

#[test]
fn a_feed_that_waits_for_the_first_subscription_starts_with_a_stream() {
    let broker = TestBroker::with_feed("sim", "", "[feed]\nstart = \"on-subscribe\"\nsymbols = 2\n", &[]);
    assert_eq!(broker.get("/v1/topics").json(), json!({"topics": []}));
    let mut stream = Stream::open(broker.connect(), "topic=trade.*", &[]);
    stream.expect_ack();
    stream.expect("joined");
    stream.expect("update");
}

/// A broker whose kernel buffers little for slow readers. The text continues `[limits]` and the file.
fn broker_of_slow_readers(limits_and_rest: &str) -> TestBroker {
    let file =
        format!("[socket]\nsend_buffer_bytes = 16384\n[limits]\noutbox_bytes = 131072\n{limits_and_rest}");
    TestBroker::with(&file, &[])
}

#[test]
fn a_slow_reader_is_told_exactly_what_it_missed() {
    let broker = broker_of_slow_readers("[[kinds]]\npattern = \"trade.*\"\nkind = \"event\"\nhistory = 5\n");
    let mut stream = Stream::open(broker.connect_narrow(), "topic=trade.X", &[]);
    stream.expect_ack();
    let long = format!("\"{}\"", "x".repeat(60_000));
    // Nothing is read meanwhile.
    let published = 100;
    for _ in 0..published {
        broker.publish("trade.X", &long);
    }
    let (mut seq, mut gaps) = (0, 0);
    while seq < published {
        let event = stream.next().expect("the stream goes on");
        let (first, last) = if event.name == "gap" {
            gaps += 1;
            assert_eq!(event.data["reason"], "slow");
            (number(&event.data["from"]), number(&event.data["to"]))
        } else {
            assert_eq!(event.name, "update");
            (number(&event.data["seq"]), number(&event.data["seq"]))
        };
        assert_eq!(first, seq + 1);
        seq = last;
        assert!(event.id.expect("an id").ends_with(&format!(":{seq}")));
    }
    assert!(gaps > 0, "a reader of nothing misses something");
    broker.publish("trade.X", "1");
    assert_eq!(stream.expect("update").data["seq"], published + 1);
    broker.wait_for_metric("tickwire_sse_streams_dropped_total", 0.0);
}

#[test]
fn a_reader_that_takes_nothing_at_all_is_cut_off() {
    let broker = broker_of_slow_readers("stall_ms = 3000\n");
    let mut stream = Stream::open(broker.connect_narrow(), "topic=trade.X", &[]);
    stream.expect_ack();
    let mut other = Stream::open(broker.connect(), "topic=trade.X", &[]);
    other.expect_ack();
    let long = format!("\"{}\"", "x".repeat(60_000));
    let mut last = 0;
    while last < 200 {
        last = broker.publish("trade.X", &long);
        // The other client is not affected.
        assert_eq!(other.expect("update").data["seq"], last);
    }
    broker.wait_for_metric("tickwire_sse_streams_dropped_total", 1.0);
    broker.wait_for_metric("tickwire_connections{transport=\"sse\"}", 1.0);
    // First comes what the kernels still had, and then the end, in the middle of an event.
    let mut seq = 0;
    while let Some(event) = stream.next_or_cut() {
        let event = event.expect("a cut, no proper end");
        seq += 1;
        assert_eq!((event.name.as_str(), number(&event.data["seq"])), ("update", seq));
    }
    broker.publish("trade.X", "1");
    assert_eq!(other.expect("update").data["seq"], last + 1);
}

#[test]
fn subscribers_are_told_when_a_topic_falls_silent_and_when_it_comes_back() {
    let broker = TestBroker::with("[[staleness]]\npattern = \"ticker.>\"\nafter_ms = 50", &[]);
    broker.publish("ticker.X", "1");
    broker.publish("trade.X", "1");
    broker.wait_for_metric("tickwire_stale_topics", 1.0);
    let mut stream = Stream::open(broker.connect(), "topic=ticker.X&topic=trade.X", &[]);
    for op in ["welcome", "ack", "snapshot"] {
        stream.expect(op);
    }
    let mut status = stream.expect("status");
    assert_eq!(
        status.data,
        json!({"op": "status", "topic": "ticker.X", "state": "stale"})
    );
    assert_eq!(stream.expect("snapshot").data["topic"], "trade.X");
    for seq in 2..=3 {
        broker.publish("ticker.X", "2");
        status = stream.expect("status");
        assert_eq!(status.data["state"], "live");
        assert_eq!(stream.expect("update").data["seq"], seq);
        status = stream.expect("status");
        assert_eq!(status.data["state"], "stale");
    }
    assert!(broker.metric("tickwire_stale_changes_total") >= 5.0);
    broker.wait_for_metric("tickwire_stale_topics", 1.0);
}
