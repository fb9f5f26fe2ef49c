//! What a connection is made of: a socket, or TLS over one. Never waits.

use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// As whom TLS is spoken, and who is trusted.
#[derive(Debug, Clone)]
pub(crate) struct TlsClient(pub(crate) Arc<ClientConfig>);

impl TlsClient {
    /// A session with the host at `peer`.
    pub(crate) fn session(&self, peer: IpAddr) -> io::Result<ClientConnection> {
        ClientConnection::new(self.0.clone(), ServerName::from(peer)).map_err(io::Error::other)
    }
}

/// A socket, or TLS over one.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<Secured>),
}

/// A socket and the session that encrypts what goes through it.
#[derive(Debug)]
pub(crate) struct Secured {
    socket: TcpStream,
    session: ClientConnection,
}

impl Wire {
    /// `socket`, to the host at `peer`, which is spoken to by TLS if there is a `client` for it.
    pub(crate) fn new(socket: TcpStream, client: Option<&TlsClient>, peer: IpAddr) -> io::Result<Self> {
        Ok(match client {
            None => Self::Plain(socket),
            Some(client) => Self::Tls(Box::new(Secured {
                session: client.session(peer)?,
                socket,
            })),
        })
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(secured) => &secured.socket,
        }
    }

    /// Reads once. Returns how many bytes came, 0 at the end, and whether there are no more for now.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; `Interrupted` when what came was not for the reader, so that it is to be asked again.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
        match self {
            Self::Plain(socket) => {
                let count = socket.read(buffer)?;
                // A stream socket that gave less than was asked for has no more (epoll(7), question 9).
                Ok((count, count < buffer.len()))
            }
            Self::Tls(secured) => secured.read(buffer),
        }
    }

    /// Takes the beginning of `bytes`, and writes what the socket takes.
    ///
    /// # Errors
    /// `WouldBlock` when nothing was taken.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(secured) => {
                let count = secured.session.writer().write(bytes)?;
                secured.flush()?;
                match count {
                    0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
                    count => Ok(count),
                }
            }
        }
    }

    /// Writes what was taken before, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(secured) => secured.flush(),
        }
    }
}

impl Secured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
        if let Some(count) = self.decrypted(buffer)? {
            return Ok((count, false));
        }
        let mut tap = Tap {
            socket: &mut self.socket,
            short: false,
        };
        self.session.read_tls(&mut tap)?;
        let short = tap.short;
        self.session
            .process_new_packets()
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        self.flush()?;
        match self.decrypted(buffer)? {
            Some(count) => Ok((count, short)),
            None => Err(ErrorKind::Interrupted.into()),
        }
    }

    fn decrypted(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.session.reader().read(buffer) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Notes whether less was read than was asked for.
struct Tap<'a> {
    socket: &'a mut TcpStream,
    short: bool,
}

impl Read for Tap<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        self.short = count < buffer.len();
        Ok(count)
    }
}
