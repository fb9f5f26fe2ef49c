//! Clients that come back to another broker with positions of the previous one.
//!
//! The new broker's numbers are another lineage. So each subscription must be told that it could not be resumed: by the
//! ack and, unless nothing was published there yet, by a gap with that reason.

use tickwire_wire::message::{AckResult, GapReason, Position};
use tickwire_wire::{Epoch, Seq};

use super::TOPICS_EACH;
use super::closes::Told;
use crate::swarm::{Came, Faults, Readers, Watch};

/// A client's position in one of its topics.
#[derive(Debug, Clone)]
struct Place {
    last: Seq,
    /// Whether the client was told what became of it.
    declared: bool,
}

/// All clients that come back.
#[derive(Debug)]
pub(super) struct ComingBack {
    epoch: Epoch,
    /// The positions. Those of a client are together.
    places: Vec<Place>,
    /// How many subscriptions were told exactly what became of them.
    pub(super) declared: u64,
}

impl ComingBack {
    /// The clients that were closed, with their positions.
    pub(super) fn of(readers: &Readers<Told>) -> Self {
        let places = (0..readers.layout.readers * TOPICS_EACH).map(|at| Place {
            last: Seq(readers.last(at / TOPICS_EACH, at % TOPICS_EACH)),
            declared: false,
        });
        Self {
            epoch: readers.epoch.clone().unwrap_or_else(|| Epoch::from("")),
            places: places.collect(),
            declared: 0,
        }
    }

    fn declare(&mut self, reader: usize, place: usize) {
        self.places[reader * TOPICS_EACH + place].declared = true;
        self.declared += 1;
    }
}

impl Watch for ComingBack {
    fn since(&self, reader: usize, place: usize) -> Option<Position> {
        Some(Position {
            epoch: self.epoch.clone(),
            seq: self.places[reader * TOPICS_EACH + place].last,
        })
    }

    fn acked(&mut self, reader: usize, place: usize, result: &AckResult, faults: &mut Faults) {
        if result.recovered != Some(false) || result.epoch.as_ref() == Some(&self.epoch) {
            faults.add("resume not declared", format_args!("reader {reader}: {result:?}"));
        }
        if result.seq == Some(Seq::ZERO) {
            // Nothing was published there yet: nothing can be missing, and the ack tells everything.
            self.declare(reader, place);
        }
    }

    fn gap(&mut self, reader: usize, place: usize, reason: GapReason) -> bool {
        let expected = reason == GapReason::Epoch && !self.places[reader * TOPICS_EACH + place].declared;
        if expected {
            self.declare(reader, place);
        }
        expected
    }

    fn came(&mut self, came: Came<'_>, faults: &mut Faults) {
        let place = &mut self.places[came.reader * TOPICS_EACH + came.place];
        if !std::mem::replace(&mut place.declared, true) {
            let text = format_args!("reader {}: message {} came first", came.reader, came.head.seq);
            faults.add("resume not declared", text);
        }
    }
}
