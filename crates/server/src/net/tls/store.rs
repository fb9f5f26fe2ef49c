//! Holds the identity for new handshakes.
//!
//! There is one identity. It is replaced in one step, and only by one that was loaded without errors, never by one with
//! settings that were replaced meanwhile. Open connections keep the old identity.

use std::io;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::SystemTime;

use std::sync::Arc;
use tickwire_metrics::{Catalogue, Metric};
use tokio::net::TcpStream;

use super::error::TlsError;
use super::fingerprint::Fingerprint;
use super::http_stream::{HttpStream, TlsStream};
use super::identity::TlsIdentity;
use super::session::TlsSession;
use super::workers::Workers;
use crate::config::Tls;

/// The current identity.
#[derive(Debug)]
pub(crate) struct TlsStore {
    current: RwLock<TlsIdentity>,
    metrics: Arc<Catalogue>,
    workers: Workers,
}

impl TlsStore {
    /// A store with `identity`.
    pub(crate) fn new(identity: TlsIdentity, metrics: Arc<Catalogue>) -> Self {
        note(&identity, &metrics);
        Self {
            current: RwLock::new(identity),
            metrics,
            workers: Workers::new(),
        }
    }

    /// Uses `identity` in every handshake that begins from now on.
    pub(crate) fn install(&self, identity: TlsIdentity) {
        self.show(&mut self.changing(), identity);
    }

    /// Reads the files again and uses the result from now on. Returns whether it does: if another identity was
    /// installed meanwhile, perhaps with other settings, that one stays whatever was read.
    ///
    /// # Errors
    /// If the files cannot be used. Then the old identity stays.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        self.reload_by(TlsIdentity::load)
    }

    fn reload_by(&self, load: impl FnOnce(&Tls) -> Result<TlsIdentity, TlsError>) -> Result<bool, TlsError> {
        let before = self.current();
        let loaded = load(before.settings());
        let mut current = self.changing();
        if !current.is(&before) {
            return Ok(false);
        }
        match loaded {
            Ok(identity) => {
                self.show(&mut current, identity);
                Ok(true)
            }
            Err(error) => {
                self.metrics.add(Metric::TlsReloadsFailed, &[], 1);
                Err(error)
            }
        }
    }

    fn show(&self, current: &mut TlsIdentity, identity: TlsIdentity) {
        note(&identity, &self.metrics);
        *current = identity;
        self.metrics.add(Metric::TlsReloads, &[], 1);
    }

    fn changing(&self) -> RwLockWriteGuard<'_, TlsIdentity> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings of the current identity, and the fingerprint of its files.
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

    /// Does the TLS handshake with a client.
    ///
    /// # Errors
    /// If the client does not use TLS, shows no certificate or a wrong one, or takes too long.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<HttpStream> {
        let identity = self.current();
        let session = TlsSession::new(identity.served()).map_err(io::Error::other)?;
        let within = identity.handshake_within();
        let workers = identity.takes_long().then_some(&self.workers);
        let accepting = Box::new(TlsStream::new(stream, session)).shake(workers);
        let accepted = tokio::time::timeout(within, accepting)
            .await
            .unwrap_or_else(|_elapsed| {
                let reason = format!("no TLS handshake within {} ms", within.as_millis());
                Err(io::Error::new(io::ErrorKind::TimedOut, reason))
            });
        match accepted {
            Ok(stream) => Ok(HttpStream::Tls(stream)),
            Err(error) => {
                self.metrics.add(Metric::TlsHandshakesFailed, &[], 1);
                Err(error)
            }
        }
    }
}

/// Exports the end of `identity`'s certificate for operators.
fn note(identity: &TlsIdentity, metrics: &Arc<Catalogue>) {
    match identity.not_after() {
        Some(seconds) => metrics.set(Metric::TlsNotAfter, &[], seconds.saturating_mul(1_000_000)),
        None => metrics.set_nothing(Metric::TlsNotAfter, &[]),
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tickwire_metrics::Catalogue;

    use super::*;
    use crate::config::TlsClients;
    use crate::ops::labels::LABELS;

    /// Settings for a new certificate in files called `name`.
    fn settings(folder: &Path, name: &str) -> Tls {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let settings = Tls {
            cert_file: folder.join(format!("{name}.pem")),
            key_file: folder.join(format!("{name}.key")),
            clients: TlsClients::Anonymous,
            handshake_ms: 1_000,
        };
        std::fs::write(&settings.cert_file, certificate.pem()).expect("a file");
        std::fs::write(&settings.key_file, key.serialize_pem()).expect("a file");
        settings
    }

    fn store(settings: &Tls) -> TlsStore {
        let catalogue = Catalogue::new(1, "test", &LABELS).expect("a catalogue");
        let identity = TlsIdentity::load(settings).expect("good files");
        TlsStore::new(identity, catalogue.clone())
    }

    #[test]
    fn other_settings_that_come_while_files_are_read_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let [old, new] = ["old", "new"].map(|name| settings(folder.path(), name));
        for files in [old.clone(), missing(&old)] {
            let store = store(&old);
            let shown = store.reload_by(|settings| {
                assert_eq!(settings.cert_file, old.cert_file);
                store.install(TlsIdentity::load(&new).expect("good files"));
                TlsIdentity::load(&files)
            });
            assert!(matches!(shown, Ok(false)), "{shown:?}");
            assert_eq!(store.files().0.cert_file, new.cert_file);
        }
    }

    #[test]
    fn files_that_are_read_in_peace_are_shown_if_they_are_good() {
        let folder = tempfile::tempdir().expect("a folder");
        let old = settings(folder.path(), "same");
        let store = store(&old);
        let before = store.current();
        assert!(store.reload_by(|_| TlsIdentity::load(&missing(&old))).is_err());
        assert!(store.current().is(&before));
        let new = settings(folder.path(), "same");
        assert!(matches!(store.reload(), Ok(true)));
        assert!(!store.current().is(&before));
        assert_eq!(store.files().0, new);
    }

    #[test]
    fn which_handshakes_take_long() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut quick = settings(folder.path(), "quick");
        let takes_long = |settings: &Tls| TlsIdentity::load(settings).expect("good files").takes_long();
        assert!(!takes_long(&quick));
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let slow = settings(folder.path(), "slow");
        std::fs::write(&slow.cert_file, certificate.pem()).expect("a file");
        std::fs::write(&slow.key_file, key.serialize_pem()).expect("a file");
        assert!(takes_long(&slow));
        quick.clients = TlsClients::MayShow {
            ca_file: quick.cert_file.clone(),
        };
        assert!(takes_long(&quick));
    }

    /// Does the same as `settings`, but the files do not exist.
    fn missing(settings: &Tls) -> Tls {
        Tls {
            cert_file: settings.cert_file.with_extension("nowhere"),
            ..settings.clone()
        }
    }
}
