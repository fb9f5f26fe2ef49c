//! Sessions that an HTTP response body serves: streams of server-sent events.

use std::rc::Rc;

use tickwire_metrics::Transport as TransportLabel;
use tickwire_router::{SessionId, SharedBucket, Transport};
use tickwire_wire::message::Subscribe;
use tickwire_wire::{ClientMessage, Codec};

use super::{Hub, Link};
use crate::auth::Admission;
use crate::http::SseLink;

impl Hub {
    /// Opens a session that an HTTP response body serves, and begins to subscribe; [`Self::go_on_sse`] does the rest.
    pub(crate) fn open_sse(
        &mut self,
        sse_link: Rc<SseLink>,
        (admission, visits): (Admission, Option<SharedBucket>),
        subscribe: Subscribe,
    ) -> SessionId {
        let now = self.clock.now();
        let id = self.auth.open(
            &mut self.shard,
            Codec::Json.into(),
            Transport::Sse,
            admission,
            now,
        );
        if let Some(visits) = visits {
            self.shard.shares(id, visits);
        }
        self.set_link(id, Link::Sse(sse_link));
        self.shard
            .request(id, Ok(ClientMessage::Subscribe(subscribe)), now);
        id
    }

    /// Does one more piece of a session's subscription. Returns whether there was one; if not, the answer waits in the outbox.
    pub(crate) fn go_on_sse(&mut self, id: SessionId) -> bool {
        let now = self.clock.now();
        self.shard.go_on(id, now)
    }

    /// What a session asked for was granted: it is a stream from now on.
    pub(crate) fn grant_sse(&mut self, sse_link: &SseLink) {
        sse_link.grant();
        self.connection_opened(TransportLabel::Sse);
        self.check_gate();
        self.kick();
    }

    /// Takes note that the response body of an SSE session took `count` bytes.
    pub(crate) fn took_sse(&mut self, id: SessionId, count: usize) {
        let now = self.clock.now();
        if self.took(id, count, now).is_err() {
            self.drop_session(id);
        }
        if self.shard.dirty_count() > 0 {
            self.kick(); // there is more to be pulled in
        }
    }

    /// Ends an SSE session whose response body has let go.
    pub(crate) fn end_sse(&mut self, id: SessionId) {
        self.drop_session(id);
        self.kick(); // a broker that stops waits for the last session
    }
}
