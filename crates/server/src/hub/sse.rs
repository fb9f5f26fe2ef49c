//! Streams of server-sent events: sessions like any other, on connections that have left hyper.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use tickwire_metrics::TransportLabel;
use tickwire_router::cycle::{EventStream, Line};
use tickwire_router::{SessionId, Shard, SharedBucket, Transport};
use tickwire_wire::limits::SSE_HEARD_BYTES_MAX;
use tickwire_wire::message::Subscribe;
use tickwire_wire::sse::Framing;
use tickwire_wire::{ClientMessage, Dialect};

use super::sockets::{Sockets, open_of};
use super::{Hub, Link, Stream};
use crate::auth::Admission;
use crate::limits::AddressSlot;
use crate::net::permit::{ConnectionPermit, SharedPermit};
use crate::net::proxied::ClientAddr;

/// A session whose stream has no connection yet. The number of a session is used again once it is gone, so whoever opens the stream
/// asks here, not the shard, whether its session still is.
#[derive(Debug)]
pub(crate) struct Opening {
    over: Cell<bool>,
    client: ClientAddr,
    /// The connection is counted as long as this is here, even if the client has closed it.
    _permit: SharedPermit,
    place: RefCell<Option<AddressSlot>>,
}

impl Opening {
    /// That of `client`, on the connection with this permit. `place` is the client's place among those of its address,
    /// if the connection has none.
    pub(crate) fn new(client: ClientAddr, permit: SharedPermit, place: Option<AddressSlot>) -> Self {
        Self {
            over: Cell::new(false),
            client,
            _permit: permit,
            place: RefCell::new(place),
        }
    }

    /// Takes the client's place among those of its address, for the connection that the stream gets.
    pub(crate) fn take_place(&self) -> Option<AddressSlot> {
        self.place.take()
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
        let admitted = (admission, opening.client().ip());
        let id = auth.open(&mut self.shard, dialect, Transport::Sse, admitted, now);
        if let Some(visits) = visits {
            self.shard.share_lookups(id, visits);
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
        self.shard.front_begun(id); // with the head of the answer
        self.sockets.connection_opened(TransportLabel::Sse);
        self.shard.writable(id);
        self.begin_secured(id);
        self.kick();
        Ok(())
    }
}

impl Sockets {
    /// Makes the next piece of a stream with positions, of at most `bytes_max` bytes.
    pub(super) fn put_together(&mut self, shard: &Shard, id: SessionId, bytes_max: usize) {
        if let Some(socket) = open_of(&mut self.links, id) {
            socket.line.put_together(shard, id, bytes_max, &mut self.pieces);
        }
    }
}
