//! JSON Web Tokens (RFC 7519) in compact form, signed by keys that the broker knows.
//!
//! From a token's header only `alg`, `kid` and `crit` are read. `kid` only chooses among the known keys, and is never
//! used as the name of a file. `jku`, `x5u`, `jwk` and `x5c`, which would let a token bring its own key, are ignored.
//! Each key is bound to the one algorithm that it was loaded for, so a public key is never taken for a secret (RFC 8725
//! §3.1). `jsonwebtoken` checks the signatures; the claims are checked here, since it accepts some that are not valid.
//! Its cryptography is RustCrypto's, which needs no C. The advisory about `rsa` (RUSTSEC-2023-0071) concerns private
//! keys, and there are none here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tickwire_wire::Micros;

use super::claims::Expected;
use super::key_files::{Keys, VerifyingKey, library_name};
use super::object::Object;
use super::{AccessError, Admission, Denied, key_files};
use crate::config::{Jwt, JwtAlgorithm};

/// Verifies tokens.
#[derive(Debug)]
pub(super) struct Verifier {
    algorithms: Vec<JwtAlgorithm>,
    keys: Vec<VerifyingKey>,
    /// The keys of the set that cannot be used, one line each.
    ignored: Vec<String>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

impl Verifier {
    /// The verifier for `settings`. Reads its keys.
    pub(super) fn load(settings: &Jwt) -> Result<Self, AccessError> {
        let Keys { keys, ignored } = key_files::load(settings)?;
        Ok(Self {
            algorithms: settings.algorithms.clone(),
            keys,
            ignored,
            expected: Expected {
                audience: settings.audience.clone(),
                issuer: settings.issuer.clone(),
                leeway_us: settings.leeway_s * 1_000_000,
            },
        })
    }

    /// The keys in the files that cannot be used, one line each.
    pub(super) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The rights of the holder of `token` at `now`. The claims are read only after the signature was found good.
    pub(super) fn verify(&self, token: &str, now: Micros) -> Result<Admission, Denied> {
        let (message, signature) = token
            .rsplit_once('.')
            .ok_or(Denied::Malformed("it is no JSON Web Token"))?;
        let (header, claims) = message
            .split_once('.')
            .filter(|(_, claims)| !claims.contains('.'))
            .ok_or(Denied::Malformed("it is no JSON Web Token of three parts"))?;
        let Object(header): Object<Header> = serde_json::from_slice(&decode(header)?)
            .map_err(|_| Denied::Malformed("its header is no JSON object with an alg"))?;
        if header.crit.is_some() {
            // RFC 7515 §4.1.11: the receiver must understand the extensions in `crit`.
            return Err(Denied::Malformed(
                "its header has crit, of which nothing is understood",
            ));
        }
        let algorithm = self
            .algorithms
            .iter()
            .copied()
            .find(|algorithm| algorithm.as_str() == header.alg)
            .ok_or(Denied::Algorithm)?;
        let signed = self
            .candidates(algorithm, header.kid.as_deref())
            .any(|key| is_signed(message, signature, key));
        if !signed {
            return Err(Denied::Signature);
        }
        self.expected.admit(&decode(claims)?, now)
    }

    /// The keys that may have signed a token: those with its name if there are any, otherwise those without a name.
    fn candidates(&self, algorithm: JwtAlgorithm, name: Option<&str>) -> impl Iterator<Item = &VerifyingKey> {
        let known = name.is_some_and(|name| self.keys.iter().any(|key| key.name.as_deref() == Some(name)));
        self.keys.iter().filter(move |key| {
            key.algorithm == algorithm
                && match name {
                    None => true,
                    Some(_) if !known => key.name.is_none(),
                    Some(_) => key.name.as_deref() == name,
                }
        })
    }
}

/// Whether `signature` is the signature of `message` by `key`.
fn is_signed(message: &str, signature: &str, key: &VerifyingKey) -> bool {
    let algorithm = library_name(key.algorithm);
    // An error means that the signature is not even base64, which is as bad as a wrong one.
    jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, algorithm).unwrap_or(false)
}

fn decode(part: &str) -> Result<Vec<u8>, Denied> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Denied::Malformed("a part of it is not base64url"))
}
