//! The promises of PROTOCOL.md from the client's side: a reader that believes every message, and panics at the first
//! one that contradicts an earlier one.
//!
//! It knows what was published ([`Truth`]), and what its connection asked for and when. It knows nothing of the router.

use std::collections::{BTreeMap, BTreeSet};

use tickwire_wire::message::{AckResult, GapReason, StaleReason, TopicState};
use tickwire_wire::{Control, Decimal, Epoch, ErrorCode, Kind, Mode, Pattern, ServerMessage, market};

use crate::world::{EPOCH, Frame};

/// Levels by price text, bids and asks.
pub(crate) type Levels = [BTreeMap<String, String>; 2];

/// A topic, and everything that was published to it.
#[derive(Debug)]
pub(crate) struct TopicTruth {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Messages that the history keeps.
    pub(crate) kept: u64,
    /// Whether the histories have too few bytes, so that the topic may keep fewer messages.
    pub(crate) squeezed: bool,
    /// The newest number.
    pub(crate) head: u64,
    /// The messages with long data. The data of a message is its number, except in books.
    pub(crate) long: BTreeSet<u64>,
    /// Whether it is stale now, and the reason if its book is in doubt.
    pub(crate) told: (bool, Option<StaleReason>),
    /// The book after each message, beginning with an empty one.
    pub(crate) books: Vec<Levels>,
}

impl TopicTruth {
    /// Whether the best bid of the newest book is not below its best ask.
    pub(crate) fn is_crossed(&self) -> bool {
        let prices = |side: usize| {
            let levels = self
                .books
                .last()
                .into_iter()
                .flat_map(move |book| book[side].keys());
            levels.map(|price| price.parse::<Decimal>().expect("a price"))
        };
        let best = prices(0).max().zip(prices(1).min());
        best.is_some_and(|(bid, ask)| bid >= ask)
    }

    /// The data of message `seq`, in a topic that is not a book.
    pub(crate) fn data(&self, seq: u64) -> String {
        if self.long.contains(&seq) {
            format!("\"{seq:>LONG$}\"")
        } else {
            seq.to_string()
        }
    }

    /// Whether the history certainly has everything after `seq`.
    fn reaches(&self, seq: u64) -> bool {
        seq == self.head || seq + self.kept >= self.head && !(self.squeezed && self.kept > 1)
    }
}

/// The letters of a long message; a few of them fill an outbox.
pub(crate) const LONG: usize = 20_000;

pub(crate) type Truth = Vec<TopicTruth>;

/// One topic of a `subscribe`: its pattern, and the epoch and number to resume from.
pub(crate) type Wanted = (String, Option<(String, u64)>);

/// A request, and the state of the world when it was made.
#[derive(Debug)]
pub(crate) enum Asked {
    Subscribe {
        topics: Vec<Wanted>,
        mode: Option<Mode>,
        conflate_ms: u32,
        snapshot: bool,
        heads: Vec<u64>,
    },
    Unsubscribe(Vec<String>),
    Resync(String, Vec<u64>),
}

/// The client's knowledge of a topic that it is subscribed to.
#[derive(Debug, Default)]
struct Place {
    /// The last message that it has, or knows to be missing.
    at: u64,
    /// Whether every message was asked for at any time: waiting messages may still be from then.
    ever_every: bool,
    snapshot_due: bool,
    /// The last status of its source: whether it is stale, and the reason if its book is in doubt.
    told: (bool, Option<StaleReason>),
    /// Whether its updates were ever rated: then a silence may be told before one of them.
    ever_rated: bool,
    /// Whether the client knows the lineage.
    introduced: bool,
    /// The number up to which everything was promised.
    promised: u64,
    /// A gap came that this snapshot must follow at once or, in an event topic, that ends the resume.
    after_gap: Option<u64>,
    /// A conflated topic was resumed: the message that was newest then, or a newer one, must come.
    newest_due: u64,
    /// The request that brought the first of the messages that are due.
    due_by: u64,
    /// A resume was refused: this gap must come before anything else.
    gap_due: Option<(u64, u64)>,
    /// The book, unless the subscription began somewhere without a snapshot.
    book: Option<Levels>,
}

/// The client's side of one connection.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    asked: BTreeMap<u64, Asked>,
    /// For each pattern: whether it asks for every message, and the least time that it asks for.
    patterns: BTreeMap<String, (bool, u32)>,
    places: BTreeMap<usize, Place>,
    /// Topics whose snapshot was asked for without a subscription, and the request for which one is still due.
    shots: BTreeMap<usize, Option<u64>>,
    acked: u64,
    /// The topics that unsynced requests have brought to subscriptions.
    syncing: BTreeMap<u64, BTreeSet<usize>>,
    pub(crate) closed: bool,
}

impl Place {
    /// The client's position after the gap that is due.
    fn standing(&self) -> u64 {
        self.gap_due.map_or(self.at, |(_, to)| to)
    }

    /// Whether a message that a request has brought is still to come.
    fn is_due(&self) -> bool {
        self.snapshot_due || self.gap_due.is_some() || self.at < self.promised.max(self.newest_due)
    }
}

/// The index in `truth` of a topic that was published.
fn place_of(truth: &Truth, name: &str) -> usize {
    let place = truth.iter().position(|topic| topic.name == name);
    place.expect("a topic that was published")
}

fn matches(pattern: &str, topic: &str) -> bool {
    let pattern: Pattern = pattern.parse().expect("a pattern");
    pattern.matches(topic)
}

impl Reader {
    /// Records a request that will be sent next.
    pub(crate) fn ask(&mut self, id: u64, asked: Asked) {
        self.asked.insert(id, asked);
    }

    /// The client's position in each of its topics, to resume from.
    pub(crate) fn positions(&self, truth: &Truth) -> Vec<Wanted> {
        let places = self.places.iter();
        places
            .map(|(topic, place)| (truth[*topic].name.to_owned(), Some((EPOCH.to_owned(), place.at))))
            .collect()
    }

    pub(crate) fn covers(&self, topic: &str) -> bool {
        self.patterns.keys().any(|pattern| matches(pattern, topic))
    }

    fn wants_every(&self, topic: &TopicTruth) -> bool {
        let mut asking = self.patterns.iter().filter(|(_, (every, _))| *every);
        topic.kind != Kind::State || asking.any(|(pattern, _)| matches(pattern, topic.name))
    }

    /// Reads one frame.
    pub(crate) fn read(&mut self, frame: &Frame, truth: &Truth) {
        let find = |name: &str| place_of(truth, name);
        match frame {
            Frame::Ping | Frame::Pong(_) => {}
            Frame::Close(..) => self.closed = true,
            Frame::Message(ServerMessage::Update { topic, seq, data, .. }) => {
                self.update(find(topic), seq.0, data.get(), truth);
            }
            Frame::Message(ServerMessage::Snapshot { topic, seq, data, .. }) => {
                self.snapshot(find(topic), seq.0, data.get(), truth);
            }
            Frame::Message(ServerMessage::Control(Control::Gap {
                topic,
                from,
                to,
                reason,
                ..
            })) => {
                self.gap(find(topic), from.0, to.0, *reason, truth);
            }
            Frame::Message(ServerMessage::Control(Control::Joined { topic, epoch, seq })) => {
                assert_eq!(epoch.as_str(), EPOCH);
                let place = self.places.get_mut(&find(topic));
                let place = place.unwrap_or_else(|| panic!("{topic} joined, which is not subscribed"));
                // An ack may have told the lineage too, while the topic did not exist.
                assert!(
                    !place.introduced || place.at == 0,
                    "{topic}: the lineage is told once"
                );
                assert_eq!(seq.0, place.at, "{topic}: it joins where it stands");
                place.introduced = true;
            }
            Frame::Message(ServerMessage::Control(Control::Synced { id })) => self.synced(id.0, truth),
            Frame::Message(ServerMessage::Control(Control::Status {
                topic, state, reason, ..
            })) => {
                let place = self
                    .places
                    .get_mut(&find(topic))
                    .expect("a status of what is subscribed");
                let told = (*state == TopicState::Stale, *reason);
                assert!(told.0 || told.1.is_none(), "{topic}: live for a reason");
                assert_ne!(place.told, told, "{topic}: told twice");
                place.told = told;
            }
            Frame::Message(ServerMessage::Control(Control::Ack { id, results })) => {
                self.ack(id.0, results, truth);
            }
            Frame::Message(ServerMessage::Control(Control::Error { id, code, .. })) => {
                assert_eq!(
                    *code,
                    ErrorCode::NotSubscribed,
                    "nothing else is refused as a whole"
                );
                let id = id.expect("an id").0;
                assert!(id > self.acked, "errors come in the order of the requests");
                self.acked = id;
                let Some(Asked::Resync(topic, _)) = self.asked.remove(&id) else {
                    panic!("only a resync is refused as a whole")
                };
                assert!(!self.covers(&topic), "{topic} is subscribed");
            }
            Frame::Message(other) => panic!("unexpected {other:?}"),
        }
    }

    fn ack(&mut self, id: u64, results: &[AckResult], truth: &Truth) {
        assert!(id > self.acked, "acks come in the order of the requests");
        self.acked = id;
        match self.asked.remove(&id).expect("an ack answers a request") {
            Asked::Subscribe {
                topics,
                mode,
                conflate_ms,
                snapshot,
                heads,
            } => {
                assert_eq!(results.len(), topics.len(), "one result per topic");
                let was_due: BTreeSet<usize> = self.due().collect();
                self.syncing.insert(id, BTreeSet::new());
                for (wanted, result) in topics.iter().zip(results) {
                    if mode == Some(Mode::Snapshot) {
                        assert_eq!(result.error.is_some(), conflate_ms > 0, "{result:?}");
                        if conflate_ms == 0 {
                            self.one_shot(id, &wanted.0, &heads, truth);
                        }
                    } else {
                        let pace = (mode, conflate_ms);
                        self.subscribed(wanted, pace, snapshot, &heads, result, truth);
                    }
                }
                self.brought(id, &was_due);
            }
            Asked::Unsubscribe(patterns) => self.unsubscribed(&patterns, results, truth),
            Asked::Resync(topic, heads) => {
                let was_due = self.due().collect();
                self.again(place_of(truth, &topic), &results[0], &heads, truth);
                self.brought(id, &was_due);
            }
        }
    }

    fn subscribed(
        &mut self,
        (pattern, since): &Wanted,
        (mode, conflate_ms): (Option<Mode>, u32),
        snapshot: bool,
        heads: &[u64],
        result: &AckResult,
        truth: &Truth,
    ) {
        let exact = truth.iter().position(|topic| topic.name == pattern);
        let known = self.patterns.contains_key(pattern);
        let flows = known || exact.is_some_and(|topic| heads[topic] > 0 && self.places.contains_key(&topic));
        let state = ["ticker", "candle"]
            .iter()
            .any(|first| pattern.starts_with(first));
        let conflate = mode == Some(Mode::Conflate) || conflate_ms > 0;
        let senseless = mode == Some(Mode::Every) && conflate_ms > 0;
        let refused = senseless || (conflate && !state) || (since.is_some() && flows);
        assert_eq!(
            result.error.as_ref().map(|e| e.code),
            refused.then_some(ErrorCode::BadRequest)
        );
        if refused {
            return;
        }
        let every = mode == Some(Mode::Every);
        self.patterns.insert(pattern.clone(), (every, conflate_ms));
        let every = truth.iter().map(|topic| self.wants_every(topic));
        let every: Vec<bool> = every.collect();
        let existing = (0..truth.len()).filter(|topic| matches(pattern, truth[*topic].name));
        for topic in existing.clone() {
            let new = !self.places.contains_key(&topic);
            let place = self.places.entry(topic).or_default();
            // From here on the subscription brings the topic's value.
            self.shots.entry(topic).and_modify(|owed| *owed = None);
            place.ever_every |= every[topic];
            place.ever_rated |= conflate_ms > 0;
            if new {
                place.at = heads[topic];
                place.book = (heads[topic] == 0).then(Levels::default);
                place.snapshot_due = snapshot && since.is_none() && heads[topic] > 0;
            }
        }
        let Some(topic) = exact else {
            let there = existing.filter(|topic| heads[*topic] > 0).count();
            assert_eq!(result.matched, Some(there), "{pattern}");
            return;
        };
        let every = mode == Some(Mode::Every) || truth[topic].kind != Kind::State;
        let granted = if every { Mode::Every } else { Mode::Conflate };
        assert_eq!(result.mode, Some(granted), "what it asks for itself: {result:?}");
        assert_eq!(result.conflate_ms, (!every).then_some(conflate_ms), "{result:?}");
        assert_eq!(
            result.epoch.as_ref().map(Epoch::as_str),
            Some(EPOCH),
            "{result:?}"
        );
        let seq = result.seq.expect("a number").0;
        self.places
            .entry(topic)
            .and_modify(|place| place.introduced = true);
        let Some((epoch, since)) = since else {
            assert_eq!(result.recovered, None);
            if flows {
                self.flowed(topic, seq, snapshot, heads, truth);
            } else {
                assert_eq!(seq, heads[topic], "it begins at the head");
            }
            return;
        };
        assert_eq!(seq, heads[topic], "it begins at the head");
        self.resumed(topic, epoch, *since, result, heads[topic], truth);
    }

    /// Handles a request for a topic that was live already.
    fn flowed(&mut self, topic: usize, seq: u64, snapshot: bool, heads: &[u64], truth: &Truth) {
        // Messages that it was behind with may have been dropped for an unsubscribe on its way.
        let left = |asked: &Asked| matches!(asked, Asked::Unsubscribe(names) if names.iter().any(|name| matches(name, truth[topic].name)));
        let leaving = self.asked.values().any(left);
        let place = self.places.get_mut(&topic).expect("it flows");
        let behind = leaving && seq >= place.standing();
        assert!(
            seq == place.standing() || behind,
            "{}: the ack of {seq} keeps its place behind {}",
            truth[topic].name,
            place.standing()
        );
        place.snapshot_due |= snapshot && heads[topic] > 0;
    }

    fn resumed(
        &mut self,
        topic: usize,
        epoch: &str,
        since: u64,
        result: &AckResult,
        head: u64,
        truth: &Truth,
    ) {
        let every = self.wants_every(&truth[topic]);
        let place = self.places.get_mut(&topic).expect("just subscribed");
        let same = epoch == EPOCH && since <= head;
        let kept = since + truth[topic].kept >= head;
        let lost = truth[topic].squeezed && result.recovered == Some(false) && since < head;
        let recovered = same && (!every || kept && !lost || since == head);
        assert_eq!(
            result.recovered,
            Some(recovered),
            "{} after {since} of {head}",
            truth[topic].name
        );
        if recovered {
            place.at = since;
            (place.promised, place.newest_due) = if every { (head, 0) } else { (0, head) };
            return;
        }
        let from = if same { since + 1 } else { 1 };
        if truth[topic].kind == Kind::Event {
            place.at = from - 1;
            place.gap_due = (head > 0).then_some((from, head));
        } else {
            place.snapshot_due = head > 0;
        }
    }

    /// The topics with a message still to come that a request has brought.
    fn due(&self) -> impl Iterator<Item = usize> + '_ {
        let due = self.places.iter().filter(|(_, place)| place.is_due());
        due.map(|(topic, _)| *topic)
    }

    /// Records what a request has brought that others, which brought `was_due`, had not.
    fn brought(&mut self, id: u64, was_due: &BTreeSet<usize>) {
        let new: BTreeSet<usize> = self.due().filter(|topic| !was_due.contains(topic)).collect();
        for topic in &new {
            self.places.entry(*topic).and_modify(|place| place.due_by = id);
        }
        if let Some(syncing) = self.syncing.get_mut(&id) {
            *syncing = new;
        }
    }

    /// Checks that everything that request `id` brought has come.
    fn synced(&mut self, id: u64, truth: &Truth) {
        let topics = self.syncing.remove(&id);
        for topic in topics.expect("what is synced was acked, and is once") {
            if let Some(place) = self.places.get(&topic) {
                let it = &truth[topic];
                let waits = place.is_due() && place.due_by <= id;
                assert!(!waits, "{}: {id} is synced before {place:?}", it.name);
            }
        }
        for (topic, owed_by) in &self.shots {
            assert_ne!(
                *owed_by,
                Some(id),
                "{}: {id} is synced before its snapshot",
                truth[*topic].name
            );
        }
    }

    fn one_shot(&mut self, id: u64, pattern: &str, heads: &[u64], truth: &Truth) {
        for topic in
            (0..truth.len()).filter(|topic| heads[*topic] > 0 && matches(pattern, truth[*topic].name))
        {
            if let Some(place) = self.places.get_mut(&topic) {
                place.introduced |= truth[topic].name == pattern;
                place.snapshot_due = true;
            } else {
                self.shots.entry(topic).or_default().get_or_insert(id);
            }
        }
    }

    fn again(&mut self, topic: usize, result: &AckResult, heads: &[u64], truth: &Truth) {
        let place = self
            .places
            .get_mut(&topic)
            .expect("a resync of what is subscribed");
        place.introduced = true;
        self.flowed(topic, result.seq.expect("a number").0, true, heads, truth);
    }

    fn unsubscribed(&mut self, patterns: &[String], results: &[AckResult], truth: &Truth) {
        assert_eq!(results.len(), patterns.len(), "one result per topic");
        for (pattern, result) in patterns.iter().zip(results) {
            let known = self.patterns.remove(pattern).is_some();
            let expected = (!known).then_some(ErrorCode::NotSubscribed);
            assert_eq!(result.error.as_ref().map(|e| e.code), expected, "{pattern}");
        }
        let left: BTreeSet<usize> = self
            .places
            .keys()
            .copied()
            .filter(|topic| !self.covers(truth[*topic].name))
            .collect();
        self.places.retain(|topic, _| !left.contains(topic));
        self.shots.retain(|topic, _| !left.contains(topic));
    }

    fn update(&mut self, topic: usize, seq: u64, data: &str, truth: &Truth) {
        let every = self.wants_every(&truth[topic]);
        let it = &truth[topic];
        let place = self.places.get_mut(&topic);
        let place = place.unwrap_or_else(|| panic!("{} {seq}, which is not subscribed", it.name));
        assert!(
            place.told != (true, None) || place.ever_rated,
            "{}: {seq} of a silent source",
            it.name
        );
        assert!(place.introduced, "{}: the lineage comes first", it.name);
        assert_eq!(place.gap_due, None, "{}: the gap comes first", it.name);
        assert_eq!(place.after_gap, None, "{}: a snapshot follows the gap", it.name);
        if place.snapshot_due && seq > place.promised {
            // The message at an event topic's position may be gone by the time that there is room. Then the snapshot is
            // that of the next message, behind it.
            let gone = it.kind == Kind::Event && (place.at == 0 || !it.reaches(place.at - 1));
            assert!(gone, "{}: the snapshot comes first", it.name);
        }
        if every {
            assert_eq!(seq, place.at + 1, "{}: every message, in order", it.name);
        } else {
            assert!(seq > place.at, "{}: {seq} after {}", it.name, place.at);
        }
        place.at = seq;
        if it.kind == Kind::Book {
            if let Some(book) = &mut place.book {
                apply(book, data);
                assert_eq!(*book, it.books[seq as usize], "{} at {seq}", it.name);
            }
        } else {
            assert_eq!(data, it.data(seq), "{} at {seq}", it.name);
        }
    }

    fn snapshot(&mut self, topic: usize, seq: u64, data: &str, truth: &Truth) {
        let it = &truth[topic];
        let mut book = Levels::default();
        if it.kind == Kind::Book {
            apply(&mut book, data);
            assert_eq!(book, it.books[seq as usize], "{} at {seq}", it.name);
        } else {
            assert_eq!(data, it.data(seq), "{} at {seq}", it.name);
        }
        let asked = self.shots.get_mut(&topic).map(|owed| *owed = None).is_some();
        let Some(place) = self.places.get_mut(&topic) else {
            assert!(asked, "a snapshot of {}, which is not subscribed", it.name);
            return;
        };
        let due = std::mem::take(&mut place.snapshot_due);
        place.introduced = true;
        assert!(
            due || asked || place.after_gap.is_some(),
            "{}: nobody asked for a snapshot",
            it.name
        );
        assert_eq!(place.gap_due, None, "{}: the gap comes first", it.name);
        if let Some(to) = place.after_gap.take() {
            assert_eq!(seq, to, "{}: the snapshot that ends a gap", it.name);
        }
        if it.kind == Kind::Event {
            assert_eq!(seq, place.at, "{}: an event's snapshot skips nothing", it.name);
        }
        assert!(
            seq >= place.at,
            "{}: a snapshot of {seq} after {}",
            it.name,
            place.at
        );
        assert!(place.promised <= place.at, "{}: the replay comes first", it.name);
        place.at = seq;
        place.book = Some(book);
    }

    fn gap(&mut self, topic: usize, from: u64, to: u64, reason: GapReason, truth: &Truth) {
        let it = &truth[topic];
        let place = self.places.get_mut(&topic);
        let place = place.unwrap_or_else(|| panic!("a gap of {}, which is not subscribed", it.name));
        // Between the gap and the snapshot of a book, the session may have begun to lag: then the gap is extended.
        let goes_on = place.after_gap.is_some();
        assert_eq!(
            from,
            place.at + 1,
            "{}: a gap begins where the client is",
            it.name
        );
        assert!(to >= from && to <= it.head, "{}: gap {from}..{to}", it.name);
        place.at = to;
        place.introduced = true;
        if let Some(due) = place.gap_due.take() {
            assert_eq!(
                (from, to),
                due,
                "{}: the gap that a refused resume means",
                it.name
            );
            assert_ne!(reason, GapReason::Slow);
            return;
        }
        assert_eq!(reason, GapReason::Slow);
        assert!(place.ever_every, "{}: conflated messages are no gap", it.name);
        assert!(from > place.promised, "{}: a replay was promised", it.name);
        if it.kind == Kind::Book {
            assert!(
                goes_on || !it.reaches(from - 1),
                "{}: {from} was still there",
                it.name
            );
            place.after_gap = Some(to);
        } else {
            assert!(!it.reaches(to - 1), "{}: {to} was still there", it.name);
        }
    }

    /// Checks what must be true after everything was delivered.
    pub(crate) fn finish(&self, truth: &Truth) {
        assert!(
            self.asked.is_empty(),
            "every request is answered: {:?}",
            self.asked
        );
        assert!(
            self.shots.values().all(Option::is_none),
            "every one-shot was sent: {:?}",
            self.shots
        );
        assert!(
            self.syncing.is_empty(),
            "every subscribe is synced: {:?}",
            self.syncing
        );
        for (topic, it) in truth.iter().enumerate() {
            assert_eq!(
                self.places.contains_key(&topic),
                self.covers(it.name),
                "{}",
                it.name
            );
        }
        for (topic, place) in &self.places {
            let it = &truth[*topic];
            assert_eq!(place.at, it.head, "{}: the client ends at the newest", it.name);
            assert_eq!(
                place.told, it.told,
                "{}: the client knows whether it is silent or in doubt",
                it.name
            );
            let open = place.gap_due.is_some() || place.after_gap.is_some() || place.snapshot_due;
            assert!(!open, "{}: {place:?}", it.name);
        }
    }
}

fn apply(levels: &mut Levels, data: &str) {
    let book: market::Book = serde_json::from_str(data).expect("a book");
    for (side, changes) in levels.iter_mut().zip([&book.bids, &book.asks]) {
        for level in changes {
            if level.size.is_zero() {
                side.remove(&level.price.to_string());
            } else {
                side.insert(level.price.to_string(), level.size.to_string());
            }
        }
    }
}
