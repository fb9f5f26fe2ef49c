//! The client's side of the protocol without sockets and clocks: requests and messages in, frames, answers and events out.
//!
//! Outlives connections. Bounds: it takes no request while [`OUTGOING_MAX`] wait to be sent or [`PENDING_MAX`] wait for
//! answers, and its owner feeds it no message while events wait to be taken, so events are those of one message at most.

mod restoring;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rustc_hash::FxHashMap;
use tickwire_wire::message::{AckResult, AnnouncedLimits, Positions, RequestId, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Refusal, Secret, ServerMessage};
use tokio::sync::oneshot;

use crate::clocks::{Clocks, Moment};
use crate::error::RequestError;
use crate::event::Event;
use crate::ledger::{self, Ledger, Wanted};
use crate::pace::Counted;
use crate::promise::Checker;
use crate::request::{Answer, Body, Purpose, Reply, Synced, Waiting, answer, checked};
use restoring::Left;

/// Requests that may wait to be sent, those that restore subscriptions not counted.
const OUTGOING_MAX: usize = 16;
/// Requests that may wait for answers.
const PENDING_MAX: usize = 1_024;
/// Requests that may wait for all that they bring; of more the oldest is given up.
const SYNCING_MAX: usize = 1_024;

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
    /// Positions that were sent on this connection for a user's `subscribe` that was not sent yet.
    ahead: Vec<Vec<Positions>>,
    pending: FxHashMap<RequestId, Purpose>,
    events: VecDeque<Event>,
    /// Requests that were granted and of which not all has come.
    syncing: BTreeMap<RequestId, Syncing>,
    /// Subscriptions that the broker could not restore yet.
    unrestored: BTreeSet<String>,
    /// Topics that may go on somewhere else than where they were left, until it shows where.
    unresumed: FxHashMap<String, Left>,
}

/// A request of which not all has come.
#[derive(Debug)]
struct Syncing {
    /// What was granted.
    topics: Vec<String>,
    /// Who waits for it; nobody where it restores what was subscribed.
    synced: Option<Synced>,
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
            ahead: Vec::new(),
            pending: FxHashMap::default(),
            events: VecDeque::new(),
            syncing: BTreeMap::new(),
            unrestored: BTreeSet::new(),
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
        self.checker.reconnected();
        self.watch_for_losses();
        self.unrestored.clear();
        // They go before what the user asked for meanwhile.
        let meanwhile = std::mem::take(&mut self.outgoing);
        if let Some(token) = self.token.clone() {
            let id = self.next_id();
            self.queue(id, ClientMessage::Auth { id, token }, Purpose::RestoreRights);
        }
        self.restore(None);
        self.outgoing.extend(meanwhile);
        self.received(welcome, None);
    }

    /// The token of the last `auth` that succeeded; it is not shown again by itself then.
    pub(crate) fn take_token(&mut self) -> Option<Secret> {
        self.token.take()
    }

    /// The connection is gone: what was sent and not answered fails; what was not sent waits for the next one.
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
        // Their broker has forgotten them, and the next one must know them before it is asked.
        let waiting = std::mem::take(&mut self.outgoing);
        for since in std::mem::take(&mut self.ahead) {
            self.send_positions(since, false);
        }
        self.outgoing.extend(waiting);
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

    /// What the next request counts as, if one waits to be sent. Drops requests that their users have given up, but not the one
    /// whose positions the broker has: the next `subscribe` would resume by them.
    pub(crate) fn next_to_send(&mut self) -> Option<Counted> {
        while let Some(first) = self.outgoing.front() {
            if !self.ahead.is_empty() || !self.is_given_up(&first.purpose) {
                return Some(counted(&first.message));
            }
            self.outgoing.pop_front();
        }
        None
    }

    /// Whether nobody waits for the request that is next to be sent; of positions, for the `subscribe` behind them.
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

    /// The next request's bytes, and what it counts as; it counts as sent.
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

    /// `topics` are not to be restored. Told when an unsubscribe is sent and again when it ends: the ack of a subscribe
    /// that went before may come between.
    fn forget(&mut self, topics: &[String]) {
        for topic in topics {
            self.ledger.remove(topic);
        }
        let ledger = &self.ledger;
        self.unresumed.retain(|topic, _| ledger.covers(topic));
    }

    /// Whether subscriptions wait to be tried again.
    pub(crate) fn has_unrestored(&self) -> bool {
        !self.unrestored.is_empty()
    }

    /// Tries again what could not be restored.
    pub(crate) fn retry_unrestored(&mut self) {
        let unrestored = std::mem::take(&mut self.unrestored);
        self.restore(Some(&unrestored));
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

    /// A message came. `heard`: when it did, if it is a `pong`.
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
        self.events.push_back(Event::Message(message));
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
                            self.ledger.add(&result.topic, wanted.clone());
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

    /// Request `id` was acked: what it brings is on its way, if anything of it was granted.
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
            oldest.end(Err(RequestError::BadAnswer("its end")));
        }
    }
}

impl Syncing {
    fn of(topics: Vec<String>, synced: Option<Synced>) -> Self {
        Self { topics, synced }
    }

    fn end(self, result: Result<(), RequestError>) {
        // Whoever does not wait for it does not need it.
        let _ = self.synced.map(|synced| synced.send(result));
    }
}
