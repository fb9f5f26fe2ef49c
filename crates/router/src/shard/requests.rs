//! Requests of clients, and their answers.
//!
//! A request is answered if it has an id or is refused. A refusal does not end the connection, unless refusals go on
//! and on: requests in a row that are refused whole for what they ask, faster than they are forgiven, or requests that
//! go on after `rate_limited`. A request that may succeed later is no abuse.

use tickwire_wire::error::ErrorCode;
use tickwire_wire::message::{AckResult, BadRequest};
use tickwire_wire::{ClientMessage, CloseCode, Control, Micros, Refusal, RequestId, Topic};

use super::Shard;
use super::piecewise::Naming;
use crate::bucket::SharedBucket;
use crate::counts::Op;
use crate::outbox::Answer;
use crate::planted::{Fault, is_planted};
use crate::session::{Session, SessionId, Subscriptions, TooFast};

/// The answer to one topic of a request, and what follows it.
#[derive(Debug)]
pub(crate) struct TopicAnswer {
    pub(super) result: AckResult,
    /// A message about the topic that is sent right after the ack: a gap, or that the client has caught up.
    pub(super) behind: Option<Control>,
    /// The topic was live already, so the ack keeps its place behind the messages that were sent of it.
    pub(super) in_order: bool,
}

impl TopicAnswer {
    pub(super) fn new(result: AckResult) -> Self {
        Self {
            result,
            behind: None,
            in_order: false,
        }
    }

    /// The bytes that it holds beside itself.
    pub(super) fn heap_bytes(&self) -> usize {
        let AckResult { topic, error, .. } = &self.result;
        let reason = error.as_ref().map_or(0, |refusal| refusal.reason.len());
        topic.len() * (1 + usize::from(self.behind.is_some())) + reason
    }

    pub(super) fn refused(topic: &str, refusal: Refusal) -> Self {
        Self::new(AckResult {
            topic: topic.to_owned(),
            error: Some(refusal),
            ..AckResult::default()
        })
    }
}

/// Whether a client that goes on with such requests abuses the connection: they cannot succeed, and the client could
/// know it.
fn is_abusive(code: ErrorCode) -> bool {
    !code.is_retryable() && code != ErrorCode::NotSubscribed
}

impl Shard {
    /// Handles a request, or the error in its place.
    ///
    /// A request that is much work may be [unfinished](Self::unfinished) afterwards. An earlier unfinished one is
    /// finished first.
    pub fn request(&mut self, id: SessionId, request: Result<ClientMessage, BadRequest>, now: Micros) {
        if self.waits_behind_writes(id, &request) {
            return self.hold(id, request);
        }
        let Some(request) = self.hold_to_catch_up(id, request) else {
            return;
        };
        let Some(request) = self.hold_for_starts(id, request) else {
            return;
        };
        let (op, request_id) = match &request {
            Ok(ClientMessage::Subscribe(subscribe)) => (Op::Subscribe, Some(subscribe.id)),
            Ok(ClientMessage::Positions { id, .. }) => (Op::Positions, Some(*id)),
            Ok(ClientMessage::Unsubscribe { id, .. }) => (Op::Unsubscribe, Some(*id)),
            Ok(ClientMessage::Publish { id, .. }) => (Op::Publish, *id),
            Ok(ClientMessage::Resync { id, .. }) => (Op::Resync, Some(*id)),
            Ok(ClientMessage::Auth { id, .. }) => (Op::Auth, Some(*id)),
            Ok(ClientMessage::Ping { id }) => (Op::Ping, *id),
            Err(bad) => (Op::Unreadable, bad.id),
        };
        // Publications have an allowance of their own.
        if !self.takes_request(id, op, now) || op != Op::Publish && !self.within_rate(id, request_id, now) {
            return;
        }
        match request {
            Ok(ClientMessage::Subscribe(subscribe)) => {
                self.name_topics(id, Naming::Subscribe(subscribe), now);
            }
            Ok(ClientMessage::Unsubscribe { id: request, topics }) => {
                self.name_topics(id, Naming::Unsubscribe(request, topics), now);
            }
            Ok(ClientMessage::Publish {
                id: request,
                topic,
                data,
                key,
                ts,
            }) => {
                let bytes = data.heap_bytes();
                if key.is_none() && ts.is_none() {
                    self.publish_request(id, request, &topic, (data, bytes), now);
                } else {
                    self.publish_with(id, request, (&topic, key.as_ref(), ts), data, now);
                }
            }
            Ok(ClientMessage::Resync { id: request, topic }) => self.resync(id, request, topic, now),
            Ok(ClientMessage::Auth { id: request, token }) => self.auth_later(id, request, token),
            Ok(ClientMessage::Positions { id: request, since }) => {
                self.keep_positions(id, request, &since, now);
            }
            Ok(ClientMessage::Ping { id: request }) => {
                self.accepted(id);
                let pong = Control::Pong {
                    id: request,
                    ts: now,
                    received: Some(Micros(
                        now.0 - 1_000 * u64::from(is_planted(Fault::PingReadEarlier)),
                    )),
                };
                self.send_answer(id, &pong);
            }
            Err(bad) => self.refuse(id, bad.id, bad.refusal, now),
        }
        self.close_if_drowning(id, now);
    }

    /// Whether the session takes a request. If so, counts it as `op`. An unfinished request is finished first.
    pub(super) fn takes_request(&mut self, id: SessionId, op: Op, now: Micros) -> bool {
        // No request is handled with an expired token.
        self.expire_tokens(now);
        self.finish(id, now);
        let Some(session) = self.sessions.known(id).filter(|session| session.is_open()) else {
            return false;
        };
        session.timers.requested();
        self.counts.ops[op as usize] += 1;
        true
    }

    /// Takes one operation from the session's allowance, or refuses it.
    pub(super) fn within_rate(&mut self, id: SessionId, request: Option<RequestId>, now: Micros) -> bool {
        let session = self.sessions.open(id);
        let taken = session.map(|session| {
            session
                .allowance
                .take_request(&self.settings, &session.rights, now)
        });
        self.let_pass(id, request, taken, now)
    }

    /// Handles the result of taking from an allowance: a request that came too fast is refused, or its session is
    /// closed. Returns whether the request passes; `false` if there is no session.
    pub(super) fn let_pass(
        &mut self,
        id: SessionId,
        request: Option<RequestId>,
        taken: Option<Result<(), TooFast>>,
        now: Micros,
    ) -> bool {
        match taken {
            Some(Ok(())) => return true,
            Some(Err(TooFast::Refused(refusal))) => self.refuse(id, request, refusal, now),
            Some(Err(TooFast::Closed(reason))) => self.close(id, CloseCode::POLICY, &reason, now),
            None => {}
        }
        false
    }

    /// Makes a session share the looks at topics of its address. The session may have ended as soon as it was opened.
    pub fn share_lookups(&mut self, id: SessionId, visits: SharedBucket) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.allowance.share(visits);
        }
    }

    /// Checks whether a session may cause more work, after what it was charged.
    pub(super) fn check_allowance(&mut self, id: SessionId, now: Micros) -> Result<(), Refusal> {
        let session = self.sessions.open(id);
        session.map_or(Ok(()), |session| {
            session.allowance.check(&self.settings, &session.rights, now)
        })
    }

    /// Charges a request that looked at `visited` topics to the session's allowance and to its address's.
    pub(super) fn charge(&mut self, id: SessionId, visited: usize, now: Micros) {
        if let Some(session) = self.sessions.open(id) {
            session
                .allowance
                .charge_visits(&self.settings, &session.rights, visited, now);
        }
    }

    /// Answers a request with an error, behind the publications of the session that wait to be written.
    pub fn refuse(&mut self, id: SessionId, request: Option<RequestId>, refusal: Refusal, now: Micros) {
        if self.has_unwritten(id) {
            self.refuse_when_written(id, request, refusal);
        } else {
            self.refuse_at_once(id, request, refusal, now);
        }
    }

    pub(super) fn refuse_at_once(
        &mut self,
        id: SessionId,
        request: Option<RequestId>,
        refusal: Refusal,
        now: Micros,
    ) {
        self.counts.refused(refusal.code);
        self.keep_answer(id, || Err(refusal.clone()));
        let abusive = is_abusive(refusal.code);
        self.send_answer(id, &Control::error(request, refusal));
        if abusive {
            self.count_refusal(id, now);
        }
        self.close_if_drowning(id, now);
    }

    fn count_refusal(&mut self, id: SessionId, now: Micros) {
        let most = self.settings.session_limits.refusals_in_a_row;
        let session = self.sessions.open(id);
        if session.is_some_and(|session| session.allowance.refused(most, now)) {
            let reason = format!("{most} requests in a row were refused");
            self.close(id, CloseCode::POLICY, &reason, now);
        }
    }

    pub(super) fn accepted(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.open(id) {
            session.allowance.accepted();
        }
    }

    /// Sends an ack and what follows it, and counts the refusals in it.
    pub(super) fn ack(&mut self, id: SessionId, request: RequestId, answers: Vec<TopicAnswer>, now: Micros) {
        let in_order = self.answers_keep_their_place(id) || answers.iter().any(|answer| answer.in_order);
        let mut results = Vec::with_capacity(answers.len());
        let mut behind = Vec::new();
        let (mut abusive, mut granted) = (false, false);
        for answer in answers {
            match &answer.result.error {
                Some(refusal) => {
                    self.counts.refused(refusal.code);
                    abusive |= is_abusive(refusal.code);
                }
                None => granted = true,
            }
            results.push(answer.result);
            behind.extend(answer.behind);
        }
        let session = self.sessions.open(id);
        let number = session.map_or(0, |session| session.subscriptions.next_ack());
        self.keep_answer(id, || Ok(results.clone()));
        if in_order {
            self.send_ack_in_order(id, number, request, results);
        } else {
            self.send_control(id, &Control::Ack { id: request, results });
        }
        for message in behind {
            if let Control::Gap { from, to, .. } = &message {
                self.counts.gaps += 1;
                self.counts.unresumed += to.0 - from.0 + 1;
            }
            self.send_behind_answers(id, &message);
        }
        if granted {
            self.accepted(id);
        } else if abusive {
            self.count_refusal(id, now);
        }
    }

    /// Whether an answer goes behind the data that waits. Clients read answers in the order of the requests, so behind
    /// one that keeps its place, all others do as well. A one-shot snapshot must not be taken for a message of a
    /// subscription that begins now, and what is said of a topic that has ended follows its end.
    fn answers_keep_their_place(&mut self, id: SessionId) -> bool {
        self.sessions.open(id).is_some_and(|session| {
            let Subscriptions {
                one_shot_waits,
                end_waits,
                ..
            } = session.subscriptions;
            session.outbox.answer_bytes() > 0 || one_shot_waits || end_waits
        })
    }

    /// Sends an answer that goes ahead of the data, except behind an earlier answer that keeps its place: clients read
    /// answers in the order of the requests.
    pub(super) fn send_answer(&mut self, id: SessionId, message: &Control) {
        let behind_another = self
            .sessions
            .open(id)
            .is_some_and(|session| session.outbox.answer_bytes() > 0);
        if behind_another {
            self.send_in_order(id, message);
        } else {
            self.send_control(id, message);
        }
    }

    /// Sends a control message behind the answers before it.
    pub(super) fn send_behind_answers(&mut self, id: SessionId, message: &Control) {
        match self.answers_keep_their_place(id) {
            true => self.send_in_order(id, message),
            false => self.send_control(id, message),
        }
    }

    /// Sends a control message behind the data that waits.
    fn send_in_order(&mut self, id: SessionId, message: &Control) {
        let reach = self.reach_of(message);
        if let Some(session) = self.sessions.open(id) {
            if is_planted(Fault::AckOfPublicationPlaces)
                && let Control::Ack { id: request, results } = message
            {
                let number = session.subscriptions.acks;
                return self.send_ack_in_order(id, number, *request, results.clone());
            }
            let bytes = session.dialect.control(message);
            session.outbox.push_answer(Answer::new(reach, bytes));
            self.rounds.mark(session);
        }
    }

    /// Sends an answer with the positions of subscriptions behind the data that waits: ack number `number` of the
    /// session.
    fn send_ack_in_order(&mut self, id: SessionId, number: u32, request: RequestId, results: Vec<AckResult>) {
        if let Some(session) = self.sessions.open(id) {
            let ack = Answer::ack(number, request, results, session.dialect);
            session.outbox.push_answer(ack);
            self.rounds.mark(session);
        }
    }

    fn resync(&mut self, id: SessionId, request: RequestId, topic: String, now: Micros) {
        let single = match topic.parse::<Topic>() {
            Ok(single) => single,
            Err(error) => return self.refuse(id, Some(request), error.into(), now),
        };
        let cell = self.find_for(id, single.as_str());
        let standing = match &cell {
            Some(cell) => {
                self.make_known(cell);
                self.session_mut(id).and_then(|mut it| {
                    it.lineage_shown(cell.id());
                    it.standing(cell)
                })
            }
            None => {
                let session = self.sessions.open(id);
                let covers = |session: &mut Session| {
                    let mut patterns = session.subscriptions.patterns.iter();
                    patterns.any(|(pattern, _)| pattern.matches(&topic))
                };
                let expected = session.is_some_and(covers);
                expected.then(|| self.tell_next(id, &topic))
            }
        };
        let Some(at) = standing else {
            let reason = format!("no subscription of this connection covers {topic}");
            let refusal = Refusal::new(ErrorCode::NotSubscribed, reason);
            return self.refuse(id, Some(request), refusal, now);
        };
        let result = AckResult {
            topic,
            epoch: Some(at.epoch),
            seq: Some(at.seq),
            ..AckResult::default()
        };
        let answer = TopicAnswer {
            in_order: true,
            ..TopicAnswer::new(result)
        };
        self.ack(id, request, vec![answer], now);
        if let Some(cell) = cell
            && let Some(mut it) = self.session_mut(id)
        {
            it.send_snapshot(&cell);
        }
    }
}
