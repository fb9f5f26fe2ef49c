//! The state of the cluster on its way from one node to another, in pieces that are asked for one after the other.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use tickwire_lane::node::NodeId;

use super::nats::{NatsError, NatsLog};

/// Bytes of a piece.
const PIECE: usize = 512 * 1024;
/// Bytes before those of the first piece: who has it, its number, and how many bytes there are.
const HEAD: usize = 24;
/// How long a state is given to others who ask for one.
const FRESH: Duration = Duration::from_secs(1);
/// How long a state is kept after somebody has asked for a piece of it.
const KEPT: Duration = Duration::from_secs(10);
/// How long a piece may take.
const PIECE_WITHIN: Duration = Duration::from_secs(2);
/// Most bytes of a state that a node takes.
const BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// How often nodes are asked before it counts that nobody has the state.
const ATTEMPTS: usize = 3;

/// A state that is being given away.
#[derive(Debug)]
pub(super) struct Transfer {
    node: NodeId,
    number: u64,
    bytes: Bytes,
    made: Instant,
    asked: Instant,
}

impl Transfer {
    pub(super) fn new(node: NodeId, bytes: Vec<u8>) -> Self {
        let now = Instant::now();
        Self {
            node,
            number: bytes.len() as u64 ^ node.0.rotate_left(17),
            bytes: bytes.into(),
            made: now,
            asked: now,
        }
    }

    /// Whether it may still be given to another node that asks.
    pub(super) fn is_fresh(&self) -> bool {
        self.made.elapsed() < FRESH
    }

    /// Whether nobody has asked for a piece of it for long.
    pub(super) fn is_over(&self) -> bool {
        self.asked.elapsed() > KEPT
    }

    /// The answer to whoever asks for the state.
    pub(super) fn first(&self) -> Vec<u8> {
        let mut first = BytesMut::with_capacity(HEAD + PIECE);
        first.put_u64_le(self.node.0);
        first.put_u64_le(self.number);
        first.put_u64_le(self.bytes.len() as u64);
        first.put_slice(&self.bytes[..self.bytes.len().min(PIECE)]);
        first.to_vec()
    }

    /// The piece that is asked for: the number of the state, and a place in it.
    pub(super) fn piece(&mut self, asked: &[u8]) -> Option<Vec<u8>> {
        let (number, at) = asked.split_first_chunk::<8>()?;
        let (at, _) = at.split_first_chunk::<8>()?;
        if u64::from_le_bytes(*number) != self.number {
            return None;
        }
        self.asked = Instant::now();
        let at = usize::try_from(u64::from_le_bytes(*at)).ok()?;
        let rest = self.bytes.get(at..)?;
        Some(rest[..rest.len().min(PIECE)].to_vec())
    }
}

/// Gets the state from another node. `None` if nobody has it.
pub(super) async fn get(log: &NatsLog) -> Result<Option<Bytes>, NatsError> {
    for _ in 0..ATTEMPTS {
        let Ok(first) = log.ask(log.subjects().state(), Vec::new(), PIECE_WITHIN).await else {
            continue;
        };
        if let Some(state) = rest(log, &first).await? {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// Gets what follows on the first piece. `None` if its node does not have it any more.
async fn rest(log: &NatsLog, first: &[u8]) -> Result<Option<Bytes>, NatsError> {
    let Some((head, piece)) = first.split_first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let part = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&head[at..at + 8]);
        u64::from_le_bytes(number)
    };
    let (node, number, length) = (NodeId(part(0)), part(8), part(16));
    if length > BYTES_MAX {
        return Ok(None);
    }
    let mut state = BytesMut::from(piece);
    while (state.len() as u64) < length {
        let mut asked = Vec::with_capacity(16);
        asked.extend_from_slice(&number.to_le_bytes());
        asked.extend_from_slice(&(state.len() as u64).to_le_bytes());
        let piece = log.ask(log.subjects().pieces(node), asked, PIECE_WITHIN).await?;
        if piece.is_empty() {
            return Ok(None);
        }
        state.extend_from_slice(&piece);
    }
    Ok(Some(state.freeze()))
}
