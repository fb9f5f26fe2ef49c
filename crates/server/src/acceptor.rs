//! Accepts connections and hands each to the shard with the fewest.
//!
//! Over the limit a connection is answered with 503 and closed; out of file descriptors, accepting pauses for a moment
//! and goes on.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config;
use crate::permit::Permit;
use crate::reload::Dials;
use crate::shard_thread::Command;

/// Pause after an error that a moment may heal.
const PAUSE: Duration = Duration::from_millis(50);
/// Time between two log lines about the same trouble.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// A shard as the acceptor sees it.
#[derive(Debug, Clone)]
pub(crate) struct ShardDoor {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl ShardDoor {
    /// Connections that the shard has.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// The doors of all shards and the limit on what goes through them.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) doors: Vec<ShardDoor>,
    pub(crate) dials: Arc<Dials>,
    pub(crate) socket: config::Socket,
}

/// Listens on `address`.
///
/// # Errors
/// When the address cannot be had.
pub(crate) fn listen(address: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

impl Acceptor {
    /// Accepts until it is dropped.
    pub(crate) async fn run(self, listener: TcpListener) {
        let mut quiet_until = Instant::now();
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.hand_over(stream, peer).await,
                Err(error) if is_of_the_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    if Instant::now() >= quiet_until {
                        quiet_until = Instant::now() + LOG_EVERY;
                        tracing::error!(%error, "cannot accept connections; trying again");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn hand_over(&self, stream: TcpStream, peer: SocketAddr) {
        let open = self
            .doors
            .iter()
            .map(|door| door.connections.load(Ordering::Relaxed))
            .sum::<usize>();
        let stream = match self.prepare(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%peer, %error, "a new connection could not be set up");
                return;
            }
        };
        if open >= self.dials.connections_max.load(Ordering::Relaxed) {
            refuse(stream, peer);
            return;
        }
        let Some(door) = emptiest(&self.doors) else {
            return;
        };
        let permit = Permit::take(&door.connections);
        if door
            .commands
            .send(Command::Serve(stream, peer, permit))
            .await
            .is_err()
        {
            tracing::debug!(%peer, "a new connection is dropped: its shard has stopped");
        }
    }

    /// Sets the options that every client's socket has.
    fn prepare(&self, stream: TcpStream) -> io::Result<std::net::TcpStream> {
        let stream = stream.into_std()?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_nodelay(true)?;
        // What is not yet on the wire stays with the broker, where it can still be replaced by something newer.
        socket.set_tcp_notsent_lowat(self.socket.notsent_lowat_bytes)?;
        let dead_after = Duration::from_millis(u64::from(self.socket.user_timeout_ms));
        socket.set_tcp_user_timeout(Some(dead_after))?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(dead_after))?;
        if let Some(bytes) = self.socket.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        Ok(stream)
    }
}

/// The shard with the fewest connections, of several the first. Only the acceptor adds to the counts, so between this and
/// taking the place they can only fall.
fn emptiest(doors: &[ShardDoor]) -> Option<&ShardDoor> {
    doors
        .iter()
        .min_by_key(|door| door.connections.load(Ordering::Relaxed))
}

/// Whether an error of `accept` is about the connection that was to be accepted, not about accepting.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Tells a client that there is no room.
fn refuse(mut stream: std::net::TcpStream, peer: SocketAddr) {
    const BODY: &str =
        r#"{"error":{"code":"limit_exceeded","reason":"the broker has its most connections; try again"}}"#;
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    // The socket's buffer is empty, so it takes this without waiting, or the client is gone.
    if let Err(error) = stream.write_all(head.as_bytes()) {
        tracing::debug!(%peer, %error, "a refused client was gone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors(count: usize) -> Vec<ShardDoor> {
        let door = |_| ShardDoor {
            commands: mpsc::channel(1).0,
            connections: Arc::default(),
        };
        (0..count).map(door).collect()
    }

    fn counts(doors: &[ShardDoor]) -> Vec<usize> {
        doors
            .iter()
            .map(|door| door.connections.load(Ordering::Relaxed))
            .collect()
    }

    /// So many new connections.
    fn admit(doors: &[ShardDoor], count: usize) -> Vec<Permit> {
        let admit = |_| Permit::take(&emptiest(doors).expect("a shard").connections);
        (0..count).map(admit).collect()
    }

    #[test]
    fn shards_fill_alike() {
        let doors = doors(3);
        let _connections = admit(&doors, 10);
        assert_eq!(counts(&doors), [4, 3, 3]);
    }

    /// Taking turns would leave the shard that lost its connections behind for good.
    #[test]
    fn a_shard_that_lost_its_connections_gets_the_next_ones() {
        let doors = doors(2);
        let mut connections = admit(&doors, 100);
        // Those of the second shard, and a few of the first.
        let mut number = 0;
        connections.retain(|_| {
            number += 1;
            number % 2 == 1 && number > 10
        });
        assert_eq!(counts(&doors), [45, 0]);
        connections.extend(admit(&doors, 40));
        assert_eq!(counts(&doors), [45, 40]);
        connections.extend(admit(&doors, 15));
        assert_eq!(counts(&doors), [50, 50]);
        drop(connections);
        assert_eq!(counts(&doors), [0, 0]);
    }
}
