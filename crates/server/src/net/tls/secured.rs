//! A TLS connection without a runtime: the caller moves its bytes through the TLS session.
//!
//! Never waits. Encrypted bytes that the socket has not taken are at most one record and messages of TLS itself, since
//! nothing more is encrypted before these are gone. So the TLS session holds no backlog that newer messages could still
//! replace.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

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
    /// What was flushed while reading. The next flush reports it.
    unreported: Flushed,
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
            unreported: Flushed::default(),
        }
    }

    pub(crate) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether encrypted bytes wait for the socket.
    pub(crate) fn wants_write(&self) -> bool {
        self.session.wants_write()
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

    /// Encrypts the beginning of `bytes` and returns its length. [`Self::flush`] must have written everything before,
    /// otherwise there may be no room.
    ///
    /// # Errors
    /// If the session cannot encrypt any more.
    pub(crate) fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.session.writer().write(bytes)? {
            0 if !bytes.is_empty() => Err(ErrorKind::WriteZero.into()),
            count => Ok(count),
        }
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
        while self.session.wants_write() {
            flushed.calls += 1;
            match self.session.write_tls(&mut Outlet(&self.socket)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => flushed.wire += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    flushed.blocked = true;
                    break;
                }
                Err(error) => return Err(error),
            }
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

/// Sends with the flags of the shard's egress.
struct Outlet<'a>(&'a TcpStream);

impl Write for Outlet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(self.0).send_with_flags(bytes, SEND_FLAGS)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        SockRef::from(self.0).send_vectored_with_flags(slices, SEND_FLAGS)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
