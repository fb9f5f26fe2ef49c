//! What a shard says that it did, compared with what its clients got.
//!
//! While nothing was lost on the way, the two must be equal once everything was read. When a connection ends with
//! something waiting for it, or a subscription with something of it waiting, the clients got at most what was counted.

use tickwire_router::{Counts, Shard};

use crate::broken::{Broken, Rule, ensure};

/// What the clients of a shard got, all connections together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) updates: u64,
    pub(crate) snapshots: u64,
    pub(crate) gaps: u64,
    /// Messages that gaps named.
    pub(crate) gapped: u64,
    /// Messages of state topics that were skipped.
    pub(crate) conflated: u64,
}

/// The books of one shard.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) got: Got,
    /// Something that was counted did not reach its client.
    lossy: bool,
    last: Counts,
}

impl Ledger {
    /// Something that was counted may not reach its client.
    pub(crate) fn lost(&mut self) {
        self.lossy = true;
    }

    /// After each round of a shard: what was counted stays counted.
    pub(crate) fn after_step(&mut self, shard: &Shard) -> Result<(), Broken> {
        let (now, then) = (shard.counts(), &self.last);
        let grew = now.updates >= then.updates
            && now.snapshots >= then.snapshots
            && now.gaps >= then.gaps
            && now.gapped >= then.gapped
            && now.conflated >= then.conflated
            && now.drained >= then.drained;
        ensure(grew, Rule::Ledger, || {
            format!("counts went back: {then:?}, then {now:?}")
        })?;
        self.last.clone_from(now);
        Ok(())
    }

    /// Once everything was delivered and read.
    pub(crate) fn settled(&self, shard: usize) -> Result<(), Broken> {
        let counts = &self.last;
        let got = self.got;
        let counted = Got {
            updates: counts.updates,
            snapshots: counts.snapshots,
            gaps: counts.gaps,
            gapped: counts.gapped,
            conflated: counts.conflated,
        };
        if !self.lossy && counts.dropped == 0 {
            return ensure(got == counted, Rule::Ledger, || {
                format!("shard {shard} counted {counted:?}, and its clients got {got:?}")
            });
        }
        let within = got.updates <= counted.updates
            && got.snapshots <= counted.snapshots
            && got.gaps <= counted.gaps
            && got.gapped <= counted.gapped;
        ensure(within, Rule::Ledger, || {
            format!("the clients of shard {shard} got {got:?}, more than the {counted:?} that it counted")
        })
    }
}
