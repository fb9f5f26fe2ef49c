//! A shard's account of its messages, compared with what its clients got.
//!
//! After each round the shard's own audit must agree with its ledger. Once everything is read, the ledger's counts of
//! delivered, conflated and gapped messages must be what the clients got, unless a connection ended with bytes on their
//! way.

use tickwire_router::Shard;

use crate::broken::{Broken, Rule, ensure};

/// What the clients of a shard got of what their subscriptions were owed, over all connections.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Got {
    /// Updates, and snapshots that moved a subscription forward.
    pub(crate) delivered: u64,
    /// Messages that these updates and snapshots skipped.
    pub(crate) conflated: u64,
    /// Messages that the gaps of slow readers named.
    pub(crate) gapped: u64,
    /// Whether it may be more: the beginning of a subscription is not known exactly of topics that end.
    pub(crate) unsure: bool,
}

impl Got {
    /// Adds the difference between `before` and `after`.
    pub(crate) fn add(&mut self, before: Self, after: Self) {
        self.delivered += after.delivered - before.delivered;
        self.conflated += after.conflated - before.conflated;
        self.gapped += after.gapped - before.gapped;
        self.unsure |= after.unsure;
    }
}

/// The sums of one shard, from the view of its clients.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) got: Got,
    /// Whether bytes that a socket took did not reach their client.
    lossy: bool,
}

impl Ledger {
    /// Records that bytes which a socket took will not reach their client.
    pub(crate) fn lost(&mut self) {
        self.lossy = true;
    }

    /// Checks after each round of a shard that every message is in exactly one place.
    pub(crate) fn after_step(shard: &Shard) -> Result<(), Broken> {
        ensure(shard.sums_agree(), Rule::Ledger, || {
            "what is exported is not what there is".to_owned()
        })?;
        let (ledger, audit) = (&shard.counts().ledger, shard.audit());
        ensure(audit.agrees_with(ledger), Rule::Ledger, || {
            format!("the ledger {ledger:?} does not add up to {audit:?}")
        })
    }

    /// Checks the sums once everything is delivered and read.
    pub(crate) fn settled(&self, shard: &Shard) -> Result<(), Broken> {
        let (ledger, audit) = (&shard.counts().ledger, shard.audit());
        ensure(audit.pending == 0 && audit.unseen == 0, Rule::Ledger, || {
            format!("after everything was read something is still pending: {audit:?}")
        })?;
        let said = Got {
            delivered: ledger.delivered,
            conflated: ledger.conflated,
            gapped: ledger.gapped,
            unsure: false,
        };
        let got = self.got;
        let within =
            got.delivered <= said.delivered && got.conflated <= said.conflated && got.gapped <= said.gapped;
        ensure(
            if self.lossy || got.unsure {
                within
            } else {
                got == said
            },
            Rule::Ledger,
            || format!("the ledger says {said:?}, and the clients got {got:?}"),
        )
    }
}
