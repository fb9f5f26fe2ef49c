//! How a node becomes the writer.
//!
//! It reads the log to its end, asks whether anybody has seen more or something else, and appends an entry that begins its
//! term. The log takes that only if nobody else was faster. If somebody has seen what the log does not have, or nobody can
//! know, the entry begins a new epoch.

use tickwire_wire::{Epoch, Micros};

use super::host::LaneHost;
use super::notice::{Notice, Standing};
use super::planted::{LaneFault, is_planted};
use super::stored::{LaneEntry, LaneFlags};
use super::writing::Writing;
use super::{Appended, EpochReason, LaneNode, Output, Phase, Term};
use crate::entry::EntryFlags;
use crate::writer::Writer;
use crate::{Chain, Place, Position};

/// A takeover that is under way.
#[derive(Debug)]
pub(super) struct Takeover {
    step: Step,
    /// Why the numbers must begin anew, if they must.
    anew: Option<EpochReason>,
    /// The newest entry of the log.
    end: Position,
    /// The highest term that was heard of.
    term: Term,
}

#[derive(Debug)]
enum Step {
    /// The log is read to its end.
    Reading,
    /// Others may object until then.
    Asking(Micros),
    /// The mark in the servers' memory is looked for.
    Looking,
    /// The entry that begins the term is under way. The node goes on as the writer when it is stored.
    Appending(Box<Writer>),
}

impl Takeover {
    /// When its next step is due, if that is a matter of time.
    pub(super) fn due(&self) -> Option<Micros> {
        match self.step {
            Step::Asking(until) => Some(until),
            _ => None,
        }
    }

    /// The log has another past than the one that was entered.
    pub(super) fn changed(&mut self) {
        self.anew.get_or_insert(EpochReason::Changed);
    }

    /// Whether something may be numbered that has not entered.
    pub(super) fn has_numbered(&self) -> bool {
        matches!(self.step, Step::Appending(_))
    }
}

impl<H: LaneHost> LaneNode<H> {
    pub(super) fn may_take_over(&self) -> bool {
        self.rules.may_write && self.is_connected && self.has_state && !self.is_leaving
    }

    pub(super) fn is_taking_over(&self) -> bool {
        matches!(self.phase, Phase::TakingOver(_))
    }

    /// Begins a takeover or goes on with it, if that is due.
    pub(super) fn consider_takeover(&mut self, now: Micros) {
        match &self.phase {
            Phase::Following | Phase::Doubting if self.may_take_over() && now >= self.takes_over_at => {
                let doubts = matches!(self.phase, Phase::Doubting);
                self.phase = Phase::TakingOver(Takeover {
                    step: Step::Reading,
                    anew: doubts.then_some(EpochReason::Changed),
                    end: self.place.position,
                    term: self.term,
                });
                self.heard(now);
                self.is_reading = false;
                self.want_read();
            }
            Phase::TakingOver(takeover) if takeover.due().is_some_and(|due| due <= now) => {
                self.asked_enough(now);
            }
            Phase::TakingOver(takeover)
                if now >= self.takes_over_at && !matches!(takeover.step, Step::Appending(_)) =>
            {
                // An answer of the log did not come.
                self.is_reading = false;
                self.follow(now);
            }
            _ => {}
        }
    }

    /// The log was read to the entry `last`.
    pub(super) fn read_for_takeover(&mut self, (_first, last): (Position, Position), now: Micros) {
        let (place, read_at) = (self.place, self.read_at);
        let until = Micros(now.0 + self.rules.timing.objection_us);
        let has_epoch = self.epoch.is_some();
        let Phase::TakingOver(takeover) = &mut self.phase else {
            return;
        };
        if !matches!(takeover.step, Step::Reading) {
            return;
        }
        if last > place.position && takeover.anew.is_none() {
            self.want_read();
            return;
        }
        if last < read_at {
            takeover.anew = Some(EpochReason::Changed);
        } else if last < place.position {
            self.want_read(); // something was stored meanwhile
            return;
        }
        takeover.end = last;
        if !has_epoch {
            let is_empty = last.0 == 0;
            takeover.anew = Some(if is_empty {
                EpochReason::First
            } else {
                EpochReason::Headless
            });
        }
        takeover.step = Step::Asking(until);
        let standing = Standing {
            place: Place {
                position: last,
                chain: if last == place.position {
                    place.chain
                } else {
                    Chain::default()
                },
            },
            ..self.standing()
        };
        if is_planted(LaneFault::TakenOverUnasked) {
            return self.asked_enough(now);
        }
        self.outputs.push_back(Output::Tell(Notice::Ask(standing)));
    }

    /// A node has answered.
    pub(super) fn answered(&mut self, standing: &Standing, agrees: bool) {
        if let Phase::TakingOver(takeover) = &mut self.phase
            && matches!(takeover.step, Step::Asking(_))
        {
            takeover.term = takeover.term.max(standing.term);
            if !agrees {
                takeover.anew.get_or_insert(EpochReason::Changed);
            }
        }
    }

    /// Nobody may object any more.
    fn asked_enough(&mut self, now: Micros) {
        let is_synced = self.rules.log_is_synced;
        let Phase::TakingOver(takeover) = &mut self.phase else {
            return;
        };
        if takeover.anew.is_some() || is_synced || is_planted(LaneFault::MarkNotLookedFor) {
            self.begin_term(now);
        } else {
            takeover.step = Step::Looking;
            self.outputs.push_back(Output::LookForMark);
        }
    }

    pub(super) fn mark_is(&mut self, is_there: bool, now: Micros) {
        if let Phase::TakingOver(takeover) = &mut self.phase
            && matches!(takeover.step, Step::Looking)
        {
            if !is_there {
                takeover.anew = Some(EpochReason::Restarted);
            }
            self.begin_term(now);
        }
    }

    /// Appends the entry that begins the term.
    fn begin_term(&mut self, now: Micros) {
        let Phase::TakingOver(takeover) = &self.phase else {
            return;
        };
        let (anew, end, term) = (takeover.anew, takeover.end, takeover.term.max(self.term));
        let writer = self.first_writer(anew.is_some(), end, now);
        let flags = LaneFlags {
            begins_term: true,
            begins_epoch: anew.is_some(),
            // In the first epoch of all nothing is kept from before.
            ..LaneFlags::default()
        };
        let Phase::TakingOver(takeover) = &mut self.phase else {
            return;
        };
        let mut writer = Box::new(writer);
        takeover.term = Term(term.0 + 1);
        let head = super::LaneHead {
            flags,
            term: takeover.term,
            writer: self.id,
            decided: Vec::new(),
        };
        writer.seal_behind(|out| head.put(out), EntryFlags::default());
        let bytes = writer.sealed().to_vec();
        takeover.step = Step::Appending(writer);
        self.append_bytes(bytes, end);
    }

    /// What makes the entries of a term that begins behind the entry `end`.
    pub(super) fn first_writer(&self, anew: bool, end: Position, now: Micros) -> Writer {
        match self.epoch.clone().filter(|_| !anew) {
            Some(epoch) => Writer::new(self.place, epoch),
            None => {
                // Two nodes that begin one in the same microsecond still do not begin the same.
                let number = now.0.wrapping_mul(1_024) + self.id.0 % 1_024;
                let place = Place {
                    position: end,
                    chain: Chain::default(),
                };
                Writer::new(place, Epoch::from_number(number))
            }
        }
    }

    /// What became of the entry that begins the term. Returns whether there was one under way.
    pub(super) fn term_appended(&mut self, appended: Appended, now: Micros) -> bool {
        let Phase::TakingOver(takeover) = &mut self.phase else {
            return false;
        };
        let Step::Appending(writer) = &mut takeover.step else {
            return false;
        };
        let (bytes, end, anew) = (writer.sealed().to_vec(), takeover.end, takeover.anew);
        match appended {
            Appended::Stored(position) if position == end.next() => {
                let Ok(entry) = LaneEntry::read(&bytes) else {
                    return true; // it was made here
                };
                let writer =
                    std::mem::replace(&mut **writer, Writer::new(Place::default(), Epoch::from("none")));
                self.phase = Phase::Writing(Box::new(Writing::new(writer)));
                self.writer = Some(self.id);
                self.take(Self::place_of(position, &bytes), &entry, now);
                if let Phase::Writing(writing) = &mut self.phase {
                    writing.stored();
                    self.outputs.push_back(Output::MakeMark);
                    self.outputs.extend(anew.map(Output::EpochBegun));
                    self.sending.again();
                    self.beat(now);
                }
            }
            Appended::Stored(_) | Appended::Refused | Appended::Unknown => {
                self.follow(now);
                self.want_read();
            }
        }
        true
    }
}
