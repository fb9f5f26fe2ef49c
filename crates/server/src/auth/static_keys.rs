//! Static keys: long random texts, of which the settings hold the hashes.
//!
//! A hash without salt and of a fast function is enough for a key that nobody can guess, and for no other: that is why keys
//! are to be made, not thought up. Every known hash is compared, each in constant time, so that neither the time of a
//! comparison nor the place of a key tells anything.

use std::fs::File;
use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use tickwire_wire::Secret;

use crate::config::{AuthKey, KeyHash};

/// The shortest key that is worth hashing, in bytes.
pub const KEY_BYTES_MIN: usize = 32;
/// Random bytes of a key that is made here.
const RANDOM_BYTES: usize = 32;

/// The key among `keys` whose text is `token`.
pub(super) fn find<'k>(keys: &'k [AuthKey], token: &str) -> Option<&'k AuthKey> {
    let shown = KeyHash::of(token);
    let mut found = None;
    for key in keys {
        if bool::from(key.hash.bytes().ct_eq(shown.bytes())) {
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
