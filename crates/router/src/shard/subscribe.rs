//! `subscribe`: who may have what, and what is sent first. Where a subscription begins is seen to in [`super::resume`].
//!
//! A refused topic leaves everything as it was. Looking for the topics of a wildcard is work that a client causes with
//! few bytes, so it is paid from the allowance for requests; what cannot be paid is refused with `rate_limited`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tickwire_wire::error::ErrorCode;
use tickwire_wire::message::{AckResult, Position, Subscribe, TopicRequest};
use tickwire_wire::{Kind, Micros, Mode, Pattern, Refusal, Seq, Topic};

use super::requests::Answer;
use super::resume::{Named, Places, check_since};
use super::{First, Shard};
use crate::cell::{Attached, TopicCell};
use crate::directory::Matching;
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

    pub(super) fn subscribe_one(
        &mut self,
        id: SessionId,
        topic: &TopicRequest,
        request: &Subscribe,
        ahead: Option<&Places>,
        now: Micros,
    ) -> Result<Answer, Refusal> {
        let pattern: Pattern = topic.topic().parse()?;
        self.check_subscribe(id, &pattern)?;
        check_since(&pattern, topic.since(), request.mode)?;
        let pace = Pace::asked(request.mode, request.conflate_ms)?;
        self.check_kind(&pattern, request.mode, pace)?;
        if request.mode == Some(Mode::Snapshot) {
            return self.one_shot(id, &pattern, now);
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
                let own = self.places_of(id, topic.since(), now);
                self.subscribe_wildcard(id, &pattern, request, [own.as_ref(), ahead], pace, now)
            }
            Some(single) => {
                self.subscribe_topic(id, &single, &pattern, topic.position(), pace, request.snapshot)
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

    /// The topics of a wildcard, which cost the session some of its allowance.
    fn select(&mut self, id: SessionId, pattern: &Pattern, now: Micros) -> Result<Matching, Refusal> {
        self.check_allowance(id, now)?;
        let wanted = self.topics_wanted(id, pattern);
        let matching = self.directory.select(pattern, wanted);
        self.charge(id, matching.visited, now);
        if let Some(piece) = &mut self.piece {
            piece.visited += matching.visited;
        }
        Ok(matching)
    }

    fn one_shot(&mut self, id: SessionId, pattern: &Pattern, now: Micros) -> Result<Answer, Refusal> {
        let cells = self.select(id, pattern, now)?.cells;
        self.check_one_shots(id, pattern, cells.len())?;
        let mut in_order = false;
        for cell in &cells {
            let topic = cell.id();
            self.meet(cell);
            if self.place_of(id, topic).is_some() {
                // Of a topic that flows, the snapshot keeps its place among the topic's messages.
                in_order = true;
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
        }
        self.mark_dirty(id);
        let mut result = AckResult {
            topic: pattern.to_string(),
            mode: Some(Mode::Snapshot),
            ..AckResult::default()
        };
        if pattern.is_wildcard() {
            result.matched = Some(cells.len());
        } else {
            let at = match cells.first() {
                Some(cell) => self.standing(id, cell).unwrap_or_else(|| cell.position()),
                None => self.directory.before_first(),
            };
            (result.epoch, result.seq) = (Some(at.epoch), Some(at.seq));
        }
        Ok(Answer {
            in_order,
            ..Answer::new(result)
        })
    }

    fn subscribe_wildcard(
        &mut self,
        id: SessionId,
        pattern: &Pattern,
        request: &Subscribe,
        places: [Option<&Places>; 2],
        pace: Pace,
        now: Micros,
    ) -> Result<Answer, Refusal> {
        let known = self
            .open_session(id)
            .is_some_and(|session| session.patterns.contains_key(pattern));
        if known && places[0].is_some() {
            let reason = "this connection has the pattern already; \"since\" is for a new subscription";
            return Err(Refusal::bad_request(reason));
        }
        if !known {
            self.directory.register(self.id, pattern);
        }
        let cells = match self
            .select(id, pattern, now)
            .and_then(|matching| all_fit(matching, request.mode, pace))
            .and_then(|cells| self.check_topics(id, pattern, &cells).map(|()| cells))
        {
            Ok(cells) => cells,
            Err(refusal) => {
                if !known {
                    self.directory.unregister(self.id, pattern);
                }
                return Err(refusal);
            }
        };
        // The mode of a topic that flows may change: what waits of it was chosen by the old one.
        let mut in_order = known;
        let resumes = !known && places.iter().any(Option::is_some);
        let mut resumed = resumes.then_some((0, 0));
        if known {
            self.change_pace(id, pattern, pace, &cells);
        } else {
            for cell in &cells {
                self.meet(cell);
                if self.place_of(id, cell.id()).is_some() {
                    in_order = true;
                    self.join(id, cell, Seq::ZERO, pace, false);
                    continue;
                }
                let mut given = places.iter().flatten();
                let left_at = given.find_map(|places| places.get(&cell.id()).copied());
                let begun = self.begin(id, cell, left_at, (pace, request.snapshot), Named::ByPattern);
                if let Some((resumed, not_resumed)) = &mut resumed {
                    *resumed += usize::from(begun.recovered);
                    *not_resumed += usize::from(!begun.recovered);
                }
            }
            self.add_pattern(id, pattern, PatternSub { pace, indexed: true });
        }
        let result = AckResult {
            topic: pattern.to_string(),
            matched: Some(cells.len()),
            resumed: resumed.map(|(resumed, _)| resumed),
            not_resumed: resumed.map(|(_, not_resumed)| not_resumed),
            ..AckResult::default()
        };
        Ok(Answer {
            in_order,
            ..Answer::new(self.granted_to_all(result, pattern, pace, &cells))
        })
    }

    /// `result` with what was granted on the topics of a wildcard: those that exist and those that may come.
    fn granted_to_all(
        &self,
        result: AckResult,
        pattern: &Pattern,
        pace: Pace,
        cells: &[Arc<TopicCell>],
    ) -> AckResult {
        let possible = self.directory.kinds_of_pattern(pattern);
        let kinds: BTreeSet<Kind> = possible
            .into_iter()
            .chain(cells.iter().map(|cell| cell.kind()))
            .collect();
        let modes: BTreeMap<Kind, Mode> = kinds.iter().map(|kind| (*kind, pace.on(*kind).mode())).collect();
        match modes.values().collect::<BTreeSet<_>>().len() {
            0 | 1 => granted(result, kinds.first().map_or(pace, |kind| pace.on(*kind))),
            _ => AckResult {
                modes: Some(modes),
                mode: None,
                ..granted(result, pace)
            },
        }
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
            self.change_pace(id, pattern, pace, cell.as_slice());
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
        let at = self.directory.before_first();
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
fn wants_conflation(mode: Option<Mode>, pace: Pace) -> bool {
    mode == Some(Mode::Conflate) || pace.class().is_limited()
}

/// The topics of a wildcard, unless one of them does not go with what is asked for.
fn all_fit(matching: Matching, mode: Option<Mode>, pace: Pace) -> Result<Vec<Arc<TopicCell>>, Refusal> {
    let mut cells = matching.cells.iter();
    let other = cells.find(|cell| wants_conflation(mode, pace) && cell.kind() != Kind::State);
    match other {
        Some(cell) => Err(not_conflated(cell.topic().as_str(), cell.kind())),
        None => Ok(matching.cells),
    }
}

fn not_conflated(topic: &str, kind: Kind) -> Refusal {
    let kind = kind.as_str();
    Refusal::bad_request(format!(
        "mode conflate: {topic} is of kind {kind}, whose messages all count"
    ))
}

/// `result` with the mode and the least time between two updates that were granted.
fn granted(result: AckResult, pace: Pace) -> AckResult {
    AckResult {
        mode: Some(pace.mode()),
        conflate_ms: match pace {
            Pace::Every => None,
            Pace::Newest(class) => Some(class.ms()),
        },
        ..result
    }
}
