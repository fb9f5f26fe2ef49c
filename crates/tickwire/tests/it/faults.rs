//! Clients on a bad network, and clients that are killed: whatever happens to a connection, the messages after it
//! follow those before it, or are reported as missing.
//!
//! The faults of the bad network come from a seed. How many connections they end also depends on timing, so the tests
//! run until there were enough.

use std::path::PathBuf;

use serde_json::{Value, json};
use tickwire_client::{BackoffBounds, Client as RustClient, Event, Subscription};
use tickwire_wire::message::{Control, ServerMessage};
use tickwire_wire::{Codec as RustCodec, Mode};

use crate::support::{BadNetwork, Broker, Codec, DEADLINE, Script, Tool, test_file};

/// How many lost connections a test waits for.
const LOSSES: u64 = 12;
/// Settings under which everything happens soon: histories run out, outboxes fill, dead connections are noticed.
const SETTINGS: [(&str, &str); 2] = [
    ("TICKWIRE_LIMITS__OUTBOX_BYTES", "66000"),
    ("TICKWIRE_HEARTBEAT__HEARTBEAT_MS", "1000"),
];

fn market() -> Broker {
    Broker::start_with(&["--feed", "sim", "--symbols", "4", "--rate", "3000"], &SETTINGS)
}

/// Runs a Rust client through a bad network until it has lost enough connections.
async fn follow(url: &str, codec: RustCodec) -> (u64, u64) {
    // The client does not repeat the first attempt itself.
    let (client, mut events) = loop {
        let connecting = RustClient::builder(url)
            .codec(codec)
            .backoff(BackoffBounds {
                first_ms: 10,
                max_ms: 200,
            })
            .verify_books("book.>".parse().expect("a pattern"))
            .connect();
        match connecting.await {
            Ok(connected) => break connected,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    };
    let subscribing = tokio::spawn({
        let client = client.clone();
        async move {
            for mode in [Mode::Every, Mode::Conflate] {
                let topics = match mode {
                    Mode::Conflate => ["ticker.BTC-USD", "bbo.BTC-USD"],
                    _ => ["trade.BTC-USD", "book.BTC-USD"],
                };
                // The caller has to repeat a request whose connection is lost.
                while client
                    .subscribe(Subscription::to(topics).mode(mode))
                    .await
                    .is_err()
                {}
            }
        }
    });
    let (mut losses, mut recovered) = (0, 0);
    while losses < LOSSES || recovered == 0 {
        match events.next().await.expect("the client goes on for ever") {
            Event::Broken(broken) => panic!("{broken}"),
            Event::SubscriptionLost { topic, refusal } => panic!("{topic}: {refusal}"),
            Event::Disconnected { loss, retry_in } => {
                assert!(retry_in.is_some(), "{loss}");
                losses += 1;
            }
            Event::Message(ServerMessage::Control(Control::Ack { results, .. })) => {
                recovered += results
                    .iter()
                    .filter(|result| result.recovered == Some(true))
                    .count() as u64;
            }
            _ => {}
        }
    }
    subscribing.abort();
    client.close().await;
    (losses, recovered)
}

#[test]
fn the_rust_client_is_kept_every_promise_on_a_bad_network() {
    let broker = market();
    let test = "the_rust_client_is_kept_every_promise_on_a_bad_network";
    let Some(network) = BadNetwork::before(test, &broker, 1) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for codec in [RustCodec::Json, RustCodec::MessagePack] {
        runtime.block_on(async {
            let followed = tokio::time::timeout(DEADLINE, follow(&network.url(), codec)).await;
            let (losses, recovered) = followed.expect("enough happens in time");
            assert!(losses >= LOSSES && recovered > 0);
        });
    }
    broker.stop();
}

#[test]
fn python_resumes_without_loss_on_a_bad_network() {
    let test = "python_resumes_without_loss_on_a_bad_network";
    let Some(python) = Tool::Python.find(test) else {
        return;
    };
    for (codec, seed) in [(Codec::Json, 2), (Codec::Msgpack, 3)] {
        let broker = market();
        let Some(network) = BadNetwork::before(test, &broker, seed) else {
            return;
        };
        let args = [
            test_file("python/resume.py"),
            network.url(),
            codec.as_str().to_owned(),
            LOSSES.to_string(),
        ];
        let mut script = Script::start(&python, &args);
        let report = script.next();
        script.finish();
        assert_eq!(report["faults"], json!([]), "{report}");
        for (what, least) in [("losses", LOSSES), ("recovered", 1), ("messages", 100)] {
            assert!(report[what].as_u64() >= Some(least), "{what}: {report}");
        }
        broker.stop();
    }
}

/// Runs `tickwire sub` from a position, as a user's script would.
fn sub(broker: &Broker, topic: &str, since: Option<&str>) -> Script {
    let url = broker.url();
    let mut args = vec!["sub", "--url", &url, "--mode", "every"];
    if let Some(since) = since {
        args.extend(["--since", since]);
    }
    args.push(topic);
    Script::start(&PathBuf::from(env!("CARGO_BIN_EXE_tickwire")), &args)
}

#[test]
fn a_client_that_is_killed_goes_on_where_its_output_ended() {
    let broker = market();
    for topic in ["trade.BTC-USD", "ticker.BTC-USD"] {
        // A snapshot tells the epoch. It comes once something was published.
        let mut client = sub(&broker, topic, None);
        let mut line = client.next();
        while line["op"] != "snapshot" {
            drop(client);
            client = sub(&broker, topic, None);
            line = client.next();
        }
        let epoch = line["epoch"]
            .as_str()
            .expect("a snapshot has an epoch")
            .to_owned();
        let mut last = line["seq"].as_u64().expect("a number");
        for _ in 0..5 {
            for _ in 0..20 {
                last = follows(&client.next(), last);
            }
            // Dropping the client kills it (SIGKILL), whatever it is doing.
            drop(client);
            client = sub(&broker, topic, Some(&format!("{epoch}:{last}")));
        }
        follows(&client.next(), last);
    }
    broker.stop();
}

/// Checks that a line follows number `last`. Returns its own number.
fn follows(line: &Value, last: u64) -> u64 {
    let number = |field: &str| {
        line[field]
            .as_u64()
            .unwrap_or_else(|| panic!("no {field}: {line}"))
    };
    match line["op"].as_str() {
        Some("update") => {
            assert_eq!(number("seq"), last + 1, "{line}");
            last + 1
        }
        Some("gap") => {
            assert_eq!(number("from"), last + 1, "{line}");
            number("to")
        }
        // This is a topic that keeps only its last message, and more than one was missed.
        Some("snapshot") => {
            assert!(number("seq") > last, "{line}");
            number("seq")
        }
        _ => panic!("{line}"),
    }
}
