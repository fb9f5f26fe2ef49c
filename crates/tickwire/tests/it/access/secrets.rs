//! Secrets of clients stay in the broker: nothing that it prints or serves repeats a token.

use serde_json::json;

use super::*;
use crate::support::get;

#[test]
fn no_token_is_printed_or_served() {
    let guarded = Guarded::start_with("", &["--log-level", "trace"]);
    let grants = json!({"subscribe": ["chat.>"], "publish": ["chat.>"]});
    let good = token("a", 60.0, &grants);
    let (renewed, expired) = (token("a", 90.0, &grants), token("a", -1.0, &grants));
    let bad = "tw_not-a-key-that-is-known-0123456789";
    let mut told = String::new();
    let mut socket = guarded.open(&good);
    for shown in [&renewed, &expired, bad] {
        told += &ask(&mut socket, &auth(1, shown)).to_string();
    }
    told += &ask(
        &mut socket,
        &json!({"op": "subscribe", "id": 2, "topics": ["chat.a", "x"]}),
    )
    .to_string();
    for shown in [&*good, DESK_KEY, bad, &expired] {
        for lines in [
            vec![format!("Authorization: Bearer {shown}")],
            vec![format!(
                "Sec-WebSocket-Protocol: tickwire.v1.json, {}",
                entry(shown)
            )],
            vec![format!("Sec-WebSocket-Protocol: unknown, {}", entry(shown))],
            vec![
                format!("Authorization: Bearer {shown}"),
                "Upgrade: h2c".to_owned(),
            ],
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let (_socket, answer) = guarded.handshake(&lines);
            told += &format!("{answer:?}");
        }
        let bearer = format!("Authorization: Bearer {shown}");
        told += &format!("{:?}", guarded.http("GET /v1/topics HTTP/1.1", &[&bearer], ""));
        told += &format!(
            "{:?}",
            guarded.http("POST /v1/topics/chat.a HTTP/1.1", &[&bearer], "1")
        );
    }
    for page in ["/metrics", "/debug/sessions", "/debug/topics", "/readyz"] {
        told += &get(guarded.broker.ops, page).body;
    }
    told += &guarded.broker.command_line();
    let file = guarded.folder.path().join("tickwire.toml").display().to_string();
    told += &crate::program::run(&["check-config", &file], "").stdout;
    told += &crate::program::run(&["serve", "--help"], "").stdout;
    guarded.broker.wait_for_log("a client was not let in");
    let logged = guarded.broker.logged();
    assert!(
        logged.contains("\"DEBUG\"") || logged.contains("\"TRACE\""),
        "it says everything that it can"
    );
    for secret in [&*good, &renewed, &expired, bad, DESK_KEY, SECRET] {
        // The last part is the signature, without which a token is worthless.
        for text in [secret, &entry(secret), secret.rsplit('.').next().expect("a part")] {
            assert!(!told.contains(text), "told: {text}");
            assert!(!logged.contains(text), "logged: {text}");
        }
    }
}
