//! What waits in the data lane of an outbox: publications, gaps, topics that join, states of topics, and answers and ends of
//! requests, which keep their place.
//!
//! Each knows which subscription's messages it stands for and how many, so that it can be taken back and counted without a
//! look elsewhere. Small: one is written and read per delivery.

use std::rc::Rc;
use std::sync::Arc;

use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{GapReason, StaleReason};
use tickwire_wire::{RequestId, Seq, Variant};

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
    pub(crate) from: Seq,
    pub(crate) to: Seq,
    pub(crate) reason: GapReason,
    /// Whether it is what tells the client of its subscription the topic's lineage.
    pub(crate) introduces: bool,
    /// Whether it goes on from a gap that the client has got, whose snapshot was taken back.
    pub(crate) goes_on: bool,
    pub(crate) frame: Box<[u8]>,
}

impl Gap {
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
    pub(crate) frame: Rc<[u8]>,
}

/// That all that a request brought has been sent.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) request: RequestId,
    pub(crate) frame: Box<[u8]>,
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
    pub(crate) frame: Rc<[u8]>,
}

/// An answer that tells where subscriptions stand.
#[derive(Debug)]
pub(crate) struct Placing {
    /// How many acks the session was sent before it.
    pub(crate) number: u32,
    pub(crate) frame: Box<[u8]>,
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
    Answer(Box<[u8]>),
    /// An answer with the positions of subscriptions. They are corrected if messages before it in the outbox are taken back.
    Placing(Box<Placing>),
}

// One is written and read per delivery.
const _: () = assert!(size_of::<Item>() <= 24);

impl Item {
    /// Its bytes, for a connection of `variant`.
    pub(crate) fn bytes(&self, variant: Variant) -> &[u8] {
        match self {
            Self::Frame(frame) => {
                let Fanout { publication, op } = &*frame.fanout;
                // What waits has a length, so its frame was made. Were it not, any connection takes a plain one.
                let made = publication.made(variant, *op);
                made.unwrap_or_else(|| publication.frame(variant.codec(), *op).0)
            }
            Self::Gap(gap) => &gap.frame,
            Self::Joined(joined) => &joined.frame,
            Self::Status(status) => &status.frame,
            Self::Synced(synced) => &synced.frame,
            Self::Answer(bytes) => bytes,
            Self::Placing(placing) => &placing.frame,
        }
    }

    /// The length of its bytes, which must not need a look at them: it is asked for once more per delivery.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.len as usize,
            Self::Gap(gap) => gap.frame.len(),
            Self::Joined(joined) => joined.frame.len(),
            Self::Status(status) => status.frame.len(),
            Self::Synced(synced) => synced.frame.len(),
            Self::Answer(bytes) => bytes.len(),
            Self::Placing(placing) => placing.frame.len(),
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
