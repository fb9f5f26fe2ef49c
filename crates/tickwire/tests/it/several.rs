//! Clients that know several brokers: what they do when they lose one.
//!
//! These brokers are no cluster: each has topics of its own, so nothing resumes from one to another, and clients report that.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tickwire_client::{Client, ClientBuilder, Event, Events, Loss, Subscription};
use tickwire_wire::message::ServerMessage;

use crate::program::run;
use crate::support::{Broker, DEADLINE, Script, post};

/// Each broker has at least one of these clients, and each broker that is left gets some of those of another one: less than
/// once in a billion runs that is not so.
const CLIENTS: usize = 60;

fn broker() -> Broker {
    Broker::start(&["--feed", "none", "--anonymous-publish", "chat.>"])
}

fn publish(broker: &Broker, data: &str) {
    let answer = post(broker.listen, "/v1/topics/chat.a", data);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// The URL as the client writes it.
fn url(broker: &Broker) -> String {
    format!("ws://{}/v1/ws", broker.listen)
}

/// A client and the broker that it is connected to.
struct Reader {
    client: Client,
    events: Events,
    at: String,
}

impl Reader {
    async fn connect(urls: &[String]) -> Self {
        let builder = urls[1..]
            .iter()
            .fold(Client::builder(&urls[0]), ClientBuilder::or_url);
        let (client, mut events) = builder.connect().await.expect("a broker is there");
        let at = connected(&mut events).await;
        let subscription = Subscription::to(["chat.a"]);
        let subscribing = client.begin_subscribe(subscription).await.expect("room");
        until(&mut events, |event| matches!(event, Event::Synced { .. })).await;
        drop(subscribing);
        Self { client, events, at }
    }
}

async fn next(events: &mut Events) -> Event {
    let event = tokio::time::timeout(DEADLINE, events.next()).await;
    event.expect("something happens").expect("the client goes on")
}

async fn until(events: &mut Events, is_it: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = next(events).await;
        if is_it(&event) {
            return event;
        }
    }
}

/// Waits until the client is connected. Returns where.
async fn connected(events: &mut Events) -> String {
    let event = until(events, |event| matches!(event, Event::Connected { .. })).await;
    let Event::Connected { url, .. } = event else {
        panic!("{event:?}");
    };
    url
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

#[test]
fn the_clients_of_a_killed_broker_are_at_the_others_at_once() {
    let (killed, others) = (broker(), [broker(), broker()]);
    let urls = [url(&killed), url(&others[0]), url(&others[1])];
    for broker in [&killed, &others[0], &others[1]] {
        publish(broker, "1");
    }
    block_on(async {
        let mut readers = Vec::new();
        for _ in 0..CLIENTS {
            readers.push(Reader::connect(&urls).await);
        }
        killed.signal("KILL");
        let mut clients: BTreeMap<String, usize> = BTreeMap::new();
        for Reader { events, at, .. } in readers.iter_mut().filter(|reader| reader.at == urls[0]) {
            let lost = until(events, |event| matches!(event, Event::Disconnected { .. })).await;
            let Event::Disconnected { retry_in, .. } = lost else {
                panic!("{lost:?}");
            };
            assert_eq!(retry_in, Some(Duration::ZERO), "it does not wait");
            let event = next(events).await;
            let Event::Connected { url, .. } = event else {
                panic!("{event:?}");
            };
            *clients.entry(url.clone()).or_default() += 1;
            *at = url;
            let restored = until(events, |event| matches!(event, Event::Restored { .. })).await;
            let Event::Restored { not_resumed: 1, .. } = restored else {
                panic!("the topic of another broker is another one: {restored:?}");
            };
        }
        assert_eq!(
            clients.keys().collect::<Vec<_>>(),
            sorted(&urls[1..]),
            "{clients:?}"
        );
        for broker in &others {
            publish(broker, "2");
        }
        for reader in &mut readers {
            let comes = |event: &Event| matches!(event, Event::Message(ServerMessage::Update { .. }));
            until(&mut reader.events, comes).await;
            reader.client.close().await;
        }
    });
}

fn sorted(urls: &[String]) -> Vec<&String> {
    let mut urls: Vec<&String> = urls.iter().collect();
    urls.sort();
    urls
}

#[test]
fn a_drained_client_goes_to_another_broker() {
    let brokers = [broker(), broker()];
    let urls = [url(&brokers[0]), url(&brokers[1])];
    block_on(async {
        let mut reader = Reader::connect(&urls).await;
        let [first, second] = brokers;
        let (drained, other) = if reader.at == urls[0] {
            (first, second)
        } else {
            (second, first)
        };
        drained.terminate();
        let lost = until(&mut reader.events, |event| {
            matches!(event, Event::Disconnected { .. })
        })
        .await;
        let Event::Disconnected { loss, retry_in } = lost else {
            panic!("{lost:?}");
        };
        let is_drained = loss == Loss::Drained || loss.close_code().is_some_and(|code| code.0 == 4000);
        assert!(is_drained && retry_in.is_some(), "{loss}, {retry_in:?}");
        let event = next(&mut reader.events).await;
        assert!(
            matches!(&event, Event::Connected { url, .. } if *url == self::url(&other)),
            "{event:?}"
        );
        reader.client.close().await;
        drained.wait_stopped();
        other.stop();
    });
}

#[test]
fn commands_go_on_at_another_broker() {
    let brokers = [broker(), broker()];
    let both = format!("{},{}", url(&brokers[0]), url(&brokers[1]));
    let mut sub = Script::start(
        Path::new(env!("CARGO_BIN_EXE_tickwire")),
        &["sub", "--url", &both, "chat.a", "--all"],
    );
    while sub.next()["op"] != "synced" {}
    for (at, broker) in brokers.iter().enumerate() {
        publish(broker, &at.to_string());
    }
    let mut came = sub.next();
    while came["op"] != "update" {
        came = sub.next();
    }
    let [first, second] = brokers;
    let (lost, left) = if came["data"] == 0 {
        (first, second)
    } else {
        (second, first)
    };
    lost.signal("KILL");
    while sub.next()["op"] != "synced" {}
    publish(&left, "\"left\"");
    while sub.next()["data"] != "left" {}
    let said = sub.errors();
    assert!(
        said.contains("; trying again in 0 ms")
            && said.contains(&format!("connected again, to {}", url(&left))),
        "{said}"
    );

    // The one that is gone is named first.
    let (gone, left) = (url(&lost), url(&left));
    let urls = ["--url", &gone, "--url", &left];
    let published = run(&[&["pub"], &urls[..], &["chat.a"]].concat(), "7\n");
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let got = run(&[&["get"], &urls[..], &["chat.a"]].concat(), "");
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    assert!(got.stdout.contains("\"data\":7"), "{}", got.stdout);
    let none = run(&["get", "--url", &format!("{gone},{gone}"), "chat.a"], "");
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains(&gone), "{}", none.stderr);
}
