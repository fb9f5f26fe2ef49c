//! A client: its subscriptions, its requests, how it reads, and everything that it checks.
//!
//! It parses the bytes frame by frame, or event by event. It hands each message to the checks of the client library and
//! to the [`Oracle`]. It outlives its connections: on the next one it resumes from its positions, as the client library
//! does, or from the id of the last event, as browsers do.

mod events;
mod frames;

use std::collections::BTreeMap;

use tickwire_client::promise::Checker;
use tickwire_wire::deflate::Inflater;
use tickwire_wire::frame::{Opcode, client_frame};
use tickwire_wire::limits::REPLAY_MS;
use tickwire_wire::message::{Position, Since, Subscribe, TopicRequest};
use tickwire_wire::{
    ClientMessage, CloseCode, Codec, Control, Dialect, Kind, Micros, Payload, RequestId, ServerMessage,
};

use self::events::Events;
pub(crate) use self::events::StreamRequest;
use crate::broken::{Broken, Rule, ensure};
use crate::ledger::Got;
use crate::link::{Due, Link};
use crate::op::Pace;
use crate::oracle::{Asked, From, Oracle, Wanted};
use crate::plan::Setup;
use crate::request::{by_lineage, encode};
use crate::tally::Tally;
use crate::topics;
use crate::trace::Trace;
use crate::truth::{Truth, padded};

/// A client, connected or not.
#[derive(Debug)]
pub(crate) struct Client {
    index: usize,
    dialect: Dialect,
    codec: Codec,
    /// Inflates compressed messages, if the client negotiated compression.
    inflater: Option<Inflater>,
    pub(crate) pace: Pace,
    /// Whether the client leaves pings unanswered.
    pub(crate) mute: bool,
    checker: Checker,
    pub(crate) oracle: Oracle,
    /// The subscriptions, over all connections.
    wanted: BTreeMap<usize, Wanted>,
    next_id: u64,
    /// The bytes of a frame, or of a chunk of events, that is not complete yet.
    bytes: Vec<u8>,
    /// What it knows as a client of streams.
    events: Events,
    /// How many bytes of this connection were parsed.
    parsed: u64,
    /// The code of the close frame, if one came.
    closed: Option<CloseCode>,
}

impl Client {
    pub(crate) fn new(index: usize, dialect: Dialect) -> Self {
        Self {
            index,
            dialect,
            codec: dialect.codec(),
            inflater: dialect.window().map(|_| Inflater::new()),
            pace: Pace::Eager,
            mute: false,
            checker: Checker::new(),
            oracle: Oracle::default(),
            wanted: BTreeMap::new(),
            next_id: 0,
            bytes: Vec::new(),
            events: Events::default(),
            parsed: 0,
            closed: None,
        }
    }

    /// Begins a new connection. With `resume`, sends the requests that resume the subscriptions. With `ahead`,
    /// positions of patterns' topics go before them.
    pub(crate) fn connected(&mut self, resume: bool, ahead: bool, link: &mut Link) {
        if resume {
            self.checker.reconnected();
        } else {
            self.checker = Checker::new();
            self.wanted.clear();
        }
        self.begin_connection();
        let left = self.checker.left_off();
        let left = left.filter_map(|left| Some((topics::find(left.topic)?, left.position?)));
        let mut left: BTreeMap<usize, Position> = left.collect();
        // Patterns come last. A topic that is also subscribed by its name then has its own subscription and position
        // already.
        for (pattern, wanted) in std::mem::take(&mut self.wanted) {
            if !topics::is_wildcard(pattern) {
                let from = match topics::mortal_of(pattern) {
                    Some(_) => self.position_named(topics::pattern(pattern)),
                    None => left.remove(&pattern),
                };
                let from = from.map(From::Topic);
                self.subscribe(vec![(pattern, from)], wanted, link);
                continue;
            }
            let brought = left.extract_if(.., |topic, _| topics::matches(pattern, *topic));
            let brought: Vec<(usize, Position)> = brought.collect();
            if ahead {
                for some in brought.chunks(3) {
                    self.positions(some.to_vec(), link);
                }
                self.subscribe(vec![(pattern, None)], wanted, link);
            } else {
                self.subscribe(vec![(pattern, Some(From::Topics(brought)))], wanted, link);
            }
        }
    }

    /// Forgets what it knew of the connection before.
    fn begin_connection(&mut self) {
        self.oracle = Oracle::default();
        self.bytes.clear();
        self.events.begin_connection();
        self.parsed = 0;
        self.closed = None;
    }

    /// Ends the connection.
    pub(crate) fn disconnected(&mut self) {
        let had: Vec<_> = self.oracle.patterns().collect();
        self.wanted.extend(had);
        self.oracle = Oracle::default();
        self.bytes.clear();
        self.events.begin_connection();
    }

    /// Whether it reads streams of events.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.dialect, Dialect::Sse(_))
    }

    /// The client's position in a topic, over all connections.
    pub(crate) fn position(&self, topic: usize) -> Option<Position> {
        self.checker.position(topics::name(topic))
    }

    /// The same, for a topic by its name.
    pub(crate) fn position_named(&self, topic: &str) -> Option<Position> {
        self.checker.position(topic)
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn send(&mut self, message: &ClientMessage, asked: Asked, link: &mut Link) {
        self.checker.sent(message);
        self.oracle.ask(self.next_id, asked);
        let payload = encode(self.codec, message);
        self.send_frame(self.codec.opcode(), &payload, link);
    }

    fn send_frame(&self, opcode: Opcode, payload: &[u8], link: &mut Link) {
        // Any mask will do, since the broker only has to remove it.
        let mask = [0x37, 0xfa, self.index as u8, payload.len() as u8];
        link.send(&client_frame(true, opcode, mask, payload));
    }

    pub(crate) fn subscribe(
        &mut self,
        mut topics: Vec<(usize, Option<From>)>,
        wanted: Wanted,
        link: &mut Link,
    ) {
        // The client library cannot tell a one-shot of a topic from the snapshot of a subscription that begins
        // meanwhile.
        topics.retain(|(pattern, _)| !self.oracle.is_shooting(*pattern));
        if topics.is_empty() {
            return;
        }
        let id = RequestId(self.next_id());
        let requests = topics.iter().map(|(pattern, from)| {
            let topic = topics::pattern(*pattern).to_owned();
            let since = match from {
                None => return TopicRequest::Pattern(topic),
                Some(From::Topic(position)) => Since::One(position.clone()),
                Some(From::Topics(positions)) => Since::Many(by_lineage(positions)),
                Some(From::Moment(from)) => {
                    return TopicRequest::From {
                        topic,
                        from: *from,
                        speed: None,
                    };
                }
            };
            let since = Some(since);
            TopicRequest::Since { topic, since }
        });
        let message = ClientMessage::Subscribe(Subscribe {
            id,
            topics: requests.collect(),
            mode: wanted.mode,
            conflate_ms: wanted.conflate_ms,
            snapshot: wanted.snapshot,
        });
        self.send(&message, Asked::Subscribe { topics, wanted }, link);
    }

    /// Sends positions ahead of the next `subscribe`.
    pub(crate) fn positions(&mut self, positions: Vec<(usize, Position)>, link: &mut Link) {
        let id = RequestId(self.next_id());
        let since = by_lineage(&positions);
        self.send(
            &ClientMessage::Positions { id, since },
            Asked::Positions(positions),
            link,
        );
    }

    pub(crate) fn unsubscribe(&mut self, patterns: Vec<usize>, link: &mut Link) {
        let id = RequestId(self.next_id());
        for pattern in &patterns {
            self.wanted.remove(pattern);
        }
        let topics = patterns
            .iter()
            .map(|pattern| topics::pattern(*pattern).to_owned());
        let topics = topics.collect();
        self.send(
            &ClientMessage::Unsubscribe { id, topics },
            Asked::Unsubscribe(patterns),
            link,
        );
    }

    pub(crate) fn resync(&mut self, topic: usize, link: &mut Link) {
        let id = RequestId(self.next_id());
        let name = topics::name(topic).to_owned();
        self.send(
            &ClientMessage::Resync { id, topic: name },
            Asked::Resync(topic),
            link,
        );
    }

    pub(crate) fn ping(&mut self, frame: bool, link: &mut Link) {
        let id = self.next_id();
        if frame {
            self.send_frame(Opcode::Ping, &id.to_be_bytes(), link);
        } else {
            let id = Some(RequestId(id));
            self.send(&ClientMessage::Ping { id }, Asked::Other, link);
        }
    }

    pub(crate) fn publish(&mut self, topic: usize, size: usize, key: Option<u8>, link: &mut Link) {
        let id = self.next_id();
        let text = padded(&format!("{}-{id}", self.index), size);
        if topics::kind(topic) == Kind::Book {
            return; // only the feed publishes books
        }
        let message = ClientMessage::Publish {
            id: Some(RequestId(id)),
            topic: topics::name(topic).to_owned(),
            data: Payload::from_json(text.as_bytes()).expect("digits and letters in quotes"),
            key: key.map(|key| format!("k{key}").parse().expect("a short text")),
            ts: None,
        };
        self.send(&message, Asked::Publish(topic), link);
    }

    pub(crate) fn junk(&self, link: &mut Link) {
        self.send_frame(self.codec.opcode(), b"\"?\"", link);
    }

    pub(crate) fn leave(&self, link: &mut Link) {
        self.send_frame(Opcode::Close, &CloseCode::NORMAL.0.to_be_bytes(), link);
    }

    /// Reads at its pace, or `bytes` bytes if given. Returns how many bytes it read.
    pub(crate) fn read(&mut self, at: &mut Reading<'_>, bytes: Option<usize>) -> Result<usize, Broken> {
        for handled in at.link.handled.drain(..) {
            self.oracle.handled(handled);
        }
        let most = bytes.unwrap_or(match self.pace {
            Pace::Eager => usize::MAX,
            Pace::Trickle(bytes) => bytes,
            Pace::Stalled => 0,
        });
        let count = at.link.down.len().min(most);
        if count == 0 {
            return Ok(0);
        }
        self.bytes.extend(at.link.down.drain(..count));
        match self.dialect {
            Dialect::WebSocket(_) => self.read_frames(at)?,
            Dialect::Sse(framing) => self.read_events(framing, at)?,
        }
        Ok(count)
    }

    /// Checks that the connection is closed for a reason.
    fn closed(&mut self, code: CloseCode, why: &str, at: &mut Reading<'_>) -> Result<(), Broken> {
        self.closed = Some(code);
        at.trace.line(|line| {
            use std::fmt::Write as _;
            write!(line, "    client {} is closed with {code} {why}", self.index)
        });
        let (setup, link, speaks) = (at.setup, &*at.link, !self.is_stream());
        let ms = |since: Micros| at.now.since(since) / 1_000;
        let due = match code {
            CloseCode::NORMAL => speaks, // its own close frame, answered
            // The client takes nothing, or takes long for a promised replay.
            CloseCode::SLOW => {
                let promised = self.oracle.is_promised_more() && ms(link.opened_at) >= REPLAY_MS;
                promised || ms(link.taken_before_close) >= setup.stall_ms
            }
            CloseCode::NO_PONG => speaks && ms(link.heard_before_close) >= setup.pong_timeout_ms,
            CloseCode::NO_REQUEST => {
                speaks && !link.requested && ms(link.opened_at) >= setup.first_request_ms
            }
            CloseCode::DRAIN => link.drained,
            _ => false,
        };
        ensure(due, Rule::Closes, || {
            format!("client {} was closed with {code} {why}", self.index)
        })
    }

    /// Checks that the answer which begins here did not wait behind market data.
    fn in_time(&self, id: u64, due: &mut Vec<Due>) -> Result<(), Broken> {
        let Some(index) = due.iter().position(|due| due.id == id) else {
            return Ok(());
        };
        let begins_by = due.swap_remove(index).begins_by;
        ensure(self.parsed <= begins_by, Rule::ControlFirst, || {
            let at = self.parsed;
            format!(
                "the answer to ping {id} of client {} begins at byte {at}, not by {begins_by}",
                self.index
            )
        })
    }

    fn message(&mut self, message: &ServerMessage, at: &mut Reading<'_>) -> Result<(), Broken> {
        self.checker.received(message).map_err(Broken::from)?;
        let before = self.oracle.got;
        self.tell_oracle(message, at)?;
        at.got.add(before, self.oracle.got);
        Ok(())
    }

    fn tell_oracle(&mut self, message: &ServerMessage, at: &mut Reading<'_>) -> Result<(), Broken> {
        let truth = at.truth;
        if let Some(told) = self.oracle.mortal(message, truth) {
            return told;
        }
        let find = |name: &str| {
            let unknown = || Broken::new(Rule::Content, format!("{name} was never published to"));
            topics::find(name).ok_or_else(unknown)
        };
        match message {
            ServerMessage::Update { topic, seq, data, .. } => {
                self.oracle.update(find(topic)?, seq.0, data.get(), truth)
            }
            ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                data,
                ..
            } => {
                let position = Position {
                    epoch: epoch.clone(),
                    seq: *seq,
                };
                self.oracle.snapshot(find(topic)?, &position, data.get(), truth)
            }
            ServerMessage::Control(Control::Gap {
                topic,
                from,
                to,
                reason,
                ..
            }) => self.oracle.gap(find(topic)?, (from.0, to.0), *reason, truth),
            ServerMessage::Control(Control::Ack { id, results }) => {
                self.oracle.ack(id.0, results, truth)?;
                Ok(())
            }
            ServerMessage::Control(Control::Synced { id }) => {
                at.tally.synced += 1;
                at.tally.resumed += self.oracle.synced(id.0)?;
                Ok(())
            }
            ServerMessage::Control(Control::Joined { topic, epoch, seq }) => {
                at.tally.joined += 1;
                self.oracle.joined(find(topic)?, epoch, seq.0, truth)
            }
            ServerMessage::Control(Control::Pong {
                id: Some(id),
                received,
                ts,
            }) => self.pong(id.0, *received, *ts, at),
            ServerMessage::Control(Control::Error { id: Some(id), .. }) => {
                at.link.due.retain(|due| due.id != id.0);
                self.oracle.answered(id.0)
            }
            ServerMessage::Control(Control::Status {
                topic,
                seq: Some(seq),
                ..
            }) => {
                at.tally.caught_up += 1;
                self.oracle.caught_up(find(topic)?, seq.0)
            }
            ServerMessage::Control(_) => Ok(()),
            ServerMessage::Unknown(op) => Err(Broken::new(Rule::Framing, format!("an unknown op {op}"))),
        }
    }

    /// Checks that a pong tells when its ping was read.
    fn pong(
        &mut self,
        id: u64,
        received: Option<Micros>,
        ts: Micros,
        at: &mut Reading<'_>,
    ) -> Result<(), Broken> {
        self.oracle.answered(id)?;
        let read = at.link.pings.iter().position(|(ping, _)| *ping == id);
        let read = read.map(|index| at.link.pings.swap_remove(index).1);
        let is_right = read.is_some() && received == read && Some(ts) >= read;
        ensure(is_right, Rule::Answers, || {
            format!("ping {id} was read at {read:?}, and its pong of {ts} says at {received:?}")
        })?;
        self.in_time(id, &mut at.link.due)
    }

    /// Whether each message that is published to a topic now must come to the client.
    pub(crate) fn must_get(&self, topic: usize) -> bool {
        self.oracle.covers(topic) && self.oracle.wants_every(topic) && !self.oracle.is_leaving(topic)
    }

    /// Whether it was told that the connection is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Whether a part of a frame or of an event came.
    pub(crate) fn has_part(&self) -> bool {
        !self.bytes.is_empty() || self.events.has_part()
    }
}

/// What a client reads from, and what it needs to check what it reads.
pub(crate) struct Reading<'a> {
    pub(crate) link: &'a mut Link,
    pub(crate) truth: &'a Truth,
    pub(crate) setup: &'a Setup,
    pub(crate) got: &'a mut Got,
    pub(crate) tally: &'a mut Tally,
    pub(crate) trace: &'a mut Trace,
    pub(crate) now: Micros,
}
