//! The archive: reads the messages that histories do not hold any more from the journal's files.
//!
//! One thread reads for all, in the order in which it is asked, a part at a time. Nobody waits for it: it answers later. What it
//! is asked for is bounded by the places for parts, and by the number of sessions. If it is given nothing to do, it makes
//! indexes that are missing and closes files.

mod reading;
mod scan;
mod shelf;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tickwire_metrics::{Catalogue, LocalMetrics, Metric};
use tickwire_router::{Archive, ArchiveReply, ArchivedPart, ArchivedStart, WantedPart, WantedStart};

pub(crate) use self::reading::ArchiveReader;
pub(super) use self::shelf::remove_orphans;
use super::disk::Disk;
use super::store::StoredEnd;

/// How often the thread looks for missing indexes when it has nothing to do.
const IDLE: Duration = Duration::from_secs(1);
/// How many times as long as an index took the thread then rests, unless it is asked for something. A broker that writes as much as the
/// machine can take would otherwise give a part of it to indexes that nobody may need.
const RESTS: u32 = 9;

/// What the archive is asked for.
#[derive(Debug)]
enum ArchiveTask {
    Locate(Vec<WantedStart>, ArchiveReply<Vec<ArchivedStart>>),
    Read(WantedPart, ArchiveReply<ArchivedPart>),
}

#[derive(Debug, Default)]
struct ArchiveQueue {
    tasks: VecDeque<ArchiveTask>,
    has_ended: bool,
}

/// The archive of a journal, as the router knows it.
#[derive(Debug, Default)]
pub(crate) struct JournalArchive {
    queue: Mutex<ArchiveQueue>,
    wake: Condvar,
}

impl JournalArchive {
    fn lock(&self) -> MutexGuard<'_, ArchiveQueue> {
        // Nothing that holds the lock can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, task: ArchiveTask) {
        let mut queue = self.lock();
        if queue.has_ended {
            drop(queue);
            return; // whoever asked is told by the reply, which is dropped
        }
        queue.tasks.push_back(task);
        drop(queue);
        self.wake.notify_one();
    }

    /// The next task; `None` at the end. Without one, `idle` is called now and then; it says whether it did something.
    fn next(&self, mut idle: impl FnMut() -> bool) -> Option<ArchiveTask> {
        let mut queue = self.lock();
        let mut rest = IDLE;
        loop {
            if queue.has_ended {
                return None;
            }
            if let Some(task) = queue.tasks.pop_front() {
                return Some(task);
            }
            let waited = self.wake.wait_timeout(queue, rest);
            let (again, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = again;
            if timeout.timed_out() && queue.tasks.is_empty() {
                drop(queue);
                let began = Instant::now();
                let least = if idle() { Duration::ZERO } else { IDLE };
                rest = least.max(began.elapsed() * RESTS);
                queue = self.lock();
            }
        }
    }

    /// Ends the thread. What it was asked for and has not read is answered as failed.
    pub(super) fn end(&self) {
        let mut queue = self.lock();
        queue.has_ended = true;
        let tasks = std::mem::take(&mut queue.tasks);
        drop(queue);
        self.wake.notify_one();
        drop(tasks);
    }
}

impl Archive for JournalArchive {
    fn locate(&self, wanted: Vec<WantedStart>, reply: ArchiveReply<Vec<ArchivedStart>>) {
        self.ask(ArchiveTask::Locate(wanted, reply));
    }

    fn read(&self, wanted: WantedPart, reply: ArchiveReply<ArchivedPart>) {
        self.ask(ArchiveTask::Read(wanted, reply));
    }
}

/// Starts the thread that reads the log on `disk`, which is stored up to `end`.
pub(super) fn start(
    disk: Arc<dyn Disk>,
    end: Arc<StoredEnd>,
    catalogue: &Arc<Catalogue>,
) -> io::Result<(Arc<JournalArchive>, JoinHandle<()>)> {
    let archive = Arc::new(JournalArchive::default());
    let (asked, mut metrics) = (archive.clone(), catalogue.local());
    let thread = std::thread::Builder::new()
        .name("archive".to_owned())
        .spawn(move || {
            let mut reader = ArchiveReader::new(disk, end);
            while let Some(task) = asked.next(|| make_ready(&mut reader)) {
                // Whoever asked is told by the reply, which is dropped.
                let answered = catch_unwind(AssertUnwindSafe(|| answer(&mut reader, task, &mut metrics)));
                if answered.is_err() {
                    tracing::error!("the archive has panicked; it goes on with the next request");
                }
            }
        })?;
    Ok((archive, thread))
}

/// Makes an index that is missing, or closes files. Returns whether there is more to do.
fn make_ready(reader: &mut ArchiveReader) -> bool {
    match reader.index_one() {
        Ok(true) => true,
        Ok(false) => {
            reader.close_files();
            false
        }
        Err(error) => {
            tracing::warn!(%error, "the archive cannot read the directory of the journal");
            false
        }
    }
}

fn answer(reader: &mut ArchiveReader, task: ArchiveTask, metrics: &mut LocalMetrics) {
    let failed = |error: &io::Error| tracing::error!(%error, "the archive cannot be read");
    match task {
        ArchiveTask::Locate(wanted, reply) => {
            let starts = wanted
                .iter()
                .map(|start| reader.locate(&start.cell, start.moment));
            match starts.collect::<io::Result<Vec<_>>>() {
                Ok(starts) => reply.send(starts),
                Err(error) => failed(&error),
            }
        }
        ArchiveTask::Read(wanted, reply) => match reader.read(&wanted) {
            Ok((messages, through, bookmark)) => {
                metrics.add(Metric::ArchiveMessages, &[], messages.len() as u64);
                metrics.flush();
                reply.send(wanted.found(messages, through, bookmark));
            }
            Err(error) => failed(&error),
        },
    }
}
