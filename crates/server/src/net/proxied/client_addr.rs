//! The address of a client, as far as the broker can know it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Serialize, Serializer};

/// A client's address, and its port if it is known: a proxy may name only the address.
///
/// An IPv4 address that is mapped into IPv6 (`::ffff:192.0.2.1`) counts as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientAddr {
    ip: IpAddr,
    port: Option<u16>,
}

impl ClientAddr {
    /// A client at `ip`.
    pub(crate) fn new(ip: IpAddr, port: Option<u16>) -> Self {
        Self {
            ip: ip.to_canonical(),
            port,
        }
    }

    /// The address.
    pub(crate) fn ip(&self) -> IpAddr {
        self.ip
    }
}

impl From<SocketAddr> for ClientAddr {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip(), Some(address.port()))
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl Serialize for ClientAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
