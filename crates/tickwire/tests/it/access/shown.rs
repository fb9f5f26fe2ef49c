//! Tokens and origins at the handshake and in HTTP requests: which clients are accepted, and what the others are told.

use serde_json::json;

use super::*;
use crate::support::{Client, Tool};

#[test]
fn a_token_is_taken_from_the_header_and_from_a_subprotocol() {
    let guarded = Guarded::start("required = true");
    let token = token("a", 60.0, &json!({"subscribe": ["ticker.>"]}));
    for (lines, chosen) in [
        (vec![format!("Authorization: Bearer {token}")], None),
        (vec![format!("Authorization: bearer {DESK_KEY}")], None),
        (vec![format!("Sec-WebSocket-Protocol: {}", entry(&token))], None),
        (
            vec![format!(
                "Sec-WebSocket-Protocol: tickwire.v1.json, {}",
                entry(&token)
            )],
            Some("tickwire.v1.json"),
        ),
        (
            vec![
                format!("Sec-WebSocket-Protocol: {}", entry(DESK_KEY)),
                "Sec-WebSocket-Protocol: other, tickwire.v1.msgpack".to_owned(),
            ],
            Some("tickwire.v1.msgpack"),
        ),
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (_socket, answer) = guarded.handshake(&lines);
        assert_eq!(answer.status, 101, "{lines:?}: {answer:?}");
        let line = answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(
            line, chosen,
            "RFC 6455 §4.1: what was not offered, or is a token, is not answered"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn those_without_a_good_token_are_told_401_and_what_would_do() {
    let guarded = Guarded::start("required = true");
    let with = |changes: Value| {
        let mut claims = json!({"sub": "a", "aud": "tickwire", "exp": now_s() + 60.0});
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        format!("Authorization: Bearer {}", signed(&claims))
    };
    let good = with(json!({}));
    let unsigned = format!("{}.", good.rsplit_once('.').expect("three parts").0);
    let both = entry(DESK_KEY);
    let both = [
        good.clone(),
        format!("Sec-WebSocket-Protocol: tickwire.v1.json, {both}"),
    ];
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    for (lines, said) in [
        (
            &[][..],
            "401 unauthenticated: a token is required: send it as \"Authorization: Bearer …\"",
        ),
        (
            &["Authorization: Basic dTpw"],
            "401 unauthenticated: a token is required: send it as \"Authorization: Bearer …\"",
        ),
        (
            &["Authorization: Bearer tw_none"],
            "401 unauthenticated: no such key",
        ),
        (
            &[&unsigned],
            "401 unauthenticated: the token is not signed by a key that is known here",
        ),
        (
            &[&with(json!({"exp": now_s() - 1.0}))],
            "401 token_expired: the token has expired",
        ),
        (
            &[&with(json!({"exp": "4000000000"}))],
            "401 unauthenticated: the token's claims cannot be used: exp must be a number",
        ),
        (
            &[&with(json!({"exp": null}))],
            "401 unauthenticated: the token's claims cannot be used: exp is missing",
        ),
        (
            &[&with(json!({"aud": "other"}))],
            "401 unauthenticated: the token is for another audience",
        ),
        (
            &[&with(json!({"nbf": now_s() + 60.0}))],
            "401 unauthenticated: the token is not valid yet",
        ),
        (
            &[&format!("Authorization: Bearer {}", "a".repeat(9_000))],
            "401 unauthenticated: the token is longer than 8192 bytes",
        ),
        (
            &both[..],
            "401 unauthenticated: more than one token was shown; show one",
        ),
        (
            &["Sec-WebSocket-Protocol: tickwire.token.a+"],
            "401 unauthenticated: the token cannot be read: behind tickwire.token. must be its base64url, without padding",
        ),
    ] {
        let (_socket, answer) = guarded.handshake(lines);
        assert_eq!(refusal(&answer), said, "{lines:?}");
        assert!(
            answer.head.contains("\r\nwww-authenticate: bearer"),
            "RFC 9110 §15.5.2: {answer:?}"
        );
        let invalid = answer.head.contains("error=\"invalid_token\"");
        assert_eq!(invalid, !said.contains("required"), "RFC 6750 §3.1: {answer:?}");
    }
    let failures = |reason: &str| {
        let series = format!("tickwire_auth_failures_total{{reason=\"{reason}\"}}");
        guarded.broker.metric(&series).expect("the series is there")
    };
    assert_eq!(
        (failures("no_token"), failures("expired"), failures("claims")),
        (2.0, 1.0, 2.0)
    );
    for first in [
        "GET /v1/topics HTTP/1.1",
        "GET /v1/sse?topic=a HTTP/1.1",
        "POST /v1/topics/a HTTP/1.1",
        "POST /v1/publish HTTP/1.1",
    ] {
        assert_eq!(guarded.http(first, &[], "1").status, 401, "{first}");
        let answer = guarded.http(first, &[&with(json!({"exp": 1}))], "1");
        assert_eq!(
            refusal(&answer),
            "401 token_expired: the token has expired",
            "{first}"
        );
    }
}

#[test]
fn pages_of_other_sites_are_kept_out() {
    let guarded =
        Guarded::start("allowed_origins = [\"https://example.com\"]\nanonymous_subscribe = [\"chat.>\"]");
    let chat = token("a", 60.0, &json!({"subscribe": [">"], "publish": [">"]}));
    let bearer = format!("Authorization: Bearer {chat}");
    for (origin, allowed) in [
        ("Origin: https://example.com", true),
        ("Origin: https://EXAMPLE.com:443", true),
        ("X-No-Origin: 1", true),
        ("Origin: http://example.com", false),
        ("Origin: https://example.com:8443", false),
        ("Origin: https://evil.example", false),
        ("Origin: null", false),
    ] {
        let (_socket, answer) = guarded.handshake(&[origin]);
        assert_eq!(answer.status, if allowed { 101 } else { 403 }, "{origin}");
        for (first, body) in [
            ("POST /v1/topics/chat.a HTTP/1.1", "1"),
            ("POST /v1/publish HTTP/1.1", "{\"topic\":\"chat.a\",\"data\":1}"),
            ("GET /v1/sse?topic=chat.a HTTP/1.1", ""),
            ("GET /v1/topics HTTP/1.1", ""),
        ] {
            let answer = guarded.http(first, &[origin, &bearer], body);
            assert_eq!(
                answer.status,
                if allowed { 200 } else { 403 },
                "{origin} {first}: {answer:?}"
            );
            let readable = answer
                .head
                .contains("\r\naccess-control-allow-origin: https://example.com");
            assert_eq!(readable, allowed && origin.starts_with("Origin"), "{answer:?}");
        }
    }
}

#[test]
fn python_shows_its_token_either_way() {
    let Some(python) = Tool::Python.find("python_shows_its_token_either_way") else {
        return;
    };
    let guarded = Guarded::start("required = true");
    let token = token("py", 60.0, &json!({"subscribe": ["ticker.*"]}));
    let header = json!({"Authorization": format!("Bearer {token}")});
    for (headers, subprotocols) in [(header, json!([])), (json!({}), json!([entry(&token)]))] {
        let mut client = Client::python_showing(&python, &guarded.broker, &headers, &subprotocols);
        let results = client.subscribe(1, &json!(["ticker.*", ">"]));
        assert_eq!(results[0]["matched"], 0, "{results:?}");
        assert_eq!(results[1]["error"]["code"], "forbidden", "{results:?}");
        client.close(1000);
    }
}
