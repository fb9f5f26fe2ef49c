//! The files of books: one for each day, so that a restart of the broker begins no day anew.
//!
//! A file is written beside its place, synced, and then put there, so that there is always a whole one. A file that
//! cannot be read stops the start: its day would begin anew, and nobody would notice.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tickwire_router::{FamilyCount, UserId};

use super::AccountName;
use super::day::{DayEntries, DayEntry, DayNumber};
use crate::journal::DirectoryLock;

/// The version of the form of the files.
const VERSION: u32 = 1;
/// What the names of files begin with.
const PREFIX: &str = "accounts-";
/// What the names of files end with.
const SUFFIX: &str = ".json";
/// The name of a file that is being written.
const UNFINISHED: &str = "accounts.unfinished";

/// Why a broker with accounting did not start.
#[derive(Debug, Error)]
pub enum AccountingError {
    /// The directory cannot be used.
    #[error("accounting.dir {dir}: {source}")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error("accounting.dir {0} is used by another process; each broker needs a directory of its own")]
    InUse(PathBuf),
    /// A file cannot be gone on with.
    #[error("{file} cannot be gone on with: {what}; move it away to begin the books of that day anew")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// The form of a file.
#[derive(Debug, Serialize, Deserialize)]
struct DayFile {
    version: u32,
    day: String,
    users_lost: u64,
    accounts: Vec<AccountInFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AccountInFile {
    kind: KindInFile,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    peak_connections: u32,
    families: Vec<FamilyInFile>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindInFile {
    Anonymous,
    Key,
    Subject,
    Others,
}

#[derive(Debug, Serialize, Deserialize)]
struct FamilyInFile {
    family: String,
    delivered: u64,
    repeated: u64,
    bytes: u64,
    users: Vec<u64>,
}

/// The directory of the files, which no other process writes.
#[derive(Debug)]
pub(super) struct BookFiles {
    dir: PathBuf,
    keep_days: u64,
    _lock: DirectoryLock,
}

impl BookFiles {
    /// Opens the directory, which is made if it does not exist. A file is removed `keep_days` days after its day.
    pub(super) fn open(dir: &Path, keep_days: u64) -> Result<Self, AccountingError> {
        let failed = |source| AccountingError::Directory {
            dir: dir.to_owned(),
            source,
        };
        fs::create_dir_all(dir).map_err(failed)?;
        let lock = DirectoryLock::take(dir).map_err(failed)?;
        Ok(Self {
            _lock: lock.ok_or_else(|| AccountingError::InUse(dir.to_owned()))?,
            dir: dir.to_owned(),
            keep_days,
        })
    }

    /// Reads the files of those `days` that have one.
    pub(super) fn read(&self, days: &[DayNumber]) -> Result<Vec<(DayNumber, DayEntries)>, AccountingError> {
        let mut read = Vec::new();
        for day in days {
            let file = self.path(*day);
            let text = match fs::read(&file) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    let what = error.to_string();
                    return Err(AccountingError::Unreadable { file, what });
                }
            };
            match entries(&text, *day) {
                Ok(entries) => read.push((*day, entries)),
                Err(what) => return Err(AccountingError::Unreadable { file, what }),
            }
        }
        Ok(read)
    }

    /// Writes the files of these days, and removes those that are too old.
    ///
    /// # Errors
    /// The first error of the system. Each file is then whole: as it was, or as it is to be.
    pub(super) fn write(&self, days: &[(DayNumber, DayEntries)]) -> io::Result<()> {
        for (day, entries) in days {
            let unfinished = self.dir.join(UNFINISHED);
            let mut file = File::create(&unfinished)?;
            file.write_all(&text(*day, entries))?;
            file.sync_all()?;
            fs::rename(unfinished, self.path(*day))?;
        }
        if let Some((newest, _)) = days.last() {
            File::open(&self.dir)?.sync_all()?;
            self.remove_old(*newest)?;
        }
        Ok(())
    }

    fn remove_old(&self, today: DayNumber) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let day = name
                .to_str()
                .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
            let day: Option<DayNumber> = day.and_then(|day| day.parse().ok());
            if day.is_some_and(|day| today.since(day) > self.keep_days) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn path(&self, day: DayNumber) -> PathBuf {
        self.dir.join(format!("{PREFIX}{day}{SUFFIX}"))
    }
}

/// The content of a day's file.
fn text(day: DayNumber, entries: &DayEntries) -> Vec<u8> {
    let family = |(family, count, users): &(String, FamilyCount, Vec<UserId>)| FamilyInFile {
        family: family.clone(),
        delivered: count.delivered,
        repeated: count.repeated,
        bytes: count.bytes,
        users: users.iter().map(|user| user.0).collect(),
    };
    let account = |entry: &DayEntry| {
        let (kind, name, issuer) = match &entry.name {
            AccountName::Anonymous => (KindInFile::Anonymous, None, None),
            AccountName::Others => (KindInFile::Others, None, None),
            AccountName::Key(name) => (KindInFile::Key, Some(name), None),
            AccountName::Subject { subject, issuer } => (KindInFile::Subject, Some(subject), issuer.as_ref()),
        };
        AccountInFile {
            kind,
            name: name.cloned(),
            issuer: issuer.cloned(),
            peak_connections: entry.peak,
            families: entry.families.iter().map(family).collect(),
        }
    };
    let file = DayFile {
        version: VERSION,
        day: day.to_string(),
        users_lost: entries.users_lost,
        accounts: entries.accounts.iter().map(account).collect(),
    };
    let mut text = serde_json::to_vec(&file).expect("text and numbers serialise");
    text.push(b'\n');
    text
}

/// The entries in a day's file, or what is wrong with it.
fn entries(text: &[u8], day: DayNumber) -> Result<DayEntries, String> {
    let file: DayFile = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("it has version {} and not {VERSION}", file.version));
    }
    if file.day != day.to_string() {
        return Err(format!("it has the books of {}", file.day));
    }
    let family = |family: FamilyInFile| {
        let count = FamilyCount {
            delivered: family.delivered,
            repeated: family.repeated,
            bytes: family.bytes,
        };
        let users = family.users.into_iter().map(UserId).collect();
        (family.family, count, users)
    };
    let entry = |account: AccountInFile| {
        let name = match (account.kind, account.name) {
            (KindInFile::Anonymous, _) => AccountName::Anonymous,
            (KindInFile::Others, _) => AccountName::Others,
            (KindInFile::Key, Some(name)) => AccountName::Key(name),
            (KindInFile::Subject, Some(subject)) => AccountName::Subject {
                subject,
                issuer: account.issuer,
            },
            (KindInFile::Key | KindInFile::Subject, None) => {
                return Err("an account of a holder has no name".to_owned());
            }
        };
        Ok(DayEntry {
            name,
            peak: account.peak_connections,
            families: account.families.into_iter().map(family).collect(),
        })
    };
    Ok(DayEntries {
        accounts: file.accounts.into_iter().map(entry).collect::<Result<_, _>>()?,
        users_lost: file.users_lost,
    })
}
