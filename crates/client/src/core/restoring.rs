//! Restores on a new connection what the old one had, and reports to the user what could not be resumed.

use std::collections::BTreeSet;

use tickwire_wire::message::{Position, Positions, RequestId};
use tickwire_wire::{ClientMessage, Control, Epoch, Refusal, Seq, ServerMessage};

use super::Core;
use crate::error::RequestError;
use crate::event::Event;
use crate::ledger::{self, Start, Step};
use crate::request::{Answer, Purpose};

/// A topic that needs every message, and its position when the connection was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    last: Position,
    /// Whether the broker is told the position. It then names what is missing in a `gap`, unless a snapshot replaces
    /// it.
    asked: bool,
}

impl Core {
    /// Records the topics that need every message, to report those that do not go on where they were left.
    pub(super) fn watch_for_losses(&mut self) {
        for left in self.checker.left_off() {
            // A topic without a position was waiting for a snapshot. The broker is not told where it was left and cannot
            // name what is missing, so the topic is watched even if its mode only may be `every`.
            let asked = left.position.is_some();
            if left.every || (left.may_be_every && !asked) {
                let last = left.last;
                self.unresumed.insert(left.topic.to_owned(), Left { last, asked });
            }
        }
    }

    /// Queues the requests that restore the subscriptions; with `only`, just these.
    pub(super) fn restore(&mut self, only: Option<&BTreeSet<String>>) {
        let checker = &self.checker;
        let left = checker
            .left_off()
            .filter_map(|left| Some((left.topic.to_owned(), left.position?)));
        let start = |topic: &str| match checker.position_left(topic) {
            _ if checker.is_live(topic) => Start::Flows,
            Some(position) => Start::From(position),
            None => Start::Anew,
        };
        let steps = self.ledger.restore(only, left.collect(), start, &self.limits);
        for step in steps {
            match step {
                Step::Positions(since) => self.send_positions(since, true),
                Step::Subscribe(request) => self.subscribe_again(request),
            }
        }
    }

    /// Queues positions. They apply to the patterns of the `subscribe` that is queued next.
    pub(super) fn send_positions(&mut self, since: Vec<Positions>, restores: bool) {
        let id = self.next_id();
        let message = ClientMessage::Positions {
            id,
            since: since.clone(),
        };
        self.queue(id, message, Purpose::Positions { since, restores });
    }

    fn subscribe_again(&mut self, request: ledger::Request) {
        for resumed in request.1.iter().filter(|topic| topic.position().is_some()) {
            // The ack of this topic tells whether it was resumed.
            self.unresumed.remove(resumed.topic());
        }
        let id = self.next_id();
        let names = request.1.iter().map(|topic| topic.topic().to_owned()).collect();
        let message = ClientMessage::Subscribe(ledger::message(request, id));
        self.queue(id, message, Purpose::Restore { names });
    }

    /// Handles the broker's refusal of positions: their topics begin anew.
    pub(super) fn positions_refused(&mut self, since: Vec<Positions>, refusal: &RequestError) {
        tracing::warn!(%refusal, "the broker did not take the positions of a pattern's topics");
        for Positions { epoch, seqs } in since {
            for (topic, seq) in seqs {
                if self.checker.may_need_every(&topic) {
                    let last = Position {
                        epoch: epoch.clone(),
                        seq,
                    };
                    self.unresumed.insert(topic, Left { last, asked: false });
                }
            }
        }
    }

    pub(super) fn restored(&mut self, id: RequestId, names: Vec<String>, result: Result<Answer, Refusal>) {
        let refused: Vec<(String, Refusal)> = match result {
            Ok(Answer::Ack(results)) => {
                self.await_synced(id, &results, None);
                for result in results.iter().filter(|result| result.error.is_none()) {
                    if let (Some(epoch), Some(seq)) = (&result.epoch, result.seq) {
                        self.goes_on(&result.topic, Some(epoch), seq, 0);
                    }
                    let recovered = |is| usize::from(result.recovered == Some(is));
                    self.events.push_back(Event::Restored {
                        topic: result.topic.clone(),
                        resumed: result.resumed.unwrap_or_else(|| recovered(true)),
                        not_resumed: result.not_resumed.unwrap_or_else(|| recovered(false)),
                    });
                }
                let errors = results.into_iter().map(|result| result.error);
                names
                    .into_iter()
                    .zip(errors)
                    .filter_map(|(name, error)| Some((name, error?)))
                    .collect()
            }
            Ok(Answer::Pong(_)) => Vec::new(),
            Err(refusal) => names.into_iter().map(|name| (name, refusal.clone())).collect(),
        };
        for (topic, refusal) in refused {
            if !self.ledger.wants(&topic) {
                // The topic was unsubscribed meanwhile.
            } else if refusal.code.is_retryable() {
                self.unrestored.insert(topic);
            } else {
                self.ledger.remove(&topic);
                self.events.push_back(Event::SubscriptionLost { topic, refusal });
            }
        }
    }

    /// Reports a topic if `message` shows that it does not go on where it was left.
    pub(super) fn report_unresumed(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::Snapshot {
                topic, epoch, seq, ..
            } => self.goes_on(topic, Some(epoch), *seq, 1),
            ServerMessage::Update { topic, seq, .. } => self.updated(topic, *seq),
            ServerMessage::Control(Control::Joined { topic, epoch, seq }) => {
                if self.unresumed.get(topic).is_some_and(|left| left.asked) {
                    // The topic was deleted and made again: nothing of it is missing before its beginning.
                    self.unresumed.remove(topic);
                } else {
                    self.goes_on(topic, Some(epoch), *seq, 0);
                }
            }
            ServerMessage::Control(Control::Gap {
                topic, epoch, from, ..
            }) => {
                if self.unresumed.get(topic).is_some_and(|left| left.asked) {
                    self.unresumed.remove(topic);
                } else {
                    self.goes_on(topic, Some(epoch), *from, 1);
                }
            }
            ServerMessage::Control(Control::End { topic, .. }) => {
                self.unresumed.remove(topic);
            }
            _ => {}
        }
    }

    /// An update came. It belongs to the lineage where the topic was left, if the broker was told that position.
    fn updated(&mut self, topic: &str, seq: Seq) {
        let left = self.unresumed.get(topic);
        let epoch = left.filter(|left| left.asked).map(|left| left.last.epoch.clone());
        self.goes_on(topic, epoch.as_ref(), seq, 1);
    }

    /// `topic` goes on at `now`. `ahead` is how far `now` may be above the last position without a missing message.
    fn goes_on(&mut self, topic: &str, epoch: Option<&Epoch>, now: Seq, ahead: u64) {
        let Some(Left { last, .. }) = self.unresumed.remove(topic) else {
            return;
        };
        let seamless = epoch == Some(&last.epoch) && now.0 <= last.seq.0.saturating_add(ahead);
        if !seamless {
            let topic = topic.to_owned();
            self.events.push_back(Event::Unresumed { topic, last, now });
        }
    }
}
