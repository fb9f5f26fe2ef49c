//! Publications of clients: their own allowance, the price and effect of a refused one, and which publisher topics
//! count for.

use expect_test::expect;
use tickwire_router::{Origin, PublishError, Publisher};
use tickwire_wire::limits::TOPIC_BYTES_MAX;
use tickwire_wire::{Codec, Pattern, Payload, Topic};

use crate::script::{check, run};
use crate::world::{EPOCH, Setup, World};

/// Makes `count` publications of a client that may publish everything.
fn publishes(count: usize) -> String {
    r#"send a {"op":"publish","topic":"chat.a","data":1};"#.repeat(count)
}

#[test]
fn a_publisher_is_not_held_to_the_rate_of_requests() {
    check(
        &format!(
            "publish_rate 1000 500; rate 1 2; open a publish=>; {} ping a; ping a; ping a; go; show count drained",
            publishes(500)
        ),
        expect![[r#"
            a: pong 1
            a: pong 2
            a: error 3 rate_limited (retryable): more than 1 requests per second after a burst of 2; wait 1000 ms
            count drained: 0"#]],
    );
}

#[test]
fn publications_beyond_their_rate_are_refused_and_go_on_in_time() {
    check(
        &format!(
            "publish_rate 10 3; open a publish=>; {} go; wait 100; {} go; wait 1000; {} go",
            publishes(4),
            publishes(2),
            publishes(3)
        ),
        expect![[r#"
            a: error - rate_limited (retryable): more than 10 publications per second after a burst of 3; wait 100 ms
            … and 1 more of it"#]],
    );
}

/// A client publishes at twice the rate for a minute: half is refused, and that is forgiven as fast as publications are
/// allowed.
#[test]
fn a_publisher_that_exceeds_its_rate_a_little_is_not_closed() {
    let second = format!("{} go; wait 1000; heard a;", publishes(20));
    let heard = run(&format!(
        "publish_rate 10 10; open a publish=>; {}",
        second.repeat(60)
    ));
    assert!(
        heard.contains("rate_limited") && !heard.contains("CLOSE"),
        "{heard}"
    );
}

#[test]
fn a_flood_of_publications_is_closed() {
    check(
        &format!(
            "publish_rate 10 10; open a publish=>; stall a; {} resume a",
            publishes(300)
        ),
        expect![[r#"
            a: error - rate_limited (retryable): more than 10 publications per second after a burst of 10; wait 100 ms
            … and 199 more of it
            a: CLOSE 1008 publications went on after rate_limited"#]],
    );
}

/// Refusals that are no abuse by themselves, such as topics beyond a limit, are abuse when they go on.
#[test]
fn a_flood_of_refused_publications_is_closed_by_the_rate_of_requests() {
    let refused = r#"send a {"op":"publish","topic":"chat.b","data":1};"#;
    check(
        &format!(
            "topics 1; rate 1 5; open a publish=>; {} stall a; {} resume a",
            publishes(1),
            refused.repeat(300)
        ),
        expect![[r#"
            a: error - limit_exceeded (retryable): the broker holds its most topics (1); publish to an existing one or raise limits.topics
            … and 4 more of it
            a: error - rate_limited (retryable): more than 1 requests per second after a burst of 5; wait 1000 ms
            … and 199 more of it
            a: CLOSE 1008 requests went on after rate_limited"#]],
    );
}

fn topics(world: &World) -> (usize, usize) {
    let all: Pattern = ">".parse().expect("a pattern");
    (
        world.directory.topic_count(),
        world.directory.matching(&all).len(),
    )
}

/// Publishes to a new book, as the broker's own feed and as a client.
#[test]
fn a_refused_publication_to_a_new_topic_makes_none() {
    let mut world = World::new(Setup {
        topics: 2,
        ..Setup::default()
    });
    let all: Vec<Pattern> = vec![">".parse().expect("a pattern")];
    let client = world.open(0, Codec::Json, all);
    world.subscribe(client, ">");
    let long = "x".repeat(TOPIC_BYTES_MAX);
    let refused = [
        (
            "book.A",
            r#"{"symbol":"A","bids":[["-1","1"]],"time":0}"#.to_owned(),
        ),
        (
            "book.A",
            r#"{"symbol":"A","bids":[["1","1"],["2"]],"time":0}"#.to_owned(),
        ),
        ("book.B", r#"{"hello":1}"#.to_owned()),
        ("book.C", "5".to_owned()),
        (long.as_str(), "]".to_owned()),
        ("chat..a", "1".to_owned()),
    ];
    for (topic, data) in &refused {
        let request = format!(r#"{{"op":"publish","id":1,"topic":"{topic}","data":{data}}}"#);
        world.send(client, request.as_bytes());
        if let (Ok(topic), Ok(payload)) = (topic.parse::<Topic>(), Payload::from_json(data.as_bytes())) {
            let outcome = world.submit(Origin::Feed, &topic, payload);
            assert!(matches!(outcome, Err(PublishError::Refused(_))), "{outcome:?}");
        }
        assert_eq!(topics(&world), (0, 0), "{topic}: {data}");
        assert_eq!(world.directory.history_bytes(), 0, "{topic}: {data}");
    }
    world.run();
    assert_eq!(
        world.shards[0].subscription_count(),
        0,
        "no topic joined the pattern"
    );
    // Refused publications do not count, and the next one begins at 1.
    for (topic, symbol) in [("book.A", "A"), ("book.B", "B")] {
        let book = format!(r#"{{"symbol":"{symbol}","bids":[["1","1"]],"time":0}}"#);
        let payload = Payload::from_json(book.as_bytes()).expect("JSON");
        let topic: Topic = topic.parse().expect("a topic");
        let published = world
            .submit(Origin::Feed, &topic, payload)
            .expect("there is room");
        assert_eq!((published.epoch.as_str(), published.seq.0), (EPOCH, 1));
    }
    assert_eq!(topics(&world), (2, 2));
}

/// A request that is refused or finds nothing makes no topic either.
#[test]
fn refused_subscriptions_to_new_topics_make_none() {
    let script = "topics 1; caps 1 16; open a; sub a x.y mode=conflate rate=100; sub a x..y; sub a new.* nosnapshot mode=snapshot;
        resync a new.a; unsub a new.b; sub a a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p; sub a q.r; go; pub only 1";
    let heard = run(script);
    assert!(
        heard.contains("bad_request") && heard.contains("limit_exceeded"),
        "{heard}"
    );
    assert!(!heard.contains("the broker holds its most topics"), "{heard}");
}

fn publish_as(world: &World, publisher: u128, topic: &str) -> Result<u64, String> {
    let topic: Topic = topic.parse().expect("a topic");
    let payload = Payload::from_json(b"1").expect("JSON");
    let outcome = world.submit(Origin::Client(Some(Publisher(publisher))), &topic, payload);
    outcome
        .map(|published| published.seq.0)
        .map_err(|error| error.to_string())
}

#[test]
fn one_publisher_cannot_make_all_the_topics_of_the_broker() {
    let world = World::new(Setup {
        topics: 5,
        topics_per_key: 2,
        ..Setup::default()
    });
    for (publisher, topic, made) in [
        (1, "a", true),
        (1, "b", true),
        (1, "c", false),
        (1, "a", true),
        (2, "c", true),
        (1, "c", true),
        (2, "d", true),
        (2, "e", false),
        (3, "e", true),
        (4, "f", false),
    ] {
        let outcome = publish_as(&world, publisher, topic);
        assert_eq!(outcome.is_ok(), made, "{publisher} {topic}: {outcome:?}");
    }
    let refused = publish_as(&world, 1, "g").expect_err("the broker is full");
    assert!(
        refused.contains("limits.topics)") || refused.ends_with("limits.topics"),
        "{refused}"
    );
    assert_eq!(world.directory.topic_count(), 5);
}

#[test]
fn a_client_is_told_that_its_key_has_made_its_most_topics() {
    let mut world = World::new(Setup {
        topics_per_key: 1,
        ..Setup::default()
    });
    let all: Vec<Pattern> = vec![">".parse().expect("a pattern")];
    let clients: Vec<usize> = (0..2).map(|_| world.open(0, Codec::Json, all.clone())).collect();
    for client in &clients {
        let id = world.clients[*client].id.expect("a connection");
        world.shards[0].publishes_as(id, Publisher(7));
    }
    // Two connections have the same key.
    world.send(clients[0], br#"{"op":"publish","topic":"chat.a","data":1}"#);
    world.send(
        clients[1],
        br#"{"op":"publish","id":1,"topic":"chat.b","data":1}"#,
    );
    world.run();
    let told = format!("{:?}", world.clients[clients[1]].inbox);
    assert!(
        told.contains("LimitExceeded") && told.contains("raise limits.topics_per_key"),
        "{told}"
    );
    assert_eq!(world.directory.topic_count(), 1);
    // Topics of the broker's own feed count for no publisher.
    world.publish("ticker.A", "1");
    assert_eq!(world.directory.topic_count(), 2);
}

/// The topics of late are at hand for a session's next publications, with the rights that allowed them.
#[test]
fn a_topic_at_hand_takes_publications_only_with_the_rights_of_now() {
    let publish = |client: &str, id: u64| {
        format!(r#"send {client} {{"op":"publish","id":{id},"topic":"chat.a","data":1}};"#)
    };
    check(
        &format!(
            r#"open a publish=>; open b publish=other.>; {} {} {} go;
            send a {{"op":"auth","id":7,"token":"pub=other.>"}}; {} go;
            send a {{"op":"auth","id":8,"token":"pub=chat.*"}}; {} go"#,
            publish("a", 1),
            publish("a", 2),
            publish("b", 3),
            publish("a", 4),
            publish("a", 5)
        ),
        expect![[r#"
            a: ack 1 chat.a@1
            a: ack 2 chat.a@2
            b: error 3 forbidden: this connection may not publish to chat.a
            a: ack 7 
            a: error 4 forbidden: this connection may not publish to chat.a
            a: ack 8 
            a: ack 5 chat.a@3"#]],
    );
}

#[test]
fn more_topics_than_are_at_hand_are_published_to_in_turn() {
    let mut world = World::new(Setup::default());
    let all: Vec<Pattern> = vec![">".parse().expect("a pattern")];
    let client = world.open(0, Codec::Json, all);
    let names: Vec<String> = (0..300).map(|at| format!("chat.{at}")).collect();
    for _ in 0..3 {
        for name in &names {
            let request = format!(r#"{{"op":"publish","topic":"{name}","data":1}}"#);
            world.send(client, request.as_bytes());
        }
    }
    for name in &names {
        let cell = world.directory.find(name).expect("it was published to");
        assert_eq!(cell.position().seq.0, 3, "{name}");
    }
}
