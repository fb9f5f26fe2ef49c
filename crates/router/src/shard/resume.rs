//! Where a subscription begins: at the head of its topic, or at the client's position.
//!
//! A topic is resumed wholly or not at all, whether it was named or matches a pattern. Messages of topics by a pattern,
//! including the gaps of refused resumes, are pulled in as there is room, so none of them pile up.

use std::sync::Arc;

use tickwire_wire::error::ErrorCode;
use tickwire_wire::message::{AckResult, GapReason, Mode, Position, Positions, Since, TopicRequest};
use tickwire_wire::{Control, Kind, Micros, Moment, Pattern, Refusal, ReplaySpeed, RequestId, Seq};

use super::requests::TopicAnswer;
use super::sessions::SessionMut;
use super::{Shard, Subscriber};
use crate::cell::{Attached, Resume, TopicCell};
use crate::pace::Pace;
use crate::planted::{Fault, is_planted};
use crate::positions::{LeftAt, Missed, Places};
use crate::session::SessionId;

/// Where a client asks for a subscription to a topic to begin.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outset<'a> {
    /// At the head.
    Head,
    /// Behind the client's position.
    Since(&'a Position),
    /// With the first message from a moment on, at a speed.
    From(Moment, Option<ReplaySpeed>),
}

impl<'a> Outset<'a> {
    pub(super) fn of(wanted: &'a TopicRequest) -> Self {
        match (wanted.position(), wanted.from()) {
            (Some(position), _) => Self::Since(position),
            (None, Some(moment)) => Self::From(moment, wanted.speed()),
            (None, None) => Self::Head,
        }
    }
}

/// How a subscription came to its topic. This decides how its client is told where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// By its name: the `ack` says where it begins, and a gap follows the `ack`.
    ByName,
    /// By a pattern: the first message of the topic says it.
    ByPattern,
}

/// How a subscription began.
pub(super) struct Begun {
    /// The position of its topic.
    pub(super) at: Attached,
    /// Whether it continues from the client's position.
    pub(super) recovered: bool,
    /// What it missed, for the gap behind the `ack` of its name.
    missed: Option<Missed>,
}

/// Checks that `since` has a form that `pattern` can have.
pub(super) fn check_since(
    pattern: &Pattern,
    since: Option<&Since>,
    mode: Option<Mode>,
) -> Result<(), Refusal> {
    let reason = match (since, pattern.is_wildcard()) {
        (Some(Since::One(_)), true) => "\"since\" of a pattern has a field \"seqs\": the numbers by topic",
        (Some(Since::Many(_)), false) => "\"since\" of a topic without wildcards has a field \"seq\"",
        (Some(Since::Many(_)), true) if mode == Some(Mode::Snapshot) => {
            "mode snapshot: a snapshot is not resumed"
        }
        _ => return Ok(()),
    };
    Err(Refusal::bad_request(reason))
}

impl Shard {
    /// Keeps the positions of a `positions` request for the session's next `subscribe`.
    pub(super) fn keep_positions(
        &mut self,
        id: SessionId,
        request: RequestId,
        since: &[Positions],
        now: Micros,
    ) {
        let most = self.settings.session_limits.topics;
        let more = self.resolve(id, since, now);
        let Some(session) = self.sessions.open(id) else {
            return;
        };
        let kept = session.subscriptions.positions.get_or_insert_default();
        let new = more.keys().filter(|topic| !kept.contains_key(topic)).count();
        if kept.len() + new > most {
            let reason = format!(
                "{new} positions more; the connection has sent {} ahead and may send {most}",
                kept.len()
            );
            let refusal = Refusal::new(ErrorCode::LimitExceeded, reason);
            return self.refuse(id, Some(request), refusal, now);
        }
        kept.extend(more);
        self.accepted(id);
        self.ack(id, request, Vec::new(), now);
    }

    /// The positions of a pattern's `since`, if it has one.
    pub(super) fn places_of(&mut self, id: SessionId, since: Option<&Since>, now: Micros) -> Option<Places> {
        match since? {
            Since::Many(since) => Some(self.resolve(id, since, now)),
            Since::One(_) => None,
        }
    }

    /// Positions by topic, without those of topics that do not exist yet. The session pays for the looks at topics.
    fn resolve(&mut self, id: SessionId, since: &[Positions], now: Micros) -> Places {
        let looks = since.iter().map(|lineage| lineage.seqs.len()).sum();
        self.charge(id, looks, now);
        self.piece.visited += looks;
        let mut positions = Places::default();
        for lineage in since {
            for (topic, seq) in &lineage.seqs {
                if let Some(cell) = self.find(topic) {
                    positions.insert(cell.id(), cell.left_at(&lineage.epoch, *seq));
                }
            }
        }
        positions
    }
}

impl SessionMut<'_> {
    /// Begins the subscription, by its name, to a topic that the session does not have.
    pub(super) fn subscribe_anew(
        &mut self,
        cell: &Arc<TopicCell>,
        outset: Outset<'_>,
        wanted: (Pace, bool),
        result: AckResult,
    ) -> TopicAnswer {
        let since = match outset {
            Outset::From(moment, speed) => {
                return self.subscribe_from(cell, (moment, speed), wanted.0, result);
            }
            Outset::Since(since) => Some(since),
            Outset::Head => None,
        };
        let left_at = since.map(|since| cell.left_at(&since.epoch, since.seq));
        let Begun {
            at,
            recovered,
            missed,
        } = self.begin(cell, left_at, wanted, Named::ByName);
        let gap = missed.map(|missed| Control::Gap {
            topic: cell.topic().to_string(),
            epoch: at.epoch.clone(),
            from: missed.from,
            to: at.seq,
            reason: missed.reason,
        });
        let result = AckResult {
            epoch: Some(at.epoch),
            seq: Some(at.seq),
            recovered: since.map(|_| recovered),
            ..result
        };
        TopicAnswer {
            behind: gap,
            ..TopicAnswer::new(result)
        }
    }

    /// Begins a subscription to a topic that the session does not have, from the client's position if that is possible.
    pub(super) fn begin(
        &mut self,
        cell: &Arc<TopicCell>,
        left_at: Option<LeftAt>,
        (pace, snapshot): (Pace, bool),
        named: Named,
    ) -> Begun {
        let introduced = named == Named::ByName;
        let Some(left_at) = left_at else {
            let at = cell.attach(self.shard);
            self.slots[cell.id()].learn(at.seq, &mut self.counts.ledger);
            self.join(cell, at.seq, pace, introduced);
            if snapshot {
                self.send_snapshot(cell);
            }
            return Begun {
                at,
                recovered: false,
                missed: None,
            };
        };
        let conflate = !pace.on(cell.kind()).is_every();
        let subscriptions = &self.session.subscriptions;
        let limit = self.settings.session_limits.replay_bytes;
        let most = (!conflate).then(|| limit.saturating_sub(subscriptions.replays.bytes()));
        let (at, resume) = cell.attach_at(self.shard, left_at, most);
        self.slots[cell.id()].learn(at.seq, &mut self.counts.ledger);
        self.counts.replays_refused += u64::from(matches!(resume, Resume::TooMuch(_)));
        let mut missed = None;
        let recovered = match resume {
            Resume::Replay { .. } if is_planted(Fault::PatternAtHead) && named == Named::ByPattern => {
                self.resume(cell, at.seq, at.seq, pace);
                true
            }
            Resume::Replay { since, messages } => {
                self.resume(cell, since, at.seq, pace);
                if !conflate {
                    self.piece.replayed += messages.len();
                    self.session.subscriptions.replays.promise(cell.id(), messages);
                }
                true
            }
            // The newest message replaces whatever was missed.
            Resume::Unreachable(Missed { from, reason }) if conflate && reason != GapReason::Epoch => {
                self.resume(cell, Seq(from.0 - 1), at.seq, pace);
                true
            }
            Resume::Unreachable(all) | Resume::TooMuch(all) => {
                self.join(cell, at.seq, pace, introduced);
                match cell.kind() {
                    Kind::Event => missed = Some(all).filter(|missed| missed.from <= at.seq),
                    Kind::State | Kind::Book => self.send_snapshot(cell),
                }
                is_planted(Fault::FalseRecovered)
            }
        };
        if named == Named::ByPattern
            && let Some(missed) = missed.take()
            && !is_planted(Fault::MissedNotTold)
        {
            self.counts.unresumed += at.seq.0 - missed.from.0 + 1;
            self.session.subscriptions.beginnings.miss(cell.id(), missed);
            self.bring(cell.id());
        }
        Begun {
            at,
            recovered,
            missed,
        }
    }

    /// Begins a subscription after `since`, on its way to the topic's `head`.
    fn resume(&mut self, cell: &Arc<TopicCell>, since: Seq, head: Seq, pace: Pace) {
        self.join(cell, since, pace, true);
        if head > since {
            self.bring(cell.id());
        }
    }

    /// Tells a subscription what its client has missed, if it is still to be told. Returns whether it was told.
    pub(super) fn tell_missed(&mut self, cell: &TopicCell, subscriber: &mut Subscriber) -> bool {
        let missed = self.session.subscriptions.beginnings.take_missed(cell.id());
        let Some(Missed { from, reason }) = missed else {
            return false;
        };
        self.push_gap(cell, subscriber, (from, subscriber.after), reason, false);
        true
    }
}
