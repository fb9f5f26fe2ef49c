//! A TLS connection without a runtime: the caller moves its bytes through the TLS session.
//!
//! Never waits. Encrypted bytes that the socket has not taken are at most one record and messages of TLS itself, since
//! nothing more is encrypted before these are gone. So the TLS session holds no backlog that newer messages could still
//! replace.
//!
//! Records for clients are encrypted into a buffer of the shard, which holds those of all connections of a batch. Only
//! what the socket did not take of a record is kept here.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::ops::Range;

use mio::net::TcpStream;
use rustls::ServerConnection;
use socket2::SockRef;

use crate::net::egress::SEND_FLAGS;

/// The bytes that are encrypted at a time: the most that a TLS record holds (RFC 8446 §5.1).
pub(crate) const RECORD_BYTES: usize = 16 * 1024;

/// A socket, and the TLS session that encrypts its bytes.
#[derive(Debug)]
pub(crate) struct Secured {
    socket: TcpStream,
    session: ServerConnection,
    /// Encrypted bytes that the socket has not taken. They go out before all others.
    unsent: Vec<u8>,
    /// What was encrypted for the batch that is being written.
    record: Option<Record>,
    /// What was flushed while reading. The next flush reports it.
    unreported: Flushed,
}

/// A record in the buffer of a batch.
#[derive(Debug)]
struct Record {
    place: Range<usize>,
    /// The number of bytes that were encrypted.
    plain: usize,
}

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decrypted {
    /// The number of decrypted bytes; 0 if the client has ended the connection.
    pub(crate) count: usize,
    /// The number of bytes that were read from the socket.
    pub(crate) wire: usize,
    /// Whether the socket had no more bytes.
    pub(crate) drained: bool,
}

/// The result of a flush.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// The number of bytes that the socket took.
    pub(crate) wire: usize,
    /// The number of system calls.
    pub(crate) calls: u64,
    /// Whether the socket takes no more although bytes wait.
    pub(crate) blocked: bool,
}

impl Secured {
    /// Wraps `socket`, whose handshake is done, with its TLS `session`.
    pub(crate) fn new(socket: TcpStream, mut session: ServerConnection) -> Self {
        session.set_buffer_limit(Some(RECORD_BYTES));
        Self {
            socket,
            session,
            unsent: Vec::new(),
            record: None,
            unreported: Flushed::default(),
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(crate) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether encrypted bytes wait for the socket.
    pub(crate) fn wants_write(&self) -> bool {
        !self.unsent.is_empty() || self.session.wants_write()
    }

    /// Reads bytes of the client: those that were decrypted before, otherwise the result of one read from the socket.
    ///
    /// # Errors
    /// `WouldBlock` if the socket has nothing. `Interrupted` if the bytes that it had contained no data of the client;
    /// then the caller reads again. Any other error is the end of the connection.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Decrypted> {
        if let Some(count) = self.decrypted(buffer)? {
            return Ok(Decrypted {
                count,
                wire: 0,
                drained: false,
            });
        }
        let mut tap = Tap {
            socket: &mut self.socket,
            wire: 0,
            short: false,
        };
        self.session.read_tls(&mut tap)?;
        let Tap { wire, short, .. } = tap;
        if let Err(error) = self.session.process_new_packets() {
            // The client is told the reason, if its socket takes that at once.
            if let Err(error) = self.flush_in_between() {
                tracing::debug!(%error, "a TLS alert was not sent");
            }
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        if self.session.wants_write() {
            self.flush_in_between()?; // answers of TLS itself; bytes that the socket does not take go out later
        }
        match self.decrypted(buffer)? {
            Some(count) => Ok(Decrypted {
                count,
                wire,
                drained: short,
            }),
            None => Err(ErrorKind::Interrupted.into()),
        }
    }

    /// Takes decrypted bytes, if there are any. 0 bytes mean the end of the connection.
    fn decrypted(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.session.reader().read(buffer) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Encrypts the beginning of `bytes`, at most a record, and appends it to `batch`. [`Self::record`] is then what the
    /// socket is to be offered. [`Self::flush`] must have written everything before.
    ///
    /// # Errors
    /// If the session cannot encrypt any more.
    pub(crate) fn encrypt(&mut self, bytes: &[u8], batch: &mut Vec<u8>) -> io::Result<()> {
        let start = batch.len();
        let plain = self.session.writer().write(bytes)?;
        if plain == 0 && !bytes.is_empty() {
            return Err(ErrorKind::WriteZero.into());
        }
        while self.session.wants_write() {
            self.session.write_tls(batch)?;
        }
        self.record = Some(Record {
            place: start..batch.len(),
            plain,
        });
        Ok(())
    }

    /// Whether something was encrypted that is not [written](Self::took) yet.
    pub(crate) fn is_in_batch(&self) -> bool {
        self.record.is_some()
    }

    /// The bytes in `batch` that the socket is to be offered, if something was encrypted.
    pub(crate) fn record<'a>(&self, batch: &'a [u8]) -> Option<&'a [u8]> {
        let record = self.record.as_ref()?;
        batch.get(record.place.clone())
    }

    /// The socket took `count` bytes of the [record](Self::record). Keeps the rest, and returns how many bytes were
    /// encrypted in all: none of them can be replaced any more.
    pub(crate) fn took(&mut self, count: usize, batch: &[u8]) -> usize {
        let Some(Record { place, plain }) = self.record.take() else {
            return 0;
        };
        if let Some(rest) = batch.get(place.start + count..place.end) {
            self.unsent.extend_from_slice(rest);
        }
        plain
    }

    /// Encrypts `bytes` and writes them at once, as far as the socket takes them.
    ///
    /// # Errors
    /// If the session cannot encrypt any more, or the connection is broken.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<Flushed> {
        let mut record = Vec::new();
        self.encrypt(bytes, &mut record)?;
        self.took(0, &record);
        self.flush()
    }

    /// Writes waiting bytes to the socket. The next call of [`Self::flush`] reports what that did.
    fn flush_in_between(&mut self) -> io::Result<()> {
        self.unreported = self.flush()?;
        Ok(())
    }

    /// Writes waiting bytes to the socket. Returns what that did, and what reading has written since the last call.
    ///
    /// # Errors
    /// If the connection is broken.
    pub(crate) fn flush(&mut self) -> io::Result<Flushed> {
        let mut flushed = Flushed {
            blocked: false,
            ..std::mem::take(&mut self.unreported)
        };
        while self.wants_write() {
            if self.unsent.is_empty() {
                self.session.write_tls(&mut self.unsent)?;
            }
            flushed.calls += 1;
            match SockRef::from(&self.socket).send_with_flags(&self.unsent, SEND_FLAGS) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    flushed.wire += count;
                    self.unsent.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    flushed.blocked = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if self.unsent.is_empty() {
            self.unsent = Vec::new(); // few connections ever need it
        }
        Ok(flushed)
    }

    /// Tells the client that nothing more will come (RFC 8446 §6.1). These bytes wait for the socket like any others.
    pub(crate) fn say_goodbye(&mut self) {
        self.session.send_close_notify();
    }

    /// Shuts the sending side of the socket. Call it only when nothing waits for the socket.
    pub(crate) fn shut(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }
}

/// Counts the bytes that are read from a socket.
struct Tap<'a> {
    socket: &'a mut TcpStream,
    wire: usize,
    /// Whether a read returned fewer bytes than were asked for.
    short: bool,
}

impl Read for Tap<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        self.wire += count;
        self.short = count < buffer.len();
        Ok(count)
    }
}
