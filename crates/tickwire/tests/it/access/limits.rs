//! Limits of one holder: those of static keys, of tokens, and of all clients without one.

use super::*;
use crate::support::get;

/// The settings of the key `desk`.
const OF_DESK: &str =
    "connections = 2\nsubscriptions = 3\nops_per_s = 5\nops_burst = 6\nbytes_per_s = 1000000";

/// A broker on two shards, at which the key `desk` has limits, and with further lines of `[auth]`.
fn limited(auth: &str) -> Guarded {
    let other = crate::program::run(&["hash-key"], OTHER).stdout;
    let keys = format!("{auth}\n[[auth.keys]]\nname = \"limited\"\n{other}subscribe = [\">\"]\n{OF_DESK}\n");
    Guarded::start_with(&keys, &["--shards", "2"])
}

const OTHER: &str = "tw_limited-of-the-tests-0123456789abcd";

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// The refusal of a handshake with these lines.
fn refused(guarded: &Guarded, lines: &[&str]) -> String {
    refusal(&guarded.handshake(lines).1)
}

#[test]
fn a_holder_has_its_most_connections_over_all_shards() {
    let guarded = limited("anonymous_connections = 1");
    let shows = bearer(OTHER);
    let (first, _second) = (guarded.open(OTHER), guarded.open(OTHER));
    let full = "429 limit_exceeded: the holder of this token has its most connections, 2";
    assert_eq!(refused(&guarded, &[&shows]), full);
    let stream = guarded.http("GET /v1/sse?topic=a HTTP/1.1", &[&shows], "");
    assert_eq!(refusal(&stream), full);
    let reading = guarded.http("GET /v1/topics HTTP/1.1", &[&shows], "");
    assert_eq!(reading.status, 200, "a request is no connection");
    let turned_away = r#"tickwire_turned_away_total{reason="holder_connections"}"#;
    assert_eq!(guarded.broker.metric(turned_away), Some(2.0));
    // Others count apart, and those without a token together.
    let _desk = guarded.open(DESK_KEY);
    let (mut anonymous, answer) = guarded.handshake(&[]);
    assert_eq!(answer.status, 101);
    assert_eq!(anonymous.message()["op"], "welcome");
    let expected = "429 limit_exceeded: clients without a token have their most connections together, 1";
    assert_eq!(refused(&guarded, &[]), expected);
    // Who shows a token in band becomes a connection of its holder.
    let told = ask(&mut anonymous, &auth(1, OTHER));
    assert_eq!(told["code"], "limit_exceeded", "{told}");
    drop(first);
    poll("there is a place", || {
        let told = ask(&mut anonymous, &auth(2, OTHER));
        (told["op"] == "ack").then_some(())
    });
    let (_next, answer) = guarded.handshake(&[]);
    assert_eq!(answer.status, 101, "it is no longer one without a token");
    assert_eq!(refused(&guarded, &[&shows]), full);
}

/// The limits that a `welcome` tells, in the order of `NAMES`.
fn told(socket: &mut Socket) -> Vec<u64> {
    const NAMES: [&str; 5] = [
        "subscriptions",
        "ops_per_s",
        "ops_burst",
        "publishes_per_s",
        "publishes_burst",
    ];
    let welcome = socket.message();
    NAMES
        .iter()
        .map(|name| welcome["limits"][name].as_u64().expect("a number"))
        .collect()
}

#[test]
fn a_connection_has_the_limits_of_its_holder() {
    let anonymous = "anonymous_subscriptions = 2\nanonymous_ops_per_s = 3\nanonymous_publishes_per_s = 4\nanonymous_bytes_per_s = 20000";
    let guarded = limited(anonymous);
    let grants = json!({"subscribe": [">"], "subscriptions": 4, "ops_per_s": 7, "bytes_per_s": 16384, "connections": 1});
    let token = token("a", 60.0, &grants);
    for (shown, limits) in [
        (None, [2, 3, 6, 4, 8]),
        (Some(OTHER), [3, 5, 6, 10_000, 20_000]),
        (Some(&token), [4, 7, 14, 10_000, 20_000]),
    ] {
        let lines: Vec<String> = shown.into_iter().map(bearer).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (mut socket, answer) = guarded.handshake(&lines);
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(told(&mut socket), limits);
        let topics: Vec<String> = (0..limits[0]).map(|topic| format!("t.{topic}")).collect();
        let answer = ask(
            &mut socket,
            &json!({"op": "subscribe", "id": 1, "topics": topics}),
        );
        assert_eq!(answer["op"], "ack", "{answer}");
        let answer = ask(
            &mut socket,
            &json!({"op": "subscribe", "id": 2, "topics": ["t.more"]}),
        );
        let error = &answer["results"][0]["error"];
        let expected = format!("the connection has its most subscriptions, {}", limits[0]);
        assert_eq!(
            (&error["code"], &error["reason"]),
            (&json!("limit_exceeded"), &json!(expected)),
            "{answer}"
        );
        for _ in 0..50 {
            socket.send(Frame::text(r#"{"op":"ping","id":3}"#));
        }
        let refused = loop {
            let message = socket.message();
            if message["op"] == "error" {
                break message;
            }
        };
        let reason = refused["reason"].as_str().expect("a reason");
        let expected = format!(
            "more than {} requests per second after a burst of {};",
            limits[1], limits[2]
        );
        assert!(reason.starts_with(&expected), "{reason}");
    }
    // A token that asks for nonsense is refused as a whole.
    let slow = super::token("a", 60.0, &json!({"bytes_per_s": 16_383}));
    let reason = refused(&guarded, &[&bearer(&slow)]);
    assert!(
        reason.ends_with("tickwire.bytes_per_s must be at least 16384"),
        "{reason}"
    );
}

/// What a reload sets holds at once for the connections that are open.
#[test]
fn other_limits_of_a_key_hold_for_its_open_connections() {
    let guarded = limited("");
    let mut socket = guarded.open(OTHER);
    let path = guarded.folder.path().join("tickwire.toml");
    let text = std::fs::read_to_string(&path).expect("the settings");
    let text = text
        .replace("subscriptions = 3", "subscriptions = 1")
        .replace("connections = 2", "connections = 1");
    std::fs::write(&path, text).expect("a file");
    guarded.broker.signal("HUP");
    guarded
        .broker
        .wait_for_metric(r#"tickwire_config_reloads_total{result="ok"}"#, |count| {
            count == 1.0
        });
    let full = "429 limit_exceeded: the holder of this token has its most connections, 1";
    assert_eq!(refused(&guarded, &[&bearer(OTHER)]), full);
    let answer = ask(
        &mut socket,
        &json!({"op": "subscribe", "id": 1, "topics": ["a", "b"]}),
    );
    let expected = "2 topics in one request; a connection has at most 1";
    assert_eq!(
        (&answer["code"], &answer["reason"]),
        (&json!("limit_exceeded"), &json!(expected)),
        "{answer}"
    );
    assert_eq!(get(guarded.broker.ops, "/livez").status, 200);
}
