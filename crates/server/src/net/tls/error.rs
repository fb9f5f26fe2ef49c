//! Why there is no TLS to serve with.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// What is wrong with the files that `[tls]` names.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key} names {}, which cannot be read: {source}", path.display())]
    Unreadable {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has nothing of what it is for.
    #[error("{key} names {}, which holds no {missing}: it must be in PEM, with a line -----BEGIN …-----", path.display())]
    Empty {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        missing: &'static str,
    },
    /// A file is no PEM.
    #[error("{key} names {}, which is broken: {reason}; write it anew, in PEM", path.display())]
    Malformed {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is not that of the certificate.
    #[error(
        "the key in {} is not that of the first certificate in {}: they must be of one pair, and the broker's own certificate must come first",
        key_file.display(), cert_file.display()
    )]
    KeyMismatch {
        /// The file with the certificates.
        cert_file: PathBuf,
        /// The file with the key.
        key_file: PathBuf,
    },
    /// The library refuses what it was given.
    #[error("{} and {} cannot be served with: {source}", cert_file.display(), key_file.display())]
    Refused {
        /// The file with the certificates.
        cert_file: PathBuf,
        /// The file with the key.
        key_file: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
}
