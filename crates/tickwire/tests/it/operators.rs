//! What operators see of a working broker: which sessions are slow, and which topics are hot.

use serde_json::Value;

use crate::handshake::GOOD;
use crate::support::{Broker, Frame, Socket, get, poll};

/// A page of the operators' listener as JSON.
fn page(broker: &Broker, path: &str) -> Value {
    let answer = get(broker.ops, path);
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).expect("the page is JSON")
}

#[test]
fn a_reader_that_stopped_is_among_the_slowest_sessions() {
    let feed: Vec<&str> = "--feed sim --symbols 2 --rate 20000 --shards 2"
        .split(' ')
        .collect();
    let late = "150000";
    let broker = Broker::start_with(
        &feed,
        &[
            // No connection is closed while this test runs.
            ("TICKWIRE_LIMITS__STALL_MS", "3600000"),
            ("TICKWIRE_LIMITS__FIRST_REQUEST_MS", "300000"),
            ("TICKWIRE_HEARTBEAT__PING_AFTER_MS", late),
            ("TICKWIRE_HEARTBEAT__PONG_TIMEOUT_MS", late),
        ],
    );
    // This session subscribes to nothing and is owed nothing.
    let idle = Socket::open(&broker);
    let (mut stopped, answer) = Socket::request(&broker, "GET /v1/ws HTTP/1.1", &GOOD);
    assert_eq!(answer.status, 101, "{answer:?}");
    let welcome = stopped.message();
    stopped.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":[">"]}"#));
    let seen = poll("a session that lags", || {
        let page = page(&broker, "/debug/sessions?top=5");
        (page["lagging"] == 1).then_some(page)
    });
    assert_eq!(seen["sessions"], 2);
    let slowest = seen["slowest"].as_array().expect("a list");
    assert_eq!(slowest.len(), 1, "{seen}");
    let slow = &slowest[0];
    assert_eq!(slow["session"], welcome["session"]);
    let name = slow["session"].as_str().expect("a name");
    assert!(name.starts_with(&format!("{}-", slow["shard"])), "{seen}");
    assert_eq!(slow["peer"], stopped.local_addr().to_string());
    assert_eq!(
        (slow["codec"].as_str(), slow["transport"].as_str()),
        (Some("json"), Some("websocket"))
    );
    let number = |field: &str| {
        slow[field]
            .as_u64()
            .unwrap_or_else(|| panic!("no {field}: {seen}"))
    };
    assert!(
        number("owed_messages") > 0 && number("subscriptions_behind") > 0,
        "{seen}"
    );
    assert!(
        number("subscriptions_behind") <= number("subscriptions"),
        "{seen}"
    );
    assert!(
        number("lagging_since") > welcome["ts"].as_u64().expect("a time"),
        "{seen}"
    );
    assert!(
        number("oldest_owed_us") > 0 && number("waiting_bytes") < 1 << 20,
        "{seen}"
    );

    let seen = page(&broker, "/debug/topics?top=1");
    let hottest = seen["hottest"].as_array().expect("a list");
    assert_eq!(hottest.len(), 1, "{seen}");
    assert_eq!(hottest[0]["subscribers"], 1, "{seen}");
    // The session got only some of the messages before it lagged.
    assert!(
        hottest[0]["updates"].as_u64() <= hottest[0]["seq"].as_u64(),
        "{seen}"
    );
    drop((idle, stopped));
    broker.stop();
}
