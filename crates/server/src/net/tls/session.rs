//! The broker's side of a TLS session: encrypts and decrypts, and knows no socket.
//!
//! It holds no buffer while nothing is under way: the caller's buffers are decrypted in place and encrypted into. What it
//! keeps are bytes of the client that are no whole record yet, decrypted bytes that nobody has taken, and encrypted bytes
//! that the socket has yet to take. The first are bounded here, the others by what the caller hands in at a time.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{Error, ServerConfig};

/// The bytes that are encrypted at a time: the most that a TLS record holds (RFC 8446 §5.1).
pub(crate) const RECORD_BYTES: usize = 16 * 1024;

/// Most bytes that are kept until the rest of a record, or of a message of TLS in many records, has come: about as many as
/// the longest message that the library reads. Without this bound a message in records of one byte would take six times
/// as many.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Bytes that a record has beyond those that are encrypted: header, tag, and the type or an explicit nonce.
const OVERHEAD_BYTES: usize = 32;

type Writing<'c> = WriteTraffic<'c, ServerConnectionData>;

/// What one step of the library did.
struct Step {
    /// The number of bytes from the client that are not needed any more.
    discard: usize,
    /// Whether there may be more to do with what is there.
    goes_on: bool,
}

/// A TLS session of the broker with a client.
pub(crate) struct TlsSession {
    connection: UnbufferedServerConnection,
    /// The beginning of a record, or records with the beginning of a message of TLS.
    inward: Vec<u8>,
    /// Decrypted bytes that nobody has taken.
    heard: Vec<u8>,
    /// Encrypted bytes that the socket has not taken.
    outward: Vec<u8>,
    /// Whether the client has ended its side properly (RFC 8446 §6.1).
    is_ended: bool,
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession").finish_non_exhaustive()
    }
}

impl TlsSession {
    /// A session whose handshake the client is to begin.
    ///
    /// # Errors
    /// If the library refuses the configuration.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            inward: Vec::new(),
            heard: Vec::new(),
            outward: Vec::new(),
            is_ended: false,
        })
    }

    /// Whether the handshake is not over.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The encrypted bytes that wait for the socket.
    pub(crate) fn outward(&self) -> &[u8] {
        &self.outward
    }

    /// Drops the first `count` bytes of [`Self::outward`]: the socket took them.
    pub(crate) fn sent(&mut self, count: usize) {
        if count == self.outward.len() {
            self.outward = Vec::new();
        } else {
            self.outward.drain(..count);
        }
    }

    /// Keeps encrypted bytes for the socket.
    pub(crate) fn keep(&mut self, encrypted: &[u8]) {
        self.outward.extend_from_slice(encrypted);
    }

    /// Handles bytes that came from the client. What they say to TLS is answered in [`Self::outward`], also when this
    /// fails.
    ///
    /// # Errors
    /// If they are not what TLS allows here: the connection cannot go on.
    pub(crate) fn receive(&mut self, wire: &mut [u8]) -> Result<(), Error> {
        if self.is_ended {
            return Ok(()); // what comes behind the end means nothing
        }
        if self.inward.is_empty() {
            let read = self.process(wire)?;
            self.inward.extend_from_slice(&wire[read..]);
        } else {
            let mut all = std::mem::take(&mut self.inward);
            all.extend_from_slice(wire);
            let read = self.process(&mut all)?;
            if read < all.len() {
                all.drain(..read);
                self.inward = all;
            }
        }
        if self.inward.len() > KEPT_BYTES_MAX {
            let reason = "a message of TLS comes in more bytes than are kept";
            return Err(Error::General(reason.to_owned()));
        }
        Ok(())
    }

    /// Takes decrypted bytes, if there are any. 0 bytes mean that the client has ended its side.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if self.heard.is_empty() {
            return self.is_ended.then_some(0);
        }
        let count = self.heard.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.heard[..count]);
        if count == self.heard.len() {
            self.heard = Vec::new();
        } else {
            self.heard.drain(..count);
        }
        Some(count)
    }

    /// Handles the records in `wire`. Returns the number of bytes that are not needed any more.
    fn process(&mut self, wire: &mut [u8]) -> Result<usize, Error> {
        let mut read = 0;
        loop {
            match self.step(&mut wire[read..]) {
                Ok(step) => {
                    read += step.discard;
                    if !step.goes_on {
                        return Ok(read);
                    }
                }
                Err(error) => {
                    self.say_why(&mut wire[read..]);
                    return Err(error);
                }
            }
        }
    }

    /// Has the library do one thing with `wire`.
    fn step(&mut self, wire: &mut [u8]) -> Result<Step, Error> {
        let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(wire);
        let mut goes_on = true;
        match state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    self.heard.extend_from_slice(record.payload);
                    discard += record.discard;
                }
            }
            ConnectionState::EncodeTlsData(mut data) => {
                append(&mut self.outward, 0, |room| data.encode(room))
                    .map_err(|error| Error::General(error.to_string()))?;
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => self.is_ended = true,
            // It needs more of the client, or nothing. Early data is off.
            _ => goes_on = false,
        }
        Ok(Step { discard, goes_on })
    }

    /// After a fault, encodes the alert that tells the client about it (RFC 8446 §6.2). The alert then waits in
    /// [`Self::outward`].
    fn say_why(&mut self, wire: &mut [u8]) {
        while self.connection.wants_write() {
            match self.connection.process_tls_records(wire).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    if append(&mut self.outward, 0, |room| data.encode(room)).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    /// Encrypts `bytes` as one record and appends the record to `out`. There may be at most [`RECORD_BYTES`] of them.
    ///
    /// # Errors
    /// If the session cannot encrypt any more.
    pub(crate) fn encrypt(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.write(out, bytes.len() + OVERHEAD_BYTES, |traffic, room| {
            traffic.encrypt(bytes, room)
        })
    }

    /// Encrypts `bytes` as one record and keeps it for the socket. There may be at most [`RECORD_BYTES`] of them.
    ///
    /// # Errors
    /// If the session cannot encrypt any more.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut outward = std::mem::take(&mut self.outward);
        let said = self.encrypt(bytes, &mut outward);
        self.outward = outward;
        said
    }

    /// Keeps for the socket what tells the client that nothing more will come (RFC 8446 §6.1).
    ///
    /// # Errors
    /// If the session cannot encrypt any more.
    pub(crate) fn say_goodbye(&mut self) -> io::Result<()> {
        let mut outward = std::mem::take(&mut self.outward);
        let said = self.write(&mut outward, 2 + OVERHEAD_BYTES, |traffic, room| {
            traffic.queue_close_notify(room)
        });
        self.outward = outward;
        said
    }

    /// Brings the library to where it encrypts, and appends to `out` what `write` writes.
    fn write<F>(&mut self, out: &mut Vec<u8>, room: usize, mut write: F) -> io::Result<()>
    where
        F: FnMut(&mut Writing<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    {
        loop {
            // Handles nothing new: whole records were handled when they came.
            match self.connection.process_tls_records(&mut self.inward).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return append(out, room, |room| write(&mut traffic, room)).map_err(io::Error::other);
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(out, 0, |room| data.encode(room)).map_err(io::Error::other)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) => return Err(ErrorKind::WriteZero.into()),
                Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
            }
        }
    }
}

/// Appends to `out` what `write` writes to a slice, which is `room` bytes long, or as long as `write` asks for.
fn append<E: Shortage>(
    out: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), E> {
    let start = out.len();
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(count) => {
                out.truncate(start + count);
                return Ok(());
            }
            Err(error) => match error.required() {
                Some(required) if required > room => room = required,
                _ => {
                    out.truncate(start);
                    return Err(error);
                }
            },
        }
    }
}

/// An error that may be a lack of room.
trait Shortage {
    /// The number of bytes that there must be room for, if there is too little.
    fn required(&self) -> Option<usize>;
}

impl Shortage for EncodeError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(short) => Some(short.required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Shortage for EncryptError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(short) => Some(short.required_size),
            Self::EncryptExhausted => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustls::crypto::ring;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// A session, and a client that trusts its certificate.
    fn pair() -> (ClientConnection, TlsSession) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        let provider = Arc::new(ring::default_provider());
        let served = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .expect("a pair");
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let trusting = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(Arc::new(trusting), name).expect("a configuration");
        let session = TlsSession::new(Arc::new(served)).expect("a configuration");
        (client, session)
    }

    /// Moves what the client has to say to the session, in pieces of at most `piece` bytes.
    fn say(client: &mut ClientConnection, session: &mut TlsSession, piece: usize) -> Result<(), Error> {
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said).expect("memory takes all");
        }
        said.chunks_mut(piece)
            .try_for_each(|piece| session.receive(piece))
    }

    /// Moves what the session has for its socket to the client.
    fn hear(session: &mut TlsSession, client: &mut ClientConnection) {
        let mut left = session.outward();
        while !left.is_empty() {
            client.read_tls(&mut left).expect("memory gives all");
            client.process_new_packets().expect("good records");
        }
        session.sent(session.outward().len());
    }

    /// A client and a session that have shaken hands, in pieces of at most `piece` bytes.
    fn shaken(piece: usize) -> (ClientConnection, TlsSession) {
        let (mut client, mut session) = pair();
        while session.is_handshaking() || client.is_handshaking() {
            say(&mut client, &mut session, piece).expect("a good client");
            hear(&mut session, &mut client);
        }
        (client, session)
    }

    fn is_empty(session: &TlsSession) -> bool {
        let buffers = [&session.inward, &session.heard, &session.outward];
        buffers.iter().all(|buffer| buffer.capacity() == 0)
    }

    #[test]
    fn an_idle_session_kept_the_buffer_of_its_last_record() {
        for piece in [1, 7, 1_000, usize::MAX] {
            let (mut client, mut session) = shaken(piece);
            assert!(is_empty(&session), "after the handshake");
            let text: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
            let mut heard = Vec::new();
            // More than the client's own buffer holds.
            for part in text.chunks(30_000) {
                client.writer().write_all(part).expect("there is room");
                say(&mut client, &mut session, piece).expect("good records");
                let mut buffer = [0; 999];
                while let Some(count) = session.take(&mut buffer) {
                    heard.extend_from_slice(&buffer[..count]);
                }
            }
            assert_eq!(heard, text);
            assert!(is_empty(&session), "after reading");
            for part in text.chunks(RECORD_BYTES) {
                session.say(part).expect("a live session");
                hear(&mut session, &mut client);
                let mut said = vec![0; part.len()];
                client.reader().read_exact(&mut said).expect("all of it");
                assert_eq!(said, part);
            }
            assert!(is_empty(&session), "after writing");
        }
    }

    #[test]
    fn a_record_that_is_under_way_does_not_disturb_what_is_encrypted() {
        let (mut client, mut session) = shaken(usize::MAX);
        client.writer().write_all(b"half").expect("there is room");
        let mut record = Vec::new();
        client.write_tls(&mut record).expect("memory takes all");
        let (first, second) = record.split_at_mut(9);
        session.receive(first).expect("the beginning of a record");
        session.say(b"meanwhile").expect("a live session");
        hear(&mut session, &mut client);
        let mut said = [0; 9];
        client.reader().read_exact(&mut said).expect("all of it");
        assert_eq!(&said, b"meanwhile");
        session.receive(second).expect("the rest of it");
        let mut heard = [0; 9];
        assert_eq!(session.take(&mut heard), Some(4));
        assert_eq!(&heard[..4], b"half");
    }

    #[test]
    fn what_comes_behind_the_end_of_a_client_is_not_kept() {
        let (mut client, mut session) = shaken(usize::MAX);
        client.writer().write_all(b"bye").expect("there is room");
        client.send_close_notify();
        say(&mut client, &mut session, usize::MAX).expect("good records");
        session.receive(&mut [0; 1_000]).expect("it means nothing");
        let mut heard = [0; 9];
        assert_eq!(session.take(&mut heard), Some(3));
        assert_eq!(session.take(&mut heard), Some(0));
        assert!(is_empty(&session));
        // This side may go on (RFC 8446 §6.1).
        session.say(b"still here").expect("a live session");
        session.say_goodbye().expect("a live session");
        hear(&mut session, &mut client);
        let mut said = Vec::new();
        client.reader().read_to_end(&mut said).expect("a proper end");
        assert_eq!(said, b"still here");
    }

    #[test]
    fn a_handshake_in_records_of_one_byte_was_kept_without_bound() {
        let (_, mut session) = pair();
        // A ClientHello that says that it is 65,000 bytes long (RFC 8446 §4).
        let message = [1, 0, 0xfd, 0xe8]
            .into_iter()
            .chain(std::iter::repeat_n(0, 65_000));
        let refused = message
            .map(|byte| session.receive(&mut [0x16, 3, 1, 0, 1, byte]))
            .position(|received| received.is_err());
        assert!(refused.is_some_and(|at| at * 6 <= KEPT_BYTES_MAX), "{refused:?}");
        assert!(session.inward.len() <= KEPT_BYTES_MAX + 6);
    }

    #[test]
    fn a_client_is_told_what_is_wrong_with_its_records() {
        let (mut client, mut session) = shaken(usize::MAX);
        let mut forged = [&[0x17, 3, 3, 0, 40][..], &[7; 40]].concat();
        assert!(session.receive(&mut forged).is_err());
        let mut alert = session.outward();
        client.read_tls(&mut alert).expect("memory gives all");
        let told = client.process_new_packets().expect_err("a fatal alert");
        assert_eq!(told, Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    }
}
