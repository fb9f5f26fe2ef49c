//! Clients that subscribe and unsubscribe, or come back, again and again while messages flow. Each continues from its
//! position, and every message is read once or named once in a gap.

use proptest::prelude::*;
use tickwire_router::KindRule;
use tickwire_wire::message::{AckResult, Position, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Epoch, Kind, Mode, Seq, ServerMessage};

use crate::world::{EPOCH, Frame, Setup, World};

/// Topics with their kinds. Every message of the last one is asked for although it is conflated by default.
const TOPICS: [(&str, Kind); 3] = [
    ("trade.A", Kind::Event),
    ("book.A", Kind::Book),
    ("ticker.A", Kind::State),
];

#[derive(Debug, Clone)]
enum Step {
    Publish(u8),
    Drain(usize),
    Write(usize),
    /// Leaves a topic, reads up to the answer, and comes back with its position.
    Leave(usize),
    /// Loses the connection and comes back with its positions.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1_u8..6).prop_map(Step::Publish),
        3 => (0_usize..9).prop_map(Step::Drain),
        3 => (0_usize..400).prop_map(Step::Write),
        2 => (0..TOPICS.len()).prop_map(Step::Leave),
        1 => Just(Step::Lose),
    ]
}

struct Storm {
    world: World,
    published: u64,
    /// The last message of each topic that the client has, or knows to be missing.
    at: [u64; 3],
    /// The last answered request.
    answered: u64,
}

impl Storm {
    fn new(history: usize) -> Self {
        let mut setup = Setup {
            queue: 5,
            ..Setup::default()
        };
        setup.settings.outbox_bytes_max = 500;
        setup.settings.limits.ops_per_s = 1_000_000;
        setup.settings.limits.ops_burst = 1_000_000;
        setup.rules = (TOPICS.iter())
            .map(|(topic, kind)| KindRule {
                pattern: topic.parse().expect("a pattern"),
                kind: *kind,
                history,
                candles: 0,
            })
            .collect();
        let mut storm = Self {
            world: World::new(setup),
            published: 0,
            at: [0; 3],
            answered: 0,
        };
        storm.world.open(0, Codec::MessagePack, Vec::new());
        storm.world.clients[0].room = Some(0);
        (0..TOPICS.len()).for_each(|topic| storm.subscribe(topic));
        storm
    }

    fn subscribe(&mut self, topic: usize) {
        let since = Position {
            epoch: Epoch::from(EPOCH),
            seq: Seq(self.at[topic]),
        };
        let id = self.world.next_request(0);
        self.world.request(
            0,
            &ClientMessage::Subscribe(Subscribe {
                id,
                topics: vec![TopicRequest::Since {
                    topic: TOPICS[topic].0.to_owned(),
                    since: Some(since.into()),
                }],
                mode: Some(Mode::Every),
                conflate_ms: None,
                snapshot: true,
            }),
        );
    }

    fn publish(&mut self) {
        self.published += 1;
        for (topic, kind) in TOPICS {
            let n = self.published;
            let data = match kind {
                Kind::Book => {
                    let symbol = topic.trim_start_matches("book.");
                    format!(r#"{{"symbol":"{symbol}","bids":[["{n}","1"]],"time":{n}}}"#)
                }
                Kind::State | Kind::Event => n.to_string(),
            };
            self.world.publish(topic, &data);
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Publish(times) => (0..*times).for_each(|_| self.publish()),
            Step::Drain(budget) => {
                self.world.hand_out(0, *budget);
            }
            Step::Write(bytes) => self.world.make_room(0, Some(*bytes)),
            Step::Leave(topic) => {
                let id = self.world.next_request(0);
                let topics = vec![TOPICS[*topic].0.to_owned()];
                self.world.request(0, &ClientMessage::Unsubscribe { id, topics });
                self.world.make_room(0, None);
                self.world.clients[0].room = Some(0);
                self.read();
                assert_eq!(self.answered, id.0, "it has read the answer");
                self.subscribe(*topic);
            }
            Step::Lose => {
                self.world.disconnect(0);
                self.world.connect(0, Vec::new());
                self.world.clients[0].room = Some(0);
                self.answered = 0;
                (0..TOPICS.len()).for_each(|topic| self.subscribe(topic));
            }
        }
        self.read();
        self.world.check_ledgers();
    }

    fn read(&mut self) {
        for (_, frame) in std::mem::take(&mut self.world.clients[0].inbox) {
            let Frame::Message(message) = frame else {
                panic!("{frame:?}")
            };
            self.message(message);
        }
    }

    fn message(&mut self, message: ServerMessage) {
        let find = |name: &str| {
            TOPICS
                .iter()
                .position(|(topic, _)| *topic == name)
                .expect("a topic")
        };
        match message {
            ServerMessage::Update { topic, seq, .. } => {
                let at = &mut self.at[find(&topic)];
                assert_eq!(seq.0, *at + 1, "{topic}: neither lost nor repeated");
                *at = seq.0;
            }
            ServerMessage::Snapshot { topic, seq, .. } => {
                let index = find(&topic);
                assert_ne!(TOPICS[index].1, Kind::Event, "every message counts");
                assert!(seq.0 >= self.at[index], "{topic}");
                self.at[index] = seq.0;
            }
            ServerMessage::Control(Control::Gap { topic, from, to, .. }) => {
                let at = &mut self.at[find(&topic)];
                assert_eq!(from.0, *at + 1, "{topic}: a gap begins where the client is");
                assert!(to >= from);
                *at = to.0;
            }
            ServerMessage::Control(Control::Ack { id, results }) => {
                self.answered = id.0;
                results.iter().for_each(|result| self.acked(result));
            }
            other => panic!("{other:?}"),
        }
    }

    fn acked(&self, result: &AckResult) {
        assert!(result.error.is_none(), "{result:?}");
        if let Some(seq) = result.seq {
            assert!(seq.0 <= self.published, "{result:?}");
            assert!(result.recovered.is_some(), "a position is there from the ack on");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_repeated(
        history in prop_oneof![Just(2_usize), Just(1_000)],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut storm = Storm::new(history);
        for step in &steps {
            storm.apply(step);
        }
        storm.world.make_room(0, None);
        storm.world.run();
        storm.world.run();
        storm.read();
        prop_assert_eq!(storm.at, [storm.published; 3]);
        let ledger = &storm.world.shards[0].counts().ledger;
        prop_assert_eq!(ledger.pending(), 0);
        if history == 1_000 {
            prop_assert_eq!((ledger.gapped, ledger.conflated), (0, 0));
        }
    }
}
