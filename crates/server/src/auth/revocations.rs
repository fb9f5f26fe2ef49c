//! What operators have revoked: static keys, subjects and single tokens, until a moment or until it is taken back.
//!
//! All threads share one list, and a reload of the settings keeps it. A restart forgets it, unless there is a directory
//! for it: then it is in a file there. It is
//! bounded in number, and each name in bytes, so it never grows without limit; when it is full, a further revocation is
//! refused and nothing is forgotten early. Never reads a clock: the time is an argument.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tickwire_wire::Micros;

use super::Holder;
use crate::config::{KeyHash, StateDir};
use crate::state_files::{StateError, StateFiles};

/// The name of the file.
const FILE: &str = "revocations.json";
/// The version of its form.
const VERSION: u32 = 1;
/// Most revocations that are in force at a time.
pub(crate) const REVOCATIONS_MAX: usize = 10_000;

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Revoked {
    /// The static key with this hash. Another key that gets its name is not revoked.
    Key(KeyHash),
    /// All JSON Web Tokens of this subject, of any issuer.
    Subject(String),
    /// The JSON Web Token with this `jti`.
    TokenId(String),
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revocation {
    /// Its number, by which it is taken back.
    pub(crate) number: u64,
    pub(crate) revoked: Revoked,
    /// What operators call it: the name of the key when it was revoked, the subject, or the `jti`.
    pub(crate) name: String,
    /// When it ends. `None` if it holds until it is taken back.
    pub(crate) until: Option<Micros>,
    /// When it was made.
    pub(crate) since: Micros,
    /// The name of the operator's key.
    pub(crate) by: String,
}

/// There is no room for another revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{REVOCATIONS_MAX} revocations are in force, the most there may be: take back those that are not needed"
)]
pub(crate) struct RevocationsFull;

/// The revocations of a broker.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    list: RwLock<RevocationList>,
    /// The number of entries, so that a broker without revocations takes no lock for a token.
    count: AtomicUsize,
    /// Where they are kept across restarts, if they are. One thread writes at a time, so that the last one writes the newest.
    files: Option<Mutex<StateFiles>>,
}

#[derive(Debug, Default)]
struct RevocationList {
    entries: BTreeMap<u64, Revocation>,
    numbers: HashMap<Revoked, u64>,
    last: u64,
}

/// The form of the file.
#[derive(Debug, Serialize, Deserialize)]
struct RevocationsFile {
    version: u32,
    last: u64,
    revocations: Vec<RevocationInFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RevocationInFile {
    id: u64,
    #[serde(flatten)]
    revoked: RevokedInFile,
    name: String,
    until: Option<Micros>,
    since: Micros,
    by: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RevokedInFile {
    KeySha256(String),
    Subject(String),
    Jti(String),
}

impl RevocationList {
    fn to_json(&self) -> Vec<u8> {
        let entries = self.entries.values().map(|entry| RevocationInFile {
            id: entry.number,
            revoked: match &entry.revoked {
                Revoked::Key(hash) => RevokedInFile::KeySha256(hash.to_string()),
                Revoked::Subject(subject) => RevokedInFile::Subject(subject.clone()),
                Revoked::TokenId(id) => RevokedInFile::Jti(id.clone()),
            },
            name: entry.name.clone(),
            until: entry.until,
            since: entry.since,
            by: entry.by.clone(),
        });
        let file = RevocationsFile {
            version: VERSION,
            last: self.last,
            revocations: entries.collect(),
        };
        let mut text = serde_json::to_vec(&file).expect("text and numbers serialise");
        text.push(b'\n');
        text
    }

    /// The list in a file, or what is wrong with it.
    fn from_json(text: &[u8]) -> Result<Self, String> {
        let file: RevocationsFile = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if file.version != VERSION {
            return Err(format!("it has version {} and not {VERSION}", file.version));
        }
        let mut list = Self {
            last: file.last,
            ..Self::default()
        };
        for entry in file.revocations {
            let revoked = match entry.revoked {
                RevokedInFile::KeySha256(digits) => {
                    let hash = KeyHash::parse(&digits);
                    Revoked::Key(hash.ok_or_else(|| format!("{digits:?} is no hash of a key"))?)
                }
                RevokedInFile::Subject(subject) => Revoked::Subject(subject),
                RevokedInFile::Jti(id) => Revoked::TokenId(id),
            };
            list.last = list.last.max(entry.id);
            list.numbers.insert(revoked.clone(), entry.id);
            let entry = Revocation {
                number: entry.id,
                revoked,
                name: entry.name,
                until: entry.until,
                since: entry.since,
                by: entry.by,
            };
            list.entries.insert(entry.number, entry);
        }
        Ok(list)
    }

    fn is_revoked(&self, revoked: &Revoked, now: Micros) -> bool {
        let entry = self
            .numbers
            .get(revoked)
            .and_then(|number| self.entries.get(number));
        entry.is_some_and(|entry| entry.holds(now))
    }

    fn forget_ended(&mut self, now: Micros) {
        self.entries.retain(|_, entry| entry.holds(now));
        let entries = &self.entries;
        self.numbers.retain(|_, number| entries.contains_key(number));
    }
}

impl Revocation {
    fn holds(&self, now: Micros) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

impl Revocations {
    /// The revocations that are kept in a directory, or none if there is no directory.
    ///
    /// # Errors
    /// Those of [`Self::kept_in`].
    pub(crate) fn open(dir: Option<&StateDir>) -> Result<Self, StateError> {
        dir.map_or_else(|| Ok(Self::default()), |dir| Self::kept_in(&dir.0))
    }

    /// The revocations that are kept in the directory `dir`.
    ///
    /// # Errors
    /// If the directory or its file cannot be used. A broker must not start without what was revoked.
    fn kept_in(dir: &Path) -> Result<Self, StateError> {
        let files = StateFiles::open("admin.dir", dir)?;
        let list = files.read(FILE, RevocationList::from_json)?.unwrap_or_default();
        Ok(Self {
            count: AtomicUsize::new(list.entries.len()),
            list: RwLock::new(list),
            files: Some(Mutex::new(files)),
        })
    }

    /// Writes the list to its file, if there is one.
    ///
    /// # Errors
    /// The system's error. The list in memory stays as it is.
    pub(crate) fn save(&self) -> io::Result<()> {
        let Some(files) = &self.files else {
            return Ok(());
        };
        // A panic within leaves the file whole.
        let files = files.lock().unwrap_or_else(PoisonError::into_inner);
        let text = self.read().to_json();
        files.write(FILE, &text)?;
        files.sync()
    }

    /// Whether a token with this holder and this `jti` is revoked at `now`.
    pub(crate) fn cover(&self, holder: Option<&Holder>, token_id: Option<&str>, now: Micros) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let of_holder = holder.map(|holder| match holder {
            Holder::Key(hash) => Revoked::Key(*hash),
            Holder::Subject { subject, .. } => Revoked::Subject(subject.clone()),
        });
        let of_token = token_id.map(|id| Revoked::TokenId(id.to_owned()));
        let list = self.read();
        let mut shown = of_holder.iter().chain(&of_token);
        shown.any(|revoked| list.is_revoked(revoked, now))
    }

    /// Revokes something from now on. A revocation of the same is replaced, and keeps its number.
    ///
    /// # Errors
    /// If there are too many.
    pub(crate) fn revoke(
        &self,
        (revoked, name): (Revoked, String),
        until: Option<Micros>,
        by: String,
        now: Micros,
    ) -> Result<Revocation, RevocationsFull> {
        let mut list = self.write();
        list.forget_ended(now);
        let known = list.numbers.get(&revoked).copied();
        if known.is_none() && list.entries.len() >= REVOCATIONS_MAX {
            return Err(RevocationsFull);
        }
        let number = known.unwrap_or(list.last + 1);
        list.last = list.last.max(number);
        let entry = Revocation {
            number,
            revoked: revoked.clone(),
            name,
            until,
            since: now,
            by,
        };
        list.numbers.insert(revoked, number);
        list.entries.insert(number, entry.clone());
        self.count.store(list.entries.len(), Ordering::Release);
        Ok(entry)
    }

    /// Takes a revocation back. Returns it, if there is one with this number that holds at `now`.
    pub(crate) fn take_back(&self, number: u64, now: Micros) -> Option<Revocation> {
        let mut list = self.write();
        list.forget_ended(now);
        let entry = list.entries.remove(&number);
        if let Some(entry) = &entry {
            list.numbers.remove(&entry.revoked);
        }
        self.count.store(list.entries.len(), Ordering::Release);
        entry
    }

    /// The first `count_max` revocations that hold at `now` with numbers above `after`, in the order of their numbers.
    pub(crate) fn page(&self, after: u64, count_max: usize, now: Micros) -> Vec<Revocation> {
        let list = self.read();
        let later = list.entries.range(after.saturating_add(1)..);
        let hold = later.map(|(_, entry)| entry).filter(|entry| entry.holds(now));
        hold.take(count_max).cloned().collect()
    }

    /// The number of revocations that hold at `now`.
    pub(crate) fn count(&self, now: Micros) -> usize {
        if self.count.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.read()
            .entries
            .values()
            .filter(|entry| entry.holds(now))
            .count()
    }

    fn read(&self) -> RwLockReadGuard<'_, RevocationList> {
        // Between any two calls the list is whole.
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, RevocationList> {
        self.list.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str) -> (Revoked, String) {
        (Revoked::Subject(name.to_owned()), name.to_owned())
    }

    fn holder(subject: &str, issuer: Option<&str>) -> Holder {
        Holder::Subject {
            issuer: issuer.map(str::to_owned),
            subject: subject.to_owned(),
        }
    }

    #[test]
    fn what_is_revoked_is_so_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = (Revoked::Key(KeyHash::of("tw_key")), "desk".to_owned());
        let token = (Revoked::TokenId("7f".to_owned()), "7f".to_owned());
        let before = {
            let list = Revocations::kept_in(folder.path()).expect("the directory can be used");
            revoke(&list, key, None, 1);
            let mallory = revoke(&list, subject("mallory"), Some(100), 2);
            revoke(&list, token, Some(200), 3);
            assert!(list.take_back(mallory, Micros(4)).is_some());
            assert!(list.save().is_ok());
            let again = Revocations::kept_in(folder.path());
            assert!(matches!(again, Err(StateError::InUse { .. })), "{again:?}");
            list.page(0, 10, Micros(5))
        };
        let list = Revocations::kept_in(folder.path()).expect("the file can be read");
        assert_eq!(list.page(0, 10, Micros(5)), before);
        assert!(list.cover(Some(&Holder::Key(KeyHash::of("tw_key"))), None, Micros(5)));
        assert!(list.cover(None, Some("7f"), Micros(5)) && !list.cover(None, Some("7f"), Micros(200)));
        assert!(!list.cover(Some(&holder("mallory", None)), None, Micros(5)));
        assert_eq!(
            revoke(&list, subject("eve"), None, 6),
            4,
            "no number is used again"
        );
    }

    #[test]
    fn a_broker_does_not_start_without_what_was_revoked() {
        let folder = tempfile::tempdir().expect("a folder");
        for (text, what) in [
            ("{", "EOF"),
            (r#"{"version":2,"last":1,"revocations":[]}"#, "version 2"),
            (
                r#"{"version":1,"last":1,"revocations":[{"id":1,"key_sha256":"x","name":"a","until":null,"since":1,"by":"b"}]}"#,
                "no hash",
            ),
        ] {
            std::fs::write(folder.path().join(FILE), text).expect("a file");
            let refused = Revocations::kept_in(folder.path()).expect_err("it cannot be read");
            assert!(refused.to_string().contains(what), "{refused}");
        }
    }

    fn revoke(list: &Revocations, what: (Revoked, String), until: Option<u64>, now: u64) -> u64 {
        let made = list.revoke(what, until.map(Micros), "night-shift".to_owned(), Micros(now));
        made.expect("there is room").number
    }

    #[test]
    fn what_is_revoked_is_covered_and_nothing_else() {
        let list = Revocations::default();
        let [key, other] = ["a", "b"].map(KeyHash::of);
        revoke(&list, (Revoked::Key(key), "desk".to_owned()), None, 0);
        revoke(&list, subject("mallory"), None, 0);
        revoke(
            &list,
            (Revoked::TokenId("t1".to_owned()), "t1".to_owned()),
            None,
            0,
        );
        for (holder, token_id, covered) in [
            (Some(Holder::Key(key)), None, true),
            (Some(Holder::Key(other)), None, false),
            (Some(holder("mallory", None)), None, true),
            (Some(holder("mallory", Some("any"))), Some("t2"), true),
            (Some(holder("alice", None)), Some("t2"), false),
            (Some(holder("alice", None)), Some("t1"), true),
            // A name is one of a kind.
            (Some(holder("t1", None)), Some("mallory"), false),
            (Some(holder("desk", None)), None, false),
            (None, None, false),
        ] {
            let found = list.cover(holder.as_ref(), token_id, Micros(5));
            assert_eq!(found, covered, "{holder:?} {token_id:?}");
        }
    }

    #[test]
    fn a_revocation_ends_at_its_moment_and_not_before() {
        let list = Revocations::default();
        let number = revoke(&list, subject("a"), Some(100), 0);
        let is_covered = |now| list.cover(Some(&holder("a", None)), None, Micros(now));
        assert_eq!([0, 99, 100, 101].map(is_covered), [true, true, false, false]);
        assert_eq!([99, 100].map(|now| list.count(Micros(now))), [1, 0]);
        assert_eq!([99, 100].map(|now| list.page(0, 9, Micros(now)).len()), [1, 0]);
        assert_eq!(list.take_back(number, Micros(100)), None);
        // It is forgotten, so the next one is another.
        assert!(revoke(&list, subject("a"), None, 100) > number);
    }

    #[test]
    fn who_is_revoked_again_has_one_revocation_with_the_later_words() {
        let list = Revocations::default();
        let number = revoke(&list, subject("a"), Some(100), 0);
        assert_eq!(revoke(&list, subject("a"), None, 50), number);
        let page = list.page(0, 9, Micros(1_000));
        assert_eq!(page.len(), 1);
        assert_eq!((page[0].until, page[0].since), (None, Micros(50)));
        let back = list.take_back(number, Micros(1_000)).expect("it is there");
        assert_eq!((back.name.as_str(), back.by.as_str()), ("a", "night-shift"));
        assert!(!list.cover(Some(&holder("a", None)), None, Micros(1_000)));
        assert_eq!(list.take_back(number, Micros(1_000)), None);
    }

    #[test]
    fn a_full_list_forgets_nothing_but_what_has_ended() {
        let list = Revocations::default();
        for number in 0..REVOCATIONS_MAX as u64 {
            let until = (number == 7).then_some(100);
            revoke(&list, subject(&number.to_string()), until, 0);
        }
        let full = list.revoke(subject("one more"), None, "x".to_owned(), Micros(99));
        assert_eq!(full, Err(RevocationsFull));
        assert!(list.cover(Some(&holder("0", None)), None, Micros(99)));
        // One that is known needs no room.
        revoke(&list, subject("0"), None, 99);
        revoke(&list, subject("one more"), None, 100);
        assert_eq!(list.count(Micros(100)), REVOCATIONS_MAX);
    }

    #[test]
    fn pages_bring_each_revocation_once() {
        let list = Revocations::default();
        for number in 0..25 {
            revoke(&list, subject(&number.to_string()), None, 0);
        }
        let (mut after, mut names) = (0, Vec::new());
        loop {
            let page = list.page(after, 10, Micros(1));
            let Some(last) = page.last() else { break };
            after = last.number;
            names.extend(page.into_iter().map(|entry| entry.name));
        }
        assert_eq!(
            names,
            (0..25).map(|number| number.to_string()).collect::<Vec<_>>()
        );
    }
}
