//! Publications that wait to be written before they enter: their answers, and the requests behind them. A request for which
//! the archive is [asked](super::searching) is held here, too.
//!
//! Answers come in the order of the requests. So while publications of a session wait, its refused ones wait with
//! them, and its other requests are not handled: the first of them is held, and nothing behind it is read. What
//! waits is bounded by the queue of what is to be written.

use tickwire_wire::message::BadRequest;
use tickwire_wire::{ClientMessage, Micros, Refusal, RequestId};

use super::Shard;
use crate::cell::Published;
use crate::outlet::{OutletAnswer, Placed};
use crate::session::SessionId;
use crate::write_queue::{WrittenTo, dropped};

/// A session whose publications wait to be written.
#[derive(Debug)]
pub(super) struct BehindWrites {
    /// That of the session. An earlier one with its number may have left publications behind.
    generation: u32,
    /// The number of its publications that wait.
    count: usize,
    /// Whether the archive is asked for what the held request needs.
    searches: bool,
    /// A request that waits for them, or for the archive.
    held: Option<Box<Result<ClientMessage, BadRequest>>>,
}

/// What becomes of a publication.
#[derive(Debug)]
enum Outcome {
    /// It is answered when it has entered.
    Enters {
        topic: String,
        published: Box<Published>,
        /// Whether it had been published before.
        duplicate: bool,
        bytes: u64,
    },
    /// It was refused behind others that wait.
    Refused(Refusal),
}

/// A publication whose answer waits.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// The number in the queue of what is to be written: its own, or that of the one before it.
    number: u64,
    session: SessionId,
    generation: u32,
    request: Option<RequestId>,
    outcome: Outcome,
}

impl Unwritten {
    /// Takes over what became of the message with this number, if this is it.
    fn settle(&mut self, number: u64, settled: &mut Option<Result<Placed, Refusal>>) {
        let Outcome::Enters {
            published, duplicate, ..
        } = &mut self.outcome
        else {
            return;
        };
        match settled.take_if(|_| self.number == number) {
            Some(Ok(placed)) => {
                published.epoch = placed.epoch;
                published.seq = placed.seq;
                *duplicate = placed.duplicate;
            }
            Some(Err(refusal)) => self.outcome = Outcome::Refused(refusal),
            None => {}
        }
    }
}

impl Shard {
    fn behind_writes(&self, id: SessionId) -> Option<&BehindWrites> {
        if self.writing.is_empty() {
            return None; // as for every broker that writes nothing
        }
        let generation = self.sessions.get(id)?.generation;
        self.writing
            .get(&id)
            .filter(|behind| behind.generation == generation)
    }

    /// Whether publications of a session wait to be written.
    pub(super) fn has_unwritten(&self, id: SessionId) -> bool {
        self.behind_writes(id).is_some_and(|behind| behind.count > 0)
    }

    /// Whether a request of a session is held.
    pub(super) fn has_held(&self, id: SessionId) -> bool {
        self.behind_writes(id).is_some_and(|behind| behind.held.is_some())
    }

    /// Whether the archive is asked for what the held request of a session needs.
    fn is_searching(&self, id: SessionId) -> bool {
        self.behind_writes(id).is_some_and(|behind| behind.searches)
    }

    /// Whether the session's next request waits until publications are written, or for the archive, and not for a turn.
    #[must_use]
    pub fn waits_for_files(&self, id: SessionId) -> bool {
        (self.has_unwritten(id) || self.is_searching(id)) && self.has_held(id)
    }

    /// Holds a request until the archive has answered.
    pub(super) fn hold_while_searching(
        &mut self,
        id: SessionId,
        generation: u32,
        request: Result<ClientMessage, BadRequest>,
    ) {
        let behind = BehindWrites {
            generation,
            count: 0,
            searches: true,
            held: Some(Box::new(request)),
        };
        self.writing.insert(id, behind);
    }

    /// Records that the archive has answered for a session. Returns whether the session is still there.
    pub(super) fn has_searched(&mut self, id: SessionId, generation: u32) -> bool {
        let Some(behind) = self.writing.get_mut(&id) else {
            return false;
        };
        if behind.generation != generation {
            return false;
        }
        behind.searches = false;
        let is_there = self
            .sessions
            .get(id)
            .is_some_and(|session| session.generation == generation);
        if !is_there {
            self.writing.remove(&id);
        }
        is_there
    }

    /// Answers a publication when it and those before it have entered.
    pub(super) fn answer_when_written(
        &mut self,
        id: SessionId,
        request: Option<RequestId>,
        (topic, (published, duplicate)): (String, (Published, bool)),
        bytes: u64,
    ) {
        let own = published.ticket.map_or(0, |ticket| ticket.number);
        // A repeated one may be that of an earlier number than those that its session waits for.
        let number = self.unwritten.back().map_or(own, |last| own.max(last.number));
        let published = Box::new(published);
        let outcome = Outcome::Enters {
            topic,
            published,
            duplicate,
            bytes,
        };
        self.wait_for_write(id, request, number, outcome);
    }

    /// Refuses a publication behind those of the session that wait.
    pub(super) fn refuse_when_written(
        &mut self,
        id: SessionId,
        request: Option<RequestId>,
        refusal: Refusal,
    ) {
        let number = self.unwritten.back().map_or(0, |last| last.number);
        self.wait_for_write(id, request, number, Outcome::Refused(refusal));
    }

    fn wait_for_write(&mut self, id: SessionId, request: Option<RequestId>, number: u64, outcome: Outcome) {
        let Some(generation) = self.sessions.get(id).map(|session| session.generation) else {
            return;
        };
        let behind = self.writing.entry(id).or_insert(BehindWrites {
            generation,
            count: 0,
            searches: false,
            held: None,
        });
        if behind.generation != generation {
            *behind = BehindWrites {
                generation,
                count: 0,
                searches: false,
                held: None,
            };
        }
        behind.count += 1;
        self.unwritten.push_back(Unwritten {
            number,
            session: id,
            generation,
            request,
            outcome,
        });
    }

    /// Whether a request must be held: it is no publication, and publications of its session wait.
    pub(super) fn waits_behind_writes(
        &self,
        id: SessionId,
        request: &Result<ClientMessage, BadRequest>,
    ) -> bool {
        self.has_unwritten(id) && !matches!(request, Ok(ClientMessage::Publish { .. }))
    }

    /// Holds a request until the publications of its session are written.
    pub(super) fn hold(&mut self, id: SessionId, request: Result<ClientMessage, BadRequest>) {
        if let Some(behind) = self.writing.get_mut(&id) {
            behind.held = Some(Box::new(request));
        }
    }

    /// Handles a held request, if nothing is before it any more. Returns whether there was one.
    pub(super) fn let_held_go(&mut self, id: SessionId, now: Micros) -> bool {
        if !self.has_held(id) || self.has_unwritten(id) || self.is_searching(id) {
            return false;
        }
        match self.writing.remove(&id).and_then(|behind| behind.held) {
            Some(request) => {
                self.request(id, *request, now);
                self.drop_starts(id);
                true
            }
            None => false,
        }
    }

    /// Drops what the archive has answered, unless its request is still under way.
    pub(super) fn drop_starts(&mut self, id: SessionId) {
        let session = self.sessions.get_mut(id);
        if let Some(session) = session.filter(|session| session.unfinished.is_none()) {
            session.subscriptions.beginnings.drop_starts();
        }
    }

    /// Answers the publications that are decided.
    pub(super) fn answer_written(&mut self, now: Micros) {
        for written in std::mem::take(&mut self.inbox.written) {
            while let Some(next) = self.unwritten.pop_front_if(|next| next.number <= written.last) {
                self.answer_one(next, written, now);
            }
        }
    }

    /// Answers the publications of which it is known what became of them where they are numbered.
    pub(super) fn answer_settled(&mut self, now: Micros) {
        for settled in std::mem::take(&mut self.inbox.settled) {
            let OutletAnswer { number, outcome } = settled;
            let written = WrittenTo {
                last: number,
                entered: true,
            };
            let mut outcome = Some(outcome);
            while let Some(mut next) = self.unwritten.pop_front_if(|next| next.number <= number) {
                next.settle(number, &mut outcome);
                self.answer_one(next, written, now);
            }
        }
    }

    fn answer_one(&mut self, unwritten: Unwritten, written: WrittenTo, now: Micros) {
        let Unwritten {
            session: id,
            generation,
            request,
            outcome,
            ..
        } = unwritten;
        let is_there = self
            .writing
            .get_mut(&id)
            .filter(|behind| behind.generation == generation);
        let is_there = is_there.map(|behind| behind.count -= 1);
        let is_gone = self
            .sessions
            .get(id)
            .is_none_or(|session| session.generation != generation);
        let is_over = |behind: &BehindWrites| behind.count == 0 && (behind.held.is_none() || is_gone);
        if is_there.is_some() && self.writing.get(&id).is_some_and(is_over) {
            self.writing.remove(&id);
        }
        match outcome {
            Outcome::Enters {
                topic,
                published,
                duplicate,
                bytes,
            } if written.entered || published.ticket.is_none() => {
                if !duplicate {
                    self.count_published(&published, bytes);
                }
                if is_there.is_some() {
                    self.ack_published(id, request, &topic, (*published, duplicate));
                    self.close_if_drowning(id, now);
                }
            }
            Outcome::Enters { .. } if is_there.is_some() => self.refuse_at_once(id, request, dropped(), now),
            Outcome::Refused(refusal) if is_there.is_some() => self.refuse_at_once(id, request, refusal, now),
            Outcome::Enters { .. } | Outcome::Refused(_) => {}
        }
    }

    pub(super) fn count_published(&mut self, published: &Published, bytes: u64) {
        self.counts.published[published.kind as usize] += 1;
        self.counts.published_bytes += bytes;
    }
}
