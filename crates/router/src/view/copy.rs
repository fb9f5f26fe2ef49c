//! A topic that is a copy: what is held for it, and how that is published.

use std::collections::VecDeque;
use std::sync::Arc;

use tickwire_wire::message::{EndReason, StaleReason};
use tickwire_wire::{ErrorCode, Kind, Micros, Payload, Seq, Topic};

use crate::arrival::{Arrival, Copied};
use crate::cell::TopicCell;
use crate::directory::PublishError;
use crate::ingress::Ingress;

/// Bytes that a held message takes beside its data: its place in a queue that may be half empty, and what allocating rounds
/// up.
const HELD_OVERHEAD: usize = 2 * size_of::<Held>() + 32;

/// The bytes that a held message with this much data counts.
#[must_use]
pub const fn held_message_bytes(data_bytes: usize) -> usize {
    data_bytes + HELD_OVERHEAD
}

/// A topic that is copied.
#[derive(Debug)]
pub(super) struct CopiedTopic {
    pub(super) name: Topic,
    pub(super) kind: Kind,
    pub(super) cell: Option<Arc<TopicCell>>,
    /// The last message that was published before the view began.
    pub(super) sent: Seq,
    pub(super) held: VecDeque<Held>,
    /// The last message that was held, or is lost.
    pub(super) seen: Seq,
    /// When the last of them is due.
    pub(super) due: Micros,
    /// Whether the end of its source is held.
    pub(super) is_ending: bool,
    /// Whether a change of the book is missing behind what is held.
    pub(super) is_broken: bool,
}

/// What waits for its time.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) due: Micros,
    /// The copy's time.
    pub(super) ts: Micros,
    pub(super) seq: Seq,
    pub(super) what: HeldWhat,
}

#[derive(Debug)]
pub(super) enum HeldWhat {
    Message(Payload, Option<StaleReason>),
    End(EndReason),
}

impl Held {
    pub(super) fn is_end(&self) -> bool {
        matches!(self.what, HeldWhat::End(_))
    }

    /// Whether it needs the message before it.
    fn is_change(&self) -> bool {
        matches!(&self.what, HeldWhat::Message(Payload::Book(book), _) if !book.replace)
    }

    pub(super) fn bytes(&self) -> usize {
        held_message_bytes(match &self.what {
            HeldWhat::Message(payload, _) => payload.heap_bytes(),
            HeldWhat::End(_) => 0,
        })
    }
}

/// What became of something that was due.
#[derive(Debug)]
pub(super) enum Outcome {
    Published,
    /// It was published before.
    Known,
    Refused,
    Ended,
    /// The journal does not take it now.
    Later(Held),
}

impl CopiedTopic {
    /// When the next one is due. Gives memory back that is no longer needed.
    pub(super) fn next_due(&mut self) -> Option<Micros> {
        if self.held.len() < self.held.capacity() / 4 {
            self.held.shrink_to(self.held.len() * 2);
        }
        self.held.front().map(|held| held.due)
    }

    pub(super) fn publish(&mut self, held: Held, ingress: &Ingress, now: Micros) -> Outcome {
        let Held { due, ts, seq, what } = held;
        let (payload, doubt) = match what {
            HeldWhat::Message(payload, doubt) => (payload, doubt),
            HeldWhat::End(reason) => {
                let copy = ingress.directory().find(self.name.as_str());
                let ended = copy.map_or(Ok(()), |copy| ingress.directory().end_copy(&copy, reason));
                return match ended {
                    Ok(()) => Outcome::Ended,
                    Err(_refusal) => Outcome::Later(Held { due, ts, seq, what }),
                };
            }
        };
        if seq <= self.sent {
            return Outcome::Known;
        }
        let known = self.cell.take().filter(|cell| !cell.has_ended());
        let opened = known.map_or_else(|| ingress.directory().open(&self.name), Ok);
        let Ok(mut cell) = opened else {
            return Outcome::Refused; // there are too many topics
        };
        let copied = Copied { seq, doubt };
        let arrival = Arrival {
            stamp: Some(ts),
            copied: Some(&copied),
            ..Arrival::from(now)
        };
        let kept = ingress.writes_first().then(|| payload.clone());
        let submitted = ingress.submit_to(&mut cell, payload, arrival, |_| {});
        self.cell = Some(cell);
        match (submitted, kept) {
            (Ok(_), _) => Outcome::Published,
            (Err(error), Some(payload)) if may_pass(&error, &payload) => Outcome::Later(Held {
                due,
                ts,
                seq,
                what: HeldWhat::Message(payload, doubt),
            }),
            (Err(_), _) => Outcome::Refused,
        }
    }

    /// Drops the changes of a book behind one that was not published, up to the next whole book. Returns their number and
    /// bytes.
    pub(super) fn drop_changes(&mut self) -> (u64, u64) {
        let (mut count, mut bytes) = (0, 0);
        if self.kind != Kind::Book {
            return (0, 0);
        }
        while let Some(change) = self.held.pop_front_if(|held| held.is_change()) {
            count += 1;
            bytes += change.bytes() as u64;
        }
        self.is_broken |= !self
            .held
            .iter()
            .any(|held| matches!(held.what, HeldWhat::Message(..)));
        (count, bytes)
    }
}

/// Whether the journal may take the message later. A change that does not fit its book never does.
fn may_pass(error: &PublishError, payload: &Payload) -> bool {
    let is_change = matches!(payload, Payload::Book(book) if !book.replace);
    matches!(error, PublishError::Refused(refusal) if refusal.code == ErrorCode::Internal) && !is_change
}
