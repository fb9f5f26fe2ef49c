//! Why the rules of access cannot be built.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why there are no rules of access to run with. It is the first fault that was found.
#[derive(Debug, Error)]
pub enum AccessError {
    /// A file of keys cannot be read.
    #[error("{key} names {}: {source}", path.display())]
    Unreadable {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is longer than any file of keys needs to be.
    #[error("{key} names {}, which is longer than {bytes_max} bytes: it holds something else than keys", path.display())]
    TooLong {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The most bytes that are read.
        bytes_max: u64,
    },
    /// The secret is so short that it could be guessed.
    #[error("auth.jwt.secret_file names {}, whose secret has {bytes} bytes; HS256 needs {bytes_min} random ones at least (RFC 7518 §3.2)", path.display())]
    WeakSecret {
        /// The file.
        path: PathBuf,
        /// The secret's length in bytes.
        bytes: usize,
        /// The least length in bytes.
        bytes_min: usize,
    },
    /// The file has a private key where a public one is needed.
    #[error("auth.jwt.public_key_files names {}, which holds a private key: keep that where tokens are signed, and put its public key here", path.display())]
    PrivateKey {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a public key in PEM, or its kind fits no supported algorithm.
    #[error("auth.jwt.public_key_files names {}, which holds no public key of RSA (2048 bits or more), P-256 or Ed25519 in PEM (\"BEGIN PUBLIC KEY\")", path.display())]
    NoPublicKey {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a JSON Web Key Set.
    #[error("auth.jwt.jwks_file names {}, which is no JSON Web Key Set: {message}", path.display())]
    NoKeySet {
        /// The file.
        path: PathBuf,
        /// The fault.
        message: String,
    },
    /// No key of the set can be used.
    #[error("auth.jwt.jwks_file names {}, of whose {keys} keys none can be used{}", path.display(), first.as_ref().map_or_else(String::new, |first| format!(": {first}")))]
    NoUsableKey {
        /// The file.
        path: PathBuf,
        /// The number of keys in the set.
        keys: usize,
        /// The fault of the first key, if it has one and is not just meant for another purpose.
        first: Option<String>,
    },
    /// There are more keys than a token without a `kid` should be tried with.
    #[error("auth.jwt names {keys} keys; at most {keys_max} are taken")]
    TooManyKeys {
        /// The number of keys.
        keys: usize,
        /// The most keys.
        keys_max: usize,
    },
    /// A key belongs to an algorithm that is not accepted.
    #[error("{key} names {}, a key for {algorithm}, which is not among auth.jwt.algorithms: add it there or take the key away", path.display())]
    KeyWithoutAlgorithm {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The algorithm of the key.
        algorithm: &'static str,
    },
    /// An algorithm has no key.
    #[error(
        "auth.jwt.algorithms has {algorithm}, but no key for it: HS256 needs secret_file; RS256, ES256 and EdDSA need a public key in public_key_files or jwks_file"
    )]
    AlgorithmWithoutKey {
        /// The algorithm.
        algorithm: &'static str,
    },
}
