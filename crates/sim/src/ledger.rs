//! A shard's account of its messages, compared with what its clients got.
//!
//! After each round the shard's own audit must agree with its ledger, and the accounts of its clients must add up to it. Once everything is read, the ledger's counts of
//! delivered, conflated and gapped messages must be what the clients got, unless a connection ended with bytes on their
//! way.

use tickwire_router::{AccountId, FamilyCount, Shard};

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

/// The sums of one client, from its view and from its account at the broker.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) got: Got,
    /// Whether bytes that a socket took did not reach their client.
    lossy: bool,
    /// What the broker has accounted for the client, by family.
    accounted: Vec<FamilyCount>,
    /// The families in which the broker knows the client as a user, one bit each.
    seen: u64,
}

impl Ledger {
    /// Records that bytes which a socket took will not reach their client.
    pub(crate) fn lost(&mut self) {
        self.lossy = true;
    }

    /// Adds the accounts of a shard to those of its clients, whose numbers are those of their accounts.
    pub(crate) fn account(ledgers: &mut [Self], shard: &mut Shard) {
        let taken = shard.take_accounts();
        for (AccountId(client), families) in taken.sums {
            let accounted = &mut ledgers[client as usize].accounted;
            accounted.resize(accounted.len().max(families.len()), FamilyCount::default());
            for (sum, more) in accounted.iter_mut().zip(families) {
                *sum += more;
            }
        }
        for seen in taken.users {
            ledgers[seen.account.0 as usize].seen |= seen.families();
        }
    }

    /// Checks after each round of a shard that every message is in exactly one place, and that what it delivered is in the
    /// accounts of its clients.
    pub(crate) fn after_step<'a>(
        shard: &Shard,
        clients: impl Iterator<Item = &'a Self>,
    ) -> Result<(), Broken> {
        ensure(shard.sums_agree(), Rule::Ledger, || {
            "what is exported is not what there is".to_owned()
        })?;
        let (ledger, audit) = (&shard.counts().ledger, shard.audit());
        ensure(audit.agrees_with(ledger), Rule::Ledger, || {
            format!("the ledger {ledger:?} does not add up to {audit:?}")
        })?;
        let accounted: u64 = clients.map(Self::delivered).sum();
        ensure(accounted == ledger.delivered, Rule::Ledger, || {
            format!("the ledger says {ledger:?}, and {accounted} messages are accounted")
        })
    }

    /// The messages that the account has as delivered.
    fn delivered(&self) -> u64 {
        self.accounted.iter().map(|family| family.delivered).sum()
    }

    /// Checks the sums of a shard and its clients once everything is delivered and read.
    pub(crate) fn settled<'a>(shard: &Shard, clients: impl Iterator<Item = &'a Self>) -> Result<(), Broken> {
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
        let (mut got, mut lossy) = (Got::default(), false);
        for client in clients {
            got.add(Got::default(), client.got);
            lossy |= client.lossy;
            client.is_accounted()?;
        }
        let within =
            got.delivered <= said.delivered && got.conflated <= said.conflated && got.gapped <= said.gapped;
        ensure(
            if lossy || got.unsure { within } else { got == said },
            Rule::Ledger,
            || format!("the ledger says {said:?}, and the clients got {got:?}"),
        )
    }

    /// Checks the account of a client that has read everything.
    fn is_accounted(&self) -> Result<(), Broken> {
        let (got, delivered) = (self.got.delivered, self.delivered());
        let agrees = match self.lossy || self.got.unsure {
            true => got <= delivered,
            false => got == delivered,
        };
        ensure(agrees, Rule::Ledger, || {
            format!("a client got {got} messages, and its account says {delivered}")
        })?;
        let families = self.accounted.iter().enumerate();
        let had = families.filter(|(_, family)| family.delivered + family.repeated > 0);
        let had = had.fold(0, |mask, (family, _)| mask | 1 << family);
        ensure(had == self.seen, Rule::Ledger, || {
            format!(
                "a client had messages of the families {had:b}, and is a user of {:b}",
                self.seen
            )
        })
    }
}
