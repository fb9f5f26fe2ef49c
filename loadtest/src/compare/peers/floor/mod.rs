//! The plain-send floor: the cost of the kernel's work with almost nothing around it. It is a lower bound and not a
//! broker.
//!
//! It has one thread, one edge-triggered epoll and a list of subscribers per topic. A message is framed once. If a
//! cycle has only one message, it goes to each subscriber in one non-blocking write from the same memory. If there are
//! more, they are appended to a buffer per connection, and each connection is written to once. There are no numbers, no
//! history, no last values and no rights. It uses the plain protocol (`plain`) and stops at a signal. A connection that
//! leaves too much unread, or breaks a rule, is dropped without a close.

mod connection;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Context;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use tickwire_wire::frame::{Opcode, frame};

use self::connection::{Command, Connection};
use super::server::announce;
use crate::swarm::loopback;

const VERSION: &str = concat!("plain-send floor ", env!("CARGO_PKG_VERSION"));
const EVENTS_MAX: usize = 1_024;
/// Bytes to read at once, into memory that all connections share.
const SCRATCH_BYTES: usize = 256 * 1024;
/// The token of the listening socket. Connections are numbered from 0.
const LISTENER: Token = Token(usize::MAX);

/// Serves on a free port of the loopback until the process ends.
pub(crate) fn serve() -> anyhow::Result<()> {
    let mut floor = Floor::listen()?;
    announce(floor.listener.local_addr()?, VERSION)?;
    loop {
        floor.cycle(None)?;
    }
}

#[derive(Debug)]
struct Publication {
    topic: usize,
    frame: Box<[u8]>,
}

#[derive(Debug)]
struct Floor {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    /// Free places in `connections`.
    free: Vec<usize>,
    topics: HashMap<String, usize>,
    subscribers: Vec<Vec<usize>>,
    scratch: Box<[u8]>,
    /// What the connections have published in this cycle, in order.
    published: Vec<Publication>,
    /// Connections that got something to write in this cycle and had nothing before.
    dirty: Vec<usize>,
}

impl Floor {
    fn listen() -> anyhow::Result<Self> {
        let mut listener = TcpListener::bind(loopback(0)).context("cannot listen")?;
        let poll = Poll::new().context("cannot make an epoll instance")?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .context("cannot watch the listening socket")?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            topics: HashMap::new(),
            subscribers: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES].into(),
            published: Vec::new(),
            dirty: Vec::new(),
        })
    }

    /// Waits until something can be done, reads what there is, and sends what was published.
    fn cycle(&mut self, timeout: Option<Duration>) -> anyhow::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled.context("cannot wait for sockets")?,
        }
        let ready: Vec<Token> = self.events.iter().map(mio::event::Event::token).collect();
        for token in ready {
            match token {
                LISTENER => self.accept()?,
                Token(id) => self.ready(id),
            }
        }
        self.fan_out();
        Ok(())
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The connection ended before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("cannot accept connections"),
            };
            let id = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let connection = Connection::open(stream, Token(id), self.poll.registry());
            self.connections[id] = Some(connection.context("cannot set up a connection")?);
        }
    }

    /// Reads from a connection, and writes the bytes that wait for it.
    fn ready(&mut self, id: usize) {
        let Some(connection) = &mut self.connections[id] else {
            return;
        };
        let (topics, subscribers, published) = (&mut self.topics, &mut self.subscribers, &mut self.published);
        let done = connection.read(&mut self.scratch, |command| match command {
            Command::Subscribe(names) => names
                .split(',')
                .map(|name| {
                    let topic = *topics.entry(name.to_owned()).or_insert_with(|| {
                        subscribers.push(Vec::new());
                        subscribers.len() - 1
                    });
                    subscribers[topic].push(id);
                })
                .count(),
            Command::Publish(name, payload) => {
                if let Some(topic) = topics.get(name) {
                    let frame = frame(Opcode::Text, |out| out.extend_from_slice(payload.as_bytes()));
                    published.push(Publication { topic: *topic, frame });
                }
                0
            }
        });
        if done.and_then(|()| connection.flush()).is_err() {
            self.leave(id);
        }
    }

    /// Sends what the connections have published in this cycle.
    fn fan_out(&mut self) {
        let mut gone = Vec::new();
        match &self.published[..] {
            [] => return,
            [only] => {
                for id in &self.subscribers[only.topic] {
                    if let Some(connection) = &mut self.connections[*id]
                        && connection.send(&only.frame).is_err()
                    {
                        gone.push(*id);
                    }
                }
            }
            several => {
                for publication in several {
                    for id in &self.subscribers[publication.topic] {
                        if let Some(connection) = &mut self.connections[*id]
                            && connection.append(&publication.frame)
                        {
                            self.dirty.push(*id);
                        }
                    }
                }
                for id in self.dirty.drain(..) {
                    if let Some(connection) = &mut self.connections[id]
                        && connection.flush().is_err()
                    {
                        gone.push(id);
                    }
                }
            }
        }
        self.published.clear();
        for id in gone {
            self.leave(id);
        }
    }

    fn leave(&mut self, id: usize) {
        if self.connections[id].take().is_none() {
            return;
        }
        for subscribers in &mut self.subscribers {
            subscribers.retain(|subscriber| *subscriber != id);
        }
        self.free.push(id);
    }
}

#[cfg(test)]
mod tests;
