//! The messages in an outbox that are no publications: control messages, answers that keep their place among the data,
//! gaps, and what is said about topics and their sources.
//!
//! Each holds its bytes, and beside them the values that the router needs if it is taken back or counted. Nothing reads
//! the bytes.

use std::rc::Rc;

use tickwire_wire::message::{AckResult, GapReason, StaleReason};
use tickwire_wire::{Control, Dialect, Epoch, Kind, RequestId, Seq, Topic};

use crate::cell::Attached;
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;

/// A gap before the message that is pulled next.
#[derive(Debug)]
pub(crate) struct Gap {
    pub(crate) topic: TopicId,
    pub(crate) name: Topic,
    pub(crate) epoch: Epoch,
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
    /// The position to which it brings its reader. A reader of a book does not move before the snapshot that ends the gap, because
    /// changes alone are no book.
    pub(super) fn reach(&self) -> Reach {
        match self.kind {
            Kind::Book => Reach::Unmoved,
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

/// Says that a topic has ended. Nothing before it in the data lane is taken back.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) topic: TopicId,
    pub(crate) name: Topic,
    /// The position of its reader before it: the topic's last.
    pub(crate) at: Attached,
    pub(crate) bytes: Rc<[u8]>,
}

/// Says that a replay from a moment has come to the head of its topic: what follows is live.
#[derive(Debug)]
pub(crate) struct CaughtUp {
    pub(crate) topic: TopicId,
    pub(crate) bytes: Box<[u8]>,
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
    /// The position that its reader has already.
    Unmoved,
    /// This position in the topic: messages up to it will not come.
    To(TopicId, Seq),
    /// The end of the topic. Its reader stands before the topic's next life.
    End(TopicId),
}

/// An answer that keeps its place among the data.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) reach: Reach,
    pub(super) bytes: Box<[u8]>,
    /// Its content, if that is an ack with the positions of subscriptions. They are corrected if messages before it in
    /// the outbox are taken back.
    ack: Option<Ack>,
}

/// An ack with the positions of subscriptions.
#[derive(Debug)]
struct Ack {
    /// The number of acks that the session was sent before it.
    number: u32,
    request: RequestId,
    results: Vec<AckResult>,
}

impl Answer {
    /// An answer that is sent as it is.
    pub(crate) fn new(reach: Reach, bytes: Box<[u8]>) -> Self {
        let ack = None;
        Self { reach, bytes, ack }
    }

    /// The ack of `request` with the positions in `results`, in `dialect`. It is ack number `number` of its session.
    pub(crate) fn ack(number: u32, request: RequestId, results: Vec<AckResult>, dialect: Dialect) -> Self {
        let mut ack = Ack {
            number,
            request,
            results,
        };
        let bytes = ack.encode(dialect);
        Self {
            reach: Reach::Begins,
            bytes,
            ack: Some(ack),
        }
    }

    /// Lets `correct` change the results of an ack, whose number it gets. If it returns `true`, the ack is encoded
    /// again.
    pub(super) fn correct(
        &mut self,
        dialect: Dialect,
        correct: &mut impl FnMut(u32, &mut [AckResult]) -> bool,
    ) {
        if let Some(ack) = &mut self.ack
            && correct(ack.number, &mut ack.results)
        {
            self.bytes = ack.encode(dialect);
        }
    }
}

impl Ack {
    fn encode(&mut self, dialect: Dialect) -> Box<[u8]> {
        let results = std::mem::take(&mut self.results);
        let ack = Control::Ack {
            id: self.request,
            results,
        };
        let bytes = dialect.control(&ack);
        if let Control::Ack { results, .. } = ack {
            self.results = results;
        }
        bytes
    }
}
