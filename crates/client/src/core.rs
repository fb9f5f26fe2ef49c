//! The client's side of the protocol without sockets and clocks: requests and messages in, frames, answers and events out.
//!
//! Outlives connections. Bounds: it takes no request while [`OUTGOING_MAX`] wait to be sent or [`PENDING_MAX`] wait for
//! answers, and its owner feeds it no message while events wait to be taken, so events are those of one message at most.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use tickwire_wire::message::{AnnouncedLimits, Position, RequestId, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Epoch, Refusal, Secret, Seq, ServerMessage};
use tokio::sync::oneshot;

use crate::error::RequestError;
use crate::event::Event;
use crate::ledger::{self, Known, Ledger, Wanted};
use crate::pace::Counted;
use crate::promise::Checker;
use crate::request::{Answer, Body, Purpose, Reply, Waiting, answer, checked};

/// Requests that may wait to be sent, those that restore subscriptions not counted.
const OUTGOING_MAX: usize = 16;
/// Requests that may wait for answers.
const PENDING_MAX: usize = 1_024;

/// The protocol's state on the client's side.
#[derive(Debug)]
pub(crate) struct Core {
    codec: Codec,
    checker: Checker,
    report_broken: bool,
    ledger: Ledger,
    /// The token of the last `auth` that succeeded.
    token: Option<Secret>,
    limits: AnnouncedLimits,
    last_id: u64,
    connections: u64,
    outgoing: VecDeque<Waiting>,
    pending: FxHashMap<RequestId, Purpose>,
    events: VecDeque<Event>,
    /// Subscriptions that the broker could not restore yet.
    unrestored: Vec<ledger::Request>,
    /// Topics that go on somewhere else than where they were left, until it shows where.
    unresumed: FxHashMap<String, Position>,
}

/// What a request counts as for the broker's rates.
fn counted(message: &ClientMessage) -> Counted {
    match message {
        ClientMessage::Publish { .. } => Counted::Publication,
        _ => Counted::Request,
    }
}

impl Core {
    pub(crate) fn new(codec: Codec, checker: Checker, report_broken: bool) -> Self {
        Self {
            codec,
            checker,
            report_broken,
            ledger: Ledger::default(),
            token: None,
            limits: AnnouncedLimits {
                subscriptions: 0,
                message_bytes: usize::MAX,
                ops_per_s: 0,
                ops_burst: 0,
                publishes_per_s: 0,
                publishes_burst: 0,
            },
            last_id: 0,
            connections: 0,
            outgoing: VecDeque::new(),
            pending: FxHashMap::default(),
            events: VecDeque::new(),
            unrestored: Vec::new(),
            unresumed: FxHashMap::default(),
        }
    }

    /// A connection was made; `welcome` is its first message. Queues what restores the subscriptions.
    pub(crate) fn connected(&mut self, welcome: ServerMessage) {
        let ServerMessage::Control(Control::Welcome {
            session,
            server,
            limits,
            ..
        }) = &welcome
        else {
            return;
        };
        self.limits = *limits;
        self.events.push_back(Event::Connected {
            session: session.clone(),
            server: server.clone(),
            limits: *limits,
            reconnects: self.connections,
        });
        self.connections += 1;
        let mut known = Vec::new();
        // Their own names resume them, but conflated.
        let mut in_part = Vec::new();
        for every in self.checker.every_topics() {
            let by_name = !every.by_pattern_only && !self.ledger.is_extra(every.topic);
            if let Some(last) = every.last {
                if by_name && every.conflated_by_name {
                    in_part.push((every.topic.to_owned(), last.clone()));
                }
                self.unresumed.insert(every.topic.to_owned(), last);
            }
            if let Some(position) = every.position.filter(|_| !by_name) {
                known.push(Known {
                    topic: every.topic.to_owned(),
                    position,
                    every: every.certain,
                });
            }
        }
        self.checker.reconnected();
        self.unrestored.clear();
        let checker = &self.checker;
        let requests = self
            .ledger
            .restore(known, |topic| checker.position(topic), limits);
        // They go before what the user asked for meanwhile.
        let meanwhile = std::mem::take(&mut self.outgoing);
        if let Some(token) = self.token.clone() {
            let id = self.next_id();
            self.queue(id, ClientMessage::Auth { id, token }, Purpose::RestoreRights);
        }
        for request in requests {
            self.restore(request);
        }
        self.unresumed.extend(in_part);
        self.outgoing.extend(meanwhile);
        self.received(welcome);
    }

    /// The token of the last `auth` that succeeded; it is not shown again by itself then.
    pub(crate) fn take_token(&mut self) -> Option<Secret> {
        self.token.take()
    }

    fn restore(&mut self, request: ledger::Request) {
        for resumed in request.1.iter().filter(|topic| topic.position().is_some()) {
            self.unresumed.remove(resumed.topic());
        }
        let id = self.next_id();
        let (wanted, topics) = request.clone();
        let message = ClientMessage::Subscribe(ledger::message(request, id));
        self.queue(id, message, Purpose::Restore { wanted, topics });
    }

    /// The connection is gone: what was sent and not answered fails; what was not sent waits for the next one.
    pub(crate) fn disconnected(&mut self) {
        for (_, purpose) in std::mem::take(&mut self.pending) {
            if let Purpose::Unsubscribe { topics, .. } = &purpose {
                self.forget(topics);
            }
            answer(purpose.into_reply(), Err(RequestError::Disconnected));
        }
        self.outgoing.retain(|waiting| waiting.purpose.reply().is_some());
    }

    /// Whether a further request may be made.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.len() < OUTGOING_MAX && self.pending.len() < PENDING_MAX
    }

    /// Whether no request waits for its answer.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// The user asks for `body`.
    pub(crate) fn request(&mut self, body: Body, reply: Reply) {
        let id = self.next_id();
        let (message, purpose) = match body {
            Body::Subscribe(wanted, topics) => {
                let message = ClientMessage::Subscribe(ledger::message((wanted.clone(), topics), id));
                (message, Purpose::Subscribe { wanted, reply })
            }
            Body::Unsubscribe(mut topics) => {
                let own = topics.len();
                topics.extend(self.ledger.orphans(&topics));
                let message = ClientMessage::Unsubscribe {
                    id,
                    topics: topics.clone(),
                };
                (message, Purpose::Unsubscribe { own, topics, reply })
            }
            Body::Publish { topic, data } => {
                let id = Some(id);
                (
                    ClientMessage::Publish { id, topic, data },
                    Purpose::Other { reply },
                )
            }
            Body::Resync(topic) => (ClientMessage::Resync { id, topic }, Purpose::Other { reply }),
            Body::Auth(token) => {
                let message = ClientMessage::Auth {
                    id,
                    token: token.clone(),
                };
                (message, Purpose::Auth { token, reply })
            }
            Body::Ping => (ClientMessage::Ping { id: Some(id) }, Purpose::Other { reply }),
        };
        self.queue(id, message, purpose);
    }

    fn next_id(&mut self) -> RequestId {
        self.last_id += 1;
        RequestId(self.last_id)
    }

    fn queue(&mut self, id: RequestId, message: ClientMessage, purpose: Purpose) {
        let mut bytes = Vec::new();
        self.codec.encode_request(&message, &mut bytes);
        let max = self.limits.message_bytes;
        if bytes.len() > max && purpose.reply().is_some() {
            let bytes = bytes.len();
            answer(purpose.into_reply(), Err(RequestError::TooLarge { bytes, max }));
            return;
        }
        self.outgoing.push_back(Waiting {
            id,
            message,
            bytes,
            purpose,
        });
    }

    /// What the next request counts as, if one waits to be sent. Drops requests that their users have given up.
    pub(crate) fn next_to_send(&mut self) -> Option<Counted> {
        while let Some(first) = self.outgoing.front() {
            if !first.purpose.reply().is_some_and(oneshot::Sender::is_closed) {
                return Some(counted(&first.message));
            }
            self.outgoing.pop_front();
        }
        None
    }

    /// The next request's bytes, and what it counts as; it counts as sent.
    pub(crate) fn send(&mut self) -> Option<(Counted, Vec<u8>)> {
        let waiting = self.outgoing.pop_front()?;
        let counted = counted(&waiting.message);
        self.checker.sent(&waiting.message);
        if let ClientMessage::Unsubscribe { topics, .. } = &waiting.message {
            self.forget(topics);
        }
        self.pending.insert(waiting.id, waiting.purpose);
        Some((counted, waiting.bytes))
    }

    /// `topics` are not to be restored. Told when an unsubscribe is sent and again when it ends: the ack of a subscribe
    /// that went before may come between.
    fn forget(&mut self, topics: &[String]) {
        for topic in topics {
            self.ledger.remove(topic);
            self.unresumed.remove(topic);
        }
    }

    /// Whether subscriptions wait to be tried again.
    pub(crate) fn has_unrestored(&self) -> bool {
        !self.unrestored.is_empty()
    }

    /// Tries again what could not be restored.
    pub(crate) fn retry_unrestored(&mut self) {
        for (wanted, mut topics) in std::mem::take(&mut self.unrestored) {
            topics.retain(|topic| self.ledger.wanted(topic.topic()).is_some());
            for request in ledger::split(&wanted, topics, &self.limits) {
                self.restore(request);
            }
        }
    }

    /// The next event.
    pub(crate) fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether events wait to be taken.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Nobody takes events.
    pub(crate) fn discard_events(&mut self) {
        self.events.clear();
    }

    /// A message came.
    pub(crate) fn received(&mut self, message: ServerMessage) {
        if let Err(broken) = self.checker.received(&message)
            && self.report_broken
        {
            self.events.push_back(Event::Broken(broken));
        }
        if !self.unresumed.is_empty() {
            self.report_unresumed(&message);
        }
        let answered = match &message {
            ServerMessage::Control(Control::Ack { id, results }) => self
                .pending
                .remove(id)
                .map(|purpose| (purpose, Ok(Answer::Ack(results.clone())))),
            ServerMessage::Control(Control::Pong { id: Some(id), ts, .. }) => self
                .pending
                .remove(id)
                .map(|purpose| (purpose, Ok(Answer::Pong(*ts)))),
            ServerMessage::Control(Control::Error {
                id: Some(id),
                code,
                reason,
                ..
            }) => {
                let refusal = Refusal::new(*code, reason.as_str());
                self.pending.remove(id).map(|purpose| (purpose, Err(refusal)))
            }
            _ => None,
        };
        self.events.push_back(Event::Message(message));
        if let Some((purpose, result)) = answered {
            self.answered(purpose, result);
        }
    }

    fn answered(&mut self, purpose: Purpose, result: Result<Answer, Refusal>) {
        match purpose {
            Purpose::Restore { wanted, topics } => self.restored(&wanted, topics, result),
            Purpose::RestoreRights => {
                if let Err(error) = checked(result) {
                    tracing::warn!(%error, "the broker did not take the token again");
                }
            }
            Purpose::Subscribe { wanted, reply } => {
                if let Ok(Answer::Ack(results)) = &result {
                    for result in results.iter().filter(|result| result.error.is_none()) {
                        self.ledger.add(&result.topic, wanted.clone());
                    }
                }
                answer(Some(reply), result.map_err(RequestError::Refused));
            }
            Purpose::Unsubscribe { own, topics, reply } => {
                if result.is_ok() {
                    self.forget(&topics);
                }
                let result = result.map(|answer| match answer {
                    Answer::Ack(mut results) => {
                        results.truncate(own);
                        Answer::Ack(results)
                    }
                    pong @ Answer::Pong(_) => pong,
                });
                answer(Some(reply), result.map_err(RequestError::Refused));
            }
            Purpose::Auth { token, reply } => {
                let result = checked(result);
                if result.is_ok() {
                    self.token = Some(token);
                }
                answer(Some(reply), result);
            }
            Purpose::Other { reply } => answer(Some(reply), checked(result)),
        }
    }

    fn restored(&mut self, wanted: &Wanted, topics: Vec<TopicRequest>, result: Result<Answer, Refusal>) {
        let refused: Vec<(TopicRequest, Refusal)> = match result {
            Ok(Answer::Ack(results)) => {
                for result in results.iter().filter(|result| result.error.is_none()) {
                    if let (Some(epoch), Some(seq)) = (&result.epoch, result.seq) {
                        self.goes_on(&result.topic, Some(epoch), seq, 0);
                    }
                }
                let errors = results.into_iter().map(|result| result.error);
                topics
                    .into_iter()
                    .zip(errors)
                    .filter_map(|(topic, error)| Some((topic, error?)))
                    .collect()
            }
            Ok(Answer::Pong(_)) => Vec::new(),
            Err(refusal) => topics.into_iter().map(|topic| (topic, refusal.clone())).collect(),
        };
        let mut again = Vec::new();
        for (request, refusal) in refused {
            let topic = request.topic();
            if self.ledger.drop_extra(topic) {
                // Its pattern still brings it, from wherever the topic is now.
                if let Some(since) = request.position() {
                    self.unresumed.insert(topic.to_owned(), since.clone());
                }
            } else if self.ledger.wanted(topic).is_none() {
                // Unsubscribed meanwhile.
            } else if refusal.code.is_retryable() {
                again.push(request);
            } else {
                let topic = request.into_topic();
                self.ledger.remove(&topic);
                self.events.push_back(Event::SubscriptionLost { topic, refusal });
            }
        }
        if !again.is_empty() {
            self.unrestored.push((wanted.clone(), again));
        }
    }

    /// Tells of each topic that goes on elsewhere than where it was left.
    fn report_unresumed(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::Snapshot {
                topic, epoch, seq, ..
            } => self.goes_on(topic, Some(epoch), *seq, 1),
            ServerMessage::Update { topic, seq, .. } => self.goes_on(topic, None, *seq, 1),
            ServerMessage::Control(Control::Gap {
                topic, epoch, from, ..
            }) => {
                self.goes_on(topic, Some(epoch), *from, 1);
            }
            _ => {}
        }
    }

    /// `topic` goes on at `now`. `ahead`: by how much that may be above the last message without anything missing.
    fn goes_on(&mut self, topic: &str, epoch: Option<&Epoch>, now: Seq, ahead: u64) {
        let Some(last) = self.unresumed.remove(topic) else {
            return;
        };
        let seamless = epoch == Some(&last.epoch) && now.0 <= last.seq.0.saturating_add(ahead);
        if !seamless {
            let topic = topic.to_owned();
            self.events.push_back(Event::Unresumed { topic, last, now });
        }
    }
}
