//! What becomes of a hub out of which a panic has come: its sessions end, told so where they can be, and it goes on as new.
//!
//! The shard is the unit that is given up, since a panic may come half-way through a change of anything in it. What it shares with
//! other threads is taken back by what those know of it, not by its own lists.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use socket2::SockRef;
use tickwire_metrics::{Metric, TransportLabel};
use tickwire_router::SessionId;
use tickwire_router::cycle::{Budgets, Cycle, Pieces};
use tickwire_wire::{CloseCode, Codec, Dialect};

use super::{Connection, Hub, Link, Stream};
use crate::auth::Access;
use crate::config::Config;
use crate::net::egress::{Egress, SEND_FLAGS};

/// What the close frame says.
const REASON: &str = "a fault of the broker; reconnect";

/// What a hub begins anew with.
pub(crate) struct Anew<'a> {
    pub(crate) config: &'a Config,
    pub(crate) access: Arc<Access>,
    pub(crate) egress: Box<dyn Egress>,
}

impl Hub {
    /// Closes all sessions with 1011, as far as they can be told, and makes this as new.
    pub(super) fn begin_anew(&mut self, anew: Anew<'_>) {
        let failed = self.sockets.links.iter().flatten().count();
        // Whoever sees its connection closed finds it counted.
        for transport in [TransportLabel::WebSocket, TransportLabel::Sse] {
            self.sockets
                .metrics
                .set(Metric::Connections, &[transport as usize], 0);
        }
        let shard = usize::from(self.shard.id().0);
        self.sockets.metrics.add(Metric::ShardRestarts, &[shard], 1);
        self.sockets
            .metrics
            .add(Metric::SessionsFailed, &[], failed as u64);
        self.sockets.metrics.flush();
        // The state that is looked at for it may be what panicked.
        if catch_unwind(AssertUnwindSafe(|| self.close_all())).is_err() {
            tracing::error!("not all sessions of the shard could be told");
        }
        self.sockets.links = Vec::new();
        // What a ring holds of connections would keep them open.
        self.sockets.egress = anew.egress;
        self.shard = self
            .shard
            .anew(anew.config.shard_settings(), anew.config.compression.settings());
        self.sockets.auth = self.sockets.auth.anew(anew.access);
        self.frame_limits = super::frame_limits(anew.config);
        self.cycle = Cycle::new(Budgets::default());
        self.sockets.gathered = Vec::new();
        self.sockets.encrypted = Vec::new();
        self.sockets.pieces = Pieces::default();
        self.sockets.held.clear();
        self.sockets.panics_later = false;
        self.flush(self.clock.now());
        tracing::error!(
            shard,
            sessions = failed,
            "a shard begins anew after a panic; its sessions were closed with 1011"
        );
    }

    fn close_all(&mut self) {
        for (index, link) in self.sockets.links.iter_mut().enumerate() {
            let Ok(id) = u32::try_from(index).map(SessionId) else {
                return;
            };
            let Some(Link::Open(socket)) = link else { continue };
            if !self.shard.is_between_frames(id) {
                continue;
            }
            let dialect = self.shard.dialect(id).unwrap_or(Dialect::from(Codec::Json));
            let close = dialect.close(CloseCode::INTERNAL, REASON);
            if let Err(error) = last_frame(socket, &close) {
                tracing::debug!(session = id.0, %error, "it was gone before it could be told");
            }
        }
    }
}

/// Writes the last frame of a connection, if its socket takes it at once.
fn last_frame(socket: &mut Connection, frame: &[u8]) -> io::Result<()> {
    match &mut socket.stream {
        Stream::Plain(stream) => {
            SockRef::from(&*stream).send_with_flags(frame, SEND_FLAGS)?;
        }
        // A record that was not written is lost, and nothing can follow it, not even the end of TLS.
        Stream::Tls(secured) if secured.is_in_batch() => return secured.shut(),
        Stream::Tls(secured) => {
            if !secured.flush()?.blocked {
                secured.send(frame)?;
            }
        }
    }
    socket.stream.shut().map(drop)
}
