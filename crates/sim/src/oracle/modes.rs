//! The mode that an ack grants.

use tickwire_wire::message::AckResult;
use tickwire_wire::{Kind, Mode};

use super::Wanted;
use crate::topics::{self, NAMES};

/// The values of `conflate_ms` that the broker grants, up to the largest that plans ask for.
const GRANTED_MS: [u32; 8] = [0, 10, 20, 50, 100, 200, 250, 500];

/// Whether an ack tells the right mode for each topic of a pattern or topic that asked for `wanted`.
pub(super) fn told_mode(pattern: usize, wanted: Wanted, result: &AckResult) -> bool {
    let asked_ms = wanted.conflate_ms.unwrap_or(0);
    let granted_ms = GRANTED_MS.iter().copied().find(|ms| *ms >= asked_ms);
    let mut covered = (0..NAMES.len()).filter(|topic| topics::matches(pattern, *topic));
    covered.all(|topic| {
        let kind = topics::kind(topic);
        let every = kind != Kind::State || wanted.mode == Some(Mode::Every);
        let mode = if every { Mode::Every } else { Mode::Conflate };
        match (result.mode, &result.modes) {
            (Some(told), None) => told == mode && (every || result.conflate_ms == granted_ms),
            (None, Some(modes)) => modes.get(&kind) == Some(&mode),
            _ => false,
        }
    })
}
