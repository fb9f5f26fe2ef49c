//! The messages that wait for one connection, with their bytes: control before data, and each lane in the order of
//! arrival.
//!
//! The control lane has control messages. The data lane has publications, and the [notices] that keep their
//! place among them. Each item holds its bytes, made by the session's dialect, and the values that the router needs from
//! the message. So it can be [taken back](taking_back) and counted without a look elsewhere: it says which
//! subscription's messages it stands for, and how many.
//!
//! The bytes of publications are shared and never copied in here. The bytes are bounded by the callers: before or after
//! a push they check how many wait. A partly written frame is always finished before anything else.

mod accounted;
mod control;
mod memory;
mod notices;
mod taking_back;

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use tickwire_wire::codec::DataOp;
use tickwire_wire::{CloseCode, Dialect, Seq, Topic};

use crate::ledger::Settled;
use crate::planted::{Fault, is_planted};
use crate::publication::{LocalPublication, Publication, TopicId};
use control::Urgent;
pub use notices::Reach;
pub(crate) use notices::{Answer, CaughtUp, End, Gap, Joined, SourceState, Status, Synced};

/// How a publication came into an outbox. This decides which messages it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// An update that was delivered live.
    Live,
    /// An update that was pulled from the directory because there was room.
    Pulled,
    /// An update of a promised replay. It is kept until it is written.
    Promised,
    /// A snapshot of a message that its subscription had not reached.
    Newer,
    /// A snapshot of the message that its subscription had reached already.
    Repeat,
    /// The snapshot of a book after a gap. It ends the gap.
    Recovery,
    /// A snapshot without a subscription.
    OneShot,
}

impl Sort {
    /// The form in which it is sent.
    #[inline]
    pub(crate) const fn op(self) -> DataOp {
        match self {
            Self::Live | Self::Pulled | Self::Promised => DataOp::Update,
            Self::Newer | Self::Repeat | Self::Recovery | Self::OneShot => DataOp::Snapshot,
        }
    }

    /// Whether it is a message that its subscription was owed.
    #[inline]
    const fn is_owed(self) -> bool {
        matches!(self, Self::Live | Self::Pulled | Self::Promised | Self::Newer)
    }
}

/// A publication in an outbox.
#[derive(Debug)]
pub struct Delivery {
    /// All deliveries that a shard makes of a live publication share this.
    publication: LocalPublication,
    /// The number of messages before it that its subscription is not sent because of it.
    pub(crate) skips: u64,
    /// The length of its frame in bytes.
    len: u32,
    pub(crate) sort: Sort,
    /// Whether it is the message that tells the client the topic's lineage for its subscription.
    pub(crate) introduces: bool,
}

impl Delivery {
    /// A publication whose frame has `len` bytes. It was made for the dialect of the outbox.
    #[inline]
    pub(crate) fn new(publication: LocalPublication, len: u32, sort: Sort, skips: u64) -> Self {
        Self {
            publication,
            skips,
            len,
            sort,
            introduces: false,
        }
    }

    /// The publication.
    #[inline]
    #[must_use]
    pub fn publication(&self) -> &Arc<Publication> {
        &self.publication
    }

    /// The form in which it is sent.
    #[inline]
    #[must_use]
    pub fn op(&self) -> DataOp {
        self.sort.op()
    }

    /// The position of its subscription before it.
    pub(crate) fn before(&self) -> Seq {
        Seq(self.publication.seq.0 - self.skips - u64::from(self.sort.is_owed()))
    }

    pub(crate) fn topic(&self) -> TopicId {
        self.publication.lineage.id
    }

    /// The bytes, for a connection of `dialect`.
    fn bytes(&self, dialect: Dialect) -> &[u8] {
        let encoded = self.publication.encoded(dialect, self.op());
        encoded.expect("a publication waits with the length of the bytes that were made of it")
    }
}

/// A message in the data lane.
#[derive(Debug)]
pub(crate) enum Item {
    Delivery(Delivery),
    Gap(Box<Gap>),
    Joined(Box<Joined>),
    End(Box<End>),
    Status(Box<Status>),
    CaughtUp(Box<CaughtUp>),
    Synced(Box<Synced>),
    Answer(Box<Answer>),
}

// One item is written and read per delivery.
const _: () = assert!(size_of::<Item>() <= 24);

impl Item {
    /// The bytes, for a connection of `dialect`.
    fn bytes(&self, dialect: Dialect) -> &[u8] {
        match self {
            Self::Delivery(delivery) => delivery.bytes(dialect),
            Self::Gap(gap) => &gap.bytes,
            Self::Joined(joined) => &joined.bytes,
            Self::End(end) => &end.bytes,
            Self::Status(status) => &status.bytes,
            Self::CaughtUp(caught_up) => &caught_up.bytes,
            Self::Synced(synced) => &synced.bytes,
            Self::Answer(answer) => &answer.bytes,
        }
    }

    /// The length of the bytes. That of a publication is stored, because it is needed once more per delivery.
    fn len(&self) -> usize {
        match self {
            Self::Delivery(delivery) => delivery.len as usize,
            Self::Gap(gap) => gap.bytes.len(),
            Self::Joined(joined) => joined.bytes.len(),
            Self::End(end) => end.bytes.len(),
            Self::Status(status) => status.bytes.len(),
            Self::CaughtUp(caught_up) => caught_up.bytes.len(),
            Self::Synced(synced) => synced.bytes.len(),
            Self::Answer(answer) => answer.bytes.len(),
        }
    }

    fn delivery(&self) -> Option<&Delivery> {
        match self {
            Self::Delivery(delivery) => Some(delivery),
            _ => None,
        }
    }

    /// What it is, with its bytes for a connection of `dialect`.
    fn waiting(&self, dialect: Dialect) -> Waiting<'_> {
        let reach = match self {
            Self::Gap(gap) => gap.reach(),
            Self::Answer(answer) => answer.reach,
            Self::End(end) => Reach::End(end.topic),
            _ => Reach::Nowhere,
        };
        let name = match self {
            Self::Delivery(delivery) => Some(&delivery.publication.lineage.topic),
            Self::Gap(gap) => Some(&gap.name),
            Self::End(end) => Some(&end.name),
            _ => None,
        };
        Waiting {
            bytes: self.bytes(dialect),
            delivery: self.delivery(),
            reach,
            name,
        }
    }
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
            Item::Delivery(delivery) => self.of_sort(delivery.sort),
            Item::Joined(joined) if joined.live => &mut self.live,
            Item::Status(_) => &mut self.live,
            Item::Answer(_) => &mut self.answers,
            _ => &mut self.pulled,
        }
    }

    #[inline]
    fn of_sort(&mut self, sort: Sort) -> &mut usize {
        match sort {
            Sort::Live => &mut self.live,
            _ => &mut self.pulled,
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
    pub delivery: Option<&'a Delivery>,
    /// The position to which it brings its reader, if it is not a publication.
    pub reach: Reach,
    /// The name of its topic, if it is a publication, or says that a topic has ended or that messages are missing.
    pub name: Option<&'a Topic>,
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
    control: VecDeque<Urgent>,
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

    /// Appends an answer that must keep its place among the data.
    pub(crate) fn push_answer(&mut self, answer: Answer) {
        self.push(Item::Answer(Box::new(answer)));
    }

    /// Appends a message to the data lane.
    #[inline]
    pub(crate) fn push(&mut self, item: Item) {
        *self.bytes.of(&item) += item.len();
        self.data.push_back(item);
        self.count();
    }

    /// Appends a live update, which is done once per delivery.
    #[inline]
    pub(crate) fn push_live(&mut self, update: Delivery) {
        debug_assert_eq!(update.sort, Sort::Live);
        let len = update.len as usize;
        self.data.push_back(Item::Delivery(update));
        self.bytes.live += len;
        self.counted += len;
        self.all.set(self.all.get() + len);
    }

    /// The oldest waiting publication.
    pub(crate) fn oldest(&self) -> Option<&Publication> {
        let first = self.data.iter().find_map(Item::delivery);
        first.map(|it| &**it.publication)
    }

    /// The number of items of the data lane that are partly written: 0 or 1.
    fn begun(&self) -> usize {
        usize::from(self.partial == Partial::Data)
    }

    /// The waiting messages in the order they must be written.
    pub fn waiting(&self) -> impl Iterator<Item = Waiting<'_>> {
        let (begun, dialect) = (self.begun(), self.dialect);
        let control = self.control.iter().map(|urgent| Waiting {
            bytes: urgent.bytes(),
            delivery: None,
            reach: urgent.reach,
            name: None,
        });
        let first = self.data.range(..begun).map(move |item| item.waiting(dialect));
        let rest = self.data.range(begun..).map(move |item| item.waiting(dialect));
        let all = first.chain(control).chain(rest).enumerate();
        all.map(|(index, mut waiting)| {
            if index == 0 {
                waiting.bytes = &waiting.bytes[self.written..];
            }
            waiting
        })
    }

    /// Records that `count` bytes of those that [`Self::waiting`] gave were written. Calls `done` with each publication
    /// whose last byte was among them.
    pub(crate) fn advance(&mut self, count: usize, mut done: impl FnMut(&Delivery)) -> Advance {
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
                    if let Item::Delivery(delivery) = item {
                        done(delivery);
                        settled += delivery.settles();
                        *self.bytes.of_sort(delivery.sort) -= len;
                    } else {
                        settled.gapped += item.stands_for();
                        *self.bytes.of(item) -= len;
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
}

#[cfg(test)]
mod tests {
    use tickwire_wire::sse::Framing;
    use tickwire_wire::{Codec, Epoch, Kind, Micros, Payload};

    use super::*;
    use crate::memory::Memory;
    use crate::publication::Lineage;

    /// Its outbox would go on with the next message at a wrong place.
    #[test]
    #[should_panic(expected = "the length of the bytes that were made of it")]
    fn a_message_was_written_in_other_bytes_than_those_that_it_was_counted_with() {
        let lineage = Arc::new(Lineage {
            id: TopicId(0),
            topic: "trade.A".parse().expect("a topic"),
            kind: Kind::Event,
            epoch: Epoch::from("e"),
            family: crate::FamilyId::OTHER,
            memory: Arc::new(Memory::new(0, 0, 0)),
        });
        let payload = Payload::from_json(b"1").expect("JSON");
        let publication = Arc::new(Publication::new(lineage, Seq(1), Micros(0), payload));
        let counted = publication.frame(Codec::Json, DataOp::Update).len();
        let len = u32::try_from(counted).expect("a short frame");
        let delivery = Delivery::new(publication.into(), len, Sort::Live, 0);
        let bytes = Item::Delivery(delivery)
            .bytes(Dialect::Sse(Framing::Chunked))
            .len();
        assert_eq!(bytes, counted, "an event has another length than a frame");
    }
}
