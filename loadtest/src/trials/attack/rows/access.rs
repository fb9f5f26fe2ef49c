//! Rows 15 to 19: pages of other sites, invalid tokens, and topics that a client may not have.
//!
//! The honest clients show no token: a client without one may subscribe to everything. The broker under attack is one
//! that accepts tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use tickwire_wire::frame::Opcode;

use super::{GET, GOOD, asks, frame, head, offering, seconds, send, then};
use crate::trials::attack::row::{Ending, Row, Step, Variant};

const SECRET: &[u8] = b"a secret of the load test, thirty-two bytes at least";
/// A public key, which is not secret.
const PUBLIC: &[u8] = include_bytes!("../../../../../crates/server/tests/keys/rsa.public.pem");
/// The symbols whose quotes the clients of row 18 get, one after the other, once a second. Data must flow, so that its
/// absence after the close means something. But more data would measure the broker's normal work and not the attack.
const QUOTED: [&str; 20] = [
    "BTC", "ETH", "SOL", "XRP", "BNB", "DOGE", "ADA", "AVAX", "LINK", "PEPE", "TRX", "TON", "DOT", "LTC",
    "BCH", "NEAR", "UNI", "SHIB", "MATIC", "ICP",
];
/// The seconds from making the rows to the quiet time of a row.
const UNTIL_QUIET: f64 = 4.0;

/// The configuration of a broker that accepts tokens, with `more` lines of `[auth]`.
fn config(more: &str) -> String {
    format!(
        "[auth]\n{more}\n[auth.jwt]\nalgorithms = [\"RS256\", \"HS256\"]\nsecret_file = \"{{folder}}/secret\"\n\
         public_key_files = [\"{{folder}}/public.pem\"]\naudience = \"tickwire\"\nissuer = \"tests\"\n"
    )
}

pub(super) fn rows(attack_seconds: u64) -> Vec<Row> {
    let with = |row: Row, more: &str| Row {
        files: vec![("secret", SECRET.to_vec()), ("public.pem", PUBLIC.to_vec())],
        config: Some(config(more)),
        ..row
    };
    let allowed = r#"allowed_origins = ["https://app.example.com"]"#;
    let expiring = Row {
        within: seconds(attack_seconds * 2 + 20),
        ..Row::new(
            18,
            "tokens that expire or change hands",
            expiring(attack_seconds as f64),
        )
    };
    vec![
        with(Row::new(15, "pages of other sites", origins()), allowed),
        with(Row::new(16, "tokens that are none", tokens()), ""),
        with(Row::new(17, "tokens that would steer a fetch", steering()), ""),
        with(expiring, ""),
        with(Row::new(19, "topics beyond the grant", beyond()), ""),
    ]
}

/// The time in `seconds` from now, in seconds since the Unix epoch.
fn seconds_from_now(seconds: f64) -> f64 {
    // A time before 1970 counts as 1970.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs_f64() + seconds
}

/// Valid claims, with those in `changes` replaced. Null removes a claim.
fn claims(subject: &str, changes: &Value) -> Value {
    let mut claims = json!({
        "sub": subject,
        "aud": "tickwire",
        "iss": "tests",
        "exp": seconds_from_now(86_400.0),
        "tickwire": {"subscribe": ["bbo.>"], "deny_subscribe": ["bbo.secret.>"]},
    });
    if let (Some(all), Some(changes)) = (claims.as_object_mut(), changes.as_object()) {
        all.extend(changes.clone());
        all.retain(|_, value| !value.is_null());
    }
    claims
}

fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let key = EncodingKey::from_secret(secret).expect("a secret");
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!(
        "{message}.{}",
        signature.expect("an HMAC can be made of anything")
    )
}

fn token(subject: &str, changes: &Value) -> String {
    signed(&json!({"alg": "HS256"}), &claims(subject, changes), SECRET)
}

/// The header line that shows `token` in a handshake.
fn showing(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn say(message: &Value) -> Step {
    send(text(message))
}

fn text(message: &Value) -> Vec<u8> {
    frame(true, Opcode::Text, message.to_string().as_bytes())
}

/// A request for a topic's quotes once a second.
fn subscribe(topic: &str) -> Step {
    say(&json!({"op": "subscribe", "id": 1, "topics": [topic], "conflate_ms": 1_000}))
}

fn origins() -> Vec<Variant> {
    let from = |origin: &str| {
        let line = format!("Origin: {origin}");
        asks(origin, head(GET, &[&GOOD[..], &[&line]].concat()), 403)
    };
    [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "null",
    ]
    .map(from)
    .into()
}

/// A token that is refused with 401 at the handshake, and in band.
fn none(what: &str, token: &str) -> [Variant; 2] {
    let steps = then([say(&json!({"op": "auth", "id": 1, "token": token}))]);
    [
        asks(what, head(GET, &[&GOOD[..], &[&showing(token)]].concat()), 401),
        Variant::new(format!("{what}, in band"), steps, "unauthenticated"),
    ]
}

fn tokens() -> Vec<Variant> {
    let good = claims("mallory", &json!({}));
    let unsigned = signed(&json!({"alg": "none"}), &good, SECRET);
    let unsigned = unsigned.rsplit_once('.').map_or("", |(message, _)| message);
    let by_public_key = signed(&json!({"alg": "HS256"}), &good, PUBLIC);
    [
        ("alg none", format!("{unsigned}.")),
        ("a public key as the secret", by_public_key),
        ("exp as text", token("mallory", &json!({"exp": "99999999999"}))),
        ("exp missing", token("mallory", &json!({"exp": null}))),
        ("another audience", token("mallory", &json!({"aud": "another"}))),
    ]
    .iter()
    .flat_map(|(what, token)| none(what, token))
    .collect()
}

fn steering() -> Vec<Variant> {
    let own = b"the attacker's own secret, long enough";
    let (url, file) = ("http://127.0.0.1:9/jwks.json", "../../../../dev/null");
    [
        ("jku", json!({"alg": "HS256", "jku": url}), json!({})),
        ("kid", json!({"alg": "HS256", "kid": file}), json!({})),
        ("iss", json!({"alg": "HS256"}), json!({"iss": url})),
    ]
    .iter()
    .flat_map(|(what, header, changes)| none(what, &signed(header, &claims("mallory", changes), own)))
    .collect()
}

fn expiring(attack_seconds: f64) -> Vec<Variant> {
    let first = UNTIL_QUIET + attack_seconds;
    let mut variants: Vec<Variant> = QUOTED
        .iter()
        .enumerate()
        .map(|(number, base)| {
            let share = number as f64 / QUOTED.len() as f64;
            let expires = seconds_from_now(first + 1.0 + attack_seconds * share);
            let holder = showing(&token("alice", &json!({"exp": expires})));
            let steps = offering(&[&holder], [subscribe(&format!("bbo.{base}-USD"))]);
            let closed = Variant::new(format!("expires {number}"), steps, Ending::Close(4003));
            Variant {
                // A client that comes back with the token is refused.
                optional: vec![Ending::Status(401).to_string()],
                ..closed
            }
        })
        .collect();
    let auth = say(&json!({"op": "auth", "id": 1, "token": token("mallory", &json!({}))}));
    let steps = offering(&[&showing(&token("alice", &json!({})))], [auth]);
    variants.push(Variant::new("another's token", steps, "forbidden"));
    variants
}

fn beyond() -> Vec<Variant> {
    let holder = showing(&token("alice", &json!({})));
    let subscribes = |topic: &str, code: &str| {
        let steps = offering(&[&holder], [subscribe(topic)]);
        Variant::new(topic, steps, code)
    };
    let publish = text(&json!({"op": "publish", "id": 1, "topic": "bbo.A", "data": 1}));
    let in_a_row = Variant::new(
        "twelve in a row",
        offering(&[&holder], [send(publish.repeat(12))]),
        "forbidden, then 1008",
    );
    vec![
        subscribes("trade.BTC-USD", "forbidden"),
        subscribes(">", "forbidden"),
        subscribes("*.BTC-USD", "forbidden"),
        subscribes("bbo.>", "forbidden"),
        subscribes("bbo.a\0", "bad_topic"),
        subscribes(&"x".repeat(256), "bad_topic"),
        in_a_row,
    ]
}
