//! What a node of a lane asks of the broker: its topics, and its publishers.

use tickwire_wire::{Epoch, Micros, Seq, Topic};

use super::stored::Unpublished;
use super::submission::{Submission, SubmissionNumber};
use crate::entry::Entry;
use crate::writer::Writer;

/// The topics do not have what is before an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("messages before an entry are missing")]
pub struct LostTrack;

/// What became of a submission of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement<'a> {
    /// Which one.
    pub number: SubmissionNumber,
    /// The place of its message, or why it has none.
    pub outcome: Result<(&'a Topic, &'a Epoch, Seq), Unpublished<'a>>,
}

/// The topics and publishers of a broker.
pub trait LaneHost {
    /// Lets the items of an entry enter. Those that the topics have already are passed over.
    ///
    /// # Errors
    /// If the topics do not have what is before them.
    fn enter(&mut self, entry: &Entry<'_>, now: Micros) -> Result<(), LostTrack>;

    /// Ends all topics, and goes on in `epoch`. Their values are kept, so that they can be published again.
    fn begin_epoch(&mut self, epoch: &Epoch, now: Micros);

    /// Forgets what was kept.
    fn drop_kept(&mut self);

    /// Gathers the next of what was kept as items, about `bytes_max` of them. Returns whether that was all.
    fn number_kept(&mut self, writer: &mut Writer, bytes_max: usize, now: Micros) -> bool;

    /// Gives what a submission publishes its number, and gathers it as an item.
    ///
    /// # Errors
    /// Why it is not published. Then nothing is gathered.
    fn number(
        &mut self,
        submission: &Submission<'_>,
        writer: &mut Writer,
        now: Micros,
    ) -> Result<(), Unpublished<'static>>;

    /// Forgets all numbers that were given to what has not entered.
    fn drop_numbered(&mut self);

    /// Tells publishers of this node what became of a submission. Each is told once, in the order of their numbers.
    fn settle(&mut self, settlement: Settlement<'_>);
}
