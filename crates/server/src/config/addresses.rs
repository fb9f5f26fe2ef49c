//! What bounds one address: the keys of `[limits]` that are about addresses.

use ipnet::IpNet;
use tickwire_wire::limits;

use super::error::ConfigError;
use super::keys::{Key, Preset, Shape};
use super::settings::Settings;

pub(super) const CONNECTIONS: Key = Key::integer(
    "limits.connections_per_address",
    0,
    10_000_000,
    limits::CONNECTIONS_PER_ADDRESS_MAX as u64,
    "Most connections of one address, IPv6 by its first 64 bits; one more is refused with 429. 0 for any number",
);
pub(super) const HANDSHAKES_PER_S: Key = Key::integer(
    "limits.handshakes_per_s_per_address",
    1,
    1_000_000,
    limits::HANDSHAKES_PER_S as u64,
    "New connections per second that one address may keep up; more are refused with 429",
);
pub(super) const HANDSHAKE_BURST: Key = Key::integer(
    "limits.handshake_burst_per_address",
    1,
    1_000_000,
    limits::HANDSHAKES_BURST as u64,
    "New connections that one address may make at once after a quiet time",
);
pub(super) const ANSWER_BYTES: Key = Key::integer(
    "limits.answer_bytes",
    limits::SMALL_ANSWER_BYTES_MAX as u64,
    64 << 30,
    limits::ANSWER_BYTES_MAX as u64,
    "Bytes of answers over HTTP that may wait for their clients, a quarter of them for one address; one more is refused with 503. Answers up to 64 KiB do not count",
);
pub(super) const EXEMPT: Key = Key::new(
    "limits.exempt_addresses",
    Shape::Networks,
    Preset::List(&["127.0.0.0/8", "::1/128"]),
    "Networks whose addresses have no limits of their own. Nor have the proxies of proxy.trusted, but their clients",
);

/// The limits of one address. Addresses of IPv6 count by their first 64 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressLimits {
    /// Most connections at a time; 0 for any number.
    pub connections: u32,
    /// New connections per second that it may keep up.
    pub handshakes_per_s: u32,
    /// New connections that it may make at once after a quiet time.
    pub handshake_burst: u32,
    /// Networks whose addresses are not limited.
    pub exempt: Vec<IpNet>,
}

impl AddressLimits {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            connections: settings.integer("limits.connections_per_address")?,
            handshakes_per_s: settings.integer("limits.handshakes_per_s_per_address")?,
            handshake_burst: settings.integer("limits.handshake_burst_per_address")?,
            exempt: settings.networks("limits.exempt_addresses")?,
        })
    }
}
