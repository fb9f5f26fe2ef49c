//! Writing to connections: everything that waits for one goes out in one system call or less.
//!
//! A shard offers its dirty connections in batches. Never waits: what the kernel does not take stays in the session's
//! outbox. Two implementations: [`PlainEgress`] makes one `write` a connection, [`UringEgress`] hands a whole batch to the
//! kernel at once.

mod plain;
mod uring;

use std::fmt;
use std::io;

use mio::net::TcpStream;
pub(crate) use tickwire_router::cycle::Wrote;
use tickwire_router::{Outbox, SessionId};

use crate::config::EgressKind;

pub(crate) use plain::PlainEgress;
pub(crate) use uring::UringEgress;

/// Bytes that one connection writes at most at a time: what waits beyond is for the next round, so that one connection
/// with a long backlog does not hold up the others.
pub(crate) const BYTES_PER_WRITE: usize = 64 * 1024;

/// How bytes are sent. `MSG_EOR` has the kernel keep each write by itself instead of adding it to the one before: it looks
/// whether the connection has too much unsent (`TCP_NOTSENT_LOWAT`) only where it begins anew, and would otherwise take up
/// to 64 KiB beyond that from many small writes.
pub(crate) const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_EOR;

/// Connections that are offered at once.
pub(crate) const BATCH: usize = 256;

/// A connection with something to write.
#[derive(Debug)]
pub(crate) struct Ready<'a> {
    pub(crate) session: SessionId,
    pub(crate) stream: &'a TcpStream,
    pub(crate) outbox: &'a Outbox,
    /// What is written instead of the outbox, whole, if something is.
    pub(crate) own: Option<&'a [u8]>,
    /// Most bytes that are written at this time.
    pub(crate) bytes_max: usize,
}

/// A way to hand the waiting frames of connections to the kernel.
pub(crate) trait Egress: fmt::Debug {
    /// Takes note of a new connection, before anything is written to it.
    fn add(&mut self, _session: SessionId, _stream: &TcpStream) {}

    /// Forgets a connection, before its stream is dropped: what this holds of it would keep it open.
    fn remove(&mut self, _session: SessionId) {}

    /// Writes what waits for each connection of `batch` and appends to `results`, in their order, what became of it: an
    /// error means that the connection is broken. Returns the number of system calls that it took.
    fn write(&mut self, batch: &[Ready<'_>], results: &mut Vec<io::Result<Wrote>>) -> u64;
}

/// The egress that `kind` asks for, for at most `connections`, and its name.
///
/// # Errors
/// When `io_uring` is asked for and the kernel does not offer it.
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

/// The name of the egress that [`open`] would give for `kind`.
///
/// # Errors
/// As [`open`].
pub(crate) fn probe(kind: EgressKind) -> io::Result<&'static str> {
    // On a thread that ends at once: taking a ring down interrupts whatever blocking call its thread is in by then, and the
    // caller's thread must not see that.
    let opened = std::thread::Builder::new()
        .name("probe".to_owned())
        .spawn(move || open(kind, 1).map(|(_, name)| name))?;
    opened
        .join()
        .map_err(|_| io::Error::other("the probe panicked"))?
}

/// Appends what `outbox` has to write now to `gathered`, at most `room` bytes of it.
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

/// What can be written to a connection from where it lies: bytes of its own, or the only frame that waits.
fn in_place<'a>(ready: &Ready<'a>) -> Option<&'a [u8]> {
    ready.own.or_else(|| single(ready.outbox, ready.bytes_max))
}

/// The only frame that waits, if it is one, at most `bytes_max` of it: it can be written from where it lies.
pub(crate) fn single(outbox: &Outbox, bytes_max: usize) -> Option<&[u8]> {
    let mut waiting = outbox.waiting();
    let first = waiting.next()?.bytes;
    let may = &first[..first.len().min(bytes_max)];
    waiting.next().is_none().then_some(may)
}

#[cfg(test)]
mod tests;
