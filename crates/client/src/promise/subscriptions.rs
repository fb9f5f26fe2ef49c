//! Subscriptions: what an `ack` changes, and which subscriptions cover a topic.

use tickwire_wire::message::{AckResult, RequestId, TopicRequest};
use tickwire_wire::{Mode, Pattern, Seq};

use super::answers::{Asked, same_topics};
use super::syncing::Syncing;
use super::track::Track;
use super::{BrokenPromise, Checker, Wildcard};

/// A `subscribe` that was acked.
#[derive(Debug, Clone, Copy)]
struct Subscribing {
    id: RequestId,
    mode: Option<Mode>,
    snapshot: bool,
}

impl Checker {
    pub(super) fn ack(&mut self, id: RequestId, results: &[AckResult]) -> Result<(), BrokenPromise> {
        match self.answered(id)? {
            Asked::Subscribe {
                topics,
                mode,
                snapshot,
                sent,
            } => {
                let ahead = self.sent_ahead(sent);
                same_topics(id, topics.iter().map(TopicRequest::topic), results)?;
                let mut verdict = Ok(());
                let mut resuming = Vec::new();
                for (request, result) in topics.iter().zip(results) {
                    if result.error.is_none() {
                        let asked = Subscribing { id, mode, snapshot };
                        let (was_live, covered) =
                            (self.is_live(&result.topic), self.is_covered(&result.topic));
                        verdict = verdict.and(self.subscribed(request, result, asked));
                        resuming.extend(self.resume_pattern(id, request, result, &ahead));
                        if was_live || result.mode.or(mode) == Some(Mode::Snapshot) {
                            self.book_acked(result);
                        } else {
                            // A pattern that covers the topic may have brought the snapshot already.
                            self.book_subscribed(result, request.position(), snapshot && !covered);
                        }
                    }
                }
                let topics = topics.into_iter().map(TopicRequest::into_topic).collect();
                self.syncing.insert(id, Syncing { topics, resuming });
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
                let was_live = self.is_live(&topic);
                if !was_live {
                    // A pattern covers the topic, and nothing of it has come yet.
                    self.admit(&topic)?;
                }
                if let Some(track) = self.topics.get_mut(&*topic) {
                    if let Some(result) = results.first() {
                        track.stands_at(result);
                    }
                    track.resync();
                }
                for result in results {
                    if was_live {
                        self.book_acked(result);
                    } else {
                        self.book_subscribed(result, None, false);
                    }
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
        asked: Subscribing,
    ) -> Result<(), BrokenPromise> {
        let Subscribing { id, mode, snapshot } = asked;
        let mode = result.mode.or(mode);
        // The broker acked it, so it should be a pattern. If it does not parse as one, nothing can be checked of it.
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
            // Nothing of the topic has come yet. A snapshot that a pattern asked for, even one that has ended, may
            // still be on its way.
            self.admit(topic)?.resync();
        }
        if mode == Some(Mode::Snapshot) && !self.is_live(topic) && self.is_covered(topic) {
            self.admit(topic)?;
        }
        let track = self.topics.entry(topic.into()).or_default();
        if mode == Some(Mode::Snapshot) {
            if track.live {
                track.stands_at(result);
            }
            // A topic without a message has no snapshot, unless it is live: then the ack tells this connection's place
            // in it.
            let comes = u32::from(track.live || result.seq != Some(Seq::ZERO));
            track.one_shots = track.one_shots.saturating_add(comes);
            return Ok(());
        }
        track.own = true;
        track.own_mode = mode;
        track.cover(topic, &self.wildcards);
        // A broker that does not know `from` takes no note of it.
        let replay = result.replay.filter(|_| request.from().is_some());
        let verdict = track.acked(
            topic,
            id,
            result,
            request.position(),
            snapshot && replay.is_none(),
        );
        if let Some(replay) = replay {
            track.replays(replay.to_seq);
        }
        verdict
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
            // The snapshots that the first subscription asked for may still be on their way.
            Some(before) => before.snapshots_since,
            None => 0,
        };
        self.wildcards.retain(|w| w.pattern != pattern);
        let begun = pattern.clone();
        self.wildcards.push(Wildcard {
            pattern,
            mode,
            snapshots_since,
        });
        for (topic, track) in &mut self.topics {
            if track.live {
                track.cover(topic, &self.wildcards);
            } else if track.left_off && begun.matches(topic) {
                track.left_off = false; // it begins anew now, unless the request has a position for it
            }
        }
    }

    fn unsubscribed(&mut self, pattern: &str) {
        if let Some(track) = self.topics.get_mut(pattern) {
            track.own = false;
            track.live = self.wildcards.iter().any(|w| w.pattern.matches(pattern));
            track.cover(pattern, &self.wildcards);
            return;
        }
        let at = self.wildcards.iter().position(|w| w.pattern.as_str() == pattern);
        let gone = at.map(|at| self.wildcards.remove(at));
        for (topic, track) in self.topics.iter_mut().filter(|(_, track)| track.live) {
            track.live = track.own || self.wildcards.iter().any(|w| w.pattern.matches(topic));
            track.cover(topic, &self.wildcards);
            let seen = track.wildcard_acks_seen;
            if gone
                .as_ref()
                .is_some_and(|w| w.snapshots_since > seen && w.pattern.matches(topic))
            {
                track.resync(); // the snapshot that the pattern asked for may still be on its way
            }
        }
        if let Some(gone) = gone.filter(|w| w.snapshots_since > 0 && !self.ended.contains(&w.pattern)) {
            self.ended.push(gone.pattern);
        }
    }

    /// Whether a pattern with wildcards covers `topic`.
    pub(super) fn is_covered(&self, topic: &str) -> bool {
        self.wildcards.iter().any(|w| w.pattern.matches(topic))
    }

    /// Begins the track of a topic that a pattern now brings. Fails if no pattern covers it.
    pub(super) fn admit(&mut self, topic: &str) -> Result<&mut Track, BrokenPromise> {
        if !self.is_covered(topic) {
            return Err(self.not_covered(topic));
        }
        let track = self.topics.entry(topic.into()).or_default();
        track.admitted();
        if self.ended.iter().any(|pattern| pattern.matches(topic)) {
            track.resync(); // the snapshot that the pattern asked for may still be on its way
        }
        track.cover(topic, &self.wildcards);
        Ok(track)
    }

    /// The fault when a message of `topic` came without a subscription.
    pub(super) fn not_covered(&self, topic: &str) -> BrokenPromise {
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

    /// Whether a one-shot of `topic`, which is not subscribed otherwise, was asked for. Uses it up.
    pub(super) fn take_one_shot(&mut self, topic: &str) -> bool {
        if self.is_covered(topic) {
            return false; // whichever request it answers, it tells the topic's position
        }
        if let Some(track) = self.topics.get_mut(topic).filter(|track| track.one_shots > 0) {
            track.one_shots -= 1;
            return true;
        }
        self.one_shots.iter().any(|pattern| pattern.matches(topic))
    }
}

impl Track {
    /// Sets which messages the topic needs by its own subscription and by the patterns that match it, as far as that is
    /// known.
    pub(super) fn cover(&mut self, topic: &str, wildcards: &[Wildcard]) {
        let mut covering = wildcards.iter().filter(|w| w.pattern.matches(topic));
        let own = self.own && self.own_mode == Some(Mode::Every);
        let every = own || covering.clone().any(|w| w.mode == Some(Mode::Every));
        if std::mem::replace(&mut self.every, every) != every {
            self.promised = Seq::ZERO; // what comes of it becomes another thing
        }
        // A pattern without a mode may match several kinds: the mode then depends on the topic's kind.
        self.may_be_every = !self.own && covering.any(|w| w.mode.is_none());
    }
}
