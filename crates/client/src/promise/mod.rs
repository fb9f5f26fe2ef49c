//! Checks what PROTOCOL.md lets a client rely on ("What a client may rely on"), message by message.
//!
//! Pure: no socket, no clock. Give a [`Checker`] every request in the order of sending and every message in the order
//! of receiving. It returns a [`BrokenPromise`] where the broker broke a promise, and then goes on from what the broker
//! claimed.
//!
//! Memory: one track (about a hundred bytes) per topic seen, one entry per pattern and per unanswered request. It never
//! shrinks by itself: a checker lives as long as one client.
//!
//! Some faults cannot be seen, and the checker does not report them:
//! - Whether the *newest* message arrived in `conflate` shows only when publishing has stopped. Compare
//!   [`Checker::position`] with the topic's head then.
//! - What is due at the beginning of a topic that a pattern brought is not known.
//! - Which topics of a pattern over several kinds are in mode `every` is not told.
//! - A pattern that resumes topics is told only how many were resumed. Which ones shows as each goes on.

mod answers;
mod books;
mod broken;
mod left;
mod moments;
mod standing;
mod subscriptions;
mod syncing;
mod track;

#[cfg(test)]
mod tests;

use rustc_hash::FxHashMap;
use tickwire_wire::message::{GapReason, Position, RequestId};
use tickwire_wire::{ClientMessage, Control, Epoch, Mode, Pattern, Seq, ServerMessage};

use answers::{Asked, op_of};
use books::Books;
pub use broken::{BrokenPromise, RecoveryFault};
pub use left::LeftOff;
use syncing::{Ahead, Syncing};
use track::Track;

/// A subscription with a wildcard.
#[derive(Debug)]
struct Wildcard {
    pattern: Pattern,
    mode: Option<Mode>,
    /// The number of its ack among all wildcard acks that brought snapshots; 0 if this one brought none.
    snapshots_since: u32,
}

/// Checks one client's traffic against the protocol's promises.
///
/// ```
/// use tickwire_client::promise::{BrokenPromise, Checker};
/// use tickwire_wire::{Codec, Seq};
///
/// let mut checker = Checker::new();
/// let mut hear = |text: &str| checker.received(&Codec::Json.decode_server(text.as_bytes()).unwrap());
/// let welcome = r#"{"op":"welcome","session":"s","server":"t","ts":1,"heartbeat_ms":15000,
///     "limits":{"subscriptions":8,"message_bytes":65536,"ops_per_s":50}}"#;
/// assert_eq!(hear(welcome), Ok(()));
/// assert_eq!(
///     hear(r#"{"op":"update","topic":"trade.A","seq":1,"ts":1,"data":1}"#),
///     Err(BrokenPromise::NeverSubscribed { topic: "trade.A".into() })
/// );
/// ```
#[derive(Debug, Default)]
pub struct Checker {
    topics: FxHashMap<Box<str>, Track>,
    wildcards: Vec<Wildcard>,
    /// Patterns with wildcards in mode `snapshot`: one snapshot of each matching topic may come.
    one_shots: Vec<Pattern>,
    asked: FxHashMap<RequestId, Asked>,
    /// Positions that were sent ahead, in order. They wait for the answer to a `subscribe` that takes them.
    ahead: Vec<Ahead>,
    /// How many requests were sent.
    sent: u64,
    /// Requests that were acked and whose `synced` has not come.
    syncing: FxHashMap<RequestId, Syncing>,
    welcomed: bool,
    /// How many wildcard acks brought snapshots.
    wildcard_acks: u32,
    /// Patterns that brought snapshots on this connection and have ended.
    ended: Vec<Pattern>,
    books: Option<Books>,
}

impl Checker {
    /// Creates a checker for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also rebuilds the books of the topics that match `pattern` and verifies each checksum. This parses every message
    /// of those topics.
    #[must_use]
    pub fn verify_books(mut self, pattern: Pattern) -> Self {
        self.books = Some(Books::of(pattern));
        self
    }

    /// Begins a new connection in place of the previous one: nothing is subscribed and no request waits for an answer.
    /// Positions stay known for [`Self::position`].
    pub fn reconnected(&mut self) {
        self.welcomed = false;
        self.wildcards.clear();
        self.one_shots.clear();
        self.ended.clear();
        self.asked.clear();
        self.ahead.clear();
        self.syncing.clear();
        self.topics.values_mut().for_each(Track::reconnected);
    }

    /// The position to resume `topic` from: the last message that came or that a gap named. `None` if only a fresh
    /// subscription helps, for example before a snapshot that was asked for.
    #[must_use]
    pub fn position(&self, topic: &str) -> Option<Position> {
        self.topics.get(topic)?.position()
    }

    /// The last message of `topic` that came or that a gap named, if the epoch is known.
    #[must_use]
    pub fn last(&self, topic: &str) -> Option<Position> {
        self.topics.get(topic)?.last()
    }

    /// Whether `topic` is subscribed on this connection and a message of it, or the ack of its own subscription, has
    /// come.
    #[must_use]
    pub fn is_live(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|track| track.live)
    }

    /// Takes note of `request`. Call this before the request is sent.
    pub fn sent(&mut self, request: &ClientMessage) {
        self.sent += 1;
        let (id, asked) = match request {
            ClientMessage::Subscribe(subscribe) => (
                subscribe.id,
                Asked::Subscribe {
                    topics: subscribe.topics.clone(),
                    mode: subscribe.mode,
                    snapshot: subscribe.snapshot,
                    sent: self.sent,
                },
            ),
            ClientMessage::Positions { id, since } => {
                self.ahead.push(Ahead {
                    id: *id,
                    sent: self.sent,
                    since: since.clone(),
                });
                (*id, Asked::Other)
            }
            ClientMessage::Unsubscribe { id, topics } => (*id, Asked::Unsubscribe(topics.clone())),
            ClientMessage::Resync { id, topic } => (*id, Asked::Resync(topic.clone())),
            ClientMessage::Publish { id: Some(id), .. }
            | ClientMessage::Auth { id, .. }
            | ClientMessage::Ping { id: Some(id) } => (*id, Asked::Other),
            ClientMessage::Publish { id: None, .. } | ClientMessage::Ping { id: None } => return,
        };
        self.asked.insert(id, asked);
    }

    /// Checks `message`, which was received.
    ///
    /// # Errors
    /// When the message breaks a promise. The checker goes on from what the message claims.
    pub fn received(&mut self, message: &ServerMessage) -> Result<(), BrokenPromise> {
        if !self.welcomed {
            self.welcomed = true;
            return match message {
                ServerMessage::Control(Control::Welcome { .. }) => Ok(()),
                other => Err(BrokenPromise::Welcome {
                    op: op_of(other).to_owned(),
                    expected: "the welcome",
                }),
            };
        }
        match message {
            ServerMessage::Update { topic, seq, data, .. } => {
                self.update(topic, *seq)?;
                self.book_update(topic, *seq, data.get())
            }
            ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                data,
                ..
            } => {
                self.snapshot(topic, epoch, *seq)?;
                self.book_snapshot(topic, epoch, *seq, data.get())
            }
            ServerMessage::Control(control) => self.control(control),
            ServerMessage::Unknown(_) => Ok(()),
        }
    }

    /// Checks an `update`: [`Self::received`] for callers that have not built the message.
    ///
    /// # Errors
    /// When the update breaks a promise.
    #[inline]
    pub fn update(&mut self, topic: &str, seq: Seq) -> Result<(), BrokenPromise> {
        match self.topics.get_mut(topic) {
            Some(track) if track.live => track.update(topic, seq),
            _ => self.admit(topic)?.update(topic, seq),
        }
    }

    /// Checks a `snapshot`: [`Self::received`] for callers that have not built the message.
    ///
    /// # Errors
    /// When the snapshot breaks a promise.
    pub fn snapshot(&mut self, topic: &str, epoch: &Epoch, seq: Seq) -> Result<(), BrokenPromise> {
        if !self.is_live(topic) {
            if self.take_one_shot(topic) {
                return Ok(());
            }
            self.admit(topic)?;
        }
        let acks = self.wildcard_acks;
        let Some(track) = self.topics.get_mut(topic) else {
            return Ok(());
        };
        let seen = std::mem::replace(&mut track.wildcard_acks_seen, acks);
        let one_shot = track.one_shots > 0;
        track.one_shots = track.one_shots.saturating_sub(1);
        let solicited = one_shot
            || self.one_shots.iter().any(|pattern| pattern.matches(topic))
            || (seen < acks
                && self
                    .wildcards
                    .iter()
                    .any(|w| w.snapshots_since > seen && w.pattern.matches(topic)));
        track.snapshot(topic, epoch, seq, solicited)
    }

    /// Checks a `gap`: [`Self::received`] for callers that have not built the message.
    ///
    /// # Errors
    /// When the gap breaks a promise.
    pub fn gap(
        &mut self,
        topic: &str,
        epoch: &Epoch,
        from: Seq,
        to: Seq,
        reason: GapReason,
    ) -> Result<(), BrokenPromise> {
        self.book_awaits_snapshot(topic);
        match self.topics.get_mut(topic) {
            Some(track) if track.live => track.gap(topic, epoch, from, to, reason),
            _ => self.admit(topic)?.gap(topic, epoch, from, to, reason),
        }
    }

    /// Checks a `joined`.
    fn joined(&mut self, topic: &str, epoch: &Epoch, seq: Seq) -> Result<(), BrokenPromise> {
        self.book_joined(topic, epoch, seq);
        match self.topics.get_mut(topic) {
            Some(track) if track.live => track.joined(topic, epoch, seq),
            _ => self.admit(topic)?.joined(topic, epoch, seq),
        }
    }

    /// Checks an `end`.
    fn ended(&mut self, topic: &str) -> Result<(), BrokenPromise> {
        self.book_ended(topic);
        match self.topics.get_mut(topic) {
            Some(track) if track.live => track.ended(topic),
            _ => self.admit(topic)?.ended(topic),
        }
    }

    fn control(&mut self, control: &Control) -> Result<(), BrokenPromise> {
        match control {
            Control::Welcome { .. } => Err(BrokenPromise::Welcome {
                op: "welcome".to_owned(),
                expected: "any other message",
            }),
            Control::Ack { id, results } => self.ack(*id, results),
            Control::Gap {
                topic,
                epoch,
                from,
                to,
                reason,
            } => self.gap(topic, epoch, *from, *to, *reason),
            Control::Status {
                topic,
                seq: Some(seq),
                ..
            } => self.caught_up(topic, *seq),
            Control::Status { topic, .. } => {
                let covered = self.is_live(topic) || self.wildcards.iter().any(|w| w.pattern.matches(topic));
                covered.then_some(()).ok_or_else(|| self.not_covered(topic))
            }
            Control::Pong {
                id: Some(id),
                received,
                ts,
            } => {
                self.answered(*id)?;
                match *received {
                    Some(received) if received > *ts => Err(BrokenPromise::PongTimes {
                        id: *id,
                        received,
                        ts: *ts,
                    }),
                    _ => Ok(()),
                }
            }
            Control::Error { id: Some(id), .. } => {
                // Positions that the broker refused do not apply.
                self.ahead.retain(|ahead| ahead.id != *id);
                self.answered(*id).map(drop)
            }
            Control::Joined { topic, epoch, seq } => self.joined(topic, epoch, *seq),
            Control::End { topic, .. } => self.ended(topic),
            Control::Synced { id } => self.synced(*id),
            Control::Pong { id: None, .. }
            | Control::Error { id: None, .. }
            | Control::Heartbeat { .. }
            | Control::Drain { .. } => Ok(()),
        }
    }

    fn answered(&mut self, id: RequestId) -> Result<Asked, BrokenPromise> {
        self.asked.remove(&id).ok_or(BrokenPromise::UnknownAnswer { id })
    }
}
