//! Bounds on memory and work, at the sizes where they matter. The tests count, and never measure time.

use tickwire_router::KindRule;
use tickwire_wire::limits::OUTBOX_REFILL_BYTES;
use tickwire_wire::message::{Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Kind, Mode, Pattern, ServerMessage};

use crate::world::{Frame, Setup, World};

fn world() -> World {
    let mut setup = Setup::default();
    setup.settings.limits.subscriptions = 20_000;
    setup.settings.session_limits.topics = 1_000_000;
    setup.settings.session_limits.pattern_tokens = 1_000_000;
    setup.settings.limits.ops_per_s = 1_000_000;
    setup.settings.limits.ops_burst = 1_000_000;
    World::new(setup)
}

fn subscribe(world: &mut World, client: usize, patterns: &[String], mode: Option<Mode>) {
    let message = ClientMessage::Subscribe(Subscribe {
        id: world.next_request(client),
        topics: patterns.iter().cloned().map(TopicRequest::Pattern).collect(),
        mode,
        conflate_ms: None,
        snapshot: true,
    });
    world.request(client, &message);
}

/// The number of messages of each kind that a client has read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    acks: usize,
    snapshots: usize,
    updates: usize,
}

fn read(world: &mut World, client: usize) -> Read {
    let mut read = Read::default();
    for (_, frame) in world.clients[client].inbox.drain(..) {
        match frame {
            Frame::Message(ServerMessage::Control(Control::Ack { results, .. })) => {
                assert!(results.iter().all(|result| result.error.is_none()));
                read.acks += 1;
            }
            Frame::Message(ServerMessage::Snapshot { .. }) => read.snapshots += 1,
            Frame::Message(ServerMessage::Control(Control::Joined { .. })) => {}
            Frame::Message(ServerMessage::Update { .. }) => read.updates += 1,
            other => panic!("unexpected {other:?}"),
        }
    }
    read
}

fn waiting(world: &World, client: usize) -> usize {
    let it = &world.clients[client];
    let outbox = it.id.and_then(|id| world.shards[it.shard].outbox(id));
    outbox.expect("a session").data_bytes()
}

#[test]
fn snapshots_of_20_000_topics_are_pulled_as_there_is_room() {
    const TOPICS: usize = 20_000;
    let mut world = world();
    let data = format!("\"{}\"", "x".repeat(100));
    for n in 0..TOPICS {
        world.publish(&format!("ticker.S{n}"), &data);
    }
    for (client, mode) in [None, Some(Mode::Snapshot)].into_iter().enumerate() {
        world.open(0, Codec::Json, Vec::new());
        world.clients[client].room = Some(0);
        subscribe(&mut world, client, &[">".to_owned()], mode);
        let before = world.shards[0].counts().snapshots;
        world.write_dirty(0);
        let pulled = world.shards[0].counts().snapshots - before;
        assert!(pulled < 1_000, "{pulled} snapshots at once");
        // Whatever it asks for, no more than a refill and one frame wait.
        for _ in 0..200 {
            assert!(waiting(&world, client) < OUTBOX_REFILL_BYTES + 1_000);
            world.make_room(client, Some(10_007));
        }
        world.make_room(client, None);
        let expected = Read {
            acks: 1,
            snapshots: TOPICS,
            updates: 0,
        };
        assert_eq!(read(&mut world, client), expected);
        assert_eq!(waiting(&world, client), 0);
    }
    assert_eq!(world.shards[0].subscription_count(), TOPICS);
}

#[test]
fn the_snapshot_of_an_event_waits_for_room_behind_the_message_that_it_is_of() {
    let rule = KindRule {
        pattern: "chat.>".parse().expect("a pattern"),
        kind: Kind::Event,
        history: 1,
        candles: 0,
    };
    let mut world = World::new(Setup {
        rules: vec![rule],
        ..Setup::default()
    });
    let client = world.open(0, Codec::Json, Vec::new());
    world.clients[client].room = Some(0);
    let long = format!("\"{}\"", "x".repeat(OUTBOX_REFILL_BYTES));
    world.publish("chat.a", &long);
    world.subscribe(client, "chat.a");
    // The message at the subscription's position is gone. It goes on to the next message, whose snapshot comes.
    world.publish("chat.a", &long);
    for _ in 0..3 {
        world.run();
        assert!(waiting(&world, client) < long.len() + 1_000);
        world.make_room(client, Some(10_000));
    }
    world.make_room(client, None);
    let expected = Read {
        acks: 1,
        snapshots: 1,
        updates: 1,
    };
    assert_eq!(read(&mut world, client), expected);
    world.check_ledgers();
}

#[test]
fn a_stalled_session_holds_its_subscriptions_and_no_messages() {
    const TOPICS: usize = 100;
    let mut world = world();
    world.open(0, Codec::MessagePack, Vec::new());
    let topics: Vec<String> = (0..TOPICS)
        .map(|n| format!("{}.S{n}", ["trade", "ticker"][n % 2]))
        .collect();
    subscribe(&mut world, 0, &topics, None);
    world.run();
    world.clients[0].room = Some(1);
    let data = format!("\"{}\"", "x".repeat(100));
    let id = world.clients[0].id.expect("a session");
    let held = |world: &World| world.shards[0].session_memory_bytes(id).expect("a session");
    let before = held(&world);
    let mut most = 0;
    for n in 0..100_000 {
        world.publish(&topics[n % TOPICS], &data);
        if n % 10 == 0 {
            world.hand_out(0, 1_000);
            world.write_dirty(0);
            most = most.max(waiting(&world, 0));
        }
    }
    assert!(most > 200_000, "it was given its budget first: {most} bytes");
    assert_eq!(world.shards[0].lagging_count(), 1);
    assert_eq!(world.shards[0].counts().lagged, 1);
    // The partly written frame stays, and a place in the queue for each subscription.
    assert!(waiting(&world, 0) < 200);
    let grown = held(&world) - before;
    assert!(grown < TOPICS * 32, "{grown} bytes more");
    world.check_ledgers();
    // It reads again: new messages come first, then everything that the histories have, and then it is live.
    world.make_room(0, None);
    world.run();
    assert_eq!((world.shards[0].lagging_count(), waiting(&world, 0)), (0, 0));
    let newest_first: Vec<bool> = (world.clients[0].inbox.iter().skip(2).take(TOPICS / 2))
        .map(|(_, frame)| matches!(frame, Frame::Message(ServerMessage::Update { topic, seq, .. }) if topic.starts_with("ticker") && seq.0 == 1_000))
        .collect();
    assert_eq!(newest_first, [true; TOPICS / 2]);
    let got = read(&mut world, 0);
    assert_eq!(got.acks, 1);
    assert!(got.updates > TOPICS / 2 * 1_000, "{got:?}");
    assert_eq!(world.shards[0].counts().ledger.pending(), 0);
    // Its timer comes up once in a quarter of the time for which it may stall.
    world.wait_ms(8_000);
    assert!(held(&world) <= before, "the memory is returned");
}

#[test]
fn the_histories_fall_back_under_their_budget() {
    let max = 400_000;
    let world = World::new(Setup {
        history_bytes: max,
        ..Setup::default()
    });
    let data = format!("\"{}\"", "x".repeat(200));
    // One topic takes nearly all bytes and then becomes quiet.
    for _ in 0..1_000 {
        world.publish("quiet", &data);
        assert!(world.directory.history_bytes() < max + 5_000);
    }
    let kept = |world: &World, topic: &str| {
        let cell = world.directory.find(topic).expect("published");
        cell.history(tickwire_wire::Seq::ZERO, usize::MAX).messages.len()
    };
    assert!(kept(&world, "quiet") > 50);
    for n in 0..10_000 {
        world.publish(&format!("busy.{}", n % 10), &data);
        assert!(world.directory.history_bytes() < max + 5_000);
    }
    assert!(
        kept(&world, "quiet") < 5,
        "the quiet topic gave up what the busy ones need"
    );
    assert!(kept(&world, "busy.0") > 5);
    let cell = world.directory.find("quiet").expect("published");
    assert_eq!(
        cell.newest().map(|newest| newest.seq.0),
        Some(1_000),
        "the last value stays"
    );
}

/// 10,000 patterns that match one, two or four topics each.
fn narrow_patterns() -> Vec<String> {
    let of = |n: usize| {
        let other = n + 10_000;
        [
            format!("ticker.S{n}"),
            format!("candle.*.S{n}"),
            format!("*.S{other}"),
            format!("new.S{n}"),
        ]
    };
    (0..2_500).flat_map(of).collect()
}

#[test]
fn hundred_thousand_topics_and_ten_thousand_patterns() {
    const SYMBOLS: usize = 20_000;
    let kinds = ["ticker", "bbo", "trade", "candle.1m", "candle.1h"];
    let mut world = world();
    for n in 0..SYMBOLS {
        for kind in kinds {
            let topic = format!("{kind}.S{n}").parse().expect("a topic");
            world.directory.open(&topic).expect("there is room");
        }
    }
    assert_eq!(world.directory.topic_count(), 100_000);
    let patterns = narrow_patterns();
    let narrow = world.open(0, Codec::Json, Vec::new());
    subscribe(&mut world, narrow, &patterns, None);
    assert_eq!(world.shards[0].subscription_count(), 2_500 * (1 + 2 + 3));
    let wide = world.open(0, Codec::MessagePack, Vec::new());
    subscribe(&mut world, wide, &[">".to_owned()], None);
    subscribe(
        &mut world,
        wide,
        &["ticker.*".to_owned(), "candle.>".to_owned()],
        None,
    );
    assert_eq!(world.shards[0].subscription_count(), 2_500 * 6 + 100_000);
    world.run();
    assert_eq!(read(&mut world, narrow).acks + read(&mut world, wide).acks, 3);

    // ticker.S7: both. candle.1m.S7: both. bbo.S7: wide. trade.S10007: both, by *.S10007. new.S7: both, and it is new.
    let before = world.shards[0].counts().clone();
    for topic in [
        "ticker.S7",
        "candle.1m.S7",
        "bbo.S7",
        "trade.S10007",
        "new.S7",
        "new.S9999",
    ] {
        world.publish(topic, "1");
    }
    world.run();
    let after = world.shards[0].counts();
    assert_eq!(
        (after.drained - before.drained, after.updates - before.updates),
        (6, 4 + 6)
    );
    assert_eq!(read(&mut world, narrow).updates, 4);
    assert_eq!(read(&mut world, wide).updates, 6);

    for (client, topics) in [
        (narrow, patterns),
        (wide, vec![">".to_owned(), "ticker.*".to_owned()]),
    ] {
        let id = world.next_request(client);
        world.request(client, &ClientMessage::Unsubscribe { id, topics });
    }
    world.run();
    assert_eq!(read(&mut world, narrow).acks, 1);
    let candles: Pattern = "candle.>".parse().expect("a pattern");
    assert_eq!(
        world.shards[0].subscription_count(),
        world.directory.matching(&candles).len()
    );
    assert_eq!(world.shards[0].subscription_count(), 40_000);
    for topic in ["ticker.S7", "bbo.S7", "new.S7", "candle.1h.S7"] {
        world.publish(topic, "2");
    }
    assert_eq!(
        world.shards[0].queue_depth(),
        1,
        "only of what is subscribed still"
    );
}
