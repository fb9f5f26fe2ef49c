//! What a delivery adds to the ledger and to the account of its session once it is written.

use super::Delivery;
use crate::accounts::FamilyCount;
use crate::ledger::Settled;

impl Delivery {
    /// The owed messages that are settled once it is written.
    #[inline]
    pub(super) fn settles(&self) -> Settled {
        Settled {
            delivered: u64::from(self.sort.is_owed()),
            conflated: self.skips,
            gapped: 0,
        }
    }

    /// What it adds to its account once it is written.
    #[inline]
    pub(crate) fn counts(&self) -> FamilyCount {
        let delivered = u64::from(self.sort.is_owed());
        FamilyCount {
            delivered,
            repeated: 1 - delivered,
            bytes: u64::from(self.len),
        }
    }
}
