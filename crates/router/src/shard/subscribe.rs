//! `subscribe`: who may have what, and what is sent first. Where a subscription begins is seen to in [`super::resume`], a wildcard
//! in [`super::wide`].
//!
//! A refused topic leaves everything as it was.

use tickwire_wire::error::ErrorCode;
use tickwire_wire::message::{AckResult, Position, Subscribe, TopicRequest};
use tickwire_wire::{Kind, Micros, Mode, Pattern, Refusal, Seq, Topic};

use super::piecewise::Step;
use super::requests::Answer;
use super::resume::check_since;
use super::wide::Wide;
use super::{First, Shard};
use crate::cell::{Attached, TopicCell};
use crate::pace::Pace;
use crate::publication::TopicId;
use crate::session::{PatternSub, Place, SessionId};

impl Shard {
    /// Whether a request may name so many topics.
    pub(super) fn check_length(&self, topics: usize) -> Result<(), Refusal> {
        let most = self.settings.limits.subscriptions;
        if topics == 0 {
            return Err(Refusal::bad_request("\"topics\" is empty"));
        }
        if topics > most {
            let reason = format!("{topics} topics in one request; a connection has at most {most}");
            return Err(Refusal::new(ErrorCode::LimitExceeded, reason));
        }
        Ok(())
    }

    /// Subscribes to one name of a request, of a wildcard begins with it. `ahead` is whether positions were sent ahead.
    pub(super) fn subscribe_one(
        &mut self,
        id: SessionId,
        topic: &TopicRequest,
        request: &Subscribe,
        ahead: bool,
        now: Micros,
    ) -> Result<Step, Refusal> {
        let pattern: Pattern = topic.topic().parse()?;
        self.check_subscribe(id, &pattern)?;
        check_since(&pattern, topic.since(), request.mode)?;
        let pace = Pace::asked(request.mode, request.conflate_ms)?;
        self.check_kind(&pattern, request.mode, pace)?;
        if request.mode == Some(Mode::Snapshot) {
            self.check_allowance(id, now)?;
            return match pattern.as_topic() {
                None => Ok(Step::Wide(Wide::one_shot(pattern))),
                Some(_) => self.one_shot(id, &pattern, now).map(Step::Done),
            };
        }
        let most = self.settings.limits.subscriptions;
        let Some(session) = self.open_session(id) else {
            return Err(Refusal::new(ErrorCode::Internal, "the connection is closing"));
        };
        if session.patterns.len() >= most && !session.patterns.contains_key(&pattern) {
            let reason = format!("the connection has its most subscriptions, {most}");
            return Err(Refusal::new(ErrorCode::LimitExceeded, reason));
        }
        self.check_caps(id, &pattern)?;
        match pattern.as_topic() {
            None => {
                let resumes = (topic.since().is_some(), ahead);
                let wide = self.subscribe_wildcard(id, pattern, request, resumes, pace, now);
                wide.map(Step::Wide)
            }
            Some(single) => {
                let since = topic.position();
                let answer = self.subscribe_topic(id, &single, &pattern, since, pace, request.snapshot);
                answer.map(Step::Done)
            }
        }
    }

    /// `event` and `book` topics cannot be conflated: each of their messages counts.
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
    fn one_shot(&mut self, id: SessionId, pattern: &Pattern, now: Micros) -> Result<Answer, Refusal> {
        let cell = self.directory.find(pattern.as_str());
        self.charge(id, 1, now);
        if let Some(piece) = &mut self.piece {
            piece.visited += 1;
        }
        self.check_one_shots(id, pattern, usize::from(cell.is_some()))?;
        let in_order = cell.as_ref().is_some_and(|cell| {
            self.meet(cell);
            self.shoot(id, cell.id())
        });
        self.mark_dirty(id);
        let at = match cell {
            Some(cell) => self.standing(id, &cell).unwrap_or_else(|| cell.position()),
            None => self.directory.before_first(pattern.as_str()),
        };
        let result = AckResult {
            topic: pattern.to_string(),
            mode: Some(Mode::Snapshot),
            epoch: Some(at.epoch),
            seq: Some(at.seq),
            ..AckResult::default()
        };
        Ok(Answer {
            in_order,
            ..Answer::new(result)
        })
    }

    /// Lets a session wait for the value of a topic that was met. Returns whether the topic flows already.
    pub(super) fn shoot(&mut self, id: SessionId, topic: TopicId) -> bool {
        let flows = self.place_of(id, topic).is_some();
        if flows {
            // Its snapshot keeps its place among the topic's messages.
            if let Some(piece) = &mut self.piece {
                piece.repeats.push(topic);
            }
        } else if let Some(session) = self.open_session(id) {
            if !session.one_shots.contains_key(&topic) {
                session.pulls.shoot_later(topic);
            }
            let awaited = session.one_shots.entry(topic).or_default();
            session.syncs.bring(awaited);
        }
        flows
    }

    /// Sends a subscription's topic's current value before anything else of it, if it has one.
    pub(super) fn send_snapshot(&mut self, id: SessionId, cell: &TopicCell) {
        let topic = cell.id();
        let Some(place) = self.place_of(id, topic) else {
            return;
        };
        let subscriber = self.slots[topic.index()].at_mut(place);
        if cell.position().seq > Seq::ZERO {
            if subscriber.opening.first() == First::Nothing {
                subscriber.opening.set_first(First::Snapshot);
            }
            self.catch_up(id, topic, place);
            self.brings(id, topic);
        }
    }

    /// How far a session has come in a topic that it is subscribed to.
    pub(super) fn standing(&self, id: SessionId, cell: &TopicCell) -> Option<Attached> {
        let place = self.place_of(id, cell.id())?;
        Some(Attached {
            epoch: cell.position().epoch,
            seq: self.slots[cell.id().index()].at(place).after,
        })
    }

    /// Puts a subscription on the way to the head of its topic.
    pub(super) fn catch_up(&mut self, id: SessionId, topic: TopicId, place: Place) {
        let subscriber = self.slots[topic.index()].at_mut(place);
        let every = subscriber.every;
        if !std::mem::replace(&mut subscriber.behind, true)
            && let Some(session) = self.open_session(id)
        {
            session.pulls.follow_later(topic, every);
            self.mark_dirty(id);
        }
    }

    fn subscribe_topic(
        &mut self,
        id: SessionId,
        topic: &Topic,
        pattern: &Pattern,
        since: Option<&Position>,
        pace: Pace,
        snapshot: bool,
    ) -> Result<Answer, Refusal> {
        let known = self
            .open_session(id)
            .is_some_and(|session| session.patterns.contains_key(pattern));
        let mut cell = self.directory.find(topic.as_str());
        if cell.is_none() && !known {
            self.directory.register(self.id, pattern);
            cell = self.directory.find_settled(topic.as_str());
            if cell.is_some() {
                self.directory.unregister(self.id, pattern);
            }
        }
        if let Some(cell) = &cell {
            self.meet(cell);
        }
        let flows = cell
            .as_ref()
            .is_some_and(|cell| self.place_of(id, cell.id()).is_some());
        if since.is_some() && (known || flows) {
            let reason = "this connection has the topic already; \"since\" is for a new subscription";
            return Err(Refusal::bad_request(reason));
        }
        if known {
            let before = self.switch_pace(id, pattern, pace);
            if let (Some(before), Some(cell)) = (before, &cell) {
                self.repace(id, cell, before, pace);
            }
        } else {
            let indexed = cell.is_none();
            self.add_pattern(id, pattern, PatternSub { pace, indexed });
        }
        let result = AckResult {
            topic: topic.to_string(),
            ..AckResult::default()
        };
        let Some(cell) = cell else {
            let pace = pace.on(self.directory.kind_of(topic.as_str()));
            return Ok(Answer::new(granted(self.subscribe_unknown(since, result), pace)));
        };
        // What this subscription asks for; another one that asks for more may go before it ends.
        let result = granted(result, pace.on(cell.kind()));
        if !flows {
            return Ok(self.subscribe_anew(id, &cell, since, (pace, snapshot), result));
        }
        if !known {
            self.join(id, &cell, Seq::ZERO, pace, false);
        }
        if snapshot && let Some(piece) = &mut self.piece {
            piece.repeats.push(cell.id());
        }
        Ok(self.subscribe_again(id, &cell, result))
    }

    /// A topic that does not exist yet: its subscription begins before the first message.
    fn subscribe_unknown(&self, since: Option<&Position>, result: AckResult) -> AckResult {
        let at = self.directory.before_first(&result.topic);
        AckResult {
            recovered: since.map(|since| since.epoch == at.epoch && since.seq == at.seq),
            epoch: Some(at.epoch),
            seq: Some(at.seq),
            ..result
        }
    }

    /// A topic that this connection gets already, by this name or by a wildcard.
    fn subscribe_again(&self, id: SessionId, cell: &TopicCell, result: AckResult) -> Answer {
        let at = self.standing(id, cell).unwrap_or_else(|| cell.position());
        let result = AckResult {
            epoch: Some(at.epoch),
            seq: Some(at.seq),
            ..result
        };
        Answer {
            in_order: true,
            ..Answer::new(result)
        }
    }
}

/// Any topic of `pattern`: it stands for those that do not exist yet.
fn sample(pattern: &Pattern) -> String {
    pattern.as_str().replace(['*', '>'], "x")
}

/// Whether a request asks for topics to be conflated, and not as their kind has it.
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
