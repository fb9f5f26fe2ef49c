//! Why TLS cannot be served.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// The fault in the files of `[tls]`.
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
    /// A file does not contain what it should.
    #[error("{key} names {}, which holds no {missing}: it must be in PEM, with a line -----BEGIN …-----", path.display())]
    Empty {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The missing content.
        missing: &'static str,
    },
    /// A file is not PEM.
    #[error("{key} names {}, which is broken: {reason}; write it anew, in PEM", path.display())]
    Malformed {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The key does not belong to the certificate.
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
    /// The TLS library refuses the certificate and key.
    #[error("{} and {} cannot be served with: {source}", cert_file.display(), key_file.display())]
    Refused {
        /// The file with the certificates.
        cert_file: PathBuf,
        /// The file with the key.
        key_file: PathBuf,
        /// The library's reason.
        source: rustls::Error,
    },
}
