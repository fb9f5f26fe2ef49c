//! Who was delivered how much, a day at a time: the books from which operators bill their clients and report to exchanges.
//!
//! Each shard counts in plain memory of its own. Between two cycles, several times a second, it hands its sums over with
//! [`Accounting::book`]. So a delivery takes no lock, and a day's books have what was handed to sockets on that day, by
//! Coordinated Universal Time. Over all rows the delivered messages are those of the shards' ledgers.
//!
//! Bounded: accounts in number, families of topics, and users that are told apart. Holders beyond that share one account,
//! and users beyond that are not counted; the page says so. Books are there for today and yesterday, and with a
//! directory also after a restart.

mod day;
mod files;
mod page;
mod task;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use tickwire_metrics::{Catalogue, FAMILIES, Metric};
use tickwire_router::{AccountId, FAMILIES_MAX, Families, FamilyCount, TakenAccounts, UserId};

pub(crate) use self::day::DayNumber;
use self::day::{DayBooks, DayEntries, Room};
use self::files::BookFiles;
pub(crate) use self::page::{AccountsPage, WantedDay};
pub(crate) use self::task::Saving;
use crate::auth::Holder;
use crate::config::AccountingSettings;
use crate::limits::AddressKey;
use crate::run::clock::Clock;
use crate::state_files::StateError;

// Each family has a series.
const _: () = assert!(FAMILIES == FAMILIES_MAX);

/// The account of all clients without a token.
const ANONYMOUS: AccountId = AccountId(0);
/// The account that holders share for whom there is no room.
const OTHERS: AccountId = AccountId(1);

/// Whose account it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum AccountName {
    /// The clients without a token.
    Anonymous,
    /// The holder of the static key with this name.
    Key(String),
    /// The subject of JSON Web Tokens of this issuer.
    Subject { subject: String, issuer: Option<String> },
    /// The holders for whom there is no room.
    Others,
}

impl AccountName {
    /// The account of a token's holder, whose name is `name` if it is that of a static key.
    pub(crate) fn of(holder: Option<&Holder>, name: Option<&str>) -> Self {
        match holder {
            None => Self::Anonymous,
            Some(Holder::Subject { issuer, subject }) => Self::Subject {
                subject: subject.clone(),
                issuer: issuer.clone(),
            },
            // The session of a key that is gone is closed before it gets anything.
            Some(Holder::Key(_)) => name.map_or(Self::Others, |name| Self::Key(name.to_owned())),
        }
    }
}

/// The user that a client at `ip` is, for all addresses that count as one.
pub(crate) fn user_at(ip: IpAddr) -> UserId {
    let hash: [u8; 32] = Sha256::digest(AddressKey::from(ip).to_bytes()).into();
    let (part, _) = hash.split_at(8);
    UserId(part.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// An open connection of an account. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct OpenAccount {
    accounting: Arc<Accounting>,
    id: AccountId,
}

impl OpenAccount {
    /// The account.
    pub(crate) fn id(&self) -> AccountId {
        self.id
    }
}

impl Drop for OpenAccount {
    fn drop(&mut self) {
        self.accounting.books().closed(self.id);
    }
}

/// The books of a broker, which its threads share.
#[derive(Debug)]
pub(crate) struct Accounting {
    families: Arc<Families>,
    room: Room,
    clock: Clock,
    books: Mutex<Books>,
    files: Option<BookFiles>,
}

#[derive(Debug)]
struct Books {
    /// The accounts with an open connection, and those in the books of the days.
    ids: HashMap<Arc<AccountName>, AccountId>,
    accounts: HashMap<AccountId, Account>,
    next: u32,
    today: DayBooks,
    before: Option<DayBooks>,
    /// What was delivered since the start, by family.
    totals: [FamilyCount; FAMILIES_MAX],
}

#[derive(Debug)]
struct Account {
    name: Arc<AccountName>,
    open: u32,
}

impl Accounting {
    /// The books that `settings` ask for. If these name a directory, today's and yesterday's books go on with what is there.
    ///
    /// # Errors
    /// If the directory or a file in it cannot be used.
    pub(crate) fn open_books(settings: &AccountingSettings, clock: Clock) -> Result<Arc<Self>, StateError> {
        let today = DayNumber::of(clock.wall());
        let files = settings
            .dir
            .as_ref()
            .map(|dir| BookFiles::open(&dir.0, settings.keep_days));
        let files = files.transpose()?;
        let kept = match &files {
            Some(files) => files.read(&[today.before(), today])?,
            None => Vec::new(),
        };
        let accounting = Self {
            files,
            ..Self::new(settings, clock)
        };
        kept.into_iter()
            .for_each(|(day, entries)| accounting.go_on(day, entries));
        Ok(Arc::new(accounting))
    }

    /// Books without entries, as far as `settings` leave room.
    fn new(settings: &AccountingSettings, clock: Clock) -> Self {
        let today = DayNumber::of(clock.wall());
        let mut books = Books {
            ids: HashMap::new(),
            accounts: HashMap::new(),
            next: 0,
            today: DayBooks::new(today),
            before: None,
            totals: [FamilyCount::default(); FAMILIES_MAX],
        };
        for name in [AccountName::Anonymous, AccountName::Others] {
            books.add(name.into());
        }
        Self {
            families: Arc::new(Families::of(settings.families.clone())),
            room: Room {
                holders: settings.holders,
                users: settings.users,
            },
            clock,
            books: Mutex::new(books),
            files: None,
        }
    }

    /// The families of topics.
    pub(crate) fn families(&self) -> &Arc<Families> {
        &self.families
    }

    /// Counts a connection of the account with this name.
    pub(crate) fn open(self: &Arc<Self>, name: AccountName) -> OpenAccount {
        let mut books = self.books();
        books.roll(DayNumber::of(self.clock.wall()));
        let id = books.account(name, self.room.holders);
        if let Some(account) = books.accounts.get_mut(&id) {
            account.open += 1;
            let (name, open) = (account.name.clone(), account.open);
            books.today.opened(id, &name, open);
        }
        let accounting = self.clone();
        OpenAccount { accounting, id }
    }

    /// Enters what a shard has counted on `day`.
    pub(crate) fn book(&self, day: DayNumber, taken: TakenAccounts) {
        let mut books = self.books();
        books.roll(day);
        let Books {
            accounts,
            today,
            before,
            totals,
            ..
        } = &mut *books;
        let of_day = match before {
            Some(before) if day < today.number() => before,
            _ => today,
        };
        let named = |id: AccountId| match accounts.get(&id) {
            Some(account) => (id, account.name.clone()),
            None => (OTHERS, accounts[&OTHERS].name.clone()),
        };
        for (id, sums) in taken.sums {
            let (id, name) = named(id);
            for (total, sum) in totals.iter_mut().zip(&sums) {
                *total += *sum;
            }
            of_day.add(id, &name, &sums);
        }
        for seen in taken.users {
            let (id, name) = named(seen.account);
            of_day.saw((id, &name), seen, self.room.users);
        }
    }

    /// Sets the metrics: what was delivered since the start, and how many users there were today.
    pub(crate) fn export(&self, catalogue: &Catalogue) {
        let (totals, users, accounts) = {
            let mut books = self.books();
            books.roll(DayNumber::of(self.clock.wall()));
            let today = &books.today;
            (books.totals, today.users_by_family(), today.account_count())
        };
        catalogue.name_families(self.families.names());
        catalogue.set(Metric::Accounts, &[], accounts as u64);
        for (family, (total, users)) in totals.into_iter().zip(users).enumerate() {
            for (metric, value) in [
                (Metric::AccountedMessages, total.delivered),
                (Metric::AccountedRepeats, total.repeated),
                (Metric::AccountedBytes, total.bytes),
                (Metric::AccountedUsers, users as u64),
            ] {
                catalogue.set(metric, &[family], value);
            }
        }
    }

    fn go_on(&self, number: DayNumber, entries: DayEntries) {
        let mut books = self.books();
        let mut day = DayBooks::new(number);
        day.lost(entries.users_lost);
        for entry in entries.accounts {
            let id = books.account(entry.name, self.room.holders);
            let name = books.accounts[&id].name.clone();
            day.opened(id, &name, entry.peak);
            for (family, count, users) in entry.families {
                let family = self.families.named(&family);
                day.put((id, &name), family, count, &users, self.room.users);
            }
        }
        day.is_new = false;
        match number == books.today.number() {
            true => books.today = day,
            false => books.before = Some(day),
        }
    }

    /// Writes what has changed since the last time to the files, if there are any.
    pub(crate) fn save(&self) -> io::Result<()> {
        let Some(files) = &self.files else {
            return Ok(());
        };
        let mut changed = Vec::new();
        {
            let mut books = self.books();
            books.roll(DayNumber::of(self.clock.wall()));
            for day in books.days() {
                if std::mem::take(&mut day.is_new) {
                    changed.push((day.number(), day.entries(&self.families)));
                }
            }
        }
        let written = files.write(&changed);
        if written.is_err() {
            // It is tried again with the next changes.
            self.books().days().for_each(|day| day.is_new = true);
        }
        written
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // A panic within it leaves at most one entry out.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page of a day, or `None` if there are no books of it.
    pub(crate) fn page(&self, wanted: WantedDay) -> Option<AccountsPage> {
        let now = self.clock.wall();
        let mut books = self.books();
        books.roll(DayNumber::of(now));
        let today = books.today.number();
        let wanted = wanted.number(today);
        let day = books.days().find(|day| day.number() == wanted)?;
        Some(AccountsPage::new(
            day,
            &self.families,
            (wanted == today).then_some(now),
        ))
    }
}

impl Books {
    fn days(&mut self) -> impl Iterator<Item = &mut DayBooks> {
        self.before.iter_mut().chain([&mut self.today])
    }

    fn add(&mut self, name: Arc<AccountName>) -> AccountId {
        let id = AccountId(self.next);
        self.next += 1;
        self.ids.insert(name.clone(), id);
        self.accounts.insert(id, Account { name, open: 0 });
        id
    }

    /// The account with this name, or the one for all others if there is no room.
    fn account(&mut self, name: AccountName, holders_max: usize) -> AccountId {
        if let Some(id) = self.ids.get(&name) {
            return *id;
        }
        // Two accounts are no holders. Numbers are never used again, so that nothing is booked for another holder.
        if self.ids.len() >= holders_max.saturating_add(2) || self.next == u32::MAX {
            return OTHERS;
        }
        self.add(name.into())
    }

    fn closed(&mut self, id: AccountId) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.open = account.open.saturating_sub(1);
        }
    }

    /// Begins the day `now`, unless it has begun. A clock that was set back begins none.
    fn roll(&mut self, now: DayNumber) {
        if now <= self.today.number() {
            return;
        }
        let mut day = DayBooks::new(now);
        for (id, account) in self.accounts.iter().filter(|(_, account)| account.open > 0) {
            day.opened(*id, &account.name, account.open);
        }
        let ended = std::mem::replace(&mut self.today, day);
        self.before = (now.since(ended.number()) == 1).then_some(ended);
        let before = self.before.as_ref();
        self.ids.retain(|_, id| {
            let is_open = self.accounts.get(id).is_some_and(|account| account.open > 0);
            let stays = [ANONYMOUS, OTHERS].contains(id) || is_open || before.is_some_and(|day| day.has(*id));
            if let Entry::Occupied(account) = self.accounts.entry(*id)
                && !stays
            {
                account.remove();
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests;
