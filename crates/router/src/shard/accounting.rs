//! Whose account a session's deliveries count for. A shard whose sessions have none counts nothing.

use super::Shard;
use crate::accounts::{AccountId, TakenAccounts, UserId};
use crate::session::{Counted, SessionId};

impl Shard {
    /// Has the deliveries of a session count for `account` from now on, and `user` as a user of it. Sessions for which this
    /// was never called are not accounted.
    pub fn account(&mut self, id: SessionId, account: AccountId, user: UserId) {
        if let Some(session) = self.sessions.known(id) {
            let joined = self.accounts.join(account, user);
            let counted: &mut Counted = session.counted.get_or_insert_default();
            let before = counted.account.replace(joined);
            self.accounts.left(before);
        }
    }

    /// Has the deliveries of a session count for another account from now on, if they are accounted.
    pub fn change_account(&mut self, id: SessionId, account: AccountId) {
        let counted = self
            .sessions
            .known(id)
            .and_then(|session| session.counted.as_ref());
        if let Some(before) = counted.and_then(|counted| counted.account.as_ref()) {
            let user = before.user();
            self.account(id, account, user);
        }
    }

    /// Takes out what was counted since the last call.
    #[must_use]
    pub fn take_accounts(&mut self) -> TakenAccounts {
        self.accounts.take()
    }

    /// Begins another day: sessions count as users again with their next messages.
    pub fn begin_day(&mut self) {
        let counted = self
            .sessions
            .iter_mut()
            .filter_map(|session| session.counted.as_mut());
        for account in counted.filter_map(|counted| counted.account.as_mut()) {
            account.begin_day();
        }
    }
}
