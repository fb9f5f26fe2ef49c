//! Accepts connections and hands each to the shard with the fewest connections.
//!
//! Never waits for a shard: one without room for a new connection is skipped. A client that is refused is answered with
//! 503 or 429, or with an alert if clients use TLS, and its connection is closed. Its socket is kept for a moment so
//! that the answer arrives. Only a limited number of sockets is kept; beyond it, connections are closed at once. One
//! file descriptor is kept in reserve: when there are no others, clients are told so with it one by one, until there
//! are some again. When accepting ends, connections that the kernel has already made are accepted first, because
//! closing the listener would reset them. It runs on a thread of its own, or on that of a single shard.

use std::fs::File;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::config;
use crate::limits::{ConnectionLimits, TurnedAway};
use crate::net::listener::Listener;
use crate::net::permit::ConnectionPermit;
use crate::run::command::Command;
use crate::run::kept_up::kept_up;

/// The pause after an error that may pass by itself.
const PAUSE: Duration = Duration::from_millis(50);
/// The number of sockets of refused clients that are kept at a time.
const LINGERING_MAX: usize = 256;
/// The time for which they are kept.
const LINGER: Duration = Duration::from_secs(1);
/// The number of bytes that are read from each.
const LINGER_BYTES: usize = 64 * 1024;
/// The number of connections that are accepted before other tasks of the thread have a turn.
const IN_A_ROW: u32 = 64;
/// The time between two log lines about the same trouble.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// The part of a shard that other threads use: its queue of commands, and its number of connections.
#[derive(Debug, Clone)]
pub(crate) struct ShardHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl ShardHandle {
    /// The number of connections of the shard.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// The acceptor: the shards that get connections, and the limits on connections.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) handles: Vec<ShardHandle>,
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    pub(crate) socket: config::SocketSettings,
    /// Whether clients use TLS.
    pub(crate) secured: bool,
}

/// An acceptor that is to begin, and its listener.
#[derive(Debug)]
pub(crate) struct AcceptPlan {
    pub(crate) acceptor: Acceptor,
    pub(crate) listener: std::net::TcpListener,
    /// Its sender is dropped when accepting is to end.
    pub(crate) stop: oneshot::Receiver<()>,
    /// It is dropped when the last connection was handed to its shard.
    pub(crate) stopped: oneshot::Sender<()>,
}

impl AcceptPlan {
    /// Accepts connections until that is to end.
    ///
    /// # Errors
    /// If the system cannot watch the listener.
    pub(crate) async fn run(self) -> io::Result<()> {
        let listener = Listener::new(self.listener)?;
        tokio::select! {
            () = kept_up("accepting", || self.acceptor.run(&listener)) => {}
            // Dropping the sender is the signal.
            _ = self.stop => {}
        }
        self.acceptor.empty(listener);
        drop(self.stopped);
        Ok(())
    }
}

/// Ends accepting.
#[derive(Debug)]
pub(crate) struct Accepting {
    /// Dropping it ends accepting.
    pub(crate) stop: oneshot::Sender<()>,
    /// Its sender is dropped when the last connection was handed to its shard.
    pub(crate) stopped: oneshot::Receiver<()>,
}

impl Accepting {
    /// Ends accepting. Returns when the last connection was handed to its shard. Must not be called in a runtime.
    pub(crate) fn end(self) {
        drop(self.stop);
        // The dropped sender shows as an error.
        self.stopped.blocking_recv().unwrap_or_default();
    }
}

impl Acceptor {
    /// Accepts connections until the future is dropped.
    pub(crate) async fn run(&self, listener: &Listener) {
        let mut quiet_until = Instant::now();
        let lingering = Arc::new(Semaphore::new(LINGERING_MAX));
        let mut spare = spare_descriptor();
        let mut accepted: u32 = 0;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    self.hand_over(stream, peer, &lingering);
                    accepted = accepted.wrapping_add(1);
                    if accepted.is_multiple_of(IN_A_ROW) {
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) if is_of_the_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    if Instant::now() >= quiet_until {
                        quiet_until = Instant::now() + LOG_EVERY;
                        tracing::error!(%error, "cannot accept connections; trying again");
                    }
                    if is_out_of_descriptors(&error) && self.turn_one_away(listener, &mut spare) {
                        continue;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Accepts the connections that exist already, and closes the listener.
    pub(crate) fn empty(&self, listener: Listener) {
        let accepted = self.accept_waiting(&listener);
        drop(listener);
        if let Err(error) = accepted {
            tracing::warn!(%error, "connections that were not accepted yet are reset");
        }
    }

    fn accept_waiting(&self, listener: &Listener) -> io::Result<()> {
        let lingering = Arc::new(Semaphore::new(LINGERING_MAX));
        // The kernel cannot have made more by now. So clients that go on connecting do not keep the broker from
        // stopping.
        for _ in 0..=self.socket.backlog {
            match listener.accept_waiting() {
                Ok((stream, peer)) => self.hand_over(stream, peer, &lingering),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn hand_over(&self, stream: std::net::TcpStream, peer: SocketAddr, lingering: &Arc<Semaphore>) {
        let open = self
            .handles
            .iter()
            .map(|handle| handle.connections.load(Ordering::Relaxed))
            .sum::<usize>();
        let admitted = if open >= self.connection_limits.rules().connections_max {
            Err(self.connection_limits.turned_away(TurnedAway::Full))
        } else {
            self.connection_limits.connect(peer.ip())
        };
        let place = match admitted {
            Ok(place) => place,
            Err(why) => {
                tracing::debug!(%peer, ?why, "a connection is turned away");
                if let Some(stream) = refuse(stream, peer, &why.told(self.secured)) {
                    linger(stream, lingering);
                }
                return;
            }
        };
        let Some((handle, room)) = emptiest(&self.handles) else {
            drop(place);
            let why = self.connection_limits.turned_away(TurnedAway::Busy);
            tracing::debug!(%peer, ?why, "a connection is turned away");
            if let Some(stream) = refuse(stream, peer, &why.told(self.secured)) {
                linger(stream, lingering);
            }
            return;
        };
        let permit = ConnectionPermit::take(&handle.connections, peer.into(), place);
        room.send(Command::Serve(stream, peer, permit));
    }

    /// Tells the next client that there are no file descriptors, with the one in reserve. Returns whether there was a
    /// client.
    fn turn_one_away(&self, listener: &Listener, spare: &mut Option<File>) -> bool {
        // Dropping it frees one descriptor.
        drop(spare.take());
        let accepted = listener.accept().now_or_never();
        let told = match accepted {
            Some(Ok((stream, peer))) => {
                let why = self.connection_limits.turned_away(TurnedAway::NoDescriptors);
                refuse(stream, peer, &why.told(self.secured));
                true
            }
            Some(Err(_)) | None => false,
        };
        *spare = spare_descriptor();
        told
    }
}

/// The shard with the fewest connections among those with room, and its place for the command; the first of several. A
/// shard that does not take its new connections delays no other one's. Only the acceptor adds to the counts, so until
/// the place is used they can only fall.
pub(crate) fn emptiest(handles: &[ShardHandle]) -> Option<(&ShardHandle, mpsc::Permit<'_, Command>)> {
    let by_connections = |handle: &&ShardHandle| handle.connections();
    if let Some(handle) = handles.iter().min_by_key(by_connections)
        && let Ok(room) = handle.commands.try_reserve()
    {
        return Some((handle, room));
    }
    let mut others: Vec<&ShardHandle> = handles.iter().collect();
    others.sort_by_key(by_connections);
    others
        .into_iter()
        .find_map(|handle| Some((handle, handle.commands.try_reserve().ok()?)))
}

/// Whether an error of `accept` concerns only the connection that was to be accepted.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Whether an error of `accept` means that the process or the system cannot open more files.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// A file descriptor in reserve for when there are none left.
fn spare_descriptor() -> Option<File> {
    // Without it, clients that find no descriptors wait until there are some.
    File::open("/dev/null").ok()
}

/// Tells a client why it is refused. Returns its socket, to read from it for a moment, if the client could be told.
fn refuse(mut stream: std::net::TcpStream, peer: SocketAddr, answer: &[u8]) -> Option<std::net::TcpStream> {
    // The socket's buffer is empty, so it takes this without waiting, unless the client is gone.
    let told = stream
        .write_all(answer)
        .and_then(|()| stream.shutdown(Shutdown::Write));
    match told {
        Ok(()) => Some(stream),
        Err(error) => {
            tracing::debug!(%peer, %error, "a refused client was gone");
            None
        }
    }
}

/// Reads from a refused client for a moment. A socket that is closed with unread bytes resets the connection, and the
/// answer would be lost on its way (RFC 9112 §9.6).
fn linger(stream: std::net::TcpStream, places: &Arc<Semaphore>) {
    let Ok(place) = places.clone().try_acquire_owned() else {
        return;
    };
    let Ok(stream) = TcpStream::from_std(stream) else {
        return;
    };
    tokio::task::spawn_local(async move {
        // Whether the client closes first or the time runs out makes no difference.
        let _ended = tokio::time::timeout(LINGER, discard(&stream)).await;
        drop(place);
    });
}

async fn discard(stream: &TcpStream) -> io::Result<()> {
    let (mut piece, mut left) = ([0; 4_096], LINGER_BYTES);
    loop {
        stream.readable().await?;
        match stream.try_read(&mut piece) {
            Ok(count) if count == 0 || count > left => return Ok(()),
            Ok(count) => left -= count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use tickwire_metrics::Catalogue;
    use tokio::task::LocalSet;

    use super::*;
    use crate::limits::LimitRules;
    use crate::net::listener::listen;
    use crate::ops::labels::LABELS;
    use crate::run::clock::Clock;

    /// Handles of shards, and the receivers of their commands.
    fn handles(count: usize) -> (Vec<ShardHandle>, Vec<mpsc::Receiver<Command>>) {
        let handle = |_| {
            let (commands, behind) = mpsc::channel(1);
            let connections = Arc::default();
            let handle = ShardHandle {
                commands,
                connections,
            };
            (handle, behind)
        };
        (0..count).map(handle).unzip()
    }

    fn counts(handles: &[ShardHandle]) -> Vec<usize> {
        handles
            .iter()
            .map(|handle| handle.connections.load(Ordering::Relaxed))
            .collect()
    }

    /// Admits `count` new connections.
    fn admit(handles: &[ShardHandle], count: usize) -> Vec<ConnectionPermit> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let admit = |_| {
            let (handle, _) = emptiest(handles).expect("a shard with room");
            ConnectionPermit::take(&handle.connections, peer.into(), None)
        };
        (0..count).map(admit).collect()
    }

    /// Otherwise clients that connect faster than they are accepted would keep a broker from stopping.
    #[test]
    fn the_end_of_accepting_does_not_wait_for_clients_that_go_on_connecting() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 128).expect("a port");
        let address = listener.local_addr().expect("it has one");
        let catalogue = Catalogue::new(1, "test", &LABELS).expect("a catalogue");
        let rules = LimitRules::of(&config::Config::default(), 100);
        let mut acceptor = Acceptor {
            handles: Vec::new(),
            connection_limits: Arc::new(ConnectionLimits::new(rules, Clock::start(), catalogue.clone())),
            socket: config::Config::default().socket,
            secured: false,
        };
        // At first three clients wait, and one connection is being made. The others came meanwhile.
        acceptor.socket.backlog = 3;
        let clients: Vec<_> = (0..20)
            .map(|_| std::net::TcpStream::connect(address).expect("it listens"))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            acceptor.empty(Listener::new(listener).expect("a listener"));
        });
        let told = |mut client: std::net::TcpStream| {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap_or_default();
            answer.starts_with("HTTP/1.1 503 ")
        };
        assert_eq!(clients.into_iter().map(told).filter(|told| *told).count(), 4);
    }

    #[test]
    fn shards_fill_alike() {
        let (handles, _shards) = handles(3);
        let _connections = admit(&handles, 10);
        assert_eq!(counts(&handles), [4, 3, 3]);
    }

    /// If shards took turns, one that has lost its connections would stay behind for ever.
    #[test]
    fn a_shard_that_lost_its_connections_gets_the_next_ones() {
        let (handles, _shards) = handles(2);
        let mut connections = admit(&handles, 100);
        // All connections of the second shard end, and a few of the first.
        let mut number = 0;
        connections.retain(|_| {
            number += 1;
            number % 2 == 1 && number > 10
        });
        assert_eq!(counts(&handles), [45, 0]);
        connections.extend(admit(&handles, 40));
        assert_eq!(counts(&handles), [45, 40]);
        connections.extend(admit(&handles, 15));
        assert_eq!(counts(&handles), [50, 50]);
        drop(connections);
        assert_eq!(counts(&handles), [0, 0]);
    }

    #[test]
    fn a_shard_that_takes_no_connections_does_not_hold_up_those_of_the_others() {
        let (handles, mut shards) = handles(2);
        let fill = |handle: &ShardHandle| {
            let drain = Command::Drain(crate::run::command::Leave::new(
                config::Config::default().drain,
                0,
                0,
            ));
            handle.commands.try_send(drain).expect("there is room");
        };
        let chosen = || {
            let (handle, _) = emptiest(&handles)?;
            handles.iter().position(|other| std::ptr::eq(other, handle))
        };
        assert_eq!(chosen(), Some(0));
        fill(&handles[0]);
        assert_eq!(chosen(), Some(1), "the other, though it has no fewer");
        fill(&handles[1]);
        assert_eq!(chosen(), None, "it is turned away");
        assert!(shards[0].try_recv().is_ok());
        assert_eq!(chosen(), Some(0));
        // A shard that has ended takes no connections either.
        drop(shards.remove(0));
        assert_eq!(chosen(), None);
        assert!(shards[0].try_recv().is_ok());
        assert_eq!(chosen(), Some(1));
    }
}
