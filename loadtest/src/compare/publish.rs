//! Publishers that never wait: what a published message costs the server.
//!
//! Each publisher sends to all topics in turn, over WebSocket as fast as the server takes it, or in bulk over HTTP, where the next
//! request follows the answer to the one before. Subscribers have one of the topics, and check it. So much is on its way that the
//! server always has work, and never more than [`ON_THE_WAY_MAX`].
//!
//! The measured time begins and ends with a server that has taken everything: each publisher's last message is one that a subscriber
//! gets, and a connection keeps its order. So what was sent was taken. Tickwire's own count must say the same.

use std::time::{Duration, Instant};

use crate::compare::measure::{Begin, Per};
use crate::compare::template::{Digits, Template};
use crate::compare::{DRAIN_WITHIN, Figure, Measured, Rig, Setup, bulk, measured};
use crate::swarm::{ConnId, Reply, grouped};

/// Most messages that are sent and not yet read, as far as the subscribers can tell.
const ON_THE_WAY_MAX: u64 = 65_536;
/// The time between two looks at the server's count.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many messages a publisher sends in one call.
const BATCH: u64 = 256;

impl Setup<'_> {
    /// Publishes as much as the server takes.
    pub(super) fn publish(&self) -> anyhow::Result<Measured> {
        let mut rig = self.open()?;
        let mut publishers = Publishers::new(&rig)?;
        let mut missed = publishers.publish(&mut rig, self.warmup())?;
        let sent = rig.sent;
        let begin = Begin::now(&rig, Per::Message)?;
        missed += publishers.publish(&mut rig, self.seconds())?;
        let mut figures = begin.end(&rig)?;
        let taken = rig.sent - sent;
        check_count(&mut rig)?;
        let crowd = &mut rig.swarm.handler;
        if self.scenario.bulk && crowd.posted.iter().sum::<u64>() != rig.sent {
            let text = format_args!("{:?} were answered of {}", crowd.posted, grouped(rig.sent));
            crowd.faults.add("lost without a word", text);
        }
        if missed > 0 {
            let text = format_args!("{} deliveries", grouped(missed));
            crowd.faults.add("lost without a word", text);
        }
        if let Some(each) = figures.get(Figure::ServerCpuPerMessage) {
            figures.set(Figure::PerCpuSecond, 1e6 / each);
        }
        figures.set(Figure::Taken, taken as f64);
        figures.set(Figure::Missed, missed as f64);
        measured(rig, figures)
    }
}

/// Checks that the server counts what was sent, if it counts. Its count may be a little behind.
fn check_count(rig: &mut Rig) -> anyhow::Result<()> {
    let until = Instant::now() + DRAIN_WITHIN;
    while let Some(counted) = rig.counted()? {
        if counted == rig.sent {
            break;
        }
        if Instant::now() > until {
            let (counted, sent) = (grouped(counted), grouped(rig.sent));
            let text = format_args!("the server says {counted} messages were published of {sent}");
            rig.swarm.handler.faults.add("lost without a word", text);
            break;
        }
        rig.swarm.turn_for(LOOK_EVERY)?;
    }
    Ok(())
}

/// The publishers, and what they send.
struct Publishers {
    /// A message to each topic, by the number of the topic.
    templates: Vec<Template>,
    /// The number of the next message.
    next: u64,
    /// How many messages each has sent.
    sent: Vec<u64>,
    bulk: bool,
    /// Most deliveries that are due and have not come.
    due_max: u64,
    /// The lines of a request.
    lines: Vec<u8>,
}

impl Publishers {
    fn new(rig: &Rig) -> anyhow::Result<Self> {
        let (protocol, script, topics) = (rig.protocol, rig.script.clone(), rig.topics.len() as u64);
        let bulk = rig.scenario.bulk;
        let template = |topic: u64| {
            let name = &rig.topics[topic as usize];
            Template::new(|due, number| {
                let (mut payload, mut message, mut out) = (Vec::new(), Vec::new(), Vec::new());
                script.payload(topic).write(due, number, &mut payload);
                if bulk {
                    bulk::line(name, &payload, &mut out);
                    return out;
                }
                let opcode = protocol.publish(name, &payload, &mut message);
                match protocol.bare() {
                    Some(_) => message,
                    None => {
                        Reply::new(&mut out, &mut false).message(opcode, &message);
                        out
                    }
                }
            })
        };
        let deliveries: u64 = (0..topics).map(|topic| rig.readers(topic)).sum();
        Ok(Self {
            templates: (0..topics).map(template).collect::<Result<_, _>>()?,
            next: 0,
            sent: vec![0; rig.scenario.publishers as usize],
            bulk,
            due_max: (ON_THE_WAY_MAX * deliveries / topics).max(1),
            lines: Vec::new(),
        })
    }

    /// Publishes for some time, and then until the server has taken everything. Returns how many deliveries are missing.
    fn publish(&mut self, rig: &mut Rig, time: Duration) -> anyhow::Result<u64> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            for publisher in 0..self.sent.len() {
                let is_free = self.is_free(rig, publisher);
                if is_free && rig.expected - rig.delivered() < self.due_max {
                    self.send(rig, publisher, if self.bulk { bulk::LINES } else { BATCH });
                }
            }
            rig.turn()?;
        }
        for publisher in 0..self.sent.len() {
            // Every topic comes before the message that is read: the first one's.
            self.next = self.next.next_multiple_of(self.templates.len() as u64);
            self.send(rig, publisher, 1);
        }
        let missed = rig.drain(DRAIN_WITHIN)?;
        let until = Instant::now() + DRAIN_WITHIN;
        while self.bulk && rig.swarm.handler.posted != self.sent && Instant::now() < until {
            rig.turn()?;
        }
        Ok(missed)
    }

    /// Whether a publisher may send: the kernel has taken everything before, and everything posted was answered.
    fn is_free(&self, rig: &Rig, publisher: usize) -> bool {
        match self.bulk {
            true => rig.swarm.handler.posted[publisher] == self.sent[publisher],
            false => rig.swarm.waiting(ConnId(publisher)) == 0,
        }
    }

    fn send(&mut self, rig: &mut Rig, publisher: usize, count: u64) {
        let began = Instant::now();
        let due = Digits::of(rig.clock.now().0);
        self.lines.clear();
        for number in self.next..self.next + count {
            let topic = number % self.templates.len() as u64;
            self.templates[topic as usize].fill(due, Digits::of(number), &mut self.lines);
            rig.expected += rig.readers(number);
        }
        let mut head = Vec::new();
        if self.bulk {
            bulk::head(self.lines.len(), &mut head);
        }
        rig.swarm.send_all(ConnId(publisher), |reply| {
            reply.ready_made(&head);
            reply.ready_made(&self.lines);
        });
        self.next += count;
        self.sent[publisher] += count;
        rig.sent += count;
        rig.busy += began.elapsed();
    }
}
