//! Random operations on topics that end and are made again, read by clients that check what they may rely on: the
//! messages of a life in their order, then its end, once, and only then the next life.
//!
//! Queues, histories and budgets are tiny, so falling behind is normal. What [`crate::model`] checks of topics that do not
//! end is not checked again.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tickwire_router::{ExpiryRule, KindRule};
use tickwire_wire::message::{AckResult, Position, Since, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Control, Epoch, Kind, Mode, Pattern, Seq, ServerMessage};

use crate::world::{Frame, Setup, VARIANTS, World};

const CLIENTS: usize = 4;
const SHARDS: u8 = 2;

/// The name, kind and number of messages of history of each topic.
const TOPICS: [(&str, Kind, usize); 4] = [
    ("opt.A", Kind::Event, 3),
    ("opt.B", Kind::Event, 1_000),
    ("q.C", Kind::State, 1),
    ("opt.short", Kind::Event, 1_000),
];

const PATTERNS: [&str; 7] = ["opt.A", "opt.B", "q.C", "opt.short", "opt.*", "*.C", ">"];

#[derive(Debug, Clone)]
enum Op {
    Subscribe {
        client: usize,
        patterns: Vec<(usize, bool)>,
        mode: Option<Mode>,
        snapshot: bool,
    },
    Unsubscribe {
        client: usize,
        pattern: usize,
    },
    Publish {
        topic: usize,
        times: u8,
    },
    End(usize),
    Drain {
        shard: usize,
        budget: usize,
    },
    Write {
        client: usize,
        bytes: Option<usize>,
    },
    Wait(u64),
    /// Looks for topics that have expired.
    Look,
    Lose(usize),
    /// Connects again and resumes the names that it had.
    Return(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    let mode = prop_oneof![3 => Just(None), 1 => Just(Some(Mode::Every)), 1 => Just(Some(Mode::Snapshot))];
    prop_oneof![
        4 => (client.clone(), prop::collection::vec((0..PATTERNS.len(), any::<bool>()), 1..4), mode, any::<bool>())
            .prop_map(|(client, patterns, mode, snapshot)| Op::Subscribe { client, patterns, mode, snapshot }),
        2 => (client.clone(), 0..PATTERNS.len()).prop_map(|(client, pattern)| Op::Unsubscribe { client, pattern }),
        8 => (0..TOPICS.len(), 1_u8..6).prop_map(|(topic, times)| Op::Publish { topic, times }),
        4 => (0..TOPICS.len()).prop_map(Op::End),
        5 => (0..usize::from(SHARDS), 0_usize..12).prop_map(|(shard, budget)| Op::Drain { shard, budget }),
        6 => (client.clone(), prop_oneof![
            6 => (0_usize..200).prop_map(Some),
            1 => (200_usize..4_000).prop_map(Some),
            2 => Just(None),
        ]).prop_map(|(client, bytes)| Op::Write { client, bytes }),
        2 => (1_u64..300).prop_map(Op::Wait),
        2 => Just(Op::Look),
        1 => client.clone().prop_map(Op::Lose),
        2 => client.prop_map(Op::Return),
    ]
}

/// One life of a topic.
#[derive(Debug)]
struct Life {
    epoch: String,
    head: u64,
    has_ended: bool,
}

type Truth = Vec<Vec<Life>>;

/// The data of a message: no two of a topic are the same.
fn data(life: usize, seq: u64) -> String {
    (life as u64 * 100_000 + seq).to_string()
}

/// What a client knows of a topic.
#[derive(Debug, Default)]
struct Place {
    /// The epoch of the life that it is in, if it was told one.
    epoch: Option<String>,
    at: u64,
    /// Whether the life before has ended, and nothing has told of the next one.
    has_ended: bool,
    /// Whether every message was asked for at any time.
    every: bool,
}

#[derive(Debug)]
enum Asked {
    Subscribe(Vec<(&'static str, Option<(String, u64)>)>, Option<Mode>),
    Unsubscribe(&'static str),
}

#[derive(Debug, Default)]
struct Reader {
    asked: BTreeMap<u64, Asked>,
    /// Whether each pattern asks for every message.
    patterns: BTreeMap<&'static str, bool>,
    places: BTreeMap<usize, Place>,
}

fn matches(pattern: &str, topic: &str) -> bool {
    pattern.parse::<Pattern>().expect("a pattern").matches(topic)
}

fn topic_named(name: &str) -> usize {
    let found = TOPICS.iter().position(|(topic, ..)| *topic == name);
    found.expect("a topic of this world")
}

impl Reader {
    fn covers(&self, topic: usize) -> bool {
        self.patterns
            .keys()
            .any(|pattern| matches(pattern, TOPICS[topic].0))
    }

    /// The place of a topic that a message came of.
    fn place(&mut self, topic: usize) -> &mut Place {
        let name = TOPICS[topic].0;
        assert!(self.covers(topic), "a message of {name}, which is not subscribed");
        let mut asking = self.patterns.iter().filter(|(_, every)| **every);
        let every = TOPICS[topic].1 == Kind::Event || asking.any(|(pattern, _)| matches(pattern, name));
        let place = self.places.entry(topic).or_default();
        place.every |= every;
        place
    }

    fn read(&mut self, frame: &Frame, truth: &Truth) {
        let Frame::Message(message) = frame else { return };
        match message {
            ServerMessage::Update {
                topic,
                seq,
                data: got,
                ..
            } => {
                let topic = topic_named(topic);
                let place = self.place(topic);
                let told = place
                    .epoch
                    .as_ref()
                    .unwrap_or_else(|| panic!("{message:?} at {place:?}"));
                let life = truth[topic].iter().position(|life| life.epoch == *told);
                let life = life.unwrap_or_else(|| panic!("{message:?} at {place:?}"));
                assert_eq!(got.get(), data(life, seq.0), "{message:?} at {place:?}");
                assert!(
                    if TOPICS[topic].1 == Kind::Event {
                        seq.0 == place.at + 1
                    } else {
                        seq.0 > place.at
                    },
                    "{message:?} at {place:?}"
                );
                place.at = seq.0;
            }
            ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                data: got,
                ..
            } => {
                let topic = topic_named(topic);
                let life = truth[topic].iter().position(|life| life.epoch == epoch.as_str());
                assert_eq!(got.get(), data(life.expect("a life"), seq.0));
                if !self.covers(topic) {
                    return; // a one-shot
                }
                let place = self.place(topic);
                assert!(!place.has_ended, "{message:?} at {place:?}");
                assert!(
                    place.epoch.as_deref().is_none_or(|told| told == epoch.as_str()) && seq.0 >= place.at,
                    "{message:?} at {place:?}"
                );
                (place.epoch, place.at) = (Some(epoch.to_string()), seq.0);
            }
            ServerMessage::Control(control) => self.control(control, truth),
            ServerMessage::Unknown(op) => panic!("{op}?"),
        }
    }

    fn control(&mut self, control: &Control, truth: &Truth) {
        match control {
            Control::Ack { id, results } => self.ack(id.0, results),
            Control::Gap {
                topic,
                epoch,
                from,
                to,
                ..
            } => {
                let place = self.place(topic_named(topic));
                assert!(!place.has_ended && to >= from, "{control:?} at {place:?}");
                match &place.epoch {
                    Some(told) => assert_eq!((told.as_str(), place.at + 1), (epoch.as_str(), from.0)),
                    None => place.epoch = Some(epoch.to_string()),
                }
                place.at = to.0;
            }
            Control::Joined { topic, epoch, seq } => {
                let place = self.place(topic_named(topic));
                // An ack may have told it too, while the topic did not exist.
                assert!(place.epoch.is_none() || place.at == 0, "{control:?} at {place:?}");
                assert!(
                    !place.has_ended || seq.0 == 0,
                    "a life is joined from its beginning"
                );
                (place.epoch, place.at, place.has_ended) = (Some(epoch.to_string()), seq.0, false);
            }
            Control::End {
                topic, epoch, seq, ..
            } => {
                let topic = topic_named(topic);
                let life = truth[topic].iter().find(|life| life.epoch == epoch.as_str());
                let life = life.expect("a life");
                assert!(life.has_ended && life.head == seq.0, "{control:?} of {life:?}");
                let place = self.place(topic);
                assert!(!place.has_ended, "{control:?} came twice");
                if let Some(told) = &place.epoch {
                    assert_eq!(
                        (told.as_str(), place.at),
                        (epoch.as_str(), seq.0),
                        "an end overtakes nothing"
                    );
                }
                *place = Place {
                    has_ended: true,
                    ..Place::default()
                };
            }
            Control::Error { id, .. } => {
                self.asked.remove(&id.expect("an id").0);
            }
            Control::Synced { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn ack(&mut self, id: u64, results: &[AckResult]) {
        match self.asked.remove(&id).expect("it was asked") {
            Asked::Unsubscribe(pattern) => {
                self.patterns.remove(pattern);
                let left: Vec<usize> = self
                    .places
                    .keys()
                    .copied()
                    .filter(|topic| !self.covers(*topic))
                    .collect();
                for topic in left {
                    self.places.remove(&topic);
                }
            }
            Asked::Subscribe(topics, Some(Mode::Snapshot)) => {
                for ((name, _), result) in topics.into_iter().zip(results) {
                    // The ack of what flows already tells the lineage, too.
                    let flows = result.seq.is_some() && self.covers(topic_named(name));
                    if flows && !self.place(topic_named(name)).has_ended {
                        self.granted(name, None, result);
                    }
                }
            }
            Asked::Subscribe(topics, mode) => {
                for ((name, since), result) in topics.into_iter().zip(results) {
                    if result.error.is_none() {
                        self.patterns.insert(name, mode == Some(Mode::Every));
                        self.granted(name, since, result);
                    }
                }
            }
        }
    }

    fn granted(&mut self, name: &str, since: Option<(String, u64)>, result: &AckResult) {
        let (Some(epoch), Some(seq)) = (&result.epoch, result.seq) else {
            return; // a wildcard
        };
        // What came before the ack may have been dropped for an unsubscribe that is on its way.
        let leaves = |asked: &Asked| matches!(asked, Asked::Unsubscribe(pattern) if matches(pattern, name));
        let is_leaving = self.asked.values().any(leaves);
        let place = self.place(topic_named(name));
        if let Some(told) = place.epoch.as_ref().filter(|_| !is_leaving) {
            let standing = (told.as_str(), place.at);
            assert_eq!(
                (epoch.as_str(), seq.0),
                standing,
                "the ack of {name} keeps its place"
            );
            return;
        }
        (place.epoch, place.at, place.has_ended) = (Some(epoch.to_string()), seq.0, false);
        let Some((asked, at)) = since else { return };
        match result.recovered {
            Some(true) => {
                assert_eq!(asked, epoch.as_str(), "another life of {name} is resumed");
                place.at = at;
            }
            _ if seq.0 > 0 && TOPICS[topic_named(name)].1 == Kind::Event => {
                place.at = if asked == epoch.as_str() { at.min(seq.0) } else { 0 };
            }
            _ => {}
        }
    }

    /// Checks what must be true once everything was read.
    fn finish(&self, truth: &Truth) {
        assert!(self.asked.is_empty(), "{:?} are not answered", self.asked);
        for (topic, lives) in truth.iter().enumerate().filter(|(topic, _)| self.covers(*topic)) {
            let name = TOPICS[topic].0;
            let (Some(place), Some(last)) = (self.places.get(&topic), lives.last()) else {
                continue;
            };
            match &place.epoch {
                Some(told) if last.has_ended => {
                    let is_next = lives.iter().all(|life| life.epoch != *told) && place.at == 0;
                    assert!(is_next, "{name} has ended, and nobody told {place:?}");
                }
                Some(told) => {
                    assert_eq!(
                        (told, place.at),
                        (&last.epoch, last.head),
                        "{name} ends at {place:?}"
                    );
                }
                None => assert!(!place.has_ended || last.has_ended, "{name} has not joined again"),
            }
        }
    }
}

struct Model {
    world: World,
    truth: Truth,
    readers: Vec<Reader>,
}

impl Model {
    fn new(queue: usize, budget: usize) -> Self {
        let rules = TOPICS.iter().map(|(name, kind, history)| KindRule {
            pattern: name.parse().expect("a pattern"),
            kind: *kind,
            history: *history,
            candles: 0,
        });
        let mut setup = Setup {
            shards: SHARDS,
            queue,
            rules: rules.collect(),
            expiry: vec![ExpiryRule {
                pattern: "opt.short".parse().expect("a pattern"),
                after_ms: 200,
                even_if_watched: false,
            }],
            ..Setup::default()
        };
        let settings = &mut setup.settings;
        settings.outbox_bytes_max = budget;
        settings.limits.ops_per_s = 1_000_000;
        settings.limits.ops_burst = 1_000_000;
        settings.stall_ms = 1_000_000_000;
        settings.heartbeat_ms = 1_000_000_000;
        settings.ping_after_ms = 1_000_000_000;
        settings.first_request_ms = 1_000_000_000;
        let mut world = World::new(setup);
        for client in 0..CLIENTS {
            let variant = VARIANTS[client % VARIANTS.len()];
            world.open(client % usize::from(SHARDS), variant, Vec::new());
            world.clients[client].room = Some(0);
        }
        Self {
            world,
            truth: TOPICS.iter().map(|_| Vec::new()).collect(),
            readers: (0..CLIENTS).map(|_| Reader::default()).collect(),
        }
    }

    fn is_connected(&self, client: usize) -> bool {
        self.world.clients[client].id.is_some()
    }

    fn publish(&mut self, topic: usize) {
        let (name, lives) = (TOPICS[topic].0, &mut self.truth[topic]);
        if lives.last().is_none_or(|life| life.has_ended) {
            let epoch = self.world.directory.epoch_of(name).to_string();
            assert!(
                lives.iter().all(|life| life.epoch != epoch),
                "each life has its epoch"
            );
            lives.push(Life {
                epoch,
                head: 0,
                has_ended: false,
            });
        }
        let at = lives.len() - 1;
        lives[at].head += 1;
        let data = data(at, lives[at].head);
        self.world.publish(name, &data);
        let cell = self.world.directory.find(name).expect("published");
        let (epoch, head) = (&self.truth[topic][at].epoch, self.truth[topic][at].head);
        assert_eq!(
            (cell.position().epoch.as_str(), cell.position().seq),
            (epoch.as_str(), Seq(head))
        );
    }

    fn end(&mut self, topic: usize) {
        let ended = self.world.directory.delete(TOPICS[topic].0);
        match (ended, self.truth[topic].last_mut().filter(|life| !life.has_ended)) {
            (Some(ended), Some(life)) => {
                assert_eq!(
                    (ended.epoch.as_str(), ended.seq.0),
                    (life.epoch.as_str(), life.head)
                );
                life.has_ended = true;
            }
            (ended, life) => assert!(ended.is_none() && life.is_none(), "{ended:?} of {life:?}"),
        }
    }

    /// Finds the topics that have expired.
    fn look(&mut self) {
        self.world.look();
        for (topic, lives) in self.truth.iter_mut().enumerate() {
            let (name, is_there) = (
                TOPICS[topic].0,
                self.world.directory.find(TOPICS[topic].0).is_some(),
            );
            if let Some(life) = lives.last_mut().filter(|life| !life.has_ended && !is_there) {
                assert_eq!(name, "opt.short", "nothing else expires");
                life.has_ended = true;
            }
        }
    }

    fn subscribe(
        &mut self,
        client: usize,
        topics: Vec<(&'static str, Option<(String, u64)>)>,
        mode: Option<Mode>,
        snapshot: bool,
    ) {
        let id = self.world.next_request(client);
        let requests = topics.iter().map(|(topic, since)| match since {
            None => TopicRequest::Pattern((*topic).to_owned()),
            Some((epoch, seq)) => TopicRequest::Since {
                topic: (*topic).to_owned(),
                since: Some(Since::One(Position {
                    epoch: Epoch::from(epoch.as_str()),
                    seq: Seq(*seq),
                })),
            },
        });
        let message = ClientMessage::Subscribe(Subscribe {
            id,
            topics: requests.collect(),
            mode,
            conflate_ms: None,
            snapshot,
        });
        self.readers[client]
            .asked
            .insert(id.0, Asked::Subscribe(topics, mode));
        self.world.request(client, &message);
    }

    /// A position in some life of a topic, not always the last.
    fn since(&self, name: &str, pick: usize) -> Option<(String, u64)> {
        let lives = &self.truth[TOPICS.iter().position(|(topic, ..)| *topic == name)?];
        let life = lives.get(lives.len().checked_sub(1 + pick % 2)?)?;
        Some((life.epoch.clone(), life.head.saturating_sub(pick as u64 % 3)))
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Subscribe {
                client,
                patterns,
                mode,
                snapshot,
            } if self.is_connected(client) => {
                let mut topics: Vec<(&'static str, Option<(String, u64)>)> = Vec::new();
                for (pattern, resumes) in patterns {
                    let name = PATTERNS[pattern];
                    let resumes = resumes && mode != Some(Mode::Snapshot);
                    let since = resumes
                        .then(|| self.since(name, pattern + topics.len()))
                        .flatten();
                    if topics.iter().all(|(other, _)| *other != name) {
                        topics.push((name, since));
                    }
                }
                self.subscribe(client, topics, mode, snapshot);
            }
            Op::Unsubscribe { client, pattern } if self.is_connected(client) => {
                let id = self.world.next_request(client);
                let pattern = PATTERNS[pattern];
                self.readers[client]
                    .asked
                    .insert(id.0, Asked::Unsubscribe(pattern));
                let topics = vec![pattern.to_owned()];
                self.world
                    .request(client, &ClientMessage::Unsubscribe { id, topics });
            }
            Op::Publish { topic, times } => (0..times).for_each(|_| self.publish(topic)),
            Op::End(topic) => self.end(topic),
            Op::Drain { shard, budget } => {
                self.world.hand_out(shard, budget);
            }
            Op::Write { client, bytes } => {
                self.world.make_room(client, bytes);
                if bytes.is_none() {
                    self.world.clients[client].room = Some(0);
                }
            }
            Op::Wait(ms) => self.world.wait_ms(ms),
            Op::Look => self.look(),
            Op::Lose(client) => self.world.disconnect(client),
            Op::Return(client) if !self.is_connected(client) => self.come_back(client),
            _ => {}
        }
        self.read();
    }

    fn come_back(&mut self, client: usize) {
        self.world.connect(client, Vec::new());
        self.world.clients[client].room = Some(0);
        let before = std::mem::take(&mut self.readers[client]);
        let named = before.places.into_iter().filter_map(|(topic, place)| {
            let name = TOPICS[topic].0;
            let since = place.epoch.map(|epoch| (epoch, place.at));
            before.patterns.contains_key(name).then_some((name, since))
        });
        let named: Vec<_> = named.collect();
        if !named.is_empty() {
            self.subscribe(client, named, None, true);
        }
    }

    fn read(&mut self) {
        self.world.check_ledgers();
        for (client, reader) in self.world.clients.iter_mut().zip(&mut self.readers) {
            for (_, frame) in client.inbox.drain(..) {
                reader.read(&frame, &self.truth);
            }
        }
    }

    /// Writes everything and checks what must be true at the end.
    fn finish(&mut self) {
        for client in 0..CLIENTS {
            self.world.make_room(client, None);
        }
        self.world.run();
        self.world.run();
        self.read();
        for client in 0..CLIENTS {
            if self.is_connected(client) {
                self.readers[client].finish(&self.truth);
            }
        }
        let there = self
            .truth
            .iter()
            .filter(|lives| lives.last().is_some_and(|life| !life.has_ended));
        let there = there.count();
        assert_eq!(self.world.directory.topic_count(), there);
        assert_eq!(
            self.world.directory.ended_and_held(),
            0,
            "nobody needs an ended topic"
        );
        for shard in &self.world.shards {
            assert!(
                shard.topics_held() <= there,
                "a shard holds {} of {there}",
                shard.topics_held()
            );
        }
        self.check_nothing_is_left();
    }

    /// Checks that without topics and sessions nothing is held, and no message is queued.
    fn check_nothing_is_left(&mut self) {
        for client in 0..CLIENTS {
            self.world.disconnect(client);
        }
        (0..TOPICS.len()).for_each(|topic| self.end(topic));
        self.world.run();
        let directory = &self.world.directory;
        assert_eq!((directory.value_bytes(), directory.history_bytes()), (0, 0));
        assert_eq!((directory.topic_count(), directory.ended_and_held()), (0, 0));
        (0..TOPICS.len()).for_each(|topic| self.publish(topic));
        assert!(
            self.world.shards.iter().all(|shard| shard.queue_depth() == 0),
            "nobody wants them"
        );
    }
}

proptest! {
    // The environment variable PROPTEST_CASES sets a larger number.
    #![proptest_config(ProptestConfig {
        cases: 2 * ProptestConfig::default().cases,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_life_is_over_before_the_next_begins(
        queue in prop_oneof![1 => 0_usize..3, 2 => 3_usize..40],
        budget in prop_oneof![1 => 100_usize..600, 2 => Just(256 * 1024)],
        ops in prop::collection::vec(op(), 1..160),
    ) {
        let mut model = Model::new(queue, budget);
        for op in ops {
            model.apply(op);
        }
        model.finish();
    }
}
