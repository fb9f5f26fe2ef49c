//! The memory of messages: values, histories and promised replays, each within its limit. The tests look at sizes, and
//! never measure time.

use tickwire_router::{Origin, PublishError};
use tickwire_wire::message::{Position, Since, Subscribe, TopicRequest};
use tickwire_wire::{
    ClientMessage, CloseCode, Codec, Control, Epoch, ErrorCode, Kind, Payload, Seq, ServerMessage, Topic,
};

use crate::world::{EPOCH, Frame, Setup, World};

/// The most bytes that a message takes beside its data.
const BESIDE: usize = 500;

fn text(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes))
}

fn try_publish(world: &World, topic: &str, data: &str) -> Result<(), ErrorCode> {
    let topic: Topic = topic.parse().expect("a topic");
    let payload = Payload::from_json(data.as_bytes()).expect("JSON");
    match world.submit(Origin::Feed, &topic, payload) {
        Ok(_) => Ok(()),
        Err(PublishError::Refused(refusal)) => Err(refusal.code),
        Err(other) => panic!("{other}"),
    }
}

/// Makes the client resume `topic` from `seq`.
fn resume(world: &mut World, client: usize, topic: &str, seq: u64) {
    let since = Position {
        epoch: Epoch::from(EPOCH),
        seq: Seq(seq),
    };
    let request = Subscribe {
        id: world.next_request(client),
        topics: vec![TopicRequest::Since {
            topic: topic.to_owned(),
            since: Some(Since::One(since)),
        }],
        mode: None,
        conflate_ms: None,
        snapshot: true,
    };
    world.request(client, &ClientMessage::Subscribe(request));
}

/// The client's last resume: whether it recovered, how many messages came before a gap, and whether a gap came.
fn resumed(world: &mut World, client: usize) -> (Option<bool>, usize, bool) {
    let (mut recovered, mut updates, mut gap) = (None, 0, false);
    for (_, frame) in world.clients[client].inbox.drain(..) {
        match frame {
            Frame::Message(ServerMessage::Control(Control::Ack { results, .. })) => {
                recovered = results[0].recovered;
            }
            Frame::Message(ServerMessage::Control(Control::Gap { .. })) => gap = true,
            Frame::Message(ServerMessage::Update { .. }) => updates += usize::from(!gap),
            other => panic!("unexpected {other:?}"),
        }
    }
    (recovered, updates, gap)
}

#[test]
fn promised_replays_keep_no_more_than_their_bytes_and_count_a_message_once() {
    const MESSAGES: usize = 200;
    let mut setup = Setup {
        replay_bytes: MESSAGES * (2_000 + BESIDE),
        ..Setup::default()
    };
    setup.settings.session_limits.replay_bytes = 2 * setup.replay_bytes;
    let most = setup.replay_bytes;
    let mut world = World::new(setup);
    let fill = |world: &World| {
        for (topic, bytes) in [("trade.A", 1_000), ("trade.B", 2_000)] {
            (0..MESSAGES).for_each(|_| world.publish(topic, &text(bytes)));
        }
    };
    fill(&world);
    // However many sessions are promised the same messages and do not read them, these are kept once.
    let readers: Vec<usize> = (0..20).map(|_| world.open(0, Codec::Json, Vec::new())).collect();
    for reader in &readers {
        world.clients[*reader].room = Some(400);
        resume(&mut world, *reader, "trade.A", 0);
        world.write_dirty(0);
        assert_eq!(resumed(&mut world, *reader).0, Some(true));
    }
    let kept = world.directory.replay_bytes();
    assert!(kept > MESSAGES * 1_000 / 2 && kept <= most, "{kept} bytes");
    // No more is promised than fits: messages that cannot be kept are named at once, though the history has them.
    let late = world.open(0, Codec::Json, Vec::new());
    resume(&mut world, late, "trade.B", 0);
    world.write_dirty(0);
    assert_eq!(resumed(&mut world, late), (Some(false), 0, true));
    assert_eq!(world.shards[0].counts().replays_refused, 1);
    // The histories drop promised messages, and these come all the same.
    (0..30).for_each(|_| fill(&world));
    assert!(world.directory.replay_bytes() <= most);
    for reader in readers {
        world.make_room(reader, None);
        let (_, updates, _) = resumed(&mut world, reader);
        assert!(updates >= MESSAGES, "{updates} messages");
    }
    assert_eq!(world.directory.replay_bytes(), 0);
    resume(&mut world, late, "trade.A", 31 * MESSAGES as u64 - 10);
    world.write_dirty(0);
    assert_eq!(resumed(&mut world, late), (Some(true), 10, false));
    world.check_ledgers();
}

#[test]
fn the_replays_of_one_connection_have_bytes_of_their_own() {
    let mut setup = Setup::default();
    setup.settings.session_limits.replay_bytes = 10 * (10_000 + BESIDE);
    let mut world = World::new(setup);
    for topic in ["trade.A", "trade.B"] {
        (0..9).for_each(|_| world.publish(topic, &text(10_000)));
    }
    let (greedy, other) = (
        world.open(0, Codec::Json, Vec::new()),
        world.open(0, Codec::Json, Vec::new()),
    );
    world.clients[greedy].room = Some(10_000);
    let mut told = Vec::new();
    for (client, topic) in [(greedy, "trade.A"), (greedy, "trade.B"), (other, "trade.B")] {
        world.clients[client].room = world.clients[client].room.map(|_| 0);
        resume(&mut world, client, topic, 0);
        world.make_room(client, world.clients[client].room.map(|_| 12_000));
        told.push(resumed(&mut world, client).0);
    }
    assert_eq!(told, [Some(true), Some(false), Some(true)]);
    world.disconnect(greedy);
    assert_eq!(
        world.directory.replay_bytes(),
        0,
        "what was kept for it is given up"
    );
}

/// Frames of kept messages may take the account over its limit. A resume that needs no more memory is still granted.
#[test]
fn what_is_kept_for_others_refuses_nobody_who_needs_nothing_more() {
    const MESSAGES: usize = 200;
    let most = MESSAGES * (1_000 + BESIDE);
    let mut world = World::new(Setup {
        replay_bytes: most,
        ..Setup::default()
    });
    (0..MESSAGES).for_each(|_| world.publish("trade.A", &text(1_000)));
    world.publish("trade.B", "1");
    let holder = world.open(0, Codec::Json, Vec::new());
    world.clients[holder].room = Some(0);
    resume(&mut world, holder, "trade.A", 0);
    world.write_dirty(0);
    // The second half is kept for a session whose outbox has room for less than the first half.
    for codec in Codec::ALL {
        let reader = world.open(0, codec, Vec::new());
        resume(&mut world, reader, "trade.A", MESSAGES as u64 / 2);
        world.write_dirty(0);
        world.make_room(reader, None);
        assert_eq!(
            resumed(&mut world, reader),
            (Some(true), MESSAGES / 2, false),
            "{codec:?}"
        );
    }
    let kept = world.directory.replay_bytes();
    assert!(kept > most, "{kept} bytes are kept of {most}");
    let late = world.open(0, Codec::Json, Vec::new());
    resume(&mut world, late, "trade.A", MESSAGES as u64 / 2);
    resume(&mut world, late, "trade.B", 1);
    world.write_dirty(0);
    world.make_room(late, None);
    assert_eq!(resumed(&mut world, late), (Some(true), MESSAGES / 2, false));
    assert_eq!(world.shards[0].counts().replays_refused, 0);
}

#[test]
fn a_reader_that_sips_keeps_a_promised_replay_for_so_long_and_no_longer() {
    let mut setup = Setup::default();
    setup.settings.session_limits.replay_ms = 60_000;
    let mut world = World::new(setup);
    (0..500).for_each(|_| world.publish("trade.A", &text(1_000)));
    let reader = world.open(0, Codec::Json, Vec::new());
    world.clients[reader].room = Some(0);
    resume(&mut world, reader, "trade.A", 0);
    let mut waited_ms = 0;
    while world.clients[reader].closed.is_none() {
        assert!(waited_ms <= 90_000, "it waits for ever");
        world.make_room(reader, Some(3_000));
        let id = world.clients[reader].id.expect("it is connected");
        world.shards[0].heard(id, world.now);
        world.wait_ms(5_000);
        waited_ms += 5_000;
        assert!(
            waited_ms > 60_000 || world.directory.replay_bytes() > 0,
            "it was promised"
        );
    }
    assert!(waited_ms > 60_000, "closed after {waited_ms} ms");
    assert_eq!(world.clients[reader].closed, Some(CloseCode::SLOW));
    assert_eq!(world.directory.replay_bytes(), 0);
}

#[test]
fn values_beyond_their_bytes_are_refused_and_nothing_is_made_for_them() {
    const TOPICS: usize = 20;
    let most = TOPICS * (10_000 + BESIDE);
    let world = World::new(Setup {
        value_bytes: most,
        ..Setup::default()
    });
    let published =
        (0..2 * TOPICS).take_while(|n| try_publish(&world, &format!("ticker.S{n}"), &text(10_000)).is_ok());
    let published = published.count();
    assert!((TOPICS..TOPICS + 2).contains(&published), "{published} topics");
    assert!(world.directory.value_bytes() <= most);
    let refused = try_publish(&world, "chat.x", &text(10_000));
    assert_eq!(
        refused,
        Err(ErrorCode::LimitExceeded),
        "an event topic has a value, too"
    );
    assert_eq!(world.directory.topic_count(), published, "no topic was made");
    // A publication that needs no more memory than the value it replaces is always allowed.
    assert_eq!(try_publish(&world, "ticker.S0", &text(10_000)), Ok(()));
    assert_eq!(
        try_publish(&world, "ticker.S0", &text(20_000)),
        Err(ErrorCode::LimitExceeded)
    );
    assert_eq!(try_publish(&world, "ticker.S0", "1"), Ok(()));
    assert_eq!(try_publish(&world, "chat.x", &text(5_000)), Ok(()));
    assert_eq!(world.directory.history_bytes(), 0, "values are not histories");
}

#[test]
fn a_book_counts_among_the_values() {
    const LEVELS: usize = 2_000;
    let world = World::new(Setup {
        value_bytes: 200_000,
        ..Setup::default()
    });
    let book = |from: usize, levels: usize| {
        let levels: Vec<String> = (from..from + levels).map(|n| format!(r#"["{n}","1"]"#)).collect();
        format!(
            r#"{{"symbol":"A","bids":[{}],"asks":[],"time":0}}"#,
            levels.join(",")
        )
    };
    assert_eq!(try_publish(&world, "book.A", &book(1, LEVELS)), Ok(()));
    let one = world.directory.value_bytes();
    assert!(one > LEVELS * 2 * 32, "the book and the change: {one} bytes");
    assert_eq!(
        try_publish(&world, "book.A", &book(1 + LEVELS, 2 * LEVELS)),
        Err(ErrorCode::LimitExceeded)
    );
    // The change has left no trace.
    let cell = world.directory.find("book.A").expect("published");
    assert_eq!((cell.position().seq, cell.kind()), (Seq(1), Kind::Book));
    // A short change replaces a long one.
    assert_eq!(try_publish(&world, "book.A", &book(1, 1)), Ok(()));
    let two = world.directory.value_bytes();
    assert!(two < one - LEVELS * 30, "{two} bytes after {one}");
}

/// The snapshot of a book is made again when it is needed.
#[test]
fn a_snapshot_that_somebody_asked_for_refuses_no_publication() {
    let mut world = World::new(Setup {
        value_bytes: 200_000,
        ..Setup::default()
    });
    let levels: Vec<String> = (1..=2_000).map(|n| format!(r#"["{n}","1"]"#)).collect();
    let book = format!(
        r#"{{"symbol":"A","bids":[{}],"asks":[],"time":0}}"#,
        levels.join(",")
    );
    assert_eq!(try_publish(&world, "book.A", &book), Ok(()));
    let before = world.directory.value_bytes();
    let cell = world.directory.find("book.A").expect("published");
    assert!(cell.snapshot().is_some());
    let with_it = world.directory.value_bytes();
    assert!(with_it > before + 60_000, "{with_it} bytes after {before}");
    let left = 200_000 - with_it;
    assert_eq!(try_publish(&world, "ticker.A", &text(left + 10_000)), Ok(()));
    world.run();
    assert!(
        world.directory.value_bytes() <= 200_000,
        "it is given up for what has to be kept"
    );
    assert_eq!(
        try_publish(&world, "ticker.B", &text(200_000 - before)),
        Err(ErrorCode::LimitExceeded)
    );
}

/// A new reader has every message encoded once more, so a history grows without a publication.
#[test]
fn frames_count_when_they_are_made_and_what_is_too_much_is_given_up() {
    const MESSAGES: usize = 100;
    let most = MESSAGES * (1_000 + BESIDE);
    let mut world = World::new(Setup {
        history_bytes: most,
        value_bytes: 2_000,
        ..Setup::default()
    });
    (0..MESSAGES).for_each(|_| world.publish("trade.A", &text(1_000)));
    let bare = world.directory.history_bytes();
    assert!(bare > MESSAGES * 900 && bare < most, "{bare} bytes");
    for codec in Codec::ALL {
        let reader = world.open(0, codec, Vec::new());
        resume(&mut world, reader, "trade.A", 0);
        world.write_dirty(0);
        assert_eq!(resumed(&mut world, reader).0, Some(codec == Codec::Json));
        let made = world.directory.history_bytes();
        if codec == Codec::Json {
            assert!(
                made > bare + MESSAGES * 900,
                "the frames are counted: {made} bytes"
            );
        }
        world.run();
        let left = world.directory.history_bytes();
        assert!(left <= most, "{left} bytes are left of {most}");
        let values = world.directory.value_bytes();
        assert!(values <= 2_000, "{values} bytes of values");
    }
    // The newest message is there for new readers.
    let cell = world.directory.find("trade.A").expect("published");
    assert_eq!(cell.newest().map(|newest| newest.seq), Some(Seq(MESSAGES as u64)));
}
