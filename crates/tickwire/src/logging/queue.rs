//! The queue of lines for standard error, and the thread that writes them.
//!
//! Logging never waits for the writing, which may take forever: standard error can be a pipe that nobody reads. The
//! queue is bounded by [`LOG_QUEUE_BYTES_MAX`]; as much again may be in the hands of the writing thread. A line that
//! finds no room or cannot be written is lost and counted. The lock is held only for a copy.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tickwire_wire::limits::LOG_QUEUE_BYTES_MAX;
use tracing_subscriber::fmt::MakeWriter;

/// Lines, one after the other.
#[derive(Debug)]
struct Lines {
    text: Vec<u8>,
    /// The index after the end of each line.
    ends: Vec<usize>,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            // All memory is allocated now, so that nobody waits for it while the lock is held.
            text: Vec::with_capacity(LOG_QUEUE_BYTES_MAX),
            ends: Vec::new(),
        }
    }
}

impl Lines {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Writes the lines as far as possible. Returns how many were not written whole, and whether the last byte written
    /// ends a line.
    fn write(&self, out: &mut impl Write) -> (usize, bool) {
        let mut written = 0;
        while written < self.text.len() {
            match out.write(&self.text[written..]) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The disk is full, or the reader has gone. Later lines may succeed.
                Err(_) => break,
            }
        }
        let whole = self.ends.partition_point(|end| *end <= written);
        let at_end = written == 0 || self.text[written - 1] == b'\n';
        (self.ends.len() - whole, at_end)
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: Lines,
    /// Whether lines were taken out and are not written yet.
    writing: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    lost: Arc<AtomicU64>,
}

/// The queue to standard error. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

impl Queue {
    /// Starts the thread that writes to `out`. It also calls `every` at regular intervals, however many lines there
    /// are: `every` may log.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn write_to(
        &self,
        mut out: impl Write + Send + 'static,
        often: Duration,
        every: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        let queue = self.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || {
            let (mut lines, mut at_end) = (Lines::default(), true);
            let mut due = Instant::now() + often;
            loop {
                queue.take(&mut lines, due.saturating_duration_since(Instant::now()));
                if !lines.ends.is_empty() {
                    if !at_end {
                        // The beginning of a line that failed must not become the beginning of this one.
                        at_end = out.write_all(b"\n").is_ok();
                    }
                    let (lost, ended) = lines.write(&mut out);
                    at_end &= ended;
                    queue.0.lost.fetch_add(lost as u64, Ordering::Relaxed);
                    lines.clear();
                }
                if Instant::now() >= due {
                    every();
                    due = Instant::now() + often;
                }
            }
        })?;
        Ok(())
    }

    /// Takes out all lines that wait, or nothing if none comes within the given time.
    fn take(&self, lines: &mut Lines, within: Duration) {
        let mut state = self.lock();
        state.writing = false;
        self.0.changed.notify_all();
        let waited = self
            .0
            .changed
            .wait_timeout_while(state, within, |state| state.waiting.ends.is_empty());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.waiting, lines);
        state.writing = !lines.ends.is_empty();
    }

    /// Adds a line if there is room; counts it as lost otherwise.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.text.len() + line.len() > LOG_QUEUE_BYTES_MAX {
            drop(state);
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.waiting.text.extend_from_slice(line);
        let end = state.waiting.text.len();
        state.waiting.ends.push(end);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until all lines are written, but no longer than `within`.
    pub(super) fn wait_empty(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        while state.writing || !state.waiting.ends.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return;
            };
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The number of lines that were lost since the start.
    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        self.0.lost.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic in the middle of a change.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Queue {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    /// A standard error that takes bytes only when it is told to.
    struct Gated {
        asked: SyncSender<Vec<u8>>,
        answers: Receiver<io::Result<usize>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.asked
                .send(bytes.to_vec())
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.answers.recv().map_err(gone)?
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Queue, Receiver<Vec<u8>>, SyncSender<io::Result<usize>>) {
        let queue = Queue::default();
        let ((asked, writes), (tell, answers)) = (sync_channel(16), sync_channel(16));
        let out = Gated { asked, answers };
        queue.write_to(out, SOON, || {}).expect("a thread");
        (queue, writes, tell)
    }

    fn lost(queue: &Queue) -> u64 {
        queue.lost().load(Ordering::Relaxed)
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let (queue, writes, tell) = gated();
        queue.push(b"first\n");
        assert_eq!(writes.recv_timeout(SOON).expect("it is written"), b"first\n");
        // None of the line is taken. The queue takes as many more as fit.
        let line = [b'x'; 1_024];
        let fit = LOG_QUEUE_BYTES_MAX / line.len();
        for _ in 0..fit + 3 {
            queue.push(&line);
        }
        assert_eq!(lost(&queue), 3);
        queue.wait_empty(Duration::from_millis(1));
        // The reader goes on, and the lines that waited come.
        tell.send(Ok(6)).expect("it waits");
        let rest = writes.recv_timeout(SOON).expect("it is written");
        assert_eq!(rest.len(), fit * line.len());
        tell.send(Ok(rest.len())).expect("it waits");
        queue.wait_empty(SOON);
        assert!(queue.lock().waiting.ends.is_empty() && !queue.lock().writing);
        assert_eq!(lost(&queue), 3);
    }

    /// The periodic call may log. If it came after each line, it would cause itself.
    #[test]
    fn what_is_done_about_so_often_is_not_done_after_each_line() {
        let queue = Queue::default();
        let ((asked, writes), (tell, answers)) = (sync_channel(16), sync_channel(16));
        let calls = Arc::new(AtomicU64::new(0));
        let counted = calls.clone();
        let every = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let begun = Instant::now();
        queue
            .write_to(Gated { asked, answers }, SOON, every)
            .expect("a thread");
        for _ in 0..5 {
            queue.push(b"line\n");
            assert_eq!(writes.recv_timeout(SOON).expect("it is written"), b"line\n");
            tell.send(Ok(5)).expect("it waits");
        }
        queue.wait_empty(SOON);
        let calls = calls.load(Ordering::Relaxed);
        assert!(calls == 0 || begun.elapsed() >= SOON, "{calls} calls");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_later_ones_are_written() {
        let (queue, writes, tell) = gated();
        queue.push(b"one\n");
        assert_eq!(writes.recv_timeout(SOON).expect("it is written"), b"one\n");
        queue.push(b"two\n");
        queue.push(b"three\n");
        tell.send(Err(io::ErrorKind::StorageFull.into()))
            .expect("it waits");
        assert_eq!(writes.recv_timeout(SOON).expect("it is written"), b"two\nthree\n");
        queue.push(b"four\n");
        tell.send(Ok(6)).expect("it waits");
        assert_eq!(writes.recv_timeout(SOON).expect("it is written"), b"ree\n");
        tell.send(Err(io::ErrorKind::BrokenPipe.into()))
            .expect("it waits");
        // The unfinished line is ended first.
        assert_eq!(writes.recv_timeout(SOON).expect("it is written"), b"\n");
        tell.send(Ok(1)).expect("it waits");
        assert_eq!(writes.recv_timeout(SOON).expect("it is written"), b"four\n");
        tell.send(Ok(5)).expect("it waits");
        queue.wait_empty(SOON);
        assert_eq!(lost(&queue), 2, "one and three");
    }
}
