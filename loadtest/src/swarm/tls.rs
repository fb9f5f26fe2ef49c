//! The transport of a connection: a socket, or TLS over one. It never waits.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

#[derive(Debug, Clone)]
pub(crate) struct TlsClient(pub(crate) Arc<ClientConfig>);

impl TlsClient {
    pub(crate) fn session(&self, peer: IpAddr) -> io::Result<ClientConnection> {
        ClientConnection::new(self.0.clone(), ServerName::from(peer)).map_err(io::Error::other)
    }
}

/// What handshakes of TLS have led to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secured {
    /// How many resumed a session.
    pub(crate) resumed: u64,
    /// Version, cipher suite and key exchange of the first one.
    pub(crate) agreed: Option<String>,
}

impl Secured {
    /// Notes what the handshake of `wire` has led to, if it has TLS.
    pub(crate) fn note(&mut self, wire: &Wire) {
        let Wire::Tls(secured) = wire else { return };
        let session = &secured.conn;
        self.resumed += u64::from(session.handshake_kind() == Some(HandshakeKind::Resumed));
        if self.agreed.is_none()
            && let (Some(version), Some(suite)) =
                (session.protocol_version(), session.negotiated_cipher_suite())
        {
            let group = session.negotiated_key_exchange_group();
            let group = group.map_or("no key exchange".to_owned(), |group| {
                format!("{:?}", group.name())
            });
            self.agreed = Some(format!("{version:?}, {:?}, {group}", suite.suite()));
        }
    }
}

/// A socket that notes whether a read has taken all there was.
struct Noting<'s> {
    socket: &'s mut TcpStream,
    drained: bool,
}

impl Read for Noting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        self.drained = count < buffer.len();
        Ok(count)
    }
}

/// As [`Wire::read`]. One system call is enough for what comes at once: a library's stream would make another to see that no more is
/// there.
fn read_secured(
    session: &mut ClientConnection,
    socket: &mut TcpStream,
    buffer: &mut [u8],
) -> io::Result<(usize, bool)> {
    let mut socket = Noting {
        socket,
        drained: false,
    };
    loop {
        match session.reader().read(buffer) {
            // Of what was read before, nothing is left.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !socket.drained => {}
            Err(error) => return Err(error),
            Ok(count) => return Ok((count, socket.drained && count < buffer.len())),
        }
        session.read_tls(&mut socket)?;
        session.process_new_packets().map_err(io::Error::other)?;
    }
}

#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// The transport over `socket` to the host at `peer`, with TLS if there is a `client` for it.
    pub(crate) fn new(socket: TcpStream, client: Option<&TlsClient>, peer: IpAddr) -> io::Result<Self> {
        Ok(match client {
            None => Self::Plain(socket),
            Some(client) => Self::Tls(Box::new(StreamOwned::new(client.session(peer)?, socket))),
        })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(secured) => &secured.sock,
        }
    }

    /// Reads once. Returns how many bytes came, which is 0 at the end, and whether there are no more for now.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing to read.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
        match self {
            Self::Plain(socket) => {
                let count = socket.read(buffer)?;
                // A stream socket that returned less than was asked for has no more (epoll(7), question 9).
                Ok((count, count < buffer.len()))
            }
            Self::Tls(secured) => read_secured(&mut secured.conn, &mut secured.sock, buffer),
        }
    }

    /// Takes the beginning of `bytes`, and writes what the socket takes.
    ///
    /// # Errors
    /// `WouldBlock` when nothing was taken.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(secured) => secured.write(bytes),
        }
    }

    /// Writes what was taken before, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let flushed = match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(secured) => secured.flush(),
        };
        match flushed {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            flushed => flushed,
        }
    }
}
