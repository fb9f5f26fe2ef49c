//! Replays that begin before the history: what the archive has, in any order of events.

use std::rc::Rc;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tickwire_router::{KindRule, Rights};
use tickwire_wire::message::{Subscribe, TopicRequest, TopicState};
use tickwire_wire::{ClientMessage, Codec, Control, Kind, Micros, Moment, ServerMessage, Variant};

use crate::fake_archive::FakeArchive;
use crate::script::check;
use crate::world::{Frame, START, Setup, World};

/// Checks a script. Before it, messages 1 to 9 are published to `trade.A`, message N at N × 10 ms. The history has 7 to 9 of them.
/// The archive has all, three in a part.
#[track_caller]
fn check_nine(script: &str, expected: Expect) {
    check_parts(3, script, expected);
}

/// Does the same, with so many messages in a part.
#[track_caller]
fn check_parts(part: usize, script: &str, expected: Expect) {
    let nine = (1..=9)
        .map(|n| format!("wait 10; pub trade.A {n}; "))
        .collect::<String>();
    check(
        &format!("rule trade.> event 3; archive {part}; open a; synced; {nine}{script}"),
        expected,
    );
}

#[test]
fn messages_of_the_archive_then_those_of_the_history_then_live_ones() {
    check_nine(
        "sub a trade.A^20; go; show asked; answer 1; show asked; answer; pub trade.A 10; go",
        expect![[r#"
            asked: 1 asked
            a: ack 1 trade.A@1 every replay=2..9
            asked: 1 asked
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9
            a: caught up trade.A 9
            a: synced 1
            a: update trade.A 10 10"#]],
    );
    // The moment is in the history: nobody is asked.
    check_nine(
        "sub a trade.A^70; go; show asked",
        expect![[r#"
        a: ack 1 trade.A@6 every replay=7..9
        a: update trade.A 7 7
        a: update trade.A 8 8
        a: update trade.A 9 9
        a: caught up trade.A 9
        a: synced 1
        asked: 0 asked"#]],
    );
    // Between two messages, and behind all.
    check_nine(
        "sub a trade.A^55; answer",
        expect![[r#"
        a: ack 1 trade.A@5 every replay=6..9
        a: update trade.A 6 6
        a: update trade.A 7 7
        a: update trade.A 8 8
        a: update trade.A 9 9
        a: caught up trade.A 9
        a: synced 1"#]],
    );
    check_nine(
        "sub a trade.A^1000; go; show asked",
        expect![[r#"
        a: ack 1 trade.A@9 every replay=10..9
        a: caught up trade.A 9
        a: synced 1
        asked: 0 asked"#]],
    );
}

#[test]
fn an_ack_waits_for_the_archive() {
    check_nine(
        "sub a trade.A^50 trade.B^0; go; show unfinished a; answer",
        expect![[r#"
            unfinished a: 0 done
            a: ack 1 trade.A@4 every replay=5..9, trade.B@0 every replay=1..0
            a: caught up trade.B 0
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9
            a: caught up trade.A 9
            a: synced 1"#]],
    );
}

#[test]
fn what_the_archive_lacks_is_a_gap() {
    check_nine(
        "lose trade.A 1..3; sub a trade.A^0; answer",
        expect![[r#"
        a: ack 1 trade.A@3 every replay=4..9 stored from 40 ms
        a: update trade.A 4 4
        a: update trade.A 5 5
        a: update trade.A 6 6
        a: update trade.A 7 7
        a: update trade.A 8 8
        a: update trade.A 9 9
        a: caught up trade.A 9
        a: synced 1"#]],
    );
    check_nine(
        "lose trade.A 4..5; sub a trade.A^0; answer",
        expect![[r#"
        a: ack 1 trade.A@0 every replay=1..9
        a: update trade.A 1 1
        a: update trade.A 2 2
        a: update trade.A 3 3
        a: gap trade.A 4..5 slow
        a: update trade.A 6 6
        a: update trade.A 7 7
        a: update trade.A 8 8
        a: update trade.A 9 9
        a: caught up trade.A 9
        a: synced 1"#]],
    );
    check_nine(
        "sub a trade.A^0; answer 1; lose trade.A 1..6; answer",
        expect![[r#"
        a: ack 1 trade.A@0 every replay=1..9
        a: gap trade.A 1..6 slow
        a: update trade.A 7 7
        a: update trade.A 8 8
        a: update trade.A 9 9
        a: caught up trade.A 9
        a: synced 1"#]],
    );
    // It fails, or has ended.
    check_nine(
        "sub a trade.A^0; fail; go",
        expect![[r#"
        a: ack 1 trade.A@6 every replay=7..9 stored from 70 ms
        a: update trade.A 7 7
        a: update trade.A 8 8
        a: update trade.A 9 9
        a: caught up trade.A 9
        a: synced 1"#]],
    );
    check_nine(
        "sub a trade.A^0; answer 1; fail; go",
        expect![[r#"
        a: ack 1 trade.A@0 every replay=1..9
        a: gap trade.A 1..6 slow
        a: update trade.A 7 7
        a: update trade.A 8 8
        a: update trade.A 9 9
        a: caught up trade.A 9
        a: synced 1"#]],
    );
}

#[test]
fn the_history_goes_on_while_the_archive_is_read() {
    check_nine(
        "sub a trade.A^50; answer 1; pub trade.A 10..20; answer; pub trade.A 21; go",
        expect![[r#"
            a: ack 1 trade.A@4 every replay=5..9
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9
            a: update trade.A 10 10
            a: update trade.A 11 11
            a: update trade.A 12 12
            a: update trade.A 13 13
            a: update trade.A 14 14
            a: update trade.A 15 15
            a: update trade.A 16 16
            a: update trade.A 17 17
            a: update trade.A 18 18
            a: update trade.A 19 19
            a: update trade.A 20 20
            a: caught up trade.A 20
            a: synced 1
            a: update trade.A 21 21"#]],
    );
}

#[test]
fn a_replay_ends_in_any_state() {
    check_nine(
        "sub a trade.A^0; lost a; answer; show asked; show archived",
        expect![[r#"
        asked: 0 asked
        archived: 0 bytes"#]],
    );
    check_nine(
        "sub a trade.A^0; answer 1; unsub a trade.A; answer; show archived",
        expect![[r#"
        a: ack 1 trade.A@0 every replay=1..9
        a: ack 2 trade.A
        a: synced 1
        archived: 0 bytes"#]],
    );
    check_nine(
        "sub a trade.A^0; answer 2; lost a; answer; show archived",
        expect![[r#"
        a: ack 1 trade.A@0 every replay=1..9
        a: update trade.A 1 1
        a: update trade.A 2 2
        a: update trade.A 3 3
        archived: 0 bytes"#]],
    );
    check_nine(
        "sub a trade.A^0; answer 1; end trade.A; answer; show archived",
        expect![[r#"
        a: ack 1 trade.A@0 every replay=1..9
        ended trade.A: 9
        a: update trade.A 1 1
        a: update trade.A 2 2
        a: update trade.A 3 3
        a: update trade.A 4 4
        a: update trade.A 5 5
        a: update trade.A 6 6
        a: update trade.A 7 7
        a: update trade.A 8 8
        a: update trade.A 9 9
        a: caught up trade.A 9
        a: synced 1
        a: end trade.A 9 deleted
        archived: 0 bytes"#]],
    );
    check_nine(
        "sub a trade.A^0; answer 1; unsub a trade.A; sub a trade.A^0; answer; show archived",
        expect![[r#"
            a: ack 1 trade.A@0 every replay=1..9
            a: ack 2 trade.A
            a: synced 1
            a: ack 3 trade.A@0 every replay=1..9
            a: update trade.A 1 1
            a: update trade.A 2 2
            a: update trade.A 3 3
            a: update trade.A 4 4
            a: update trade.A 5 5
            a: update trade.A 6 6
            a: update trade.A 7 7
            a: update trade.A 8 8
            a: update trade.A 9 9
            a: caught up trade.A 9
            a: synced 3
            archived: 0 bytes"#]],
    );
}

#[test]
fn a_paced_replay_waits_for_its_messages_times() {
    check_parts(
        10,
        "sub a trade.A^20/1; answer; wait 30; wait 100",
        expect![[r#"
        a: ack 1 trade.A@1 every replay=2..9
        a: update trade.A 2 2
        100 ms a: update trade.A 3 3
        110 ms a: update trade.A 4 4
        120 ms a: update trade.A 5 5
        130 ms a: update trade.A 6 6
        140 ms a: update trade.A 7 7
        150 ms a: update trade.A 8 8
        160 ms a: update trade.A 9 9
        160 ms a: caught up trade.A 9
        160 ms a: synced 1"#]],
    );
    check_parts(
        10,
        "sub a trade.A^20/10; answer; wait 3; wait 100; pub trade.A 10; go",
        expect![[r#"
        a: ack 1 trade.A@1 every replay=2..9
        a: update trade.A 2 2
        91 ms a: update trade.A 3 3
        92 ms a: update trade.A 4 4
        93 ms a: update trade.A 5 5
        94 ms a: update trade.A 6 6
        95 ms a: update trade.A 7 7
        96 ms a: update trade.A 8 8
        97 ms a: update trade.A 9 9
        97 ms a: caught up trade.A 9
        97 ms a: synced 1
        a: update trade.A 10 10"#]],
    );
    check_parts(
        10,
        "sub a trade.A^80/0.5; go; wait 19; wait 1",
        expect![[r#"
        a: ack 1 trade.A@7 every replay=8..9
        a: update trade.A 8 8
        110 ms a: update trade.A 9 9
        110 ms a: caught up trade.A 9
        110 ms a: synced 1"#]],
    );
    check_parts(
        10,
        "sub a trade.A^20/0.001; answer; unsub a trade.A; wait 1000; show archived",
        expect![[r#"
        a: ack 1 trade.A@1 every replay=2..9
        a: update trade.A 2 2
        190 ms a: ack 2 trade.A
        190 ms a: synced 1
        archived: 0 bytes"#]],
    );
}

/// What happens in a world with an archive.
#[derive(Debug, Clone)]
enum Step {
    Publish(u8),
    Answer,
    Run,
    /// The reader's socket takes so many bytes.
    Take(u16),
    Wait(u8),
    /// The reader leaves and begins anew, at a moment.
    Again(u8),
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u8..40).prop_map(Step::Publish),
        6 => Just(Step::Answer),
        4 => Just(Step::Run),
        4 => (0_u16..2_000).prop_map(Step::Take),
        2 => any::<u8>().prop_map(Step::Wait),
        1 => any::<u8>().prop_map(Step::Again),
        1 => Just(Step::Reconnect),
    ]
}

/// A reader of one topic that checks what it reads.
struct Reading {
    client: usize,
    /// The next number, once the `ack` has come.
    next: Option<u64>,
    caught_up: bool,
}

impl Reading {
    /// Checks what has come.
    fn check(&mut self, world: &mut World, lost: &std::ops::RangeInclusive<u64>) {
        for (_, frame) in std::mem::take(&mut world.clients[self.client].inbox) {
            let Frame::Message(message) = frame else { continue };
            match message {
                ServerMessage::Control(Control::Ack { results, .. }) => {
                    let replay = results.first().and_then(|result| result.replay);
                    if let Some(replay) = replay {
                        (self.next, self.caught_up) = (Some(replay.from_seq.0), false);
                    }
                }
                ServerMessage::Control(Control::Gap { from, to, .. }) => {
                    assert_eq!(Some(from.0), self.next, "a gap is where messages are missing");
                    assert!(
                        self.caught_up || (from.0..=to.0).all(|seq| lost.contains(&seq)),
                        "{from} to {to} are there"
                    );
                    self.next = Some(to.0 + 1);
                }
                ServerMessage::Control(Control::Status {
                    state: TopicState::CaughtUp,
                    ..
                }) => self.caught_up = true,
                ServerMessage::Update { seq, .. } => {
                    assert_eq!(Some(seq.0), self.next, "the next message comes");
                    self.next = Some(seq.0 + 1);
                }
                _ => {}
            }
        }
    }

    fn subscribe(&mut self, world: &mut World, from: u64, speed: Option<f64>) {
        self.next = None;
        let topic = "trade.A".to_owned();
        let id = world.next_request(self.client);
        let from = Moment(Micros(START.0 + from));
        let speed = speed.map(|speed| tickwire_wire::ReplaySpeed::new(speed).expect("a speed"));
        let request = Subscribe {
            id,
            topics: vec![TopicRequest::From { topic, from, speed }],
            mode: None,
            conflate_ms: None,
            snapshot: true,
        };
        world.request(self.client, &ClientMessage::Subscribe(request));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_reader_gets_every_message_that_is_stored_anywhere(
        steps in proptest::collection::vec(step(), 1..80),
        history in 1_usize..12,
        part in 1_usize..40,
        lost in (1_u64..60, 0_u64..20),
        speed in proptest::option::of(0.1_f64..1_000.0),
    ) {
        let rule = KindRule {
            pattern: "trade.>".parse().expect("a pattern"),
            kind: Kind::Event,
            history,
            candles: 0,
        };
        let mut setup = Setup { rules: vec![rule], ..Setup::default() };
        setup.settings.outbox_bytes_max = 4_096;
        setup.settings.limits.ops_burst = 10_000;
        setup.settings.stall_ms = 100_000_000;
        let archive = FakeArchive::new(part);
        let mut world = World::new(setup);
        world.keep_in(archive.clone());
        let client = world.open(0, Variant::plain(Codec::Json), Vec::new());
        let lost = lost.0..=(lost.0 + lost.1);
        let mut reading = Reading { client, next: None, caught_up: true };
        world.publish("trade.A", "0");
        let topic = world.directory.find("trade.A").expect("a topic").id();
        reading.subscribe(&mut world, 0, speed);
        for step in steps {
            match step {
                Step::Publish(count) => {
                    for n in 0..count {
                        world.now = Micros(world.now.0 + 1_000);
                        world.publish("trade.A", &n.to_string());
                    }
                    archive.lose(topic, &lost);
                }
                Step::Answer => world.answer_archive(),
                Step::Run => world.run(),
                Step::Take(bytes) => world.make_room(client, Some(usize::from(bytes))),
                Step::Wait(ms) => world.wait_ms(u64::from(ms)),
                Step::Again(at) => {
                    // Nothing is read behind a request that is not done.
                    while world.clients[client].id.is_some_and(|id| world.shards[0].unfinished(id).is_some()) {
                        world.answer_archive();
                    }
                    reading.check(&mut world, &lost);
                    let id = world.next_request(client);
                    let topics = vec!["trade.A".to_owned()];
                    world.request(client, &ClientMessage::Unsubscribe { id, topics });
                    reading.check(&mut world, &lost);
                    world.make_room(client, None);
                    world.settle_archive();
                    reading.check(&mut world, &lost);
                    reading.subscribe(&mut world, u64::from(at) * 1_000, speed);
                }
                Step::Reconnect => {
                    world.disconnect(client);
                    world.connect(client, Vec::new());
                    reading.subscribe(&mut world, 0, speed);
                }
            }
            reading.check(&mut world, &lost);
            world.check_sums();
        }
        world.make_room(client, None);
        let head = world.directory.find("trade.A").expect("a topic").position().seq.0;
        for _ in 0..50_000 {
            world.settle_archive();
            reading.check(&mut world, &lost);
            if reading.caught_up && reading.next == Some(head + 1) {
                break;
            }
            world.wait_ms(100);
        }
        prop_assert_eq!(reading.next, Some(head + 1), "it has everything");
        prop_assert!(reading.caught_up);
        world.check_ledgers();
        prop_assert_eq!(world.directory.archived_bytes(), 0);
    }
}

#[test]
fn a_client_that_may_not_read_a_topic_does_not_ask_the_archive() {
    let archive = FakeArchive::new(3);
    let rule = KindRule {
        pattern: "trade.>".parse().expect("a pattern"),
        kind: Kind::Event,
        history: 1,
        candles: 0,
    };
    let mut world = World::new(Setup {
        rules: vec![rule],
        ..Setup::default()
    });
    world.keep_in(archive.clone());
    for n in 0..9 {
        world.publish("trade.A", &n.to_string());
    }
    let rights = Rights::none();
    let id = world.shards[0].open(
        Variant::plain(Codec::Json),
        tickwire_router::Transport::WebSocket,
        Rc::new(rights),
        world.now,
    );
    let request =
        Codec::Json.decode_request(br#"{"op":"subscribe","id":1,"topics":[{"topic":"trade.A","from":0}]}"#);
    world.shards[0].request(id, request, world.now);
    assert_eq!(archive.waiting(), 0);
    assert_eq!(world.shards[0].unfinished(id), None, "it is refused at once");
}
