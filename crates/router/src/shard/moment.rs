//! Subscriptions that begin at a moment: the stored messages from then on, then `caught_up`, then what is live.
//!
//! Such a subscription begins behind the head of its topic and is pulled there as that of a slow reader is. So a replay keeps no
//! message. What the history drops before the reader gets it comes from the [archive](super::replaying), if there is one.
//! Without one, or if it is not there either, it is named by a `gap`. The replay of one session costs the others nothing. `caught_up` goes behind the message with which the subscription reaches the head, or behind nothing
//! if nothing was stored. It comes once: if it is taken back, it is sent again at the next head.

use std::sync::Arc;

use tickwire_wire::message::{AckResult, ReplayRange, Subscribe, TopicState};
use tickwire_wire::{Control, Kind, Mode, Moment, Pattern, Refusal, ReplaySpeed, Seq};

use super::requests::TopicAnswer;
use super::sessions::SessionMut;
use super::{Shard, Subscriber};
use crate::cell::TopicCell;
use crate::history::StoredFrom;
use crate::outbox::{CaughtUp, Item};
use crate::pace::Pace;
use crate::planted::{Fault, is_planted};

/// Checks that the messages of `pattern` from a moment on make sense in `mode`.
fn check_mode(pattern: &Pattern, mode: Option<Mode>) -> Result<(), Refusal> {
    let reason = match mode {
        _ if pattern.is_wildcard() => format!(
            "\"from\" is for one topic; {} is a pattern: name its topics, each with its own \"from\"",
            pattern.as_str()
        ),
        Some(mode @ (Mode::Conflate | Mode::Snapshot)) => format!(
            "mode {}: \"from\" asks for every message; leave the mode out, or ask for mode every",
            mode.as_str()
        ),
        Some(Mode::Every) | None => return Ok(()),
    };
    Err(Refusal::bad_request(reason))
}

/// What tells a client that it has everything of a topic up to `seq`.
fn caught_up(topic: String, seq: Seq) -> Control {
    Control::Status {
        topic,
        state: TopicState::CaughtUp,
        reason: None,
        seq: Some(seq),
    }
}

/// `result` for a replay that begins with message `first` of a topic whose newest one is `newest`.
fn replaying(result: AckResult, first: Seq, newest: Seq) -> AckResult {
    AckResult {
        seq: Some(Seq(first.0 - 1)),
        replay: Some(ReplayRange {
            from_seq: first,
            to_seq: newest,
        }),
        ..result
    }
}

impl Shard {
    /// The pace of a topic whose messages from a moment on are asked for. Refuses books: the book that the changes from then
    /// on change is not kept.
    pub(super) fn pace_from(&self, pattern: &Pattern, request: &Subscribe) -> Result<Pace, Refusal> {
        check_mode(pattern, request.mode)?;
        let topic = pattern.as_str();
        match self.directory.kind_of(topic) {
            Kind::State | Kind::Event => Pace::asked(Some(Mode::Every), request.conflate_ms),
            Kind::Book => Err(Refusal::bad_request(format!(
                "{topic} is a book: its changes from a moment on are no book without the one before them. Leave \"from\" out, \
                 or read the changes over HTTP: /v1/topics/{topic}/history"
            ))),
        }
    }
}

impl TopicAnswer {
    /// The answer for a topic without a message, which a client asks for from a moment on.
    pub(super) fn caught_up_already(result: AckResult) -> Self {
        let seq = result.seq.unwrap_or(Seq::ZERO);
        Self {
            behind: Some(caught_up(result.topic.clone(), seq)),
            ..Self::new(replaying(result, seq.next(), seq))
        }
    }
}

impl SessionMut<'_> {
    /// Begins the subscription, by its name, to a topic that the session does not have, with the first message from
    /// `moment` on that is stored.
    pub(super) fn subscribe_from(
        &mut self,
        cell: &Arc<TopicCell>,
        (Moment(moment), speed): (Moment, Option<ReplaySpeed>),
        pace: Pace,
        result: AckResult,
    ) -> TopicAnswer {
        let (at, stored) = cell.attach_from(self.shard, moment);
        let archived = self.session.subscriptions.beginnings.start_of(cell.id(), moment);
        let StoredFrom { first, not_stored } =
            archived.map_or(stored, |archived| archived.before(stored, moment));
        self.slots[cell.id()].learn(at.seq, &mut self.counts.ledger);
        let late = is_planted(Fault::ReplayedTooLate) && first <= at.seq;
        self.join(cell, Seq(first.0 - 1 + u64::from(late)), pace, true);
        self.session.subscriptions.beginnings.replay(cell.id(), speed);
        self.bring(cell.id());
        let result = replaying(result, first, at.seq);
        TopicAnswer::new(AckResult {
            epoch: Some(at.epoch),
            not_stored,
            ..result
        })
    }

    /// Tells the client that it has caught up with a topic, if it was to be told and the subscription is at the head.
    pub(super) fn tell_caught_up(&mut self, cell: &TopicCell, subscriber: &Subscriber) {
        if subscriber.behind && !is_planted(Fault::CaughtUpEarly) {
            return;
        }
        if self.session.subscriptions.beginnings.caught_up(cell.id()) {
            let status = caught_up(cell.topic().to_string(), subscriber.after);
            let bytes = self.session.dialect.control(&status);
            let topic = cell.id();
            self.session
                .outbox
                .push(Item::CaughtUp(Box::new(CaughtUp { topic, bytes })));
        }
    }
}
