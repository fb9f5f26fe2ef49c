//! The keys of JSON Web Tokens, read from the files in the settings. Every loaded key can verify.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::value::RawValue;
use tickwire_wire::byte_order_mark;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;

use super::AccessError;
use super::object::Object;
use crate::config::{Jwt, JwtAlgorithm};

const SECRET: &str = "auth.jwt.secret_file";
const PUBLIC: &str = "auth.jwt.public_key_files";
const SET: &str = "auth.jwt.jwks_file";

/// The longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Shortest secret of HS256, in bytes.
const SECRET_BYTES_MIN: usize = 32;
/// Shortest modulus of RSA, in bits (RFC 7518 §3.3).
const RSA_BITS_MIN: usize = 2_048;
/// The length of a public key of Ed25519, in bytes.
const ED25519_BYTES: usize = 32;
/// Most keys. A token without a `kid` is tried with each key of its algorithm.
const KEYS_MAX: usize = 32;
/// Most unusable keys of a set that are named.
const IGNORED_TOLD_MAX: usize = 16;

/// A key that signatures are verified with.
#[derive(Debug)]
pub(super) struct VerifyingKey {
    /// The algorithm that the key is bound to.
    pub(super) algorithm: JwtAlgorithm,
    /// The key's name in tokens. A key without a name serves any token of its algorithm.
    pub(super) name: Option<String>,
    pub(super) key: DecodingKey,
}

/// The keys that were read.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) keys: Vec<VerifyingKey>,
    /// The keys of a set that cannot be used, one line each.
    pub(super) ignored: Vec<String>,
}

/// The keys of `settings`. Each belongs to a set algorithm, and each algorithm has a key unless the set has unusable
/// ones.
pub(super) fn load(settings: &Jwt) -> Result<Keys, AccessError> {
    let (mut keys, mut ignored) = (Vec::new(), Vec::new());
    let taken = |key: &'static str, path: &Path, algorithm: JwtAlgorithm| {
        if settings.algorithms.contains(&algorithm) {
            return Ok(());
        }
        Err(AccessError::KeyWithoutAlgorithm {
            key,
            path: path.to_owned(),
            algorithm: algorithm.as_str(),
        })
    };
    if let Some(path) = &settings.secret_file {
        taken(SECRET, path, JwtAlgorithm::Hs256)?;
        keys.push(secret(path)?);
    }
    for path in &settings.public_key_files {
        let key = public_key(path)?;
        taken(PUBLIC, path, key.algorithm)?;
        keys.push(key);
    }
    if let Some(path) = &settings.jwks_file {
        let set = key_set(path, &settings.algorithms)?;
        keys.extend(set.keys);
        ignored.extend(set.ignored);
    }
    if keys.len() > KEYS_MAX {
        return Err(AccessError::TooManyKeys {
            keys: keys.len(),
            keys_max: KEYS_MAX,
        });
    }
    let without_key = |algorithm: &&JwtAlgorithm| !keys.iter().any(|key| key.algorithm == **algorithm);
    match settings.algorithms.iter().find(without_key) {
        // Its key may be among the unusable ones.
        Some(algorithm) if ignored.is_empty() => Err(AccessError::AlgorithmWithoutKey {
            algorithm: algorithm.as_str(),
        }),
        _ => Ok(Keys { keys, ignored }),
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, AccessError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|source| AccessError::Unreadable {
            key,
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(AccessError::TooLong {
            key,
            path: path.to_owned(),
            bytes_max: FILE_BYTES_MAX,
        });
    }
    Ok(bytes)
}

/// The secret is the bytes of the file, without the line break that editors put at the end of a file.
fn secret(path: &Path) -> Result<VerifyingKey, AccessError> {
    let bytes = read(SECRET, path)?;
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    let weak = || AccessError::WeakSecret {
        path: path.to_owned(),
        bytes: secret.len(),
        bytes_min: SECRET_BYTES_MIN,
    };
    if secret.len() < SECRET_BYTES_MIN {
        return Err(weak());
    }
    Ok(VerifyingKey {
        algorithm: JwtAlgorithm::Hs256,
        name: None,
        key: DecodingKey::from_secret(secret).map_err(|_| weak())?,
    })
}

/// The key itself shows its algorithm, so the algorithm is never a token's choice.
fn public_key(path: &Path) -> Result<VerifyingKey, AccessError> {
    let bytes = read(PUBLIC, path)?;
    let bytes = byte_order_mark::without(&bytes);
    let text = String::from_utf8_lossy(bytes);
    if text.contains("PRIVATE KEY-----") {
        return Err(AccessError::PrivateKey {
            path: path.to_owned(),
        });
    }
    let kinds = [
        (JwtAlgorithm::Rs256, DecodingKey::from_rsa_pem(bytes)),
        (JwtAlgorithm::Es256, DecodingKey::from_ec_pem(bytes)),
        (JwtAlgorithm::EdDsa, DecodingKey::from_ed_pem(bytes)),
    ];
    let is_public = text.contains("PUBLIC KEY-----");
    let found = kinds.into_iter().find_map(|(algorithm, key)| {
        let key = key.ok().filter(|key| is_public && is_sound(algorithm, key))?;
        Some(VerifyingKey {
            algorithm,
            name: None,
            key,
        })
    });
    found.ok_or_else(|| AccessError::NoPublicKey {
        path: path.to_owned(),
    })
}

/// A JSON Web Key Set (RFC 7517 §5). Its keys are not parsed yet.
#[derive(Deserialize)]
struct KeySet<'b> {
    #[serde(borrow)]
    keys: Vec<&'b RawValue>,
}

/// The member that every key of a set must have (RFC 7517 §4.1).
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "kty")]
    _kty: String,
}

/// The keys of the set at `path` for `algorithms`. Keys for other algorithms, or for encryption, are ignored. Unusable
/// keys are ignored too, and are named (RFC 7517 §5).
fn key_set(path: &Path, algorithms: &[JwtAlgorithm]) -> Result<Keys, AccessError> {
    let bytes = read(SET, path)?;
    // The parser's message names a position and a field, never a value of a key.
    let set = serde_json::from_slice::<Object<KeySet<'_>>>(byte_order_mark::without(&bytes));
    let Object(set) = set.map_err(|error| AccessError::NoKeySet {
        path: path.to_owned(),
        message: format!("line {}, column {}", error.line(), error.column()),
    })?;
    let (mut keys, mut ignored) = (Vec::new(), Vec::new());
    for (at, jwk) in set.keys.iter().enumerate() {
        match key_of(jwk.get(), algorithms) {
            Ok(key) => keys.extend(key),
            Err(fault) => ignored.push(format!("its key number {} (from 1) {fault}", at + 1)),
        }
    }
    if keys.is_empty() {
        return Err(AccessError::NoUsableKey {
            path: path.to_owned(),
            keys: set.keys.len(),
            first: ignored.into_iter().next(),
        });
    }
    let more = ignored.len().saturating_sub(IGNORED_TOLD_MAX);
    ignored.truncate(IGNORED_TOLD_MAX);
    if more > 0 {
        ignored.push(format!("{more} more of its keys cannot be used"));
    }
    let told = |what: String| format!("{SET} names {}: {what}", path.display());
    let ignored = ignored.into_iter().map(told).collect();
    Ok(Keys { keys, ignored })
}

/// Parses the key in the JSON `text`. `None` if it is not for one of `algorithms`.
///
/// # Errors
/// The fault of the key.
fn key_of(text: &str, algorithms: &[JwtAlgorithm]) -> Result<Option<VerifyingKey>, &'static str> {
    // The library would guess the kind of a key without `kty` from its other members.
    serde_json::from_str::<Object<Kind>>(text).map_err(|_| "has no kty")?;
    let read = serde_json::from_str::<Object<Jwk>>(text);
    let Object(jwk) =
        read.map_err(|_| "is none that is known: its kty, kid or another member is not understood")?;
    let signs = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
    if matches!(jwk.common.key_algorithm, Some(KeyAlgorithm::UNKNOWN_ALGORITHM)) {
        return Err("is for an algorithm that is not known");
    }
    let Some(algorithm) = algorithm_of(&jwk).filter(|algorithm| signs && algorithms.contains(algorithm))
    else {
        return Ok(None);
    };
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| "is not base64url")?;
    if !is_sound(algorithm, &key) {
        return Err("is too short or no point of its curve");
    }
    Ok(Some(VerifyingKey {
        algorithm,
        name: jwk.common.key_id.clone(),
        key,
    }))
}

/// The algorithm of a key in a set. If the key does not name one, its kind decides.
fn algorithm_of(jwk: &Jwk) -> Option<JwtAlgorithm> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => JwtAlgorithm::Hs256,
        AlgorithmParameters::RSA(_) => JwtAlgorithm::Rs256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => JwtAlgorithm::Es256,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => JwtAlgorithm::EdDsa,
        _ => return None,
    };
    let says = match jwk.common.key_algorithm {
        None => true,
        Some(KeyAlgorithm::HS256) => algorithm == JwtAlgorithm::Hs256,
        Some(KeyAlgorithm::RS256) => algorithm == JwtAlgorithm::Rs256,
        Some(KeyAlgorithm::ES256) => algorithm == JwtAlgorithm::Es256,
        Some(KeyAlgorithm::EdDSA) => algorithm == JwtAlgorithm::EdDsa,
        Some(_) => false,
    };
    says.then_some(algorithm)
}

/// The library's name of the algorithm.
pub(super) const fn library_name(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Hs256 => Algorithm::HS256,
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

/// Whether a key can verify: it is long enough and valid for its kind. This is checked before a token is verified with
/// the key, since the library takes the length for granted.
fn is_sound(algorithm: JwtAlgorithm, key: &DecodingKey) -> bool {
    let long_enough = match (algorithm, key.kind()) {
        (JwtAlgorithm::Hs256, DecodingKeyKind::SecretOrDer(secret)) => secret.len() >= SECRET_BYTES_MIN,
        (JwtAlgorithm::Rs256, DecodingKeyKind::SecretOrDer(der)) => {
            RSAPublicKey::from_der(der).is_ok_and(|(_, key)| bits(key.modulus) >= RSA_BITS_MIN)
        }
        (JwtAlgorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, .. }) => bits(n) >= RSA_BITS_MIN,
        (JwtAlgorithm::EdDsa, DecodingKeyKind::SecretOrDer(point)) => point.len() == ED25519_BYTES,
        (JwtAlgorithm::Es256, DecodingKeyKind::SecretOrDer(_)) => true,
        (_, DecodingKeyKind::RsaModulusExponent { .. }) => false,
    };
    // A key that is not valid for its kind gives an error; a wrong signature does not.
    long_enough && jsonwebtoken::crypto::verify("AAAA", b"", key, library_name(algorithm)).is_ok()
}

/// The number of bits of the number in `bytes`, whose highest byte is first.
fn bits(bytes: &[u8]) -> usize {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let leading = bytes.get(zeros).map_or(0, |first| first.leading_zeros() as usize);
    (bytes.len() - zeros) * 8 - leading
}
