//! A `subscribe` or `unsubscribe` that is much work, done piece by piece: between two pieces others get what they are owed.
//!
//! Its client gets one `ack`, when all is done, and nothing of new subscriptions before that: they are held behind the heads of
//! their topics, from which they are pulled in after the `ack`, as for a slow reader. What the session has already goes on,
//! but what is behind waits for the `ack` too. Nothing is replaced meanwhile by something newer: whether that may be depends on
//! what the `ack` grants.
//!
//! One request is under way at a time in a session, and whoever feeds the shard handles nothing else that the client sent
//! before it is done, so that its answers are in order. The next request and other rights finish it; what ends the session ends
//! it without an answer. A piece is one name at least, or a part of a [wildcard](super::wide).

use std::collections::BTreeSet;

use tickwire_wire::message::{AckResult, Since, Subscribe, TopicRequest};
use tickwire_wire::{Control, ErrorCode, Micros, Pattern, Refusal, RequestId};

use super::Shard;
use super::requests::Answer;
use super::resume::{LeftAt, Places};
use super::wide::Wide;
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;
use crate::session::{Session, SessionId};
use crate::topic_set::TopicSet;

/// Topics that are looked at for wildcards, or messages of replays, in the time that one more name takes.
const VISITS_PER_TOPIC: usize = 16;
/// The same in the time that subscribing to a topic which a wildcard matches takes, or leaving it.
const VISITS_PER_SUBSCRIPTION: usize = 4;
/// Messages of replays that cost the client what a look at one topic does: who resumes pays little, who does so again and again
/// pays.
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

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Unfinished {
    request: Naming,
    /// Those of the first names, in their order.
    answers: Vec<Answer>,
    /// The next name, if it is a wildcard that was begun.
    wide: Option<Wide>,
    /// Positions that were sent ahead of it.
    ahead: Option<Box<Places>>,
    /// Topics that flow already, and of which a snapshot comes: that of where they stand when the request is answered. However
    /// many names are theirs, it comes once.
    repeats: BTreeSet<TopicId>,
    /// Topics that the session has left by it.
    left: TopicSet,
    /// What the client is to be told of behind the answer.
    later: Option<Control>,
}

impl Unfinished {
    /// Tells the client behind the answer that a topic did not fit, which it is told once.
    pub(super) fn tell_later(&mut self, message: Control) {
        self.later = Some(message);
    }

    /// Bytes of memory that it holds: its names, what is answered of them, and the positions that it resumes from.
    fn memory_bytes(&self) -> usize {
        let names = (0..self.request.names()).map(|at| self.request.name(at).len());
        let ahead = self.ahead.as_ref().map_or(0, |places| places.capacity());
        names.sum::<usize>()
            + self.request.names() * size_of::<TopicRequest>()
            + self.answers.capacity() * size_of::<Answer>()
            + ahead * size_of::<(TopicId, LeftAt)>()
    }

    /// The wildcard that it was seeing to.
    pub(super) fn wide(&self) -> Option<&Wide> {
        self.wide.as_ref()
    }
}

/// What has become of a name in a piece.
pub(super) enum Step {
    Done(Answer),
    /// The name is a wildcard, and a part of its topics is still to be found or seen to.
    Wide(Wide),
}

/// What the piece that is being done comes to.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// Whose request it is of; none between two pieces.
    session: Option<SessionId>,
    /// Topics that were looked at for wildcards.
    pub(super) visited: usize,
    /// Messages that were promised, or are not any more.
    pub(super) replayed: usize,
    /// Topics of wildcards that were seen to.
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
    /// The work that it has been, in looks at topics.
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
    /// Whether a request of the session is under way, and how many of the topics that it names have been seen to. Then
    /// [`Self::go_on`] is to be called, and nothing else that its client sent to be handled before there is none.
    #[must_use]
    pub fn unfinished(&self, id: SessionId) -> Option<usize> {
        let unfinished = self.sessions.get(id)?.unfinished.as_ref()?;
        Some(unfinished.answers.len())
    }

    /// Bytes of memory that a session's request under way holds, 0 if there is none.
    #[must_use]
    pub fn unfinished_bytes(&self, id: SessionId) -> usize {
        let session = self.sessions.get(id);
        let unfinished = session.and_then(|session| session.unfinished.as_ref());
        unfinished.map_or(0, |unfinished| unfinished.memory_bytes())
    }

    /// Of the wildcard that a session's request under way has come to: topics that were made before this one, by number, have been
    /// seen to. None while its topics are looked for.
    #[must_use]
    pub fn seen_to(&self, id: SessionId) -> Option<TopicId> {
        let unfinished = self.sessions.get(id)?.unfinished.as_ref()?;
        unfinished.wide()?.seen_to()
    }

    /// Does one more piece of a session's request that is under way. Returns whether there was one.
    pub fn go_on(&mut self, id: SessionId, now: Micros) -> bool {
        let session = self.open_session(id);
        let unfinished = session.and_then(|session| session.unfinished.take());
        match unfinished {
            Some(unfinished) => {
                self.do_piece(id, *unfinished, now);
                true
            }
            None => false,
        }
    }

    /// Does all that is left of a session's request that is under way, if there is one.
    pub fn finish(&mut self, id: SessionId, now: Micros) {
        while self.go_on(id, now) {}
    }

    /// Begins a request.
    pub(super) fn name_topics(&mut self, id: SessionId, request: Naming, now: Micros) {
        if let Err(refusal) = self.check_length(request.names()) {
            self.refuse(id, Some(request.id()), refusal, now);
            return;
        }
        let answers = Vec::with_capacity(request.names());
        let mut ahead = None;
        if let Some(session) = self.open_session(id)
            && let Naming::Subscribe(request) = &request
        {
            ahead = session.subscriptions.positions.take();
            session.subscriptions.syncs.begin(request.id);
        }
        let unfinished = Unfinished {
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

    /// Subscriptions that are made, given a snapshot or taken out before others have their turn.
    pub(super) fn subscriptions_at_once(&self) -> usize {
        self.visits_at_once() / VISITS_PER_SUBSCRIPTION
    }

    /// Does a piece of a request, which is put away if something is left.
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

    /// Puts snapshots of topics that flow on their way, a piece of them.
    fn repeat_some(&mut self, id: SessionId, repeats: &mut BTreeSet<TopicId>) {
        let at_once = self.subscriptions_at_once();
        let Some(mut it) = self.session_mut(id) else {
            return;
        };
        for _ in 0..at_once {
            let Some(topic) = repeats.pop_first() else { return };
            if let Some(cell) = it.slots[topic.index()].cell.clone() {
                it.send_snapshot(&cell);
            }
        }
    }

    /// Sees to the next name of a request, or to more of it, which is up to about `most` looks at topics if it is a wildcard.
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
            Err(refusal) => Answer::refused(name, refusal),
        };
        self.piece.names += 1;
        unfinished.answers.push(answer);
    }

    /// Ends one subscription as a request names it, of a wildcard begins with it. Looking for its topics is paid for, like a look
    /// at others.
    fn unsubscribe_one(&mut self, id: SessionId, topic: &str, now: Micros) -> Result<Step, Refusal> {
        let pattern: Pattern = topic.parse()?;
        let is_there = |session: &mut Session| session.subscriptions.patterns.has(&pattern);
        if !self.open_session(id).is_some_and(is_there) {
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
        Ok(Step::Done(Answer::new(AckResult {
            topic: topic.to_owned(),
            ..AckResult::default()
        })))
    }

    /// Answers a request that was seen to the end.
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
            // What flows has gone on since its turn came.
            if let Some(seq) = &mut answer.result.seq
                && let Some(cell) = self.directory.find(&answer.result.topic)
                && let Some(mut it) = self.session_mut(id)
                && let Some(at) = it.standing(&cell)
            {
                if !is_planted(Fault::AckOfItsTurn) {
                    *seq = at.seq;
                }
                it.lineage_told(cell.id());
            }
        }
        self.ack(id, request.id(), answers, now);
        self.brought(id);
        self.send_synced(id);
        match later {
            Some(message) if self.answers_keep_their_place(id) => self.send_in_order(id, &message),
            Some(message) => self.send_control(id, &message),
            None => {}
        }
        self.close_if_drowning(id, now);
    }
}
