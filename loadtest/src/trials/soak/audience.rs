//! The subscribers of a soak: each checks every message that it gets.
//!
//! The head of each data message is read and its number checked; every so many messages, and all of some books, are
//! decoded in full. Topics have their state in a table per subscriber; their names are held once for all. Nothing is
//! queued. Memory: some tens of bytes per subscriber and topic, and the books that are rebuilt.

use std::sync::Arc;

use hdrhistogram::Histogram;
use rustc_hash::{FxHashMap, FxHashSet};
use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{AckResult, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Micros, Mode, Pattern, RequestId, ServerMessage};

use super::content;
use super::mix::Wish;
use super::scan::{Head, scan};
use super::track::{Disorder, Track};
use crate::swarm::conn::{ConnId, Ending, Handler, Reply};
use crate::swarm::report::Faults;

/// Topics of one request: well below the broker's longest message.
const TOPICS_PER_REQUEST: usize = 500;
/// Longest latency that is told from longer ones.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Time beyond two heartbeats after which a subscriber that hears nothing is a fault.
const SILENCE_MARGIN_US: u64 = 5_000_000;

/// What was counted since [`Audience::begin`]; what is a fault, from the start.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(super) struct Counts {
    pub(super) updates: u64,
    pub(super) snapshots: u64,
    /// Bytes of these messages.
    pub(super) bytes: u64,
    /// Messages that were conflated away, as they may be.
    pub(super) skipped: u64,
    /// Messages that gaps named as missing.
    pub(super) gapped: u64,
    pub(super) gaps: u64,
    /// Messages that are missing and that no gap named.
    pub(super) missing: u64,
    pub(super) heartbeats: u64,
    /// Connections that ended.
    pub(super) closes: u64,
    /// Messages that were decoded in full.
    pub(super) decoded: u64,
    /// Changes and snapshots of books that were applied and whose checksum was right.
    pub(super) books_verified: u64,
    /// Data messages in another layout than the broker's own.
    pub(super) other_layout: u64,
}

#[derive(Debug)]
struct Subscriber {
    wish: Wish,
    /// Topics whose books are rebuilt.
    follows: Vec<String>,
    unacked: usize,
    topics: FxHashMap<Arc<[u8]>, Track>,
    /// Patterns that were acked, and whether each of their messages must come.
    patterns: Vec<(Pattern, bool)>,
    heartbeat_ms: u64,
    /// When something was last received; 0 once that no longer matters.
    heard: Micros,
    updates: u64,
}

/// All subscribers.
#[derive(Debug)]
pub(super) struct Audience {
    subscribers: Vec<Subscriber>,
    /// Topics' names, held once.
    names: FxHashSet<Arc<[u8]>>,
    /// Data messages between two that are decoded in full.
    decode_every: u64,
    decode_in: u64,
    measuring: bool,
    pub(super) counts: Counts,
    /// From a message's entry into the broker to its being read here, in microseconds.
    pub(super) latency_us: Histogram<u64>,
    pub(super) faults: Faults,
}

impl Audience {
    /// Subscribers with these wishes. Of the first `books` of them, one book each is rebuilt.
    ///
    /// # Errors
    /// Never with the bounds that are used here.
    pub(super) fn new(wishes: Vec<Wish>, decode_every: u64, books: usize) -> anyhow::Result<Self> {
        let subscriber = |(number, wish): (usize, Wish)| Subscriber {
            follows: wish
                .topics
                .iter()
                .filter(|topic| number < books && topic.starts_with("book."))
                .take(1)
                .cloned()
                .collect(),
            wish,
            unacked: 0,
            topics: FxHashMap::default(),
            patterns: Vec::new(),
            heartbeat_ms: 0,
            heard: Micros(0),
            updates: 0,
        };
        Ok(Self {
            subscribers: wishes.into_iter().enumerate().map(subscriber).collect(),
            names: FxHashSet::default(),
            decode_every,
            decode_in: decode_every,
            measuring: false,
            counts: Counts::default(),
            latency_us: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?,
            faults: Faults::default(),
        })
    }

    /// From now on, what is no fault counts too.
    pub(super) fn begin(&mut self) {
        self.measuring = true;
        let Counts {
            gapped,
            gaps,
            missing,
            closes,
            ..
        } = self.counts;
        self.counts = Counts {
            gapped,
            gaps,
            missing,
            closes,
            ..Counts::default()
        };
        self.latency_us.reset();
        self.subscribers
            .iter_mut()
            .for_each(|subscriber| subscriber.updates = 0);
    }

    /// Fewest and most updates of a subscriber.
    pub(super) fn updates_range(&self) -> (u64, u64) {
        let updates = || self.subscribers.iter().map(|subscriber| subscriber.updates);
        (updates().min().unwrap_or(0), updates().max().unwrap_or(0))
    }

    /// Topics that are known, over all subscribers.
    pub(super) fn topics(&self) -> usize {
        self.subscribers
            .iter()
            .map(|subscriber| subscriber.topics.len())
            .sum()
    }

    /// Finds the subscribers that have heard nothing for too long.
    pub(super) fn find_silent(&mut self, now: Micros) {
        for (number, subscriber) in self.subscribers.iter_mut().enumerate() {
            let max_us = subscriber.heartbeat_ms * 2_000 + SILENCE_MARGIN_US;
            let silent_us = now.since(subscriber.heard);
            if subscriber.heard != Micros(0) && silent_us > max_us {
                let text = format_args!(
                    "subscriber {number} has heard nothing for {} ms",
                    silent_us / 1_000
                );
                self.faults.add("silence", text);
                subscriber.heard = Micros(0);
            }
        }
    }

    /// Checks a data message.
    #[inline]
    fn data(&mut self, id: ConnId, head: Head<'_>, message: &[u8], received: Micros) {
        let subscriber = &mut self.subscribers[id.0];
        let track = match subscriber.topics.get_mut(head.topic) {
            Some(track) => track,
            None => match subscriber.join(head.topic, &mut self.names) {
                Some(track) => track,
                None => {
                    let topic = String::from_utf8_lossy(head.topic);
                    self.faults
                        .add("never subscribed", format_args!("subscriber {}: {topic}", id.0));
                    return;
                }
            },
        };
        self.counts.bytes += message.len() as u64;
        let ordered = match head.op {
            DataOp::Update => {
                self.counts.updates += 1;
                if self.measuring {
                    self.latency_us
                        .saturating_record(received.0.saturating_sub(head.ts));
                }
                track.update(head.seq)
            }
            DataOp::Snapshot => {
                self.counts.snapshots += 1;
                track.snapshot(head.seq).map(|()| 0)
            }
        };
        match ordered {
            Ok(skipped) => self.counts.skipped += skipped,
            Err(disorder) => disordered(&mut self.counts, &mut self.faults, id, head.topic, disorder),
        }
        self.decode_in -= 1;
        if self.decode_in == 0 || track.book.is_some() {
            self.counts.decoded += 1;
            match content::check(head, message, track.book.as_deref_mut()) {
                Ok(()) => self.counts.books_verified += u64::from(track.book.is_some()),
                Err(fault) => {
                    let topic = String::from_utf8_lossy(head.topic);
                    self.faults
                        .add("content", format_args!("subscriber {}: {topic}: {fault}", id.0));
                }
            }
        }
        if self.decode_in == 0 {
            self.decode_in = self.decode_every;
        }
        subscriber.updates += u64::from(head.op == DataOp::Update);
    }

    /// Takes a message that is not data in the broker's own layout.
    fn other(&mut self, id: ConnId, message: &[u8], received: Micros, reply: &mut Reply<'_>) {
        let head = |op, topic, seq, ts| Head { op, topic, seq, ts };
        match Codec::Json.decode_server(message) {
            Ok(ServerMessage::Control(control)) => self.control(id, control, reply),
            Ok(ServerMessage::Update { topic, seq, ts, .. }) => {
                self.counts.other_layout += 1;
                self.data(
                    id,
                    head(DataOp::Update, topic.as_bytes(), seq.0, ts.0),
                    message,
                    received,
                );
            }
            Ok(ServerMessage::Snapshot { topic, seq, ts, .. }) => {
                self.counts.other_layout += 1;
                self.data(
                    id,
                    head(DataOp::Snapshot, topic.as_bytes(), seq.0, ts.0),
                    message,
                    received,
                );
            }
            Ok(ServerMessage::Unknown(_)) => {}
            Err(error) => self
                .faults
                .add("unreadable message", format_args!("subscriber {}: {error}", id.0)),
        }
    }

    fn control(&mut self, id: ConnId, control: Control, reply: &mut Reply<'_>) {
        let subscriber = &mut self.subscribers[id.0];
        match control {
            Control::Welcome { heartbeat_ms, .. }
                if subscriber.unacked == 0 && subscriber.heartbeat_ms == 0 =>
            {
                subscriber.heartbeat_ms = heartbeat_ms.max(1);
                let requests = subscriber.wish.requests();
                subscriber.unacked = requests.len();
                requests.iter().for_each(|request| reply.text(request));
            }
            Control::Ack { results, .. } if subscriber.unacked > 0 => {
                for result in &results {
                    if let Err(fault) = subscriber.acked(result, &mut self.names) {
                        self.faults
                            .add("refused", format_args!("subscriber {}: {fault}", id.0));
                    }
                }
                subscriber.unacked -= 1;
                if subscriber.unacked == 0 {
                    reply.settle();
                }
            }
            Control::Gap {
                topic,
                from,
                to,
                reason,
                ..
            } => {
                self.counts.gaps += 1;
                self.counts.gapped += (to.0 + 1).saturating_sub(from.0);
                let text = format_args!("subscriber {}: {topic}: {from} to {to}, {reason:?}", id.0);
                self.faults.add("gap", text);
                let Some(track) = subscriber.topics.get_mut(topic.as_bytes()) else {
                    return;
                };
                if let Err(disorder) = track.gap(from.0, to.0) {
                    disordered(&mut self.counts, &mut self.faults, id, topic.as_bytes(), disorder);
                }
            }
            Control::Heartbeat { .. } => self.counts.heartbeats += 1,
            Control::Status { .. } | Control::Joined { .. } | Control::Synced { .. } => {}
            other => self.faults.add(
                "unexpected message",
                format_args!("subscriber {}: {other:?}", id.0),
            ),
        }
    }
}

impl Handler for Audience {
    #[inline]
    fn message(&mut self, id: ConnId, message: &[u8], received: Micros, reply: &mut Reply<'_>) {
        self.subscribers[id.0].heard = received;
        match scan(message) {
            Some(head) => self.data(id, head, message, received),
            None => self.other(id, message, received, reply),
        }
    }

    fn ended(&mut self, id: ConnId, ending: &Ending) {
        self.subscribers[id.0].heard = Micros(0);
        if !matches!(ending, Ending::Finished) {
            self.counts.closes += 1;
            self.faults
                .add("connection ended", format_args!("subscriber {}: {ending}", id.0));
        }
    }
}

impl Subscriber {
    /// Takes one result of an ack.
    fn acked(&mut self, result: &AckResult, names: &mut FxHashSet<Arc<[u8]>>) -> Result<(), String> {
        if let Some(refusal) = &result.error {
            return Err(format!("{}: {refusal}", result.topic));
        }
        let mode = result
            .mode
            .ok_or_else(|| format!("the ack of {} names no mode", result.topic))?;
        let every = mode == Mode::Every;
        if let Some(pattern) = self
            .wish
            .patterns
            .iter()
            .find(|pattern| pattern.as_str() == result.topic)
        {
            self.patterns.push((pattern.clone(), every));
            return Ok(());
        }
        let seq = result
            .seq
            .ok_or_else(|| format!("the ack of {} names no number", result.topic))?;
        let name = interned(names, result.topic.as_bytes());
        let track = self
            .topics
            .entry(name)
            .or_insert_with_key(|name| Track::new(name, every));
        track.acked(seq.0, every);
        if self.follows.contains(&result.topic) {
            track.book = Some(Box::default());
        }
        Ok(())
    }

    /// A topic that came for the first time, if a pattern brought it.
    fn join(&mut self, topic: &[u8], names: &mut FxHashSet<Arc<[u8]>>) -> Option<&mut Track> {
        let text = std::str::from_utf8(topic).ok()?;
        let (_, every) = self.patterns.iter().find(|(pattern, _)| pattern.matches(text))?;
        let track = Track::new(topic, *every);
        Some(self.topics.entry(interned(names, topic)).or_insert(track))
    }
}

impl Wish {
    /// The requests that ask for it: first the topics, then the patterns.
    fn requests(&self) -> Vec<Vec<u8>> {
        let patterns: Vec<String> = self.patterns.iter().map(ToString::to_string).collect();
        let parts = self
            .topics
            .chunks(TOPICS_PER_REQUEST)
            .chain(patterns.chunks(TOPICS_PER_REQUEST));
        let request = |(number, topics): (usize, &[String])| {
            let mut text = Vec::new();
            let request = ClientMessage::Subscribe(Subscribe {
                id: RequestId(number as u64 + 1),
                topics: topics.iter().cloned().map(TopicRequest::Pattern).collect(),
                mode: None,
                conflate_ms: None,
                snapshot: true,
            });
            Codec::Json.encode_request(&request, &mut text);
            text
        };
        parts.enumerate().map(request).collect()
    }
}

/// The one copy of a topic's name.
fn interned(names: &mut FxHashSet<Arc<[u8]>>, topic: &[u8]) -> Arc<[u8]> {
    if let Some(name) = names.get(topic) {
        return name.clone();
    }
    let name: Arc<[u8]> = topic.into();
    names.insert(name.clone());
    name
}

#[cold]
fn disordered(counts: &mut Counts, faults: &mut Faults, id: ConnId, topic: &[u8], disorder: Disorder) {
    if let Disorder::Missing { expected, got } = disorder {
        counts.missing += got - expected;
    }
    let topic = String::from_utf8_lossy(topic);
    faults.add("order", format_args!("subscriber {}: {topic}: {disorder}", id.0));
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const WELCOME: &str = r#"{"op":"welcome","session":"s","server":"t","ts":1,"heartbeat_ms":15000,
        "limits":{"subscriptions":8,"message_bytes":65536,"ops_per_s":50}}"#;
    const ACKS: [&str; 2] = [
        r#"{"op":"ack","id":1,"results":[{"topic":"chat.A","epoch":"e","seq":5,"mode":"every"},
            {"topic":"bbo.A","epoch":"e","seq":5,"mode":"conflate","conflate_ms":0}]}"#,
        r#"{"op":"ack","id":2,"results":[{"topic":"x.*","matched":0,"mode":"every"}]}"#,
    ];

    fn audience() -> Audience {
        let wish = Wish {
            topics: vec!["chat.A".to_owned(), "bbo.A".to_owned()],
            patterns: vec!["x.*".parse().expect("a pattern")],
        };
        let mut audience = Audience::new(vec![wish], 1_000, 0).expect("good bounds");
        let mut out = Vec::new();
        let mut settled = false;
        for (message, ready) in [(WELCOME, false), (ACKS[0], false), (ACKS[1], true)] {
            let mut reply = Reply::new(&mut out, &mut settled);
            audience.message(ConnId(0), message.as_bytes(), Micros(1), &mut reply);
            assert_eq!(settled, ready);
        }
        audience.begin();
        audience
    }

    #[track_caller]
    fn check(messages: &[&str], expected: &Expect) {
        let mut audience = audience();
        let (mut out, mut settled) = (Vec::new(), true);
        for message in messages {
            let mut reply = Reply::new(&mut out, &mut settled);
            audience.message(ConnId(0), message.as_bytes(), Micros(20), &mut reply);
        }
        let Counts {
            updates,
            skipped,
            gapped,
            missing,
            ..
        } = audience.counts;
        let faults = serde_json::to_string(&audience.faults).expect("serialises");
        expected.assert_eq(&format!(
            "{updates} updates, {skipped} skipped, {gapped} gapped, {missing} missing {faults}"
        ));
    }

    #[test]
    fn messages_are_checked() {
        let chat = |seq| format!(r#"{{"op":"update","topic":"chat.A","seq":{seq},"ts":9,"data":1}}"#);
        check(
            &[&chat(6), &chat(7)],
            &expect!["2 updates, 0 skipped, 0 gapped, 0 missing {}"],
        );
        check(
            &[&chat(6), &chat(9)],
            &expect![[
                r#"2 updates, 0 skipped, 0 gapped, 2 missing {"order":{"count":1,"examples":["subscriber 0: chat.A: 9 came where 7 was due: 2 silently missing"]}}"#
            ]],
        );
        let bbo = r#"{"op":"update","topic":"bbo.A","seq":9,"ts":9,"data":1}"#;
        check(&[bbo], &expect!["1 updates, 3 skipped, 0 gapped, 0 missing {}"]);
        let gap = r#"{"op":"gap","topic":"chat.A","epoch":"e","from":6,"to":8,"reason":"slow"}"#;
        check(
            &[gap, &chat(9)],
            &expect![[
                r#"1 updates, 0 skipped, 3 gapped, 0 missing {"gap":{"count":1,"examples":["subscriber 0: chat.A: 6 to 8, Slow"]}}"#
            ]],
        );
        let joined = r#"{"op":"update","topic":"x.B","seq":70,"ts":9,"data":1}"#;
        let other = r#"{"op":"update","topic":"y.B","seq":70,"ts":9,"data":1}"#;
        check(
            &[joined, other],
            &expect![[
                r#"1 updates, 0 skipped, 0 gapped, 0 missing {"never subscribed":{"count":1,"examples":["subscriber 0: y.B"]}}"#
            ]],
        );
        let reordered = r#"{"op":"update","seq":6,"ts":9,"topic":"chat.A","data":1}"#;
        check(
            &[reordered],
            &expect!["1 updates, 0 skipped, 0 gapped, 0 missing {}"],
        );
    }

    #[test]
    fn silence_is_found_once() {
        let mut audience = audience();
        for (now, count) in [(35_000_001, 0), (35_000_002, 1), (99_000_000, 1)] {
            audience.find_silent(Micros(now));
            assert_eq!(audience.faults.count(), count, "at {now}");
        }
    }
}
