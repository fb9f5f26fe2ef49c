//! Writing to plain connections, in batches, and what a socket is given beyond that before its session is dropped.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tickwire_metrics::Metric;
use tickwire_router::cycle::Written;
use tickwire_router::{SessionId, Shard};

use super::sockets::Sockets;
use super::{Link, Stream};
use crate::net::egress::{self, BYTES_PER_WRITE};

/// Time for which the kernel keeps what a session that was dropped has yet to get, beyond that after which it gives up a peer
/// that takes nothing.
const LAST_WORDS_KEPT: Duration = Duration::from_secs(30);
/// Bytes by which the send buffer of a session grows that is about to be dropped: a frame begun and the close frame.
const LAST_BYTES: usize = BYTES_PER_WRITE;

impl Sockets {
    pub(super) fn write_plain(&mut self, shard: &Shard, batch: &[SessionId], results: &mut Vec<Written>) {
        let ready = batch.iter().filter_map(|id| {
            let Some(Some(Link::Open(socket))) = self.links.get(id.0 as usize) else {
                return None;
            };
            let Stream::Plain(stream) = &socket.stream else {
                return None;
            };
            shard.outbox(*id).map(|outbox| egress::Outgoing {
                session: *id,
                stream,
                outbox,
                own: socket.line.offered(&self.pieces),
                bytes_max: socket.bytes_max(self.piece_bytes),
            })
        });
        let ready: Vec<egress::Outgoing<'_>> = ready.collect();
        let calls = self.egress.write(&ready, results);
        self.metrics.add(Metric::SocketWrites, &[], calls);
    }

    /// Has the kernel take what a session has yet to get before it is dropped; see [`make_room`]. Returns whether it may.
    pub(super) fn make_last_room(&mut self, id: SessionId, again: bool) -> bool {
        let Some(socket) = self.open_mut(id) else {
            return false;
        };
        // Of what TLS has yet to send the close frame may be a part when the session is shut already.
        if socket.line.shut && matches!(socket.stream, Stream::Plain(_)) {
            return false;
        }
        let growth = if again { LAST_BYTES } else { 0 };
        let made = make_room(&SockRef::from(&*socket.stream.socket_mut()), growth);
        if let Err(error) = &made {
            tracing::debug!(session = id.0, %error, "no room for its close frame");
        }
        made.is_ok()
    }
}

/// Lets a socket hold whatever its send buffer has room for, and for longer; or that be `growth` bytes more.
fn make_room(socket: &SockRef<'_>, growth: usize) -> io::Result<()> {
    if growth == 0 {
        // It counts from when the peer took something last.
        let gives_up = socket.tcp_user_timeout()?.map(|after| after + LAST_WORDS_KEPT);
        socket.set_tcp_user_timeout(gives_up)?;
        return socket.set_tcp_notsent_lowat(u32::MAX);
    }
    // What is asked for is doubled (socket(7)).
    socket.set_send_buffer_size(socket.send_buffer_size()? / 2 + growth)
}
