//! Writing to connections: everything that waits for one goes out in one system call.
//!
//! Never waits. What the kernel does not take stays in the session's outbox.

use std::io::{self, Write};

use mio::net::TcpStream;
use tickwire_router::Outbox;

/// Bytes that one call writes at most: what waits beyond is for the next round, so that one connection with a long
/// backlog does not hold up the others.
const BATCH_BYTES: usize = 64 * 1024;

/// What one write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// All that was offered; whether more waits is for the outbox to say.
    All(usize),
    /// Only this much: the socket is full until it reports that it is writable.
    Part(usize),
}

/// A way to hand the waiting frames of connections to the kernel.
pub(crate) trait Egress {
    /// Writes what waits in `outbox`.
    ///
    /// # Errors
    /// When the connection is broken.
    fn write(&mut self, stream: &mut TcpStream, outbox: &Outbox) -> io::Result<Wrote>;
}

/// One non-blocking `write` a connection. A single frame is written from where it lies; several are gathered in a buffer
/// of the shard first, which is cheaper than a vector of slices for frames of a few hundred bytes.
#[derive(Debug)]
pub(crate) struct PlainEgress {
    gathered: Vec<u8>,
}

impl PlainEgress {
    pub(crate) fn new() -> Self {
        Self {
            gathered: Vec::with_capacity(BATCH_BYTES),
        }
    }
}

impl Egress for PlainEgress {
    fn write(&mut self, stream: &mut TcpStream, outbox: &Outbox) -> io::Result<Wrote> {
        let mut waiting = outbox.waiting();
        let Some(first) = waiting.next() else {
            return Ok(Wrote::All(0));
        };
        let Some(second) = waiting.next().filter(|_| first.bytes.len() < BATCH_BYTES) else {
            return write_once(stream, first.bytes);
        };
        self.gathered.clear();
        for frame in [first, second].into_iter().chain(waiting) {
            let room = BATCH_BYTES - self.gathered.len();
            self.gathered
                .extend_from_slice(&frame.bytes[..frame.bytes.len().min(room)]);
            if frame.bytes.len() >= room {
                break;
            }
        }
        write_once(stream, &self.gathered)
    }
}

fn write_once(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Wrote> {
    loop {
        return match stream.write(bytes) {
            Ok(count) if count == bytes.len() => Ok(Wrote::All(count)),
            Ok(count) => Ok(Wrote::Part(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Wrote::Part(0)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}
