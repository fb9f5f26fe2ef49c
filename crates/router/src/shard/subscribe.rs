//! `subscribe`: which topics a session may have, and what is sent first. Where a subscription begins is decided in
//! [`super::resume`]; wildcards are in [`super::wide`].
//!
//! A refused topic leaves everything as it was.

use std::sync::Arc;

use tickwire_wire::error::ErrorCode;
use tickwire_wire::message::{AckResult, Subscribe, TopicRequest};
use tickwire_wire::{Kind, Micros, Mode, Pattern, Refusal, Seq, Topic};

use super::Shard;
use super::piecewise::Step;
use super::requests::TopicAnswer;
use super::resume::{Outset, check_since};
use super::sessions::SessionMut;
use super::wide::Wide;
use crate::cell::{Attached, TopicCell};
use crate::pace::Pace;
use crate::session::{PatternSub, SessionId};

impl Shard {
    /// The most subscriptions of a session.
    pub(super) fn subscriptions_max(&self, id: SessionId) -> usize {
        let own = self
            .sessions
            .get(id)
            .and_then(|session| session.rights.own.subscriptions);
        own.unwrap_or(self.settings.limits.subscriptions)
    }

    /// Checks whether a request of a session may name that many topics.
    pub(super) fn check_length(&self, id: SessionId, topics: usize) -> Result<(), Refusal> {
        let most = self.subscriptions_max(id);
        if topics == 0 {
            return Err(Refusal::bad_request("\"topics\" is empty"));
        }
        if topics > most {
            let reason = format!("{topics} topics in one request; a connection has at most {most}");
            return Err(Refusal::new(ErrorCode::LimitExceeded, reason));
        }
        Ok(())
    }

    /// Subscribes to one name of a request, or begins a wildcard. `ahead` says whether positions were sent before the
    /// request.
    pub(super) fn subscribe_one(
        &mut self,
        id: SessionId,
        topic: &TopicRequest,
        request: &Subscribe,
        ahead: bool,
        now: Micros,
    ) -> Result<Step, Refusal> {
        let pattern: Pattern = topic.topic().parse()?;
        let session = self.sessions.open(id).ok_or_else(closing)?;
        session.rights.check_subscribe(&pattern)?;
        check_since(&pattern, topic.since(), request.mode)?;
        let pace = match topic.from() {
            Some(_) => self.pace_from(&pattern, request)?,
            None => Pace::asked(request.mode, request.conflate_ms)?,
        };
        self.check_kind(&pattern, request.mode, pace)?;
        if request.mode == Some(Mode::Snapshot) {
            self.check_allowance(id, now)?;
            return match pattern.as_topic() {
                None => Ok(Step::Wide(Wide::one_shot(pattern))),
                Some(_) => self.one_shot(id, &pattern, now).map(Step::Done),
            };
        }
        let named = self.find(pattern.as_str()).map(|cell| cell.id());
        let most = self.subscriptions_max(id);
        let session = self.sessions.open(id).ok_or_else(closing)?;
        let limits = (most, &self.settings.session_limits);
        session.subscriptions.check_pattern(&pattern, named, limits)?;
        match pattern.as_topic() {
            None => {
                let resumes = (topic.since().is_some(), ahead);
                let wide = self.subscribe_wildcard(id, pattern, request, resumes, pace, now);
                wide.map(Step::Wide)
            }
            Some(single) => {
                let outset = Outset::of(topic);
                let answer = self.subscribe_topic(id, &single, &pattern, outset, pace, request.snapshot);
                answer.map(Step::Done)
            }
        }
    }

    /// Refuses conflation for `event` and `book` topics, because each of their messages counts.
    fn check_kind(&self, pattern: &Pattern, mode: Option<Mode>, pace: Pace) -> Result<(), Refusal> {
        if !wants_conflation(mode, pace) {
            return Ok(());
        }
        match self.directory.kind_of(&sample(pattern)) {
            Kind::State => Ok(()),
            kind => Err(not_conflated(pattern.as_str(), kind)),
        }
    }

    /// Sends the value of one topic, once.
    fn one_shot(&mut self, id: SessionId, pattern: &Pattern, now: Micros) -> Result<TopicAnswer, Refusal> {
        let cell = self.find_for(id, pattern.as_str());
        self.charge(id, 1, now);
        self.piece.visited += 1;
        let session = self.sessions.open(id).ok_or_else(closing)?;
        let (found, limits) = (usize::from(cell.is_some()), &self.settings.session_limits);
        session.subscriptions.check_one_shots(pattern, found, limits)?;
        if let Some(cell) = &cell {
            self.make_known(cell);
        }
        let mut it = self.session_mut(id).ok_or_else(closing)?;
        let in_order = cell.as_ref().is_some_and(|cell| it.await_value(cell));
        it.rounds.mark(it.session);
        let at = cell.map(|cell| it.standing(&cell).unwrap_or_else(|| cell.position()));
        let at = at.unwrap_or_else(|| self.directory.before_first(pattern.as_str()).0);
        let result = AckResult {
            topic: pattern.to_string(),
            mode: Some(Mode::Snapshot),
            epoch: Some(at.epoch),
            seq: Some(at.seq),
            ..AckResult::default()
        };
        Ok(TopicAnswer {
            in_order,
            ..TopicAnswer::new(result)
        })
    }

    fn subscribe_topic(
        &mut self,
        id: SessionId,
        topic: &Topic,
        pattern: &Pattern,
        outset: Outset<'_>,
        pace: Pace,
        snapshot: bool,
    ) -> Result<TopicAnswer, Refusal> {
        let session = self.sessions.open(id).ok_or_else(closing)?;
        let known = session.subscriptions.patterns.has(pattern);
        let mut cell = self.find_known(topic.as_str());
        let is_had = |shard: &Self, cell: Option<&Arc<TopicCell>>| {
            cell.is_some_and(|cell| shard.place_of(id, cell.id()).is_some())
        };
        let ending = self.ending(id, pattern);
        let mut flows = !ending.is_empty() || is_had(self, cell.as_ref());
        let at_head = matches!(outset, Outset::Head);
        if cell.is_none() && !known && (at_head || !flows) {
            cell = self.await_first(topic, pattern);
            flows |= is_had(self, cell.as_ref());
        }
        if !at_head && (known || flows) {
            let reason =
                "this connection has the topic already; \"since\" and \"from\" are for a new subscription";
            return Err(Refusal::bad_request(reason));
        }
        if known {
            if let Some(before) = self.switch_pace(id, pattern, pace) {
                for cell in ending.iter().chain(&cell) {
                    self.repace(id, cell, before, pace);
                }
            }
        } else {
            let indexed = cell.is_none();
            self.add_pattern(id, pattern, PatternSub { pace, indexed }, None);
            for ended in &ending {
                self.join(id, ended, Seq::ZERO, pace, false);
            }
        }
        let result = AckResult {
            topic: topic.to_string(),
            ..AckResult::default()
        };
        // A session that is behind in an ended topic has not come to its end yet: for it the topic goes on.
        let Some(current) = ending.first().or(cell.as_ref()).cloned() else {
            let pace = pace.on(self.directory.kind_of(topic.as_str()));
            return Ok(self.subscribe_unknown(id, outset, granted(result, pace)));
        };
        let cell = cell.filter(|_| !known);
        // This is the pace that this subscription asks for. If another one asks for more, that has precedence until it
        // ends.
        let result = granted(result, pace.on(current.kind()));
        if flows && let Some(cell) = &cell {
            if self.place_of(id, cell.id()).is_none() {
                let at = cell.attach(self.id);
                self.slots[cell.id()].learn(at.seq, &mut self.counts.ledger);
            }
            self.join(id, cell, Seq::ZERO, pace, false);
        }
        let mut it = self.session_mut(id).ok_or_else(closing)?;
        let answer = if flows {
            if snapshot {
                it.piece.repeats.push(current.id());
            }
            it.subscribe_again(&current, result)
        } else {
            it.subscribe_anew(&current, outset, (pace, snapshot), result)
        };
        if let Some(cell) = &cell {
            self.set_named(id, cell.id(), true);
        }
        Ok(answer)
    }

    /// The topic, if it exists, known to the shard.
    fn find_known(&mut self, topic: &str) -> Option<Arc<TopicCell>> {
        let cell = self.find(topic);
        if let Some(cell) = &cell {
            self.make_known(cell);
        }
        cell
    }

    /// Registers the interest in a topic that does not exist. If it was made meanwhile, returns it.
    fn await_first(&mut self, topic: &Topic, pattern: &Pattern) -> Option<Arc<TopicCell>> {
        self.directory.register(self.id, pattern);
        let cell = self.directory.find_settled(topic.as_str())?;
        self.directory.unregister(self.id, pattern);
        self.make_known(&cell);
        Some(cell)
    }

    /// The answer for a topic that does not exist: its subscription begins before the first message.
    fn subscribe_unknown(&mut self, id: SessionId, outset: Outset<'_>, result: AckResult) -> TopicAnswer {
        let at = self.tell_next(id, &result.topic);
        let recovered = match outset {
            Outset::Since(since) => Some(since.epoch == at.epoch && since.seq == at.seq),
            Outset::Head | Outset::From(..) => None,
        };
        let result = AckResult {
            recovered,
            epoch: Some(at.epoch),
            seq: Some(at.seq),
            ..result
        };
        match outset {
            Outset::From(..) => TopicAnswer::caught_up_already(result),
            Outset::Head | Outset::Since(_) => TopicAnswer::new(result),
        }
    }

    /// The position before the first message of a topic that does not exist. If the session has subscribed to its name,
    /// it is told this lineage.
    pub(super) fn tell_next(&mut self, id: SessionId, topic: &str) -> Attached {
        let (at, life) = self.directory.before_first(topic);
        if let Ok(name) = topic.parse::<Pattern>()
            && let Some(expecting) = self.expecting(id, &name)
        {
            expecting.told = Some(life);
        }
        at
    }
}

impl SessionMut<'_> {
    /// Waits for the value of a topic that the shard knows. Returns whether the topic is live already.
    pub(super) fn await_value(&mut self, cell: &Arc<TopicCell>) -> bool {
        let topic = cell.id();
        let flows = self.session.subscriptions.has(topic);
        if flows {
            // Its snapshot keeps its place among the topic's messages.
            self.piece.repeats.push(topic);
        } else {
            self.session.subscriptions.one_shot(cell);
        }
        flows
    }

    /// The answer for a topic that this connection gets already, by this name or by a wildcard.
    fn subscribe_again(&self, cell: &TopicCell, result: AckResult) -> TopicAnswer {
        let at = self.standing(cell).unwrap_or_else(|| cell.position());
        let result = AckResult {
            epoch: Some(at.epoch),
            seq: Some(at.seq),
            ..result
        };
        TopicAnswer {
            in_order: true,
            ..TopicAnswer::new(result)
        }
    }
}

/// The answer to a request of a session that ends.
pub(super) fn closing() -> Refusal {
    Refusal::new(ErrorCode::Internal, "the connection is closing")
}

/// A topic of `pattern`, in place of those that do not exist yet.
fn sample(pattern: &Pattern) -> String {
    pattern.as_str().replace(['*', '>'], "x")
}

/// Whether a request asks for conflation explicitly, not by the kind of its topics.
pub(super) fn wants_conflation(mode: Option<Mode>, pace: Pace) -> bool {
    mode == Some(Mode::Conflate) || pace.class().is_limited()
}

pub(super) fn not_conflated(topic: &str, kind: Kind) -> Refusal {
    let kind = kind.as_str();
    Refusal::bad_request(format!(
        "mode conflate: {topic} is of kind {kind}, whose messages all count"
    ))
}

/// `result` with the mode and the least time between two updates that were granted.
pub(super) fn granted(result: AckResult, pace: Pace) -> AckResult {
    AckResult {
        mode: Some(pace.mode()),
        conflate_ms: match pace {
            Pace::Every => None,
            Pace::Newest(class) => Some(class.ms()),
        },
        ..result
    }
}
