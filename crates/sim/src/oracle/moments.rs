//! Replays from a moment: where they begin, and the `caught_up` that ends them.

use tickwire_wire::message::Position;
use tickwire_wire::{Micros, Mode, Moment};

use super::{Granted, Oracle, Wanted};
use crate::broken::{Broken, Rule, ensure};
use crate::topics;
use crate::truth::Truth;

/// Where a subscription begins that does not begin at the head.
#[derive(Debug, Clone)]
pub(crate) enum From {
    /// The position of a topic.
    Topic(Position),
    /// The positions of the topics of a pattern.
    Topics(Vec<(usize, Position)>),
    /// The moment from which on a topic's messages are wanted.
    Moment(Moment),
}

/// What a subscription asks for that begins with `from`: a moment implies every message, whatever the topic's kind is.
pub(super) fn implied(from: Option<&From>, wanted: Wanted) -> Wanted {
    match from {
        Some(From::Moment(_)) => Wanted {
            mode: Some(Mode::Every),
            ..wanted
        },
        _ => wanted,
    }
}

impl Oracle {
    /// A topic was asked for from a moment on.
    pub(super) fn replayed(
        &mut self,
        granted: &Granted<'_>,
        topic: usize,
        Moment(moment): Moment,
        truth: &Truth,
    ) -> Result<(), Broken> {
        let (name, head) = (topics::name(topic), granted.heads[topic]);
        // Messages may have come since the request was handled.
        let wanted = truth.first_at(topic, moment).min(head + 1);
        let certain = truth.certainly_reached(topic, wanted - 1, head);
        let possible = truth.possibly_reached(topic, wanted - 1, head);
        let result = granted.result;
        let told = result.replay.map(|replay| (replay.from_seq.0, replay.to_seq.0));
        let (from, to) = told.unwrap_or_default();
        let begins: Option<Micros> = truth.time(topic, from).filter(|_| from <= head);
        let is_whole = from == wanted && result.not_stored.is_none();
        let is_short = from > wanted && begins.is_some() && result.not_stored == begins;
        // What the archive has lost at the beginning of a replay is left out.
        let archived = truth.archive().is_some();
        let is_lost = archived && from > wanted && (wanted..from).all(|seq| !truth.is_stored(topic, seq));
        let is_there = archived && (wanted..from).any(|seq| truth.is_stored(topic, seq));
        let is_right = to == head
            && result.seq.is_some_and(|seq| seq.0 + 1 == from)
            && !is_there
            && (is_whole && (possible || archived) || is_short && !certain || is_lost);
        ensure(is_right, Rule::Moments, || {
            let (seq, oldest) = (result.seq, result.not_stored);
            format!(
                "{name}: the replay from {wanted} to {head} is acked at {seq:?} as {told:?}, stored from {oldest:?}"
            )
        })?;
        if let Some(place) = self.places.get_mut(&topic) {
            place.replay(from - 1, head);
        }
        Ok(())
    }

    /// Checks a `caught_up`.
    pub(crate) fn caught_up(&mut self, topic: usize, seq: u64) -> Result<(), Broken> {
        match self.places.get_mut(&topic) {
            Some(place) => place.caught_up(topic, seq),
            None => {
                let what = format!("{} has caught up, which is not subscribed", topics::name(topic));
                Err(Broken::new(Rule::Subscriptions, what))
            }
        }
    }
}
