//! TLS of a client on `wss://`: the authorities that it trusts, and the certificate that it shows.
//!
//! Without a file of its own a client trusts the authorities that the system trusts. The connection ends if no trusted
//! authority has signed the broker's certificate; there is no way around that.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tickwire_wire::byte_order_mark;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::Endpoint;
use crate::error::{ConnectError, TlsError};

/// The protocol after the TLS handshake (ALPN, RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// The TLS files that a client was given.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFiles {
    /// The certificates of the authorities that may sign the broker's certificate. Without it, the system's.
    pub(crate) ca: Option<PathBuf>,
    /// The client's own certificates, and the key to them.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// The TLS set-up of a client.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// The set-up for handshakes with `endpoint`; `None` if it does not use TLS.
    pub(crate) fn of(endpoint: &Endpoint, files: &TlsFiles) -> Result<Option<Self>, TlsError> {
        if endpoint.is_tls() {
            return Self::load(files).map(Some);
        }
        if files.ca.is_some() || files.identity.is_some() {
            return Err(TlsError::Unused {
                endpoint: endpoint.to_string(),
            });
        }
        Ok(None)
    }

    /// Reads `files`, and the system's certificates if they name none.
    fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        match &files.ca {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .map_err(|error| unusable(path, error.to_string()))?;
                }
            }
            None => system_roots(&mut roots)?,
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::NoRoots {
                reason: error.to_string(),
            })?
            .with_root_certificates(roots);
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some((cert_file, key_file)) => {
                let key = PrivateKeyDer::from_pem_slice(byte_order_mark::without(&read(key_file)?))
                    .map_err(|error| unusable(key_file, format!("no private key in PEM: {error}")))?;
                builder
                    .with_client_auth_cert(certificates(cert_file)?, key)
                    .map_err(|error| unusable(cert_file, error.to_string()))?
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Does the TLS handshake with the broker at `endpoint`.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let failed = |reason: String, is_untrusted: bool| ConnectError::TlsFailed {
            endpoint: endpoint.to_string(),
            reason,
            is_untrusted,
        };
        let name = ServerName::try_from(endpoint.host.clone()).map_err(|_| {
            let reason = format!("{:?} is no name that a certificate can have", endpoint.host);
            failed(reason, false)
        })?;
        let shaken = self.0.connect(name, stream).await;
        shaken.map_err(|error| {
            let untrusted = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
            let is_untrusted = tls_error(&error) == Some(&untrusted);
            failed(explained(&error, &endpoint.host), is_untrusted)
        })
    }
}

/// The TLS error inside an I/O error, if there is one.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Explains a failed handshake to the person who can mend it.
fn explained(error: &io::Error, host: &str) -> String {
    let Some(tls) = tls_error(error) else {
        return error.to_string();
    };
    match tls {
        rustls::Error::InvalidCertificate(why) => not_trusted(why, host),
        rustls::Error::InvalidMessage(_) => {
            "its answer is no TLS; if it does not speak TLS, write ws://".to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::AccessDenied) => {
            "it lets nobody in at the moment: it, or this address, has its most connections".to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a certificate of the client".to_owned()
        }
        other => other.to_string(),
    }
}

/// Why a certificate is not trusted, and what to do about it.
fn not_trusted(why: &CertificateError, host: &str) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "its certificate is signed by nobody who is trusted here: name the file of the authority that signed it"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired, or the clock of this machine is ahead".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet, or the clock of this machine is behind".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is not for {host}")
        }
        // The error of webpki comes wrapped, with a text that is meant for debugging.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is that of an authority (basicConstraints CA:TRUE), which must not be shown as a server's:              make one with CA:FALSE (openssl req -x509 -addext basicConstraints=critical,CA:FALSE …)"
                .to_owned()
        }
        other => format!("its certificate is not good: {other}"),
    }
}

fn system_roots(roots: &mut RootCertStore) -> Result<(), TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::debug!(ignored, "some of the system's certificates are no certificates");
    }
    if roots.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots {
            reason: reasons.join(", "),
        });
    }
    Ok(())
}

/// Reads the certificates in the file at `path`: at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(byte_order_mark::without(&bytes)).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable(path, "it holds no certificate in PEM")),
        Err(error) => Err(unusable(path, error.to_string())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source: io::Error| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn unusable(path: &Path, reason: impl Into<String>) -> TlsError {
    TlsError::Unusable {
        path: path.to_owned(),
        reason: reason.into(),
    }
}
