//! A reader that fails when no byte comes for too long.
//!
//! The silence of the socket counts, not the time since the last read. If the program takes no message for an hour, the
//! heartbeats of that hour are in the socket, and the next read finds them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// The longest limit in milliseconds, whatever a broker says: a day.
const LIMIT_MS_MAX: u64 = 86_400_000;

/// The longest silence that is allowed, in milliseconds. The link sets it when it learns it from the welcome.
#[derive(Debug, Clone)]
pub(crate) struct QuietMax(Arc<AtomicU64>);

impl QuietMax {
    pub(crate) fn new(limit_ms: u64) -> Self {
        Self(Arc::new(AtomicU64::new(limit_ms.min(LIMIT_MS_MAX))))
    }

    /// Sets the limit. It applies from the next read that has to wait.
    pub(crate) fn set_ms(&self, limit_ms: u64) {
        self.0.store(limit_ms.min(LIMIT_MS_MAX), Ordering::Relaxed);
    }

    pub(crate) fn ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads from `R`; fails with [`io::ErrorKind::TimedOut`] after too long a silence.
#[derive(Debug)]
pub(crate) struct IdleTimeout<R> {
    inner: R,
    limit: QuietMax,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<R> IdleTimeout<R> {
    pub(crate) fn new(inner: R, limit: QuietMax) -> Self {
        let timer = Box::pin(sleep(Duration::from_millis(limit.ms())));
        Self {
            inner,
            limit,
            last: Instant::now(),
            timer,
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for IdleTimeout<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(result) = Pin::new(&mut self.inner).poll_read(cx, buf) {
            self.last = Instant::now();
            return Poll::Ready(result);
        }
        let due = self.last + Duration::from_millis(self.limit.ms());
        loop {
            // The timer is moved when it fires early. That happens once per limit, not once per read.
            if due < self.timer.deadline() {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= due {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.timer.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    async fn advance(ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn silence_fails_and_bytes_postpone_it() {
        let (mut far, near) = duplex(64);
        let limit = QuietMax::new(1_000_000);
        let mut reader = IdleTimeout::new(near, limit.clone());
        far.write_all(b"a").await.expect("room");
        assert_eq!(reader.read_u8().await.expect("a byte"), b'a');
        limit.set_ms(100);
        for _ in 0..5 {
            advance(90).await;
            far.write_all(b"b").await.expect("room");
            assert_eq!(reader.read_u8().await.expect("a byte in time"), b'b');
        }
        let start = Instant::now();
        let error = reader.read_u8().await.expect_err("silence");
        assert_eq!(
            (error.kind(), start.elapsed().as_millis()),
            (io::ErrorKind::TimedOut, 100)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_nobody_polled_finds_what_came_meanwhile() {
        let (mut far, near) = duplex(64);
        let mut reader = IdleTimeout::new(near, QuietMax::new(100));
        far.write_all(b"a").await.expect("room");
        advance(100_000).await;
        assert_eq!(reader.read_u8().await.expect("the byte was there"), b'a');
    }
}
