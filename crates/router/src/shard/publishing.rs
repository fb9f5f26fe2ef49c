//! Publications of clients: their rate, their rights, and the price of a refused one.
//!
//! Publishing has an allowance of its own, that of the session's rights or the broker's common one. A refused
//! publication also costs one of the session's requests, so that no session floods the broker with publications that
//! cannot succeed.

use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use tickwire_wire::codec::{PackedPublish, PlainPublish};
use tickwire_wire::message::{AckResult, AnnouncedLimits, PublishKey};
use tickwire_wire::{Control, ErrorCode, Kind, Micros, Payload, Refusal, RequestId};

use super::Shard;
use super::subscribe::closing;
use crate::arrival::Arrival;
use crate::cell::{Published, TopicCell};
use crate::counts::Op;
use crate::ingress::{Ingress, Origin};
use crate::rights::{PublishRate, Publisher, Rights};
use crate::session::SessionId;
use crate::settings::ShardSettings;

/// The number of places for topics that a shard keeps at hand for its publishers. Of a hundred topics that are published to in turn,
/// two or three share a place with another one. With 256 places every third did, and was looked up for each message.
const RECENT_TOPICS: usize = 4_096;

/// Topics that clients of a shard have published to, each in a place that its name decides. A publisher that uses the
/// same topics again and again finds them here without the directory and its locks. A topic that has ended is removed
/// when the shard is told.
#[derive(Debug)]
pub(super) struct RecentTopics(Box<[Option<RecentTopic>]>);

#[derive(Debug)]
struct RecentTopic {
    cell: Arc<TopicCell>,
    /// Rights that allow to publish to it.
    rights: Rc<Rights>,
}

impl Default for RecentTopics {
    fn default() -> Self {
        Self((0..RECENT_TOPICS).map(|_| None).collect())
    }
}

impl RecentTopics {
    fn place(topic: &str) -> usize {
        FxBuildHasher.hash_one(topic) as usize % RECENT_TOPICS
    }

    /// The topic, if it is here and `rights` allow to publish to it.
    fn get(&self, topic: &str, rights: &Rc<Rights>) -> Option<&Arc<TopicCell>> {
        let recent = self.0[Self::place(topic)].as_ref()?;
        let is_it = recent.cell.topic().as_str() == topic && Rc::ptr_eq(&recent.rights, rights);
        is_it.then_some(&recent.cell)
    }

    /// Removes a topic that has ended.
    pub(super) fn forget(&mut self, cell: &TopicCell) {
        let place = &mut self.0[Self::place(cell.topic().as_str())];
        place.take_if(|recent| recent.cell.id() == cell.id());
    }

    /// Keeps a topic that `rights` allow to publish to, in the place of another.
    fn put(&mut self, cell: Arc<TopicCell>, rights: Rc<Rights>) {
        let place = Self::place(cell.topic().as_str());
        self.0[place] = Some(RecentTopic { cell, rights });
    }
}

impl Shard {
    /// The way in for the publications of its sessions.
    #[must_use]
    pub fn ingress(&self) -> &Ingress {
        &self.ingress
    }

    /// Sets the publisher that the topics made by a session count for from now on.
    pub fn publishes_as(&mut self, id: SessionId, publisher: Publisher) {
        if let Some(session) = self.sessions.known(id) {
            session.publisher = Some(publisher);
        }
    }

    /// Refuses every publication of a session from now on, whatever its rights are.
    pub fn only_reads(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.known(id) {
            session.only_reads = true;
        }
    }

    /// The limits in the `welcome` of a session with these rights.
    pub(super) fn announced_to(&self, rights: &Rights) -> AnnouncedLimits {
        let rate = publish_rate(&self.settings, rights);
        let (own, common) = (&rights.own, &self.settings.limits);
        AnnouncedLimits {
            subscriptions: own.subscriptions.unwrap_or(common.subscriptions),
            ops_per_s: own.requests.map_or(common.ops_per_s, |own| own.per_s),
            ops_burst: own.requests.map_or(common.ops_burst, |own| own.burst),
            publishes_per_s: rate.per_s,
            publishes_burst: rate.burst,
            ..*common
        }
    }

    /// Takes one publication from the session's allowance, or refuses it.
    fn within_publish_rate(&mut self, id: SessionId, request: Option<RequestId>, now: Micros) -> bool {
        let refusals = self.settings.session_limits.rate_limited;
        let session = self.sessions.open(id);
        let taken = session.map(|session| {
            let rate = publish_rate(&self.settings, &session.rights);
            session.allowance.take_publication(rate, refusals, now)
        });
        self.let_pass(id, request, taken, now)
    }

    /// Handles a `publish`, as [`Self::request`] does for any request.
    pub fn publish(&mut self, id: SessionId, publish: PlainPublish<'_>, now: Micros) {
        if self.takes_request(id, Op::Publish, now) {
            let PlainPublish {
                id: request,
                topic,
                data,
                book,
            } = publish;
            let bytes = data.as_str().len();
            let data = match book {
                Some(book) if self.directory.kind_of(topic) == Kind::Book => Payload::Book(book),
                _ => Payload::Json(data.to_text()),
            };
            self.publish_request(id, request, topic, (data, bytes), now);
            self.close_if_drowning(id, now);
        }
    }

    /// Does the same for a `publish` of MessagePack.
    pub fn publish_packed(&mut self, id: SessionId, publish: PackedPublish<'_>, now: Micros) {
        if self.takes_request(id, Op::Publish, now) {
            let PackedPublish {
                id: request,
                topic,
                data,
            } = publish;
            let bytes = data.as_bytes().len();
            let data = Payload::Packed(data.to_value());
            self.publish_request(id, request, topic, (data, bytes), now);
            self.close_if_drowning(id, now);
        }
    }

    /// Publishes `data`, which had this number of bytes in its request.
    pub(super) fn publish_request(
        &mut self,
        id: SessionId,
        request: Option<RequestId>,
        topic: &str,
        (data, bytes): (Payload, usize),
        now: Micros,
    ) {
        if !self.within_publish_rate(id, request, now) {
            return;
        }
        match self.submit(id, topic, data, now) {
            Err(refusal) => self.not_published(id, request, refusal, now),
            Ok(published) => self.was_published(id, request, topic, (published, false), bytes as u64),
        }
    }

    /// Handles a `publish` with a key or a time: publishes, unless the key is known.
    pub(super) fn publish_with(
        &mut self,
        id: SessionId,
        request: Option<RequestId>,
        (topic, key, ts): (&str, Option<&PublishKey>, Option<Micros>),
        data: Payload,
        now: Micros,
    ) {
        if !self.within_publish_rate(id, request, now) {
            return;
        }
        let bytes = data.heap_bytes() as u64;
        let arrival = Arrival {
            copied: None,
            now,
            stamp: ts,
            key: None,
            mark: None,
        };
        match self.submit_with(id, (topic, key), data, arrival) {
            Err(refusal) => self.not_published(id, request, refusal, now),
            Ok(published) => self.was_published(id, request, topic, published, bytes),
        }
    }

    /// Answers a publication that was refused.
    fn not_published(&mut self, id: SessionId, request: Option<RequestId>, refusal: Refusal, now: Micros) {
        if self.within_rate(id, request, now) {
            self.refuse(id, request, refusal, now);
        }
    }

    /// Answers a publication that was published, now or before: at once, or when it is written.
    fn was_published(
        &mut self,
        id: SessionId,
        request: Option<RequestId>,
        topic: &str,
        (published, duplicate): (Published, bool),
        bytes: u64,
    ) {
        if published.ticket.is_some() || self.has_unwritten(id) {
            if let Some(session) = self.sessions.open(id) {
                session.publishes = true;
            }
            let published = (published, duplicate);
            return self.answer_when_written(id, request, (topic.to_owned(), published), bytes);
        }
        if !duplicate {
            self.count_published(&published, bytes);
        }
        self.ack_published(id, request, topic, (published, duplicate));
    }

    /// Answers a publication that has entered, now or before, if it has an id.
    pub(super) fn ack_published(
        &mut self,
        id: SessionId,
        request: Option<RequestId>,
        topic: &str,
        (published, duplicate): (Published, bool),
    ) {
        if let Some(session) = self.sessions.open(id) {
            session.allowance.accepted();
            session.publishes = true;
        }
        if let Some(request) = request {
            let (epoch, seq) = (Some(published.epoch), Some(published.seq));
            let results = vec![AckResult {
                topic: topic.to_owned(),
                epoch,
                seq,
                duplicate,
                ..AckResult::default()
            }];
            self.send_answer(id, &Control::Ack { id: request, results });
        }
    }

    /// Publishes `data` to `topic` for a session, if its rights allow that and the key is not known.
    fn submit_with(
        &mut self,
        id: SessionId,
        (topic, key): (&str, Option<&PublishKey>),
        data: Payload,
        arrival: Arrival<'_>,
    ) -> Result<(Published, bool), Refusal> {
        let session = self.sessions.open(id).ok_or_else(closing)?;
        let name = topic.parse()?;
        if session.only_reads {
            return Err(only_reads());
        }
        session.rights.check_publish(topic)?;
        session.rights.check_stamp(arrival.stamp)?;
        let origin = Origin::Client(session.publisher);
        match key {
            Some(key) => Ok(self.ingress.submit_once(origin, (&name, key), data, arrival)?),
            None => Ok((self.ingress.submit(origin, &name, data, arrival)?, false)),
        }
    }

    /// Publishes `data` to `topic` for a session, if its rights allow that.
    fn submit(
        &mut self,
        id: SessionId,
        topic: &str,
        data: Payload,
        now: Micros,
    ) -> Result<Published, Refusal> {
        let session = self.sessions.open(id).ok_or_else(closing)?;
        if let Some(cell) = self.recent_topics.get(topic, &session.rights)
            && !session.only_reads
        {
            let origin = Origin::Client(session.publisher);
            return Ok(self.ingress.submit_known(origin, cell, data, now.into())?);
        }
        let found = self.directory.find(topic);
        let name = found
            .as_ref()
            .map_or_else(|| topic.parse(), |cell| Ok(cell.topic().clone()))?;
        if session.only_reads {
            return Err(only_reads());
        }
        session.rights.check_publish(topic)?;
        let origin = Origin::Client(session.publisher);
        let Some(cell) = found else {
            return Ok(self.ingress.submit(origin, &name, data, now)?);
        };
        let published = self.ingress.submit_known(origin, &cell, data, now.into())?;
        self.recent_topics.put(cell, session.rights.clone());
        Ok(published)
    }
}

fn only_reads() -> Refusal {
    let reason = "this connection only reads: it was made at the operators' listener";
    Refusal::new(ErrorCode::Forbidden, reason)
}

/// How fast a session with these rights may publish.
fn publish_rate(settings: &ShardSettings, rights: &Rights) -> PublishRate {
    rights.publish_rate.unwrap_or(PublishRate {
        per_s: settings.limits.publishes_per_s,
        burst: settings.limits.publishes_burst,
    })
}
