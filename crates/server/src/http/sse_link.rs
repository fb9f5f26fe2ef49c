//! What a session of server-sent events and the response body that serves it know of each other.
//!
//! Either side may go first. The number of a session is used again once it is gone, so the body asks here, not the shard,
//! whether its session still is. When the session goes first its close frame is kept here, so that a reader which gets that
//! far is told why.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use crate::limits::AddressSlot;
use crate::net::proxied::ClientAddr;

/// What the hub and a response body share.
#[derive(Debug, Default)]
pub(crate) struct SseLink {
    ended: Cell<bool>,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    close: RefCell<Option<Box<[u8]>>>,
    client: Option<ClientAddr>,
    /// The client's place among those of its address, where the connection has none.
    _place: Option<AddressSlot>,
}

impl SseLink {
    /// One for the session of a client, which gives `place` back when it ends.
    pub(crate) fn new(client: ClientAddr, place: Option<AddressSlot>) -> Self {
        Self {
            client: Some(client),
            _place: place,
            ..Self::default()
        }
    }

    /// Whose session it is.
    pub(crate) fn client(&self) -> Option<ClientAddr> {
        self.client
    }

    /// Has `waker` woken when there is something for the body.
    pub(crate) fn set_waker(&self, waker: Waker) {
        *self.waker.borrow_mut() = Some(waker);
    }

    /// There is something for the body.
    pub(crate) fn wake(&self) {
        let waker = self.waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// What the client asked for was granted.
    pub(crate) fn grant(&self) {
        self.granted.set(true);
    }

    /// Whether what the client asked for was granted.
    pub(crate) fn is_granted(&self) -> bool {
        self.granted.get()
    }

    /// Whether one of the two sides has ended it.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.get()
    }

    /// The body lets go. Returns whether it is the first to do so: the session is still there then.
    pub(crate) fn release(&self) -> bool {
        !self.ended.replace(true)
    }

    /// The session is gone; `close` is the close frame that the body has not taken.
    pub(crate) fn session_gone(&self, close: Option<Box<[u8]>>) {
        if !self.ended.replace(true) {
            *self.close.borrow_mut() = close;
            self.wake();
        }
    }

    /// Whether there is a close frame of a session that is gone.
    pub(crate) fn has_close(&self) -> bool {
        self.close.borrow().is_some()
    }

    /// The close frame of a session that is gone, once.
    pub(crate) fn take_close(&self) -> Option<Box<[u8]>> {
        self.close.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_goes_first() {
        let sse_link = SseLink::default();
        sse_link.session_gone(Some(Box::new(*b"bye")));
        assert!(sse_link.is_ended() && sse_link.has_close());
        assert!(!sse_link.release(), "there is no session to be ended");
        assert_eq!(sse_link.take_close().as_deref(), Some(&b"bye"[..]));
        assert_eq!(sse_link.take_close(), None);
    }

    #[test]
    fn the_body_goes_first() {
        let sse_link = SseLink::default();
        assert!(sse_link.release());
        sse_link.session_gone(Some(Box::new(*b"bye")));
        assert!(sse_link.is_ended() && !sse_link.has_close());
    }
}
