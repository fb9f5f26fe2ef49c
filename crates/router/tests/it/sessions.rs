//! Sessions: control before data, heartbeats, deadlines, rates, rights, closing.

use expect_test::expect;
use tickwire_router::SessionId;
use tickwire_wire::Codec;

use crate::script::{check, run};
use crate::world::{Setup, World};

#[test]
fn control_overtakes_data() {
    check(
        "open a; sub a trade.A; go; stall a; pub trade.A 1..3; drain; write a 60; ping a; wsping a x; sub a trade.B; resume a",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: pong 2
            a: PONG x
            a: ack 3 trade.B@0 every
            a: update trade.A 2 2
            a: update trade.A 3 3"#]],
    );
}

#[test]
fn partial_writes_at_every_byte() {
    let run = |writes: &str| {
        format!(
            "open a; sub a trade.A; go; stall a; pub trade.A 1..2; drain; ping a; {writes} wsping a x; unsub a trade.A; resume a"
        )
    };
    for bytes in 0..170 {
        // One or two frames come whole before the others are asked for. Wherever the bytes are cut, all frames are
        // whole.
        let script = run(&format!("write a {bytes};"));
        check_any(&script);
    }
    check(
        &run("write a 0;"),
        expect![[r#"
        a: ack 1 trade.A@0 every
        a: pong 2
        a: PONG x
        a: ack 3 trade.A"#]],
    );
    check(
        &run("write a 62; write a 1; write a 1;"),
        expect![[r#"
        a: ack 1 trade.A@0 every
        a: pong 2
        a: update trade.A 1 1
        a: PONG x
        a: ack 3 trade.A"#]],
    );
}

/// Runs a script only for the checks of the harness itself.
fn check_any(script: &str) {
    run(script);
}

#[test]
fn heartbeat_when_nothing_else_was_sent() {
    check(
        "open a; sub a trade.A; go; wait 14000; pub trade.A 1; go; heard a; wait 14999; wait 1; heard a; wait 14999; wait 1001",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            29000 ms a: heartbeat
            44000 ms a: heartbeat"#]],
    );
}

#[test]
fn no_heartbeat_behind_what_waits() {
    check(
        "open a; sub a trade.A; go; stall a; pub trade.A 1; drain; wait 17000; heard a; wait 17000; resume a",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1"#]],
    );
}

#[test]
fn a_silent_client_is_pinged_and_then_given_up() {
    check(
        "open a; ping a; go; wait 19999; wait 1; wait 19999; wait 1001; wait 5000",
        expect![[r#"
            a: pong 1
            15000 ms a: heartbeat
            20000 ms a: PING
            30000 ms a: heartbeat
            40000 ms a: CLOSE 4001 no pong within 20000 ms
            45000 ms a: gone"#]],
    );
    check(
        "open a; ping a; go; wait 20000; wait 10000; heard a; wait 19000; wait 1000",
        expect![[r#"
            a: pong 1
            15000 ms a: heartbeat
            20000 ms a: PING
            30000 ms a: heartbeat
            45000 ms a: heartbeat
            50000 ms a: PING"#]],
    );
}

#[test]
fn the_first_request_must_come_in_time() {
    check(
        "open a; open b; ping b; go; wait 9999; heard a; wsping a x; go; wait 1",
        expect![[r#"
            b: pong 1
            a: PONG x
            10000 ms a: CLOSE 4008 no request within 10000 ms of the handshake"#]],
    );
    check(
        r#"open a; send a nonsense; go; wait 11000"#,
        expect!["a: error - bad_request: expected ident at line 1 column 2"],
    );
}

#[test]
fn more_than_the_rate() {
    check(
        "rate 10 3; open a; ping a; ping a; ping a; ping a; wsping a x; go; wait 100; ping a; ping a; go",
        expect![[r#"
            a: pong 1
            a: pong 2
            a: pong 3
            a: error 4 rate_limited (retryable): more than 10 requests per second after a burst of 3; wait 100 ms
            a: error - rate_limited (retryable): more than 10 requests per second after a burst of 3; wait 100 ms
            a: pong 5
            a: error 6 rate_limited (retryable): more than 10 requests per second after a burst of 3; wait 100 ms"#]],
    );
}

#[test]
fn abuse_after_rate_limited_is_closed() {
    let flood = r#"send a {"op":"ping","id":1};"#.repeat(600);
    check(
        &format!("rate 1 1; open a; stall a; {flood} resume a"),
        expect![[r#"
            a: pong 1
            a: error 1 rate_limited (retryable): more than 1 requests per second after a burst of 1; wait 1000 ms
            … and 199 more of it
            a: CLOSE 1008 requests went on after rate_limited"#]],
    );
    let flood = "wsping a x;".repeat(600);
    check(
        &format!("rate 1 1; open a; stall a; {flood} resume a"),
        expect![[r#"
            a: PONG x
            a: error - rate_limited (retryable): more than 1 requests per second after a burst of 1; wait 1000 ms
            … and 199 more of it
            a: CLOSE 1008 requests went on after rate_limited"#]],
    );
}

#[test]
fn refusals_without_end_are_closed() {
    let flood = |count| r#"send a {"op":"fly","id":1};"#.repeat(count);
    let (nine, ten) = (flood(9), flood(10));
    check(
        &format!("open a; {nine} ping a; go; {nine} go; send a {{}}; {ten} go"),
        expect![[r#"
            a: error 1 unknown_op: unknown op "fly"; known are subscribe, positions, unsubscribe, publish, resync, auth, ping
            … and 8 more of it
            a: pong 1
            a: error 1 unknown_op: unknown op "fly"; known are subscribe, positions, unsubscribe, publish, resync, auth, ping
            … and 8 more of it
            a: error - bad_request: a request needs a field "op"
            a: CLOSE 1008 10 requests in a row were refused"#]],
    );
    // A request with one granted topic does not count.
    let flood = r#"send a {"op":"subscribe","id":1,"topics":["x","x.."]};"#.repeat(20);
    check(
        &format!("open a; {flood} go"),
        expect![[r#"
            a: ack 1 x@0 every, x.. bad_topic: empty token at byte 2
            … and 19 more of it"#]],
    );
    let flood = r#"send a {"op":"subscribe","id":1,"topics":["x..","x.."]};"#.repeat(20);
    check(
        &format!("open a; {flood} go"),
        expect![[r#"
            a: ack 1 x.. bad_topic: empty token at byte 2, x.. bad_topic: empty token at byte 2
            … and 9 more of it
            a: CLOSE 1008 10 requests in a row were refused"#]],
    );
    let flood = r#"send a {"op":"publish","topic":"not.mine","data":1};"#.repeat(20);
    check(
        &format!("open a publish=mine.>; {flood} go"),
        expect![[r#"
            a: error - forbidden: this connection may not publish to not.mine
            … and 9 more of it
            a: CLOSE 1008 10 requests in a row were refused"#]],
    );
}

/// Some clients send this because other brokers want it.
#[test]
fn a_ping_without_an_id_gets_a_pong_without_one() {
    check(
        r#"open a; send a {"op":"ping"}; open b msgpack; ping b; go"#,
        expect![[r#"
            a: pong -
            b: pong 1"#]],
    );
}

#[test]
fn a_client_that_is_refused_now_and_then_is_not_closed() {
    // A text that is no request comes every twenty seconds for ten hours.
    let text = "send a ping; go; wait 20000; wspong a;";
    let heard = run(&format!("open a; sub a x; go; {}", text.repeat(1_800)));
    assert!(!heard.contains("CLOSE"), "{heard}");
    // One a second is forgiven, and no more.
    let text = "send a ping; go; wait 1000;";
    let heard = run(&format!("open a; sub a x; go; {}", text.repeat(100)));
    assert!(!heard.contains("CLOSE"), "{heard}");
    let text = "send a ping; go; wait 800;";
    let heard = run(&format!("open a; sub a x; go; {}", text.repeat(100)));
    assert!(
        heard.contains("CLOSE 1008 10 requests in a row were refused"),
        "{heard}"
    );
}

/// These refusals are about the moment, or about what the broker holds for the client.
#[test]
fn what_may_succeed_later_is_no_abuse() {
    let flood = "unsub a x;".repeat(20);
    check(
        &format!("open a; {flood} go"),
        expect![[r#"
            a: ack 1 x not_subscribed: no subscription of this connection has this name
            a: ack 2 x not_subscribed: no subscription of this connection has this name
            a: ack 3 x not_subscribed: no subscription of this connection has this name
            a: ack 4 x not_subscribed: no subscription of this connection has this name
            a: ack 5 x not_subscribed: no subscription of this connection has this name
            a: ack 6 x not_subscribed: no subscription of this connection has this name
            a: ack 7 x not_subscribed: no subscription of this connection has this name
            a: ack 8 x not_subscribed: no subscription of this connection has this name
            a: ack 9 x not_subscribed: no subscription of this connection has this name
            a: ack 10 x not_subscribed: no subscription of this connection has this name
            a: ack 11 x not_subscribed: no subscription of this connection has this name
            a: ack 12 x not_subscribed: no subscription of this connection has this name
            a: ack 13 x not_subscribed: no subscription of this connection has this name
            a: ack 14 x not_subscribed: no subscription of this connection has this name
            a: ack 15 x not_subscribed: no subscription of this connection has this name
            a: ack 16 x not_subscribed: no subscription of this connection has this name
            a: ack 17 x not_subscribed: no subscription of this connection has this name
            a: ack 18 x not_subscribed: no subscription of this connection has this name
            a: ack 19 x not_subscribed: no subscription of this connection has this name
            a: ack 20 x not_subscribed: no subscription of this connection has this name"#]],
    );
    let flood = r#"send a {"op":"subscribe","id":1,"topics":["x","y"]};"#.repeat(20);
    check(
        &format!("subscriptions 1; open a; {flood} go"),
        expect![[r#"
            a: error 1 limit_exceeded (retryable): 2 topics in one request; a connection has at most 1
            … and 19 more of it"#]],
    );
}

#[test]
fn who_exceeds_the_rate_a_little_is_not_closed() {
    // The client sends at twice the rate for ten minutes.
    let second = "ping a; ping a; ping a; ping a; go; wait 1000; heard a;";
    let script = format!("rate 2 2; open a; {}", second.repeat(600));
    assert!(!run(&script).contains("CLOSE"));
    // At four times the rate, 4 of 6 requests are one too many, and it takes a while.
    let second = format!("{} go; wait 1000; heard a;", "ping a;".repeat(8));
    let heard = run(&format!("rate 2 2; open a; {}", second.repeat(600)));
    assert!(
        heard.contains("CLOSE 1008 requests went on after rate_limited"),
        "{heard}"
    );
}

#[test]
fn a_pong_that_nobody_asked_for_costs_what_a_request_does() {
    let flood = "wspong a;".repeat(503);
    check(
        &format!("rate 1 1; open a; ping a; go; {flood} go"),
        expect![[r#"
            a: pong 1
            a: error - rate_limited (retryable): more than 1 requests per second after a burst of 1; wait 1000 ms
            … and 199 more of it
            a: CLOSE 1008 requests went on after rate_limited"#]],
    );
    // The answer to a ping is free, and no other pong is.
    check(
        "rate 1 1; open a; ping a; go; wait 20000; wspong a; heard a; ping a; wspong a; go",
        expect![[r#"
            a: pong 1
            15000 ms a: heartbeat
            20000 ms a: PING
            a: pong 2
            a: error - rate_limited (retryable): more than 1 requests per second after a burst of 1; wait 1000 ms"#]],
    );
}

#[test]
fn answers_that_are_not_read_end_the_session() {
    let long = "x".repeat(200);
    let pings = format!("wsping a {}; ", &long[..120]).repeat(9_000);
    check(
        &format!("rate 1000000 4000000; open a; stall a; {pings} show outbox a; resume a"),
        expect![[r#"
            outbox a: 1048654 control, 0 data
            a: PONG x…(120)
            … and 8594 more of it
            a: CLOSE 4002 slow reader: more than 1048576 bytes of answers were waiting"#]],
    );
    // Answers that keep their place among the data count too.
    let again = format!("sub a {long} nosnapshot; ").repeat(5_000);
    check(
        &format!(
            "rate 1000000 4000000; open a; sub a {long}; pub {long} 1; go; stall a; {again} show outbox a; resume a"
        ),
        expect![[r#"
            a: ack 1 x…(200)@0 every
            a: update x…(200) 1 1
            outbox a: 64 control, 0 data
            a: CLOSE 4002 slow reader: more than 1048576 bytes of answers were waiting"#]],
    );
}

#[test]
fn publishing_needs_the_right() {
    check(
        r#"topics 2; open a publish=chat.*; open b; sub b >;
           send a {"op":"publish","id":1,"topic":"chat.x","data":{"n":1.50}};
           send a {"op":"publish","topic":"chat.x","data":{}};
           send a {"op":"publish","id":3,"topic":"trade.x","data":1};
           send a {"op":"publish","topic":"chat.x.y","data":1};
           send a {"op":"publish","id":5,"topic":"chat.*","data":1};
           send b {"op":"publish","id":6,"topic":"chat.x","data":1};
           send a {"op":"publish","id":7,"topic":"chat.y","data":1};
           send a {"op":"publish","id":8,"topic":"chat.z","data":1}; go"#,
        expect![[r#"
            a: ack 1 chat.x@1
            a: error 3 forbidden: this connection may not publish to trade.x
            a: error - forbidden: this connection may not publish to chat.x.y
            a: error 5 bad_topic: wildcard at byte 5: a single topic is needed here
            a: ack 7 chat.y@1
            a: error 8 limit_exceeded (retryable): the broker holds its most topics (2); publish to an existing one or raise limits.topics
            b: ack 1 > matched=0 state=conflate book=every event=every
            b: error 6 forbidden: this connection may not publish to chat.x
            b: joined chat.x 0
            b: update chat.x 1 {"n":1.50}
            b: update chat.x 2 {}
            b: joined chat.y 0
            b: update chat.y 1 1"#]],
    );
}

#[test]
fn the_client_closes() {
    check(
        "open a; sub a trade.A; go; stall a; pub trade.A 1; drain; closing a 1000; ping a; resume a; wait 5000; show sessions",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: CLOSE 1000
            5000 ms a: gone
            sessions: 0"#]],
    );
    check(
        "open a; closing a; go; open b; closing b 3001; go",
        expect![[r#"
        a: CLOSE 1000
        b: CLOSE 3001"#]],
    );
}

#[test]
fn the_broker_closes() {
    check(
        "open a; sub a trade.A; pub trade.A 1; drain; close a 1012 restarting; pub trade.A 2; go; closing a 1012; go; show sessions; show subscribers trade.A",
        expect![[r#"
            a: ack 1 trade.A@0 every
            a: CLOSE 1012 restarting
            a: gone
            sessions: 0
            subscribers trade.A: 0"#]],
    );
    // There is no answer.
    check(
        "open a; close a 1001 bye; go; wait 4999; show sessions; wait 1; show sessions; wait 60000",
        expect![[r#"
            a: CLOSE 1001 bye
            sessions: 1
            5000 ms a: gone
            sessions: 0"#]],
    );
}

#[test]
fn gone_is_said_once_and_of_the_session_it_was() {
    check(
        "open a; close a 1001 bye; go; closing a 1001; closing a 1001; lost a; open b; go; ping b; go; show sessions",
        expect![[r#"
            a: CLOSE 1001 bye
            b: pong 1
            sessions: 1"#]],
    );
}

#[test]
fn closes_that_cross() {
    // Our close is not written yet when the client's comes. It still goes out.
    check(
        "open a; stall a; close a 1001 bye; closing a 1000; resume a",
        expect!["a: CLOSE 1001 bye"],
    );
}

/// Otherwise a call would be lost, or would reach the next session with its number.
#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "there is no session 7"))]
fn what_is_said_of_a_session_that_was_never_opened_is_not_lost_silently() {
    let mut world = World::new(Setup::default());
    world.shards[0].heard(SessionId(7), world.now);
}

/// The kernel may report a socket late.
#[test]
fn a_socket_that_takes_bytes_when_its_session_is_gone_is_no_fault() {
    let mut world = World::new(Setup::default());
    let client = world.open(0, Codec::Json, Vec::new());
    let id = world.clients[client].id.expect("it is connected");
    world.disconnect(client);
    world.shards[0].writable(id);
    assert_eq!(world.shards[0].next_dirty(), None);
}

/// The numbers of ended sessions are used again, so pages go by the order of opening.
#[test]
fn pages_of_sessions_bring_each_one_that_stays_once() {
    let mut world = World::new(Setup::default());
    let clients: Vec<usize> = (0..8).map(|_| world.open(0, Codec::Json, Vec::new())).collect();
    world.run();
    for client in [1, 4] {
        let id = world.clients[client].id.expect("it is open");
        world.shards[0].remove(id);
        world.clients[client].id = None;
    }
    world.open(0, Codec::Json, Vec::new());
    world.subscribe(clients[6], "trade.*");
    world.run();
    let shard = &world.shards[0];
    let names = |after, count| {
        let page = shard.sessions_after(after, count, |_| true);
        page.into_iter().map(|card| card.name).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 3), ["0-1", "0-3", "0-4"]);
    assert_eq!(names(Some(4), 3), ["0-6", "0-7", "0-8"]);
    assert_eq!(names(Some(8), 3), ["0-9"]);
    assert_eq!(names(Some(9), 3), [""; 0]);
    assert_eq!(names(None, 100).len(), 7);

    let topic = |name: &str| name.parse().expect("a topic");
    let subscribed = |name: &str| shard.open_sessions(9, |id| shard.is_subscribed(id, &topic(name)));
    assert_eq!(subscribed("trade.A"), [world.clients[6].id.expect("it is open")]);
    assert_eq!(subscribed("ticker.A"), [] as [SessionId; 0]);
    assert_eq!(shard.open_sessions(5, |_| true).len(), 5);
}
