//! What a node does with the entries of the log.

use tickwire_wire::Micros;

use super::host::LaneHost;
use super::notice::{Notice, Standing};
use super::planted::{LaneFault, is_planted};
use super::state::LaneState;
use super::stored::LaneEntry;
use super::{EARLY_BYTES_MAX, LaneNode, LogPart, NodeId, Output, Phase};
use crate::{Place, Position};

/// What became of an entry that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offered {
    /// It is dealt with.
    Taken,
    /// Entries before it are missing.
    Early,
}

impl<H: LaneHost> LaneNode<H> {
    /// An entry has come that the log has just stored.
    pub(super) fn live(&mut self, position: Position, bytes: Vec<u8>, now: Micros) {
        self.log_end = self.log_end.max(position);
        if !self.has_state {
            // The state comes from elsewhere, and the log is read behind it.
            return self.keep_early(position, bytes);
        }
        if self.offer(position, &bytes, now) == Offered::Early {
            self.keep_early(position, bytes);
            self.want_read();
            return;
        }
        self.take_early(now);
    }

    fn keep_early(&mut self, position: Position, bytes: Vec<u8>) {
        if self.early_bytes + bytes.len() > EARLY_BYTES_MAX {
            self.forget_early();
        }
        self.early_bytes += bytes.len();
        if let Some(before) = self.early.insert(position, bytes) {
            self.early_bytes -= before.len();
        }
    }

    fn forget_early(&mut self) {
        self.early.clear();
        self.early_bytes = 0;
    }

    /// Takes the entries that came before those in front of them, as far as nothing is missing.
    fn take_early(&mut self, now: Micros) {
        while let Some(first) = self.early.first_entry() {
            if *first.key() > self.place.position.next() || !self.has_state {
                break;
            }
            let (position, bytes) = first.remove_entry();
            self.early_bytes -= bytes.len();
            self.offer(position, &bytes, now);
        }
    }

    /// Offers an entry, whether it is the next or not.
    fn offer(&mut self, position: Position, bytes: &[u8], now: Micros) -> Offered {
        let place = Self::place_of(position, bytes);
        let next = self.place.position.next();
        if position < next && self.recent.agrees(place) == Some(true) {
            return Offered::Taken; // known
        }
        let Ok(entry) = LaneEntry::read(bytes) else {
            // Nobody but another program has written this. What follows on it is not known.
            if position >= next {
                self.doubt(now);
            }
            return Offered::Taken;
        };
        let head = &entry.head;
        if head.flags.begins_epoch && (self.epoch.is_none() || head.term > self.term) {
            self.take(place, &entry, now);
            return Offered::Taken;
        }
        if position < next {
            if self.recent.agrees(place) == Some(false) {
                self.doubt(now);
            }
            return Offered::Taken;
        }
        if position > next {
            return Offered::Early;
        }
        if self.epoch.is_none() {
            // The beginning of the epoch is not there any more. Nothing can enter before the next one.
            self.place = place;
            self.term = self.term.max(head.term);
            self.heard(now);
            return Offered::Taken;
        }
        let follows = entry.entry.prev == self.place.chain
            && head.term >= self.term
            && self.epoch.as_ref() == Some(&entry.entry.epoch);
        if !follows && !is_planted(LaneFault::ChainNotChecked) {
            self.doubt(now);
            return Offered::Taken;
        }
        self.take(place, &entry, now);
        Offered::Taken
    }

    /// Takes an entry: its messages enter.
    pub(super) fn take(&mut self, place: Place, entry: &LaneEntry<'_>, now: Micros) {
        if place == self.place {
            return; // the writer has seen its own entry come back before it was told that it is stored
        }
        let head = &entry.head;
        if head.flags.begins_epoch {
            self.host.begin_epoch(&entry.entry.epoch, now);
            self.epoch = Some(entry.entry.epoch.clone());
            self.decisions.clear();
            self.recent.clear();
            // A log that was set back may be shorter than it was when a read was asked for.
            self.read_at = Position(0);
            self.is_whole = false;
            // Those that wait may be of the log as it was before.
            self.forget_early();
            self.log_end = place.position;
        }
        if self.host.enter(&entry.entry, now).is_err() {
            return self.lose_track(now);
        }
        self.place = place;
        self.log_end = self.log_end.max(place.position);
        self.recent.push(place);
        if head.flags.is_whole {
            self.is_whole = true;
            self.host.drop_kept();
        }
        for decided in &head.decided {
            let newest = decided.first.plus(u64::from(decided.count).saturating_sub(1));
            self.decisions.decided(decided.node, newest, place.position);
        }
        self.settle(entry, now);
        if head.term > self.term || self.writer.is_none() {
            self.sending.again();
        }
        self.term = head.term;
        self.writer = Some(head.writer);
        if head.writer != self.id {
            self.follow(now);
        }
        self.heard(now);
        if head.flags.clean_end {
            self.writer = None;
            // Nobody writes any more. Whoever is first takes over.
            let soon = self.rules.timing.beat_us / 8;
            self.takes_over_at = Micros(now.0 + self.random(soon));
        }
    }

    /// The topics do not have what is before an entry: the node gets the whole state again.
    fn lose_track(&mut self, now: Micros) {
        self.follow(now);
        self.has_state = false;
        self.forget_early();
        self.ask_state();
    }

    /// Becomes a follower, if it was anything else.
    pub(super) fn follow(&mut self, now: Micros) {
        match std::mem::replace(&mut self.phase, Phase::Following) {
            Phase::Writing(_) => {
                if !is_planted(LaneFault::NumbersKept) {
                    self.host.drop_numbered();
                }
                self.sending.again();
                self.writer = self.writer.filter(|writer| *writer != self.id);
                self.heard(now);
                self.want_read();
            }
            Phase::TakingOver(takeover) => {
                if takeover.has_numbered() {
                    self.host.drop_numbered();
                }
                self.heard(now);
            }
            Phase::Joining | Phase::Following | Phase::Doubting => {}
        }
    }

    /// The log has another past than the one that was entered.
    pub(super) fn doubt(&mut self, now: Micros) {
        match &mut self.phase {
            Phase::Doubting => return,
            Phase::TakingOver(takeover) => return takeover.changed(),
            Phase::Joining | Phase::Following | Phase::Writing(_) => {}
        }
        self.follow(now);
        self.heard(now);
        // Somebody who does not doubt may take over first.
        self.takes_over_at = Micros(self.takes_over_at.0 + self.rules.timing.takeover_us);
        self.phase = Phase::Doubting;
        self.forget_early();
        self.tell_doubt();
        self.retry_at = Some(self.later(now));
    }

    fn tell_doubt(&mut self) {
        if !is_planted(LaneFault::DoubtNotTold) {
            self.outputs
                .push_back(Output::Tell(Notice::Doubt(self.standing())));
        }
    }

    /// Has the log read behind the node's place.
    pub(super) fn want_read(&mut self) {
        if self.is_reading {
            self.reads_again = true;
        } else if self.is_connected {
            self.is_reading = true;
            self.reads_again = false;
            // A node that doubts reads its own newest entry, too: perhaps it is there after all.
            let from = match self.phase {
                Phase::Doubting if self.place.position.0 > 0 => self.place.position,
                _ => self.place.position.next(),
            };
            self.reads += 1;
            self.read_at = self.place.position;
            self.outputs.push_back(Output::Read(self.reads, from));
        }
    }

    /// A part of the log was read.
    pub(super) fn read(&mut self, part: LogPart, now: Micros) {
        self.is_reading = false;
        if !self.has_state {
            return;
        }
        let LogPart { first, last, entries } = part;
        let doubted_until = matches!(self.phase, Phase::Doubting).then_some(self.takes_over_at);
        let was_behind = last > self.place.position;
        let is_short = last < self.read_at;
        for (position, bytes) in entries {
            if matches!(self.phase, Phase::Doubting)
                && self.recent.agrees(Self::place_of(position, &bytes)) == Some(true)
                && position == self.place.position
            {
                self.phase = Phase::Following;
            }
            if position > self.place.position && first > self.place.position.next() && self.epoch.is_none() {
                // What is before the first entry is gone for good.
                self.place.position = Position(first.0 - 1);
            }
            self.offer(position, &bytes, now);
            if !self.has_state {
                return;
            }
        }
        self.take_early(now);
        self.log_end = last.max(self.place.position);
        if self.is_taking_over() {
            return self.read_for_takeover((first, last), now);
        }
        if matches!(self.phase, Phase::Doubting) {
            // The writer may not have heard of it. A doubt that did not go away is not a new one.
            self.takes_over_at = doubted_until.unwrap_or(self.takes_over_at);
            self.tell_doubt();
            self.retry_at = Some(self.later(now));
            return;
        }
        if is_short {
            return self.doubt(now);
        }
        if first > self.place.position.next() && self.epoch.is_some() {
            return self.lose_track(now);
        }
        if last == self.place.position {
            self.log_is_whole();
        }
        if was_behind && last > self.place.position {
            self.want_read();
        } else if std::mem::take(&mut self.reads_again) {
            self.reads_again = false;
            self.want_read();
        } else if matches!(self.phase, Phase::Joining) {
            self.phase = Phase::Following;
        }
    }

    /// The state of the lane has come, or nobody has it.
    pub(super) fn got_state(&mut self, state: Option<LaneState>, now: Micros) {
        let is_older = state
            .as_ref()
            .is_some_and(|state| state.standing.term < self.term);
        if self.has_state {
            return;
        }
        if is_older {
            self.retry_at = Some(self.later(now));
            return;
        }
        self.has_state = true;
        self.recent.clear();
        match state {
            Some(state) => {
                self.place = state.standing.place;
                self.term = self.term.max(state.standing.term);
                self.epoch = Some(state.standing.epoch);
                self.decisions = state.decisions;
                self.is_whole = state.is_whole;
                self.recent.push(self.place);
                // What this node had sent before it lost track is decided, as far as the state says. Where it was published is
                // not known.
                self.settle_unseen(now);
            }
            None => {
                self.place = Place::default();
                self.epoch = None;
                self.decisions.clear();
            }
        }
        self.phase = Phase::Following;
        self.heard(now);
        self.want_read();
    }

    /// Another node says something.
    pub(super) fn noticed(&mut self, notice: Notice, now: Micros) {
        match notice {
            Notice::Beat(standing) => self.beaten(&standing, now),
            Notice::Ask(standing) => self.asked(&standing),
            Notice::Answer { standing, to, agrees } if to == self.id => self.answered(&standing, agrees),
            Notice::Doubt(standing) if standing.node != self.id => self.doubted(&standing),
            Notice::Answer { .. } | Notice::Doubt(_) => {}
        }
    }

    fn beaten(&mut self, standing: &Standing, now: Micros) {
        if standing.node == self.id {
            // A writer that hears its own beats is connected to all.
            if matches!(self.phase, Phase::Writing(_)) {
                self.heard(now);
            }
            return;
        }
        if standing.term < self.term {
            return;
        }
        if standing.term > self.term && matches!(self.phase, Phase::Writing(_) | Phase::TakingOver(_)) {
            self.follow(now);
        }
        if matches!(self.phase, Phase::TakingOver(_)) {
            self.follow(now);
        }
        self.heard(now);
        let is_same_epoch = self.epoch.as_ref() == Some(&standing.epoch);
        if matches!(self.phase, Phase::Doubting) && !is_same_epoch && standing.term > self.term {
            // The others are in a later epoch, whose beginning this node has not seen.
            return self.lose_track(now);
        }
        if !self.has_state || matches!(self.phase, Phase::Doubting) {
            return;
        }
        self.know_writer(standing.node);
        let at = standing.place;
        self.log_end = self.log_end.max(at.position);
        if self.epoch.is_none() && at.position <= self.place.position {
            // The log does not say any more what the topics have, but the writer knows it.
            return self.lose_track(now);
        }
        if at.position > self.place.position || !is_same_epoch {
            self.want_read();
        } else if self.recent.agrees(at) == Some(false) {
            self.doubt(now);
        }
    }

    fn know_writer(&mut self, writer: NodeId) {
        if self.writer != Some(writer) {
            self.writer = Some(writer);
            self.sending.again();
        }
    }

    /// Another node asks before it takes over.
    fn asked(&mut self, standing: &Standing) {
        if standing.node == self.id || !self.has_state || self.epoch.is_none() {
            return;
        }
        let is_same_epoch = self.epoch.as_ref() == Some(&standing.epoch);
        let own = self.place;
        let agrees = !matches!(self.phase, Phase::Doubting)
            && (is_same_epoch && own.position <= standing.place.position
                && (own.position < standing.place.position || own.chain == standing.place.chain)
                // The asker has read more than this node has: it knows an epoch or entries that this node will read.
                || !is_same_epoch && standing.term > self.term);
        self.outputs.push_back(Output::Tell(Notice::Answer {
            standing: self.standing(),
            to: standing.node,
            agrees,
        }));
    }
}
