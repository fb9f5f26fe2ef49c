//! The lines of a pipe, kept as they come so that tests can wait for one.
//!
//! A thread reads until the pipe ends. That also shows the end of a process without polling.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Why an awaited line did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The pipe ended.
    Ended,
    /// The line did not come in time.
    TooLate,
}

#[derive(Debug, Default)]
struct Kept {
    lines: Vec<String>,
    ended: bool,
}

/// The lines of a pipe so far.
#[derive(Debug, Clone)]
pub(crate) struct Lines(Arc<(Mutex<Kept>, Condvar)>);

impl Lines {
    /// Reads `pipe` until it ends.
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self(Arc::default());
        let shared = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n') {
                let line = line.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                shared.change(|kept| match line {
                    Ok(line) => kept.lines.push(line),
                    Err(error) => kept.lines.push(format!("the pipe broke: {error}")),
                });
            }
            shared.change(|kept| kept.ended = true);
        });
        lines
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) {
        let (kept, changed) = &*self.0;
        change(&mut kept.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }

    /// Calls `want` for each line from number `from` on. Returns the first result that is not `None`, and the number of
    /// the line after it.
    pub(crate) fn find<T>(
        &self,
        mut from: usize,
        within: Duration,
        mut want: impl FnMut(&str) -> Option<T>,
    ) -> Result<(T, usize), Missing> {
        let deadline = Instant::now() + within;
        let (kept, changed) = &*self.0;
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while from < kept.lines.len() {
                from += 1;
                if let Some(found) = want(&kept.lines[from - 1]) {
                    return Ok((found, from));
                }
            }
            if kept.ended {
                return Err(Missing::Ended);
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .ok_or(Missing::TooLate)?;
            kept = changed
                .wait_timeout(kept, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for the end of the pipe. Returns whether it came in time.
    pub(crate) fn wait_end(&self, within: Duration) -> bool {
        self.find(usize::MAX, within, |_| None::<()>) == Err(Missing::Ended)
    }

    /// All lines so far, as one text.
    pub(crate) fn all(&self) -> String {
        let (kept, _) = &*self.0;
        kept.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lines
            .join("\n")
    }

    /// The last lines so far, at most 40.
    pub(crate) fn tail(&self) -> String {
        let (kept, _) = &*self.0;
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.lines[kept.lines.len().saturating_sub(40)..].join("\n")
    }
}
