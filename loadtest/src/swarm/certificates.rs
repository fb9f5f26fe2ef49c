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
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, version};
use tempfile::TempDir;

use crate::swarm::tls::TlsClient;

/// The variables that name the files of certificate and key to servers other than the broker.
pub(crate) const PEER_FILES: [&str; 2] = ["PEER_TLS_CERT", "PEER_TLS_KEY"];
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

    /// The environment in which a server that is not the broker finds the files.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 2] {
        let [cert, key] = self.settings().map(|(_, path)| path);
        let [cert_name, key_name] = PEER_FILES;
        [(cert_name, cert), (key_name, key)]
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
        Ok(trusting(self.roots()?)?)
    }

    /// The same of a client that offers the one cipher suite that all servers are compared with.
    pub(crate) fn compared_client(&self) -> anyhow::Result<TlsClient> {
        let mut config = ClientConfig::builder_with_provider(compared_suite())
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(TlsClient(Arc::new(config)))
    }

    fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.as_ref().der().clone())?;
        Ok(roots)
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

/// The one suite and the one key exchange of a comparison: those that servers choose for most clients.
fn compared_suite() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![ring::kx_group::X25519],
        ..ring::default_provider()
    })
}

/// The configuration of a client whose handshakes cost it less than the server: as [`Certificates::compared_client`], but it checks
/// neither certificate nor signature. It resumes sessions if it `resumes`.
pub(crate) fn hasty(resumes: bool) -> anyhow::Result<TlsClient> {
    let provider = compared_suite();
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unchecked(schemes)))
        .with_no_client_auth();
    config.resumption = match resumes {
        true => Resumption::in_memory_sessions(1),
        false => Resumption::disabled(),
    };
    Ok(TlsClient(Arc::new(config)))
}

/// Accepts every certificate and every signature.
#[derive(Debug)]
struct Unchecked(Vec<SignatureScheme>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
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
