//! Why the rules of access cannot be built.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why there are no rules of access to run with. The first fault that was found.
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
    /// The file is longer than any that holds keys.
    #[error("{key} names {}, which is longer than {bytes_max} bytes: it holds something else than keys", path.display())]
    TooLong {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The most that is read.
        bytes_max: u64,
    },
    /// The secret can be guessed.
    #[error("auth.jwt.secret_file names {}, whose secret has {bytes} bytes; HS256 needs {bytes_min} random ones at least (RFC 7518 §3.2)", path.display())]
    WeakSecret {
        /// The file.
        path: PathBuf,
        /// The secret's length.
        bytes: usize,
        /// The least length.
        bytes_min: usize,
    },
    /// A private key where a public one is needed.
    #[error("auth.jwt.public_key_files names {}, which holds a private key: keep that where tokens are signed, and put its public key here", path.display())]
    PrivateKey {
        /// The file.
        path: PathBuf,
    },
    /// Not a public key in PEM, or of a kind that no algorithm here uses.
    #[error("auth.jwt.public_key_files names {}, which holds no public key of RSA (2048 bits or more), P-256 or Ed25519 in PEM (\"BEGIN PUBLIC KEY\")", path.display())]
    NoPublicKey {
        /// The file.
        path: PathBuf,
    },
    /// Not a JSON Web Key Set.
    #[error("auth.jwt.jwks_file names {}, which is no JSON Web Key Set: {message}", path.display())]
    NoKeySet {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// No key of the set can be used.
    #[error("auth.jwt.jwks_file names {}, of whose {keys} keys none can be used{}", path.display(), first.as_ref().map_or_else(String::new, |first| format!(": {first}")))]
    NoUsableKey {
        /// The file.
        path: PathBuf,
        /// How many there are.
        keys: usize,
        /// What is wrong with the first, if it is not one for something else.
        first: Option<String>,
    },
    /// More keys than a token without a `kid` should be tried with.
    #[error("auth.jwt names {keys} keys; at most {keys_max} are taken")]
    TooManyKeys {
        /// How many.
        keys: usize,
        /// The most.
        keys_max: usize,
    },
    /// A key of an algorithm that is not taken.
    #[error("{key} names {}, a key for {algorithm}, which is not among auth.jwt.algorithms: add it there or take the key away", path.display())]
    KeyWithoutAlgorithm {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the key is for.
        algorithm: &'static str,
    },
    /// An algorithm without a key.
    #[error(
        "auth.jwt.algorithms has {algorithm}, but no key for it: HS256 needs secret_file; RS256, ES256 and EdDSA need a public key in public_key_files or jwks_file"
    )]
    AlgorithmWithoutKey {
        /// The algorithm.
        algorithm: &'static str,
    },
}
