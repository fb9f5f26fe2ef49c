//! The thread that derives candles, tickers and best quotes from published trades and books.
//!
//! It reads the topics of its rules as a [`Observer`], so that nothing live waits for it, and publishes like the feed: it
//! waits for shards that have too much to do. What it could not read in time is counted as missed, and what nothing can
//! be derived from as skipped. With a journal it goes on after a restart where it was, and gives checkpoints what it has derived
//! (`derived`). After a panic it begins anew, without what it knew: open candles begin again.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tickwire_feed::{DeriveRule, Deriver, SourceNo, Tally};
use tickwire_metrics::{LocalMetrics, Metric};
use tickwire_router::{Directory, Ingress, Observed, Observer, Origin, ShardQueue, TopicCell, TopicId};
use tickwire_wire::limits::SHARD_QUEUE_MAX;
use tickwire_wire::{Micros, Payload, Seq, Topic};

use crate::run::clock::Clock;
use crate::run::derived::{DeriveDesk, DerivedStart, parts};
use crate::run::lifecycle::Lifecycle;

/// Messages that come within this time are read together, so that publishers seldom wake the thread.
const BATCH: Duration = Duration::from_millis(1);
/// The longest time between two exports of the counters, if there is something to export.
const FLUSH: Duration = Duration::from_millis(250);
/// The number of markets that publish before the queue is read again.
const MARKETS_AT_ONCE: usize = 64;

/// Everything that the thread needs.
pub(crate) struct DerivePlan {
    pub(crate) rules: Vec<DeriveRule>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Clock,
    pub(crate) metrics: LocalMetrics,
    pub(crate) lifecycle: Arc<Lifecycle>,
    /// What a journal has of what was derived before the start, if there is one.
    pub(crate) start: Option<DerivedStart>,
    /// Where a checkpoint of the journal asks.
    pub(crate) desk: Arc<DeriveDesk>,
}

/// The directory with a queue for what `rules` read, if there are any. What is queued rings the alarm of `lifecycle`.
pub(crate) fn with_queue(
    directory: Directory,
    rules: &[DeriveRule],
    lifecycle: &Arc<Lifecycle>,
) -> Directory {
    if rules.is_empty() {
        return directory;
    }
    let lifecycle = lifecycle.clone();
    let wake = Box::new(move || lifecycle.alarm().ring());
    directory.with_observer(Arc::new(ShardQueue::new(SHARD_QUEUE_MAX, wake)))
}

impl DerivePlan {
    /// Starts the thread.
    pub(crate) fn start(self) -> io::Result<JoinHandle<()>> {
        let thread = std::thread::Builder::new().name("derive".to_owned());
        thread.spawn(move || self.run())
    }

    /// Derives until the broker ends.
    fn run(mut self) {
        while !self.lifecycle.is_stopping() {
            if catch_unwind(AssertUnwindSafe(|| self.derive())).is_err() {
                tracing::error!("deriving panicked and begins anew: open candles and tickers begin again");
                self.lifecycle.wait(FLUSH);
            }
        }
        self.desk.close();
    }

    fn derive(&mut self) {
        let patterns = self.rules.iter().map(|rule| rule.from.clone()).collect();
        let goes_on = self.start.is_some();
        let start = self.start.take().unwrap_or_else(|| DerivedStart {
            deriver: Deriver::new(self.rules.clone()),
            topics: Vec::new(),
            unpublished: Vec::new(),
        });
        let known = start.topics.iter();
        let known: HashMap<_, _> = known
            .map(|(cell, source, seq)| (cell.id(), (*source, *seq)))
            .collect();
        // What was published since the journal was read is in the histories.
        let read = |cell: &TopicCell| {
            let known = known.get(&cell.id());
            goes_on.then(|| known.map_or(Seq::ZERO, |(_, seq)| *seq))
        };
        let Some(id) = self.directory.observers().next() else {
            return;
        };
        let mut observer = Observer::behind(self.directory.clone(), id, patterns, read);
        let mut work = Work {
            deriver: start.deriver,
            sources: known.iter().map(|(id, (source, _))| (*id, *source)).collect(),
            out: Outlet {
                ingress: Ingress::new(self.directory.clone()),
                metrics: &mut self.metrics,
                now: self.clock.now(),
            },
            told: Tally::default(),
        };
        work.begin(&observer, start.unpublished);
        let mut flushed = work.out.now;
        loop {
            work.out.now = self.clock.now();
            let is_asked = self.desk.is_asked();
            let read = observer.observe(|observed| work.take(observed));
            if is_asked {
                work.answer(&observer, &self.desk);
            }
            let more = work
                .deriver
                .publish_due(work.out.now, MARKETS_AT_ONCE, |topic, payload| {
                    work.out.publish(topic, payload);
                });
            let is_quiet = read == 0 && !more;
            if is_quiet || work.out.now.since(flushed) >= FLUSH.as_micros() as u64 {
                work.flush();
                flushed = work.out.now;
            }
            while work.out.ingress.is_congested(Origin::Feed) && self.lifecycle.wait(BATCH) {}
            if self.lifecycle.is_stopping() {
                return;
            }
            if is_quiet {
                let due = work.deriver.next_due();
                let wait = due.map_or(FLUSH, |due| Duration::from_micros(due.since(self.clock.now())));
                self.lifecycle.alarm().wait(wait.min(FLUSH));
            } else if !more {
                self.lifecycle.wait(BATCH);
            }
        }
    }
}

/// What is read and derived between two panics.
struct Work<'a> {
    deriver: Deriver,
    /// The markets of the topics that are read. `None` for one of which nothing can be made.
    sources: HashMap<TopicId, Option<SourceNo>>,
    out: Outlet<'a>,
    /// What was exported.
    told: Tally,
}

/// Where derived messages go.
struct Outlet<'a> {
    ingress: Ingress,
    metrics: &'a mut LocalMetrics,
    now: Micros,
}

impl Outlet<'_> {
    fn publish(&mut self, topic: &Topic, payload: Payload) {
        match self.ingress.submit(Origin::Feed, topic, payload, self.now) {
            Ok(published) => self
                .metrics
                .add(Metric::Publications, &[published.kind as usize], 1),
            Err(error) => {
                self.warn_once(Metric::DeriveRefused, || {
                    tracing::warn!(%topic, %error, "what was derived is not published");
                });
                self.metrics.add(Metric::DeriveRefused, &[], 1);
            }
        }
    }

    /// Logs what `metric` counts, once until the counters are exported.
    fn warn_once(&self, metric: Metric, warn: impl FnOnce()) {
        if self.metrics.unflushed(metric, &[]) == 0 {
            warn();
        }
    }
}

impl Work<'_> {
    /// Publishes what was derived before a restart and not published. Then looks at the books, whose quotes a log does not have.
    fn begin(&mut self, observer: &Observer, unpublished: Vec<(Topic, Payload)>) {
        for (topic, payload) in unpublished {
            self.out.publish(&topic, payload);
        }
        for (cell, _) in observer.positions() {
            let source = self.sources.get(&cell.id()).copied().flatten();
            if let (Some(source), Some(newest), Some(best)) = (source, cell.newest(), cell.best_quotes()) {
                self.deriver.take_best(source, best, newest.ts, self.out.now);
            }
        }
    }

    /// Answers a checkpoint.
    fn answer(&self, observer: &Observer, desk: &DeriveDesk) {
        let is_read = |cell: &TopicCell| self.sources.contains_key(&cell.id());
        match parts(
            observer.positions().filter(|(cell, _)| is_read(cell)),
            &self.deriver,
        ) {
            Ok(parts) => desk.answer(parts),
            Err(error) => tracing::error!(%error, "what is derived cannot be kept"),
        }
    }

    fn take(&mut self, observed: Observed<'_>) {
        match observed {
            Observed::Message(cell, publication) => {
                let Some(source) = self.source(cell) else { return };
                let (ts, now) = (publication.ts, self.out.now.max(publication.entered));
                if let Payload::Book(book) = &publication.payload {
                    if let Some(best) = cell.best_quotes() {
                        self.deriver.take_best(source, best, book.time, now);
                    }
                    return;
                }
                let out = &mut self.out;
                let taken = self
                    .deriver
                    .take(source, &publication.payload, (ts, now), |topic, payload| {
                        out.publish(topic, payload);
                    });
                if let Err(error) = taken {
                    let (topic, seq) = (cell.topic(), publication.seq.0);
                    self.out.warn_once(Metric::DeriveSkipped, || {
                        tracing::warn!(%topic, seq, %error, "nothing is derived from a message");
                    });
                    self.out.metrics.add(Metric::DeriveSkipped, &[], 1);
                }
            }
            Observed::Missed(cell, from, to) => {
                let (topic, from, to) = (cell.topic(), from.0, to.0);
                self.out.warn_once(Metric::DeriveMissed, || {
                    tracing::warn!(%topic, from, to, "messages came too fast to derive anything from them");
                });
                let count = to.saturating_sub(from).saturating_add(1);
                self.out.metrics.add(Metric::DeriveMissed, &[], count);
            }
            Observed::Ended(cell) => {
                if let Some(Some(source)) = self.sources.remove(&cell.id()) {
                    let out = &mut self.out;
                    self.deriver
                        .end(source, |topic, payload| out.publish(topic, payload));
                }
            }
        }
    }

    /// The market of a topic. A topic of which nothing can be made is named in the log.
    fn source(&mut self, cell: &TopicCell) -> Option<SourceNo> {
        let deriver = &mut self.deriver;
        *self.sources.entry(cell.id()).or_insert_with(|| {
            deriver.open(cell.topic()).unwrap_or_else(|error| {
                tracing::warn!(topic = %cell.topic(), %error, "nothing can be derived from a topic");
                None
            })
        })
    }

    /// Exports the counts.
    fn flush(&mut self) {
        let tally = self.deriver.tally();
        let before = std::mem::replace(&mut self.told, tally);
        let metrics = &mut self.out.metrics;
        metrics.add(Metric::DeriveTaken, &[], tally.taken - before.taken);
        metrics.add(Metric::DeriveLate, &[], tally.late - before.late);
        metrics.flush();
    }
}

#[cfg(test)]
mod tests {
    use tickwire_metrics::Catalogue;
    use tickwire_router::{DirectoryLimits, Kinds};

    use super::*;
    use crate::ops::labels::LABELS;

    /// No publisher is fast enough to show this from outside.
    #[test]
    fn what_came_too_fast_is_counted() {
        let queue = || Arc::new(ShardQueue::new(10, Box::new(|| {})));
        let directory = Directory::new(
            "e".into(),
            Kinds::default(),
            DirectoryLimits::default(),
            vec![queue()],
        );
        let directory = Arc::new(directory.with_observer(queue()));
        let catalogue = Catalogue::new(1, "0", &LABELS).expect("a catalogue");
        let mut metrics = catalogue.local();
        let mut work = Work {
            deriver: Deriver::new(Vec::new()),
            sources: HashMap::new(),
            out: Outlet {
                ingress: Ingress::new(directory.clone()),
                metrics: &mut metrics,
                now: Micros(1),
            },
            told: Tally::default(),
        };
        let topic: Topic = "trade.A".parse().expect("a topic");
        let cell = directory.open(&topic).expect("there is room");
        work.take(Observed::Missed(&cell, Seq(3), Seq(7)));
        work.flush();
        let page = catalogue.render().expect("a page");
        assert!(
            page.contains("\ntickwire_derive_missed_messages_total 5\n"),
            "{page}"
        );
    }
}
