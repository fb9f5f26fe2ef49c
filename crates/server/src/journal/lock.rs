//! The lock of a directory, such as that of a journal: only one process writes it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use tickwire_lane::names::LOCK;

/// Holds the lock of a directory until it is dropped. The system gives it up when the process ends, however that happens.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock. `None` if another process has it.
    pub(crate) fn take(dir: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.open(dir.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
