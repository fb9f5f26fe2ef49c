//! Checks what PROTOCOL.md lets a client rely on ("What a client may rely on"), message by message.
//!
//! Pure: no socket, no clock. Feed a [`Checker`] every request in the order it is sent and every message in the order it
//! is received; it answers with a [`BrokenPromise`] where the broker did not keep its word, and counts on from there.
//!
//! Memory: one track (about a hundred bytes) per topic seen, one entry per pattern and per unanswered request. It never
//! shrinks by itself: a checker lives as long as one client.
//!
//! What it cannot see, it does not claim: whether the *newest* message arrived in `conflate` shows only when
//! publishing has stopped (compare [`Checker::position`] with the topic's head then); of a topic that a pattern brought,
//! only what follows the first message is checked; of a pattern over topics of several kinds it is not told which are `every`.

mod answers;
mod broken;
mod track;

#[cfg(test)]
mod tests;

use rustc_hash::FxHashMap;
use tickwire_wire::message::{AckResult, GapReason, Position, RequestId, TopicRequest};
use tickwire_wire::{ClientMessage, Control, Epoch, Mode, Pattern, Seq, ServerMessage};

use answers::{Asked, op_of, same_topics};
pub use broken::{BrokenPromise, RecoveryFault};
pub use track::EveryTopic;
use track::Track;

use crate::book::{BookError, L2Book};

/// A subscription with a wildcard.
#[derive(Debug)]
struct Wildcard {
    pattern: Pattern,
    mode: Option<Mode>,
    /// The number of its ack among all wildcard acks that brought snapshots; 0 if it brought none.
    snapshots_since: u32,
}

/// The books that are rebuilt to verify their checksums.
#[derive(Debug)]
struct Books {
    pattern: Pattern,
    books: FxHashMap<Box<str>, L2Book>,
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
    /// Wildcards in mode `snapshot`: each matching topic may come as a snapshot.
    one_shots: Vec<Pattern>,
    asked: FxHashMap<RequestId, Asked>,
    welcomed: bool,
    /// Wildcard acks that brought snapshots.
    wildcard_acks: u32,
    /// Patterns of this connection that brought snapshots and have ended.
    ended: Vec<Pattern>,
    books: Option<Books>,
}

impl Checker {
    /// A checker for a connection that was just made.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also rebuilds the books of the topics that match `pattern` and verifies every checksum. Costs a parse per message.
    #[must_use]
    pub fn verify_books(mut self, pattern: Pattern) -> Self {
        self.books = Some(Books {
            pattern,
            books: FxHashMap::default(),
        });
        self
    }

    /// A new connection was made in place of the one before: nothing is subscribed and nothing awaits an answer.
    /// Positions stay known for [`Self::position`].
    pub fn reconnected(&mut self) {
        self.welcomed = false;
        self.wildcards.clear();
        self.one_shots.clear();
        self.ended.clear();
        self.asked.clear();
        for track in self.topics.values_mut() {
            track.live = false;
            track.own = false;
            track.one_shots = 0;
        }
    }

    /// Where `topic` can be resumed from: the last message that came or was named missing. None when only a fresh
    /// subscription helps, as before the snapshot that was asked for.
    #[must_use]
    pub fn position(&self, topic: &str) -> Option<Position> {
        self.topics.get(topic)?.position()
    }

    /// The last message of `topic` that came or was named missing, if its epoch is known.
    #[must_use]
    pub fn last(&self, topic: &str) -> Option<Position> {
        self.topics.get(topic)?.last()
    }

    /// Whether something of `topic` came, or its subscription was acked, on this connection and is still subscribed.
    #[must_use]
    pub fn is_live(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|track| track.live)
    }

    /// The live topics of which every message must come, or may have to, in no particular order: those that only patterns
    /// cover are to be resumed one by one after a reconnect.
    pub fn every_topics(&self) -> impl Iterator<Item = EveryTopic<'_>> + '_ {
        let live = self
            .topics
            .iter()
            .filter(|(topic, track)| track.live && (track.every || self.may_be_every(topic, track)));
        live.map(|(topic, track)| EveryTopic {
            topic,
            certain: track.every,
            by_pattern_only: !track.own,
            conflated_by_name: track.own && track.own_mode != Some(Mode::Every),
            last: track.last(),
            position: track.position(),
        })
    }

    /// `request` is about to be sent.
    pub fn sent(&mut self, request: &ClientMessage) {
        let (id, asked) = match request {
            ClientMessage::Subscribe(subscribe) => (
                subscribe.id,
                Asked::Subscribe {
                    topics: subscribe.topics.clone(),
                    mode: subscribe.mode,
                    snapshot: subscribe.snapshot,
                },
            ),
            ClientMessage::Unsubscribe { id, topics } => (*id, Asked::Unsubscribe(topics.clone())),
            ClientMessage::Resync { id, topic } => (*id, Asked::Resync(topic.clone())),
            ClientMessage::Publish { id: Some(id), .. }
            | ClientMessage::Positions { id, .. }
            | ClientMessage::Auth { id, .. }
            | ClientMessage::Ping { id: Some(id) } => (*id, Asked::Other),
            ClientMessage::Publish { id: None, .. } | ClientMessage::Ping { id: None } => return,
        };
        self.asked.insert(id, asked);
    }

    /// `message` was received.
    ///
    /// # Errors
    /// The promise that it breaks. The checker counts on from what the message claims.
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
                self.check_book(topic, |book| book.update(*seq, data.get()))
            }
            ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                data,
                ..
            } => {
                self.snapshot(topic, epoch, *seq)?;
                self.check_book(topic, |book| book.snapshot(epoch, *seq, data.get()))
            }
            ServerMessage::Control(control) => self.control(control),
            ServerMessage::Unknown(_) => Ok(()),
        }
    }

    /// An `update` was received: [`Self::received`] for callers that have not built the message.
    ///
    /// # Errors
    /// The promise that it breaks.
    #[inline]
    pub fn update(&mut self, topic: &str, seq: Seq) -> Result<(), BrokenPromise> {
        match self.topics.get_mut(topic) {
            Some(track) if track.live => track.update(topic, seq),
            _ => self.admit(topic)?.update(topic, seq),
        }
    }

    /// A `snapshot` was received: [`Self::received`] for callers that have not built the message.
    ///
    /// # Errors
    /// The promise that it breaks.
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

    /// A `gap` was received: [`Self::received`] for callers that have not built the message.
    ///
    /// # Errors
    /// The promise that it breaks.
    pub fn gap(
        &mut self,
        topic: &str,
        epoch: &Epoch,
        from: Seq,
        to: Seq,
        reason: GapReason,
    ) -> Result<(), BrokenPromise> {
        if let Some(books) = &mut self.books
            && let Some(book) = books.books.get_mut(topic)
        {
            book.make_stale();
        }
        match self.topics.get_mut(topic) {
            Some(track) if track.live => track.gap(topic, epoch, from, to, reason),
            _ => self.admit(topic)?.gap(topic, epoch, from, to, reason),
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
            Control::Status { topic, .. } => {
                let covered = self.is_live(topic) || self.wildcards.iter().any(|w| w.pattern.matches(topic));
                covered.then_some(()).ok_or_else(|| self.not_covered(topic))
            }
            Control::Pong { id: Some(id), .. } | Control::Error { id: Some(id), .. } => {
                self.answered(*id).map(drop)
            }
            Control::Joined { .. }
            | Control::Synced { .. }
            | Control::Pong { id: None, .. }
            | Control::Error { id: None, .. }
            | Control::Heartbeat { .. }
            | Control::Drain { .. } => Ok(()),
        }
    }

    /// Whether a subscription covers `topic` of which it is not known what it gets.
    fn may_be_every(&self, topic: &str, track: &Track) -> bool {
        let mut covering = self.wildcards.iter().filter(|w| w.pattern.matches(topic));
        !track.own && covering.any(|w| w.mode.is_none())
    }

    fn answered(&mut self, id: RequestId) -> Result<Asked, BrokenPromise> {
        self.asked.remove(&id).ok_or(BrokenPromise::UnknownAnswer { id })
    }

    fn ack(&mut self, id: RequestId, results: &[AckResult]) -> Result<(), BrokenPromise> {
        match self.answered(id)? {
            Asked::Subscribe {
                topics,
                mode,
                snapshot,
            } => {
                same_topics(id, topics.iter().map(TopicRequest::topic), results)?;
                let mut verdict = Ok(());
                for (request, result) in topics.iter().zip(results) {
                    if result.error.is_none() {
                        verdict = verdict.and(self.subscribed(request, result, mode, snapshot));
                    }
                }
                verdict
            }
            Asked::Unsubscribe(topics) => {
                same_topics(id, topics.iter().map(String::as_str), results)?;
                for result in results.iter().filter(|result| result.error.is_none()) {
                    self.unsubscribed(&result.topic);
                }
                Ok(())
            }
            Asked::Resync(topic) => {
                if results.iter().any(|result| result.error.is_some()) {
                    return Ok(());
                }
                if !self.is_live(&topic) {
                    // A pattern covers it, and nothing of it came yet.
                    self.admit(&topic)?;
                }
                if let Some(track) = self.topics.get_mut(&*topic) {
                    track.resync();
                }
                Ok(())
            }
            Asked::Other => Ok(()),
        }
    }

    fn subscribed(
        &mut self,
        request: &TopicRequest,
        result: &AckResult,
        asked_mode: Option<Mode>,
        snapshot: bool,
    ) -> Result<(), BrokenPromise> {
        let mode = result.mode.or(asked_mode);
        // The broker acked it, so it is a pattern; if it is not by our rules, nothing can be said about it.
        let Ok(pattern) = request.topic().parse::<Pattern>() else {
            return Ok(());
        };
        if pattern.is_wildcard() {
            self.wildcard_subscribed(pattern, mode, snapshot);
            return Ok(());
        }
        let topic = pattern.as_str();
        let brought = |w: &Wildcard| w.snapshots_since > 0 && w.pattern.matches(topic);
        let may_come = self.wildcards.iter().any(brought) || self.ended.iter().any(|p| p.matches(topic));
        if may_come && !self.is_live(topic) && self.is_covered(topic) {
            // Nothing came of it yet: the snapshot that a pattern brought, if only one that has ended, may be on its way.
            self.admit(topic)?.resync();
        }
        let track = self.topics.entry(topic.into()).or_default();
        if mode == Some(Mode::Snapshot) {
            track.one_shots = track.one_shots.saturating_add(1);
            return Ok(());
        }
        track.own = true;
        track.own_mode = mode;
        track.every = is_every(topic, track, &self.wildcards);
        track.acked(topic, result, request.position(), snapshot)
    }

    fn wildcard_subscribed(&mut self, pattern: Pattern, mode: Option<Mode>, snapshot: bool) {
        if mode == Some(Mode::Snapshot) {
            if !self.one_shots.contains(&pattern) {
                self.one_shots.push(pattern);
            }
            return;
        }
        if snapshot {
            self.wildcard_acks += 1;
        }
        let before = self.wildcards.iter().find(|w| w.pattern == pattern);
        let snapshots_since = match before {
            _ if snapshot => self.wildcard_acks,
            // The snapshots that the first subscription brought may still be on their way.
            Some(before) => before.snapshots_since,
            None => 0,
        };
        self.wildcards.retain(|w| w.pattern != pattern);
        self.wildcards.push(Wildcard {
            pattern,
            mode,
            snapshots_since,
        });
        for (topic, track) in self.topics.iter_mut().filter(|(_, track)| track.live) {
            track.every = is_every(topic, track, &self.wildcards);
        }
    }

    fn unsubscribed(&mut self, pattern: &str) {
        if let Some(track) = self.topics.get_mut(pattern) {
            track.own = false;
            track.live = self.wildcards.iter().any(|w| w.pattern.matches(pattern));
            track.every = is_every(pattern, track, &self.wildcards);
            return;
        }
        let at = self.wildcards.iter().position(|w| w.pattern.as_str() == pattern);
        let gone = at.map(|at| self.wildcards.remove(at));
        for (topic, track) in self.topics.iter_mut().filter(|(_, track)| track.live) {
            track.live = track.own || self.wildcards.iter().any(|w| w.pattern.matches(topic));
            track.every = is_every(topic, track, &self.wildcards);
            let seen = track.wildcard_acks_seen;
            if gone
                .as_ref()
                .is_some_and(|w| w.snapshots_since > seen && w.pattern.matches(topic))
            {
                track.resync(); // the snapshot that it brought may still be on its way
            }
        }
        if let Some(gone) = gone.filter(|w| w.snapshots_since > 0 && !self.ended.contains(&w.pattern)) {
            self.ended.push(gone.pattern);
        }
    }

    /// Whether a pattern with wildcards covers a topic.
    fn is_covered(&self, topic: &str) -> bool {
        self.wildcards.iter().any(|w| w.pattern.matches(topic))
    }

    /// The track of a topic that a pattern brings now.
    fn admit(&mut self, topic: &str) -> Result<&mut Track, BrokenPromise> {
        if !self.is_covered(topic) {
            return Err(self.not_covered(topic));
        }
        let track = self.topics.entry(topic.into()).or_default();
        track.joined();
        track.every = is_every(topic, track, &self.wildcards);
        Ok(track)
    }

    /// What it means that something of `topic` came without a subscription.
    fn not_covered(&self, topic: &str) -> BrokenPromise {
        let asked = self.asked.values().any(|asked| match asked {
            Asked::Subscribe { topics, .. } => topics.iter().any(|request| {
                request.topic() == topic || request.topic().parse::<Pattern>().is_ok_and(|p| p.matches(topic))
            }),
            _ => false,
        });
        let topic_name = topic.to_owned();
        if asked {
            BrokenPromise::BeforeAck { topic: topic_name }
        } else if self.topics.contains_key(topic) {
            BrokenPromise::AfterUnsubscribe { topic: topic_name }
        } else {
            BrokenPromise::NeverSubscribed { topic: topic_name }
        }
    }

    /// Whether a snapshot of an otherwise not subscribed topic was asked for.
    fn take_one_shot(&mut self, topic: &str) -> bool {
        if let Some(track) = self.topics.get_mut(topic).filter(|track| track.one_shots > 0) {
            track.one_shots -= 1;
            return true;
        }
        !self.is_covered(topic) && self.one_shots.iter().any(|pattern| pattern.matches(topic))
    }

    fn check_book(
        &mut self,
        topic: &str,
        apply: impl FnOnce(&mut L2Book) -> Result<(), BookError>,
    ) -> Result<(), BrokenPromise> {
        let Some(books) = self.books.as_mut().filter(|books| books.pattern.matches(topic)) else {
            return Ok(());
        };
        if !books.books.contains_key(topic) {
            books.books.insert(topic.into(), L2Book::default());
        }
        let verdict = books.books.get_mut(topic).map_or(Ok(()), apply);
        verdict.map_err(|error| BrokenPromise::Book {
            topic: topic.to_owned(),
            error,
        })
    }
}

/// Whether every message of `topic` must come: by its own subscription or by a pattern that matches it.
fn is_every(topic: &str, track: &Track, wildcards: &[Wildcard]) -> bool {
    let by_pattern = |w: &Wildcard| w.mode == Some(Mode::Every) && w.pattern.matches(topic);
    track.own && track.own_mode == Some(Mode::Every) || wildcards.iter().any(by_pattern)
}
