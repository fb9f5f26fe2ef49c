//! A client's socket with limits on writing: it fails if the client takes nothing for too long, or takes an answer too
//! slowly.
//!
//! Hyper does not limit the time of writing. Without these limits, a client that asks and never reads, or reads a byte
//! at a time, would keep its connection and its answer for ever. Reading is bounded elsewhere: headers by hyper, and
//! bodies by their endpoints.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tickwire_wire::limits::ANSWER_BYTES_PER_S;
use tokio::time::{Instant, Sleep};

use super::smuggling::{HeadScan, Smuggling};
use super::unreadable;
use crate::net::tls::HttpStream;

/// The number of bytes that are read at once from a client that sends little.
const CHUNK_BYTES: usize = 8 * 1024;
/// The same for one that sends much: for whom hyper has made more room than that.
const LONG_CHUNK_BYTES: usize = 64 * 1024;

#[derive(Debug, Default)]
struct State {
    answered: AtomicBool,
    waits: AtomicBool,
    followed: AtomicBool,
}

/// The state of a connection that hyper serves: whether everything that its client has sent was answered, and whether
/// bytes wait to be written.
// It is shared within one thread, but hyper requires a transport that can be sent to another one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exchange(Arc<State>);

impl Exchange {
    /// Whether a request was answered, and nothing has come since.
    pub(crate) fn is_answered(&self) -> bool {
        self.0.answered.load(Ordering::Relaxed)
    }

    /// Records whether everything that came was answered.
    pub(crate) fn set_answered(&self, answered: bool) {
        self.0.answered.store(answered, Ordering::Relaxed);
    }

    /// Records that the answer to be written is followed at once by bytes of the hub, which then go out together with it.
    pub(crate) fn set_followed(&self) {
        self.0.followed.store(true, Ordering::Relaxed);
    }

    fn is_followed(&self) -> bool {
        self.0.followed.load(Ordering::Relaxed)
    }

    /// Whether hyper has something to write that the socket has not taken.
    pub(crate) fn waits(&self) -> bool {
        self.0.waits.load(Ordering::Relaxed)
    }

    fn set_waits(&self, waits: bool) {
        self.0.waits.store(waits, Ordering::Relaxed);
    }
}

/// The longest time in which a client may take `bytes` of an answer.
fn time_to_take(bytes: usize) -> Duration {
    Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / ANSWER_BYTES_PER_S)
}

/// A client's connection with a limit on the time that a write may wait.
#[derive(Debug)]
pub(crate) struct Progress {
    io: TokioIo<HttpStream>,
    stall: Duration,
    exchange: Exchange,
    /// When a waiting write has waited too long.
    deadline: Option<Pin<Box<Sleep>>>,
    heads: HeadScan,
    /// The answer that replaces hyper's own one, and the number of its bytes that were written.
    last_words: Option<(Vec<u8>, usize)>,
}

impl Progress {
    /// Wraps `stream`. A waiting write fails after `stall`. Bytes that the client takes meanwhile extend that time by
    /// the time that they may take. The state of the connection is recorded in `exchange`.
    pub(crate) fn new(stream: HttpStream, stall: Duration, exchange: Exchange) -> Self {
        Self {
            io: TokioIo::new(stream),
            stall,
            exchange,
            deadline: None,
            heads: HeadScan::default(),
            last_words: None,
        }
    }

    /// Also reports requests with two lengths to `smuggling`.
    pub(crate) fn telling(mut self, smuggling: Smuggling) -> Self {
        self.heads = HeadScan::new(smuggling);
        self
    }

    /// Reads up to `N` bytes, which are seen on their way to hyper.
    fn poll_chunk<const N: usize>(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = [0; N];
        let length = buffer.remaining().min(N);
        let mut piece = ReadBuf::new(&mut piece[..length]);
        ready!(Pin::new(&mut self.io).poll_read(context, piece.unfilled()))?;
        if !piece.filled().is_empty() {
            self.exchange.set_answered(false);
        }
        self.heads.read(piece.filled());
        buffer.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }

    /// The inner connection.
    pub(crate) fn into_inner(self) -> HttpStream {
        self.io.into_inner()
    }

    /// If `bytes` from hyper end with an answer of its own, the number of bytes before it.
    fn look_for_last_words(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.last_words.is_some() {
            return Some(0);
        }
        let found = unreadable::find(bytes)?;
        if found.at == 0 {
            self.last_words = Some((found.answer, 0));
        }
        Some(found.at)
    }

    /// Writes the answer that replaces hyper's own one of `length` bytes.
    fn write_last_words(&mut self, length: usize, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some((answer, written)) = &mut self.last_words {
            let outcome = Pin::new(&mut self.io).poll_write(context, &answer[*written..]);
            if let Poll::Ready(Ok(count)) = &outcome {
                if *count == 0 {
                    return Poll::Ready(Ok(0));
                }
                *written += count;
                if *written == answer.len() {
                    self.last_words = None;
                }
            }
            ready!(self.watch_data(outcome, context))?;
        }
        Poll::Ready(Ok(length))
    }

    /// Checks the result of a write of data. More data may follow, so the time is extended, but by no more than a stall
    /// may take.
    fn watch_data(
        &mut self,
        outcome: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match (&outcome, &mut self.deadline) {
            (Poll::Ready(Ok(taken)), Some(deadline)) => {
                let later = deadline.deadline() + time_to_take(*taken);
                let latest = Instant::now() + self.stall;
                deadline.as_mut().reset(later.min(latest));
                outcome
            }
            _ => self.watch(outcome, context),
        }
    }

    /// Checks the result of a write that is complete when it is ready. It is an error if it has waited too long.
    fn watch<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.exchange.set_waits(outcome.is_pending());
        if outcome.is_ready() {
            self.deadline = None;
            return outcome;
        }
        let stall = self.stall;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + stall)));
        ready!(deadline.as_mut().poll(context));
        let reason = format!(
            "the client took nothing for {} ms, or too little",
            stall.as_millis()
        );
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
    }
}

impl Read for Progress {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > CHUNK_BYTES {
            self.poll_chunk::<LONG_CHUNK_BYTES>(context, &mut buffer)
        } else {
            self.poll_chunk::<CHUNK_BYTES>(context, &mut buffer)
        }
    }
}

impl Write for Progress {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = match self.look_for_last_words(bytes) {
            Some(0) => return self.write_last_words(bytes.len(), context),
            Some(before) => &bytes[..before],
            None => bytes,
        };
        let outcome = match self.exchange.is_followed() {
            true => self.io.inner_mut().poll_write_followed(context, bytes),
            false => Pin::new(&mut self.io).poll_write(context, bytes),
        };
        self.watch_data(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // An answer of hyper's own has no body, so it is in one piece.
        if let [slice] = slices {
            return self.poll_write(context, slice);
        }
        let outcome = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.watch_data(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Hyper flushes after it has written everything. TLS waits for its socket here, and when it sends its closing
        // alert.
        let outcome = Pin::new(&mut self.io).poll_flush(context);
        self.watch(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_shutdown(context);
        self.watch(outcome, context)
    }
}
