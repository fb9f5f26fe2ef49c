//! The journal's thread: it writes what waits, lets it enter, and says so.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tickwire_lane::{Content, EntryFlags, Item, ItemKey, TopicKey, TopicNumber};
use tickwire_metrics::{LocalMetrics, Metric};
use tickwire_router::{Directory, Ingress, NotEntered, Record, WriteBatch, WriteQueue};
use tickwire_wire::Micros;

use super::checkpoints::{Beside, CheckpointPlan, MadeCheckpoint, Retention, declaration};
use super::disk::Disk;
use super::items::{content, item_mark};
use super::planted::{JournalFault, is_planted};
use super::store::{Store, StoreError};
use super::{EndProgram, Wake};
use crate::run::clock::Clock;

/// Time between two attempts while nothing can be written.
const TRY_AGAIN_US: u64 = 1_000_000;
/// Time between two flushes of the counters.
const FLUSH_US: u64 = 250_000;
/// The longest time that the thread sleeps.
const SLEEP_US_MAX: u64 = 250_000;

/// When the thread does what is not asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Time between two syncs; `None` if it never syncs by itself, or with each entry.
    pub(crate) sync_us: Option<u64>,
    /// The shortest time between two checkpoints.
    pub(crate) checkpoint_us: u64,
}

/// The work of the journal's thread.
pub(crate) struct JournalThread {
    store: Store,
    disk: Arc<dyn Disk>,
    directory: Arc<Directory>,
    ingress: Ingress,
    queue: Arc<WriteQueue>,
    timing: Timing,
    retention: Retention,
    clock: Clock,
    metrics: LocalMetrics,
    ends: EndProgram,
    batch: WriteBatch,
    synced: Micros,
    flushed: Micros,
    /// When to try again, while nothing can be written.
    try_again: Option<Micros>,
    checkpoint: Checkpoint,
    /// What checkpoints have beside the topics.
    beside: Beside,
}

/// The checkpoint that was made last, or is being made.
struct Checkpoint {
    began: Micros,
    /// The bytes of the log when it was begun.
    written_before: u64,
    bytes: u64,
    making: Option<JoinHandle<Result<MadeCheckpoint, StoreError>>>,
}

/// Begins the first segment of this process. If the epochs begin anew, a checkpoint comes first, so that a later start finds
/// them; old files are kept by the rules that it is given.
pub(crate) fn begin(
    store: &mut Store,
    disk: &Arc<impl Disk + 'static>,
    directory: &Arc<Directory>,
    (anew, beside): (Option<Retention>, Beside),
    now: Micros,
) -> io::Result<()> {
    let failed = |error| match error {
        StoreError::NotWritten(error) | StoreError::NotSynced(error) => error,
    };
    if let Some(retention) = anew {
        let plan = CheckpointPlan {
            disk: disk.clone(),
            directory: directory.clone(),
            place: store.writer.place(),
            epoch: store.writer.epoch().clone(),
            unsynced: Vec::new(),
            retention,
            now,
            beside,
        };
        plan.make().map_err(failed)?;
    }
    store.prepare(now).map_err(failed)
}

impl JournalThread {
    pub(crate) fn new(
        store: Store,
        disk: Arc<dyn Disk>,
        directory: Arc<Directory>,
        queue: Arc<WriteQueue>,
        (timing, retention): (Timing, Retention),
        (clock, metrics, ends): (Clock, LocalMetrics, EndProgram),
        beside: Beside,
    ) -> Self {
        let now = clock.now();
        Self {
            store,
            disk,
            ingress: Ingress::new(directory.clone()),
            directory,
            queue,
            timing,
            retention,
            clock,
            metrics,
            ends,
            batch: WriteBatch::default(),
            synced: now,
            flushed: now,
            try_again: None,
            checkpoint: Checkpoint {
                began: now,
                written_before: 0,
                bytes: 0,
                making: None,
            },
            beside,
        }
    }

    /// Runs until it is told to stop, and everything is written.
    pub(crate) fn run(mut self, wake: &Wake) {
        // Whatever waits would wait for ever behind a thread that has ended.
        if catch_unwind(AssertUnwindSafe(|| self.work(wake))).is_err() {
            tracing::error!("the journal's thread has panicked: the broker ends");
            (self.ends)();
        }
    }

    fn work(&mut self, wake: &Wake) {
        loop {
            let is_stopping = wake.is_stopping();
            let written = self.turn();
            if !written && is_stopping {
                break;
            }
            if !written {
                let until = self.next_timeout();
                let wait = until.since(self.clock.now()).min(SLEEP_US_MAX);
                std::thread::park_timeout(Duration::from_micros(wait));
            }
        }
        self.leave();
    }

    /// Writes one entry if something waits, and does what is due. Returns whether an entry was written.
    pub(crate) fn turn(&mut self) -> bool {
        self.queue.take(&mut self.batch);
        let now = self.clock.now();
        let has_some = !self.batch.is_empty();
        if has_some || self.try_again.is_some_and(|at| at <= now) {
            self.write(now);
        }
        if let Some(sync_us) = self.timing.sync_us
            && now.since(self.synced) >= sync_us
        {
            self.synced = now;
            self.sync();
        }
        self.look_after_checkpoint(now);
        if now.since(self.flushed) >= FLUSH_US || !has_some {
            self.flushed = now;
            self.metrics.flush();
        }
        has_some
    }

    fn next_timeout(&self) -> Micros {
        let sync = self.timing.sync_us.filter(|_| self.store.is_dirty());
        let sync = sync.map(|sync_us| Micros(self.synced.0 + sync_us));
        let due = [sync, self.try_again].into_iter().flatten().min();
        due.unwrap_or(Micros(u64::MAX))
    }

    /// Writes the batch as an entry, and lets its messages enter.
    fn write(&mut self, now: Micros) {
        let stored = self.store.prepare(now).and_then(|()| {
            self.gather();
            self.store.store(EntryFlags::default())
        });
        let took = self.clock.now().since(now);
        match stored {
            Ok(bytes) => {
                self.metrics.add(Metric::JournalEntries, &[], 1);
                self.metrics.add(Metric::JournalWritten, &[], bytes);
                self.metrics.observe(Metric::JournalStore, took);
                if self.try_again.take().is_some() {
                    tracing::info!("the journal can be written again");
                    self.queue.accept();
                }
                self.enter(now);
                self.queue.entered(&mut self.batch, &self.directory);
            }
            Err(StoreError::NotWritten(error)) => {
                if self.try_again.is_none() {
                    tracing::error!(%error, "the journal cannot be written: nothing can be published until it can");
                }
                self.metrics.add(Metric::JournalFailures, &[], 1);
                self.try_again = Some(Micros(now.0 + TRY_AGAIN_US));
                if is_planted(JournalFault::SeenUnwritten) {
                    self.enter(now);
                }
                self.queue
                    .fail(&mut self.batch, &error.to_string(), &self.directory);
            }
            Err(error @ StoreError::NotSynced(_)) => self.end_program(&error),
        }
    }

    /// Gathers the records of the batch into an entry.
    fn gather(&mut self) {
        let mut texts = &self.batch.texts[..];
        for record in &self.batch.records {
            let (cell, after, seq, ts, doubt) = match record {
                Record::Message(cell, message, ..) => {
                    (cell, message.after, message.seq, message.ts, message.doubt)
                }
                Record::End(cell, _, last) => (cell, *last, *last, self.clock.now(), None),
                Record::Told(_) => continue,
            };
            let mark = match record {
                Record::Message(_, _, _, mark, _) => mark.map(item_mark),
                Record::End(..) | Record::Told(_) => None,
            };
            let key = match record {
                Record::Message(_, _, Some(key), ..) => Some(ItemKey {
                    text: key.key.as_str(),
                    at: key.at,
                }),
                _ => None,
            };
            let content = match record {
                Record::Message(_, _, _, _, length) => {
                    let (text, rest) = texts.split_at_checked(*length).unwrap_or_default();
                    texts = rest;
                    content(cell.kind(), text)
                }
                Record::End(_, reason, _) => Content::End(*reason),
                Record::Told(_) => continue,
            };
            let item = Item {
                topic: TopicNumber(0),
                after,
                seq,
                ts,
                doubt,
                key,
                mark,
                content,
            };
            let declare = || declaration(&cell.described(after));
            self.store.writer.gather(TopicKey(cell.id().0), declare, item);
        }
    }

    /// Lets the messages of a stored batch enter.
    fn enter(&mut self, now: Micros) {
        for record in self.batch.records.drain(..) {
            match record {
                Record::Message(cell, message, key, mark, _) => {
                    let seq = message.seq;
                    self.beside.fed = mark.or(self.beside.fed);
                    match self.ingress.apply(&cell, message, now) {
                        Ok(_) => {}
                        Err(error @ NotEntered::Refused(_)) => {
                            tracing::error!(topic = %cell.topic(), %seq, %error, "a book is lost");
                        }
                        // The sequencer that numbered it is that of the topic.
                        Err(error) => {
                            tracing::error!(topic = %cell.topic(), %seq, %error, "a message did not enter");
                        }
                    }
                    if let Some(key) = key {
                        self.directory.key_written(cell.topic(), &key.key);
                    }
                }
                Record::End(cell, reason, _) => self.directory.end_written(&cell, reason),
                Record::Told(told) => told(Ok(())),
            }
        }
    }

    pub(super) fn sync(&mut self) {
        if !self.store.is_dirty() {
            return;
        }
        let began = Instant::now();
        match self.store.sync() {
            Ok(()) => {
                let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.metrics.observe(Metric::JournalSync, us);
            }
            Err(error) => self.end_program(&error),
        }
    }

    /// Begins a checkpoint when it is due, and looks after the one that is being made.
    fn look_after_checkpoint(&mut self, now: Micros) {
        if let Some(making) = self.checkpoint.making.take_if(|making| making.is_finished()) {
            match making.join() {
                Ok(Ok(MadeCheckpoint { bytes, files_bytes })) => {
                    self.checkpoint.bytes = bytes;
                    if let Some(bytes) = files_bytes {
                        self.metrics.set(Metric::JournalBytes, &[], bytes);
                    }
                }
                Ok(Err(StoreError::NotWritten(error))) => {
                    tracing::error!(%error, "a checkpoint of the journal could not be made; the one before stays");
                }
                Ok(Err(error)) => self.end_program(&error),
                Err(_) => tracing::error!("the making of a checkpoint has panicked; the one before stays"),
            }
        }
        let since = self.store.written_bytes() - self.checkpoint.written_before;
        let is_due = now.since(self.checkpoint.began) >= self.timing.checkpoint_us
            && since > self.checkpoint.bytes / 2
            && self.checkpoint.making.is_none()
            && self.try_again.is_none();
        if is_due && let Some(plan) = self.begin_checkpoint(now) {
            let builder = std::thread::Builder::new().name("checkpoint".to_owned());
            match builder.spawn(move || plan.make()) {
                Ok(making) => self.checkpoint.making = Some(making),
                Err(error) => tracing::error!(%error, "no thread for a checkpoint of the journal"),
            }
        }
    }

    /// Begins a segment for a checkpoint, which is then made beside what is published.
    pub(super) fn begin_checkpoint(&mut self, now: Micros) -> Option<CheckpointPlan> {
        self.checkpoint.began = now;
        self.checkpoint.written_before = self.store.written_bytes();
        match self.store.begin_segment(now) {
            Ok(()) => {}
            Err(StoreError::NotWritten(error)) => {
                tracing::error!(%error, "a checkpoint of the journal could not be begun");
                return None;
            }
            Err(error) => {
                self.end_program(&error);
                return None;
            }
        }
        let mut place = self.store.writer.place();
        if is_planted(JournalFault::CheckpointTooFar) {
            place.position = place.position.next();
        }
        Some(CheckpointPlan {
            disk: self.disk.clone(),
            directory: self.directory.clone(),
            place,
            epoch: self.store.writer.epoch().clone(),
            unsynced: self.store.take_unsynced(),
            retention: self.retention,
            now,
            beside: self.beside.clone(),
        })
    }

    /// Says that the log ends in order, and syncs everything.
    pub(super) fn leave(&mut self) {
        let now = self.clock.now();
        if let Some(making) = self.checkpoint.making.take()
            && !matches!(making.join(), Ok(Ok(_)))
        {
            tracing::error!("the last checkpoint of the journal could not be made; the one before stays");
        }
        let flags = EntryFlags { clean_end: true };
        let ended = self
            .store
            .prepare(now)
            .and_then(|()| self.store.store(flags))
            .and_then(|_| self.store.sync());
        match ended {
            Ok(()) => tracing::info!("the journal is closed"),
            Err(error) => tracing::error!(%error, "the journal could not be closed in order"),
        }
        let reason = "the broker is stopping";
        self.queue.fail(&mut self.batch, reason, &self.directory);
    }

    /// Has the next turn try to write again, if nothing can be written.
    #[cfg(test)]
    pub(super) fn try_again_now(&mut self) {
        self.try_again = self.try_again.map(|_| Micros(0));
    }

    fn end_program(&self, error: &StoreError) {
        tracing::error!(%error, "the journal is not safe any more: the broker ends");
        (self.ends)();
    }
}
