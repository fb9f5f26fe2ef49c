//! A `subscribe` that is much work, done piece by piece: between two pieces others get what they are owed.
//!
//! Its client sees no difference. It gets one `ack`, when all is done, and nothing of the subscriptions before that: they are
//! held behind the heads of their topics, from which they are pulled in after the `ack`, as for a slow reader. What it is
//! subscribed to already goes on. One request is under way at a time in a session: whoever feeds the shard handles nothing
//! else that the client sent meanwhile, and so keeps its answers in order.

use tickwire_wire::Micros;
use tickwire_wire::message::Subscribe;

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
    pub(super) answers: Vec<Answer>,
}

/// What a piece of a request has come to.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// Topics that were looked at for wildcards.
    pub(super) visited: usize,
    /// Topics that sessions have joined.
    pub(super) joined: Vec<TopicId>,
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
            self.subscribe_on(id, unfinished, now);
        }
    }

    /// Does all that is left of a session's request that is under way, if there is one.
    pub fn finish(&mut self, id: SessionId, now: Micros) {
        while self.unfinished(id).is_some() {
            self.go_on(id, now);
        }
    }

    /// Does a piece of a request, which is put away if something is left.
    pub(super) fn subscribe_on(&mut self, id: SessionId, mut unfinished: Box<Unfinished>, now: Micros) {
        let Unfinished { request, answers } = &mut *unfinished;
        let most = self.settings.topics_at_once;
        self.piece = Some(Piece::default());
        for (topic, done) in request.topics[answers.len()..].iter().zip(0..) {
            let visited = self.piece.as_ref().map_or(0, |piece| piece.visited);
            if done > 0 && done + visited / VISITS_PER_TOPIC >= most {
                break;
            }
            let answer = self.subscribe_one(id, topic, request, now);
            answers.push(answer.unwrap_or_else(|refusal| Answer::refused(topic.topic(), refusal)));
        }
        let joined = self.piece.take().unwrap_or_default().joined;
        if answers.len() == request.topics.len() {
            self.subscribed(id, *unfinished, now);
            return;
        }
        for topic in joined {
            if let Some(place) = self.place_of(id, topic) {
                self.catch_up(id, topic, place);
            }
        }
        if let Some(session) = self.open_session(id) {
            session.unfinished = Some(unfinished);
        }
    }

    /// Answers a request that was seen to the end.
    fn subscribed(&mut self, id: SessionId, unfinished: Unfinished, now: Micros) {
        let Unfinished { request, mut answers } = unfinished;
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
        self.close_if_drowning(id, now);
    }
}
