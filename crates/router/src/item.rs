//! The messages in an outbox. The data lane has publications, gaps, topics that join, states of topics, and the answers
//! and ends of requests that keep their place. The control lane has all other control messages.
//!
//! Each item holds its bytes, made by the session's dialect, and the values that the router needs from the message. So
//! it can be taken back and counted without a look elsewhere: it says which subscription's messages it stands for, and
//! how many. Nothing reads the bytes. Items are small: one is written and read per delivery.

use std::rc::Rc;
use std::sync::Arc;

use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{AckResult, GapReason, StaleReason};
use tickwire_wire::{Control, Dialect, Kind, RequestId, Seq};

use crate::ledger::Settled;
use crate::outbox::Fanout;
use crate::planted::{Fault, is_planted};
use crate::publication::{Publication, TopicId};

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

/// A publication in an outbox.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) fanout: Rc<Fanout>,
    /// The number of messages before it that its subscription is not sent because of it.
    pub(crate) skips: u64,
    /// The length of its frame in bytes.
    len: u32,
    pub(crate) sort: Sort,
    /// Whether it is the message that tells the client the topic's lineage for its subscription.
    pub(crate) introduces: bool,
}

impl Frame {
    /// A publication whose frame has `len` bytes, as [`length`] gives it.
    #[inline]
    pub(crate) fn new(fanout: Rc<Fanout>, len: u32, sort: Sort, skips: u64) -> Self {
        Self {
            fanout,
            skips,
            len,
            sort,
            introduces: false,
        }
    }

    /// Does the same as [`Self::new`] for a publication that no other session is handed.
    pub(crate) fn of(publication: Arc<Publication>, op: DataOp, len: u32, sort: Sort, skips: u64) -> Self {
        Self::new(Rc::new(Fanout { publication, op }), len, sort, skips)
    }

    /// The same frame, with `introduces` set.
    pub(crate) fn introducing(self, introduces: bool) -> Self {
        Self { introduces, ..self }
    }

    /// Whether it delivers a message that its subscription was owed.
    #[inline]
    pub(crate) const fn delivers(&self) -> bool {
        matches!(
            self.sort,
            Sort::Live | Sort::Pulled | Sort::Promised | Sort::Newer
        )
    }

    /// The position of its subscription before it.
    pub(crate) fn before(&self) -> Seq {
        Seq(self.fanout.publication.seq.0 - self.skips - u64::from(self.delivers()))
    }

    pub(crate) fn topic(&self) -> TopicId {
        self.fanout.publication.lineage.id
    }
}

/// The length of a publication's frame. Books are the longest, and are bounded far below 4 GiB.
#[inline]
pub(crate) fn length(frame: &[u8]) -> u32 {
    u32::try_from(frame.len()).unwrap_or(u32::MAX)
}

/// A gap before the message that is pulled next.
#[derive(Debug)]
pub(crate) struct Gap {
    pub(crate) topic: TopicId,
    pub(crate) kind: Kind,
    pub(crate) from: Seq,
    pub(crate) to: Seq,
    pub(crate) reason: GapReason,
    /// Whether it is the message that tells the client the topic's lineage for its subscription.
    pub(crate) introduces: bool,
    /// Whether it extends a gap that the client has got already. The snapshot after that gap was taken back.
    pub(crate) goes_on: bool,
    pub(crate) bytes: Box<[u8]>,
}

impl Gap {
    /// Where it brings its reader. A reader of a book is nowhere before the snapshot that ends the gap: changes alone are no book.
    fn reach(&self) -> Reach {
        match self.kind {
            Kind::Book => Reach::Nowhere,
            Kind::State | Kind::Event => Reach::To(self.topic, self.to),
        }
    }

    /// The number of owed messages that it names. The messages that a refused resume missed were never owed.
    pub(crate) fn gaps(&self) -> u64 {
        match self.reason {
            GapReason::Slow => self.to.0 - self.from.0 + 1 + u64::from(is_planted(Fault::GapOneTooMany)),
            GapReason::History | GapReason::Epoch => 0,
        }
    }
}

/// Says that a topic joined. It tells the client the lineage for its subscription if no snapshot and no gap does.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) topic: TopicId,
    /// Whether it comes before a live update.
    pub(crate) live: bool,
    pub(crate) bytes: Rc<[u8]>,
}

/// Says that everything that a request asked for has been sent.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) request: RequestId,
    pub(crate) bytes: Box<[u8]>,
}

/// What a subscription was last told about a topic's source. A book stays in doubt whether or not it is silent, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceState {
    Live,
    /// It is stale: no message came for too long.
    Silent,
    /// It is stale: the book is in doubt.
    Doubted(StaleReason),
}

impl SourceState {
    /// Why the book is in doubt, if it is.
    #[inline]
    pub(crate) const fn doubt(self) -> Option<StaleReason> {
        match self {
            Self::Live | Self::Silent => None,
            Self::Doubted(reason) => Some(reason),
        }
    }
}

/// The state of a topic's source.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) topic: TopicId,
    /// The state that its subscription was told before.
    pub(crate) before: SourceState,
    pub(crate) bytes: Rc<[u8]>,
}

/// The position to which a control message brings its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// It brings its reader to no position.
    #[default]
    Nowhere,
    /// The positions at which the subscriptions of a request begin.
    Begins,
    /// This position in the topic: messages up to it will not come.
    To(TopicId, Seq),
}

/// An answer that keeps its place among the data.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reach: Reach,
    pub(crate) bytes: Box<[u8]>,
}

/// An answer with the positions of subscriptions.
#[derive(Debug)]
pub(crate) struct Placing {
    /// The number of acks that the session was sent before it.
    pub(crate) number: u32,
    request: RequestId,
    results: Vec<AckResult>,
    bytes: Box<[u8]>,
}

impl Placing {
    /// The ack of `request` with these results, in `dialect`.
    pub(crate) fn new(number: u32, request: RequestId, results: Vec<AckResult>, dialect: Dialect) -> Self {
        let mut placing = Self {
            number,
            request,
            results,
            bytes: Box::default(),
        };
        placing.encode(dialect);
        placing
    }

    /// Lets `correct` change the results. If it returns `true`, the answer is encoded again.
    pub(crate) fn correct(&mut self, dialect: Dialect, correct: impl FnOnce(&mut [AckResult]) -> bool) {
        if correct(&mut self.results) {
            self.encode(dialect);
        }
    }

    fn encode(&mut self, dialect: Dialect) {
        let ack = Control::Ack {
            id: self.request,
            results: std::mem::take(&mut self.results),
        };
        self.bytes = dialect.control(&ack);
        if let Control::Ack { results, .. } = ack {
            self.results = results;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// A control message, which is sent before the data.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) bytes: ControlBytes,
    /// Whether it is a message of the protocol. Pings and pongs are not.
    pub(crate) speaks: bool,
    pub(crate) reach: Reach,
}

/// Bytes for this connection alone, or bytes that it shares with others.
#[derive(Debug)]
pub(crate) enum ControlBytes {
    Own(Box<[u8]>),
    Shared(Rc<[u8]>),
}

impl Told {
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            ControlBytes::Own(bytes) => bytes,
            ControlBytes::Shared(bytes) => bytes,
        }
    }
}

/// A message in the data lane.
#[derive(Debug)]
pub(crate) enum Item {
    Frame(Frame),
    Gap(Box<Gap>),
    Joined(Box<Joined>),
    Status(Box<Status>),
    Synced(Box<Synced>),
    /// An answer to a request that must keep its place among the data.
    Answer(Box<Answer>),
    /// An answer with the positions of subscriptions. They are corrected if messages before it in the outbox are taken back.
    Placing(Box<Placing>),
}

// One item is written and read per delivery.
const _: () = assert!(size_of::<Item>() <= 24);

impl Item {
    /// The bytes of the item, for a connection of `dialect`.
    pub(crate) fn bytes(&self, dialect: Dialect) -> &[u8] {
        match self {
            Self::Frame(frame) => {
                let Fanout { publication, op } = &*frame.fanout;
                let made = publication.made(dialect, *op);
                made.expect("a publication waits with the length of the bytes that were made of it")
            }
            Self::Gap(gap) => &gap.bytes,
            Self::Joined(joined) => &joined.bytes,
            Self::Status(status) => &status.bytes,
            Self::Synced(synced) => &synced.bytes,
            Self::Answer(answer) => &answer.bytes,
            Self::Placing(placing) => &placing.bytes,
        }
    }

    /// The length of the bytes. It is stored, not read from the bytes, because it is needed once more per delivery.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.len as usize,
            Self::Gap(gap) => gap.bytes.len(),
            Self::Joined(joined) => joined.bytes.len(),
            Self::Status(status) => status.bytes.len(),
            Self::Synced(synced) => synced.bytes.len(),
            Self::Answer(answer) => answer.bytes.len(),
            Self::Placing(placing) => placing.len(),
        }
    }

    /// The position to which it brings its reader, if it is not a publication.
    pub(crate) fn reach(&self) -> Reach {
        match self {
            Self::Gap(gap) => gap.reach(),
            Self::Answer(answer) => answer.reach,
            Self::Placing(_) => Reach::Begins,
            Self::Frame(_) | Self::Joined(_) | Self::Status(_) | Self::Synced(_) => Reach::Nowhere,
        }
    }

    /// The topic of an owed message, or of a gap that names some, and where its subscription stood before it.
    pub(crate) fn stood_before(&self) -> Option<(TopicId, Seq)> {
        match self {
            Self::Frame(frame) if frame.sort != Sort::OneShot => Some((frame.topic(), frame.before())),
            Self::Gap(gap) if gap.reason == GapReason::Slow => Some((gap.topic, Seq(gap.from.0 - 1))),
            _ => None,
        }
    }

    pub(crate) fn fanout(&self) -> Option<&Fanout> {
        match self {
            Self::Frame(frame) => Some(&frame.fanout),
            Self::Gap(_)
            | Self::Joined(_)
            | Self::Status(_)
            | Self::Synced(_)
            | Self::Answer(_)
            | Self::Placing(_) => None,
        }
    }

    pub(crate) fn topic(&self) -> Option<TopicId> {
        match self {
            Self::Frame(frame) => Some(frame.topic()),
            Self::Gap(gap) => Some(gap.topic),
            Self::Joined(joined) => Some(joined.topic),
            Self::Status(status) => Some(status.topic),
            Self::Synced(_) | Self::Answer(_) | Self::Placing(_) => None,
        }
    }

    /// The owed messages that are settled once it is written.
    #[inline]
    pub(crate) fn settles(&self) -> Settled {
        match self {
            Self::Frame(frame) => Settled {
                delivered: u64::from(frame.delivers()),
                conflated: frame.skips,
                gapped: 0,
            },
            Self::Gap(gap) => Settled {
                gapped: gap.gaps(),
                ..Settled::default()
            },
            Self::Joined(_) | Self::Status(_) | Self::Synced(_) | Self::Answer(_) | Self::Placing(_) => {
                Settled::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tickwire_wire::sse::Framing;
    use tickwire_wire::{Codec, Epoch, Micros, Payload};

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
            memory: Arc::new(Memory::new(0, 0, 0)),
        });
        let payload = Payload::from_json(b"1").expect("JSON");
        let publication = Arc::new(Publication::new(lineage, Seq(1), Micros(0), payload));
        let counted = length(publication.frame(Codec::Json, DataOp::Update).0);
        let frame = Frame::of(publication, DataOp::Update, counted, Sort::Live, 0);
        let bytes = Item::Frame(frame).bytes(Dialect::Sse(Framing::Chunked)).len();
        assert_eq!(
            bytes, counted as usize,
            "an event has another length than a frame"
        );
    }
}
