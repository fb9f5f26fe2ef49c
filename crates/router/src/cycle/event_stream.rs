//! What a stream of server-sent events has beside its socket, and the pieces in which it is written.
//!
//! Events are shared like frames, and a stream without positions is written as a WebSocket is. A stream with positions
//! has an `id` in front of its events, which names its own positions, so it is written from a copy: a piece, in which
//! ids and events are put together. The messages of a piece stay in the outbox until the socket has taken them. If it
//! takes a part, the positions behind that are taken back, and the rest is put together anew when it takes more.
//!
//! Few bytes are the stream's own and in no outbox: the head of the answer, and the rest of an id of which the socket
//! took a part. The message behind them has begun then, so nothing comes between. An id is bounded by the number of a
//! stream's topics.

use std::ops::Range;

use tickwire_wire::sse::{self, Framing};

use super::track::{Step, Track};
use crate::directory::Directory;
use crate::outbox::Outbox;

/// Time that a client is asked to wait before it connects again, in milliseconds.
const RETRY_MS: u64 = 2_000;

/// What a stream has beside its socket.
#[derive(Debug)]
pub struct EventStream {
    /// Its own bytes that wait for its socket, which takes them next.
    own: Vec<u8>,
    /// What its socket is offered in this batch, if it has positions.
    piece: Option<Piece>,
    /// Its positions, if it can be resumed.
    track: Option<Track>,
    framing: Framing,
}

/// The place of a stream's piece among the [`Pieces`].
#[derive(Debug)]
struct Piece {
    bytes: Range<usize>,
    messages: Range<usize>,
}

/// The pieces of a batch of writing.
#[derive(Debug, Default)]
pub struct Pieces {
    bytes: Vec<u8>,
    messages: Vec<Message>,
}

/// A message in a piece: its id, if it moves the stream, and its event or the beginning of that.
#[derive(Debug)]
struct Message {
    begin: usize,
    id_end: usize,
    end: usize,
    step: Option<Step>,
}

/// The ends of the pieces that were put together before some moment.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    bytes: usize,
    messages: usize,
}

/// What the socket of a session took of what it was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes that were of the outbox.
    pub(super) of_outbox: usize,
    /// Whether it took of the id of the message that is next in the outbox, and nothing of the message.
    pub(super) has_begun: bool,
}

impl Pieces {
    /// The number of bytes.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The ends of the pieces so far.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            messages: self.messages.len(),
        }
    }

    /// Drops the pieces that were put together after `mark`.
    pub fn truncate(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.messages.truncate(mark.messages);
    }

    /// Drops all pieces.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.messages.clear();
    }

    /// Frees the memory of pieces beyond `bytes_max` bytes.
    pub fn shrink_to(&mut self, bytes_max: usize) {
        self.bytes.shrink_to(bytes_max);
        self.messages.shrink_to(bytes_max / size_of::<Message>());
    }
}

impl EventStream {
    /// A stream that begins with `head`. The first message in its outbox has begun with that.
    #[must_use]
    pub fn new(framing: Framing, head: Vec<u8>, track: Option<Track>) -> Self {
        let mut own = head;
        framing.append(&mut own, |out| sse::write_retry(RETRY_MS, out));
        Self {
            own,
            piece: None,
            track,
            framing,
        }
    }

    /// The bytes that its socket is offered in place of its outbox, if there are any.
    pub(super) fn offered<'a>(&'a self, pieces: &'a Pieces) -> Option<&'a [u8]> {
        match &self.piece {
            Some(piece) => Some(&pieces.bytes[piece.bytes.clone()]),
            None => (!self.own.is_empty()).then_some(&self.own),
        }
    }

    /// Makes the next piece, of at most `bytes_max` bytes, from the first messages in `outbox`. Makes none while the
    /// stream's own bytes wait. Only the first message may be cut, because the rest of it needs no id.
    pub(super) fn put_together(
        &mut self,
        outbox: &Outbox,
        directory: &Directory,
        bytes_max: usize,
        pieces: &mut Pieces,
    ) {
        self.piece = None;
        let Some(track) = self.track.as_mut().filter(|_| self.own.is_empty()) else {
            return;
        };
        let start = pieces.mark();
        let until = start.bytes + bytes_max;
        let mut id_is_out = outbox.is_begun();
        for waiting in outbox.waiting() {
            let before = pieces.mark();
            let step = match std::mem::take(&mut id_is_out) {
                true => None,
                false => track.follow(&waiting, directory),
            };
            if step.is_some() {
                let id = track.cursor();
                self.framing
                    .append(&mut pieces.bytes, |out| sse::write_id(id, out));
            }
            let id_end = pieces.bytes.len();
            let room = until.saturating_sub(id_end);
            if waiting.bytes.len() > room && before.messages > start.messages {
                pieces.truncate(before);
                if let Some(step) = step {
                    track.take_back(step);
                }
                break;
            }
            let count = waiting.bytes.len().min(room);
            pieces.bytes.extend_from_slice(&waiting.bytes[..count]);
            pieces.messages.push(Message {
                begin: before.bytes,
                id_end,
                end: id_end + count,
                step,
            });
        }
        let end = pieces.mark();
        self.piece = (end.bytes > start.bytes).then_some(Piece {
            bytes: start.bytes..end.bytes,
            messages: start.messages..end.messages,
        });
    }

    /// Its socket took `count` bytes of what it was offered.
    pub(super) fn took(&mut self, count: usize, pieces: &Pieces) -> Taken {
        let mut taken = Taken {
            of_outbox: 0,
            has_begun: false,
        };
        let Some(piece) = self.piece.take() else {
            if self.own.is_empty() {
                taken.of_outbox = count;
            } else {
                self.own.drain(..count);
                self.own.shrink_to_fit();
            }
            return taken;
        };
        let until = piece.bytes.start + count;
        for message in pieces.messages[piece.messages].iter().rev() {
            let is_id_begun = message.begin < until && message.step.is_some();
            if is_id_begun && until <= message.id_end {
                taken.has_begun = true;
                self.own = pieces.bytes[until..message.id_end].to_vec();
            }
            taken.of_outbox += until.clamp(message.id_end, message.end) - message.id_end;
            if let (false, Some(step), Some(track)) = (is_id_begun, message.step.clone(), &mut self.track) {
                track.take_back(step);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests;
