//! Whether clients use TLS, and with which certificates: the key table `[tls]`.
//!
//! Only the settings are checked here. [`crate::net::tls::TlsIdentity::load`] reads the files.

use std::path::PathBuf;

use super::choices::TlsClientAuth;
use super::error::ConfigError;
use super::key::{Key, Table};
use super::settings::Settings;
use super::table::TlsSettings;

/// The key table `[tls]`, if TLS is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The file with the broker's certificate and the intermediate certificates up to the root.
    pub cert_file: PathBuf,
    /// The file with the certificate's private key.
    pub key_file: PathBuf,
    /// Whether clients show certificates.
    pub clients: TlsClients,
    /// Time in milliseconds for a client's TLS handshake.
    pub handshake_ms: u64,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsClients {
    /// They are not asked for one.
    Anonymous,
    /// They may show one. If they do, a certificate in the file must have signed it.
    MayShow {
        /// The file with the certificates of the signers.
        ca_file: PathBuf,
    },
    /// They must show one that a certificate in the file has signed.
    MustShow {
        /// The file with the certificates of the signers.
        ca_file: PathBuf,
    },
}

impl TlsClients {
    /// The file with the certificates of the signers.
    #[must_use]
    pub fn ca_file(&self) -> Option<&PathBuf> {
        match self {
            Self::Anonymous => None,
            Self::MayShow { ca_file } | Self::MustShow { ca_file } => Some(ca_file),
        }
    }
}

impl Table for Option<Tls> {
    const KEYS: &'static [Key] = TlsSettings::KEYS;

    /// Reads the table. `None` if it does not ask for TLS.
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let set = TlsSettings::read(settings)?;
        let clients = clients(settings, &set)?;
        let beside = |set: &str, missing: &str| {
            let rule = format!("has no TLS without {missing}: set both, or neither");
            Err(settings.refuse(set, rule))
        };
        match (set.cert_file, set.key_file) {
            (Some(cert_file), Some(key_file)) => Ok(Some(Tls {
                cert_file,
                key_file,
                clients,
                handshake_ms: set.handshake_ms,
            })),
            (Some(_), None) => beside("tls.cert_file", "tls.key_file"),
            (None, Some(_)) => beside("tls.key_file", "tls.cert_file"),
            (None, None) if clients != TlsClients::Anonymous => {
                beside("tls.client_ca_file", "tls.cert_file and tls.key_file")
            }
            (None, None) => Ok(None),
        }
    }

    /// Turning TLS on or off shows as a change of the certificate. A reload takes every other change of TLS.
    fn differing(&self, other: &Self) -> Vec<&'static str> {
        Vec::from_iter((self.is_some() != other.is_some()).then_some("tls.cert_file"))
    }
}

fn clients(settings: &Settings, set: &TlsSettings) -> Result<TlsClients, ConfigError> {
    match (set.client_auth, set.client_ca_file.clone()) {
        (Some(TlsClientAuth::None), _) | (None, None) => Ok(TlsClients::Anonymous),
        (Some(TlsClientAuth::Optional), Some(ca_file)) => Ok(TlsClients::MayShow { ca_file }),
        (Some(TlsClientAuth::Required) | None, Some(ca_file)) => Ok(TlsClients::MustShow { ca_file }),
        (Some(_), None) => {
            let rule = "needs tls.client_ca_file, which says who may sign clients' certificates";
            Err(settings.refuse("tls.client_auth", rule))
        }
    }
}
