//! The operators' listener.

use std::time::Instant;

use serde_json::json;

use crate::stream::Stream;
use crate::support::{DEADLINE, TestBroker, list, request};

#[test]
fn metrics_and_health() {
    let broker = TestBroker::start();
    for path in ["/livez", "/readyz"] {
        let answer = broker.ops(path);
        assert_eq!((answer.status, answer.text()), (200, "ok\n"), "{path}");
    }
    assert_eq!(
        broker.ops("/nothing").refusal(),
        "404 bad_request: there is nothing at /nothing; there are /metrics, /livez, /readyz, /debug/sessions, /debug/topics, /debug/cluster, /, /console.js, /console.css, /console/about, /console/health, /console/history, /console/close, /v1/topics, /v1/ws"
    );
    broker.publish("trade.X", "1");
    broker.publish("ticker.X", "\"four\"");
    assert!(broker.get("/v1/nothing").status == 404);
    let page = broker.ops("/metrics");
    assert!(
        !page.text().contains("tickwire_tls_certificate_not_after"),
        "no TLS"
    );
    assert_eq!(
        page.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    for (series, value) in [
        ("tickwire_topics", 2.0),
        ("tickwire_publications_total{kind=\"event\"}", 1.0),
        ("tickwire_publications_total{kind=\"state\"}", 1.0),
        ("tickwire_published_bytes_total", 7.0),
        (
            "tickwire_http_requests_total{route=\"/v1/topics/{topic}\",status=\"2xx\"}",
            2.0,
        ),
        (
            "tickwire_http_requests_total{route=\"other\",status=\"4xx\"}",
            1.0,
        ),
    ] {
        broker.wait_for_metric(series, value);
    }
}

#[test]
fn clients_paths_are_not_on_the_operators_listener_nor_the_other_way_round() {
    let broker = TestBroker::start();
    for path in ["/v1/topics/a", "/v1/sse", "/v1/publish"] {
        assert_eq!(broker.ops(path).status, 404, "{path}");
    }
    assert_eq!(broker.get("/metrics").status, 404);
}

#[test]
fn a_feed_that_falls_silent_makes_the_broker_not_ready_until_it_publishes_again() {
    // The feed has about one tick a second.
    let file = "[feed]\nsymbols = 1\nrate = 1\nsilent_ms = 100";
    let broker = TestBroker::with_feed("sim", "", file, &[]);
    let reason = broker.wait_for_readiness(503);
    assert!(
        reason.starts_with("the feed has published nothing for "),
        "{reason}"
    );
    assert!(reason.ends_with(" ms; feed.silent_ms is 100\n"), "{reason}");
    assert_eq!(broker.wait_for_readiness(200), "ok\n");
    assert_eq!(broker.ops("/livez").status, 200);
}

#[test]
fn the_hottest_topics() {
    let broker = TestBroker::start();
    assert_eq!(
        broker.ops("/debug/topics").json(),
        json!({"topics": 0, "hottest": []})
    );
    let mut streams = ["topic=trade.X&topic=ticker.X", "topic=trade.X"]
        .map(|query| Stream::open(broker.connect(), query, &[]));
    for stream in &mut streams {
        stream.expect_ack();
    }
    broker.publish("trade.unwanted", "1");
    for topic in ["trade.X", "trade.X", "ticker.X"] {
        broker.publish(topic, "1");
    }
    // Messages that a stream has got were counted.
    let got: Vec<usize> = streams
        .iter_mut()
        .zip([3, 2])
        .map(|(stream, owed)| (0..owed).map(|_| stream.expect("update")).count())
        .collect();
    assert_eq!(got, [3, 2]);
    let trades = json!({"topic": "trade.X", "kind": "event", "updates": 4, "subscribers": 2, "seq": 2, "stale": false});
    let ticker = json!({"topic": "ticker.X", "kind": "state", "updates": 1, "subscribers": 1, "seq": 1, "stale": false});
    let answer = broker.ops("/debug/topics");
    assert_eq!(
        (answer.header("content-type"), answer.header("cache-control")),
        ("application/json", "no-store")
    );
    assert_eq!(answer.json(), json!({"topics": 3, "hottest": [trades, ticker]}));
    assert_eq!(
        broker.ops("/debug/topics?top=1").json(),
        json!({"topics": 3, "hottest": [trades]})
    );
}

#[test]
fn how_many_are_wanted_is_checked() {
    let broker = TestBroker::start();
    for path in ["/debug/sessions", "/debug/topics"] {
        for (top, shown) in [("0", "0"), ("1001", "1001"), ("-1", "\"-1\""), ("all", "\"all\"")] {
            assert_eq!(
                broker.ops(&format!("{path}?top={top}")).refusal(),
                format!("400 bad_request: top={shown} in the query must be a whole number from 1 to 1000")
            );
        }
        assert_eq!(broker.ops(&format!("{path}?top=1000")).status, 200);
    }
}

#[test]
fn a_stream_whose_reader_stopped_is_among_the_slowest_sessions() {
    let file = "[socket]\nsend_buffer_bytes = 16384\n[limits]\noutbox_bytes = 131072\nstall_ms = 3600000\n";
    let broker = TestBroker::with(file, &[]);
    broker.publish("ticker.X", "1");
    broker.publish("trade.X", "1");
    let mut stopped = Stream::open(broker.connect_narrow(), "topic=trade.X&topic=ticker.X", &[]);
    let name = stopped.expect("welcome").data["session"].clone();
    let mut reader = Stream::open(broker.connect(), "topic=ticker.X", &[]);
    reader.expect_ack();
    let long = format!("\"{}\"", "x".repeat(60_000));
    let deadline = Instant::now() + DEADLINE;
    let page = loop {
        broker.publish("trade.X", &long);
        let page = broker.ops("/debug/sessions").json();
        if page["lagging"] == 1 {
            break page;
        }
        assert!(Instant::now() < deadline, "{page}");
    };
    assert_eq!(page["sessions"], 2);
    let [slow] = list(&page["slowest"]) else {
        panic!("{page}")
    };
    assert_eq!(slow["session"], name);
    assert_eq!(
        (&slow["transport"], &slow["codec"]),
        (&json!("sse"), &json!("json"))
    );
    assert_eq!(slow["subscriptions"], 2);
    let peer = slow["peer"].as_str().unwrap_or_default();
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");
    assert!(slow["owed_messages"].as_u64() > Some(0), "{page}");
    assert!(slow["lagging_since"].as_u64() > Some(0), "{page}");
}

#[test]
fn connections_that_held_all_places_kept_probes_unanswered() {
    let broker = TestBroker::start();
    let held: Vec<_> = (0..64)
        .map(|_| {
            let mut held = broker.connect_ops();
            held.write(b"GET /metrics HTTP/1.1\r\nHost:");
            held
        })
        .collect();
    // Clients that send nothing hold nothing up either.
    let silent: Vec<_> = (0..40).map(|_| broker.connect_ops()).collect();
    for path in ["/livez", "/readyz"] {
        let answer = broker.ops(path);
        assert_eq!((answer.status, answer.text()), (200, "ok\n"), "{path}");
    }
    let answer = broker.ops("/metrics");
    assert_eq!(
        answer.refusal(),
        "503 limit_exceeded: operators have 64 connections open, the most there may be; beyond them only /livez and /readyz are answered"
    );
    assert_eq!(
        (answer.header("connection"), answer.header("retry-after")),
        ("close", "1")
    );
    drop((held, silent));
    broker.wait_until("places are free again", || broker.ops("/metrics").status == 200);
}

#[test]
fn an_operator_that_takes_no_answers_kept_its_place_for_ever() {
    let broker = TestBroker::with("[limits]\nstall_ms = 200\n", &[]);
    let mut client = broker.connect_ops();
    let ask = request("GET", "/metrics", &[], "");
    // These answers are far more than the two kernels buffer. Then the broker stops reading, and closes.
    while client.try_write(&ask) {}
}
