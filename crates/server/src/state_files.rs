//! A directory in which the broker keeps small files across restarts, such as its books and what is revoked.
//!
//! A file is written beside its place, synced, and then put there, so that there is always a whole one. Only one process
//! uses a directory at a time.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::journal::DirectoryLock;

/// The name of a file that is being written.
const UNFINISHED: &str = "unfinished";

/// Why the files of a directory cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// The directory cannot be used.
    #[error("{key} {dir}: {source}")]
    Directory {
        /// The setting that names it.
        key: &'static str,
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process, or another part of this one, uses the directory.
    #[error("{key} {dir} is in use already; each broker and each setting needs a directory of its own")]
    InUse {
        /// The setting that names it.
        key: &'static str,
        /// The directory.
        dir: PathBuf,
    },
    /// A file cannot be gone on with.
    #[error("{file} cannot be gone on with: {what}; move it away to begin anew")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A directory that is used.
#[derive(Debug)]
pub(crate) struct StateFiles {
    dir: PathBuf,
    _lock: DirectoryLock,
}

impl StateFiles {
    /// Opens the directory that the setting `key` names. It is made if it does not exist.
    ///
    /// # Errors
    /// If it cannot be used.
    pub(crate) fn open(key: &'static str, dir: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Directory {
            key,
            dir: dir.to_owned(),
            source,
        };
        fs::create_dir_all(dir).map_err(failed)?;
        let lock = DirectoryLock::take(dir).map_err(failed)?;
        Ok(Self {
            _lock: lock.ok_or_else(|| StateError::InUse {
                key,
                dir: dir.to_owned(),
            })?,
            dir: dir.to_owned(),
        })
    }

    /// What `parse` makes of a file, if there is one.
    ///
    /// # Errors
    /// If it cannot be read, or `parse` says what is wrong with it.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, StateError> {
        let file = self.dir.join(name);
        let parsed = match fs::read(&file) {
            Ok(text) => parse(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error.to_string()),
        };
        parsed
            .map(Some)
            .map_err(|what| StateError::Unreadable { file, what })
    }

    /// Puts a file there, in place of one that is there. [`Self::sync`] makes that last.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let unfinished = self.dir.join(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(unfinished, self.dir.join(name))
    }

    /// Waits until the names of all files are on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// Removes the files whose names `is_old` selects.
    pub(crate) fn remove(&self, is_old: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(&is_old) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}
