//! The far ends of sessions: connections, what is spoken on them, and streams that have none yet.

use std::io;
use std::rc::Rc;

use tickwire_metrics::Transport as TransportLabel;
use tickwire_router::SessionId;
use tickwire_wire::frame::Parser;

use super::{EventStream, Hub, Opening, Stream};
use crate::net::permit::ConnectionPermit;

/// The far end of a session.
#[derive(Debug)]
pub(super) enum Link {
    Open(Connection),
    /// None yet: the stream is being opened.
    Opening(Rc<Opening>),
}

impl Drop for Link {
    /// Whoever opens a stream learns that it has no session to open any more in any case, also when a panic came: the session's
    /// number will be another's.
    fn drop(&mut self) {
        if let Self::Opening(opening) = self {
            opening.end();
        }
    }
}

/// What is spoken on a connection.
#[derive(Debug)]
pub(super) enum Protocol {
    /// Frames, which this reads.
    WebSocket(Parser),
    /// Events. Boxed: most connections are no streams.
    Sse(Box<EventStream>),
}

impl Protocol {
    pub(super) fn label(&self) -> TransportLabel {
        match self {
            Self::WebSocket(_) => TransportLabel::WebSocket,
            Self::Sse(_) => TransportLabel::Sse,
        }
    }

    /// The bytes of a connection's own that wait for it, of which new ones are in `pieces`.
    pub(super) fn own<'a>(&'a self, pieces: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::WebSocket(_) => None,
            Self::Sse(events) => events.own(pieces),
        }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) protocol: Protocol,
    /// Bytes that came behind the handshake or a request that is not done, and were not looked at yet.
    #[expect(
        clippy::box_collection,
        reason = "few connections ever have some, and all pay for its size"
    )]
    pub(super) early: Option<Box<Vec<u8>>>,
    /// The socket took less than was offered and has not said since that it is writable.
    pub(super) blocked: bool,
    /// It was blocked, and something has waited for it ever since.
    pub(super) slow: bool,
    /// Whether it is among the connections with something to read.
    pub(super) unread: bool,
    /// It is not read until it has taken what waits for it: one that echoes.
    pub(super) held: bool,
    /// The sending side is shut.
    pub(super) shut: bool,
    /// The far end sends no more: what it sent is to be read to its end.
    pub(super) ended: bool,
    /// Frees the connection's place among those that the broker may have, and tells whose it is. None once the connection has ended.
    pub(super) permit: Option<ConnectionPermit>,
}

impl Hub {
    /// Gives a session its connection.
    pub(super) fn connect(
        &mut self,
        id: SessionId,
        mut stream: Stream,
        permit: ConnectionPermit,
        protocol: Protocol,
    ) -> io::Result<()> {
        if let Err(error) = self.poller.add(stream.socket_mut(), id) {
            self.shard.remove(id);
            self.auth.forget(id);
            if let Some(link) = self.links.get_mut(id.0 as usize) {
                *link = None;
            }
            return Err(error);
        }
        if let Stream::Plain(socket) = &stream {
            self.egress.add(id, socket);
        }
        self.set_link(
            id,
            Link::Open(Connection {
                stream,
                protocol,
                early: None,
                blocked: false,
                slow: false,
                unread: false,
                held: false,
                shut: false,
                ended: false,
                permit: Some(permit),
            }),
        );
        Ok(())
    }
}
