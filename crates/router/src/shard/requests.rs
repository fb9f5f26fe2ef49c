//! Requests of clients, and their answers.
//!
//! Every request gets an answer when it has an id or is refused. Refused input never ends the connection, unless it goes
//! on and on.

use std::sync::Arc;

use tickwire_wire::error::ErrorCode;
use tickwire_wire::limits::{RATE_LIMITED_IN_A_ROW_MAX, REFUSALS_IN_A_ROW_MAX};
use tickwire_wire::message::{AckResult, BadRequest, GapReason, Position, Subscribe, TopicRequest};
use tickwire_wire::{
    ClientMessage, CloseCode, Control, Kind, Micros, Mode, Pattern, Payload, Refusal, RequestId, Seq, Topic,
};

use super::Shard;
use crate::counts::Op;
use crate::directory::{Resume, TopicCell};
use crate::session::{PatternSub, Pull, SessionId};

/// The answer to one topic of a request, and what follows it.
struct Answer {
    result: AckResult,
    /// A gap to be declared right after the ack.
    gap: Option<Control>,
    /// The topic was flowing already, so the ack keeps its place behind what was sent of it.
    in_order: bool,
}

impl Answer {
    fn new(result: AckResult) -> Self {
        Self {
            result,
            gap: None,
            in_order: false,
        }
    }

    fn refused(topic: &str, refusal: Refusal) -> Self {
        Self::new(AckResult {
            topic: topic.to_owned(),
            error: Some(refusal),
            ..AckResult::default()
        })
    }
}

impl Shard {
    /// Handles a request, or what stood in its place.
    pub fn request(&mut self, id: SessionId, request: Result<ClientMessage, BadRequest>, now: Micros) {
        let Some(session) = self.open_session(id) else {
            return;
        };
        session.requested = true;
        let (op, request_id) = match &request {
            Ok(ClientMessage::Subscribe(subscribe)) => (Op::Subscribe, Some(subscribe.id)),
            Ok(ClientMessage::Unsubscribe { id, .. }) => (Op::Unsubscribe, Some(*id)),
            Ok(ClientMessage::Publish { id, .. }) => (Op::Publish, *id),
            Ok(ClientMessage::Resync { id, .. }) => (Op::Resync, Some(*id)),
            Ok(ClientMessage::Auth { id, .. }) => (Op::Auth, Some(*id)),
            Ok(ClientMessage::Ping { id }) => (Op::Ping, Some(*id)),
            Err(bad) => (Op::Unreadable, bad.id),
        };
        self.counts.ops[op as usize] += 1;
        if !self.within_rate(id, request_id, now) {
            return;
        }
        match request {
            Ok(ClientMessage::Subscribe(subscribe)) => self.subscribe(id, &subscribe, now),
            Ok(ClientMessage::Unsubscribe { id: request, topics }) => {
                self.unsubscribe_request(id, request, &topics, now);
            }
            Ok(ClientMessage::Publish {
                id: request,
                topic,
                data,
            }) => {
                self.publish_request(id, request, topic, data, now);
            }
            Ok(ClientMessage::Resync { id: request, topic }) => self.resync(id, request, topic, now),
            Ok(ClientMessage::Auth { id: request, .. }) => {
                let reason = "this broker has no tokens configured; everyone has the anonymous rights";
                self.refuse(
                    id,
                    Some(request),
                    Refusal::new(ErrorCode::Unauthenticated, reason),
                    now,
                );
            }
            Ok(ClientMessage::Ping { id: request }) => {
                self.accepted(id);
                self.send_control(id, &Control::Pong { id: request, ts: now });
            }
            Err(bad) => self.refuse(id, bad.id, bad.refusal, now),
        }
        if self.drowning(id) {
            self.close_slow(id, now);
        }
    }

    /// Takes one operation from the session's allowance, or refuses it.
    pub(super) fn within_rate(&mut self, id: SessionId, request: Option<RequestId>, now: Micros) -> bool {
        let limits = self.settings.limits;
        let Some(session) = self.open_session(id) else {
            return false;
        };
        let cost = 1_000_000 / u64::from(limits.ops_per_s.max(1));
        let burst = cost * u64::from(limits.ops_burst.max(1));
        let full_at = session.full_at.max(now);
        if full_at.0 - now.0 + cost <= burst {
            session.full_at = Micros(full_at.0 + cost);
            session.limited_in_a_row = 0;
            return true;
        }
        session.limited_in_a_row += 1;
        if session.limited_in_a_row > RATE_LIMITED_IN_A_ROW_MAX {
            self.close(id, CloseCode::POLICY, "requests went on after rate_limited", now);
            return false;
        }
        let reason = format!(
            "more than {} requests per second after a burst of {}; wait {} ms",
            limits.ops_per_s,
            limits.ops_burst,
            (full_at.0 - now.0 + cost - burst).div_ceil(1_000),
        );
        self.refuse(id, request, Refusal::new(ErrorCode::RateLimited, reason), now);
        false
    }

    /// Answers a request with an error.
    pub fn refuse(&mut self, id: SessionId, request: Option<RequestId>, refusal: Refusal, now: Micros) {
        self.counts.refused(refusal.code);
        self.send_control(id, &Control::error(request, refusal));
        self.count_refusal(id, now);
        if self.drowning(id) {
            self.close_slow(id, now);
        }
    }

    fn count_refusal(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.open_session(id) else {
            return;
        };
        session.refusals_in_a_row += 1;
        if session.refusals_in_a_row > REFUSALS_IN_A_ROW_MAX {
            let reason = format!("{REFUSALS_IN_A_ROW_MAX} requests in a row were refused");
            self.close(id, CloseCode::POLICY, &reason, now);
        }
    }

    fn accepted(&mut self, id: SessionId) {
        if let Some(session) = self.open_session(id) {
            session.refusals_in_a_row = 0;
        }
    }

    /// Sends an ack and what follows it, and counts what it refuses.
    fn ack(&mut self, id: SessionId, request: RequestId, answers: Vec<Answer>, now: Micros) {
        let in_order = answers.iter().any(|answer| answer.in_order);
        let mut results = Vec::with_capacity(answers.len());
        let mut gaps = Vec::new();
        let (mut refused, mut granted) = (0, 0);
        for answer in answers {
            match &answer.result.error {
                Some(refusal) => {
                    self.counts.refused(refusal.code);
                    refused += 1;
                }
                None => granted += 1,
            }
            results.push(answer.result);
            gaps.extend(answer.gap);
        }
        let ack = Control::Ack { id: request, results };
        for message in std::iter::once(ack).chain(gaps) {
            if let Control::Gap { from, to, .. } = &message {
                self.counts.gaps += 1;
                self.counts.gapped += to.0 - from.0 + 1;
            }
            if in_order {
                self.send_in_order(id, &message);
            } else {
                self.send_control(id, &message);
            }
        }
        if granted > 0 {
            self.accepted(id);
        } else if refused > 0 {
            self.count_refusal(id, now);
        }
    }

    /// Sends a control message behind the data that waits already.
    fn send_in_order(&mut self, id: SessionId, message: &Control) {
        if let Some(session) = self.open_session(id) {
            let bytes = Self::control_frame(session.codec, message);
            session.pulled_bytes += bytes.len();
            session.outbox.push_answer(bytes);
            self.mark_dirty(id);
        }
    }

    fn subscribe(&mut self, id: SessionId, request: &Subscribe, now: Micros) {
        let most = self.settings.limits.subscriptions;
        if request.topics.is_empty() {
            self.refuse(
                id,
                Some(request.id),
                Refusal::bad_request("\"topics\" is empty"),
                now,
            );
            return;
        }
        if request.topics.len() > most {
            let reason = format!(
                "{} topics in one request; a connection has at most {most}",
                request.topics.len()
            );
            self.refuse(
                id,
                Some(request.id),
                Refusal::new(ErrorCode::LimitExceeded, reason),
                now,
            );
            return;
        }
        let mut answers = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let answer = self.subscribe_one(id, topic, request);
            answers.push(answer.unwrap_or_else(|refusal| Answer::refused(topic.topic(), refusal)));
        }
        self.ack(id, request.id, answers, now);
    }

    fn subscribe_one(
        &mut self,
        id: SessionId,
        topic: &TopicRequest,
        request: &Subscribe,
    ) -> Result<Answer, Refusal> {
        let pattern: Pattern = topic.topic().parse()?;
        if pattern.is_wildcard() && topic.since().is_some() {
            return Err(Refusal::bad_request("\"since\" needs a topic without wildcards"));
        }
        self.check_mode(&pattern, request.mode)?;
        if request.mode == Some(Mode::Snapshot) {
            return Ok(self.one_shot(id, &pattern));
        }
        let most = self.settings.limits.subscriptions;
        let Some(session) = self.open_session(id) else {
            return Err(Refusal::new(ErrorCode::Internal, "the connection is closing"));
        };
        let known = session.patterns.iter().position(|sub| sub.pattern == pattern);
        match known {
            Some(at) => session.patterns[at].mode = request.mode,
            None if session.patterns.len() >= most => {
                let reason = format!("the connection has its most subscriptions, {most}");
                return Err(Refusal::new(ErrorCode::LimitExceeded, reason));
            }
            None => {
                session.patterns.push(PatternSub {
                    pattern: pattern.clone(),
                    mode: request.mode,
                    indexed: false,
                });
            }
        }
        match pattern.as_topic() {
            None => Ok(self.subscribe_wildcard(id, &pattern, request, known.is_some())),
            Some(single) => {
                self.subscribe_topic(id, &single, &pattern, topic.since(), request, known.is_some())
            }
        }
    }

    /// `event` and `book` topics cannot be conflated: each of their messages counts.
    fn check_mode(&self, pattern: &Pattern, mode: Option<Mode>) -> Result<(), Refusal> {
        if mode != Some(Mode::Conflate) {
            return Ok(());
        }
        // Any topic of the pattern stands for those that do not exist yet.
        let sample = pattern.as_str().replace(['*', '>'], "x");
        let refuse = |topic: &str, kind: Kind| {
            let kind = kind.as_str();
            Err(Refusal::bad_request(format!(
                "mode conflate: {topic} is of kind {kind}, whose messages all count"
            )))
        };
        match self.directory.kind_of(&sample) {
            Kind::State => {}
            kind => return refuse(pattern.as_str(), kind),
        }
        let other = self
            .directory
            .matching(pattern)
            .into_iter()
            .find(|cell| cell.kind() != Kind::State);
        other.map_or(Ok(()), |cell| refuse(cell.topic().as_str(), cell.kind()))
    }

    fn one_shot(&mut self, id: SessionId, pattern: &Pattern) -> Answer {
        let cells = self.directory.matching(pattern);
        let result = match (pattern.is_wildcard(), cells.first()) {
            (true, _) => AckResult {
                matched: Some(cells.len()),
                ..AckResult::default()
            },
            (false, Some(cell)) => {
                let at = cell.position();
                AckResult {
                    epoch: Some(at.epoch),
                    seq: Some(at.seq),
                    ..AckResult::default()
                }
            }
            (false, None) => AckResult {
                epoch: Some(self.directory.epoch().clone()),
                seq: Some(Seq::ZERO),
                ..AckResult::default()
            },
        };
        if let Some(session) = self.open_session(id) {
            session
                .pulls
                .extend(cells.iter().map(|cell| Pull::OneShot(cell.id())));
            self.mark_dirty(id);
        }
        Answer::new(AckResult {
            topic: pattern.to_string(),
            mode: Some(Mode::Snapshot),
            ..result
        })
    }

    fn subscribe_wildcard(
        &mut self,
        id: SessionId,
        pattern: &Pattern,
        request: &Subscribe,
        known: bool,
    ) -> Answer {
        if known {
            self.regrant(id, pattern);
        } else {
            self.directory.register(self.id, pattern);
        }
        let cells = self.directory.matching(pattern);
        if !known {
            for cell in &cells {
                self.meet(cell);
                let topic = cell.id();
                if self.subscriber_position(id, topic).is_some() {
                    self.join(id, cell, Seq::ZERO);
                } else {
                    let at = cell.attach(self.id);
                    self.join(id, cell, at.seq);
                    self.start(id, cell, request.snapshot && at.seq > Seq::ZERO);
                }
            }
            self.expect(id, pattern);
            if let Some(session) = self.open_session(id)
                && let Some(sub) = session.patterns.iter_mut().find(|sub| sub.pattern == *pattern)
            {
                sub.indexed = true;
            }
        }
        let sample = pattern.as_str().replace(['*', '>'], "x");
        let mode = request
            .mode
            .unwrap_or_else(|| Mode::default_for(self.directory.kind_of(&sample)));
        Answer::new(AckResult {
            topic: pattern.to_string(),
            matched: Some(cells.len()),
            mode: Some(mode),
            conflate_ms: (mode == Mode::Conflate).then_some(0),
            ..AckResult::default()
        })
    }

    /// Gives the topics of a pattern the mode that their session's patterns now ask for.
    fn regrant(&mut self, id: SessionId, pattern: &Pattern) {
        for topic in self.matched_topics(id, pattern) {
            let Some(position) = self.subscriber_position(id, topic) else {
                continue;
            };
            let slot = &mut self.slots[topic.index()];
            let (Some(cell), Some(session)) = (&slot.cell, self.sessions.get(id.index())) else {
                continue;
            };
            let default = Mode::default_for(cell.kind());
            let every =
                cell.kind() != Kind::State || session.mode_for(cell.topic().as_str(), default) == Mode::Every;
            slot.subscribers[position].every = every;
        }
    }

    /// Lets a new subscription begin, with a snapshot where one is wanted.
    fn start(&mut self, id: SessionId, cell: &TopicCell, snapshot: bool) {
        if !snapshot {
            return;
        }
        let Some(position) = self.subscriber_position(id, cell.id()) else {
            return;
        };
        let subscriber = &mut self.slots[cell.id().index()].subscribers[position];
        subscriber.wants_snapshot = true;
        if !std::mem::replace(&mut subscriber.behind, true)
            && let Some(session) = self.open_session(id)
        {
            session.pulls.push_back(Pull::Follow(cell.id()));
        }
        self.mark_dirty(id);
    }

    fn subscribe_topic(
        &mut self,
        id: SessionId,
        topic: &Topic,
        pattern: &Pattern,
        since: Option<&Position>,
        request: &Subscribe,
        known: bool,
    ) -> Result<Answer, Refusal> {
        let kind = self.directory.kind_of(topic.as_str());
        let mode = request.mode.unwrap_or(Mode::default_for(kind));
        let result = AckResult {
            topic: topic.to_string(),
            mode: Some(mode),
            conflate_ms: (mode == Mode::Conflate).then_some(0),
            ..AckResult::default()
        };
        let mut cell = self.directory.find(topic.as_str());
        if cell.is_none() && !known {
            self.directory.register(self.id, pattern);
            cell = self.directory.find(topic.as_str());
            if cell.is_some() {
                self.directory.unregister(self.id, pattern);
            }
        }
        let Some(cell) = cell else {
            if !known {
                self.expect(id, pattern);
                if let Some(session) = self.open_session(id)
                    && let Some(sub) = session.patterns.last_mut()
                {
                    sub.indexed = true;
                }
            }
            let epoch = self.directory.epoch().clone();
            let recovered = since.map(|since| since.epoch == epoch && since.seq == Seq::ZERO);
            return Ok(Answer::new(AckResult {
                epoch: Some(epoch),
                seq: Some(Seq::ZERO),
                recovered,
                ..result
            }));
        };
        self.meet(&cell);
        if self.subscriber_position(id, cell.id()).is_some() {
            return self.subscribe_again(id, &cell, since, request, known, result);
        }
        Ok(self.subscribe_cell(id, &cell, since, mode, request.snapshot, result))
    }

    /// A topic that this connection gets already, by this name or by a wildcard.
    fn subscribe_again(
        &mut self,
        id: SessionId,
        cell: &Arc<TopicCell>,
        since: Option<&Position>,
        request: &Subscribe,
        known: bool,
        result: AckResult,
    ) -> Result<Answer, Refusal> {
        if !known {
            self.join(id, cell, Seq::ZERO);
        } else if let Some(pattern) = request.topics.iter().find(|t| t.topic() == cell.topic().as_str()) {
            let pattern: Pattern = pattern.topic().parse()?;
            self.regrant(id, &pattern);
        }
        if since.is_some() {
            let reason = "this connection has the topic already; \"since\" is for a new subscription";
            return Err(Refusal::bad_request(reason));
        }
        let position = self.subscriber_position(id, cell.id());
        let after = position.map(|at| self.slots[cell.id().index()].subscribers[at].after);
        self.start(id, cell, request.snapshot && after > Some(Seq::ZERO));
        let result = AckResult {
            epoch: Some(cell.position().epoch),
            seq: after,
            ..result
        };
        Ok(Answer {
            result,
            gap: None,
            in_order: true,
        })
    }

    fn subscribe_cell(
        &mut self,
        id: SessionId,
        cell: &Arc<TopicCell>,
        since: Option<&Position>,
        mode: Mode,
        snapshot: bool,
        result: AckResult,
    ) -> Answer {
        let Some(since) = since else {
            let at = cell.attach(self.id);
            self.join(id, cell, at.seq);
            self.start(id, cell, snapshot && at.seq > Seq::ZERO);
            return Answer::new(AckResult {
                epoch: Some(at.epoch),
                seq: Some(at.seq),
                ..result
            });
        };
        let (at, resume) = cell.attach_at(self.id, since);
        let mut gap = None;
        let recovered = match resume {
            // The newest replaces whatever was missed.
            Resume::Replay(_) | Resume::Unreachable(GapReason::History | GapReason::Slow)
                if mode == Mode::Conflate =>
            {
                self.join(id, cell, since.seq);
                self.catch_up(id, cell, at.seq > since.seq);
                true
            }
            Resume::Replay(messages) => {
                self.join(id, cell, since.seq);
                self.catch_up(id, cell, !messages.is_empty());
                if let Some(session) = self.open_session(id).filter(|_| !messages.is_empty()) {
                    session
                        .replays
                        .get_or_insert_default()
                        .insert(cell.id(), messages);
                }
                true
            }
            Resume::Unreachable(reason) => {
                self.join(id, cell, at.seq);
                if cell.kind() == Kind::Event {
                    let missed_from = if reason == GapReason::Epoch {
                        Seq(1)
                    } else {
                        since.seq.next()
                    };
                    gap = (missed_from <= at.seq).then(|| Control::Gap {
                        topic: cell.topic().to_string(),
                        epoch: at.epoch.clone(),
                        from: missed_from,
                        to: at.seq,
                        reason,
                    });
                } else {
                    self.start(id, cell, at.seq > Seq::ZERO);
                }
                false
            }
        };
        let result = AckResult {
            epoch: Some(at.epoch),
            seq: Some(at.seq),
            recovered: Some(recovered),
            ..result
        };
        Answer {
            result,
            gap,
            in_order: false,
        }
    }

    /// Puts a resumed subscription on the way to the head, if it is not there.
    fn catch_up(&mut self, id: SessionId, cell: &TopicCell, behind: bool) {
        let Some(position) = self.subscriber_position(id, cell.id()) else {
            return;
        };
        self.slots[cell.id().index()].subscribers[position].behind = behind;
        if behind && let Some(session) = self.open_session(id) {
            session.pulls.push_back(Pull::Follow(cell.id()));
            self.mark_dirty(id);
        }
    }

    fn unsubscribe_request(&mut self, id: SessionId, request: RequestId, topics: &[String], now: Micros) {
        if topics.is_empty() {
            self.refuse(
                id,
                Some(request),
                Refusal::bad_request("\"topics\" is empty"),
                now,
            );
            return;
        }
        let answers = topics.iter().map(|topic| match topic.parse::<Pattern>() {
            Err(error) => Answer::refused(topic, error.into()),
            Ok(pattern) if self.unsubscribe(id, &pattern) => Answer::new(AckResult {
                topic: topic.clone(),
                ..AckResult::default()
            }),
            Ok(_) => {
                let reason = "no subscription of this connection has this name";
                Answer::refused(topic, Refusal::new(ErrorCode::NotSubscribed, reason))
            }
        });
        let answers = answers.collect();
        self.ack(id, request, answers, now);
    }

    fn publish_request(
        &mut self,
        id: SessionId,
        request: Option<RequestId>,
        topic: String,
        data: Payload,
        now: Micros,
    ) {
        let outcome = topic.parse::<Topic>().map_err(Refusal::from).and_then(|name| {
            let session = self.sessions.get(id.index());
            if !session.is_some_and(|session| session.rights.may_publish(&topic)) {
                let reason = format!("this connection may not publish to {topic}");
                return Err(Refusal::new(ErrorCode::Forbidden, reason));
            }
            self.directory.publish(&name, data, now).map_err(Refusal::from)
        });
        match outcome {
            Err(refusal) => self.refuse(id, request, refusal, now),
            Ok(published) => {
                self.counts.published[published.kind as usize] += 1;
                self.accepted(id);
                if let Some(request) = request {
                    let (epoch, seq) = (Some(published.epoch), Some(published.seq));
                    let results = vec![AckResult {
                        topic,
                        epoch,
                        seq,
                        ..AckResult::default()
                    }];
                    self.send_control(id, &Control::Ack { id: request, results });
                }
            }
        }
    }

    fn resync(&mut self, id: SessionId, request: RequestId, topic: String, now: Micros) {
        let single = match topic.parse::<Topic>() {
            Ok(single) => single,
            Err(error) => return self.refuse(id, Some(request), error.into(), now),
        };
        let subscribed = self
            .open_session(id)
            .is_some_and(|s| s.patterns.iter().any(|sub| sub.pattern.matches(&topic)));
        if !subscribed {
            let reason = format!("no subscription of this connection covers {topic}");
            return self.refuse(
                id,
                Some(request),
                Refusal::new(ErrorCode::NotSubscribed, reason),
                now,
            );
        }
        let cell = self.directory.find(single.as_str());
        let at = cell.as_ref().map_or(Seq::ZERO, |cell| {
            self.meet(cell);
            let position = self.subscriber_position(id, cell.id());
            position.map_or(Seq::ZERO, |at| {
                self.slots[cell.id().index()].subscribers[at].after
            })
        });
        let epoch = cell
            .as_ref()
            .map_or_else(|| self.directory.epoch().clone(), |cell| cell.position().epoch);
        let result = AckResult {
            topic,
            epoch: Some(epoch),
            seq: Some(at),
            ..AckResult::default()
        };
        self.ack(
            id,
            request,
            vec![Answer {
                result,
                gap: None,
                in_order: true,
            }],
            now,
        );
        if let Some(cell) = cell {
            self.start(id, &cell, at > Seq::ZERO);
        }
    }
}
