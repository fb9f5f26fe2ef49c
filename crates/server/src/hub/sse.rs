//! Sessions that an HTTP response body serves: streams of server-sent events.

use std::rc::Rc;

use tickwire_metrics::Transport as TransportLabel;
use tickwire_router::{Outbox, SessionId, SharedBucket, Transport};
use tickwire_wire::message::Subscribe;
use tickwire_wire::{ClientMessage, Codec};

use super::{Hub, Link};
use crate::access::Admission;
use crate::http::Tether;

impl Hub {
    /// Opens a session that an HTTP response body serves, and subscribes; `check` looks at the answer, which waits in the
    /// outbox.
    ///
    /// # Errors
    /// What `check` found; there is no session then.
    pub(crate) fn open_sse<T, E>(
        &mut self,
        tether: Rc<Tether>,
        (admission, visits): (Admission, Option<SharedBucket>),
        subscribe: Subscribe,
        check: impl FnOnce(Option<&Outbox>) -> Result<T, E>,
    ) -> Result<(SessionId, T), E> {
        let now = self.clock.now();
        let id = self.guard.open(
            &mut self.shard,
            Codec::Json.into(),
            Transport::Sse,
            admission,
            now,
        );
        if let Some(visits) = visits {
            self.shard.shares(id, visits);
        }
        self.shard
            .request(id, Ok(ClientMessage::Subscribe(subscribe)), now);
        self.shard.finish(id, now);
        let granted = match check(self.shard.outbox(id)) {
            Ok(granted) => granted,
            Err(refused) => {
                self.shard.remove(id);
                self.guard.forget(id);
                return Err(refused);
            }
        };
        self.set_link(id, Link::Sse(tether));
        self.connection_opened(TransportLabel::Sse);
        self.check_gate();
        self.kick();
        Ok((id, granted))
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
