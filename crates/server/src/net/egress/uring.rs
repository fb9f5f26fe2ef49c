//! Writes to a batch of connections in one system call, with `io_uring`.
//!
//! All sends of a batch are submitted together, and all their completions are taken before [`Egress::write`] returns.
//! So the kernel never holds a pointer into a frame or into the gathering buffer afterwards, and buffers are simply
//! borrowed. Sends do not wait (`MSG_DONTWAIT`), so all of them complete within the submission.
//!
//! Connections are in the ring's own table of files, each at its session's number, so that the kernel need not look up
//! its descriptor for every send. A connection without a place in the table is written by its descriptor.
//!
//! A ring that fails again and again, or completes sends that were not made, is given up for good: from then on
//! connections are written plainly.
#![expect(unsafe_code, reason = "the kernel is handed pointers into frames")]

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, Probe, opcode, types};

use mio::net::TcpStream;
use thiserror::Error;
use tickwire_router::SessionId;

use super::{
    BATCH, BYTES_PER_WRITE, Egress, Outgoing, PlainEgress, SEND_FLAGS, Written, Wrote, gather, in_place,
};

/// The bytes that are gathered for one submission. A batch with more takes several submissions.
const GATHER_BYTES: usize = 4 * BYTES_PER_WRITE;

/// Most places in the table of connections. A place takes the kernel a pointer.
const TABLE_MAX: usize = 64 * 1024;

/// The number of submissions that may fail in a row before the ring is given up.
const ATTEMPTS_MAX: u32 = 16;

/// A send of the current submission.
#[derive(Debug, Clone, Copy)]
struct Sending {
    /// The number of bytes that were offered.
    len: usize,
    /// The kernel's result, if there is one yet: a count of bytes, or a negative error number.
    result: Option<i32>,
}

/// Why a ring is no longer used.
#[derive(Debug, Error)]
enum RingFault {
    /// Submissions fail again and again.
    #[error("submitting failed {ATTEMPTS_MAX} times in a row: {0}")]
    Submit(#[source] io::Error),
    /// The ring has no room although it is empty.
    #[error("an empty ring takes nothing")]
    Full,
    /// A completion does not belong to any send.
    #[error("a completion of what was not submitted, or not once: {0}")]
    Stray(u64),
}

/// The egress for kernels with `io_uring`.
pub(crate) struct UringEgress {
    /// `None` after it was given up.
    ring: Option<Ring>,
    plain: PlainEgress,
    /// Whether the ring's table of files has the connection, by the session's number.
    tabled: Vec<bool>,
}

/// A ring, and its current submission.
struct Ring {
    uring: IoUring,
    gathered: Vec<u8>,
    sending: Vec<Sending>,
}

impl std::fmt::Debug for UringEgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringEgress").finish_non_exhaustive()
    }
}

impl UringEgress {
    /// A ring for the calling thread, with a table for `connections` connections.
    ///
    /// # Errors
    /// If the kernel has no `io_uring`, forbids it, or has no send in it.
    pub(crate) fn open(connections: usize) -> io::Result<Self> {
        let places = connections.min(TABLE_MAX);
        let uring = IoUring::builder()
            .setup_submit_all()
            .setup_coop_taskrun()
            .setup_single_issuer()
            .build(u32::try_from(BATCH).map_err(io::Error::other)?)?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Send::CODE) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel's io_uring has no send",
            ));
        }
        let tabled = match uring
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
            ring: Some(Ring {
                uring,
                gathered: Vec::with_capacity(GATHER_BYTES),
                sending: Vec::with_capacity(BATCH),
            }),
            plain: PlainEgress::new(),
            tabled,
        })
    }

    /// Gives up the ring after a failed submission. It uses the results that are known, writes plainly what the kernel
    /// was never given, and writes everything plainly from then on. Returns how many connections of `batch` were
    /// handled.
    fn give_up(&mut self, fault: &RingFault, batch: &[Outgoing<'_>], results: &mut Vec<Written>) -> usize {
        tracing::error!(%fault, "io_uring is given up; writing plainly from now on");
        let Some(ring) = self.ring.take() else {
            return 0;
        };
        // The table goes too, because it would keep connections open.
        self.tabled = Vec::new();
        for (ready, sending) in batch.iter().zip(&ring.sending) {
            let outcome = match (sending.result, fault) {
                (Some(_), _) => outcome(sending),
                // The send is still in the ring, which is dropped with it.
                (None, RingFault::Submit(_) | RingFault::Full) => {
                    self.plain.write(std::slice::from_ref(ready), results);
                    continue;
                }
                // It is unknown whether it was written, so nothing may follow it.
                (None, RingFault::Stray(_)) => Err(io::Error::other("lost by io_uring")),
            };
            results.push(Written {
                session: ready.session,
                outcome,
            });
        }
        ring.sending.len()
    }
}

impl Ring {
    /// Submits as many sends of `batch` as the ring and the buffer hold, and takes their completions. Returns the
    /// number of sends; `sending` has them even after a failure.
    fn submit(&mut self, tabled: &[bool], batch: &[Outgoing<'_>]) -> Result<usize, RingFault> {
        self.gathered.clear();
        self.sending.clear();
        for ready in batch.iter().take(BATCH) {
            let (start, len) = match in_place(ready) {
                Some(bytes) => (bytes.as_ptr(), bytes.len()),
                None => {
                    let room = GATHER_BYTES - self.gathered.len();
                    if room < ready.bytes_max {
                        break;
                    }
                    let start = self.gathered.len();
                    // This stays within the capacity, so that bytes that were gathered before do not move.
                    gather(ready.outbox, ready.bytes_max, &mut self.gathered);
                    (self.gathered[start..].as_ptr(), self.gathered.len() - start)
                }
            };
            let offered = u32::try_from(len).unwrap_or(u32::MAX);
            let send = match tabled.get(ready.session.0 as usize) {
                Some(true) => opcode::Send::new(types::Fixed(ready.session.0), start, offered),
                _ => opcode::Send::new(types::Fd(ready.stream.as_raw_fd()), start, offered),
            };
            let send = send
                .flags(SEND_FLAGS)
                .build()
                .user_data(self.sending.len() as u64);
            // SAFETY: the descriptor, or the table's, is that of a stream that `batch` borrows. `start` points to
            // `offered` bytes of a frame that `batch` borrows, or of `self.gathered`. That buffer is neither touched
            // again nor moved before `reap` has seen as many completions as the kernel took of the pushed sends. The
            // kernel never takes the others: the ring is given up then, and dropped. So both are valid for as long as
            // the kernel uses them.
            let pushed = unsafe { self.uring.submission().push(&send) };
            if pushed.is_err() {
                break; // the ring is full
            }
            self.sending.push(Sending {
                len: offered as usize,
                result: None,
            });
        }
        if self.sending.is_empty() && !batch.is_empty() {
            return Err(RingFault::Full);
        }
        self.reap()?;
        Ok(self.sending.len())
    }

    /// Hands all pushed sends to the kernel and waits for a completion of each. Does not return before the kernel is
    /// done with those that it has taken, because the buffers are only borrowed.
    fn reap(&mut self) -> Result<(), RingFault> {
        let (pushed, mut seen, mut attempts) = (self.sending.len(), 0, 0);
        let mut stray = None;
        while seen < pushed {
            let submitted = self.uring.submit_and_wait(pushed - seen);
            let before = seen;
            for completion in self.uring.completion() {
                seen += 1;
                let number = completion.user_data();
                let sending = usize::try_from(number)
                    .ok()
                    .and_then(|index| self.sending.get_mut(index));
                match sending {
                    Some(sending) if sending.result.is_none() => sending.result = Some(completion.result()),
                    Some(sending) => {
                        // It is unknown which of the two completions is the right one.
                        sending.result = Some(-libc::EIO);
                        stray = Some(number);
                    }
                    None => stray = Some(number),
                }
            }
            attempts = if seen > before { 0 } else { attempts + 1 };
            if let Err(error) = submitted
                && attempts >= ATTEMPTS_MAX
                // Sends do not wait, so those that the kernel has taken are done within the call that hands them over.
                && self.uring.submission().len() == pushed.saturating_sub(seen)
            {
                return Err(RingFault::Submit(error));
            }
        }
        // There were as many completions as sends. If one of them is stray, a send of ours may have none.
        stray.map_or(Ok(()), |number| Err(RingFault::Stray(number)))
    }
}

impl Egress for UringEgress {
    fn add(&mut self, session: SessionId, stream: &TcpStream) {
        let tabled = self.tabled.get_mut(session.0 as usize);
        if let (Some(ring), Some(tabled)) = (&self.ring, tabled) {
            let files = [stream.as_raw_fd()];
            match ring.uring.submitter().register_files_update(session.0, &files) {
                Ok(_) => *tabled = true,
                Err(error) => {
                    tracing::debug!(session = session.0, %error, "not in the table; written to by its descriptor");
                }
            }
        }
    }

    fn remove(&mut self, session: SessionId) {
        let tabled = self.tabled.get_mut(session.0 as usize);
        let (Some(ring), Some(tabled)) = (&self.ring, tabled) else {
            return;
        };
        if !std::mem::take(tabled) {
            return;
        }
        let submitter = ring.uring.submitter();
        if let Err(error) = submitter.register_files_update(session.0, &[-1]) {
            // A connection that stays in the table stays open, so the table is given up.
            tracing::warn!(session = session.0, %error, "giving up io_uring's table of connections");
            self.tabled.clear();
            if let Err(error) = submitter.unregister_files() {
                tracing::error!(%error, "giving up io_uring: it keeps its table of connections");
                self.ring = None;
            }
        }
    }

    fn write(&mut self, batch: &[Outgoing<'_>], results: &mut Vec<Written>) -> u64 {
        let (mut rest, mut calls) = (batch, 0);
        while let Some(ring) = &mut self.ring
            && !rest.is_empty()
        {
            calls += 1;
            let count = match ring.submit(&self.tabled, rest) {
                Ok(count) => {
                    results.extend(rest.iter().zip(&ring.sending).map(|(ready, sending)| Written {
                        session: ready.session,
                        outcome: outcome(sending),
                    }));
                    count
                }
                Err(fault) => self.give_up(&fault, rest, results),
            };
            rest = &rest[count..];
        }
        calls + self.plain.write(rest, results)
    }
}

fn outcome(sending: &Sending) -> io::Result<Wrote> {
    let result = sending.result.unwrap_or(-libc::EIO);
    match usize::try_from(result) {
        Ok(count) if count == sending.len => Ok(Wrote::All(count)),
        Ok(count) if count < sending.len => Ok(Wrote::Part(count)),
        Ok(count) => Err(io::Error::other(format!(
            "{count} bytes written of {}",
            sending.len
        ))),
        Err(_) => match -result {
            libc::EAGAIN => Ok(Wrote::Part(0)),
            // The send was interrupted before the first byte, and the socket may take it. The next round tries again.
            libc::EINTR => Ok(Wrote::All(0)),
            number => Err(io::Error::from_raw_os_error(number)),
        },
    }
}

/// The outcome of a send of `len` bytes that the kernel completed with `result`.
#[cfg(test)]
pub(super) fn outcome_of(len: usize, result: i32) -> io::Result<Wrote> {
    outcome(&Sending {
        len,
        result: Some(result),
    })
}

#[cfg(test)]
impl UringEgress {
    /// Makes every submission fail from now on: the ring's descriptor is replaced by one that is not a ring.
    pub(super) fn break_ring(&self) {
        use std::os::fd::IntoRawFd;

        let ring = self.ring.as_ref().expect("it is used").uring.as_raw_fd();
        let other = std::fs::File::open("/dev/null")
            .expect("it is there")
            .into_raw_fd();
        // SAFETY: both are open, and the ring's stays open and is owned by what owned it.
        let replaced = unsafe { libc::dup2(other, ring) };
        assert_eq!(replaced, ring);
    }

    /// Makes the kernel complete an operation that was no send, with the number of one.
    pub(super) fn stray(&mut self, number: u64) {
        let nothing = opcode::Nop::new().build().user_data(number);
        let uring = &mut self.ring.as_mut().expect("it is used").uring;
        // SAFETY: it uses no memory.
        unsafe { uring.submission().push(&nothing) }.expect("there is room");
    }

    /// Whether batches are written with the ring.
    pub(super) fn is_in_use(&self) -> bool {
        self.ring.is_some()
    }
}
