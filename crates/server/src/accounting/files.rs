//! The files of books: one for each day, so that a restart of the broker begins no day anew.
//!
//! A file that cannot be read stops the start: its day would begin anew, and nobody would notice.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tickwire_router::{FamilyCount, UserId};

use super::AccountName;
use super::day::{DayEntries, DayEntry, DayNumber};
use crate::state_files::{StateError, StateFiles};

/// The version of the form of the files.
const VERSION: u32 = 1;
/// What the names of files begin with.
const PREFIX: &str = "accounts-";
/// What the names of files end with.
const SUFFIX: &str = ".json";

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

/// The directory of the files.
#[derive(Debug)]
pub(super) struct BookFiles {
    files: StateFiles,
    keep_days: u64,
}

impl BookFiles {
    /// Opens the directory. A file is removed `keep_days` days after its day.
    pub(super) fn open(dir: &Path, keep_days: u64) -> Result<Self, StateError> {
        Ok(Self {
            files: StateFiles::open("accounting.dir", dir)?,
            keep_days,
        })
    }

    /// Reads the files of those `days` that have one.
    pub(super) fn read(&self, days: &[DayNumber]) -> Result<Vec<(DayNumber, DayEntries)>, StateError> {
        let mut read = Vec::new();
        for day in days {
            if let Some(entries) = self.files.read(&name(*day), |text| entries(text, *day))? {
                read.push((*day, entries));
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
            self.files.write(&name(*day), &text(*day, entries))?;
        }
        let Some((today, _)) = days.last() else {
            return Ok(());
        };
        self.files.sync()?;
        self.files.remove(|name| {
            let day = name
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.strip_suffix(SUFFIX));
            let day: Option<DayNumber> = day.and_then(|day| day.parse().ok());
            day.is_some_and(|day| today.since(day) > self.keep_days)
        })
    }
}

/// The name of a day's file.
fn name(day: DayNumber) -> String {
    format!("{PREFIX}{day}{SUFFIX}")
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
