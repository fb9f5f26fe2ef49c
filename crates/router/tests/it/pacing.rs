//! A connection with a rate of bytes of its own: it is written no more than that, and is no slow reader for it.

use std::rc::Rc;

use tickwire_router::{Origin, OwnLimits, Rights, SessionId, Shard, Transport};
use tickwire_wire::{Codec, Micros, Payload};

use crate::world::{Setup, World};

const PER_S: u32 = 20_000;
const STALL_MS: u64 = 1_000;

/// Writes everything that the shard hands out. Returns how many bytes that were.
fn write_all(shard: &mut Shard, now: Micros) -> usize {
    while shard.hand_out(1_000, now) {}
    let mut written = 0;
    while let Some(id) = shard.next_dirty() {
        let waiting = shard.outbox(id).expect("a session").waiting();
        let count = waiting.map(|it| it.bytes.len()).sum();
        shard.wrote(id, count, now, |_| {}).expect("no more than waited");
        written += count;
    }
    written
}

/// A shard with a session that is written `PER_S` and is subscribed to `ticker.A`.
fn paced() -> (World, SessionId) {
    let mut setup = Setup::default();
    setup.settings.stall_ms = STALL_MS;
    let mut world = World::new(setup);
    let rights = Rights {
        own: OwnLimits {
            bytes_per_s: Some(PER_S),
            ..OwnLimits::default()
        },
        ..Rights::open([])
    };
    let now = world.now;
    let shard = &mut world.shards[0];
    let id = shard.open(Codec::Json, Transport::WebSocket, Rc::new(rights), now);
    let request = br#"{"op":"subscribe","id":1,"topics":["ticker.A"]}"#;
    shard.request(id, Codec::Json.decode_request(request), now);
    (world, id)
}

fn publish(shard: &Shard, number: usize, now: Micros) {
    let text = format!(r#"{{"number":{number},"filler":"{}"}}"#, "x".repeat(500));
    let payload = Payload::from_json(text.as_bytes()).expect("JSON");
    let topic = "ticker.A".parse().expect("a topic");
    shard
        .ingress()
        .submit(Origin::Feed, &topic, payload, now)
        .expect("there is room");
}

#[test]
fn a_session_is_written_its_rate_of_bytes_and_gets_the_newest() {
    let (mut world, id) = paced();
    let (begun, mut now) = (world.now, world.now);
    let shard = &mut world.shards[0];
    let (mut written, mut published) = (0, 0);
    for ms in 0..20_000 {
        now = begun.plus_ms(ms);
        publish(shard, published, now);
        published += 1;
        shard.on_timeout(now);
        shard.heard(id, now);
        written += write_all(shard, now);
    }
    assert!(shard.is_open(id), "it is no slow reader");
    // A second's worth comes at once, and what was begun is finished.
    let most = (PER_S as usize) * 21 + 64 * 1024;
    assert!(written <= most && written >= most * 3 / 4, "{written} of {most}");
    let ledger = &shard.counts().ledger;
    assert!(ledger.conflated > ledger.delivered, "{ledger:?}");
    // In time it has everything.
    while let Some(at) = shard.next_timeout().filter(|_| shard.paused_count() > 0) {
        now = now.max(at);
        shard.on_timeout(now);
        shard.heard(id, now);
        write_all(shard, now);
    }
    assert_eq!(shard.counts().ledger.pending(), 0);
}

#[test]
fn a_close_waits_for_no_rate() {
    let (mut world, id) = paced();
    let now = world.now;
    let shard = &mut world.shards[0];
    for number in 0..200 {
        publish(shard, number, now);
        write_all(shard, now);
    }
    assert_eq!(shard.paused_count(), 1);
    publish(shard, 200, now);
    assert_eq!(write_all(shard, now), 0);
    shard.close_received(id, None, now);
    assert!(write_all(shard, now) > 0, "the answer to the client's close");
    assert!(shard.is_finished(id));
}
