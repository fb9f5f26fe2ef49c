//! A `subscribe` or `unsubscribe` that is much work, done piece by piece: between two pieces others get what they are owed.
//!
//! Its client gets one `ack`, when all is done, and nothing of new subscriptions before that: they are held behind the heads of
//! their topics, from which they are pulled in after the `ack`, as for a slow reader. What the session has already goes on,
//! but what is behind waits for the `ack` too. Nothing is replaced meanwhile by something newer: whether that may be depends on
//! what the `ack` grants.
//!
//! One request is under way at a time in a session, and whoever feeds the shard handles nothing else that the client sent
//! before it is done, so that its answers are in order. The next request and other rights finish it; what ends the session ends
//! it without an answer. A piece is one name at least, however many topics that matches.

use std::collections::BTreeSet;

use tickwire_wire::message::{AckResult, Subscribe};
use tickwire_wire::{Control, ErrorCode, Micros, Pattern, Refusal, RequestId};

use super::Shard;
use super::requests::Answer;
use super::resume::Places;
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;
use crate::session::SessionId;

/// Topics that are looked at for wildcards, or messages of replays, in the time that one more name takes.
const VISITS_PER_TOPIC: usize = 16;
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
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Unfinished {
    request: Naming,
    /// Those of the first names, in their order.
    answers: Vec<Answer>,
    /// Positions that were sent ahead of it.
    ahead: Option<Box<Places>>,
    /// Topics that flow already, and of which a snapshot comes: that of where they stand when the request is answered. However
    /// many names are theirs, it comes once.
    repeats: BTreeSet<TopicId>,
    /// What the client is to be told of behind the answer.
    later: Option<Control>,
}

impl Unfinished {
    /// Tells the client behind the answer that a topic did not fit, which it is told once.
    pub(super) fn tell_later(&mut self, message: Control) {
        self.later = Some(message);
    }
}

/// What the piece that is being done comes to.
#[derive(Debug)]
pub(super) struct Piece {
    session: SessionId,
    /// Topics that were looked at for wildcards.
    pub(super) visited: usize,
    /// Messages that were promised, or are not any more.
    pub(super) replayed: usize,
    /// Topics that the session has joined.
    joined: Vec<TopicId>,
    /// Topics that it has left.
    left: Vec<TopicId>,
    /// See [`Unfinished`].
    pub(super) repeats: Vec<TopicId>,
}

impl Piece {
    fn new(session: SessionId) -> Self {
        Self {
            session,
            visited: 0,
            replayed: 0,
            joined: Vec::new(),
            left: Vec::new(),
            repeats: Vec::new(),
        }
    }

    pub(super) fn joined(&mut self, session: SessionId, topic: TopicId) {
        if session == self.session {
            self.joined.push(topic);
        }
    }
}

impl Shard {
    /// Whether a request of the session is under way, and how many of the topics that it names have been seen to. Then
    /// [`Self::go_on`] is to be called, and nothing else that its client sent to be handled before there is none.
    #[must_use]
    pub fn unfinished(&self, id: SessionId) -> Option<usize> {
        let unfinished = self.sessions.get(id.index())?.unfinished.as_ref()?;
        Some(unfinished.answers.len())
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
            ahead = session.positions.take();
            session.syncs.begin(request.id);
        }
        let unfinished = Unfinished {
            request,
            answers,
            ahead,
            repeats: BTreeSet::new(),
            later: None,
        };
        self.do_piece(id, unfinished, now);
    }

    /// Does a piece of a request, which is put away if something is left.
    fn do_piece(&mut self, id: SessionId, mut unfinished: Unfinished, now: Micros) {
        let Unfinished {
            request,
            answers,
            ahead,
            ..
        } = &mut unfinished;
        let most = self.settings.topics_at_once;
        self.piece = Some(Piece::new(id));
        for (at, done) in (answers.len()..request.names()).zip(0..) {
            let visited = self
                .piece
                .as_ref()
                .map_or(0, |piece| piece.visited + piece.replayed);
            if done > 0 && done + visited / VISITS_PER_TOPIC >= most {
                break;
            }
            let answer = match request {
                Naming::Subscribe(request) => {
                    let topic = &request.topics[at];
                    let answer = self.subscribe_one(id, topic, request, ahead.as_deref(), now);
                    answer.unwrap_or_else(|refusal| Answer::refused(topic.topic(), refusal))
                }
                Naming::Unsubscribe(_, topics) => {
                    let answer = self.unsubscribe_one(id, &topics[at], now);
                    answer.unwrap_or_else(|refusal| Answer::refused(&topics[at], refusal))
                }
            };
            answers.push(answer);
        }
        let is_done = answers.len() == request.names();
        let piece = self.piece.take().unwrap_or_else(|| Piece::new(id));
        self.drop_left(id, piece.left);
        self.charge(id, piece.replayed / MESSAGES_PER_VISIT, now);
        unfinished.repeats.extend(piece.repeats);
        if is_done {
            self.answer_named(id, unfinished, now);
            return;
        }
        for topic in piece.joined {
            if let Some(place) = self.place_of(id, topic)
                && !is_planted(Fault::PieceFlowsBeforeAck)
            {
                self.catch_up(id, topic, place);
            }
        }
        if let Some(session) = self.open_session(id) {
            session.unfinished = Some(Box::new(unfinished));
        }
    }

    /// Ends one subscription as a request names it. Looking for its topics is paid for, like a look at others.
    fn unsubscribe_one(&mut self, id: SessionId, topic: &str, now: Micros) -> Result<Answer, Refusal> {
        let pattern: Pattern = topic.parse()?;
        let Some(left) = self.unsubscribe(id, &pattern) else {
            let reason = "no subscription of this connection has this name";
            return Err(Refusal::new(ErrorCode::NotSubscribed, reason));
        };
        self.charge(id, left.visited, now);
        if let Some(piece) = &mut self.piece {
            piece.visited += left.visited;
            piece.left.extend(left.topics);
        }
        Ok(Answer::new(AckResult {
            topic: topic.to_owned(),
            ..AckResult::default()
        }))
    }

    /// Answers a request that was seen to the end.
    fn answer_named(&mut self, id: SessionId, unfinished: Unfinished, now: Micros) {
        let Unfinished {
            request,
            mut answers,
            repeats,
            later,
            ahead: _,
        } = unfinished;
        for answer in answers.iter_mut().filter(|answer| answer.in_order) {
            // What flows has gone on since its turn came.
            if let Some(seq) = &mut answer.result.seq
                && let Some(cell) = self.directory.find(&answer.result.topic)
                && let Some(at) = self.standing(id, &cell)
            {
                if !is_planted(Fault::AckOfItsTurn) {
                    *seq = at.seq;
                }
                self.lineage_told(id, cell.id());
            }
        }
        for topic in repeats {
            if let Some(cell) = self.directory.get(topic) {
                self.send_snapshot(id, &cell);
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
