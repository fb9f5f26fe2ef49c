//! The byte stream of a connection: a socket, or TLS over one. It is whole for the handshake and split in two halves
//! after it.

use std::fmt::Debug;

use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection to a broker.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Debug + Send + Unpin {
    /// Splits the stream into two halves for two tasks.
    fn into_halves(self: Box<Self>) -> (ReadHalf, WriteHalf);
}

/// The receiving half of a [`Stream`].
pub(crate) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
/// The sending half of a [`Stream`].
pub(crate) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

impl Stream for TcpStream {
    fn into_halves(self: Box<Self>) -> (ReadHalf, WriteHalf) {
        let (read, write) = self.into_split(); // without a lock between them
        (Box::new(read), Box::new(write))
    }
}

impl Stream for TlsStream<TcpStream> {
    fn into_halves(self: Box<Self>) -> (ReadHalf, WriteHalf) {
        let (read, write) = split(*self);
        (Box::new(read), Box::new(write))
    }
}
