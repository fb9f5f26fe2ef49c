//! Rows 15 to 19: pages of other sites, invalid tokens, and topics that a client may not have.

use std::io::ErrorKind;
use std::net::TcpListener;

use serde_json::{Value, json};

use super::tokens::{
    self, SECRET, besieged, claims, key_file, rsa_token, seconds_from_now, show, show_among_subprotocols,
    signed, token, unsigned,
};
use super::{Besieged, next_message};
use crate::handshake::{GET, GOOD};
use crate::support::{Frame, Opcode, Socket, poll, post};

#[test]
fn row_15_pages_of_other_sites() {
    let attack = besieged(r#"allowed_origins = ["https://app.example.com", "http://localhost:8080"]"#);
    let shake = |origins: &[&str]| {
        let lines: Vec<String> = origins.iter().map(|origin| format!("Origin: {origin}")).collect();
        let lines: Vec<&str> = GOOD.into_iter().chain(lines.iter().map(String::as_str)).collect();
        Socket::request(&attack.broker, GET, &lines).1
    };
    for foreign in [
        &["https://evil.example"][..],
        // The same host with another scheme or port is another origin (RFC 6454 §5).
        &["http://app.example.com"],
        &["ws://app.example.com"],
        &["https://app.example.com:8443"],
        &["http://localhost"],
        &["https://app.example.com.evil.example"],
        &["https://evil.example/https://app.example.com"],
        &["https://sub.app.example.com"],
        &["https://app.example.com@evil.example"],
        &["null"],
        &[""],
        &["https://app.example.com https://evil.example"],
        &["https://app.example.com", "https://evil.example"],
    ] {
        let answer = shake(foreign);
        assert_eq!(answer.status, 403, "{foreign:?}: {answer:?}");
    }
    for own in [
        &["https://app.example.com"][..],
        &["https://APP.example.com:443"],
        &["http://localhost:8080"],
        // A client that names no origin is not a web page.
        &[],
    ] {
        assert_eq!(shake(own).status, 101, "{own:?}");
    }
    attack.outlives();
}

/// Checks that a token is refused in each way of showing it, and that nothing repeats it.
fn is_no_token(attack: &Besieged, what: &str, token: &str) {
    let broker = &attack.broker;
    for (_, answer) in [show(broker, token), show_among_subprotocols(broker, token)] {
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        assert!(
            answer.head.contains("\r\nwww-authenticate: bearer"),
            "{what}: {answer:?}"
        );
        assert!(answer.body.contains("\"unauthenticated\""), "{what}: {answer:?}");
    }
    let mut socket = Socket::open(broker);
    let auth = json!({"op": "auth", "id": 7, "token": token}).to_string();
    socket.send(Frame::text(&auth));
    let error = next_message(&mut socket);
    let found = (&error["op"], &error["id"], &error["code"]);
    assert_eq!(
        found,
        (&json!("error"), &json!(7), &json!("unauthenticated")),
        "{what}: {error}"
    );
    let shown = error.to_string();
    assert!(token.len() < 20 || !shown.contains(token), "{what}: {shown}");
    // The connection stays open with the rights that it had.
    socket.send(Frame::text(r#"{"op":"ping","id":8}"#));
    assert_eq!(next_message(&mut socket)["op"], "pong", "{what}");
}

#[test]
fn row_16_tokens_that_are_none() {
    let attack = besieged("");
    for good in [token("alice", &json!({})), rsa_token()] {
        assert_eq!(show(&attack.broker, &good).1.status, 101);
    }
    let (hs, good) = (json!({"alg": "HS256"}), claims("mallory", &json!({})));
    for alg in ["none", "None", "NONE", "nOnE", "", "HS384", "RS512"] {
        let message = unsigned(&json!({"alg": alg, "typ": "JWT"}), &good);
        is_no_token(&attack, alg, &format!("{message}."));
        is_no_token(&attack, alg, &signed(&json!({"alg": alg}), &good, SECRET));
    }
    // CVE-2026-25537: the public key, which is not secret, is used as the secret of an HMAC.
    let public = std::fs::read(key_file("rsa.public.pem")).expect("the key is there");
    let trimmed = public.trim_ascii();
    for (what, secret) in [
        ("the PEM", &public[..]),
        ("the PEM without its end", trimmed),
        ("nothing", b""),
    ] {
        is_no_token(&attack, what, &signed(&hs, &good, secret));
        is_no_token(&attack, what, &signed(&json!({"alg": "RS256"}), &good, secret));
    }
    for (what, changes) in [
        ("exp as text", json!({"exp": "99999999999"})),
        ("exp missing", json!({"exp": null})),
        ("exp as a list", json!({"exp": [99_999_999_999_u64]})),
        ("another audience", json!({"aud": "another"})),
        ("other audiences", json!({"aud": ["another", "tickwire2"]})),
        ("no audience", json!({"aud": null})),
        ("an audience that is a number", json!({"aud": 5})),
        ("another issuer", json!({"iss": "another"})),
        ("no subject", json!({"sub": null})),
        ("not yet", json!({"nbf": seconds_from_now(3_600.0)})),
        (
            "a grant that is none",
            json!({"tickwire": {"subscribe": "chat.>"}}),
        ),
        (
            "a misspelt denial",
            json!({"tickwire": {"subscribe": [">"], "deny_subscribes": [">"]}}),
        ),
    ] {
        is_no_token(&attack, what, &token("mallory", &changes));
    }
    let whole = token("alice", &json!({}));
    let (message, signature) = whole.rsplit_once('.').expect("a token has parts");
    let (header, _) = message.split_once('.').expect("a token has parts");
    let other = unsigned(&hs, &claims("root", &json!({})));
    for (what, token) in [
        ("no signature", format!("{message}.")),
        ("two parts", message.to_owned()),
        ("four parts", format!("{whole}.{signature}")),
        ("another's signature", format!("{other}.{signature}")),
        ("no claims", format!("{header}..{signature}")),
        ("no JSON", format!("e30x.{message}.{signature}")),
        ("a text", "open sesame".to_owned()),
        ("too long", format!("{whole}{}", "x".repeat(9_000))),
    ] {
        is_no_token(&attack, what, &token);
    }
    attack.outlives();
}

#[test]
fn row_17_tokens_that_would_steer_a_fetch() {
    let attack = besieged("");
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a free port");
    elsewhere
        .set_nonblocking(true)
        .expect("a listener has this option");
    let url = format!("http://{}/jwks.json", elsewhere.local_addr().expect("it listens"));
    let own_secret: &[u8] = b"the attacker's own secret, long enough";
    for (what, header, changes) in [
        ("jku", json!({"alg": "HS256", "jku": url}), json!({})),
        (
            "jku and kid",
            json!({"alg": "HS256", "jku": url, "kid": "1"}),
            json!({}),
        ),
        ("x5u", json!({"alg": "HS256", "x5u": url}), json!({})),
        (
            "a key of its own",
            json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "dGhl"}}),
            json!({}),
        ),
        (
            "kid as an address",
            json!({"alg": "HS256", "kid": url}),
            json!({}),
        ),
        (
            "kid as a file",
            json!({"alg": "HS256", "kid": "../../../../../../dev/null"}),
            json!({}),
        ),
        (
            "kid as a file",
            json!({"alg": "HS256", "kid": "file:///etc/hostname"}),
            json!({}),
        ),
        (
            "kid as a statement",
            json!({"alg": "HS256", "kid": "x' UNION SELECT 'k"}),
            json!({}),
        ),
        ("kid as a list", json!({"alg": "HS256", "kid": [url]}), json!({})),
        (
            "crit",
            json!({"alg": "HS256", "crit": ["jku"], "jku": url}),
            json!({}),
        ),
        ("iss as an address", json!({"alg": "HS256"}), json!({"iss": url})),
    ] {
        let claims = claims("mallory", &changes);
        for secret in [own_secret, b""] {
            is_no_token(&attack, what, &signed(&header, &claims, secret));
        }
    }
    // An issuer that would make the broker fetch something is refused even with a good signature.
    is_no_token(&attack, "iss, signed", &token("mallory", &json!({"iss": url})));
    attack.lives_on_and(|| {
        let asked = elsewhere.accept().map(|(_, peer)| peer);
        let nobody = asked.expect_err("the broker connected to where a token told it");
        assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn row_18_tokens_that_expire_or_change_hands() {
    let mut attack = besieged("");
    let expires = seconds_from_now(3.0);
    let mut leaving = tokens::open(&attack.broker, &token("alice", &json!({"exp": expires})));
    let mut staying = Socket::open(&attack.broker);
    for socket in [&mut leaving, &mut staying] {
        socket.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":["chat.tick"]}"#));
        assert_eq!(next_message(socket)["op"], "ack");
    }
    // The token of another holder renews nothing, and the connection keeps its holder.
    let renew = |token: &str| json!({"op": "auth", "id": 2, "token": token}).to_string();
    for other in [token("mallory", &json!({})), rsa_token()] {
        leaving.send(Frame::text(&renew(&other)));
        let error = next_message(&mut leaving);
        assert_eq!(
            (&error["id"], &error["code"]),
            (&json!(2), &json!("forbidden")),
            "{error}"
        );
    }
    // Messages are published until a second after the token's end, by the broker's clock.
    let micros = |seconds: f64| (seconds * 1e6) as u64;
    poll("a second after the end", || {
        attack.bystander.publish("chat.tick", &json!(1));
        let update = next_message(&mut staying);
        let ts = update["ts"].as_u64().expect("an update has a time");
        (ts > micros(expires) + 1_000_000).then_some(())
    });
    assert_eq!(
        attack.broker.metric(r#"tickwire_closes_total{code="4003"}"#),
        Some(1.0),
        "a second later it is closed"
    );
    let mut updates = 0;
    let (code, reason) = loop {
        let (opcode, payload) = leaving.frame();
        if opcode == Opcode::Close as u8 {
            break (
                payload.first_chunk().map(|code| u16::from_be_bytes(*code)),
                payload,
            );
        }
        let message: Value = serde_json::from_slice(&payload).expect("a message is JSON");
        if message["op"] == "update" {
            updates += 1;
            let published = message["ts"].as_u64().expect("an update has a time");
            assert!(published <= micros(expires), "data from after the end: {message}");
        }
    };
    assert_eq!(code, Some(4003), "{reason:?}");
    assert!(updates > 0, "it was served until then");
    leaving.ended();
    let again = show(&attack.broker, &token("alice", &json!({"exp": expires}))).1;
    assert_eq!(again.status, 401, "{again:?}");
    drop(staying);
    attack.outlives();
}

/// A grant for some topics of `chat.open`.
fn narrow() -> Value {
    json!({"tickwire": {
        "subscribe": ["chat.open.>", "chat.*.public"],
        "deny_subscribe": ["chat.open.secret.>"],
        "publish": ["chat.open.*"],
        "deny_publish": ["chat.open.secret"],
    }})
}

/// The error code of a topic.
fn error_of(result: &Value) -> &str {
    result["error"]["code"].as_str().unwrap_or("none")
}

#[test]
fn row_19_topics_beyond_the_grant() {
    let attack = besieged("");
    let mut socket = tokens::open(&attack.broker, &token("alice", &narrow()));
    let long = "x".repeat(256);
    let cases = [
        ("chat.open.a", "none"),
        ("chat.any.public", "none"),
        ("chat.open.a.>", "none"),
        ("chat.closed", "forbidden"),
        ("chat.opened.a", "forbidden"),
        ("trade.BTC-USD", "forbidden"),
        // Patterns wider than the grant, by a little or entirely.
        (">", "forbidden"),
        ("chat.>", "forbidden"),
        ("chat.*", "forbidden"),
        ("*.open.a", "forbidden"),
        ("chat.*.a", "forbidden"),
        ("chat.*.public.>", "forbidden"),
        // What is denied stays denied, whatever allows it.
        ("chat.open.>", "forbidden"),
        ("chat.open.*.*", "forbidden"),
        ("chat.open.secret.key", "forbidden"),
        ("chat.open.a\0", "bad_topic"),
        ("chat.open.\0.>", "bad_topic"),
        (&long, "bad_topic"),
        ("chat.open. ", "bad_topic"),
        ("chat.open..a", "bad_topic"),
    ];
    let topics: Vec<&str> = cases.iter().map(|(topic, _)| *topic).collect();
    let subscribe = json!({"op": "subscribe", "id": 1, "topics": topics}).to_string();
    socket.send(Frame::text(&subscribe));
    let ack = next_message(&mut socket);
    let results = ack["results"].as_array().expect("an ack has results");
    assert_eq!(results.len(), cases.len());
    for (result, (topic, code)) in results.iter().zip(cases) {
        assert_eq!(error_of(result), code, "{topic}: {result}");
    }
    for (topic, code) in [
        ("chat.open.a", "none"),
        ("chat.open.secret", "forbidden"),
        ("chat.open.a.b", "forbidden"),
        ("chat.other", "forbidden"),
    ] {
        let publish = json!({"op": "publish", "id": 2, "topic": topic, "data": 1}).to_string();
        socket.send(Frame::text(&publish));
        let mut answer = next_message(&mut socket);
        while answer["op"] == "update" {
            answer = next_message(&mut socket);
        }
        let found = answer["code"].as_str().unwrap_or(error_of(&answer["results"][0]));
        assert_eq!(found, code, "{topic}: {answer}");
    }
    // Messages that the client may not have do not reach it.
    let secret = post(attack.broker.listen, "/v1/topics/chat.open.secret.key", "1");
    assert_eq!(secret.status, 200, "{secret:?}");
    socket.send(Frame::text(r#"{"op":"ping","id":3}"#));
    assert_eq!(next_message(&mut socket)["op"], "pong");
    drop(socket);
    attack.outlives();
}
