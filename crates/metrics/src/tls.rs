//! What TLS counts: handshakes that failed, certificates that were replaced.
//!
//! Each call is an atomic operation, visible at once; no flush.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::table::Id;

/// A handle on the figures of TLS, shared by those who shake hands.
#[derive(Debug, Clone)]
pub struct TlsMetrics(Arc<Catalogue>);

impl TlsMetrics {
    pub(crate) fn new(catalogue: &Arc<Catalogue>) -> Self {
        Self(Arc::clone(catalogue))
    }

    /// Sets when the certificate that is shown ends, in seconds since 1970, if that is known.
    pub fn set_not_after(&self, seconds: Option<u64>) {
        let family = self.0.family(Id::TlsNotAfter);
        match seconds {
            Some(seconds) => family.set(0, seconds.saturating_mul(1_000_000)),
            None => family.set_nothing(0),
        }
    }

    /// Counts an attempt to replace the certificate.
    pub fn reloaded(&self, succeeded: bool) {
        let id = if succeeded {
            Id::TlsReloads
        } else {
            Id::TlsReloadsFailed
        };
        self.0.family(id).add(0, 1);
    }

    /// Counts a handshake that failed.
    pub fn handshake_failed(&self) {
        self.0.family(Id::TlsHandshakesFailed).add(0, 1);
    }
}
