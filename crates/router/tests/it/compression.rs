//! A publication is compressed once, the result is shared, and it is used only where it is smaller.

use tickwire_router::Counts;
use tickwire_wire::deflate::{Encoding, WindowBits};
use tickwire_wire::message::{Position, Since, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Epoch, Seq, ServerMessage, Variant};

use crate::world::{EPOCH, Frame, Setup, VARIANTS, World};

const TOPIC: &str = "trade.A";

fn subscribe(world: &mut World, client: usize, since: Option<u64>) {
    let since = since.map(|seq| Position {
        epoch: Epoch::from(EPOCH),
        seq: Seq(seq),
    });
    let message = ClientMessage::Subscribe(Subscribe {
        id: world.next_request(client),
        topics: vec![TopicRequest::Since {
            topic: TOPIC.to_owned(),
            since: since.map(Since::One),
        }],
        mode: None,
        conflate_ms: None,
        snapshot: true,
    });
    world.request(client, &message);
}

fn subscriber(world: &mut World, variant: impl Into<Variant>) -> usize {
    let client = world.open(0, variant, Vec::new());
    subscribe(world, client, None);
    client
}

/// Data of at least `len` bytes that can be compressed.
fn long(len: usize) -> String {
    format!("\"{}\"", "61837.63,".repeat(len / 9 + 1))
}

/// The numbers of the updates that a client has got.
fn updates(world: &World, client: usize) -> Vec<u64> {
    let frames = world.clients[client].inbox.iter();
    let updates = frames.filter_map(|(_, frame)| match frame {
        Frame::Message(ServerMessage::Update { seq, .. }) => Some(seq.0),
        _ => None,
    });
    updates.collect()
}

/// The number of encodings of updates: JSON, MessagePack, and the same compressed.
fn encodes(counts: &Counts) -> [u64; 4] {
    // Only frames count here, as there are no streams.
    [0, 1, 2, 3].map(|encoding: usize| counts.encodes[encoding][0])
}

#[test]
fn ten_thousand_readers_of_four_variants_share_one_encoding_each() {
    let mut world = World::new(Setup::default());
    for client in 0..10_000 {
        subscriber(&mut world, VARIANTS[client % 4]);
    }
    for _ in 0..3 {
        world.publish(TOPIC, &long(400));
        world.run();
    }
    let counts = world.shards[0].counts();
    assert_eq!(encodes(counts), [3, 3, 3, 3]);
    assert!(
        counts.deflated_to_bytes * 2 < counts.deflated_from_bytes && counts.deflated_to_bytes > 0,
        "{} of {}",
        counts.deflated_to_bytes,
        counts.deflated_from_bytes
    );
    for client in 0..10_000 {
        assert_eq!(updates(&world, client), [1, 2, 3]);
        let deflated = VARIANTS[client % 4].window().is_some();
        assert_eq!(world.clients[client].deflated, if deflated { 3 } else { 0 });
    }
    world.check_ledgers();
}

#[test]
fn with_compressed_readers_alone_the_plain_frame_is_not_made() {
    let mut world = World::new(Setup::default());
    for _ in 0..5 {
        subscriber(&mut world, VARIANTS[2]);
    }
    world.publish(TOPIC, &long(400));
    world.run();
    assert_eq!(encodes(world.shards[0].counts()), [0, 0, 1, 0]);
}

#[test]
fn what_is_short_or_does_not_become_smaller_is_shared_plain() {
    let mut setup = Setup::default();
    setup.compression.threshold_bytes = 100;
    // These are characters of two bytes, which take more in DEFLATE's fixed code.
    let scattered = (0..200).scan(1_u32, |state, _| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_u32(0x80 + (*state >> 16) % 0x700)
    });
    let noise: String = scattered.collect();
    for data in ["1".to_owned(), format!("\"{noise}\"")] {
        let mut world = World::new(setup.clone());
        let readers: Vec<usize> = (0..3).map(|_| subscriber(&mut world, VARIANTS[2])).collect();
        let plain = subscriber(&mut world, Codec::Json);
        world.publish(TOPIC, &data);
        world.run();
        let counts = world.shards[0].counts();
        assert_eq!(
            (encodes(counts), counts.deflated_to_bytes),
            ([1, 0, 0, 0], 0),
            "{data}"
        );
        for client in readers.into_iter().chain([plain]) {
            assert_eq!(
                (updates(&world, client), world.clients[client].deflated),
                (vec![1], 0)
            );
        }
    }
}

#[test]
fn a_message_longer_than_a_readers_window_goes_to_it_plain() {
    let mut world = World::new(Setup::default());
    let of_window = |bits| Variant::deflated(Codec::Json, WindowBits::new(bits).expect("a window"));
    let readers = [8, 9, 10, 15].map(|bits| subscriber(&mut world, of_window(bits)));
    // The messages have about 100, 400 and 900 bytes with the envelope.
    for (len, deflated) in [(50, [1, 1, 1, 1]), (300, [1, 2, 2, 2]), (800, [1, 2, 3, 3])] {
        world.publish(TOPIC, &long(len));
        world.run();
        let seen = readers.map(|client| world.clients[client].deflated);
        assert_eq!(seen, deflated, "{len} bytes");
    }
    for client in readers {
        assert_eq!(updates(&world, client), [1, 2, 3]);
    }
    let json = |deflated| Encoding::of(Codec::Json, deflated).index();
    let encodes = encodes(world.shards[0].counts());
    assert_eq!((encodes[json(false)], encodes[json(true)]), (2, 3));
}

#[test]
fn what_waits_is_counted_as_long_as_it_is_compressed() {
    let mut world = World::new(Setup::default());
    let plain = subscriber(&mut world, VARIANTS[0]);
    let deflated = subscriber(&mut world, VARIANTS[2]);
    world.run();
    let waiting = |world: &World, client: usize| {
        let id = world.clients[client].id.expect("a session");
        let outbox = world.shards[0].outbox(id).expect("a session");
        let bytes: usize = outbox.waiting().map(|waiting| waiting.bytes.len()).sum();
        assert_eq!(outbox.data_bytes(), bytes);
        bytes
    };
    for client in [plain, deflated] {
        world.clients[client].room = Some(0);
    }
    world.publish(TOPIC, &long(9_000));
    world.hand_out(0, 1_000);
    let (plain_bytes, deflated_bytes) = (waiting(&world, plain), waiting(&world, deflated));
    assert!(
        plain_bytes > 9_000 && deflated_bytes < 1_000,
        "{plain_bytes}, {deflated_bytes}"
    );
    for client in [plain, deflated] {
        world.make_room(client, None);
        assert_eq!(updates(&world, client), [1]);
    }
}

#[test]
fn a_replay_is_served_from_compressed_frames_that_exist() {
    let mut world = World::new(Setup::default());
    subscriber(&mut world, VARIANTS[2]);
    for _ in 0..5 {
        world.publish(TOPIC, &long(400));
    }
    world.run();
    let late = world.open(0, VARIANTS[2], Vec::new());
    subscribe(&mut world, late, Some(2));
    world.run();
    assert_eq!(updates(&world, late), [3, 4, 5]);
    assert_eq!(world.clients[late].deflated, 3);
    assert_eq!(encodes(world.shards[0].counts()), [0, 0, 5, 0]);
}
