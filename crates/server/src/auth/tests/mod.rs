//! Tokens, keys and origins as clients show them and operators set them, and the results.

use expect_test::{Expect, expect};
use hyper::Request;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::{Overrides, WebOrigin};

mod revoked;
mod settings;
mod shown;
mod tokens;

/// A time around 2026-11-21; any time would do.
const NOW: Micros = Micros(1_795_000_000_000_000);
const NOW_S: u64 = NOW.0 / 1_000_000;
/// A secret of 32 bytes.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys");

/// Loads the `[auth]` table of a configuration file. In it `KEYS` stands for the folder of the tests' keys and `DIR`
/// for a fresh one.
fn load(folder: &TempDir, auth: &str) -> Result<Access, String> {
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let text = auth
        .replace("KEYS", KEYS)
        .replace("DIR", &folder.path().display().to_string());
    let path = folder.path().join("x.toml");
    std::fs::write(&path, text).unwrap();
    let config = Config::load(Some(&path), [], &Overrides::default()).map_err(|error| error.to_string())?;
    Access::load(&config).map_err(|error| error.to_string())
}

fn rules(auth: &str) -> Access {
    load(&tempfile::tempdir().unwrap(), auth).unwrap()
}

const ALL_ALGORITHMS: &str = "[auth.jwt]\nalgorithms = [\"HS256\", \"RS256\", \"ES256\", \"EdDSA\"]\nsecret_file = \"DIR/secret\"\n\
     public_key_files = [\"KEYS/rsa.public.pem\", \"KEYS/p256.public.pem\", \"KEYS/ed25519.public.pem\"]\n\
     audience = \"tickwire\"\nissuer = \"https://issuer.example\"\n";

fn private(name: &str) -> Vec<u8> {
    std::fs::read(format!("{KEYS}/{name}.private.pem")).unwrap()
}

/// Valid claims.
fn claims() -> Value {
    json!({
        "sub": "desk-7", "exp": NOW_S + 60, "aud": "tickwire", "iss": "https://issuer.example",
        "tickwire": {"subscribe": ["ticker.>"], "deny_subscribe": ["ticker.X"], "publish": ["chat.*"]},
    })
}

/// The valid claims with those of `changes` in their place. A null removes one.
fn claims_with(changes: &Value) -> Value {
    let mut claims = claims();
    let map = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            map.remove(name);
        } else {
            map.insert(name.clone(), value.clone());
        }
    }
    claims
}

fn hs256(claims: &Value) -> String {
    encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(SECRET).unwrap(),
    )
    .unwrap()
}

/// A token with this header, signed by the secret whatever the header says.
fn with_header(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(SECRET).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// The result of a token in one line.
fn outcome(access: &Access, token: &str) -> String {
    match access.verify(&Secret::from(token), NOW) {
        Ok(admission) => {
            let texts = |patterns: &[Pattern]| format!("{patterns:?}");
            let rights = &admission.rights;
            format!(
                "subscribe {} but {}, publish {} but {}, expires {:?}",
                texts(rights.subscribe.allow()),
                texts(rights.subscribe.deny()),
                texts(rights.publish.allow()),
                texts(rights.publish.deny()),
                admission.expires.map(|at| at.0.saturating_sub(NOW.0) / 1_000_000)
            )
        }
        Err(denied) => format!("{} {:?}: {denied}", denied.code(), denied.failure()),
    }
}

#[track_caller]
fn check(access: &Access, token: &str, expected: &Expect) {
    let outcome = outcome(access, token);
    assert!(
        token.len() < 8 || !outcome.contains(token),
        "the token is repeated"
    );
    expected.assert_eq(&outcome);
}
