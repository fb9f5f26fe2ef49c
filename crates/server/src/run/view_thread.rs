//! The thread of the views: it reads topics, holds their messages for the delay, and publishes the copies.
//!
//! It reads as an observer, so nothing live waits for it, and publishes like the feed: it waits for shards that have too much
//! to do. With a journal the copies go on behind their newest messages after a restart, and what waits is read from the
//! histories again. After a panic it does the same.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tickwire_metrics::{Catalogue, LocalMetrics, Metric};
use tickwire_router::{Directory, Origin, ShardQueue, ViewRule, ViewTally, Views};
use tickwire_wire::limits::SHARD_QUEUE_MAX;

use crate::run::clock::Clock;
use crate::run::lifecycle::Lifecycle;

/// Messages that come within this time are read together, so that publishers seldom wake the thread.
const BATCH: Duration = Duration::from_millis(1);
/// The longest time between two exports of the counters.
const FLUSH: Duration = Duration::from_millis(250);
/// The number of messages of each view that are published before the queue is read again.
const MESSAGES_AT_ONCE: usize = 256;

/// Everything that the thread needs.
pub(crate) struct ViewPlan {
    pub(crate) rules: Vec<ViewRule>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Clock,
    pub(crate) metrics: LocalMetrics,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) lifecycle: Arc<Lifecycle>,
}

/// The directory with a queue for what views read, if there are `rules`. It comes behind that of what derives. What is queued
/// rings the alarm of the views.
pub(crate) fn with_queue(directory: Directory, rules: &[ViewRule], lifecycle: &Arc<Lifecycle>) -> Directory {
    if rules.is_empty() {
        return directory;
    }
    let lifecycle = lifecycle.clone();
    let wake = Box::new(move || lifecycle.view_alarm().ring());
    directory.with_observer(Arc::new(ShardQueue::new(SHARD_QUEUE_MAX, wake)))
}

impl ViewPlan {
    /// Starts the thread.
    pub(crate) fn start(self) -> io::Result<JoinHandle<()>> {
        let thread = std::thread::Builder::new().name("views".to_owned());
        thread.spawn(move || self.run())
    }

    /// Copies until the broker ends.
    fn run(mut self) {
        while !self.lifecycle.is_stopping() {
            if catch_unwind(AssertUnwindSafe(|| self.copy())).is_err() {
                tracing::error!(
                    "the views panicked and begin anew: what waits is read from the histories again"
                );
                self.lifecycle.wait(FLUSH);
            }
        }
    }

    fn copy(&mut self) {
        // What derives is the observer before it, if anything is derived.
        let Some(id) = self.directory.observers().last() else {
            return;
        };
        let now = self.clock.now();
        let mut views = Views::new(&self.directory, id, self.rules.clone(), now);
        let (mut told, mut flushed) = (ViewTally::default(), now);
        loop {
            let now = self.clock.now();
            let read = views.observe(now);
            let more = views.publish_due(now, MESSAGES_AT_ONCE);
            let is_quiet = read == 0 && !more;
            if is_quiet || now.since(flushed) >= FLUSH.as_micros() as u64 {
                self.flush(&mut told, views.tally());
                flushed = now;
            }
            while views.ingress().is_congested(Origin::Feed) && self.lifecycle.wait(BATCH) {}
            if self.lifecycle.is_stopping() {
                return;
            }
            if is_quiet {
                let due = views.next_due();
                let wait = due.map_or(FLUSH, |due| Duration::from_micros(due.since(self.clock.now())));
                self.lifecycle.view_alarm().wait(wait.min(FLUSH));
            } else if !more {
                self.lifecycle.wait(BATCH);
            }
        }
    }

    /// Exports the counts.
    fn flush(&mut self, told: &mut ViewTally, tally: ViewTally) {
        let before = std::mem::replace(told, tally);
        let lost = tally.lost - before.lost;
        if lost > 0 {
            tracing::warn!(
                lost,
                held_bytes = tally.held_bytes,
                "views lose messages: raise bytes_max of the view that is full; readers of the copies get a gap"
            );
        }
        for (metric, count) in [
            (Metric::ViewPublished, tally.published - before.published),
            (Metric::ViewLost, lost),
            (Metric::ViewRefused, tally.refused - before.refused),
        ] {
            self.metrics.add(metric, &[], count);
        }
        self.metrics.flush();
        self.catalogue.set(Metric::ViewHeld, &[], tally.held);
        self.catalogue.set(Metric::ViewHeldBytes, &[], tally.held_bytes);
    }
}
