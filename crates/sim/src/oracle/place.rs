//! A client's position in one topic, and what may come next.

use tickwire_client::book::L2Book;
use tickwire_wire::message::{GapReason, Position};
use tickwire_wire::{Kind, Seq};

use crate::broken::{Broken, Rule, ensure};
use crate::topics;
use crate::truth::Truth;

/// An empty book, as a snapshot.
const EMPTY_BOOK: &str = r#"{"symbol":"S","bids":[],"asks":[],"checksum":0,"time":0}"#;

/// What a client knows of a subscribed topic.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The last message that the client has, or knows to be missing.
    pub(super) at: u64,
    /// Where the subscription began.
    began: u64,
    /// Whether every message was asked for at any time. Messages that wait may date from then.
    pub(super) ever_every: bool,
    pub(super) snapshot_due: bool,
    /// A later request than `brought_by` asked for the snapshot that is due.
    asked_later: bool,
    /// Every message up to this number was promised.
    promised: u64,
    /// The number of the snapshot that must directly follow a gap.
    after_gap: Option<u64>,
    /// A resume was refused: this gap must come before anything else.
    gap_due: Option<(u64, u64)>,
    /// The book; `None` if the subscription began in the middle without a snapshot.
    book: Option<L2Book>,
    /// Whether the client knows the topic's lineage.
    pub(super) told: bool,
    /// Whether the client may know it: from a snapshot that may belong to another request, or from an ack of the
    /// topic's name.
    pub(super) hinted: bool,
    /// For a conflated topic that was resumed: the newest number by then. This message or a newer one is due.
    newest_due: u64,
    /// The newest number when a pattern was to resume the topic. What comes first shows whether it did.
    either: Option<u64>,
    /// Whether the pattern resumed the topic, once that is known.
    pub(super) resumed: Option<bool>,
    /// The request whose pattern was to resume the topic.
    pub(super) resumed_by: Option<u64>,
    /// The last message of a replay from a moment, until the client is told that it has caught up.
    replayed_to: Option<u64>,
    /// The first request that still owes something of the topic.
    pub(super) brought_by: Option<u64>,
}

impl Place {
    /// Begins a subscription when `head` is the newest number, with a snapshot or without.
    pub(super) fn begin(truth: &Truth, topic: usize, head: u64, snapshot: bool) -> Self {
        let mut place = Self {
            at: head,
            began: head,
            snapshot_due: snapshot && head > 0,
            ..Self::default()
        };
        if topics::kind(topic) == Kind::Book && head == 0 {
            let mut book = L2Book::default();
            place.book = book
                .snapshot(truth.epoch(topic), Seq::ZERO, EMPTY_BOOK)
                .ok()
                .map(|()| book);
        }
        place
    }

    /// Every message is asked for from now on. The newest message then comes as one of them.
    pub(super) fn is_every(&mut self) {
        if !std::mem::replace(&mut self.ever_every, true) {
            self.newest_due = 0;
        }
    }

    /// The client's position once it has read the gap that is due.
    pub(super) fn standing(&self) -> u64 {
        self.gap_due.map_or(self.at, |(_, to)| to)
    }

    /// Whether the topic may be at `seq`, as far as is known.
    pub(super) fn stands_at(&self, seq: u64) -> bool {
        seq == self.standing() || self.either == Some(seq)
    }

    /// Whether a stream that is resumed from `seq` gets everything that is still to come of the topic, and nothing twice.
    pub(super) fn goes_on_from(&self, seq: u64) -> bool {
        // Without the snapshot it has not got the value at its position.
        let lacks = self.snapshot_due && self.at == self.began || self.after_gap.is_some();
        if lacks { seq < self.at } else { seq == self.at }
    }

    /// Whether everything that requests bring has come.
    pub(super) fn is_complete(&self) -> bool {
        !self.snapshot_due && self.has_brought()
    }

    /// Whether everything has come that the request `brought_by` brings. The snapshot that a later request asked for may
    /// come behind that.
    pub(super) fn has_brought(&self) -> bool {
        let comes = self.snapshot_due && !self.asked_later || self.gap_due.is_some() || self.either.is_some();
        !comes && self.replayed_to.is_none() && self.at >= self.promised.max(self.newest_due)
    }

    /// A request asks for a snapshot of what flows already.
    pub(super) fn ask_for_snapshot(&mut self) {
        if !self.snapshot_due {
            self.asked_later = !self.is_complete();
            self.snapshot_due = true;
        }
    }

    /// Whether a promised message has not come.
    pub(super) fn is_promised_more(&self) -> bool {
        self.promised > self.at || self.either.is_some()
    }

    /// Resumes from `at` when `head` is the newest number. Everything up to `head` is promised with `every`, otherwise
    /// the newest.
    pub(super) fn resume(&mut self, at: u64, head: u64, every: bool) {
        self.at = at;
        (self.promised, self.newest_due) = if every { (head, 0) } else { (0, head) };
        self.told |= head > 0;
        self.snapshot_due = false;
        self.resumed = Some(true);
        if at > 0 {
            self.book = None;
        }
    }

    /// Begins a replay from a moment, of the messages behind `at`, when `head` is the newest number.
    pub(super) fn replay(&mut self, at: u64, head: u64) {
        self.at = at;
        self.replayed_to = Some(head);
        if at > 0 {
            self.book = None;
        }
    }

    /// Checks a `caught_up`.
    pub(super) fn caught_up(&mut self, topic: usize, seq: u64) -> Result<(), Broken> {
        let (due, at) = (self.replayed_to.take(), self.at);
        ensure(
            due.is_some_and(|last| seq >= last) && seq == at,
            Rule::Moments,
            || {
                let name = topics::name(topic);
                format!("{name}: caught up at {seq}, and the client is at {at} of a replay to {due:?}")
            },
        )
    }

    /// The topic asked to resume from `at` when `head` was the newest number. What comes first shows whether it could.
    pub(super) fn resume_or_not(&mut self, at: u64, head: u64) {
        self.at = at;
        self.either = Some(head);
        self.told = true;
        self.snapshot_due = false;
        self.resumed = None;
    }

    /// What came first showed whether the topic was resumed.
    pub(super) fn decide(&mut self, topic: usize, resumed: bool) {
        let Some(head) = self.either.take() else { return };
        if resumed {
            let due = self.snapshot_due; // by another request
            self.resume(self.at, head, true);
            self.snapshot_due = due;
        } else {
            let at = self.at;
            self.at = head;
            self.refuse_resume(topic, at, head);
        }
    }

    /// The topic asked to resume from `at` and could not.
    pub(super) fn refuse_resume(&mut self, topic: usize, at: u64, head: u64) {
        self.resumed = Some(false);
        if topics::kind(topic) == Kind::Event {
            self.at = at;
            self.gap_due = (head > 0).then_some((at + 1, head));
        } else {
            self.snapshot_due = head > 0;
        }
    }

    pub(super) fn update(
        &mut self,
        topic: usize,
        seq: u64,
        data: &str,
        every: bool,
        truth: &Truth,
    ) -> Result<(), Broken> {
        let (name, kind, at) = (topics::name(topic), topics::kind(topic), self.at);
        ensure(self.told || self.hinted, Rule::Lineage, || {
            format!("{name} {seq} came before anything told the topic's lineage")
        })?;
        (self.told, self.hinted) = (true, false);
        ensure(self.gap_due.is_none(), Rule::Resume, || {
            format!("{name} {seq} came before the gap that a refused resume means")
        })?;
        ensure(self.after_gap.is_none(), Rule::Books, || {
            format!("{name} {seq} came where the snapshot that ends a gap was due")
        })?;
        if self.snapshot_due && seq > self.promised {
            // The message at the position of an event topic's subscription may be gone when there is room. The snapshot
            // is then that of the next message, and comes after it.
            let gone = kind == Kind::Event && (at == 0 || !truth.still_held(topic, at));
            ensure(gone, Rule::Subscriptions, || {
                format!("{name} {seq} came where a snapshot was due")
            })?;
        }
        if every {
            ensure(seq == at + 1, Rule::Every, || {
                format!("{name} {seq} came after {at}")
            })?;
        }
        ensure(seq > at, Rule::Order, || format!("{name} {seq} came after {at}"))?;
        self.at = seq;
        if kind != Kind::Book {
            return truth.check(topic, seq, data);
        }
        let Some(book) = &mut self.book else { return Ok(()) };
        book.update(Seq(seq), data)
            .map_err(|error| Broken::new(Rule::Books, format!("{name}: {error}")))?;
        truth.check_book(topic, seq, book)
    }

    pub(super) fn snapshot(
        &mut self,
        topic: usize,
        seq: u64,
        book: Option<L2Book>,
        asked: bool,
    ) -> Result<(), Broken> {
        let (name, at) = (topics::name(topic), self.at);
        let due = std::mem::take(&mut self.snapshot_due);
        self.asked_later = false;
        self.told |= due && !asked;
        self.hinted |= asked;
        ensure(
            due || asked || self.after_gap.is_some(),
            Rule::Subscriptions,
            || format!("{name}: nobody asked for the snapshot {seq}"),
        )?;
        ensure(self.gap_due.is_none(), Rule::Resume, || {
            format!("{name}: a snapshot came before the gap that a refused resume means")
        })?;
        if let Some(to) = self.after_gap.take() {
            ensure(seq == to, Rule::Books, || {
                format!("{name}: the snapshot {seq} ends a gap up to {to}")
            })?;
        }
        ensure(
            seq == at || topics::kind(topic) != Kind::Event,
            Rule::Every,
            || format!("{name}: the snapshot of {seq} at {at} skips events"),
        )?;
        ensure(seq >= at, Rule::Order, || {
            format!("{name}: a snapshot of {seq} came after {at}")
        })?;
        ensure(self.promised <= at, Rule::Resume, || {
            let promised = self.promised;
            format!("{name}: a snapshot of {seq} came at {at}, and messages up to {promised} were promised")
        })?;
        self.at = seq;
        self.book = book;
        Ok(())
    }

    pub(super) fn gap(
        &mut self,
        topic: usize,
        (from, to): (u64, u64),
        reason: GapReason,
        truth: &Truth,
    ) -> Result<(), Broken> {
        let (name, kind, at) = (topics::name(topic), topics::kind(topic), self.at);
        let gap = || format!("{name}: the gap {from} to {to} ({reason:?}) at {at}");
        // The session may begin to lag between the gap and the snapshot of a book. The gap then goes on.
        let goes_on = self.after_gap.is_some();
        (self.told, self.hinted) = (true, false);
        ensure(
            from == at + 1 && to >= from && to <= truth.head(topic),
            Rule::Every,
            || format!("{} does not name what is missing", gap()),
        )?;
        self.at = to;
        self.book = None;
        if let Some(due) = self.gap_due.take() {
            return ensure(
                (from, to) == due && reason != GapReason::Slow,
                Rule::Resume,
                || format!("{} stands for the refused resume {due:?}", gap()),
            );
        }
        ensure(reason == GapReason::Slow, Rule::Every, || {
            format!("{} has no such reason", gap())
        })?;
        ensure(self.ever_every, Rule::Conflate, || {
            format!("{} names superseded messages", gap())
        })?;
        ensure(from > self.promised, Rule::Resume, || {
            format!(
                "{} breaks into the promised replay up to {}",
                gap(),
                self.promised
            )
        })?;
        if self.replayed_to.is_some() && truth.archive().is_some() {
            ensure(
                (from..=to).all(|seq| !truth.is_stored(topic, seq)),
                Rule::Moments,
                || format!("{} names messages that are stored", gap()),
            )?;
        }
        // The gap of a book ends at its snapshot, any other where the history begins.
        let last = if kind == Kind::Book { from } else { to };
        ensure(goes_on || !truth.still_held(topic, last), Rule::Every, || {
            format!("{} names messages that the history holds", gap())
        })?;
        if kind == Kind::Book {
            self.after_gap = Some(to);
        }
        Ok(())
    }

    /// Checks a `joined`.
    pub(super) fn joined(&mut self, topic: usize, seq: u64) -> Result<(), Broken> {
        let (name, at) = (topics::name(topic), self.at);
        ensure(!self.told, Rule::Lineage, || {
            format!("{name}: a joined came, and the lineage was known")
        })?;
        ensure(seq == at, Rule::Lineage, || {
            format!("{name}: a joined says that {seq} is where it stands, and it is {at}")
        })?;
        (self.told, self.hinted) = (true, false);
        Ok(())
    }

    /// Checks what must be true once everything is delivered and read.
    pub(super) fn settled(&self, topic: usize, every: bool, truth: &Truth) -> Result<(), Broken> {
        let (name, head) = (topics::name(topic), truth.head(topic));
        let rule = if every { Rule::Every } else { Rule::Conflate };
        ensure(self.at == head, rule, || {
            format!("{name}: the client ends at {}, and {head} is the newest", self.at)
        })?;
        let open = !self.is_complete() || self.after_gap.is_some();
        ensure(!open, Rule::Subscriptions, || {
            format!("{name}: something due never came: {self:?}")
        })?;
        match &self.book {
            Some(book) => truth.check_book(topic, head, book),
            None => Ok(()),
        }
    }
}

/// Checks the content of a snapshot. Returns the book, if it is one.
pub(super) fn check_snapshot(
    topic: usize,
    position: &Position,
    data: &str,
    truth: &Truth,
) -> Result<Option<L2Book>, Broken> {
    if topics::kind(topic) != Kind::Book {
        return truth.check(topic, position.seq.0, data).map(|()| None);
    }
    let mut book = L2Book::default();
    book.snapshot(&position.epoch, position.seq, data)
        .map_err(|error| Broken::new(Rule::Books, format!("{}: {error}", topics::name(topic))))?;
    truth.check_book(topic, position.seq.0, &book)?;
    Ok(Some(book))
}
