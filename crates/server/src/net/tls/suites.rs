//! The cipher suites of the broker: those of the library, which in TLS 1.3 keep keys as they are while a session has little to
//! say.
//!
//! The library expands a key once, and a session then keeps some 550 bytes for each direction. Here a key is expanded for each
//! record, which takes as long as encrypting a few hundred bytes. The clients of a broker send little, so that holds for all that
//! they send. The key of what they are sent stays expanded while records follow each other. TLS 1.2 is the library's own.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ring::aead::{self, Aad, LessSafeKey, UnboundKey};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, Nonce,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::crypto::{CryptoProvider, ring as library};
use rustls::{
    CipherSuite, CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls13CipherSuite,
};

/// A record follows the one before if no more time than this is between them.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(1);
/// The number of records that must follow each other until a key stays expanded: more than a client is sent when it connects and
/// subscribes.
const RECORDS_IN_A_ROW: u8 = 8;

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
        Box::new(Encrypter {
            algorithm: self.algorithm,
            key,
            iv,
            expanded: None,
            pace: Pace::default(),
        })
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

/// Encrypts the records for a client. The key is overwritten when this is dropped.
struct Encrypter {
    algorithm: &'static aead::Algorithm,
    key: AeadKey,
    iv: Iv,
    /// The expanded key, while records follow each other.
    expanded: Option<Box<LessSafeKey>>,
    pace: Pace,
}

impl Encrypter {
    /// Has `seal` use the expanded key, which stays if records follow each other.
    fn with_key(
        &mut self,
        seal: impl FnOnce(&LessSafeKey) -> Result<(), ring::error::Unspecified>,
    ) -> Result<(), ring::error::Unspecified> {
        let expand = || UnboundKey::new(self.algorithm, self.key.as_ref()).map(LessSafeKey::new);
        if !self.pace.is_quick(Instant::now()) {
            self.expanded = None;
            return seal(&expand()?);
        }
        match &self.expanded {
            Some(key) => seal(key),
            None => seal(self.expanded.insert(Box::new(expand()?))),
        }
    }
}

impl MessageEncrypter for Encrypter {
    /// As RFC 8446 §5.2 says.
    fn encrypt(
        &mut self,
        record: OutboundPlainMessage<'_>,
        seq: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let length = self.encrypted_payload_len(record.payload.len());
        let mut payload = PrefixedPayload::with_capacity(length);
        payload.extend_from_chunks(&record.payload);
        payload.extend_from_slice(&record.typ.to_array());
        let nonce = aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, seq).0);
        let additional = Aad::from(make_tls13_aad(length));
        self.with_key(|key| key.seal_in_place_append_tag(nonce, additional, &mut payload))
            .map_err(|_| Error::EncryptError)?;
        // All records of TLS 1.3 say that they are of 1.2 (§5.2).
        Ok(OutboundOpaqueMessage::new(
            ContentType::ApplicationData,
            ProtocolVersion::TLSv1_2,
            payload,
        ))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        // The type of what is in the record is a byte behind it.
        payload_len + 1 + self.algorithm.tag_len()
    }
}

/// Whether records follow each other quickly.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    /// How many have followed the one before.
    in_a_row: u8,
}

impl Pace {
    /// Records that there is a record at `now`. Returns whether enough have come in a row.
    fn is_quick(&mut self, now: Instant) -> bool {
        let before = self.last.replace(now);
        let follows = before.is_some_and(|before| now.duration_since(before) <= FOLLOWS_WITHIN);
        self.in_a_row = if follows {
            self.in_a_row.saturating_add(1)
        } else {
            0
        };
        self.in_a_row >= RECORDS_IN_A_ROW
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
    fn an_idle_session_kept_expanded_keys() {
        let suites = provider().cipher_suites;
        let mut of_tls13 = suites.iter().filter_map(SupportedCipherSuite::tls13);
        assert!(of_tls13.clone().count() == 3);
        let short = |suite: &Tls13CipherSuite| {
            let part = || (AeadKey::from([1; 32]), Iv::new([2; 12]));
            let (inward, outward) = (part(), part());
            let decrypter = suite.aead_alg.decrypter(inward.0, inward.1);
            let encrypter = suite.aead_alg.encrypter(outward.0, outward.1);
            size_of_val(&*decrypter) <= 64 && size_of_val(&*encrypter) <= 96
        };
        assert!(of_tls13.all(short));
    }

    #[test]
    fn a_key_stays_expanded_while_records_follow_each_other() {
        let mut encrypter = Encrypter {
            algorithm: &aead::AES_256_GCM,
            key: AeadKey::from([1; 32]),
            iv: Iv::new([2; 12]),
            expanded: None,
            pace: Pace::default(),
        };
        for number in 0..100 {
            // However slow the machine is.
            encrypter.pace.last = encrypter.pace.last.map(|_| Instant::now());
            encrypter.with_key(|_| Ok(())).expect("a good key");
            assert_eq!(
                encrypter.expanded.is_some(),
                number >= RECORDS_IN_A_ROW,
                "{number}"
            );
        }
        let long_ago = Instant::now().checked_sub(2 * FOLLOWS_WITHIN);
        encrypter.pace.last = Some(long_ago.expect("a machine that has run for seconds"));
        encrypter.with_key(|_| Ok(())).expect("a good key");
        assert!(encrypter.expanded.is_none());
    }

    #[test]
    fn which_records_follow_each_other() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut quick = |after: Duration| {
            now += after;
            pace.is_quick(now)
        };
        for _ in 0..RECORDS_IN_A_ROW {
            assert!(!quick(FOLLOWS_WITHIN));
        }
        for _ in 0..1_000 {
            assert!(quick(FOLLOWS_WITHIN));
        }
        for _ in 0..1_000 {
            assert!(
                !quick(FOLLOWS_WITHIN + Duration::from_micros(1)),
                "a ping now and then"
            );
        }
    }

    #[test]
    fn every_suite_is_understood_before_and_after_new_keys() {
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
                // The last ones with a key that stays expanded.
                for length in 0..2 * usize::from(RECORDS_IN_A_ROW) {
                    session.say(&vec![b'y'; length]).expect("a live session");
                    hear(&mut session, &mut client);
                    let mut heard = vec![0; length];
                    client.reader().read_exact(&mut heard).expect("all of it");
                    assert_eq!(heard, vec![b'y'; length]);
                }
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
