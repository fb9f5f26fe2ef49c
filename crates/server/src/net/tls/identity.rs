//! The TLS identity of the broker, loaded from files: certificates, key, and the signers of clients' certificates.
//!
//! Loading fails as a whole or returns an identity that can be used. The key is never shown in a log or in a `Debug`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig, SignatureScheme};

use tickwire_wire::byte_order_mark;

use super::error::TlsError;
use super::fingerprint::Fingerprint;
use super::suites;
use super::validity::not_after;
use crate::config::{Tls, TlsClients};

/// The protocols that clients may use after the handshake.
const ALPN: &[u8] = b"http/1.1";
/// The number of session tickets that a client gets. One is enough for the one connection that it will make.
const TICKETS: usize = 1;

/// The signatures that take some 20 µs.
const QUICK_SCHEMES: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

/// Everything that a TLS handshake needs.
#[derive(Clone)]
pub struct TlsIdentity {
    settings: Tls,
    /// The fingerprint of the files before they were read, so that any later write is a change.
    files: Fingerprint,
    served: Arc<ServerConfig>,
    takes_long: bool,
    not_after: Option<u64>,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("settings", &self.settings)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Reads the files in `settings`.
    ///
    /// # Errors
    /// If a file cannot be read or has the wrong content, or if the files do not fit together.
    pub fn load(settings: &Tls) -> Result<Self, TlsError> {
        let files = Fingerprint::of(settings);
        let Tls {
            cert_file, key_file, ..
        } = settings;
        let chain = certificates("tls.cert_file", cert_file)?;
        let key = key("tls.key_file", key_file)?;
        let not_after = chain.first().and_then(|own| not_after(own));
        let refused = |source| match source {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyMismatch {
                cert_file: cert_file.clone(),
                key_file: key_file.clone(),
            },
            source => TlsError::Refused {
                cert_file: cert_file.clone(),
                key_file: key_file.clone(),
                source,
            },
        };
        let provider = Arc::new(suites::provider());
        let signs_quickly = provider
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(refused)?
            .choose_scheme(QUICK_SCHEMES)
            .is_some();
        let builder = ServerConfig::builder_with_details(provider, Arc::new(WallClock))
            .with_safe_default_protocol_versions()
            .map_err(refused)?;
        let builder = match verifier(&settings.clients)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut served = builder.with_single_cert(chain, key).map_err(refused)?;
        served.alpn_protocols = vec![ALPN.to_vec()];
        // After a restart many clients come back at once. Their tickets hold state that a table here would have too
        // little room for. A new identity accepts no tickets of the previous one.
        if SystemTime::now() >= UNIX_EPOCH {
            // It would panic before 1970.
            served.ticketer = ring::Ticketer::new().map_err(refused)?;
        }
        served.send_tls13_tickets = TICKETS;
        Ok(Self {
            settings: settings.clone(),
            files,
            served: Arc::new(served),
            takes_long: !signs_quickly || settings.clients != TlsClients::Anonymous,
            not_after,
        })
    }

    /// Whether `other` is this same object, not only one from the same files.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.served, &other.served)
    }

    /// The settings that it was loaded with.
    pub(super) fn settings(&self) -> &Tls {
        &self.settings
    }

    /// The fingerprint of its files.
    pub(super) fn files(&self) -> Fingerprint {
        self.files
    }

    /// The configuration for handshakes.
    pub(super) fn served(&self) -> Arc<ServerConfig> {
        self.served.clone()
    }

    /// Whether a step of a handshake may take longer than a shard can be held up: signatures with this key do, or clients show
    /// certificates.
    pub(super) fn takes_long(&self) -> bool {
        self.takes_long
    }

    /// The time that a handshake may take.
    pub(super) fn handshake_within(&self) -> Duration {
        Duration::from_millis(self.settings.handshake_ms)
    }

    /// The end of the broker's own certificate in seconds since 1970, if it can be read.
    #[must_use]
    pub fn not_after(&self) -> Option<u64> {
        self.not_after
    }
}

/// The system's clock. That of rustls panics before 1970.
#[derive(Debug)]
struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Some(UnixTime::since_unix_epoch(since.unwrap_or_default()))
    }
}

/// The verifier of clients' certificates. `None` if clients are not asked for any.
fn verifier(clients: &TlsClients) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    const KEY: &str = "tls.client_ca_file";
    let Some(path) = clients.ca_file() else {
        return Ok(None);
    };
    let malformed = |reason: String| TlsError::Malformed {
        key: KEY,
        path: path.clone(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(KEY, path)? {
        roots
            .add(certificate)
            .map_err(|error| malformed(error.to_string()))?;
    }
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match clients {
        TlsClients::MayShow { .. } => builder.allow_unauthenticated(),
        TlsClients::Anonymous | TlsClients::MustShow { .. } => builder,
    };
    let verifier = builder.build().map_err(|error| malformed(error.to_string()))?;
    Ok(Some(verifier))
}

/// The certificates in the file at `path`, at least one.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(byte_order_mark::without(&bytes)).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(TlsError::Empty {
            key,
            path: path.to_owned(),
            missing: "certificate",
        }),
        Err(error) => Err(malformed(key, path, &error)),
    }
}

/// The first private key in the file at `path`.
fn key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    match PrivateKeyDer::from_pem_slice(byte_order_mark::without(&read(key, path)?)) {
        Ok(found) => Ok(found),
        Err(pem::Error::NoItemsFound) => Err(TlsError::Empty {
            key,
            path: path.to_owned(),
            missing: "private key",
        }),
        Err(error) => Err(malformed(key, path, &error)),
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable {
        key,
        path: PathBuf::from(path),
        source,
    })
}

fn malformed(key: &'static str, path: &Path, error: &pem::Error) -> TlsError {
    TlsError::Malformed {
        key,
        path: PathBuf::from(path),
        reason: error.to_string(),
    }
}
