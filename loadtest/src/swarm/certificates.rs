//! The certificates of a run: its own authority, the broker's certificate in files, and clients that trust it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::swarm::tls::TlsClient;

/// How long a look at the certificate may take.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// An authority, and the folder with the broker's certificate.
pub(crate) struct Certificates {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("authority of the load test");
        let certificates = Self {
            folder: tempfile::tempdir().context("cannot make a folder")?,
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?,
        };
        certificates.replace()?;
        Ok(certificates)
    }

    /// The settings of a broker that shows the certificate.
    pub(crate) fn settings(&self) -> [(&'static str, PathBuf); 2] {
        let path = |name| self.folder.path().join(name);
        [
            ("TICKWIRE_TLS__CERT_FILE", path("cert.pem")),
            ("TICKWIRE_TLS__KEY_FILE", path("key.pem")),
        ]
    }

    /// Replaces certificate and key in the files, each in one step. Returns the certificate.
    pub(crate) fn replace(&self) -> anyhow::Result<Vec<u8>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()])?;
        params.distinguished_name = named("broker under load");
        let certificate = params.signed_by(&key, &self.issuer)?;
        let texts = [certificate.pem(), key.serialize_pem()];
        for ((_, path), text) in self.settings().into_iter().zip(texts) {
            let new = path.with_extension("new");
            fs::write(&new, text)
                .and_then(|()| fs::rename(&new, &path))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(certificate.der().to_vec())
    }

    /// The configuration of a client that trusts the authority.
    pub(crate) fn client(&self) -> anyhow::Result<TlsClient> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.as_ref().der().clone())?;
        Ok(trusting(roots)?)
    }
}

/// The configuration of a client that trusts `roots`. It resumes no session, since a resumed session shows no
/// certificate.
pub(crate) fn trusting(roots: RootCertStore) -> Result<TlsClient, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(TlsClient(Arc::new(config)))
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// The certificate that `address` shows to a new connection.
pub(crate) fn shown(address: SocketAddr, client: &TlsClient) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, LOOK_WITHIN)?;
    stream.set_read_timeout(Some(LOOK_WITHIN))?;
    let mut session = client.session(address.ip())?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    let chain = session.peer_certificates().unwrap_or_default();
    chain
        .first()
        .map(|own| own.to_vec())
        .ok_or_else(|| io::Error::other("no certificate was shown"))
}
