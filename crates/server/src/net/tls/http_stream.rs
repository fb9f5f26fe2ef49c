//! The stream below HTTP: a socket, or TLS over one.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::session::{RECORD_BYTES, TlsSession};
use super::workers::Workers;

/// The number of bytes that are read from a socket at once.
const CHUNK_BYTES: usize = 4 * 1024;

/// The flags of a write that is followed by another one at once: the kernel waits for that before it sends, for at most
/// 0.2 seconds (send(2), tcp(7)).
const FOLLOWED: i32 = libc::MSG_MORE | libc::MSG_NOSIGNAL;

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
    /// The number of bytes of tickets that wait for the first answer. They are sent with it, in one call.
    held: usize,
    /// Whether the client was told that nothing more will come.
    is_parted: bool,
}

impl TlsStream {
    pub(super) fn new(socket: TcpStream, session: TlsSession) -> Self {
        Self {
            socket,
            session,
            held: 0,
            is_parted: false,
        }
    }

    /// The socket and its session.
    pub(crate) fn into_inner(self) -> (TcpStream, TlsSession) {
        (self.socket, self.session)
    }

    /// Does the handshake. When it is over, the client has been sent all that it waits for. With `workers` the steps are done
    /// on other threads.
    ///
    /// # Errors
    /// If the client breaks off, or does not keep to TLS.
    pub(super) async fn shake(mut self: Box<Self>, workers: Option<&Workers>) -> io::Result<Box<Self>> {
        while let Some(mut wire) = poll_fn(|context| self.poll_exchange(context)).await? {
            let received = match workers {
                None => self.session.receive(&mut wire),
                Some(workers) => {
                    let (socket, session) = self.into_inner();
                    // Boxed: it holds a session, and most handshakes do without it.
                    let (session, received) = Box::pin(workers.receive(session, wire)).await?;
                    self = Box::new(Self::new(socket, session));
                    received
                }
            };
            if let Err(error) = received {
                return Err(poll_fn(|context| Poll::Ready(self.refuse(context, error.clone()))).await);
            }
        }
        Ok(self)
    }

    /// Does one step of the exchange with a client that is shaking hands: sends what waits for it, and reads what it has sent.
    /// Ready with the bytes that it has sent, or with `None` when the handshake is over.
    fn poll_exchange(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        if self.session.has_only_tickets() {
            self.held = self.session.outward().len();
            return Poll::Ready(Ok(None));
        }
        let sent = self.poll_send(context)?;
        if !self.session.is_handshaking() {
            return sent.map(|()| Ok(None));
        }
        let mut chunk = [0; CHUNK_BYTES];
        let mut chunk = ReadBuf::new(&mut chunk);
        ready!(self.poll_read_wire(context, &mut chunk))?;
        Poll::Ready(Ok(Some(chunk.filled().to_vec())))
    }

    /// Encrypts the beginning of `bytes`, once everything before is sent. Returns the number of bytes.
    fn poll_say(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send_answers(context))?;
        let bytes = &bytes[..bytes.len().min(RECORD_BYTES)];
        self.session.say(bytes)?;
        Poll::Ready(Ok(bytes.len()))
    }

    /// Writes the session's encrypted bytes to the socket, unless only tickets wait. Ready when no others wait.
    fn poll_send_answers(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.session.outward().len() > self.held {
            true => self.poll_send(context),
            false => Poll::Ready(Ok(())),
        }
    }

    /// Writes the session's encrypted bytes to the socket. Ready when the socket has taken all of them.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send_by(context, |socket, context, bytes| {
            Pin::new(socket).poll_write(context, bytes)
        })
    }

    fn poll_send_by<F>(&mut self, context: &mut Context<'_>, write: F) -> Poll<io::Result<()>>
    where
        F: Fn(&mut TcpStream, &mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>,
    {
        self.held = 0;
        while !self.session.outward().is_empty() {
            match ready!(write(&mut self.socket, context, self.session.outward()))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                count => self.session.sent(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads from the socket until the session has decrypted bytes of the client, or the end of them.
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.session.has_more() {
            ready!(self.poll_receive(context))?;
            // Answers of TLS itself. What the socket does not take goes out with what is written next.
            if let Poll::Ready(Err(error)) = self.poll_send_answers(context) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once from the socket, for the session.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut chunk = [0; CHUNK_BYTES];
        let mut chunk = ReadBuf::new(&mut chunk);
        ready!(self.poll_read_wire(context, &mut chunk))?;
        let received = self.session.receive(chunk.filled_mut());
        Poll::Ready(received.map_err(|error| self.refuse(context, error)))
    }

    /// Reads bytes of the client once from the socket, at least one.
    fn poll_read_wire(&mut self, context: &mut Context<'_>, chunk: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_read(context, chunk))?;
        if chunk.filled().is_empty() {
            let reason = "the client ended the connection without saying so in TLS";
            return Poll::Ready(Err(io::Error::new(ErrorKind::UnexpectedEof, reason)));
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the client what is wrong with its bytes, if its socket takes that at once.
    fn refuse(&mut self, context: &mut Context<'_>, error: rustls::Error) -> io::Error {
        if let Poll::Ready(Err(error)) = self.poll_send(context) {
            tracing::debug!(%error, "a TLS alert was not sent");
        }
        io::Error::new(ErrorKind::InvalidData, error)
    }
}

impl HttpStream {
    /// Waits until reading has a result: bytes of the client, or the end of the connection. No buffer is held meanwhile.
    ///
    /// # Errors
    /// If the connection is broken, or the client does not keep to TLS.
    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.readable().await,
            Self::Tls(stream) => poll_fn(|context| stream.poll_readable(context)).await,
        }
    }

    /// Does the same as `poll_write`, for bytes that are followed by others at once, which another part of the broker writes: the
    /// kernel sends both together.
    pub(crate) fn poll_write_followed(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => poll_send_followed(socket, context, bytes),
            Self::Tls(stream) => {
                let count = ready!(stream.poll_say(context, bytes))?;
                match stream.poll_send_by(context, |socket, context, bytes| {
                    poll_send_followed(socket, context, bytes)
                }) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Ready(Ok(count)),
                }
            }
        }
    }
}

fn poll_send_followed(
    socket: &TcpStream,
    context: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(context))?;
        let send = || SockRef::from(socket).send_with_flags(bytes, FOLLOWED);
        match socket.try_io(Interest::WRITABLE, send) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_readable(context))?;
        if let Some(count) = self.session.take(buffer.initialize_unfilled()) {
            buffer.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.poll_say(context, bytes))?;
        // What the socket does not take goes out with what is written next, or is flushed.
        match self.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
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
        self.poll_send_answers(context)
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use futures_util::FutureExt;
    use rustls::ClientConnection;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::session::tests::pair;
    use super::*;

    /// Does the client's part of a handshake over `socket`.
    async fn shake(client: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
        while client.is_handshaking() || client.wants_write() {
            let mut said = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut said)?;
            }
            socket.write_all(&said).await?;
            if client.is_handshaking() {
                let mut heard = [0; CHUNK_BYTES];
                let count = socket.read(&mut heard).await?;
                client.read_tls(&mut &heard[..count])?;
                client.process_new_packets().map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    /// A client that has shaken hands, its socket, and the broker's side.
    async fn connected() -> (ClientConnection, TcpStream, Box<TlsStream>) {
        let (mut client, session) = pair();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        let stream = TlsStream::new(listener.accept().await.expect("a client").0, session);
        let accepting = Box::new(stream).shake(None);
        let (accepted, shaken) = tokio::join!(accepting, shake(&mut client, &mut socket));
        shaken.expect("a handshake");
        (client, socket, accepted.expect("a handshake"))
    }

    /// Sends what the client has to say, which is `bytes` and what it has queued.
    async fn say(client: &mut ClientConnection, socket: &mut TcpStream, bytes: &[u8]) {
        client.writer().write_all(bytes).expect("there is room");
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said).expect("memory takes all");
        }
        socket.write_all(&said).await.expect("a live connection");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_makes_a_connection_readable_is_then_read() {
        let (mut client, mut socket, stream) = connected().await;
        let mut stream = HttpStream::Tls(stream);
        assert!(stream.readable().now_or_never().is_none(), "nothing was said");
        // New keys are no data (RFC 8446 §4.6.3).
        client.refresh_traffic_keys().expect("TLS 1.3");
        say(&mut client, &mut socket, b"").await;
        assert!(stream.readable().now_or_never().is_none(), "nothing was said");
        let mut heard = [0; 100];
        for said in [&b"GET / HTTP/1.1"[..], b"more"] {
            say(&mut client, &mut socket, said).await;
            stream.readable().await.expect("a live connection");
            let count = stream.read(&mut heard).await.expect("a live connection");
            assert_eq!(&heard[..count], said);
        }
        client.send_close_notify();
        say(&mut client, &mut socket, b"").await;
        stream.readable().await.expect("an end is no fault");
        assert_eq!(stream.read(&mut heard).await.expect("an end is no fault"), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_connection_that_breaks_off_is_not_readable() {
        let (_client, socket, stream) = connected().await;
        let mut stream = HttpStream::Tls(stream);
        drop(socket);
        let broken = stream.readable().await.expect_err("it has not said goodbye");
        assert_eq!(broken.kind(), ErrorKind::UnexpectedEof);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn tickets_took_a_call_of_their_own() {
        let (mut client, socket, mut stream) = connected().await;
        let mut socket = socket.into_std().expect("a socket");
        let unread = socket.read(&mut [0]).expect_err("nothing was said yet");
        assert_eq!(unread.kind(), ErrorKind::WouldBlock);

        stream.flush().await.expect("a live connection");
        stream.write_all(b"answer").await.expect("a live connection");
        let mut heard = [0; CHUNK_BYTES];
        let count = socket.read(&mut heard).expect("the tickets and the answer");
        client.read_tls(&mut &heard[..count]).expect("memory gives all");
        client.process_new_packets().expect("good records");
        assert!(client.tls13_tickets_received() > 0);
        let mut answer = [0; 6];
        client.reader().read_exact(&mut answer).expect("all of it");
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_signature_that_takes_long_held_up_the_thread_of_its_shard() {
        let (mut client, session) = pair();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        let stream = TlsStream::new(listener.accept().await.expect("a client").0, session);
        let workers = Workers::new();
        let mut busy = Some(workers.keep_busy());
        let mut accepting = std::pin::pin!(Box::new(stream).shake(Some(&workers)));
        let mut shaking = std::pin::pin!(shake(&mut client, &mut socket));
        // The client has said hello, and the thread goes on while no worker has a turn for it.
        for _ in 0..100 {
            tokio::select! {
                biased;
                _ = &mut accepting => panic!("the step was done on the thread of the shard"),
                _ = &mut shaking => panic!("the client was answered"),
                () = tokio::task::yield_now() => {}
            }
        }
        drop(busy.take());
        let (accepted, shaken) = tokio::join!(accepting, shaking);
        shaken.expect("a handshake");
        assert!(!accepted.expect("a handshake").session.is_handshaking());
    }

    /// Writes a piece that says that another one follows, and then the other one. Returns whether nothing had come before the
    /// second piece was written.
    async fn both_come_at_once(client: &mut std::net::TcpStream, stream: &mut HttpStream) -> bool {
        let first = poll_fn(|context| stream.poll_write_followed(context, b"first")).await;
        assert_eq!(first.expect("there is room"), 5);
        let mut heard = [0; 11];
        client.set_nonblocking(true).expect("a socket");
        let early = client.read(&mut heard).unwrap_or(0);
        stream.write_all(b"second").await.expect("there is room");
        client.set_nonblocking(false).expect("a socket");
        client.read_exact(&mut heard[early..]).expect("all of it");
        assert_eq!(&heard, b"firstsecond");
        early == 0
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_a_handshake_and_the_welcome_took_a_call_each() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let mut client = std::net::TcpStream::connect(address).expect("it listens");
        let mut stream = HttpStream::Plain(listener.accept().await.expect("a client").0);
        // On a busy machine the kernel's patience may be over before.
        for _ in 0..20 {
            if both_come_at_once(&mut client, &mut stream).await {
                return;
            }
        }
        panic!("the first piece came before the second");
    }
}
