//! The books of one day: what each account was delivered, by families, and by how many users.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tickwire_router::{AccountId, FAMILIES_MAX, Families, FamilyCount, FamilyId, SeenUser, UserId};
use tickwire_wire::{Micros, Moment};

use super::AccountName;

/// Microseconds of a day.
const DAY_US: u64 = 24 * 3_600 * 1_000_000;

/// A day of Coordinated Universal Time, as the number of days since 1970. Written like 2026-11-30.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DayNumber(u64);

impl DayNumber {
    /// The day of a moment.
    pub(crate) const fn of(moment: Micros) -> Self {
        Self(moment.0 / DAY_US)
    }

    /// When the day ends.
    pub(crate) const fn end(self) -> Micros {
        Micros((self.0 + 1).saturating_mul(DAY_US))
    }

    /// The number of days since `earlier`.
    pub(super) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The day after.
    #[cfg(test)]
    pub(super) const fn after(self) -> Self {
        Self(self.0 + 1)
    }

    /// The day before.
    pub(super) const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for DayNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begin = Moment(Micros(self.0.saturating_mul(DAY_US))).to_string();
        f.write_str(begin.split('T').next().unwrap_or(&begin))
    }
}

impl FromStr for DayNumber {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let begin: Moment = format!("{text}T00:00:00Z").parse().map_err(|_| ())?;
        let day = Self::of(begin.0);
        // A moment may be written in other ways.
        (day.to_string() == text).then_some(day).ok_or(())
    }
}

/// What there is room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// The number of accounts beside that of all others and that without a token.
    pub(super) holders: usize,
    /// The number of users of a day that are told apart, each counted once for each account and family.
    pub(super) users: usize,
}

/// What an account was delivered on one day.
#[derive(Debug, Clone)]
struct AccountDay {
    name: Arc<AccountName>,
    /// The most connections at the same time.
    peak: u32,
    families: BTreeMap<FamilyId, FamilyDay>,
}

#[derive(Debug, Clone, Copy, Default)]
struct FamilyDay {
    count: FamilyCount,
    users: usize,
}

/// The books of one day.
#[derive(Debug, Clone)]
pub(crate) struct DayBooks {
    number: DayNumber,
    accounts: HashMap<AccountId, AccountDay>,
    users: HashSet<(AccountId, FamilyId, UserId)>,
    /// How often a user was not counted because there was no room.
    users_lost: u64,
    /// Whether something has changed since it was saved.
    pub(super) is_new: bool,
}

/// An account of a day's books, with the names of families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DayEntry {
    pub(super) name: AccountName,
    pub(super) peak: u32,
    pub(super) families: Vec<(String, FamilyCount, Vec<UserId>)>,
}

/// All accounts of a day's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DayEntries {
    pub(super) accounts: Vec<DayEntry>,
    pub(super) users_lost: u64,
}

/// A row of a day's books.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) name: &'a AccountName,
    pub(super) peak: u32,
    /// By families, with the number of users.
    pub(super) families: Vec<(FamilyId, FamilyCount, usize)>,
}

impl DayBooks {
    /// Books without an entry.
    pub(super) fn new(number: DayNumber) -> Self {
        Self {
            number,
            accounts: HashMap::new(),
            users: HashSet::new(),
            users_lost: 0,
            is_new: false,
        }
    }

    pub(super) fn number(&self) -> DayNumber {
        self.number
    }

    pub(super) fn has(&self, id: AccountId) -> bool {
        self.accounts.contains_key(&id)
    }

    pub(super) fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// The number of times that a user was not counted.
    pub(super) fn users_lost(&self) -> u64 {
        self.users_lost
    }

    fn account(&mut self, id: AccountId, name: &Arc<AccountName>) -> &mut AccountDay {
        self.is_new = true;
        self.accounts.entry(id).or_insert_with(|| AccountDay {
            name: name.clone(),
            peak: 0,
            families: BTreeMap::new(),
        })
    }

    /// Records that an account has so many connections.
    pub(super) fn opened(&mut self, id: AccountId, name: &Arc<AccountName>, open: u32) {
        let account = self.account(id, name);
        account.peak = account.peak.max(open);
    }

    /// Adds what an account was delivered, by the numbers of families.
    pub(super) fn add(&mut self, id: AccountId, name: &Arc<AccountName>, sums: &[FamilyCount]) {
        let account = self.account(id, name);
        for (family, sum) in families(sums) {
            account.families.entry(family).or_default().count += sum;
        }
    }

    /// Counts a user in the families that it has messages of for the first time. `users_max` are told apart.
    pub(super) fn saw(
        &mut self,
        (id, name): (AccountId, &Arc<AccountName>),
        seen: SeenUser,
        users_max: usize,
    ) {
        for family in FamilyId::all().filter(|family| seen.has(*family)) {
            self.count_user((id, name), family, seen.user, users_max);
        }
    }

    fn count_user(
        &mut self,
        (id, name): (AccountId, &Arc<AccountName>),
        family: FamilyId,
        user: UserId,
        users_max: usize,
    ) {
        let key = (id, family, user);
        if self.users.contains(&key) {
            return;
        }
        if self.users.len() >= users_max {
            self.users_lost += 1;
            return;
        }
        self.users.insert(key);
        self.account(id, name).families.entry(family).or_default().users += 1;
    }

    /// Enters what was kept of an account.
    pub(super) fn put(
        &mut self,
        (id, name): (AccountId, &Arc<AccountName>),
        family: FamilyId,
        count: FamilyCount,
        users: &[UserId],
        users_max: usize,
    ) {
        self.account(id, name).families.entry(family).or_default().count += count;
        for user in users {
            self.count_user((id, name), family, *user, users_max);
        }
    }

    /// Records that users were not counted.
    pub(super) fn lost(&mut self, count: u64) {
        self.users_lost += count;
    }

    /// The rows in the order of the accounts' names.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = self.accounts.values().map(row).collect();
        rows.sort_unstable_by_key(|row| row.name);
        rows
    }

    /// The number of users of each family: each holder is one, and clients without a token, and those of the account that
    /// holders share, count by their addresses.
    pub(super) fn users_by_family(&self) -> [usize; FAMILIES_MAX] {
        let mut users = [0; FAMILIES_MAX];
        for account in self.accounts.values() {
            let is_one = matches!(*account.name, AccountName::Key(_) | AccountName::Subject { .. });
            for (family, day) in &account.families {
                users[family.index()] += if is_one { 1 } else { day.users };
            }
        }
        users
    }

    /// All entries, with the names that `families` has.
    pub(super) fn entries(&self, families: &Families) -> DayEntries {
        let names = families.names();
        let mut users: HashMap<(AccountId, FamilyId), Vec<UserId>> = HashMap::new();
        for (id, family, user) in &self.users {
            users.entry((*id, *family)).or_default().push(*user);
        }
        let entry = |(id, account): (&AccountId, &AccountDay)| DayEntry {
            name: (*account.name).clone(),
            peak: account.peak,
            families: account
                .families
                .iter()
                .map(|(family, day)| {
                    let mut users = users.remove(&(*id, *family)).unwrap_or_default();
                    users.sort_unstable();
                    (names[family.index()].to_string(), day.count, users)
                })
                .collect(),
        };
        let mut accounts: Vec<DayEntry> = self.accounts.iter().map(entry).collect();
        accounts.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        DayEntries {
            accounts,
            users_lost: self.users_lost,
        }
    }
}

fn row(account: &AccountDay) -> Row<'_> {
    let families = account.families.iter();
    Row {
        name: &account.name,
        peak: account.peak,
        families: families
            .map(|(family, day)| (*family, day.count, day.users))
            .collect(),
    }
}

/// The families with something in `sums`.
fn families(sums: &[FamilyCount]) -> impl Iterator<Item = (FamilyId, FamilyCount)> {
    let all = FamilyId::all().zip(sums.iter().copied());
    all.filter(|(_, sum)| *sum != FamilyCount::default())
}
