//! What is subscribed, so that a new connection can be brought to where the old one was.
//!
//! Pure. A topic resumes with the position that was reached (`since`). A pattern cannot: it is subscribed anew, and its topics
//! known so far are resumed one by one before it, unless they are known to be conflated, as far as the broker's limit on
//! subscriptions allows. Those extra subscriptions are the client's own affair: they end with the pattern that they belong to.

use std::collections::BTreeMap;

use tickwire_wire::message::{AnnouncedLimits, Position, Subscribe, TopicRequest};
use tickwire_wire::{Mode, Pattern};

/// What a request needs of its `message_bytes` besides its topics.
const REQUEST_BYTES: usize = 256;
/// What a topic with a position needs besides the names of topic and epoch.
const TOPIC_BYTES: usize = 80;

/// What is wanted of a topic or pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub(crate) mode: Option<Mode>,
    pub(crate) conflate_ms: Option<u32>,
    pub(crate) snapshot: bool,
}

/// A topic that only patterns cover, to be resumed by its own name.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) topic: String,
    /// Where from.
    pub(crate) position: Position,
    /// Whether every message of it must come. Otherwise it is resumed as its kind has it.
    pub(crate) every: bool,
}

/// The subscriptions of a client.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    topics: BTreeMap<String, Wanted>,
    patterns: BTreeMap<String, (Pattern, Wanted)>,
    /// Topics of patterns that were resumed by their own names, and in which mode.
    extra: BTreeMap<String, Option<Mode>>,
}

/// A `subscribe` without its id.
pub(crate) type Request = (Wanted, Vec<TopicRequest>);

impl Ledger {
    /// `name`, a topic or pattern, was acked.
    pub(crate) fn add(&mut self, name: &str, wanted: Wanted) {
        if wanted.mode == Some(Mode::Snapshot) {
            return;
        }
        match name.parse::<Pattern>() {
            Ok(pattern) if pattern.is_wildcard() => {
                self.patterns.insert(name.to_owned(), (pattern, wanted));
            }
            _ => {
                self.extra.remove(name);
                self.topics.insert(name.to_owned(), wanted);
            }
        }
    }

    /// `name` is no longer wanted.
    pub(crate) fn remove(&mut self, name: &str) {
        self.topics.remove(name);
        self.patterns.remove(name);
        self.extra.remove(name);
    }

    /// Forgets `topic` if it is an extra subscription; says whether it was one.
    pub(crate) fn drop_extra(&mut self, topic: &str) -> bool {
        self.extra.remove(topic).is_some()
    }

    /// Whether `topic` is an extra subscription.
    pub(crate) fn is_extra(&self, topic: &str) -> bool {
        self.extra.contains_key(topic)
    }

    /// The extra subscriptions that would have no pattern any more if `names` went, so that they have to go too.
    pub(crate) fn orphans(&self, names: &[String]) -> Vec<String> {
        let covered = |topic: &str| {
            let mut left = self
                .patterns
                .values()
                .filter(|(pattern, _)| !names.iter().any(|n| n == pattern.as_str()));
            left.any(|(pattern, _)| pattern.matches(topic))
        };
        let orphans = self
            .extra
            .keys()
            .filter(|topic| !covered(topic) && !names.contains(topic));
        orphans.cloned().collect()
    }

    /// What is wanted of `name`, if it is still wanted.
    pub(crate) fn wanted(&self, name: &str) -> Option<&Wanted> {
        let pattern = || self.patterns.get(name).map(|(_, wanted)| wanted);
        self.topics.get(name).or_else(pattern)
    }

    /// The first pattern's wish that covers `topic`.
    fn covering(&self, topic: &str) -> Option<&Wanted> {
        let mut covering = self
            .patterns
            .values()
            .filter(|(pattern, _)| pattern.matches(topic));
        covering.next().map(|(_, wanted)| wanted)
    }

    /// The requests that bring a new connection to where the old one was, in the order in which to send them.
    ///
    /// `known`: the topics that only patterns cover, of which every message must come or may have to. `position`: where a
    /// topic can be resumed from.
    pub(crate) fn restore(
        &mut self,
        known: Vec<Known>,
        position: impl Fn(&str) -> Option<Position>,
        limits: &AnnouncedLimits,
    ) -> Vec<Request> {
        let known = known
            .into_iter()
            .map(|known| (known.topic, (known.position, known.every.then_some(Mode::Every))));
        let mut resumable: BTreeMap<String, (Position, Option<Mode>)> = known.collect();
        for (topic, mode) in &self.extra {
            if let Some(position) = position(topic) {
                resumable.entry(topic.clone()).or_insert((position, *mode));
            }
        }
        resumable.retain(|topic, _| self.covering(topic).is_some() && !self.topics.contains_key(topic));
        let room = limits
            .subscriptions
            .saturating_sub(self.topics.len() + self.patterns.len());
        let resumed = resumable.iter().take(room);
        self.extra = resumed.map(|(topic, (_, mode))| (topic.clone(), *mode)).collect();

        let mut groups: Vec<BTreeMap<Wanted, Vec<TopicRequest>>> = vec![BTreeMap::new(), BTreeMap::new()];
        for (topic, (since, mode)) in resumable.into_iter().take(room) {
            let snapshot = self.covering(&topic).is_none_or(|wanted| wanted.snapshot);
            let wanted = Wanted {
                mode,
                conflate_ms: None,
                snapshot,
            };
            let since = Some(since.into());
            groups[0]
                .entry(wanted)
                .or_default()
                .push(TopicRequest::Since { topic, since });
        }
        for (topic, wanted) in &self.topics {
            let request = match position(topic) {
                Some(since) => TopicRequest::Since {
                    topic: topic.clone(),
                    since: Some(since.into()),
                },
                None => TopicRequest::Pattern(topic.clone()),
            };
            groups[0].entry(wanted.clone()).or_default().push(request);
        }
        // Patterns come last: what they cover is then subscribed already, with its position.
        for (pattern, wanted) in self.patterns.values() {
            let request = TopicRequest::Pattern(pattern.as_str().to_owned());
            groups[1].entry(wanted.clone()).or_default().push(request);
        }
        let groups = groups.into_iter().flatten();
        groups
            .flat_map(|(wanted, topics)| split(&wanted, topics, limits))
            .collect()
    }
}

/// `topics` in requests that fit in the broker's limit.
pub(crate) fn split(wanted: &Wanted, topics: Vec<TopicRequest>, limits: &AnnouncedLimits) -> Vec<Request> {
    let room = limits.message_bytes.saturating_sub(REQUEST_BYTES);
    let mut requests: Vec<Request> = Vec::new();
    let mut bytes = usize::MAX;
    for topic in topics {
        let epoch = topic.position().map_or(0, |since| since.epoch.as_str().len());
        let more = topic.topic().len() + epoch + TOPIC_BYTES;
        bytes = bytes.saturating_add(more);
        match requests.last_mut() {
            Some((_, last)) if bytes <= room => last.push(topic),
            _ => {
                bytes = more;
                requests.push((wanted.clone(), vec![topic]));
            }
        }
    }
    requests
}

/// The message that `request` is.
pub(crate) fn message((wanted, topics): Request, id: tickwire_wire::RequestId) -> Subscribe {
    Subscribe {
        id,
        topics,
        mode: wanted.mode,
        conflate_ms: wanted.conflate_ms,
        snapshot: wanted.snapshot,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use tickwire_wire::{Epoch, Seq};

    use super::*;

    const LIMITS: AnnouncedLimits = AnnouncedLimits {
        subscriptions: 6,
        message_bytes: 65_536,
        ops_per_s: 50,
        ops_burst: 200,
        publishes_per_s: 10_000,
        publishes_burst: 20_000,
    };

    fn wanted(mode: Option<Mode>) -> Wanted {
        Wanted {
            mode,
            conflate_ms: None,
            snapshot: true,
        }
    }

    fn at(seq: u64) -> Position {
        Position {
            epoch: Epoch::from("k"),
            seq: Seq(seq),
        }
    }

    fn show(requests: &[Request]) -> String {
        let topic = |request: &TopicRequest| match request.position() {
            Some(since) => format!("{}@{}:{}", request.topic(), since.epoch, since.seq),
            None => request.topic().to_owned(),
        };
        let line = |(wanted, topics): &Request| {
            let topics: Vec<_> = topics.iter().map(topic).collect();
            let mode = wanted
                .mode
                .map_or("default".to_owned(), |mode| format!("{mode:?}").to_lowercase());
            format!("{mode}: {}\n", topics.join(" "))
        };
        requests.iter().map(line).collect()
    }

    fn check(ledger: &mut Ledger, known: &[(&str, u64)], limits: &AnnouncedLimits, expected: &Expect) {
        let known = known
            .iter()
            .map(|(topic, seq)| Known {
                topic: (*topic).to_owned(),
                position: at(*seq),
                every: !topic.ends_with('?'),
            })
            .collect();
        let position = |topic: &str| (topic != "new").then(|| at(topic.len() as u64));
        expected.assert_eq(&show(&ledger.restore(known, position, limits)));
    }

    #[test]
    fn topics_resume_and_patterns_come_last() {
        let mut ledger = Ledger::default();
        ledger.add("ticker.A", wanted(None));
        ledger.add("new", wanted(None));
        ledger.add("once", wanted(Some(Mode::Snapshot)));
        ledger.add("trade.*", wanted(Some(Mode::Every)));
        check(
            &mut ledger,
            &[("trade.A", 7), ("trade.B", 9), ("other.C", 1)],
            &LIMITS,
            &expect![[r"
                default: new ticker.A@k:8
                every: trade.A@k:7 trade.B@k:9
                every: trade.*
            "]],
        );
        // The next time, the extra topics are known by their own subscriptions.
        check(
            &mut ledger,
            &[("trade.CC", 1)],
            &LIMITS,
            &expect![[r#"
                default: new ticker.A@k:8
                every: trade.A@k:7 trade.B@k:7 trade.CC@k:1
                every: trade.*
            "#]],
        );
        assert_eq!(
            ledger.orphans(&["trade.*".to_owned()]),
            ["trade.A", "trade.B", "trade.CC"]
        );
        ledger.add(">", wanted(None));
        assert_eq!(
            ledger.orphans(&["trade.*".to_owned()]),
            [""; 0],
            "another pattern covers them"
        );
    }

    /// Of a pattern over several kinds it is not known which topics are to come whole: they come as their kinds have it.
    #[test]
    fn what_may_have_to_come_whole_is_resumed_as_its_kind_has_it() {
        let mut ledger = Ledger::default();
        ledger.add(">", wanted(None));
        let expected = expect![[r"
            default: chat.x?@k:3
            every: trade.A@k:7
            default: >
        "]];
        check(&mut ledger, &[("chat.x?", 3), ("trade.A", 7)], &LIMITS, &expected);
        assert!(ledger.is_extra("chat.x?"));
    }

    #[test]
    fn extra_subscriptions_stay_within_the_limit() {
        let mut ledger = Ledger::default();
        ledger.add("trade.*", wanted(Some(Mode::Every)));
        let limits = AnnouncedLimits {
            subscriptions: 2,
            ..LIMITS
        };
        check(
            &mut ledger,
            &[("trade.A", 7), ("trade.B", 9)],
            &limits,
            &expect![[r"
                every: trade.A@k:7
                every: trade.*
            "]],
        );
    }

    #[test]
    fn requests_stay_within_the_message_limit() {
        let topics: Vec<_> = (0..200)
            .map(|n| TopicRequest::Pattern(format!("topic.{n:050}")))
            .collect();
        let limits = AnnouncedLimits {
            message_bytes: 2_048,
            ..LIMITS
        };
        let requests = split(&wanted(None), topics, &limits);
        let total: usize = requests.iter().map(|(_, topics)| topics.len()).sum();
        assert_eq!(total, 200);
        for request in requests {
            let message =
                tickwire_wire::ClientMessage::Subscribe(message(request, tickwire_wire::RequestId(u64::MAX)));
            let mut bytes = Vec::new();
            tickwire_wire::Codec::Json.encode_request(&message, &mut bytes);
            assert!(bytes.len() <= limits.message_bytes, "{} bytes", bytes.len());
        }
    }
}
