//! What a trial can check in the messages of its readers besides the protocol's promises, such as how late they are.

use hdrhistogram::Histogram;
use tickwire_wire::Control;
use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{AckResult, GapReason, Position};

use crate::swarm::conn::Ending;
use crate::swarm::head::Head;
use crate::swarm::latency::latencies;
use crate::swarm::report::Faults;

/// An update or a snapshot of a reader's topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came<'m> {
    pub(crate) reader: usize,
    pub(crate) topic: usize,
    pub(crate) head: Head<'m>,
    /// The time from its entry into the broker until it was read here, in microseconds.
    pub(crate) late_us: u64,
    pub(crate) message: &'m [u8],
}

/// Further checks of what readers hear. By default there are none.
pub(crate) trait Watch {
    fn came(&mut self, _came: Came<'_>, _faults: &mut Faults) {}

    /// The position from which a reader resumes a topic.
    fn since(&self, _reader: usize, _place: usize) -> Option<Position> {
        None
    }

    fn acked(&mut self, _reader: usize, _result: &AckResult, _faults: &mut Faults) {}

    /// A topic has a gap. Returns whether that was expected.
    fn gap(&mut self, _reason: GapReason) -> bool {
        false
    }

    /// A reader got another message. Returns whether that was expected.
    fn other(&mut self, _reader: usize, _control: &Control, _faults: &mut Faults) -> bool {
        false
    }

    /// A reader's connection ended. Returns whether that was expected.
    fn ended(&mut self, _reader: usize, _ending: &Ending, _faults: &mut Faults) -> bool {
        false
    }
}

/// No further checks.
impl Watch for () {}

/// What the latencies of messages are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Messages are checked, and their latency is not counted.
    Unmeasured,
    Calm,
    /// While some stand still, or attack.
    Disturbed,
}

/// The latencies of updates in microseconds.
#[derive(Debug)]
pub(crate) struct Lateness {
    pub(crate) phase: Phase,
    pub(crate) calm_us: Histogram<u64>,
    pub(crate) disturbed_us: Histogram<u64>,
}

impl Lateness {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            phase: Phase::Unmeasured,
            calm_us: latencies()?,
            disturbed_us: latencies()?,
        })
    }
}

impl Watch for Lateness {
    #[inline]
    fn came(&mut self, came: Came<'_>, _: &mut Faults) {
        let counted = match self.phase {
            Phase::Calm if came.head.op == DataOp::Update => &mut self.calm_us,
            Phase::Disturbed if came.head.op == DataOp::Update => &mut self.disturbed_us,
            _ => return,
        };
        counted.saturating_record(came.late_us);
    }
}
