//! The client's side of the protocol without sockets and clocks: requests and messages go in; frames, answers and
//! events come out.
//!
//! It outlives connections. It is bounded: it takes no request while [`OUTGOING_MAX`] requests wait to be sent or
//! [`PENDING_MAX`] wait for answers. Its owner gives it no message while events wait, so the events of one message at
//! most are held.

mod restoring;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rustc_hash::FxHashMap;
use tickwire_wire::message::{AckResult, AnnouncedLimits, Positions, RequestId, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Mode, Refusal, Secret, ServerMessage};
use tokio::sync::oneshot;

use crate::clocks::{Clocks, Moment};
use crate::error::RequestError;
use crate::event::Event;
use crate::ledger::{self, Ledger, Wanted};
use crate::pace::Counted;
use crate::planted::{Fault, is_planted};
use crate::promise::Checker;
use crate::request::{Answer, Body, Purpose, Reply, Synced, Waiting, answer, checked};
use restoring::Left;

/// Most requests that wait to be sent, without those that restore subscriptions.
const OUTGOING_MAX: usize = 16;
/// Most requests that wait for answers.
const PENDING_MAX: usize = 1_024;
/// Most requests that wait for their `synced`. One more makes the client give up the oldest.
const SYNCING_MAX: usize = 1_024;

/// The client's state of the protocol.
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
    /// Positions that this connection has sent ahead of a user's `subscribe` that is still to be sent.
    ahead: Vec<Vec<Positions>>,
    pending: FxHashMap<RequestId, Purpose>,
    events: VecDeque<Event>,
    /// Requests that were granted and whose `synced` has not come.
    syncing: BTreeMap<RequestId, Syncing>,
    /// Subscriptions that the broker refused to restore for the time being.
    unrestored: BTreeSet<String>,
    /// Topics whose next message will show whether they go on where they were left.
    unresumed: FxHashMap<String, Left>,
}

/// A granted request whose `synced` has not come.
#[derive(Debug)]
struct Syncing {
    /// The topics and patterns that were granted.
    topics: Vec<String>,
    /// Where to report the `synced`; `None` for a request that restores subscriptions.
    synced: Option<Synced>,
}

/// Whether a request counts as a publication or as a request in the broker's rate limits.
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
            ahead: Vec::new(),
            pending: FxHashMap::default(),
            events: VecDeque::new(),
            syncing: BTreeMap::new(),
            unrestored: BTreeSet::new(),
            unresumed: FxHashMap::default(),
        }
    }

    /// Begins a connection to the node at `url`, whose first message is `welcome`. Queues the requests that restore the subscriptions.
    pub(crate) fn connected(&mut self, url: String, welcome: ServerMessage) {
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
            url,
            session: session.clone(),
            server: server.clone(),
            limits: *limits,
            reconnects: self.connections,
        });
        self.connections += 1;
        self.checker.reconnected();
        self.watch_for_losses();
        self.unrestored.clear();
        // The requests that restore go before those that the user made meanwhile.
        let meanwhile = std::mem::take(&mut self.outgoing);
        if let Some(token) = self.token.clone() {
            let id = self.next_id();
            self.queue(id, ClientMessage::Auth { id, token }, Purpose::RestoreRights);
        }
        self.restore(None);
        self.outgoing.extend(meanwhile);
        self.received(welcome, None);
    }

    /// Takes out the token of the last `auth` that succeeded. The core does not show it again then.
    pub(crate) fn take_token(&mut self) -> Option<Secret> {
        self.token.take()
    }

    /// Ends the connection. Requests that were sent and not answered fail; those that were not sent wait for the next
    /// connection.
    pub(crate) fn disconnected(&mut self) {
        for (_, purpose) in std::mem::take(&mut self.pending) {
            if let Purpose::Unsubscribe { topics, .. } = &purpose {
                self.forget(topics);
            }
            answer(purpose.into_reply(), Err(RequestError::Disconnected));
        }
        for (_, syncing) in std::mem::take(&mut self.syncing) {
            syncing.end(Err(RequestError::Disconnected));
        }
        self.outgoing
            .retain(|waiting| !waiting.purpose.is_of_connection());
        // The broker has forgotten the positions that were sent ahead. The next broker needs them before the
        // `subscribe`.
        let waiting = std::mem::take(&mut self.outgoing);
        for since in std::mem::take(&mut self.ahead) {
            self.send_positions(since, false);
        }
        self.outgoing.extend(waiting);
    }

    /// Whether another request may be made.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.len() < OUTGOING_MAX && self.pending.len() < PENDING_MAX
    }

    /// Whether no request waits for its answer.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// Queues the user's request `body`; the answer goes to `reply`.
    pub(crate) fn request(&mut self, body: Body, reply: Reply) {
        let id = self.next_id();
        let (message, purpose) = match body {
            Body::Subscribe {
                wanted,
                topics,
                synced,
            } => return self.subscribe(wanted, topics, reply, synced),
            Body::Unsubscribe(topics) => {
                let message = ClientMessage::Unsubscribe {
                    id,
                    topics: topics.clone(),
                };
                (message, Purpose::Unsubscribe { topics, reply })
            }
            Body::Publish { topic, data, key, ts } => {
                let message = ClientMessage::Publish {
                    id: Some(id),
                    topic,
                    data,
                    key,
                    ts,
                };
                (message, Purpose::Other { reply })
            }
            Body::Resync(topic) => (ClientMessage::Resync { id, topic }, Purpose::Other { reply }),
            Body::Auth(token) => {
                let message = ClientMessage::Auth {
                    id,
                    token: token.clone(),
                };
                (message, Purpose::Auth { token, reply })
            }
            Body::Ping => (
                ClientMessage::Ping { id: Some(id) },
                Purpose::Ping { reply, sent: None },
            ),
        };
        self.queue(id, message, purpose);
    }

    fn subscribe(&mut self, wanted: Wanted, mut topics: Vec<TopicRequest>, reply: Reply, synced: Synced) {
        let ahead = ledger::send_ahead(&mut topics, &self.limits);
        for since in ahead {
            self.send_positions(since, false);
        }
        let id = self.next_id();
        let message = ClientMessage::Subscribe(ledger::message((wanted.clone(), topics), id));
        let purpose = Purpose::Subscribe {
            wanted,
            reply,
            synced,
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

    /// What the next request counts as, if one waits to be sent. Drops requests whose users have given up. It keeps a
    /// `subscribe` whose positions the broker already has: otherwise they would apply to the next `subscribe`.
    pub(crate) fn next_to_send(&mut self) -> Option<Counted> {
        while let Some(first) = self.outgoing.front() {
            if !self.ahead.is_empty() || !self.is_given_up(&first.purpose) {
                return Some(counted(&first.message));
            }
            self.outgoing.pop_front();
        }
        None
    }

    /// Whether nobody waits for a request with this purpose. For positions, the question is whether anybody waits for
    /// the `subscribe` that follows them.
    fn is_given_up(&self, purpose: &Purpose) -> bool {
        let purpose = match purpose {
            Purpose::Positions { restores: false, .. } => {
                let mut purposes = self.outgoing.iter().map(|waiting| &waiting.purpose);
                purposes.find(|purpose| matches!(purpose, Purpose::Subscribe { .. }))
            }
            other => Some(other),
        };
        let reply = purpose.and_then(Purpose::reply);
        reply.is_some_and(oneshot::Sender::is_closed)
    }

    /// Takes the next request's bytes and what the request counts as. The request counts as sent from then on.
    pub(crate) fn send(&mut self, now: impl FnOnce() -> Moment) -> Option<(Counted, Vec<u8>)> {
        let mut waiting = self.outgoing.pop_front()?;
        let counted = counted(&waiting.message);
        self.checker.sent(&waiting.message);
        if let Purpose::Ping { sent, .. } = &mut waiting.purpose {
            *sent = Some(now());
        }
        match &waiting.message {
            ClientMessage::Unsubscribe { topics, .. } => self.forget(topics),
            ClientMessage::Subscribe(_) => self.ahead.clear(),
            ClientMessage::Positions { since, .. } if !waiting.purpose.is_of_connection() => {
                self.ahead.push(since.clone());
            }
            _ => {}
        }
        self.pending.insert(waiting.id, waiting.purpose);
        Some((counted, waiting.bytes))
    }

    /// Ends the wish to restore `topics`. It is called when an `unsubscribe` is sent and again when it ends, since the
    /// ack of an earlier `subscribe` may come in between.
    fn forget(&mut self, topics: &[String]) {
        for topic in topics {
            self.ledger.remove(topic);
        }
        let ledger = &self.ledger;
        self.unresumed.retain(|topic, _| ledger.covers(topic));
    }

    /// Whether subscriptions wait for another attempt to restore them.
    pub(crate) fn has_unrestored(&self) -> bool {
        !self.unrestored.is_empty()
    }

    /// Tries again to restore the subscriptions that the broker refused for the time being.
    pub(crate) fn retry_unrestored(&mut self) {
        let unrestored = std::mem::take(&mut self.unrestored);
        self.restore(Some(&unrestored));
    }

    /// Takes the next event.
    pub(crate) fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether events wait to be taken.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Drops all events, since nobody takes them.
    pub(crate) fn discard_events(&mut self) {
        self.events.clear();
    }

    /// Handles a message. `heard` is when it came, if it is a `pong`.
    pub(crate) fn received(&mut self, message: ServerMessage, heard: Option<Moment>) {
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
                .map(|purpose| (*id, purpose, Ok(Answer::Ack(results.clone())))),
            ServerMessage::Control(Control::Pong {
                id: Some(id),
                received,
                ts,
            }) => {
                let read = received.unwrap_or(*ts);
                self.pending.remove(id).map(|purpose| {
                    let clocks = purpose.sent().zip(heard);
                    let clocks = clocks.map(|(sent, heard)| Clocks::new(sent, read, *ts, heard));
                    (*id, purpose, Ok(Answer::Pong(clocks)))
                })
            }
            ServerMessage::Control(Control::Error {
                id: Some(id),
                code,
                reason,
                ..
            }) => {
                let refusal = Refusal::new(*code, reason.as_str());
                self.pending
                    .remove(id)
                    .map(|purpose| (*id, purpose, Err(refusal)))
            }
            _ => None,
        };
        let synced = match &message {
            ServerMessage::Control(Control::Synced { id }) => self.syncing.remove(id),
            _ => None,
        };
        let is_gap = matches!(message, ServerMessage::Control(Control::Gap { .. }));
        if !(is_gap && is_planted(Fault::GapSwallowed)) {
            self.events.push_back(Event::Message(message));
        }
        if let Some((id, purpose, result)) = answered {
            self.answered(id, purpose, result);
        }
        if let Some(mut syncing) = synced {
            let topics = std::mem::take(&mut syncing.topics);
            syncing.end(Ok(()));
            self.events.push_back(Event::Synced { topics });
        }
    }

    fn answered(&mut self, id: RequestId, purpose: Purpose, result: Result<Answer, Refusal>) {
        match purpose {
            Purpose::Positions { since, .. } => {
                if let Err(refusal) = checked(result) {
                    self.positions_refused(since, &refusal);
                }
            }
            Purpose::Restore { names } => self.restored(id, names, result),
            Purpose::RestoreRights => {
                if let Err(error) = checked(result) {
                    tracing::warn!(%error, "the broker did not take the token again");
                }
            }
            Purpose::Subscribe {
                wanted,
                reply,
                synced,
            } => {
                match &result {
                    Ok(Answer::Ack(results)) => {
                        for result in results.iter().filter(|result| result.error.is_none()) {
                            let mut wanted = wanted.clone();
                            if result.replay.is_some() {
                                wanted.mode = Some(Mode::Every); // implied, whatever the topic's kind is
                            }
                            self.ledger.add(&result.topic, wanted);
                        }
                        self.await_synced(id, results, Some(synced));
                    }
                    Ok(Answer::Pong(_)) => {}
                    Err(refusal) => {
                        let refused = Err(RequestError::Refused(refusal.clone()));
                        Syncing::of(Vec::new(), Some(synced)).end(refused);
                    }
                }
                answer(Some(reply), result.map_err(RequestError::Refused));
            }
            Purpose::Unsubscribe { topics, reply } => {
                if result.is_ok() {
                    self.forget(&topics);
                }
                answer(Some(reply), result.map_err(RequestError::Refused));
            }
            Purpose::Auth { token, reply } => {
                let result = checked(result);
                if result.is_ok() {
                    self.token = Some(token);
                }
                answer(Some(reply), result);
            }
            Purpose::Ping { reply, .. } | Purpose::Other { reply } => answer(Some(reply), checked(result)),
        }
    }

    /// Waits for the `synced` of request `id`, which was acked, if any topic was granted.
    fn await_synced(&mut self, id: RequestId, results: &[AckResult], synced: Option<Synced>) {
        let granted = results.iter().filter(|result| result.error.is_none());
        let syncing = Syncing::of(granted.map(|result| result.topic.clone()).collect(), synced);
        if syncing.topics.is_empty() {
            syncing.end(Ok(()));
            return;
        }
        self.syncing.insert(id, syncing);
        while self.syncing.len() > SYNCING_MAX
            && let Some((_, oldest)) = self.syncing.pop_first()
        {
            oldest.end(Err(RequestError::TooManyWaiting { max: SYNCING_MAX }));
        }
    }
}

impl Syncing {
    fn of(topics: Vec<String>, synced: Option<Synced>) -> Self {
        Self { topics, synced }
    }

    fn end(self, result: Result<(), RequestError>) {
        // The receiver is gone if the user does not wait.
        let _ = self.synced.map(|synced| synced.send(result));
    }
}
