//! Clients that come back to another broker with positions of the previous one.
//!
//! The new broker's numbers are another lineage. So each subscription must be told that it could not be resumed: by the
//! ack and, unless nothing was published there yet, by a gap with that reason. A message that comes before the gap
//! breaks a promise, which the readers' checkers find.

use tickwire_wire::message::{AckResult, GapReason, Position};
use tickwire_wire::{Epoch, Seq};

use super::TOPICS_EACH;
use super::closes::Told;
use crate::swarm::{Faults, Readers, Watch};

/// All clients that come back.
#[derive(Debug)]
pub(super) struct ComingBack {
    epoch: Epoch,
    /// The last number of each topic of each client. Those of a client are together.
    last: Vec<Seq>,
    /// How many subscriptions were told exactly what became of them.
    pub(super) declared: u64,
}

impl ComingBack {
    /// The clients that were closed, with their positions.
    pub(super) fn of(readers: &Readers<Told>) -> Self {
        let places = 0..readers.layout.readers * TOPICS_EACH;
        let last = places.map(|at| Seq(readers.last(at / TOPICS_EACH, at % TOPICS_EACH)));
        Self {
            epoch: readers.epoch.clone().unwrap_or_else(|| Epoch::from("")),
            last: last.collect(),
            declared: 0,
        }
    }
}

impl Watch for ComingBack {
    fn since(&self, reader: usize, place: usize) -> Option<Position> {
        Some(Position {
            epoch: self.epoch.clone(),
            seq: self.last[reader * TOPICS_EACH + place],
        })
    }

    fn acked(&mut self, reader: usize, result: &AckResult, faults: &mut Faults) {
        if result.recovered != Some(false) || result.epoch.as_ref() == Some(&self.epoch) {
            faults.add("resume not declared", format_args!("reader {reader}: {result:?}"));
        }
        // If nothing was published there yet, nothing can be missing, and the ack tells everything.
        self.declared += u64::from(result.seq == Some(Seq::ZERO));
    }

    fn gap(&mut self, reason: GapReason) -> bool {
        self.declared += u64::from(reason == GapReason::Epoch);
        reason == GapReason::Epoch
    }
}
