//! A scenario: what is measured, as a small TOML file describes it.
//!
//! The project's scenarios are part of the program and known by name; others are read from files. Every value is
//! checked here, so a run that begins can be run. A file's `[quick]` table replaces values for a short run.

use std::fs;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use tickwire_wire::limits::SSE_TOPICS_MAX;

use crate::swarm::ConnId;
use crate::swarm::payload::OBJECT_BYTES_MIN;

/// Each name with the text of its file.
macro_rules! named {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),+]
    };
}

/// The project's scenarios, in the order in which they are listed and run.
pub(crate) const NAMED: &[(&str, &str)] = &named![
    "hot-1k",
    "hot-10k",
    "hot-19k",
    "hot-open",
    "market",
    "market-150k",
    "market-1m",
    "market-deflate",
    "market-deflate-peers",
    "market-max",
    "replay",
    "slow",
    "slow-link",
    "storm",
    "wildcards",
    "codec-json",
    "codec-msgpack",
    "sse-1k",
    "two-shards-hot",
    "two-shards-market",
    "idle",
    "idle-8k",
    "idle-19k",
    "handshakes",
    "rush",
    "publish-128",
    "publish-512",
    "publish-128-objects",
    "publish-512-objects",
    "publish-128-of-100",
    "publish-512-of-100",
    "publish-bulk-128",
    "publish-bulk-512",
];

/// The beginning of every topic's name; a number follows.
const TOPIC_PREFIX: &str = "bench.t";

/// What is done with the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// One message at a time: the next is sent when all subscribers have it.
    Hot,
    /// Messages at a fixed rate, whether or not they arrive.
    Open,
    /// Messages as they were recorded, several times faster.
    Replay,
    /// The highest rate that keeps within a bound on the latency.
    Max,
    /// A fixed rate, without and with readers that stop.
    Slow,
    /// A fixed rate, while all connections are lost and come back.
    Storm,
    /// Nobody publishes: the cost of open connections.
    Idle,
    /// Connections that are made and left at once: the cost of a handshake of TLS.
    Handshakes,
    /// A fixed rate, without and with very many new connections over TLS at once.
    Rush,
    /// Publishers that never wait: the cost of a published message.
    Publish,
}

/// The encoding of messages, where a server has several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wording {
    /// The encoding of the server's own protocol.
    #[default]
    Json,
    /// MessagePack, which only Tickwire supports.
    Msgpack,
    /// In JSON as server-sent events, which only Tickwire knows.
    Sse,
}

/// A scenario.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Its name: that of the file, without its ending.
    #[serde(skip_deserializing)]
    pub(crate) name: String,
    /// What it measures, in one sentence.
    pub(crate) about: String,
    pub(crate) kind: Kind,
    pub(crate) subscribers: u32,
    #[serde(default = "one")]
    pub(crate) topics: u32,
    #[serde(default = "one")]
    pub(crate) topics_each: u32,
    /// How many connections publish.
    #[serde(default = "one")]
    pub(crate) publishers: u32,
    /// Whether they publish in bulk over HTTP.
    #[serde(default)]
    pub(crate) bulk: bool,
    /// The bytes of each payload.
    #[serde(default)]
    pub(crate) data_bytes: u32,
    /// Whether payloads are JSON objects with numbers and lists, and not strings.
    #[serde(default)]
    pub(crate) objects: bool,
    /// A pattern for all topics, which is used instead of their names.
    #[serde(default)]
    pub(crate) pattern: Option<String>,
    /// Deliveries per second: messages per second times the subscribers of each.
    #[serde(default)]
    pub(crate) rate: u32,
    /// Messages that become due within this time are sent together. None waits longer.
    #[serde(default)]
    pub(crate) publish_every_us: u32,
    /// How many times faster a recording is replayed.
    #[serde(default)]
    pub(crate) speed: u32,
    /// The measured time in seconds.
    pub(crate) seconds: u32,
    /// The time before it, which is not measured, in seconds.
    #[serde(default = "one")]
    pub(crate) warmup_seconds: u32,
    /// The share of readers that stop, in percent.
    #[serde(default)]
    pub(crate) stopped_percent: u32,
    /// Bytes per second that each of these still reads.
    #[serde(default)]
    pub(crate) slow_bytes_per_s: u32,
    /// The bound that the highest rate must keep, in milliseconds.
    #[serde(default)]
    pub(crate) p99_ms_max: u32,
    /// How many rates are tried to find the highest.
    #[serde(default)]
    pub(crate) probes: u32,
    #[serde(default)]
    pub(crate) codec: Wording,
    /// Whether messages come compressed, which is then required.
    #[serde(default)]
    pub(crate) deflate: bool,
    /// Whether clients use TLS. All use the same version, cipher suite and key exchange.
    #[serde(default)]
    pub(crate) tls: bool,
    /// How many new connections come at once.
    #[serde(default)]
    pub(crate) newcomers: u32,
    /// The servers that can do it; empty for all.
    #[serde(default)]
    pub(crate) peers: Vec<String>,
    /// The servers that it is meant for, which take part if none are named; empty for the usual ones.
    #[serde(default)]
    pub(crate) default_peers: Vec<String>,
}

fn one() -> u32 {
    1
}

impl Scenario {
    /// Loads the scenario with this name, or from this file; with `quick`, in its short form.
    ///
    /// # Errors
    /// When the scenario does not exist or cannot be run.
    pub(crate) fn load(name: &str, quick: bool) -> anyhow::Result<Self> {
        if let Some((name, text)) = NAMED.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, text, quick);
        }
        let text = fs::read_to_string(name).with_context(|| {
            let known: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
            format!(
                "{name:?} is neither a scenario ({}) nor a file that can be read",
                known.join(", ")
            )
        })?;
        let stem = Path::new(name).file_stem().map(|stem| stem.to_string_lossy());
        Self::parse(&stem.unwrap_or_default(), &text, quick)
    }

    /// Parses a scenario.
    ///
    /// # Errors
    /// When `text` is not TOML, or the scenario cannot be run.
    pub(crate) fn parse(name: &str, text: &str, quick: bool) -> anyhow::Result<Self> {
        let mut table: toml::Table = text.parse().with_context(|| format!("scenario {name}"))?;
        if let Some(toml::Value::Table(shorter)) = table.remove("quick")
            && quick
        {
            table.extend(shorter);
        }
        let mut scenario: Self = table.try_into().with_context(|| format!("scenario {name}"))?;
        name.clone_into(&mut scenario.name);
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> anyhow::Result<()> {
        let within = |field: &str, value: u32, allowed: RangeInclusive<u32>| {
            let (name, least, most) = (&self.name, allowed.start(), allowed.end());
            ensure!(
                allowed.contains(&value),
                "scenario {name}: {field} = {value} must be from {least} to {most}"
            );
            Ok(())
        };
        within("subscribers", self.subscribers, 1..=1_000_000)?;
        within("topics", self.topics, 1..=10_000)?;
        within("topics_each", self.topics_each, 1..=self.topics)?;
        within("seconds", self.seconds, 1..=3_600)?;
        within("warmup_seconds", self.warmup_seconds, 0..=600)?;
        within("publish_every_us", self.publish_every_us, 0..=1_000_000)?;
        let timed = matches!(
            self.kind,
            Kind::Open | Kind::Max | Kind::Slow | Kind::Storm | Kind::Rush
        );
        within("rate", self.rate, u32::from(timed)..=1_000_000_000)?;
        if self.kind == Kind::Slow {
            within("stopped_percent", self.stopped_percent, 1..=99)?;
            within("slow_bytes_per_s", self.slow_bytes_per_s, 0..=100_000_000)?;
        }
        if self.kind == Kind::Max {
            within("p99_ms_max", self.p99_ms_max, 1..=60_000)?;
            within("probes", self.probes, 1..=30)?;
        }
        if self.kind == Kind::Replay {
            within("speed", self.speed, 1..=1_000)?;
        }
        let rushes = self.kind == Kind::Rush;
        within(
            "newcomers",
            self.newcomers,
            u32::from(rushes)..=100_000 * u32::from(rushes),
        )?;
        ensure!(
            self.tls || !matches!(self.kind, Kind::Handshakes | Kind::Rush),
            "scenario {}: the kind needs tls = true",
            self.name
        );
        match self.kind {
            Kind::Publish => {
                within("publishers", self.publishers, 1..=1_000)?;
                within("data_bytes", self.data_bytes, OBJECT_BYTES_MIN as u32..=32_768)?;
            }
            _ => {
                within("publishers", self.publishers, 1..=1)?;
                within("data_bytes", self.data_bytes, 0..=0)?;
            }
        }
        let is_possible = self.peers == ["tickwire"] && self.kind != Kind::Replay;
        ensure!(
            self.codec == Wording::Json || is_possible,
            "scenario {}: peers = {:?} must be [\"tickwire\"], and the kind not replay, with codec = {:?}",
            self.name,
            self.peers,
            self.codec
        );
        if self.codec == Wording::Sse {
            // All streams are asked for in the same way.
            within("topics_each", self.topics_each, self.topics..=self.topics)?;
            within("topics", self.topics, 1..=SSE_TOPICS_MAX as u32)?;
        }
        if self.pattern.is_some() {
            // A pattern stands for all topics.
            within("topics_each", self.topics_each, self.topics..=self.topics)?;
        }
        Ok(())
    }

    /// About how long one measurement takes.
    pub(crate) fn takes(&self) -> Duration {
        /// The time in which a server starts and stops and the last messages arrive.
        const AROUND: Duration = Duration::from_secs(2);
        /// How many connections are made per second.
        const CONNECTED_PER_S: f64 = 4_000.0;
        let connecting = Duration::from_secs_f64(f64::from(self.subscribers) / CONNECTED_PER_S);
        let measuring = Duration::from_secs(u64::from(self.warmup_seconds + self.seconds));
        match self.kind {
            // Each probe has its own server.
            Kind::Max => (AROUND + connecting + measuring) * self.probes,
            // There are two turns, each without and with stopped readers.
            Kind::Slow => AROUND + connecting + measuring * 4,
            // Without TLS, with full handshakes, with resumed ones.
            Kind::Handshakes => (AROUND + measuring) * 3,
            Kind::Rush => AROUND + connecting + measuring * 2,
            _ => AROUND + connecting + measuring,
        }
    }

    pub(crate) fn topic(number: u32) -> String {
        format!("{TOPIC_PREFIX}{number}")
    }

    /// The number of the topic with this name; `None` if it is not one of a scenario.
    #[inline]
    pub(crate) fn topic_number(name: &[u8]) -> Option<u32> {
        let digits = name.strip_prefix(TOPIC_PREFIX.as_bytes())?;
        if digits.is_empty() || digits.len() > 9 {
            return None;
        }
        digits.iter().try_fold(0, |number, digit| {
            digit
                .is_ascii_digit()
                .then(|| number * 10 + u32::from(digit - b'0'))
        })
    }

    /// The names or pattern that subscriber `number` subscribes to.
    pub(crate) fn wishes(&self, number: u32) -> Vec<String> {
        match &self.pattern {
            Some(pattern) => vec![pattern.clone()],
            None => (0..self.topics_each)
                .map(|slot| Self::topic((number + slot) % self.topics))
                .collect(),
        }
    }

    /// How many connections there are at once.
    pub(crate) fn connections(&self) -> usize {
        (self.publishers + self.subscribers + self.newcomers) as usize
    }

    /// The connections of these subscribers. The publishers' connections come first.
    pub(crate) fn connections_of(&self, subscribers: Range<u32>) -> Range<usize> {
        let connection = |subscriber: u32| (self.publishers + subscriber) as usize;
        connection(subscribers.start)..connection(subscribers.end)
    }

    /// The subscriber that has this connection; `None` if it is a publisher's.
    #[inline]
    pub(crate) fn subscriber(&self, id: ConnId) -> Option<usize> {
        id.0.checked_sub(self.publishers as usize)
    }

    pub(crate) fn first_topic(&self, number: u32) -> u32 {
        number % self.topics
    }

    /// The place of `topic` among the topics of a subscriber, from 0, by its first topic; `None` if it has not subscribed to
    /// it.
    #[inline]
    pub(crate) fn slot(&self, first: u32, topic: u32) -> Option<u32> {
        if topic >= self.topics {
            return None;
        }
        let slot = match topic.checked_sub(first) {
            Some(slot) => slot,
            None => topic + self.topics - first,
        };
        (slot < self.topics_each).then_some(slot)
    }

    pub(crate) fn subscribers_of(&self, topic: u32) -> u32 {
        // Subscriber n has topic t if (t - n) mod topics is less than topics_each.
        let having = |residue: u32| {
            (topic + self.topics - residue) % self.topics < self.topics_each && residue < self.subscribers
        };
        (0..self.topics)
            .filter(|residue| having(*residue))
            .map(|residue| (self.subscribers - residue).div_ceil(self.topics))
            .sum()
    }

    /// How many messages per second make `rate` deliveries per second.
    pub(crate) fn messages_per_s(&self, rate: f64) -> f64 {
        let deliveries: u64 = (0..self.topics)
            .map(|topic| u64::from(self.subscribers_of(topic)))
            .sum();
        rate * f64::from(self.topics) / deliveries.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_are_good() {
        for quick in [false, true] {
            for (name, _) in NAMED {
                let scenario = Scenario::load(name, quick).expect("a good scenario");
                assert_eq!(scenario.name, *name);
            }
        }
    }

    #[test]
    fn quick_replaces_values() {
        let text = "about = 'x'\nkind = 'hot'\nsubscribers = 9\nseconds = 3\n[quick]\nseconds = 1\n";
        let seconds = |quick| Scenario::parse("x", text, quick).expect("good").seconds;
        assert_eq!((seconds(false), seconds(true)), (3, 1));
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        const TABLE: &str = r#"
            kind = 'hot'; subscribers = 0 | subscribers = 0 must be from 1 to 1000000
            kind = 'open'; subscribers = 1 | rate = 0 must be from 1 to 1000000000
            kind = 'hot'; subscribers = 1; topics = 2; topics_each = 3 | topics_each = 3 must be from 1 to 2
            kind = 'hot'; subscribers = 1; topics = 2; pattern = 'bench.*' | topics_each = 1 must be from 2 to 2
            kind = 'max'; subscribers = 1; rate = 1 | p99_ms_max = 0 must be from 1 to 60000
            kind = 'hot'; subscribers = 1; codec = 'msgpack' | peers = [] must be ["tickwire"], and the kind not replay, with codec = Msgpack
            kind = 'replay'; subscribers = 1 | speed = 0 must be from 1 to 1000
            kind = 'publish'; subscribers = 1 | data_bytes = 0 must be from 120 to 32768
            kind = 'rush'; subscribers = 1; rate = 1 | newcomers = 0 must be from 1 to 100000
            kind = 'handshakes'; subscribers = 1 | the kind needs tls = true
            kind = 'hot'; subscribers = 1; publishers = 2 | publishers = 2 must be from 1 to 1"#;
        for (change, fault) in TABLE.lines().filter_map(|line| line.split_once(" | ")) {
            let change = change.replace(';', "\n");
            let text = format!("about = 'x'\nseconds = 3\n{change}");
            let error = Scenario::parse("x", &text, false).expect_err("must be refused");
            assert_eq!(error.to_string(), format!("scenario x: {fault}"));
        }
        let unknown = Scenario::load("no-such", false).expect_err("is none").to_string();
        assert!(
            unknown.starts_with("\"no-such\" is neither a scenario (hot-1k, "),
            "{unknown}"
        );
    }

    /// The wishes, slots and counts of subscribers agree with each other.
    #[test]
    fn who_has_which_topic() {
        for (subscribers, topics, topics_each) in [(1, 1, 1), (7, 1, 1), (10, 3, 2), (3, 10, 4), (25, 10, 10)]
        {
            let text = format!(
                "about = 'x'\nkind = 'hot'\nseconds = 1\nsubscribers = {subscribers}\ntopics = {topics}\ntopics_each = {topics_each}"
            );
            let scenario = Scenario::parse("x", &text, false).expect("good");
            for topic in 0..topics {
                let having = (0..subscribers).filter(|number| {
                    let at = scenario
                        .wishes(*number)
                        .iter()
                        .position(|name| Scenario::topic_number(name.as_bytes()) == Some(topic));
                    assert_eq!(
                        at,
                        scenario
                            .slot(scenario.first_topic(*number), topic)
                            .map(|slot| slot as usize)
                    );
                    at.is_some()
                });
                assert_eq!(having.count(), scenario.subscribers_of(topic) as usize);
            }
        }
    }

    #[test]
    fn topics_have_numbers() {
        for (name, number) in [
            ("bench.t0", Some(0)),
            ("bench.t17", Some(17)),
            ("bench.t", None),
            ("bench.tx", None),
            ("ticker.A", None),
            ("bench.t1234567890", None),
        ] {
            assert_eq!(Scenario::topic_number(name.as_bytes()), number, "{name}");
        }
    }
}
