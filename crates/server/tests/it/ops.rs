//! The operators' listener.

use crate::support::TestBroker;

#[test]
fn metrics_and_health() {
    let broker = TestBroker::start();
    for path in ["/livez", "/readyz"] {
        let answer = broker.ops(path);
        assert_eq!((answer.status, answer.text()), (200, "ok\n"), "{path}");
    }
    assert_eq!(
        broker.ops("/nothing").refusal(),
        "404 bad_request: there is nothing at /nothing; there are /metrics, /livez and /readyz"
    );
    broker.publish("trade.X", "1");
    broker.publish("ticker.X", "\"four\"");
    assert!(broker.get("/v1/nothing").status == 404);
    let page = broker.ops("/metrics");
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
    assert_eq!(broker.ops("/v1/topics").status, 404);
    assert_eq!(broker.get("/metrics").status, 404);
}

#[test]
fn a_feed_that_falls_silent_makes_the_broker_not_ready_until_it_publishes_again() {
    // A tick a second, more or less.
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
