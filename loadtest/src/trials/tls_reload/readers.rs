//! The connections of a run: one that publishes, and readers of one topic each, which check every number.

use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Micros, Mode, RequestId, ServerMessage};

use crate::swarm::conn::{ConnId, Ending, Handler, Reply};
use crate::swarm::report::Faults;
use crate::trials::soak::scan::scan;

/// The connection that publishes.
pub(super) const PUBLISHER: ConnId = ConnId(0);

/// The name of a topic, of which every message counts.
pub(super) fn topic_name(topic: usize) -> String {
    format!("load.T{topic}")
}

/// All connections.
#[derive(Debug)]
pub(super) struct Readers {
    /// The newest number of each topic that the broker has acknowledged to the publisher.
    acked: Vec<u64>,
    /// Acknowledged messages.
    pub(super) published: u64,
    /// The last number that each reader has.
    last: Vec<u64>,
    pub(super) updates: u64,
    /// Messages that a reader should have got and did not.
    pub(super) missing: u64,
    /// Connections that ended without being asked to.
    pub(super) dropped: u64,
    pub(super) faults: Faults,
}

impl Readers {
    /// So many readers, of so many topics together.
    pub(super) fn new(readers: usize, topics: usize) -> Self {
        Self {
            acked: vec![0; topics],
            published: 0,
            last: vec![0; readers],
            updates: 0,
            missing: 0,
            dropped: 0,
            faults: Faults::default(),
        }
    }

    /// Whether so many messages were acknowledged and every reader has all of its topic.
    pub(super) fn have_all(&self, published: u64) -> bool {
        self.published == published && self.behind().next().is_none()
    }

    /// Counts what has not come as missing.
    pub(super) fn settle(&mut self) {
        let behind: Vec<(usize, u64)> = self.behind().collect();
        for (reader, count) in behind {
            self.missing += count;
            let text = format_args!("reader {reader}: the last {count} messages");
            self.faults.add("missing", text);
        }
    }

    /// Readers that have not got all, and how many messages they lack.
    fn behind(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let lacks = |(reader, last): (usize, &u64)| {
            let newest = self.acked[reader % self.acked.len()];
            (newest > *last).then(|| (reader, newest - last))
        };
        self.last.iter().enumerate().filter_map(lacks)
    }

    fn data(&mut self, reader: usize, name: &[u8], seq: u64) {
        let topic = reader % self.acked.len();
        if name != topic_name(topic).as_bytes() {
            let name = String::from_utf8_lossy(name);
            self.faults
                .add("never subscribed", format_args!("reader {reader}: {name}"));
            return;
        }
        self.updates += 1;
        let last = &mut self.last[reader];
        match seq.checked_sub(*last) {
            Some(1) => {}
            None | Some(0) => {
                let text = format_args!("reader {reader}: {seq} after {last}");
                self.faults.add("backward or twice", text);
                return;
            }
            Some(step) => {
                self.missing += step - 1;
                self.faults
                    .add("missing", format_args!("reader {reader}: {seq} after {last}"));
            }
        }
        *last = seq;
    }

    fn control(&mut self, id: ConnId, control: &Control, reply: &mut Reply<'_>) {
        match control {
            Control::Welcome { .. } if id == PUBLISHER => reply.settle(),
            Control::Welcome { .. } => {
                let topic = (id.0 - 1) % self.acked.len();
                let subscribe = ClientMessage::Subscribe(Subscribe {
                    id: RequestId(1),
                    topics: vec![TopicRequest::Pattern(topic_name(topic))],
                    mode: Some(Mode::Every),
                    conflate_ms: None,
                    snapshot: false,
                });
                let mut request = Vec::new();
                Codec::Json.encode_request(&subscribe, &mut request);
                reply.text(&request);
            }
            Control::Ack { results, .. } => {
                for result in results {
                    if let Some(refusal) = &result.error {
                        self.faults
                            .add("refused", format_args!("connection {}: {refusal}", id.0));
                    }
                    let seq = result.seq.unwrap_or_default().0;
                    if id != PUBLISHER {
                        self.last[id.0 - 1] = seq;
                        reply.settle();
                    } else if let Some(topic) =
                        (0..self.acked.len()).find(|topic| topic_name(*topic) == result.topic)
                    {
                        self.acked[topic] = seq;
                        self.published += 1;
                    }
                }
            }
            Control::Heartbeat { .. } | Control::Joined { .. } | Control::Synced { .. } => {}
            other => {
                let text = format_args!("connection {}: {other:?}", id.0);
                self.faults.add("unexpected message", text);
            }
        }
    }
}

impl Handler for Readers {
    fn message(&mut self, id: ConnId, message: &[u8], _: Micros, reply: &mut Reply<'_>) {
        if let Some(head) = scan(message).filter(|head| head.op == DataOp::Update && id != PUBLISHER) {
            return self.data(id.0 - 1, head.topic, head.seq);
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
        if !matches!(ending, Ending::Finished) {
            self.dropped += 1;
            let text = format_args!("connection {}: {ending}", id.0);
            self.faults.add("connection ended", text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(readers: &mut Readers, seq: u64) {
        let message = format!(r#"{{"op":"update","topic":"load.T1","seq":{seq},"ts":1,"data":1}}"#);
        let (mut out, mut settled) = (Vec::new(), false);
        let mut reply = Reply::new(&mut out, &mut settled);
        // Reader 3 has the second of two topics.
        readers.message(ConnId(4), message.as_bytes(), Micros(5), &mut reply);
    }

    #[test]
    fn what_is_missing_is_counted() {
        let mut readers = Readers::new(4, 2);
        update(&mut readers, 1);
        update(&mut readers, 2);
        assert_eq!((readers.missing, readers.faults.count()), (0, 0));
        update(&mut readers, 5);
        assert_eq!((readers.missing, readers.faults.count()), (2, 1));
        update(&mut readers, 5);
        assert_eq!((readers.missing, readers.faults.count()), (2, 2));
        // Reader 1 has the same topic and got nothing.
        readers.acked[1] = 7;
        readers.published = 7;
        assert!(!readers.have_all(7));
        readers.settle();
        assert_eq!(readers.missing, 2 + 7 + 2);
    }
}
