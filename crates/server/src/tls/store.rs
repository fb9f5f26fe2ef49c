//! Where each new handshake takes what it is done with.
//!
//! Holds one identity, replaced in one step and only by one that loaded. Connections that are open do not notice: theirs
//! has been shown.

use std::io;
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use tickwire_metrics::TlsMetrics;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::error::TlsError;
use super::fingerprint::Fingerprint;
use super::http_stream::HttpStream;
use super::identity::TlsIdentity;
use super::secured::RECORD_BYTES;
use crate::config::Tls;

/// The identity that is shown now.
#[derive(Debug)]
pub(crate) struct TlsStore {
    current: RwLock<TlsIdentity>,
    metrics: TlsMetrics,
}

impl TlsStore {
    /// A store that begins with `identity`.
    pub(crate) fn new(identity: TlsIdentity, metrics: TlsMetrics) -> Self {
        note(&identity, &metrics);
        Self {
            current: RwLock::new(identity),
            metrics,
        }
    }

    /// Shows `identity` in every handshake that begins from now on.
    pub(crate) fn install(&self, identity: TlsIdentity) {
        note(&identity, &self.metrics);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = identity;
        self.metrics.reloaded(true);
    }

    /// Reads the files anew and shows what they hold from now on.
    ///
    /// # Errors
    /// When they cannot be used; what was shown before still is.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        match TlsIdentity::load(self.current().settings()) {
            Ok(identity) => {
                self.install(identity);
                Ok(())
            }
            Err(error) => {
                self.metrics.reloaded(false);
                Err(error)
            }
        }
    }

    /// What its identity was loaded by, and what tells the files from later ones.
    pub(super) fn files(&self) -> (Tls, Fingerprint) {
        let current = self.current();
        (current.settings().clone(), current.files())
    }

    fn current(&self) -> TlsIdentity {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// When the client does not speak TLS, shows no certificate or a wrong one, or takes too long.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<HttpStream> {
        let identity = self.current();
        // What rustls has encrypted can no longer be replaced by something newer: little may wait there.
        let accepting = TlsAcceptor::from(identity.served())
            .accept_with(stream, |session| session.set_buffer_limit(Some(RECORD_BYTES)));
        let within = identity.handshake_within();
        let accepted = tokio::time::timeout(within, accepting)
            .await
            .unwrap_or_else(|_elapsed| {
                let reason = format!("no TLS handshake within {} ms", within.as_millis());
                Err(io::Error::new(io::ErrorKind::TimedOut, reason))
            });
        match accepted {
            Ok(stream) => Ok(HttpStream::Tls(Box::new(stream))),
            Err(error) => {
                self.metrics.handshake_failed();
                Err(error)
            }
        }
    }
}

/// Tells operators until when `identity` is good.
fn note(identity: &TlsIdentity, metrics: &TlsMetrics) {
    metrics.set_not_after(identity.not_after().unwrap_or(0));
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let file = identity.settings().cert_file.display();
    match identity.not_after() {
        Some(not_after) if not_after <= now => {
            tracing::warn!(%file, not_after, "the certificate has expired: clients will refuse it");
        }
        not_after => tracing::debug!(%file, not_after, "certificate loaded"),
    }
}
