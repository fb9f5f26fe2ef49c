//! Publications of clients: their rate, their rights, and the price of a refused one.
//!
//! Publishing has an allowance of its own, that of the session's rights or the broker's common one. A refused
//! publication also costs one of the session's requests, so that no session floods the broker with publications that
//! cannot succeed.

use tickwire_wire::message::{AckResult, AnnouncedLimits};
use tickwire_wire::{Control, ErrorCode, Micros, Payload, Refusal, RequestId, Topic};

use super::Shard;
use super::subscribe::closing;
use crate::ingress::{Ingress, Origin};
use crate::rights::{PublishRate, Publisher, Rights};
use crate::session::SessionId;
use crate::settings::ShardSettings;

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
        AnnouncedLimits {
            publishes_per_s: rate.per_s,
            publishes_burst: rate.burst,
            ..self.settings.limits
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

    pub(super) fn publish_request(
        &mut self,
        id: SessionId,
        request: Option<RequestId>,
        topic: String,
        data: Payload,
        now: Micros,
    ) {
        if !self.within_publish_rate(id, request, now) {
            return;
        }
        let bytes = data.heap_bytes() as u64;
        let outcome = topic.parse::<Topic>().map_err(Refusal::from).and_then(|name| {
            let session = self.sessions.open(id).ok_or_else(closing)?;
            if session.only_reads {
                let reason = "this connection only reads: it was made at the operators' listener";
                return Err(Refusal::new(ErrorCode::Forbidden, reason));
            }
            session.rights.check_publish(&topic)?;
            let publisher = session.publisher;
            let submitted = self.ingress.submit(Origin::Client(publisher), &name, data, now);
            submitted.map_err(Refusal::from)
        });
        match outcome {
            Err(refusal) => {
                if self.within_rate(id, request, now) {
                    self.refuse(id, request, refusal, now);
                }
            }
            Ok(published) => {
                self.counts.published[published.kind as usize] += 1;
                self.counts.published_bytes += bytes;
                if let Some(session) = self.sessions.open(id) {
                    session.allowance.accepted();
                    session.publishes = true;
                }
                if let Some(request) = request {
                    let (epoch, seq) = (Some(published.epoch), Some(published.seq));
                    let results = vec![AckResult {
                        topic,
                        epoch,
                        seq,
                        ..AckResult::default()
                    }];
                    self.send_answer(id, &Control::Ack { id: request, results });
                }
            }
        }
    }
}

/// How fast a session with these rights may publish.
fn publish_rate(settings: &ShardSettings, rights: &Rights) -> PublishRate {
    rights.publish_rate.unwrap_or(PublishRate {
        per_s: settings.limits.publishes_per_s,
        burst: settings.limits.publishes_burst,
    })
}
