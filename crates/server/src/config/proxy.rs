//! Which proxies are believed about their clients: the key table `[proxy]`.

use ipnet::IpNet;

use super::error::ConfigError;
use super::keys::{Key, Preset, Shape};
use super::settings::Settings;

pub(super) const TRUSTED: Key = Key::new(
    "proxy.trusted",
    Shape::Networks,
    Preset::Empty,
    "Networks of proxies in front that are believed about their clients' addresses (X-Forwarded-For, PROXY protocol)",
);
pub(super) const PROXY_PROTOCOL: Key = Key::new(
    "proxy.proxy_protocol",
    Shape::Choice(&["off", "v2"]),
    Preset::Text("off"),
    "Whether each connection of a trusted proxy begins with a header of the PROXY protocol, version 2",
);

/// The key table `[proxy]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Networks of the proxies that are believed.
    pub trusted: Vec<IpNet>,
    /// Whether each of their connections begins with a header of the PROXY protocol, version 2.
    pub proxy_protocol: bool,
}

impl Proxy {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let proxy = Self {
            trusted: settings.networks("proxy.trusted")?,
            proxy_protocol: settings.choice("proxy.proxy_protocol", &[("off", false), ("v2", true)])?,
        };
        // Headers are taken from proxies that are trusted only, so there would be none.
        if proxy.proxy_protocol && proxy.trusted.is_empty() {
            return Err(settings.refuse_beside(
                "proxy.proxy_protocol",
                "needs proxies, but",
                "proxy.trusted",
            ));
        }
        Ok(proxy)
    }
}
