//! Writes to connections: the waiting bytes of one go out in at most one system call.
//!
//! A shard offers its dirty connections in batches. Writing never waits: bytes that the kernel does not take stay in
//! the session's outbox. There are two implementations: [`PlainEgress`] makes one `write` per connection,
//! [`UringEgress`] hands a whole batch to the kernel at once.

mod uring;

use std::fmt;
use std::io;

use mio::net::TcpStream;
use socket2::SockRef;
pub(crate) use tickwire_router::cycle::{Written, Wrote};
use tickwire_router::{Outbox, SessionId};

use crate::config::EgressKind;

pub(crate) use uring::UringEgress;

/// The most bytes that are written to one connection at a time. Further bytes wait for the next round, so that a
/// connection with a long backlog does not hold up the others.
pub(crate) const BYTES_PER_WRITE: usize = 64 * 1024;

/// The flags of each send. `MSG_EOR` makes the kernel keep each write apart instead of adding it to the one before. The
/// kernel checks `TCP_NOTSENT_LOWAT` only where a new piece begins, and would otherwise take up to 64 KiB beyond it
/// from many small writes.
pub(crate) const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_EOR;

/// The number of connections that are offered at once.
pub(crate) const BATCH: usize = 256;

/// A connection with something to write.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) session: SessionId,
    pub(crate) stream: &'a TcpStream,
    pub(crate) outbox: &'a Outbox,
    /// Bytes that are written in place of the outbox, if there are any.
    pub(crate) instead: Option<&'a [u8]>,
    /// The most bytes that are written at this time.
    pub(crate) bytes_max: usize,
}

/// A way to hand the waiting bytes of connections to the kernel.
pub(crate) trait Egress: fmt::Debug {
    /// Records a new connection, before anything is written to it.
    fn add(&mut self, _session: SessionId, _stream: &TcpStream) {}

    /// Removes a connection, before its stream is dropped: otherwise it would stay open.
    fn remove(&mut self, _session: SessionId) {}

    /// Writes what waits for each connection of `batch` and appends the outcomes to `results`. An error means that the connection is broken. Returns the number of system calls.
    fn write(&mut self, batch: &[Outgoing<'_>], results: &mut Vec<Written>) -> u64;
}

/// The egress for every kernel: one non-blocking `send` per connection.
///
/// A single frame is written without a copy. Several are first gathered in a buffer of the shard, which is cheaper than
/// a vector of slices for frames of a few hundred bytes.
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

/// Opens the egress `kind` for at most `connections`, and returns it with its name.
///
/// # Errors
/// If `io_uring` is required and the kernel does not offer it.
pub(crate) fn open(kind: EgressKind, connections: usize) -> io::Result<(Box<dyn Egress>, &'static str)> {
    match kind {
        EgressKind::Plain => Ok((Box::new(PlainEgress::new()), "plain")),
        EgressKind::IoUring => Ok((Box::new(UringEgress::open(connections)?), "io_uring")),
        EgressKind::Auto => match UringEgress::open(connections) {
            Ok(egress) => Ok((Box::new(egress), "io_uring")),
            Err(error) => {
                tracing::debug!(%error, "no io_uring here; writing plainly");
                Ok((Box::new(PlainEgress::new()), "plain"))
            }
        },
    }
}

/// The name of the egress that [`open`] would return for `kind`.
///
/// # Errors
/// Same as [`open`].
pub(crate) fn probe(kind: EgressKind) -> io::Result<&'static str> {
    // The ring is opened on a thread that ends at once: dropping a ring interrupts the blocking call of its thread at
    // that time, and that must not happen to the caller's thread.
    let opened = std::thread::Builder::new()
        .name("probe".to_owned())
        .spawn(move || open(kind, 1).map(|(_, name)| name))?;
    opened
        .join()
        .map_err(|_| io::Error::other("the probe panicked"))?
}

/// Appends at most `room` bytes that wait in `outbox` to `gathered`.
pub(crate) fn gather(outbox: &Outbox, mut room: usize, gathered: &mut Vec<u8>) {
    for waiting in outbox.waiting() {
        let count = waiting.bytes.len().min(room);
        gathered.extend_from_slice(&waiting.bytes[..count]);
        room -= count;
        if room == 0 {
            return;
        }
    }
}

/// Bytes that can be written to a connection without a copy: those in place of its outbox, or the only waiting frame.
fn in_place<'a>(ready: &Outgoing<'a>) -> Option<&'a [u8]> {
    match ready.instead {
        Some(instead) => Some(&instead[..instead.len().min(ready.bytes_max)]),
        None => single(ready.outbox, ready.bytes_max),
    }
}

/// The only waiting frame, up to `bytes_max` of it, if there is just one. It can be written without a copy.
pub(crate) fn single(outbox: &Outbox, bytes_max: usize) -> Option<&[u8]> {
    let mut waiting = outbox.waiting();
    let first = waiting.next()?.bytes;
    let may = &first[..first.len().min(bytes_max)];
    waiting.next().is_none().then_some(may)
}

#[cfg(test)]
mod tests;
