//! Rights that change during a session, and tokens that expire.

use expect_test::expect;
use tickwire_router::Rights;
use tickwire_wire::{Codec, ErrorCode, Micros, Refusal, Secret};

use crate::grants::grant;
use crate::script::check;
use crate::world::{Setup, World};

/// The meaning of a script's token: `sub=PATTERN,-PATTERN pub=PATTERN for=MS`. Any other token is unknown.
pub(crate) fn meaning(token: &Secret, now: Micros) -> Result<(Rights, Option<Micros>), Refusal> {
    let (mut rights, mut expires) = (Rights::none(), None);
    for part in token.expose().split_whitespace() {
        match part.split_once('=') {
            Some(("sub", words)) => rights.subscribe = grant(words.split(',')),
            Some(("pub", words)) => rights.publish = grant(words.split(',')),
            Some(("for", ms)) => expires = Some(now.plus_ms(ms.parse().expect("a number"))),
            _ => return Err(Refusal::new(ErrorCode::Unauthenticated, "no such token")),
        }
    }
    Ok((rights, expires))
}

/// A request with a token.
fn auth(id: u64, token: &str) -> String {
    format!(r#"send a {{"op":"auth","id":{id},"token":"{token}"}};"#)
}

#[test]
fn a_renewal_ends_what_it_does_not_cover() {
    check(
        &format!(
            "open a; open b publish=>; sub a ticker.* trade.A secret.x; go; {} pub ticker.A 1; pub trade.A 1; pub secret.x 1; go; sub a secret.x; go",
            auth(9, "sub=ticker.>")
        ),
        expect![[r#"
            a: ack 1 ticker.* matched=0 conflate, trade.A@0 every, secret.x@0 every
            a: ack 9 
            a: error - forbidden: secret.x is no longer subscribed: this connection may not subscribe to secret.x
            a: error - forbidden: trade.A is no longer subscribed: this connection may not subscribe to trade.A
            a: joined ticker.A 0
            a: update ticker.A 1 1
            a: ack 2 secret.x forbidden: this connection may not subscribe to secret.x"#]],
    );
}

#[test]
fn nothing_that_waits_of_a_forbidden_topic_comes_after_the_ack() {
    check(
        &format!(
            "open a; sub a ticker.A trade.A; go; stall a; pub trade.A 1..3; pub ticker.A 1; drain; {} resume a; go",
            auth(9, "sub=ticker.>")
        ),
        expect![[r#"
            a: ack 1 ticker.A@0 conflate, trade.A@0 every
            a: ack 9 
            a: error - forbidden: trade.A is no longer subscribed: this connection may not subscribe to trade.A
            a: update ticker.A 1 1"#]],
    );
}

#[test]
fn a_one_shot_that_waits_is_dropped_with_the_right_to_it() {
    check(
        &format!(
            "open a; pub ticker.A 1; pub trade.A 2; stall a; sub a ticker.A trade.A mode=snapshot; {} resume a; go",
            auth(9, "sub=ticker.>")
        ),
        expect![[r#"
            a: ack 1 ticker.A@1 snapshot, trade.A@1 snapshot
            a: ack 9 
            a: snapshot ticker.A 1 1"#]],
    );
}

#[test]
fn a_topic_that_another_pattern_covers_stays() {
    check(
        &format!(
            "open a; sub a ticker.> ticker.A; go; {} pub ticker.A 1; pub ticker.B 1; go",
            auth(9, "sub=ticker.A")
        ),
        expect![[r#"
            a: ack 1 ticker.> matched=0 conflate, ticker.A@0 conflate
            a: ack 9 
            a: error - forbidden: ticker.> is no longer subscribed: ticker.> holds topics that this connection may not subscribe to; it may subscribe to ticker.A
            a: update ticker.A 1 1"#]],
    );
}

#[test]
fn a_token_that_is_not_taken_changes_nothing() {
    check(
        &format!("open a; sub a ticker.A; go; {} pub ticker.A 1; go", auth(9, "x")),
        expect![[r#"
            a: ack 1 ticker.A@0 conflate
            a: error 9 unauthenticated: no such token
            a: update ticker.A 1 1"#]],
    );
}

#[test]
fn a_session_ends_when_its_token_expires() {
    check(
        &format!(
            "open a; {} sub a trade.A; go; wait 999; pub trade.A 1; go; pub trade.A 2; drain; wait 1; pub trade.A 3; go; wait 5000",
            auth(1, "sub=> for=1000")
        ),
        expect![[r#"
            a: ack 1 
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            1000 ms a: CLOSE 4003 the token has expired
            6000 ms a: gone"#]],
    );
}

#[test]
fn what_waits_when_the_token_expires_is_dropped() {
    check(
        &format!(
            "open a; {} sub a trade.A; go; stall a; pub trade.A 1..3; drain; write a 10; wait 1000; resume a; go",
            auth(1, "sub=> for=1000")
        ),
        expect![[r#"
            a: ack 1 
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            a: CLOSE 4003 the token has expired"#]],
    );
}

#[test]
fn a_renewal_puts_the_end_off_and_may_bring_it_closer() {
    check(
        &format!(
            "open a; {} wait 900; {} wait 900; {} wait 99; ping a; go; wait 1; ping a; go",
            auth(1, "sub=> for=1000"),
            auth(2, "sub=> for=9000"),
            auth(3, "sub=> for=100")
        ),
        expect![[r#"
            900 ms a: ack 1 
            1800 ms a: ack 2 
            1899 ms a: ack 3 
            a: pong 1
            1900 ms a: CLOSE 4003 the token has expired"#]],
    );
    check(
        &format!(
            "open a; {} {} wait 9000; ping a; go",
            auth(1, "sub=> for=1000"),
            auth(2, "sub=>")
        ),
        expect![[r#"
            7500 ms a: ack 1 
            7500 ms a: ack 2 
            a: pong 1"#]],
    );
}

#[test]
fn publishing_follows_the_grant() {
    check(
        &format!(
            r#"open a; {} send a {{"op":"publish","id":2,"topic":"chat.a","data":1}}; send a {{"op":"publish","id":3,"topic":"chat.b","data":1}}; go"#,
            auth(1, "pub=chat.>,-chat.b")
        ),
        expect![[r#"
            a: ack 1 
            a: ack 2 chat.a@1
            a: error 3 forbidden: this connection may not publish to chat.b"#]],
    );
}

#[test]
fn a_wildcard_wider_than_the_grant_is_refused_with_a_narrower_one() {
    check(
        &format!(
            "open a; {} sub a > ticker.* secret.x ticker.A; go",
            auth(1, "sub=ticker.*,-ticker.B")
        ),
        expect![[r#"
            a: ack 1 
            a: ack 1 > forbidden: > holds topics that this connection may not subscribe to, ticker.* forbidden: ticker.* holds topics that this connection may not subscribe to: ticker.B, secret.x forbidden: this connection may not subscribe to secret.x, ticker.A@0 conflate"#]],
    );
}

/// The clock may have passed the token's end before the shard checks it.
#[test]
fn a_request_that_comes_with_the_end_of_its_token_is_not_done() {
    let mut world = World::new(Setup::default());
    let end = world.now.plus_ms(1_000);
    for (request, at, published) in [
        (
            r#"{"op":"publish","topic":"chat.a","data":1}"#,
            Micros(end.0 - 1),
            true,
        ),
        (r#"{"op":"publish","topic":"chat.b","data":1}"#, end, false),
        (
            r#"{"op":"publish","topic":"chat.b","data":1}"#,
            end.plus_ms(9),
            false,
        ),
    ] {
        let client = world.open(0, Codec::Json, vec![">".parse().expect("a pattern")]);
        let id = world.clients[client].id.expect("a connection");
        world.shards[0].set_expiry(id, Some(end));
        world.now = at;
        world.send(client, request.as_bytes());
        assert_eq!(world.shards[0].is_open(id), published, "{request} at {at:?}");
        world.run();
        let closed = world.clients[client].closed;
        assert_eq!(closed.is_none(), published, "{closed:?}");
        assert_eq!(world.directory.topic_count(), 1, "{request} at {at:?}");
        world.disconnect(client);
    }
}
