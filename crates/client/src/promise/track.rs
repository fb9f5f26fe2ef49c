//! What a client knows of one topic, and what may come next.
//!
//! A [`Track`] always takes the position that a message claims, also when it breaks a promise, so that one fault is
//! reported once. The exception is a number that goes backward: the highest one stays.

use tickwire_wire::message::{AckResult, GapReason, Mode, Position};
use tickwire_wire::{Epoch, Seq};

use super::broken::{BrokenPromise, RecoveryFault};

/// A topic of which every message must come, or may have to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EveryTopic<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Whether every message must come. Otherwise that depends on the topic's kind, which the broker has not told.
    pub certain: bool,
    /// Whether no subscription names the topic itself.
    pub by_pattern_only: bool,
    /// Whether one does, and alone would not have every message come.
    pub conflated_by_name: bool,
    /// As [`Checker::last`](super::Checker::last) has it.
    pub last: Option<Position>,
    /// As [`Checker::position`](super::Checker::position) has it.
    pub position: Option<Position>,
}

/// How sure the position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Standing {
    /// Nothing is known: the first message sets the position.
    #[default]
    Unknown,
    /// Counting from `seq`.
    At,
    /// `recovered:true`, and nothing came yet.
    Resumed,
    /// `recovered:false`: a snapshot or a gap must come first.
    Unresumed,
}

/// Whether a snapshot may come that is not the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Awaiting {
    /// No.
    #[default]
    Nothing,
    /// Before any update, or not at all: after a first ack or a gap.
    First,
    /// Of the message that has just come: of an event topic whose history had gone on, the snapshot is that of the next message.
    Repeat,
    /// At any time: after a `resync` or a further subscription, which updates already on their way may follow.
    AnyTime,
}

impl Awaiting {
    /// What is left of it when an update has come.
    const fn after_update(self) -> Self {
        match self {
            Self::First => Self::Repeat,
            Self::Repeat => Self::Nothing,
            other => other,
        }
    }
}

/// One topic.
#[derive(Debug, Default)]
pub(super) struct Track {
    epoch: Option<Epoch>,
    /// The last message that came or was named missing.
    seq: Seq,
    /// Another position to count from: that of an ack which overtook updates on their way.
    alternative: Option<Seq>,
    /// Where the topic was when a resume failed.
    head: Seq,
    /// Number of wildcard acks when the last snapshot came.
    pub(super) wildcard_acks_seen: u32,
    standing: Standing,
    awaiting: Awaiting,
    /// Whether a subscription covers the topic.
    pub(super) live: bool,
    /// Whether every message must come, by all subscriptions that cover the topic.
    pub(super) every: bool,
    /// Whether the topic is subscribed by its own name.
    pub(super) own: bool,
    /// The mode of that subscription, if it is known.
    pub(super) own_mode: Option<Mode>,
    /// One-shot snapshots that are still to come.
    pub(super) one_shots: u32,
}

impl Track {
    /// Where to resume from; none if the topic must be asked for anew.
    pub(super) fn position(&self) -> Option<Position> {
        match self.standing {
            Standing::Unknown => return None,
            // What the snapshot that is due would have told is not known: counting on from here would miss it.
            Standing::At if self.awaiting == Awaiting::First && self.seq != Seq::ZERO => return None,
            Standing::At | Standing::Resumed | Standing::Unresumed => {}
        }
        let epoch = self.epoch.clone()?;
        Some(Position { epoch, seq: self.seq })
    }

    /// The last message that came or was named missing, whether or not it can be resumed from.
    pub(super) fn last(&self) -> Option<Position> {
        let epoch = self.epoch.clone()?;
        (self.standing != Standing::Unknown).then_some(Position { epoch, seq: self.seq })
    }

    /// A pattern began to cover the topic: the first message sets the position.
    pub(super) fn joined(&mut self) {
        self.live = true;
        self.standing = Standing::Unknown;
        self.awaiting = Awaiting::Nothing;
        self.alternative = None;
        self.epoch = None;
    }

    /// A snapshot was asked for.
    pub(super) fn resync(&mut self) {
        self.awaiting = Awaiting::AnyTime;
    }

    /// The topic's own subscription was acked.
    pub(super) fn acked(
        &mut self,
        topic: &str,
        result: &AckResult,
        since: Option<&Position>,
        snapshot: bool,
    ) -> Result<(), BrokenPromise> {
        let was_live = std::mem::replace(&mut self.live, true);
        let verdict = match (since, result.recovered == Some(true)) {
            (Some(since), true) => self.resumed(since, result),
            (Some(since), false) => {
                self.not_resumed(since, result, snapshot);
                Ok(())
            }
            (None, unasked) => {
                self.begin(was_live, result, snapshot);
                if unasked {
                    Err(RecoveryFault::Unasked)
                } else {
                    Ok(())
                }
            }
        };
        verdict.map_err(|fault| BrokenPromise::FalseRecovery {
            topic: topic.to_owned(),
            fault,
        })
    }

    /// A subscription without a position to resume from.
    fn begin(&mut self, was_live: bool, result: &AckResult, snapshot: bool) {
        let counting = was_live && self.standing != Standing::Unknown && self.epoch == result.epoch;
        if counting {
            // Updates up to the ack's number may still be on their way.
            self.alternative = result.seq;
            if snapshot {
                self.awaiting = Awaiting::AnyTime;
            }
            return;
        }
        self.epoch.clone_from(&result.epoch);
        self.alternative = None;
        self.awaiting = if snapshot {
            Awaiting::First
        } else if was_live && self.awaiting != Awaiting::Nothing {
            // One that was asked for before is still on its way.
            Awaiting::AnyTime
        } else {
            Awaiting::Nothing
        };
        self.standing = if result.seq.is_some() {
            Standing::At
        } else {
            Standing::Unknown
        };
        self.seq = result.seq.unwrap_or_default();
    }

    fn resumed(&mut self, since: &Position, result: &AckResult) -> Result<(), RecoveryFault> {
        self.epoch = Some(since.epoch.clone());
        self.seq = since.seq;
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
        // A refused resume may bring a snapshot whatever the request said of snapshots.
        self.awaiting = Awaiting::First;
        self.standing = if same_lineage && since.seq > head {
            // The position was never one of this lineage: nothing can be said of what is missing.
            Standing::Unknown
        } else if snapshot {
            Standing::Unresumed
        } else {
            self.alternative = Some(head);
            Standing::At
        };
    }

    /// An `update` came.
    #[inline]
    pub(super) fn update(&mut self, topic: &str, seq: Seq) -> Result<(), BrokenPromise> {
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
        match standing {
            Standing::Unknown => Ok(()),
            // Of a topic that had no message at the ack there is neither snapshot nor gap to send.
            Standing::Unresumed if self.head != Seq::ZERO => Err(BrokenPromise::NoPosition {
                topic: topic.to_owned(),
                seq,
            }),
            _ if is_next || continues_ack || !self.every => Ok(()),
            Standing::Resumed => Err(BrokenPromise::FalseRecovery {
                topic: topic.to_owned(),
                fault: RecoveryFault::Hole { expected, got: seq },
            }),
            Standing::At | Standing::Unresumed => Err(BrokenPromise::Hole {
                topic: topic.to_owned(),
                expected,
                got: seq,
            }),
        }
    }

    /// A `snapshot` came. `solicited`: something that is not known here asked for it.
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
        let last = self.seq;
        let same_lineage = self.epoch.as_ref().is_none_or(|known| known == epoch);
        if self.epoch.as_ref() != Some(epoch) {
            self.epoch = Some(epoch.clone());
        }
        if !same_lineage || standing == Standing::Unknown {
            self.seq = seq;
            return Ok(());
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

    /// A `gap` came: the messages `from` to `to` will not.
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
        let counts = silent.is_none() && standing != Standing::Unknown;
        self.seq = if counts { last.max(to) } else { to };
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
            // The numbers before it are those of another lineage.
            Standing::Unresumed if reason == GapReason::Epoch => return Ok(()),
            _ if to < from => return Err(BrokenPromise::GapEmpty { topic, from, to }),
            Standing::Unknown => return Ok(()),
            Standing::Resumed if reason != GapReason::Slow => {
                let fault = RecoveryFault::Gap(from);
                return Err(BrokenPromise::FalseRecovery { topic, fault });
            }
            Standing::Resumed | Standing::Unresumed | Standing::At => {}
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

fn backward(topic: &str, last: Seq, got: Seq) -> BrokenPromise {
    let topic = topic.to_owned();
    if got == last {
        BrokenPromise::Duplicate { topic, seq: got }
    } else {
        BrokenPromise::Backward { topic, last, got }
    }
}
