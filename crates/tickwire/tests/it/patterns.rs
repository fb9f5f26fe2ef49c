//! Subscriptions to patterns whose connection is cut and comes back: each topic that they brought goes on where it was,
//! or is reported as incomplete.

use std::collections::BTreeMap;
use std::path::Path;

use tickwire_client::{BackoffBounds, Client, Event, Events, Subscription};
use tickwire_wire::message::{Control, ServerMessage};
use tickwire_wire::{Codec, Mode};

use crate::support::{BadNetwork, Broker, DEADLINE, Script, post};

/// More topics than a connection may have subscriptions.
const MANY_TOPICS: usize = 1_500;

/// A Rust client, and the last number of each topic that came or that a gap named.
struct Reader {
    client: Client,
    events: Events,
    last: BTreeMap<String, u64>,
    /// How many messages gaps named, by topic.
    gapped: BTreeMap<String, u64>,
    /// Whether a topic may be reported as incomplete because a snapshot replaced what was missed.
    may_be_replaced: bool,
}

/// What happened to a connection.
#[derive(Debug, PartialEq, Eq)]
enum Happened {
    Lost,
    Restored { resumed: usize, not_resumed: usize },
    Synced,
    Message,
}

impl Reader {
    async fn connect(network: &BadNetwork, codec: Codec) -> Self {
        loop {
            let builder = Client::builder(network.url())
                .codec(codec)
                .backoff(BackoffBounds {
                    first_ms: 10,
                    max_ms: 100,
                });
            // The client does not repeat the first attempt itself.
            match builder.connect().await {
                Ok((client, events)) => {
                    return Self {
                        client,
                        events,
                        last: BTreeMap::new(),
                        gapped: BTreeMap::new(),
                        may_be_replaced: false,
                    };
                }
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    }

    /// Subscribes, and reads until everything that the subscription begins with has come.
    async fn subscribe(&mut self, subscription: Subscription) {
        let client = self.client.clone();
        let granted = async move { client.subscribe(subscription).await.expect("an ack") };
        let granted = tokio::spawn(granted);
        while self.next().await != Happened::Synced {}
        let refused = granted.await.expect("it does not panic");
        assert!(refused.iter().all(|result| result.error.is_none()), "{refused:?}");
    }

    /// Reads one event and checks that nothing is missing without a report.
    async fn next(&mut self) -> Happened {
        let event = tokio::time::timeout(DEADLINE, self.events.next()).await;
        match event.expect("something happens").expect("the client goes on") {
            Event::Broken(broken) => panic!("{broken}"),
            Event::Unresumed { topic, last, now } => {
                assert!(self.may_be_replaced, "{topic} was not resumed: {last:?} {now}");
                Happened::Message
            }
            Event::SubscriptionLost { topic, refusal } => panic!("{topic}: {refusal}"),
            Event::Disconnected { .. } => Happened::Lost,
            Event::Restored {
                resumed, not_resumed, ..
            } => Happened::Restored { resumed, not_resumed },
            Event::Synced { .. } => Happened::Synced,
            Event::Message(message) => {
                self.message(message);
                Happened::Message
            }
            Event::Connected { .. } | Event::ConnectFailed { .. } => Happened::Message,
        }
    }

    fn message(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Snapshot { topic, seq, .. } => {
                self.last.insert(topic, seq.0);
            }
            ServerMessage::Control(Control::Joined { topic, seq, .. }) => {
                let before = self.last.insert(topic.clone(), seq.0);
                assert_eq!(before, None, "{topic} joins once");
            }
            ServerMessage::Control(Control::Gap { topic, from, to, .. }) => {
                let last = self.last.insert(topic.clone(), to.0);
                assert_eq!(last.map(|last| last + 1), Some(from.0), "{topic}: a gap to {to}");
                *self.gapped.entry(topic).or_default() += to.0 + 1 - from.0;
            }
            ServerMessage::Update { topic, seq, .. } => {
                let last = self.last.insert(topic.clone(), seq.0);
                let last = last.unwrap_or_else(|| panic!("{topic}: update {seq} came first"));
                let newest_only = ["ticker.", "bbo.", "candle."]
                    .iter()
                    .any(|kind| topic.starts_with(kind));
                assert!(
                    seq.0 == last + 1 || newest_only && seq.0 > last,
                    "{topic}: update {seq} came after {last}, and nothing named what is missing"
                );
            }
            _ => {}
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

fn publish(broker: &Broker, topic: &str, messages: std::ops::RangeInclusive<u64>) {
    for n in messages {
        let answer = post(broker.listen, &format!("/v1/topics/{topic}"), &n.to_string());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

/// A topic was made under a pattern, and no snapshot told its epoch. What is published while its reader is away comes,
/// or a gap names it.
#[test]
fn a_topic_that_appeared_under_a_pattern_is_resumed() {
    let test = "a_topic_that_appeared_under_a_pattern_is_resumed";
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tickwire.toml");
    let short = "[[kinds]]\npattern = \"late.short\"\nkind = \"event\"\nhistory = 2\n";
    std::fs::write(&config, short).expect("a file");
    let config = config.to_str().expect("UTF-8");
    for codec in Codec::ALL {
        let args = [
            "--feed",
            "none",
            "--anonymous-publish",
            "late.>",
            "--config",
            config,
        ];
        let broker = Broker::start(&args);
        let Some(mut network) = BadNetwork::good(test, &broker) else {
            return;
        };
        run(async {
            let mut reader = Reader::connect(&network, codec).await;
            reader.subscribe(Subscription::to(["late.*"])).await;
            for topic in ["late.a", "late.short"] {
                publish(&broker, topic, 1..=3);
                while reader.last.get(topic) != Some(&3) {
                    reader.next().await;
                }
            }
            network.cut();
            publish(&broker, "late.a", 4..=6);
            publish(&broker, "late.short", 4..=9);
            publish(&broker, "late.new", 1..=1);
            while reader.next().await != Happened::Lost {}
            network.heal();
            let restored = loop {
                match reader.next().await {
                    Happened::Message => {}
                    happened => break happened,
                }
            };
            let expected = Happened::Restored {
                resumed: 1,
                not_resumed: 2,
            };
            assert_eq!(restored, expected);
            while reader.next().await != Happened::Synced {}
            let last: Vec<_> = reader
                .last
                .iter()
                .map(|(topic, last)| (topic.as_str(), *last))
                .collect();
            assert_eq!(last, [("late.a", 6), ("late.new", 1), ("late.short", 9)]);
            assert_eq!(reader.gapped, BTreeMap::from([("late.short".to_owned(), 6)]));
        });
        broker.stop();
    }
}

fn large_market() -> Broker {
    Broker::start(&["--feed", "sim", "--symbols", "600", "--rate", "3000"])
}

/// A pattern resumes as completely as topics do, however many topics it has.
#[test]
fn a_pattern_resumes_more_topics_than_a_connection_has_subscriptions() {
    let test = "a_pattern_resumes_more_topics_than_a_connection_has_subscriptions";
    for codec in Codec::ALL {
        let broker = large_market();
        let Some(mut network) = BadNetwork::good(test, &broker) else {
            return;
        };
        run(async {
            let mut reader = Reader::connect(&network, codec).await;
            reader.subscribe(Subscription::to([">"])).await;
            while reader.last.len() < MANY_TOPICS {
                reader.next().await;
            }
            network.cut();
            while reader.next().await != Happened::Lost {}
            let known = reader.last.len();
            network.heal();
            let (resumed, not_resumed) = loop {
                match reader.next().await {
                    Happened::Restored { resumed, not_resumed } => break (resumed, not_resumed),
                    happened => assert_eq!(happened, Happened::Message),
                }
            };
            assert_eq!(resumed, known, "and {not_resumed} that were not there before");
            while reader.next().await != Happened::Synced {}
            assert_eq!(reader.gapped, BTreeMap::new());
        });
        broker.stop();
    }
}

/// `tickwire sub` reports that a connection was lost and came back, and reports nothing about topics that lost nothing.
#[test]
fn nothing_is_said_to_be_missed_that_was_not() {
    let test = "nothing_is_said_to_be_missed_that_was_not";
    let broker = large_market();
    let Some(mut network) = BadNetwork::good(test, &broker) else {
        return;
    };
    let url = network.url();
    let mut sub = Script::start(
        Path::new(env!("CARGO_BIN_EXE_tickwire")),
        &["sub", "--url", &url, "--all", ">"],
    );
    while sub.next()["op"] != "synced" {}
    network.cut();
    sub.wait_for_error("trying again");
    network.heal();
    sub.wait_for_error("connected again");
    while sub.next()["op"] != "synced" {}
    for line in sub.errors().lines() {
        let is_of_connection = line.contains("trying again in") || line.contains("connected again, to ");
        assert!(is_of_connection, "{line}");
    }
    broker.stop();
}

/// Patterns in mode `every` on a network that cuts connections at random: each message comes or a gap names it.
#[test]
fn patterns_are_kept_every_promise_on_a_bad_network() {
    let test = "patterns_are_kept_every_promise_on_a_bad_network";
    let broker = Broker::start(&["--feed", "sim", "--symbols", "4", "--rate", "3000"]);
    let Some(network) = BadNetwork::before(test, &broker, 5) else {
        return;
    };
    for codec in Codec::ALL {
        run(async {
            let mut reader = Reader::connect(&network, codec).await;
            reader.may_be_replaced = true;
            let client = reader.client.clone();
            let subscribing = tokio::spawn(async move {
                let every = || Subscription::to(["trade.*", "book.*"]).mode(Mode::Every);
                // The caller has to repeat a request whose connection is lost.
                while client.subscribe(every()).await.is_err() {}
            });
            let (mut losses, mut resumed_topics) = (0, 0);
            while losses < 8 || resumed_topics == 0 {
                match reader.next().await {
                    Happened::Lost => losses += 1,
                    Happened::Restored { resumed, .. } => resumed_topics += resumed,
                    Happened::Synced | Happened::Message => {}
                }
            }
            subscribing.abort();
            reader.client.close().await;
        });
    }
    broker.stop();
}
