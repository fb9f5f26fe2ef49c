//! A `subscribe` that is much work, done piece by piece: between two pieces others get what they are owed.
//!
//! Its client gets one `ack`, when all is done, and nothing of the subscriptions before that: they are held behind the heads of
//! their topics, from which they are pulled in after the `ack`, as for a slow reader. What the session has already goes on,
//! but what is behind, or is named again for a snapshot, waits for the `ack` too. Nothing is replaced meanwhile by something
//! newer: whether that may be depends on what the `ack` grants.
//!
//! One request is under way at a time in a session, and whoever feeds the shard handles nothing else that the client sent
//! before it is done, so that its answers are in order. The next request, other rights and the drain finish it; a close ends it
//! without an answer.
//!
//! One pattern is one piece at least, however many topics it matches.

use tickwire_wire::message::Subscribe;
use tickwire_wire::{Control, Micros};

use super::Shard;
use super::requests::Answer;
use crate::publication::TopicId;
use crate::session::SessionId;

/// Topics that are looked at for wildcards in the time that naming one more takes.
const VISITS_PER_TOPIC: usize = 16;

/// A `subscribe` that is under way.
#[derive(Debug)]
pub(crate) struct Unfinished {
    pub(super) request: Subscribe,
    /// Those of the first topics, in their order.
    answers: Vec<Answer>,
    /// What the client is to be told of behind the answer.
    later: Option<Control>,
}

impl Unfinished {
    pub(super) fn new(request: Subscribe) -> Self {
        Self {
            answers: Vec::with_capacity(request.topics.len()),
            request,
            later: None,
        }
    }

    /// Tells the client behind the answer that a topic did not fit, which it is told once.
    pub(super) fn tell_later(&mut self, message: Control) {
        self.later = Some(message);
    }
}

/// What a piece of a request has come to.
#[derive(Debug)]
pub(super) struct Piece {
    session: SessionId,
    /// Topics that were looked at for wildcards.
    pub(super) visited: usize,
    /// Topics that the session has joined.
    joined: Vec<TopicId>,
}

impl Piece {
    pub(super) fn joined(&mut self, session: SessionId, topic: TopicId) {
        if session == self.session {
            self.joined.push(topic);
        }
    }
}

impl Shard {
    /// Whether a request of the session is under way, and how many of its topics have been seen to. Then [`Self::go_on`] is to
    /// be called, and nothing else that its client sent to be handled before there is none.
    #[must_use]
    pub fn unfinished(&self, id: SessionId) -> Option<usize> {
        let unfinished = self.sessions.get(id.index())?.unfinished.as_ref()?;
        Some(unfinished.answers.len())
    }

    /// Does one more piece of a session's request that is under way, if there is one.
    pub fn go_on(&mut self, id: SessionId, now: Micros) {
        if let Some(unfinished) = self
            .open_session(id)
            .and_then(|session| session.unfinished.take())
        {
            self.subscribe_on(id, *unfinished, now);
        }
    }

    /// Does all that is left of a session's request that is under way, if there is one.
    pub fn finish(&mut self, id: SessionId, now: Micros) {
        while self.unfinished(id).is_some() {
            self.go_on(id, now);
        }
    }

    /// Does a piece of a request, which is put away if something is left.
    pub(super) fn subscribe_on(&mut self, id: SessionId, mut unfinished: Unfinished, now: Micros) {
        let Unfinished { request, answers, .. } = &mut unfinished;
        let most = self.settings.topics_at_once;
        self.piece = Some(Piece {
            session: id,
            visited: 0,
            joined: Vec::new(),
        });
        for (topic, done) in request.topics[answers.len()..].iter().zip(0..) {
            let visited = self.piece.as_ref().map_or(0, |piece| piece.visited);
            if done > 0 && done + visited / VISITS_PER_TOPIC >= most {
                break;
            }
            let answer = self.subscribe_one(id, topic, request, now);
            answers.push(answer.unwrap_or_else(|refusal| Answer::refused(topic.topic(), refusal)));
        }
        let joined = self.piece.take().map(|piece| piece.joined);
        if answers.len() == request.topics.len() {
            self.subscribed(id, unfinished, now);
            return;
        }
        for topic in joined.into_iter().flatten() {
            if let Some(place) = self.place_of(id, topic) {
                self.catch_up(id, topic, place);
            }
        }
        if let Some(session) = self.open_session(id) {
            session.unfinished = Some(Box::new(unfinished));
        }
    }

    /// Answers a request that was seen to the end.
    fn subscribed(&mut self, id: SessionId, unfinished: Unfinished, now: Micros) {
        let Unfinished {
            request,
            mut answers,
            later,
        } = unfinished;
        for answer in answers.iter_mut().filter(|answer| answer.in_order) {
            // What flows has gone on since its turn came.
            if let Some(seq) = &mut answer.result.seq
                && let Some(cell) = self.directory.find(&answer.result.topic)
                && let Some(at) = self.standing(id, &cell)
            {
                *seq = at.seq;
            }
        }
        self.ack(id, request.id, answers, now);
        if let Some(message) = later {
            self.send_in_order(id, &message);
        }
        self.close_if_drowning(id, now);
    }
}
