//! The expectations of one connection, message by message. They are computed from what was published and from when the
//! broker handled the client's requests.
//!
//! The client's own checks ([`tickwire_client::promise`]) know only what a client sees; the oracle knows everything. Of
//! the router's internals it only knows the sizes of the histories.

mod modes;
mod moments;
mod mortals;
mod place;
mod resuming;

use std::collections::{BTreeMap, BTreeSet};

use tickwire_wire::message::{AckResult, GapReason, Position};
use tickwire_wire::{ErrorCode, Kind, Mode};

use self::modes::told_mode;
pub(crate) use self::moments::From;
use self::moments::implied;
use self::mortals::Mortals;
use self::place::Place;
use self::resuming::Resuming;
use crate::broken::{Broken, Rule, ensure};
use crate::ledger::Got;
use crate::link::Handled;
use crate::topics::{self, MORTALS, NAMES};
use crate::truth::Truth;

/// The options with which a pattern is subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) mode: Option<Mode>,
    pub(crate) conflate_ms: Option<u32>,
    pub(crate) snapshot: bool,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Subscribe {
        /// Patterns, with the position to resume from.
        topics: Vec<(usize, Option<From>)>,
        wanted: Wanted,
    },
    /// The positions from which the next subscribe resumes the topics of its patterns.
    Positions(Vec<(usize, Position)>),
    Unsubscribe(Vec<usize>),
    Resync(usize),
    Publish(usize),
    /// A request that changes no subscription.
    Other,
}

type Heads = [u64; NAMES.len()];

/// A pattern or topic of a `subscribe` that was granted.
#[derive(Debug, Clone, Copy)]
struct Granted<'a> {
    id: u64,
    pattern: usize,
    from: Option<&'a From>,
    /// The positions that were sent ahead; `None` if no request did that.
    ahead: Option<&'a BTreeMap<usize, Position>>,
    wanted: Wanted,
    /// The newest numbers when the pattern or topic was handled.
    heads: &'a Heads,
    result: &'a AckResult,
}

/// The newest numbers when topic number `at` of a request was handled, which was done in `pieces`.
fn heads_at(pieces: &[Handled], at: usize) -> Option<&Heads> {
    let index = pieces.iter().position(|piece| at < piece.topics)?;
    let before = index.checked_sub(1).map_or(0, |before| pieces[before].topics);
    let first = pieces[index].first.as_ref().filter(|_| at == before);
    Some(first.unwrap_or(&pieces[index].heads))
}

/// The expectations of one connection.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Unanswered requests, with the pieces in which the broker handled them.
    asked: BTreeMap<u64, (Asked, Vec<Handled>)>,
    patterns: BTreeMap<usize, Wanted>,
    places: BTreeMap<usize, Place>,
    mortals: Mortals,
    /// Topics with a one-shot that was asked for, and the request that still owes one.
    shots: BTreeMap<usize, Option<u64>>,
    /// Positions that the broker keeps for the next subscribe, by request.
    ahead: BTreeMap<u64, Vec<(usize, Position)>>,
    /// Subscribes that were acked and whose `synced` has not come.
    syncing: BTreeMap<u64, Vec<Resuming>>,
    pub(crate) got: Got,
}

impl Oracle {
    /// A request is sent.
    pub(crate) fn ask(&mut self, id: u64, asked: Asked) {
        self.asked.insert(id, (asked, Vec::new()));
    }

    /// The broker handled a request, or another piece of it.
    pub(crate) fn handled(&mut self, handled: Handled) {
        if let Some((_, pieces)) = self.asked.get_mut(&handled.id) {
            pieces.push(handled);
        }
    }

    /// The subscriptions that were acked.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = (usize, Wanted)> {
        self.patterns.iter().map(|(pattern, wanted)| (*pattern, *wanted))
    }

    /// Whether `pattern` matches a topic whose one-shot was asked for by name and has not come.
    pub(crate) fn is_shooting(&self, pattern: usize) -> bool {
        let shot = |topic: usize| topics::matches(pattern, topic);
        let asked = self.asked.values().any(|(asked, _)| match asked {
            Asked::Subscribe { topics, wanted } if wanted.mode == Some(Mode::Snapshot) => topics
                .iter()
                .any(|(other, _)| !topics::is_wildcard(*other) && shot(*other)),
            _ => false,
        });
        asked
            || self
                .shots
                .iter()
                .any(|(topic, owed)| owed.is_some() && shot(*topic))
    }

    /// The topics, as bits, where only the newest message counts; none while an answer is due.
    pub(crate) fn newest_only(&self) -> u32 {
        if !self.asked.is_empty() {
            return 0;
        }
        // A topic may first have needed every message, been promised some, and then only the newest. Either may come.
        let promised = |topic: &usize| self.places.get(topic).is_some_and(Place::is_promised_more);
        let topics = (0..NAMES.len())
            .filter(|topic| self.covers(*topic) && !self.wants_every(*topic) && !promised(topic));
        topics.fold(0, |mask, topic| mask | 1 << topic)
    }

    /// Whether messages of a replay are still to come. The broker may have promised one whose `ack` waits for the client.
    pub(crate) fn is_promised_more(&self) -> bool {
        let resumes = |asked: &Asked| match asked {
            Asked::Subscribe { topics, .. } => topics.iter().any(|(_, from)| from.is_some()),
            _ => false,
        };
        self.places.values().any(Place::is_promised_more)
            || self.asked.values().any(|(asked, _)| resumes(asked))
    }

    /// Whether a subscription covers a topic.
    pub(crate) fn covers(&self, topic: usize) -> bool {
        self.patterns
            .keys()
            .any(|pattern| topics::matches(*pattern, topic))
    }

    /// Whether an unsubscribe that may end a topic is on its way, or its answer is.
    pub(crate) fn is_leaving(&self, topic: usize) -> bool {
        let leaves = |pattern: &usize| topics::matches(*pattern, topic);
        self.asked
            .values()
            .any(|(asked, _)| matches!(asked, Asked::Unsubscribe(patterns) if patterns.iter().any(leaves)))
    }

    /// Whether every message of a topic must come.
    pub(crate) fn wants_every(&self, topic: usize) -> bool {
        let asking = |(pattern, wanted): (&usize, &Wanted)| {
            wanted.mode == Some(Mode::Every) && topics::matches(*pattern, topic)
        };
        topics::kind(topic) != Kind::State || self.patterns.iter().any(asking)
    }

    /// Checks an `ack`.
    pub(crate) fn ack(&mut self, id: u64, results: &[AckResult], truth: &Truth) -> Result<(), Broken> {
        self.in_order(id)?;
        let Some((asked, pieces)) = self.asked.remove(&id) else {
            return Err(Broken::new(
                Rule::Answers,
                format!("request {id} was answered without being asked"),
            ));
        };
        let Some(Handled { heads, .. }) = pieces.last() else {
            let asked = matches!(asked, Asked::Other);
            return ensure(asked, Rule::Answers, || {
                format!("request {id} was answered before it was handled")
            });
        };
        match asked {
            Asked::Subscribe { topics, wanted } => {
                let ahead = self.sent_ahead(id);
                self.syncing.insert(id, Vec::new());
                for (((pattern, from), result), at) in topics.iter().zip(results).zip(0..) {
                    let heads = heads_at(&pieces, at).unwrap_or(heads);
                    if result.error.is_some() {
                        continue; // refused: nothing changed
                    }
                    if let Some(mortal) = topics::mortal_of(*pattern) {
                        self.mortal_granted(mortal, (*pattern, wanted), from.as_ref(), result)?;
                        continue;
                    }
                    if let Some(place) = self.places.get_mut(pattern) {
                        place.hinted |= !place.told; // by its name
                    }
                    let granted = Granted {
                        id,
                        pattern: *pattern,
                        from: from.as_ref(),
                        ahead: ahead.as_ref(),
                        wanted,
                        heads,
                        result,
                    };
                    if wanted.mode == Some(Mode::Snapshot) {
                        self.one_shot(&granted);
                    } else {
                        self.subscribed(&granted, truth)?;
                    }
                }
                Ok(())
            }
            Asked::Positions(mut positions) => {
                // A topic that does not exist has no position.
                positions.retain(|(topic, _)| heads[*topic] > 0);
                self.ahead.insert(id, positions);
                Ok(())
            }
            Asked::Unsubscribe(patterns) => self.unsubscribed(&patterns, results),
            Asked::Resync(topic) => {
                let seq = results.first().and_then(|result| result.seq).unwrap_or_default();
                self.flowed(topic, seq.0, true, heads, None)
            }
            Asked::Publish(topic) => {
                let first = pieces.last().and_then(|piece| piece.duplicate_of);
                let expected = Some((first.unwrap_or(heads[topic]), first.is_some()));
                let told = results.first();
                let told = told.and_then(|result| Some((result.seq?.0, result.duplicate)));
                ensure(told == expected, Rule::Answers, || {
                    let name = topics::name(topic);
                    format!(
                        "request {id} to {name} has this number and is a duplicate or not: {expected:?}, not {told:?}"
                    )
                })
            }
            Asked::Other => Ok(()),
        }
    }

    /// Checks the answer to a ping, or the refusal of a whole request.
    pub(crate) fn answered(&mut self, id: u64) -> Result<(), Broken> {
        self.in_order(id)?;
        self.asked.remove(&id);
        Ok(())
    }

    /// Checks that answers come in the order of the requests.
    fn in_order(&self, id: u64) -> Result<(), Broken> {
        let first = self.asked.first_key_value().map_or(id, |(first, _)| *first);
        ensure(id <= first, Rule::Answers, || {
            format!("the answer to request {id} came before that to {first}")
        })
    }

    fn subscribed(&mut self, granted: &Granted<'_>, truth: &Truth) -> Result<(), Broken> {
        let Granted {
            id,
            pattern,
            from,
            wanted,
            heads,
            result,
            ..
        } = *granted;
        let wanted = implied(from, wanted);
        let known = self.patterns.insert(pattern, wanted).is_some();
        let single = (!topics::is_wildcard(pattern)).then_some(pattern);
        let flows = known || single.is_some_and(|topic| heads[topic] > 0 && self.places.contains_key(&topic));
        let every: [bool; NAMES.len()] = std::array::from_fn(|topic| self.wants_every(topic));
        let mut new = BTreeSet::new();
        for topic in (0..NAMES.len()).filter(|topic| topics::matches(pattern, *topic)) {
            // From here on the subscription brings the topic's value.
            self.shots.entry(topic).and_modify(|owed| *owed = None);
            let begins = || {
                new.insert(topic);
                let mut place = Place::begin(truth, topic, heads[topic], wanted.snapshot && from.is_none());
                place.brought_by = Some(id);
                place
            };
            let place = self.places.entry(topic).or_insert_with(begins);
            if every[topic] {
                place.is_every();
            }
            // If the topic does not exist yet, its lineage is told when it does.
            place.told |= single.is_some() && heads[topic] > 0;
            place.hinted |= single.is_some();
        }
        ensure(told_mode(pattern, wanted, result), Rule::Subscriptions, || {
            let name = topics::pattern(pattern);
            format!(
                "{name} is granted as {:?} {:?} {:?}",
                result.mode, result.modes, result.conflate_ms
            )
        })?;
        let Some(topic) = single else {
            new.retain(|topic| heads[*topic] > 0);
            return self.pattern_begun(granted, known, &new, truth);
        };
        let name = topics::name(topic);
        ensure(
            result.epoch.as_ref() == Some(truth.epoch(topic)),
            Rule::Subscriptions,
            || format!("{name} is acked in epoch {:?}", result.epoch),
        )?;
        let seq = result.seq.unwrap_or_default().0;
        if from.is_none() && flows {
            return self.flowed(topic, seq, wanted.snapshot, heads, Some(id));
        }
        if let Some(From::Moment(moment)) = from {
            return self.replayed(granted, topic, *moment, truth);
        }
        ensure(seq == heads[topic], Rule::Subscriptions, || {
            format!("{name} is acked at {seq} when {} was the newest", heads[topic])
        })?;
        match from {
            Some(From::Topic(since)) => self.resumed(topic, since, result.recovered, heads[topic], truth),
            _ => ensure(result.recovered.is_none(), Rule::Resume, || {
                format!("{name}: recovered without having been asked")
            }),
        }
    }

    /// An ack came for a topic that flows already. `brought_by` is the request, if its `synced` will be told.
    fn flowed(
        &mut self,
        topic: usize,
        seq: u64,
        snapshot: bool,
        heads: &Heads,
        brought_by: Option<u64>,
    ) -> Result<(), Broken> {
        // The messages before the ack's position may have been dropped for an unsubscribe that is on its way.
        let leaving = self.is_leaving(topic);
        let name = topics::name(topic);
        let Some(place) = self.places.get_mut(&topic) else {
            return Err(Broken::new(
                Rule::Subscriptions,
                format!("{name} was acked and is not subscribed"),
            ));
        };
        let standing = place.standing();
        ensure(
            place.stands_at(seq) || leaving && seq >= standing,
            Rule::Subscriptions,
            || format!("{name}: the ack of {seq} does not keep its place behind {standing}"),
        )?;
        if place.is_complete() {
            place.brought_by = brought_by;
        }
        place.hinted |= !place.told;
        if snapshot && heads[topic] > 0 {
            place.ask_for_snapshot();
        }
        Ok(())
    }

    fn one_shot(&mut self, granted: &Granted<'_>) {
        let Granted {
            id, pattern, heads, ..
        } = *granted;
        for topic in (0..NAMES.len()).filter(|topic| heads[*topic] > 0 && topics::matches(pattern, *topic)) {
            if let Some(place) = self.places.get_mut(&topic) {
                if place.is_complete() {
                    place.brought_by = Some(id);
                }
                place.ask_for_snapshot();
            } else {
                self.shots.entry(topic).or_default().get_or_insert(id);
            }
        }
    }

    fn unsubscribed(&mut self, patterns: &[usize], results: &[AckResult]) -> Result<(), Broken> {
        for (pattern, result) in patterns.iter().zip(results) {
            let known = self.patterns.remove(pattern).is_some();
            let expected = (!known).then_some(ErrorCode::NotSubscribed);
            let got = result.error.as_ref().map(|refusal| refusal.code);
            ensure(got == expected, Rule::Subscriptions, || {
                format!(
                    "unsubscribing from {}: {got:?}, not {expected:?}",
                    topics::pattern(*pattern)
                )
            })?;
        }
        let left: Vec<usize> = self
            .places
            .keys()
            .copied()
            .filter(|topic| !self.covers(*topic))
            .collect();
        for topic in left {
            self.places.remove(&topic);
            self.shots.remove(&topic);
        }
        for mortal in 0..MORTALS.len() {
            if !self.covers_mortal(mortal) {
                self.mortals.leave(mortal);
            }
        }
        Ok(())
    }

    /// Checks an `update`.
    pub(crate) fn update(&mut self, topic: usize, seq: u64, data: &str, truth: &Truth) -> Result<(), Broken> {
        let every = self.wants_every(topic);
        let Some(place) = self.places.get_mut(&topic) else {
            let what = format!("{} {seq} came, which is not subscribed", topics::name(topic));
            return Err(Broken::new(Rule::Subscriptions, what));
        };
        place.decide(topic, true);
        self.got.delivered += 1;
        self.got.conflated += seq.saturating_sub(place.at + 1);
        place.update(topic, seq, data, every, truth)
    }

    /// Checks a `snapshot`.
    pub(crate) fn snapshot(
        &mut self,
        topic: usize,
        position: &Position,
        data: &str,
        truth: &Truth,
    ) -> Result<(), Broken> {
        let seq = position.seq.0;
        let name = topics::name(topic);
        ensure(position.epoch == *truth.epoch(topic), Rule::Resume, || {
            format!(
                "{name}: a snapshot of epoch {}, which is not that of the topic",
                position.epoch
            )
        })?;
        let book = place::check_snapshot(topic, position, data, truth)?;
        let asked = self.shots.get_mut(&topic).map(|owed| *owed = None).is_some();
        let Some(place) = self.places.get_mut(&topic) else {
            return ensure(asked, Rule::Subscriptions, || {
                format!("a snapshot of {name}, which is not subscribed")
            });
        };
        place.decide(topic, false);
        self.got.delivered += u64::from(seq > place.at);
        self.got.conflated += seq.saturating_sub(place.at + 1);
        place.snapshot(topic, seq, book, asked)
    }

    /// Checks a `gap`.
    pub(crate) fn gap(
        &mut self,
        topic: usize,
        (from, to): (u64, u64),
        reason: GapReason,
        truth: &Truth,
    ) -> Result<(), Broken> {
        if reason == GapReason::Slow {
            self.got.gapped += (to + 1).saturating_sub(from);
        }
        match self.places.get_mut(&topic) {
            Some(place) => {
                place.decide(topic, reason == GapReason::Slow);
                place.gap(topic, (from, to), reason, truth)
            }
            None => {
                let what = format!("a gap of {}, which is not subscribed", topics::name(topic));
                Err(Broken::new(Rule::Subscriptions, what))
            }
        }
    }

    /// Checks what must be true once everything is delivered and read.
    pub(crate) fn settled(&self, truth: &Truth) -> Result<(), Broken> {
        ensure(self.asked.is_empty(), Rule::Answers, || {
            format!("these requests were not answered: {:?}", self.asked.keys())
        })?;
        ensure(self.syncing.is_empty(), Rule::Synced, || {
            format!("these requests were not synced: {:?}", self.syncing.keys())
        })?;
        if let Some((topic, _)) = self.shots.iter().find(|(_, owed)| owed.is_some()) {
            let what = format!("the one snapshot of {} never came", topics::name(*topic));
            return Err(Broken::new(Rule::Subscriptions, what));
        }
        for mortal in (0..MORTALS.len()).filter(|mortal| self.covers_mortal(*mortal)) {
            self.mortals.settled(mortal, truth)?;
        }
        for (topic, place) in &self.places {
            place.settled(*topic, self.wants_every(*topic), truth)?;
        }
        Ok(())
    }
}
