//! Very many subscribers of Tickwire, in JSON. Each checks the number of every message that it gets.
//!
//! Reader n has some topics that follow one another in a list. The larger n, the further on in the list they begin. It
//! subscribes to them after the welcome, and is ready after the ack. Each reader has a [`Checker`] of the client. What
//! breaks a promise of the protocol is a fault, and so is a refusal, an unexpected message or a gap: readers here are
//! fast, and slow ones take only the newest. A trial that wants to know more about the messages watches them ([`Watch`]).
//! Connection 0 may be a publisher, whose acks tell what there is to receive.
//!
//! Memory: some two hundred bytes for each topic of each reader; nothing is queued.

use std::fmt::Display;

use rustc_hash::FxHashMap;
use tickwire_client::promise::{BrokenPromise, Checker};
use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{AckResult, GapReason, Since, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Epoch, Micros, Mode, RequestId, Seq, ServerMessage};

use crate::swarm::conn::{ConnId, Ending, Handler, Reply};
use crate::swarm::head::Head;
use crate::swarm::report::Faults;
use crate::swarm::watch::{Came, Watch};

/// The connection that publishes, if there is one.
pub(crate) const PUBLISHER: ConnId = ConnId(0);
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    pub(crate) readers: usize,
    pub(crate) topics: Vec<String>,
    pub(crate) topics_each: usize,
    /// How much further on in the list the topics of a reader begin than those of the reader before.
    pub(crate) apart: usize,
    /// Whether connection 0 publishes. The readers come after it then.
    pub(crate) publishes: bool,
    /// The mode in which readers subscribe; without it, that of each topic's kind.
    pub(crate) mode: Option<Mode>,
}

impl Layout {
    pub(crate) fn connections(&self) -> usize {
        self.readers + usize::from(self.publishes)
    }

    pub(crate) fn topic(&self, reader: usize, place: usize) -> usize {
        (reader * self.apart + place) % self.topics.len()
    }

    fn place(&self, reader: usize, topic: usize) -> Option<usize> {
        let (topics, first) = (self.topics.len(), self.topic(reader, 0));
        let place = (topic + topics - first) % topics;
        (place < self.topics_each).then_some(place)
    }
}

/// How far a reader has come in one of its topics.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The last message that came or that a gap named.
    last: u64,
    /// Whether it takes only the newest message.
    newest_only: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) updates: u64,
    /// The bytes of updates and snapshots.
    pub(crate) bytes: u64,
    /// Messages that newer ones replaced for readers of the newest.
    pub(crate) conflated: u64,
    /// Messages that gaps named.
    pub(crate) gapped: u64,
    /// Messages that are missing and that nothing named.
    pub(crate) missing: u64,
    /// Connections that ended without being asked to.
    pub(crate) closes: u64,
}

#[derive(Debug)]
pub(crate) struct Readers<W> {
    pub(crate) layout: Layout,
    numbers: FxHashMap<Box<[u8]>, usize>,
    checkers: Vec<Checker>,
    /// Those of a reader are together.
    places: Vec<Place>,
    /// The newest number of each topic that the broker has acknowledged to the publisher.
    pub(crate) newest: Vec<u64>,
    /// How many messages the broker has acknowledged to the publisher.
    pub(crate) published: u64,
    pub(crate) counts: Counts,
    /// The epoch of the numbers, once an ack told it.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) faults: Faults,
    pub(crate) watch: W,
}

impl<W: Watch> Readers<W> {
    /// The readers of `layout`, before anything has come.
    pub(crate) fn new(layout: Layout, watch: W) -> Self {
        let numbered = layout.topics.iter().enumerate();
        Self {
            numbers: numbered
                .map(|(number, topic)| (topic.as_bytes().into(), number))
                .collect(),
            checkers: std::iter::repeat_with(Checker::new)
                .take(layout.readers)
                .collect(),
            places: vec![Place::default(); layout.readers * layout.topics_each],
            newest: vec![0; layout.topics.len()],
            published: 0,
            counts: Counts::default(),
            epoch: None,
            faults: Faults::default(),
            watch,
            layout,
        }
    }

    pub(crate) fn last(&self, reader: usize, place: usize) -> u64 {
        self.places[reader * self.layout.topics_each + place].last
    }

    /// Whether the publisher got acks for `published` messages and every reader has the newest message of each of its
    /// topics.
    pub(crate) fn have_all(&self, published: u64) -> bool {
        self.published == published && self.behind().next().is_none()
    }

    /// Counts what has not come as missing.
    pub(crate) fn settle(&mut self) {
        let behind: Vec<(usize, u64)> = self.behind().collect();
        for (reader, count) in behind {
            self.counts.missing += count;
            self.fault(reader, "missing", format_args!("the last {count} messages"));
        }
    }

    /// The readers that have not got all messages of a topic, and how many they lack.
    fn behind(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let each = self.layout.topics_each;
        self.places.iter().enumerate().filter_map(move |(at, place)| {
            let newest = self.newest[self.layout.topic(at / each, at % each)];
            let lacks = newest.saturating_sub(place.last);
            (lacks > 0).then_some((at / each, lacks))
        })
    }

    /// The reader of a connection; `None` for the publisher's.
    fn reader(&self, id: ConnId) -> Option<usize> {
        id.0.checked_sub(usize::from(self.layout.publishes))
    }

    /// The number of a topic, and the place at which a reader has it, if it has subscribed to it.
    #[inline]
    fn find(&mut self, reader: usize, topic: &[u8]) -> Option<(usize, usize)> {
        let number = self.numbers.get(topic).copied();
        let found = number.and_then(|number| Some((number, self.layout.place(reader, number)?)));
        if found.is_none() {
            let topic = String::from_utf8_lossy(topic);
            self.fault(reader, "never subscribed", topic);
        }
        found
    }

    fn place(&mut self, reader: usize, place: usize) -> &mut Place {
        &mut self.places[reader * self.layout.topics_each + place]
    }

    fn fault(&mut self, reader: usize, kind: &'static str, what: impl Display) {
        self.faults.add(kind, format_args!("reader {reader}: {what}"));
    }

    #[inline]
    fn checked(&mut self, reader: usize, checked: Result<(), BrokenPromise>) {
        if let Err(broken) = checked {
            self.fault(reader, "broken promise", broken);
        }
    }

    fn subscribe(&mut self, reader: usize) -> Vec<u8> {
        let topics = (0..self.layout.topics_each).map(|place| {
            let topic = self.layout.topics[self.layout.topic(reader, place)].clone();
            match self.watch.since(reader, place) {
                None => TopicRequest::Pattern(topic),
                since => TopicRequest::Since {
                    topic,
                    since: since.map(Since::One),
                },
            }
        });
        let request = ClientMessage::Subscribe(Subscribe {
            id: RequestId(1),
            topics: topics.collect(),
            mode: self.layout.mode,
            conflate_ms: None,
            snapshot: false,
        });
        self.checkers[reader].sent(&request);
        let mut bytes = Vec::new();
        Codec::Json.encode_request(&request, &mut bytes);
        bytes
    }

    #[inline]
    fn data(&mut self, reader: usize, head: Head<'_>, message: &[u8], received: Micros) {
        let Some((topic, place)) = self.find(reader, head.topic) else {
            return;
        };
        self.counts.bytes += message.len() as u64;
        match head.op {
            // Snapshots are rare.
            DataOp::Snapshot => drop(self.decoded(reader, message)),
            DataOp::Update => {
                let name = &self.layout.topics[topic];
                let checked = self.checkers[reader].update(name, Seq(head.seq));
                self.checked(reader, checked);
                let last = self.place(reader, place);
                let skipped = head.seq.saturating_sub(last.last + 1);
                match last.newest_only {
                    true => self.counts.conflated += skipped,
                    false => self.counts.missing += skipped,
                }
                self.counts.updates += 1;
            }
        }
        let last = self.place(reader, place);
        last.last = last.last.max(head.seq);
        let came = Came {
            reader,
            topic,
            head,
            late_us: received.0.saturating_sub(head.ts()),
            message,
        };
        self.watch.came(came, &mut self.faults);
    }

    /// Decodes a message of a reader and checks it.
    fn decoded(&mut self, reader: usize, message: &[u8]) -> Option<ServerMessage> {
        match Codec::Json.decode_server(message) {
            Ok(decoded) => {
                let checked = self.checkers[reader].received(&decoded);
                self.checked(reader, checked);
                Some(decoded)
            }
            Err(error) => {
                self.fault(reader, "unreadable message", error);
                None
            }
        }
    }

    fn of_publisher(&mut self, control: Control, reply: &mut Reply<'_>) {
        match control {
            Control::Welcome { .. } => reply.settle(),
            Control::Ack { results, .. } => {
                for result in results {
                    if let Some(refusal) = &result.error {
                        self.faults.add("refused", format_args!("publisher: {refusal}"));
                    }
                    if let (Some(topic), Some(seq)) = (self.numbers.get(result.topic.as_bytes()), result.seq)
                    {
                        self.newest[*topic] = seq.0;
                        self.published += 1;
                    }
                }
            }
            Control::Heartbeat { .. } | Control::Synced { .. } => {}
            other => self
                .faults
                .add("unexpected message", format_args!("publisher: {other:?}")),
        }
    }

    fn control(&mut self, reader: usize, control: Control, reply: &mut Reply<'_>) {
        match control {
            Control::Welcome { .. } => reply.text(&self.subscribe(reader)),
            Control::Ack { results, .. } => {
                results.iter().for_each(|result| self.acked(reader, result));
                reply.settle();
            }
            Control::Gap {
                topic,
                from,
                to,
                reason,
                ..
            } => self.gap(reader, &topic, from, to, reason),
            Control::Heartbeat { .. }
            | Control::Status { .. }
            | Control::Joined { .. }
            | Control::Synced { .. } => {}
            other => {
                if !self.watch.other(reader, &other, &mut self.faults) {
                    self.fault(reader, "unexpected message", format_args!("{other:?}"));
                }
            }
        }
    }

    fn acked(&mut self, reader: usize, result: &AckResult) {
        let Some(seq) = result.seq.filter(|_| result.error.is_none()) else {
            return self.fault(reader, "refused", format_args!("{result:?}"));
        };
        let Some((_, place)) = self.find(reader, result.topic.as_bytes()) else {
            return;
        };
        self.epoch = result.epoch.clone().or(self.epoch.take());
        *self.place(reader, place) = Place {
            last: seq.0,
            newest_only: !matches!(result.mode, Some(Mode::Every) | None),
        };
        self.watch.acked(reader, result, &mut self.faults);
    }

    fn gap(&mut self, reader: usize, topic: &str, from: Seq, to: Seq, reason: GapReason) {
        let Some((_, place)) = self.find(reader, topic.as_bytes()) else {
            return;
        };
        self.place(reader, place).last = to.0;
        if !self.watch.gap(reason) {
            self.counts.gapped += (to.0 + 1).saturating_sub(from.0);
            self.fault(reader, "gap", format_args!("{topic}: {from} to {to}, {reason:?}"));
        }
    }
}

impl<W: Watch> Handler for Readers<W> {
    #[inline]
    fn message(&mut self, id: ConnId, message: &[u8], received: Micros, reply: &mut Reply<'_>) {
        let reader = self.reader(id);
        if let (Some(reader), Some(head)) = (reader, Head::of(message)) {
            return self.data(reader, head, message, received);
        }
        let decoded = match reader {
            Some(reader) => self.decoded(reader, message),
            None => Codec::Json.decode_server(message).ok(),
        };
        match (decoded, reader) {
            (Some(ServerMessage::Control(control)), Some(reader)) => self.control(reader, control, reply),
            (Some(ServerMessage::Control(control)), None) => self.of_publisher(control, reply),
            (None, Some(_)) => {}
            (other, _) => {
                let text = format_args!("connection {}: {other:?}", id.0);
                self.faults.add("unexpected message", text);
            }
        }
    }

    fn ended(&mut self, id: ConnId, ending: &Ending) {
        let expected = match self.reader(id) {
            Some(reader) => self.watch.ended(reader, ending, &mut self.faults),
            None => false,
        };
        if !expected && !matches!(ending, Ending::Finished) {
            self.counts.closes += 1;
            self.faults
                .add("connection ended", format_args!("connection {}: {ending}", id.0));
        }
    }

    fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }
}

#[cfg(test)]
pub(crate) mod tests;
