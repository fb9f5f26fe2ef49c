//! The messages that wait for one connection, with their bytes: control before data, and each lane in the order of
//! arrival.
//!
//! The bytes of data are shared and never copied in here. The bytes are bounded by the callers: before or after a push
//! they check how many wait. A partly written frame is always finished before anything else.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use tickwire_wire::codec::DataOp;
use tickwire_wire::message::AckResult;
use tickwire_wire::{CloseCode, Dialect};

use crate::item::{
    Answer, ControlBytes, Frame, Gap, Item, Joined, Placing, Reach, Sort, Status, Synced, Told,
};
use crate::ledger::Settled;
use crate::planted::{Fault, is_planted};
use crate::publication::Publication;

/// An empty data lane of a connection in use keeps memory for this many items: allocating it anew for each round of
/// writing costs more than the rest of a delivery.
const KEPT_ITEMS: usize = 128;

/// A publication on its way from one shard to its subscribers. It is counted without atomics.
#[derive(Debug)]
pub struct Fanout {
    /// The publication that is sent.
    pub publication: Arc<Publication>,
    /// The form in which it is sent.
    pub op: DataOp,
}

/// More bytes were written for a connection than waited for it: the client has got some of them twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes more were written than waited")]
pub struct Overrun(pub(crate) usize);

/// The effects of written bytes on an outbox.
#[derive(Debug)]
pub(crate) struct Advance {
    /// Whether a message of the protocol was finished. Pings and pongs do not count.
    pub(crate) spoke: bool,
    /// The owed messages that the finished frames settle.
    pub(crate) settled: Settled,
    /// The number of written bytes beyond those that waited.
    pub(crate) excess: usize,
}

/// The bytes of the data lane by their kind.
#[derive(Debug, Default)]
struct Bytes {
    live: usize,
    pulled: usize,
    answers: usize,
}

impl Bytes {
    #[inline]
    fn of(&mut self, item: &Item) -> &mut usize {
        match item {
            Item::Frame(Frame { sort: Sort::Live, .. }) | Item::Status(_) => &mut self.live,
            Item::Joined(joined) if joined.live => &mut self.live,
            Item::Frame(_) | Item::Gap(_) | Item::Joined(_) | Item::Synced(_) => &mut self.pulled,
            Item::Answer(_) | Item::Placing(_) => &mut self.answers,
        }
    }
}

/// The lane of the message that is partly written, or that has begun with bytes that are not in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Partial {
    None,
    Control,
    Data,
}

/// A waiting message, with what it is.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    /// The bytes that are still to be written.
    pub bytes: &'a [u8],
    /// The publication, if it is one.
    pub fanout: Option<&'a Fanout>,
    /// The position to which it brings its reader, if it is not a publication.
    pub reach: Reach,
}

/// The messages that wait for a connection.
#[derive(Debug)]
pub struct Outbox {
    dialect: Dialect,
    partial: Partial,
    /// The number of bytes of the front frame that were written.
    written: usize,
    control_bytes: usize,
    bytes: Bytes,
    control: VecDeque<Told>,
    data: VecDeque<Item>,
    /// The code with which the connection is closed, once the close is on its way.
    closed: Option<CloseCode>,
    /// The bytes that wait in all outboxes that are counted together. `counted` is the part of this outbox.
    all: Rc<Cell<usize>>,
    counted: usize,
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.counted);
    }
}

impl Outbox {
    /// An empty outbox for a connection that speaks `dialect`.
    #[must_use]
    pub fn new(dialect: impl Into<Dialect>) -> Self {
        Self::counted(dialect, Rc::default())
    }

    /// An empty outbox whose bytes are counted in `all`, together with those of other outboxes.
    pub(crate) fn counted(dialect: impl Into<Dialect>, all: Rc<Cell<usize>>) -> Self {
        Self {
            dialect: dialect.into(),
            partial: Partial::None,
            written: 0,
            control_bytes: 0,
            bytes: Bytes::default(),
            control: VecDeque::new(),
            data: VecDeque::new(),
            closed: None,
            all,
            counted: 0,
        }
    }

    /// Updates the count that is shared with other outboxes by this one's bytes.
    #[inline]
    fn count(&mut self) {
        let waiting = self.data_bytes() + self.control_bytes;
        self.all.set(self.all.get() + waiting - self.counted);
        self.counted = waiting;
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.data.is_empty()
    }

    /// Whether the front message has begun: it is finished before anything else.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.partial != Partial::None
    }

    /// Records that bytes were written, or are written first, that belong to the front message and are not in here.
    pub(crate) fn begin_front(&mut self) {
        if self.partial == Partial::None && !self.is_empty() {
            self.partial = match self.control.is_empty() {
                true => Partial::Data,
                false => Partial::Control,
            };
        }
    }

    /// Bytes that wait in the data lane, including those of a partly written frame.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        self.bytes.live + self.bytes.pulled + self.bytes.answers
    }

    /// Bytes of live publications and states. Too many mean that the client does not keep up. Pulled messages, at most
    /// a refill of them, do not count.
    #[must_use]
    pub fn live_bytes(&self) -> usize {
        self.bytes.live
    }

    /// Bytes of control frames that wait.
    #[must_use]
    pub fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    /// Bytes of answers that wait among the data.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        self.bytes.answers
    }

    /// The code with which the connection is closed, once the close waits or is written.
    #[must_use]
    pub fn closed(&self) -> Option<CloseCode> {
        self.closed
    }

    /// Appends a control message.
    pub(crate) fn push_control(&mut self, reach: Reach, bytes: Box<[u8]>) {
        self.tell(ControlBytes::Own(bytes), true, reach);
    }

    /// Appends a ping or pong.
    pub(crate) fn push_signal(&mut self, bytes: Box<[u8]>) {
        self.tell(ControlBytes::Own(bytes), false, Reach::Nowhere);
    }

    /// Appends a control message whose bytes are shared with other connections.
    pub(crate) fn push_shared(&mut self, bytes: Rc<[u8]>) {
        self.tell(ControlBytes::Shared(bytes), true, Reach::Nowhere);
    }

    /// Appends the close with `code`, before the data that waits.
    pub(crate) fn push_close(&mut self, code: CloseCode, bytes: Box<[u8]>) {
        self.closed = Some(code);
        self.push_control(Reach::Nowhere, bytes);
    }

    /// Appends the close with `code`, behind the data that waits.
    pub(crate) fn push_close_behind(&mut self, code: CloseCode, bytes: Box<[u8]>) {
        self.closed = Some(code);
        self.push_answer(Reach::Nowhere, bytes);
    }

    fn tell(&mut self, bytes: ControlBytes, speaks: bool, reach: Reach) {
        let told = Told { bytes, speaks, reach };
        if is_planted(Fault::AnswersBehindData) {
            return self.push_answer(reach, told.bytes().into());
        }
        self.control_bytes += told.bytes().len();
        self.control.push_back(told);
        self.count();
    }

    /// Appends an answer that must keep its place among the data.
    pub(crate) fn push_answer(&mut self, reach: Reach, bytes: Box<[u8]>) {
        self.push(Item::Answer(Box::new(Answer { reach, bytes })));
    }

    /// Appends an answer with the positions of subscriptions.
    pub(crate) fn push_placing(&mut self, placing: Placing) {
        self.push(Item::Placing(Box::new(placing)));
    }

    /// Appends a publication.
    #[inline]
    pub(crate) fn push_frame(&mut self, frame: Frame) {
        self.push(Item::Frame(frame));
    }

    pub(crate) fn push_gap(&mut self, gap: Gap) {
        self.push(Item::Gap(Box::new(gap)));
    }

    pub(crate) fn push_joined(&mut self, joined: Joined) {
        self.push(Item::Joined(Box::new(joined)));
    }

    pub(crate) fn push_synced(&mut self, synced: Synced) {
        self.push(Item::Synced(Box::new(synced)));
    }

    pub(crate) fn push_status(&mut self, status: Status) {
        self.push(Item::Status(Box::new(status)));
    }

    #[inline]
    fn push(&mut self, item: Item) {
        *self.bytes.of(&item) += item.len();
        self.data.push_back(item);
        self.count();
    }

    /// Takes out the publications and gaps that `chosen` selects, except a partly written one, and returns them in
    /// their order. Answers stay.
    pub(crate) fn take_back(&mut self, mut chosen: impl FnMut(&Item) -> bool) -> Vec<Item> {
        let begun = usize::from(self.partial == Partial::Data);
        let mut taken = Vec::new();
        let mut kept = VecDeque::new();
        for (index, item) in std::mem::take(&mut self.data).into_iter().enumerate() {
            if index < begun || matches!(item, Item::Answer(_) | Item::Placing(_)) || !chosen(&item) {
                kept.push_back(item);
            } else {
                *self.bytes.of(&item) -= item.len();
                taken.push(item);
            }
        }
        self.data = kept;
        self.count();
        taken
    }

    /// Drops the data frames that `gone` selects, except a partly written one. Returns how many owed messages they
    /// stood for.
    pub(crate) fn purge(&mut self, mut gone: impl FnMut(&Item) -> bool) -> u64 {
        let mut keep_first = self.partial == Partial::Data;
        let (bytes, mut dropped) = (&mut self.bytes, 0);
        self.data.retain(|item| {
            if std::mem::take(&mut keep_first) || !gone(item) {
                return true;
            }
            *bytes.of(item) -= item.len();
            dropped += item.settles().sum();
            false
        });
        self.count();
        dropped
    }

    /// The number of owed messages that the waiting ones stand for, including a partly written one. Looks at everything
    /// that waits.
    pub(crate) fn stands_for(&self) -> u64 {
        self.data.iter().map(|item| item.settles().sum()).sum()
    }

    /// Replaces each frame of which nothing was written by the result of `newer`, if there is one. `newer` sees the
    /// last frame first, because a frame that is kept must not follow a newer one.
    pub(crate) fn refresh(&mut self, mut newer: impl FnMut(&Frame) -> Option<Frame>) {
        let begun = usize::from(self.partial == Partial::Data);
        for item in self.data.iter_mut().skip(begun).rev() {
            if let Item::Frame(frame) = item
                && let Some(new) = newer(frame)
            {
                *self.bytes.of(item) -= item.len();
                *item = Item::Frame(new);
                *self.bytes.of(item) += item.len();
            }
        }
        self.count();
    }

    /// Lets `correct` change the results of each answer of which nothing was written. `correct` gets the answer's
    /// number, and returns whether it has changed the results.
    pub(crate) fn correct_answers(&mut self, mut correct: impl FnMut(u32, &mut [AckResult]) -> bool) {
        let begun = usize::from(self.partial == Partial::Data);
        for item in self.data.iter_mut().skip(begun) {
            if let Item::Placing(placing) = item {
                self.bytes.answers -= placing.len();
                let number = placing.number;
                placing.correct(self.dialect, |results| correct(number, results));
                self.bytes.answers += placing.len();
            }
        }
        self.count();
    }

    /// The oldest waiting publication.
    pub(crate) fn oldest(&self) -> Option<&Publication> {
        let fanout = self.data.iter().find_map(Item::fanout);
        fanout.map(|fanout| &*fanout.publication)
    }

    /// Bytes of memory that the lanes hold, used or not, without memory that is shared with other connections.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let answers = self.data.iter().filter(|item| item.fanout().is_none());
        self.data.capacity() * size_of::<Item>()
            + self.control.capacity() * size_of::<Told>()
            + self.control_bytes
            + answers.map(Item::len).sum::<usize>()
    }

    /// The waiting messages in the order they must be written.
    pub fn waiting(&self) -> impl Iterator<Item = Waiting<'_>> {
        let begun = usize::from(self.partial == Partial::Data);
        let dialect = self.dialect;
        let first = self
            .data
            .range(..begun)
            .map(move |item| waiting_data(item, dialect));
        let control = self.control.iter().map(|told| Waiting {
            bytes: told.bytes(),
            fanout: None,
            reach: told.reach,
        });
        let rest = self
            .data
            .range(begun..)
            .map(move |item| waiting_data(item, dialect));
        first
            .chain(control)
            .chain(rest)
            .enumerate()
            .map(|(index, mut waiting)| {
                if index == 0 {
                    waiting.bytes = &waiting.bytes[self.written..];
                }
                waiting
            })
    }

    /// Records that `count` bytes of those that [`Self::waiting`] gave were written. Calls `done` with each publication
    /// whose last byte was among them.
    pub(crate) fn advance(&mut self, count: usize, mut done: impl FnMut(&Fanout)) -> Advance {
        let (mut count, mut spoke) = (count + self.written, false);
        let (mut settled, mut excess) = (Settled::default(), 0);
        loop {
            let data_first = self.partial == Partial::Data || self.control.is_empty();
            let len = if data_first {
                let Some(item) = self.data.front() else {
                    excess = std::mem::take(&mut count);
                    break;
                };
                let len = item.len();
                if count >= len {
                    spoke = true;
                    // The item is looked at once only, as this is done once per delivery.
                    match item {
                        Item::Frame(frame) => {
                            done(&frame.fanout);
                            settled.delivered += u64::from(frame.delivers());
                            settled.conflated += frame.skips;
                            if frame.sort == Sort::Live {
                                self.bytes.live -= len;
                            } else {
                                self.bytes.pulled -= len;
                            }
                        }
                        Item::Gap(gap) => {
                            settled.gapped += gap.gaps();
                            self.bytes.pulled -= len;
                        }
                        Item::Joined(joined) if joined.live => self.bytes.live -= len,
                        Item::Joined(_) | Item::Synced(_) => self.bytes.pulled -= len,
                        Item::Status(_) => self.bytes.live -= len,
                        Item::Answer(_) | Item::Placing(_) => self.bytes.answers -= len,
                    }
                    self.data.pop_front();
                }
                len
            } else {
                let len = self.control[0].bytes().len();
                if count >= len {
                    spoke |= self.control[0].speaks;
                    self.control.pop_front();
                    self.control_bytes -= len;
                }
                len
            };
            if count < len {
                self.partial = match (count, data_first) {
                    (0, _) => Partial::None,
                    (_, true) => Partial::Data,
                    (_, false) => Partial::Control,
                };
                break;
            }
            self.partial = Partial::None;
            count -= len;
        }
        self.written = if is_planted(Fault::PartialWriteForgotten) {
            0
        } else {
            count
        };
        self.count();
        self.shrink();
        Advance {
            spoke,
            settled,
            excess,
        }
    }

    /// Frees memory that an empty lane no longer needs. Call this now and then, so that an idle connection keeps no
    /// memory.
    pub(crate) fn rest(&mut self) {
        if self.data.is_empty() {
            self.data = VecDeque::new();
        }
    }

    /// Frees the memory of a burst.
    fn shrink(&mut self) {
        if self.data.is_empty() && self.data.capacity() > KEPT_ITEMS {
            self.data = VecDeque::new();
        }
        if self.control.is_empty() && self.control.capacity() > 0 {
            self.control = VecDeque::new();
        }
    }
}

fn waiting_data(item: &Item, dialect: Dialect) -> Waiting<'_> {
    Waiting {
        bytes: item.bytes(dialect),
        fanout: item.fanout(),
        reach: item.reach(),
    }
}
