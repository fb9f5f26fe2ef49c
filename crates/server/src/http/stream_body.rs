//! The body of a stream of server-sent events: takes what waits for its session whenever the client takes bytes.
//!
//! Holds nothing back and keeps nothing: what the client does not take waits in the session's outbox, whose budget ends a
//! slow reader. The last event, `close`, says why a stream ended. Dropping the body ends the session.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde::Serialize;
use tickwire_metrics::Metric;
use tickwire_router::{Fanout, Outbox, SessionId, Waiting};
use tickwire_wire::codec::DataOp;
use tickwire_wire::frame::{Opcode, payload_of};
use tickwire_wire::{CloseCode, Control, Kind, Seq};

use super::context::HttpContext;
use super::progress::Stalled;
use super::stream::is_text;
use super::{Cursor, SseLink, sse};

/// Bytes of events after which a piece of the body is full.
const PIECE_BYTES: usize = 16 * 1024;
/// Time that a client is asked to wait before it connects again, in milliseconds.
const RETRY_MS: u64 = 2_000;

/// How far a stream has come in each of its topics, none of which is a wildcard.
#[derive(Debug)]
pub(super) struct Track {
    /// The topics, with their places in the cursor.
    places: HashMap<String, (usize, Kind)>,
    cursor: Cursor,
}

impl Track {
    /// The track of a stream that is at `cursor`, whose numbers are those of `topics`.
    pub(super) fn new(topics: impl Iterator<Item = (String, Kind)>, cursor: Cursor) -> Self {
        let places = topics.enumerate().map(|(at, (topic, kind))| (topic, (at, kind)));
        Self {
            places: places.collect(),
            cursor,
        }
    }

    /// The cursor after message `seq` of `topic`.
    fn advance(&mut self, topic: &str, seq: Seq) -> Option<&Cursor> {
        let (at, _) = *self.places.get(topic)?;
        self.cursor.seqs[at] = seq;
        Some(&self.cursor)
    }

    /// The cursor after a gap of `topic` up to message `seq`. The gap of a book does not move it: a client that is cut off
    /// before the book that follows has to get both again.
    fn pass(&mut self, topic: &str, seq: Seq) -> Option<&Cursor> {
        match self.places.get(topic)? {
            (_, Kind::Book) => Some(&self.cursor),
            (_, Kind::State | Kind::Event) => self.advance(topic, seq),
        }
    }
}

/// The session of a stream, which ends when this is dropped.
pub(super) struct StreamSession {
    pub(super) context: Rc<HttpContext>,
    pub(super) id: SessionId,
    pub(super) sse_link: Rc<SseLink>,
}

impl StreamSession {
    /// Ends the session, if it is still there.
    fn end(&self) {
        // The sessions of a broken hub are all about to end.
        if self.sse_link.release() && !self.context.hub.is_broken() {
            self.context.hub.borrow_mut().end_sse(self.id);
        }
    }
}

impl Drop for StreamSession {
    fn drop(&mut self) {
        self.end();
    }
}

/// The body of a stream.
pub(crate) struct StreamBody {
    session: StreamSession,
    stalled: Stalled,
    events: Events,
}

impl StreamBody {
    /// The body that serves `session` on the connection that `stalled` is about.
    pub(super) fn new(session: StreamSession, stalled: Stalled, track: Option<Track>) -> Self {
        let mut events = Events {
            piece: Vec::new(),
            track,
            closed: None,
            failed: false,
        };
        sse::write_retry(RETRY_MS, &mut events.piece);
        stalled.set_streaming(true);
        Self {
            session,
            stalled,
            events,
        }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let StreamSession {
            context: served,
            id,
            sse_link,
        } = &this.session;
        let ended = sse_link.is_ended();
        if let Some(close) = sse_link.take_close() {
            this.events.write_rfc6455(&close);
        } else if ended {
            return Poll::Ready(None);
        } else {
            let mut hub = served.hub.borrow_mut();
            // Being polled is how the client's readiness shows here.
            hub.shard.refill(*id);
            if let Some(outbox) = hub.shard.outbox(*id) {
                let taken = this.events.write(outbox.waiting());
                hub.took_sse(*id, taken);
            }
        }
        if let Some(code) = this.events.closed {
            if code == CloseCode::SLOW {
                served.metrics.add(Metric::SseDropped, &[], 1);
            }
            let failed = u64::from(this.events.failed);
            served.metrics.add(Metric::SessionsFailed, &[], failed);
            this.session.end();
        }
        if this.events.piece.is_empty() && !ended {
            sse_link.set_waker(context.waker().clone());
            return Poll::Pending;
        }
        let piece = std::mem::take(&mut this.events.piece);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        let sse_link = &self.session.sse_link;
        sse_link.is_ended() && !sse_link.has_close()
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if self.stalled.is_set() && self.events.closed.is_none() {
            self.session.context.metrics.add(Metric::SseDropped, &[], 1);
        }
        self.stalled.set_streaming(false);
    }
}

/// The close frame that waits in the outbox of a stream's session.
pub(crate) fn close_frame_in(outbox: &Outbox) -> Option<Box<[u8]>> {
    // A body takes frames whole, so each begins with its head.
    let close = outbox
        .waiting()
        .find(|waiting| waiting.fanout.is_none() && is_close(waiting.bytes))?;
    Some(close.bytes.into())
}

fn is_close(frame: &[u8]) -> bool {
    frame
        .first()
        .is_some_and(|head| head & 0x0f == Opcode::Close as u8)
}

/// Frames as events.
struct Events {
    /// What is written next.
    piece: Vec<u8>,
    /// Where the stream stands, if it can be resumed.
    track: Option<Track>,
    /// The close code, once the last event is written.
    closed: Option<CloseCode>,
    /// Whether it is closed because the broker could not go on.
    failed: bool,
}

/// The data of the last event.
#[derive(Serialize)]
struct Closed<'a> {
    code: u16,
    reason: &'a str,
}

impl Events {
    /// Writes `waiting` as events until the piece is full. Returns the number of bytes of the frames that it used.
    fn write<'w>(&mut self, waiting: impl Iterator<Item = Waiting<'w>>) -> usize {
        let mut taken = 0;
        for Waiting { bytes, fanout } in waiting {
            if self.piece.len() >= PIECE_BYTES || self.closed.is_some() {
                break;
            }
            taken += bytes.len();
            match fanout {
                Some(fanout) => self.write_data(fanout, payload_of(bytes)),
                None if is_text(bytes) => self.write_control(payload_of(bytes)),
                None => self.write_rfc6455(bytes),
            }
        }
        taken
    }

    fn write_data(&mut self, fanout: &Fanout, message: &[u8]) {
        let publication = &fanout.publication;
        let cursor = self
            .track
            .as_mut()
            .and_then(|track| track.advance(publication.lineage.topic.as_str(), publication.seq));
        let name = match fanout.op {
            DataOp::Update => "update",
            DataOp::Snapshot => "snapshot",
        };
        sse::write_event(name, cursor, message, &mut self.piece);
    }

    fn write_control(&mut self, message: &[u8]) {
        let control = match serde_json::from_slice::<Control>(message) {
            Ok(control) => control,
            Err(error) => {
                let text = String::from_utf8_lossy(message);
                tracing::error!(%error, %text, "a stream ends: a message of the broker's own cannot be read");
                self.failed = true;
                self.write_close(CloseCode::INTERNAL, "a fault of the broker; reconnect");
                return;
            }
        };
        let track = self.track.as_mut();
        let (name, cursor) = match &control {
            Control::Welcome { .. } => ("welcome", None),
            // Where the subscriptions begin.
            Control::Ack { .. } => ("ack", track.map(|track| &track.cursor)),
            Control::Gap { topic, to, .. } => ("gap", track.and_then(|track| track.pass(topic, *to))),
            Control::Status { .. } => ("status", None),
            Control::Heartbeat { .. } => ("heartbeat", None),
            Control::Pong { .. } => ("pong", None),
            Control::Synced { .. } => ("synced", None),
            Control::Joined { .. } => ("joined", None),
            Control::Drain {
                reconnect_after_ms, ..
            } => {
                sse::write_retry(*reconnect_after_ms, &mut self.piece);
                ("drain", None)
            }
            Control::Error { .. } => ("error", None),
        };
        sse::write_event(name, cursor, message, &mut self.piece);
    }

    /// Control frames of RFC 6455: a close is the last event, pings and pongs have no meaning here.
    fn write_rfc6455(&mut self, frame: &[u8]) {
        if !is_close(frame) {
            return;
        }
        let (code, reason) = match payload_of(frame) {
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
            _ => (CloseCode::NORMAL.0, &[][..]),
        };
        self.write_close(CloseCode(code), &String::from_utf8_lossy(reason));
    }

    /// The last event.
    fn write_close(&mut self, code: CloseCode, reason: &str) {
        let closed = Closed { code: code.0, reason };
        // Text and a number always serialise.
        let data = serde_json::to_vec(&closed).expect("a close serialises");
        sse::write_event("close", None, &data, &mut self.piece);
        self.closed = Some(code);
    }
}

#[cfg(test)]
mod tests {
    use tickwire_wire::message::GapReason;

    use super::*;

    #[test]
    fn a_gap_of_a_book_brought_a_stream_beyond_the_book_that_follows_it() {
        let cursor = Cursor {
            epoch: "e".into(),
            seqs: vec![Seq(1), Seq(1)],
        };
        let topics = [("book.X", Kind::Book), ("trade.X", Kind::Event)];
        let topics = topics.map(|(topic, kind)| (topic.to_owned(), kind));
        let mut events = Events {
            piece: Vec::new(),
            track: Some(Track::new(topics.into_iter(), cursor)),
            closed: None,
            failed: false,
        };
        for topic in ["book.X", "trade.X"] {
            let gap = Control::Gap {
                topic: topic.to_owned(),
                epoch: "e".into(),
                from: Seq(2),
                to: Seq(9),
                reason: GapReason::Slow,
            };
            events.write_control(&serde_json::to_vec(&gap).unwrap());
        }
        let text = String::from_utf8(events.piece).unwrap();
        let ids: Vec<&str> = text.lines().filter(|line| line.starts_with("id:")).collect();
        assert_eq!(ids, ["id: e:1,1", "id: e:1,9"]);
    }
}
