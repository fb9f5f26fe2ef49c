//! The connections of a drain run: each counts its topics, is told, is closed, and comes back to another broker.

use std::time::Instant;

use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{AckResult, GapReason, Position, Since, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, CloseCode, Codec, Control, Epoch, Micros, RequestId, Seq, ServerMessage};

use crate::swarm::conn::{ConnId, Ending, Handler, Reply};
use crate::swarm::report::Faults;
use crate::trials::soak::scan::scan;

/// Topics of each client.
const TOPICS_EACH: usize = 2;

/// Where a client is in one of its topics.
#[derive(Debug, Clone, Default)]
struct Place {
    last: u64,
    /// Where it left the broker before, if it did and has not been told yet what became of it.
    undeclared: bool,
}

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    topics: Vec<String>,
    /// A client's places are together.
    places: Vec<Place>,
    /// The lineage that the places are of, once it is known.
    epoch: Option<Epoch>,
    /// The lineage that the clients come back with.
    before: Option<Epoch>,
    /// The newest number of each topic that any client has seen.
    newest: Vec<u64>,
    /// Whether each client was told of the drain.
    told: Vec<bool>,
    /// When clients were closed with 4000.
    pub(super) closes: Vec<Instant>,
    /// Messages by which a client was behind the foremost when it was closed, at most.
    pub(super) behind_max: u64,
    pub(super) updates: u64,
    /// Subscriptions that came back and were told exactly what became of them.
    pub(super) declared: u64,
    pub(super) faults: Faults,
}

impl Clients {
    /// Clients that know of nothing yet.
    pub(super) fn new(count: usize, topics: Vec<String>) -> Self {
        Self {
            places: vec![Place::default(); count * TOPICS_EACH],
            epoch: None,
            before: None,
            newest: vec![0; topics.len()],
            told: vec![false; count],
            closes: Vec::new(),
            behind_max: 0,
            updates: 0,
            declared: 0,
            faults: Faults::default(),
            topics,
        }
    }

    /// The same clients on their way back, with the positions that they have.
    pub(super) fn coming_back(&mut self) -> Self {
        let mut again = Self::new(self.told.len(), self.topics.clone());
        again.places = std::mem::take(&mut self.places);
        for place in &mut again.places {
            place.undeclared = true;
        }
        again.before = self.epoch.take();
        again
    }

    /// Clients that were told of the drain.
    pub(super) fn told(&self) -> usize {
        self.told.iter().filter(|told| **told).count()
    }

    /// Subscriptions of all clients.
    pub(super) fn subscriptions(&self) -> u64 {
        self.places.len() as u64
    }

    fn topic_of(&self, client: usize, nth: usize) -> usize {
        (client + nth) % self.topics.len()
    }

    /// Which of all places is that of a client's topic.
    fn place(&self, client: usize, topic: &[u8]) -> Option<usize> {
        let nth =
            (0..TOPICS_EACH).find(|nth| self.topics[self.topic_of(client, *nth)].as_bytes() == topic)?;
        Some(client * TOPICS_EACH + nth)
    }

    fn subscribe(&self, client: usize) -> Vec<u8> {
        let topics = (0..TOPICS_EACH).map(|nth| {
            let since = self.before.clone().map(|epoch| Position {
                epoch,
                seq: Seq(self.places[client * TOPICS_EACH + nth].last),
            });
            let topic = self.topics[self.topic_of(client, nth)].clone();
            TopicRequest::Since {
                topic,
                since: since.map(Since::One),
            }
        });
        let subscribe = ClientMessage::Subscribe(Subscribe {
            id: RequestId(1),
            topics: topics.collect(),
            mode: None,
            conflate_ms: None,
            snapshot: false,
        });
        let mut bytes = Vec::new();
        Codec::Json.encode_request(&subscribe, &mut bytes);
        bytes
    }

    fn update(&mut self, id: ConnId, topic: &[u8], seq: u64) {
        self.updates += 1;
        let Some(at) = self.place(id.0, topic) else {
            let text = format_args!("connection {}: {}", id.0, String::from_utf8_lossy(topic));
            return self.faults.add("not subscribed", text);
        };
        let place = &mut self.places[at];
        if place.undeclared {
            let text = format_args!("connection {}: message {seq} came first", id.0);
            self.faults.add("resume not declared", text);
            place.undeclared = false;
        } else if seq != place.last + 1 {
            let text = format_args!("connection {}: {seq} after {}", id.0, place.last);
            self.faults.add("hole or twice", text);
        }
        place.last = seq;
        let topic = self.topic_of(id.0, at % TOPICS_EACH);
        self.newest[topic] = self.newest[topic].max(seq);
    }

    fn acked(&mut self, id: ConnId, results: &[AckResult]) {
        for result in results {
            let (Some(at), Some(epoch), Some(seq)) = (
                self.place(id.0, result.topic.as_bytes()),
                &result.epoch,
                result.seq,
            ) else {
                let text = format_args!("connection {}: {result:?}", id.0);
                self.faults.add("refused", text);
                continue;
            };
            self.epoch.get_or_insert_with(|| epoch.clone());
            let place = &mut self.places[at];
            if place.undeclared {
                if result.recovered != Some(false) || self.before.as_ref() == Some(epoch) {
                    let text = format_args!("connection {}: {result:?}", id.0);
                    self.faults.add("resume not declared", text);
                }
                if seq == Seq::ZERO {
                    // Nothing was published there yet: nothing can be missing, and the ack says it all.
                    place.undeclared = false;
                    self.declared += 1;
                }
            }
            place.last = seq.0;
        }
    }

    fn gap(&mut self, id: ConnId, topic: &str, to: Seq, reason: GapReason) {
        let at = self.place(id.0, topic.as_bytes());
        match at.map(|at| &mut self.places[at]) {
            Some(place) if place.undeclared && reason == GapReason::Epoch => {
                place.undeclared = false;
                place.last = to.0;
                self.declared += 1;
            }
            _ => {
                let text = format_args!("connection {}: {topic} up to {to}, {reason:?}", id.0);
                self.faults.add("gap", text);
            }
        }
    }

    fn control(&mut self, id: ConnId, control: &Control, reply: &mut Reply<'_>) {
        match control {
            Control::Welcome { .. } => reply.text(&self.subscribe(id.0)),
            Control::Ack { results, .. } => {
                self.acked(id, results);
                reply.settle();
            }
            Control::Gap {
                topic, to, reason, ..
            } => self.gap(id, topic, *to, *reason),
            Control::Drain { .. } => {
                if std::mem::replace(&mut self.told[id.0], true) {
                    self.faults.add("told twice", format_args!("connection {}", id.0));
                }
            }
            Control::Heartbeat { .. }
            | Control::Status { .. }
            | Control::Joined { .. }
            | Control::Synced { .. } => {}
            other => {
                let text = format_args!("connection {}: {other:?}", id.0);
                self.faults.add("unexpected message", text);
            }
        }
    }
}

impl Handler for Clients {
    #[inline]
    fn message(&mut self, id: ConnId, message: &[u8], _received: Micros, reply: &mut Reply<'_>) {
        if let Some(head) = scan(message).filter(|head| head.op == DataOp::Update) {
            return self.update(id, head.topic, head.seq);
        }
        match Codec::Json.decode_server(message) {
            Ok(ServerMessage::Control(control)) => self.control(id, &control, reply),
            Ok(other) => {
                let text = format_args!("connection {}: {other:?}", id.0);
                self.faults.add("unexpected message", text);
            }
            Err(error) => self.faults.add("unreadable message", error),
        }
    }

    fn ended(&mut self, id: ConnId, ending: &Ending) {
        let number = id.0;
        match ending {
            Ending::Finished => {}
            Ending::Closed {
                code: Some(CloseCode::DRAIN),
                ..
            } if self.told[number] => {
                self.closes.push(Instant::now());
                for nth in 0..TOPICS_EACH {
                    let newest = self.newest[self.topic_of(number, nth)];
                    let behind = newest.saturating_sub(self.places[number * TOPICS_EACH + nth].last);
                    self.behind_max = self.behind_max.max(behind);
                }
            }
            _ => {
                let text = format_args!("connection {number}, told {}: {ending}", self.told[number]);
                self.faults.add("not closed by the drain", text);
            }
        }
    }
}
