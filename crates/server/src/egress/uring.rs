//! A batch of connections in one system call, by `io_uring`.
//!
//! Every send of a batch is submitted together and every completion is taken before [`Egress::write`] returns, so the
//! kernel never holds a pointer into a frame or into the gathering buffer afterwards: buffers are plainly borrowed. Sends
//! don't wait (`MSG_DONTWAIT`), so all complete within the submission.
//!
//! Connections are in the ring's own table of files, each at its session's number, so that the kernel need not look its
//! descriptor up for every send. One that has no place there is written to by its descriptor.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, Probe, opcode, types};

use mio::net::TcpStream;
use tickwire_router::SessionId;

use super::{BATCH, BYTES_PER_WRITE, Egress, Ready, SEND_FLAGS, Wrote, gather, single};

/// Bytes that are gathered for one submission. A batch that needs more takes several.
const GATHER_BYTES: usize = 4 * BYTES_PER_WRITE;

/// Most places in the table of connections; a place costs the kernel a pointer.
const TABLE_MAX: usize = 64 * 1024;

/// A send of the submission that is being put together.
#[derive(Debug, Clone, Copy)]
struct Sending {
    /// How much was offered.
    len: usize,
    /// What the kernel said: a count, or a negative error number.
    result: i32,
}

/// The egress for kernels with `io_uring`.
pub(crate) struct UringEgress {
    ring: IoUring,
    /// Whether the ring's table of files has the connection of this session.
    tabled: Vec<bool>,
    gathered: Vec<u8>,
    sending: Vec<Sending>,
}

impl std::fmt::Debug for UringEgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringEgress").finish_non_exhaustive()
    }
}

impl UringEgress {
    /// A ring for the calling thread, with a table for `connections` of them.
    ///
    /// # Errors
    /// When the kernel has no `io_uring`, forbids it, or has no send in it.
    pub(crate) fn open(connections: usize) -> io::Result<Self> {
        let places = connections.min(TABLE_MAX);
        let ring = IoUring::builder()
            .setup_submit_all()
            .setup_coop_taskrun()
            .setup_single_issuer()
            .build(u32::try_from(BATCH).map_err(io::Error::other)?)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Send::CODE) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel's io_uring has no send",
            ));
        }
        let tabled = match ring
            .submitter()
            .register_files_sparse(u32::try_from(places).map_err(io::Error::other)?)
        {
            Ok(()) => vec![false; places],
            Err(error) => {
                tracing::debug!(places, %error, "io_uring keeps no table of connections");
                Vec::new()
            }
        };
        Ok(Self {
            ring,
            tabled,
            gathered: Vec::with_capacity(GATHER_BYTES),
            sending: Vec::with_capacity(BATCH),
        })
    }

    /// Submits as many of `batch` as the ring and the buffer hold, and takes their completions. Returns their number.
    fn submit(&mut self, batch: &[Ready<'_>]) -> usize {
        self.gathered.clear();
        self.sending.clear();
        for ready in batch.iter().take(BATCH) {
            let (start, len) = match single(ready.outbox, ready.bytes_max) {
                Some(bytes) => (bytes.as_ptr(), bytes.len()),
                None => {
                    let room = GATHER_BYTES - self.gathered.len();
                    if room < ready.bytes_max {
                        break;
                    }
                    let start = self.gathered.len();
                    // Stays within the capacity, so that what was gathered before does not move.
                    gather(ready.outbox, ready.bytes_max, &mut self.gathered);
                    (self.gathered[start..].as_ptr(), self.gathered.len() - start)
                }
            };
            let offered = u32::try_from(len).unwrap_or(u32::MAX);
            let send = match self.tabled.get(ready.session.0 as usize) {
                Some(true) => opcode::Send::new(types::Fixed(ready.session.0), start, offered),
                _ => opcode::Send::new(types::Fd(ready.stream.as_raw_fd()), start, offered),
            };
            let send = send
                .flags(SEND_FLAGS)
                .build()
                .user_data(self.sending.len() as u64);
            // SAFETY: the descriptor, or the table's, is that of a stream that `batch` borrows, and `start` points to `offered` bytes of a
            // frame that `batch` borrows, or of `self.gathered`, which is not touched again, nor moves, until `reap` has
            // seen the completions of all that was pushed. So both are valid for as long as the kernel uses them.
            let pushed = unsafe { self.ring.submission().push(&send) };
            if pushed.is_err() {
                break; // the ring is full
            }
            self.sending.push(Sending {
                len: offered as usize,
                result: -libc::EAGAIN,
            });
        }
        self.reap();
        self.sending.len()
    }

    /// Hands everything that was pushed to the kernel and waits for every completion. Does not return before: the buffers
    /// are only borrowed.
    fn reap(&mut self) {
        let mut missing = self.sending.len();
        while missing > 0 {
            // Interrupted, or the kernel is short of memory for a moment: what was pushed stays in the ring.
            if let Err(error) = self.ring.submit_and_wait(missing) {
                tracing::debug!(%error, "io_uring asks for another try");
            }
            for completion in self.ring.completion() {
                missing = missing.saturating_sub(1);
                let index = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
                if let Some(sending) = self.sending.get_mut(index) {
                    sending.result = completion.result();
                }
            }
        }
    }
}

impl Egress for UringEgress {
    fn add(&mut self, session: SessionId, stream: &TcpStream) {
        if let Some(tabled) = self.tabled.get_mut(session.0 as usize) {
            let files = [stream.as_raw_fd()];
            match self.ring.submitter().register_files_update(session.0, &files) {
                Ok(_) => *tabled = true,
                Err(error) => {
                    tracing::debug!(session = session.0, %error, "not in the table; written to by its descriptor");
                }
            }
        }
    }

    fn remove(&mut self, session: SessionId) {
        let Some(tabled) = self.tabled.get_mut(session.0 as usize) else {
            return;
        };
        if !std::mem::take(tabled) {
            return;
        }
        if let Err(error) = self.ring.submitter().register_files_update(session.0, &[-1]) {
            // What stays in the table stays open: rather none at all.
            tracing::warn!(session = session.0, %error, "giving up io_uring's table of connections");
            self.tabled.clear();
            if let Err(error) = self.ring.submitter().unregister_files() {
                tracing::error!(%error, "io_uring keeps its table of connections: some will not be closed");
            }
        }
    }

    fn write(&mut self, batch: &[Ready<'_>], results: &mut Vec<io::Result<Wrote>>) -> u64 {
        let (mut rest, mut calls) = (batch, 0);
        while !rest.is_empty() {
            let count = self.submit(rest);
            calls += 1;
            results.extend(self.sending.iter().map(outcome));
            rest = &rest[count..];
        }
        calls
    }
}

fn outcome(sending: &Sending) -> io::Result<Wrote> {
    match usize::try_from(sending.result) {
        Ok(count) if count == sending.len => Ok(Wrote::All(count)),
        Ok(count) => Ok(Wrote::Part(count)),
        Err(_) => match -sending.result {
            // Interrupted before the first byte: the next round tries again.
            libc::EAGAIN | libc::EINTR => Ok(Wrote::Part(0)),
            number => Err(io::Error::from_raw_os_error(number)),
        },
    }
}
