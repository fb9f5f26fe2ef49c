//! What bounds one address: the keys of `[limits]` that are about addresses.

use ipnet::IpNet;

use super::error::ConfigError;
use super::settings::Settings;

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
