//! The clients' listener, and the options of clients' sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::readiness::Readiness;
use crate::config;

/// The clients' listener. The runtime does not watch the connections that it accepts: the shard that gets one does that.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: mio::net::TcpListener,
    readiness: Readiness,
}

impl Listener {
    /// Watches `listener`, which never waits, on the current runtime.
    ///
    /// # Errors
    /// If the system cannot watch it.
    pub(crate) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        let readiness = Readiness::of(listener.as_fd().try_clone_to_owned()?)?;
        let listener = mio::net::TcpListener::from_std(listener);
        Ok(Self { listener, readiness })
    }

    /// Waits for a connection and accepts it.
    pub(super) async fn accept(&self) -> io::Result<(std::net::TcpStream, SocketAddr)> {
        loop {
            match self.accept_waiting() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readiness.wait().await?,
                accepted => return accepted,
            }
        }
    }

    /// Accepts a connection that exists already. The connection never waits.
    pub(super) fn accept_waiting(&self) -> io::Result<(std::net::TcpStream, SocketAddr)> {
        let (stream, peer) = self.listener.accept()?;
        Ok((stream.into(), peer))
    }
}

/// Listens on `address`. Accepted sockets get the options that the listener has then.
///
/// # Errors
/// If the address cannot be used.
pub(crate) fn listen(address: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Sets the options that every client's socket has. Linux gives those of a listener to each socket that it accepts, so it
/// takes no calls for each.
///
/// # Errors
/// If the system refuses one of them.
pub(crate) fn prepare(socket: &SockRef<'_>, options: &config::SocketSettings) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // Unsent bytes stay with the broker, where newer messages can still replace them.
    socket.set_tcp_notsent_lowat(options.notsent_lowat_bytes)?;
    let dead_after = Duration::from_millis(u64::from(options.user_timeout_ms));
    socket.set_tcp_user_timeout(Some(dead_after))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(dead_after))?;
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn accepted_sockets_have_the_options_of_the_listener_and_never_wait() {
        let options = config::SocketSettings {
            notsent_lowat_bytes: 12_345,
            user_timeout_ms: 34_000,
            send_buffer_bytes: Some(54_321),
            ..config::Config::default().socket
        };
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 128).expect("a port");
        prepare(&SockRef::from(&listener), &options).expect("known options");
        let _client = std::net::TcpStream::connect(listener.local_addr().expect("it has one"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime");
        let accepted = runtime.block_on(async {
            let listener = Listener::new(listener).expect("a listener");
            listener.accept().await
        });
        let mut accepted = accepted.expect("a client").0;
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().expect("an option"));
        assert_eq!(socket.tcp_notsent_lowat().expect("an option"), 12_345);
        let dead_after = Duration::from_secs(34);
        assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(dead_after));
        assert!(socket.keepalive().expect("an option"));
        assert_eq!(socket.tcp_keepalive_time().expect("an option"), dead_after);
        // The kernel doubles it (socket(7)).
        assert_eq!(socket.send_buffer_size().expect("an option"), 2 * 54_321);
        let read = accepted.read(&mut [0]).expect_err("nothing was sent");
        assert_eq!(read.kind(), io::ErrorKind::WouldBlock);
    }
}
