//! The connections of a shard, as its cycle sees them.

use std::io;

use tickwire_wire::Micros;
use tickwire_wire::frame::Event;

use super::Line;
use crate::session::SessionId;
use crate::shard::Shard;

/// What a connection is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyConnection {
    /// Whose connection it is.
    pub session: SessionId,
    /// It can be read.
    pub readable: bool,
    /// It takes bytes.
    pub writable: bool,
    /// The far end has closed, or its sending side.
    pub ended: bool,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes that a client sent; none when it has ended the connection.
    pub count: usize,
    /// The socket had no more.
    pub drained: bool,
}

/// What one write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrote {
    /// This much, and the socket may take more; whether more waits is for the outbox to say.
    All(usize),
    /// Only this much: the socket is full until it reports that it is writable.
    Part(usize),
}

/// The outcome of a write to the connection of a session.
#[derive(Debug)]
pub struct Written {
    /// The session.
    pub session: SessionId,
    /// How much was written, or the error that ends the connection.
    pub outcome: io::Result<Wrote>,
}

/// What is to become of a session that has something to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is written with the batch.
    Batched,
    /// Its socket has yet to take what it was handed before.
    Full,
}

/// The connections of a shard: what the [`Cycle`](super::Cycle) asks of sockets and a clock.
///
/// Nothing here waits. Each method is for the connection of `id`; where there is none, it does nothing.
pub trait Connections {
    /// The time now. It does not go backwards.
    fn now(&mut self) -> Micros;

    /// The cycle's state of a connection, if the session has one.
    fn line(&mut self, id: SessionId) -> Option<&mut Line>;

    /// Appends the connections that have become ready since the last call. Returns whether more may be ready at once. One that can be
    /// read need not be named again before it [was read](Self::read) to its end.
    fn take_ready(&mut self, ready: &mut Vec<ReadyConnection>) -> bool;

    /// Reads once.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when there is nothing to be read, and any other that ends the connection.
    fn read(&mut self, id: SessionId, buffer: &mut [u8]) -> io::Result<Received>;

    /// A client's frame or message is about to be handled.
    fn hears(&mut self, _shard: &Shard, _id: SessionId, _event: &Event<'_>, _now: Micros) {}

    /// A client's frame or message was handled, or another piece of its request.
    fn handled(&mut self, shard: &mut Shard, id: SessionId, now: Micros);

    /// A batch of writing begins.
    fn begin_batch(&mut self);

    /// Whether a batch of `count` connections has room for another one.
    fn has_room(&self, count: usize) -> bool;

    /// What waits for a session is to be written with the batch, unless its socket is full.
    ///
    /// # Errors
    /// Any ends the connection.
    fn offer(&mut self, shard: &mut Shard, id: SessionId, now: Micros) -> io::Result<Offer>;

    /// Writes to the sessions of a batch, and appends the outcome for each. A session without a connection is left out.
    fn write(&mut self, shard: &Shard, batch: &[SessionId], results: &mut Vec<Written>);

    /// A round of writing is over.
    fn end_round(&mut self) {}

    /// The socket took `count` bytes. Those that were of the outbox are said to the shard with [`Shard::wrote`].
    ///
    /// # Errors
    /// When fewer bytes waited in the outbox: the session cannot go on.
    fn took(&mut self, shard: &mut Shard, id: SessionId, count: usize, now: Micros) -> io::Result<()>;

    /// The socket takes bytes again: hands it what has left the outbox before. Returns whether it is full again.
    ///
    /// # Errors
    /// Any ends the connection.
    fn resume(&mut self, _shard: &mut Shard, _id: SessionId) -> io::Result<bool> {
        Ok(false)
    }

    /// Lets the socket of a session that is about to be dropped hold more of what the session has yet to get; still more if that was
    /// `again` too little. Returns whether it does.
    fn make_room(&mut self, _id: SessionId, _again: bool) -> bool {
        false
    }

    /// Shuts the sending side. Returns whether something still waits for the socket, which is to be shut when that is gone.
    ///
    /// # Errors
    /// Any ends the connection.
    fn shut(&mut self, id: SessionId) -> io::Result<bool>;

    /// A stream has ended properly; its session is removed next.
    fn end_stream(&mut self, _id: SessionId) {}

    /// A connection broke; its session is removed next.
    fn lost(&mut self, _id: SessionId, _error: &io::Error) {}

    /// Removes a session from the shard, and drops its connection. Returns whether there was one.
    fn remove(&mut self, shard: &mut Shard, id: SessionId) -> bool;

    /// Sessions may have parted from their subscriptions.
    fn parted(&mut self, _shard: &Shard) {}
}
