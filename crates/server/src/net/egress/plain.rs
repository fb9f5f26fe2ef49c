//! Makes one non-blocking `send` per connection.
//!
//! A single frame is written without a copy. Several are first gathered in a buffer of the shard, which is cheaper than
//! a vector of slices for frames of a few hundred bytes.

use std::io;

use mio::net::TcpStream;
use socket2::SockRef;

use super::{BYTES_PER_WRITE, Egress, Outgoing, SEND_FLAGS, Written, Wrote, gather, in_place};

/// The egress for every kernel.
#[derive(Debug)]
pub(crate) struct PlainEgress {
    gathered: Vec<u8>,
}

impl PlainEgress {
    pub(crate) fn new() -> Self {
        Self {
            gathered: Vec::with_capacity(BYTES_PER_WRITE),
        }
    }
}

impl Egress for PlainEgress {
    fn write(&mut self, batch: &[Outgoing<'_>], results: &mut Vec<Written>) -> u64 {
        for ready in batch {
            let bytes = match in_place(ready) {
                Some(bytes) => bytes,
                None => {
                    self.gathered.clear();
                    gather(ready.outbox, ready.bytes_max, &mut self.gathered);
                    &self.gathered
                }
            };
            results.push(Written {
                session: ready.session,
                outcome: write_once(ready.stream, bytes),
            });
        }
        batch.len() as u64
    }
}

fn write_once(stream: &TcpStream, bytes: &[u8]) -> io::Result<Wrote> {
    let socket = SockRef::from(stream);
    loop {
        return match socket.send_with_flags(bytes, SEND_FLAGS) {
            Ok(count) if count == bytes.len() => Ok(Wrote::All(count)),
            Ok(count) => Ok(Wrote::Part(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Wrote::Part(0)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}
