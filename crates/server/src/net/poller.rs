//! Readiness of a shard's WebSocket connections: an epoll of its own inside tokio's.
//!
//! Tokio watches a single descriptor, however many connections a shard has. So an idle connection costs no task, no
//! waker and no buffer. It is edge-triggered: a connection is reported again only after a read or write would have
//! blocked.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use tickwire_router::SessionId;
use tickwire_router::cycle::ReadyConnection;

use super::readiness::Readiness;

/// The number of events that are taken at once.
const EVENTS: usize = 1_024;

/// A shard's epoll.
#[derive(Debug)]
pub(crate) struct Poller {
    poll: Poll,
    events: Events,
}

impl Poller {
    /// A poller without connections, and the handle to wait for its events. Must be called on the shard's runtime.
    pub(crate) fn new() -> io::Result<(Self, Readiness)> {
        let poll = Poll::new()?;
        // This is a second descriptor of the same epoll, which tokio owns.
        let descriptor = poll.registry().as_fd().try_clone_to_owned()?;
        let readiness = Readiness::of(descriptor)?;
        Ok((
            Self {
                poll,
                events: Events::with_capacity(EVENTS),
            },
            readiness,
        ))
    }

    /// Watches a connection.
    pub(crate) fn add(&self, stream: &mut mio::net::TcpStream, session: SessionId) -> io::Result<()> {
        let token = Token(session.0 as usize);
        self.poll
            .registry()
            .register(stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Stops watching a connection.
    pub(crate) fn remove(&self, stream: &mut mio::net::TcpStream) -> io::Result<()> {
        self.poll.registry().deregister(stream)
    }

    /// Appends the connections that are ready to `ready`, without waiting. Returns whether there may be more.
    pub(crate) fn take(&mut self, ready: &mut Vec<ReadyConnection>) -> io::Result<bool> {
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            other => other?,
        }
        let mut count = 0;
        for event in &self.events {
            count += 1;
            let Ok(session) = u32::try_from(event.token().0) else {
                continue;
            };
            ready.push(ReadyConnection {
                session: SessionId(session),
                readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                writable: event.is_writable() || event.is_write_closed(),
                ended: event.is_read_closed() || event.is_error(),
            });
        }
        Ok(count == EVENTS)
    }
}
