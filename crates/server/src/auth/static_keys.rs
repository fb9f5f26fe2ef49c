//! Static keys: long random texts. The settings hold only their hashes.
//!
//! A hash without salt by a fast function is enough for a key that nobody can guess, and for no other key. So keys must
//! be generated, not invented. A token is compared with every known hash in constant time, so neither the time of a
//! comparison nor the place of a key reveals anything.

use std::fs::File;
use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use tickwire_wire::Secret;

use crate::config::KeyHash;

/// The shortest key that is accepted for hashing, in bytes.
pub const KEY_BYTES_MIN: usize = 32;
/// The number of random bytes in a generated key.
const RANDOM_BYTES: usize = 32;

/// The key among `keys`, whose hashes are `hash_of` them, whose hash is that of `token`.
pub(crate) fn find<'k, K>(keys: &'k [K], hash_of: fn(&K) -> &KeyHash, token: &str) -> Option<&'k K> {
    let shown = KeyHash::of(token);
    let mut found = None;
    for key in keys {
        if bool::from(hash_of(key).bytes().ct_eq(shown.bytes())) {
            found = Some(key);
        }
    }
    found
}

/// A new key, from the system's source of randomness.
///
/// # Errors
/// If that source cannot be read.
pub fn generate_key() -> io::Result<Secret> {
    let mut random = [0; RANDOM_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(Secret::from(format!("tw_{}", URL_SAFE_NO_PAD.encode(random))))
}
