//! A TLS connection without a runtime: the caller moves its bytes through the TLS session.
//!
//! Never waits. Encrypted bytes that the socket has not taken are at most one record and messages of TLS itself, since
//! nothing more is encrypted before these are gone. So no backlog that newer messages could still replace is encrypted.
//!
//! Records for clients are encrypted into a buffer of the shard, which holds those of all connections of a batch. Only
//! what the socket did not take of a record is kept here.

use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::ops::Range;

use mio::net::TcpStream;
use socket2::SockRef;

use super::session::TlsSession;
use crate::net::egress::SEND_FLAGS;

/// A socket, and the TLS session that encrypts its bytes.
#[derive(Debug)]
pub(crate) struct Secured {
    socket: TcpStream,
    session: TlsSession,
    /// What was encrypted for the batch that is being written.
    record: Option<Record>,
    /// What was flushed while reading. The next flush reports it.
    unreported: Flushed,
    /// Whether the client was told that nothing more will come.
    is_parted: bool,
    is_shut: bool,
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
    /// Whether neither the socket nor the session had more bytes, nor the end of them.
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
    pub(crate) fn new(socket: TcpStream, session: TlsSession) -> Self {
        Self {
            socket,
            session,
            record: None,
            unreported: Flushed::default(),
            is_parted: false,
            is_shut: false,
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
        !self.session.outward().is_empty()
    }

    /// Reads bytes of the client: those that were decrypted before, otherwise the result of one read from the socket.
    ///
    /// # Errors
    /// `WouldBlock` if the socket has nothing. `Interrupted` if the bytes that it had contained no data of the client;
    /// then the caller reads again. Any other error is the end of the connection.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Decrypted> {
        let decrypted = |count, wire, drained| Decrypted { count, wire, drained };
        if let Some(count) = self.session.take(buffer) {
            return Ok(decrypted(count, 0, false));
        }
        let wire = self.socket.read(buffer)?;
        if wire == 0 {
            return Err(ErrorKind::UnexpectedEof.into()); // without saying so in TLS
        }
        if let Err(error) = self.session.receive(&mut buffer[..wire]) {
            // The client is told the reason, if its socket takes that at once.
            if let Err(error) = self.flush_in_between() {
                tracing::debug!(%error, "a TLS alert was not sent");
            }
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        if self.wants_write() {
            self.flush_in_between()?; // answers of TLS itself; bytes that the socket does not take go out later
        }
        let short = wire < buffer.len();
        match self.session.take(buffer) {
            // What was kept of a record before may have made more of it than the buffer holds.
            Some(count) => Ok(decrypted(count, wire, short && !self.session.has_more())),
            None => Err(ErrorKind::Interrupted.into()),
        }
    }

    /// Encrypts `bytes`, which fit in a record, and appends that to `batch`. [`Self::record`] is then what the
    /// socket is to be offered. [`Self::flush`] must have written everything before.
    ///
    /// # Errors
    /// If the session cannot encrypt any more.
    pub(crate) fn encrypt(&mut self, bytes: &[u8], batch: &mut Vec<u8>) -> io::Result<()> {
        let start = batch.len();
        self.session.encrypt(bytes, batch)?;
        self.record = Some(Record {
            place: start..batch.len(),
            plain: bytes.len(),
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
            self.session.keep(rest);
        }
        plain
    }

    /// Encrypts `bytes` and writes them at once, as far as the socket takes them.
    ///
    /// # Errors
    /// If the session cannot encrypt any more, or the connection is broken.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<Flushed> {
        self.session.say(bytes)?;
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
            flushed.calls += 1;
            match SockRef::from(&self.socket).send_with_flags(self.session.outward(), SEND_FLAGS) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    flushed.wire += count;
                    self.session.sent(count);
                }
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
    ///
    /// # Errors
    /// If the session cannot encrypt any more.
    pub(crate) fn say_goodbye(&mut self) -> io::Result<()> {
        self.is_parted = true;
        self.session.say_goodbye()
    }

    /// If the client has ended its side, tells it that this side ends too (RFC 8446 §6.1), as far as its socket takes that at
    /// once.
    ///
    /// # Errors
    /// If the session cannot encrypt any more, or the connection is broken.
    pub(crate) fn answer_end(&mut self) -> io::Result<()> {
        // A record that was not written is lost, and nothing can follow it.
        if !self.session.is_ended() || self.is_parted || self.is_in_batch() {
            return Ok(());
        }
        self.say_goodbye()?;
        self.flush().map(drop)
    }

    /// Shuts the sending side of the socket, once. Call it only when nothing waits for the socket.
    pub(crate) fn shut(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_shut, true) {
            return Ok(());
        }
        self.socket.shutdown(Shutdown::Write)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream as Peer};
    use std::time::{Duration, Instant};

    use rustls::ClientConnection;

    use super::super::session::tests::shaken;
    use super::*;

    /// A client that has shaken hands, its socket, and the broker's side.
    fn connected() -> (ClientConnection, Peer, Secured) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let peer = Peer::connect(listener.local_addr().expect("bound")).expect("somebody listens");
        let (socket, _) = listener.accept().expect("a connection");
        socket.set_nonblocking(true).expect("a socket");
        let (client, session) = shaken(usize::MAX);
        (client, peer, Secured::new(TcpStream::from_std(socket), session))
    }

    /// What the client encrypts of `bytes`.
    fn encrypted(client: &mut ClientConnection, bytes: &[u8]) -> Vec<u8> {
        client.writer().write_all(bytes).expect("there is room");
        let mut record = Vec::new();
        client.write_tls(&mut record).expect("memory takes all");
        record
    }

    /// Reads until there is something, or nothing but the rest of a record.
    fn read(secured: &mut Secured, buffer: &mut [u8]) -> Option<Decrypted> {
        let begun = Instant::now();
        loop {
            match secured.read(buffer) {
                Ok(decrypted) => return Some(decrypted),
                Err(error) if error.kind() == ErrorKind::Interrupted => return None,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing comes");
            std::thread::yield_now();
        }
    }

    #[test]
    fn more_was_decrypted_than_a_read_had_room_for_and_nobody_came_back_for_it() {
        let (mut client, mut peer, mut secured) = connected();
        let wire = [
            encrypted(&mut client, &[1; 900]),
            encrypted(&mut client, &[2; 500]),
        ]
        .concat();
        let mut buffer = [0; 1_000];
        peer.write_all(&wire[..900]).expect("it is open");
        assert_eq!(read(&mut secured, &mut buffer), None, "no whole record");
        peer.write_all(&wire[900..]).expect("it is open");
        let first = read(&mut secured, &mut buffer).expect("data");
        assert!(
            first.count == 1_000 && first.wire < buffer.len() && !first.drained,
            "{first:?}"
        );
        assert_eq!(read(&mut secured, &mut buffer).map(|rest| rest.count), Some(400));
    }

    #[test]
    fn the_end_that_came_with_the_last_data_was_not_noticed() {
        let (mut client, mut peer, mut secured) = connected();
        client.writer().write_all(b"last").expect("there is room");
        client.send_close_notify();
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory takes all");
        }
        peer.write_all(&wire).expect("it is open");
        let mut buffer = [0; 1_000];
        let last = read(&mut secured, &mut buffer).expect("data");
        assert!(last.count == 4 && !last.drained, "{last:?}");
        assert_eq!(read(&mut secured, &mut buffer).map(|end| end.count), Some(0));
        // The client's end is answered with this side's.
        secured.answer_end().expect("an open connection");
        drop(secured);
        while client.read_tls(&mut peer).expect("it is read") > 0 {}
        let state = client.process_new_packets().expect("good records");
        assert!(state.peer_has_closed());
    }
}
