//! The reading half of a cycle: one round over the connections that have something to be read, within a budget of time.

use std::io;

use tickwire_router::SessionId;
use tickwire_wire::Micros;

use super::{Hub, Link};
use crate::tls::Heard;

/// Reads of one connection in a row before the others get their turn.
const READS_IN_A_ROW: usize = 4;
/// Publications that may wait for any shard while publishers are read.
const QUEUE_HIGH: usize = 4_096;
/// Milliseconds until a shard that has too much to do is looked at again.
const CONGESTED_PAUSE_MS: u64 = 1;
/// Microseconds of a cycle in which requests are read, counted from the first; whoever has not been read by then has its turn
/// in the next one, behind what is to be delivered.
const READ_BUDGET_US: u64 = 500;

impl Hub {
    /// Reads the connections that have something to be read; of publishers only while no shard is congested.
    pub(super) fn read_waiting(&mut self, now: Micros) {
        let began = self.clock.now();
        let congested = self.is_congested();
        self.resume_at = congested.then(|| now.plus_ms(CONGESTED_PAUSE_MS));
        for _ in 0..self.unread.len() {
            let Some(id) = self.unread.pop_front() else { break };
            if congested && self.shard.publishes(id) {
                self.unread.push_back(id);
            } else if let Some(Some(Link::WebSocket(socket))) = self.links.get_mut(id.0 as usize) {
                socket.unread = false;
                self.read(id, now);
                // Requests are work that clients choose; what others are owed does not wait for all of it.
                if self.clock.now().since(began) > READ_BUDGET_US {
                    break;
                }
            }
        }
    }

    pub(super) fn read_later(&mut self, id: SessionId) {
        if let Some(Some(Link::WebSocket(socket))) = self.links.get_mut(id.0 as usize)
            && !std::mem::replace(&mut socket.unread, true)
        {
            self.unread.push_back(id);
        }
    }

    /// Whether some shard has more to hand out than it should: then publishers are not read, so that they wait, by the means
    /// of TCP, for what they have published, instead of pushing it out of the histories of those who read it.
    fn is_congested(&self) -> bool {
        self.shard.queue_depth() > QUEUE_HIGH || self.shard.directory().queue_depth_max() > QUEUE_HIGH
    }

    fn read(&mut self, id: SessionId, now: Micros) {
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
