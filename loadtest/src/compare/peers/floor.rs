//! The plain-send floor: the cost of the kernel's work with almost nothing around it. It is a lower bound and not a
//! broker.
//!
//! It has one thread, one edge-triggered epoll and a list of subscribers per topic. A message is framed once. If a
//! cycle has only one message, it goes to each subscriber in one non-blocking write from the same memory. If there are
//! more, they are appended to a buffer per connection, and each connection is written to once. There are no numbers, no
//! history, no last values and no rights. It uses the plain protocol (`plain`) and stops at a signal. A connection that
//! leaves too much unread, or breaks a rule, is dropped without a close. Handshakes are done one after the other; each
//! waits for its client. Over TLS each write is what the bare cipher makes of it (`records`).

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

use anyhow::Context;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tickwire_wire::frame::{Event, Limits, Opcode, Parser, frame};
use tokio_tungstenite::tungstenite;

use super::records::{self, BadRecord, Records};
use super::server::announce;
use crate::swarm::{loopback, write_out};

const VERSION: &str = concat!("plain-send floor ", env!("CARGO_PKG_VERSION"));
const EVENTS_MAX: usize = 1_024;
/// Bytes to read at once, into memory that all connections share.
const SCRATCH_BYTES: usize = 256 * 1024;
/// Most bytes that wait for a connection.
const BACKLOG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The token of the listening socket. Connections are numbered from 0.
const LISTENER: Token = Token(usize::MAX);

/// Serves on a free port of the loopback until the process ends.
pub(crate) fn serve() -> anyhow::Result<()> {
    let mut floor = Floor::listen(records::config()?)?;
    announce(floor.listener.local_addr()?, VERSION)?;
    loop {
        floor.cycle()?;
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
    tls: Option<Arc<ServerConfig>>,
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
    fn listen(tls: Option<Arc<ServerConfig>>) -> anyhow::Result<Self> {
        let mut listener = TcpListener::bind(loopback(0)).context("cannot listen")?;
        let poll = Poll::new().context("cannot make an epoll instance")?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .context("cannot watch the listening socket")?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            listener,
            tls,
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
    fn cycle(&mut self) -> anyhow::Result<()> {
        match self.poll.poll(&mut self.events, None) {
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
            // A client that does not do its handshake has gone.
            let Ok(connection) = Connection::open(stream, self.tls.clone()) else {
                continue;
            };
            let id = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            let stream = &mut self.connections[id].insert(connection).stream;
            self.poll.registry().register(stream, Token(id), interest)?;
        }
    }

    /// Reads from a connection, and writes the bytes that wait for it.
    fn ready(&mut self, id: usize) {
        let Some(connection) = &mut self.connections[id] else {
            return;
        };
        let (topics, subscribers, published) = (&mut self.topics, &mut self.subscribers, &mut self.published);
        let done = connection.read(&mut self.scratch, |text| {
            if let Some(names) = text.strip_prefix("sub ") {
                let subscribing = names.split(',').map(|name| {
                    let topic = *topics.entry(name.to_owned()).or_insert_with(|| {
                        subscribers.push(Vec::new());
                        subscribers.len() - 1
                    });
                    subscribers[topic].push(id);
                });
                return Some(subscribing.count());
            }
            let (name, payload) = text.strip_prefix("pub ")?.split_once(' ')?;
            if let Some(topic) = topics.get(name) {
                let frame = frame(Opcode::Text, |out| out.extend_from_slice(payload.as_bytes()));
                published.push(Publication { topic: *topic, frame });
            }
            Some(0)
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

/// The connection has ended.
#[derive(Debug)]
struct Gone;

impl From<BadRecord> for Gone {
    fn from(BadRecord: BadRecord) -> Self {
        Self
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    parser: Parser,
    /// The records of TLS, if there is TLS.
    records: Option<Box<Records>>,
    /// What waits and is not in a record yet.
    unsealed: Vec<u8>,
    out: Vec<u8>,
}

impl Connection {
    /// Does the handshake, and waits for the client's part of it.
    fn open(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> anyhow::Result<Self> {
        let stream = std::net::TcpStream::from(stream);
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        // A client sends nothing more before it has the answer.
        let (stream, records) = match tls {
            None => (tungstenite::accept(stream)?.into_inner(), None),
            Some(config) => {
                let secured = StreamOwned::new(ServerConnection::new(config)?, stream);
                let StreamOwned { conn, sock } = tungstenite::accept(secured)?.into_inner();
                (sock, Some(Box::new(Records::new(conn)?)))
            }
        };
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(stream),
            parser: Parser::new(Limits::default()),
            records,
            unsealed: Vec::new(),
            out: Vec::new(),
        })
    }

    /// Reads everything there is. `act` carries out commands and returns how many topics it subscribed the connection
    /// to; `None` if the text is no command.
    fn read(&mut self, scratch: &mut [u8], mut act: impl FnMut(&str) -> Option<usize>) -> Result<(), Gone> {
        loop {
            let read = match self.stream.read(scratch) {
                Ok(0) => return Err(Gone),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(Gone),
            };
            match self.records.take() {
                None => self.take(&mut scratch[..read], &mut act)?,
                Some(mut records) => {
                    let taken = records.open(&scratch[..read], |data| self.take(data, &mut act));
                    self.records = Some(records);
                    taken?;
                }
            }
            // A stream socket that returned less than was asked for has no more (epoll(7), question 9).
            if read < scratch.len() {
                return Ok(());
            }
        }
    }

    fn take(
        &mut self,
        mut bytes: &mut [u8],
        act: &mut impl FnMut(&str) -> Option<usize>,
    ) -> Result<(), Gone> {
        let mut answer = |opcode, payload: &[u8]| {
            let frame = frame(opcode, |out| out.extend_from_slice(payload));
            self.unsealed.extend_from_slice(&frame);
        };
        while let Some(event) = self.parser.next(&mut bytes).map_err(|_| Gone)? {
            match event {
                Event::Message { payload, .. } => {
                    let text = std::str::from_utf8(payload).map_err(|_| Gone)?;
                    let subscribed = act(text).ok_or(Gone)?;
                    if subscribed > 0 {
                        answer(Opcode::Text, format!("ok {subscribed}").as_bytes());
                    }
                }
                Event::Ping(payload) => answer(Opcode::Pong, payload),
                Event::Pong(_) => {}
                Event::Close { .. } => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Writes `frame`, after the bytes that wait if there are any.
    #[inline]
    fn send(&mut self, frame: &[u8]) -> Result<(), Gone> {
        if let Some(records) = &mut self.records {
            records.seal(frame, &mut self.out);
            return self.flush();
        }
        if !self.out.is_empty() {
            self.out.extend_from_slice(frame);
            return self.flush();
        }
        let written = self.write(frame)?;
        self.out.extend_from_slice(&frame[written..]);
        Ok(())
    }

    /// Keeps `frame` for the next [`Self::flush`]. Returns whether nothing was waiting before.
    #[inline]
    fn append(&mut self, frame: &[u8]) -> bool {
        let waiting = match self.records {
            Some(_) => &mut self.unsealed,
            None => &mut self.out,
        };
        let was_empty = waiting.is_empty();
        waiting.extend_from_slice(frame);
        was_empty
    }

    /// Writes the waiting bytes as far as the kernel takes them. The rest is written when the socket becomes writable
    /// again.
    fn flush(&mut self) -> Result<(), Gone> {
        match &mut self.records {
            Some(records) => records.seal(&self.unsealed, &mut self.out),
            None => self.out.extend_from_slice(&self.unsealed),
        }
        self.unsealed.clear();
        write_out(|bytes| self.stream.write(bytes), &mut self.out).map_err(|_| Gone)?;
        match self.out.len() {
            0..=BACKLOG_BYTES_MAX => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Makes one write. The rest is written when the socket becomes writable again.
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Gone> {
        loop {
            match self.stream.write(bytes) {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use tokio_tungstenite::tungstenite::{Message, WebSocket};

    use super::*;
    use crate::swarm::Certificates;

    /// A floor on its own thread, and clients of it.
    fn clients<const COUNT: usize>() -> [WebSocket<TcpStream>; COUNT] {
        let mut floor = Floor::listen(None).expect("a floor");
        let address = floor.listener.local_addr().expect("a port");
        std::thread::spawn(move || while floor.cycle().is_ok() {});
        std::array::from_fn(|_| {
            let stream = TcpStream::connect(address).expect("it listens");
            let (client, _) = tungstenite::client(format!("ws://{address}/"), stream).expect("a handshake");
            client
        })
    }

    fn say(client: &mut WebSocket<TcpStream>, text: &str) {
        client.send(Message::text(text)).expect("open");
    }

    #[track_caller]
    fn hears(client: &mut WebSocket<TcpStream>, expected: &str) {
        assert_eq!(client.read().expect("open"), Message::text(expected));
    }

    #[test]
    fn messages_reach_the_subscribers_of_their_topic() {
        let [mut both, mut one, mut publisher] = clients();
        say(&mut both, "sub a,b");
        hears(&mut both, "ok 2");
        say(&mut one, "sub b");
        hears(&mut one, "ok 1");
        for text in ["pub a \"1\"", "pub b \"2\"", "pub a \"3\"", "pub nobody \"4\""] {
            say(&mut publisher, text);
        }
        for text in ["\"1\"", "\"2\"", "\"3\""] {
            hears(&mut both, text);
        }
        hears(&mut one, "\"2\"");
    }

    #[test]
    fn what_a_full_socket_does_not_take_comes_later_and_in_order() {
        let [mut slow, mut publisher] = clients();
        say(&mut slow, "sub a");
        hears(&mut slow, "ok 1");
        // More than the kernel holds for a reader that does not read.
        let payload = |number: usize| format!("\"{number:030000}\"");
        (0..400).for_each(|number| say(&mut publisher, &format!("pub a {}", payload(number))));
        (0..400).for_each(|number| hears(&mut slow, &payload(number)));
    }

    /// Over TLS messages are whole too: alone, several in a record, and more than a record holds.
    #[test]
    fn records_carry_what_is_sent() {
        let certificates = Certificates::new().expect("certificates");
        let [(_, cert), (_, key)] = certificates.environment();
        let config = records::serving(&cert, &key).expect("its files");
        let mut floor = Floor::listen(Some(config)).expect("a floor");
        let address = floor.listener.local_addr().expect("a port");
        std::thread::spawn(move || while floor.cycle().is_ok() {});
        let client = certificates.compared_client().expect("a client");
        let [mut subscriber, mut publisher] = std::array::from_fn(|_| {
            let stream = TcpStream::connect(address).expect("it listens");
            let session = client.session(address.ip()).expect("a name");
            let secured = StreamOwned::new(session, stream);
            let (client, _) = tungstenite::client(format!("ws://{address}/"), secured).expect("a handshake");
            client
        });
        subscriber.send(Message::text("sub a")).expect("open");
        assert_eq!(subscriber.read().expect("open"), Message::text("ok 1"));
        let payload = |number: usize| format!("\"{number:030000}\"");
        for number in 0..20 {
            let text = format!("pub a {}", payload(number));
            publisher.send(Message::text(text)).expect("open");
        }
        for number in 0..20 {
            assert_eq!(subscriber.read().expect("open"), Message::text(payload(number)));
        }
    }
}
