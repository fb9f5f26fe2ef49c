//! What operators have revoked: static keys, subjects and single tokens, until a moment or until it is taken back.
//!
//! All threads share one list, and a reload of the settings keeps it. It is in memory only: a restart forgets it. It is
//! bounded in number, and each name in bytes, so it never grows without limit; when it is full, a further revocation is
//! refused and nothing is forgotten early. Never reads a clock: the time is an argument.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use thiserror::Error;
use tickwire_wire::Micros;

use super::Holder;
use crate::config::KeyHash;

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
}

#[derive(Debug, Default)]
struct RevocationList {
    entries: BTreeMap<u64, Revocation>,
    numbers: HashMap<Revoked, u64>,
    last: u64,
}

impl RevocationList {
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
