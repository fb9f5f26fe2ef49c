//! The messages of a broker in a recording, as `tickwire record` writes them, and what is known of their topics.
//!
//! A message counts once: what comes again is dropped. What a broker did not send, its `gap` names, and it is a fault of
//! the recording. A change of a book behind a gap carries the doubt that the book is in, until the whole book comes.

use std::collections::BTreeMap;

use tickwire_wire::message::{StaleReason, TopicState};
use tickwire_wire::{Codec, Control, Epoch, Micros, Payload, Seq, ServerMessage, Topic};

use super::binance::LineError;
use super::fault::{FaultKind, FaultLog, Spot};
use crate::topics::Topics;
use crate::{RECORDED_TOPICS_MAX, Tick, TopicNo};

/// The beginnings of the messages that are recorded. Requests of some exchanges begin with `{"op":` too.
const BEGINNINGS: [&str; 6] = [
    r#"{"op":"update","#,
    r#"{"op":"snapshot","#,
    r#"{"op":"gap","#,
    r#"{"op":"joined","#,
    r#"{"op":"status","#,
    r#"{"op":"end","#,
];

/// A message of a broker.
#[derive(Debug, PartialEq)]
pub(super) struct Recorded {
    pub(super) topic: Topic,
    /// The time that the broker gave it, if it is a message.
    pub(super) ts: Option<Micros>,
    pub(super) what: What,
}

/// What a message of a broker says of its topic.
#[derive(Debug, PartialEq)]
pub(super) enum What {
    /// Its value after message `seq`.
    Value { epoch: Epoch, seq: Seq, data: Payload },
    /// Its next message.
    Message { seq: Seq, data: Payload },
    /// Message `seq`, which follows on message `after`.
    Numbered {
        epoch: Epoch,
        after: Seq,
        seq: Seq,
        data: Payload,
        doubt: Option<StaleReason>,
    },
    /// The next message is the one after `seq`.
    Position { epoch: Epoch, seq: Seq },
    /// The messages `from` to `to` did not come.
    Gap { epoch: Epoch, from: Seq, to: Seq },
    /// Its book cannot be relied on, or can again.
    Doubt(Option<StaleReason>),
    /// It has ended.
    End,
}

/// Whether `json` is a message that [`parse`] reads.
pub(super) fn is_message(json: &str) -> bool {
    BEGINNINGS.iter().any(|beginning| json.starts_with(beginning))
}

/// Parses a message.
pub(super) fn parse(json: &str) -> Result<Recorded, LineError> {
    let mut time = None;
    let (topic, what) = match Codec::Json.decode_server(json.as_bytes())? {
        ServerMessage::Snapshot {
            topic,
            epoch,
            seq,
            ts,
            data,
        } => {
            let data = Payload::from_json(data.get().as_bytes())?;
            time = Some(ts);
            (topic, What::Value { epoch, seq, data })
        }
        ServerMessage::Update { topic, seq, ts, data } => {
            let data = Payload::from_json(data.get().as_bytes())?;
            time = Some(ts);
            (topic, What::Message { seq, data })
        }
        ServerMessage::Control(Control::Joined { topic, epoch, seq }) => {
            (topic, What::Position { epoch, seq })
        }
        ServerMessage::Control(Control::Gap {
            topic,
            epoch,
            from,
            to,
            ..
        }) => (topic, What::Gap { epoch, from, to }),
        ServerMessage::Control(Control::Status {
            topic, state, reason, ..
        }) => match (state, reason) {
            // Whoever replays it finds out by itself whether a source is silent or a book crossed. That a subscriber has
            // caught up is nothing of the topic.
            (TopicState::CaughtUp, _) | (TopicState::Stale, None | Some(StaleReason::Crossed)) => {
                return Err(LineError::UnusedMessage("status".to_owned()));
            }
            (TopicState::Stale, reason) => (topic, What::Doubt(reason)),
            (TopicState::Live, _) => (topic, What::Doubt(None)),
        },
        ServerMessage::Control(Control::End { topic, .. }) => (topic, What::End),
        ServerMessage::Control(_) => return Err(LineError::UnusedMessage("control".to_owned())),
        ServerMessage::Unknown(op) => return Err(LineError::UnusedMessage(op)),
    };
    let topic = topic.parse()?;
    Ok(Recorded {
        topic,
        ts: time,
        what,
    })
}

/// What is known of a topic.
#[derive(Debug)]
struct State {
    number: TopicNo,
    position: Option<(Epoch, Seq)>,
    doubt: Option<StaleReason>,
}

/// The topics of recorded brokers.
#[derive(Debug, Default)]
pub(super) struct RecordedTopics(BTreeMap<Topic, State>);

impl RecordedTopics {
    /// Takes the next message, which came at `at` and is at `spot`. Returns what is to be published.
    pub(super) fn take(
        &mut self,
        at: Micros,
        spot: Spot<'_>,
        Recorded { topic, ts, what }: Recorded,
        topics: &mut Topics,
        faults: &mut FaultLog,
    ) -> Option<Tick> {
        let Some(state) = self.state(&topic, topics) else {
            faults.add(FaultKind::Malformed, spot, &LineError::TooManyTopics(topic));
            return None;
        };
        let (payload, is_whole) = match what {
            What::Value { epoch, seq, data } => {
                if state.is_past(Some(&epoch), seq) && state.doubt.is_none() {
                    let reason = format_args!("the value of {topic} after message {seq}, which came before");
                    faults.add(FaultKind::Unused, spot, &reason);
                    return None;
                }
                state.position = Some((epoch, seq));
                state.doubt = None;
                (data, true)
            }
            What::Message { seq, data } => {
                if state.is_past(None, seq) {
                    let reason = format_args!("message {seq} of {topic}, which came before");
                    faults.add(FaultKind::RepeatedMessage, spot, &reason);
                    return None;
                }
                if let Some((_, last)) = &mut state.position {
                    *last = seq;
                }
                (data, false)
            }
            What::Numbered {
                epoch,
                after,
                seq,
                data,
                doubt,
            } => {
                if let Err((kind, reason)) = state.follow(&topic, epoch, (after, seq), doubt) {
                    faults.add(kind, spot, &reason);
                    if kind == FaultKind::RepeatedMessage {
                        return None;
                    }
                }
                (data, false)
            }
            What::Position { epoch, seq } => {
                state.position = Some((epoch, seq));
                return None;
            }
            What::Gap { epoch, from, to } => {
                let reason = format_args!("messages {from} to {to} of {topic} are missing");
                faults.add(FaultKind::MessageGap, spot, &reason);
                state.position = Some((epoch, to));
                state.doubt = Some(StaleReason::Hole);
                return None;
            }
            What::Doubt(doubt) => {
                state.doubt = doubt;
                return None;
            }
            What::End => {
                state.position = None;
                state.doubt = None;
                return None;
            }
        };
        Some(Tick {
            at,
            topic: state.number,
            payload,
            doubt: state.doubt,
            is_whole,
            ts,
        })
    }
}

impl RecordedTopics {
    /// The state of a topic. `None` if it is new and there are too many.
    fn state(&mut self, topic: &Topic, topics: &mut Topics) -> Option<&mut State> {
        if !self.0.contains_key(topic) && self.0.len() >= RECORDED_TOPICS_MAX {
            return None;
        }
        Some(self.0.entry(topic.clone()).or_insert_with(|| State {
            number: topics.add_alone(topic.clone()),
            position: None,
            doubt: None,
        }))
    }
}

impl State {
    /// Goes on with message `seq` of `epoch`, which follows on message `after`.
    ///
    /// # Errors
    /// If it came before, or messages before it are missing. In the second case it counts.
    fn follow(
        &mut self,
        topic: &Topic,
        epoch: Epoch,
        (after, seq): (Seq, Seq),
        doubt: Option<StaleReason>,
    ) -> Result<(), (FaultKind, String)> {
        if self.is_past(Some(&epoch), seq) {
            let reason = format!("message {seq} of {topic}, which came before");
            return Err((FaultKind::RepeatedMessage, reason));
        }
        let known = self.position.as_ref().filter(|(known, _)| *known == epoch);
        let missing = known
            .filter(|(_, last)| *last < after)
            .map(|(_, last)| last.next());
        match known {
            Some(_) if missing.is_some() => self.doubt = Some(StaleReason::Hole),
            Some(_) => {}
            // What came before the beginning of the recording is not there.
            None => self.doubt = (after > Seq::ZERO).then_some(StaleReason::Partial),
        }
        self.doubt = doubt.or(self.doubt);
        self.position = Some((epoch, seq));
        match missing {
            Some(from) => {
                let reason = format!("messages {from} to {after} of {topic} are missing");
                Err((FaultKind::MessageGap, reason))
            }
            None => Ok(()),
        }
    }

    /// Whether message `seq` of `epoch` came before. An update does not tell its epoch: it is the one before.
    fn is_past(&self, epoch: Option<&Epoch>, seq: Seq) -> bool {
        let of_epoch =
            |(known, last): &(Epoch, Seq)| epoch.is_none_or(|epoch| epoch == known) && seq <= *last;
        self.position.as_ref().is_some_and(of_epoch)
    }
}
