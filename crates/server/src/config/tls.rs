//! Whether clients speak TLS, and who they are shown: the key table `[tls]`.
//!
//! Only the settings are checked here; what the files hold is looked at by [`crate::net::tls::TlsIdentity::load`].

use std::path::PathBuf;

use tickwire_wire::limits;

use super::error::ConfigError;
use super::keys::{Key, Preset, Shape};
use super::settings::Settings;

/// Words of `tls.client_auth`.
const CLIENT_AUTHS: &[&str] = &["none", "optional", "required"];

pub(super) const CERT_FILE: Key = Key::new(
    "tls.cert_file",
    Shape::File,
    Preset::UnsetText("no TLS", "/etc/tickwire/tls/cert.pem"),
    "The broker's certificate and those between it and the root, in PEM. With it, `listen` speaks TLS and nothing else",
);
pub(super) const KEY_FILE: Key = Key::new(
    "tls.key_file",
    Shape::File,
    Preset::UnsetText("no TLS", "/etc/tickwire/tls/key.pem"),
    "The private key of tls.cert_file, in PEM",
);
pub(super) const CLIENT_CA_FILE: Key = Key::new(
    "tls.client_ca_file",
    Shape::File,
    Preset::UnsetText(
        "clients are not asked for certificates",
        "/etc/tickwire/tls/clients.pem",
    ),
    "Certificates, in PEM, of those who may sign clients' certificates",
);
pub(super) const CLIENT_AUTH: Key = Key::new(
    "tls.client_auth",
    Shape::Choice(CLIENT_AUTHS),
    Preset::UnsetText("required with tls.client_ca_file, none without", "required"),
    "Whether clients must show a certificate, may show one, or are not asked",
);
pub(super) const HANDSHAKE_MS: Key = Key::integer(
    "tls.handshake_ms",
    100,
    60_000,
    limits::HANDSHAKE_MS,
    "Time for a client's TLS handshake; then the connection is closed",
);

/// The key table `[tls]`, where there is TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The broker's certificate, then those between it and the root.
    pub cert_file: PathBuf,
    /// The certificate's private key.
    pub key_file: PathBuf,
    /// Whether clients show certificates too.
    pub clients: TlsClients,
    /// Time in milliseconds for a client's handshake.
    pub handshake_ms: u64,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsClients {
    /// They are not asked.
    Anonymous,
    /// They may show one; if they do, someone in the file must have signed it.
    MayShow {
        /// Certificates of those who may sign.
        ca_file: PathBuf,
    },
    /// They must show one that someone in the file has signed.
    MustShow {
        /// Certificates of those who may sign.
        ca_file: PathBuf,
    },
}

impl TlsClients {
    /// The file with the certificates of those who may sign.
    #[must_use]
    pub fn ca_file(&self) -> Option<&PathBuf> {
        match self {
            Self::Anonymous => None,
            Self::MayShow { ca_file } | Self::MustShow { ca_file } => Some(ca_file),
        }
    }
}

impl Tls {
    /// The table, or none if it asks for no TLS.
    pub(super) fn read(settings: &Settings) -> Result<Option<Self>, ConfigError> {
        let cert_file = settings.file_if_set(CERT_FILE.path)?;
        let key_file = settings.file_if_set(KEY_FILE.path)?;
        let ca_file = settings.file_if_set(CLIENT_CA_FILE.path)?;
        let clients = read_clients(settings, ca_file)?;
        let handshake_ms = settings.integer(HANDSHAKE_MS.path)?;
        let beside = |set: &str, missing: &str| {
            let rule = format!("has no TLS without {missing}: set both, or neither");
            Err(settings.refuse(set, rule))
        };
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Ok(Some(Self {
                cert_file,
                key_file,
                clients,
                handshake_ms,
            })),
            (Some(_), None) => beside(CERT_FILE.path, KEY_FILE.path),
            (None, Some(_)) => beside(KEY_FILE.path, CERT_FILE.path),
            (None, None) if clients != TlsClients::Anonymous => {
                beside(CLIENT_CA_FILE.path, "tls.cert_file and tls.key_file")
            }
            (None, None) => Ok(None),
        }
    }
}

fn read_clients(settings: &Settings, ca_file: Option<PathBuf>) -> Result<TlsClients, ConfigError> {
    let path = CLIENT_AUTH.path;
    let words = ["none", "optional", "required"].map(|word| (word, word));
    let word = match settings.value(path) {
        Some(_) => settings.choice(path, &words)?,
        None if ca_file.is_some() => "required",
        None => "none",
    };
    match (word, ca_file) {
        ("none", _) => Ok(TlsClients::Anonymous),
        ("optional", Some(ca_file)) => Ok(TlsClients::MayShow { ca_file }),
        (_, Some(ca_file)) => Ok(TlsClients::MustShow { ca_file }),
        (_, None) => {
            let rule = "needs tls.client_ca_file, which says who may sign clients' certificates";
            Err(settings.refuse(path, rule))
        }
    }
}
