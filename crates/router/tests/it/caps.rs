//! How much one connection may make the broker keep: topics that its patterns match, and tokens in the indexes.

use expect_test::expect;
use tickwire_wire::Codec;

use crate::script::check;
use crate::world::{Setup, World};

#[test]
fn more_topics_than_a_connection_may_have_are_refused_with_the_numbers() {
    check(
        "caps 3 100; pub t.a 1; pub t.b 1; pub u.a 1; pub u.b 1; open a; \
         sub a > nosnapshot; sub a t.* nosnapshot; sub a u.* nosnapshot; sub a u.a nosnapshot; sub a u.b nosnapshot; sub a u.none; \
         unsub a u.a; sub a u.b nosnapshot; go; pub u.b 2; pub u.a 2; go",
        expect![[r#"
            a: ack 1 > limit_exceeded: > matches more than 3 topics, the most of a connection
            a: ack 2 t.* matched=2 every
            a: ack 3 u.* limit_exceeded: u.* matches 2 topics that the connection does not have; it has 2 and may have 3
            a: ack 4 u.a@1 every
            a: ack 5 u.b limit_exceeded: u.b matches 1 topics that the connection does not have; it has 3 and may have 3
            a: ack 6 u.none@0 every
            a: ack 7 u.a
            a: ack 8 u.b@1 every
            a: update u.b 2 2"#]],
    );
    // A topic that the connection has already takes no additional room.
    check(
        "caps 2 100; pub t.a 1; pub t.b 1; open a; sub a t.a t.b nosnapshot; sub a t.* nosnapshot; go; pub t.a 2; go",
        expect![[r#"
            a: ack 1 t.a@1 every, t.b@1 every
            a: ack 2 t.* matched=2 every
            a: update t.a 2 2"#]],
    );
}

#[test]
fn snapshots_that_are_still_to_come_are_bounded_too() {
    check(
        "caps 3 100; pub t.a 1; pub t.b 1; pub u.a 1; pub u.b 1; open a; stall a; sub a t.* mode=snapshot; \
         sub a u.* mode=snapshot; sub a u.a mode=snapshot; resume a; go; sub a u.* mode=snapshot; go",
        expect![[r#"
            a: ack 1 t.* matched=2 snapshot
            a: ack 2 u.* limit_exceeded: u.* matches too many topics: with 2 snapshots still to come, and at most 3 at a time
            a: ack 3 u.a@1 snapshot
            a: snapshot t.a 1 1
            a: snapshot t.b 1 1
            a: snapshot u.a 1 1
            a: ack 4 u.* matched=2 snapshot
            a: snapshot u.a 1 1
            a: snapshot u.b 1 1"#]],
    );
}

#[test]
fn a_topic_that_appears_and_does_not_fit_is_told() {
    check(
        "caps 2 100; open a; open b; sub a t.* t.d; sub b t.*; go; \
         pub t.a 1; pub t.b 1; pub t.c 1; pub t.d 1; go; pub t.a 2; pub t.c 2; go; \
         sub a u; sub a t.c; sub a t.*; unsub a t.*; sub a u; unsub a t.d; sub a t.c nosnapshot; go; \
         pub t.c 3; pub t.a 3; go; sub a t.*; go",
        expect![[r#"
            a: ack 1 t.* matched=0 every, t.d@0 every
            b: ack 1 t.* matched=0 every
            a: error - limit_exceeded (retryable): t.c appeared and does not fit: the connection has its most topics, 2. Neither it nor any that appears later joins before the connection has unsubscribed its wildcards
            a: joined t.a 0
            a: update t.a 1 1
            a: joined t.b 0
            a: update t.b 1 1
            b: error - limit_exceeded (retryable): t.c appeared and does not fit: the connection has its most topics, 2. Neither it nor any that appears later joins before the connection has unsubscribed its wildcards
            b: joined t.a 0
            b: update t.a 1 1
            b: joined t.b 0
            b: update t.b 1 1
            a: update t.a 2 2
            b: update t.a 2 2
            a: ack 2 u limit_exceeded: the connection has its most topics, 2, and its wildcards match more: unsubscribe them first
            a: ack 3 t.c limit_exceeded: the connection has its most topics, 2, and its wildcards match more: unsubscribe them first
            a: ack 4 t.* limit_exceeded: the connection has its most topics, 2, and its wildcards match more: unsubscribe them first
            a: ack 5 t.*
            a: ack 6 u limit_exceeded: the connection has its most topics, 2, and its wildcards match more: unsubscribe them first
            a: ack 7 t.d
            a: ack 8 t.c@2 every
            a: update t.c 3 3
            b: update t.a 3 3
            a: ack 9 t.* limit_exceeded: t.* matches more than 2 topics, the most of a connection"#]],
    );
}

/// The patterns that cover a topic are counted. A pattern that never covered it must not remove it.
#[test]
fn a_topic_that_did_not_fit_can_be_had_by_its_name_afterwards() {
    check(
        "caps 1 100; open a; sub a t.* u.*; pub t.a 1; go; pub t.b 1; go; unsub a t.*; go; sub a t.b; go; \
         unsub a u.*; sub a t.b nosnapshot; sub a t.*; go; pub t.b 2; go; unsub a t.b; pub t.b 3; go",
        expect![[r#"
            a: ack 1 t.* matched=0 every, u.* matched=0 every
            a: joined t.a 0
            a: update t.a 1 1
            a: error - limit_exceeded (retryable): t.b appeared and does not fit: the connection has its most topics, 1. Neither it nor any that appears later joins before the connection has unsubscribed its wildcards
            a: ack 2 t.*
            a: ack 3 t.b limit_exceeded: the connection has its most topics, 1, and its wildcards match more: unsubscribe them first
            a: ack 4 u.*
            a: ack 5 t.b@1 every
            a: ack 6 t.* limit_exceeded: t.* matches more than 1 topics, the most of a connection
            a: update t.b 2 2
            a: ack 7 t.b"#]],
    );
}

#[test]
fn tokens_of_wildcards_and_of_topics_that_do_not_exist_are_counted() {
    check(
        "caps 100 6; pub known.by.name 1; open a; sub a a.b.c.* known.by.name nosnapshot; sub a x.y x.y.z; sub a x.y; \
         unsub a a.b.c.*; sub a x.y.z.*; go",
        expect![[r#"
            a: ack 1 a.b.c.* matched=0 every, known.by.name@1 every
            a: ack 2 x.y@0 every, x.y.z limit_exceeded: x.y.z has 3 tokens; the wildcards of the connection, and its topics that did not exist when it subscribed, have 6 and may have 6
            a: ack 3 x.y@0 every
            a: ack 4 a.b.c.*
            a: ack 5 x.y.z.* matched=0 every"#]],
    );
}

/// A storm of wildcards, at a smaller size: the memory that it takes in a shard ends at the limits.
#[test]
fn a_storm_of_wildcards_ends_at_the_limits() {
    let mut setup = Setup::default();
    setup.settings.limits.subscriptions = 1_024;
    let most = setup.settings.session_limits.pattern_tokens;
    let mut world = World::new(setup);
    for n in 0..1_024 {
        world.publish(
            &format!("a{}.b{}.c{}.d{}", n % 2, n / 2 % 2, n / 4 % 16, n / 64),
            "1",
        );
    }
    // These are all ways to put wildcards into sixteen tokens.
    let patterns = (0..1_024_u32).map(|n| {
        let token = |bit: u32| {
            if n >> bit & 1 == 1 {
                "*".to_owned()
            } else {
                format!("a{bit}")
            }
        };
        let tokens: Vec<String> = (0..10).map(token).collect();
        format!("\"{}.>\"", tokens.join("."))
    });
    let topics = patterns.collect::<Vec<_>>().join(",");
    let request = format!(r#"{{"op":"subscribe","id":1,"topics":[{topics}]}}"#);
    for _ in 0..50 {
        let client = world.open(0, Codec::Json, Vec::new());
        world.send(client, request.as_bytes());
    }
    world.run();
    let refused = world.shards[0].counts().refusals.iter().sum::<u64>();
    let taken = most / 11;
    assert_eq!(
        refused,
        50 * (1_024 - taken as u64),
        "all that is over is refused"
    );
    // The patterns are the same, so the index holds them once. All of them go with their sessions.
    for client in 0..50 {
        world.disconnect(client);
    }
    assert!(!world.shards[0].has_subscriptions());
    assert_eq!(world.shards[0].session_count(), 0);
}
