//! All connections of a comparison: publishers and very many subscribers, for any peer.
//!
//! The first connections publish; in most scenarios that is one. The others subscribe, and settle when the server has confirmed every topic. Every delivery
//! is counted. Where the protocol numbers messages (Tickwire), every number must follow the one before; a `gap`
//! accounts for exactly what it names.

use std::fmt::Display;
use std::ops::Range;
use std::rc::Rc;

use rustc_hash::FxHashMap;
use tickwire_wire::message::{Position, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Epoch, Micros, RequestId, Seq};

use crate::compare::{Message, Numbered, Protocol, Scenario, Script, Tally, bulk};
use crate::swarm::{Clock, ConnId, Ending, Faults, Handler, Reply};

/// The connection that publishes, where only one does.
pub(crate) const PUBLISHER: ConnId = ConnId(0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Connecting,
    AwaitsGreeting,
    AwaitsConfirmation,
    Ready,
    Ended,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    step: Step,
    /// How many subscriptions the server has not confirmed yet.
    unconfirmed: u32,
    first_topic: u32,
}

/// The connections, and what is known about them.
pub(crate) struct Crowd {
    pub(crate) tally: Tally,
    pub(crate) faults: Faults,
    /// How many messages gaps named.
    pub(crate) gapped: u64,
    /// How many subscriptions were resumed without loss.
    pub(crate) recovered: u64,
    /// How many subscriptions were resumed with a loss that a gap or a snapshot told.
    pub(crate) started_over: u64,
    /// How many messages were lost without a gap; `None` before this was checked.
    pub(crate) lost_silently: Option<u64>,
    protocol: &'static dyn Protocol,
    pub(super) scenario: Scenario,
    skips: bool,
    clock: Clock,
    members: Vec<Member>,
    /// The last number of each topic of each subscriber; 0 before the first.
    pub(super) seqs: Vec<u64>,
    /// The lineage of each topic, once an ack told it.
    epochs: FxHashMap<u32, Epoch>,
    /// How many of Tickwire's numbers did not follow the one before.
    pub(crate) misnumbered: u64,
    /// How many messages the server says it has published of each publisher's bulk publications.
    pub(crate) posted: Vec<u64>,
    /// Connections whose deliveries are not counted, since they do not read.
    pub(crate) uncounted: Range<usize>,
}

impl Crowd {
    /// The publishers and the subscribers of `scenario`.
    pub(crate) fn new(
        protocol: &'static dyn Protocol,
        scenario: &Scenario,
        script: Rc<Script>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let member = |number: u32| Member {
            step: Step::Connecting,
            unconfirmed: 0,
            first_topic: scenario.first_topic(number),
        };
        let subscribers = scenario.subscribers as usize;
        // The publishers come first, whose topics do not matter, and then the subscribers.
        let publishers = std::iter::repeat_n(0, scenario.publishers as usize);
        let members = publishers.chain(0..scenario.subscribers).map(member);
        Ok(Self {
            tally: Tally::new(script)?,
            faults: Faults::default(),
            gapped: 0,
            recovered: 0,
            started_over: 0,
            lost_silently: None,
            skips: protocol.skips(),
            protocol,
            scenario: scenario.clone(),
            clock,
            members: members.collect(),
            seqs: vec![0; subscribers * scenario.topics_each as usize],
            epochs: FxHashMap::default(),
            misnumbered: 0,
            posted: vec![0; scenario.publishers as usize],
            uncounted: 0..0,
        })
    }

    pub(crate) fn is_numbered(&self) -> bool {
        !self.epochs.is_empty()
    }

    /// Prepares for the subscribers' return, since all have lost their connections.
    pub(crate) fn all_lost(&mut self) {
        for member in &mut self.members[self.scenario.publishers as usize..] {
            member.step = Step::Connecting;
        }
    }

    /// Subscribes a connection that the server calls `connection` to the topics that it wishes.
    fn subscribe(&mut self, id: ConnId, connection: &str, reply: &mut Reply<'_>) {
        let number = self.scenario.subscriber(id).map(|number| number as u32);
        let wishes = match number {
            Some(number) => self.scenario.wishes(number),
            None if self.protocol.publishers_subscribe() => {
                (0..self.scenario.topics).map(Scenario::topic).collect()
            }
            None => Vec::new(),
        };
        let member = &mut self.members[id.0];
        if wishes.is_empty() {
            member.step = Step::Ready;
            reply.settle();
            return;
        }
        member.step = Step::AwaitsConfirmation;
        member.unconfirmed = wishes.len() as u32;
        let messages = match number.and_then(|number| self.resume(number)) {
            Some(message) => vec![message],
            None => self.protocol.subscribe(&wishes, connection),
        };
        for message in messages {
            reply.message(message.opcode, &message.payload);
        }
    }

    /// The request that resumes the topics of a subscriber, if it had any and the protocol can resume.
    fn resume(&self, number: u32) -> Option<Message> {
        let each = self.scenario.topics_each as usize;
        let seqs = &self.seqs[number as usize * each..][..each];
        if self.epochs.is_empty() || self.scenario.pattern.is_some() || seqs.contains(&0) {
            return None;
        }
        let mut topics = Vec::with_capacity(each);
        for (topic, seq) in self.scenario.wishes(number).into_iter().zip(seqs) {
            let epoch = self
                .epochs
                .get(&Scenario::topic_number(topic.as_bytes())?)?
                .clone();
            let seq = Seq(*seq);
            let since = Some(Position { epoch, seq }.into());
            topics.push(TopicRequest::Since { topic, since });
        }
        let request = ClientMessage::Subscribe(Subscribe {
            id: RequestId(1),
            topics,
            mode: None,
            conflate_ms: None,
            snapshot: false,
        });
        let mut payload = Vec::new();
        Codec::Json.encode_request(&request, &mut payload);
        Some(Message {
            opcode: tickwire_wire::frame::Opcode::Text,
            payload,
        })
    }

    /// Counts a delivery, and checks its number if it has one.
    #[inline]
    fn delivered(&mut self, id: ConnId, payload: &[u8], number: Numbered<'_>) {
        if let Some((topic, seq)) = number {
            match Scenario::topic_number(topic) {
                Some(topic) => self.follows(id, topic, seq),
                None => self.never_subscribed(id, topic),
            }
        }
        if !self.uncounted.contains(&id.0) {
            self.tally.deliver(payload);
        }
    }

    /// Whether a connection publishes in bulk.
    fn posts(&self, id: ConnId) -> bool {
        self.scenario.bulk && self.scenario.subscriber(id).is_none()
    }

    /// Reads the answer to a bulk publication.
    fn answered(&mut self, id: ConnId, answer: &[u8]) {
        match bulk::published(answer) {
            Some(count) => self.posted[id.0] += count,
            None => {
                let text = format_args!("connection {}: {:?}", id.0, String::from_utf8_lossy(answer));
                self.faults.add("refused or not understood", text);
            }
        }
    }

    /// Reads a message that is not just one delivery.
    fn read(&mut self, id: ConnId, message: &[u8], reply: &mut Reply<'_>) {
        if self.posts(id) {
            return self.answered(id, message);
        }
        let protocol = self.protocol;
        let inbound = protocol.inbound(message, &mut |payload, number| {
            self.delivered(id, payload, number);
        });
        if let Some(answer) = inbound.answer {
            reply.message(answer.opcode, &answer.payload);
        }
        if let Some(told) = inbound.told {
            self.told(id, told);
        }
        if let Some(fault) = inbound.fault {
            let text = format_args!("connection {}: {fault}", id.0);
            self.faults.add("refused or not understood", text);
        }
        let member = &mut self.members[id.0];
        let count = u32::try_from(inbound.confirmed).unwrap_or(u32::MAX);
        member.unconfirmed = member.unconfirmed.saturating_sub(count);
        if inbound.greeted && member.step == Step::AwaitsGreeting {
            self.subscribe(id, &inbound.connection.unwrap_or_default(), reply);
        } else if count > 0 && member.unconfirmed == 0 && member.step == Step::AwaitsConfirmation {
            member.step = Step::Ready;
            reply.settle();
        }
    }

    /// Handles what Tickwire says about a subscription: an ack, or a gap with the messages that it names.
    fn told(&mut self, id: ConnId, told: Control) {
        match told {
            Control::Ack { results, .. } => {
                for result in results {
                    let topic = Scenario::topic_number(result.topic.as_bytes());
                    if let (Some(topic), Some(epoch)) = (topic, result.epoch) {
                        self.epochs.insert(topic, epoch);
                    }
                    self.recovered += u64::from(result.recovered == Some(true));
                    self.started_over += u64::from(result.recovered == Some(false));
                }
            }
            Control::Gap { topic, from, to, .. } => {
                self.gapped += to.0.saturating_sub(from.0) + 1;
                let number = Scenario::topic_number(topic.as_bytes());
                let Some(last) = number.and_then(|number| self.last_seq(id, number)) else {
                    return self.never_subscribed(id, topic.as_bytes());
                };
                let before = std::mem::replace(last, to.0);
                if before != 0 && before + 1 != from.0 {
                    self.out_of_order(id, &topic, format_args!("gap from {}", from.0), before);
                }
            }
            _ => {}
        }
    }

    /// The last number of a connection's topic; `None` if the connection has not subscribed to it.
    #[inline]
    fn last_seq(&mut self, id: ConnId, topic: u32) -> Option<&mut u64> {
        let subscriber = self.scenario.subscriber(id)?;
        let first = self.members.get(id.0)?.first_topic;
        let slot = self.scenario.slot(first, topic)?;
        let at = subscriber * self.scenario.topics_each as usize + slot as usize;
        self.seqs.get_mut(at)
    }

    #[inline]
    fn follows(&mut self, id: ConnId, topic: u32, seq: u64) {
        let Some(last) = self.last_seq(id, topic) else {
            self.never_subscribed(id, Scenario::topic(topic).as_bytes());
            return;
        };
        let before = std::mem::replace(last, seq);
        if before != 0 && seq != before + 1 && !(self.skips && seq > before) {
            self.out_of_order(id, &Scenario::topic(topic), seq, before);
        }
    }

    #[cold]
    fn out_of_order(&mut self, id: ConnId, topic: &str, what: impl Display, before: u64) {
        self.misnumbered += 1;
        let text = format_args!("connection {}: {topic}: {what} after {before}", id.0);
        self.faults.add("order", text);
    }

    #[cold]
    fn never_subscribed(&mut self, id: ConnId, topic: &[u8]) {
        let topic = String::from_utf8_lossy(topic);
        self.faults
            .add("never subscribed", format_args!("connection {}: {topic}", id.0));
    }
}

impl Handler for Crowd {
    #[inline]
    fn message(&mut self, id: ConnId, message: &[u8], _: Micros, reply: &mut Reply<'_>) {
        match self.protocol.delivery(message) {
            Some((payload, number)) => self.delivered(id, payload, number),
            None => self.read(id, message, reply),
        }
    }

    fn opened(&mut self, id: ConnId, reply: &mut Reply<'_>) {
        if self.posts(id) {
            return self.subscribe(id, "", reply);
        }
        for message in self.protocol.greet() {
            reply.message(message.opcode, &message.payload);
        }
        self.members[id.0].step = Step::AwaitsGreeting;
        if !self.protocol.awaits_greeting() {
            self.subscribe(id, "", reply);
        }
    }

    /// Latency is measured with the run's own clock. It is read once for all bytes that were read at once.
    fn reading(&mut self) -> Micros {
        self.tally.now = self.clock.now();
        Micros(0)
    }

    fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    fn ended(&mut self, id: ConnId, ending: &Ending) {
        let step = std::mem::replace(&mut self.members[id.0].step, Step::Ended);
        if !matches!(ending, Ending::Finished) {
            let text = format_args!("connection {}, {step:?}: {ending}", id.0);
            self.faults.add("connection ended", text);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::compare::peers;
    use crate::swarm::{Head, Nanos};

    const WELCOME: &str = r#"{"op":"welcome","session":"s","server":"t","ts":1,"heartbeat_ms":15000,
        "limits":{"subscriptions":8,"message_bytes":65536,"ops_per_s":50}}"#;
    const ACK: &str = r#"{"op":"ack","id":1,"results":[{"topic":"bench.t0","epoch":"e","seq":4,"mode":"every"},
        {"topic":"bench.t1","epoch":"e","seq":0,"mode":"every"}]}"#;

    /// Subscribers of Tickwire that have two of three topics each.
    pub(in crate::compare) fn crowd_of(subscribers: usize) -> Crowd {
        let text = "about = 'x'\nkind = 'hot'\nseconds = 1\ntopics = 3\ntopics_each = 2\nsubscribers = ";
        let scenario = Scenario::parse("x", &format!("{text}{subscribers}"), false).expect("good");
        let tickwire = peers().iter().find(|peer| peer.name == "tickwire");
        let protocol = tickwire.expect("is a peer").protocol;
        let script = Rc::new(Script::plain(scenario.topics));
        Crowd::new(protocol, &scenario, script, Clock::start()).expect("good bounds")
    }

    fn update(topic: u32, seq: u64) -> String {
        let (script, mut out) = (Script::plain(1), Vec::new());
        let data = String::from_utf8_lossy(script.write(Nanos(1), seq, &mut out));
        let ts = 1_700_000_000_000_000_u64;
        format!(r#"{{"op":"update","topic":"bench.t{topic}","seq":{seq},"ts":{ts},"data":{data}}}"#)
    }

    fn gap(from: u64, to: u64) -> String {
        format!(r#"{{"op":"gap","topic":"bench.t0","epoch":"e","from":{from},"to":{to},"reason":"slow"}}"#)
    }

    /// Lets the only subscriber connect and hear `messages`.
    fn hear(crowd: &mut Crowd, messages: &[String]) {
        let (mut out, mut settled) = (Vec::new(), false);
        crowd.opened(ConnId(1), &mut Reply::new(&mut out, &mut settled));
        let first = [WELCOME.to_owned(), ACK.to_owned()];
        for message in first.iter().chain(messages) {
            let mut reply = Reply::new(&mut out, &mut settled);
            crowd.message(ConnId(1), message.as_bytes(), Micros(0), &mut reply);
        }
        assert!(settled);
    }

    /// Each line: messages, and the result. A message is `TOPIC SEQ`, with `long` in a layout that only the decoder can
    /// read, or `gap FROM TO` of topic 0.
    #[test]
    fn every_number_is_checked_whichever_way_it_is_read() {
        const TABLE: &str = "
            0 5, 1 1, 0 6 | 3 delivered, 0 gapped,
            0 5, 0 7 | 2 delivered, 0 gapped, 1 × order (connection 1: bench.t0: 7 after 5)
            0 5, gap 6 8, 0 9 | 2 delivered, 3 gapped,
            0 5, gap 7 8 | 1 delivered, 2 gapped, 1 × order (connection 1: bench.t0: gap from 7 after 5)
            2 1 | 1 delivered, 0 gapped, 1 × never subscribed (connection 1: bench.t2)
            long 0 5, 0 6, long 0 7, long 0 9 | 4 delivered, 0 gapped, 1 × order (connection 1: bench.t0: 9 after 7)
            long 2 1 | 1 delivered, 0 gapped, 1 × never subscribed (connection 1: bench.t2)";
        let long = |topic, seq| update(topic, seq).replace(r#""update","#, r#""update", "#);
        assert!(Head::of(long(0, 5).as_bytes()).is_none());
        let message = |words: &str| {
            let numbers: Vec<u64> = words.split(' ').filter_map(|word| word.parse().ok()).collect();
            let (first, second) = (numbers[0], numbers[1]);
            match words.trim().split(' ').next() {
                Some("gap") => gap(first, second),
                Some("long") => long(first as u32, second),
                _ => update(first as u32, second),
            }
        };
        for (messages, expected) in TABLE.lines().filter_map(|line| line.split_once(" | ")) {
            let mut crowd = crowd_of(1);
            hear(&mut crowd, &messages.split(',').map(message).collect::<Vec<_>>());
            let (delivered, gapped) = (crowd.tally.delivered, crowd.gapped);
            let found = format!("{delivered} delivered, {gapped} gapped, {}", crowd.faults);
            assert_eq!(found.trim(), expected, "{messages}");
        }
    }

    #[test]
    fn who_comes_back_resumes() {
        let mut crowd = crowd_of(1);
        hear(&mut crowd, &[update(0, 5), update(1, 1)]);
        let message = crowd.resume(0).expect("both topics had messages");
        assert_eq!(
            String::from_utf8_lossy(&message.payload),
            r#"{"op":"subscribe","id":1,"topics":[{"topic":"bench.t0","since":{"epoch":"e","seq":5}},{"topic":"bench.t1","since":{"epoch":"e","seq":1}}],"snapshot":false}"#
        );
    }
}
