//! A `subscribe` or `unsubscribe` that is much work is done piece by piece, and between two pieces other sessions have
//! their turn.
//!
//! Its client gets one `ack` when all of it is done, and no data of new subscriptions before that: they are kept behind
//! the heads of their topics and are pulled in after the `ack`, as for a slow reader. Subscriptions that the session
//! had before go on, but what is behind waits for the `ack`, too. Meanwhile no message is replaced by a newer one:
//! whether that is allowed depends on what the `ack` grants.
//!
//! A session has one request under way at a time. Until it is done, the owner of the shard handles nothing else that
//! the client sent, so the answers are in order. The next request and a change of rights finish it. The end of the
//! session ends it without an answer. A piece is at least one name, or a part of a [wildcard](super::wide).

use std::collections::BTreeSet;

use tickwire_wire::message::{AckResult, Positions, Since, Subscribe, TopicRequest};
use tickwire_wire::{Control, ErrorCode, Micros, Mode, Pattern, Refusal, RequestId, Seq};

use super::Shard;
use super::requests::TopicAnswer;
use super::wide::Wide;
use crate::planted::{Fault, is_planted};
use crate::positions::{self, Places};
use crate::publication::TopicId;
use crate::session::{Session, SessionId};
use crate::topic_set::TopicSet;

/// The number of looks at topics for wildcards, or of messages of replays, that take as long as one more name.
const VISITS_PER_TOPIC: usize = 16;
/// The same for subscribing to a topic that a wildcard matches, or leaving it.
const VISITS_PER_SUBSCRIPTION: usize = 4;
/// The number of messages of replays that cost the client as much as a look at one topic: one resume costs little, and
/// many cost much.
const MESSAGES_PER_VISIT: usize = 16;

/// A request that names topics.
#[derive(Debug)]
pub(super) enum Naming {
    Subscribe(Subscribe),
    Unsubscribe(RequestId, Vec<String>),
}

impl Naming {
    fn id(&self) -> RequestId {
        match self {
            Self::Subscribe(request) => request.id,
            Self::Unsubscribe(id, _) => *id,
        }
    }

    /// The bytes of its names and of the positions that it resumes from.
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Subscribe(request) => request.topics.iter().map(wanted_bytes).sum(),
            Self::Unsubscribe(_, topics) => {
                let names = topics.iter().map(|topic| size_of::<String>() + topic.len());
                names.sum()
            }
        }
    }

    fn names(&self) -> usize {
        match self {
            Self::Subscribe(request) => request.topics.len(),
            Self::Unsubscribe(_, topics) => topics.len(),
        }
    }

    fn since(&self, at: usize) -> Option<&Since> {
        match self {
            Self::Subscribe(request) => request.topics[at].since(),
            Self::Unsubscribe(..) => None,
        }
    }

    fn name(&self, at: usize) -> &str {
        match self {
            Self::Subscribe(request) => request.topics[at].topic(),
            Self::Unsubscribe(_, topics) => &topics[at],
        }
    }
}

/// The bytes that an entry of a `subscribe` holds, with the positions in it.
fn wanted_bytes(wanted: &TopicRequest) -> usize {
    let many: &[Positions] = match wanted.since() {
        Some(Since::Many(many)) => many,
        Some(Since::One(_)) | None => &[],
    };
    let topics = many.iter().flat_map(|lineage| lineage.seqs.keys());
    let positions = topics.map(|topic| tree_bytes::<(String, Seq)>(1) + topic.len());
    size_of::<TopicRequest>() + wanted.topic().len() + positions.sum::<usize>()
}

/// The most bytes that `count` entries of a B-tree take: its nodes are at least half full.
const fn tree_bytes<T>(count: usize) -> usize {
    2 * count * size_of::<T>()
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Unfinished {
    request: Naming,
    /// The bytes of the request.
    request_bytes: usize,
    /// The bytes that the answers hold beside their places.
    answer_bytes: usize,
    /// The answers to its first names, in their order.
    answers: Vec<TopicAnswer>,
    /// The next name, if it is a wildcard that was begun.
    wide: Option<Wide>,
    /// Positions that were sent before it.
    ahead: Option<Box<Places>>,
    /// Topics that were live already and whose snapshot was asked for. The snapshot is that of their position when the
    /// request is answered, and comes once even if several names bring the topic.
    repeats: BTreeSet<TopicId>,
    /// Topics that the session has left by this request.
    left: TopicSet,
    /// A refusal of which the client is told behind the answer.
    later: Option<Refusal>,
}

impl Unfinished {
    /// Keeps a refusal for behind the answer: a topic did not fit. The client is told this once.
    pub(super) fn tell_later(&mut self, refusal: Refusal) {
        self.later = Some(refusal);
    }

    /// The bytes of memory that it holds. Looks at none of its names.
    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.request_bytes
            + self.answers.capacity() * size_of::<TopicAnswer>()
            + self.answer_bytes
            + self.wide.as_ref().map_or(0, Wide::memory_bytes)
            + self.ahead.as_deref().map_or(0, positions::memory_bytes)
            + tree_bytes::<TopicId>(self.repeats.len())
            + self.left.memory_bytes()
            + self.later.as_ref().map_or(0, |refusal| refusal.reason.len())
    }

    /// The wildcard that it is working on.
    pub(super) fn wide(&self) -> Option<&Wide> {
        self.wide.as_ref()
    }
}

/// The state of a name after a piece.
pub(super) enum Step {
    Done(TopicAnswer),
    /// The name is a wildcard, and some of its topics are still to be found or handled.
    Wide(Wide),
}

/// The counts of the piece that is being done.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// The session of its request. `None` between two pieces.
    session: Option<SessionId>,
    /// Topics that were looked at for wildcards.
    pub(super) visited: usize,
    /// Messages of replays that were promised or given up.
    pub(super) replayed: usize,
    /// Topics of wildcards that were handled.
    pub(super) seen_to: usize,
    /// Names that were answered.
    names: usize,
    /// Topics that the session has joined.
    joined: Vec<TopicId>,
    /// Topics that it has left.
    pub(super) left: Vec<TopicId>,
    /// See [`Unfinished`].
    pub(super) repeats: Vec<TopicId>,
}

impl Piece {
    /// The work so far, in looks at topics.
    pub(super) const fn spent(&self) -> usize {
        self.names * VISITS_PER_TOPIC + self.visited + self.replayed + self.seen_to * VISITS_PER_SUBSCRIPTION
    }

    pub(super) fn joined(&mut self, session: SessionId, topic: TopicId) {
        if self.session == Some(session) {
            self.joined.push(topic);
        }
    }
}

impl Shard {
    /// The number of topics that were handled, if a request of the session is under way. Then [`Self::go_on`] must be
    /// called, and nothing else that its client sent may be handled until this returns `None`.
    #[must_use]
    pub fn unfinished(&self, id: SessionId) -> Option<usize> {
        if self.has_held(id) {
            return Some(0);
        }
        let unfinished = self.sessions.get(id)?.unfinished.as_ref()?;
        Some(unfinished.answers.len())
    }

    /// The bytes of memory that a session's request under way holds; 0 if there is none.
    #[must_use]
    pub fn unfinished_bytes(&self, id: SessionId) -> usize {
        let session = self.sessions.get(id);
        let unfinished = session.and_then(|session| session.unfinished.as_ref());
        unfinished.map_or(0, |unfinished| unfinished.memory_bytes())
    }

    /// The number of the first topic that the wildcard under way has not handled yet: topics made before it were
    /// handled. `None` while topics are looked for.
    #[must_use]
    pub fn seen_to(&self, id: SessionId) -> Option<TopicId> {
        let unfinished = self.sessions.get(id)?.unfinished.as_ref()?;
        unfinished.wide()?.seen_to()
    }

    /// Does one more piece of a session's request under way. Returns whether there was one.
    pub fn go_on(&mut self, id: SessionId, now: Micros) -> bool {
        let session = self.sessions.open(id);
        let unfinished = session.and_then(|session| session.unfinished.take());
        match unfinished {
            Some(unfinished) => {
                self.do_piece(id, *unfinished, now);
                true
            }
            None => self.let_held_go(id, now),
        }
    }

    /// Does the rest of a session's request under way, if there is one.
    pub fn finish(&mut self, id: SessionId, now: Micros) {
        while self.go_on(id, now) {}
    }

    /// Begins a request.
    pub(super) fn name_topics(&mut self, id: SessionId, request: Naming, now: Micros) {
        if let Err(refusal) = self.check_length(id, request.names()) {
            self.refuse(id, Some(request.id()), refusal, now);
            return;
        }
        let answers = Vec::with_capacity(request.names());
        let mut ahead = None;
        if let Some(session) = self.sessions.open(id)
            && let Naming::Subscribe(request) = &request
        {
            ahead = session.subscriptions.positions.take();
            session.subscriptions.syncs.begin(request.id);
        }
        let unfinished = Unfinished {
            request_bytes: request.memory_bytes(),
            answer_bytes: 0,
            request,
            answers,
            wide: None,
            ahead,
            repeats: BTreeSet::new(),
            left: TopicSet::default(),
            later: None,
        };
        self.do_piece(id, unfinished, now);
    }

    /// The work of a piece, in looks at topics.
    fn visits_at_once(&self) -> usize {
        let names = self.settings.topics_at_once.max(1);
        names.saturating_mul(VISITS_PER_TOPIC)
    }

    /// The number of subscriptions that are made, given a snapshot or taken out before other work has its turn.
    pub(super) fn subscriptions_at_once(&self) -> usize {
        self.visits_at_once() / VISITS_PER_SUBSCRIPTION
    }

    /// Does a piece of a request. The request is kept if something is left.
    fn do_piece(&mut self, id: SessionId, mut unfinished: Unfinished, now: Micros) {
        let most = self.visits_at_once();
        self.piece = Piece {
            session: Some(id),
            ..Piece::default()
        };
        let mut left = most;
        while left > 0 && unfinished.answers.len() < unfinished.request.names() {
            self.do_name(id, &mut unfinished, left, now);
            left = most.saturating_sub(self.piece.spent());
        }
        let piece = std::mem::take(&mut self.piece);
        self.charge(id, piece.replayed / MESSAGES_PER_VISIT, now);
        unfinished.repeats.extend(piece.repeats);
        let is_named = unfinished.answers.len() == unfinished.request.names();
        if is_named {
            self.repeat_some(id, &mut unfinished.repeats);
        }
        if !piece.left.is_empty() {
            for topic in piece.left {
                unfinished.left.insert(topic);
            }
            self.drop_waiting(id, &unfinished.left);
        }
        if is_named && unfinished.repeats.is_empty() {
            self.answer_named(id, unfinished, now);
            return;
        }
        if let Some(mut it) = self.session_mut(id) {
            for topic in piece.joined {
                if !is_planted(Fault::PieceFlowsBeforeAck) {
                    it.catch_up(topic);
                }
            }
            it.session.unfinished = Some(Box::new(unfinished));
        } else if let Some(wide) = unfinished.wide() {
            self.abandon_wide(wide);
        }
    }

    /// Sends snapshots of topics that were live already, a piece of them.
    fn repeat_some(&mut self, id: SessionId, repeats: &mut BTreeSet<TopicId>) {
        let at_once = self.subscriptions_at_once();
        let Some(mut it) = self.session_mut(id) else {
            return;
        };
        for _ in 0..at_once {
            let Some(topic) = repeats.pop_first() else { return };
            if let Some(cell) = it.slots.get(topic).map(|slot| slot.cell.clone()) {
                it.send_snapshot(&cell);
            }
        }
    }

    /// Handles the next name of a request. Of a wildcard it does one more part, with up to about `most` looks at
    /// topics.
    fn do_name(&mut self, id: SessionId, unfinished: &mut Unfinished, most: usize, now: Micros) {
        let at = unfinished.answers.len();
        let from = (unfinished.request.since(at), unfinished.ahead.as_deref());
        let name = unfinished.request.name(at);
        let step = match unfinished.wide.take() {
            Some(wide) => self.go_on_wide(id, wide, from, most, now),
            None => match &unfinished.request {
                Naming::Subscribe(request) => {
                    self.subscribe_one(id, &request.topics[at], request, from.1.is_some(), now)
                }
                Naming::Unsubscribe(_, topics) => self.unsubscribe_one(id, &topics[at], now),
            },
        };
        let answer = match step {
            Ok(Step::Wide(wide)) => {
                unfinished.wide = Some(wide);
                return;
            }
            Ok(Step::Done(answer)) => answer,
            Err(refusal) => TopicAnswer::refused(name, refusal),
        };
        self.piece.names += 1;
        unfinished.answer_bytes += answer.heap_bytes();
        unfinished.answers.push(answer);
    }

    /// Ends one subscription of an `unsubscribe`, or begins to end a wildcard. The search for its topics is paid for
    /// like that of other requests.
    fn unsubscribe_one(&mut self, id: SessionId, topic: &str, now: Micros) -> Result<Step, Refusal> {
        let pattern: Pattern = topic.parse()?;
        let is_there = |session: &mut Session| session.subscriptions.patterns.has(&pattern);
        if !self.sessions.open(id).is_some_and(is_there) {
            let reason = "no subscription of this connection has this name";
            return Err(Refusal::new(ErrorCode::NotSubscribed, reason));
        }
        if pattern.is_wildcard() {
            return Ok(Step::Wide(Wide::unsubscribe(pattern)));
        }
        self.charge(id, 1, now);
        let left = self.unsubscribe(id, &pattern);
        self.piece.visited += 1;
        self.piece.left.extend(left);
        Ok(Step::Done(TopicAnswer::new(AckResult {
            topic: topic.to_owned(),
            ..AckResult::default()
        })))
    }

    /// Has the result of a topic that is live say where its subscription stands now.
    fn bring_up(&mut self, id: SessionId, result: &mut AckResult) {
        let at = match self.find_for(id, &result.topic) {
            Some(cell) => {
                let Some(mut it) = self.session_mut(id) else {
                    return;
                };
                let Some(at) = it.standing(&cell) else { return };
                match result.mode {
                    Some(Mode::Snapshot) => it.lineage_shown(cell.id()),
                    _ => it.lineage_told(cell.id()),
                }
                at
            }
            // Its end waits before the answer.
            None => self.tell_next(id, &result.topic),
        };
        (result.epoch, result.seq) = (Some(at.epoch), Some(at.seq));
    }

    /// Answers a request that is done.
    fn answer_named(&mut self, id: SessionId, unfinished: Unfinished, now: Micros) {
        let Unfinished {
            request,
            mut answers,
            left,
            later,
            ..
        } = unfinished;
        if !left.is_empty() {
            self.drop_pulls(id, &left);
        }
        for answer in answers.iter_mut().filter(|answer| answer.in_order) {
            // A topic that is live has gone on since it was handled.
            if answer.result.seq.is_some() && !is_planted(Fault::AckOfItsTurn) {
                self.bring_up(id, &mut answer.result);
            }
        }
        self.ack(id, request.id(), answers, now);
        self.drop_starts(id);
        self.brought(id);
        self.send_synced(id);
        if let Some(refusal) = later {
            self.send_behind_answers(id, &Control::error(None, refusal));
        }
        self.close_if_drowning(id, now);
    }
}
