//! The connections of a stall run: one that publishes, and readers, of which the last ones stop and go on.
//!
//! Each reader counts what comes of each of its topics and what was skipped. While a stopped reader catches up, its messages
//! are told apart: what was in the kernel's buffers when it went on is older than that moment; everything behind it must
//! not be.

use hdrhistogram::Histogram;
use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Micros, Mode, RequestId, ServerMessage};

use crate::swarm::conn::{ConnId, Ending, Handler, Reply};
use crate::swarm::report::Faults;
use crate::trials::soak::scan::scan;

/// The connection that publishes.
pub(super) const PUBLISHER: ConnId = ConnId(0);
/// Longest latency that is told from longer ones.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Which connections and topics there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Readers; connection 0 is the publisher.
    pub(super) readers: usize,
    /// The last so many of them stop.
    pub(super) stopped: usize,
    pub(super) topics: usize,
    pub(super) topics_each: usize,
}

impl Layout {
    /// The first connection that stops.
    pub(super) fn first_stopped(&self) -> usize {
        1 + self.readers - self.stopped
    }

    /// The topics of a reader, by place.
    fn topics_of(&self, reader: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.topics_each).map(move |place| (reader + place) % self.topics)
    }

    /// At which place a reader has a topic, if it has it.
    fn place(&self, reader: usize, topic: usize) -> Option<usize> {
        let place = (topic + self.topics - reader % self.topics) % self.topics;
        (place < self.topics_each).then_some(place)
    }
}

/// The name of a topic.
pub(super) fn topic_name(topic: usize) -> String {
    format!("ticker.S{topic}")
}

fn topic_number(name: &[u8]) -> Option<usize> {
    let digits = name.strip_prefix(b"ticker.S")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A stopped reader that goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CatchUp {
    /// Bytes of WebSocket frames read since it went on.
    read_bytes: u64,
    /// Of these, the ones before the first message that is as new as the moment at which it went on.
    pub(super) stale_bytes: u64,
    pub(super) stale_messages: u64,
    /// Whether that message has come.
    pub(super) fresh: bool,
}

/// A time after which stopped readers go on.
#[derive(Debug)]
struct Resumed {
    /// The newest number of each topic at that moment, as the broker had acknowledged it.
    newest: Vec<u64>,
    /// The most that the kernel then held for one of the connections, in bytes.
    kernel_bytes_max: u64,
    readers: Vec<CatchUp>,
}

/// What is being measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    Unmeasured,
    /// Healthy readers while all read.
    Calm,
    /// Healthy readers while the others stand still.
    Stalled,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Readers {
    layout: Layout,
    pub(super) phase: Phase,
    /// The last number of each reader's topics; a reader's are together.
    last: Vec<u64>,
    /// The newest number of each topic that the broker has acknowledged to the publisher.
    pub(super) acked: Vec<u64>,
    resumed: Option<Resumed>,
    /// From a message's entry into the broker to its being read here, by healthy readers.
    pub(super) calm_us: Histogram<u64>,
    pub(super) stalled_us: Histogram<u64>,
    pub(super) updates: u64,
    /// Messages that a newer one replaced, as the numbers show.
    pub(super) skipped: u64,
    pub(super) faults: Faults,
}

impl Readers {
    /// Readers that know of nothing yet.
    ///
    /// # Errors
    /// Never with the bounds that are used here.
    pub(super) fn new(layout: Layout) -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
        Ok(Self {
            layout,
            phase: Phase::Unmeasured,
            last: vec![0; layout.readers * layout.topics_each],
            acked: vec![0; layout.topics],
            resumed: None,
            calm_us: histogram()?,
            stalled_us: histogram()?,
            updates: 0,
            skipped: 0,
            faults: Faults::default(),
        })
    }

    /// The stopped readers go on now.
    pub(super) fn resume(&mut self, kernel_bytes_max: u64) {
        self.resumed = Some(Resumed {
            newest: self.acked.clone(),
            kernel_bytes_max,
            readers: vec![CatchUp::default(); self.layout.stopped],
        });
    }

    /// How far the readers are that were stopped.
    pub(super) fn catching_up(&self) -> &[CatchUp] {
        self.resumed.as_ref().map_or(&[], |resumed| &resumed.readers)
    }

    fn subscribe(&self, reader: usize) -> Vec<u8> {
        let mut request = Vec::new();
        let topics = self.layout.topics_of(reader);
        let subscribe = ClientMessage::Subscribe(Subscribe {
            id: RequestId(1),
            topics: topics
                .map(|topic| TopicRequest::Pattern(topic_name(topic)))
                .collect(),
            mode: Some(Mode::Conflate),
            conflate_ms: None,
            snapshot: false,
        });
        Codec::Json.encode_request(&subscribe, &mut request);
        request
    }

    fn data(&mut self, id: ConnId, name: &[u8], seq: u64, ts: u64, length: usize, received: Micros) {
        let reader = id.0 - 1;
        let topic = topic_number(name);
        let place = topic.and_then(|topic| self.layout.place(reader, topic));
        let (Some(topic), Some(place)) = (topic, place) else {
            let name = String::from_utf8_lossy(name);
            self.faults
                .add("never subscribed", format_args!("reader {reader}: {name}"));
            return;
        };
        self.updates += 1;
        let last = &mut self.last[reader * self.layout.topics_each + place];
        match seq.checked_sub(*last) {
            None | Some(0) => {
                let text = format_args!("reader {reader}: {seq} after {last}");
                self.faults.add("backward or twice", text);
            }
            Some(step) => {
                self.skipped += step - 1;
                *last = seq;
            }
        }
        let first_stopped = self.layout.first_stopped();
        if id.0 < first_stopped {
            let late_us = received.0.saturating_sub(ts);
            match self.phase {
                Phase::Unmeasured => {}
                Phase::Calm => self.calm_us.saturating_record(late_us),
                Phase::Stalled => self.stalled_us.saturating_record(late_us),
            }
        } else if let Some(resumed) = &mut self.resumed {
            let newest = resumed.newest[topic];
            let catch_up = &mut resumed.readers[id.0 - first_stopped];
            let begins = catch_up.read_bytes;
            catch_up.read_bytes += frame_bytes(length);
            if seq >= newest {
                catch_up.fresh = true;
                return;
            }
            catch_up.stale_messages += 1;
            catch_up.stale_bytes = catch_up.read_bytes;
            if begins >= resumed.kernel_bytes_max {
                let kernel = resumed.kernel_bytes_max;
                let text = format_args!(
                    "reader {reader}: {seq} of topic {topic} after {begins} bytes, {newest} was the newest when \
                     it went on and the kernel held at most {kernel} bytes"
                );
                self.faults.add("stale beyond the kernel's buffers", text);
            }
        }
    }

    fn control(&mut self, id: ConnId, control: &Control, reply: &mut Reply<'_>) {
        match control {
            Control::Welcome { .. } if id == PUBLISHER => reply.settle(),
            Control::Welcome { .. } => reply.text(&self.subscribe(id.0 - 1)),
            Control::Ack { results, .. } => {
                for result in results {
                    if let Some(refusal) = &result.error {
                        self.faults
                            .add("refused", format_args!("connection {}: {refusal}", id.0));
                    }
                    let topic = topic_number(result.topic.as_bytes());
                    let seq = result.seq.unwrap_or_default().0;
                    match topic {
                        Some(topic) if id == PUBLISHER && topic < self.acked.len() => self.acked[topic] = seq,
                        Some(topic) if id != PUBLISHER => {
                            if let Some(place) = self.layout.place(id.0 - 1, topic) {
                                self.last[(id.0 - 1) * self.layout.topics_each + place] = seq;
                            }
                        }
                        _ => {}
                    }
                }
                if id != PUBLISHER {
                    reply.settle();
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

impl Handler for Readers {
    #[inline]
    fn message(&mut self, id: ConnId, message: &[u8], received: Micros, reply: &mut Reply<'_>) {
        if let Some(head) = scan(message).filter(|head| head.op == DataOp::Update) {
            return self.data(id, head.topic, head.seq, head.ts, message.len(), received);
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
            let number = id.0;
            self.faults
                .add("connection ended", format_args!("connection {number}: {ending}"));
        }
    }
}

/// The bytes of a server's frame with so long a payload (RFC 6455 §5.2).
fn frame_bytes(payload: usize) -> u64 {
    let head = match payload {
        0..126 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    (head + payload) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        readers: 10,
        stopped: 2,
        topics: 4,
        topics_each: 2,
    };

    #[test]
    fn each_reader_has_its_topics_at_their_places() {
        for reader in 0..10 {
            let topics: Vec<usize> = LAYOUT.topics_of(reader).collect();
            assert_eq!(topics.len(), 2);
            for topic in 0..4 {
                let place = topics.iter().position(|own| *own == topic);
                assert_eq!(LAYOUT.place(reader, topic), place, "{reader} {topic}");
                assert_eq!(topic_number(topic_name(topic).as_bytes()), Some(topic));
            }
        }
    }

    fn readers() -> Readers {
        Readers::new(LAYOUT).expect("bounds")
    }

    /// An update of topic 0, which reader 8, connection 9, has; it is the first that stops.
    fn update(readers: &mut Readers, seq: u64) {
        let message = format!(
            r#"{{"op":"update","topic":"ticker.S0","seq":{seq},"ts":1,"data":"{}"}}"#,
            "x".repeat(100)
        );
        let (mut out, mut settled) = (Vec::new(), false);
        let mut reply = Reply::new(&mut out, &mut settled);
        readers.message(ConnId(9), message.as_bytes(), Micros(5), &mut reply);
    }

    #[test]
    fn what_was_in_the_kernel_may_be_old_and_what_follows_may_not() {
        // The second of two old messages begins behind the first, at 160 bytes and some.
        for (kernel_bytes_max, stale) in [(400, 0), (100, 1)] {
            let mut readers = readers();
            (1..=3).for_each(|seq| update(&mut readers, seq));
            readers.acked[0] = 50;
            readers.resume(kernel_bytes_max);
            update(&mut readers, 4);
            update(&mut readers, 5);
            assert!(!readers.catching_up()[0].fresh);
            update(&mut readers, 50);
            let caught = readers.catching_up()[0];
            assert!(caught.fresh && caught.stale_messages == 2 && caught.stale_bytes > 300);
            assert_eq!((readers.skipped, readers.updates), (44, 6));
            assert_eq!(readers.faults.count(), stale, "{:?}", readers.faults);
        }
    }

    #[test]
    fn frames_have_heads() {
        for (payload, bytes) in [(0, 2), (125, 127), (126, 130), (65_535, 65_539), (65_536, 65_546)] {
            assert_eq!(frame_bytes(payload), bytes);
        }
    }
}
