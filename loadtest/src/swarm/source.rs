//! The source addresses of connections to a server on the loopback.
//!
//! A connection that this side closes keeps its port for a minute (TIME-WAIT, RFC 9293 §3.3.2), and an address has
//! 28,000 ports. So rounds of ten thousand connections each would soon find none free. All of 127.0.0.0/8 is loopback.
//! Every swarm takes addresses that no swarm of this program had before. Where a program begins depends on its process
//! id, so that programs run one after the other begin far apart.

use std::net::Ipv4Addr;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Connections per source address. Once half of the ports are in use, the kernel takes long to find a free one.
const CONNECTIONS_PER_SOURCE: usize = 10_000;
/// The number of addresses from the first of a process to the first of the next, modulo [`SOURCES`]. The golden ratio keeps as
/// many as a hundred processes with consecutive ids at least 60,000 addresses apart.
const NEXT_PROCESS: u64 = 10_287_883;
/// The first address. 127.0.0.0/16, where servers listen, is left out.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);
/// The number of addresses up to 127.254.255.255.
const SOURCES: u32 = 254 << 16;

static TAKEN: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources {
    first: u32,
}

impl Sources {
    /// Takes new addresses for `connections` connections. After a few hundred swarms, addresses come again that were
    /// not used lately.
    pub(crate) fn take(connections: usize) -> Self {
        let count = u32::try_from(connections.div_ceil(CONNECTIONS_PER_SOURCE)).unwrap_or(SOURCES);
        let before = TAKEN.fetch_add(count, Ordering::Relaxed);
        Self {
            first: first_of(process::id()).wrapping_add(before),
        }
    }

    /// Takes such addresses, one for each of `connections` connections.
    pub(crate) fn take_each(connections: usize) -> Self {
        Self::take(connections.saturating_mul(CONNECTIONS_PER_SOURCE))
    }

    /// The address of connection `number` if each connection has its own.
    pub(crate) fn each(self, number: usize) -> Ipv4Addr {
        self.of(number * CONNECTIONS_PER_SOURCE)
    }

    pub(crate) fn of(self, number: usize) -> Ipv4Addr {
        // No caller asks for more than a million connections.
        let at = self.first.wrapping_add((number / CONNECTIONS_PER_SOURCE) as u32);
        Ipv4Addr::from_bits(FIRST.to_bits() + at % SOURCES)
    }
}

/// Where process `id` begins.
fn first_of(id: u32) -> u32 {
    (u64::from(id) * NEXT_PROCESS % u64::from(SOURCES)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attack takes an address per attacker and row: some 27,000.
    #[test]
    fn the_addresses_of_processes_with_consecutive_ids_do_not_overlap() {
        for id in [1, 30_000, u32::MAX - 100] {
            let mut firsts: Vec<u32> = (id..id + 100).map(first_of).collect();
            firsts.sort_unstable();
            let around = SOURCES - firsts[99] + firsts[0];
            let least = firsts.windows(2).map(|pair| pair[1] - pair[0]).min();
            assert!(
                around >= 60_000 && least >= Some(60_000),
                "{id}: {around}, {least:?}"
            );
        }
    }

    #[test]
    fn each_ten_thousand_have_an_address_of_their_own_on_the_loopback() {
        let sources = Sources::take(25_000);
        let of = [0, 9_999, 10_000, 19_999, 20_000, 24_999].map(|number| sources.of(number));
        assert!(of[0] == of[1] && of[2] == of[3] && of[4] == of[5], "{of:?}");
        assert!(of[0] != of[2] && of[2] != of[4] && of[0] != of[4], "{of:?}");
        assert!(!of.contains(&Sources::take(1).of(0)), "{of:?}");
        for first in [0, SOURCES - 1, SOURCES, u32::MAX] {
            let [loopback, second, ..] = Sources { first }.of(10_000).octets();
            // The last of them would have the broadcast address.
            assert!(loopback == 127 && (1..=254).contains(&second), "{first}");
        }
    }
}
