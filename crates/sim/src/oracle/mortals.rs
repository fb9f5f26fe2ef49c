//! The expectations of topics that end and are made again: the messages of a life in their order, then its end, once,
//! and only then the next life.
//!
//! They are apart from the others, which never end, and looser: what a request brings, when, and what is resumed is
//! checked of those.

use tickwire_wire::message::{AckResult, GapReason};
use tickwire_wire::{Control, Epoch, Kind, ServerMessage};

use super::{Asked, From, Oracle, Wanted};
use crate::broken::{Broken, Rule, ensure};
use crate::ledger::Got;
use crate::topics::{self, MORTALS};
use crate::truth::Truth;

/// What a client knows of a topic.
#[derive(Debug, Default)]
struct Place {
    /// The epoch of the life that it is in, if it was told one.
    epoch: Option<Epoch>,
    at: u64,
    /// Whether the life before has ended, and nothing has told of the next one.
    has_ended: bool,
}

/// The expectations of one connection.
#[derive(Debug, Default)]
pub(crate) struct Mortals([Place; MORTALS.len()]);

impl Mortals {
    /// Forgets a topic that the client has left.
    pub(super) fn leave(&mut self, mortal: usize) {
        self.0[mortal] = Place::default();
    }

    /// Checks an `update`.
    pub(crate) fn update(
        &mut self,
        mortal: usize,
        seq: u64,
        data: &str,
        truth: &Truth,
        got: &mut Got,
    ) -> Result<(), Broken> {
        let (name, kind) = MORTALS[mortal];
        let place = &mut self.0[mortal];
        let told = place.epoch.as_ref();
        let told = told.ok_or_else(|| broken(format!("{name} {seq} came, and no lineage was told")))?;
        truth.check_mortal(mortal, told, seq, data)?;
        let is_next = if kind == Kind::Event {
            seq == place.at + 1
        } else {
            seq > place.at
        };
        ensure(is_next, Rule::Order, || format!("{name} {seq} came at {place:?}"))?;
        got.delivered += 1;
        got.conflated += seq - place.at - 1;
        place.at = seq;
        Ok(())
    }

    /// Checks a `snapshot`. With `covered`, it belongs to a subscription.
    pub(crate) fn snapshot(
        &mut self,
        mortal: usize,
        (epoch, seq): (&Epoch, u64),
        data: &str,
        covered: bool,
        truth: &Truth,
        got: &mut Got,
    ) -> Result<(), Broken> {
        truth.check_mortal(mortal, epoch, seq, data)?;
        let place = &mut self.0[mortal];
        if !covered {
            return Ok(());
        }
        let same = place.epoch.as_ref().is_none_or(|told| told == epoch);
        ensure(!place.has_ended && same && seq >= place.at, Rule::Ends, || {
            format!(
                "a snapshot of {} {epoch}:{seq} came at {place:?}",
                MORTALS[mortal].0
            )
        })?;
        if place.epoch.is_none() {
            got.unsure = true;
        } else {
            got.delivered += u64::from(seq > place.at);
            got.conflated += seq.saturating_sub(place.at + 1);
        }
        (place.epoch, place.at) = (Some(epoch.clone()), seq);
        Ok(())
    }

    /// Checks a `gap`.
    pub(crate) fn gap(&mut self, mortal: usize, epoch: &Epoch, (from, to): (u64, u64)) -> Result<(), Broken> {
        let place = &mut self.0[mortal];
        let fits = place
            .epoch
            .as_ref()
            .is_none_or(|told| told == epoch && from == place.at + 1);
        ensure(fits && !place.has_ended, Rule::Ends, || {
            format!(
                "a gap of {} {epoch}:{from} to {to} came at {place:?}",
                MORTALS[mortal].0
            )
        })?;
        (place.epoch, place.at) = (Some(epoch.clone()), to);
        Ok(())
    }

    /// Checks a `joined`.
    pub(crate) fn joined(&mut self, mortal: usize, epoch: &Epoch, seq: u64) -> Result<(), Broken> {
        let place = &mut self.0[mortal];
        let fits = place.epoch.is_none() || place.at == 0;
        ensure(fits && (!place.has_ended || seq == 0), Rule::Ends, || {
            format!("{} {epoch}:{seq} joined at {place:?}", MORTALS[mortal].0)
        })?;
        *place = Place {
            epoch: Some(epoch.clone()),
            at: seq,
            has_ended: false,
        };
        Ok(())
    }

    /// Checks an `end`.
    pub(crate) fn ended(
        &mut self,
        mortal: usize,
        epoch: &Epoch,
        seq: u64,
        truth: &Truth,
    ) -> Result<(), Broken> {
        let name = MORTALS[mortal].0;
        let place = &mut self.0[mortal];
        let last = truth.mortal_end(mortal, epoch);
        ensure(last == Some(seq), Rule::Ends, || {
            format!("the end of {name} says {epoch}:{seq}, and it ended at {last:?}")
        })?;
        ensure(!place.has_ended, Rule::Ends, || {
            format!("the end of {name} came twice")
        })?;
        let has_all = place
            .epoch
            .as_ref()
            .is_none_or(|told| told == epoch && place.at == seq);
        ensure(has_all, Rule::Ends, || {
            format!("the end of {name} at {epoch}:{seq} came at {place:?}")
        })?;
        *place = Place {
            has_ended: true,
            ..Place::default()
        };
        Ok(())
    }

    /// Checks the result of a subscription to a name. If the client is leaving, messages before the `ack` may have been
    /// dropped.
    pub(super) fn granted(
        &mut self,
        mortal: usize,
        since: Option<(&Epoch, u64)>,
        result: &AckResult,
        is_leaving: bool,
    ) -> Result<(), Broken> {
        let (Some(epoch), Some(seq)) = (&result.epoch, result.seq) else {
            return Err(broken(format!(
                "{} is acked without a position",
                MORTALS[mortal].0
            )));
        };
        let place = &mut self.0[mortal];
        if let Some(told) = place.epoch.as_ref().filter(|_| !is_leaving) {
            return ensure(told == epoch && place.at == seq.0, Rule::Ends, || {
                format!(
                    "{} is acked at {epoch}:{seq}, and stands at {place:?}",
                    MORTALS[mortal].0
                )
            });
        }
        *place = Place {
            epoch: Some(epoch.clone()),
            at: seq.0,
            has_ended: false,
        };
        let Some((asked, at)) = since else { return Ok(()) };
        if result.recovered == Some(true) {
            place.at = at;
            return ensure(asked == epoch, Rule::Ends, || {
                format!(
                    "{} is resumed from {asked}, another life than {epoch}",
                    MORTALS[mortal].0
                )
            });
        }
        if seq.0 > 0 && MORTALS[mortal].1 == Kind::Event {
            place.at = if asked == epoch { at.min(seq.0) } else { 0 };
        }
        Ok(())
    }

    /// Checks what must be true of a covered topic once everything is delivered and read.
    pub(super) fn settled(&self, mortal: usize, truth: &Truth) -> Result<(), Broken> {
        let (name, place) = (MORTALS[mortal].0, &self.0[mortal]);
        let live = truth.mortal_head(mortal);
        let fits = match (&place.epoch, live) {
            (Some(told), Some((epoch, head))) => told == epoch && place.at == head,
            // An ack told the next life.
            (Some(told), None) => place.at == 0 && truth.mortal_end(mortal, told).is_none(),
            (None, Some(_)) => !place.has_ended,
            (None, None) => true,
        };
        ensure(fits, Rule::Ends, || {
            format!("{name} is {live:?}, and the client ends at {place:?}")
        })
    }
}

impl Oracle {
    /// Whether a subscription covers a topic that ends.
    pub(super) fn covers_mortal(&self, mortal: usize) -> bool {
        let mut patterns = self.patterns.keys();
        patterns.any(|pattern| topics::matches_mortal(*pattern, mortal))
    }

    /// Checks a message of a topic that ends. `None` if it is not one.
    pub(crate) fn mortal(&mut self, message: &ServerMessage, truth: &Truth) -> Option<Result<(), Broken>> {
        let (ServerMessage::Update { topic, .. }
        | ServerMessage::Snapshot { topic, .. }
        | ServerMessage::Control(
            Control::Gap { topic, .. } | Control::Joined { topic, .. } | Control::End { topic, .. },
        )) = message
        else {
            return None;
        };
        let mortal = topics::find_mortal(topic)?;
        let (covered, got) = (self.covers_mortal(mortal), &mut self.got);
        if !covered && !matches!(message, ServerMessage::Snapshot { .. }) {
            return Some(Err(broken(format!(
                "a message of {topic}, which is not subscribed"
            ))));
        }
        Some(match message {
            ServerMessage::Update { seq, data, .. } => {
                self.mortals.update(mortal, seq.0, data.get(), truth, got)
            }
            ServerMessage::Snapshot { epoch, seq, data, .. } => {
                let at = (epoch, seq.0);
                self.mortals.snapshot(mortal, at, data.get(), covered, truth, got)
            }
            ServerMessage::Control(Control::Gap {
                epoch,
                from,
                to,
                reason,
                ..
            }) => {
                if *reason == GapReason::Slow {
                    got.gapped += (to.0 + 1).saturating_sub(from.0);
                }
                self.mortals.gap(mortal, epoch, (from.0, to.0))
            }
            ServerMessage::Control(Control::Joined { epoch, seq, .. }) => {
                self.mortals.joined(mortal, epoch, seq.0)
            }
            ServerMessage::Control(Control::End { epoch, seq, .. }) => {
                self.mortals.ended(mortal, epoch, seq.0, truth)
            }
            _ => return None,
        })
    }

    /// Checks the result of a subscription to the name of a topic that ends.
    pub(super) fn mortal_granted(
        &mut self,
        mortal: usize,
        (pattern, wanted): (usize, Wanted),
        from: Option<&From>,
        result: &AckResult,
    ) -> Result<(), Broken> {
        let leaves = |pattern: &usize| topics::matches_mortal(*pattern, mortal);
        let is_leaving = self
            .asked
            .values()
            .any(|(asked, _)| matches!(asked, Asked::Unsubscribe(patterns) if patterns.iter().any(leaves)));
        let since = match from {
            Some(From::Topic(since)) => Some((&since.epoch, since.seq.0)),
            _ => None,
        };
        self.patterns.insert(pattern, wanted);
        self.mortals.granted(mortal, since, result, is_leaving)
    }
}

fn broken(what: String) -> Broken {
    Broken::new(Rule::Ends, what)
}

/// The number of topics that end and are matched by a pattern: at most so many more are found by it.
pub(super) fn matched(pattern: usize) -> usize {
    let matching = (0..MORTALS.len()).filter(|mortal| topics::matches_mortal(pattern, *mortal));
    matching.count()
}
