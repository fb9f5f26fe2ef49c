//! Limits of the process and of each address on connections, handshakes and HTTP requests; and which proxies are
//! trusted.
//!
//! The broker has one [`ConnectionLimits`], which the acceptor and the shards share. It is asked once per connection,
//! handshake or HTTP request, never per delivery. The rules can be replaced while the broker runs: accepted connections
//! stay.

mod addresses;
mod allowance;
mod holders;
mod turned_away;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use ipnet::IpNet;
use tickwire_metrics::{Catalogue, Metric};
use tickwire_router::{PublishRate, Publisher, Rate, SharedBucket};
use tickwire_wire::Micros;
use tickwire_wire::limits::SMALL_ANSWER_BYTES_MAX;

pub(crate) use self::addresses::{AddressKey, AddressSlot, WaitingAnswer};
use self::addresses::{Addresses, Refused};
pub(crate) use self::allowance::HttpAllowance;
use self::holders::Holders;
pub(crate) use self::holders::{ANONYMOUS, HolderConnections, HolderSlot};
pub(crate) use self::turned_away::TurnedAway;
use crate::auth::Admission;
use crate::config::{Config, ProxyProtocol};
use crate::net::proxied::{self, Trust};
use crate::run::clock::Clock;

/// The current limits: those of the process and those of each address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitRules {
    /// Most connections of the process.
    pub(crate) connections_max: usize,
    /// The trusted proxies.
    pub(crate) trust: Trust,
    /// Most connections of an address; 0 for any number.
    connections_per_address: u32,
    handshakes: Rate,
    /// The rate of publications over HTTP.
    publishes: Rate,
    /// The rate of refused publications and, apart from them, of other requests.
    requests: Rate,
    /// Most bytes of large answers that wait.
    answer_bytes: usize,
    /// The rate of HTTP requests that go on after a refusal.
    patience: Rate,
    /// Addresses without limits of their own.
    exempt: Vec<IpNet>,
}

impl LimitRules {
    /// The rules of `config`, for a process that may have `connections_max` connections.
    pub(crate) fn of(config: &Config, connections_max: usize) -> Self {
        let (limits, proxy) = (&config.limits, &config.proxy);
        Self {
            connections_max,
            trust: Trust {
                proxies: proxy.trusted.clone(),
                proxy_header: proxy.proxy_protocol == ProxyProtocol::V2,
            },
            connections_per_address: limits.connections_per_address,
            handshakes: Rate::new(
                limits.handshakes_per_s_per_address,
                limits.handshake_burst_per_address,
            ),
            publishes: limits.publish_rate().rate(),
            requests: Rate::new(limits.ops_per_s, limits.ops_burst),
            answer_bytes: limits.answer_bytes,
            patience: Rate::new(limits.ops_per_s, limits.rate_limited),
            exempt: limits.exempt_addresses.clone(),
        }
    }

    /// Whether `ip` is not counted: it is exempt, or it is a proxy, whose clients are counted.
    fn is_exempt(&self, ip: IpAddr) -> bool {
        self.trust.covers(ip) || proxied::covers(&self.exempt, ip)
    }
}

/// A publisher over HTTP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpPublisher {
    pub(crate) ip: IpAddr,
    /// The holder of its token, if it showed one. Then the holder counts, not the address.
    pub(crate) holder: Option<Publisher>,
    /// The rate that the token grants, if it grants one.
    pub(crate) own_rate: Option<PublishRate>,
}

/// Decides whether a connection, a handshake or a request of an address is accepted, and counts accepted ones.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    rules: RwLock<Arc<LimitRules>>,
    addresses: Addresses,
    holders: Holders,
    holder_connections: HolderConnections,
    clock: Clock,
    metrics: Arc<Catalogue>,
}

impl ConnectionLimits {
    /// Limits with these `rules`.
    pub(crate) fn new(rules: LimitRules, clock: Clock, metrics: Arc<Catalogue>) -> Self {
        Self {
            addresses: Addresses::new(rules.connections_max),
            holders: Holders::default(),
            holder_connections: HolderConnections::default(),
            rules: RwLock::new(Arc::new(rules)),
            clock,
            metrics,
        }
    }

    /// The current rules.
    pub(crate) fn rules(&self) -> Arc<LimitRules> {
        // The rules are replaced as a whole, so none are half-written.
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the rules. Connections that were accepted before stay and count.
    pub(crate) fn replace(&self, rules: LimitRules) {
        self.addresses.resize(rules.connections_max);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Admits one more connection of `ip`. An address that is not counted gets no slot.
    pub(crate) fn connect(&self, ip: IpAddr) -> Result<Option<AddressSlot>, TurnedAway> {
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

    /// The connections of holders, for those that learn later whose connection it is.
    pub(crate) fn holder_connections(&self) -> &HolderConnections {
        &self.holder_connections
    }

    /// Takes a place for one more connection of the holder of `admission`, as far as its rights allow.
    pub(crate) fn connect_holder(&self, admission: &Admission) -> Result<HolderSlot, TurnedAway> {
        let connected = admission.connect(&self.holder_connections);
        connected.map_err(|why| self.turned_away(why))
    }

    /// Checks that `ip` may ask to publish over HTTP: not too many of its publications were refused.
    pub(crate) fn check_refused_publishes(&self, ip: IpAddr) -> Result<(), TurnedAway> {
        let rules = self.rules();
        if rules.is_exempt(ip) {
            return Ok(());
        }
        let checked = self
            .addresses
            .check_refused(ip.into(), rules.requests, self.clock.now());
        checked.map_err(|us| self.turned_away(TurnedAway::AddressRequests(us)))
    }

    /// Charges `ip` for a refused publication over HTTP.
    pub(crate) fn charge_refused_publish(&self, ip: IpAddr) {
        let rules = self.rules();
        if !rules.is_exempt(ip) {
            self.addresses
                .charge_refused(ip.into(), rules.requests, self.clock.now());
        }
    }

    /// Takes one publication over HTTP from a publisher's rate.
    pub(crate) fn publish(&self, who: &HttpPublisher) -> Result<(), TurnedAway> {
        let Some(rate) = self.publish_rate(who) else {
            return Ok(());
        };
        let now = self.clock.now();
        match who.holder {
            Some(holder) => self
                .holders
                .publish(holder, rate, now)
                .map_err(|us| self.turned_away(TurnedAway::HolderPublishes(us))),
            None => self
                .addresses
                .publish(who.ip.into(), rate, now)
                .map_err(|us| self.turned_away(TurnedAway::AddressPublishes(us))),
        }
    }

    /// Charges a publisher for `count` more publications over HTTP.
    pub(crate) fn charge_publishes(&self, who: &HttpPublisher, count: usize) {
        let (rate, now) = (self.publish_rate(who), self.clock.now());
        match (rate, who.holder) {
            (None, _) => {}
            (Some(rate), Some(holder)) => self.holders.charge(holder, rate, count, now),
            (Some(rate), None) => self.addresses.charge_publishes(who.ip.into(), rate, count, now),
        }
    }

    /// The rate of a publisher over HTTP, if it has one. An address that is not counted has only the rate of its token.
    fn publish_rate(&self, who: &HttpPublisher) -> Option<Rate> {
        let rules = self.rules();
        let common = (!rules.is_exempt(who.ip)).then_some(rules.publishes);
        who.own_rate.map(PublishRate::rate).or(common)
    }

    /// Admits one more handshake of `ip` on an existing connection. The first one was paid for with the connection.
    pub(crate) fn admit_handshake(&self, ip: IpAddr, own: &HttpAllowance) -> Result<(), TurnedAway> {
        let (rules, now) = (self.rules(), self.clock.now());
        if rules.is_exempt(ip) {
            return Ok(());
        }
        self.ask_connection(own, &rules, now)?;
        if own.is_first_handshake() {
            return Ok(());
        }
        let spent = self.addresses.admit_handshake(ip.into(), rules.handshakes, now);
        spent.map_err(|us| self.turned_away(TurnedAway::AddressHandshakes(us)))
    }

    /// Takes one HTTP request from the rate of `ip`, and from that of the connection if it has an allowance of its
    /// `own`.
    pub(crate) fn ask(&self, ip: IpAddr, own: Option<&HttpAllowance>) -> Result<(), TurnedAway> {
        let (rules, now) = (self.rules(), self.clock.now());
        if rules.is_exempt(ip) {
            return Ok(());
        }
        own.map_or(Ok(()), |own| self.ask_connection(own, &rules, now))?;
        let spent = self.addresses.ask(ip.into(), rules.requests, now);
        spent.map_err(|us| self.turned_away(TurnedAway::AddressRequests(us)))
    }

    fn ask_connection(&self, own: &HttpAllowance, rules: &LimitRules, now: Micros) -> Result<(), TurnedAway> {
        let spent = own.ask(rules.requests, now);
        spent.map_err(|us| self.turned_away(TurnedAway::ConnectionRequests(us)))
    }

    /// Charges `ip` and its connection for an HTTP request that looks at `visits` topics.
    pub(crate) fn charge_visits(&self, ip: IpAddr, own: Option<&HttpAllowance>, visits: usize) {
        let (rules, now) = (self.rules(), self.clock.now());
        if rules.is_exempt(ip) {
            return;
        }
        if let Some(own) = own {
            own.charge_visits(rules.requests, visits, now);
        }
        self.addresses
            .charge_visits(ip.into(), rules.requests, visits, now);
    }

    /// The allowance for looks at topics that all sessions of `ip` share, if `ip` is counted.
    pub(crate) fn visits(&self, ip: IpAddr) -> Option<SharedBucket> {
        let counted = !self.rules().is_exempt(ip);
        counted.then(|| self.addresses.visits(ip.into(), self.clock.now()))
    }

    /// Reserves a place for an answer of `bytes` bytes until `ip` has taken it. Small answers need no place.
    pub(crate) fn hold_answer(&self, ip: IpAddr, bytes: usize) -> Result<Option<WaitingAnswer>, TurnedAway> {
        match bytes <= SMALL_ANSWER_BYTES_MAX {
            true => Ok(None),
            false => self.hold_place(ip, bytes).map(Some),
        }
    }

    /// Reserves a place for an answer that holds up to `bytes` bytes at a time until `ip` has taken it, however few they are.
    pub(crate) fn hold_place(&self, ip: IpAddr, bytes: usize) -> Result<WaitingAnswer, TurnedAway> {
        let rules = self.rules();
        let key = (!rules.is_exempt(ip)).then(|| AddressKey::from(ip));
        let place = self
            .addresses
            .hold_answer(key, bytes, rules.answer_bytes, self.clock.now());
        place.ok_or_else(|| self.turned_away(TurnedAway::Answers))
    }

    /// Whether a connection has sent too many requests after refusals because of its rate.
    pub(crate) fn is_worn_out_by(&self, own: &HttpAllowance) -> bool {
        !own.forgives(self.rules().patience, self.clock.now())
    }

    /// Counts a refusal by the limits.
    pub(crate) fn turned_away(&self, why: TurnedAway) -> TurnedAway {
        self.metrics.add(Metric::TurnedAway, &[why.label() as usize], 1);
        why
    }

    /// Counts a connection of a trusted proxy without a valid PROXY header.
    pub(crate) fn nameless(&self) {
        let why = tickwire_metrics::TurnedAwayLabel::ProxyHeader as usize;
        self.metrics.add(Metric::TurnedAway, &[why], 1);
    }

    /// The number of addresses in the table.
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
    use crate::ops::labels::LABELS;

    fn rules(text: &str) -> LimitRules {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).expect("a file");
        let config = Config::load(Some(Path::new(&path)), [], &Overrides::default()).expect("valid");
        LimitRules::of(&config, 100)
    }

    fn connection_limits(rules: LimitRules) -> ConnectionLimits {
        let catalogue = Catalogue::new(1, "test", &LABELS).expect("a catalogue");
        ConnectionLimits::new(rules, Clock::start(), catalogue.clone())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn proxies_and_exempt_addresses_are_not_counted() {
        let limits = connection_limits(rules(
            "[limits]\nconnections_per_address = 1\nexempt_addresses = [\"192.0.2.0/24\"]\n\
             [proxy]\ntrusted = [\"10.0.0.1\"]\n",
        ));
        for address in ["192.0.2.1", "10.0.0.1"] {
            let places: Vec<_> = (0..5).map(|_| limits.connect(ip(address))).collect();
            assert!(places.iter().all(|place| matches!(place, Ok(None))), "{places:?}");
        }
        let kept = limits.connect(ip("127.0.0.1"));
        assert!(matches!(kept, Ok(Some(_))), "it is exempt by default only");
        assert_eq!(
            limits.connect(ip("127.0.0.1")).err(),
            Some(TurnedAway::AddressConnections(1))
        );
        assert_eq!(limits.address_count(), 1);
    }

    #[test]
    fn rules_that_are_replaced_hold_for_those_who_come_then() {
        let limits = connection_limits(rules("[limits]\nconnections_per_address = 2\n"));
        let client = ip("192.0.2.1");
        let kept = [limits.connect(client), limits.connect(client)];
        assert!(kept.iter().all(Result::is_ok));
        limits.replace(rules("[limits]\nconnections_per_address = 1\n"));
        assert_eq!(
            limits.connect(client).err(),
            Some(TurnedAway::AddressConnections(1))
        );
        drop(kept);
        assert!(limits.connect(client).is_ok());
    }

    #[test]
    fn publishing_over_http_has_the_rate_of_a_connection() {
        let limits = connection_limits(rules("[limits]\npublishes_per_s = 1\npublishes_burst = 3\n"));
        let own_rate = PublishRate::of(Some(1), Some(5)).expect("a rate");
        let by = |address: &str, holder: Option<u128>, own_rate| HttpPublisher {
            ip: ip(address),
            holder: holder.map(Publisher),
            own_rate,
        };
        let spent = |who| (0..9).filter(|_| limits.publish(&who).is_ok()).count();
        assert_eq!(spent(by("2001:db8::1", None, None)), 3);
        let refused = limits.publish(&by("2001:db8::1", None, None));
        assert!(matches!(refused, Err(TurnedAway::AddressPublishes(_))));
        assert_eq!(spent(by("127.0.0.1", None, None)), 9, "it is not counted");
        // A holder counts, wherever it connects from, and may have a rate of its own.
        assert_eq!(spent(by("2001:db8::1", Some(1), None)), 3);
        let refused = limits.publish(&by("192.0.2.1", Some(1), None));
        assert!(matches!(refused, Err(TurnedAway::HolderPublishes(_))));
        assert_eq!(spent(by("127.0.0.1", Some(2), own_rate)), 5);
        let many = by("192.0.2.7", None, None);
        limits.charge_publishes(&many, 100);
        assert!(limits.publish(&many).is_err(), "a body with many of them");
    }

    #[test]
    fn publications_over_http_that_are_refused_have_the_rate_of_requests() {
        let limits = connection_limits(rules("[limits]\nops_per_s = 1\nops_burst = 3\n"));
        for (address, counted) in [("192.0.2.1", true), ("127.0.0.1", false)] {
            let tried = (0..9).filter(|_| {
                let let_in = limits.check_refused_publishes(ip(address)).is_ok();
                if let_in {
                    limits.charge_refused_publish(ip(address));
                }
                let_in
            });
            // One more than the burst passes: the check comes before, the charge after.
            assert_eq!(tried.count(), if counted { 4 } else { 9 }, "{address}");
        }
        assert!(limits.ask(ip("192.0.2.1"), None).is_ok(), "apart from requests");
    }

    #[test]
    fn asking_over_http_has_the_rate_of_a_connection() {
        let limits = connection_limits(rules("[limits]\nops_per_s = 1\nops_burst = 3\n"));
        let client = ip("2001:db8::1");
        let spent = (0..4).filter(|_| {
            let own = HttpAllowance::default();
            limits.ask(client, Some(&own)).is_ok()
        });
        assert_eq!(spent.count(), 3, "another connection does not help");
        let refused = limits.ask(ip("2001:db8::2"), None);
        assert!(matches!(refused, Err(TurnedAway::AddressRequests(_))));
        // The connection is charged as well, whatever the address; an address that is not counted has no rates.
        let own = HttpAllowance::default();
        let all = (1..=4).map(|host| limits.ask(ip(&format!("192.0.2.{host}")), Some(&own)));
        assert_eq!(all.filter(Result::is_ok).count(), 3);
        assert!(matches!(
            limits.ask(ip("192.0.2.5"), Some(&own)),
            Err(TurnedAway::ConnectionRequests(_))
        ));
        assert!((0..9).all(|_| limits.ask(ip("127.0.0.1"), Some(&own)).is_ok()));
    }

    #[test]
    fn a_look_at_many_topics_costs_the_connection_and_the_address() {
        let limits = connection_limits(rules("[limits]\nops_per_s = 1\nops_burst = 3\n"));
        for (address, charged) in [("192.0.2.1", true), ("127.0.0.1", false)] {
            let own = HttpAllowance::default();
            assert!(limits.ask(ip(address), Some(&own)).is_ok());
            limits.charge_visits(ip(address), Some(&own), 2_000);
            let refused = limits.ask(ip(address), Some(&own)).is_err();
            assert_eq!(refused, charged, "{address}");
        }
        assert!(limits.ask(ip("192.0.2.1"), None).is_err());
        let own = HttpAllowance::default();
        limits.charge_visits(ip("192.0.2.2"), Some(&own), 3_000);
        assert!(limits.ask(ip("192.0.2.3"), Some(&own)).is_err(), "the connection");
    }

    #[test]
    fn a_second_handshake_on_a_connection_costs_as_much_as_a_connection() {
        let limits = connection_limits(rules("[limits]\nhandshake_burst_per_address = 2\n"));
        let client = ip("192.0.2.1");
        let _place = limits.connect(client).expect("the first");
        let own = HttpAllowance::default();
        assert!(limits.admit_handshake(client, &own).is_ok(), "paid for");
        assert!(limits.admit_handshake(client, &own).is_ok(), "the second of two");
        assert!(matches!(
            limits.admit_handshake(client, &own),
            Err(TurnedAway::AddressHandshakes(_))
        ));
    }

    #[test]
    fn the_sessions_of_an_address_share_what_they_may_look_at() {
        let limits = connection_limits(rules("[limits]\nops_per_s = 1\nops_burst = 3\n"));
        let (rate, now) = (Rate::new(1, 3), limits.clock.now());
        let one = limits.visits(ip("192.0.2.1")).expect("it is counted");
        one.charge_visits(rate, 4_000, now);
        let same = limits.visits(ip("::ffff:192.0.2.1")).expect("it is counted");
        assert!(same.check(rate, now).is_err());
        let other = limits.visits(ip("192.0.2.2")).expect("it is counted");
        assert!(other.check(rate, now).is_ok());
        assert!(limits.visits(ip("127.0.0.1")).is_none(), "it is exempt");
    }

    #[test]
    fn patience_with_a_connection_ends() {
        let limits = connection_limits(rules("[limits]\nops_per_s = 1\nrate_limited = 3\n"));
        let own = HttpAllowance::default();
        let worn_out: Vec<bool> = (0..5).map(|_| limits.is_worn_out_by(&own)).collect();
        assert_eq!(worn_out, [false, false, false, true, true]);
    }
}
