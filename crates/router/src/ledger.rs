//! The ledger of a shard: what becomes of each message that a subscription is owed, so that none can go missing unseen.
//!
//! A subscription is *owed* every message of its topic after the position at which it began: the `seq` of its `ack`, or the
//! position that it resumed from when the `ack` says `recovered:true`. Each owed message is in exactly one of these states:
//!
//! | state | when |
//! |---|---|
//! | delivered | the last byte of its `update`, or of a `snapshot` that stands for it, was handed to the socket |
//! | conflated | a newer update or snapshot that makes it superfluous was delivered instead |
//! | gapped | a `gap` with reason `slow` that names it was handed to the socket |
//! | dropped | its subscription or connection ended before any of these |
//! | pending | none of these: it waits in the outbox, or in the history behind the subscription's cursor |
//!
//! so that at any moment, between two calls of the shard,
//!
//! ```text
//! owed = delivered + conflated + gapped + dropped + pending
//! ```
//!
//! A snapshot at message `s`, sent to a subscription that stands at `p`, delivers `s` and conflates those between if
//! `p < s`: what a book's snapshot contains is superfluous as a change. It counts for nothing if `p = s`. Snapshots without
//! a subscription (`mode: snapshot`) and the gaps of a refused resume (reasons `history`, `epoch`) are not about owed
//! messages and do not count. A topic that several patterns of a connection cover is one subscription.
//!
//! A message is owed from the moment that the shard learns of it, be it from its queue or, ahead of that, from the
//! directory; the rest is *unseen* ([`Audit::unseen`]), and `published × matching = owed + unseen`.
//!
//! Counting costs an addition or two per publication, and for each finished frame the additions of [`Settled`]; nothing is
//! ever taken back, since what is uncertain is not counted yet. `pending` is not counted at all: it is what is left.

use std::ops::AddAssign;

use tickwire_wire::Seq;

/// What finished frames settle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) delivered: u64,
    pub(crate) conflated: u64,
    pub(crate) gapped: u64,
}

impl Settled {
    /// All owed messages among it.
    pub(crate) const fn sum(self) -> u64 {
        self.delivered + self.conflated + self.gapped
    }
}

impl AddAssign for Settled {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.conflated += other.conflated;
        self.gapped += other.gapped;
    }
}

/// The ledger of one shard since it began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Messages that subscriptions were owed.
    pub owed: u64,
    /// Those of which the last byte was handed to the socket.
    pub delivered: u64,
    /// Those that a newer one, delivered, made superfluous.
    pub conflated: u64,
    /// Those that a gap, handed to the socket, named.
    pub gapped: u64,
    /// Those that waited when their subscription or connection ended.
    pub dropped: u64,
    /// The sum of where ended subscriptions' topics stood at their ends, less where all subscriptions began; modulo 2^64.
    ended_less_begun: u64,
}

impl Ledger {
    /// Owed messages of which nothing has become yet.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.owed - self.delivered - self.conflated - self.gapped - self.dropped
    }

    /// A subscription begins at `start` of a topic that stands at `head`.
    pub(crate) fn begin(&mut self, start: Seq, head: Seq) {
        self.owed += head.0 - start.0;
        self.ended_less_begun = self.ended_less_begun.wrapping_sub(start.0);
    }

    /// A subscription to a topic that stands at `head` ends after message `after` was put on its way.
    pub(crate) fn end(&mut self, after: Seq, head: Seq) {
        self.dropped += head.0 - after.0;
        self.ended_less_begun = self.ended_less_begun.wrapping_add(head.0);
    }

    /// Every subscription is gone at once, whatever state it was in.
    pub(crate) fn end_all(&mut self) {
        self.dropped += self.pending();
        self.ended_less_begun = self.owed;
    }

    /// Frames were finished.
    pub(crate) fn settle(&mut self, settled: Settled) {
        self.delivered += settled.delivered;
        self.conflated += settled.conflated;
        self.gapped += settled.gapped;
    }
}

/// The ledger's sums found in another way: by looking at every subscription and at everything that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// What [`Ledger::owed`] must be.
    pub owed: u64,
    /// What [`Ledger::pending`] must be.
    pub pending: u64,
    /// Messages for subscriptions that were published and that the shard has not learnt of yet.
    pub unseen: u64,
}

impl Audit {
    /// An audit whose live subscriptions' topics' positions have the sum `heads`.
    pub(crate) fn new(ledger: &Ledger, heads: u64, pending: u64, unseen: u64) -> Self {
        Self {
            owed: heads.wrapping_add(ledger.ended_less_begun),
            pending,
            unseen,
        }
    }

    /// Whether `ledger`, as it is now, adds up.
    #[must_use]
    pub const fn agrees_with(&self, ledger: &Ledger) -> bool {
        let settled = ledger.delivered + ledger.conflated + ledger.gapped + ledger.dropped;
        self.owed == ledger.owed && self.owed == settled + self.pending
    }
}
