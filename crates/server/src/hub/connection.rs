//! The far ends of sessions: connections, what is spoken on them, and streams that have none yet.

use std::io;
use std::rc::Rc;

use tickwire_metrics::TransportLabel;
use tickwire_router::SessionId;
use tickwire_router::cycle::Line;

use super::{Hub, Opening, Stream};
use crate::net::egress::BYTES_PER_WRITE;
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

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) line: Line,
    /// Frees the connection's place among those that the broker may have, and tells whose it is. None once the connection has ended.
    pub(super) permit: Option<ConnectionPermit>,
}

impl Connection {
    /// The most bytes that it is written at a time. If it was full, it is written `slow_write_bytes` at a time, so that few
    /// bytes wait in the kernel.
    pub(super) fn bytes_max(&self, slow_write_bytes: usize) -> usize {
        match self.line.slow {
            true => slow_write_bytes,
            false => BYTES_PER_WRITE,
        }
    }

    pub(super) fn label(&self) -> TransportLabel {
        match self.line.is_stream() {
            false => TransportLabel::WebSocket,
            true => TransportLabel::Sse,
        }
    }
}

impl Hub {
    /// Gives a session its connection.
    pub(super) fn connect(
        &mut self,
        id: SessionId,
        mut stream: Stream,
        permit: ConnectionPermit,
        line: Line,
    ) -> io::Result<()> {
        if let Err(error) = self.sockets.poller.add(stream.socket_mut(), id) {
            self.shard.remove(id);
            self.sockets.auth.forget(id);
            if let Some(link) = self.sockets.links.get_mut(id.0 as usize) {
                *link = None;
            }
            return Err(error);
        }
        self.sockets.egress.add(id, stream.socket());
        let permit = Some(permit);
        let link = Link::Open(Connection { stream, line, permit });
        self.sockets.set_link(id, link);
        Ok(())
    }
}
