//! An answer that is made while the client takes it.
//!
//! It holds one chunk of rows and never the history. Messages that the history lets go of meanwhile come from the archive. If
//! there is none, or they are not there, a gap tells of them, or the answer breaks off, which the client sees by its missing end. It breaks off as well if its topic ends, whose memory
//! it does not hold. It ends at the message that was the newest when it began.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tickwire_router::{ArchivedNext, Publication, TopicCell};
use tickwire_wire::{Micros, Seq};

use super::older::OlderParts;
use super::rows::{ExportBroken, Format, Rows, Subject};
use crate::limits::WaitingAnswer;

/// The bytes of rows after which a chunk is full. Its last row may exceed it.
const CHUNK_BYTES: usize = 64 * 1024;
/// The bytes that count for an export among the waiting answers: a chunk that is being made, one that waits to be written, and
/// a long last row of each.
pub(super) const EXPORT_BYTES: usize = 4 * CHUNK_BYTES;
/// The same for an export of messages from the archive. A part of them becomes rows at once.
pub(super) const OLDER_EXPORT_BYTES: usize = 16 * CHUNK_BYTES;
/// The most messages that are taken from the history at a time.
pub(super) const BATCH: usize = 128;

/// What an export is made of.
pub(super) struct Plan {
    pub(super) cell: Arc<TopicCell>,
    /// The first messages. The history may let go of them before the client takes them.
    pub(super) first: Vec<Arc<Publication>>,
    /// What reads the messages before those in memory.
    pub(super) older: Option<OlderParts>,
    /// The number before the first message.
    pub(super) after: Seq,
    /// The last number.
    pub(super) last: Seq,
    /// The moment at which it ends.
    pub(super) to: Option<Micros>,
    /// The most messages.
    pub(super) limit: usize,
    pub(super) format: Format,
    /// The export's place among the waiting answers.
    pub(super) held: WaitingAnswer,
}

/// The body of an answer with the messages of a history.
pub(crate) struct Export {
    /// The topic. Its memory is given back when it ends, whoever still reads.
    cell: Weak<TopicCell>,
    subject: Subject,
    after: Seq,
    last: Seq,
    to: Option<Micros>,
    left: usize,
    rows: Rows,
    batch: Vec<Arc<Publication>>,
    older: Option<OlderParts>,
    is_over: bool,
    _held: WaitingAnswer,
}

impl Export {
    /// The export that `plan` describes.
    ///
    /// # Errors
    /// If the format refuses to begin.
    pub(super) fn new(plan: Plan) -> Result<Self, ExportBroken> {
        let subject = Subject {
            topic: plan.cell.topic().clone(),
            kind: plan.cell.kind(),
            epoch: plan.cell.position().epoch,
        };
        Ok(Self {
            rows: Rows::begin(plan.format, &subject)?,
            cell: Arc::downgrade(&plan.cell),
            subject,
            after: plan.after,
            last: plan.last,
            to: plan.to,
            left: plan.limit,
            batch: plan.first,
            older: plan.older,
            is_over: false,
            _held: plan.held,
        })
    }

    /// The next chunk; `None` at the end. While older messages are read, there is nothing to send.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Vec<u8>>, ExportBroken>> {
        while !self.is_over && self.rows.bytes() < CHUNK_BYTES {
            match self.poll_older(context)? {
                Poll::Ready(true) => {}
                Poll::Ready(false) => self.add_batch()?,
                Poll::Pending if self.rows.bytes() > 0 => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        let chunk = self.rows.take()?;
        Poll::Ready(Ok(Some(chunk).filter(|chunk| !chunk.is_empty())))
    }

    /// Adds the rows of the next part from the archive. Ready with `false` if the history has the next message.
    fn poll_older(&mut self, context: &mut Context<'_>) -> Result<Poll<bool>, ExportBroken> {
        let Some(older) = &mut self.older else {
            return Ok(Poll::Ready(false));
        };
        let cell = self.cell.upgrade().filter(|cell| !cell.has_ended());
        let part = match older.poll_next(context, cell.as_ref(), (self.after, self.last)) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(None) => return Ok(Poll::Ready(false)),
            Poll::Ready(Some(part)) => part,
        };
        let mut part = part.map_err(|_| ExportBroken::Unreadable)?;
        while !self.is_over {
            match part.take() {
                ArchivedNext::Message(message) => {
                    if message.seq > self.after.next() {
                        self.gap(self.after.next(), Seq(message.seq.0 - 1))?;
                    }
                    self.add(&message);
                }
                ArchivedNext::Missing(to) => self.gap(self.after.next(), to)?,
                ArchivedNext::End => break,
            }
        }
        self.end_if_over()?;
        Ok(Poll::Ready(true))
    }

    /// Says that messages are missing.
    fn gap(&mut self, from: Seq, to: Seq) -> Result<(), ExportBroken> {
        if from <= self.last && self.left > 0 {
            self.rows.gap(&self.subject, from, to.min(self.last))?;
            self.after = to;
        }
        Ok(())
    }

    /// Adds the row of a message, if it is wanted. Otherwise the export is over.
    fn add(&mut self, message: &Publication) {
        let is_wanted = message.seq <= self.last && self.to.is_none_or(|to| message.ts < to);
        if !is_wanted || self.left == 0 {
            self.is_over = true;
            return;
        }
        self.rows.push(message);
        self.after = message.seq;
        self.left -= 1;
    }

    fn end_if_over(&mut self) -> Result<(), ExportBroken> {
        if self.after >= self.last || self.left == 0 || self.is_over {
            self.is_over = true;
            self.rows.end()?;
        }
        Ok(())
    }

    /// Adds rows until the chunk is full, the batch is used up or the export is over.
    fn add_batch(&mut self) -> Result<(), ExportBroken> {
        let mut batch = std::mem::take(&mut self.batch);
        let cell = self.cell.upgrade().filter(|cell| !cell.has_ended());
        let cell = cell.ok_or(ExportBroken::Ended)?;
        // The first messages were read with the ends of the history.
        let gap = match batch.first() {
            None => cell.read_after(self.after, BATCH, &mut batch).gap,
            Some(first) => (first.seq > self.after.next()).then(|| (self.after.next(), Seq(first.seq.0 - 1))),
        };
        drop(cell);
        if let Some((from, to)) = gap {
            self.gap(from, to)?;
        }
        for message in &batch {
            self.add(message);
            if self.is_over || self.rows.bytes() >= CHUNK_BYTES {
                break;
            }
        }
        batch.clear();
        self.batch = batch;
        self.end_if_over()
    }
}

impl Body for Export {
    type Data = Bytes;
    type Error = ExportBroken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ExportBroken>>> {
        let export = self.get_mut();
        let next = ready!(export.poll_next(context));
        let next = next.map(|chunk| chunk.map(|rows| Frame::data(rows.into())));
        if next.is_err() {
            export.is_over = true;
        }
        Poll::Ready(next.transpose())
    }
}
