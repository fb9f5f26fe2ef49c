//! Very many subscribers of Tickwire, in JSON. Each checks the number of every message that it gets.
//!
//! Reader n has some topics that follow one another in a list. The larger n, the further on in the list they begin. It
//! subscribes to them after the welcome, and is ready after the ack. What the protocol does not allow (`audit`) is a
//! fault: a number that is not the next one of a topic where every message counts, an old number, a message of a topic
//! without a subscription, a refusal, or an unexpected message. A gap is a fault too: readers here are fast, and slow
//! ones take only the newest. A trial that wants to know more about the messages watches them ([`Watch`]). Connection 0
//! may be a publisher, whose acks tell what there is to receive.
//!
//! Memory: some tens of bytes for each topic of each reader; nothing is queued.

use std::fmt::Display;

use hdrhistogram::Histogram;
use rustc_hash::FxHashMap;
use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{AckResult, GapReason, Since, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Epoch, Micros, Mode, RequestId, Seq, ServerMessage};

use crate::swarm::audit::{Audit, Sums, Way};
use crate::swarm::conn::{ConnId, Ending, Handler, Reply};
use crate::swarm::head::Head;
use crate::swarm::report::Faults;
use crate::swarm::watch::{Came, Watch};

/// The connection that publishes, if there is one.
pub(crate) const PUBLISHER: ConnId = ConnId(0);
/// Longest latency that is distinguished, in microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;
/// A connection that hears nothing for this time beyond two heartbeats is a fault.
const SILENCE_MARGIN_US: u64 = 5_000_000;

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
    pub(crate) snapshot: bool,
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

/// Counts besides the sums over the topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) updates: u64,
    /// The bytes of updates and snapshots.
    pub(crate) bytes: u64,
    pub(crate) heartbeats: u64,
    /// Connections that ended without being asked to.
    pub(crate) closes: u64,
}

#[derive(Debug)]
pub(crate) struct Readers<W> {
    pub(crate) layout: Layout,
    numbers: FxHashMap<Box<[u8]>, usize>,
    /// The account of each topic of each reader. Those of a reader are together.
    audits: Vec<Audit>,
    /// The newest number of each topic that the broker has acknowledged to the publisher.
    pub(crate) newest: Vec<u64>,
    /// How many messages the broker has acknowledged to the publisher.
    pub(crate) published: u64,
    pub(crate) counts: Counts,
    pub(crate) sums: Sums,
    heartbeat_ms: u64,
    /// When each connection last heard something; 0 before, and once it no longer matters.
    heard: Vec<Micros>,
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
            audits: vec![Audit::new(Way::Every); layout.readers * layout.topics_each],
            newest: vec![0; layout.topics.len()],
            published: 0,
            counts: Counts::default(),
            sums: Sums::default(),
            heartbeat_ms: 0,
            heard: vec![Micros(0); layout.connections()],
            epoch: None,
            faults: Faults::default(),
            watch,
            layout,
        }
    }

    pub(crate) fn last(&self, reader: usize, place: usize) -> u64 {
        self.audits[reader * self.layout.topics_each + place].last()
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
            self.sums.undeclared += count;
            let text = format_args!("reader {reader}: the last {count} messages");
            self.faults.add("missing", text);
        }
    }

    /// Finds the connections that have heard nothing for too long.
    pub(crate) fn find_silent(&mut self, now: Micros) {
        let max_us = self.heartbeat_ms * 2_000 + SILENCE_MARGIN_US;
        for (number, heard) in self.heard.iter_mut().enumerate() {
            let silent_us = now.since(*heard);
            if *heard != Micros(0) && silent_us > max_us {
                let text = format_args!(
                    "connection {number} has heard nothing for {} ms",
                    silent_us / 1_000
                );
                self.faults.add("silence", text);
                *heard = Micros(0);
            }
        }
    }

    /// The readers that have not got all messages of a topic, and how many they lack.
    fn behind(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let each = self.layout.topics_each;
        self.audits.iter().enumerate().filter_map(move |(at, audit)| {
            let newest = self.newest[self.layout.topic(at / each, at % each)];
            newest
                .checked_sub(audit.last())
                .filter(|lacks| *lacks > 0)
                .map(|lacks| (at / each, lacks))
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
            self.faults
                .add("never subscribed", format_args!("reader {reader}: {topic}"));
        }
        found
    }

    fn audit(&mut self, reader: usize, place: usize) -> &mut Audit {
        &mut self.audits[reader * self.layout.topics_each + place]
    }

    /// Records `what` came in the account of a reader's topic. What should not have come is a fault.
    #[inline]
    fn account(
        &mut self,
        reader: usize,
        place: usize,
        what: impl Display,
        account: impl FnOnce(&mut Audit, &mut Sums),
    ) {
        let audit = &mut self.audits[reader * self.layout.topics_each + place];
        let (last, before) = (audit.last(), self.sums.broken());
        account(audit, &mut self.sums);
        if self.sums.broken() > before {
            let topic = &self.layout.topics[self.layout.topic(reader, place)];
            let text = format_args!("reader {reader}: {topic}: {what} after {last}");
            self.faults.add("order", text);
        }
    }

    fn subscribe(&self, reader: usize) -> Vec<u8> {
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
            snapshot: self.layout.snapshot,
        });
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
        self.counts.updates += u64::from(head.op == DataOp::Update);
        self.account(reader, place, head.seq, |audit, sums| match head.op {
            DataOp::Update => audit.update(head.seq, sums),
            DataOp::Snapshot => audit.snapshot(head.seq, sums),
        });
        let came = Came {
            reader,
            place,
            topic,
            head,
            late_us: received.0.saturating_sub(head.ts()),
            message,
        };
        self.watch.came(came, &mut self.faults);
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
            Control::Welcome { heartbeat_ms, .. } => {
                self.heartbeat_ms = heartbeat_ms;
                reply.text(&self.subscribe(reader));
            }
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
            Control::Heartbeat { .. } => self.counts.heartbeats += 1,
            Control::Status { .. } | Control::Joined { .. } | Control::Synced { .. } => {}
            other => {
                if !self.watch.other(reader, &other, &mut self.faults) {
                    self.faults
                        .add("unexpected message", format_args!("reader {reader}: {other:?}"));
                }
            }
        }
    }

    fn acked(&mut self, reader: usize, result: &AckResult) {
        if result.seq.is_none() || result.error.is_some() {
            let text = format_args!("reader {reader}: {result:?}");
            return self.faults.add("refused", text);
        }
        let Some((_, place)) = self.find(reader, result.topic.as_bytes()) else {
            return;
        };
        self.epoch = result.epoch.clone().or(self.epoch.take());
        self.audit(reader, place).way = match result.mode {
            Some(Mode::Every) if result.topic.starts_with("book.") => Way::Book,
            Some(Mode::Every) | None => Way::Every,
            Some(_) => Way::Conflate,
        };
        self.account(reader, place, "the ack", |audit, sums| audit.acked(result, sums));
        self.watch.acked(reader, place, result, &mut self.faults);
    }

    fn gap(&mut self, reader: usize, topic: &str, from: Seq, to: Seq, reason: GapReason) {
        let Some((_, place)) = self.find(reader, topic.as_bytes()) else {
            return;
        };
        if self.watch.gap(reader, place, reason) {
            self.audit(reader, place).goes_on_after(to.0);
            return;
        }
        let text = format_args!("reader {reader}: {topic}: {from} to {to}, {reason:?}");
        self.faults.add("gap", text);
        self.account(reader, place, format_args!("gap from {from}"), |audit, sums| {
            audit.gap(from.0, to.0, reason, sums);
        });
    }
}

impl<W: Watch> Handler for Readers<W> {
    #[inline]
    fn message(&mut self, id: ConnId, message: &[u8], received: Micros, reply: &mut Reply<'_>) {
        self.heard[id.0] = received;
        let reader = self.reader(id);
        if let (Some(reader), Some(head)) = (reader, Head::of(message)) {
            return self.data(reader, head, message, received);
        }
        match (Codec::Json.decode_server(message), reader) {
            (Ok(ServerMessage::Control(control)), Some(reader)) => self.control(reader, control, reply),
            (Ok(ServerMessage::Control(control)), None) => self.of_publisher(control, reply),
            (Ok(other), _) => {
                let text = format_args!("connection {}: {other:?}", id.0);
                self.faults.add("unexpected message", text);
            }
            (Err(error), _) => {
                self.faults
                    .add("unreadable message", format_args!("connection {}: {error}", id.0));
            }
        }
    }

    fn ended(&mut self, id: ConnId, ending: &Ending) {
        self.heard[id.0] = Micros(0);
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

pub(crate) fn latencies() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?)
}

#[cfg(test)]
pub(crate) mod tests;
