//! The simulated market, seen by Node's `ws`, a JavaScript client.

use serde_json::{Value, json};

use crate::support::{Broker, Client, Tool};

#[test]
fn node_follows_a_topic_and_leaves_with_1000() {
    let Some(node) = Tool::Node.find("node_follows_a_topic_and_leaves_with_1000") else {
        return;
    };
    let broker = Broker::start(&["--feed", "sim", "--symbols", "3", "--rate", "500"]);
    let mut client = Client::node(&node, &broker);
    assert_eq!(
        client.welcome["server"],
        format!("tickwire/{}", env!("CARGO_PKG_VERSION"))
    );
    // There is a value once the first tick is published.
    broker.wait_for_metric("tickwire_feed_ticks_total", |ticks| ticks > 500.0);
    let result = client.subscribe(1, &json!(["ticker.BTC-USD"])).remove(0);
    assert_eq!(result["mode"], "conflate", "{result}");
    let snapshot = client.next();
    assert_eq!(snapshot["op"], "snapshot", "{snapshot}");
    assert_eq!(snapshot["epoch"], result["epoch"]);
    let mut last = number(&snapshot);
    assert!(last >= number(&result), "{result} {snapshot}");
    for _ in 0..20 {
        let update = client.next();
        assert_eq!(
            (&update["op"], &update["topic"]),
            (&json!("update"), &json!("ticker.BTC-USD"))
        );
        assert!(number(&update) > last, "{update} after {last}");
        assert_eq!(update["data"]["symbol"], "BTC-USD");
        last = number(&update);
    }
    // The library sends a ping, and the broker answers with a pong of the same payload.
    client.tell(&json!({"ping": "are you there"}));
    loop {
        let event = client.event();
        if event.get("message").is_none() {
            assert_eq!(event, json!({"pong": "are you there"}));
            break;
        }
    }
    let ack = client.ask_past_data(&json!({"op": "unsubscribe", "id": 2, "topics": ["ticker.BTC-USD"]}));
    assert_eq!(ack["id"], 2, "{ack}");
    assert_eq!(
        client.until_pong(),
        [] as [Value; 0],
        "nothing more of it after the ack"
    );
    client.close(1000);
    broker.stop();
}

#[test]
fn node_asks_for_a_book_again_and_gets_it() {
    let Some(node) = Tool::Node.find("node_asks_for_a_book_again_and_gets_it") else {
        return;
    };
    let broker = Broker::start(&["--feed", "sim", "--symbols", "1", "--rate", "500"]);
    let mut client = Client::node(&node, &broker);
    broker.wait_for_metric("tickwire_feed_ticks_total", |ticks| ticks > 500.0);
    client.subscribe(1, &json!(["book.BTC-USD"]));
    let mut last = 0;
    for turn in 1..=3 {
        let snapshot = loop {
            let message = client.next();
            match message["op"].as_str() {
                Some("snapshot") => break message,
                Some("ack") => assert_eq!(message["id"], turn, "{message}"),
                // An update that was on its way when the request came.
                _ => assert_eq!(
                    (&message["op"], number(&message)),
                    (&json!("update"), last + 1),
                    "{message}"
                ),
            }
            if message["op"] == "update" {
                last += 1;
            }
        };
        assert!(number(&snapshot) >= last, "{snapshot}");
        let levels = |side: &str| snapshot["data"][side].as_array().map_or(0, Vec::len);
        assert!(levels("bids") > 1 && levels("asks") > 1, "{snapshot}");
        last = number(&snapshot);
        for _ in 0..20 {
            let update = client.next();
            assert_eq!(
                (&update["op"], number(&update)),
                (&json!("update"), last + 1),
                "{update}"
            );
            last += 1;
        }
        client.send(&json!({"op": "resync", "id": turn + 1, "topic": "book.BTC-USD"}));
    }
    client.close(1000);
    broker.stop();
}

fn number(message: &Value) -> u64 {
    message["seq"]
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {message}"))
}
