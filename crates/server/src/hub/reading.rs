//! The reading half of a cycle: which connections are read now, and how much of each.

use std::io;

use tickwire_router::SessionId;
use tickwire_wire::Micros;

use super::{Hub, Link, QUEUE_HIGH, READS_IN_A_ROW};
use crate::tls::Heard;

impl Hub {
    pub(super) fn read_later(&mut self, id: SessionId) {
        if let Some(Some(Link::WebSocket(socket))) = self.links.get_mut(id.0 as usize)
            && !std::mem::replace(&mut socket.unread, true)
        {
            self.unread.push_back(id);
        }
    }

    /// Whether some shard has more to hand out than it should: then publishers are not read, so that they wait, by the means
    /// of TCP, for what they have published, instead of pushing it out of the histories of those who read it.
    pub(super) fn is_congested(&self) -> bool {
        self.shard.queue_depth() > QUEUE_HIGH || self.shard.directory().queue_depth_max() > QUEUE_HIGH
    }

    pub(super) fn read(&mut self, id: SessionId, now: Micros) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for turn in 0.. {
            if turn == READS_IN_A_ROW {
                self.read_later(id);
                break;
            }
            let Some(Some(Link::WebSocket(socket))) = self.links.get_mut(id.0 as usize) else {
                break;
            };
            if self.shard.echo_waits(id) {
                socket.held = true;
                break;
            }
            self.metrics.socket_reads += 1;
            match socket.stream.read(&mut scratch) {
                Ok(Heard { count: 0, .. }) => {
                    self.drop_session(id);
                    break;
                }
                Ok(Heard { count, wire, drained }) => {
                    self.metrics.socket_read_bytes += wire as u64;
                    // A short read leaves nothing behind but the end, for which the poller does not call again.
                    let drained = drained && !socket.ended;
                    self.received(id, &mut scratch[..count], now);
                    if drained {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(session = id.0, %error, "connection lost");
                    self.drop_session(id);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }
}
