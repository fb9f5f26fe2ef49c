//! The records of a TLS 1.3 connection after its handshake, sealed and opened by the bare cipher (RFC 8446 §5.2).
//!
//! They are what TLS costs at least. There are no tickets, alerts or new keys: a record that is not data ends the connection.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ConnectionTrafficSecrets, ServerConfig, ServerConnection, version};

use crate::swarm::PEER_FILES;

/// Content type, version, length (RFC 8446 §5.1).
const HEADER_BYTES: usize = 5;
const TAG_BYTES: usize = 16;
/// Most bytes of data in a record.
const DATA_BYTES_MAX: usize = 16 * 1024;
/// The content type of data.
const DATA: u8 = 23;

/// A record that cannot be read, or is not data.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadRecord;

/// The configuration of a server whose connections give their keys away, if the environment names certificate and key.
pub(super) fn config() -> anyhow::Result<Option<Arc<ServerConfig>>> {
    let [Some(cert), Some(key)] = PEER_FILES.map(std::env::var_os) else {
        return Ok(None);
    };
    serving(Path::new(&cert), Path::new(&key)).map(Some)
}

/// The same, of the certificate and the key in these files.
pub(super) fn serving(cert: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.with_context(|| format!("cannot read {}", cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("cannot read {}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.enable_secret_extraction = true;
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Records {
    sealing: Keys,
    opening: Keys,
    /// The part of a record that has come.
    rest: Vec<u8>,
}

impl Records {
    /// Continues `session`, whose handshake is done.
    pub(super) fn new(session: ServerConnection) -> anyhow::Result<Self> {
        let secrets = session.dangerous_extract_secrets()?;
        Ok(Self {
            sealing: Keys::new(secrets.tx)?,
            opening: Keys::new(secrets.rx)?,
            rest: Vec::new(),
        })
    }

    /// Appends `data` to `out` in as many records as it needs.
    pub(super) fn seal(&mut self, data: &[u8], out: &mut Vec<u8>) {
        for data in data.chunks(DATA_BYTES_MAX) {
            let [high, low] = ((data.len() + 1 + TAG_BYTES) as u16).to_be_bytes();
            let header = [DATA, 3, 3, high, low];
            out.extend_from_slice(&header);
            let begin = out.len();
            out.extend_from_slice(data);
            out.push(DATA);
            let nonce = self.sealing.nonce();
            let tag = self
                .sealing
                .key
                .seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[begin..])
                .expect("a record is shorter than the cipher's limit");
            out.extend_from_slice(tag.as_ref());
        }
    }

    /// Takes `bytes` and gives `each` the data of every record that is whole now, in order.
    pub(super) fn open<E: From<BadRecord>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.rest.extend_from_slice(bytes);
        let mut rest = std::mem::take(&mut self.rest);
        let mut begin = 0;
        while let Some(header) = rest[begin..].first_chunk::<HEADER_BYTES>().copied() {
            let end = begin + HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]]));
            let Some(record) = rest.get_mut(begin + HEADER_BYTES..end) else {
                break;
            };
            let nonce = self.opening.nonce();
            let opened = self.opening.key.open_in_place(nonce, Aad::from(header), record);
            let inner = opened.map_err(|_| BadRecord)?;
            // The type is the last byte that is not padding (RFC 8446 §5.4).
            let last = inner.iter().rposition(|byte| *byte != 0).ok_or(BadRecord)?;
            let (data, kind) = inner.split_at_mut(last);
            if kind[0] != DATA {
                return Err(BadRecord.into());
            }
            each(data)?;
            begin = end;
        }
        rest.drain(..begin);
        self.rest = rest;
        Ok(())
    }
}

/// The key of one direction.
#[derive(Debug)]
struct Keys {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    /// The number of the next record.
    number: u64,
}

impl Keys {
    fn new((number, secrets): (u64, ConnectionTrafficSecrets)) -> anyhow::Result<Self> {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            bail!("the client has chosen another cipher than AES-128-GCM");
        };
        let Ok(key) = UnboundKey::new(&AES_128_GCM, key.as_ref()) else {
            bail!("a key of the wrong length");
        };
        Ok(Self {
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into()?,
            number,
        })
    }

    /// The nonce of the next record (RFC 8446 §5.3).
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        self.number += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}
