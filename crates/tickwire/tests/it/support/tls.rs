//! Certificates made for a test, and clients that trust them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;

use super::Broker;

/// An authority that signs certificates, with a folder for them.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Creates an authority. Its own certificate is in `ca.pem`.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut params = CertificateParams::new([]).expect("no names are good names");
        // The name identifies an authority as the issuer.
        params.distinguished_name = named(&format!("authority {number} of the tests"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let authority = Self {
            folder: tempfile::tempdir().expect("a folder"),
            issuer,
        };
        let pem = authority.issuer.as_ref().pem();
        std::fs::write(authority.path("ca.pem"), pem).expect("a file can be written");
        authority
    }

    /// The path of a file in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same path as text.
    pub(crate) fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a new certificate for this machine to `NAME.pem` and then its key to `NAME.key`. Returns the certificate.
    pub(crate) fn issue(&self, name: &str) -> Vec<u8> {
        let key = KeyPair::generate().expect("a key");
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("good names");
        params.distinguished_name = named(name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("a file can be written");
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem())
            .expect("a file can be written");
        certificate.der().to_vec()
    }

    /// Writes a self-signed certificate for this machine to `NAME.pem` and its key to `NAME.key`. It is that of an
    /// authority, as `openssl req -x509` makes it by default, or not.
    pub(crate) fn issue_self_signed(&self, name: &str, is_authority: bool) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a good name");
        params.distinguished_name = named(name);
        params.is_ca = match is_authority {
            true => IsCa::Ca(BasicConstraints::Unconstrained),
            false => IsCa::ExplicitNoCa,
        };
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("a file can be written");
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem())
            .expect("a file can be written");
    }

    /// Starts a broker with the certificate `broker`, which this authority issues.
    pub(crate) fn start(&self, args: &[&str], variables: &[(&str, &str)]) -> Broker {
        self.issue("broker");
        let (cert, key) = (self.file("broker.pem"), self.file("broker.key"));
        let files = [
            ("TICKWIRE_TLS__CERT_FILE", cert.as_str()),
            ("TICKWIRE_TLS__KEY_FILE", key.as_str()),
        ];
        Broker::start_with(args, &[&files, variables].concat())
    }

    /// The configuration of a client that trusts only this authority.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.client_of(rustls::DEFAULT_VERSIONS)
    }

    /// The same, with these versions of TLS.
    pub(crate) fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut config = self.configured(versions);
        // A resumed session does not show a certificate.
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }

    /// The same, for a client that resumes its sessions and would send early data.
    pub(crate) fn client_that_resumes(
        &self,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        let mut config = self.configured(&[version]);
        config.enable_early_data = true;
        Arc::new(config)
    }

    fn configured(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.issuer.as_ref().der().clone())
            .expect("a certificate");
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("known versions")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}
