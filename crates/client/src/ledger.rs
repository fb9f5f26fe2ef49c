//! The list of subscriptions, from which a new connection restores what the old one had.
//!
//! Pure. A topic resumes from its last position, a pattern from those of all topics that it brought. Positions that do
//! not fit in one message with their pattern go ahead of it, in as many messages as needed. The subscription that asks
//! for more of a topic goes first, so that it is the one that resumes the topic.

use std::collections::{BTreeMap, BTreeSet};

use tickwire_wire::message::{
    AnnouncedLimits, Position, Positions, RequestId, Since, Subscribe, TopicRequest,
};
use tickwire_wire::{Epoch, Mode, Pattern, Seq};

/// Bytes of a request besides its topics.
const REQUEST_BYTES: usize = 256;
/// Bytes of a topic with a position, besides the names of topic and epoch.
const TOPIC_BYTES: usize = 80;
/// Bytes of one position of a pattern, besides the name of its topic.
const POSITION_BYTES: usize = 28;
/// Bytes of the positions of one lineage, besides the name of its epoch.
const LINEAGE_BYTES: usize = 32;

/// The options with which a topic or pattern is subscribed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub(crate) mode: Option<Mode>,
    pub(crate) conflate_ms: Option<u32>,
    pub(crate) snapshot: bool,
}

impl Wanted {
    /// Lower for options that ask for more of a topic.
    fn rank(&self) -> (u8, u32) {
        let mode = match self.mode {
            Some(Mode::Every) => 0,
            None => 1,
            Some(Mode::Conflate | Mode::Snapshot) => 2,
        };
        (mode, self.conflate_ms.unwrap_or(0))
    }
}

/// How a topic that is subscribed by its own name goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// From its last position.
    From(Position),
    /// As a new subscription.
    Anew,
    /// A pattern brings it already.
    Flows,
}

/// The subscriptions of a client.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    topics: BTreeMap<String, Wanted>,
    patterns: BTreeMap<String, (Pattern, Wanted)>,
}

/// The key of one group of requests: the rank of the options, whether the names are patterns, and the options. Its
/// order is that of the requests.
type Group<'a> = ((u8, u32), bool, &'a Wanted);

/// A `subscribe` without its id.
pub(crate) type Request = (Wanted, Vec<TopicRequest>);

/// A request that restores subscriptions on a new connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The positions from which the topics of the next request's patterns resume.
    Positions(Vec<Positions>),
    /// A `subscribe`.
    Subscribe(Request),
}

impl Ledger {
    /// Adds `name`, a topic or pattern that was acked.
    pub(crate) fn add(&mut self, name: &str, wanted: Wanted) {
        if wanted.mode == Some(Mode::Snapshot) {
            return;
        }
        match name.parse::<Pattern>() {
            Ok(pattern) if pattern.is_wildcard() => {
                self.patterns.insert(name.to_owned(), (pattern, wanted));
            }
            _ => {
                self.topics.insert(name.to_owned(), wanted);
            }
        }
    }

    /// Removes `name`.
    pub(crate) fn remove(&mut self, name: &str) {
        self.topics.remove(name);
        self.patterns.remove(name);
    }

    /// Whether `name` is subscribed, as a topic or as a pattern.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.topics.contains_key(name) || self.patterns.contains_key(name)
    }

    /// Whether a subscription covers `topic`: by its own name or by a pattern.
    pub(crate) fn covers(&self, topic: &str) -> bool {
        let mut patterns = self.patterns.values();
        self.topics.contains_key(topic) || patterns.any(|(pattern, _)| pattern.matches(topic))
    }

    /// The requests that restore the subscriptions on a new connection, in the order in which to send them. With
    /// `only`, they restore just these.
    ///
    /// `left` holds the positions of topics that patterns brought. `start` says how a topic that is subscribed by its
    /// own name goes on.
    pub(crate) fn restore(
        &self,
        only: Option<&BTreeSet<String>>,
        left: Vec<(String, Position)>,
        start: impl Fn(&str) -> Start,
        limits: &AnnouncedLimits,
    ) -> Vec<Step> {
        let is_meant = |name: &str| only.is_none_or(|only| only.contains(name));
        // Names with the same options go in one request. Within a rank, topics go before patterns.
        let mut groups: BTreeMap<Group<'_>, Vec<&str>> = BTreeMap::new();
        let topics = self.topics.iter().map(|(name, wanted)| (name, wanted, false));
        let patterns = self
            .patterns
            .iter()
            .map(|(name, (_, wanted))| (name, wanted, true));
        for (name, wanted, is_pattern) in topics.chain(patterns).filter(|(name, ..)| is_meant(name)) {
            let group = groups.entry((wanted.rank(), is_pattern, wanted)).or_default();
            group.push(name);
        }
        let mut left: BTreeMap<String, Position> = left.into_iter().collect();
        let mut flowing = BTreeSet::new();
        let mut steps = Vec::new();
        for ((_, is_pattern, wanted), names) in groups {
            if is_pattern {
                self.resume_patterns(wanted, &names, &mut left, &mut flowing, limits, &mut steps);
                continue;
            }
            let (mut flow, mut others) = (Vec::new(), Vec::new());
            for name in names {
                left.remove(name);
                match start(name) {
                    Start::Flows => flow.push(TopicRequest::Pattern(name.to_owned())),
                    _ if flowing.contains(name) => flow.push(TopicRequest::Pattern(name.to_owned())),
                    Start::Anew => others.push(TopicRequest::Pattern(name.to_owned())),
                    Start::From(position) => others.push(TopicRequest::Since {
                        topic: name.to_owned(),
                        since: Some(position.into()),
                    }),
                }
            }
            // A topic that flows already needs no snapshot.
            let without = Wanted {
                snapshot: false,
                ..wanted.clone()
            };
            let requests = split(wanted, others, limits)
                .into_iter()
                .chain(split(&without, flow, limits));
            steps.extend(requests.map(Step::Subscribe));
        }
        steps
    }

    /// Adds the steps that resume patterns with the same options.
    fn resume_patterns(
        &self,
        wanted: &Wanted,
        names: &[&str],
        left: &mut BTreeMap<String, Position>,
        flowing: &mut BTreeSet<String>,
        limits: &AnnouncedLimits,
        steps: &mut Vec<Step>,
    ) {
        let bare = names.iter().map(|name| TopicRequest::Pattern((*name).to_owned()));
        for (wanted, mut topics) in split(wanted, bare.collect(), limits) {
            for topic in &mut topics {
                let Some((pattern, _)) = self.patterns.get(topic.topic()) else {
                    continue;
                };
                let brought: Vec<_> = left.extract_if(.., |topic, _| pattern.matches(topic)).collect();
                flowing.extend(brought.iter().map(|(topic, _)| topic.clone()));
                if !brought.is_empty() {
                    *topic = TopicRequest::Since {
                        topic: topic.topic().to_owned(),
                        since: Some(Since::Many(by_lineage(brought))),
                    };
                }
            }
            steps.extend(send_ahead(&mut topics, limits).into_iter().map(Step::Positions));
            steps.push(Step::Subscribe((wanted, topics)));
        }
    }
}

/// Groups positions by lineage.
pub(crate) fn by_lineage(positions: impl IntoIterator<Item = (String, Position)>) -> Vec<Positions> {
    let mut lineages: BTreeMap<String, Positions> = BTreeMap::new();
    for (topic, Position { epoch, seq }) in positions {
        let lineage = lineages
            .entry(epoch.as_str().to_owned())
            .or_insert_with(|| Positions {
                epoch,
                seqs: BTreeMap::new(),
            });
        lineage.seqs.insert(topic, seq);
    }
    lineages.into_values().collect()
}

/// Takes the positions of patterns out of `topics` if they do not all fit in one message. Returns the positions to send
/// ahead, one element for each message.
pub(crate) fn send_ahead(topics: &mut [TopicRequest], limits: &AnnouncedLimits) -> Vec<Vec<Positions>> {
    let room = limits.message_bytes.saturating_sub(REQUEST_BYTES);
    if topics.iter().map(topic_bytes).sum::<usize>() <= room {
        return Vec::new();
    }
    let mut ahead = Ahead {
        room,
        bytes: 0,
        messages: Vec::new(),
    };
    for topic in topics {
        let TopicRequest::Since { topic: name, since } = topic else {
            continue;
        };
        let Some(Since::Many(lineages)) = since.take_if(|since| matches!(since, Since::Many(_))) else {
            continue;
        };
        *topic = TopicRequest::Pattern(std::mem::take(name));
        for Positions { epoch, seqs } in lineages {
            for (topic, seq) in seqs {
                ahead.add(&epoch, topic, seq);
            }
        }
    }
    ahead.messages
}

/// Positions, divided into messages within the broker's limit.
struct Ahead {
    /// Most bytes of positions in a message.
    room: usize,
    /// Bytes of the last message.
    bytes: usize,
    messages: Vec<Vec<Positions>>,
}

impl Ahead {
    fn add(&mut self, epoch: &Epoch, topic: String, seq: Seq) {
        let bytes = position_bytes(&topic);
        let last = self.messages.last_mut().and_then(|message| message.last_mut());
        if let Some(lineage) = last.filter(|lineage| lineage.epoch == *epoch)
            && self.bytes + bytes <= self.room
        {
            self.bytes += bytes;
            lineage.seqs.insert(topic, seq);
            return;
        }
        let bytes = bytes + LINEAGE_BYTES + epoch.as_str().len();
        let lineage = Positions {
            epoch: epoch.clone(),
            seqs: BTreeMap::from([(topic, seq)]),
        };
        match self
            .messages
            .last_mut()
            .filter(|_| self.bytes + bytes <= self.room)
        {
            Some(message) => {
                self.bytes += bytes;
                message.push(lineage);
            }
            None => {
                self.bytes = bytes;
                self.messages.push(vec![lineage]);
            }
        }
    }
}

fn position_bytes(topic: &str) -> usize {
    topic.len() + POSITION_BYTES
}

/// The most bytes that an entry takes in a message.
fn topic_bytes(topic: &TopicRequest) -> usize {
    let since = match topic.since() {
        None => 0,
        Some(Since::One(position)) => position.epoch.as_str().len(),
        Some(Since::Many(lineages)) => lineages
            .iter()
            .map(|lineage| {
                let seqs: usize = lineage.seqs.keys().map(|topic| position_bytes(topic)).sum();
                LINEAGE_BYTES + lineage.epoch.as_str().len() + seqs
            })
            .sum(),
    };
    topic.topic().len() + since + TOPIC_BYTES
}

/// Divides `topics` into requests within the broker's limit.
fn split(wanted: &Wanted, topics: Vec<TopicRequest>, limits: &AnnouncedLimits) -> Vec<Request> {
    let room = limits.message_bytes.saturating_sub(REQUEST_BYTES);
    let mut requests: Vec<Request> = Vec::new();
    let mut bytes = usize::MAX;
    for topic in topics {
        let more = topic_bytes(&topic);
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

/// The `subscribe` message for `request`, with `id`.
pub(crate) fn message((wanted, topics): Request, id: RequestId) -> Subscribe {
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

    fn at(epoch: &str, seq: u64) -> Position {
        Position {
            epoch: Epoch::from(epoch),
            seq: Seq(seq),
        }
    }

    fn show_positions(since: &[Positions]) -> String {
        let lineage = |Positions { epoch, seqs }: &Positions| {
            let seqs: Vec<_> = seqs.iter().map(|(topic, seq)| format!("{topic}:{seq}")).collect();
            format!("{epoch}[{}]", seqs.join(" "))
        };
        since.iter().map(lineage).collect::<Vec<_>>().join(" ")
    }

    fn show(steps: &[Step]) -> String {
        let topic = |request: &TopicRequest| match request.since() {
            Some(Since::One(at)) => format!("{}@{}:{}", request.topic(), at.epoch, at.seq),
            Some(Since::Many(since)) => format!("{}@{}", request.topic(), show_positions(since)),
            None => request.topic().to_owned(),
        };
        let line = |step: &Step| match step {
            Step::Positions(since) => format!("positions {}\n", show_positions(since)),
            Step::Subscribe((wanted, topics)) => {
                let topics: Vec<_> = topics.iter().map(topic).collect();
                let mode = wanted.mode.map_or("default", Mode::as_str);
                let snapshot = if wanted.snapshot { "" } else { " without snapshot" };
                format!("{mode}{snapshot}: {}\n", topics.join(" "))
            }
        };
        steps.iter().map(line).collect()
    }

    /// The steps as text. `left` holds topics with epoch and number of their last positions; `flow` holds topics that
    /// flow already.
    fn steps(ledger: &Ledger, only: Option<&[&str]>, left: &[(&str, &str, u64)], flow: &[&str]) -> String {
        let place = |topic: &str| left.iter().find(|(left, ..)| *left == topic);
        let start = |topic: &str| match place(topic) {
            _ if flow.contains(&topic) => Start::Flows,
            Some((_, epoch, seq)) => Start::From(at(epoch, *seq)),
            None => Start::Anew,
        };
        let only = only.map(|only| only.iter().map(|&name| name.to_owned()).collect());
        let left = left
            .iter()
            .map(|(topic, epoch, seq)| ((*topic).to_owned(), at(epoch, *seq)));
        show(&ledger.restore(only.as_ref(), left.collect(), start, &LIMITS))
    }

    fn ledger(names: &[(&str, Option<Mode>)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (name, mode) in names {
            ledger.add(name, wanted(*mode));
        }
        ledger
    }

    #[track_caller]
    fn check(names: &[(&str, Option<Mode>)], left: &[(&str, &str, u64)], expected: &Expect) {
        expected.assert_eq(&steps(&ledger(names), None, left, &[]));
    }

    #[test]
    fn topics_and_patterns_go_on_from_where_they_were_left() {
        check(
            &[
                ("ticker.A", None),
                ("new", None),
                ("once", Some(Mode::Snapshot)),
                ("trade.*", Some(Mode::Every)),
                ("quiet.*", Some(Mode::Every)),
            ],
            &[
                ("ticker.A", "k", 8),
                ("trade.A", "k", 7),
                ("trade.B", "k", 9),
                ("trade.C", "z", 1),
                ("other.C", "k", 1),
            ],
            &expect![[r"
                every: quiet.* trade.*@k[trade.A:7 trade.B:9] z[trade.C:1]
                default: new ticker.A@k:8
            "]],
        );
    }

    #[test]
    fn a_topic_is_resumed_once_by_who_wants_most_of_it() {
        // By its own name, before the patterns with the same options.
        check(
            &[("trade.A", None), ("trade.*", None), (">", None)],
            &[("trade.A", "k", 7), ("trade.B", "k", 9), ("chat.x", "k", 1)],
            &expect![[r"
                default: trade.A@k:7
                default: >@k[chat.x:1 trade.B:9] trade.*
            "]],
        );
        // A pattern that needs every message goes before a name that does not. The name then asks for no second
        // snapshot.
        check(
            &[
                ("ticker.A", None),
                ("ticker.B", Some(Mode::Conflate)),
                ("ticker.*", Some(Mode::Every)),
            ],
            &[("ticker.A", "k", 7), ("ticker.C", "k", 9)],
            &expect![[r"
                every: ticker.*@k[ticker.A:7 ticker.C:9]
                default without snapshot: ticker.A
                conflate: ticker.B
            "]],
        );
    }

    #[test]
    fn what_was_refused_is_tried_again_alone() {
        let ledger = ledger(&[
            ("a", None),
            ("b", None),
            ("t.*", None),
            ("t.A", None),
            ("s.*", None),
        ]);
        let left = [("a", "k", 1), ("t.A", "k", 2), ("t.B", "k", 3), ("s.A", "k", 4)];
        let again = steps(&ledger, Some(&["a", "t.*"]), &left, &["t.A"]);
        expect![[r"
            default: a@k:1
            default: t.*@k[t.A:2 t.B:3]
        "]]
        .assert_eq(&again);
        let again = steps(&ledger, Some(&["t.A"]), &left, &["t.A"]);
        expect![[r"
            default without snapshot: t.A
        "]]
        .assert_eq(&again);
    }

    /// Each position of a pattern is sent, however many there are, and each message fits.
    #[test]
    fn positions_that_do_not_fit_go_ahead() {
        let topics = 2_000;
        let limits = AnnouncedLimits {
            message_bytes: 2_048,
            ..LIMITS
        };
        let left = (0..topics).map(|n| (format!("trade.{n:06}"), at(["k", "zzzz"][n % 2], u64::MAX)));
        let ledger = ledger(&[(">", None), ("trade.*", Some(Mode::Every))]);
        let steps = ledger.restore(None, left.collect(), |_| Start::Anew, &limits);
        let mut given = BTreeSet::new();
        for (at, step) in steps.iter().enumerate() {
            let id = RequestId(u64::MAX);
            let message = match step {
                Step::Positions(since) => {
                    let lineages = since.iter().flat_map(|lineage| lineage.seqs.keys());
                    given.extend(lineages.cloned());
                    let since = since.clone();
                    tickwire_wire::ClientMessage::Positions { id, since }
                }
                Step::Subscribe(request) => {
                    assert_eq!(
                        at,
                        if request.0.mode.is_some() {
                            steps.len() - 2
                        } else {
                            steps.len() - 1
                        }
                    );
                    tickwire_wire::ClientMessage::Subscribe(message(request.clone(), id))
                }
            };
            for codec in tickwire_wire::Codec::ALL {
                let mut bytes = Vec::new();
                codec.encode_request(&message, &mut bytes);
                assert!(bytes.len() <= limits.message_bytes, "{} bytes", bytes.len());
            }
        }
        assert_eq!(given.len(), topics);
        assert!(steps.len() < 60, "{} messages", steps.len());
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
            let message = tickwire_wire::ClientMessage::Subscribe(message(request, RequestId(u64::MAX)));
            let mut bytes = Vec::new();
            tickwire_wire::Codec::Json.encode_request(&message, &mut bytes);
            assert!(bytes.len() <= limits.message_bytes, "{} bytes", bytes.len());
        }
    }
}
