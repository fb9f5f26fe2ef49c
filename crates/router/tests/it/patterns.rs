//! Patterns that resume very many topics: as completely as names do, and at no higher price. The tests count, and never
//! measure time.

use tickwire_router::KindRule;
use tickwire_wire::limits::OUTBOX_REFILL_BYTES;
use tickwire_wire::message::{GapReason, Positions};
use tickwire_wire::{ClientMessage, Codec, Control, Epoch, Kind, Seq, ServerMessage};

use crate::world::{EPOCH, Frame, Setup, World};

/// Subscribes client 0 to everything, and resumes each of these topics at message `seq`.
fn resume_all(world: &mut World, topics: &[String], seq: u64) {
    for chunk in topics.chunks(1_000) {
        let seqs = chunk.iter().map(|topic| (topic.clone(), Seq(seq)));
        let since = vec![Positions {
            epoch: Epoch::from(EPOCH),
            seqs: seqs.collect(),
        }];
        let id = world.next_request(0);
        world.request(0, &ClientMessage::Positions { id, since });
    }
    world.subscribe(0, ">");
}

/// The number of topics that were resumed and that were not, from the `ack` of a pattern that was read.
fn resumed(world: &World) -> (Option<usize>, Option<usize>) {
    let mut acks = world.clients[0]
        .inbox
        .iter()
        .filter_map(|(_, frame)| match frame {
            Frame::Message(ServerMessage::Control(Control::Ack { results, .. })) => results.first(),
            _ => None,
        });
    let last = acks.next_back().expect("an ack of the pattern");
    (last.resumed, last.not_resumed)
}

#[test]
fn one_pattern_resumes_1_872_topics_as_their_names_would() {
    let mut world = World::new(Setup::default());
    let kinds = ["ticker", "bbo", "trade"];
    let topics = (0..1_872).map(|n| format!("{}.S{n}", kinds[n % 3]));
    let topics: Vec<String> = topics.collect();
    for data in ["1", "2", "3"] {
        topics.iter().for_each(|topic| world.publish(topic, data));
    }
    world.open(0, Codec::Json, Vec::new());
    resume_all(&mut world, &topics, 1);
    world.run();
    assert_eq!(resumed(&world), (Some(1_872), Some(0)));
    // Two trades come of each topic, and the newest message of the others.
    let read = |of: fn(&ServerMessage) -> bool| {
        let frames = world.clients[0].inbox.iter();
        frames
            .filter(|(_, frame)| matches!(frame, Frame::Message(message) if of(message)))
            .count()
    };
    assert_eq!(
        read(|message| matches!(message, ServerMessage::Snapshot { .. })),
        0
    );
    assert_eq!(
        read(|message| matches!(message, ServerMessage::Update { .. })),
        624 * 2 + 624 * 2
    );
    world.check_ledgers();
}

#[test]
fn gaps_of_a_pattern_that_cannot_be_resumed_are_pulled_as_there_is_room() {
    const TOPICS: usize = 20_000;
    let mut world = World::new(Setup {
        rules: vec![KindRule {
            pattern: ">".parse().expect("a pattern"),
            kind: Kind::Event,
            history: 1,
            candles: 0,
        }],
        ..Setup::default()
    });
    let topics: Vec<String> = (0..TOPICS).map(|n| format!("trade.S{n}")).collect();
    for data in ["1", "2", "3"] {
        topics.iter().for_each(|topic| world.publish(topic, data));
    }
    world.open(0, Codec::Json, Vec::new());
    world.clients[0].room = Some(0);
    resume_all(&mut world, &topics, 1);
    world.run();
    let id = world.clients[0].id.expect("a session");
    let waits = world.shards[0].outbox(id).expect("a session");
    assert!(
        waits.data_bytes() < 2 * OUTBOX_REFILL_BYTES,
        "{}",
        waits.data_bytes()
    );
    assert!(waits.control_bytes() < 4_096, "{}", waits.control_bytes());
    world.make_room(0, None);
    world.run();
    assert_eq!(resumed(&world), (Some(0), Some(TOPICS)));
    let gaps = world.clients[0].inbox.iter().filter(|(_, frame)| {
        let Frame::Message(ServerMessage::Control(Control::Gap { from, to, reason, .. })) = frame else {
            return false;
        };
        (from.0, to.0, *reason) == (2, 3, GapReason::History)
    });
    assert_eq!(gaps.count(), TOPICS);
    let counts = world.shards[0].counts();
    assert_eq!(
        (counts.gaps, counts.unresumed),
        (TOPICS as u64, 2 * TOPICS as u64)
    );
    world.check_ledgers();
}
