//! Handling a `subscribe` with as many patterns as allowed, whole or one piece of it.

use std::fmt;
use std::rc::Rc;

use tickwire_router::{Rights, SessionId, Shard, Transport};
use tickwire_wire::limits::{SUBSCRIPTIONS_MAX, TOPICS_AT_ONCE};
use tickwire_wire::message::{Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Micros, RequestId};

use crate::case::HotPath;
use crate::set_up::{self, NOW};

/// Microseconds between two connections. In that time the charge of the previous one is forgiven.
const PAUSE_US: u64 = 1_000_000_000;

/// The part of a request that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All pieces.
    Whole,
    /// The first piece.
    First,
    /// The last piece, including the answer.
    Last,
}

/// A connection that subscribes to 1,024 patterns, all of which match the same topic. Each pattern has ten tokens, each
/// `x` or a wildcard.
pub struct Storm {
    shard: Shard,
    session: Option<SessionId>,
    request: Option<ClientMessage>,
    now: Micros,
    part: Part,
}

impl fmt::Debug for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storm({:?})", self.part)
    }
}

impl Storm {
    /// A storm that measures `part`.
    #[must_use]
    pub fn new(part: Part) -> Self {
        Self {
            shard: set_up::shard(&set_up::directory(1)),
            session: None,
            request: None,
            now: NOW,
            part,
        }
    }
}

fn request() -> ClientMessage {
    let pattern = |bits: usize| {
        let token = |at: usize| if bits >> at & 1 == 0 { "x" } else { "*" };
        let tokens: Vec<&str> = (0..10).map(token).collect();
        TopicRequest::Pattern(format!("storm.{}", tokens.join(".")))
    };
    ClientMessage::Subscribe(Subscribe {
        id: RequestId(1),
        topics: (0..SUBSCRIPTIONS_MAX).map(pattern).collect(),
        mode: None,
        conflate_ms: None,
        snapshot: true,
    })
}

impl HotPath for Storm {
    /// How many patterns are done; `None` if all of them are.
    type Output = Option<usize>;

    const PREPARES: bool = true;

    fn prepare(&mut self) {
        if let Some(before) = self.session.take() {
            self.shard.remove(before);
        }
        self.now = Micros(self.now.0 + PAUSE_US);
        let rights = Rc::new(Rights::open([]));
        let session = self
            .shard
            .open(Codec::Json, Transport::WebSocket, rights, self.now);
        self.session = Some(session);
        self.request = Some(request());
        if self.part == Part::Last {
            let request = self.request.take().expect("it was just made");
            self.shard.request(session, Ok(request), self.now);
            let piece = self.shard.unfinished(session).expect("one piece is done");
            let early = |names| names < SUBSCRIPTIONS_MAX - piece;
            while self.shard.unfinished(session).is_some_and(early) {
                self.shard.go_on(session, self.now);
            }
            assert!(self.shard.unfinished(session).is_some(), "a piece is left");
        }
    }

    fn run(&mut self) -> Option<usize> {
        let session = self.session?;
        if let Some(request) = self.request.take() {
            self.shard.request(session, Ok(request), self.now);
        }
        if self.part != Part::First {
            self.shard.finish(session, self.now);
        }
        self.shard.unfinished(session)
    }

    fn check(&mut self, done: &Option<usize>) {
        assert_eq!(done.is_some(), self.part == Part::First, "{self:?}");
        // The patterns that a wildcard is compared with count as well.
        assert!(done.is_none_or(|names| names > TOPICS_AT_ONCE / 2 && names <= TOPICS_AT_ONCE));
        let session = self.session.expect("it is open");
        let outbox = self.shard.outbox(session).expect("it is open");
        // The outbox holds the welcome, and an answer with a result for each pattern.
        let answered = outbox.control_bytes() > SUBSCRIPTIONS_MAX * 60;
        assert_eq!(
            answered,
            self.part != Part::First,
            "{} bytes",
            outbox.control_bytes()
        );
    }
}
