//! The counters of a shard: plain numbers that only grow. The program that runs the shard reads and exports them.

use tickwire_wire::CloseCode;
use tickwire_wire::codec::DataOp;
use tickwire_wire::deflate::Encoding;
use tickwire_wire::error::ErrorCode;
use tickwire_wire::frame::Shared;

use crate::ledger::Ledger;

/// The client operations that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `subscribe`
    Subscribe,
    /// `positions`
    Positions,
    /// `unsubscribe`
    Unsubscribe,
    /// `publish`
    Publish,
    /// `resync`
    Resync,
    /// `auth`
    Auth,
    /// `ping`, and pings of RFC 6455
    Ping,
    /// A message that could not be read.
    Unreadable,
}

impl Op {
    /// Number of operations.
    pub const COUNT: usize = 8;
    /// Their names, in order.
    pub const NAMES: [&'static str; Self::COUNT] = [
        "subscribe",
        "positions",
        "unsubscribe",
        "publish",
        "resync",
        "auth",
        "ping",
        "unreadable",
    ];
}

/// The totals of one shard since it began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Publications taken from the queue.
    pub drained: u64,
    /// Updates put into outboxes.
    pub updates: u64,
    /// Snapshots put into outboxes.
    pub snapshots: u64,
    /// Gaps declared.
    pub gaps: u64,
    /// Messages that the gaps of refused resumes named as missing. Those of slow readers are in the ledger.
    pub unresumed: u64,
    /// Resumes that the history could have served and that were refused, because replays already keep too much.
    pub replays_refused: u64,
    /// The outcome of the messages that subscriptions were owed.
    pub ledger: Ledger,
    /// Times that a session began to lag.
    pub lagged: u64,
    /// Frames and events encoded, by [`Encoding`] and by update or snapshot.
    pub encodes: [[u64; 2]; Encoding::ALL.len()],
    /// Bytes of messages before they were compressed.
    pub deflated_from_bytes: u64,
    /// Bytes of the same messages after they were compressed.
    pub deflated_to_bytes: u64,
    /// Publications that did not fit in the queue; their topics were caught up from history.
    pub queue_overflows: u64,
    /// Client operations by [`Op`].
    pub ops: [u64; Op::COUNT],
    /// Publications by clients of this shard, by kind (state, book, event).
    pub published: [u64; 3],
    /// Payload bytes of these publications.
    pub published_bytes: u64,
    /// Refusals by [`ErrorCode`].
    pub refusals: [u64; ErrorCode::ALL.len()],
    /// Closes that the broker began or answered, by [`CloseCode::SENT`]; any other code counts in the last place.
    pub closes: [u64; CloseCode::SENT.len() + 1],
}

impl Counts {
    /// Counts the encodings that were made for the first receiver of a frame.
    pub(crate) fn encoded(&mut self, op: DataOp, shared: &Shared<'_>) {
        for encoded in shared.encoded.iter().flatten() {
            self.encodes[encoded.encoding.index()][op as usize] += 1;
            if encoded.encoding.is_deflated() {
                self.deflated_from_bytes += encoded.payload_bytes as u64;
                self.deflated_to_bytes += encoded.frame_payload_bytes as u64;
            }
        }
    }

    pub(crate) fn refused(&mut self, code: ErrorCode) {
        self.refusals[code as usize] += 1;
    }

    pub(crate) fn closed(&mut self, code: CloseCode) {
        let index = CloseCode::SENT
            .iter()
            .position(|sent| *sent == code)
            .unwrap_or(CloseCode::SENT.len());
        self.closes[index] += 1;
    }
}
