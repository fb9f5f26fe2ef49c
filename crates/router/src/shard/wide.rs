//! A wildcard of a request. It is as much work as it matches topics, so its topics are found and handled a piece at a
//! time.
//!
//! First its topics are found, and each is made known to the shard. When all existing topics are found, it is decided
//! whether the session may have them; a refusal up to there leaves everything as it was. In the same step the pattern
//! is entered, changed or taken out. So a topic that is made later joins by the new state, and one that was found has
//! the old one. Then each topic that was found is handled.
//!
//! Looking for topics is work that a client causes with few bytes, so it is paid from the allowance for requests. If it
//! cannot be paid, the request is refused with `rate_limited`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tickwire_wire::message::{AckResult, Since, Subscribe};
use tickwire_wire::{Kind, Micros, Mode, Pattern, Refusal, Seq, Topic};

use super::Shard;
use super::piecewise::Step;
use super::requests::TopicAnswer;
use super::resume::Named;
use super::subscribe::{granted, not_conflated, wants_conflation};
use crate::cell::TopicCell;
use crate::directory::Search;
use crate::pace::Pace;
use crate::positions::{self, Places};
use crate::publication::TopicId;
use crate::session::{PatternSub, SessionId};
use crate::topic_set::TopicSet;

/// What the request asks for.
#[derive(Debug)]
enum Wish {
    /// A new subscription.
    Begin {
        pace: Pace,
        snapshot: bool,
        /// Positions that came with the pattern, for the topics that were found.
        own: Option<Places>,
    },
    /// Another pace for an existing subscription.
    Change { pace: Pace },
    /// The values of the topics, once.
    OneShot,
    /// The end of a subscription.
    Leave,
}

/// How far a wildcard has come.
#[derive(Debug)]
enum Stage {
    /// Topics are looked for.
    Finding(Search),
    /// The topics that were found are handled, from this index on. If the subscription changes or ends, this was its
    /// pace before.
    SeeingTo(usize, Pace),
}

/// A wildcard of the request under way.
#[derive(Debug)]
pub(super) struct Wide {
    pattern: Pattern,
    wish: Wish,
    stage: Stage,
    found: TopicSet,
    /// The number of ends that the shard had handled when the search began.
    ends: Option<u64>,
    /// The number of found topics that are new to the session.
    new: usize,
    kinds: BTreeSet<Kind>,
    /// Whether the request fits only topics of kind `state`. `unfit` is the first topic of another kind.
    conflates: bool,
    unfit: Option<TopicId>,
    in_order: bool,
    /// The number of topics that were resumed and that were not, if a resume was asked for.
    resumed: Option<(usize, usize)>,
}

impl Wide {
    fn new(pattern: Pattern, wish: Wish) -> Self {
        Self {
            pattern,
            wish,
            stage: Stage::Finding(Search::default()),
            found: TopicSet::default(),
            ends: None,
            new: 0,
            kinds: BTreeSet::new(),
            conflates: false,
            unfit: None,
            in_order: false,
            resumed: None,
        }
    }

    /// A wildcard that asks for the values of its topics, once.
    pub(super) fn one_shot(pattern: Pattern) -> Self {
        Self::new(pattern, Wish::OneShot)
    }

    /// A wildcard that ends the session's subscription to the pattern.
    pub(super) fn unsubscribe(pattern: Pattern) -> Self {
        Self::new(pattern, Wish::Leave)
    }

    /// The first topic that is still to be handled. `None` while topics are looked for.
    pub(super) fn seen_to(&self) -> Option<TopicId> {
        match self.stage {
            Stage::Finding(_) => None,
            Stage::SeeingTo(from, _) => u32::try_from(from).ok().map(TopicId),
        }
    }

    /// The bytes that it holds beside itself.
    pub(super) fn memory_bytes(&self) -> usize {
        let own = match &self.wish {
            Wish::Begin { own, .. } => own.as_ref().map_or(0, positions::memory_bytes),
            Wish::Change { .. } | Wish::OneShot | Wish::Leave => 0,
        };
        self.pattern.as_str().len() + self.found.memory_bytes() + own
    }

    fn is_leaving(&self) -> bool {
        matches!(self.wish, Wish::Leave)
    }

    /// Whether the directory knows the pattern and the shard does not yet.
    fn is_registered_alone(&self) -> bool {
        matches!((&self.wish, &self.stage), (Wish::Begin { .. }, Stage::Finding(_)))
    }
}

impl Shard {
    /// Begins to subscribe to a wildcard. Positions may come with it (`own`) or may have been sent before it (`ahead`).
    pub(super) fn subscribe_wildcard(
        &mut self,
        id: SessionId,
        pattern: Pattern,
        request: &Subscribe,
        (own, ahead): (bool, bool),
        pace: Pace,
        now: Micros,
    ) -> Result<Wide, Refusal> {
        let known = self
            .sessions
            .open(id)
            .is_some_and(|session| session.subscriptions.patterns.has(&pattern));
        if known && own {
            let reason = "this connection has the pattern already; \"since\" is for a new subscription";
            return Err(Refusal::bad_request(reason));
        }
        self.check_allowance(id, now)?;
        let resumes = !known && (own || ahead);
        let wish = if known {
            Wish::Change { pace }
        } else {
            self.directory.register(self.id, &pattern);
            Wish::Begin {
                pace,
                snapshot: request.snapshot,
                own: None,
            }
        };
        Ok(Wide {
            conflates: wants_conflation(request.mode, pace),
            // The mode of a live topic may change: its waiting messages were chosen by the old mode.
            in_order: known,
            resumed: resumes.then_some((0, 0)),
            ..Wide::new(pattern, wish)
        })
    }

    /// Does a piece of a wildcard, with up to about `most` looks at topics. It resumes from the positions `since` and
    /// `ahead`.
    pub(super) fn go_on_wide(
        &mut self,
        id: SessionId,
        mut wide: Wide,
        (since, ahead): (Option<&Since>, Option<&Places>),
        most: usize,
        now: Micros,
    ) -> Result<Step, Refusal> {
        let is_done = match &mut wide.stage {
            Stage::Finding(_) => {
                match self.find_wide(id, &mut wide, most, now) {
                    Ok(true) => {
                        if let Wish::Begin { own, .. } = &mut wide.wish {
                            // Positions are resolved only now: a topic that was made meanwhile has one, too.
                            *own = self.places_of(id, since, now);
                        }
                        let before = self.enter_wide(id, &mut wide);
                        wide.stage = Stage::SeeingTo(0, before);
                    }
                    Ok(false) => {}
                    Err(refusal) => {
                        self.abandon_wide(&wide);
                        return Err(refusal);
                    }
                }
                false
            }
            Stage::SeeingTo(..) => self.see_to_wide(id, &mut wide, ahead, most),
        };
        Ok(if is_done {
            Step::Done(self.answer_wide(wide))
        } else {
            Step::Wide(wide)
        })
    }

    /// Takes back what an abandoned wildcard has left behind.
    pub(super) fn abandon_wide(&self, wide: &Wide) {
        if wide.is_registered_alone() {
            self.directory.unregister(self.id, &wide.pattern);
        }
    }

    /// Finds topics of a wildcard. Returns whether all were found and the session may have them.
    fn find_wide(
        &mut self,
        id: SessionId,
        wide: &mut Wide,
        most: usize,
        now: Micros,
    ) -> Result<bool, Refusal> {
        let Stage::Finding(search) = &mut wide.stage else {
            return Ok(true);
        };
        wide.ends.get_or_insert(self.ends);
        let mut unknown = Vec::new();
        let (found, kinds, unfit) = (&mut wide.found, &mut wide.kinds, &mut wide.unfit);
        let (session, slots) = (self.sessions.get(id), &self.slots);
        let (mut new, conflates) = (0, wide.conflates);
        let (visited, is_all) = self.directory.search(&wide.pattern, search, most, |cell| {
            let topic = cell.id();
            if !found.insert(topic) {
                return;
            }
            kinds.insert(cell.kind());
            if conflates && cell.kind() != Kind::State {
                *unfit = Some(unfit.map_or(topic, |first| first.min(topic)));
            }
            new += usize::from(session.is_some_and(|session| !session.subscriptions.has(topic)));
            if slots.get(topic).is_none() {
                unknown.push(cell.clone());
            }
        });
        wide.new += new;
        for cell in &unknown {
            let had = self.place_of(id, cell.id()).is_some();
            self.make_known(cell);
            // The session has the topic by another pattern.
            wide.new -= usize::from(!had && self.place_of(id, cell.id()).is_some());
        }
        self.charge(id, visited, now);
        self.piece.visited += visited;
        let Some(session) = self.sessions.get(id) else {
            return Ok(is_all);
        };
        let (pattern, found, limits) = (&wide.pattern, wide.found.len(), &self.settings.session_limits);
        match wide.wish {
            Wish::Begin { .. } if is_all || found > limits.topics => {
                self.check_fit(wide)?;
                session
                    .subscriptions
                    .check_topics(pattern, found, wide.new, limits)?;
            }
            Wish::Change { .. } if is_all => self.check_fit(wide)?,
            Wish::OneShot => session.subscriptions.check_one_shots(pattern, found, limits)?,
            Wish::Begin { .. } | Wish::Change { .. } | Wish::Leave => {}
        }
        Ok(is_all)
    }

    /// Checks that all topics that were found fit the request.
    fn check_fit(&self, wide: &Wide) -> Result<(), Refusal> {
        let other = wide.unfit.and_then(|topic| self.directory.get(topic));
        match other {
            Some(cell) => Err(not_conflated(cell.topic().as_str(), cell.kind())),
            None => Ok(()),
        }
    }

    /// Enters, changes or takes out the pattern of a wildcard whose topics were found. Returns its pace before. Topics that
    /// have ended were not found. If the session is behind in them, the change concerns them, too.
    fn enter_wide(&mut self, id: SessionId, wide: &mut Wide) -> Pace {
        // No topic that ended before the pattern was entered joins by it.
        self.handle_ends();
        if wide.ends != Some(self.ends) {
            let is_there = |topic| self.slots.get(topic).is_some_and(|slot| slot.ended.is_none());
            wide.found.retain(is_there);
        }
        let ending = self.ending(id, &wide.pattern);
        self.piece.visited += ending.len();
        let before = self.enter_wide_pattern(id, wide);
        for cell in ending {
            match wide.wish {
                Wish::Begin { pace, .. } => {
                    // Its waiting messages were chosen by the mode before.
                    wide.in_order = true;
                    self.join(id, &cell, Seq::ZERO, pace, false);
                }
                Wish::Change { pace } => self.repace(id, &cell, before, pace),
                Wish::OneShot => {}
                Wish::Leave => {
                    if self.leave(id, &cell, before) {
                        self.piece.left.push(cell.id());
                    }
                    self.leave_next_life(id, wide, cell.topic(), before);
                }
            }
        }
        if wide.is_leaving() {
            for (topic, name) in self.ends_left(id, &wide.pattern) {
                self.piece.left.push(topic);
                self.leave_next_life(id, wide, &name, before);
            }
        }
        before
    }

    /// Leaves the life that a topic has now, together with an earlier one: else the client could hear of it, and not of the end
    /// before.
    fn leave_next_life(&mut self, id: SessionId, wide: &mut Wide, name: &Topic, before: Pace) {
        let next = self.directory.find(name.as_str());
        if let Some(cell) = next.filter(|cell| wide.found.has(cell.id())) {
            wide.found.retain(|topic| topic != cell.id());
            if self.leave(id, &cell, before) {
                self.piece.left.push(cell.id());
            }
        }
    }

    fn enter_wide_pattern(&mut self, id: SessionId, wide: &Wide) -> Pace {
        match wide.wish {
            Wish::Begin { pace, .. } => {
                let sub = PatternSub { pace, indexed: true };
                self.add_pattern(id, &wide.pattern, sub, None);
                if let Some(session) = self.sessions.open(id) {
                    session.subscriptions.reserve(wide.new);
                }
                pace
            }
            Wish::Change { pace } => self.switch_pace(id, &wide.pattern, pace).unwrap_or(pace),
            Wish::OneShot => Pace::Every,
            Wish::Leave => {
                let removed = self.take_pattern(id, &wide.pattern);
                removed.map_or(Pace::Every, |removed| removed.pace)
            }
        }
    }

    /// Handles topics of a wildcard, at least one. Returns whether all are handled.
    fn see_to_wide(&mut self, id: SessionId, wide: &mut Wide, ahead: Option<&Places>, most: usize) -> bool {
        let Stage::SeeingTo(mut from, before) = wide.stage else {
            return false;
        };
        let until = self.piece.spent().saturating_add(most.max(1));
        let mut next = wide.found.next(from);
        while let Some(topic) = next
            && self.piece.spent() < until
        {
            from = topic.index() + 1;
            self.piece.seen_to += 1;
            if let Some(slot) = self.slots.get(topic) {
                let cell = slot.cell.clone();
                self.see_to(id, wide, &cell, before, ahead);
            }
            next = wide.found.next(from);
        }
        wide.stage = Stage::SeeingTo(from, before);
        if next.is_none()
            && matches!(wide.wish, Wish::OneShot)
            && let Some(session) = self.sessions.get_mut(id)
        {
            self.rounds.mark(session);
        }
        next.is_none()
    }

    /// Handles one topic of a wildcard as the request asks.
    fn see_to(
        &mut self,
        id: SessionId,
        wide: &mut Wide,
        cell: &Arc<TopicCell>,
        before: Pace,
        ahead: Option<&Places>,
    ) {
        let topic = cell.id();
        let Some(mut it) = self.session_mut(id) else {
            return;
        };
        match &wide.wish {
            Wish::Begin { pace, .. } if it.session.subscriptions.has(topic) => {
                wide.in_order = true;
                self.join(id, cell, Seq::ZERO, *pace, false);
            }
            Wish::Begin { pace, snapshot, own } => {
                let reserved = &mut it.session.subscriptions.reserved;
                *reserved = reserved.saturating_sub(1);
                if it.slots[topic].ended.is_some() {
                    return; // it has ended since it was found
                }
                let mut given = [own.as_ref(), ahead].into_iter().flatten();
                let left_at = given.find_map(|places| places.get(&topic).copied());
                let begun = it.begin(cell, left_at, (*pace, *snapshot), Named::ByPattern);
                if let Some((resumed, not_resumed)) = &mut wide.resumed {
                    *resumed += usize::from(begun.recovered);
                    *not_resumed += usize::from(!begun.recovered);
                }
            }
            Wish::Change { pace } => self.repace(id, cell, before, *pace),
            Wish::OneShot => wide.in_order |= it.await_value(cell),
            Wish::Leave => {
                if self.leave(id, cell, before) {
                    self.piece.left.push(topic);
                }
            }
        }
    }

    /// The answer to a wildcard that is done.
    fn answer_wide(&self, wide: Wide) -> TopicAnswer {
        let result = AckResult {
            topic: wide.pattern.to_string(),
            matched: Some(wide.found.len()),
            resumed: wide.resumed.map(|(resumed, _)| resumed),
            not_resumed: wide.resumed.map(|(_, not_resumed)| not_resumed),
            ..AckResult::default()
        };
        let result = match wide.wish {
            Wish::Begin { pace, .. } | Wish::Change { pace } => {
                self.granted_to_all(result, &wide.pattern, pace, wide.kinds)
            }
            Wish::OneShot => AckResult {
                mode: Some(Mode::Snapshot),
                ..result
            },
            Wish::Leave => AckResult {
                matched: None,
                ..result
            },
        };
        TopicAnswer {
            in_order: wide.in_order,
            ..TopicAnswer::new(result)
        }
    }

    /// `result` with the pace that was granted on the topics of a wildcard, of `kinds`, and on those that may appear.
    fn granted_to_all(
        &self,
        result: AckResult,
        pattern: &Pattern,
        pace: Pace,
        mut kinds: BTreeSet<Kind>,
    ) -> AckResult {
        kinds.extend(self.directory.kinds_of_pattern(pattern));
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
}
