//! Many connections on one thread: an edge-triggered epoll loop.
//!
//! The number of connections that are connecting is limited, so that the broker's backlog is not what is measured. The
//! next one starts when one settles or ends. A connection that always has more to read gives way to the others after a
//! few reads. The loop sleeps only as long as it is told to. If the incomplete messages of all connections together
//! need too much memory, the connection that exceeds the limit ends with that reason.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::{Events, Poll};

use crate::swarm::conn::{ConnId, Connection, Ending, Handler, Reply, Shared};
use crate::swarm::handshake::Handshake;
use crate::swarm::inflated::{self, Inflated};
use crate::swarm::interrupt::Interrupt;
use crate::swarm::source::Sources;
use crate::swarm::tls::{Secured, TlsClient};

/// Bytes to read at once, into memory that all connections share.
const SCRATCH_BYTES: usize = 256 * 1024;
/// How often one connection is read before others have their turn.
const READS_PER_TURN: usize = 8;
const EVENTS: usize = 1_024;
/// Most bytes of incomplete messages that all connections hold together. NATS sends a slow reader up to 64 MiB in one
/// frame.
const HELD_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Most connections that have started and not settled, unless another number is given.
const UNSETTLED_MAX: usize = 128;
/// If no connection gets ready for this time, the rest is given up.
const STUCK_AFTER: Duration = Duration::from_secs(30);
const CLOSE_WITHIN: Duration = Duration::from_secs(60);
/// How many files the process has open besides its connections.
const OTHER_FILES: u64 = 64;

/// The place and the way to connect.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// The TLS configuration, if the endpoint uses TLS.
    pub(crate) client: Option<TlsClient>,
    pub(crate) handshake: Handshake,
    /// Whether connections come from addresses that have not been used lately.
    pub(crate) has_sources: bool,
}

impl Endpoint {
    /// A WebSocket endpoint without TLS and compression.
    pub(crate) fn new(address: SocketAddr, path: &str, subprotocol: Option<&'static str>) -> Self {
        Self {
            address,
            client: None,
            handshake: Handshake {
                host: address.to_string(),
                path: path.to_owned(),
                subprotocol,
                publishers: 1,
                events: None,
                bare: None,
                posts: None,
                deflate: false,
            },
            has_sources: matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback()),
        }
    }
}

/// Raises the limit of open files as far as the system allows. Checks that it suffices for `connections` connections.
pub(crate) fn allow_files(connections: usize) -> anyhow::Result<()> {
    let (needed, limit) = (
        connections as u64 + OTHER_FILES,
        rlimit::increase_nofile_limit(u64::MAX)?,
    );
    anyhow::ensure!(
        needed <= limit,
        "{connections} connections need {needed} open files, the limit is {limit}: raise it (ulimit -Hn) or ask for fewer"
    );
    Ok(())
}

#[derive(Debug)]
pub(crate) struct Swarm<H> {
    pub(crate) handler: H,
    poll: Poll,
    events: Events,
    endpoint: Endpoint,
    /// The source addresses of connections, if they have their own.
    sources: Sources,
    shared: Shared,
    /// The bytes of all connections' incomplete messages.
    held: usize,
    held_max: usize,
    interrupt: Interrupt,
    connections: Vec<Option<Connection>>,
    /// The number of connections that were started, and the most that may be.
    begun: usize,
    begun_max: usize,
    /// How many of the started ones have neither settled nor ended.
    unsettled: usize,
    unsettled_max: usize,
    /// How many of the started ones have not ended.
    alive: usize,
    /// Connections that may have more to read although no event will report it.
    again: Vec<usize>,
    /// Connections that are not read.
    stopped: Range<usize>,
}

impl<H: Handler> Swarm<H> {
    /// What came on connections that negotiated compression.
    pub(crate) fn compressed(&self) -> inflated::Counts {
        self.shared.inflated.counts
    }

    /// What the handshakes of TLS have led to.
    pub(crate) fn secured(&self) -> &Secured {
        &self.shared.secured
    }

    /// A swarm of `count` connections, none of them started.
    pub(crate) fn new(
        endpoint: &Endpoint,
        count: usize,
        interrupt: &Interrupt,
        handler: H,
    ) -> anyhow::Result<Self> {
        allow_files(count)?;
        Ok(Self {
            handler,
            poll: Poll::new().context("no epoll instance")?,
            events: Events::with_capacity(EVENTS),
            sources: Sources::take(count),
            shared: Shared {
                handshake: endpoint.handshake.clone(),
                scratch: vec![0; SCRATCH_BYTES].into(),
                inflated: Inflated::default(),
                secured: Secured::default(),
            },
            endpoint: endpoint.clone(),
            held: 0,
            held_max: HELD_BYTES_MAX,
            interrupt: interrupt.clone(),
            connections: std::iter::repeat_with(|| None).take(count).collect(),
            begun: 0,
            begun_max: count,
            unsettled: 0,
            unsettled_max: UNSETTLED_MAX,
            alive: 0,
            again: Vec::new(),
            stopped: 0..0,
        })
    }

    /// Takes at most `events_max` readiness events at once, so that a turn stays short.
    pub(crate) fn with_events_max(mut self, events_max: usize) -> Self {
        self.events = Events::with_capacity(events_max);
        self
    }

    /// Lets so many connections be on their way at once.
    pub(crate) fn with_unsettled_max(mut self, unsettled_max: usize) -> Self {
        self.unsettled_max = unsettled_max;
        self
    }

    /// Starts the connections up to `count`. They come from the address that this machine has towards the server, as is
    /// needed across a network. The others start only when this is called for them.
    pub(crate) fn begin_some(&mut self, count: usize) -> anyhow::Result<()> {
        self.endpoint.has_sources = false;
        self.begun_max = count;
        self.turn(Duration::ZERO).map(drop)
    }

    /// Whether every connection was started and has settled or ended.
    pub(crate) fn is_settled(&self) -> bool {
        self.begun == self.connections.len() && self.unsettled == 0
    }

    /// How many connections have done their handshake and not ended.
    pub(crate) fn open(&self) -> usize {
        self.connections
            .iter()
            .flatten()
            .filter(|connection| connection.is_open())
            .count()
    }

    /// Lets `fill` add messages for a connection and writes them. A connection that has ended gets none.
    pub(crate) fn send_all(&mut self, id: ConnId, fill: impl FnOnce(&mut Reply<'_>)) {
        self.with(id.0, |connection, _, _| connection.send_all(fill).map(|()| false));
    }

    /// How many bytes wait to be written on a connection.
    pub(crate) fn waiting(&self, id: ConnId) -> usize {
        self.connections[id.0].as_ref().map_or(0, Connection::waiting)
    }

    /// Stops reading from these connections, as if their users had gone to sleep. All others are read.
    pub(crate) fn stop_reading(&mut self, connections: Range<usize>) {
        let again = std::mem::replace(&mut self.stopped, connections);
        self.again.extend(again);
    }

    /// Reads at most `bytes_max` bytes from each connection that is otherwise not read.
    pub(crate) fn sip(&mut self, bytes_max: usize) {
        for index in self.stopped.clone() {
            self.with(index, |connection, shared, handler| {
                connection.ready(1, bytes_max, shared, handler).map(|_| false)
            });
        }
    }

    /// Drops the connections from `first` on without a close, as a broken network does, and starts them again.
    pub(crate) fn reconnect(&mut self, first: ConnId) {
        for connection in &mut self.connections[first.0..self.begun] {
            if let Some(connection) = connection.take() {
                self.held -= connection.held();
                self.unsettled -= usize::from(!connection.is_settled());
                self.alive -= 1;
            }
        }
        self.again.clear();
        self.sources = Sources::take(self.connections.len());
        self.begun = self.begun.min(first.0);
    }

    /// Makes every connection end with a reset when the swarm is dropped. Ports are then free at once, and thousands of
    /// closes do not go on while the next server is measured.
    pub(crate) fn reset_when_dropped(&self) {
        self.connections
            .iter()
            .flatten()
            .for_each(Connection::reset_when_dropped);
    }

    /// Starts connections, waits at most `timeout` for readiness, and does what can be done. Returns whether there was
    /// something to do.
    pub(crate) fn turn(&mut self, timeout: Duration) -> anyhow::Result<bool> {
        self.interrupt.check()?;
        self.begin();
        let timeout = if self.again.is_empty() {
            timeout
        } else {
            Duration::ZERO
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.interrupt.check()?;
                return Ok(false);
            }
            polled => polled.context("cannot wait for sockets")?,
        }
        let mut ready = std::mem::take(&mut self.again);
        ready.extend(self.events.iter().map(|event| event.token().0));
        let any = !ready.is_empty();
        for index in ready {
            if self.stopped.contains(&index) {
                continue;
            }
            self.with(index, |connection, shared, handler| {
                connection.ready(READS_PER_TURN, usize::MAX, shared, handler)
            });
        }
        Ok(any)
    }

    /// Turns until the time `until` or until `done` returns true, whichever comes first. Returns whether `done` did.
    pub(crate) fn turn_until(
        &mut self,
        until: Instant,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> anyhow::Result<bool> {
        while !done(self) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.turn(left.min(Duration::from_millis(50)))?;
        }
        Ok(true)
    }

    pub(crate) fn turn_for(&mut self, time: Duration) -> anyhow::Result<()> {
        self.turn_until(Instant::now() + time, |_| false).map(drop)
    }

    /// Starts all connections and waits until they have settled or ended. If some do not, this is a fault.
    pub(crate) fn connect(&mut self) -> anyhow::Result<()> {
        let (mut settled, mut since) = (0, Instant::now());
        while !self.is_settled() {
            self.turn_until(Instant::now() + Duration::from_millis(500), |swarm| {
                swarm.is_settled()
            })?;
            let now = self.begun - self.unsettled;
            if now > settled {
                (settled, since) = (now, Instant::now());
            } else if since.elapsed() > STUCK_AFTER {
                let all = self.connections.len();
                let text = format_args!(
                    "{settled} of {all} connections are ready, and no other for {STUCK_AFTER:?}"
                );
                self.handler.faults().add("connecting is stuck", text);
                break;
            }
        }
        Ok(())
    }

    /// Closes every connection and waits for the broker's answers. If some do not come, this is a fault.
    pub(crate) fn finish(&mut self) -> anyhow::Result<()> {
        for index in 0..self.begun {
            self.with(index, |connection, _, _| connection.close().map(|()| false));
        }
        self.turn_until(Instant::now() + CLOSE_WITHIN, |swarm| swarm.alive == 0)?;
        if self.alive > 0 {
            let text = format_args!("by {} connections within {CLOSE_WITHIN:?}", self.alive);
            self.handler.faults().add("close not answered", text);
        }
        Ok(())
    }

    fn begin(&mut self) {
        while self.begun < self.begun_max && self.unsettled < self.unsettled_max {
            let id = ConnId(self.begun);
            self.begun += 1;
            let source = self.endpoint.has_sources.then(|| self.sources.of(id.0));
            match Connection::start(id, &self.endpoint, source, self.poll.registry()) {
                Ok(connection) => {
                    self.connections[id.0] = Some(connection);
                    self.unsettled += 1;
                    self.alive += 1;
                }
                Err(ending) => self.handler.ended(id, &ending),
            }
        }
    }

    /// Lets a connection do something, and updates the counts.
    fn with(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Connection, &mut Shared, &mut H) -> Result<bool, Ending>,
    ) {
        let Some(connection) = &mut self.connections[index] else {
            return;
        };
        let was_settled = connection.is_settled();
        self.held -= connection.held();
        let outcome = act(connection, &mut self.shared, &mut self.handler);
        self.held += connection.held();
        let (held, max) = (self.held, self.held_max);
        let outcome = match held > max {
            true => outcome.and(Err(Ending::TooMuchHeld { held, max })),
            false => outcome,
        };
        if !was_settled && (connection.is_settled() || outcome.is_err()) {
            self.unsettled -= 1;
        }
        match outcome {
            Ok(more) => {
                if more {
                    self.again.push(index);
                }
            }
            Err(ending) => {
                self.held -= connection.held();
                self.alive -= 1;
                // Closing the socket removes it from epoll.
                self.connections[index] = None;
                self.handler.ended(ConnId(index), &ending);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use tickwire_wire::Micros;

    use super::*;
    use crate::swarm::report::Faults;

    const WITHIN: Duration = Duration::from_secs(20);
    /// The header of a frame of 1,000 bytes.
    const HEADER: &[u8] = b"\x82\x7e\x03\xe8";

    /// Records what happens.
    #[derive(Default)]
    struct Notes {
        lengths: Vec<usize>,
        endings: Vec<String>,
        faults: Faults,
    }

    impl Handler for Notes {
        fn faults(&mut self) -> &mut Faults {
            &mut self.faults
        }

        fn message(&mut self, _: ConnId, message: &[u8], _: Micros, _: &mut Reply<'_>) {
            self.lengths.push(message.len());
        }

        fn opened(&mut self, _: ConnId, reply: &mut Reply<'_>) {
            reply.settle();
        }

        fn ended(&mut self, _: ConnId, ending: &Ending) {
            self.endings.push(ending.to_string());
        }
    }

    /// A swarm of `count` open connections, and the server's ends of them.
    fn swarm(listener: &TcpListener, count: usize) -> (Swarm<Notes>, Vec<TcpStream>) {
        let address = listener.local_addr().expect("it listens");
        let endpoint = Endpoint::new(address, "/", None);
        let mut swarm =
            Swarm::new(&endpoint, count, &Interrupt::default(), Notes::default()).expect("an epoll");
        let mut ends = Vec::new();
        std::thread::scope(|scope| {
            let accepting = scope.spawn(|| (0..count).map(|_| accept(listener)).collect());
            let settled = swarm.turn_until(Instant::now() + WITHIN, |swarm| swarm.is_settled());
            assert!(settled.expect("no interruption"), "{:?}", swarm.handler.endings);
            ends = accepting.join().expect("all are accepted");
        });
        assert_eq!(swarm.open(), count, "{:?}", swarm.handler.endings);
        (swarm, ends)
    }

    fn accept(listener: &TcpListener) -> TcpStream {
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(WITHIN)).expect("a time limit");
        let accepted = tokio_tungstenite::tungstenite::accept(stream);
        accepted.expect("a handshake").into_inner()
    }

    fn sources(ends: &[TcpStream]) -> Vec<SocketAddr> {
        ends.iter()
            .map(|end| end.peer_addr().expect("connected"))
            .collect()
    }

    /// Rounds of ten thousand connections used to run out of ports, since those of the round before were not free yet.
    #[test]
    fn swarms_share_no_address_and_leave_no_port_behind() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let (one, mut ends) = swarm(&listener, 2);
        let before = sources(&ends);
        one.reset_when_dropped();
        drop(one);
        for end in &mut ends {
            let error = end.read(&mut [0]).expect_err("no orderly end");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        let (mut other, ends) = swarm(&listener, 2);
        let after = sources(&ends);
        assert!(
            before
                .iter()
                .all(|one| after.iter().all(|other| one.ip() != other.ip())),
            "{before:?}, {after:?}"
        );
        // Connections that come back after a storm have new addresses as well.
        other.reconnect(ConnId(0));
        assert!(
            other.sources.of(0) != after[0].ip(),
            "{:?}, {after:?}",
            other.sources
        );
    }

    /// Each connection may hold an incomplete message, but all together not more than allowed.
    #[test]
    fn what_all_hold_together_is_bounded() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let (mut swarm, mut ends) = swarm(&listener, 3);
        swarm.held_max = 1_500;
        let until = Instant::now() + WITHIN;
        let part = [HEADER, &[b'x'; 700]].concat();
        // It does not matter which end belongs to which connection.
        for (end, held) in ends[..2].iter_mut().zip([704, 1_408]) {
            end.write_all(&part).expect("open");
            let came = swarm.turn_until(until, |swarm| swarm.held == held);
            assert!(came.expect("no interruption"), "{} held", swarm.held);
        }
        // The third part is one too many. Its connection ends and gives back what it held.
        ends[2].write_all(&part).expect("open");
        let ended = swarm.turn_until(until, |swarm| !swarm.handler.endings.is_empty());
        assert!(ended.expect("no interruption"));
        let ending = &swarm.handler.endings[0];
        assert!(
            ending.starts_with("all connections together have ") && ending.ends_with("at most 1500 are held"),
            "{ending}"
        );
        assert_eq!((swarm.held, swarm.open()), (1_408, 2));
        for end in &mut ends[..2] {
            end.write_all(&[b'x'; 300]).expect("open");
        }
        let whole = swarm.turn_until(until, |swarm| swarm.handler.lengths.len() == 2);
        assert!(whole.expect("no interruption"));
        assert_eq!((swarm.held, &swarm.handler.lengths[..]), (0, &[1_000, 1_000][..]));
    }
}
