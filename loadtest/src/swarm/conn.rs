//! One non-blocking connection of the load test: connect, handshake, frames in, masked frames out; or a stream of server-sent
//! events, or one without WebSocket.
//!
//! It knows WebSocket and events, and nothing of the protocol over them. It holds no buffer while nothing is incomplete: bytes are
//! read into memory that all connections share. It answers pings. What waits to be written is not bounded here: callers
//! only send requests, and decide how many. When anything breaks, the connection ends and reports why, once.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use thiserror::Error;
use tickwire_wire::deflate::BadDeflate;
use tickwire_wire::frame::{Opcode, client_frame};
use tickwire_wire::{CloseCode, Micros};

use crate::swarm::bare::BareReader;
use crate::swarm::connections::Endpoint;
use crate::swarm::events::{EventFault, EventReader};
use crate::swarm::frame::{Frame, FrameFault, FrameReader};
use crate::swarm::handshake::{Handshake, HandshakeFault, Opening};
use crate::swarm::inflated::Inflated;
use crate::swarm::report::Faults;
use crate::swarm::tls::{Secured, Wire};

/// The mask of every frame. RFC 6455 §5.3 requires an unpredictable one because of proxies, which a load test does not
/// have.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The number of a connection within its swarm: dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnId(pub(crate) usize);

/// Handles the events of connections.
pub(crate) trait Handler {
    /// A text or binary message came. `received` is what [`Self::reading`] returned when its last bytes were read.
    fn message(&mut self, id: ConnId, message: &[u8], received: Micros, reply: &mut Reply<'_>);

    /// The handshake of a connection is done. Its messages come after this.
    fn opened(&mut self, _id: ConnId, _reply: &mut Reply<'_>) {}

    /// Bytes were read; the messages that they complete come next. Returns the time to pass with these messages: the
    /// wall time, unless the handler uses another clock.
    fn reading(&mut self) -> Micros {
        now()
    }

    /// A connection ended, whether or not it was ever open. This comes once, and nothing of that connection comes after
    /// it. It is a fault unless this side asked for it.
    fn ended(&mut self, id: ConnId, ending: &Ending);

    /// The faults so far.
    fn faults(&mut self) -> &mut Faults;
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub(crate) enum Ending {
    #[error("it was closed as asked")]
    Finished,
    #[error("it could not be made: {0}")]
    NotConnected(#[source] io::Error),
    #[error(transparent)]
    Handshake(#[from] HandshakeFault),
    #[error(transparent)]
    Frame(#[from] FrameFault),
    #[error(transparent)]
    Events(#[from] EventFault),
    #[error("a compressed message: {0}")]
    Inflate(#[from] BadDeflate),
    #[error("all connections together have {held} bytes of incomplete messages, at most {max} are held")]
    TooMuchHeld { held: usize, max: usize },
    #[error("the broker closed it with {} {reason:?}", code.map_or("no code".to_owned(), |code| code.to_string()))]
    Closed { code: Option<CloseCode>, reason: String },
    #[error("it ended without a close frame")]
    Eof,
    #[error("it broke: {0}")]
    Broke(#[source] io::Error),
}

/// The way for a handler to answer.
#[derive(Debug)]
pub(crate) struct Reply<'c> {
    out: &'c mut Vec<u8>,
    settled: &'c mut bool,
    bare: bool,
}

impl<'c> Reply<'c> {
    pub(crate) fn new(out: &'c mut Vec<u8>, settled: &'c mut bool) -> Self {
        let bare = false;
        Self { out, settled, bare }
    }

    /// The same on a connection without WebSocket, whose messages have no frames, if it is `bare`.
    fn of(bare: bool, out: &'c mut Vec<u8>, settled: &'c mut bool) -> Self {
        Self { out, settled, bare }
    }

    pub(crate) fn text(&mut self, text: &[u8]) {
        self.message(Opcode::Text, text);
    }

    pub(crate) fn message(&mut self, opcode: Opcode, payload: &[u8]) {
        match self.bare {
            true => self.out.extend_from_slice(payload),
            false => self
                .out
                .extend_from_slice(&client_frame(true, opcode, MASK, payload)),
        }
    }

    /// Adds bytes as they are, which must be whole messages.
    pub(crate) fn ready_made(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Marks the connection as ready for its part. Another connection may then be started.
    pub(crate) fn settle(&mut self) {
        *self.settled = true;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Handshaking,
    Open,
    /// A close frame was sent.
    Closing,
}

/// State that the connections of a swarm share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) handshake: Handshake,
    pub(crate) scratch: Box<[u8]>,
    pub(crate) inflated: Inflated,
    pub(crate) secured: Secured,
}

#[derive(Debug)]
pub(crate) struct Connection {
    id: ConnId,
    stream: Wire,
    phase: Phase,
    settled: bool,
    reader: FrameReader,
    /// What reads events, if it is a stream.
    events: Option<Box<EventReader>>,
    /// What reads messages, if there is no WebSocket.
    bare: Option<Box<BareReader>>,
    /// The part of the handshake's answer that has come.
    head: Vec<u8>,
    out: Vec<u8>,
}

impl Connection {
    /// Starts to connect to `endpoint`, from `source` if it is given. The number is also the token in `registry`.
    pub(crate) fn start(
        id: ConnId,
        endpoint: &Endpoint,
        source: Option<Ipv4Addr>,
        registry: &Registry,
    ) -> Result<Self, Ending> {
        let start = || {
            let mut stream = connect(endpoint.address, source)?;
            stream.set_nodelay(true)?;
            registry.register(&mut stream, Token(id.0), Interest::READABLE | Interest::WRITABLE)?;
            Wire::new(stream, endpoint.client.as_ref(), endpoint.address.ip())
        };
        Ok(Self {
            id,
            stream: start().map_err(Ending::NotConnected)?,
            phase: Phase::Connecting,
            settled: false,
            reader: FrameReader::default(),
            events: None,
            bare: None,
            head: Vec::new(),
            out: Vec::new(),
        })
    }

    /// Whether the handshake is done and no close frame was sent.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the handler has called [`Reply::settle`].
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Lets `fill` add messages. Writes them after the waiting bytes, in one call if the kernel takes them.
    pub(crate) fn send_all(&mut self, fill: impl FnOnce(&mut Reply<'_>)) -> Result<(), Ending> {
        fill(&mut Reply::of(
            self.bare.is_some(),
            &mut self.out,
            &mut self.settled,
        ));
        self.flush()
    }

    /// How many bytes of an incomplete message it holds.
    pub(crate) fn held(&self) -> usize {
        self.reader.held()
            + self.events.as_ref().map_or(0, |events| events.held())
            + self.bare.as_ref().map_or(0, |bare| bare.held())
    }

    /// Makes the connection end with a reset when it is dropped, so that its port is free at once.
    pub(crate) fn reset_when_dropped(&self) {
        // If the socket refuses this, the only effect is that its port stays in use for a minute.
        let _ = SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO));
    }

    /// How many bytes the kernel has not taken yet.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Sends a close frame. The connection ends when the broker answers it.
    ///
    /// # Errors
    /// When the connection broke, or was not open and so has ended.
    pub(crate) fn close(&mut self) -> Result<(), Ending> {
        if self.phase != Phase::Open || self.events.is_some() || self.bare.is_some() {
            return Err(Ending::Finished);
        }
        self.phase = Phase::Closing;
        let code = CloseCode::NORMAL.0.to_be_bytes();
        self.send_all(|reply| reply.message(Opcode::Close, &code))
    }

    /// Does what readiness allows, with at most `reads` reads of a limited size. Returns whether more can be read at
    /// once.
    pub(crate) fn ready(
        &mut self,
        reads: usize,
        bytes_max: usize,
        shared: &mut Shared,
        handler: &mut impl Handler,
    ) -> Result<bool, Ending> {
        if self.phase == Phase::Connecting && !self.connected(&shared.handshake, handler)? {
            return Ok(false);
        }
        let room = bytes_max.min(shared.scratch.len());
        let mut more = true;
        for _ in 0..reads {
            match self.stream.read(&mut shared.scratch[..room]) {
                Ok((0, _)) => return Err(self.over(Ending::Eof)),
                Ok((read, drained)) => {
                    self.take(read, shared, handler)?;
                    more = !drained;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => more = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.over(Ending::Broke(error))),
            }
            if !more {
                break;
            }
        }
        self.flush()?;
        Ok(more)
    }

    /// Whether the connection is made. If it is, the handshake is on its way, or it is open if it has none.
    fn connected(&mut self, handshake: &Handshake, handler: &mut impl Handler) -> Result<bool, Ending> {
        if let Some(error) = self.stream.socket().take_error().map_err(Ending::NotConnected)? {
            return Err(Ending::NotConnected(error));
        }
        match self.stream.socket().peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(Ending::NotConnected(error)),
        }
        self.phase = Phase::Handshaking;
        match handshake.opening(self.id.0) {
            Opening::WebSocket => self.out.extend_from_slice(handshake.request().as_bytes()),
            Opening::Events(path) => {
                self.events = Some(Box::default());
                let request = handshake.events_request(path);
                self.out.extend_from_slice(request.as_bytes());
            }
            Opening::Bare(cut) => {
                self.phase = Phase::Open;
                self.bare = Some(Box::new(BareReader::new(cut)));
                handler.opened(self.id, &mut Reply::of(true, &mut self.out, &mut self.settled));
            }
        }
        self.flush()?;
        Ok(true)
    }

    fn take(&mut self, read: usize, shared: &mut Shared, handler: &mut impl Handler) -> Result<(), Ending> {
        let (bytes, handshake) = (&shared.scratch[..read], &shared.handshake);
        if self.phase != Phase::Handshaking {
            return self.frames(bytes, &mut shared.inflated, handler);
        }
        self.head.extend_from_slice(bytes);
        let checked = match self.events {
            Some(_) => Handshake::check_events(&self.head)?,
            None => handshake.check(&self.head)?,
        };
        let Some(end) = checked else {
            return Ok(());
        };
        self.phase = Phase::Open;
        shared.secured.note(&self.stream);
        if handshake.deflate {
            self.reader.accept_deflated();
        }
        handler.opened(self.id, &mut Reply::new(&mut self.out, &mut self.settled));
        let head = std::mem::take(&mut self.head);
        self.frames(&head[end..], &mut shared.inflated, handler)
    }

    fn frames(
        &mut self,
        bytes: &[u8],
        inflated: &mut Inflated,
        handler: &mut impl Handler,
    ) -> Result<(), Ending> {
        let mut closed = None;
        let deflate = self.reader.accepts_deflated();
        let received = handler.reading();
        let (id, out, settled) = (self.id, &mut self.out, &mut self.settled);
        if let Some(events) = &mut self.events {
            events.feed(bytes, |data| {
                handler.message(id, data, received, &mut Reply::new(out, settled));
            })?;
            return Ok(());
        }
        if let Some(bare) = &mut self.bare {
            bare.feed(bytes, |message| {
                handler.message(id, message, received, &mut Reply::of(true, out, settled));
            });
            return Ok(());
        }
        self.reader.feed(
            bytes,
            |Frame {
                 opcode,
                 deflated,
                 payload,
             }| match opcode {
                // RFC 6455 §5.5.1: nothing counts after a close frame.
                _ if closed.is_some() => {}
                Opcode::Text | Opcode::Binary | Opcode::Continuation if deflated => {
                    match inflated.message(payload) {
                        Ok(payload) => handler.message(id, payload, received, &mut Reply::new(out, settled)),
                        Err(bad) => closed = Some(bad.into()),
                    }
                }
                Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                    if deflate {
                        inflated.plain(payload);
                    }
                    handler.message(id, payload, received, &mut Reply::new(out, settled));
                }
                Opcode::Ping => {
                    out.extend_from_slice(&client_frame(true, Opcode::Pong, MASK, payload));
                }
                Opcode::Pong => {}
                Opcode::Close => closed = Some(close_of(payload)),
            },
        )?;
        closed.map_or(Ok(()), |ending| Err(self.over(ending)))
    }

    /// Writes the waiting bytes as far as the kernel takes them.
    fn flush(&mut self) -> Result<(), Ending> {
        let written = self
            .stream
            .flush()
            .and_then(|()| write_out(|bytes| self.stream.write(bytes), &mut self.out));
        written.map_err(|error| self.over(Ending::Broke(error)))?;
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        Ok(())
    }

    /// What `ending` is for this connection: after its own close frame, any ending is the one asked for.
    fn over(&self, ending: Ending) -> Ending {
        match self.phase {
            Phase::Closing => Ending::Finished,
            _ => ending,
        }
    }
}

/// Writes what waits in `out`, as far as `write` takes it.
pub(crate) fn write_out(
    mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let mut written = 0;
    let ended = loop {
        if written == out.len() {
            break Ok(());
        }
        match write(&out[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    out.drain(..written);
    ended
}

fn connect(address: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        connected => connected?,
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Reads the payload of a close frame (RFC 6455 §5.5.1): it is empty, or two bytes of code and a text.
fn close_of(payload: &[u8]) -> Ending {
    let (code, reason) = match payload {
        [high, low, reason @ ..] => (Some(CloseCode(u16::from_be_bytes([*high, *low]))), reason),
        short => (None, short),
    };
    Ending::Closed {
        code,
        reason: String::from_utf8_lossy(reason).into_owned(),
    }
}

/// The wall time, as in the broker's messages.
pub(crate) fn now() -> Micros {
    // A time before 1970 counts as 1970.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_say_what_they_carry() {
        for (payload, text) in [
            (&b""[..], "the broker closed it with no code \"\""),
            (b"\x0f\xa2slow", "the broker closed it with 4002 \"slow\""),
            (b"\x0f", "the broker closed it with no code \"\\u{f}\""),
        ] {
            assert_eq!(close_of(payload).to_string(), text);
        }
    }
}
