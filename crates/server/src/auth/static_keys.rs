//! Static keys: long random texts, of which the settings hold the hashes.
//!
//! A hash without salt and of a fast function is enough for a key that nobody can guess, and for no other: that is why keys
//! are to be made, not thought up. Every known hash is compared, each in constant time, so that neither the time of a
//! comparison nor the place of a key tells anything.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tickwire_wire::Secret;

use crate::config::AuthKey;

/// The shortest key that is worth hashing, in bytes.
pub const KEY_BYTES_MIN: usize = 32;
/// Random bytes of a key that is made here.
const RANDOM_BYTES: usize = 32;

/// The SHA-256 of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of `key`.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The hash that 64 hexadecimal digits stand for.
    #[must_use]
    pub fn parse(digits: &str) -> Option<Self> {
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in hash.iter_mut().zip((0..digits.len()).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
        }
        Some(Self(hash))
    }
}

/// As the settings have it.
impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The key among `keys` whose text is `token`.
pub(super) fn find<'k>(keys: &'k [AuthKey], token: &str) -> Option<&'k AuthKey> {
    let shown = KeyHash::of(token);
    let mut found = None;
    for key in keys {
        if bool::from(key.hash.0.ct_eq(&shown.0)) {
            found = Some(key);
        }
    }
    found
}

/// A new key, from the system's source of randomness.
///
/// # Errors
/// When that cannot be read.
pub fn generate_key() -> io::Result<Secret> {
    let mut random = [0; RANDOM_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(Secret::from(format!("tw_{}", URL_SAFE_NO_PAD.encode(random))))
}
