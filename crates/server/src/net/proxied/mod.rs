//! Clients behind proxies: a trusted proxy names its clients.
//!
//! A trusted proxy names the client at the beginning of a connection, by the PROXY protocol, or in each request, by
//! `X-Forwarded-For`. Both may come together if one proxy is behind another. For a peer that is not trusted, only the
//! address of the socket counts, whatever it sends. `Forwarded` and all similar headers are ignored.

mod client_addr;
mod forwarded;
mod header;

use std::net::IpAddr;

use hyper::header::HeaderMap;
use ipnet::IpNet;

pub(crate) use self::client_addr::ClientAddr;
pub(crate) use self::header::{HeaderError, Source, read as read_header};

/// The trusted proxies, and the way in which they name clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// The networks of the proxies.
    pub(crate) proxies: Vec<IpNet>,
    /// Whether each of their connections begins with a header of the PROXY protocol.
    pub(crate) proxy_header: bool,
}

impl Trust {
    /// Whether a peer at `ip` is trusted to name clients.
    pub(crate) fn covers(&self, ip: IpAddr) -> bool {
        covers(&self.proxies, ip)
    }

    /// The client of a request with `headers` on a connection from `peer`.
    pub(crate) fn client_of(&self, headers: &HeaderMap, peer: ClientAddr) -> ClientAddr {
        forwarded::client_of(headers, peer, |ip| self.covers(ip))
    }
}

/// Whether one of `networks` contains `ip`. A mapped IPv4 address counts as IPv4.
pub(crate) fn covers(networks: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    networks.iter().any(|network| network.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let networks = ["10.0.0.0/8", "::1/128", "192.0.2.7/32"].map(|text| text.parse().expect("a network"));
        for (ip, expected) in [
            ("10.255.0.1", true),
            ("::ffff:10.1.1.1", true),
            ("::1", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("11.0.0.1", false),
            ("::2", false),
            ("::10.0.0.1", false),
        ] {
            assert_eq!(
                covers(&networks, ip.parse().expect("an address")),
                expected,
                "{ip}"
            );
        }
        assert!(!covers(&[], "127.0.0.1".parse().expect("an address")));
    }
}
