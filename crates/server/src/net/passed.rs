//! Listening sockets that the broker was started with: those of a systemd socket unit (sd_listen_fds(3)).
//!
//! A socket that is passed is used in place of the setting of the same name. It stays open while the broker restarts: clients that
//! connect meanwhile wait for the next broker. A socket that the broker cannot use is an error, never ignored.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{SockRef, Type};
use thiserror::Error;

/// Why the sockets that were passed cannot be used.
#[derive(Debug, Error)]
pub enum PassedError {
    /// The variables of the environment contradict each other, or a descriptor is not open.
    #[error("the sockets of LISTEN_FDS cannot be taken: {0}")]
    Environment(#[source] io::Error),
    /// The name is that of no listener.
    #[error(
        "a socket with the name {0:?} was passed; FileDescriptorName= of a socket unit must be `listen` or `ops`"
    )]
    Unknown(String),
    /// Two sockets have one name.
    #[error("two sockets with the name {0:?} were passed; a listener has one address")]
    Twice(String),
    /// It is no listening TCP socket.
    #[error("the socket with the name {0:?} is no listening TCP socket; use ListenStream= with a port")]
    Unfit(String),
}

/// The listening sockets that the broker was started with.
#[derive(Debug, Default)]
pub struct PassedSockets {
    pub(crate) listen: Option<TcpListener>,
    pub(crate) ops: Option<TcpListener>,
}

impl PassedSockets {
    /// Takes the sockets that the environment names for this process. A second call finds none. Call this before the program opens
    /// anything.
    ///
    /// # Errors
    /// If one of them cannot be used.
    pub fn take() -> Result<Self, PassedError> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let mut passed = Self::default();
        if TAKEN.swap(true, Ordering::Relaxed) {
            return Ok(passed);
        }
        let named = sd_notify::listen_fds_with_names().map_err(PassedError::Environment)?;
        for (descriptor, name) in named {
            let place = match name.as_str() {
                "listen" => &mut passed.listen,
                "ops" => &mut passed.ops,
                _ => return Err(PassedError::Unknown(name)),
            };
            if place.is_some() {
                return Err(PassedError::Twice(name));
            }
            *place = Some(listener(own(descriptor)).map_err(|_| PassedError::Unfit(name))?);
        }
        Ok(passed)
    }
}

/// The owner of a descriptor that was passed.
#[allow(unsafe_code, reason = "a descriptor from another process is a number")]
fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: LISTEN_PID names this process, so whoever started it has opened the descriptor for it, and `listen_fds_with_names` has
    // seen that it is open. Nothing else in this process owns it: `take` comes before the program opens anything, and only once.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// A listener that never waits.
fn listener(socket: OwnedFd) -> io::Result<TcpListener> {
    let seen = SockRef::from(&socket);
    let is_inet = seen.local_addr()?.as_socket().is_some();
    if !is_inet || seen.r#type()? != Type::STREAM || !seen.is_listener()? {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    seen.set_nonblocking(true)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_listening_sockets_of_tcp_fit() {
        let folder = tempfile::tempdir().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        let taken = listener(tcp.into()).unwrap();
        assert_eq!(taken.local_addr().unwrap(), address);
        assert!(taken.accept().is_ok(), "the client that waited");
        let error = taken.accept().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let unfit: [OwnedFd; 4] = [
            stream.into(),
            UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            UnixListener::bind(folder.path().join("socket")).unwrap().into(),
            std::fs::File::open("/dev/null").unwrap().into(),
        ];
        for socket in unfit {
            assert!(listener(socket).is_err());
        }
    }
}
