//! A connection that speaks TLS, without a runtime: bytes go through the session by hand.
//!
//! Never waits. What the session has encrypted and the socket has not taken is at most a record and what the protocol itself has
//! to say, since nothing more is encrypted before that is gone; so the session holds no backlog that could still be replaced
//! by something newer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use rustls::ServerConnection;
use socket2::SockRef;

use crate::net::egress::SEND_FLAGS;

/// Bytes that are encrypted at a time: the most that a record of TLS holds (RFC 8446 §5.1).
pub(crate) const RECORD_BYTES: usize = 16 * 1024;

/// A socket and the session that encrypts what goes through it.
#[derive(Debug)]
pub(crate) struct Secured {
    socket: TcpStream,
    session: ServerConnection,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Bytes that a client sent, decrypted; none when it has ended the connection.
    pub(crate) count: usize,
    /// Bytes that were read from the socket for it.
    pub(crate) wire: usize,
    /// The socket had no more.
    pub(crate) drained: bool,
}

/// What became of encrypted bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// Bytes that the socket took.
    pub(crate) wire: usize,
    /// System calls.
    pub(crate) calls: u64,
    /// The socket takes no more, and some wait.
    pub(crate) blocked: bool,
}

impl Secured {
    /// `socket`, over which `session` has shaken hands.
    pub(crate) fn new(socket: TcpStream, mut session: ServerConnection) -> Self {
        session.set_buffer_limit(Some(RECORD_BYTES));
        Self { socket, session }
    }

    pub(crate) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether encrypted bytes wait for the socket.
    pub(crate) fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    /// Reads what a client sent: what was decrypted before, otherwise as much as one read of the socket gives.
    ///
    /// # Errors
    /// `WouldBlock` when the socket has nothing; `Interrupted` when what it had was no byte of the client's, so that it is to be asked
    /// again. Any other error is the end of the connection.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        if let Some(count) = self.decrypted(buffer)? {
            return Ok(Heard {
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
            // The client is told why, if its socket takes that at once.
            if let Err(error) = self.flush() {
                tracing::debug!(%error, "a TLS alert was not sent");
            }
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        if self.session.wants_write() {
            self.flush()?; // an answer of the protocol's own; what the socket does not take now goes out with what follows
        }
        match self.decrypted(buffer)? {
            Some(count) => Ok(Heard {
                count,
                wire,
                drained: short,
            }),
            None => Err(ErrorKind::Interrupted.into()),
        }
    }

    /// Takes what has been decrypted, if anything has; nothing of it is the end.
    fn decrypted(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.session.reader().read(buffer) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Encrypts the beginning of `bytes` and returns how much that was. To be called when nothing waits for the socket, which a
    /// [`Self::flush`] tells; otherwise there may be no room.
    ///
    /// # Errors
    /// When the session cannot encrypt any more.
    pub(crate) fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.session.writer().write(bytes)? {
            0 if !bytes.is_empty() => Err(ErrorKind::WriteZero.into()),
            count => Ok(count),
        }
    }

    /// Hands the socket what waits for it.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) fn flush(&mut self) -> io::Result<Flushed> {
        let mut flushed = Flushed::default();
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

    /// Says that nothing more will come (RFC 8446 §6.1). It waits for the socket like anything else.
    pub(crate) fn say_goodbye(&mut self) {
        self.session.send_close_notify();
    }

    /// Shuts the sending side of the socket; to be called when nothing waits for it.
    pub(crate) fn shut(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }
}

/// Sends as the shard's egress does.
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

/// Looks at what is read from a socket.
struct Tap<'a> {
    socket: &'a mut TcpStream,
    wire: usize,
    /// Less came than was asked for.
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
