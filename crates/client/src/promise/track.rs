//! What a client knows of one topic, and what may come next.
//!
//! A [`Track`] takes the position that a message claims even if the message breaks a promise, so that a fault is
//! reported once. The exception is a number that goes backward: the highest one stays.

use tickwire_wire::message::{AckResult, GapReason, Mode, Position, RequestId};
use tickwire_wire::{Epoch, Seq};

use super::broken::{BrokenPromise, RecoveryFault, backward};
use super::standing::{Awaiting, Standing};
use crate::planted::{Fault, is_planted};

/// The track of one topic.
#[derive(Debug, Default)]
pub(super) struct Track {
    epoch: Option<Epoch>,
    /// The last message that came or that a gap named.
    pub(super) seq: Seq,
    /// A second position to count from: that of an ack which overtook updates.
    alternative: Option<Seq>,
    /// The topic's last number when a resume failed.
    head: Seq,
    /// The number up to which a resume promised all messages, or the newest.
    pub(super) promised: Seq,
    /// The request that began the subscription: its `synced` says that everything it begins with has come.
    pub(super) begun_by: Option<RequestId>,
    /// The last message of the replay from a moment, until the broker says that the client has caught up.
    pub(super) replayed_to: Option<Seq>,
    /// The request whose pattern was to resume the topic.
    pub(super) resumed_by: Option<RequestId>,
    /// Whether the pattern resumed it; `None` until that shows.
    pub(super) was_resumed: Option<bool>,
    /// Whether only snapshots have come since the subscription began. They may be those of another request.
    quiet: bool,
    /// Whether the topic was live on the previous connection and is not live again yet.
    pub(super) left_off: bool,
    /// The number of wildcard acks when the last snapshot came.
    pub(super) wildcard_acks_seen: u32,
    standing: Standing,
    awaiting: Awaiting,
    /// Whether a subscription covers the topic.
    pub(super) live: bool,
    /// Whether every message must come, by all subscriptions that cover the topic.
    pub(super) every: bool,
    /// Whether that depends on the topic's kind, which the broker has not told.
    pub(super) may_be_every: bool,
    /// Whether the topic is subscribed by its own name.
    pub(super) own: bool,
    /// The mode of the topic's own subscription, if it is known.
    pub(super) own_mode: Option<Mode>,
    /// How many one-shots are still to come.
    pub(super) one_shots: u32,
    /// Whether the topic has ended, and nothing has said since that it was made again.
    is_ended: bool,
}

impl Track {
    /// The position to resume from; `None` if the topic must be subscribed anew.
    pub(super) fn position(&self) -> Option<Position> {
        match self.standing {
            Standing::Unknown => return None,
            // A snapshot is due, and its content is not known. Counting on from here would miss it.
            Standing::At if self.awaiting == Awaiting::First && self.seq != Seq::ZERO => return None,
            Standing::At | Standing::Resumed | Standing::Unresumed | Standing::Either => {}
        }
        let epoch = self.epoch.clone()?;
        let before = u64::from(is_planted(Fault::ResumeFromWrongSeq));
        let seq = Seq(self.seq.0.saturating_sub(before));
        Some(Position { epoch, seq })
    }

    /// The last message that came or that a gap named, whether or not the topic can be resumed from it.
    pub(super) fn last(&self) -> Option<Position> {
        let epoch = self.epoch.clone()?;
        (self.standing != Standing::Unknown).then_some(Position { epoch, seq: self.seq })
    }

    /// A new connection begins: nothing is subscribed.
    pub(super) fn reconnected(&mut self) {
        self.left_off |= self.live;
        self.live = false;
        self.own = false;
        self.one_shots = 0;
        self.begun_by = None;
    }

    /// A pattern began to cover the topic: the first message sets the position.
    pub(super) fn admitted(&mut self) {
        self.begins();
        self.standing = Standing::Unknown;
        self.awaiting = Awaiting::Nothing;
        self.alternative = None;
        self.epoch = None;
    }

    /// A pattern of request `id` is to resume the topic after `since`.
    pub(super) fn resumed_by_pattern(&mut self, id: RequestId, since: Position) {
        self.begins();
        self.resumed_by = Some(id);
        self.standing = Standing::Either;
        self.awaiting = Awaiting::Nothing;
        self.alternative = None;
        self.epoch = Some(since.epoch);
        self.seq = since.seq;
        self.was_resumed = None;
    }

    fn begins(&mut self) {
        self.live = true;
        self.left_off = false;
        self.quiet = true;
        self.begun_by = None;
        self.resumed_by = None;
        self.promised = Seq::ZERO;
        self.replayed_to = None;
        self.is_ended = false;
    }

    /// Checks a `joined`, which tells the topic's lineage and where its subscription begins.
    pub(super) fn joined(&mut self, topic: &str, epoch: &Epoch, seq: Seq) -> Result<(), BrokenPromise> {
        let same_lineage = self.epoch.as_ref() == Some(epoch);
        let is_first = std::mem::replace(&mut self.quiet, false);
        self.is_ended = false;
        if same_lineage && !is_first {
            return Err(BrokenPromise::JoinedAgain {
                topic: topic.to_owned(),
            });
        }
        self.epoch = Some(epoch.clone());
        self.seq = seq;
        if std::mem::replace(&mut self.standing, Standing::At) == Standing::Either {
            // The topic did not exist when its position was sent. It counts as one of the pattern's other topics: a
            // snapshot may come.
            self.wildcard_acks_seen = 0;
        }
        self.alternative = None;
        Ok(())
    }

    /// Checks an `end`. Should the topic be made again, a `joined` tells its lineage.
    pub(super) fn ended(&mut self, topic: &str) -> Result<(), BrokenPromise> {
        let verdict = self.goes_on(topic);
        self.epoch = None;
        self.seq = Seq::ZERO;
        self.standing = Standing::Unknown;
        self.awaiting = Awaiting::Nothing;
        self.alternative = None;
        self.promised = Seq::ZERO;
        self.replayed_to = None;
        self.quiet = true; // an ack may tell the next lineage before its `joined`
        self.is_ended = true;
        verdict
    }

    /// Checks that the topic has not ended: nothing comes of it until a `joined`. The fault is reported once.
    fn goes_on(&mut self, topic: &str) -> Result<(), BrokenPromise> {
        match std::mem::replace(&mut self.is_ended, false) {
            true => Err(BrokenPromise::AfterEnd {
                topic: topic.to_owned(),
            }),
            false => Ok(()),
        }
    }

    /// A snapshot was asked for.
    pub(super) fn resync(&mut self) {
        self.awaiting = Awaiting::AnyTime;
    }

    /// Checks the ack of the topic's own subscription.
    pub(super) fn acked(
        &mut self,
        topic: &str,
        id: RequestId,
        result: &AckResult,
        since: Option<&Position>,
        snapshot: bool,
    ) -> Result<(), BrokenPromise> {
        let was_live = self.live;
        if !was_live {
            self.begins();
        }
        self.is_ended = false;
        let brought_by = self.begun_by.replace(id);
        let verdict = match (since, result.recovered == Some(true)) {
            (Some(since), true) => self.resumed(since, result),
            (Some(since), false) => {
                self.not_resumed(since, result, snapshot);
                Ok(())
            }
            (None, unasked) => {
                if self.begin(was_live, result, snapshot) {
                    self.begun_by = brought_by; // the earlier request still owes what the subscription begins with
                }
                (!unasked).then_some(()).ok_or(RecoveryFault::Unasked)
            }
        };
        verdict.map_err(|fault| BrokenPromise::FalseRecovery {
            topic: topic.to_owned(),
            fault,
        })
    }

    /// Begins a subscription without a position to resume from. Returns whether the topic goes on as before.
    fn begin(&mut self, was_live: bool, result: &AckResult, snapshot: bool) -> bool {
        let same_lineage = self.epoch == result.epoch;
        let counting = match self.standing {
            Standing::Unknown => false,
            // A pattern was to resume the topic and did not. That is yet to be told if the topic had a message.
            Standing::Either => (same_lineage && self.seq == Seq::ZERO) || result.seq > Some(Seq::ZERO),
            _ => same_lineage,
        };
        if was_live && counting {
            // Updates up to the ack's number may still be on their way.
            self.alternative = result.seq;
            if !same_lineage {
                // The topic was not resumed. What it missed is yet to be told, unless it had no position and wanted no
                // snapshot.
                self.epoch.clone_from(&result.epoch);
                (self.seq, self.standing, self.awaiting) = (Seq::ZERO, Standing::At, Awaiting::First);
            }
            if snapshot {
                self.awaiting = Awaiting::AnyTime;
            }
            return true;
        }
        self.epoch.clone_from(&result.epoch);
        self.alternative = None;
        self.awaiting = if snapshot {
            Awaiting::First
        } else if was_live && self.awaiting != Awaiting::Nothing {
            // A snapshot that was asked for before is still on its way.
            Awaiting::AnyTime
        } else {
            Awaiting::Nothing
        };
        self.standing = result.seq.map_or(Standing::Unknown, |_| Standing::At);
        self.seq = result.seq.unwrap_or_default();
        false
    }

    /// An ack tells the position of a topic without earlier messages. This may be a topic that a pattern was to resume,
    /// if it had no message.
    pub(super) fn stands_at(&mut self, result: &AckResult) {
        if let (Some(epoch), Some(seq)) = (&result.epoch, result.seq)
            && (self.standing == Standing::Unknown || (self.standing == Standing::Either && seq == Seq::ZERO))
        {
            self.epoch = Some(epoch.clone());
            self.seq = seq;
            self.standing = Standing::At;
            self.alternative = None;
        }
    }

    fn resumed(&mut self, since: &Position, result: &AckResult) -> Result<(), RecoveryFault> {
        self.epoch = Some(since.epoch.clone());
        self.seq = since.seq;
        self.promised = result.seq.unwrap_or(since.seq);
        self.alternative = None;
        self.standing = Standing::Resumed;
        self.awaiting = Awaiting::Nothing;
        if let Some(epoch) = result.epoch.as_ref().filter(|epoch| **epoch != since.epoch) {
            self.epoch = Some(epoch.clone());
            self.standing = Standing::Unknown;
            return Err(RecoveryFault::OtherEpoch(epoch.clone()));
        }
        match result.seq {
            Some(head) if head < since.seq => {
                self.seq = head;
                Err(RecoveryFault::Ahead(head))
            }
            _ => Ok(()),
        }
    }

    fn not_resumed(&mut self, since: &Position, result: &AckResult, snapshot: bool) {
        let head = result.seq.unwrap_or(since.seq);
        let same_lineage = result.epoch.as_ref() == Some(&since.epoch);
        self.epoch.clone_from(&result.epoch);
        self.alternative = None;
        self.head = head;
        self.seq = if same_lineage { since.seq } else { Seq::ZERO };
        // A refused resume may bring a snapshot even if the request wanted none.
        self.awaiting = Awaiting::First;
        self.standing = if same_lineage && since.seq > head {
            // The position was never one of this lineage, so what is missing is unknown.
            Standing::Unknown
        } else if snapshot {
            Standing::Unresumed
        } else {
            self.alternative = Some(head);
            Standing::At
        };
    }

    /// Whether request `id` still owes something of the topic.
    pub(super) fn owes(&self, id: RequestId) -> bool {
        let is_owed = match self.standing {
            Standing::Unresumed => self.head != Seq::ZERO,
            // The snapshot or messages of a replay are still due.
            Standing::At if self.quiet && self.awaiting == Awaiting::First => self.seq != Seq::ZERO,
            Standing::Resumed | Standing::At => self.promised > self.seq,
            Standing::Unknown | Standing::Either => false,
        };
        let is_owed = is_owed || self.replayed_to.is_some();
        self.live && self.begun_by == Some(id) && is_owed
    }

    /// Checks an `update`.
    #[inline]
    pub(super) fn update(&mut self, topic: &str, seq: Seq) -> Result<(), BrokenPromise> {
        self.quiet = false;
        let is_next = self.seq.0.checked_add(1) == Some(seq.0);
        if is_next && self.standing == Standing::At && self.alternative.is_none() {
            self.seq = seq;
            self.awaiting = self.awaiting.after_update();
            return Ok(());
        }
        self.unusual_update(topic, seq, is_next)
    }

    fn unusual_update(&mut self, topic: &str, seq: Seq, is_next: bool) -> Result<(), BrokenPromise> {
        let last = self.seq;
        let expected = Seq(last.0.saturating_add(1));
        let standing = std::mem::replace(&mut self.standing, Standing::At);
        if standing == Standing::Unknown && self.epoch.is_none() {
            self.seq = seq;
            self.goes_on(topic)?;
            return Err(BrokenPromise::UnknownLineage {
                topic: topic.to_owned(),
                seq,
            });
        }
        if standing != Standing::Unknown && seq <= last {
            self.standing = standing;
            return Err(backward(topic, last, seq));
        }
        self.seq = seq;
        self.awaiting = self.awaiting.after_update();
        let continues_ack = self
            .alternative
            .is_some_and(|base| base.0.checked_add(1) == Some(seq.0));
        self.alternative = self.alternative.filter(|base| seq < *base);
        if standing == Standing::Either {
            self.was_resumed = Some(true);
        }
        match standing {
            Standing::Unknown => Ok(()),
            // If the topic had no message at the ack, there is neither a snapshot nor a gap to send.
            Standing::Unresumed if self.head != Seq::ZERO => Err(BrokenPromise::NoPosition {
                topic: topic.to_owned(),
                seq,
            }),
            _ if is_next || continues_ack || !self.every => Ok(()),
            Standing::Resumed => Err(BrokenPromise::FalseRecovery {
                topic: topic.to_owned(),
                fault: RecoveryFault::Hole { expected, got: seq },
            }),
            Standing::At | Standing::Unresumed | Standing::Either => Err(BrokenPromise::Hole {
                topic: topic.to_owned(),
                expected,
                got: seq,
            }),
        }
    }

    /// Checks a `snapshot`. `solicited` says that a request not known here asked for it.
    pub(super) fn snapshot(
        &mut self,
        topic: &str,
        epoch: &Epoch,
        seq: Seq,
        solicited: bool,
    ) -> Result<(), BrokenPromise> {
        let awaited = solicited
            || match self.awaiting {
                Awaiting::Nothing => false,
                Awaiting::Repeat => seq == self.seq,
                Awaiting::First | Awaiting::AnyTime => true,
            };
        let standing = std::mem::replace(&mut self.standing, Standing::At);
        self.awaiting = Awaiting::Nothing;
        self.alternative = None;
        if standing == Standing::Either {
            // A resumed topic would have got the missed messages first. The snapshot's number may be below the position
            // to resume from if that was of another lineage or had not been reached.
            self.was_resumed = (!awaited).then_some(false);
            self.epoch = Some(epoch.clone());
            self.seq = seq;
            return Ok(());
        }
        let last = self.seq;
        let same_lineage = self.epoch.as_ref().is_none_or(|known| known == epoch);
        if self.epoch.as_ref() != Some(epoch) {
            self.epoch = Some(epoch.clone());
        }
        if !same_lineage || standing == Standing::Unknown {
            self.seq = seq;
            return self.goes_on(topic);
        }
        self.seq = last.max(seq);
        if seq < last {
            return Err(backward(topic, last, seq));
        }
        if awaited {
            return Ok(());
        }
        if standing == Standing::Resumed && self.every {
            return Err(BrokenPromise::FalseRecovery {
                topic: topic.to_owned(),
                fault: RecoveryFault::Snapshot(seq),
            });
        }
        if seq == last {
            return Err(backward(topic, last, seq));
        }
        if self.every && seq.0 - last.0 > 1 {
            return Err(BrokenPromise::Hole {
                topic: topic.to_owned(),
                expected: Seq(last.0 + 1),
                got: seq,
            });
        }
        Ok(())
    }

    /// Checks a `gap`, which says that the messages `from` to `to` will not come.
    pub(super) fn gap(
        &mut self,
        topic: &str,
        epoch: &Epoch,
        from: Seq,
        to: Seq,
        reason: GapReason,
    ) -> Result<(), BrokenPromise> {
        let known = self.epoch.replace(epoch.clone());
        let silent = known.filter(|known| known != epoch);
        let last = self.seq;
        let alternative = self.alternative.take();
        let standing = std::mem::replace(&mut self.standing, Standing::At);
        self.awaiting = Awaiting::First;
        self.quiet = false;
        // A pattern was to resume the topic from a position of another lineage, or one that this lineage has not
        // reached, or the topic did not exist.
        let anew = match reason {
            GapReason::Slow => standing == Standing::Either && (silent.is_some() || from == Seq::ZERO.next()),
            GapReason::Epoch => standing == Standing::Either,
            GapReason::History => false,
        };
        if standing == Standing::Either && !(anew && reason == GapReason::Slow) {
            self.was_resumed = Some(reason == GapReason::Slow);
        }
        let counts = silent.is_none() && standing != Standing::Unknown && !anew;
        self.seq = if counts { last.max(to) } else { to };
        self.goes_on(topic)?;
        if anew {
            return Ok(());
        }
        let topic = topic.to_owned();
        if let Some(known) = silent {
            let got = epoch.clone();
            return match reason {
                GapReason::Epoch => Ok(()),
                GapReason::Slow | GapReason::History => Err(BrokenPromise::SilentEpoch { topic, known, got }),
            };
        }
        match standing {
            Standing::Unresumed if to < self.head => {
                let head = self.head;
                return Err(BrokenPromise::PartialReplay { topic, head, to });
            }
            // The numbers before the gap are those of another lineage.
            Standing::Unresumed if reason == GapReason::Epoch => return Ok(()),
            _ if to < from => return Err(BrokenPromise::GapEmpty { topic, from, to }),
            Standing::Unknown => return Ok(()),
            Standing::Resumed if reason != GapReason::Slow => {
                let fault = RecoveryFault::Gap(from);
                return Err(BrokenPromise::FalseRecovery { topic, fault });
            }
            Standing::Resumed | Standing::Unresumed | Standing::At | Standing::Either => {}
        }
        if from <= last {
            return Err(BrokenPromise::GapOverlaps { topic, last, from });
        }
        let continues = |base: Seq| base.0.checked_add(1) == Some(from.0);
        if self.every && !continues(last) && !alternative.is_some_and(continues) {
            let expected = Seq(last.0.saturating_add(1));
            return Err(BrokenPromise::GapLeavesHole {
                topic,
                expected,
                from,
            });
        }
        Ok(())
    }
}
