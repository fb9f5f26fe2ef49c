//! What becomes of a hub out of which a panic has come: its sessions end, told so where they can be, and it goes on as new.
//!
//! The shard is the unit that is given up, since a panic may come half-way through a change of anything in it. What it shares with
//! other threads is taken back by what those know of it, not by its own lists.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use socket2::SockRef;
use tickwire_metrics::{Metric, Transport};
use tickwire_router::SessionId;
use tickwire_wire::deflate::Inflater;
use tickwire_wire::{CloseCode, Codec, Dialect};

use super::{Connection, Hub, Link, Protocol, READ_BYTES, Stream};
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
        let failed = self.links.iter().flatten().count();
        // Whoever sees its connection closed finds it counted.
        for transport in [Transport::WebSocket, Transport::Sse] {
            self.metrics.set(Metric::Connections, &[transport as usize], 0);
        }
        let shard = usize::from(self.shard.id().0);
        self.metrics.add(Metric::ShardRestarts, &[shard], 1);
        self.metrics.add(Metric::SessionsFailed, &[], failed as u64);
        self.metrics.flush();
        // The state that is looked at for it may be what panicked.
        if catch_unwind(AssertUnwindSafe(|| self.close_all())).is_err() {
            tracing::error!("not all sessions of the shard could be told");
        }
        self.links = Vec::new();
        // What a ring holds of connections would keep them open.
        self.egress = anew.egress;
        self.shard = self
            .shard
            .anew(anew.config.shard_settings(), anew.config.compression.settings());
        self.auth = self.auth.anew(anew.access);
        self.frame_limits = super::frame_limits(anew.config);
        self.batch = Vec::new();
        self.results = Vec::new();
        self.gathered = Vec::new();
        self.pieces = Vec::new();
        self.ready = Vec::new();
        self.unread.clear();
        self.resume_at = None;
        self.scratch = vec![0; READ_BYTES].into_boxed_slice();
        self.under_way = None;
        self.parked.clear();
        self.parting.clear();
        self.inflater = Inflater::new();
        self.panics_later = false;
        self.flush(self.clock.now());
        tracing::error!(
            shard,
            sessions = failed,
            "a shard begins anew after a panic; its sessions were closed with 1011"
        );
    }

    fn close_all(&mut self) {
        for (index, link) in self.links.iter_mut().enumerate() {
            let Ok(id) = u32::try_from(index).map(SessionId) else {
                return;
            };
            let Some(Link::Open(socket)) = link else { continue };
            let has_own = matches!(&socket.protocol, Protocol::Sse(events) if events.has_own());
            if has_own || !self.shard.is_between_frames(id) {
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
        Stream::Tls(secured) => {
            if !secured.flush()?.blocked {
                secured.encrypt(frame)?;
            }
        }
    }
    socket.stream.shut().map(drop)
}
