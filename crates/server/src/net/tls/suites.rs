//! The cipher suites of the broker: those of the library, which in TLS 1.3 keep the key of what a client sends as it is.
//!
//! The library expands a key once, and a session then keeps some 550 bytes for each direction. The clients of a broker send little.
//! So here the key of that direction is expanded for each record. That takes as long as decrypting a few hundred bytes. The other
//! direction and TLS 1.2 are the library's own.

use std::sync::LazyLock;

use ring::aead::{self, Aad, LessSafeKey, UnboundKey};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, Nonce,
    Tls13AeadAlgorithm, UnsupportedOperationError, make_tls13_aad,
};
use rustls::crypto::{CryptoProvider, ring as library};
use rustls::{
    CipherSuite, CipherSuiteCommon, ConnectionTrafficSecrets, Error, SupportedCipherSuite, Tls13CipherSuite,
};

/// The suites in the library's order of preference.
static SUITES: LazyLock<Vec<SupportedCipherSuite>> = LazyLock::new(|| {
    library::ALL_CIPHER_SUITES
        .iter()
        .copied()
        .map(with_brief_keys)
        .collect()
});

/// The library's cryptography with these suites.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: SUITES.clone(),
        ..library::default_provider()
    }
}

/// The same suite, with brief keys if it is one of TLS 1.3. What is made for that lives as long as the program, once for each
/// suite.
fn with_brief_keys(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let algorithm = match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => &aead::AES_128_GCM,
        CipherSuite::TLS13_AES_256_GCM_SHA384 => &aead::AES_256_GCM,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => &aead::CHACHA20_POLY1305,
        _ => return suite,
    };
    let SupportedCipherSuite::Tls13(suite) = suite else {
        return suite;
    };
    let common = CipherSuiteCommon {
        suite: suite.common.suite,
        hash_provider: suite.common.hash_provider,
        confidentiality_limit: suite.common.confidentiality_limit,
    };
    SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
        common,
        hkdf_provider: suite.hkdf_provider,
        aead_alg: Box::leak(Box::new(BriefKeys {
            library: suite.aead_alg,
            algorithm,
        })),
        quic: None,
    })))
}

/// A cipher of the library, except for the keys of what a client sends.
struct BriefKeys {
    library: &'static dyn Tls13AeadAlgorithm,
    algorithm: &'static aead::Algorithm,
}

impl Tls13AeadAlgorithm for BriefKeys {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.library.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        let algorithm = self.algorithm;
        Box::new(Decrypter { algorithm, key, iv })
    }

    fn key_len(&self) -> usize {
        self.library.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.library.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.library.fips()
    }
}

/// Decrypts the records of a client. The key is overwritten when this is dropped.
struct Decrypter {
    algorithm: &'static aead::Algorithm,
    key: AeadKey,
    iv: Iv,
}

impl MessageDecrypter for Decrypter {
    /// As RFC 8446 §5.2 says.
    fn decrypt<'a>(
        &mut self,
        mut record: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let key = UnboundKey::new(self.algorithm, self.key.as_ref()).map_err(|_| Error::DecryptError)?;
        let nonce = aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, seq).0);
        let additional = Aad::from(make_tls13_aad(record.payload.len()));
        let opened = LessSafeKey::new(key).open_in_place(nonce, additional, &mut record.payload);
        let length = opened.map_err(|_| Error::DecryptError)?.len();
        record.payload.truncate(length);
        record.into_tls13_unpadded_message()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::super::session::tests::{hear, pair_of, say, shake};
    use super::*;

    #[test]
    fn an_idle_session_kept_the_expanded_key_of_what_its_client_sends() {
        let suites = provider().cipher_suites;
        let mut of_tls13 = suites.iter().filter_map(SupportedCipherSuite::tls13);
        assert!(of_tls13.clone().count() == 3);
        let short = |suite: &Tls13CipherSuite| {
            let decrypter = suite.aead_alg.decrypter(AeadKey::from([1; 32]), Iv::new([2; 12]));
            size_of_val(&*decrypter) <= 64
        };
        assert!(of_tls13.all(short));
    }

    #[test]
    fn every_suite_reads_what_clients_send_before_and_after_new_keys() {
        // The certificate is one of ECDSA.
        let is_usable = |suite: &&SupportedCipherSuite| !format!("{:?}", suite.suite()).contains("RSA");
        for suite in library::ALL_CIPHER_SUITES.iter().filter(is_usable) {
            let offered = CryptoProvider {
                cipher_suites: vec![*suite],
                ..library::default_provider()
            };
            let (mut client, mut session) = pair_of(offered);
            shake(&mut client, &mut session, usize::MAX);
            for (number, length) in [0, 1, 100, 16 * 1024, 40_000].into_iter().enumerate() {
                let sent = vec![b'x'; length];
                client.writer().write_all(&sent).expect("there is room");
                say(&mut client, &mut session, usize::MAX).expect("good records");
                let mut heard = vec![0; length + 1];
                let count = session.take(&mut heard);
                assert_eq!(count, (length > 0).then_some(length), "{suite:?}");
                assert_eq!(heard[..length], sent);
                session.say(&[b'y'; 50]).expect("a live session");
                hear(&mut session, &mut client);
                client.reader().read_exact(&mut [0; 50]).expect("all of it");
                if number == 2 && suite.tls13().is_some() {
                    client.refresh_traffic_keys().expect("TLS 1.3 has new keys");
                }
            }
            client.writer().write_all(b"forged").expect("there is room");
            let mut record = Vec::new();
            client.write_tls(&mut record).expect("memory takes all");
            *record.last_mut().expect("a record") ^= 1;
            assert_eq!(
                session.receive(&mut record),
                Err(Error::DecryptError),
                "{suite:?}"
            );
        }
    }
}
