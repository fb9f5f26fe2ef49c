//! What the sessions of a shard were delivered, by the account that each counts for and by families of topics.
//!
//! Sessions of one account share its sums, which are plain memory of the shard. A message is counted when its last byte
//! was handed to the socket, as in the ledger: over all accounts, the delivered messages are those of the ledger. The
//! sums are taken out between two cycles, so nothing here is kept for longer than that. A session without an account
//! costs a look at an empty pointer for each write.
//!
//! Bounded: an account is held as long as a session has it or something of it was not taken. A session enters the list
//! of users once for each family and day.

use std::cell::{Cell, RefCell, RefMut};
use std::ops::AddAssign;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::families::FamilyId;
use crate::outbox::Delivery;
use crate::planted::{Fault, is_planted};

/// The number of an account: a holder of a key or of tokens, or all clients without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u32);

/// A number that stands for whoever uses a session, such as a hash of the client's address. Equal numbers are one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub u64);

/// Messages of one family that were delivered for one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FamilyCount {
    /// Messages that subscriptions were owed: those that the ledger calls delivered.
    pub delivered: u64,
    /// Snapshots that no subscription was owed: a value that was asked for once, that the subscription had reached already,
    /// or that ended a gap.
    pub repeated: u64,
    /// The bytes of all of these as they were sent, with the header of their frame or the framing of their event.
    pub bytes: u64,
}

impl AddAssign for FamilyCount {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.repeated += other.repeated;
        self.bytes += other.bytes;
    }
}

/// A session has had its first message of some families since the day began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenUser {
    /// The session's account.
    pub account: AccountId,
    /// Whoever uses the session.
    pub user: UserId,
    families: u64,
}

impl SeenUser {
    /// A user of an account that has had its first messages of these families.
    #[must_use]
    pub fn new(account: AccountId, user: UserId, families: &[FamilyId]) -> Self {
        Self {
            account,
            user,
            families: families.iter().fold(0, |mask, family| mask | family.bit()),
        }
    }

    /// The families, one bit each at the place of its number.
    #[must_use]
    pub const fn families(self) -> u64 {
        self.families
    }

    /// Whether `family` is one of the families.
    #[must_use]
    pub const fn has(self, family: FamilyId) -> bool {
        self.families & family.bit() != 0
    }
}

/// What was counted since it was last taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenAccounts {
    /// The sums of each account by the numbers of the families.
    pub sums: Vec<(AccountId, Vec<FamilyCount>)>,
    /// Who has had messages of which families for the first time since the day began.
    pub users: Vec<SeenUser>,
}

impl TakenAccounts {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty() && self.users.is_empty()
    }
}

/// The sums of an account, which its sessions share.
#[derive(Debug)]
pub(crate) struct AccountSums {
    id: AccountId,
    /// By the numbers of families, up to the last one with a message.
    families: RefCell<Vec<FamilyCount>>,
    /// Whether it is in the list of those for which something was counted.
    is_listed: Cell<bool>,
}

/// A session's part in an account.
#[derive(Debug)]
pub(crate) struct SessionAccount {
    sums: Rc<AccountSums>,
    user: UserId,
    /// The families that the session has had messages of since the day began.
    seen: u64,
}

/// Counts the deliveries of one write.
pub(crate) struct Counting<'a> {
    families: RefMut<'a, Vec<FamilyCount>>,
    had: u64,
}

impl Counting<'_> {
    /// Counts a delivery.
    #[inline]
    pub(crate) fn add(&mut self, delivery: &Delivery) {
        let family = delivery.publication().lineage.family;
        if self.families.len() <= family.index() {
            self.families.resize(family.index() + 1, FamilyCount::default());
        }
        self.families[family.index()] += delivery.counts();
        if is_planted(Fault::AccountedTwice) && delivery.publication().seq.0 % 16 == 7 {
            self.families[family.index()] += delivery.counts();
        }
        self.had |= family.bit();
    }

    /// The families of these deliveries, as a mask.
    pub(crate) fn had(self) -> u64 {
        self.had
    }
}

impl SessionAccount {
    /// Begins to count the deliveries of a write.
    pub(crate) fn counting(&self) -> Counting<'_> {
        Counting {
            families: self.sums.families.borrow_mut(),
            had: 0,
        }
    }

    /// Records that deliveries of the families `had` were counted.
    pub(crate) fn counted(&mut self, had: u64, accounts: &mut Accounts) {
        if had != 0 && !self.sums.is_listed.replace(true) {
            accounts.counted.push(self.sums.clone());
        }
        let fresh = had & !self.seen;
        let is_forgotten = is_planted(Fault::UserForgotten) && self.seen != 0;
        if fresh != 0 && !is_forgotten {
            self.seen |= fresh;
            accounts.users.push(SeenUser {
                account: self.sums.id,
                user: self.user,
                families: fresh,
            });
        }
    }

    /// Whoever uses the session.
    pub(crate) const fn user(&self) -> UserId {
        self.user
    }

    /// Begins another day: the session counts as a user again with its next messages.
    pub(crate) fn begin_day(&mut self) {
        self.seen = 0;
    }
}

/// The accounts of a shard's sessions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    by_id: FxHashMap<AccountId, Rc<AccountSums>>,
    /// Accounts for which something was counted since they were taken.
    counted: Vec<Rc<AccountSums>>,
    users: Vec<SeenUser>,
}

impl Accounts {
    /// A session's part in an account.
    pub(crate) fn join(&mut self, id: AccountId, user: UserId) -> SessionAccount {
        let make = || AccountSums {
            id,
            families: RefCell::default(),
            is_listed: Cell::default(),
        };
        let sums = self.by_id.entry(id).or_insert_with(|| make().into()).clone();
        SessionAccount { sums, user, seen: 0 }
    }

    /// Lets go of an account that nobody needs any more, after a session has left it.
    pub(crate) fn left(&mut self, account: Option<SessionAccount>) {
        if let Some(account) = account {
            let id = account.sums.id;
            drop(account);
            self.forget_unused(id);
        }
    }

    fn forget_unused(&mut self, id: AccountId) {
        if self
            .by_id
            .get(&id)
            .is_some_and(|sums| Rc::strong_count(sums) == 1)
        {
            self.by_id.remove(&id);
        }
    }

    /// Takes out what was counted since the last call.
    pub(crate) fn take(&mut self) -> TakenAccounts {
        let counted = std::mem::take(&mut self.counted);
        let mut sums = Vec::with_capacity(counted.len());
        for account in counted {
            let id = account.id;
            account.is_listed.set(false);
            sums.push((id, account.families.take()));
            drop(account);
            self.forget_unused(id);
        }
        TakenAccounts {
            sums,
            users: std::mem::take(&mut self.users),
        }
    }

    /// What a shard that begins anew keeps: what was counted and not taken.
    pub(crate) fn anew(&self) -> Self {
        Self {
            by_id: FxHashMap::default(),
            ..self.clone()
        }
    }
}
