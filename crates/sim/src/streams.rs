//! The broker's side of a request for a stream of events, in place of the server's HTTP.
//!
//! Its session is opened at once, and its subscription is done a piece in each round of the shard. If something was
//! granted, the connection becomes a stream; if nothing was, the session ends, and the client gets no stream.

use tickwire_router::Transport;
use tickwire_router::cycle::{EventStream, Line, Track};
use tickwire_wire::limits::SSE_HEARD_BYTES_MAX;
use tickwire_wire::message::AckResult;
use tickwire_wire::sse::Cursor;
use tickwire_wire::{ClientMessage, Dialect, Micros};

use crate::broken::{Broken, Rule};
use crate::broker::Broker;
use crate::client::StreamRequest;
use crate::request;
use crate::trace::Trace;

impl Broker {
    /// Takes the request for a stream of a client that has no connection.
    pub(crate) fn open_stream(
        &mut self,
        client: usize,
        asked: StreamRequest,
        now: Micros,
    ) -> Result<(), Broken> {
        self.tally.streams_again += u64::from(asked.last_event_id.is_some());
        let subscribe = asked.subscribe(resumed(&asked)?.as_ref());
        let mut link = self.open(client, Transport::Sse, now);
        link.requested = true;
        link.under_way = Some(asked.id.0);
        link.opening = Some(asked);
        if let Some(id) = link.session {
            let shard = &mut self.shards[link.shard];
            shard.request(id, Ok(ClientMessage::Subscribe(subscribe)), now);
            request::handled(shard, &mut link, &mut self.truth, id);
        }
        self.links[client] = Some(link);
        Ok(())
    }

    /// Does a piece of the subscription of each stream that a shard opens. Returns whether there was any.
    pub(crate) fn go_on_streams(&mut self, shard: usize, now: Micros, trace: &mut Trace) -> bool {
        let mut any = false;
        for client in 0..self.links.len() {
            let Some(link) = self.links[client].as_mut().filter(|link| link.shard == shard) else {
                continue;
            };
            let (Some(_), Some(id)) = (&link.opening, link.session) else {
                continue;
            };
            any = true;
            let it = &mut self.shards[shard];
            if it.go_on(id, now) {
                request::handled(it, link, &mut self.truth, id);
                continue;
            }
            match it.take_answer(id) {
                Some(Ok(results)) if results.iter().any(|result| result.error.is_none()) => {
                    self.begin_stream(client, &results);
                }
                _ => self.cut(client, now, trace),
            }
        }
        any
    }

    /// A stream was granted: gives its session the connection.
    fn begin_stream(&mut self, client: usize, results: &[AckResult]) {
        let Dialect::Sse(framing) = self.setup.clients[client].dialect else {
            return;
        };
        let Some(link) = &mut self.links[client] else {
            return;
        };
        let (Some(asked), Some(id)) = (link.opening.take(), link.session) else {
            return;
        };
        self.tally.streams += 1;
        let it = &mut self.shards[link.shard];
        let track = asked.is_resumable().then(|| {
            let resumed = resumed(&asked).ok().flatten();
            Track::begin(resumed.as_ref(), results, it.directory())
        });
        let events = EventStream::new(framing, Vec::new(), track);
        link.line = Some(Line::sse(events, SSE_HEARD_BYTES_MAX));
        it.front_begun(id); // with the line before it
        it.writable(id);
    }
}

/// The positions that a request for a stream resumes from.
fn resumed(asked: &StreamRequest) -> Result<Option<Cursor>, Broken> {
    let id = asked.last_event_id.as_deref();
    let cursor = id.map(|id| Cursor::parse_for(id, asked.topics.len())).transpose();
    cursor.map_err(|error| Broken::new(Rule::Ids, error.to_string()))
}
