//! `conflate_ms`: the least time between two updates of a topic.

use std::collections::BTreeMap;

use expect_test::expect;
use proptest::prelude::*;
use tickwire_wire::message::{Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Micros, ServerMessage};

use crate::script::check;
use crate::world::{Frame, START, Setup, VARIANTS, World};

#[test]
fn the_first_goes_at_once_and_the_last_of_a_burst_when_the_time_has_passed() {
    check(
        "open a; sub a ticker.A rate=100; pub ticker.A 1; go; pub ticker.A 2..5; go; wait 99; wait 1;
         wait 99; pub ticker.A 6; go; wait 1; wait 200; pub ticker.A 7; go; show count conflated",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate rate=100
            a: update ticker.A 1 1
            100 ms a: update ticker.A 5 5
            200 ms a: update ticker.A 6 6
            a: update ticker.A 7 7
            count conflated: 3"#]],
    );
}

#[test]
fn what_is_asked_for_is_raised_to_a_class_and_refused_beyond_the_last() {
    check(
        "open a; sub a ticker.A rate=0; sub a ticker.B rate=101; sub a ticker.C rate=60000; sub a ticker.D rate=60001;
         sub a ticker.* rate=15 mode=conflate; pub ticker.E 1; sub a ticker.E rate=300; go",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate
            a: ack 2 ticker.B@0 conflate rate=200
            a: ack 3 ticker.C@0 conflate rate=60000
            a: ack 4 ticker.D bad_request: conflate_ms 60001 is above the most that can be had, 60000
            a: ack 5 ticker.* matched=0 conflate rate=20
            a: ack 6 ticker.E@0 conflate rate=500
            a: snapshot ticker.E 1 1"#]],
    );
}

#[test]
fn a_rate_is_for_what_is_conflated() {
    check(
        "open a; pub trade.A 1; sub a trade.A rate=100; sub a trade.* rate=100; sub a > rate=100; sub a book.A rate=100;
         sub a ticker.A rate=100 mode=every; sub a ticker.A rate=100 mode=snapshot; sub a ticker.A rate=0 mode=every; go",
        expect![[r#"
            a: ack 1 trade.A bad_request: mode conflate: trade.A is of kind event, whose messages all count
            a: ack 2 trade.* bad_request: mode conflate: trade.* is of kind event, whose messages all count
            a: ack 3 > bad_request: mode conflate: > is of kind event, whose messages all count
            a: ack 4 book.A bad_request: mode conflate: book.A is of kind book, whose messages all count
            a: ack 5 ticker.A bad_request: conflate_ms 100 goes with mode conflate, not with mode every
            a: ack 6 ticker.A bad_request: conflate_ms 100 goes with mode conflate, not with mode snapshot
            a: ack 7 ticker.A@0 every"#]],
    );
}

#[test]
fn what_is_still_queued_when_the_time_comes_goes_out_then_and_once() {
    check(
        "open a; sub a ticker.A rate=100; pub ticker.A 1; go; pub ticker.A 2; go; wait 90; pub ticker.A 3; wait 1000;
         go; pub ticker.A 4; go; wait 99; wait 1",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate rate=100
            a: update ticker.A 1 1
            100 ms a: update ticker.A 3 3
            a: update ticker.A 4 4"#]],
    );
}

#[test]
fn each_class_of_a_topic_keeps_its_own_time() {
    check(
        "open a; open b; open c; sub a ticker.A; sub b ticker.A rate=50; sub c ticker.A rate=200; pub ticker.A 1; go;
         pub ticker.A 2; go; wait 49; pub ticker.A 3; go; wait 1; pub ticker.A 4; go; wait 200; show encodes",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate
            a: update ticker.A 1 1
            b: ack 1 ticker.A@0 conflate rate=50
            b: update ticker.A 1 1
            c: ack 1 ticker.A@0 conflate rate=200
            c: update ticker.A 1 1
            a: update ticker.A 2 2
            a: update ticker.A 3 3
            50 ms b: update ticker.A 3 3
            a: update ticker.A 4 4
            100 ms b: update ticker.A 4 4
            200 ms c: update ticker.A 4 4
            encodes: json 4 updates 0 snapshots, msgpack 0 updates 0 snapshots"#]],
    );
}

#[test]
fn a_snapshot_comes_first_and_does_not_start_the_time() {
    check(
        "open a; pub ticker.A 1; sub a ticker.A rate=100; go; pub ticker.A 2; go; pub ticker.A 3; resync a ticker.A; go;
         wait 100; pub ticker.A 4; go; wait 100; pub ticker.A 5; go; unsub a ticker.A; go; wait 300",
        expect![[r#"
            a: ack 1 ticker.A@1 conflate rate=100
            a: snapshot ticker.A 1 1
            a: update ticker.A 2 2
            a: ack 2 ticker.A@2
            a: snapshot ticker.A 3 3
            200 ms a: update ticker.A 4 4
            a: ack 3 ticker.A"#]],
    );
}

#[test]
fn whoever_joins_a_class_that_waits_shares_its_time() {
    check(
        "open a; open b; sub a ticker.A rate=100; pub ticker.A 1; go; wait 60; sub b ticker.A rate=100; go;
         pub ticker.A 2; go; wait 40; unsub a ticker.A; unsub b ticker.A; sub b ticker.A rate=100 nosnapshot; go;
         pub ticker.A 3; go; wait 100; wait 100; pub ticker.A 4; go",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate rate=100
            a: update ticker.A 1 1
            b: ack 1 ticker.A@1 conflate rate=100
            b: snapshot ticker.A 1 1
            100 ms a: update ticker.A 2 2
            100 ms b: update ticker.A 2 2
            a: ack 2 ticker.A
            b: ack 2 ticker.A
            b: ack 3 ticker.A@2 conflate rate=100
            200 ms b: update ticker.A 3 3
            b: update ticker.A 4 4"#]],
    );
}

#[test]
fn of_several_patterns_the_fastest_counts_and_every_message_beats_them() {
    check(
        "open a; sub a ticker.* rate=1000; sub a ticker.A rate=100; sub a *.A; unsub a *.A; pub ticker.A 1; go;
         pub ticker.A 2; go; wait 100; unsub a ticker.A; pub ticker.A 3; go; wait 899; wait 101;
         sub a ticker.A mode=every; pub ticker.A 4..6; go; unsub a ticker.A; pub ticker.A 7; go; wait 1000;
         sub a ticker.* rate=0; go; pub ticker.A 8; go; pub ticker.A 9; go; sub a ticker.* rate=500; go; pub ticker.A 10;
         go; pub ticker.A 11; go; wait 500",
        expect![[r#"
            a: ack 1 ticker.* matched=0 conflate rate=1000
            a: ack 2 ticker.A@0 conflate rate=100
            a: ack 3 *.A matched=0 state=conflate book=every event=every
            a: ack 4 *.A
            a: update ticker.A 1 1
            100 ms a: update ticker.A 2 2
            a: ack 5 ticker.A
            a: update ticker.A 3 3
            a: ack 6 ticker.A@3 every
            a: snapshot ticker.A 6 6
            a: ack 7 ticker.A
            a: update ticker.A 7 7
            a: ack 8 ticker.* matched=1 conflate
            a: update ticker.A 8 8
            a: update ticker.A 9 9
            a: ack 9 ticker.* matched=1 conflate rate=500
            a: update ticker.A 10 10
            2600 ms a: update ticker.A 11 11"#]],
    );
}

#[test]
fn topics_that_appear_later_have_the_rate_of_the_pattern() {
    check(
        "open a; sub a ticker.* rate=100; pub ticker.A 1; pub ticker.A 2; pub ticker.B 1; go; wait 100; show subscribers ticker.A;
         lost a; show subscribers ticker.A; pub ticker.A 3; show queue",
        expect![[r#"
            a: ack 1 ticker.* matched=0 conflate rate=100
            a: joined ticker.A 0
            a: update ticker.A 1 1
            a: joined ticker.B 0
            a: update ticker.B 1 1
            100 ms a: update ticker.A 2 2
            subscribers ticker.A: 1
            subscribers ticker.A: 0
            queue: 0"#]],
    );
}

#[test]
fn resuming_brings_the_newest_and_then_the_rate_holds() {
    check(
        "open a; pub ticker.A 1..9; sub a ticker.A@4 rate=100; go; pub ticker.A 10; go; pub ticker.A 11; go; wait 100;
         show count conflated",
        expect![[r#"
            a: ack 1 ticker.A@9 conflate rate=100 recovered=true
            a: update ticker.A 9 9
            a: update ticker.A 10 10
            100 ms a: update ticker.A 11 11
            count conflated: 4"#]],
    );
}

#[test]
fn a_slow_reader_gets_the_newest_when_there_is_room_and_its_class_later() {
    check(
        "outbox 50000; open a; open b; sub a ticker.A rate=100; sub b ticker.A rate=100; go; stall a;
         pub ticker.A *40000; go; wait 100; pub ticker.A *40001; go; wait 100; pub ticker.A *40002; go; wait 100;
         pub ticker.A *40003; go; wait 100; show outbox a; show count conflated; pub ticker.A *40004; go; resume a; wait 99;
         wait 1; show count conflated; pub ticker.A 6; go; wait 100",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate rate=100
            b: ack 1 ticker.A@0 conflate rate=100
            b: update ticker.A 1 "x…(40000)"
            b: update ticker.A 2 "x…(40001)"
            b: update ticker.A 3 "x…(40002)"
            b: update ticker.A 4 "x…(40003)"
            outbox a: 0 control, 0 data
            count conflated: 0
            b: update ticker.A 5 "x…(40004)"
            a: update ticker.A 5 "x…(40004)"
            count conflated: 4
            a: update ticker.A 6 6
            b: update ticker.A 6 6"#]],
    );
}

#[test]
fn a_full_queue_costs_a_class_nothing_but_what_is_superseded() {
    check(
        "queue 1; open a; sub a ticker.A rate=100; pub ticker.A 1; pub ticker.B 1; pub ticker.A 2..4; go; pub ticker.B 2;
         pub ticker.A 5..7; go; wait 100; show count conflated; show count gaps",
        expect![[r#"
            a: ack 1 ticker.A@0 conflate rate=100
            a: update ticker.A 1 1
            100 ms a: update ticker.A 7 7
            count conflated: 5
            count gaps: 0"#]],
    );
}

/// A connection that wants `ticker.A` at most once in `conflate_ms`.
fn subscribe(world: &mut World, codec: Codec, conflate_ms: u32) -> usize {
    let client = world.open(0, codec, Vec::new());
    ask(world, client, "ticker.A", conflate_ms);
    client
}

fn ask(world: &mut World, client: usize, topic: &str, conflate_ms: u32) {
    let request = ClientMessage::Subscribe(Subscribe {
        id: world.next_request(client),
        topics: vec![TopicRequest::Pattern(topic.to_owned())],
        mode: None,
        conflate_ms: Some(conflate_ms),
        snapshot: false,
    });
    world.request(client, &request);
}

#[test]
fn a_class_of_ten_thousand_is_one_encoding_and_one_pass_per_interval() {
    let mut world = World::new(Setup::default());
    for client in 0..10_000 {
        subscribe(&mut world, Codec::ALL[client % 2], 100);
    }
    let counts = |world: &World| {
        let counts = world.shards[0].counts();
        let encodes = counts.encodes.map(|by_op| by_op[0]);
        (encodes, counts.updates, counts.ledger.conflated)
    };
    let mut published = 0;
    for interval in 1..=5 {
        for _ in 0..20 {
            published += 1;
            world.publish("ticker.A", &published.to_string());
            world.shards[0].hand_out(usize::MAX, world.now);
            // The first publication goes at once. The others are looked at and put off, for all subscribers together.
            let passes = if published == 1 { 1 } else { interval };
            assert_eq!(counts(&world).1, passes * 10_000);
        }
        world.now = world.now.plus_ms(100);
        world.shards[0].on_timeout(world.now);
        world.run();
        let skipped = published - 1 - interval;
        assert_eq!(
            counts(&world),
            (
                [interval + 1, interval + 1, 0, 0, 0],
                (interval + 1) * 10_000,
                skipped * 10_000
            )
        );
    }
}

#[derive(Debug, Clone)]
enum Step {
    Publish {
        topic: usize,
        times: u8,
    },
    Drain,
    Wait {
        ms: u64,
    },
    Ask {
        client: usize,
        pattern: usize,
        class: usize,
    },
}

const TOPICS: [&str; 3] = ["ticker.A", "ticker.B", "bbo.A"];
const PATTERNS: [&str; 4] = ["ticker.A", "ticker.B", "ticker.*", "bbo.>"];
const CLASSES: [u32; 4] = [0, 10, 50, 100];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..TOPICS.len(), 1_u8..4).prop_map(|(topic, times)| Step::Publish { topic, times }),
        4 => Just(Step::Drain),
        4 => (1_u64..40).prop_map(|ms| Step::Wait { ms }),
        1 => (0_usize..4, 0..PATTERNS.len(), 0..CLASSES.len())
            .prop_map(|(client, pattern, class)| Step::Ask { client, pattern, class }),
    ]
}

/// What a client that reads everything at once may expect of one topic.
#[derive(Debug, Default)]
struct Seen {
    /// The number and time of the last update, unless the rate has changed since.
    last: Option<(u64, Micros)>,
    /// The newest message that it has, or the position at which its subscription began.
    got: u64,
    /// When the oldest newer message was handed to the shard.
    newer_since: Option<Micros>,
}

struct Watch {
    world: World,
    heads: [u64; TOPICS.len()],
    drained: [u64; TOPICS.len()],
    /// The class that each client has asked for with each pattern.
    asked: [BTreeMap<usize, u32>; 4],
    seen: [[Seen; TOPICS.len()]; 4],
}

impl Watch {
    fn new() -> Self {
        let mut world = World::new(Setup::default());
        for variant in VARIANTS.into_iter().take(4) {
            world.open(0, variant, Vec::new());
        }
        Self {
            world,
            heads: [0; 3],
            drained: [0; 3],
            asked: Default::default(),
            seen: Default::default(),
        }
    }

    /// The rate that a client should have for a topic.
    fn rate(&self, client: usize, topic: usize) -> Option<u32> {
        let covers = |pattern: usize| {
            let pattern: tickwire_wire::Pattern = PATTERNS[pattern].parse().expect("a pattern");
            pattern.matches(TOPICS[topic])
        };
        let asked = self.asked[client].iter();
        asked
            .filter(|(pattern, _)| covers(**pattern))
            .map(|(_, ms)| *ms)
            .min()
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Publish { topic, times } => {
                for _ in 0..times {
                    self.heads[topic] += 1;
                    self.world.publish(TOPICS[topic], &self.heads[topic].to_string());
                }
            }
            Step::Drain => {
                self.world.run();
                self.drained = self.heads;
            }
            Step::Wait { ms } => self.world.wait_ms(ms),
            Step::Ask {
                client,
                pattern,
                class,
            } => {
                let had: [bool; 3] = std::array::from_fn(|topic| self.rate(client, topic).is_some());
                ask(&mut self.world, client, PATTERNS[pattern], CLASSES[class]);
                self.asked[client].insert(pattern, CLASSES[class]);
                // A changed subscription continues from the directory with the newest message there.
                self.world.write_dirty(0);
                for (topic, had) in had.into_iter().enumerate() {
                    let seen = &mut self.seen[client][topic];
                    (seen.last, seen.newer_since) = (None, None);
                    if !had {
                        seen.got = self.heads[topic];
                    }
                }
                self.read();
                self.seen[client].iter_mut().for_each(|seen| seen.last = None);
            }
        }
        self.read();
        self.check_nothing_is_overdue();
    }

    fn read(&mut self) {
        for client in 0..4 {
            for (at, frame) in std::mem::take(&mut self.world.clients[client].inbox) {
                match frame {
                    Frame::Message(ServerMessage::Update { topic, seq, data, .. }) => {
                        let topic = TOPICS.iter().position(|name| *name == topic).expect("a topic");
                        assert_eq!(data.get(), seq.0.to_string());
                        self.update(client, topic, seq.0, at);
                    }
                    Frame::Message(ServerMessage::Control(Control::Ack { results, .. })) => {
                        assert!(results.iter().all(|result| result.error.is_none()), "{results:?}");
                    }
                    Frame::Message(ServerMessage::Control(Control::Joined { .. })) => {}
                    other => panic!("unexpected {other:?}"),
                }
            }
        }
    }

    fn update(&mut self, client: usize, topic: usize, seq: u64, at: Micros) {
        let rate = self.rate(client, topic).expect("a subscription");
        let seen = &mut self.seen[client][topic];
        assert!(seq > seen.got, "{seq} after {}", seen.got);
        if let Some((last, then)) = seen.last {
            assert!(
                at.since(then) >= u64::from(rate) * 1_000,
                "{} µs between {last} and {seq} at {rate} ms",
                at.since(then)
            );
        }
        *seen = Seen {
            last: Some((seq, at)),
            got: seq,
            newer_since: None,
        };
    }

    /// Checks that a drained message arrives at the latest when its time since the previous update has passed.
    fn check_nothing_is_overdue(&mut self) {
        let now = self.world.now;
        for client in 0..4 {
            for (topic, name) in TOPICS.iter().enumerate() {
                let Some(rate) = self.rate(client, topic) else {
                    continue;
                };
                let drained = self.drained[topic];
                let seen = &mut self.seen[client][topic];
                if seen.got < drained {
                    let since = *seen.newer_since.get_or_insert(now);
                    assert!(
                        now.since(since) <= u64::from(rate) * 1_000,
                        "client {client} has {} of {name} at {now:?}, {drained} since {since:?}",
                        seen.got
                    );
                }
            }
        }
    }

    /// After a quiet time every client has the newest message.
    fn finish(&mut self) {
        self.world.run();
        self.drained = self.heads;
        self.read();
        self.world.wait_ms(200);
        self.read();
        for client in 0..4 {
            for (topic, name) in TOPICS.iter().enumerate() {
                if self.rate(client, topic).is_some() {
                    let got = self.seen[client][topic].got;
                    assert_eq!(got, self.heads[topic], "client {client}, {name}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn a_reader_that_keeps_up_gets_the_newest_in_time_and_no_sooner(steps in prop::collection::vec(step(), 1..120)) {
        let mut watch = Watch::new();
        for step in &steps {
            watch.apply(step);
        }
        watch.finish();
    }
}

#[test]
fn a_wake_that_is_late_delivers_late_and_loses_nothing() {
    let mut world = World::new(Setup::default());
    let client = subscribe(&mut world, Codec::Json, 100);
    let mut came = Vec::new();
    let mut at = |world: &mut World, ms: u64, publish: u64| {
        world.now = START.plus_ms(ms);
        if publish > 0 {
            world.publish("ticker.A", &publish.to_string());
        }
        world.shards[0].on_timeout(world.now);
        world.run();
        for (_, frame) in world.clients[client].inbox.drain(..) {
            if let Frame::Message(ServerMessage::Update { seq, .. }) = frame {
                came.push((ms, seq.0));
            }
        }
    };
    for (ms, publish) in [
        (0, 1),
        (30, 2),
        (350, 0),
        (400, 3),
        (449, 0),
        (450, 0),
        (1_000, 4),
        (1_099, 5),
        (2_000, 0),
    ] {
        at(&mut world, ms, publish);
    }
    assert_eq!(came, [(0, 1), (350, 2), (450, 3), (1_000, 4), (2_000, 5)]);
}

#[test]
fn every_message_of_a_rated_subscription_is_delivered_or_counted_as_skipped() {
    let mut world = World::new(Setup::default());
    for ms in [0, 10, 100, 1_000] {
        subscribe(&mut world, Codec::Json, ms);
    }
    for n in 1..=500 {
        world.publish("ticker.A", &n.to_string());
        world.run();
        world.wait_ms(n % 7);
    }
    world.wait_ms(1_000);
    assert!(world.now > START);
    let counts = world.shards[0].counts();
    assert_eq!(counts.updates + counts.ledger.conflated, 4 * 500);
    assert!(counts.updates > 500 && counts.ledger.conflated > 500);
}
