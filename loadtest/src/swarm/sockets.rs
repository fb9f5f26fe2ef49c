//! Reads what the kernel holds for TCP connections over IPv4 from /proc/net/tcp, in this thread's network namespace.
//!
//! Linux only. A reading lists every socket of the namespace. That takes some tens of milliseconds for tens of
//! thousands of sockets.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context;

const TABLE: &str = "/proc/thread-self/net/tcp";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketQueues {
    pub(crate) local: SocketAddrV4,
    pub(crate) remote: SocketAddrV4,
    /// Bytes that were written and that the other side has not acknowledged.
    pub(crate) unacked_bytes: u64,
    /// Bytes that were received and not read.
    pub(crate) unread_bytes: u64,
}

pub(crate) fn all() -> anyhow::Result<Vec<SocketQueues>> {
    let table = fs::read_to_string(TABLE).with_context(|| format!("cannot read {TABLE}"))?;
    Ok(table.lines().skip(1).filter_map(parse).collect())
}

fn parse(line: &str) -> Option<SocketQueues> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    let (unacked, unread) = fields.nth(1)?.split_once(':')?;
    Some(SocketQueues {
        local,
        remote,
        unacked_bytes: u64::from_str_radix(unacked, 16).ok()?,
        unread_bytes: u64::from_str_radix(unread, 16).ok()?,
    })
}

/// Parses `0100007F:1CE8`: the address as a number in the machine's byte order, and the port as a number.
fn address(text: &str) -> Option<SocketAddrV4> {
    let (ip, port) = text.split_once(':')?;
    let ip = u32::from_str_radix(ip, 16).ok()?.to_ne_bytes();
    Some(SocketAddrV4::new(
        Ipv4Addr::from(ip),
        u16::from_str_radix(port, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_with_unread_bytes_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a port");
        let mut client = TcpStream::connect(address).expect("it listens");
        let (server, _) = listener.accept().expect("a connection");
        client.write_all(b"seventeen bytes!!").expect("it is open");
        // The loopback delivers before a write returns, so the received bytes can be seen.
        let sockets = all().expect("/proc is there");
        let unread = sockets
            .iter()
            .find(|socket| SocketAddr::V4(socket.local) == address && socket.remote.port() != 0)
            .map(|socket| socket.unread_bytes);
        assert_eq!(unread, Some(17));
        drop(server);
    }

    #[test]
    fn lines_that_are_no_socket_are_passed_over() {
        for line in ["", "  0: nonsense", "  0: 0100007F:1CE8 00000000:0000 0A"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
