//! The stream below HTTP: a socket, or TLS over one.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::session::{RECORD_BYTES, TlsSession};

/// The number of bytes that are read from a socket at once.
const CHUNK_BYTES: usize = 4 * 1024;

/// A client's connection while it uses HTTP.
#[derive(Debug)]
pub(crate) enum HttpStream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// A socket, and the TLS session that encrypts its bytes. At most a record and messages of TLS itself wait for the
/// socket.
#[derive(Debug)]
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: TlsSession,
    /// Whether the client was told that nothing more will come.
    is_parted: bool,
}

impl TlsStream {
    pub(super) fn new(socket: TcpStream, session: TlsSession) -> Self {
        Self {
            socket,
            session,
            is_parted: false,
        }
    }

    /// The socket and its session.
    pub(crate) fn into_inner(self) -> (TcpStream, TlsSession) {
        (self.socket, self.session)
    }

    /// Goes on with the handshake. Ready when it is over and the client has been sent all that belongs to it.
    ///
    /// # Errors
    /// If the client breaks off, or does not keep to TLS.
    pub(super) fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let sent = self.poll_send(context)?;
            if !self.session.is_handshaking() {
                return sent.map(Ok);
            }
            ready!(self.poll_receive(context))?;
        }
    }

    /// Writes the session's encrypted bytes to the socket. Ready when the socket has taken all of them.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.session.outward().is_empty() {
            let outcome = Pin::new(&mut self.socket).poll_write(context, self.session.outward());
            match ready!(outcome)? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                count => self.session.sent(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once from the socket, for the session.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut chunk = [0; CHUNK_BYTES];
        let mut chunk = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut chunk))?;
        if chunk.filled().is_empty() {
            let reason = "the client ended the connection without saying so in TLS";
            return Poll::Ready(Err(io::Error::new(ErrorKind::UnexpectedEof, reason)));
        }
        if let Err(error) = self.session.receive(chunk.filled_mut()) {
            // The client is told the reason, if its socket takes that at once.
            if let Poll::Ready(Err(error)) = self.poll_send(context) {
                tracing::debug!(%error, "a TLS alert was not sent");
            }
            return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(count) = self.session.take(buffer.initialize_unfilled()) {
                buffer.advance(count);
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(context))?;
            // Answers of TLS itself. What the socket does not take goes out with what is written next.
            if let Poll::Ready(Err(error)) = self.poll_send(context) {
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        let bytes = &bytes[..bytes.len().min(RECORD_BYTES)];
        self.session.say(bytes)?;
        // What the socket does not take goes out with what is written next, or is flushed.
        match self.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [slice] = slices {
            return self.poll_write(context, slice);
        }
        // A record is encrypted from one piece.
        let mut piece = Vec::new();
        for slice in slices {
            let room = RECORD_BYTES - piece.len();
            piece.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        self.poll_write(context, &piece)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_parted {
            self.is_parted = true;
            // A client that did not keep to TLS has its alert, and nothing follows that.
            if !self.session.is_broken() {
                self.session.say_goodbye()?;
            }
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
