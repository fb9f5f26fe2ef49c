//! What waits in an outbox: in its data lane publications, gaps, topics that join, states of topics, and answers and ends of
//! requests, which keep their place; in its control lane all other control messages.
//!
//! Each is a message: its bytes, made by the session's dialect, and beside them what something here needs of it. So it knows which
//! subscription's messages it stands for and how many, and can be taken back and counted without a look elsewhere. Nothing
//! reads the bytes. Small: one is written and read per delivery.

use std::rc::Rc;
use std::sync::Arc;

use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{AckResult, GapReason, StaleReason};
use tickwire_wire::{Control, Dialect, Kind, RequestId, Seq};

use crate::ledger::Settled;
use crate::outbox::Fanout;
use crate::planted::{Fault, is_planted};
use crate::publication::{Publication, TopicId};

/// How a publication came into an outbox, and so what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// An update that came by itself.
    Live,
    /// An update that was pulled from the directory because there was room.
    Pulled,
    /// An update of a replay that was promised: it is kept until it is written.
    Promised,
    /// A snapshot that takes a subscription to a message that it had not come to.
    Newer,
    /// A snapshot of where a subscription stands already.
    Repeat,
    /// The snapshot of a book behind the gap that it ends.
    Recovery,
    /// A snapshot that no subscription asked for.
    OneShot,
}

/// A publication that waits.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) fanout: Rc<Fanout>,
    /// Messages before it that its subscription is not sent because of it.
    pub(crate) skips: u64,
    /// The length of its frame.
    len: u32,
    pub(crate) sort: Sort,
    /// Whether it is what tells the client of its subscription the topic's lineage.
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

    /// As [`Self::new`], of a publication that nobody else is handed.
    pub(crate) fn of(publication: Arc<Publication>, op: DataOp, len: u32, sort: Sort, skips: u64) -> Self {
        Self::new(Rc::new(Fanout { publication, op }), len, sort, skips)
    }

    /// The same, that tells the lineage or does not.
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

    /// Where its subscription stood before it.
    pub(crate) fn before(&self) -> Seq {
        Seq(self.fanout.publication.seq.0 - self.skips - u64::from(self.delivers()))
    }

    pub(crate) fn topic(&self) -> TopicId {
        self.fanout.publication.lineage.id
    }
}

/// The length of a publication's frame. Books, the longest there are, are bounded far below 4 GiB.
#[inline]
pub(crate) fn length(frame: &[u8]) -> u32 {
    u32::try_from(frame.len()).unwrap_or(u32::MAX)
}

/// A gap before what is pulled next.
#[derive(Debug)]
pub(crate) struct Gap {
    pub(crate) topic: TopicId,
    pub(crate) kind: Kind,
    pub(crate) from: Seq,
    pub(crate) to: Seq,
    pub(crate) reason: GapReason,
    /// Whether it is what tells the client of its subscription the topic's lineage.
    pub(crate) introduces: bool,
    /// Whether it goes on from a gap that the client has got, whose snapshot was taken back.
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

    /// Owed messages that it names: what a refused resume missed was never owed.
    pub(crate) fn gaps(&self) -> u64 {
        match self.reason {
            GapReason::Slow => self.to.0 - self.from.0 + 1 + u64::from(is_planted(Fault::GapOneTooMany)),
            GapReason::History | GapReason::Epoch => 0,
        }
    }
}

/// That a topic joined: what tells the client of its subscription the lineage, where no snapshot and no gap does.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) topic: TopicId,
    /// Whether it comes before an update that came by itself.
    pub(crate) live: bool,
    pub(crate) bytes: Rc<[u8]>,
}

/// That all that a request brought has been sent.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) request: RequestId,
    pub(crate) bytes: Box<[u8]>,
}

/// What a subscription was told last of a topic's source. A book that is in doubt stays so whether or not it is silent too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceState {
    Live,
    /// It is stale: nothing came for too long.
    Silent,
    /// It is stale: what comes is not to be relied on.
    Doubted(StaleReason),
}

impl SourceState {
    /// Why what comes is not to be relied on.
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
    /// What its subscription was told before.
    pub(crate) before: SourceState,
    pub(crate) bytes: Rc<[u8]>,
}

/// What a control message tells whoever writes it of where its reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Nothing.
    #[default]
    Nowhere,
    /// Where the subscriptions of a request begin.
    Begins,
    /// It brings its reader to this message of the topic: those up to there will not come.
    To(TopicId, Seq),
}

/// An answer that keeps its place among the data.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reach: Reach,
    pub(crate) bytes: Box<[u8]>,
}

/// An answer that tells where subscriptions stand.
#[derive(Debug)]
pub(crate) struct Placing {
    /// How many acks the session was sent before it.
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

    /// Has `correct` change the results. If it says that it did, the answer is encoded anew.
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

/// A control message, which waits in the lane before the data.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) bytes: ControlBytes,
    /// Whether it is a message of the protocol: pings and pongs are none.
    pub(crate) speaks: bool,
    pub(crate) reach: Reach,
}

/// Bytes of the connection's own, or such as others are sent as well.
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

/// What waits in the data lane.
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

// One is written and read per delivery.
const _: () = assert!(size_of::<Item>() <= 24);

impl Item {
    /// Its bytes, for a connection of `dialect`.
    pub(crate) fn bytes(&self, dialect: Dialect) -> &[u8] {
        match self {
            Self::Frame(frame) => {
                let Fanout { publication, op } = &*frame.fanout;
                // What waits has a length, so its frame was made. Were it not, any connection takes a plain one.
                let made = publication.made(dialect, *op);
                made.unwrap_or_else(|| publication.plain_for(dialect, *op))
            }
            Self::Gap(gap) => &gap.bytes,
            Self::Joined(joined) => &joined.bytes,
            Self::Status(status) => &status.bytes,
            Self::Synced(synced) => &synced.bytes,
            Self::Answer(answer) => &answer.bytes,
            Self::Placing(placing) => &placing.bytes,
        }
    }

    /// The length of its bytes, which must not need a look at them: it is asked for once more per delivery.
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

    /// Where it brings its reader, if it is no publication.
    pub(crate) fn reach(&self) -> Reach {
        match self {
            Self::Gap(gap) => gap.reach(),
            Self::Answer(answer) => answer.reach,
            Self::Placing(_) => Reach::Begins,
            Self::Frame(_) | Self::Joined(_) | Self::Status(_) | Self::Synced(_) => Reach::Nowhere,
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

    /// What its subscription is owed no more once it is written.
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
