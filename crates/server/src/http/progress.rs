//! A client's socket that gives up when the client takes nothing for too long.
//!
//! hyper has no limit on the time of writing: without this one a client that asks and never reads would keep its connection and its
//! answer for ever. Reading is bounded elsewhere, headers by hyper and bodies by their endpoints.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep};

use crate::tls::HttpStream;

/// Whether a connection has ended because its client took nothing for too long.
// Shared within one thread; hyper asks of a transport that it could be sent to another one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stalled(Arc<AtomicBool>);

impl Stalled {
    /// Whether it has.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A client's connection with a limit on the time that a write may wait.
#[derive(Debug)]
pub(crate) struct Progress {
    io: TokioIo<HttpStream>,
    stall: Duration,
    stalled: Stalled,
    /// When a write that waits has waited too long.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Progress {
    /// `stream`, whose writes may wait for `stall`; when one has waited longer, `stalled` says so.
    pub(crate) fn new(stream: HttpStream, stall: Duration, stalled: Stalled) -> Self {
        Self {
            io: TokioIo::new(stream),
            stall,
            stalled,
            deadline: None,
        }
    }

    /// The connection.
    pub(crate) fn into_inner(self) -> HttpStream {
        self.io.into_inner()
    }

    /// What a write came to: an error when it has waited too long.
    fn watch<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.deadline = None;
            return outcome;
        }
        let stall = self.stall;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + stall)));
        ready!(deadline.as_mut().poll(context));
        self.stalled.0.store(true, Ordering::Relaxed);
        let reason = format!("the client took nothing for {} ms", stall.as_millis());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
    }
}

impl Read for Progress {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Progress {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(context, bytes);
        self.watch(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.watch(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS waits for its socket here, and when it says goodbye.
        let outcome = Pin::new(&mut self.io).poll_flush(context);
        self.watch(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_shutdown(context);
        self.watch(outcome, context)
    }
}
