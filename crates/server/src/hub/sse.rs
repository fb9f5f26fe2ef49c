//! Streams of server-sent events: sessions like any other, on connections that have left hyper.
//!
//! Events are shared like frames. A stream without positions is written as a WebSocket is. One with positions has an `id` in front
//! of its events, which tells where this stream stands and is nobody else's. So what waits for it is put together as bytes of its
//! own, a piece at a time, and only when its socket takes bytes; they count as taken, and the rest stays in the outbox, where it can
//! be replaced by something newer. The head of the answer is written like such a piece.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use tickwire_metrics::Transport as TransportLabel;
use tickwire_router::cycle::Line;
use tickwire_router::{Directory, Outbox, SessionId, Shard, SharedBucket, Transport};
use tickwire_wire::limits::SSE_HEARD_BYTES_MAX;
use tickwire_wire::message::Subscribe;
use tickwire_wire::sse::{self, Framing};
use tickwire_wire::{ClientMessage, Dialect, Micros};

use super::sockets::{Sockets, open_of};
use super::{Hub, Link, Stream, Track};
use crate::auth::Admission;
use crate::net::permit::ConnectionPermit;
use crate::net::proxied::ClientAddr;

/// Bytes of events after which a piece is full.
const PIECE_BYTES: usize = 16 * 1024;
/// Time that a client is asked to wait before it connects again, in milliseconds.
const RETRY_MS: u64 = 2_000;

/// A session whose stream has no connection yet. The number of a session is used again once it is gone, so whoever opens the stream
/// asks here, not the shard, whether its session still is.
#[derive(Debug)]
pub(crate) struct Opening {
    over: Cell<bool>,
    client: ClientAddr,
}

impl Opening {
    /// That of `client`.
    pub(crate) fn new(client: ClientAddr) -> Self {
        Self {
            over: Cell::new(false),
            client,
        }
    }

    /// Whether the session is gone, or has its connection.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    pub(super) fn end(&self) {
        self.over.set(true);
    }

    pub(super) fn client(&self) -> ClientAddr {
        self.client
    }
}

/// What a stream has beside its socket.
#[derive(Debug)]
pub(crate) struct EventStream {
    /// Bytes of its own that its socket has not taken, from `taken` on.
    own: Vec<u8>,
    taken: usize,
    /// Where bytes of its own are among those of a round of writing.
    piece: Range<usize>,
    /// Where it stands, if it can be resumed.
    track: Option<Track>,
    framing: Framing,
}

impl EventStream {
    /// A stream that begins with `head`.
    pub(crate) fn new(framing: Framing, head: Vec<u8>, track: Option<Track>) -> Self {
        let mut own = head;
        framing.append(&mut own, |out| sse::write_retry(RETRY_MS, out));
        Self {
            own,
            taken: 0,
            piece: 0..0,
            track,
            framing,
        }
    }

    /// Whether bytes of its own wait for its socket.
    pub(super) fn has_own(&self) -> bool {
        !self.own.is_empty() || !self.piece.is_empty()
    }

    /// The bytes of its own that wait, of which a new piece is in `pieces`.
    pub(super) fn own<'a>(&'a self, pieces: &'a [u8]) -> Option<&'a [u8]> {
        match self.own.is_empty() {
            false => Some(&self.own[self.taken..]),
            true if self.piece.is_empty() => None,
            true => Some(&pieces[self.piece.clone()]),
        }
    }

    /// Its socket took `count` of its own bytes; what is left of a new piece is kept. Returns whether there were any.
    fn took_own(&mut self, count: usize, pieces: &[u8]) -> bool {
        if !self.own.is_empty() {
            self.taken += count;
            if self.taken == self.own.len() {
                (self.own, self.taken) = (Vec::new(), 0);
            }
            return true;
        }
        let piece = std::mem::take(&mut self.piece);
        let had = !piece.is_empty();
        self.own = pieces[piece].get(count..).unwrap_or_default().to_vec();
        had
    }

    /// Appends a piece of what waits in `outbox` to `pieces`. Returns how many bytes of the outbox are in it.
    fn put_together(
        &mut self,
        outbox: &Outbox,
        directory: &Directory,
        bytes_max: usize,
        pieces: &mut Vec<u8>,
    ) -> usize {
        let (start, mut used) = (pieces.len(), 0);
        let Some(track) = self.track.as_mut().filter(|_| self.own.is_empty()) else {
            return 0;
        };
        for waiting in outbox.waiting() {
            if pieces.len() - start >= bytes_max {
                break;
            }
            if let Some(cursor) = track.follow(&waiting, directory) {
                self.framing.append(pieces, |out| sse::write_id(cursor, out));
            }
            pieces.extend_from_slice(waiting.bytes);
            used += waiting.bytes.len();
        }
        self.piece = start..pieces.len();
        used
    }
}

impl Hub {
    /// Opens a session for a stream, and begins to subscribe; [`Self::go_on_sse`] does the rest.
    pub(crate) fn open_sse(
        &mut self,
        opening: Rc<Opening>,
        (admission, visits): (Admission, Option<SharedBucket>),
        framing: Framing,
        subscribe: Subscribe,
    ) -> SessionId {
        let now = self.clock.now();
        let dialect = Dialect::Sse(framing);
        let auth = &mut self.sockets.auth;
        let id = auth.open(&mut self.shard, dialect, Transport::Sse, admission, now);
        if let Some(visits) = visits {
            self.shard.shares(id, visits);
        }
        self.sockets.set_link(id, Link::Opening(opening));
        self.shard
            .request(id, Ok(ClientMessage::Subscribe(subscribe)), now);
        id
    }

    /// Does one more piece of a session's subscription. Returns whether there was one; if not, the shard has the answer.
    pub(crate) fn go_on_sse(&mut self, id: SessionId) -> bool {
        let now = self.clock.now();
        self.shard.go_on(id, now)
    }

    /// Ends the session of a stream that gets no connection.
    pub(crate) fn end_opening(&mut self, id: SessionId) {
        self.turn().drop_session(id);
        self.kick(); // a broker that stops waits for the last session
    }

    /// Gives the session of a stream its connection, on which its client has sent `behind` bytes behind its request.
    ///
    /// # Errors
    /// When the socket cannot be watched; the session ends then.
    pub(crate) fn begin_sse(
        &mut self,
        id: SessionId,
        stream: Stream,
        permit: ConnectionPermit,
        (events, behind): (EventStream, usize),
    ) -> io::Result<()> {
        let line = Line::sse(events, SSE_HEARD_BYTES_MAX.saturating_sub(behind));
        self.connect(id, stream, permit, line)?;
        self.sockets.connection_opened(TransportLabel::Sse);
        self.sockets.check_gate(&self.shard);
        self.shard.writable(id);
        self.begin_secured(id);
        self.kick();
        Ok(())
    }
}

impl Sockets {
    /// Puts a piece of what waits for a stream with positions together, unless one waits already.
    ///
    /// # Errors
    /// As [`Sockets::left_outbox`].
    pub(super) fn put_together(&mut self, shard: &mut Shard, id: SessionId, now: Micros) -> io::Result<()> {
        let Some(line) = open_of(&mut self.links, id).map(|socket| &mut socket.line) else {
            return Ok(());
        };
        let bytes_max = if line.slow {
            self.piece_bytes.min(PIECE_BYTES)
        } else {
            PIECE_BYTES
        };
        let (Some(stream), Some(outbox)) = (line.stream_mut(), shard.outbox(id)) else {
            return Ok(());
        };
        let used = stream.put_together(outbox, shard.directory(), bytes_max, &mut self.pieces);
        self.left_outbox(shard, id, used, now)
    }

    /// The socket of a session took `count` bytes. Returns whether they were a stream's own, which have left the outbox before.
    pub(super) fn took_own(&mut self, shard: &mut Shard, id: SessionId, count: usize) -> bool {
        let socket = open_of(&mut self.links, id);
        let Some(stream) = socket.and_then(|socket| socket.line.stream_mut()) else {
            return false;
        };
        let had = stream.took_own(count, &self.pieces);
        if had && count > 0 {
            shard.progressed(id);
        }
        had
    }
}
