//! The table of client addresses: their open connections, their waiting answers, and what is left of their rates.
//!
//! IPv6 addresses count by their first 64 bits, since one customer can have all addresses below those.
//!
//! Bounded: when room is needed, an address without connections and answers is removed if its rates have filled up
//! again, since a new entry would be the same. If that does not help, all addresses without them are removed. That is
//! no loophole: only a client with more addresses than fit can cause it, and it has as many bursts anyway. Nor does it
//! shut any client out: there is room for the most connections of the broker, for the few large answers, and for as
//! many addresses again, so a new one always finds a place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tickwire_router::{Bucket, Rate, SharedBucket};
use tickwire_wire::Micros;

/// One address may have one part in this many of the bytes of waiting answers.
const ANSWER_SHARES: usize = 4;
/// The number of addresses without a connection that are kept.
const IDLE_MAX: usize = 65_536;

/// The addresses that count as one: a single IPv4 address, or 2⁶⁴ of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct AddressKey(u128);

impl From<IpAddr> for AddressKey {
    fn from(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            // Its lower half is never 0; that of an IPv6 key always is.
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits() & !u128::from(u64::MAX),
        })
    }
}

impl AddressKey {
    /// The key as bytes.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

#[derive(Debug, Default)]
struct Entry {
    connections: u32,
    /// The bytes of large answers that wait.
    answer_bytes: usize,
    handshakes: Bucket,
    publishes: Bucket,
    /// The rate of refused publications.
    refused: Bucket,
    requests: Bucket,
    /// The looks at topics of its sessions.
    visits: SharedBucket,
}

impl Entry {
    fn is_there(&self) -> bool {
        self.connections > 0 || self.answer_bytes > 0
    }

    fn is_idle(&self, now: Micros) -> bool {
        let rates = [self.handshakes, self.publishes, self.refused, self.requests];
        !self.is_there() && self.visits.is_full(now) && rates.iter().all(|rate| rate.is_full(now))
    }
}

/// Why an address may not connect now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It has as many connections as it may have.
    Connections,
    /// It has connected too often. It may connect again after this number of microseconds.
    Handshakes(u64),
}

#[derive(Debug)]
struct Table {
    // The standard hasher: clients choose their addresses.
    entries: HashMap<AddressKey, Entry>,
    most: usize,
    /// The bytes of large answers that wait, including those for addresses that are not counted.
    answer_bytes: usize,
}

impl Table {
    fn entry(&mut self, key: AddressKey, now: Micros) -> &mut Entry {
        let entries = &mut self.entries;
        if entries.len() >= self.most && !entries.contains_key(&key) {
            entries.retain(|_, entry| !entry.is_idle(now));
            // This much room is made at once, so that the table is not searched for each new address.
            if entries.len() > self.most - self.most / 8 {
                entries.retain(|_, entry| entry.is_there());
            }
        }
        entries.entry(key).or_default()
    }
}

/// The table of addresses. Clones share one table.
#[derive(Debug, Clone)]
pub(crate) struct Addresses(Arc<Mutex<Table>>);

impl Addresses {
    /// An empty table with room for the addresses of `connections_max` connections.
    pub(crate) fn new(connections_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Table {
            entries: HashMap::new(),
            most: connections_max.saturating_add(IDLE_MAX),
            answer_bytes: 0,
        })))
    }

    /// Makes room for the addresses of `connections_max` connections.
    pub(crate) fn resize(&self, connections_max: usize) {
        self.with(|table| table.most = connections_max.saturating_add(IDLE_MAX));
    }

    /// The number of addresses in the table.
    pub(crate) fn len(&self) -> usize {
        self.with(|table| table.entries.len())
    }

    /// Admits one more connection of an address, at `rate`. It may have `most` connections at a time; 0 stands for any
    /// number.
    pub(crate) fn connect(
        &self,
        key: AddressKey,
        most: u32,
        rate: Rate,
        now: Micros,
    ) -> Result<AddressSlot, Refused> {
        self.with(|table| {
            let entry = table.entry(key, now);
            if most > 0 && entry.connections >= most {
                return Err(Refused::Connections);
            }
            entry.handshakes.take(rate, now).map_err(Refused::Handshakes)?;
            entry.connections += 1;
            Ok(())
        })?;
        Ok(AddressSlot {
            addresses: self.clone(),
            key,
        })
    }

    /// Takes one publication from an address's rate.
    ///
    /// # Errors
    /// The microseconds until there is one.
    pub(crate) fn publish(&self, key: AddressKey, rate: Rate, now: Micros) -> Result<(), u64> {
        self.with(|table| table.entry(key, now).publishes.take(rate, now))
    }

    /// Charges an address for `count` publications.
    pub(crate) fn charge_publishes(&self, key: AddressKey, rate: Rate, count: usize, now: Micros) {
        self.with(|table| table.entry(key, now).publishes.charge(rate, count, now));
    }

    /// Checks that an address has not had too many publications refused.
    ///
    /// # Errors
    /// The microseconds until that is so, if it is not.
    pub(crate) fn check_refused(&self, key: AddressKey, rate: Rate, now: Micros) -> Result<(), u64> {
        self.with(|table| table.entry(key, now).refused.check(rate, now))
    }

    /// Charges an address for a refused publication.
    pub(crate) fn charge_refused(&self, key: AddressKey, rate: Rate, now: Micros) {
        self.with(|table| table.entry(key, now).refused.charge(rate, 1, now));
    }

    /// Takes one more handshake, on an existing connection, from an address's rate.
    ///
    /// # Errors
    /// The microseconds until there is one.
    pub(crate) fn admit_handshake(&self, key: AddressKey, rate: Rate, now: Micros) -> Result<(), u64> {
        self.with(|table| table.entry(key, now).handshakes.take(rate, now))
    }

    /// Takes one request from an address's rate.
    ///
    /// # Errors
    /// The microseconds until there is one.
    pub(crate) fn ask(&self, key: AddressKey, rate: Rate, now: Micros) -> Result<(), u64> {
        self.with(|table| table.entry(key, now).requests.take(rate, now))
    }

    /// Charges an address for a request that looks at `visits` topics.
    pub(crate) fn charge_visits(&self, key: AddressKey, rate: Rate, visits: usize, now: Micros) {
        self.with(|table| table.entry(key, now).requests.charge_visits(rate, visits, now));
    }

    /// The allowance of an address for looks at topics, which its sessions share.
    pub(crate) fn visits(&self, key: AddressKey, now: Micros) -> SharedBucket {
        self.with(|table| table.entry(key, now).visits.clone())
    }

    /// Reserves a place for an answer of `bytes` bytes, for an address if it is counted, within the `most` bytes of all
    /// answers together. An answer is always accepted if no other one waits.
    pub(crate) fn hold_answer(
        &self,
        key: Option<AddressKey>,
        bytes: usize,
        most: usize,
        now: Micros,
    ) -> Option<WaitingAnswer> {
        let fits = |held: usize, most: usize| held == 0 || held.saturating_add(bytes) <= most;
        self.with(|table| {
            if !fits(table.answer_bytes, most) {
                return None;
            }
            if let Some(key) = key {
                let entry = table.entry(key, now);
                if !fits(entry.answer_bytes, most / ANSWER_SHARES) {
                    return None;
                }
                entry.answer_bytes += bytes;
            }
            table.answer_bytes += bytes;
            Some(())
        })?;
        Some(WaitingAnswer {
            addresses: self.clone(),
            key,
            bytes,
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        // Nothing in here can panic half-way.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The place of an address's connection. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct AddressSlot {
    addresses: Addresses,
    key: AddressKey,
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        self.addresses.with(|table| {
            if let Some(entry) = table.entries.get_mut(&self.key) {
                entry.connections -= 1;
            }
        });
    }
}

/// The place of a waiting answer. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct WaitingAnswer {
    addresses: Addresses,
    key: Option<AddressKey>,
    bytes: usize,
}

impl Drop for WaitingAnswer {
    fn drop(&mut self) {
        self.addresses.with(|table| {
            table.answer_bytes -= self.bytes;
            if let Some(entry) = self.key.and_then(|key| table.entries.get_mut(&key)) {
                entry.answer_bytes -= self.bytes;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> AddressKey {
        text.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn which_addresses_count_as_one() {
        for (one, other, same) in [
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            // These are not mapped addresses, though their first half is the same.
            ("::1", "0.0.0.1", false),
            ("::", "0.0.0.0", false),
        ] {
            assert_eq!(key(one) == key(other), same, "{one} {other}");
        }
    }

    #[test]
    fn an_address_has_its_most_connections_and_its_rate() {
        let addresses = Addresses::new(10);
        let (rate, now) = (Rate::new(10, 3), Micros(1_000_000));
        let connect = |text: &str, now| addresses.connect(key(text), 2, rate, now);
        let first = connect("192.0.2.1", now).expect("it is the first");
        let _second = connect("::ffff:192.0.2.1", now).expect("it is the second");
        assert_eq!(connect("192.0.2.1", now).err(), Some(Refused::Connections));
        assert!(connect("192.0.2.2", now).is_ok(), "another one");
        drop(first);
        let _third = connect("192.0.2.1", now).expect("there is room again");
        drop(_second);
        assert_eq!(
            connect("192.0.2.1", now).err(),
            Some(Refused::Handshakes(100_000))
        );
        assert!(connect("192.0.2.1", Micros(now.0 + 100_000)).is_ok());
    }

    #[test]
    fn no_limit_is_none() {
        let (addresses, rate) = (Addresses::new(1), Rate::new(1_000, 1_000));
        let connect = |_| addresses.connect(key("192.0.2.1"), 0, rate, Micros(0));
        let places: Result<Vec<AddressSlot>, Refused> = (0..1_000).map(connect).collect();
        assert!(places.is_ok());
    }

    #[test]
    fn a_full_table_forgets_who_is_idle_and_shuts_nobody_out() {
        let addresses = Addresses::new(2);
        let (rate, now) = (Rate::new(1, 2), Micros(1_000_000));
        let connect = |n: u32, now| {
            let ip: IpAddr = std::net::Ipv4Addr::from_bits(n).into();
            addresses.connect(ip.into(), 5, rate, now)
        };
        let _connected = connect(1, now).expect("the first");
        // These are far more than fit, all at once: none can be removed without losing what it has spent.
        for n in 2..200_000 {
            assert!(connect(n, now).is_ok(), "{n}");
        }
        assert!(addresses.len() <= IDLE_MAX + 2);
        // An address with a connection is not removed.
        assert!(connect(1, now).is_ok());
        assert_eq!(connect(1, now).err(), Some(Refused::Handshakes(1_000_000)));
        // Later all the others are idle and make room.
        let later = Micros(now.0 + 2_000_000);
        for n in 300_000..300_000 + IDLE_MAX as u32 + 2 {
            assert!(connect(n, later).is_ok(), "{n}");
        }
        assert!(addresses.len() <= IDLE_MAX + 2);
    }

    #[test]
    fn answers_that_wait_have_their_most_bytes_and_an_address_its_share() {
        let addresses = Addresses::new(10);
        let hold = |text: &str, bytes| addresses.hold_answer(Some(key(text)), bytes, 100, Micros(7));
        let first = hold("192.0.2.1", 20).expect("there is room");
        let _second = hold("192.0.2.1", 5).expect("all of its share");
        assert!(hold("192.0.2.1", 1).is_none());
        let _third = hold("192.0.2.2", 40).expect("more than a share, but its only one");
        let _fourth = addresses.hold_answer(None, 35, 100, Micros(7));
        assert!(_fourth.is_some(), "an address that is not counted has no share");
        assert!(hold("192.0.2.3", 1).is_none(), "all are taken");
        drop(first);
        let again = hold("192.0.2.1", 20);
        assert!(again.is_some(), "the place was given back");
        drop((_second, _third, _fourth, again));
        assert!(
            addresses.hold_answer(None, 1_000, 100, Micros(7)).is_some(),
            "alone"
        );
        assert!(addresses.with(|table| table.answer_bytes == 0));
    }

    #[test]
    fn publishing_and_asking_have_rates_of_their_own() {
        let (addresses, rate) = (Addresses::new(1), Rate::new(10, 2));
        let publish = || addresses.publish(key("192.0.2.1"), rate, Micros(7));
        assert_eq!([publish(), publish(), publish()], [Ok(()), Ok(()), Err(100_000)]);
        let ask = || addresses.ask(key("192.0.2.1"), rate, Micros(7));
        assert_eq!([ask(), ask(), ask()], [Ok(()), Ok(()), Err(100_000)]);
        addresses.charge_visits(key("192.0.2.1"), rate, 5_000, Micros(7));
        assert_eq!(ask(), Err(600_000));
        let place = addresses.connect(key("192.0.2.1"), 1, rate, Micros(7));
        assert!(place.is_ok());
    }
}
