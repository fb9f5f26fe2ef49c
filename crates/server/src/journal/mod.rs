//! The journal: what is published is written to files before anybody sees it, and is there again after a restart.
//!
//! One thread takes what publishers have numbered, writes it as an entry with one call, syncs it if the policy says so, and only
//! then lets it enter. So whatever anybody has seen is written. While it writes, the next entry gathers. If nothing can be
//! written, publishing is refused until it can. If a sync fails, the program ends: what the system says of the files
//! then is not to be trusted.

mod archive;
mod checkpoints;
mod disk;
mod filling;
mod gathered;
pub(crate) mod items;
mod lock;
mod planted;
mod recovery;
mod replay;
mod store;
#[cfg(test)]
mod tests;
mod thread;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Instant;

use thiserror::Error;
use tickwire_feed::DeriveRule;
use tickwire_metrics::{Catalogue, Metric};
use tickwire_router::{Directory, FeedMark, WriteQueue};
use tickwire_wire::{Epoch, Micros};

use self::archive::JournalArchive;
use self::checkpoints::{Beside, Retention, tidy_up};
pub(crate) use self::checkpoints::{declaration, put_topics_and_keys};
use self::disk::SystemDisk;
pub(crate) use self::lock::DirectoryLock;
pub use self::recovery::RecoveryError;
use self::recovery::{Recovered, RecoveryPlan};
use self::store::{Boot, Store, StoreRules};
use self::thread::JournalThread;
use crate::config::JournalSettings;
use crate::run::clock::Clock;
use crate::run::derived::{DeriveDesk, DerivedSource, DerivedStart};

/// Why a broker with a journal did not start.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The directory cannot be used.
    #[error("journal.dir {dir}: {source}")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error("journal.dir {0} is used by another process; each broker needs a directory of its own")]
    InUse(PathBuf),
    /// The files cannot be gone on with.
    #[error("journal.dir {dir}: {source}; restore it from a copy, or begin with another directory")]
    Recovery {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        source: RecoveryError,
    },
    /// The log cannot be written.
    #[error("journal.dir {dir}: {source}")]
    Write {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A journal whose files were read, and that is not written yet.
#[derive(Debug)]
pub(crate) struct OpenJournal {
    pub(crate) directory: Arc<Directory>,
    pub(crate) queue: Arc<WriteQueue>,
    pub(crate) recovered_entries: u64,
    /// The place of the newest message of the broker's own feed.
    pub(crate) fed: Option<FeedMark>,
    derived: Option<DerivedStart>,
    /// Where checkpoints ask for what is derived, if something is.
    asks: Option<Arc<DeriveDesk>>,
    settings: JournalSettings,
    store: Store,
    disk: Arc<SystemDisk>,
    lock: DirectoryLock,
    wake: Arc<Wake>,
}

/// Wakes the journal's thread, once there is one.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    thread: std::sync::OnceLock<Thread>,
    stopping: AtomicBool,
}

impl Wake {
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// A journal whose threads run. Dropping it stops them without waiting for them.
#[derive(Debug)]
pub(crate) struct RunningJournal {
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
    archive: Arc<JournalArchive>,
    reader: Option<JoinHandle<()>>,
}

impl RunningJournal {
    /// Waits until everything that was published is written and synced, and ends the threads.
    pub(crate) fn stop(mut self) {
        self.ask();
        if let Some(reader) = self.reader.take()
            && reader.join().is_err()
        {
            tracing::error!("the archive's thread had panicked");
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread had panicked");
        }
    }

    fn ask(&self) {
        self.wake.stopping.store(true, Ordering::Release);
        self.wake.wake();
        self.archive.end();
    }
}

impl Drop for RunningJournal {
    fn drop(&mut self) {
        self.ask();
    }
}

/// Ends the program after a fault that nothing can be done about.
pub(crate) type EndProgram = Box<dyn Fn() + Send>;

/// Opens the journal in the directory of `settings`, and reads it. `make` makes a directory of topics that has the queue,
/// without a topic.
///
/// `derive` has the rules by which messages are derived from others, and where checkpoints ask for what was.
pub(crate) fn open(
    settings: &JournalSettings,
    clock: Clock,
    (rules, desk): (&[DeriveRule], Arc<DeriveDesk>),
    make: impl Fn(Epoch, Arc<WriteQueue>) -> Directory,
) -> Result<Option<OpenJournal>, JournalError> {
    let Some(dir) = settings.dir.as_ref().map(|dir| dir.0.clone()) else {
        return Ok(None);
    };
    let broken = |source| JournalError::Directory {
        dir: dir.clone(),
        source,
    };
    std::fs::create_dir_all(&dir).map_err(broken)?;
    let lock = DirectoryLock::take(&dir).map_err(broken)?;
    let lock = lock.ok_or_else(|| JournalError::InUse(dir.clone()))?;
    let boot = boot().map_err(broken)?;
    let disk = Arc::new(SystemDisk::open(&dir).map_err(broken)?);
    let wake = Arc::new(Wake::default());
    let wakes = wake.clone();
    let queue = Arc::new(WriteQueue::new(Box::new(move || wakes.wake())));
    let began = Instant::now();
    let plan = RecoveryPlan {
        disk: &*disk,
        boot,
        new_epoch: Epoch::from_number(clock.number_of_start()),
        now: clock.now(),
        make: &|epoch| Arc::new(make(epoch, queue.clone())),
        derive: rules,
    };
    let recovered = plan.run();
    let recovered = recovered.map_err(|source| JournalError::Recovery {
        dir: dir.clone(),
        source,
    })?;
    tell(&recovered, began);
    let asks = (!rules.is_empty()).then_some(desk);
    let rules = StoreRules {
        sync: settings.sync,
        segment_bytes: settings.segment_bytes,
        boot,
    };
    let Recovered {
        directory,
        place,
        epoch,
        begun_anew,
        entries,
        fed,
        derived,
        ..
    } = recovered;
    let is_new = begun_anew.is_some() || place.position.0 == 0;
    let mut store = Store::new(disk.clone(), rules, place, epoch, is_new);
    let anew = begun_anew.map(|_| retention(settings));
    let beside = beside(fed, derived.as_ref()).map_err(broken)?;
    thread::begin(&mut store, &disk, &directory, (anew, beside), clock.now()).map_err(|source| {
        JournalError::Write {
            dir: dir.clone(),
            source,
        }
    })?;
    Ok(Some(OpenJournal {
        directory,
        queue,
        recovered_entries: entries,
        fed,
        derived: derived.filter(|_| asks.is_some()),
        asks,
        settings: settings.clone(),
        store,
        disk,
        lock,
        wake,
    }))
}

/// What a checkpoint has beside the topics before anything is published.
fn beside(fed: Option<FeedMark>, derived: Option<&DerivedStart>) -> io::Result<Beside> {
    let parts = derived.map(DerivedStart::parts).transpose()?;
    Ok(Beside {
        fed,
        derived: DerivedSource::Known(parts.unwrap_or_default()),
    })
}

fn retention(settings: &JournalSettings) -> Retention {
    Retention {
        bytes_max: settings.bytes_max,
        age_max_us: settings.age_max_s.map(|s| s * 1_000_000),
    }
}

/// Says in the log what was found.
fn tell(recovered: &Recovered, began: Instant) {
    let Recovered {
        directory,
        entries,
        messages,
        epoch,
        ..
    } = recovered;
    if let Some((file, bytes)) = &recovered.cut {
        tracing::warn!(
            file,
            bytes,
            "the end of the journal was not written whole; it is cut off"
        );
    }
    let (topics, ms) = (directory.topic_count(), began.elapsed().as_millis());
    match recovered.begun_anew {
        Some(why) => {
            tracing::warn!(why, %epoch, topics, "the values of all topics are kept, and their numbers begin anew");
        }
        None => tracing::info!(%epoch, topics, messages, entries, ms, "the journal is read"),
    }
}

/// What a trim of a journal has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The bytes of the files that are left.
    pub left: u64,
}

/// Removes the oldest files with messages in `dir`, as far as a start does not need them: until they have at most `bytes_max`
/// bytes, and those whose messages are all from before `before`.
///
/// # Errors
/// If there is no such directory, a broker uses it, or a file cannot be removed.
pub fn trim(dir: &Path, bytes_max: u64, before: Option<Micros>) -> Result<Trimmed, JournalError> {
    let broken = |source| JournalError::Directory {
        dir: dir.to_owned(),
        source,
    };
    let disk = SystemDisk::open(dir).map_err(broken)?;
    let lock = DirectoryLock::take(dir).map_err(broken)?;
    let _lock = lock.ok_or_else(|| JournalError::InUse(dir.to_owned()))?;
    // As if it were that moment, and nothing older than that were kept.
    let now = before.unwrap_or_default();
    let retention = Retention {
        bytes_max,
        age_max_us: before.map(|_| 0),
    };
    let trimmed = tidy_up(&disk, retention, now).map_err(broken)?;
    archive::remove_orphans(&disk).map_err(broken)?;
    Ok(trimmed)
}

/// What tells the machine's starts apart.
fn boot() -> io::Result<Boot> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).map_err(io::Error::other)?;
    Ok(number.to_be_bytes())
}

impl OpenJournal {
    /// What is gone on from with what was derived, if something is.
    pub(crate) fn take_derived(&mut self) -> Option<DerivedStart> {
        self.derived.take()
    }

    /// Starts the threads: the journal's, and that of the archive, which the directory then has. `ends` is called if the
    /// program must end.
    pub(crate) fn start(
        self,
        clock: Clock,
        catalogue: &Arc<Catalogue>,
        ends: EndProgram,
    ) -> io::Result<RunningJournal> {
        catalogue.set(Metric::JournalRecovered, &[], self.recovered_entries);
        let settings = &self.settings;
        let timing = thread::Timing {
            sync_us: settings.sync_us(),
            checkpoint_us: settings.checkpoint_s * 1_000_000,
        };
        let (archive, reader) = archive::start(self.disk.clone(), self.store.end().clone(), catalogue)?;
        self.directory.set_archive(archive.clone());
        let thread = JournalThread::new(
            self.store,
            self.disk,
            self.directory,
            self.queue,
            (timing, retention(settings)),
            (clock, catalogue.local(), ends),
            Beside {
                fed: self.fed,
                derived: self.asks.map_or(DerivedSource::Nothing, DerivedSource::Ask),
            },
        );
        let (wake, lock) = (self.wake.clone(), self.lock);
        let handle = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                let _lock = lock;
                // Nothing is lost if it is set later: the thread looks at the queue before it waits.
                let _first = wake.thread.set(std::thread::current());
                thread.run(&wake);
            })?;
        Ok(RunningJournal {
            wake: self.wake,
            thread: Some(handle),
            archive,
            reader: Some(reader),
        })
    }
}
