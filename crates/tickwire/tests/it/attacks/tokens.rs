//! A broker that accepts tokens, and tokens with any fault.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

use super::Besieged;
use crate::handshake::{GET, GOOD};
use crate::support::{Answer, Broker, Socket};

/// The secret of tokens signed with HS256.
pub(super) const SECRET: &[u8] = b"a secret of the tests, thirty-two bytes at least";

/// A PEM file with a key from the server's tests.
pub(super) fn key_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../server/tests/keys")
        .join(name)
}

/// A broker that accepts HS256 and RS256 tokens for the audience `tickwire` from the issuer `tests`, with `more` lines
/// in `[auth]`. A client without a token may do everything below `chat.`.
pub(super) fn besieged(more: &str) -> Besieged {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).expect("a file can be written");
    let config = format!(
        "[auth]\n{more}\n[auth.jwt]\nalgorithms = [\"RS256\", \"HS256\"]\nsecret_file = {secret:?}\n\
         public_key_files = [{:?}]\naudience = \"tickwire\"\nissuer = \"tests\"\n",
        key_file("rsa.public.pem")
    );
    let file = folder.path().join("tickwire.toml");
    std::fs::write(&file, config).expect("a file can be written");
    let file = file.to_str().expect("a path of text");
    let flags = [
        "--feed",
        "none",
        "--anonymous-publish",
        "chat.>",
        "--config",
        file,
    ];
    // The broker has read its files when it runs.
    Besieged::of(Broker::start(&flags), None)
}

/// The time in `seconds` from now, in seconds since the Unix epoch.
pub(super) fn seconds_from_now(seconds: f64) -> f64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is right");
    now.as_secs_f64() + seconds
}

/// Valid claims of `subject`, with those in `changes` replaced. Null removes a claim.
pub(super) fn claims(subject: &str, changes: &Value) -> Value {
    let mut claims = json!({
        "sub": subject,
        "aud": "tickwire",
        "iss": "tests",
        "exp": seconds_from_now(3_600.0),
        "tickwire": {"subscribe": ["chat.>"], "publish": ["chat.>"]},
    });
    let all = claims.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        all.insert(name.clone(), value.clone());
    }
    all.retain(|_, value| !value.is_null());
    claims
}

/// Header and claims as a token contains them.
pub(super) fn unsigned(header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

/// A token signed with HS256 and `secret`, whatever its header says.
pub(super) fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = unsigned(header, claims);
    // The library takes no empty key. HMAC fills a key up with zeros (RFC 2104 §2), so a zero signs like nothing.
    let secret = if secret.is_empty() { &[0] } else { secret };
    let key = EncodingKey::from_secret(secret).expect("a secret");
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("it can be signed");
    format!("{message}.{signature}")
}

/// A valid token of `subject`, with `changes`.
pub(super) fn token(subject: &str, changes: &Value) -> String {
    signed(&json!({"alg": "HS256"}), &claims(subject, changes), SECRET)
}

/// A valid token signed with RS256.
pub(super) fn rsa_token() -> String {
    let message = unsigned(&json!({"alg": "RS256"}), &claims("rsa", &json!({})));
    let pem = std::fs::read(key_file("rsa.private.pem")).expect("the key is there");
    let key = EncodingKey::from_rsa_pem(&pem).expect("a private key");
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::RS256).expect("it can be signed");
    format!("{message}.{signature}")
}

/// The header line that shows the token at the handshake.
fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// A handshake that shows `token` in a header.
pub(super) fn show(broker: &Broker, token: &str) -> (Socket, Answer) {
    Socket::request(broker, GET, &[&GOOD[..], &[&bearer(token)]].concat())
}

/// A handshake that shows `token` among the subprotocols, as browsers have to.
pub(super) fn show_among_subprotocols(broker: &Broker, token: &str) -> (Socket, Answer) {
    let encoded = URL_SAFE_NO_PAD.encode(token);
    let line = format!("Sec-WebSocket-Protocol: tickwire.v1.json, tickwire.token.{encoded}");
    Socket::request(broker, GET, &[&GOOD[..], &[&line]].concat())
}

/// Opens a connection with `token` and reads its welcome.
pub(super) fn open(broker: &Broker, token: &str) -> Socket {
    let (mut socket, answer) = show(broker, token);
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(socket.message()["op"], "welcome");
    socket
}
