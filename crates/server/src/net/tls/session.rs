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
use rustls::{Error, ProtocolVersion, ServerConfig};

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
    /// Whether the client did not keep to TLS. Then nothing follows the alert (RFC 8446 §6.2), and the library must not be
    /// asked any more: it counts on bytes of the client that are gone.
    is_broken: bool,
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
            is_broken: false,
        })
    }

    /// Whether the handshake is not over.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the handshake is over and nothing of it waits for the socket but tickets, for which a client does not wait. In
    /// TLS 1.2 tickets are a part of the handshake.
    pub(crate) fn has_only_tickets(&self) -> bool {
        !self.is_handshaking() && self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// The encrypted bytes that wait for the socket.
    pub(crate) fn outward(&self) -> &[u8] {
        &self.outward
    }

    /// Whether [`Self::take`] has something.
    pub(crate) fn has_more(&self) -> bool {
        !self.heard.is_empty() || self.is_ended
    }

    /// Whether the client has ended its side properly (RFC 8446 §6.1).
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether the client did not keep to TLS. Then nothing more can be said, and an alert may wait in [`Self::outward`].
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
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
        if self.is_broken {
            return Err(Error::General("the client did not keep to TLS before".to_owned()));
        }
        let handled = self.handle(wire);
        if handled.is_err() {
            self.is_broken = true;
            self.inward = Vec::new();
        }
        handled
    }

    /// Handles the records in what was kept and `wire`, and keeps what is no whole record yet.
    fn handle(&mut self, wire: &mut [u8]) -> Result<(), Error> {
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
        if self.is_broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
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
pub(super) mod tests;
