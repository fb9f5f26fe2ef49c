//! Source addresses of the connections to a server on the loopback.
//!
//! A connection that this side closes keeps its port for a minute (TIME-WAIT, RFC 9293 §3.3.2), and an address has 28,000
//! of them, so rounds of ten thousand connections each would soon find none free. The whole of 127.0.0.0/8 is the
//! loopback's: every swarm takes addresses that no swarm of this program had before, in a range that is chosen by the
//! process's number, so that programs run one after the other have ranges of their own too.

use std::net::Ipv4Addr;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Connections that share a source address: finding a free port takes the kernel long once half of them are in use.
const CONNECTIONS_PER_SOURCE: usize = 10_000;
/// Addresses of a process before the next process's begin.
const SOURCES_PER_PROCESS: u32 = 256;
/// The first address; 127.0.0.0/16, where servers listen, is left alone.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);
/// Addresses until 127.254.255.255.
const SOURCES: u32 = 254 << 16;

/// Addresses that this process has taken.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// Addresses for a number of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources {
    first: u32,
}

impl Sources {
    /// Addresses for so many connections that nobody has had yet; after a few hundred swarms, not lately.
    pub(crate) fn take(connections: usize) -> Self {
        let count = u32::try_from(connections.div_ceil(CONNECTIONS_PER_SOURCE)).unwrap_or(SOURCES);
        let before = TAKEN.fetch_add(count, Ordering::Relaxed);
        Self {
            first: process::id()
                .wrapping_mul(SOURCES_PER_PROCESS)
                .wrapping_add(before),
        }
    }

    /// Addresses of which nobody has had any lately, one for each of so many connections.
    pub(crate) fn take_each(connections: usize) -> Self {
        Self::take(connections.saturating_mul(CONNECTIONS_PER_SOURCE))
    }

    /// The address of connection `number` where each has its own.
    pub(crate) fn each(self, number: usize) -> Ipv4Addr {
        self.of(number * CONNECTIONS_PER_SOURCE)
    }

    /// The address of connection `number`.
    pub(crate) fn of(self, number: usize) -> Ipv4Addr {
        // Fewer than a million connections are asked for anywhere.
        let at = self.first.wrapping_add((number / CONNECTIONS_PER_SOURCE) as u32);
        Ipv4Addr::from_bits(FIRST.to_bits() + at % SOURCES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ten_thousand_have_an_address_of_their_own() {
        let sources = Sources::take(25_000);
        let of = [0, 9_999, 10_000, 19_999, 20_000, 24_999].map(|number| sources.of(number));
        assert!(of[0] == of[1] && of[2] == of[3] && of[4] == of[5], "{of:?}");
        assert!(of[0] != of[2] && of[2] != of[4] && of[0] != of[4], "{of:?}");
        let other = Sources::take(1).of(0);
        assert!(
            of.iter()
                .all(|address| address.is_loopback() && *address != other),
            "{of:?}, {other}"
        );
    }

    #[test]
    fn all_are_of_the_loopback_and_none_is_its_broadcast() {
        for first in [0, SOURCES - 1, SOURCES, u32::MAX] {
            let address = Sources { first }.of(10_000);
            assert!(
                address.octets()[0] == 127 && (1..=254).contains(&address.octets()[1]),
                "{address}"
            );
        }
    }
}
