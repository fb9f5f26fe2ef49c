//! The ledger of a shard: the outcome of each message that a subscription is owed. It shows if one goes missing.
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
//! The shard's owner says when bytes were handed to the socket: once the kernel has taken them, or over TLS once they
//! are encrypted.
//!
//! So at any moment, between two calls of the shard,
//!
//! ```text
//! owed = delivered + conflated + gapped + dropped + pending
//! ```
//!
//! A snapshot at message `s`, sent to a subscription that stands at `p`, delivers `s` and conflates the messages
//! between if `p < s`: the change in each of these is superfluous after a book's snapshot. It counts for nothing if `p
//! = s`. Snapshots without a subscription (`mode: snapshot`) and the gaps of a refused resume (reasons `history`,
//! `epoch`) are not about owed messages and do not count. A topic that several patterns of a connection cover is one
//! subscription.
//!
//! A message is owed from the moment when the shard sees it, in its queue or, before that, in the directory. A
//! published message that the shard has not seen is *unseen* ([`Audit::unseen`]), and `published × matching = owed +
//! unseen`.
//!
//! Counting costs an addition or two per publication, and the additions of [`Settled`] for each finished frame. Nothing
//! is ever taken back, since a message is counted only when its outcome is certain. `pending` is not counted at all: it
//! is the rest.

use std::ops::AddAssign;

use tickwire_wire::Seq;

/// The outcome of messages whose frames were written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) delivered: u64,
    pub(crate) conflated: u64,
    pub(crate) gapped: u64,
}

impl Settled {
    /// The sum of these owed messages.
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
    /// Owed messages whose last byte was handed to the socket.
    pub delivered: u64,
    /// Owed messages that a newer, delivered one made superfluous.
    pub conflated: u64,
    /// Owed messages that a gap, handed to the socket, named.
    pub gapped: u64,
    /// Owed messages that were pending when their subscription or connection ended.
    pub dropped: u64,
    /// The sum of the topics' positions at the ends of ended subscriptions, minus the positions at which all
    /// subscriptions began, modulo 2^64.
    ended_less_begun: u64,
}

impl Ledger {
    /// Owed messages that have no outcome yet.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.owed - self.delivered - self.conflated - self.gapped - self.dropped
    }

    /// Counts a subscription that begins at `start`, in a topic whose newest number is `head`.
    pub(crate) fn begin(&mut self, start: Seq, head: Seq) {
        self.owed += head.0 - start.0;
        self.ended_less_begun = self.ended_less_begun.wrapping_sub(start.0);
    }

    /// Counts the end of a subscription that has settled the messages up to `after`, in a topic whose newest number is
    /// `head`.
    pub(crate) fn end(&mut self, after: Seq, head: Seq) {
        self.dropped += head.0 - after.0;
        self.ended_less_begun = self.ended_less_begun.wrapping_add(head.0);
    }

    /// Counts the end of all subscriptions at once, whatever their state.
    pub(crate) fn end_all(&mut self) {
        self.dropped += self.pending();
        self.ended_less_begun = self.owed;
    }

    /// Counts the outcome of finished frames.
    pub(crate) fn settle(&mut self, settled: Settled) {
        self.delivered += settled.delivered;
        self.conflated += settled.conflated;
        self.gapped += settled.gapped;
    }
}

/// The ledger's sums found in another way: by looking at every subscription and at every waiting message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// What [`Ledger::owed`] must be.
    pub owed: u64,
    /// What [`Ledger::pending`] must be.
    pub pending: u64,
    /// Published messages for subscriptions that the shard has not seen yet.
    pub unseen: u64,
}

impl Audit {
    /// An audit of subscriptions whose topics' newest numbers have the sum `heads`.
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
