//! What a trial wants to know of the messages of its readers, besides that their numbers are in order.

use tickwire_wire::Control;
use tickwire_wire::message::{AckResult, GapReason, Position};

use crate::swarm::conn::Ending;
use crate::swarm::head::Head;
use crate::swarm::report::Faults;

/// An update or a snapshot of a reader's topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came<'m> {
    pub(crate) reader: usize,
    pub(crate) place: usize,
    /// Number of the topic.
    pub(crate) topic: usize,
    pub(crate) head: Head<'m>,
    /// From its entry into the broker to its being read here.
    pub(crate) late_us: u64,
    pub(crate) message: &'m [u8],
}

/// What else is made of what readers are told. Nothing, as far as it is not said otherwise.
pub(crate) trait Watch {
    /// A data message came.
    fn came(&mut self, _came: Came<'_>, _faults: &mut Faults) {}

    /// The position that a reader takes a topic up from.
    fn since(&self, _reader: usize, _place: usize) -> Option<Position> {
        None
    }

    /// A topic of a reader was acked.
    fn acked(&mut self, _reader: usize, _place: usize, _result: &AckResult, _faults: &mut Faults) {}

    /// A topic of a reader has a gap. Returns whether it was to be expected.
    fn gap(&mut self, _reader: usize, _place: usize, _reason: GapReason) -> bool {
        false
    }

    /// A reader got another message. Returns whether it was to be expected.
    fn other(&mut self, _reader: usize, _control: &Control, _faults: &mut Faults) -> bool {
        false
    }

    /// A reader's connection ended. Returns whether it was to be expected.
    fn ended(&mut self, _reader: usize, _ending: &Ending, _faults: &mut Faults) -> bool {
        false
    }
}

/// Nobody who wants to know more.
impl Watch for () {}
