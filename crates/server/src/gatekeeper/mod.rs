//! Who may come in: limits of the process and of each address, and which proxies are believed.
//!
//! One for the broker, shared by the acceptor and the shards, and asked once a connection, handshake or publication over HTTP,
//! never for a delivery. Its rules can be replaced while it runs: what was let in stays.

mod addresses;
mod turned_away;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use ipnet::IpNet;
use tickwire_metrics::HttpMetrics;
use tickwire_router::Rate;

pub(crate) use self::addresses::Place;
use self::addresses::{AddressKey, Addresses, Refused};
pub(crate) use self::turned_away::TurnedAway;
use crate::clock::Clock;
use crate::config::Config;
use crate::proxied::{self, Trust};

/// What holds at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DoorRules {
    /// Most connections of the process.
    pub(crate) connections_max: usize,
    /// Which proxies are believed.
    pub(crate) trust: Trust,
    /// Most connections of an address; 0 for any number.
    connections_per_address: u32,
    handshakes: Rate,
    publishes: Rate,
    /// Addresses without limits of their own.
    exempt: Vec<IpNet>,
}

impl DoorRules {
    /// Those of `config`, for a process that may have so many connections.
    pub(crate) fn of(config: &Config, connections_max: usize) -> Self {
        let (limits, proxy) = (&config.limits, &config.proxy);
        let doors = &limits.addresses;
        Self {
            connections_max,
            trust: Trust {
                proxies: proxy.trusted.clone(),
                proxy_header: proxy.proxy_protocol,
            },
            connections_per_address: doors.connections,
            handshakes: Rate::new(doors.handshakes_per_s, doors.handshake_burst),
            publishes: Rate::new(limits.ops_per_s, limits.ops_burst),
            exempt: doors.exempt.clone(),
        }
    }

    /// Whether what comes from `ip` is not counted: by a rule, or because it is a proxy, whose clients are.
    fn is_exempt(&self, ip: IpAddr) -> bool {
        self.trust.covers(ip) || proxied::covers(&self.exempt, ip)
    }
}

/// Who may come in.
#[derive(Debug)]
pub(crate) struct Gatekeeper {
    rules: RwLock<Arc<DoorRules>>,
    addresses: Addresses,
    clock: Clock,
    metrics: HttpMetrics,
}

impl Gatekeeper {
    /// One that goes by `rules`.
    pub(crate) fn new(rules: DoorRules, clock: Clock, metrics: HttpMetrics) -> Self {
        Self {
            addresses: Addresses::new(rules.connections_max),
            rules: RwLock::new(Arc::new(rules)),
            clock,
            metrics,
        }
    }

    /// Its rules.
    pub(crate) fn rules(&self) -> Arc<DoorRules> {
        // Whole rules are put in, so there are no half ones.
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces its rules. What was let in before stays, and counts.
    pub(crate) fn replace(&self, rules: DoorRules) {
        self.addresses.resize(rules.connections_max);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Lets one more connection of `ip` in; there is no place to be kept for an address that is not counted.
    pub(crate) fn connect(&self, ip: IpAddr) -> Result<Option<Place>, TurnedAway> {
        let rules = self.rules();
        if rules.is_exempt(ip) {
            return Ok(None);
        }
        let most = rules.connections_per_address;
        let key = AddressKey::from(ip);
        let place = self
            .addresses
            .connect(key, most, rules.handshakes, self.clock.now());
        place.map(Some).map_err(|refused| {
            self.turned_away(match refused {
                Refused::Connections => TurnedAway::AddressConnections(most),
                Refused::Handshakes(us) => TurnedAway::AddressHandshakes(us),
            })
        })
    }

    /// Lets `ip` publish once more over HTTP.
    pub(crate) fn publish(&self, ip: IpAddr) -> Result<(), TurnedAway> {
        let rules = self.rules();
        if rules.is_exempt(ip) {
            return Ok(());
        }
        let spent = self
            .addresses
            .publish(ip.into(), rules.publishes, self.clock.now());
        spent.map_err(|us| self.turned_away(TurnedAway::AddressPublishes(us)))
    }

    /// Counts one that is turned away.
    pub(crate) fn turned_away(&self, why: TurnedAway) -> TurnedAway {
        self.metrics.turned_away(why.label());
        why
    }

    /// Counts a connection of a trusted proxy that did not say where it came from.
    pub(crate) fn nameless(&self) {
        self.metrics
            .turned_away(tickwire_metrics::TurnedAway::ProxyHeader);
    }

    /// Number of addresses that something is remembered of.
    pub(crate) fn address_count(&self) -> usize {
        self.addresses.len()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tickwire_metrics::Catalogue;

    use super::*;
    use crate::config::Overrides;
    use crate::labels::LABELS;

    fn rules(text: &str) -> DoorRules {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).expect("a file");
        let config = Config::load(Some(Path::new(&path)), [], &Overrides::default()).expect("valid");
        DoorRules::of(&config, 100)
    }

    fn gatekeeper(rules: DoorRules) -> Gatekeeper {
        let catalogue = Catalogue::new(1, "test", &LABELS).expect("a catalogue");
        Gatekeeper::new(rules, Clock::start(), catalogue.http_metrics())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn proxies_and_exempt_addresses_are_not_counted() {
        let door = gatekeeper(rules(
            "[limits]\nconnections_per_address = 1\nexempt_addresses = [\"192.0.2.0/24\"]\n\
             [proxy]\ntrusted = [\"10.0.0.1\"]\n",
        ));
        for address in ["192.0.2.1", "10.0.0.1"] {
            let places: Vec<_> = (0..5).map(|_| door.connect(ip(address))).collect();
            assert!(places.iter().all(|place| matches!(place, Ok(None))), "{places:?}");
        }
        let kept = door.connect(ip("127.0.0.1"));
        assert!(matches!(kept, Ok(Some(_))), "it is exempt by default only");
        assert_eq!(
            door.connect(ip("127.0.0.1")).err(),
            Some(TurnedAway::AddressConnections(1))
        );
        assert_eq!(door.address_count(), 1);
    }

    #[test]
    fn rules_that_are_replaced_hold_for_those_who_come_then() {
        let door = gatekeeper(rules("[limits]\nconnections_per_address = 2\n"));
        let client = ip("192.0.2.1");
        let kept = [door.connect(client), door.connect(client)];
        assert!(kept.iter().all(Result::is_ok));
        door.replace(rules("[limits]\nconnections_per_address = 1\n"));
        assert_eq!(
            door.connect(client).err(),
            Some(TurnedAway::AddressConnections(1))
        );
        drop(kept);
        assert!(door.connect(client).is_ok());
    }

    #[test]
    fn publishing_over_http_has_the_rate_of_a_connection() {
        let door = gatekeeper(rules("[limits]\nops_per_s = 1\nops_burst = 3\n"));
        let client = ip("2001:db8::1");
        let spent = (0..4).filter(|_| door.publish(client).is_ok()).count();
        assert_eq!(spent, 3);
        assert!(matches!(
            door.publish(client),
            Err(TurnedAway::AddressPublishes(_))
        ));
        assert!(door.publish(ip("127.0.0.1")).is_ok());
    }
}
