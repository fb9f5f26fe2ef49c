//! What a hub reads a WebSocket connection from: a socket, or TLS over one.

use std::io::{self, Read};
use std::net::Shutdown;

use mio::net::TcpStream;

use crate::net::tls::{Decrypted, Flushed, HttpStream, Secured};

/// The stream of an upgraded connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    // Boxed: sessions of TLS are large, and most brokers have none.
    Tls(Box<Secured>),
}

impl Stream {
    /// Takes a connection out of its runtime.
    ///
    /// # Errors
    /// When the socket cannot be taken out.
    pub(crate) fn of(stream: HttpStream) -> io::Result<Self> {
        match stream {
            // They never wait already.
            HttpStream::Plain(stream) => Ok(Self::Plain(TcpStream::from_std(stream.into_std()?))),
            HttpStream::Tls(stream) => {
                let (stream, session) = stream.into_inner();
                let socket = TcpStream::from_std(stream.into_std()?);
                Ok(Self::Tls(Box::new(Secured::new(socket, session))))
            }
        }
    }

    /// A connection without TLS.
    ///
    /// # Errors
    /// When the socket cannot be made one that never waits.
    pub(crate) fn plain(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Plain(TcpStream::from_std(stream)))
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(secured) => secured.socket(),
        }
    }

    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(secured) => secured.socket_mut(),
        }
    }

    /// Reads once; see [`Secured::read`].
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Decrypted> {
        match self {
            Self::Plain(socket) => socket.read(buffer).map(|count| Decrypted {
                count,
                wire: count,
                drained: count < buffer.len(),
            }),
            Self::Tls(secured) => secured.read(buffer),
        }
    }

    /// Ends the sending side. Returns what was written for that. If the socket took not all, it is to be shut when the rest
    /// is gone.
    pub(super) fn shut(&mut self) -> io::Result<Flushed> {
        match self {
            Self::Plain(socket) => socket.shutdown(Shutdown::Write).map(|()| Flushed::default()),
            Self::Tls(secured) => {
                secured.say_goodbye()?;
                let flushed = secured.flush()?;
                if !flushed.blocked {
                    secured.shut()?;
                }
                Ok(flushed)
            }
        }
    }
}
